"""python benchmarks/torchdistill_speed.py: the distillation stage against torchdistill, the same training in both.

torchdistill is no dependency of moist; for this script: pip install --no-deps --target DIR torchdistill==1.1.5, and
PYTHONPATH=DIR. Both get the same networks, images, augmentation, loss, optimizer, schedule, batch size and epochs.
torchdistill asks the teacher at every step and loads images with torchvision's transforms; it is given the faster of no
and two loader processes. The stage learns from stored logits, whose making is timed beside it.
"""

import argparse
import logging
import statistics
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from moist.data.dataset import ImageDataset
from moist.training import evaluation
from moist.training.images import Images
from moist.training.loop import Recipe
from moist.training.precision import Precision
from moist.training.targets import Targets
from record import write
from speed_setup import (
    CLOCKS,
    CPU,
    digits,
    distil,
    images_per_second,
    network,
    paired_difference,
    random_images,
    stored,
    taught,
    tested,
)
from torch import Tensor, nn
from torch.utils.data import Dataset

BATCH, RATE, TEMPERATURE, TEACHER_WEIGHT = 64, 1e-3, 5.0, 0.7
PRECISION: Precision = "fp32"
"""As torchdistill trains where it is not told otherwise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of the speeds, on images of CIFAR-10's shape")
    parser.add_argument("--seeds", type=int, default=5, help="of the accuracies, on digits; at least 2")
    parser.add_argument("--epochs", type=int, default=16, help="for the accuracies")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that others use, 1 thread")
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    torch.set_num_threads(options.threads)
    speed = speeds(options.rounds, options.clock)
    print(
        f"moist {statistics.median(speed['moist']):,.0f} images/s, torchdistill "
        f"{statistics.median(speed['torchdistill']):,.1f} ({speed['workers']} loader processes): "
        f"{statistics.median(speed['ratios']):.0f}x (median of {options.rounds}, {min(speed['ratios']):.0f}x to "
        f"{max(speed['ratios']):.0f}x). Storing the logits: {statistics.median(speed['storing']):,.1f} images/s, once"
    )
    accuracy = accuracies(options.seeds, options.epochs)
    low, high = accuracy["interval_95"]
    print(
        f"digits: moist {statistics.fmean(accuracy['moist']):.2%}, torchdistill "
        f"{statistics.fmean(accuracy['torchdistill']):.2%} (n = {options.seeds} seeds); moist - torchdistill "
        f"{100 * accuracy['difference']:+.2f} points, 95% interval {100 * low:+.2f} to {100 * high:+.2f}"
    )
    if options.write:
        print(
            write(
                "torchdistill-speed", {"speed": speed, "accuracy": accuracy}, {**vars(options), "precision": PRECISION}
            )
        )


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """A training split as torchvision's users have it: PIL images, transformed one by one."""

    def __init__(self, data: ImageDataset) -> None:
        from PIL import Image
        from torchvision import transforms

        pixels = data.train.images.squeeze(3) if data.shape[2] == 1 else data.train.images
        self._images = [Image.fromarray(np.ascontiguousarray(image)) for image in pixels]
        self._labels = [int(label) for label in data.train.labels]
        flip = [transforms.RandomHorizontalFlip()] if data.augmentation.flip else []
        crop = transforms.RandomCrop(data.shape[:2], padding=data.augmentation.padding)
        last = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        self._transform: Callable[[Any], Tensor] = transforms.Compose([crop, *flip, *last])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


def theirs(student: nn.Module, teacher: nn.Module, data: ImageDataset, epochs: int, workers: int) -> Iterator[None]:
    """torchdistill's training of a student; one step of the iterator is an epoch."""
    from torch.utils.data import RandomSampler
    from torchdistill.core.distillation import get_distillation_box  # type: ignore[import-not-found,unused-ignore]

    images = TrainingImages(data)
    steps = epochs * -(-len(images) // BATCH)
    asked = {"forward_proc": "forward_batch_only", "requires_grad": False}
    loss = {
        "key": "KDLoss",
        "kwargs": {
            **{f"{who}_module_path": "." for who in ("student", "teacher")},
            **{f"{who}_module_io": "output" for who in ("student", "teacher")},
            "temperature": TEMPERATURE,
            "alpha": 1 - TEACHER_WEIGHT,
            "reduction": "batchmean",
        },
    }
    config = {
        "num_epochs": epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": BATCH, "num_workers": workers, "persistent_workers": workers > 0},
        },
        "teacher": asked,
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": RATE, "weight_decay": 0.0, "fused": True}},
        "scheduler": {"key": "CosineAnnealingLR", "kwargs": {"T_max": steps}, "scheduling_step": 1},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}}},
    }
    box = get_distillation_box(teacher, student, {"train": images}, config, CPU, None, False, 1)
    for epoch in range(epochs):
        box.pre_epoch_process(epoch=epoch)
        for batch, labels, more in box.train_data_loader:
            box.post_forward_process(loss=box.forward_process(batch, labels, more))
        box.post_epoch_process()
        yield
    student.eval()
    box.clean_modules()


def their_speed(teacher: nn.Module, data: ImageDataset, workers: int, clock: str) -> float:
    """Images a second of an epoch after one that warms up."""
    epochs = theirs(network("student", data, width=256), teacher, data, 2, workers)
    next(epochs)
    return images_per_second(len(data.train), lambda: next(epochs), clock)


def speeds(rounds: int, clock: str) -> dict[str, Any]:
    """Images a second of both, in turn: ResNet-18 to the paper's student."""
    many, few = random_images(BATCH * 20), random_images(BATCH * 2)
    teacher, student = network("resnet18", few).eval(), network("student", few, width=256)
    targets = Targets(torch.randn(2, BATCH * 20, 10, dtype=torch.float16), 0, 1)
    recipe = Recipe(1, BATCH, RATE, precision=PRECISION, views=1)
    # Other processes' CPU time is not counted here.
    workers = max((0, 2), key=lambda number: their_speed(teacher, few, number, clock)) if clock == "wall" else 0
    images = Images(few, few.train, CPU)

    def ours() -> None:
        distil(student, many, recipe, targets=targets)

    def storing() -> None:
        evaluation.predict(teacher, images, PRECISION, view=1)

    ours()  # warm up
    found: dict[str, list[float]] = {"moist": [], "torchdistill": [], "storing": []}
    for _ in range(rounds):
        found["moist"].append(images_per_second(len(many.train), ours, clock))
        found["torchdistill"].append(their_speed(teacher, few, workers, clock))
        found["storing"].append(images_per_second(len(images), storing, clock))
    ratios = [fast / slow for fast, slow in zip(found["moist"], found["torchdistill"], strict=True)]
    return {"n": rounds, "workers": workers, **found, "ratios": ratios}


def accuracies(seeds: int, epochs: int) -> dict[str, Any]:
    """Test accuracies on digits from the same trained small_resnet and the same initial weights, one a seed."""
    data = digits()
    teacher = taught(data)
    targets = stored(teacher, data, epochs)
    found: dict[str, list[float]] = {"moist": [], "torchdistill": []}
    for seed in range(seeds):
        student = network("student", data, seed, width=256)
        recipe = Recipe(epochs, BATCH, RATE, seed=seed, precision=PRECISION, views=epochs)
        distil(student, data, recipe, targets=targets)
        found["moist"].append(tested(student, data))
        student = network("student", data, seed, width=256)
        torch.manual_seed(seed)
        for _ in theirs(student, teacher, data, epochs, 0):
            pass
        found["torchdistill"].append(tested(student, data))
    facts = {"teacher": tested(teacher, data), "test_images": len(data.test)}
    return {**facts, **found, **paired_difference(found["moist"], found["torchdistill"])}


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
