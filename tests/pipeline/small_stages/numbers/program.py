"""python -m small_stages.numbers.program --count 3 --numbers OUT"""

from pathlib import Path

from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main

from small_stages.numbers.settings import STAGE, Settings


def numbers(settings: Settings, *, numbers: Path) -> Metadata:
    """Write 1 to count."""
    write_json(numbers / "numbers.json", list(range(1, settings.count + 1)))
    return {"numbers": {"count": settings.count}}


if __name__ == "__main__":
    main(STAGE, numbers)
