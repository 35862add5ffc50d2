"""Summaries over repeated runs: mean, spread, and the paired difference with its 95% interval."""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import Field
from scipy import stats

from moist.errors import InputError
from moist.frozen import Frozen


class Summary(Frozen):
    """One figure over n runs; accuracies are 0-1."""

    values: list[float] = Field(min_length=1, description="one a run, in the order of the seeds")
    mean: float
    std: float | None = Field(description="sample standard deviation (n - 1); None for one run")

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarise one value a run."""
        v = [float(value) for value in values]
        return cls(values=v, mean=float(np.mean(v)), std=float(np.std(v, ddof=1)) if len(v) > 1 else None)


class Paired(Frozen):
    """The mean difference of two figures over n runs that share everything else, with its 95% interval.

    Student's t over the differences. The runs' random splits of one table overlap, so they are not independent and the
    interval is somewhat too narrow for a claim about new data; it is the right one for these splits.
    """

    runs: int
    mean: float
    low: float | None = Field(description="lower end of the interval; None for one run, or where all runs differ alike")
    high: float | None

    @classmethod
    def of(cls, values: Sequence[float], baseline: Sequence[float], rivals: int = 1) -> Self:
        """The difference values - baseline, run by run.

        `rivals` is how many baselines this one was the best of: the interval is widened for them all (Bonferroni).
        Differences that are all the same say nothing of their spread: a few hundred test rows give that by chance.

        Raises InputError when values and baseline are not equally many.
        """
        if len(values) != len(baseline) or not values:
            raise InputError(f"a paired difference needs equally many runs, but got {len(values)} and {len(baseline)}.")
        d = np.asarray(values, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
        n, mean = len(d), float(d.mean())
        if n == 1 or float(np.ptp(d)) < 1e-12:
            return cls(runs=n, mean=mean, low=None, high=None)
        half = float(stats.t.ppf(1 - 0.025 / rivals, n - 1)) * float(d.std(ddof=1)) / math.sqrt(n)
        return cls(runs=n, mean=mean, low=mean - half, high=mean + half)
