"""Progressive resizing: the early epochs see smaller images, which cost less and teach nearly as much."""

import torch.nn.functional as F
from torch import Tensor


def size_in(height: int, width: int, epoch: int, epochs: int, reduced: float) -> tuple[int, int]:
    """Height and width of the images in an epoch, counted from 1.

    Of the share `reduced` of the epochs, 0-1, the first half runs at half the height and width, the second half at
    three quarters; the other epochs, the last ones, at full size. Touvron et al. 2019 (FixRes) is why they come last.
    """
    done = (epoch - 1) / epochs
    factor = 0.5 if done < reduced / 2 else 0.75 if done < reduced else 1.0
    return max(1, round(height * factor)), max(1, round(width * factor))


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images float (B, C, H, W) at another size (height, width), smoothed first; the same tensor at their own."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)
