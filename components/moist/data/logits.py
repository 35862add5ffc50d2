"""The teacher's logits over the training images, stored so that nobody has to run the teacher again."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from moist.errors import DamagedArtifactError


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
        description = json.loads((folder / "logits.json").read_text("utf-8"))
        found = TeacherLogits(
            tensors["logits"], tensors["labels"], tuple(map(str, description["classes"])), int(description["view_seed"])
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedArtifactError(
            f"{folder} does not hold the teacher's logits ({error}); rerun train_teacher."
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
