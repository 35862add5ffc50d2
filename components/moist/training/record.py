"""How a model came to be: one step a training stage, kept with the model so that budgets add up across stages."""

from typing import Any

from pydantic import Field

from moist.frozen import Frozen
from moist.training.loop import History, Recipe


class Step(Frozen):
    """One stage's training of a model or of one of its parts."""

    stage: str
    epochs: int = Field(description="passes over the training images")
    macs: float = Field(description="forward multiply-adds spent: images * epochs * multiply-adds an image")
    series: dict[str, list[float]] = Field(description="one value an epoch of each thing measured")


def step(stage: str, recipe: Recipe, history: History, images: int, macs_per_image: float) -> Step:
    """The record of one `fit` over `images` images that each cost `macs_per_image` in the forward pass."""
    macs = float(images) * recipe.epochs * macs_per_image
    return Step(stage=stage, epochs=recipe.epochs, macs=macs, series=history.series)


def read_steps(extra: dict[str, Any]) -> list[Step]:
    """The steps kept with a model; none if it was not trained here."""
    return [Step.model_validate(entry) for entry in extra.get("training", [])]


def keep(steps: list[Step]) -> dict[str, Any]:
    """What to keep with a model."""
    return {"training": [entry.model_dump() for entry in steps]}
