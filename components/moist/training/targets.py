"""Stored teacher logits as the targets of a batch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moist.data import logits as stored_logits
from moist.data.dataset import ImageDataset
from moist.errors import DamagedArtifactError
from moist.training.loop import Batch


@dataclass(frozen=True)
class Targets:
    """The teacher's logits on the device, float16 (views + 1, N, classes), and the seed of its views."""

    values: Tensor
    view_seed: int

    @property
    def views(self) -> int:
        """How many augmented views are stored; a loop cycles through them."""
        return len(self.values) - 1

    def of(self, batch: Batch) -> Tensor:
        """What the teacher said of exactly the pictures in this batch: float32 (B, classes)."""
        return self.values[batch.view, batch.indices].float()


def load_targets(folder: Path, data: ImageDataset, device: torch.device) -> Targets:
    """Read stored logits and check that they belong to this data set's training images.

    Without any augmented view stored, learners see plain images only.

    Raises:
        DamagedArtifactError: if they are damaged, or were made from other images.
    """
    teacher = stored_logits.load(folder)
    if teacher.classes != data.classes or not np.array_equal(teacher.labels, data.train.labels):
        raise DamagedArtifactError(
            f"{folder}: these logits are of other training images than the data set {data.name} holds; "
            "use the logits of the teacher that was trained on it."
        )
    return Targets(torch.from_numpy(teacher.values).to(device), teacher.view_seed)
