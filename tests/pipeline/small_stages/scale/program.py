"""python -m small_stages.scale.program --numbers IN --factor 2 --scaled OUT --page OUT"""

import json
from pathlib import Path

from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main

from small_stages.scale.settings import STAGE, Settings


def scale(settings: Settings, *, numbers: Path, scaled: Path, page: Path) -> Metadata:
    """Multiply, then add."""
    values = json.loads((numbers / "numbers.json").read_text())
    write_json(scaled / "scaled.json", [value * settings.factor + settings.offset for value in values])
    page.write_text(f"<!doctype html><title>scaled by {settings.factor}</title>")
    return {}


if __name__ == "__main__":
    main(STAGE, scale)
