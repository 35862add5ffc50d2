"""Multiply-adds: the router is in a mixture's cost, attention is counted, and the same-cost control fits."""

import pytest
import torch
from moist.errors import InputError
from moist.models.cost import channels_for_macs, cost, macs, student_macs
from moist.models.latency import measure
from moist.models.mixture import Mixture
from moist.models.routers import CnnRouter, LinearRouter, TransformerRouter
from moist.models.specification import MixtureSpec, NetworkSpec, build, router_spec
from moist.models.student import Student
from torch import Tensor, nn

CIFAR = (32, 32, 3)


def test_router_is_in_the_mixtures_cost() -> None:
    """The paper's table leaves it out: data-dependent routing drops the router from a trace of the whole."""
    router, students = CnnRouter(CIFAR, 3), [Student(CIFAR, 10) for _ in range(3)]
    whole = cost(Mixture(router, students, ((0, 8), (1, 9), (2, 3, 4, 5, 6, 7))), CIFAR)
    assert whole.router_macs == macs(router, CIFAR) > 6_000_000
    assert whole.macs == whole.router_macs + 6_654_464
    assert whole.macs / 1e6 == pytest.approx(12.88, abs=0.005)
    assert whole.parameters == 544_387 + 3 * 1_070_794
    # The paper's unit is student only, so that it can be compared with the paper's table.
    assert whole.paper_mflops == pytest.approx(0.104, abs=5e-4)


def test_oracle_and_single_network_have_no_router_cost() -> None:
    student = Student(CIFAR, 10)
    assert cost(student, CIFAR).router_macs == 0
    assert cost(Mixture(None, [student], (tuple(range(10)),)), CIFAR) == cost(student, CIFAR)


@pytest.mark.parametrize(("shape", "patches", "patch"), [(CIFAR, 64, 4), ((28, 28, 1), 49, 4), ((8, 8, 1), 16, 2)])
@pytest.mark.parametrize("gradient", [True, False], ids=["gradient", "no gradient"])
def test_transformer_macs_match_the_formula(
    shape: tuple[int, int, int], patches: int, patch: int, gradient: bool
) -> None:
    """Without gradients PyTorch fuses attention into one operator that fvcore skips: a third of the cost is lost."""
    width, feed_forward, students = 64, 256, 3
    embedding = patches * patch * patch * shape[2] * width
    attention = 4 * patches * width * width + 2 * patches * patches * width
    norms = 5 * patches * width  # fvcore's convention for one layer norm
    layer = attention + 2 * patches * width * feed_forward + 2 * norms
    with torch.set_grad_enabled(gradient):
        counted = macs(TransformerRouter(shape, students), shape)
    assert counted == embedding + 2 * layer + norms + width * students


def test_a_shared_trunk_is_counted_once() -> None:
    student = NetworkSpec(architecture="student", shape=CIFAR, outputs=10)
    clusters = ((0, 8), (1, 9), (2, 3, 4, 5, 6, 7))
    router = router_spec("head", (8, 8, 64), 3, hidden=1)
    mixture = build(MixtureSpec(router=router, student=student, clusters=clusters, shared_layers=2))
    counted = cost(mixture, CIFAR)
    first, second, head = 9 * 32 * 32 * 3 * 32, 9 * 16 * 16 * 32 * 64, (4096 + 10) * 256
    assert counted.trunk_macs == first + second
    assert counted.student_macs == first + second + head == 6_654_464
    # fvcore counts each element that is pooled and twice each that is normalised; then the linear layer.
    assert counted.router_macs == 8 * 8 * 64 + 2 * 4 * 4 * 64 + 1024 * 3
    assert counted.macs == counted.router_macs + counted.student_macs
    assert counted.macs_of(1.5) == counted.macs + head / 2
    assert counted.parameters == 19_392 + 3 * (4097 * 256 + 257 * 10) + 2 * 64 + 1025 * 3


def test_a_class_router_costs_what_its_student_costs() -> None:
    router = build(router_spec("class", CIFAR, 3, hidden=256, channels=32))
    assert macs(router, CIFAR) == macs(Student(CIFAR, 10, width=256, channels=(16, 32)), CIFAR) == 2_148_864


def test_linear_router_macs() -> None:
    assert macs(LinearRouter(CIFAR, 3, hidden=(50, 20)), CIFAR) == 3072 * 50 + 50 * 20 + 20 * 3


def test_operator_that_cannot_be_counted_is_refused() -> None:
    class Fourier(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.fft.fft2(images).abs()

    with pytest.raises(InputError, match="fft"):
        macs(Fourier(), (8, 8, 1))


def test_counting_leaves_the_network_as_it_was() -> None:
    router = CnnRouter((8, 8, 1), 2)
    router.features.eval()
    before = {name: tensor.clone() for name, tensor in router.state_dict().items()}
    modes = [module.training for module in router.modules()]
    macs(router, (8, 8, 1))
    assert [module.training for module in router.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in router.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    ("shape", "width", "target"), [(CIFAR, 256, 12_880_768), ((28, 28, 1), 64, 5_000_000), ((9, 13, 2), 16, 40_000)]
)
def test_same_cost_student_is_the_narrowest_that_costs_enough(
    shape: tuple[int, int, int], width: int, target: int
) -> None:
    first, second = channels_for_macs(shape, 10, width, target)
    assert abs(second - 2 * first) <= 1
    assert macs(Student(shape, 10, width, (first, second)), shape) >= target
    narrower = ((second - 1 + 1) // 2, second - 1)
    assert macs(Student(shape, 10, width, narrower), shape) < target


def test_student_formula_agrees_with_fvcore() -> None:
    for shape, width, channels in ((CIFAR, 256, (32, 64)), ((9, 13, 2), 7, (3, 5)), ((8, 8, 1), 16, (48, 92))):
        assert student_macs(shape, 10, width, channels) == macs(Student(shape, 10, width, channels), shape)


def test_base_cost_gives_the_papers_channels() -> None:
    assert channels_for_macs(CIFAR, 10, 256, 6_654_464) == (32, 64)


def test_impossible_target_is_refused() -> None:
    with pytest.raises(InputError, match="1024 channels"):
        channels_for_macs((8, 8, 1), 10, 16, 10**15)


def test_latency_takes_turns_in_changing_order_on_changing_batches_without_gradients() -> None:
    calls: list[tuple[str, int, float]] = []

    def model(key: str) -> Student:
        student = Student((8, 8, 1), 10, width=4)

        def seen(_module: nn.Module, images: tuple[torch.Tensor], logits: torch.Tensor) -> None:
            assert not logits.requires_grad
            calls.append((key, len(images[0]), float(images[0].flatten()[0])))

        student.register_forward_hook(seen)
        return student

    batches = {1: [torch.full((1, 1, 8, 8), float(number)) for number in range(2)], 3: [torch.rand(3, 1, 8, 8)]}
    timings = measure({"a": model("a"), "b": model("b")}, batches, 0.0)
    rounds = [calls[start : start + 2] for start in range(0, len(calls), 2)]
    assert all({key for key, *_ in pair} == {"a", "b"} and pair[0][1:] == pair[1][1:] for pair in rounds)
    assert {pair[0][0] for pair in rounds} == {"a", "b"}, "neither is always first"
    assert {pair[0][2] for pair in rounds if pair[0][1] == 1} == {0.0, 1.0}, "every batch has its turn"
    for rows in timings.values():
        assert [row.batch_size for row in rows] == [1, 3]
        assert all(0 < row.median_ms <= row.p95_ms for row in rows)
