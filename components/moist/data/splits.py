"""Reproducible, stratified choices of samples: the same labels, count and seed give the same indices."""

import numpy as np
import numpy.typing as npt


def stratified_subset(labels: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose `count` of the samples with each class's share kept (largest remainders), by seed.

    Args:
        labels: int64 (N,), 0 or more.
        count: 0 to N.
        seed: 0 or more.

    Returns:
        Sorted distinct indices, int64 (count,).
    """
    sizes = np.bincount(labels)
    shares = sizes * count / max(len(labels), 1)
    quotas = np.floor(shares).astype(np.int64)
    by_remainder = np.argsort(quotas - shares, kind="stable")
    quotas[by_remainder[: count - quotas.sum()]] += 1
    chosen = [
        np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in enumerate(quotas)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def stratified_split(
    labels: npt.NDArray[np.int64], fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Set aside round(fraction * N) samples, stratified by seed: (kept, set aside), both sorted int64."""
    aside = stratified_subset(labels, round(fraction * len(labels)), seed)
    return np.setdiff1d(np.arange(len(labels)), aside), aside
