"""Two stages, one making what the other takes, for tests of what the network and the disk may do in between."""

import random
from pathlib import Path

from moist.runtime.contract import Metadata
from moist.runtime.stage import Port, Stage, StageSettings

PORT = Port("numbers", "Dataset", "numbers")


class Settings(StageSettings):
    """Nothing to set."""


MAKE = Stage("make", "Make numbers.", Settings, {}, {"numbers": PORT, "page": Port("page", "HTML", "a page")})
TAKE = Stage("take", "Pass numbers on.", Settings, {"numbers": PORT}, {"again": PORT})


def make(settings: Settings, *, numbers: Path, page: Path) -> Metadata:
    """Some files of different sizes; one is sent in several parts."""
    draw = random.Random(1)
    numbers.mkdir()
    for name, size in (("empty", 0), ("small", 10), ("medium", 200_000), ("large", 6 << 20)):
        (numbers / name).write_bytes(draw.randbytes(size))
    page.write_text("<p>numbers</p>")
    return {}


def take(settings: Settings, *, numbers: Path, again: Path) -> Metadata:
    """A copy."""
    again.mkdir()
    for file in numbers.iterdir():
        if file.name != "moist.json":
            (again / file.name).write_bytes(file.read_bytes())
    return {}
