"""The teacher's logits over the training images, stored so that nobody has to run the teacher again."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from moist.errors import DamagedArtifactError

LARGEST_DESCRIPTION_BYTES = 1 << 20


class _Description(BaseModel):
    """What logits.json holds."""

    model_config = ConfigDict(extra="forbid")
    classes: tuple[str, ...]
    view_seed: int = Field(ge=0, lt=2**31)


@dataclass(frozen=True, eq=False)
class TeacherLogits:
    """Logits float16 (views + 1, N, classes), view 0 being the plain images; labels int64 (N,); the views' seed."""

    values: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    view_seed: int

    @property
    def views(self) -> int:
        """How many augmented views there are besides the plain one."""
        return len(self.values) - 1

    def class_means(self) -> npt.NDArray[np.float64]:
        """Mean plain logits of each class's images: float64 (classes, classes), row c for class c."""
        plain = self.values[0].astype(np.float64)
        return np.stack([plain[self.labels == label].mean(axis=0) for label in range(len(self.classes))])


def save(
    folder: Path,
    values: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    view_seed: int,
) -> None:
    """Write logits (views + 1, N, classes), kept as float16: 3 digits are plenty for a soft target."""
    folder.mkdir(parents=True, exist_ok=True)
    limit = float(np.finfo(np.float16).max)
    save_file(
        {"logits": np.clip(values, -limit, limit).astype(np.float16), "labels": labels}, folder / "logits.safetensors"
    )
    description = {"classes": list(classes), "view_seed": view_seed}
    (folder / "logits.json").write_text(json.dumps(description, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def load(folder: Path) -> TeacherLogits:
    """Read them back.

    Raises:
        DamagedArtifactError: if a file is missing or damaged, or its parts do not fit together.
    """
    try:
        tensors = load_file(folder / "logits.safetensors")
        size = (folder / "logits.json").stat().st_size
        if size > LARGEST_DESCRIPTION_BYTES:
            raise ValueError(f"logits.json has {size} bytes, at most {LARGEST_DESCRIPTION_BYTES} are possible")
        description = _Description.model_validate_json((folder / "logits.json").read_bytes())
        found = TeacherLogits(tensors["logits"], tensors["labels"], description.classes, description.view_seed)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DamagedArtifactError(
            f"{folder} does not hold the teacher's logits ({reason}); rerun train_teacher."
        ) from None
    shape = (len(found.values), len(found.labels), len(found.classes))
    labels_fit = found.labels.dtype == np.int64 and np.isin(found.labels, range(len(found.classes))).all()
    if found.values.dtype != np.float16 or found.values.shape != shape or not labels_fit:
        raise DamagedArtifactError(
            f"{folder}: logits {found.values.dtype} {found.values.shape} and labels {found.labels.shape} do not fit "
            f"{len(found.classes)} classes; rerun train_teacher."
        )
    if not np.isfinite(found.values).all():
        raise DamagedArtifactError(f"{folder} holds logits that are not finite; retrain the teacher.")
    return found
