"""Published small networks on CIFAR-10, to stand beside ours: accuracy, multiply-adds per image, and who says so.

All that were measured learned from the 50,000 official training images, and were measured on the official test batch.
"""

from typing import NamedTuple

MODEL_ZOO = "https://github.com/chenyaofo/pytorch-cifar-models (table of the README, read at commit 786c1625)"


class Peer(NamedTuple):
    """One published network."""

    name: str
    accuracy: float
    """0-1"""
    macs: float
    """Multiply-adds per image."""
    source: str
    target: bool = False
    """Whether the accuracy is what the network must reach, not what it was measured at."""


PEERS = (
    Peer(
        "MLPerf Tiny ResNet-8 (quality target)",
        0.85,
        12.50e6,
        "85%: https://mlcommons.org/en/inference-tiny-05; multiply-adds: its layers, 3x3 convolutions of 16, 32 and 64 "
        "channels in three stacks of one residual block each (Banbury et al. 2021, arXiv:2106.07597)",
        target=True,
    ),
    Peer("ShuffleNetV2 x0.5", 0.9013, 10.90e6, MODEL_ZOO),
    Peer("MobileNetV2 x0.5", 0.9288, 27.97e6, MODEL_ZOO),
    Peer("ResNet-20", 0.9260, 40.81e6, MODEL_ZOO),
)
