"""python -m moist.stages.distill_student.program --dataset IN --logits IN --student OUT --metrics OUT --curves OUT"""

import math
from pathlib import Path

import torch

from moist.data import clusters as class_clusters
from moist.data.dataset import ImageDataset
from moist.data.dataset import load as load_dataset
from moist.errors import InputError
from moist.models.cost import channels_for_macs, cost, macs, student_macs
from moist.models.mixture import Mixture
from moist.models.specification import MixtureSpec, NetworkSpec, build, router_spec
from moist.models.storage import check_fits, load_model, save_model
from moist.models.student import CHANNELS, feature_shape
from moist.runtime.contract import Metadata, main
from moist.runtime.training import recipe_of, train
from moist.stages.distill_student.settings import STAGE, Settings
from moist.training.images import Images
from moist.training.loop import Batch, Outcome
from moist.training.losses import distillation
from moist.training.precision import choose_device, placed
from moist.training.record import keep, step
from moist.training.targets import load_targets


def distill_student(
    settings: Settings,
    *,
    dataset: Path,
    logits: Path,
    teacher: Path | None,
    clusters: Path | None,
    student: Path,
    metrics: Path,
    curves: Path,
) -> Metadata:
    """Train a student on the teacher's stored logits, or on a teacher that is asked anew."""
    if teacher is not None and settings.fresh_views:
        raise InputError("fresh_views is for stored logits: a teacher that is asked anew sees new views already.")
    data, device = load_dataset(dataset), choose_device()
    targets = load_targets(logits, data, device, settings.seed if settings.fresh_views else None)
    groups = class_clusters.load(clusters, len(data.classes)).clusters if clusters else None
    spec, epochs = network_of(settings, data, groups)
    torch.manual_seed(settings.seed)
    model = placed(build(spec), device)
    if teacher is not None:
        check_fits(teacher, data.shape, len(data.classes))
    asked = placed(load_model(teacher, expect="teacher"), device) if teacher else None
    images = Images(data, data.train, device, targets.view_seed)

    def objective(batch: Batch) -> Outcome:
        output = model(batch.images)
        if asked is None:
            target = targets.of(batch)
        else:
            with torch.no_grad():
                target = asked(batch.images)
        weights = {"temperature": settings.temperature, "weight": settings.teacher_weight}
        loss = distillation(output.float(), target.float(), batch.labels, **weights)
        return Outcome(loss, (output.argmax(1) == batch.labels).sum())

    recipe = recipe_of(settings, epochs=epochs, views=None if asked is not None else targets.views)
    held_out = Images(data, data.validation, device)
    history, facts = train(STAGE, settings, model, images, objective, recipe, held_out, metrics, curves)
    spent = macs(model, data.shape)
    save_model(student, model, spec, keep([step(STAGE.name, recipe, history, len(images), spent)]))
    return {"student": {**facts, "macs": spent, "control": settings.control}, "metrics": facts}


def network_of(settings: Settings, data: ImageDataset, clusters: list[list[int]] | None) -> tuple[NetworkSpec, int]:
    """The student, and for how many epochs it trains: as set, or as its part as a control demands.

    Raises:
        InputError: a control has no clusters.
    """
    plain = NetworkSpec(architecture="student", shape=data.shape, outputs=len(data.classes), width=settings.width)
    if settings.control == "none":
        return plain, settings.epochs
    if clusters is None:
        raise InputError(f"control={settings.control} needs --clusters, to know how many students the mixture has.")
    student_cost = student_macs(data.shape, len(data.classes), settings.width, CHANNELS)
    mixture = build(_mixture_spec(settings, plain, clusters))
    assert isinstance(mixture, Mixture)
    mixture_cost = cost(mixture, data.shape)
    budget = float(settings.epochs * student_cost)
    budget += settings.joint_epochs * mixture_cost.macs_of(len(clusters) if settings.routing == "soft" else 1)
    if not settings.shared_layers:  # a head has no pretraining of its own
        budget += settings.router_epochs * mixture_cost.router_macs
    if settings.control == "same_budget":
        return plain, math.ceil(budget / student_cost)
    target = math.ceil(mixture_cost.macs_of(*mixture.runs(settings.second_share)))
    channels = channels_for_macs(data.shape, len(data.classes), settings.width, target)
    wide = plain.model_copy(update={"channels": channels})
    return wide, math.ceil(budget / student_macs(data.shape, len(data.classes), settings.width, channels))


def _mixture_spec(settings: Settings, student: NetworkSpec, clusters: list[list[int]]) -> MixtureSpec:
    """The mixture that a control stands beside."""
    layers = settings.shared_layers
    name, shape = (
        ("head", feature_shape(student.shape, CHANNELS, layers)) if layers else (settings.router, student.shape)
    )
    classes, hidden = student.outputs, settings.router_hidden
    return MixtureSpec(
        router=router_spec(name, shape, len(clusters), hidden, classes, settings.router_channels),
        student=student,
        clusters=tuple(tuple(members) for members in clusters),
        shared_layers=layers,
        router_answers=settings.router_answers,
        second_mirrored=settings.second_mirrored,
    )


if __name__ == "__main__":
    main(STAGE, distill_student)
