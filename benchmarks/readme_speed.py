"""The README's table of speeds, from the results of the benchmarks that measure one claim each."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAPER = {"images": 40_000, "epochs": 20, "tasks": 15}
"""The preset paper on CIFAR-10's batches 1 to 4: of its computing, what its teacher's training takes; and its tasks."""
TASKS = 11
"""Of the other presets."""

Row = tuple[str, ...]


def speed_table(results: Path) -> str:
    """One line a claim: what was measured, what is wanted, how often, how widely."""
    read = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    rows = [
        *_training(read["training-speed"]),
        *_stored(read["distillation-speed"]),
        *_peer(read["torchdistill-speed"]),
    ]
    rows += [_dag(read["dag-minutes"])]
    rows += _overhead(read["overhead"], read["training-speed"])
    lines = ["| claim | measured | n, spread | wanted |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    names = ("training-speed", "distillation-speed", "torchdistill-speed", "dag-minutes", "overhead")
    used = [read[name] for name in names]
    commits = ", ".join(sorted({each["commit"][:9] for each in used}))
    note = (
        f"Medians; the spread is from smallest to largest. Measured on {used[0]['device']}, {used[0]['threads']} "
        f"threads, torch {used[0]['versions']['torch']}, commit {commits}."
    )
    return "\n".join([*lines, "", note])


def _spread(values: Sequence[float], form: str) -> str:
    return f"{len(values)}, {format(min(values), form)} to {format(max(values), form)}"


def _training(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for name, found in result["results"].items():
        shares, speeds = found["share_of_peak"], found["images_per_second"]
        what = f"Training {name}, share of the matrix-product peak ({statistics.median(speeds):.0f} images/s)"
        rows.append((what, f"{statistics.median(shares):.0%}", _spread(shares, ".0%"), "35%"))
    return rows


def _ratio(what: str, ratios: Sequence[float], wanted: str) -> Row:
    return (what, f"{statistics.median(ratios):.0f}x", _spread(ratios, ".0f") + "x", wanted)


def _accuracy(what: str, found: dict[str, Any], wanted: str) -> Row:
    low, high = (100 * value for value in found["interval_95"])
    return (what, f"{100 * found['difference']:+.2f} points", f"{found['n']}, 95%: {low:+.2f} to {high:+.2f}", wanted)


def _stored(result: dict[str, Any]) -> list[Row]:
    found = result["results"]
    return [
        _ratio("Student from stored logits against asking ResNet-18 at every step", found["speed"]["ratios"], "10x"),
        _accuracy("the same, accuracy on digits", found["accuracy"], "0.3 points"),
    ]


def _peer(result: dict[str, Any]) -> list[Row]:
    found = result["results"]
    return [
        _ratio("The distillation stage against torchdistill", found["speed"]["ratios"], "5x"),
        _accuracy("the same, accuracy on digits", found["accuracy"], "not lower"),
    ]


def _dag(result: dict[str, Any]) -> Row:
    found, settings = result["results"], result["settings"]
    at_peak = statistics.median(found["minutes_at_peak"])
    what = (
        f"The prototype's DAG on CIFAR-10, teacher aside, {settings['epochs']} epochs a stage, computed from images/s; "
        f"its multiply-adds alone take {at_peak:.0f} minutes at the peak"
    )
    minutes = found["minutes"]
    return (what, f"{statistics.median(minutes):.0f} minutes", f"{_spread(minutes, '.0f')} minutes", "15 minutes")


def _overhead(result: dict[str, Any], training: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    worst = 0.0
    for name, found in result["results"].items():
        parts, walls = found["parts_seconds"], found["wall_seconds"]
        seconds = statistics.fmean(walls) - parts["compute"]
        worst = max(worst, seconds)
        detail = ", ".join(f"{part} {value:.1f} s" for part, value in parts.items() if part != "compute")
        what = f"Overhead of a run, {name}: {seconds:.1f} s of {statistics.fmean(walls):.0f} s ({detail})"
        rows.append(
            (what, f"{statistics.fmean(found['overhead_share']):.0%}", _spread(found["overhead_share"], ".0%"), "")
        )
        if found["cached"]["n"]:
            cached = found["cached"]["seconds"]
            rows.append(
                (
                    f"The same run, all cached, {name}",
                    f"{statistics.median(cached):.1f} s",
                    f"{_spread(cached, '.1f')} s",
                    "10 s",
                )
            )
    speed = statistics.median(training["results"]["resnet18"]["images_per_second"])
    compute = PAPER["images"] * PAPER["epochs"] / speed
    overhead = worst * PAPER["tasks"] / TASKS
    what = (
        f"Overhead of the preset paper, computed: {overhead:.0f} s, as above but for {PAPER['tasks']} tasks, against "
        f"{compute / 3600:.0f} h of training the teacher alone"
    )
    rows.append((what, f"{overhead / (overhead + compute):.2%}", "estimate", "10%"))
    return rows
