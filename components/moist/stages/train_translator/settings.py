"""train_translator's settings, inputs and outputs."""

import math
from typing import Self

from pydantic import Field, field_validator, model_validator

from moist.errors import InputError
from moist.mode.model_names import ModelName, parse_model_name
from moist.runtime.common_settings import LoopSettings
from moist.runtime.kinds import CURVES, METRICS, TRANSLATION_RESULTS
from moist.runtime.stage import Port, Stage


class Settings(LoopSettings):
    """Which corpus, which Transformer, and how it learns. Files: UTF-8, a sentence a line, plain or .gz, path or s3://."""

    source: str = Field("train.en", min_length=1, description="file of the training sentences to translate from")
    target: str = Field("train.de", min_length=1, description="file of their translations, line by line")
    validation_source: str = Field("", description="file; empty holds sentence pairs of the training files out")
    validation_target: str = Field("", description="file; empty as validation_source is")
    test_source: str = Field("", description="file; empty holds sentence pairs of the training files out")
    test_target: str = Field("", description="file; empty as test_source is")
    model: str = Field(
        "single",
        description="single (a plain Transformer), dense-E (its first feed-forwards are E experts each) or sparse-E-K "
        "(the K heaviest of E experts)",
    )
    alpha: str = Field("0", description="distillation strength, 0 or more; the paper's is 1, 0 is the plain mixture")
    vocabulary: int = Field(8000, ge=8, le=1_000_000, description="subword pieces of both languages together")
    width: int = Field(256, ge=2, le=8192, description="width of the network")
    feed_forward: int = Field(1024, ge=1, le=65_536, description="hidden units of a feed-forward and of an expert")
    heads: int = Field(4, ge=1, le=256, description="heads of each attention")
    layers: int = Field(2, ge=1, le=100, description="blocks of the encoder, and of the decoder")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of embeddings and of what each part of a block adds")
    epochs: int = Field(8, ge=1, le=10_000, description="passes over the training pairs")
    batch_tokens: int = Field(1024, ge=1, le=10_000_000, description="pieces a step, filling included, longer side")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="peak learning rate; linear up, then linear to zero")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of all steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, le=1, description="weight decay")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the truth spread over all pieces")
    balance: float = Field(0.0, ge=0, le=1000, description="weight of the load-balance loss")
    longest: int = Field(128, ge=1, le=100_000, description="pieces a side beyond which a training pair is left out")
    beam: int = Field(4, ge=1, le=1000, description="hypotheses of the search for a translation; 1 is greedy")
    length_penalty: float = Field(0.6, ge=0, le=10, description="exponent of the length that scores are divided by")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, order, dropout and held-out pairs")

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        parse_model_name(model)
        return model

    @field_validator("alpha")
    @classmethod
    def _number(cls, alpha: str) -> str:
        if not (math.isfinite(float(alpha)) and float(alpha) >= 0):
            raise ValueError("give a number, 0 or more")
        return alpha

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for part in ("validation", "test"):
            if bool(getattr(self, f"{part}_source")) != bool(getattr(self, f"{part}_target")):
                raise InputError(f"Settings {part}_source and {part}_target go together: name both files, or neither.")
        if self.model == "single" and self.strength:
            raise InputError(f"Setting alpha={self.alpha} is not allowed with model='single': give 0, it has no peers.")
        if self.width % (2 * self.heads):
            raise InputError(
                f"Setting width={self.width} is not allowed: it must be a multiple of twice heads={self.heads}."
            )
        return self

    @property
    def strength(self) -> float:
        """`alpha` as a number; it is text because every field of a pipeline's loop is."""
        return float(self.alpha)

    @property
    def name(self) -> ModelName:
        """What `model` says."""
        return parse_model_name(self.model)


STAGE = Stage(
    name="train_translator",
    summary="Train a Transformer with or without mixtures of experts on parallel text, and count its BLEU.",
    settings=Settings,
    inputs={},
    outputs={
        "translator": Port("translator", "Model", "the network and its tokenizer"),
        "results": TRANSLATION_RESULTS,
        "translations": Port("translations", "Artifact", "the test sentences, their translations and the references"),
        "metrics": METRICS,
        "curves": CURVES,
    },
)
