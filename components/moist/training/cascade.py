"""A cheap model answers; where it is least sure an expensive one is asked, or a second opinion is averaged in."""

from typing import NamedTuple

import torch
from torch import Tensor

SHARES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


class Point(NamedTuple):
    """What asking about so many of the images gives, 0-1, and what an image then costs in the mean, multiply-adds."""

    share: float
    accuracy: float
    macs: float


def cascade(
    own: Tensor, asked: Tensor, labels: Tensor, own_macs: float, asked_macs: float, shares: tuple[float, ...] = SHARES
) -> list[Point]:
    """Accuracy and mean cost where `asked` answers instead of `own` about the share of images `own` is least sure of.

    Sure is the largest probability of its answer. Every image pays for the cheap model, and those asked about for both:
    at share 1 the accuracy is the expensive model's, and the cost the sum.

    Args:
        own, asked: logits, float (N, classes), of the cheap and the expensive model. labels: int64 (N,).
    """
    order = own.double().softmax(dim=1).amax(dim=1).argsort(stable=True)
    own_right, asked_right = ((logits.argmax(dim=1) == labels)[order].double() for logits in (own, asked))
    points = []
    for share in shares:
        count = round(share * len(labels))
        right = torch.cat([asked_right[:count], own_right[count:]])
        points.append(Point(share, float(right.mean()), own_macs + count / len(labels) * asked_macs))
    return points


def second_look(
    first: Tensor, second: Tensor, labels: Tensor, macs: float, shares: tuple[float, ...] = SHARES
) -> list[Point]:
    """Accuracy and mean cost where a second opinion is averaged in on the share of images `first` is least sure of.

    The answer there is the mean of both logits; each opinion costs `macs`.

    Args:
        first, second: logits, float (N, classes), of both opinions. labels: int64 (N,).
    """
    own, other = first.double(), second.double()
    order = own.softmax(dim=1).amax(dim=1).argsort(stable=True)
    points = []
    for share in shares:
        rows = order[: round(share * len(labels))]
        answers = own.index_copy(0, rows, (own[rows] + other[rows]) / 2).argmax(dim=1)
        accuracy = float((answers == labels).double().mean())
        points.append(Point(share, accuracy, macs * (1 + len(rows) / len(labels))))
    return points
