"""The training loop: it learns, repeats itself, and stops at a loss that is not finite."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from moist.errors import DivergedError
from moist.models.specification import NetworkSpec, build
from moist.training.images import Images
from moist.training.loop import Batch, History, Objective, Outcome, Recipe, fit
from tiny import tiny_dataset

RECIPE = Recipe(epochs=4, batch_size=32, learning_rate=5e-3, weight_decay=0.01, warmup_epochs=1, seed=3)


def cross_entropy(model: torch.nn.Module) -> Objective:
    def objective(batch: Batch) -> Outcome:
        logits = model(batch.images)
        return Outcome(F.cross_entropy(logits, batch.labels), (logits.argmax(1) == batch.labels).sum())

    return objective


def train(recipe: Recipe = RECIPE) -> tuple[torch.nn.Module, History]:
    data = tiny_dataset()
    torch.manual_seed(0)
    model = build(NetworkSpec(architecture="cnn_router", shape=(8, 8, 1), outputs=4))
    images = Images(data, data.train, torch.device("cpu"))
    return model, fit(model, images, cross_entropy(model), recipe)


def test_it_learns() -> None:
    _, history = train()
    assert len(history.series["loss"]) == 4
    assert history.series["accuracy"][-1] > 0.9
    assert history.series["loss"][-1] < history.series["loss"][0]


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    first, second = train()[0].state_dict(), train()[0].state_dict()
    other = train(dataclasses.replace(RECIPE, seed=4))[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_views_are_cycled_from_the_first_augmented_one() -> None:
    stored = dataclasses.replace(RECIPE, views=3)
    assert [stored.view(epoch) for epoch in range(1, 8)] == [1, 2, 3, 1, 2, 3, 1]
    assert [RECIPE.view(epoch) for epoch in range(1, 4)] == [1, 2, 3]
    assert [dataclasses.replace(RECIPE, views=0).view(epoch) for epoch in range(1, 4)] == [0, 0, 0]


def test_a_loss_that_is_not_finite_names_the_step_and_the_last_good_state() -> None:
    data = tiny_dataset()
    model = build(NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=8))
    inner, calls = cross_entropy(model), 0

    def objective(batch: Batch) -> Outcome:
        nonlocal calls
        calls += 1
        outcome = inner(batch)
        return Outcome(outcome.loss * (float("nan") if calls == 5 else 1.0), outcome.correct)

    with pytest.raises(DivergedError, match=r"nan at step 2 of epoch 2 .*last good state was the end of epoch 1"):
        fit(model, Images(data, data.train, torch.device("cpu")), objective, RECIPE)


@pytest.mark.parametrize(("batch_size", "sizes"), [(32, [32, 33]), (64, [65]), (5, [5] * 13), (33, [33, 32])])
def test_a_last_image_alone_joins_the_batch_before(batch_size: int, sizes: list[int]) -> None:
    """Batch norms of 1x1 pixels cannot be trained on one image."""
    data, seen = tiny_dataset(), []
    few = data.train[np.arange(65)]
    model = build(NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=8))
    inner = cross_entropy(model)

    def objective(batch: Batch) -> Outcome:
        seen.append(batch.indices)
        return inner(batch)

    recipe = dataclasses.replace(RECIPE, epochs=1, batch_size=batch_size)
    history = fit(model, Images(data, few, torch.device("cpu")), objective, recipe)
    assert [len(indices) for indices in seen] == sizes
    assert torch.cat(seen).sort().values.tolist() == list(range(65))
    assert 0 <= history.series["accuracy"][0] <= 1


class Kept:
    """Checkpoints in memory, due for the first time after some calls."""

    def __init__(self, first_due: int) -> None:
        self.calls, self.first_due = 0, first_due
        self.states: list[tuple[int, int]] = []

    def load(self) -> dict[str, Any] | None:
        return None

    def due(self, finished: bool = False) -> bool:
        self.calls += 1
        return self.calls == self.first_due or (finished and bool(self.states))

    def save(self, state: dict[str, Any]) -> None:
        self.states.append((state["epoch"], state["step"]))


@pytest.mark.parametrize(("first_due", "saved"), [(2, [(3, 0), (5, 0)]), (99, [])])
def test_a_training_that_was_saved_at_all_is_saved_at_its_end(first_due: int, saved: list[tuple[int, int]]) -> None:
    data = tiny_dataset()
    model = build(NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=8))
    kept = Kept(first_due)
    images = Images(data, data.train[np.arange(64)], torch.device("cpu"))
    fit(model, images, cross_entropy(model), RECIPE, checkpoints=kept)
    assert kept.states == saved
