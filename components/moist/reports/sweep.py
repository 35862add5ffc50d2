"""What a sweep measured, over all seeds: its points, its lines, and which of the MoIST paper's claims they bear out."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from moist.errors import InputError
from moist.frozen import Frozen
from moist.mode.claims import Claim, Verdict, of_all, points, verdict
from moist.mode.statistics import Paired, Summary
from moist.presets import ROUTERS
from moist.reports.paper import BEST_K, BEST_WIDTH, BEST_WIDTH_FEWER, DATASET
from moist.reports.results import Data, Results, Row

Along = Literal["k", "width", "router", "router_size"]
PLAIN_SIZE = 256
"""The linear router that stands beside the other routers, where there are several sizes: pretrain_router's default."""


class Point(Frozen):
    """One model of the sweep, over all seeds."""

    key: str = Field(description="its row's key in evaluate's results")
    label: str
    role: Literal["teacher", "student", "mixture", "control", "upper bound"]
    k: int | None = Field(description="number of students; None for a single network")
    router: str | None = Field(description="cnn, linear or transformer; None for a single network")
    router_size: int | None = Field(description="a linear router's first hidden layer")
    width: int | None = Field(description="units of the students' hidden layer; None for the teacher")
    accuracy: Summary = Field(description="0-1 on the held-out images, one value a seed")
    loss: Summary
    r: Summary | None = Field(description="router accuracy, 0-1")
    macs: float = Field(description="multiply-adds per image: router and the student that runs")
    router_macs: float
    paper_mflops: float = Field(description="the paper's unit: MMAC / 64, router left out")
    parameters: int
    latency_ms: dict[int, Summary] = Field(description="median of a warm batch, by batch size")
    clusters: list[list[str]] = Field(description="classes of each student; empty for a single network")

    @property
    def identity(self) -> tuple[str, int | None, str | None, int | None, int | None]:
        """What makes two rows the same point, whichever line of the sweep they came in."""
        name = self.role if self.role != "control" else self.key
        return name, self.k, self.router, self.router_size, self.width


class Line(Frozen):
    """The points that differ in one thing only, in its order; the mixture in the middle is one of them."""

    along: Along
    points: list[Point] = Field(min_length=1)


class SweepComparison(Frozen):
    """All of a sweep's points and lines, and what they say."""

    data: Data
    seeds: list[int]
    points: list[Point] = Field(description="every model once: teacher, students, mixtures, controls")
    middle: Point = Field(description="the mixture that all lines go through")
    lines: list[Line]
    claims: list[Claim]
    margin: float
    device: str
    threads: int
    versions: dict[str, str]
    parameters: dict[str, str] = Field(description="by stage: the settings of the teacher, the middle and its parts")

    @property
    def on_paper_data(self) -> bool:
        """Whether the paper measured on the same data set."""
        return self.data.name == DATASET

    @property
    def teacher(self) -> Point | None:
        return next((point for point in self.points if point.role == "teacher"), None)

    @property
    def controls(self) -> list[Point]:
        return [point for point in self.points if point.role == "control"]

    @property
    def mixtures(self) -> list[Point]:
        return [point for point in self.points if point.role == "mixture"]

    @property
    def students(self) -> list[Point]:
        """The distilled students by width: what the mixtures started from, with a part of their training."""
        found = [point for point in self.points if point.role == "student"]
        return sorted(found, key=lambda point: point.width or 0)

    def line(self, along: Along) -> Line | None:
        return next((line for line in self.lines if line.along == along), None)


def compare_results(results: Sequence[Results], margin: float) -> SweepComparison:
    """Collect the points of every seed and judge. `margin` (accuracy, 0-1): an effect smaller than this is none.

    Raises:
        InputError: no results, a seed that is there twice, other data, or seeds that did not measure the same points.
    """
    ordered = sorted(results, key=lambda result: result.seed)
    seeds = [result.seed for result in ordered]
    if not seeds:
        raise InputError("There are no results to compare: give those of at least one seed.")
    if len(set(seeds)) < len(seeds):
        raise InputError(f"The results to compare are of the seeds {', '.join(map(str, seeds))}: give each seed once.")
    if any(result.data != ordered[0].data for result in ordered):
        raise InputError(
            "The results to compare are of different data or splits: measure all seeds on the same images."
        )
    found = _points(ordered)
    middle = next((point for point in found if point.key == "mixture"), None)
    if middle is None:
        raise InputError("The results to compare hold no mixture: give evaluate's, with one under its input mixture.")
    first = ordered[0]
    comparison = SweepComparison(
        data=first.data,
        seeds=seeds,
        points=found,
        middle=middle,
        lines=_lines(found, middle),
        claims=[],
        margin=margin,
        device=first.device,
        threads=first.threads,
        versions=first.versions,
        parameters={
            entry["name"]: entry.get("parameters", "")
            for entry in first.lineage
            if entry.get("name") in ("dataset", "teacher", "student", "mixture")
        },
    )
    return comparison.model_copy(update={"claims": claims_of(comparison)})


def _points(results: Sequence[Results]) -> list[Point]:
    """Every model of the results once, with the values of all seeds."""
    by_seed = []
    for result in results:
        rows: dict[tuple[object, ...], Row] = {}
        for row in result.rows:
            if row.role != "upper bound":
                rows.setdefault(_point([row], result.data.classes).identity, row)
        by_seed.append(rows)
    for result, rows in zip(results, by_seed, strict=True):
        odd = rows.keys() ^ by_seed[0].keys()
        if odd:
            row = (rows | by_seed[0])[next(iter(odd))]
            raise InputError(
                f"The results of the seeds {results[0].seed} and {result.seed} do not hold the same models "
                f"({row.label!r} is in only one): run the whole sweep with one list of seeds."
            )
    return [_point([rows[identity] for rows in by_seed], results[0].data.classes) for identity in by_seed[0]]


def _point(rows: Sequence[Row], classes: Sequence[str]) -> Point:
    """A model from its rows of all seeds."""
    first = rows[0]
    routings = [row.routing for row in rows if row.routing is not None]
    sizes = [latency.batch_size for latency in first.latency]
    return Point(
        key=first.key,
        label=first.label,
        role=first.role,
        k=len(first.routing.clusters) if first.routing else None,
        router=first.routing.router if first.routing else None,
        router_size=first.router_size,
        width=first.width,
        accuracy=Summary.of([row.accuracy for row in rows]),
        loss=Summary.of([row.loss for row in rows]),
        r=Summary.of([routing.r for routing in routings]) if routings else None,
        macs=first.macs,
        router_macs=first.router_macs,
        paper_mflops=first.paper_mflops,
        parameters=first.parameters,
        latency_ms={size: Summary.of([row.latency[i].median_ms for row in rows]) for i, size in enumerate(sizes)},
        clusters=[[classes[c] for c in members] for members in first.routing.clusters] if first.routing else [],
    )


def _lines(found: Sequence[Point], middle: Point) -> list[Line]:
    """The lines that have more than the middle on them."""
    mixtures = [point for point in found if point.role == "mixture"]

    def like_the_middle(point: Point, *names: str) -> bool:
        return all(getattr(point, name) == getattr(middle, name) for name in names)

    linear = [point for point in mixtures if point.router == "linear" and like_the_middle(point, "k", "width")]
    linear.sort(key=lambda point: point.router_size or 0)
    plain = sorted(linear, key=lambda point: (point is not middle, abs((point.router_size or 0) - PLAIN_SIZE)))[:1]
    others = [point for point in mixtures if point.router != "linear" and like_the_middle(point, "k", "width")]
    along: dict[Along, list[Point]] = {
        "k": sorted(
            (point for point in mixtures if like_the_middle(point, "router", "router_size", "width")),
            key=lambda point: point.k or 0,
        ),
        "width": sorted(
            (point for point in mixtures if like_the_middle(point, "router", "router_size", "k")),
            key=lambda point: point.width or 0,
        ),
        "router": sorted([*others, *plain], key=lambda point: ROUTERS.index(point.router or "")),
        "router_size": linear,
    }
    return [Line(along=name, points=members) for name, members in along.items() if len(members) > 1]


def claims_of(comparison: SweepComparison) -> list[Claim]:
    """Each claim of the paper that a sweep's lines say something of, judged by them."""
    judges: dict[Along, Callable[[SweepComparison, Sequence[Point]], list[Claim]]] = {
        "k": _k_claims,
        "width": _width_claims,
        "router": _router_claims,
        "router_size": _size_claims,
    }
    found = [claim for line in comparison.lines for claim in judges[line.along](comparison, line.points)]
    return found + _control_claims(comparison)


def _k_claims(comparison: SweepComparison, line: Sequence[Point]) -> list[Claim]:
    chosen = next((point for point in line if point.k == BEST_K), None)
    if chosen is None:
        return []
    rest = [point for point in line if point is not chosen]
    found = [
        _is_best(
            f"{BEST_K} students are the most accurate (Fig. 3a)",
            chosen,
            rest,
            lambda point: point.accuracy.values,
            lambda gap: f"{points(gap)} points",
            lambda point: f"k = {point.k}",
        )
    ]
    batch = max(chosen.latency_ms, default=None)
    if batch is not None:
        found.append(
            _is_best(
                f"{BEST_K} students are the fastest (Fig. 3a; here a warm batch of {batch})",
                chosen,
                rest,
                lambda point: [-value for value in point.latency_ms[batch].values],
                lambda gap: f"{-gap.mean:+.2f} ms",
                lambda point: f"k = {point.k}",
            )
        )
    return found


def _width_claims(comparison: SweepComparison, line: Sequence[Point]) -> list[Claim]:
    narrow, wide = line[0], line[-1]
    rise = _gap(wide, narrow)
    found = [
        Claim(
            claim="Wider students are more accurate (Fig. 3b)",
            here=f"{points(rise)} points from width {narrow.width} to {wide.width}",
            verdict=verdict(rise),
        )
    ]
    best = next((point for point in line if point.width == BEST_WIDTH), None)
    wider = [point for point in line if (point.width or 0) > BEST_WIDTH]
    if best is not None and wider:
        more = [_gap(point, best, len(wider)) for point in wider]
        found.append(
            Claim(
                claim=f"Beyond width {BEST_WIDTH} accuracy no longer rises (Fig. 3b)",
                here=f"{points(max(more, key=lambda gap: gap.mean))} points at the best of the {len(wider)} wider",
                verdict=of_all([_none_above(gap, comparison.margin) for gap in more]),
            )
        )
    teacher = comparison.teacher
    if best is not None and teacher is not None:
        gain = _gap(best, teacher)
        found.append(
            Claim(
                claim=f"At width {BEST_WIDTH} the mixture is more accurate than the teacher (by 1.4 points; Fig. 3b)",
                here=f"{points(gain)} points",
                verdict=verdict(gain),
            )
        )
        if comparison.on_paper_data:
            fewer, claimed = teacher.macs / best.macs, teacher.paper_mflops / best.paper_mflops
            found.append(
                Claim(
                    claim=f"At width {BEST_WIDTH} it needs {BEST_WIDTH_FEWER} times fewer multiply-adds (Fig. 3b)",
                    here=f"{fewer:.1f} times, router counted; {claimed:.1f} without it, as the paper counts",
                    verdict="holds" if fewer >= BEST_WIDTH_FEWER - 0.5 else "does not hold",
                )
            )
    return found


def _router_claims(comparison: SweepComparison, line: Sequence[Point]) -> list[Claim]:
    chosen = next((point for point in line if point.router == "cnn"), None)
    if chosen is None:
        return []
    # The table has the paper's linear router; the claim is against the best one of any size.
    sizes = [point for line in comparison.lines if line.along == "router_size" for point in line.points]
    rivals = {point.key: point for point in [*line, *sizes] if point is not chosen}
    return [
        _is_best(
            "The CNN is the most accurate router (Table I)",
            chosen,
            list(rivals.values()),
            lambda point: point.accuracy.values,
            lambda gap: f"{points(gap)} points",
            lambda point: f"the {point.router} router" + (f" of {point.router_size}" if point.router_size else ""),
        )
    ]


def _size_claims(comparison: SweepComparison, line: Sequence[Point]) -> list[Claim]:
    doublings = [math.log2(point.router_size or 1) for point in line]
    slopes = [
        float(np.polyfit(doublings, [point.accuracy.values[seed] for point in line], 1)[0])
        for seed in range(len(comparison.seeds))
    ]
    # From the smallest to the largest along the fitted line: each doubling alone may well be within the margin.
    rises = [slope * (doublings[-1] - doublings[0]) for slope in slopes]
    rise = Paired.of(rises, [0.0] * len(rises))
    return [
        Claim(
            claim="The size of the linear router does not matter (section V.D)",
            here=f"{points(rise)} points from size {line[0].router_size} to {line[-1].router_size}",
            verdict=_nothing(rise, comparison.margin),
        )
    ]


def _control_claims(comparison: SweepComparison) -> list[Claim]:
    """What the paper left out: single students with the middle's training budget, and with its inference cost."""
    names = {"same_budget": "the same training budget", "same_cost": "the same inference cost"}
    found = []
    for control in comparison.controls:
        gain = _gap(comparison.middle, control)
        found.append(
            Claim(
                claim=f"The mixture beats a single student with {names[control.key]} (not in the paper)",
                here=f"{points(gain)} points",
                verdict=verdict(gain),
            )
        )
    return found


def _is_best(
    claim: str,
    chosen: Point,
    rest: Sequence[Point],
    values: Callable[[Point], Sequence[float]],
    said: Callable[[Paired], str],
    name: Callable[[Point], str],
) -> Claim:
    """Whether one point is above all others; differences are paired by seed, and the best of the others is named."""
    gaps = [(Paired.of(values(chosen), values(rival), len(rest)), rival) for rival in rest]
    gap, best = min(gaps, key=lambda found: found[0].mean)
    return Claim(
        claim=claim,
        here=f"{said(gap)} against {name(best)}, the best of the others",
        verdict=of_all([verdict(gap) for gap, _ in gaps]),
    )


def _gap(point: Point, other: Point, rivals: int = 1) -> Paired:
    return Paired.of(point.accuracy.values, other.accuracy.values, rivals)


def _none_above(gap: Paired, margin: float) -> Verdict:
    """Whether a gain that should not be there is not: it is certainly smaller than the margin."""
    if gap.low is None or gap.high is None:
        return "not settled"
    return "holds" if gap.high < margin else "does not hold" if gap.low > 0 else "not settled"


def _nothing(gap: Paired, margin: float) -> Verdict:
    """Likewise for an effect that should be there in neither direction."""
    if gap.low is None or gap.high is None:
        return "not settled"
    if -margin < gap.low and gap.high < margin:
        return "holds"
    return "does not hold" if gap.low > 0 or gap.high < 0 else "not settled"
