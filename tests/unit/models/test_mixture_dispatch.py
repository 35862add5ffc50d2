"""Grouped dispatch gives what a loop over the samples gives, and runs no student that has no image."""

import pytest
import torch
from moist.errors import InputError
from moist.models.cost import cost
from moist.models.mixture import Mixture
from moist.models.routers import ClassRouter, CnnRouter, HeadRouter, Router
from moist.models.specification import MixtureSpec, NetworkSpec, build, router_spec
from moist.models.student import Student, feature_shape, split
from torch import Tensor, nn

SHAPE = (8, 8, 1)
CLUSTERS = ((0, 8), (1, 9), (2, 3, 4, 5, 6, 7))


class FirstPixel(nn.Module):
    """A router whose choice is the first pixel's value, so that a test sets it image by image."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.one_hot(images[:, 0, 0, 0].long(), 3).float()


class Counting(nn.Module):
    """A student that counts how often it runs and on how many images."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        logits: Tensor = self.student(images)
        return logits


def mixture_of(router: nn.Module | None) -> Mixture:
    torch.manual_seed(0)
    return Mixture(router, [Counting(Student(SHAPE, 10, width=16)) for _ in CLUSTERS], CLUSTERS).eval()


def images_to(choices: list[int]) -> Tensor:
    images = torch.rand(len(choices), 1, 8, 8, generator=torch.Generator().manual_seed(1))
    images[:, 0, 0, 0] = torch.tensor(choices, dtype=torch.float32)
    return images


@pytest.mark.parametrize(
    "choices",
    [[2, 0, 1, 0, 2, 2, 1, 0], [2, 2, 0, 2, 0], [1, 2, 1], [1, 1, 1], [0, 2], [0], [1], [2]],
    ids=lambda choices: "".join(map(str, choices)),
)
def test_grouped_dispatch_equals_the_loop_over_samples(choices: list[int]) -> None:
    mixture, images = mixture_of(FirstPixel()), images_to(choices)
    with torch.no_grad():
        expected = torch.cat(
            [mixture.students[c].student(image[None]) for c, image in zip(choices, images, strict=True)]
        )
        grouped = mixture(images)
    torch.testing.assert_close(grouped, expected)
    # Each student ran at most once, on its own share; an unused one not at all.
    assert [s.batches for s in mixture.students] == [[n] if (n := choices.count(i)) else [] for i in range(3)]


def test_dispatch_passes_gradients_to_the_right_students_only() -> None:
    mixture = mixture_of(FirstPixel())
    mixture(images_to([0, 2, 0, 2])).sum().backward()
    has_gradient = [any(p.grad is not None and p.grad.any() for p in s.parameters()) for s in mixture.students]
    assert has_gradient == [True, False, True]


def test_forward_follows_the_routers_argmax() -> None:
    mixture = mixture_of(CnnRouter(SHAPE, 3).eval())
    images = torch.rand(16, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(mixture(images), mixture.forward_to(images, mixture.route(images).argmax(dim=1)))


def test_oracle_sends_each_label_to_its_cluster() -> None:
    mixture = mixture_of(None)
    labels = torch.tensor([0, 8, 1, 9, 2, 3, 4, 5, 6, 7])
    choice = mixture.student_of_class[labels]
    assert choice.tolist() == [0, 0, 1, 1, 2, 2, 2, 2, 2, 2]
    assert mixture.student_of_class.dtype == torch.int64
    assert mixture.forward_to(images_to([0] * 10), choice).shape == (10, 10)
    assert [s.batches for s in mixture.students] == [[2], [2], [6]]
    with pytest.raises(InputError, match="no router"):
        mixture(images_to([0]))


def test_dense_runs_every_student_on_every_image() -> None:
    mixture, images = mixture_of(FirstPixel()), images_to([2, 0, 1, 0])
    router_logits, student_logits = mixture.dense(images)
    assert router_logits.shape == (4, 3)
    assert student_logits.shape == (4, 3, 10)
    for student in range(3):
        torch.testing.assert_close(student_logits[:, student], mixture.students[student].student(images))


def test_empty_batch_gives_no_logits() -> None:
    assert mixture_of(CnnRouter(SHAPE, 3).eval())(torch.zeros(0, 1, 8, 8)).shape == (0, 10)


@pytest.mark.parametrize("choice", [[0, 3], [-1, 0], [7], [-1], [0, 1, 2]])
def test_choice_of_a_missing_student_is_refused(choice: list[int]) -> None:
    with pytest.raises(InputError, match="expert_index"):
        mixture_of(None).forward_to(images_to([0] * min(len(choice), 2)), torch.tensor(choice))


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (((0, 1), ()), "cluster 1 is empty"),
        (((0, 1), (1, 2)), "not a partition"),
        (((0, 1), (3,)), "not a partition"),
        (((1, 2), (3,)), "not a partition"),
        ((), "at least one cluster"),
        (((0, 1, 2),), "2 students"),
    ],
)
def test_clusters_must_partition_the_classes(clusters: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Mixture(None, [Student(SHAPE, 3, width=4) for _ in range(2)], clusters)


def sharing_mixture(shared_layers: int) -> Mixture:
    """A mixture whose students differ, since each is drawn anew."""
    torch.manual_seed(0)
    student = NetworkSpec(architecture="student", shape=SHAPE, outputs=10, width=16)
    router = router_spec("head", feature_shape(SHAPE, (32, 64), shared_layers), len(CLUSTERS), hidden=1)
    mixture = build(MixtureSpec(router=router, student=student, clusters=CLUSTERS, shared_layers=shared_layers))
    assert isinstance(mixture, Mixture)
    return mixture.eval()


@pytest.mark.parametrize("shared_layers", [1, 2])
def test_on_a_shared_trunk_dispatch_equals_the_chosen_students_of_the_dense_computation(shared_layers: int) -> None:
    mixture, images = sharing_mixture(shared_layers), torch.rand(40, 1, 8, 8)
    assert mixture.trunk is not None
    assert isinstance(mixture.router, HeadRouter)
    passes: list[int] = []
    mixture.trunk.register_forward_hook(lambda _module, _images, features: passes.append(len(features)))
    with torch.no_grad():
        mixture.router.layers[-1].bias -= mixture.route(images).mean(dim=0)  # or a fresh router prefers one student
        passes.clear()
        router_logits, student_logits = mixture.dense(images)
        chosen = router_logits.argmax(dim=1)
        assert len(chosen.unique()) == 3, "the test needs images of all students"
        torch.testing.assert_close(mixture(images), student_logits[torch.arange(40), chosen])
        torch.testing.assert_close(mixture.forward_to(images, chosen), student_logits[torch.arange(40), chosen])
    assert passes == [40, 40, 40], "the trunk runs once for each image"


@pytest.mark.parametrize("shared_layers", [0, 1, 2])
def test_a_split_student_computes_what_the_whole_does(shared_layers: int) -> None:
    student, images = Student((9, 13, 2), 5, width=7, channels=(3, 5)), torch.rand(4, 2, 9, 13)
    trunk, own = split(student, shared_layers)
    features = trunk(images)
    height, width, channels = feature_shape((9, 13, 2), (3, 5), shared_layers)
    assert features.shape == (4, channels, height, width)
    assert torch.equal(own(features), student(images))


def test_only_a_student_can_be_split_and_only_at_its_convolutions() -> None:
    with pytest.raises(InputError, match="CnnRouter cannot be split"):
        split(CnnRouter(SHAPE, 3), 1)
    with pytest.raises(InputError, match="shared_layers=3"):
        split(Student(SHAPE, 3), 3)


class Sure(Router):
    """A router whose logits are the image's first pixels, so that a test sets how sure it is."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :3]


def test_a_second_student_runs_only_where_the_router_is_unsure() -> None:
    mixture = mixture_of(Sure())
    images = images_to([0] * 4)
    images[:, 0, 0, :3] = torch.tensor([[9.0, 0, 0], [1.0, 0.9, 0], [0, 9.0, 0], [0, 0.2, 0.3]])
    mixture.second_below = 0.6
    with torch.no_grad():
        _, dense = mixture.dense(images)
        for student in mixture.students:
            student.batches.clear()
        answers = mixture(images)
    assert (mixture.certainty(images) <= 0.6).tolist() == [False, True, False, True]
    torch.testing.assert_close(answers[[0, 2]], dense[[0, 2], [0, 1]])
    # Image 1 asks students 0 and 1, image 3 students 2 and 1: the first choices' batches, then the second ones'.
    assert [student.batches for student in mixture.students] == [[2], [1, 2], [1]]
    for row, (first, second), logits in ((1, (0, 1), (1.0, 0.9)), (3, (2, 1), (0.3, 0.2))):
        share = torch.tensor(logits).softmax(0)
        wanted = share[0] * dense[row, first].softmax(0) + share[1] * dense[row, second].softmax(0)
        torch.testing.assert_close(answers[row].softmax(0), wanted)
    mixture.router.temperature.fill_(0.01)  # calibration makes the router sure of images 1 and 3 too
    torch.testing.assert_close(mixture(images), dense[range(4), [0, 0, 1, 2]])


def test_a_threshold_of_one_asks_two_students_about_every_image() -> None:
    mixture = mixture_of(Sure())
    images = images_to([0, 0])
    images[:, 0, 0, :3] = torch.tensor([[500.0, 0, 0], [0, 0, 0]])
    for below, batches in ((1.0, [[2], [2], []]), (0.0, [[2], [], []])):
        mixture.second_below = below
        for student in mixture.students:
            student.batches.clear()
        mixture(images)
        assert [student.batches for student in mixture.students] == batches


def answering_mixture(clusters: tuple[tuple[int, ...], ...] = CLUSTERS, second_mirrored: bool = False) -> Mixture:
    """Its class router is the first to answer."""
    torch.manual_seed(0)
    router = ClassRouter(SHAPE, len(clusters), channels=(4, 8))
    students = [Counting(Student(SHAPE, 10, width=16)) for _ in clusters]
    mixture = Mixture(router, students, clusters, router_answers=True, second_mirrored=second_mirrored).eval()
    router.assign(mixture.student_of_class)
    router.student.classifier[-1].weight.data *= 20  # so that it is sure of some images and not of others
    return mixture


def test_a_student_gives_a_second_opinion_where_the_router_is_unsure_of_its_own_answer() -> None:
    mixture, images = answering_mixture(), torch.rand(40, 1, 8, 8)
    assert isinstance(mixture.router, ClassRouter)
    with torch.no_grad():
        own = mixture.router.student(images)
        certainty = own.softmax(1).amax(1)
        mixture.second_below = float(certainty.sort().values[14:16].mean())
        groups = (own.softmax(1) @ mixture.router.groups).argmax(1)
        answers = mixture(images)
    assert mixture.certainty(images).tolist() == pytest.approx(certainty.tolist())
    unsure = certainty <= mixture.second_below
    assert unsure.sum() == 15
    assert sum(sum(student.batches) for student in mixture.students) == 15
    torch.testing.assert_close(answers[~unsure], own[~unsure])
    for row in unsure.nonzero().squeeze(1).tolist():
        with torch.no_grad():
            asked = mixture.students[groups[row]].student(images[row : row + 1])[0]
        torch.testing.assert_close(answers[row], (own[row] + asked) / 2)
    assert mixture.sent_to(images).tolist() == torch.where(unsure, groups, -1).tolist()
    assert mixture.runs(0.375) == (0.375, 1)


def test_a_mirrored_second_opinion_is_the_mean_of_four_answers_and_costs_so_many_runs() -> None:
    mixture, images = answering_mixture((tuple(range(10)),), second_mirrored=True), torch.rand(12, 1, 8, 8)
    assert isinstance(mixture.router, ClassRouter)
    with torch.no_grad():
        own, mirrored = (mixture.router.student(shown) for shown in (images, images.flip(3)))
        certainty = own.softmax(1).amax(1)
        mixture.second_below = float(certainty.sort().values[4:6].mean())
        answers, unsure = mixture(images), certainty <= mixture.second_below
        assert unsure.sum() == 5
        torch.testing.assert_close(answers[~unsure], own[~unsure])
        for row in unsure.nonzero().squeeze(1).tolist():
            shown = torch.stack([images[row], images[row].flip(2)])
            asked = mixture.students[0].student(shown)
            torch.testing.assert_close(answers[row], (own[row] + mirrored[row] + asked.sum(0)) / 4)
    assert sum(sum(student.batches) for student in mixture.students) == 2 * unsure.sum()
    assert mixture.runs(0.25) == (0.5, 1.25)
    counted = cost(mixture, SHAPE)
    assert counted.macs_of(*mixture.runs(0.25)) == 1.25 * counted.router_macs + 0.5 * counted.student_macs


def test_only_a_router_that_answers_looks_at_mirrored_images() -> None:
    for answers, clusters in ((False, (tuple(range(10)),)), (True, CLUSTERS)):
        router, students = ClassRouter(SHAPE, len(clusters)), [Student(SHAPE, 10) for _ in clusters]
        with pytest.raises(InputError, match="only a router that answers itself, beside one student"):
            Mixture(router, students, clusters, router_answers=answers, second_mirrored=True)


def test_only_a_class_router_can_answer() -> None:
    with pytest.raises(InputError, match="only a class router"):
        Mixture(CnnRouter(SHAPE, 3), [Student(SHAPE, 10) for _ in CLUSTERS], CLUSTERS, router_answers=True)
    student = NetworkSpec(architecture="student", shape=SHAPE, outputs=10)
    with pytest.raises(InputError, match="needs a class router"):
        MixtureSpec(router=router_spec("cnn", SHAPE, 3, 8), student=student, clusters=CLUSTERS, router_answers=True)
