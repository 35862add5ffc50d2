"""python -m tiny_stage ...: a small stage with folders, a single file and optional inputs, for contract tests."""

import os
import time
from pathlib import Path
from typing import Literal

from moist.errors import InputError
from moist.runtime.contract import Metadata, main
from moist.runtime.stage import Port, Stage, StageSettings
from pydantic import Field


class Settings(StageSettings):
    """What the stage writes, and how it ends."""

    lines: int = Field(3, ge=1, le=1_000_000, description="lines to write")
    rate: float = Field(0.5, gt=0, le=1, description="a share")
    ending: Literal["well", "error", "crash", "sleep", "not-a-number", "forgets"] = Field("well", description="how")


STAGE = Stage(
    name="tiny",
    summary="Write some lines.",
    settings=Settings,
    inputs={
        "source": Port("lines", "Dataset", "earlier lines", optional=True),
        "more": Port("lines", "Dataset", "any number of earlier lines", optional=True, many=True),
    },
    outputs={
        "copy": Port("lines", "Dataset", "the lines"),
        "page": Port("page", "HTML", "the lines, as a page"),
        "metrics": Port("metrics", "Metrics", "how many"),
    },
    image="slim",
)


def tiny(
    settings: Settings, *, source: Path | None, more: list[Path], copy: Path, page: Path, metrics: Path
) -> Metadata:
    """Write numbered lines after those of the inputs."""
    earlier = [folder / "deep" / "lines.txt" for folder in [*([source] if source else []), *more]]
    text = "".join(path.read_text() for path in earlier) + "".join(f"line {i}\n" for i in range(settings.lines))
    (copy / "deep").mkdir(parents=True)
    (copy / "deep" / "lines.txt").write_text(text)
    if settings.ending == "error":
        raise InputError("The stage found something wrong.")
    if settings.ending == "crash":
        raise RuntimeError("a bug")
    if settings.ending == "sleep":
        Path(os.environ["TINY_STARTED"]).touch()
        time.sleep(60)
    page.write_text(f"<pre>{text}</pre>")
    if settings.ending != "forgets":
        metrics.mkdir()
        (metrics / "metrics.json").write_text(f'{{"lines": {text.count("line")}}}\n')
    nothing = float("nan") if settings.ending == "not-a-number" else 1.0
    return {
        "copy": {"lines": settings.lines, "unknown": None, "share": nothing, "nested": {"deep": [1.0, nothing]}},
        "metrics": {"lines": settings.lines},
    }


if __name__ == "__main__":
    main(STAGE, tiny)
