"""The paper's Table I with ours beside it, for the documents that `make results` rewrites."""

import json
from pathlib import Path
from typing import Any

from moist.mode.statistics import Summary
from moist.reports import paper
from readme_best import commits

ROWS = {
    "student": ("Distilled student", "student"),
    "paper, CNN router": ("MoIST, CNN router, k=3", "mixture"),
    "paper, transformer router": ("MoIST, transformer router, k=3", "mixture_transformer"),
    "paper, linear router": ("MoIST, linear router, k=3", "mixture_linear"),
    "same budget as paper, CNN router": ("Single student, same training budget as with the CNN router", None),
    "same cost as paper, CNN router": ("Single student, same inference cost as with the CNN router", None),
    "100% router, k=4": ("Conceptual 100% router, k=4 (knows the label)", "oracle"),
}
"""Rows of best-cifar10-muon-hard.json: what the table calls them, and their line in the paper's."""
LATENCIES = (1, 64)


def table1(results: Path) -> str:
    """Accuracy, loss and cost from benchmarks/keep_teacher.py and best.py, latency from table1_latency.py."""
    best, taught, timed = (
        json.loads((results / f"{name}.json").read_text())
        for name in ("best-cifar10-muon-hard", "cifar10-muon-hard-teacher", "table1-latency")
    )
    headings = ["model", "accuracy %", "loss", "routed right %", "MMAC", "fewer than teacher"]
    headings += [f"ms, batch {size}" for size in LATENCIES]
    headings += ["as the paper counts", "paper: %", "paper: loss", "paper: MFLOPs"]
    lines = [f"| {' | '.join(headings)} |", f"| --- |{' ---: |' * (len(headings) - 1)}"]
    teacher = taught["results"]
    # Only the seeds that all rows have: a mean over others would not stand beside theirs.
    seeds = [found for found in best["results"]["seeds"].values() if ROWS.keys() <= found.keys()]
    student = seeds[0]["student"]["macs"] / 1e6
    own = _cells(
        f"{100 * teacher['accuracy']:.2f}", teacher["loss"], None, teacher["macs"] / 1e6, teacher["macs"] / 1e6
    )
    lines.append(_line("Teacher (resnet18)", own, timed["results"]["teacher"], teacher["macs"] / 1e6, "teacher"))
    for key, (label, line) in ROWS.items():
        found = [seed[key] for seed in seeds]
        spread = Summary.of([row["accuracy"] for row in found])
        accuracy = f"{100 * spread.mean:.2f} ± {100 * (spread.std or 0):.2f}"
        loss, mmac = (Summary.of([row[name] for row in found]).mean for name in ("loss", "macs"))
        routed = None if found[0]["r"] is None else Summary.of([row["r"] for row in found]).mean
        # The paper leaves routers out.
        counted = mmac / 1e6 if label.startswith("Single") else student
        own = _cells(accuracy, loss, routed, mmac / 1e6, teacher["macs"] / 1e6)
        lines.append(_line(label, own, timed["results"][key], counted, line))
    settings = best["settings"]
    note = (
        f"{settings['data']} Means over the same {len(seeds)} seeds; ± is the standard deviation. The teacher "
        f"(one seed): {taught['settings']['epochs']} epochs. Students and routers: {settings['student_epochs']} epochs "
        f"for the student, {settings['router_epochs']} for the routers, {settings['joint_epochs']} together, learning "
        f"rate {settings['learning_rate']:g}, batch 64; hard routing and the routers' double softmax, as in the paper. "
        f"Latencies: warm, float32, {timed['threads']} threads, in turn in one process; the distilled student and the "
        "one with the same training budget are the same network. The paper's figures are of one run on the official "
        "test batch after training on all 50,000 images; its MFLOPs are multiply-adds of one image divided by 64, the "
        "router left out; the column before them is ours. Measured with torch "
        f"{best['versions']['torch']}: the teacher {_where(taught)}, latencies {_where(timed)}, "
        f"the others {_where(best)}."
    )
    return "\n".join([*lines, "", note])


def _where(result: dict[str, Any]) -> str:
    return f"on {result['device']} at {commits(result)}"


def _cells(accuracy: str, loss: float, routed: float | None, mmac: float, teacher: float) -> list[str]:
    right = f"{100 * routed:.1f}" if routed is not None else ""
    return [accuracy, f"{loss:.4f}", right, f"{mmac:.2f}", f"{teacher / mmac:.0f}x"]


def _line(label: str, own: list[str], timings: list[dict[str, Any]], counted: float, key: str | None) -> str:
    median = {timing["batch_size"]: timing["median_ms"] for timing in timings}
    cells = [label, *own, *(f"{median[size]:.2f}" for size in LATENCIES), f"{counted / paper.BATCH:.2f}"]
    if key is None:
        return f"| {' | '.join([*cells, '–', '–', '–'])} |"
    printed = paper.TABLE_1[key]
    theirs = [f"{100 * printed.accuracy:.2f}", f"{printed.loss:.4f}", f"{printed.mflops:.2f}"]
    return f"| {' | '.join([*cells, *theirs])} |"
