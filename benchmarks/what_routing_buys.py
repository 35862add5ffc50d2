"""python benchmarks/what_routing_buys.py DATASET LOGITS KEPT NAME: why a mixture gains on one student what it gains.

KEPT is the folder that benchmarks/best.py was given as --keep: a folder a seed. Of the student, the same trained with
the budget of `shared`, `shared`, and `class router`: how many held-out images each puts into another group than their
own, and how many into another class of their own group; its accuracy on training images as it saw them, and as it never
saw them. Of the mixtures also what they do when told the group. Of the class router also: its own answer added to the
chosen student's, and it answering by itself where it is sure. Written to benchmarks/results/routing-NAME.json.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from mode_record import write
from moist.data.dataset import load as load_dataset
from moist.mode.statistics import Summary
from moist.models.cost import cost
from moist.models.mixture import Mixture
from moist.models.routers import ClassRouter
from moist.models.storage import load_model
from moist.training import evaluation
from moist.training.cascade import cascade
from moist.training.images import Images
from moist.training.targets import load_targets
from torch import Tensor, nn

MODELS = {
    "student": "student",
    "same budget as shared": "same_budget [('second_share', 0), ('shared_layers', 2)]",
    "shared": "shared",
    "class router": "class router",
}
"""Folders of a seed."""
TRAINING_IMAGES = 10_000
"""How many are looked at."""
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Of the router's log-probabilities beside the student's 1; the one that is best on validation images is taken."""
EXITS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Shares of the images, those of which the router is surest, that it answers by itself."""

Answer = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, classes) of images and their labels."""


@dataclass(frozen=True)
class Splits:
    """The images to look at: a part of those trained on, and all of the others."""

    train: Images
    validation: Images
    test: Images
    views: int

    def row(self, answer: Answer, groups: Tensor) -> dict[str, float]:
        """Accuracy on held-out images, what goes wrong there, and accuracy on training images in old and new views."""
        labels = self.test.labels
        chosen = _over(answer, self.test, 0, len(labels)).argmax(1)
        wrong, elsewhere = chosen != labels, groups[chosen] != groups[labels]
        seen, unseen = (_accuracy(answer, self.train, view, TRAINING_IMAGES) for view in (self.views, self.views + 1))
        return {
            "accuracy": float((~wrong).double().mean()),
            "another group": float(elsewhere.double().mean()),
            "another class of the group": float((wrong & ~elsewhere).double().mean()),
            "training images, a view seen": seen,
            "training images, a view not seen": unseen,
        }


def main() -> None:
    """Measure every seed's models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("logits", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("name")
    options = parser.parse_args()
    data, device = load_dataset(options.dataset), torch.device("cpu")
    targets = load_targets(options.logits, data, device)
    splits = Splits(
        Images(data, data.train, device, targets.view_seed),
        Images(data, data.validation, device),
        Images(data, data.test, device),
        targets.views,
    )
    seeds, exits = {}, {}
    for folder in sorted(options.kept.glob("seed *")):
        models = {name: load_model(folder / path).eval() for name, path in MODELS.items()}
        mixture = models["class router"]
        assert isinstance(mixture, Mixture)
        seed, spent = folder.name.removeprefix("seed "), cost(mixture, data.shape)
        answers = {}
        for name, model in models.items():
            answers[name] = _whole(model)
            if isinstance(model, Mixture):
                answers[f"{name}, told the group"] = _told(model)
        weight = max(WEIGHTS, key=lambda weight: _accuracy(_added(mixture, weight), splits.validation))
        answers["class router, its answer added"] = _added(mixture, weight)
        seeds[seed] = {name: splits.row(answer, mixture.student_of_class) for name, answer in answers.items()}
        labels = splits.test.labels
        router, both = (_over(answer, splits.test, 0, len(labels)) for answer in (_router(mixture), _whole(mixture)))
        shares = tuple(1 - share for share in EXITS)
        exits[seed] = cascade(router, both, labels, spent.router_macs, spent.macs_of(1) - spent.router_macs, shares)
        print(seed, weight, seeds[seed], exits[seed], sep="\n", flush=True)
    first = next(iter(seeds.values()))
    summary = {
        name: {what: Summary.of([rows[name][what] for rows in seeds.values()]).model_dump() for what in first[name]}
        for name in first
    }
    alone = [
        {
            "share": share,
            "accuracy": Summary.of([points[at].accuracy for points in exits.values()]).model_dump(),
            "mmac": next(iter(exits.values()))[at].macs / 1e6,
        }
        for at, share in enumerate(EXITS)
    ]
    settings = {"data": data.split_note, "train": len(data.train), "seeds": list(seeds)}
    print(write(f"routing-{options.name}", {"rows": summary, "router alone": alone, "seeds": seeds}, settings))


def _whole(model: nn.Module) -> Answer:
    return lambda images, _: model(images)


def _told(mixture: Mixture) -> Answer:
    """As if the router were always right."""
    return lambda images, labels: mixture.forward_to(images, mixture.student_of_class[labels])


def _router(mixture: Mixture) -> Answer:
    """The class router's own answer."""
    assert isinstance(mixture.router, ClassRouter)
    student = mixture.router.student
    return lambda images, _: student(images)


def _added(mixture: Mixture, weight: float) -> Answer:
    """The chosen student's answer and the router's own, which has been computed anyway."""
    router = _router(mixture)
    return lambda images, labels: mixture(images).log_softmax(1) + weight * router(images, labels).log_softmax(1)


def _accuracy(answer: Answer, images: Images, view: int = 0, count: int | None = None) -> float:
    logits = _over(answer, images, view, count or len(images))
    return evaluation.accuracy(logits, images.labels[: len(logits)])


@torch.no_grad()
def _over(answer: Answer, images: Images, view: int, count: int) -> Tensor:
    """Logits (count, classes) of the first images as one view shows them."""
    batches = torch.tensor_split(torch.arange(count), max(1, count // 500))
    return torch.cat([answer(images.view(indices, view), images.labels[indices]) for indices in batches])


if __name__ == "__main__":
    main()
