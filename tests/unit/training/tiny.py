"""A tiny data set that a student learns in a second."""

import numpy as np
from moist.data.dataset import Augmentation, ImageDataset, Split, build

CLASSES = 4


def tiny_dataset(count: int = 96, seed: int = 0, padding: int = 1) -> ImageDataset:
    """8x8 grey images whose bright quarter is their class, with noise."""
    random = np.random.default_rng(seed)

    def split(images: int) -> Split:
        labels = np.arange(images) % CLASSES
        pixels = random.integers(0, 120, (images, 8, 8, 1))
        for image, label in zip(pixels, labels, strict=True):
            top, left = 4 * (label // 2), 4 * (label % 2)
            image[top : top + 4, left : left + 4] += 100
        return Split(pixels.astype(np.uint8), labels.astype(np.int64))

    return build(
        "tiny",
        tuple("abcd"),
        split(count),
        split(16),
        split(32),
        augmentation=Augmentation(padding, flip=False),
        split_note="made here",
        source="test",
    )
