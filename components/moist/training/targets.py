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
    """The teacher's logits on the device, (views + 1, N, classes), or (1, N, classes) for all views of an image.

    `views` is how many augmented views a loop cycles through; None for a new one every epoch.
    """

    values: Tensor
    view_seed: int
    views: int | None

    def of(self, batch: Batch) -> Tensor:
        """What the teacher said of the pictures in this batch: float32 (B, classes)."""
        return self.values[0 if self.views is None else batch.view, batch.indices].float()


def load_targets(folder: Path, data: ImageDataset, device: torch.device, fresh_seed: int | None = None) -> Targets:
    """Read stored logits and check that they belong to this data set's training images.

    Learners see the stored views, each with what the teacher said of exactly that picture; plain images only, if no
    augmented view is stored. With `fresh_seed` every epoch draws new ones by that seed, and the teacher's word on an
    image is the mean over its stored views.

    Raises:
        DamagedArtifactError: if they are damaged, or were made from other images.
    """
    teacher = stored_logits.load(folder)
    if teacher.classes != data.classes or not np.array_equal(teacher.labels, data.train.labels):
        raise DamagedArtifactError(
            f"{folder}: these logits are of other training images than the data set {data.name} holds; "
            "use the logits of the teacher that was trained on it."
        )
    values = torch.from_numpy(teacher.values).to(device)
    if fresh_seed is not None:
        augmented = values[1:] if teacher.views else values
        return Targets(augmented.float().mean(0, keepdim=True), fresh_seed, None)
    return Targets(values, teacher.view_seed, teacher.views)
