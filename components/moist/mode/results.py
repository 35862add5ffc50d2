"""What the MoDE pipeline measures, as its stages hand it on; free of torch, so that comparing needs none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from moist.errors import DamagedArtifactError, InputError
from moist.frozen import Frozen
from moist.mode.probing import Probe, Repairs

FILE = "results.json"


class Architecture(Frozen):
    """Which mixture: one expert alone, or several under a gate."""

    gate: Literal["single", "dense", "sparse"]
    experts: int
    top_k: int
    hidden: int

    @property
    def label(self) -> str:
        """For tables: `single`, `dense, 2 experts`, `sparse, 2 of 10 experts`."""
        if self.gate == "single":
            return "single"
        many = f"{self.top_k} of {self.experts}" if self.gate == "sparse" else f"{self.experts}"
        return f"{self.gate}, {many} experts"


class NarrowVision(Frozen):
    """Fig 1 for one alpha."""

    share: list[list[float | None]] = Field(
        description="(subsets, experts): of the gradient of the subset that an expert dominates, each expert's part, "
        "mean norms over epochs and seeds; rows sum to 1"
    )
    own_share: list[float | None] = Field(
        description="a subset's share on its own expert, mean over subsets, for each of `epochs`"
    )
    epochs: list[int]


class VariantResults(Frozen):
    """One architecture on one table: S seeds x V alphas."""

    architecture: Architecture
    training: dict[str, Any] = Field(description="epochs, batch_size, learning_rate, ...")
    alphas: list[float]
    seeds: list[int]
    test: list[list[float]] = Field(description="(S, V): accuracy on the test rows, 0-1, at the kept epoch")
    validation: list[list[float]] = Field(description="(S, V)")
    kept_epoch: list[list[int]] = Field(description="(S, V): 1 to epochs")
    narrow_vision: list[NarrowVision] = Field(default=[], description="one an alpha; empty if not measured")
    probes: list[list[Probe]] = Field(default=[], description="(V, S): on the test rows; empty before probing")
    repairs: list[list[Repairs]] = Field(
        default=[], description="(V, S): of the errors at alpha 0, on the test rows; empty without alpha 0"
    )
    seconds: float = Field(description="of training, all seeds and alphas together")


class TableResults(Frozen):
    """Everything measured on one table."""

    table: str
    rows: int
    features: int
    classes: list[str]
    notes: list[str]
    variants: list[VariantResults]


class ImageResults(Frozen):
    """Everything measured on one image data set (Table 5): S seeds, V alphas, the first 0; accuracies 0-1."""

    images: str
    classes: int
    shape: tuple[int, int, int] = Field(description="height, width, channels")
    train: int = Field(description="training images")
    validation_images: int
    test_images: int
    split: str
    augmentation: str
    training: dict[str, Any] = Field(description="network, experts, epochs, batch_size, ...")
    seeds: list[int]
    alphas: list[float]
    single: list[float] = Field(description="(S,): one expert alone, on the test images")
    test: list[list[float]] = Field(description="(S, V): on the test images, after the last epoch")
    validation: list[list[float | None]] = Field(description="(S, V): None without validation images")
    probes: list[list[Probe]] = Field(description="(V, S): on the test images")
    curves: dict[str, list[float]] = Field(
        default={}, description="the first seed's accuracy on its training images by epoch, for each network"
    )
    seconds: float = Field(description="of training and probing, all together")


def offered(alphas: Sequence[float], among: Sequence[float]) -> list[float]:
    """The strengths among which MoDE's is chosen: those trained that are candidates, 0 left out."""
    return [alpha for alpha in alphas if alpha in among and alpha > 0]


def best_alpha(alphas: Sequence[float], validation: Sequence[Sequence[float | None]], among: Sequence[float]) -> float:
    """Of the alphas in `among`, that of best mean validation accuracy (S, V); the first of equals.

    Raises InputError when `among` holds none of `alphas` above 0.
    """
    choices = offered(alphas, among)
    if not choices:
        raise InputError(
            f"trained were the alphas {', '.join(f'{alpha:g}' for alpha in alphas)}, but none of those to choose from "
            f"({', '.join(f'{alpha:g}' for alpha in among)})."
        )
    return max(choices, key=lambda alpha: sum(row[list(alphas).index(alpha)] or 0.0 for row in validation))


ResultsT = TypeVar("ResultsT", bound=Frozen)


def write_results(results: Frozen, folder: Path) -> None:
    """Write `results.json` into a folder, which is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(results.model_dump_json() + "\n", "utf-8")


def read_results(kind: type[ResultsT], folder: Path) -> ResultsT:
    """Read what write_results wrote. Raises DamagedArtifactError."""
    try:
        return kind.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise DamagedArtifactError(
            f"{folder / FILE} does not hold {kind.__name__} ({str(error).splitlines()[0]}); rerun its stage."
        ) from None
