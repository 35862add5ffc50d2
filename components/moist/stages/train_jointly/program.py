"""python -m moist.stages.train_jointly.program --dataset IN --student IN --router IN --clusters IN --logits IN ..."""

import copy
import math
from pathlib import Path

import numpy as np
import torch

from moist.data import clusters as class_clusters
from moist.data.dataset import load as load_dataset
from moist.errors import InputError
from moist.models.cost import cost as cost_of
from moist.models.mixture import Mixture
from moist.models.routers import ClassRouter, Router
from moist.models.specification import MixtureSpec, NetworkSpec, build, mixture_of, router_spec
from moist.models.storage import check_fits, load_description, load_model, save_model
from moist.runtime.contract import Metadata, main
from moist.runtime.training import calibrate, recipe_of, train
from moist.stages.train_jointly.settings import STAGE, Settings
from moist.training import evaluation
from moist.training.images import Images
from moist.training.joint import hard_objective, oracle_objective, soft_objective
from moist.training.precision import choose_device, placed
from moist.training.record import keep, read_steps, step
from moist.training.targets import load_targets

JOINT_VIEW_SEED = 2_000_003
"""Added to the seed by which new views are drawn: the student began with those of the seed itself."""


def train_jointly(
    settings: Settings,
    *,
    dataset: Path,
    student: Path,
    router: Path | None,
    clusters: Path,
    logits: Path,
    mixture: Path,
    metrics: Path,
    curves: Path,
) -> Metadata:
    """One copy of the student per cluster, trained on with the router that chooses among them."""
    if (router is None) != (settings.routing == "oracle" or settings.shared_layers > 0):
        raise InputError(
            f"routing={settings.routing} with shared_layers={settings.shared_layers} "
            f"{'needs --router' if router is None else 'takes no --router'}: the oracle has none, and where layers are "
            "shared it is made here."
        )
    data, device = load_dataset(dataset), choose_device()
    found = class_clusters.load(clusters, len(data.classes))
    if len(found.clusters) == 1 and not settings.router_answers:
        raise InputError("One cluster leaves a router nothing to choose: use k of at least 2, or router_answers.")
    if settings.second_share and not len(data.validation):
        raise InputError(f"second_share={settings.second_share} needs validation images; prepare some, or set it to 0.")
    if settings.second_mirrored and not data.augmentation.flip:
        raise InputError(f"second_mirrored is for images that training mirrors, and those of {data.name} it does not.")
    check_fits(student, data.shape, len(data.classes))
    fresh_seed = settings.seed + JOINT_VIEW_SEED if settings.fresh_views else None
    targets = load_targets(logits, data, device, fresh_seed)
    torch.manual_seed(settings.seed)
    model, spec = _mixture(settings, student, router, found.clusters)
    placed(model, device)
    images, held_out = Images(data, data.train, device, targets.view_seed), Images(data, data.validation, device)
    make = {"soft": soft_objective, "hard": hard_objective, "oracle": oracle_objective}[settings.routing]
    objective = make(model, targets, settings)
    recipe = recipe_of(settings, views=targets.views)
    truth = model.student_of_class.cpu()[held_out.labels.cpu()]

    if settings.routing == "oracle":
        # Held-out accuracy would need the labels to route; the evaluation reports it as the upper bound that it is.
        held_out = Images(data, data.validation[np.arange(0)], device)
    history, facts = train(STAGE, settings, model, images, objective, recipe, held_out, metrics, curves)
    if isinstance(model.router, Router):
        facts |= calibrate(model.router, model.route, held_out, truth, settings.precision)
        model.second_below = threshold_of(model, held_out, settings)
        spec = spec.model_copy(update={"second_below": model.second_below})
        if model.second_below > 0:  # it answers otherwise than it did in training
            answers = evaluation.predict(model, held_out, settings.precision)
            facts["validation_accuracy"] = evaluation.accuracy(answers, held_out.labels)
    cost = cost_of(model, data.shape)
    students_run = len(found.clusters) if settings.routing == "soft" else 1
    spent = step(STAGE.name, recipe, history, len(images), cost.macs_of(students_run))
    parents = [load_description(folder).extra for folder in (student, router) if folder]
    steps = [entry for extra in parents for entry in read_steps(extra)]
    save_model(mixture, model, spec, {**keep([*steps, spent]), "routing": settings.routing})
    return {
        "mixture": {
            **facts,
            "k": len(found.clusters),
            "routing": settings.routing,
            "macs": cost.macs_of(*model.runs(settings.second_share)),
        },
        "metrics": facts,
    }


def _mixture(
    settings: Settings, student: Path, router: Path | None, clusters: list[list[int]]
) -> tuple[Mixture, MixtureSpec]:
    """Copies of the student under the given router; under a new one where they share layers."""
    first, layers = load_model(student, expect="student"), settings.shared_layers
    spec = MixtureSpec(
        router=_network(router) if router else None,
        student=_network(student),
        clusters=tuple(tuple(members) for members in clusters),
        shared_layers=layers,
        router_answers=settings.router_answers,
        second_mirrored=settings.second_mirrored,
    )
    chooser = load_model(router, expect="router") if router else None
    if layers and settings.routing != "oracle":
        new = router_spec("head", spec.router_shape, len(clusters), hidden=1)
        spec, chooser = spec.model_copy(update={"router": new}), build(new)
    model = mixture_of(chooser, [copy.deepcopy(first) for _ in clusters], spec)
    if isinstance(chooser, ClassRouter):  # it may have been trained for other clusters, and knows the classes
        chooser.assign(model.student_of_class)
    return model, spec


def threshold_of(model: Mixture, held_out: Images, settings: Settings) -> float:
    """The router's probability of its choice that `second_share` of the validation images do not exceed.

    Where more have the same one, as where it is wholly sure, the next lower: no more than that share gets a second one.
    """
    if settings.second_share == 0:
        return 0.0
    certainty = evaluation.predict(model.certainty, held_out, settings.precision).sort().values
    first_not_asked = math.floor(settings.second_share * len(certainty))
    if first_not_asked == len(certainty):
        return float(certainty[-1])
    lower = certainty[certainty < certainty[first_not_asked]]
    return float(lower[-1]) if len(lower) else 0.0


def _network(folder: Path) -> NetworkSpec:
    spec = load_description(folder).spec
    if not isinstance(spec, NetworkSpec):
        raise InputError(f"{folder} holds a mixture; train_jointly starts from a single student and a router.")
    return spec


if __name__ == "__main__":
    main(STAGE, train_jointly)
