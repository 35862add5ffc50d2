"""The networks have exactly the papers' sizes, and every one of them takes every supported image shape."""

import pytest
import torch
from moist.errors import InputError
from moist.models.cost import cost, macs, parameters
from moist.models.mixture import Mixture
from moist.models.routers import CnnRouter, TransformerRouter
from moist.models.specification import ARCHITECTURES, MAX_PARAMETERS, MixtureSpec, NetworkSpec, build, skeleton
from moist.models.student import Student
from moist.models.teacher import resnet18
from pydantic import ValidationError

CIFAR = (32, 32, 3)


def test_teacher_is_the_papers() -> None:
    teacher = resnet18(CIFAR, 10)
    assert parameters(teacher) == 11_173_962
    assert macs(teacher, CIFAR) / 1e6 == pytest.approx(556.66, abs=0.005)


def test_student_is_the_papers() -> None:
    student = Student(CIFAR, 10)
    assert parameters(student) == 1_070_794
    assert macs(student, CIFAR) == 6_654_464


def test_cnn_router_is_the_papers() -> None:
    router = CnnRouter(CIFAR, 3)
    assert parameters(router) == 544_387
    assert macs(router, CIFAR) / 1e6 == pytest.approx(6.226, abs=0.0005)


@pytest.mark.parametrize(
    ("exponent", "expected"),
    list(enumerate((0.0896, 0.0917, 0.0958, 0.1040, 0.1204, 0.1532, 0.2189, 0.3503, 0.6131), start=5)),
)
def test_widths_cost_what_figure_3b_shows(exponent: int, expected: float) -> None:
    assert cost(Student(CIFAR, 10, width=2**exponent), CIFAR).paper_mflops == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (9, 13, 2)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_network_takes_every_shape(architecture: str, shape: tuple[int, int, int]) -> None:
    network = build(NetworkSpec(architecture=architecture, shape=shape, outputs=3)).eval()
    images = torch.rand(2, shape[2], shape[0], shape[1])
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (2, 3)
        assert logits.isfinite().all()
        # Every pixel counts: a network that drops the last row or column of an odd image is blind there.
        if architecture == "transformer_router":
            images[:, :, -1, -1] += 10
            assert not torch.allclose(network(images), logits)


def test_router_temperature_softens_and_is_stored() -> None:
    router = TransformerRouter((8, 8, 1), 3)
    logits = torch.tensor([[2.0, 0.0, -2.0]])
    assert torch.equal(router.probabilities(logits), logits.softmax(dim=1))
    router.temperature.fill_(4.0)
    assert torch.allclose(router.probabilities(logits), (logits / 4).softmax(dim=1))
    assert router.state_dict()["temperature"] == 4.0


def test_spec_round_trips_and_options_reach_the_network() -> None:
    spec = NetworkSpec(architecture="student", shape=CIFAR, outputs=10, width=32, channels=(8, 16))
    assert NetworkSpec.model_validate_json(spec.model_dump_json()) == spec
    student = build(spec)
    assert student.state_dict()["features.0.weight"].shape == (8, 3, 3, 3)
    assert student.state_dict()["classifier.1.weight"].shape == (32, 16 * 8 * 8)
    router = build(NetworkSpec(architecture="linear_router", shape=CIFAR, outputs=3, hidden=(7, 5)))
    assert router.state_dict()["layers.3.weight"].shape == (5, 7)


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'vgg'.*resnet18.*student.*transformer_router"):
        NetworkSpec(architecture="vgg", shape=CIFAR, outputs=10)


def test_option_of_another_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="resnet18 has no option 'width'"):
        NetworkSpec(architecture="resnet18", shape=CIFAR, outputs=10, width=64)


@pytest.mark.parametrize(
    "hostile",
    [
        {"shape": (100_000, 100_000, 3)},
        {"shape": (0, 32, 3)},
        {"outputs": 10**9},
        {"width": 10**12},
        {"channels": (10**6, 10**6)},
        {"surprise": 1},
    ],
)
def test_hostile_spec_is_refused(hostile: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NetworkSpec.model_validate({"architecture": "student", "shape": CIFAR, "outputs": 10, **hostile})


def test_largest_allowed_options_together_do_not_allocate() -> None:
    student = NetworkSpec(architecture="student", shape=(256, 256, 3), outputs=10, width=16384, channels=(1024, 1024))
    with pytest.raises(InputError, match="parameters"):
        build(student)
    wide = NetworkSpec(architecture="student", shape=CIFAR, outputs=1000, width=8192)
    assert sum(p.numel() for p in skeleton(wide).parameters()) < MAX_PARAMETERS
    many = MixtureSpec(router=None, student=wide, clusters=tuple((label,) for label in range(1000)))
    with pytest.raises(InputError, match="parameters"):
        build(many)


def test_mixture_spec_builds_what_it_says() -> None:
    router = NetworkSpec(architecture="cnn_router", shape=(8, 8, 1), outputs=2)
    student = NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=16)
    spec = MixtureSpec(router=router, student=student, clusters=((0, 3), (1, 2)))
    mixture = build(spec)
    assert isinstance(mixture, Mixture)
    assert mixture.student_of_class.tolist() == [0, 1, 1, 0]
    assert MixtureSpec.model_validate_json(spec.model_dump_json()) == spec
    first, second = mixture.students
    assert first is not second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clusters": ((0, 3), (1,))}, "not a partition"),
        ({"clusters": ((0, 1, 2), (3,), (4,))}, "4 outputs"),
        ({"clusters": ((0, 1), (2,), (3,))}, "cannot choose among 3"),
        ({"router": {"architecture": "student", "shape": (8, 8, 1), "outputs": 2}}, "needs a router"),
        ({"router": {"architecture": "cnn_router", "shape": (9, 9, 1), "outputs": 2}}, r"\(9, 9, 1\)"),
        ({"shared_layers": 1}, r"\(4, 4, 32\)"),
        ({"shared_layers": 3}, "less than or equal to 2"),
    ],
)
def test_mixture_spec_of_unfitting_parts_is_refused(change: dict[str, object], message: str) -> None:
    fitting: dict[str, object] = {
        "router": {"architecture": "cnn_router", "shape": (8, 8, 1), "outputs": 2},
        "student": {"architecture": "student", "shape": (8, 8, 1), "outputs": 4},
        "clusters": ((0, 3), (1, 2)),
    }
    MixtureSpec.model_validate(fitting)
    with pytest.raises((InputError, ValidationError), match=message):
        MixtureSpec.model_validate({**fitting, **change})
