"""Whether an exported mixture answers as PyTorch does: routing, logits and accuracy on the same images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from moist.data.batches import normalise
from moist.data.dataset import ImageDataset
from moist.errors import MoistError
from moist.models.mixture import Mixture
from moist.serving.runtimes import Images, Served, Server

SINGLE_IMAGES = 32
"""Images that are also served one by one, where all students but one have nothing to do."""


@dataclass(frozen=True)
class Reference:
    """PyTorch's answers to images: what it serves, and its router's logits float32 (N, students)."""

    served: Served
    router_logits: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """How a runtime's answers compare with PyTorch's on the same images.

    `logits_difference` is the largest absolute difference among the images that went to the same student;
    `routed_otherwise` counts the others, all of which the router found undecided.
    """

    accuracy: float
    accuracy_pytorch: float
    logits_difference: float
    routed_otherwise: int


@torch.inference_mode()
def reference(mixture: Mixture, data: ImageDataset, images: Images, batch_size: int) -> Reference:
    """PyTorch's float32 answers to uint8 images (N, height, width, channels) of a data set."""
    logits, routed = [], []
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(images[start : start + batch_size].transpose(0, 3, 1, 2))
        pixels = normalise(batch, data.mean, data.std)
        routed.append(mixture.route(pixels))
        logits.append(mixture.forward_to(pixels, routed[-1].argmax(1)))
    router_logits = torch.cat(routed)
    return Reference(Served(torch.cat(logits).numpy(), router_logits.argmax(1).numpy()), router_logits.numpy())


def serve_all(server: Server, images: Images, batch_size: int) -> Served:
    """A runtime's answers to uint8 images (N, height, width, channels), a batch at a time."""
    parts = [server(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    return Served(np.concatenate([part.logits for part in parts]), np.concatenate([part.student for part in parts]))


def check_runtime(
    name: str,
    server: Server,
    expected: Reference,
    data: ImageDataset,
    batch_size: int,
    tolerance: float,
    accuracy_tolerance: float,
) -> Agreement:
    """Compare a runtime with PyTorch on the held-out images, in batches and the first of them one by one.

    Raises:
        MoistError: they disagree by more than the tolerances, as `compare` has them.
    """
    images, labels = data.test.images, data.test.labels
    agreement = compare(name, serve_all(server, images, batch_size), expected, labels, tolerance, accuracy_tolerance)
    first = slice(0, SINGLE_IMAGES)
    few = Reference(
        Served(expected.served.logits[first], expected.served.student[first]), expected.router_logits[first]
    )
    compare(f"{name}, one image at a time,", serve_all(server, images[first], 1), few, labels[first], tolerance, 1.0)
    return agreement


def compare(
    name: str,
    found: Served,
    expected: Reference,
    labels: npt.NDArray[np.int64],
    tolerance: float,
    accuracy_tolerance: float,
) -> Agreement:
    """Compare a runtime's answers with PyTorch's to the same N images with labels int64 (N,).

    Logits may differ by `tolerance`, in units of PyTorch's largest absolute logit where that is above 1. An image may
    go to another student only where the router's two largest logits are that close; its logits are not compared. The
    accuracies, 0-1, may differ by `accuracy_tolerance`.

    Raises:
        MoistError: naming the first image and the figures that disagree.
    """
    wanted = expected.served
    if found.logits.shape != wanted.logits.shape or found.student.shape != wanted.student.shape:
        raise MoistError(
            f"{name} answers with logits {found.logits.shape} and students {found.student.shape}, PyTorch with "
            f"{wanted.logits.shape} and {wanted.student.shape}: the export is wrong."
        )
    top = np.sort(expected.router_logits, axis=1)
    lead = top[:, -1] - top[:, -2] if top.shape[1] > 1 else np.full(len(top), np.inf)
    same = found.student == wanted.student
    wrong = np.flatnonzero(~same & (lead > _allowed(tolerance, expected.router_logits)))
    if len(wrong):
        raise MoistError(
            f"{name} sends image {wrong[0]} to student {found.student[wrong[0]]}, PyTorch to student "
            f"{wanted.student[wrong[0]]} with a lead of {lead[wrong[0]]:.3g}: the export is wrong."
        )
    differences = np.where(same, np.abs(found.logits - wanted.logits).max(axis=1), 0)
    allowed = _allowed(tolerance, wanted.logits)
    wrong = np.flatnonzero(~(differences <= allowed))
    if len(wrong):
        raise MoistError(
            f"{name} gives image {wrong[0]} logits that differ from PyTorch's by {differences[wrong[0]]:.3g}, more "
            f"than the {allowed:.3g} allowed: the export is wrong."
        )
    accuracy, accuracy_pytorch = (float((answer.logits.argmax(axis=1) == labels).mean()) for answer in (found, wanted))
    if abs(accuracy - accuracy_pytorch) > accuracy_tolerance:
        raise MoistError(
            f"{name} gets {accuracy:.2%} of the held-out images right, PyTorch {accuracy_pytorch:.2%}: at most "
            f"{accuracy_tolerance:.2%} between them is allowed, so the export is wrong."
        )
    return Agreement(accuracy, accuracy_pytorch, float(differences.max()), int((~same).sum()))


def _allowed(tolerance: float, logits: npt.NDArray[np.float32]) -> float:
    return tolerance * max(1.0, float(np.abs(logits).max()))
