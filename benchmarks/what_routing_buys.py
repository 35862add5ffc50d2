"""python benchmarks/what_routing_buys.py DATASET LOGITS KEPT NAME: where single students and mixtures err.

KEPT is the folder that benchmarks/best.py was given as --keep: a folder a seed. For the student, the controls, the
paper's mixture and `second opinion`: how many held-out images each puts into another group than their own, and how many
into another class of their own group; its accuracy on training images in a view it learned from, and in one it never
saw. The paper's mixture also if told the group; the conceptual router's told, and routed by the student's answer. Then,
by the share of the images on which a second opinion is asked: the accuracy of `second opinion`, and that of the control
with its training budget, if that looks again at the mirrored image instead. Written to
benchmarks/results/routing-NAME.json.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from best import INDEX
from moist.data.clusters import load as load_clusters
from moist.data.dataset import load as load_dataset
from moist.mode.statistics import Summary
from moist.models.cost import cost
from moist.models.mixture import Mixture
from moist.models.routers import ClassRouter
from moist.models.storage import load_model
from moist.training import evaluation
from moist.training.cascade import SHARES, second_look
from moist.training.images import Images
from moist.training.targets import load_targets
from record import write
from torch import Tensor, nn

PAPER, ORACLE, SECOND = "paper, CNN router", "100% router, k=4", "second opinion"
ROWS = ("student", f"same budget as {SECOND}", f"same cost as {SECOND}", PAPER, SECOND)
GROUPS = "clusters 3"
TRAINING_IMAGES = 10_000
"""How many are looked at."""

Answer = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, classes) of images and their labels."""


@dataclass(frozen=True)
class Splits:
    """The images to look at, the number of views learned from, and the group of each class, int64 (classes,)."""

    train: Images
    test: Images
    views: int
    groups: Tensor

    def row(self, answer: Answer) -> dict[str, float]:
        """Accuracy on held-out images, what goes wrong there, and accuracy on training images in old and new views."""
        labels = self.test.labels
        chosen = over(answer, self.test).argmax(1)
        wrong, elsewhere = chosen != labels, self.groups[chosen] != self.groups[labels]
        old, new = (over(answer, self.train, view, TRAINING_IMAGES) for view in (self.views, self.views + 1))
        return {
            "accuracy": float((~wrong).double().mean()),
            "in another group": float(elsewhere.double().mean()),
            "another class of the group": float((wrong & ~elsewhere).double().mean()),
            "training images": evaluation.accuracy(old, self.train.labels[:TRAINING_IMAGES]),
            "training images, new views": evaluation.accuracy(new, self.train.labels[:TRAINING_IMAGES]),
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
    seeds: dict[str, dict[str, Any]] = {}
    for folder in sorted(options.kept.glob("seed *")):
        paths = json.loads((folder / INDEX).read_text())
        lacking = [name for name in (*ROWS, ORACLE) if name not in paths]
        if lacking:
            print(f"{folder.name} is left out: it has no {', no '.join(lacking)}", flush=True)
            continue
        models = {name: load_model(folder / paths[name]).eval() for name in ROWS}
        found = load_clusters(folder / GROUPS, len(data.classes))
        splits = Splits(
            Images(data, data.train, device, targets.view_seed),
            Images(data, data.test, device),
            len(targets.values) - 1,
            torch.from_numpy(found.student_of_class),
        )
        rows = {name: splits.row(whole(model)) for name, model in models.items()}
        rows[f"{PAPER}, told the group"] = splits.row(told(models[PAPER]))
        oracle = load_model(folder / paths[ORACLE]).eval()
        rows[ORACLE] = splits.row(told(oracle))
        rows[f"{ORACLE}, routed by the student"] = splits.row(routed(oracle, models["student"]))
        macs = {name: cost(models[name], data.shape) for name in (ROWS[1], SECOND)}
        curves = {
            SECOND: second_look(
                *both_opinions(models[SECOND], splits.test), splits.test.labels, macs[SECOND].router_macs
            ),
            f"{ROWS[1]}, looking again": second_look(
                over(whole(models[ROWS[1]]), splits.test),
                over(mirrored(models[ROWS[1]]), splits.test),
                splits.test.labels,
                macs[ROWS[1]].macs,
            ),
        }
        seeds[folder.name.removeprefix("seed ")] = {"rows": rows, "curves": curves}
        print(folder.name, json.dumps(seeds[folder.name.removeprefix("seed ")], indent=1), flush=True)
    if not seeds:
        parser.error(f"{options.kept} has no seed with all rows that are taken apart")
    first = next(iter(seeds.values()))
    summary = {
        name: {kind: _over_seeds([seed["rows"][name][kind] for seed in seeds.values()]) for kind in row}
        for name, row in first["rows"].items()
    }
    means = {
        name: [
            {
                "share": share,
                "mmac": first["curves"][name][at].macs / 1e6,
                "accuracy": _over_seeds([seed["curves"][name][at].accuracy for seed in seeds.values()]),
            }
            for at, share in enumerate(SHARES)
        ]
        for name in first["curves"]
    }
    settings = {"data": data.split_note, "train": len(data.train), "seeds": list(seeds)}
    print(write(f"routing-{options.name}", {"rows": summary, "curves": means}, settings))


def whole(model: nn.Module) -> Answer:
    """As it serves."""
    return lambda images, _: model(images)


def mirrored(model: nn.Module) -> Answer:
    """On the images the other way round."""
    return lambda images, _: model(images.flip(3))


def told(mixture: nn.Module) -> Answer:
    """As if the router were always right."""
    assert isinstance(mixture, Mixture)
    return lambda images, labels: mixture.forward_to(images, mixture.student_of_class[labels])


def routed(mixture: nn.Module, student: nn.Module) -> Answer:
    """As if the single student were the router: to where the class is that it names."""
    assert isinstance(mixture, Mixture)
    return lambda images, _: mixture.forward_to(images, mixture.student_of_class[student(images).argmax(1)])


def both_opinions(mixture: nn.Module, images: Images) -> tuple[Tensor, Tensor]:
    """The router's logits and its only student's, (N, classes)."""
    assert isinstance(mixture, Mixture)
    assert isinstance(mixture.router, ClassRouter)
    assert len(mixture.students) == 1
    return over(whole(mixture.router.student), images), over(whole(mixture.students[0]), images)


def over(answer: Answer, images: Images, view: int = 0, count: int | None = None) -> Tensor:
    """Logits (count, classes) of the first images, or all, as one view shows them."""
    return evaluation.predict_indexed(
        lambda batch, indices: answer(batch, images.labels[indices]), images, "fp32", view, count=count
    )


def _over_seeds(values: list[float]) -> dict[str, Any]:
    return Summary.of(values).model_dump()


if __name__ == "__main__":
    main()
