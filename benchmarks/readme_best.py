"""The table of what benchmarks/best.py wrote, for the documents that `make results` rewrites."""

from typing import Any


def best_table(result: dict[str, Any]) -> str:
    """What benchmarks/best.py wrote: accuracies, costs, and each mixture less its controls, paired over the seeds."""
    rows, differences = result["results"]["rows"], result["results"]["differences"]
    beside = ["same budget", "same cost"]
    if any(name.endswith(" - looking again") for name in differences):
        beside.append("looking again")
    headings = ["model", "accuracy %", "MMAC", "training, times the student's", *(f"less {name}" for name in beside)]
    lines = [f"| {' | '.join(headings)} |", f"| --- |{' ---: |' * (len(headings) - 1)}"]
    most = max(len(row["accuracy"]["values"]) for row in rows.values())
    for name, row in rows.items():
        accuracy = row["accuracy"]
        spent = row.get("training_gmac") if name != "teacher" else None
        times = f"{spent / rows['student']['training_gmac']:.1f}" if spent else ""
        seeds = len(accuracy["values"])
        gaps = [_points(differences.get(f"{name} - {control}"), seeds) for control in beside]
        cells = [name, f"{100 * accuracy['mean']:.2f}", f"{row['mmac']:.2f}", times, *gaps]
        if accuracy["std"] is not None and name != "teacher":
            cells[1] += f" ± {100 * accuracy['std']:.2f}"
        if seeds < most:
            cells[1] += f" (n={seeds})"
        lines.append(f"| {' | '.join(cells)} |")
    settings = result["settings"]
    named = ", ".join(map(str, settings.get("seeds") or sorted(result["results"]["seeds"], key=int)))
    means = (
        f"Means over seeds {named}, or the first n of them; ± is the standard deviation; differences in points, paired "
        "by seed, with their 95% intervals."
        if most > 1
        else f"Seed {named} alone; differences in points."
    )
    together = f"{settings['joint_epochs']} together, k={settings['k']}"
    if any(name.startswith("second opinion") for name in rows):
        together += " (second opinions: none, k=1)"
    note = (
        f"{settings['data']} {settings['train']:,} training images. {means} "
        f"{settings['student_epochs']} epochs for the student, {together}{_rate(settings)}. "
        f"Measured on {result['device']}, torch {result['versions']['torch']}, {commits(result)}."
    )
    return "\n".join([*lines, "", note])


def commits(result: dict[str, Any]) -> str:
    """Rows may have been measured one run after another."""
    found = [commit[:9] for commit in result["results"].get("commits", [result["commit"]])]
    return f"commit {found[0]}" if len(found) == 1 else f"commits {found[0]} to {found[-1]}"


def _rate(settings: dict[str, Any]) -> str:
    rate = f", learning rate {settings['learning_rate']:g}" if "learning_rate" in settings else ""
    return f"{rate}, new views every epoch" if settings.get("fresh_views") else rate


def _points(difference: dict[str, Any] | None, seeds: int) -> str:
    """A difference in points, with its interval if there is one, and its n where it has not all of the row's seeds."""
    if difference is None:
        return ""
    shown = f"{100 * difference['mean']:+.2f}"
    if difference["low"] is not None:
        shown += f" [{100 * difference['low']:+.2f}, {100 * difference['high']:+.2f}]"
    return shown if difference["runs"] == seeds else f"{shown} (n={difference['runs']})"
