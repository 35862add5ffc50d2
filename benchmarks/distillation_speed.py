"""python benchmarks/distillation_speed.py: a student from stored logits against asking the teacher at every step.

Speed: the paper's student and ResNet-18 on images of CIFAR-10's shape, in turn, in one process. What storing the logits
costs, one pass of the teacher a view, is measured too: it is paid once for all students, controls and mixtures.
Accuracy: digits, a trained small_resnet, both ways with the same seeds, for more epochs than there are stored views.
"""

import argparse
import statistics
from typing import Any

import torch
from moist.training import evaluation
from moist.training.images import Images
from moist.training.loop import Recipe
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of the speeds")
    parser.add_argument("--seeds", type=int, default=8, help="of the accuracies, 0 and up; at least 2")
    parser.add_argument("--epochs", type=int, default=32, help="for the accuracies")
    parser.add_argument("--views", type=int, default=16, help="for the accuracies")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that others use, 1 thread")
    parser.add_argument("--write", action="store_true", help="keep the result")
    parser.add_argument("--name", default="distillation-speed", help="of the result file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    speed = speeds(options.rounds, options.clock)
    print(
        f"stored logits: {statistics.median(speed['stored']):,.0f} images/s, ResNet-18 asked at every step: "
        f"{statistics.median(speed['asked']):,.1f}; {statistics.median(speed['ratios']):.0f}x (median of "
        f"{options.rounds}, {min(speed['ratios']):.0f}x to {max(speed['ratios']):.0f}x). "
        f"Storing: {statistics.median(speed['storing']):,.1f} images/s, once"
    )
    accuracy = accuracies(options.seeds, options.epochs, options.views)
    low, high = accuracy["interval_95"]
    print(
        f"digits: stored {statistics.fmean(accuracy['stored']):.2%}, asked {statistics.fmean(accuracy['asked']):.2%} "
        f"(n = {options.seeds} seeds); stored - asked {100 * accuracy['difference']:+.2f} points, 95% interval "
        f"{100 * low:+.2f} to {100 * high:+.2f}"
    )
    if options.write:
        print(write(options.name, {"speed": speed, "accuracy": accuracy}, vars(options)))


def speeds(rounds: int, clock: str) -> dict[str, Any]:
    """Images a second of both ways and of storing, in turn."""
    many, few = random_images(64 * 20), random_images(64 * 2)
    teacher, student = network("resnet18", few).eval(), network("student", few, width=256)
    recipe = Recipe(epochs=1, batch_size=64, learning_rate=1e-3, views=1)
    targets = Targets(torch.randn(2, 64 * 20, 10, dtype=torch.float16), 0, 1)
    found: dict[str, list[float]] = {"stored": [], "asked": [], "storing": []}
    images = Images(few, few.train, CPU)
    for number in range(rounds + 1):
        speed = {
            "stored": images_per_second(len(many.train), lambda: distil(student, many, recipe, targets=targets), clock),
            "asked": images_per_second(len(images), lambda: distil(student, few, recipe, teacher=teacher), clock),
            "storing": images_per_second(len(images), lambda: evaluation.predict(teacher, images, view=1), clock),
        }
        if number > 0:  # the first warms up
            for name, value in speed.items():
                found[name].append(value)
    ratios = [fast / slow for fast, slow in zip(found["stored"], found["asked"], strict=True)]
    return {"n": rounds, **found, "ratios": ratios}


def accuracies(seeds: int, epochs: int, views: int) -> dict[str, Any]:
    """Test accuracies of both ways, one a seed, and their difference."""
    data = digits()
    teacher = taught(data)
    targets = stored(teacher, data, views)
    found: dict[str, list[float]] = {"stored": [], "asked": []}
    for seed in range(seeds):
        student = network("student", data, seed, width=256)
        distil(student, data, Recipe(epochs, 64, 1e-3, seed=seed, views=views), targets=targets)
        found["stored"].append(tested(student, data))
        student = network("student", data, seed, width=256)
        distil(student, data, Recipe(epochs, 64, 1e-3, seed=seed), teacher=teacher)
        found["asked"].append(tested(student, data))
    facts = {"teacher": tested(teacher, data), "test_images": len(data.test)}
    return {**facts, **found, **paired_difference(found["stored"], found["asked"])}


if __name__ == "__main__":
    main()
