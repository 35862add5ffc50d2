"""Whether an exported mixture answers as PyTorch does: routing, logits and accuracy on the same images."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from moist.data.batches import normalise
from moist.data.dataset import ImageDataset
from moist.errors import MoistError
from moist.models.mixture import Mixture
from moist.serving.runtimes import Images, Served, Server

SINGLE_IMAGES = 32
"""Images that are also served one by one, where all students but one have nothing to do."""


@dataclass(frozen=True)
class Reference:
    """PyTorch's answers to images, and float32 (N,) how clear the choice of their students was.

    `lead` is the distance to the nearest change of choice: between the router's largest logits, in units of the largest
    absolute one if above 1, and where a mixture runs a second student, between the router's probability and the
    threshold. `student_tells` is whether all that was run is known from the student that an image was sent to: not so
    where the router's second choice is asked, too.
    """

    served: Served
    lead: npt.NDArray[np.float32]
    student_tells: bool = True


@dataclass(frozen=True)
class Agreement:
    """How a runtime's answers compare with PyTorch's on the same images.

    `routed_otherwise` counts the images that went to other students, or may have, all of which the router found
    undecided; `logits_difference` is the largest absolute difference among the others.
    """

    accuracy: float
    accuracy_pytorch: float
    logits_difference: float
    routed_otherwise: int


@torch.inference_mode()
def reference(mixture: Mixture, data: ImageDataset, images: Images, batch_size: int) -> Reference:
    """PyTorch's float32 answers to uint8 images (N, height, width, channels) of a data set."""
    logits, student, lead = [], [], []
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(images[start : start + batch_size].transpose(0, 3, 1, 2))
        pixels = normalise(batch, data.mean, data.std)
        logits.append(mixture(pixels))
        student.append(mixture.sent_to(pixels))
        lead.append(_lead(mixture, pixels))
    served = Served(torch.cat(logits).numpy(), torch.cat(student).numpy())
    student_tells = mixture.router_answers or mixture.second_below <= 0
    return Reference(served, torch.cat(lead).numpy(), student_tells)


def _lead(mixture: Mixture, pixels: Tensor) -> Tensor:
    """What `Reference.lead` holds, of images, float (B, channels, height, width)."""
    router_logits = mixture.route(pixels)
    ordered = router_logits.sort(dim=1, descending=True).values
    gaps = (ordered[:, :-1] - ordered[:, 1:]) / router_logits.abs().amax(dim=1, keepdim=True).clamp(min=1)
    # A second choice matters too: how far it is from what comes third.
    choices = 2 if mixture.second_below > 0 and not mixture.router_answers else 1
    leads = [*gaps[:, :choices].unbind(1), torch.full((len(ordered),), torch.inf)]
    if mixture.second_below > 0:
        leads.append((mixture.certainty(pixels) - mixture.second_below).abs())
    return torch.stack(leads, dim=1).amin(1)


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
    few = replace(
        expected,
        served=Served(expected.served.logits[first], expected.served.student[first]),
        lead=expected.lead[first],
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
    go to other students only where PyTorch's lead is at most `tolerance`; then its logits are not compared. The
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
    decided = expected.lead > tolerance
    elsewhere = np.flatnonzero((found.student != wanted.student) & decided)
    if len(elsewhere):
        image = elsewhere[0]
        raise MoistError(
            f"{name} sends image {image} to student {found.student[image]}, PyTorch to student "
            f"{wanted.student[image]} with a lead of {expected.lead[image]:.3g}: the export is wrong."
        )
    differences = np.abs(found.logits - wanted.logits).max(axis=1)
    allowed = tolerance * max(1.0, float(np.abs(wanted.logits).max()))
    differs = ~(differences <= allowed)
    went_the_same_way = decided | ((found.student == wanted.student) & expected.student_tells)
    wrong = np.flatnonzero(differs & went_the_same_way)
    if len(wrong):
        image = wrong[0]
        raise MoistError(
            f"{name} gives image {image} logits that differ from PyTorch's by {differences[image]:.3g}, more than the "
            f"{allowed:.3g} allowed: the export is wrong."
        )
    accuracy, accuracy_pytorch = (float((answer.logits.argmax(axis=1) == labels).mean()) for answer in (found, wanted))
    if abs(accuracy - accuracy_pytorch) > accuracy_tolerance:
        raise MoistError(
            f"{name} gets {accuracy:.2%} of the held-out images right, PyTorch {accuracy_pytorch:.2%}: at most "
            f"{accuracy_tolerance:.2%} between them is allowed, so the export is wrong."
        )
    otherwise = (found.student != wanted.student) | differs
    close = differences[~otherwise]
    return Agreement(accuracy, accuracy_pytorch, float(close.max(initial=0.0)), int(otherwise.sum()))
