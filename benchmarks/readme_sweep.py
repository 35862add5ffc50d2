"""What `make results` makes of a recorded sweep: the claims for README.md, and all tables for docs/sweep.md."""

from typing import Any

from moist.reports.mode_tables import claims_table, markdown
from moist.reports.sweep import SweepComparison, claims_of
from moist.reports.sweep_tables import TITLES, caveat, differences, line_table, reference_table, why


def claims(result: dict[str, Any]) -> str:
    """What the paper says of its sweeps, what was found, and whether that holds."""
    comparison = SweepComparison.model_validate(result["sweep"])
    return f"{markdown(claims_table(claims_of(comparison)))}\n\n{_note(result, comparison)}"


def points(result: dict[str, Any]) -> str:
    """Every point of the sweep, line by line."""
    comparison = SweepComparison.model_validate(result["sweep"])
    parts = ["## What the lines are read against", markdown(reference_table(comparison))]
    for line in comparison.lines:
        parts += [f"## {TITLES[line.along]}", markdown(line_table(comparison, line)), " ".join(why(comparison, line))]
    return "\n\n".join([*parts, "## Measured on", *differences(comparison), _note(result, comparison)])


def _note(result: dict[str, Any], comparison: SweepComparison) -> str:
    return (
        f"{caveat(comparison)} {comparison.data.split} Preset {result['preset']}, measured on {comparison.device}, "
        f"torch {comparison.versions['torch']}, commit {result['commit'][:9]}."
    )
