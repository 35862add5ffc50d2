"""python -m small_stages.total.program --scaled IN --numbers IN --metrics OUT"""

import json
from pathlib import Path

from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main

from small_stages.total.settings import STAGE, Settings


def total(settings: Settings, *, scaled: Path, numbers: Path, metrics: Path) -> Metadata:
    """Add up the numbers and the scaled ones."""
    sums = {path.stem: sum(json.loads(path.read_text())) for path in (scaled / "scaled.json", numbers / "numbers.json")}
    write_json(metrics / "sums.json", sums)
    return {"metrics": sums}


if __name__ == "__main__":
    main(STAGE, total)
