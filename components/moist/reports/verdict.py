"""Whether a mixture beat its controls, in plain sentences."""

import math

import numpy as np

from moist.reports.labels import CONTROLS, row_label
from moist.reports.results import Results, Row

CONTROLLED = "mixture"
"""The key of the mixture for which a run's controls are made, that of its first router."""

COST_DIFFERS = 0.01
"""A larger difference between a mixture's multiply-adds and those of its control of the same cost is said."""


def verdicts(results: Results) -> list[str]:
    """One sentence a mixture: whether it beat each control, and by how many points of accuracy."""
    mixtures = [row for row in results.rows if row.role == "mixture" and not row.swept]
    if not mixtures:
        return ["No mixture was measured."]
    return [_verdict(row, results) for row in mixtures]


def caveat(results: Results) -> str:
    """What the ± in the verdicts is, and what it leaves out."""
    paired = all(row.right_alone for row in results.rows if row.role in ("mixture", "control"))
    how = "over the images that only one of the two models got right" if paired else "the two taken as independent"
    text = (
        f"One seed and {results.data.test:,} held-out images: ± is the standard error of a difference, {how}. The "
        "spread over seeds comes on top. A model that beat another is above it by more than twice that error."
    )
    return f"{text} {results.warning}".strip()


def standard_error(accuracy: float, images: int) -> float:
    """Binomial standard error of an accuracy (0-1) over this many images, 0-1."""
    return math.sqrt(max(0.0, accuracy * (1 - accuracy)) / images) if images else 0.0


def _verdict(mixture: Row, results: Results) -> str:
    subject = f"{row_label(mixture)} ({mixture.accuracy:.2%})".replace("%", " %")
    if mixture.key != CONTROLLED:
        first = next((row_label(row) for row in results.rows if row.key == CONTROLLED), "the first mixture")
        return f"{subject} has no controls of its own: this run's have the budget and the cost of {first}."
    controls = [row for row in results.rows if row.role == "control"]
    if not controls:
        return f"{subject} was not compared with any control, so this run does not show what the mixture buys."
    points = [round(100 * (mixture.accuracy - control.accuracy), 2) for control in controls]
    errors = [100 * _error(mixture, control, results.data.test) for control in controls]
    parts = [_difference(*each, mixture) for each in zip(points, errors, controls, strict=True)]
    beaten = sum(gap > 2 * error for gap, error in zip(points, errors, strict=True))
    sentence = f"{subject} {_outcome(beaten, len(controls))}: it is {' and '.join(parts)}."
    sentence += "".join(_looking_again(mixture, control) for control in controls if control.key == "same_budget")
    missing = [name for key, name in CONTROLS.items() if key not in {row.key for row in controls}]
    return sentence + "".join(f" The comparison with {name} is missing." for name in missing)


def _looking_again(mixture: Row, control: Row) -> str:
    """What a single student reaches for a dearer mixture's cost without any mixture; nothing where that is unknown."""
    costs = [point.macs for point in control.second_look]
    if not costs or mixture.macs <= costs[0]:
        return ""
    reached = float(np.interp(mixture.macs, costs, [point.accuracy for point in control.second_look]))
    return (
        f" If it looks again at the mirrored image where it is least sure, {CONTROLS[control.key]} reaches "
        f"{100 * reached:.2f} % for at most the mixture's cost."
    )


def _outcome(beaten: int, controls: int) -> str:
    if controls == 1:
        return "beat its control" if beaten else "did not beat its control"
    if beaten in (0, controls):
        both, neither = ("both", "neither") if controls == 2 else (f"all {controls}", "none")
        return f"beat {both if beaten else neither} of its controls"
    return f"beat {beaten} of its {controls} controls"


def _difference(points: float, error: float, control: Row, mixture: Row) -> str:
    name = CONTROLS.get(control.key, f"the control “{row_label(control)}”")
    against = f"{name} ({100 * control.accuracy:.2f} %)"
    if control.key == "same_cost" and abs(mixture.macs - control.macs) > COST_DIFFERS * control.macs:
        # A control is sized before it is known how many second opinions, or which students, images will ask for.
        macs = f"{control.macs / 1e6:.2f} MMAC against the mixture’s {mixture.macs / 1e6:.2f}"
        against = f"{name} ({100 * control.accuracy:.2f} %, {macs})"
    if points == 0:
        return f"level with {against}"
    return f"{abs(points):.2f} ± {error:.2f} points {'above' if points > 0 else 'below'} {against}"


def _error(mixture: Row, control: Row, images: int) -> float:
    """Standard error of the difference of two accuracies on the same images, 0-1.

    Paired where the disagreements are known: sqrt(n10 + n01 - (n10 - n01)^2 / n) / n, as in McNemar 1947.
    """
    if control.key in mixture.right_alone and mixture.key in control.right_alone:
        ours, theirs = mixture.right_alone[control.key], control.right_alone[mixture.key]
        return math.sqrt(max(0.0, ours + theirs - (ours - theirs) ** 2 / images)) / images
    return math.hypot(standard_error(mixture.accuracy, images), standard_error(control.accuracy, images))
