"""The tables of what benchmarks/what_routing_buys.py wrote, for the documents that `make results` rewrites."""

from typing import Any


def routing_table(result: dict[str, Any]) -> str:
    """Where each model's errors are, how well it fits what it learned from, and what a second opinion is worth."""
    rows, curves = result["results"]["rows"], result["results"]["curves"]
    kinds = list(next(iter(rows.values())))
    lines = [f"| % of images | {' | '.join(kinds)} |", f"| --- |{' ---: |' * len(kinds)}"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(_percent(row[kind]) for kind in kinds)} |")
    lines += [
        "",
        f"| asked about | MMAC in the mean | {' | '.join(curves)} |",
        f"| ---: | ---: |{' ---: |' * len(curves)}",
    ]
    for points in zip(*curves.values(), strict=True):
        accuracies = " | ".join(_percent(point["accuracy"]) for point in points)
        lines.append(f"| {100 * points[0]['share']:.0f}% | {points[0]['mmac']:.2f} | {accuracies} |")
    settings = result["settings"]
    note = (
        f"Held-out images but for the two columns of training images. {settings['data']} Means over seeds "
        f"{', '.join(settings['seeds'])}; ± is the standard deviation. Measured on {result['device']}, torch "
        f"{result['versions']['torch']}, commit {result['commit'][:9]}."
    )
    return "\n".join([*lines, "", note])


def _percent(summary: dict[str, Any]) -> str:
    spread = f" ± {100 * summary['std']:.2f}" if summary["std"] is not None else ""
    return f"{100 * summary['mean']:.2f}{spread}"
