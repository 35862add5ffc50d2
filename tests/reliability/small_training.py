"""A small training run with all that a checkpoint must hold: batch norm, dropout, augmentation, warm-up, validation."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from moist.data.dataset import Augmentation, ImageDataset, Split, build
from moist.training import distributed, evaluation
from moist.training.images import Images
from moist.training.loop import Batch, Checkpoints, History, Outcome, Recipe, fit
from torch import Tensor, nn

CLASSES = 4
RECIPE = Recipe(epochs=3, batch_size=4, learning_rate=3e-3, weight_decay=0.05, warmup_epochs=0.5, seed=5)
"""75 steps an epoch: a checkpoint may lie within an epoch (after steps 32 and 64) and after each."""


def dataset(count: int = 300) -> ImageDataset:
    """Images of four classes that a network can tell apart."""
    draw = np.random.default_rng(3)
    labels = np.arange(count + 40) % CLASSES
    images = draw.integers(0, 120, (len(labels), 8, 8, 1), np.uint8)
    for label in range(CLASSES):
        images[labels == label, 2 * label : 2 * label + 2] += 100
    parts = [Split(images[a:b], labels[a:b]) for a, b in ((0, count), (count, count + 20), (count + 20, None))]
    names = tuple(f"class {label}" for label in range(CLASSES))
    return build("small", names, *parts, augmentation=Augmentation(1, True), split_note="", source="drawn")


def network(dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(96, CLASSES),
    )


class CutOffError(Exception):
    """Stands for the end of the process."""


def train(
    model: nn.Module,
    recipe: Recipe = RECIPE,
    checkpoints: Checkpoints | None = None,
    stop_after: int | None = None,
    count: int = 300,
    objective: Callable[[nn.Module, Batch], Outcome] | None = None,
) -> History:
    """Fit a model; with `stop_after` the run is cut off in the forward pass after so many steps."""
    data, device, steps = dataset(count), torch.device("cpu"), [0]
    images, held_out = Images(data, data.train, device, 7), Images(data, data.validation, device)

    def plain(batch: Batch) -> Outcome:
        if steps[0] == stop_after:
            raise CutOffError
        steps[0] += 1
        if objective is not None:
            return objective(model, batch)
        output = model(batch.images)
        return Outcome(F.cross_entropy(output, batch.labels), (output.argmax(1) == batch.labels).sum())

    def validate() -> dict[str, float]:
        dtype = next(model.parameters()).dtype
        outputs = evaluation.predict(lambda batch: model(batch.to(dtype)), held_out)
        return {"validation_accuracy": evaluation.accuracy(outputs, held_out.labels)}

    return fit(model, images, plain, recipe, checkpoints=checkpoints, validate=validate)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# What the processes of a group run: importable, so that a new process finds it.


def doubles(model: nn.Module, batch: Batch) -> Outcome:
    """In double precision, where only a difference in what is computed shows, not one in the order of adding."""
    output = model(batch.images.double())
    return Outcome(F.cross_entropy(output, batch.labels), (output.argmax(1) == batch.labels).sum())


def routed(model: nn.Module, batch: Batch) -> Outcome:
    """Hard routing by the label among experts, most of which see none of a slice's images."""
    images = batch.images.double().flatten(1)
    rows = []
    for label, image in zip(batch.labels.tolist(), images, strict=True):
        rows.append(model[int(label)](image))  # type: ignore[index]
    output = torch.stack(rows)
    return Outcome(F.cross_entropy(output, batch.labels), (output.argmax(1) == batch.labels).sum())


def experts() -> nn.Module:
    torch.manual_seed(2)
    return nn.ModuleList(nn.Linear(64, CLASSES) for _ in range(CLASSES + 1))  # the last one never sees an image


def group_member(rank: int, count: int, folder: str, tasks: list[str]) -> None:
    """One process of a group that trains; the first one keeps the results."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    for task in tasks:
        model, history = trained(task)
        mine = torch.tensor([float(sum(t.double().sum() for t in model.state_dict().values()))], dtype=torch.float64)
        apart = float((distributed.total(mine.clone()) - count * mine).abs())
        if rank == 0:
            torch.save({"state": state(model), "series": history.series, "apart": apart}, f"{folder}/{task}.pt")
    torch.distributed.destroy_process_group()


def trained(task: str) -> tuple[nn.Module, History]:
    """A trained network, by name of what it is to show."""
    if task == "double":  # 301 images: the last batch has one image, fewer than there are processes
        model = network(dropout=0).double()
        return model, train(model, Recipe(epochs=2, batch_size=20, learning_rate=1e-2), count=301, objective=doubles)
    if task == "single":
        model = network(dropout=0)
        return model, train(model, Recipe(epochs=2, batch_size=20, learning_rate=1e-2))
    if task == "experts":
        model = experts().double()
        recipe = Recipe(epochs=1, batch_size=6, learning_rate=1e-2, weight_decay=0.1)
        return model, train(_Callable(model), recipe, objective=lambda _, batch: routed(model, batch))
    raise ValueError(task)


class _Callable(nn.Module):
    """Experts as a network that validation can call."""

    def __init__(self, parts: nn.Module) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([self.parts[0](image) for image in images.double().flatten(1)])  # type: ignore[index]
