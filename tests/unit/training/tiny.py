"""A tiny data set that a student learns in a second."""

from pathlib import Path

import numpy as np
from moist.data import clusters as class_clusters
from moist.data import dataset as image_dataset
from moist.data import logits as stored_logits
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


def save_inputs(root: Path) -> None:
    """Keep the data set, random logits and the clusters of k = 1 and 2 as the earlier stages do."""
    data = tiny_dataset()
    image_dataset.save(data, root / "dataset")
    values = np.random.default_rng(0).normal(size=(2, len(data.train), 4)).astype(np.float32)
    stored_logits.save(root / "logits", values, data.train.labels, data.classes, view_seed=0)
    means = np.array([[9.0, 8, 0, 0], [8, 9, 0, 0], [0, 0, 9, 8], [0, 0, 8, 9]])
    for k in (1, 2):
        found = class_clusters.cluster(means, k=k, max_k=2, seed=0)
        class_clusters.save(root / f"clusters-{k}", found, data.classes)
