"""python benchmarks/best.py DATASET LOGITS NAME --mixtures ... --write: does a mixture beat its controls?

DATASET and LOGITS are folders that prepare_data and train_teacher wrote (`pipeline.py fetch` brings them from a run;
for CIFAR-10 the logits lie in benchmarks/teachers/cifar10-teacher, and prepare_data with --validation-fraction 0.025
makes the data set). Every seed trains a student, the mixtures from that student, and the controls of each, by the
stages' own code. Printed, and with --write kept in benchmarks/results/best-NAME.json after every row: accuracies on the
held-out images, what an image costs, and the paired differences over the seeds with their 95% intervals. Rows that the
file has are not trained again, so a run that was cut off goes on, and seeds can be added.

With --teacher (the model's folder) the teacher has a row, too, and every cheap model a cascade that asks it.
"""

import argparse
import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import Manager, get_context
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import torch
from moist.data.clusters import load as load_clusters
from moist.data.dataset import ImageDataset
from moist.data.dataset import load as load_dataset
from moist.errors import InputError
from moist.mode.statistics import Paired, Summary
from moist.models.student import CHANNELS
from moist.reports.results import Row
from moist.runtime.artifacts import read_manifest
from moist.stages.cluster_logits.program import cluster_logits
from moist.stages.cluster_logits.settings import Settings as ClusterSettings
from moist.stages.distill_student.program import distill_student, network_of
from moist.stages.distill_student.settings import Settings as StudentSettings
from moist.stages.evaluate.measure import load_candidates, measure_rows
from moist.stages.pretrain_router.program import pretrain_router
from moist.stages.pretrain_router.settings import Settings as RouterSettings
from moist.stages.train_jointly.program import train_jointly
from moist.stages.train_jointly.settings import Settings as JointSettings
from record import RESULTS, commit, write

PAPER = {"routing": "hard", "router_loss": "double_softmax"}
SECOND_OPINION = {
    "k": 1,
    "router": "class",
    "router_hidden": 256,
    "router_channels": 64,
    "router_answers": True,
    "routing": "hard",
    "joint_epochs": 0,
    "second_share": 0.3,
}
# What each mixture changes of train_jointly's settings, and its router if that is not the CNN; its controls are of its
# inference and training cost. The paper's rows share the controls of the one with the CNN.
MIXTURES: dict[str, dict[str, Any]] = {
    "prototype": {},
    "class router": {"router": "class", "routing": "hard"},
    "class router, soft": {"router": "class"},
    "CNN router, hard": {"routing": "hard"},
    "shared": {"shared_layers": 2},
    "shared, mutual": {"shared_layers": 2, "mutual_weight": 0.1},
    "shared, all images": {"shared_layers": 2, "others_weight": 1.0},
    "shared, free gate": {"shared_layers": 2, "others_weight": 1.0, "router_weight": 0.0},
    "shared, second": {"shared_layers": 2, "second_share": 0.3},
    "first layer shared": {"shared_layers": 1},
    "second opinion": {**SECOND_OPINION, "router_epochs": 22},
    "second opinion, mirrored": {**SECOND_OPINION, "second_mirrored": True},
    "second opinion, as long": SECOND_OPINION,
    "paper, CNN router": PAPER,
    "paper, transformer router": {**PAPER, "router": "transformer", "controls": ()},
    "paper, linear router": {**PAPER, "router": "linear", "controls": ()},
    "100% router, k=4": {"routing": "oracle", "k": 4, "controls": ()},
}
INDEX = "rows.json"
"""In a seed's kept folder: the folder of each row's model."""
ROUTERS = ("router_hidden", "router_channels", "router_epochs", "router_loss")
"""What a mixture may change of pretrain_router's settings."""
CONTROLS = ("same_budget", "same_cost")
KEPT = ("accuracy", "loss", "macs", "router_macs", "training_macs", "epochs", "parameters", "cascade", "second_look")

Kept = dict[str, Any]
"""What is kept of a row."""


def main() -> None:
    """Train and measure everything for every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("logits", type=Path)
    parser.add_argument("name", help="of the result file")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--student-epochs", type=int, default=10)
    parser.add_argument("--router-epochs", type=int, default=10)
    parser.add_argument("--joint-epochs", type=int, default=10)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of students, routers and joint training")
    parser.add_argument("--warmup-epochs", type=float, default=0.0, help="of the same")
    parser.add_argument(
        "--fresh-views", action="store_true", help="new views every epoch, of students and class routers"
    )
    parser.add_argument("--mixtures", nargs="*", default=["prototype", "shared", "shared, mutual"], choices=MIXTURES)
    parser.add_argument("--no-wide-head", dest="wide_head", action="store_false", help="leave that control out")
    parser.add_argument("--ablations", nargs="*", default=[], choices=MIXTURES, help="mixtures without their controls")
    parser.add_argument("--at-once", type=int, default=2, help="seeds trained beside each other, a process each")
    parser.add_argument("--threads", type=int, default=1, help="of each of these processes")
    parser.add_argument("--keep", type=Path, help="folder to keep all that is trained in, and to find it again")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    data = load_dataset(options.dataset)
    named = ("student_epochs", "router_epochs", "joint_epochs", "k", "learning_rate", "warmup_epochs")
    settings = {name: getattr(options, name) for name in named}
    settings |= {"fresh_views": True} if options.fresh_views else {}
    settings |= {"data": data.split_note, "train": len(data.train)}
    settings |= {"logits": read_manifest(options.logits, "logits").digest}
    try:
        seeds, commits = _earlier(options.name, settings) if options.write else ({}, [])
        if options.keep:
            _keep_for(options.keep, settings)
    except InputError as error:
        parser.error(str(error))
    commits = list(dict.fromkeys([*commits, commit()]))
    for seed, name, row in _trained(options, seeds):
        seeds.setdefault(str(seed), {})[name] = row
        print(f"seed {seed}: {name} {100 * row['accuracy']:.2f}", flush=True)
        if options.write:
            write(f"best-{options.name}", {**summary(seeds), "seeds": seeds, "commits": commits}, settings)
    for name, difference in summary(seeds)["differences"].items():
        low, high = (f"{100 * difference[end]:+.2f}" if difference[end] is not None else "?" for end in ("low", "high"))
        print(f"{name}: {100 * difference['mean']:+.2f} [{low}, {high}] points over {difference['runs']} seeds")


def _trained(options: argparse.Namespace, seeds: dict[str, dict[str, Kept]]) -> Iterator[tuple[int, str, Kept]]:
    """Seed, name and figures of each row that is not known yet, as they come.

    Networks this small fill one core each better than one of them fills several.
    """
    with Manager() as manager, ProcessPoolExecutor(options.at_once, mp_context=get_context("spawn")) as pool:
        rows = manager.Queue()
        running = [pool.submit(_train, options, seed, seeds.get(str(seed), {}), rows) for seed in options.seeds]
        for future in running:
            future.add_done_callback(lambda _: rows.put(None))
        for _ in running:
            yield from iter(rows.get, None)
        for future in running:
            future.result()


def _train(options: argparse.Namespace, seed: int, known: dict[str, Kept], rows: "Queue[Any]") -> None:
    """Put each row of a seed that is not known yet into the queue."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep / f"seed {seed}" if options.keep else Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        for name, row in _rows(options, Trainer(options, seed, root), known):
            rows.put((seed, name, row))


def _earlier(name: str, settings: dict[str, Any]) -> tuple[dict[str, dict[str, Kept]], list[str]]:
    """The rows that earlier runs with the same settings kept, by seed, and the commits that measured them.

    Raises:
        InputError: it had other settings.
    """
    path = RESULTS / f"best-{name}.json"
    if not path.exists():
        return {}, []
    result = json.loads(path.read_text())
    if result["settings"] != settings:
        raise InputError(f"{path} has results with other settings, {result['settings']}; choose another name.")
    return result["results"]["seeds"], result["results"]["commits"]


def _keep_for(folder: Path, settings: dict[str, Any]) -> None:
    """Note the settings in a folder of kept models.

    Raises:
        InputError: its models were trained with others.
    """
    path = folder / "settings.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise InputError(f"{folder} has models of other settings, {path.read_text()}; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings))


def summary(seeds: dict[str, dict[str, Kept]]) -> dict[str, Any]:
    """Every row's accuracy and cost over the seeds that have it, and each mixture less each control, paired by seed."""
    rows: dict[str, Any] = {}
    for key in dict.fromkeys(key for seed in seeds.values() for key in seed):
        having = [seed[key] for seed in seeds.values() if key in seed]
        rows[key] = {
            "accuracy": Summary.of([row["accuracy"] for row in having]).model_dump(),
            "loss": Summary.of([row["loss"] for row in having]).mean,
            "mmac": Summary.of([row["macs"] / 1e6 for row in having]).mean,
            "training_gmac": Summary.of([row["training_macs"] / 1e9 for row in having]).mean,
            "parameters": having[0]["parameters"],
            **{name: _mean([row[name] for row in having]) for name in ("r", "a", "b")},
        }
    differences = {}
    for key in rows:
        for control in ("same budget", "same cost"):
            both = [seed for seed in seeds.values() if key in seed and f"{control} as {key}" in seed]
            if both:
                own, other = ([seed[name]["accuracy"] for seed in both] for name in (key, f"{control} as {key}"))
                differences[f"{key} - {control}"] = Paired.of(own, other).model_dump()
    for key, (values, mmac, own) in _second_looks(seeds).items():
        rows[f"same budget as {key}, looking again"] = {"accuracy": Summary.of(values).model_dump(), "mmac": mmac}
        differences[f"{key} - looking again"] = Paired.of(own, values).model_dump()
    for key, (values, mmac, baseline) in _cascades(list(seeds.values())).items():
        rows[key] = {"accuracy": Summary.of(values).model_dump(), "mmac": mmac}
        differences[f"{key} - same cost"] = Paired.of(values, baseline).model_dump()
    return {"rows": rows, "differences": differences}


def _second_looks(seeds: dict[str, dict[str, Kept]]) -> dict[str, tuple[list[float], float, list[float]]]:
    """Each dearer mixture's control of the same training budget that looks again at the mirrored image, at its cost.

    The control's accuracies, the cost in the mean (MMAC), and the mixture's accuracies.
    """
    found = {}
    for key in MIXTURES:
        control = f"same budget as {key}"
        both = [(seed[key], seed[control]) for seed in seeds.values() if key in seed and control in seed]
        both = [(own, single) for own, single in both if single.get("second_look") and own["macs"] > single["macs"]]
        if both:
            values = [float(np.interp(own["macs"], *np.array(single["second_look"]).T)) for own, single in both]
            cost = sum(own["macs"] for own, _ in both) / len(both) / 1e6
            found[key] = (values, cost, [own["accuracy"] for own, _ in both])
    return found


def _cascades(seeds: list[dict[str, Kept]]) -> dict[str, tuple[list[float], float, list[float]]]:
    """Every cheaper model that asks the teacher about as many images as the cost of the dearest single student allows.

    Its accuracies, what it costs in the mean (MMAC), and that student's accuracies. Between two points of a cascade the
    line is what choosing one of both thresholds at random gives.
    """
    whole = [seed for seed in seeds if set(seed) == set(seeds[0])]
    singles = [key for key in seeds[0] if key == "wide head" or key.startswith("same cost")]
    if not singles:
        return {}
    control = max(singles, key=lambda key: float(seeds[0][key]["macs"]))
    cost, baseline = [seed[control]["macs"] for seed in whole], [seed[control]["accuracy"] for seed in whole]
    found = {}
    for key in seeds[0]:
        if seeds[0][key]["cascade"] and key not in singles and seeds[0][key]["macs"] < cost[0]:
            curves = [np.array(seed[key]["cascade"]).T for seed in whole]
            values = [float(np.interp(limit, *curve)) for limit, curve in zip(cost, curves, strict=True)]
            name = f"{key}, asking the teacher at the cost of {control}"
            found[name] = (values, sum(cost) / len(cost) / 1e6, baseline)
    return found


def _mean(values: list[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Trainer:
    """Trains what a seed needs into folders under `root`, each of them once and only when it is asked for."""

    options: argparse.Namespace
    seed: int
    root: Path

    def _made(self, name: str, make: Callable[[Path, dict[str, Path]], None]) -> Path:
        folder = self.root / name
        if not folder.exists():
            files = {"metrics": self.root / "metrics", "curves": self.root / "curves.html"}
            files["metrics"].mkdir(exist_ok=True)
            unfinished = self.root / f"{name}, unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                make(unfinished, files)
            unfinished.rename(folder)
        return folder

    @property
    def _how(self) -> dict[str, Any]:
        """What all trainings have in common."""
        rate, warmup = self.options.learning_rate, self.options.warmup_epochs
        fresh = self.options.fresh_views
        return {"seed": self.seed, "learning_rate": rate, "warmup_epochs": warmup, "fresh_views": fresh}

    def clusters(self, k: int) -> Path:
        def make(folder: Path, files: dict[str, Path]) -> None:
            settings = ClusterSettings.model_validate({"k": k})
            metrics, view = files["metrics"], self.root / "view.html"
            cluster_logits(settings, logits=self.options.logits, clusters=folder, view=view, metrics=metrics)

        return self._made(f"clusters {k}", make)

    def student(self, name: str, k: int, **changes: Any) -> Path:
        def make(folder: Path, files: dict[str, Path]) -> None:
            settings = StudentSettings.model_validate({"epochs": self.options.student_epochs, **self._how} | changes)
            given = {"dataset": self.options.dataset, "logits": self.options.logits, "clusters": self.clusters(k)}
            distill_student(settings, teacher=None, student=folder, **given, **files)

        return self._made(name, make)

    def router(self, mixture: str) -> Path:
        changes, k = MIXTURES[mixture], _k(self.options, mixture)
        given = {key.removeprefix("router_"): value for key, value in changes.items() if key in ROUTERS}
        given = {"architecture": changes.get("router", "cnn"), "epochs": self.options.router_epochs, **given}

        def make(folder: Path, files: dict[str, Path]) -> None:
            of_class = given["architecture"] == "class"  # the others learn groups, of which the teacher says nothing
            how = {**self._how, "fresh_views": of_class and self.options.fresh_views}
            settings = RouterSettings.model_validate({**given, **how})
            logits = self.options.logits if of_class else None
            inputs = {"dataset": self.options.dataset, "clusters": self.clusters(k)}
            pretrain_router(settings, logits=logits, router=folder, **inputs, **files)

        return self._made(f"router {k} {sorted(given.items())}", make)

    def mixture(self, name: str) -> Path:
        def make(folder: Path, files: dict[str, Path]) -> None:
            changes, k = MIXTURES[name], _k(self.options, name)
            given = {key: value for key, value in changes.items() if key in JointSettings.model_fields}
            given = {"epochs": changes.get("joint_epochs", self.options.joint_epochs), **self._how, **given}
            inputs = {"dataset": self.options.dataset, "logits": self.options.logits, "clusters": self.clusters(k)}
            inputs["student"] = self.student("student", k)
            own = changes.get("shared_layers", 0) == 0 and changes.get("routing") != "oracle"
            router = self.router(name) if own else None
            train_jointly(JointSettings.model_validate(given), **inputs, router=router, mixture=folder, **files)

        return self._made(name, make)

    def control(self, mixture: str, control: str) -> Path:
        """Mixtures that cost the same share their controls."""
        changes, options, k = MIXTURES[mixture], self.options, _k(self.options, mixture)
        given = {key: value for key, value in changes.items() if key in StudentSettings.model_fields}
        epochs = {name: getattr(options, name) for name in ("router_epochs", "joint_epochs")}
        given = {"epochs": options.student_epochs, **epochs, **given, "control": control}
        data = load_dataset(options.dataset)
        clusters = load_clusters(self.clusters(k), len(data.classes)).clusters
        spec, trained = network_of(StudentSettings.model_validate(given), data, clusters)
        return self.student(f"control of {spec.channels or CHANNELS} channels, {trained} epochs", k, **given)


def _k(options: argparse.Namespace, mixture: str) -> int:
    return int(MIXTURES[mixture].get("k", options.k))


def _rows(options: argparse.Namespace, trainer: Trainer, known: dict[str, Kept]) -> Iterator[tuple[str, Kept]]:
    """Name and figures of each row of a seed that is not known yet, trained as it is asked for."""
    data = load_dataset(options.dataset)
    wanted: dict[str, tuple[str, Callable[[], Path]]] = {}
    if options.teacher:
        wanted["teacher"] = ("teacher", lambda: options.teacher)
    wanted["student"] = ("student", lambda: trainer.student("student", options.k))
    if options.wide_head:
        # As many parameters as k students hold, all used for every image: what specialised heads buy at most.
        epochs = options.student_epochs + options.joint_epochs
        width = 256 * options.k
        wanted["wide head"] = ("student", lambda: trainer.student("wide", options.k, width=width, epochs=epochs))
    for mixture in [*options.mixtures, *options.ablations]:
        role = "oracle" if MIXTURES[mixture].get("routing") == "oracle" else "mixture"
        wanted[mixture] = (role, partial(trainer.mixture, mixture))
        for control in MIXTURES[mixture].get("controls", CONTROLS) if mixture in options.mixtures else ():
            name = f"{control.replace('_', ' ')} as {mixture}"
            wanted[name] = ("student", partial(trainer.control, mixture, control))
    index = trainer.root / INDEX
    folders = json.loads(index.read_text()) if index.exists() else {}
    for name, (role, folder) in wanted.items():
        if name not in known:
            path = folder()
            folders[name] = path.name
            index.write_text(json.dumps(folders, indent=1))
            yield name, _kept(_measured(options, data, role, path))


def _measured(options: argparse.Namespace, data: ImageDataset, role: str, folder: Path) -> Row:
    """A model's row; its cascade needs the teacher beside it."""
    folders = {"teacher": options.teacher} if options.teacher else {}
    device = torch.device("cpu")
    return measure_rows(load_candidates({**folders, role: folder}, device), data, device, "fp32", 500, 0.0)[-1]


def _kept(row: Row) -> Kept:
    found = {key: value for key, value in row.model_dump().items() if key in KEPT}
    for curve in ("cascade", "second_look"):
        found[curve] = [(point["macs"], point["accuracy"]) for point in found[curve]]
    return {**found, **{name: getattr(row.routing, name, None) for name in ("r", "a", "b")}}


if __name__ == "__main__":
    main()
