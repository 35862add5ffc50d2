"""Sentences of the MoDE paper, and how a run's paired differences bear on them."""

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np

from moist.frozen import Frozen
from moist.mode.statistics import Paired, Summary

Verdict = Literal["holds", "does not hold", "not settled"]


class Claim(Frozen):
    """A sentence of the paper, what was found here, and whether that bears it out."""

    claim: str
    here: str
    verdict: Verdict


def points(paired: Paired) -> str:
    """A paired difference of accuracies in points, with its 95% interval: `+0.42 [-0.13, +0.98]`."""
    if paired.low is None or paired.high is None:
        return f"{100 * paired.mean:+.2f}"
    return f"{100 * paired.mean:+.2f} [{100 * paired.low:+.2f}, {100 * paired.high:+.2f}]"


def verdict(paired: Paired) -> Verdict:
    """Whether a difference that should be above 0 is: settled only if 0 lies outside of its interval."""
    if paired.low is None or paired.high is None or paired.low <= 0 <= paired.high:
        return "not settled"
    return "holds" if paired.low > 0 else "does not hold"


def of_all(verdicts: Collection[Verdict]) -> Verdict:
    """Of a claim that several differences must bear out: one can refute it, all have to hold."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if all(found == "holds" for found in verdicts) else "not settled"


def over_tables(pairs: Sequence[tuple[Summary, Summary]]) -> Paired:
    """Average each seed's accuracies over the tables, then pair: (value, baseline) a table."""
    values, baseline = (np.mean([pair[side].values for pair in pairs], axis=0).tolist() for side in (0, 1))
    return Paired.of(values, baseline)
