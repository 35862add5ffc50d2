"""train_mixture's settings, inputs and outputs."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from moist.errors import InputError
from moist.mode.model_names import Gate, parse_model_name
from moist.runtime.common_settings import check_strengths, numbers
from moist.runtime.kinds import CURVES, METRICS, TABLE, TABLE_MIXTURES
from moist.runtime.stage import Stage, StageSettings


class Settings(StageSettings):
    """Which mixture, at which distillation strengths, and how it learns; the paper leaves most of it open."""

    model: str = Field(
        "dense-2",
        description="single (one expert, no gate), dense-E (E experts) or sparse-E-K (the K heaviest of E experts)",
    )
    hidden: int = Field(16, ge=1, le=65_536, description="units of an expert's hidden layer")
    alphas: str = Field(
        "0, 0.01, 0.1",
        description="distillation strengths, each 0 or more, divided by commas; 0 is the plain mixture",
    )
    runs: int = Field(10, ge=1, le=1000, description="seeds: each its own split, initialisation, order and noise")
    seed: int = Field(0, ge=0, lt=2**31 - 1000, description="the first seed; the others follow")
    epochs: int = Field(60, ge=1, le=10_000, description="passes over the training rows")
    batch_size: int = Field(64, ge=1, le=65_536, description="rows a step")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="AdamW, or SGD with momentum 0.9")
    learning_rate: float = Field(5e-3, gt=0, le=10, description="learning rate, constant")
    weight_decay: float = Field(0.0, ge=0, le=1, description="weight decay, decoupled for adam")
    scaling: Literal["standard", "none"] = Field("standard", description="of features, fitted on the training rows")
    space: Literal["logits", "outputs", "probabilities", "embeddings"] = Field(
        "logits", description="where experts are compared; outputs and logits are the same here"
    )
    balance: float = Field(0.0, ge=0, le=1000, description="weight of the load-balance loss")
    keep: Literal["best", "last"] = Field("best", description="the epoch of best validation accuracy, or the last")
    narrow_vision: Literal["skip", "measure"] = Field(
        "skip", description="measure how much the inputs that each expert dominates teach the others (Fig 1)"
    )

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        parse_model_name(model)
        return model

    @field_validator("alphas")
    @classmethod
    def _numbers(cls, alphas: str) -> str:
        check_strengths(alphas)
        return alphas

    @model_validator(mode="after")
    def _nothing_to_distil(self) -> Self:
        if self.model == "single" and any(self.strengths):
            raise InputError(
                f"Setting alphas={self.alphas!r} is not allowed with model='single': give 0, it has no peers."
            )
        return self

    @property
    def gate(self) -> Gate:
        return parse_model_name(self.model).gate

    @property
    def experts(self) -> int:
        return parse_model_name(self.model).experts

    @property
    def top_k(self) -> int:
        return parse_model_name(self.model).top_k

    @property
    def strengths(self) -> list[float]:
        """The alphas as numbers, in the order given."""
        return numbers(self.alphas)

    @property
    def seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.runs))


STAGE = Stage(
    name="train_mixture",
    summary="Train a mixture on a table for every seed and distillation strength, all as one batched model.",
    settings=Settings,
    inputs={"table": TABLE},
    outputs={"mixtures": TABLE_MIXTURES, "metrics": METRICS, "curves": CURVES},
)
