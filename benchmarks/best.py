"""python benchmarks/best.py DATASET LOGITS TEACHER NAME --write: does a mixture beat its controls, and what does it?

DATASET, LOGITS and TEACHER are folders that prepare_data and train_teacher wrote (`pipeline.py fetch` brings them from
a run). Every seed trains a student, the mixtures below from that student, and the controls of each, by the stages' own
code. Printed, and with --write kept in benchmarks/results/best-NAME.json: accuracies on the held-out images, what an
image costs, and the paired differences over the seeds with their 95% intervals.
"""

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mode_record import write
from moist.data.dataset import ImageDataset
from moist.data.dataset import load as load_dataset
from moist.mode.statistics import Paired, Summary
from moist.reports.results import Row
from moist.stages.cluster_logits.program import cluster_logits
from moist.stages.cluster_logits.settings import Settings as ClusterSettings
from moist.stages.distill_student.program import distill_student
from moist.stages.distill_student.settings import Settings as StudentSettings
from moist.stages.evaluate.measure import load_candidates, measure_rows
from moist.stages.pretrain_router.program import pretrain_router
from moist.stages.pretrain_router.settings import Settings as RouterSettings
from moist.stages.train_jointly.program import train_jointly
from moist.stages.train_jointly.settings import Settings as JointSettings

# What each mixture changes of train_jointly's settings, and its router if that is not the CNN; its controls are of its
# inference and training cost.
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
}


def main() -> None:
    """Train and measure everything for every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("logits", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("name", help="of the result file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--student-epochs", type=int, default=10)
    parser.add_argument("--router-epochs", type=int, default=10)
    parser.add_argument("--joint-epochs", type=int, default=10)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--mixtures", nargs="+", default=["prototype", "shared", "shared, mutual"], choices=MIXTURES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep each seed's figures here, to go on after a break"
    )
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_dataset(options.dataset)
    seeds = []
    for seed in options.seeds:
        seeds.append(_kept(options, data, seed))
        print(
            f"seed {seed}: " + " · ".join(f"{key} {100 * row.accuracy:.2f}" for key, row in seeds[-1].items()),
            flush=True,
        )
        results = summary(seeds, options.mixtures)
        if options.write:  # after every seed, so that an interrupted run keeps what it has
            settings = {
                key: value
                for key, value in vars(options).items()
                if key not in ("dataset", "logits", "teacher", "keep")
            }
            settings["seeds"] = options.seeds[: len(seeds)]
            write(f"best-{options.name}", results, {**settings, "data": data.split_note, "train": len(data.train)})
    for name, difference in results["differences"].items():
        low, high = (f"{100 * difference[end]:+.2f}" if difference[end] is not None else "?" for end in ("low", "high"))
        print(f"{name}: {100 * difference['mean']:+.2f} [{low}, {high}] points")


def _kept(options: argparse.Namespace, data: ImageDataset, seed: int) -> dict[str, Row]:
    """A seed's rows, from an earlier run with the same --keep if it got that far."""
    path = options.keep / f"{options.name}-{seed}.json" if options.keep else None
    if path and path.exists():
        return {key: Row.model_validate(row) for key, row in json.loads(path.read_text()).items()}
    with tempfile.TemporaryDirectory() as folder:
        rows = _one_seed(options, data, seed, Path(folder))
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({key: row.model_dump() for key, row in rows.items()}))
    return rows


def summary(seeds: list[dict[str, Row]], mixtures: list[str]) -> dict[str, Any]:
    """Every row's accuracy and cost over the seeds, and each mixture less each of its controls, paired by seed."""
    rows = {
        key: {
            "accuracy": Summary.of([seed[key].accuracy for seed in seeds]).model_dump(),
            "mmac": Summary.of([seed[key].macs / 1e6 for seed in seeds]).mean,
            "training_gmac": Summary.of([seed[key].training_macs / 1e9 for seed in seeds]).mean,
            "parameters": seeds[0][key].parameters,
            "r": _mean([routing.r for seed in seeds if (routing := seed[key].routing)]),
            "a": _mean([routing.a for seed in seeds if (routing := seed[key].routing)]),
            "b": _mean([routing.b for seed in seeds if (routing := seed[key].routing)]),
        }
        for key in seeds[0]
    }
    accuracies = {key: [seed[key].accuracy for seed in seeds] for key in rows}
    differences = {
        f"{mixture} - {control}": Paired.of(accuracies[mixture], accuracies[key]).model_dump()
        for mixture in mixtures
        for control in ("same budget", "same cost")
        if (key := f"{control} as {mixture}") in rows
    }
    for key, (values, mmac, baseline) in _cascades(seeds).items():
        rows[key] = {"accuracy": Summary.of(values).model_dump(), "mmac": mmac}
        differences[f"{key} - same cost"] = Paired.of(values, baseline).model_dump()
    return {"rows": rows, "differences": differences}


def _cascades(seeds: list[dict[str, Row]]) -> dict[str, tuple[list[float], float, list[float]]]:
    """Every cheaper model that asks the teacher about as many images as the cost of the dearest single student allows.

    Its accuracies, what it costs in the mean (MMAC), and that student's accuracies. Between two points of a cascade the
    line is what choosing one of both thresholds at random gives.
    """
    singles = [key for key in seeds[0] if key == "wide head" or key.startswith("same cost")]
    control = max(singles, key=lambda key: seeds[0][key].macs)
    cost, baseline = [seed[control].macs for seed in seeds], [seed[control].accuracy for seed in seeds]
    found = {}
    for key in seeds[0]:
        if seeds[0][key].cascade and key not in singles and seeds[0][key].macs < cost[0]:
            curves = [([p.macs for p in seed[key].cascade], [p.accuracy for p in seed[key].cascade]) for seed in seeds]
            values = [float(np.interp(limit, *curve)) for limit, curve in zip(cost, curves, strict=True)]
            name = f"{key}, asking the teacher at the cost of {control}"
            found[name] = (values, sum(cost) / len(cost) / 1e6, baseline)
    return found


def _mean(values: list[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _one_seed(options: argparse.Namespace, data: ImageDataset, seed: int, root: Path) -> dict[str, Row]:
    """All rows of one seed."""
    inputs = {"dataset": options.dataset, "logits": options.logits}
    files = {"metrics": root / "metrics", "curves": root / "curves.html"}
    files["metrics"].mkdir()
    grouping = ClusterSettings.model_validate({"k": options.k})
    cluster_logits(
        grouping, logits=options.logits, clusters=root / "clusters", view=root / "view.html", metrics=files["metrics"]
    )

    def student(name: str, **settings: Any) -> None:
        given = StudentSettings.model_validate({"epochs": options.student_epochs, "seed": seed} | settings)
        _quietly(
            distill_student, given, **inputs, teacher=None, clusters=root / "clusters",
            student=root / name, **files,
        )  # fmt: skip

    student("student")
    # As many parameters as k students hold, all of them used for every image: what specialised heads could buy at most.
    student("wide", width=256 * options.k, epochs=options.student_epochs + options.joint_epochs)
    folders = {"teacher": options.teacher, "student": root / "student", "wide head": root / "wide"}
    for mixture in options.mixtures:
        changes = dict(MIXTURES[mixture])
        chooser = changes.pop("router", "cnn")
        shared = changes.get("shared_layers", 0)
        router = None if shared else root / f"{chooser} router"
        if router and not router.exists():
            learns = RouterSettings.model_validate(
                {"architecture": chooser, "epochs": options.router_epochs, "seed": seed}
            )
            _quietly(
                pretrain_router, learns, dataset=options.dataset, clusters=root / "clusters",
                logits=options.logits if chooser == "class" else None, router=router, **files,
            )  # fmt: skip
        together = JointSettings.model_validate({"epochs": options.joint_epochs, "seed": seed, **changes})
        _quietly(
            train_jointly, together, **inputs, student=root / "student", router=router,
            clusters=root / "clusters", mixture=root / mixture, **files,
        )  # fmt: skip
        folders[mixture] = root / mixture
        # Mixtures that cost the same share their controls: trained once, entered for each.
        named = ("shared_layers", "second_share", "routing")
        costs = {"router": chooser, **{key: changes[key] for key in named if key in changes}}
        for control in ("same_budget", "same_cost"):
            differs = costs if control == "same_cost" else {**costs, "second_share": 0}
            name = f"{control} {sorted(differs.items())}"
            if not (root / name).exists():
                epochs = {"router_epochs": options.router_epochs, "joint_epochs": options.joint_epochs}
                student(name, control=control, **epochs, **costs)
            folders[f"{control.replace('_', ' ')} as {mixture}"] = root / name
    measured: dict[Path, Row] = {}
    for name, folder in folders.items():
        if folder not in measured:
            # In pairs, since the measuring stage knows a fixed set of names; its cascade needs the teacher beside.
            key = "mixture" if name in options.mixtures else "student"
            pair = {"teacher": options.teacher, **({} if name == "teacher" else {key: folder})}
            device = torch.device("cpu")
            measured[folder] = measure_rows(load_candidates(pair, device), data, device, "fp32", 500, 0.0)[-1]
    return {name: measured[folder] for name, folder in folders.items()}


def _quietly(stage: Any, settings: Any, **paths: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        stage(settings, **paths)


if __name__ == "__main__":
    main()
