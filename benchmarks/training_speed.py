"""python benchmarks/training_speed.py: the teacher's training as a share of the machine's matrix-product peak.

In one process, with the same number format and threads, in turn: products of large matrices, and the training loop of
the stage train_teacher on images of CIFAR-10's shape, augmentation and optimizer included. A multiply-add counts as 2
operations, and a training step as 3 forward passes, which the cost model counts.
"""

import argparse
import statistics
from typing import Any

import torch
import torch.nn.functional as F
from moist.models.cost import macs
from moist.training.images import Images
from moist.training.loop import Batch, Outcome, Recipe, fit
from moist.training.precision import number_format
from record import write
from speed_setup import CLOCKS, CPU, SHAPE, images_per_second, network, random_images
from torch import nn

TEACHERS = {"resnet18": 3, "small_resnet": 12}
"""Steps of 128 images a window."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=3, help="of each teacher, the peak measured before each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that others use, 1 thread")
    parser.add_argument("--steps", type=int, help="of 128 images a window [3 or 12]")
    parser.add_argument("--teachers", nargs="+", choices=TEACHERS, default=list(TEACHERS))
    parser.add_argument("--write", action="store_true", help="keep the result")
    parser.add_argument("--name", default="training-speed", help="of the result file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {name: measured(name, options.windows, options.steps, options.clock) for name in options.teachers}
    for name, found in results.items():
        shares = found["share_of_peak"]
        print(
            f"{name}: {statistics.median(shares):.1%} of the peak (median of {len(shares)}, {min(shares):.1%} to "
            f"{max(shares):.1%}): {statistics.median(found['images_per_second']):.1f} images/s, peak "
            f"{statistics.median(found['peak_gflops']):.0f} GFLOP/s"
        )
    if options.write:
        settings = {**vars(options), "batch_size": 128, "precision": number_format(CPU, "auto")}
        print(write(options.name, results, settings))


def measured(architecture: str, windows: int, steps: int | None, clock: str) -> dict[str, Any]:
    """Images a second, the peak beside each window, and the share that the window reached."""
    data = random_images(128 * (steps or TEACHERS[architecture]))
    model = network(architecture, data)
    operations = 3 * 2 * macs(model, SHAPE)
    few = random_images(128)
    train(model, Images(few, few.train, CPU))  # warm up
    peaks, speeds = [], []
    for _ in range(windows):
        images = Images(data, data.train, CPU)
        peaks.append(peak_gflops(clock=clock))
        speeds.append(images_per_second(len(images), lambda: train(model, images), clock))  # noqa: B023 - called at once
    shares = [speed * operations / 1e9 / peak for speed, peak in zip(speeds, peaks, strict=True)]
    return {
        "n": windows,
        "gmacs_an_image": macs(model, SHAPE) / 1e9,
        "images_per_second": speeds,
        "peak_gflops": peaks,
        "share_of_peak": shares,
    }


def train(model: nn.Module, images: Images) -> None:
    """One epoch of train_teacher's loop."""

    def objective(batch: Batch) -> Outcome:
        output = model(batch.images)
        return Outcome(F.cross_entropy(output, batch.labels), (output.argmax(1) == batch.labels).sum())

    recipe = Recipe(epochs=1, batch_size=128, learning_rate=3e-3, weight_decay=0.05)
    fit(model, images, objective, recipe)


def peak_gflops(size: int = 2048, seconds: float = 2.0, clock: str = "wall") -> float:
    """Best of the products of two (size, size) matrices done in some seconds: 1e9 operations a second.

    In the number format in which training multiplies.
    """
    now = CLOCKS[clock]
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[number_format(CPU, "auto")]
    left, right = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    out = left @ right
    fastest, end = float("inf"), now() + seconds
    while now() < end:
        began = now()
        torch.mm(left, right, out=out)
        fastest = min(fastest, now() - began)
    return 2 * size**3 / fastest / 1e9


if __name__ == "__main__":
    main()
