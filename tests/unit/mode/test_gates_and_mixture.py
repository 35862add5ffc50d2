"""The layer: gates choose and weigh as the equations say, and a mixture runs exactly the experts that were chosen."""

import math

import pytest
import torch
from moist.errors import InputError
from moist.mode.gates import DenseGate, SparseGate, load_balance_loss
from moist.mode.mixture import MixtureOfExperts
from torch import Tensor, nn

FEATURES, CLASSES = 6, 3


class Counting(nn.Module):
    """An expert that remembers how many rows it saw in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(FEATURES, CLASSES)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.inner(x)


def mixture(gate: DenseGate | SparseGate, seed: int = 0) -> MixtureOfExperts:
    torch.manual_seed(seed)
    nn.init.normal_(gate.score.weight)
    experts = [nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES)) for _ in range(gate.experts)]
    return MixtureOfExperts(experts, gate)


def by_hand(model: MixtureOfExperts, x: Tensor) -> Tensor:
    """Equation 1 with every expert computed."""
    outputs = torch.stack([expert(x) for expert in model.experts], dim=1)
    return (model(x).weights.unsqueeze(2) * outputs).sum(dim=1)


GATES = {
    "dense": lambda: DenseGate(FEATURES, 4),
    "sparse": lambda: SparseGate(FEATURES, 4, 2),
    "sparse, one of four": lambda: SparseGate(FEATURES, 4, 1),
    "sparse, all": lambda: SparseGate(FEATURES, 4, 4),
    "dense, one expert": lambda: DenseGate(FEATURES, 1),
    "sparse, one expert": lambda: SparseGate(FEATURES, 1, 1),
}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("batch", [1, 17])
def test_output_is_the_weighted_sum_of_the_chosen_experts(name: str, batch: int) -> None:
    model = mixture(GATES[name]()).eval()
    x = torch.randn(batch, FEATURES)
    output = model(x)
    torch.testing.assert_close(output.output, by_hand(model, x))
    assert ((output.weights != 0).sum(dim=1) == model.gate.top_k).all()
    for k in range(model.gate.top_k):
        rows = torch.stack([model.experts[int(e)](x[i]) for i, e in enumerate(output.routing.experts[:, k])])
        torch.testing.assert_close(output.expert_outputs[:, k], rows)


def test_dense_gate_is_softmax_and_sparse_keeps_its_largest() -> None:
    dense, sparse = DenseGate(FEATURES, 4), SparseGate(FEATURES, 4, 2).eval()
    sparse.load_state_dict(dense.state_dict())
    x = torch.randn(9, FEATURES)
    weights = dense(x).weights
    torch.testing.assert_close(weights, torch.softmax(dense.score(x), dim=1))
    torch.testing.assert_close(sparse(x).weights, weights.topk(2).values)  # kept as they are, not normalised
    assert torch.equal(sparse(x).experts, weights.topk(2).indices)


def test_noise_only_in_training_and_of_the_size_of_equation_4() -> None:
    torch.manual_seed(0)
    gate = SparseGate(FEATURES, 5, 5)
    x = torch.randn(1, FEATURES).expand(20000, -1)
    noisy = gate.train()(x)
    spread = torch.zeros(20000, 5).scatter(1, noisy.experts, noisy.weights).std(dim=0)
    torch.testing.assert_close(spread, torch.full((5,), 1 / 5), rtol=0.03, atol=0)
    quiet = gate.eval()(x)
    assert torch.equal(quiet.weights[0], quiet.weights[-1])
    torch.testing.assert_close(quiet.weights.sum(dim=1), torch.ones(20000))


def test_sparse_runs_an_expert_only_on_its_inputs_and_an_empty_one_never() -> None:
    gate = SparseGate(FEATURES, 5, 2).eval()
    with torch.no_grad():
        gate.score.weight.zero_()
        gate.score.bias.copy_(torch.tensor([0.0, 3.0, 0.0, 2.0, 1.0]))
    experts = [Counting() for _ in range(5)]
    output = MixtureOfExperts(experts, gate)(torch.randn(7, FEATURES))
    output.output.sum().backward()
    assert [expert.seen for expert in experts] == [[], [7], [], [7], []]
    assert [expert.inner.weight.grad is not None for expert in experts] == [False, True, False, True, False]


def test_ties_go_to_the_first_experts() -> None:
    gate = SparseGate(FEATURES, 6, 3).eval()
    nn.init.zeros_(gate.score.weight)
    nn.init.zeros_(gate.score.bias)
    routing = gate(torch.randn(50, FEATURES))
    assert torch.equal(routing.experts, torch.tensor([0, 1, 2]).expand(50, -1))
    torch.testing.assert_close(routing.weights, torch.full((50, 3), 1 / 6))


def test_capacity_drops_the_lightest_of_a_full_expert_in_training_only() -> None:
    model = mixture(SparseGate(FEATURES, 3, 1, capacity_factor=0.5))
    with torch.no_grad():
        model.gate.score.weight.zero_()
        model.gate.score.bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    x, noise = torch.randn(12, FEATURES), torch.zeros(12, 3)
    noise[:, 0] = torch.arange(12) / 10  # all prefer expert 0, later rows more
    output = model.train()(x, noise)
    room = math.ceil(0.5 * 12 / 3)
    assert output.routing.active.flatten().tolist() == [False] * (12 - room) + [True] * room
    assert (output.output[:-room] == 0).all()
    assert (output.weights[:-room] == 0).all()
    torch.testing.assert_close(output.output, by_hand_with(model, x, output.weights))
    assert model.eval()(x).routing.active.all()


def test_capacity_with_all_experts_chosen_drops_too() -> None:
    model = mixture(SparseGate(FEATURES, 2, 2, capacity_factor=0.5)).train()
    output = model(torch.randn(8, FEATURES))
    assert output.routing.active.sum() == 2 * 4
    assert (output.expert_outputs[~output.routing.active] == 0).all()


def by_hand_with(model: MixtureOfExperts, x: Tensor, weights: Tensor) -> Tensor:
    return (weights.unsqueeze(2) * torch.stack([expert(x) for expert in model.experts], dim=1)).sum(dim=1)


def test_load_balance_is_1_when_even_and_largest_when_one_expert_takes_all() -> None:
    gate = SparseGate(FEATURES, 4, 1).eval()
    nn.init.zeros_(gate.score.weight)
    with torch.no_grad():
        gate.score.bias.copy_(torch.tensor([50.0, 0.0, 0.0, 0.0]))
    assert load_balance_loss(gate(torch.randn(8, FEATURES))).item() == pytest.approx(4.0)
    even = gate(torch.randn(8, FEATURES))._replace(
        experts=torch.arange(8).remainder(4).unsqueeze(1), probabilities=torch.full((8, 4), 0.25)
    )
    assert load_balance_loss(even).item() == pytest.approx(1.0)


def test_any_expert_network_and_any_output_shape() -> None:
    gate = SparseGate(2 * 5 * 5, 3, 2).eval()
    model = MixtureOfExperts([nn.Conv2d(2, 4, 3, padding=1) for _ in range(3)], gate)
    x = torch.randn(6, 2, 5, 5)
    output = model(x)
    assert output.output.shape == (6, 4, 5, 5)
    assert output.expert_outputs.shape == (6, 2, 4, 5, 5)
    alone = [model(x[i : i + 1]).output for i in range(6)]
    torch.testing.assert_close(output.output, torch.cat(alone))


def test_empty_batch_keeps_its_shape() -> None:
    for name in ("dense", "sparse"):
        assert mixture(GATES[name]()).eval()(torch.randn(0, FEATURES)).output.shape == (0, CLASSES)


@pytest.mark.parametrize("name", ["dense", "sparse", "sparse, all"])
def test_gradients_reach_experts_and_gate_as_finite_differences_say(name: str) -> None:
    model = mixture(GATES[name]()).double().eval()
    x = torch.randn(5, FEATURES, dtype=torch.double, requires_grad=True)
    parameters = tuple(parameter.detach().requires_grad_() for parameter in model.parameters())
    names = [name for name, _ in model.named_parameters()]

    def output(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,)).output

    assert torch.autograd.gradcheck(output, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize(("name", "backend"), [("dense", "eager"), ("sparse", "aot_eager")])
# Dynamo itself looks at .grad of what crosses a graph break (the sparse layer reads its group sizes).
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled_gives_the_same(name: str, backend: str) -> None:
    torch._dynamo.reset()
    model = mixture(GATES[name]()).eval()
    compiled = torch.compile(model, backend=backend)
    for rows in (16, 5):
        x = torch.randn(rows, FEATURES)
        torch.testing.assert_close(compiled(x).output, model(x).output)


@pytest.mark.parametrize("name", ["dense", "sparse", "sparse, all"])
def test_exported_gives_the_same_for_any_batch(name: str) -> None:
    model = mixture(GATES[name]()).eval()
    batch = torch.export.Dim("batch", min=1, max=4096)
    exported = torch.export.export(model, (torch.randn(16, FEATURES),), dynamic_shapes={"x": {0: batch}}).module()
    for rows in (1, 2, 33):
        x = torch.randn(rows, FEATURES)
        torch.testing.assert_close(exported(x).output, model(x).output)


@pytest.mark.parametrize("name", ["dense", "sparse"])
def test_autocast_computes_experts_in_half_and_gate_in_full_precision(name: str) -> None:
    model = mixture(GATES[name]()).eval()
    x = torch.randn(16, FEATURES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(x)
    assert output.expert_outputs.dtype == torch.bfloat16
    assert output.weights.dtype == torch.float32
    torch.testing.assert_close(output.output.float(), model(x).output, rtol=0.05, atol=0.05)
    output.output.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("top_k", [0, 5])
def test_top_k_outside_the_experts_is_refused(top_k: int) -> None:
    with pytest.raises(InputError, match=f"top_k is {top_k}, but the mixture has 4 experts"):
        SparseGate(FEATURES, 4, top_k)


def test_other_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="weighs 3 experts, but 2 were given"):
        MixtureOfExperts([nn.Identity(), nn.Identity()], DenseGate(FEATURES, 3))
    with pytest.raises(InputError, match="capacity_factor is 0"):
        SparseGate(FEATURES, 3, 1, capacity_factor=0)
