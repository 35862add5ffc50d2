"""Tables on disk: a folder of `table.safetensors` (features and labels) and `table.json` (their names)."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from moist.errors import DamagedArtifactError
from moist.mode.tables import Table

TENSORS, DESCRIPTION = "table.safetensors", "table.json"


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: Literal["moist-table-1"] = "moist-table-1"
    name: str
    feature_names: tuple[str, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def save_table(table: Table, folder: Path) -> None:
    """Write a table into `folder`; equal tables give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"features": np.ascontiguousarray(table.features), "labels": table.labels}, folder / TENSORS)
    facts = _Description(name=table.name, feature_names=table.feature_names, classes=table.classes, notes=table.notes)
    (folder / DESCRIPTION).write_text(facts.model_dump_json(indent=1) + "\n", "utf-8")


def load_table(folder: Path) -> Table:
    """Read what save_table wrote. Raises DamagedArtifactError where something is missing, damaged or does not fit."""
    try:
        facts = _Description.model_validate_json((folder / DESCRIPTION).read_bytes())
        tensors = load_file(folder / TENSORS)
        features, labels = tensors["features"], tensors["labels"]
    except (OSError, ValidationError, SafetensorError, KeyError, ValueError) as error:
        raise DamagedArtifactError(
            f"{folder} does not hold a table ({str(error).splitlines()[0]}); rerun prepare_table."
        ) from None
    fits = (
        (features.dtype, labels.dtype, features.ndim) == (np.float32, np.int64, 2)
        and features.shape == (len(labels), len(facts.feature_names))
        and np.isin(labels, range(len(facts.classes))).all()
        and np.isfinite(features).all()
    )
    if not fits:
        raise DamagedArtifactError(
            f"{folder}: features {features.dtype} {features.shape} and labels {labels.dtype} {labels.shape} do not fit "
            f"{len(facts.feature_names)} features and {len(facts.classes)} classes; rerun prepare_table."
        )
    return Table(facts.name, features, labels, facts.feature_names, facts.classes, facts.notes)
