"""What `make results` draws: accuracy against multiply-adds of all recorded CIFAR-10 rows, and published networks."""

import json
from pathlib import Path
from typing import Any

from moist.reports.cost_plot import CostPoint, cost_plot, published

DATASET = "cifar10"
ROLES = {"teacher": "teacher", "student": "student", "same budget": "control", "same cost": "control"}
"""Of the rows of benchmarks/best.py, by name; the others are mixtures."""


def cost_svg(results: Path) -> str:
    """The drawing as SVG text; the same results give the same text."""
    points = [point for path in sorted(results.glob("*.json")) for point in _points(path)]
    return cost_plot([*points, *published(DATASET)], f"{DATASET}-cost", background="white") + "\n"


def _points(path: Path) -> list[CostPoint]:
    """The rows of a result of run_table.py on CIFAR-10, or of best.py on it; none of another."""
    result: dict[str, Any] = json.loads(path.read_text())
    if result.get("dataset") == DATASET and "table" in result:
        roles = {row["key"]: row["role"] for row in result["runs"][0]["rows"]}
        return [
            CostPoint(f"{row['label']} ({result['preset']})", roles[key], row["macs"]["mean"], row["accuracy"]["mean"],
                      row["accuracy"]["stdev"] if result["n"] > 1 else None)
            for key, row in result["table"].items()
        ]  # fmt: skip
    if path.stem.startswith("best-") and DATASET in path.stem:
        return [
            CostPoint(f"{name} (best)", ROLES.get(name, "mixture"), 1e6 * row["mmac"], row["accuracy"]["mean"],
                      row["accuracy"]["std"])
            for name, row in result["results"]["rows"].items()
        ]  # fmt: skip
    return []
