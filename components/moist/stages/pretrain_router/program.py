"""python -m moist.stages.pretrain_router.program --dataset IN --clusters IN --router OUT --metrics OUT --curves OUT"""

from pathlib import Path

import torch

from moist.data import clusters as class_clusters
from moist.data.dataset import load as load_dataset
from moist.models.cost import macs
from moist.models.routers import Router
from moist.models.specification import build, router_spec
from moist.models.storage import save_model
from moist.runtime.contract import Metadata, main
from moist.runtime.training import calibrate, recipe_of, train
from moist.stages.pretrain_router.settings import STAGE, Settings
from moist.training.images import Images
from moist.training.loop import Batch, Outcome
from moist.training.losses import double_softmax_router_loss, router_loss
from moist.training.precision import choose_device, placed
from moist.training.record import keep, step

LOSSES = {"plain": router_loss, "double_softmax": double_softmax_router_loss}


def pretrain_router(
    settings: Settings, *, dataset: Path, clusters: Path, router: Path, metrics: Path, curves: Path
) -> Metadata:
    """Train a router on the clusters of the classes, then scale its temperature on the validation images."""
    data, device = load_dataset(dataset), choose_device()
    found = class_clusters.load(clusters, len(data.classes))
    spec = router_spec(settings.architecture, data.shape, len(found.clusters), settings.hidden)
    torch.manual_seed(settings.seed)
    model = placed(build(spec), device)
    if not isinstance(model, Router):
        raise TypeError(f"{spec.architecture} is not a router")
    student_of_class = torch.from_numpy(found.student_of_class).to(device)
    images, held_out = Images(data, data.train, device, settings.seed), Images(data, data.validation, device)
    loss_of = LOSSES[settings.loss]

    def objective(batch: Batch) -> Outcome:
        truth = student_of_class[batch.labels]
        output = model(batch.images)
        return Outcome(loss_of(output.float(), truth), (output.argmax(1) == truth).sum())

    recipe = recipe_of(settings)
    truth = student_of_class.cpu()[held_out.labels.cpu()]
    history, facts = train(STAGE, settings, model, images, objective, recipe, held_out, metrics, curves, truth)
    facts |= calibrate(model, model, held_out, truth, settings.precision)
    cost = macs(model, data.shape)
    save_model(router, model, spec, keep([step(STAGE.name, recipe, history, len(images), cost)]))
    return {"router": {**facts, "macs": cost, "architecture": settings.architecture}, "metrics": facts}


if __name__ == "__main__":
    main(STAGE, pretrain_router)
