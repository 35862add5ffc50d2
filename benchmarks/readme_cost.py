"""What `make results` draws: accuracy against multiply-adds of all recorded CIFAR-10 rows, and published networks."""

import json
from pathlib import Path
from typing import Any

from moist.reports.cost_plot import CostPoint, cost_plot, published
from readme_teacher import NAMES

DATASET = "cifar10"
ASKING = ", asking the teacher"
"""In the names of rows that are cascades, which the plot leaves out: each is a point of many on a line."""
UNFINISHED = ("smoke", "quick")
"""Presets that stop long before accuracies do: their rows would only stretch the scale."""
TEACHERS = (f"{DATASET}-teacher", f"{DATASET}-muon-hard-teacher")
"""Those whose students are drawn."""
KINDS = {"muon-hard": "Muon teacher"}
"""What rows are marked with by the end of their file's name, if not by that end itself."""
ROLES = {
    "teacher": "teacher",
    "student": "student",
    "same budget": "control",
    "same cost": "control",
    "wide head": "control",
    "100% router": "upper bound",
}
"""Of the rows of benchmarks/best.py, by what their names begin with; the others are mixtures."""


def cost_svg(results: Path) -> str:
    """The drawing as SVG text; the same results give the same text."""
    points = [point for path in sorted(results.glob("*.json")) for point in _points(path)]
    return cost_plot([*points, *published(DATASET)], f"{DATASET}-cost", background="white") + "\n"


def _points(path: Path) -> list[CostPoint]:
    """The rows of a result of run_table.py on CIFAR-10, or of best.py on it; none of another."""
    result: dict[str, Any] = json.loads(path.read_text())
    if result.get("dataset") == DATASET and "table" in result:
        if result["preset"] in UNFINISHED:
            return []
        roles = {row["key"]: row["role"] for row in result["runs"][0]["rows"]}
        return [
            CostPoint(f"{row['label']} ({result['preset']})", roles[key], row["macs"]["mean"], row["accuracy"]["mean"],
                      row["accuracy"]["stdev"] if result["n"] > 1 else None)
            for key, row in result["table"].items()
        ]  # fmt: skip
    if path.stem in TEACHERS:
        found, settings = result["results"], result["settings"]
        name = f"Teacher (resnet18), {NAMES[settings['optimizer']]}, {settings['epochs']} epochs"
        return [CostPoint(name, "teacher", found["macs"], found["accuracy"])]
    if path.stem.startswith("best-") and DATASET in path.stem:
        kind = path.stem.removeprefix(f"best-{DATASET}").removeprefix("-")
        kind = KINDS.get(kind, kind.replace("-", " "))
        return [
            CostPoint(f"{name} ({kind})" if kind else name, _role(name), 1e6 * row["mmac"], row["accuracy"]["mean"],
                      row["accuracy"]["std"])
            for name, row in result["results"]["rows"].items() if ASKING not in name
        ]  # fmt: skip
    return []


def _role(name: str) -> str:
    return next((role for start, role in ROLES.items() if name.startswith(start)), "mixture")
