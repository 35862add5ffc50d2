"""Predictions of a model over a split, and what they say: accuracy, loss, calibration, confusion."""

import math
from collections.abc import Callable
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from moist.training.images import Images
from moist.training.precision import Precision, autocast

BATCH = 500


def predict(
    model: Callable[[Tensor], Tensor],
    images: Images,
    precision: Precision = "auto",
    view: int = 0,
    batch_size: int = BATCH,
) -> Tensor:
    """A model's outputs, float32 (N, outputs) on the CPU, over all images of a split as one view shows them."""
    return predict_indexed(lambda batch, _: model(batch), images, precision, view, batch_size)


@torch.no_grad()
def predict_indexed(
    model: Callable[[Tensor, Tensor], Tensor],
    images: Images,
    precision: Precision = "auto",
    view: int = 0,
    batch_size: int = BATCH,
    count: int | None = None,
) -> Tensor:
    """As `predict`, for a model that is also told which images it sees: int64 (B,); of the first `count` images."""
    outputs, last = [], len(images) if count is None else count
    for start in range(0, last, batch_size):
        indices = torch.arange(start, min(start + batch_size, last), device=images.device)
        with autocast(images.device, precision):
            outputs.append(model(images.view(indices, view), indices).float().cpu())
    return torch.cat(outputs)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share, 0-1, of rows of (N, classes) whose largest entry is the label, int64 (N,)."""
    return float((logits.argmax(dim=1) == labels.cpu()).double().mean())


def loss(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood in nats of logits (N, classes)."""
    return float(F.cross_entropy(logits.double(), labels.cpu()))


def confusion(predicted: Tensor, truth: Tensor, rows: int, columns: int) -> list[list[int]]:
    """Counts (rows, columns): how often `truth` int64 (N,) went with `predicted` int64 (N,)."""
    cells = torch.bincount(truth.cpu() * columns + predicted.cpu(), minlength=rows * columns)
    return cells.view(rows, columns).tolist()


class Bins(TypedDict):
    """Confidence against accuracy: one value a bin, and the expected calibration error."""

    confidence: list[float]
    accuracy: list[float]
    count: list[int]
    ece: float


def reliability(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Bins:
    """Confidence against accuracy in equal-width bins, and the expected calibration error (Guo et al. 2017, eq. 3).

    Args:
        probabilities: float (N, classes), rows sum to 1. labels: int64 (N,).
    """
    confidence, predicted = probabilities.double().max(dim=1)
    right = (predicted == labels.cpu()).double()
    which = (confidence * bins).long().clamp(max=bins - 1)
    count = torch.bincount(which, minlength=bins).double()
    safe = count.clamp(min=1)
    mean_confidence = torch.bincount(which, confidence, bins) / safe
    mean_right = torch.bincount(which, right, bins) / safe
    ece = float((count / count.sum() * (mean_confidence - mean_right).abs()).sum())
    return {
        "confidence": mean_confidence.tolist(),
        "accuracy": mean_right.tolist(),
        "count": [int(value) for value in count.tolist()],
        "ece": ece,
    }


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature, 0.05-20, at which `softmax(logits / T)` has the least loss on held-out (N, k) and (N,).

    Guo et al. 2017, section 4.2. The loss is convex in 1/T, so a one-dimensional search finds it. Where every answer is
    right the loss falls as T does, without end, and would make the surest probabilities equal: then T is 1.
    """
    from scipy.optimize import minimize_scalar

    wide, labels = logits.double(), labels.cpu()
    if accuracy(wide, labels) == 1.0:
        return 1.0
    found = minimize_scalar(lambda log_t: loss(wide / math.exp(log_t), labels), bounds=(-3, 3))
    return math.exp(found.x)
