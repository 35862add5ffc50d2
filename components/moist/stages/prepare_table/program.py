"""python -m moist.stages.prepare_table.program --source optdigits.tsv.gz --table OUT --metrics OUT"""

import tempfile
from pathlib import Path

from moist.mode.table_storage import save_table
from moist.mode.tables import load_table
from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main
from moist.runtime.store import local_copy
from moist.stages.prepare_table.settings import STAGE, Settings


def prepare_table(settings: Settings, *, table: Path, metrics: Path) -> Metadata:
    """Read the table that the settings name and write it as one artifact; splits are made by seed when it is used."""
    with tempfile.TemporaryDirectory(prefix="moist-source-") as folder:
        data = load_table(local_copy(settings.source, Path(folder)), settings.target or None, Path(folder, "cache"))
    save_table(data, table)
    rows, features = data.features.shape
    facts = {"name": data.name, "rows": rows, "features": features, "classes": len(data.classes)}
    write_json(metrics / "metrics.json", {**facts, "notes": list(data.notes)})
    return {"table": {**facts, "notes": " ".join(data.notes)}, "metrics": facts}


if __name__ == "__main__":
    main(STAGE, prepare_table)
