"""python -m moist.stages.prepare_data.program --name digits --dataset OUT --metrics OUT"""

import tempfile
from pathlib import Path

from moist.data import dataset as datasets
from moist.data import sources
from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main
from moist.runtime.store import local_copy
from moist.stages.prepare_data.settings import STAGE, Settings


def prepare_data(settings: Settings, *, dataset: Path, metrics: Path) -> Metadata:
    """Read the data set that the settings name and write its three splits."""
    with tempfile.TemporaryDirectory(prefix="moist-source-") as folder:
        data = sources.prepare(
            settings.name,
            local_copy(settings.source, Path(folder)),
            seed=settings.seed,
            validation_fraction=settings.validation_fraction,
            test_fraction=settings.test_fraction,
            train_limit=settings.train_limit,
            test_limit=settings.test_limit,
            augmentation=settings.augmentation,
            cache=Path(folder, "cache"),
        )
    dataset.mkdir()
    datasets.save(data, dataset)
    counts = {f"{name}_images": len(split) for name, split in data.splits.items()}
    facts = {"name": data.name, "classes": len(data.classes), "shape": "x".join(map(str, data.shape)), **counts}
    write_json(metrics / "metrics.json", facts)
    return {"dataset": {**facts, "split": data.split_note, "source": data.source}, "metrics": facts}


if __name__ == "__main__":
    main(STAGE, prepare_data)
