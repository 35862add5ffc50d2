"""One row of the table from one model: accuracy, loss, calibration, routing, cost, latency."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from moist.data.dataset import ImageDataset
from moist.errors import MoistError
from moist.models import latency
from moist.models.cost import cost
from moist.models.mixture import Mixture
from moist.models.routers import Router
from moist.models.specification import MixtureSpec
from moist.models.storage import load_description, load_model
from moist.reports.results import CascadePoint, Latency, Reliability, Routing, Row
from moist.training import evaluation
from moist.training.cascade import Point, cascade, second_look
from moist.training.images import Images
from moist.training.precision import Precision, autocast, placed
from moist.training.record import Step, read_steps

Role = Literal["teacher", "student", "mixture", "control", "upper bound"]
LATENCY_BATCHES = (1, 64)
IDENTITY_TOLERANCE = 1e-9

LABELS: dict[str, tuple[str, Role]] = {
    "teacher": ("Teacher ({architecture})", "teacher"),
    "student": ("Distilled student", "student"),
    "oracle": ("Conceptual 100% router, k={k} (knows the label)", "upper bound"),
    "mixture": ("MoIST, {router} router, k={k}", "mixture"),
    "mixture_transformer": ("MoIST, {router} router, k={k}", "mixture"),
    "mixture_linear": ("MoIST, {router} router, k={k}", "mixture"),
    "same_budget": ("Single student, same training budget", "control"),
    "same_cost": ("Single student, same inference cost", "control"),
    "students": ("Distilled student, width {width}", "student"),
    "by_k": ("MoIST, {router} router, k={k}", "mixture"),
    "by_width": ("MoIST, {router} router, k={k}, width {width}", "mixture"),
    "by_router": ("MoIST, {router} router, k={k}", "mixture"),
    "by_size": ("MoIST, {router} router of {router_size}, k={k}", "mixture"),
}
"""What a model is called and what it is for, by the input that it came through."""


@dataclass(frozen=True)
class Candidate:
    """A model to measure, and how it was trained. A mixture's architecture is its router's: oracle for none."""

    key: str
    label: str
    role: Role
    model: nn.Module
    architecture: str
    width: int | None
    router_size: int | None
    steps: list[Step]


def load_candidates(folders: dict[str, Path], device: torch.device) -> list[Candidate]:
    """The models in the table's order, on the device, in evaluation mode.

    A key is one of LABELS; where an input brought several models, with a number: `by_k_0`.
    """
    keys = {key: re.sub(r"_\d+$", "", key) for key in folders}
    order = list(LABELS)
    return [
        _candidate(key, *LABELS[keys[key]], folders[key], device)
        for key in sorted(folders, key=lambda key: order.index(keys[key]))
    ]


def _candidate(key: str, label: str, role: Role, folder: Path, device: torch.device) -> Candidate:
    description = load_description(folder)
    spec = description.spec
    facts: dict[str, Any]
    if isinstance(spec, MixtureSpec):
        name = spec.router.architecture.removesuffix("_router") if spec.router else "oracle"
        hidden = spec.router.hidden if spec.router else None
        facts = {"architecture": name, "width": spec.student.width, "router_size": hidden[0] if hidden else None}
    else:
        facts = {"architecture": spec.architecture, "width": spec.width, "router_size": None}
    k = len(spec.clusters) if isinstance(spec, MixtureSpec) else 1
    named = label.format(**facts, router=facts["architecture"], k=k)
    model = placed(load_model(folder), device)
    return Candidate(key, named, role, model, steps=read_steps(description.extra), **facts)


def measure_rows(
    candidates: list[Candidate],
    data: ImageDataset,
    device: torch.device,
    precision: Precision,
    batch_size: int,
    latency_seconds: float,
) -> list[Row]:
    """Measure all models on the same held-out images; latencies in turn, so that the machine's drift hits all alike."""
    images = Images(data, data.test, device)
    batches = {size: latency_batches(images, size) for size in LATENCY_BATCHES if size <= len(images)}
    runners = {item.key: _runner(item, images) for item in candidates}
    # Autocast keeps the weights that it has cast while it lasts: around all calls, as a server would, not in each.
    with autocast(device, precision):
        timings = latency.measure(runners, batches, latency_seconds)
    rows, logits = {}, {}
    for item in candidates:
        latencies = [Latency(**vars(timing)) for timing in timings[item.key]]
        rows[item.key], logits[item.key] = _row(item, data, images, precision, batch_size, latencies)
    labels = images.labels.cpu()
    right = {key: values.argmax(1) == labels for key, values in logits.items()}
    teacher = next((row for row in rows.values() if row.role == "teacher"), None)
    complete = []
    models = {item.key: item.model for item in candidates}
    for key, row in rows.items():
        points: list[Point] = []
        again: list[Point] = []
        if row.role in ("student", "control") and not row.swept and data.augmentation.flip:
            mirrored = evaluation.predict(_mirrored(models[key]), images, precision, batch_size=batch_size)
            again = second_look(logits[key], mirrored, labels, row.macs)
        if teacher is not None and row.role not in ("teacher", "upper bound"):
            points = cascade(logits[key], logits[teacher.key], labels, row.macs, teacher.macs)
        update = {
            "right_alone": _right_alone(key, right),
            "cascade": [CascadePoint(**point._asdict()) for point in points],
            "second_look": [CascadePoint(**point._asdict()) for point in again],
        }
        complete.append(row.model_copy(update=update))
    return complete


def latency_batches(images: Images, size: int) -> list[Tensor]:
    """Batches of plain images to time, float (size, channels, height, width): at most 64, of some 512 images in all."""
    starts = range(0, len(images) - size + 1, size)[: min(64, max(1, 512 // size))]
    rows = torch.arange(size, device=images.device)
    return [images.view(rows + start, 0) for start in starts]


def _mirrored(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model, shown its images the other way round."""
    return lambda images: model(images.flip(3))


def _right_alone(key: str, right: dict[str, Tensor]) -> dict[str, int]:
    """How often one model was right, bool (N,), where another was wrong: what a paired comparison needs."""
    return {other: int((right[key] & ~right[other]).sum()) for other in right if other != key}


def _runner(candidate: Candidate, images: Images) -> Callable[[Tensor], Tensor]:
    """A model as it serves: one batch in, logits out.

    The oracle is told the labels of the first test images whatever the batch, which costs what the right ones do.
    """
    model = candidate.model
    if isinstance(model, Mixture) and model.router is None:
        oracle, chosen = model, model.student_of_class[images.labels]
        return lambda batch: oracle.forward_to(batch, chosen[: len(batch)])
    return model


def _row(
    candidate: Candidate,
    data: ImageDataset,
    images: Images,
    precision: Precision,
    batch_size: int,
    timings: list[Latency],
) -> tuple[Row, Tensor]:
    """A model's row, and its logits on the held-out images: float (N, classes)."""
    classes, labels, model = len(data.classes), images.labels.cpu(), candidate.model
    second = 0.0
    if isinstance(model, Mixture):
        logits, routing, second = _routed(candidate, model, images, precision, batch_size)
    else:
        logits, routing = evaluation.predict(model, images, precision, batch_size=batch_size), None
    spent = cost(model, data.shape)
    students, routers = model.runs(second) if isinstance(model, Mixture) else (1, 1)
    row = Row(
        key=candidate.key,
        label=candidate.label,
        role=candidate.role,
        accuracy=evaluation.accuracy(logits, labels),
        loss=evaluation.loss(logits, labels),
        macs=spent.macs_of(students, routers),
        router_macs=routers * spent.router_macs,
        paper_mflops=spent.paper_mflops,
        parameters=spent.parameters,
        epochs=sum(step.epochs for step in candidate.steps),
        training_macs=sum(step.macs for step in candidate.steps),
        latency=timings,
        confusion=evaluation.confusion(logits.argmax(1), labels, classes, classes),
        reliability=Reliability.model_validate(evaluation.reliability(logits.double().softmax(1), labels)),
        routing=routing,
        width=candidate.width,
        router_size=candidate.router_size,
        note=_note(candidate, second),
    )
    return row, logits


def _routed(
    candidate: Candidate, mixture: Mixture, images: Images, precision: Precision, batch_size: int
) -> tuple[Tensor, Routing | None, float]:
    """A mixture's logits (N, classes) with sparse routing, how it routed, and on which share a second student ran.

    A router that answers itself sends most images to no student, so that there is no routing to tell of.
    """
    labels, k = images.labels.cpu(), len(mixture.students)
    own = mixture.student_of_class.cpu()[labels]
    if isinstance(mixture.router, Router):
        second = 0.0
        if mixture.second_below > 0:
            sure = evaluation.predict(mixture.certainty, images, precision, batch_size=batch_size)
            second = float((sure <= mixture.second_below).double().mean())
        logits = evaluation.predict(mixture, images, precision, batch_size=batch_size)
        if mixture.router_answers:
            return logits, None, second
        route_logits = evaluation.predict(mixture.route, images, precision, batch_size=batch_size)
        temperature = float(mixture.router.temperature)
        certainty, chosen = (route_logits.double() / temperature).softmax(1), route_logits.argmax(1)
    else:
        chosen, certainty, second = own, torch.nn.functional.one_hot(own, k).double(), 0.0
        here = chosen.to(images.device)
        logits = evaluation.predict_indexed(
            lambda batch, indices: mixture.forward_to(batch, here[indices]), images, precision, batch_size=batch_size
        )
    right, routed = logits.argmax(1) == labels, chosen == own
    r, a, b = (_share(routed), _share(right[routed]), _share(right[~routed]))
    accuracy = evaluation.accuracy(logits, labels)
    if abs(accuracy - ((r or 0) * (a or 0) + (1 - (r or 0)) * (b or 0))) > IDENTITY_TOLERANCE:
        raise MoistError(f"{candidate.key}: accuracy {accuracy} is not r*a + (1-r)*b with r={r}, a={a}, b={b}.")
    by_class = torch.tensor(evaluation.confusion(chosen, labels, len(mixture.student_of_class), k), dtype=torch.float64)
    routing = Routing(
        router=candidate.architecture,
        r=r or 0.0,
        a=a,
        b=b,
        clusters=[list(members) for members in mixture.clusters],
        share=(by_class / by_class.sum(1, keepdim=True)).tolist(),
        confusion=evaluation.confusion(chosen, own, k, k),
        reliability=Reliability.model_validate(evaluation.reliability(certainty, own)),
    )
    return logits, routing, second


def _note(candidate: Candidate, second: float) -> str:
    if candidate.architecture == "oracle":
        return "routes by the true label, so it is an upper bound and no classifier"
    if isinstance(candidate.model, Mixture) and candidate.model.router_answers:
        more = ", both also about the mirrored image" if candidate.model.second_mirrored else ""
        return f"the router answered, and on {second:.1%} of the images its student too{more}, which is in the MMAC"
    return f"a second student ran on {second:.1%} of the images, and is in the MMAC" if second else ""


def _share(flags: Tensor) -> float | None:
    return float(flags.double().mean()) if len(flags) else None
