"""Training on tables: the batched trainer is a loop over seeds and alphas, and alpha 0 is the plain mixture."""

import numpy as np
import pytest
import torch
from moist.errors import DivergedError, InputError
from moist.mode.table_mixtures import DENSE, SINGLE, SPARSE, BatchedMixtures, TableModel, build_mixture, with_one
from moist.mode.table_training import TableTraining, prepare, train_batched, train_one
from moist.mode.tables import Table, split_rows
from pydantic import ValidationError

MODELS = {
    "single": SINGLE,
    "dense": DENSE,
    "dense of three": TableModel(gate="dense", experts=3),
    "sparse": SPARSE,
    "sparse, all experts": TableModel(gate="sparse", experts=3, top_k=3),
    "sparse, one expert": TableModel(gate="sparse", experts=4, top_k=1),
}
ALPHAS, SEEDS = [0.0, 10.0], [3, 5]
EQUAL = [(name, "logits") for name in MODELS]
EQUAL += [(name, space) for name in ("dense", "sparse") for space in ("probabilities", "embeddings")]


@pytest.mark.parametrize(("name", "space"), EQUAL)
def test_batched_equals_a_loop_over_50_steps(small_digits: Table, name: str, space: str) -> None:
    training = TableTraining(epochs=7, batch_size=16, space=space, keep="last", balance=0.1)
    together = train_batched(small_digits, MODELS[name], training, ALPHAS, SEEDS)
    assert len(together.losses) == 56
    for s, v in ((0, 0), (0, 1), (1, 1)):
        mixture, losses, validation = train_one(small_digits, MODELS[name], training, ALPHAS[v], SEEDS[s])
        torch.testing.assert_close(together.losses[:, s, v], losses, rtol=1e-7, atol=1e-9)
        assert torch.equal(together.validation[:, s, v], validation)
        test = together.data.test[s]
        theirs, ours = mixture(test), together.model.member(s, v)(test)
        torch.testing.assert_close(ours.output, theirs.output, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(ours.weights, theirs.weights, rtol=1e-6, atol=1e-7)


def test_batched_equals_a_loop_in_float32(digits: Table) -> None:
    training = TableTraining(epochs=3, keep="last")
    together = train_batched(digits, SPARSE, training, [0.1], [1])
    _, losses, _ = train_one(digits, SPARSE, training, 0.1, 1)
    torch.testing.assert_close(together.losses[:50, 0, 0], losses[:50], rtol=1e-4, atol=1e-5)


def test_alpha_0_is_the_plain_mixture_whatever_trains_beside_it(blobs: Table) -> None:
    training = TableTraining(epochs=3, batch_size=16)
    alone = train_batched(blobs, DENSE, training, [0.0], [2])
    beside = train_batched(blobs, DENSE, training, [0.0, 100.0], [2])
    assert torch.equal(alone.losses[:, 0, 0], beside.losses[:, 0, 0])
    assert not torch.equal(beside.losses[:, 0, 0], beside.losses[:, 0, 1])


def test_stacked_members_answer_as_the_modules_they_came_from() -> None:
    members = [[build_mixture(SPARSE, 5, 4, 10 * s + v).eval() for v in range(3)] for s in range(2)]
    stacked = BatchedMixtures(SPARSE, members).eval()
    x = torch.randn(2, 9, 5)
    output = stacked(with_one(x))
    for s in range(2):
        for v in range(3):
            alone = members[s][v](x[s])
            torch.testing.assert_close(output.logits[s, v], alone.output)
            torch.testing.assert_close(output.weights[s, v], alone.weights)
            torch.testing.assert_close(output.compared[s, v], alone.expert_outputs)
            torch.testing.assert_close(stacked.member(s, v)(x[s]).output, alone.output)


def test_a_mixture_is_decided_by_its_seed_and_leaves_the_global_state_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (build_mixture(DENSE, 5, 4, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_the_kept_epoch_is_the_best_on_validation_for_every_member(digits: Table) -> None:
    training = TableTraining(epochs=6, learning_rate=0.1)  # high, so that the accuracy goes up and down
    snapshots: list[dict[str, torch.Tensor]] = []
    trained = train_batched(
        digits,
        DENSE,
        training,
        [0.0, 1.0],
        [0, 1],
        after_epoch=lambda epoch, model, data: snapshots.append({k: p.clone() for k, p in model.state_dict().items()}),
    )
    assert torch.equal(trained.validation_accuracy, trained.validation.max(dim=0).values)
    assert len(set(trained.kept_epoch.flatten().tolist())) > 1
    for s in range(2):
        for v in range(2):
            kept = snapshots[int(trained.kept_epoch[s, v]) - 1]
            assert torch.equal(trained.model.output_weight[s, v], kept["output_weight"][s, v])
            assert torch.equal(trained.model.input_weight[s, :, v], kept["input_weight"][s, :, v])
            right = trained.model.member(s, v)(trained.data.test[s]).output.argmax(dim=1) == trained.data.test_labels[s]
            assert trained.test_accuracy[s, v].item() == pytest.approx(right.double().mean().item())
    last = train_batched(digits, DENSE, training.model_copy(update={"keep": "last"}), [0.0], [0])
    assert last.kept_epoch.item() == 6


def test_every_seed_has_its_own_split_scaled_by_its_own_training_rows(blobs: Table) -> None:
    data = prepare(blobs, "standard", [0, 1])
    first, second = (split_rows(len(blobs.labels), seed) for seed in (0, 1))
    assert not np.array_equal(first.test, second.test)
    torch.testing.assert_close(data.train.mean(dim=1), torch.zeros(2, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(data.train.std(dim=1, correction=0), torch.ones(2, 4), rtol=1e-4, atol=0)
    raw = prepare(blobs, "none", [0, 1])
    np.testing.assert_array_equal(raw.test[1].numpy(), blobs.features[second.test])
    scaled = (raw.test - raw.train.mean(dim=1, keepdim=True)) / raw.train.std(dim=1, correction=0, keepdim=True)
    torch.testing.assert_close(data.test, scaled, rtol=1e-4, atol=1e-5)


def test_it_learns_and_sgd_does_too(blobs: Table) -> None:
    for optimizer, rate in (("adam", 0.02), ("sgd", 0.05)):
        training = TableTraining(epochs=12, batch_size=16, optimizer=optimizer, learning_rate=rate)
        for model in (SINGLE, DENSE, SPARSE):
            assert train_batched(blobs, model, training, [0.01], [0, 1]).test_accuracy.min() >= 0.9


def test_bad_settings(blobs: Table) -> None:
    with pytest.raises(InputError, match="top_k is 3, but the mixture has 2 experts"):
        TableModel(gate="sparse", experts=2, top_k=3)
    with pytest.raises(ValidationError, match="a single model has experts=1"):
        TableModel(gate="single", experts=2)
    with pytest.raises(InputError, match=r"alphas are \[-1\]"):
        train_batched(blobs, DENSE, TableTraining(), [-1], [0])
    with pytest.raises(InputError, match=r"seeds are \[1, 1\]"):
        train_batched(blobs, DENSE, TableTraining(), [0.1], [1, 1])
    wild = TableTraining(epochs=30, optimizer="sgd", learning_rate=1e6, scaling="none")
    with pytest.raises(DivergedError, match=r"the loss of seed 0 with alpha 100\.0 is not finite"):
        train_batched(blobs, DENSE, wild, [100.0], [0])
