"""python benchmarks/dag_minutes.py: how long the prototype's stages take on CIFAR-10, computed from measured speeds.

Images a second of each training stage of the paper's prototype, teacher aside, at the paper's batch size; from them the
minutes of 20 epochs on 40,000 images; and beside them the minutes that the stages' multiply-adds alone would take at
the machine's matrix-product peak, which no implementation in this number format can undercut.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from moist.models.cost import macs
from moist.models.specification import MixtureSpec, NetworkSpec, build, router_spec
from moist.runtime.stage import parse_settings
from moist.stages.train_jointly.settings import Settings
from moist.training.images import Images
from moist.training.joint import hard_objective
from moist.training.loop import Batch, Outcome, Recipe, fit
from moist.training.losses import double_softmax_router_loss
from moist.training.precision import number_format, placed
from moist.training.targets import Targets
from record import write
from speed_setup import CPU, SHAPE, distil, network, random_images
from training_speed import peak_gflops

IMAGES, EPOCHS = 40_000, 20
CLUSTERS = ((0, 1, 2, 3), (4, 5, 6), (7, 8, 9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = measured(options.rounds)
    for name, speeds in result["images_per_second"].items():
        print(f"{name}: {statistics.median(speeds):,.0f} images/s ({min(speeds):,.0f} to {max(speeds):,.0f})")
    print(
        f"{EPOCHS} epochs a stage on {IMAGES:,} images: {statistics.median(result['minutes']):.0f} minutes, computed "
        f"(n = {options.rounds}, {min(result['minutes']):.0f} to {max(result['minutes']):.0f}); at the peak of "
        f"{statistics.median(result['peak_gflops']):.0f} GFLOP/s: {statistics.median(result['minutes_at_peak']):.0f}"
    )
    if options.write:
        print(
            write(
                "dag-minutes",
                result,
                {**vars(options), "images": IMAGES, "epochs": EPOCHS, "precision": number_format(CPU, "auto")},
            )
        )


def measured(rounds: int) -> dict[str, Any]:
    """Each stage in turn, `rounds` times after one that warms up."""
    data = random_images(64 * 24)
    images = Images(data, data.train, CPU)
    targets = Targets(torch.randn(2, len(images), 10, dtype=torch.float16), 0, 1)
    recipe = Recipe(epochs=1, batch_size=64, learning_rate=1e-3, views=1)
    student, router = network("student", data, width=256), placed(build(router_spec("cnn", SHAPE, 3, 256)), CPU)
    student_of_class = torch.tensor([next(i for i, c in enumerate(CLUSTERS) if k in c) for k in range(10)])
    spec = MixtureSpec(
        router=router_spec("cnn", SHAPE, 3, 256),
        student=NetworkSpec(architecture="student", shape=SHAPE, outputs=10, width=256),
        clusters=CLUSTERS,
    )
    mixture: Any = placed(build(spec), CPU)
    hard = hard_objective(mixture, targets, parse_settings(Settings, {"routing": "hard"}))

    def choose(batch: Batch) -> Outcome:
        truth, output = student_of_class[batch.labels], router(batch.images)
        return Outcome(double_softmax_router_loss(output, truth), (output.argmax(1) == truth).sum())

    stages: dict[str, Callable[[], float]] = {
        "distill_student": lambda: distil(student, data, recipe, targets=targets).images_per_second[0],
        "pretrain_router (cnn)": lambda: fit(router, images, choose, recipe).images_per_second[0],
        "train_jointly (hard)": lambda: fit(mixture, images, hard, recipe).images_per_second[0],
    }
    speeds: dict[str, list[float]] = {name: [] for name in stages}
    peaks = []
    for number in range(rounds + 1):
        found = {name: stage() for name, stage in stages.items()}
        if number > 0:
            peaks.append(peak_gflops(seconds=1.0))
            for name, speed in found.items():
                speeds[name].append(speed)
    one, other = macs(student, SHAPE), macs(router, SHAPE)
    operations = 2 * IMAGES * EPOCHS * (3 * one + 3 * other + (other + 3 * one))  # hard routing only runs the router
    return {
        "n": rounds,
        "images_per_second": speeds,
        "peak_gflops": peaks,
        "minutes": [sum(IMAGES * EPOCHS / speeds[name][i] for name in stages) / 60 for i in range(rounds)],
        "minutes_at_peak": [operations / peak / 1e9 / 60 for peak in peaks],
    }


if __name__ == "__main__":
    main()
