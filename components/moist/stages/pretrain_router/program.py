"""python -m moist.stages.pretrain_router.program --dataset IN --clusters IN --router OUT --metrics OUT --curves OUT"""

from pathlib import Path

import torch
from torch import nn

from moist.data import clusters as class_clusters
from moist.data.dataset import load as load_dataset
from moist.errors import InputError
from moist.models.cost import macs
from moist.models.routers import ClassRouter, Router
from moist.models.specification import build, router_spec
from moist.models.storage import save_model
from moist.runtime.contract import Metadata, main
from moist.runtime.training import calibrate, recipe_of, train
from moist.stages.pretrain_router.settings import STAGE, Settings
from moist.training.images import Images
from moist.training.loop import Batch, Outcome
from moist.training.losses import distillation, double_softmax_router_loss, router_loss
from moist.training.precision import choose_device, placed
from moist.training.record import keep, step
from moist.training.targets import load_targets

CLASS_ROUTER_SEED = 1_000_003
"""Added to a class router's seed: it is a student too, and as wide as the others it would be the same student."""
LOSSES = {"plain": router_loss, "double_softmax": double_softmax_router_loss}


def pretrain_router(
    settings: Settings,
    *,
    dataset: Path,
    clusters: Path,
    logits: Path | None,
    router: Path,
    metrics: Path,
    curves: Path,
) -> Metadata:
    """Train a router on the clusters of the classes, then scale its temperature on the validation images."""
    if logits is not None and settings.architecture != "class":
        raise InputError(f"architecture={settings.architecture} takes no --logits: it learns clusters, not classes.")
    if logits is None and settings.fresh_views:
        raise InputError("fresh_views is for stored logits: without --logits every epoch has new views already.")
    data, device = load_dataset(dataset), choose_device()
    found = class_clusters.load(clusters, len(data.classes))
    spec = router_spec(
        settings.architecture, data.shape, len(found.clusters), settings.hidden, len(data.classes), settings.channels
    )
    own_seed = settings.seed + (CLASS_ROUTER_SEED if settings.architecture == "class" else 0)
    torch.manual_seed(own_seed)
    model = placed(build(spec), device)
    if not isinstance(model, Router):
        raise TypeError(f"{spec.architecture} is not a router")
    student_of_class = torch.from_numpy(found.student_of_class).to(device)
    fresh_seed = own_seed if settings.fresh_views else None
    targets = load_targets(logits, data, device, fresh_seed) if logits else None
    seed = targets.view_seed if targets else settings.seed
    images, held_out = Images(data, data.train, device, seed), Images(data, data.validation, device)
    loss_of = LOSSES[settings.loss]
    trained: nn.Module = model
    truth_of = student_of_class
    if isinstance(model, ClassRouter):
        model.assign(student_of_class)
        if len(found.clusters) == 1:  # it always chooses the one student: what there is to measure is its own answer
            trained, truth_of = model.student, torch.arange(len(data.classes), device=device)

    def objective(batch: Batch) -> Outcome:
        truth = truth_of[batch.labels]
        if isinstance(model, ClassRouter):
            named = model.student(batch.images).float()
            # Without a teacher its part has no weight, and what stands in its place is not looked at.
            says, weight = (targets.of(batch), settings.teacher_weight) if targets else (named, 0.0)
            loss = distillation(named, says, batch.labels, temperature=settings.temperature, weight=weight)
            chosen = named if trained is model.student else model.of_classes(named)
            return Outcome(loss, (chosen.argmax(1) == truth).sum())
        output = model(batch.images)
        return Outcome(loss_of(output.float(), truth), (output.argmax(1) == truth).sum())

    recipe = recipe_of(settings, seed=own_seed, views=targets.views if targets else None)
    truth = truth_of.cpu()[held_out.labels.cpu()]
    history, facts = train(STAGE, settings, trained, images, objective, recipe, held_out, metrics, curves, truth)
    model.eval()
    facts |= calibrate(model, model, held_out, truth, settings.precision)
    cost = macs(model, data.shape)
    save_model(router, model, spec, keep([step(STAGE.name, recipe, history, len(images), cost)]))
    return {"router": {**facts, "macs": cost, "architecture": settings.architecture}, "metrics": facts}


if __name__ == "__main__":
    main(STAGE, pretrain_router)
