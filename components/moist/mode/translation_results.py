"""What training one translator measured, as its stage hands it on; free of torch, so that comparing needs none."""

from typing import Any

from pydantic import Field

from moist.frozen import Frozen
from moist.mode.model_names import Gate


class TranslationResults(Frozen):
    """One translator on one corpus."""

    corpus: str = Field(description="the training files: `train.en - train.de`")
    gate: Gate
    experts: int
    top_k: int
    alpha: float = Field(description="distillation strength; 0 is the plain mixture")
    parameters: int
    vocabulary: int = Field(description="pieces, of both languages together")
    pairs: dict[str, int] = Field(description="sentence pairs used for train, validation and test")
    network: dict[str, Any] = Field(description="width, layers, ...")
    training: dict[str, Any] = Field(description="epochs, batch_tokens, learning_rate, seed, ...")
    series: dict[str, list[float]] = Field(description="one value an epoch of each thing measured")
    search: dict[str, float] = Field(description="beam and length_penalty")
    test_bleu: float = Field(description="0-100, of the test translations")
    validation_bleu: float = Field(description="0-100, with the same search")
    signature: str = Field(description="sacrebleu's, which says how BLEU was counted")
    seconds: float = Field(description="of training, wall time of the last start only if it was interrupted")

    @property
    def variant(self) -> str:
        """The paper's column: single, MoE or MoDE."""
        return "single" if self.gate == "single" else "MoDE" if self.alpha else "MoE"
