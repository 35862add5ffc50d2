"""Cutout: a square of each training image is hidden, so that no single detail decides."""

import torch
from torch import Tensor


def cutout(images: Tensor, side: int) -> Tensor:
    """Normalised images float (B, C, H, W) with a square of `side` pixels of each at 0, the mean; `side` 0 hides none.

    The squares' centres are drawn uniformly over the image from torch's generator, so a square may stick out of it.
    Source: DeVries and Taylor 2017.
    """
    if side == 0:
        return images
    batch, _, height, width = images.shape

    def hidden(length: int) -> Tensor:
        """Which rows, or columns, the square of each image lies on: bool (B, length)."""
        first = torch.randint(length, (batch, 1), device=images.device) - side // 2
        place = torch.arange(length, device=images.device)
        return (place >= first) & (place < first + side)

    square = hidden(height)[:, :, None] & hidden(width)[:, None, :]
    return images.masked_fill(square[:, None], 0.0)
