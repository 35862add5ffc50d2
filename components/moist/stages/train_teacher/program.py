"""python -m moist.stages.train_teacher.program --dataset IN --teacher OUT --logits OUT --metrics OUT --curves OUT"""

from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F

from moist.data import logits as stored_logits
from moist.data.dataset import load as load_dataset
from moist.errors import InputError
from moist.models.cost import macs
from moist.models.specification import NetworkSpec, build
from moist.models.storage import save_model
from moist.runtime.contract import Metadata, main
from moist.runtime.terminal import say
from moist.runtime.training import recipe_of, train
from moist.stages.train_teacher.settings import STAGE, Settings
from moist.training import evaluation
from moist.training.cutout import cutout
from moist.training.images import Images
from moist.training.loop import Batch, Outcome
from moist.training.precision import choose_device, placed
from moist.training.record import keep, step
from moist.training.resolution import resized, size_in


def train_teacher(
    settings: Settings, *, dataset: Path, teacher: Path, logits: Path, metrics: Path, curves: Path
) -> Metadata:
    """Train the teacher on augmented views, then let it look once at every view that students will see."""
    data, device = load_dataset(dataset), choose_device()
    if settings.cutout >= min(data.shape[:2]):
        raise InputError(f"cutout={settings.cutout} would hide whole images of {data.shape[0]}x{data.shape[1]} pixels.")
    spec = NetworkSpec(architecture=settings.architecture, shape=data.shape, outputs=len(data.classes))
    torch.manual_seed(settings.seed)
    model = placed(build(spec), device)
    images = Images(data, data.train, device, settings.view_seed)
    held_out = Images(data, data.validation, device)

    recipe = recipe_of(settings, optimizer=settings.optimizer)
    height, width, channels = data.shape

    def size(epoch: int) -> tuple[int, int]:
        return size_in(height, width, epoch, recipe.epochs, settings.reduced)

    def objective(batch: Batch) -> Outcome:
        # Every epoch has a view of its own, of the same number.
        output = model(resized(cutout(batch.images, settings.cutout), size(batch.view)))
        loss = F.cross_entropy(output, batch.labels, label_smoothing=settings.label_smoothing)
        return Outcome(loss, (output.argmax(1) == batch.labels).sum())

    history, facts = train(STAGE, settings, model, images, objective, recipe, held_out, metrics, curves)
    sizes = Counter(size(epoch) for epoch in range(1, recipe.epochs + 1))
    spent = sum(count * macs(model, (*shown, channels)) for shown, count in sizes.items()) / recipe.epochs
    save_model(teacher, model, spec, keep([step(STAGE.name, recipe, history, len(images), spent)]))
    views = []
    for view in range(settings.views + 1):
        views.append(evaluation.predict(model, images, settings.precision, view))
        say(f"{STAGE.name}: logits of view {view}/{settings.views}")
    stored_logits.save(logits, torch.stack(views).numpy(), data.train.labels, data.classes, settings.view_seed)
    return {
        "teacher": {**facts, "architecture": settings.architecture, "macs": macs(model, data.shape)},
        "logits": {"views": settings.views, "images": len(images), "classes": len(data.classes)},
        "metrics": facts,
    }


if __name__ == "__main__":
    main(STAGE, train_teacher)
