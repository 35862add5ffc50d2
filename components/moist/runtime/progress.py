"""Progress on the terminal: a bar an epoch where somebody watches, a plain line an epoch where only a log does."""

import shutil
import sys
from typing import Any

from tqdm import tqdm


class TerminalProgress:
    """The loop's progress, as `moist.training.progress.Progress` wants it."""

    def __init__(self, stage: str, unit: str = "img") -> None:
        """`unit`: what the loop counts, for the bar's speed."""
        self._stage, self._unit = stage, unit
        self._bar: tqdm[Any] | None = None
        self._heading = stage

    def epoch_begins(self, epoch: int, epochs: int, images: int) -> None:
        self._heading = f"{self._stage} epoch {epoch}/{epochs}"
        if sys.stderr.isatty():
            width = shutil.get_terminal_size((100, 24)).columns
            self._bar = tqdm(total=images, desc=self._heading, unit=self._unit, unit_scale=True, ncols=width)

    def advanced(self, images: int, loss: float, accuracy: float | None = None) -> None:
        if self._bar is not None:
            known = "" if accuracy is None else f", accuracy {accuracy:.2%}"
            self._bar.set_postfix_str(f"loss {loss:.4f}{known}", refresh=False)
            self._bar.update(images)

    def epoch_ended(self, values: dict[str, float]) -> None:
        shown = ", ".join(_shown(name, value) for name, value in values.items())
        if self._bar is not None:
            # The bar itself shows the speed.
            told = [_shown(name, value) for name, value in values.items() if not name.endswith("_per_second")]
            self._bar.set_postfix_str(", ".join(told))
            self._bar.close()
            self._bar = None
        else:
            sys.stderr.write(f"{self._heading}: {shown}\n")
            sys.stderr.flush()


def _shown(name: str, value: float) -> str:
    if name.endswith("_per_second"):
        return f"{value:,.0f} {name.removesuffix('_per_second')}/s"
    label = "validation" if name == "validation_accuracy" else name.replace("_", " ")
    return f"{label} {value:.2%}" if name.endswith("accuracy") else f"{label} {value:.4f}"
