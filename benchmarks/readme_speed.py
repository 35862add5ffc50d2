"""The README's table of speeds, from the results of the benchmarks that measure one claim each."""

import json
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

Row = tuple[str, ...]
Result = dict[str, Any]

PAPER_IMAGES, PAPER_EPOCHS, PAPER_VIEWS, PAPER_TASKS, TASKS = 40_000, 20, 20, 16, 12
"""The preset paper on CIFAR-10's batches 1 to 4, and how many tasks it and the other presets have."""


def speed_table(results: Path) -> str:
    """One line a claim: what was measured, what is wanted, how often and how widely; a claim without result says so."""
    read = {name: json.loads(path.read_text()) for name in ROWS if (path := results / f"{name}.json").exists()}
    rows = [row for name, (make, _) in ROWS.items() if name in read for row in make(read[name])]
    if "overhead" in read and "resnet18" in read.get("training-speed", {}).get("results", {}):
        rows.append(_paper(read["overhead"], read["training-speed"]))
    rows += [(what, "not measured yet", "", "") for name, (_, what) in ROWS.items() if name not in read]
    lines = ["| claim | measured | n, spread | wanted |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    measured = [f"`{name}` {_how(result)}" for name, result in read.items()]
    where = f"Measured: {'; '.join(measured)}." if read else ""
    parts = ("Medians; the spread is from smallest to largest.", _storing(read.get("distillation-speed")), where)
    return "\n".join([*lines, "", " ".join(part for part in parts if part)])


def _storing(result: Result | None) -> str:
    """What the ratios of distillation leave out."""
    if result is None:
        return ""
    speed = statistics.median(result["results"]["speed"]["storing"])
    minutes = (PAPER_VIEWS + 1) * PAPER_IMAGES / speed / 60
    return (
        f"The ratios of distillation are of training steps: storing the logits, {speed:.0f} images/s and a pass a "
        "view, is paid once for all students, mixtures, controls and seeds, and a single student with as many views as "
        f"epochs gains nothing by it. The DAG's minutes leave it out, too: the {PAPER_VIEWS} views of the preset paper "
        f"and the plain images take {minutes:.0f} more."
    )


def _how(result: Result) -> str:
    clock = ", CPU time" if result["settings"].get("clock") == "cpu" else ""
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    precision = result["settings"].get("precision")
    form = f", {precision}" if precision else ""
    code = f"torch {result['versions']['torch']}, commit {result['commit'][:9]}"
    return f"(on {result['device']}, {threads}{form}{clock}, {code})"


def _spread(values: Sequence[float], form: str) -> str:
    return f"{len(values)}, {format(min(values), form)} to {format(max(values), form)}"


def _ratio(what: str, ratios: Sequence[float], wanted: str) -> Row:
    return (what, f"{statistics.median(ratios):.0f}x", _spread(ratios, ".0f") + "x", wanted)


def _accuracy(what: str, found: Result, wanted: str) -> Row:
    low, high = (100 * value for value in found["interval_95"])
    return (what, f"{100 * found['difference']:+.2f} points", f"{found['n']}, 95%: {low:+.2f} to {high:+.2f}", wanted)


def _training(result: Result, on: str = "") -> list[Row]:
    rows: list[Row] = []
    for name, found in result["results"].items():
        shares, speeds = found["share_of_peak"], found["images_per_second"]
        what = f"Training {name}{on}: share of the matrix-product peak ({statistics.median(speeds):.0f} images/s)"
        rows.append((what, f"{statistics.median(shares):.0%}", _spread(shares, ".0%"), "35%"))
    return rows


def _stored(result: Result, on: str = "") -> list[Row]:
    found = result["results"]
    what = f"A student from stored logits{on} against asking ResNet-18 at every step"
    return [
        _ratio(what, found["speed"]["ratios"], "10x"),
        _accuracy("the same, accuracy on digits", found["accuracy"], "within 0.3"),
    ]


def _peer(result: Result) -> list[Row]:
    found = result["results"]
    return [
        _ratio("The distillation stage against torchdistill", found["speed"]["ratios"], "5x"),
        _accuracy("the same, accuracy on digits", found["accuracy"], "not lower"),
    ]


def _dag(result: Result) -> list[Row]:
    found, settings = result["results"], result["settings"]
    what = (
        "The DAG of the paper's mixture with its CNN router on CIFAR-10, teacher and its logits aside, "
        f"{settings['epochs']} epochs a stage, computed from images/s; its multiply-adds alone take "
        f"{statistics.median(found['minutes_at_peak']):.0f} minutes at the peak"
    )
    minutes = found["minutes"]
    return [(what, f"{statistics.median(minutes):.0f} minutes", _spread(minutes, ".0f"), "15 minutes")]


def _overhead(result: Result) -> list[Row]:
    rows: list[Row] = []
    for name, found in result["results"].items():
        parts, wall = found["parts_seconds"], statistics.fmean(found["wall_seconds"])
        detail = ", ".join(f"{part} {value:.1f} s" for part, value in parts.items() if part != "compute")
        shares, cached = found["overhead_share"], found["cached"]["seconds"]
        what = f"Overhead of a run, {name}: {wall - parts['compute']:.1f} s of {wall:.0f} s ({detail})"
        rows.append((what, f"{statistics.fmean(shares):.0%}", _spread(shares, ".0%"), ""))
        if cached:
            spread = f"{_spread(cached, '.1f')} s"
            rows.append((f"The same run, all cached, {name}", f"{statistics.median(cached):.1f} s", spread, "10 s"))
    return rows


def _paper(overhead: Result, training: Result) -> Row:
    runs = overhead["results"].values()
    longest = max(statistics.fmean(run["wall_seconds"]) - run["parts_seconds"]["compute"] for run in runs)
    seconds = longest * PAPER_TASKS / TASKS
    compute = PAPER_IMAGES * PAPER_EPOCHS / statistics.median(training["results"]["resnet18"]["images_per_second"])
    what = (
        f"Overhead of the preset paper, computed: {seconds:.0f} s, as above but for {PAPER_TASKS} tasks, against "
        f"{compute / 3600:.0f} h of training the teacher alone"
    )
    return (what, f"{seconds / (seconds + compute):.2%}", "estimate", "10%")


ROWS: dict[str, tuple[Callable[[Result], list[Row]], str]] = {
    "training-speed": (_training, "The teacher's training as a share of the matrix-product peak"),
    "training-speed-amx": (partial(_training, on=" with AMX"), "The same on a CPU with AMX"),
    "distillation-speed": (_stored, "A student from stored logits against asking the teacher at every step"),
    "distillation-speed-amx": (partial(_stored, on=", with AMX,"), "The same on a CPU with AMX"),
    "torchdistill-speed": (_peer, "The distillation stage against torchdistill"),
    "dag-minutes": (_dag, "The DAG of the paper's mixture on CIFAR-10, teacher aside, 20 epochs a stage"),
    "overhead": (_overhead, "What of a run is not its stages' computing, and a run that is all cached"),
}
"""What each result file becomes, and the claim that stands there without one."""
