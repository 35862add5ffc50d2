"""Which recipe teaches a ResNet-18 most in a few epochs: python benchmarks/teacher_recipes.py DATASET RECIPE ...

A quarter of the width makes it a sixteenth of the work. It learns from 33,000 of the training images and is judged on
6,000 others of them, so that the held-out images choose nothing. DATASET is a folder that prepare_data wrote, of
CIFAR-10's batches 1 to 4. With --write each recipe's result is added to benchmarks/results/teacher-recipes.json, or
replaces the one that is there.
"""

import argparse
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from keep_teacher import with_mirrored
from moist.data.dataset import ImageDataset, Split
from moist.data.dataset import load as load_dataset
from moist.models.teacher import halving_block
from moist.training import evaluation
from moist.training.cutout import cutout
from moist.training.images import Images
from moist.training.loop import Batch, Outcome, Recipe, fit
from moist.training.precision import placed
from record import RESULTS, commit, write
from torch import nn
from torchvision.models.resnet import BasicBlock

WIDTH, JUDGED, EPOCHS = 16, 6000, 12
SGD: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4, "batch_size": 128}
MUON: dict[str, Any] = {"optimizer": "muon", "learning_rate": 0.05, "weight_decay": 5e-4, "batch_size": 256}
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": SGD,
    "sgd, smoothed": {**SGD, "label_smoothing": 0.1},
    "muon": MUON,
    "muon, smoothed": {**MUON, "label_smoothing": 0.1},
    "muon, smoothed, cutout": {**MUON, "label_smoothing": 0.1, "cutout": 8},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("recipes", nargs="+", choices=RECIPES)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = apart(load_dataset(options.dataset))
    for name in options.recipes:
        found = {**RECIPES[name], **learned(data, RECIPES[name], options.epochs, options.seed), "commit": commit()}
        print(f"{name}: {100 * found['accuracy']:.2f}, mirrored too {100 * found['mirrored']:.2f}", flush=True)
        if options.write:
            path = RESULTS / "teacher-recipes.json"
            earlier = json.loads(path.read_text())["results"]["recipes"] if path.exists() else {}
            settings = {"epochs": options.epochs, "seed": options.seed, "width": WIDTH, "split": data.split_note}
            write("teacher-recipes", {"n": 1, "recipes": {**earlier, name: found}}, settings)


def apart(data: ImageDataset) -> ImageDataset:
    """Some of the training images in place of the held-out ones."""
    order = np.random.default_rng(0).permutation(len(data.train))
    learn, judge = order[:-JUDGED], order[-JUDGED:]
    train, test = (Split(data.train.images[rows], data.train.labels[rows]) for rows in (learn, judge))
    return replace(data, train=train, test=test)


def learned(data: ImageDataset, recipe: dict[str, Any], epochs: int, seed: int) -> dict[str, float]:
    """Accuracies on the images apart: as it answers, and together with its answers to the mirrored images."""
    device = torch.device("cpu")
    torch.manual_seed(seed)
    network = placed(narrow_resnet18(data.shape[2], len(data.classes)), device)
    named = {name: value for name, value in recipe.items() if name not in ("label_smoothing", "cutout")}
    smoothing, hidden = recipe.get("label_smoothing", 0.0), recipe.get("cutout", 0)

    def objective(batch: Batch) -> Outcome:
        output = network(cutout(batch.images, hidden))
        loss = F.cross_entropy(output, batch.labels, label_smoothing=smoothing)
        return Outcome(loss, (output.argmax(1) == batch.labels).sum())

    history = fit(
        network, Images(data, data.train, device), objective, Recipe(epochs, warmup_epochs=1.0, seed=seed, **named)
    )
    judged = Images(data, data.test, device)
    return {
        "accuracy": evaluation.accuracy(evaluation.predict(network, judged), judged.labels),
        "mirrored": with_mirrored(network, judged),
        "training_accuracy": history.series["accuracy"][-1],
    }


def narrow_resnet18(channels: int, classes: int) -> nn.Module:
    """The teacher's ResNet-18 with a quarter of its channels."""
    widths = [WIDTH * 2**stage for stage in range(4)]

    layers: list[nn.Module] = [nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
    layers += [BasicBlock(WIDTH, WIDTH), BasicBlock(WIDTH, WIDTH)]
    for before, after in pairwise(widths):
        layers += [halving_block(before, after), BasicBlock(after, after)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


if __name__ == "__main__":
    main()
