"""python benchmarks/table1_latency.py DATASET KEPT: warm latencies of Table I's networks, all in turn in one process.

DATASET is the artifact that they learned from, whose held-out images they answer; KEPT is a seed's folder in what
benchmarks/best.py was given as --keep. The teacher is an untrained ResNet-18: latency does not depend on what weights
are worth. float32; written to benchmarks/results/table1-latency.json.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from best import INDEX
from moist.data.dataset import load as load_dataset
from moist.models import latency
from moist.models.mixture import Mixture
from moist.models.specification import NetworkSpec, build
from moist.models.storage import load_model
from moist.stages.evaluate.measure import LATENCY_BATCHES, latency_batches
from moist.training.images import Images
from moist.training.precision import placed
from record import write
from torch import Tensor, nn

ROWS = (
    "student",
    "paper, CNN router",
    "paper, transformer router",
    "paper, linear router",
    "100% router, k=4",
    "same budget as paper, CNN router",
    "same cost as paper, CNN router",
    "second opinion",
)
"""Of benchmarks/best.py."""


def main() -> None:
    """Time all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("--seconds", type=float, default=20, help="of timing for each batch size")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data, device = load_dataset(options.dataset), torch.device("cpu")
    images = Images(data, data.test, device)
    batches = {size: latency_batches(images, size) for size in LATENCY_BATCHES}
    folders = json.loads((options.kept / INDEX).read_text())
    models: dict[str, latency.Model] = {
        "teacher": placed(
            build(NetworkSpec(architecture="resnet18", shape=data.shape, outputs=len(data.classes))), device
        ).eval(),
        **{name: _served(placed(load_model(options.kept / folders[name]), device).eval()) for name in ROWS},
    }
    found = latency.measure(models, batches, options.seconds)
    for name, timings in found.items():
        print(f"{name}: {', '.join(f'{timing.median_ms:.2f} ms at {timing.batch_size}' for timing in timings)}")
    results = {name: [asdict(timing) for timing in timings] for name, timings in found.items()}
    print(write("table1-latency", results, {"seconds": options.seconds, "shape": data.shape, "data": data.name}))


def _served(model: nn.Module) -> latency.Model:
    """As it serves; the one that routes by the label is told to send the images to its students by turns."""
    if not isinstance(model, Mixture) or model.router is not None:
        return model

    def told(images: Tensor) -> Tensor:
        return model.forward_to(images, torch.arange(len(images)) % len(model.students))

    return told


if __name__ == "__main__":
    main()
