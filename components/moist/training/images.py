"""A split as a training loop sees it: resident on the device, augmented and normalised a batch at a time."""

import torch
from torch import Tensor

from moist.data.batches import augment, normalise, to_tensors, view_parameters
from moist.data.dataset import Augmentation, ImageDataset, Split


class Images:
    """A split on a device.

    View v of image i depends on the view seed, v and i alone, so a teacher and its students can be shown the same
    picture without storing it; view 0 is the plain image.
    """

    def __init__(self, dataset: ImageDataset, split: Split, device: torch.device, view_seed: int = 0) -> None:
        self.device = device
        self._pixels, self.labels = to_tensors(split, device)
        # Of all values in a row of pixels: normalising row by row is faster than channel by channel.
        width = self._pixels.shape[2]
        self._mean, self._std = (
            torch.tensor(values, device=device).repeat(width) for values in (dataset.mean, dataset.std)
        )
        self._augmentation: Augmentation = dataset.augmentation
        self._view_seed = view_seed
        self._view = -1

    def __len__(self) -> int:
        return len(self.labels)

    def view(self, indices: Tensor, view: int) -> Tensor:
        """Images `indices` int64 (B,) as view number `view` shows them: normalised float (B, C, H, W), channels last.

        Channels-last memory is what convolutions prefer on CPUs and tensor cores.
        """
        pixels = self._pixels.index_select(0, indices)
        if view != 0:
            if view != self._view:
                self._parameters = view_parameters(len(self), self._augmentation, self._view_seed, view)
                self._view = view
            pixels = augment(pixels, indices, self._parameters, self._augmentation.padding)
        rows = normalise(pixels.view(-1, len(self._mean), 1, 1), self._mean, self._std)
        return rows.view(pixels.shape).permute(0, 3, 1, 2)
