"""What the speed benchmarks share: images of CIFAR-10's shape, teachers, and the distillation stage's training."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from moist.data import sources
from moist.data.dataset import Augmentation, ImageDataset, Split, build
from moist.mode.statistics import Paired
from moist.models.specification import NetworkSpec
from moist.models.specification import build as build_network
from moist.runtime.stage import parse_settings
from moist.stages.prepare_data.settings import Settings
from moist.training import evaluation
from moist.training.images import Images
from moist.training.loop import Batch, History, Objective, Outcome, Recipe, fit
from moist.training.losses import distillation
from moist.training.precision import placed
from moist.training.targets import Targets
from torch import Tensor, nn

CPU = torch.device("cpu")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""`cpu` counts what this process was given: for a machine that others use too, with one thread."""
CLASSES = tuple(f"class {i}" for i in range(10))
SHAPE = (32, 32, 3)


def images_per_second(count: int, work: Callable[[], object], clock: str) -> float:
    """How fast some work on `count` images is, by a clock of CLOCKS."""
    began = CLOCKS[clock]()
    work()
    return count / (CLOCKS[clock]() - began)


def random_images(count: int) -> ImageDataset:
    """Speed does not depend on what the pixels show: uint8 (count, 32, 32, 3), ten classes, augmented as CIFAR-10."""
    draw = np.random.default_rng(0)

    def split(size: int) -> Split:
        labels = np.arange(size, dtype=np.int64) % len(CLASSES)
        return Split(draw.integers(0, 256, (size, *SHAPE), dtype=np.uint8), labels)

    few = split(len(CLASSES))
    return build(
        "random", CLASSES, split(count), few, few, augmentation=Augmentation(4, True), split_note="", source=""
    )


def digits() -> ImageDataset:
    """The bundled data set, as the stage prepare_data makes it by default."""
    given = parse_settings(Settings, {"name": "digits"}).model_dump()
    return sources.prepare(**given, cache=Path())


def taught(data: ImageDataset) -> nn.Module:
    """A small_resnet trained as in the preset quick on digits."""
    teacher = network("small_resnet", data)

    def objective(batch: Batch) -> Outcome:
        output = teacher(batch.images)
        return Outcome(F.cross_entropy(output, batch.labels), (output.argmax(1) == batch.labels).sum())

    fit(teacher, Images(data, data.train, CPU, 0), objective, Recipe(20, 128, 3e-3, 0.05, warmup_epochs=1))
    return teacher


def stored(teacher: nn.Module, data: ImageDataset, views: int) -> Targets:
    """The teacher's logits over the training images and some views of them, as train_teacher stores them."""
    images = Images(data, data.train, CPU, 0)
    logits = [evaluation.predict(teacher, images, view=view) for view in range(views + 1)]
    return Targets(torch.stack(logits).half(), 0, views)


def tested(model: nn.Module, data: ImageDataset) -> float:
    """Accuracy on the test images, 0-1."""
    held_out = Images(data, data.test, CPU)
    return evaluation.accuracy(evaluation.predict(model, held_out), held_out.labels)


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Mean of ours - theirs over seeds, with its 95% interval (Student's t)."""
    found = Paired.of(ours, theirs)
    return {"n": found.runs, "difference": found.mean, "interval_95": [found.low, found.high]}


def network(architecture: str, data: ImageDataset, seed: int = 0, width: int | None = None) -> nn.Module:
    """A teacher or student as its stage makes it."""
    spec = NetworkSpec(architecture=architecture, shape=data.shape, outputs=len(data.classes), width=width)
    torch.manual_seed(seed)
    return placed(build_network(spec), CPU)


def distil(
    student: nn.Module,
    data: ImageDataset,
    recipe: Recipe,
    *,
    targets: Targets | None = None,
    teacher: nn.Module | None = None,
) -> History:
    """Train as the stage distill_student does: on stored logits, or on a teacher that is asked at every step."""

    def objective(batch: Batch) -> Outcome:
        output = student(batch.images)
        soft = targets.of(batch) if targets is not None else asked(batch.images)
        loss = distillation(output, soft, batch.labels, temperature=5.0, weight=0.7)
        return Outcome(loss, (output.argmax(1) == batch.labels).sum())

    def asked(images: Tensor) -> Tensor:
        if teacher is None:
            raise ValueError("either targets or a teacher")
        with torch.no_grad():
            answer: Tensor = teacher(images)
        return answer

    checked: Objective = objective
    return fit(student, Images(data, data.train, CPU, 0), checked, recipe)
