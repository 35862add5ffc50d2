"""The class router: its groups' probabilities are those of their classes together."""

import pytest
import torch
from moist.errors import InputError
from moist.models.routers import ClassRouter
from moist.models.specification import MixtureSpec, NetworkSpec, build, router_spec

SHAPE = (8, 8, 1)
STUDENT = NetworkSpec(architecture="student", shape=SHAPE, outputs=4, width=8)


def test_a_groups_probability_is_the_sum_over_its_classes() -> None:
    torch.manual_seed(0)
    router = ClassRouter(SHAPE, 2, classes=4, width=8, channels=(2, 4))
    router.assign(torch.tensor([1, 0, 0, 1]))
    images = torch.randn(5, 1, 8, 8)
    of_class = router.student(images).softmax(1)
    wanted = torch.stack([of_class[:, 1] + of_class[:, 2], of_class[:, 0] + of_class[:, 3]], dim=1)
    torch.testing.assert_close(router(images).exp(), wanted)
    torch.testing.assert_close(router.probabilities(router(images)), wanted)


def test_a_group_without_any_probability_gives_a_finite_logit_and_gradient() -> None:
    router = ClassRouter(SHAPE, 2, classes=2, width=8)
    router.assign(torch.tensor([0, 1]))
    logits = torch.tensor([[0.0, 2000.0]], requires_grad=True)
    found = router.of_classes(logits)
    found.sum().backward()
    assert found.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_router_of_other_classes_is_refused() -> None:
    clusters = ((0, 3), (1, 2))
    for classes in (4, 5):
        router = router_spec("class", SHAPE, 2, hidden=8, classes=classes, channels=4)
        if classes == 4:
            build(MixtureSpec(router=router, student=STUDENT, clusters=clusters))
            continue
        with pytest.raises(InputError, match="tells 5 classes apart, the students 4"):
            MixtureSpec(router=router, student=STUDENT, clusters=clusters)
