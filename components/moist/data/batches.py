"""Images as tensors: normalising, reproducible augmented views, and the order of an epoch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moist.data.dataset import Augmentation, Split

# Numbers that keep the random streams of views and of epoch orders apart under one seed.
_VIEW_STREAM, _ORDER_STREAM = 1, 2


class ViewParameters(NamedTuple):
    """One view of every sample: shifts dy, dx int64 (N,) in pixels, and flip bool (N,)."""

    dy: Tensor
    dx: Tensor
    flip: Tensor


def to_tensors(split: Split, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Copy a split to `device`: images uint8 (N, H, W, C), contiguous, and labels int64 (N,)."""
    images, labels = (torch.from_numpy(np.array(values, order="C")) for values in (split.images, split.labels))
    return images.to(device), labels.to(device)


def normalise(images: Tensor, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> Tensor:
    """(images / 255 - mean) / std as float32 (N, C, H, W), from uint8 (N, C, H, W); the memory format is kept.

    `mean` and `std` have one value a channel. Tensors on the images' device spare a copy for each batch.
    """
    shift, scale = (
        torch.as_tensor(value, dtype=torch.float32, device=images.device).view(1, -1, 1, 1) * 255
        for value in (mean, std)
    )
    return images.to(torch.float32).sub_(shift).div_(scale)


def view_parameters(count: int, augmentation: Augmentation, seed: int, view: int) -> ViewParameters:
    """Draw one view of `count` samples from (seed, view) alone, on the CPU.

    A teacher and a student that look up the same view of the same sample see the same image. View 0 is the plain image.
    Shifts are uniform in [-padding, padding]; a flip has probability 1/2 where the augmentation flips.
    """
    if view == 0:
        still = torch.zeros(count, dtype=torch.int64)
        return ViewParameters(still, still.clone(), torch.zeros(count, dtype=torch.bool))
    generator = _generator(seed, view, _VIEW_STREAM)
    padding = augmentation.padding
    dy, dx = torch.randint(-padding, padding + 1, (2, count), generator=generator)
    flip = torch.rand(count, generator=generator) < 0.5
    return ViewParameters(dy, dx, flip & augmentation.flip)


def augment(images: Tensor, indices: Tensor, parameters: ViewParameters, padding: int) -> Tensor:
    """Show the view `parameters` of a batch.

    The crop starts dy rows down and dx columns right of the plain image, zeros lie outside it; then comes the flip.

    Args:
        images: uint8 (B, H, W, C), the samples `indices` of the data set.
        indices: int64 (B,), which rows of `parameters` to use.
        parameters: of all samples of the data set.
        padding: largest shift in `parameters`.

    Returns:
        uint8 (B, H, W, C), contiguous.
    """
    device = images.device
    dy, dx, flip = (value[indices.to(value.device)].to(device) for value in parameters)
    batch, height, width, channels = images.shape
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))
    down, across = padded.shape[1:3]
    # Each picture's first pixel, then all of its pixels, counted through the padded images of the whole batch.
    corner = (torch.arange(batch, device=device) * down + dy + padding) * across + dx + padding
    rows = torch.arange(height, device=device) * across
    columns = torch.arange(width, device=device)
    columns = torch.where(flip[:, None], width - 1 - columns, columns) + corner[:, None]
    pixels = rows[:, None] + columns[:, None, :]
    # One look-up for the batch; numpy's windows, advanced indexing, a gather in each channel, and a loop over groups of
    # equal shifts are slower at a batch of 64.
    return padded.view(-1, channels).index_select(0, pixels.view(-1)).view(images.shape)


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """A permutation of 0 to count - 1, int64 (count,), from (seed, epoch) alone."""
    return torch.randperm(count, generator=_generator(seed, epoch, _ORDER_STREAM))


def _generator(seed: int, number: int, stream: int) -> torch.Generator:
    # SeedSequence mixes the numbers, so that (seed 1, view 2) and (seed 2, view 1) have nothing in common.
    mixed = np.random.SeedSequence([seed, number, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
