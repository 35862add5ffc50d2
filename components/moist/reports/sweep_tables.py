"""A sweep's tables, ours beside the paper's numbers, and why the two differ."""

from collections.abc import Sequence

from moist.mode.statistics import Summary
from moist.reports.documents import Table
from moist.reports.labels import MISSING, column, fixed, printable
from moist.reports.mode_tables import claims_table, markdown, spread
from moist.reports.paper import BEST_WIDTH, BEST_WIDTH_FEWER, BEST_WIDTH_GAIN, ROUTERS, TABLE_1
from moist.reports.sweep import Along, Line, Point, SweepComparison

TITLES: dict[Along, str] = {
    "k": "Number of students (Fig. 3a)",
    "width": "Width of the students (Fig. 3b)",
    "router": "Router (Table I)",
    "router_size": "Size of the linear router (section V.D)",
}
HEADINGS: dict[Along, str] = {"k": "students", "width": "width", "router": "router", "router_size": "linear router"}


def name_of(point: Point, along: Along) -> str:
    """A point's place on its line, as text."""
    value = getattr(point, along)
    if along == "router" and point.router_size:
        return f"{value} of {point.router_size}"
    return f"{value}"


def line_table(comparison: SweepComparison, line: Line) -> Table:
    """One line of the sweep: accuracy, routing and both conventions of cost, with the paper's where it prints one."""
    found = line.points
    printed = [_printed(point, line.along) for point in found]
    shown = [accuracy or cost for accuracy, cost in printed]
    latencies = sorted({size for point in found for size in point.latency_ms})
    columns: list[tuple[str, list[str]]] = [
        (HEADINGS[line.along], [name_of(point, line.along) for point in found]),
        ("accuracy %", [spread(point.accuracy) for point in found]),
        *([("paper %, on CIFAR-10", [accuracy or MISSING for accuracy, _ in printed])] if any(shown) else []),
        ("r %", [spread(point.r) for point in found]),
        ("MMAC, router + student", column([point.macs / 1e6 for point in found], 3)),
        ("x fewer than teacher", [fixed(_fewer(comparison, point), 1) for point in found]),
        ("“MFLOPs” as the paper counts", column([point.paper_mflops for point in found], 3)),
        *([("paper’s, on CIFAR-10", [cost or MISSING for _, cost in printed])] if any(shown) else []),
        *(
            (f"ms, batch {size}", column([_mean(point.latency_ms.get(size)) for point in found], 3))
            for size in latencies
        ),
    ]
    cells = zip(*(values for _, values in columns), strict=True)
    marks = ["mixture" if point == comparison.middle else "" for point in found]
    return Table([heading for heading, _ in columns], [list(row) for row in cells], marks)


def reference_table(comparison: SweepComparison) -> Table:
    """What the lines are read against: teacher, distilled students, controls."""
    teacher = [comparison.teacher] if comparison.teacher else []
    found = [*teacher, *comparison.students, comparison.middle, *comparison.controls]
    columns = {
        "model": [_named(point) for point in found],
        "accuracy %": [spread(point.accuracy) for point in found],
        "MMAC": column([point.macs / 1e6 for point in found], 3),
        "x fewer than teacher": [fixed(_fewer(comparison, point), 1) for point in found],
        "“MFLOPs” as the paper counts": column([point.paper_mflops for point in found], 3),
    }
    marks = [point.role for point in found]
    return Table(list(columns), [list(row) for row in zip(*columns.values(), strict=True)], marks)


def why(comparison: SweepComparison, line: Line) -> list[str]:
    """Why a line's figures are not the paper's, with the measured numbers that show it."""
    first, last = line.points[0], line.points[-1]
    if line.along == "k":
        return [
            "Whatever k is, one student answers, so the cost hardly depends on it in either convention; the paper’s "
            f"leaves the router out, here {_share(comparison.middle)} of all multiply-adds, and divides by 64.",
            f"The router is right on {_percent(first.r)} of the images at k = {first.k} and on {_percent(last.r)} at "
            f"k = {last.k}.",
            "The paper prints no accuracies for this figure, and its latencies are of one operation-counting trace, "
            "cold for some rows and warm for others.",
        ]
    if line.along == "width":
        return [
            f"Counted with its router, the narrowest mixture is not nearly free: {_share(first)} of its multiply-adds "
            f"are the router’s, {_share(last)} at width {last.width}. The paper counts the student alone.",
            f"The paper’s {BEST_WIDTH_FEWER} times at width {BEST_WIDTH} is 8.70 / 0.15 in its unit, without the "
            "router; with it, 556.66 / 16.03 million multiply-adds are 35 times.",
        ]
    if line.along == "router":
        return [
            "The paper gives the same 0.10 whichever router there is, since it counts none of them; here the router’s "
            f"multiply-adds are counted, {_range([point.router_macs / 1e6 for point in line.points])} million.",
        ]
    return [
        f"The router grows from {first.router_macs / 1e6:.3g} to {last.router_macs / 1e6:.3g} million multiply-adds "
        "along this line, which the paper’s unit does not show. The paper prints no numbers for it.",
    ]


def differences(comparison: SweepComparison) -> list[str]:
    """Why accuracies as a whole are not the paper's."""
    if not comparison.on_paper_data:
        found = [
            f"The paper’s numbers are of CIFAR-10 and these are of {printable(comparison.data.name)}: what can be "
            "compared is which way a line goes, not the figures."
        ]
    else:
        found = [
            "The paper measured on CIFAR-10’s official test batch after training on all 50,000 images, in one run."
        ]
    teacher = comparison.teacher
    if teacher is not None and comparison.on_paper_data:
        found.append(
            f"Its teacher stops in the middle of its schedule, at {100 * TABLE_1['teacher'].accuracy:.1f}%; here the "
            f"schedule ends at zero with the last epoch, at {_percent(teacher.accuracy)}."
        )
    if "routing=soft" in comparison.parameters.get("mixture", ""):
        found.append(
            "Here joint training is differentiable and trains the router on; the paper’s hard argmax gives it no "
            "gradient (--routing hard), and its router is pretrained through two softmaxes "
            "(--router-loss double_softmax)."
        )
    return found


def sweep_text(comparison: SweepComparison) -> str:
    """Everything as Markdown, columns lined up, so that it also reads well on a terminal."""
    parts = [
        f"# MoIST's sweeps on {printable(comparison.data.name)}",
        caveat(comparison),
        "## What the lines are read against",
        markdown(reference_table(comparison)),
    ]
    for line in comparison.lines:
        parts += [f"## {TITLES[line.along]}", markdown(line_table(comparison, line)), " ".join(why(comparison, line))]
    parts += ["## What holds", markdown(claims_table(comparison.claims)), " ".join(differences(comparison))]
    return "\n\n".join(parts) + "\n"


def caveat(comparison: SweepComparison) -> str:
    """What was measured, how often, and what ± is."""
    seeds = ", ".join(map(str, comparison.seeds))
    many = len(comparison.seeds) > 1
    spreads = (
        "± is the standard deviation over seeds of students, routers and joint training; data split, teacher and "
        "clusters are the same for all, so it leaves their part out. Intervals are 95%, Student’s t, "
        "paired by seed; one against the best of several is widened for their number."
        if many
        else "One seed settles nothing; give several for spreads and intervals."
    )
    one = 100 / comparison.data.test
    images = f"{comparison.data.test:,} held-out images (one is {one:.2f} points)"
    return f"{images}, seed{'s' if many else ''} {seeds}. {spreads}"


def _printed(point: Point, along: Along) -> tuple[str, str]:
    """Accuracy (%) and "MFLOPs" of this point as the paper prints them; empty where it does not."""
    if along == "router" and point.router in ROUTERS:
        row = TABLE_1[ROUTERS[point.router]]
        return f"{100 * row.accuracy:.2f}", f"{row.mflops:.2f}"
    if along == "width" and point.width == BEST_WIDTH:
        teacher = TABLE_1["teacher"]
        return f"{100 * (teacher.accuracy + BEST_WIDTH_GAIN):.1f}", f"{teacher.mflops / BEST_WIDTH_FEWER:.2f}"
    return "", ""


def _named(point: Point) -> str:
    label = printable(point.label)
    return f"{label}, width {point.width}" if point.key == "student" and point.width else label


def _fewer(comparison: SweepComparison, point: Point) -> float | None:
    return comparison.teacher.macs / point.macs if comparison.teacher and point.macs else None


def _mean(summary: Summary | None) -> float | None:
    return summary.mean if summary else None


def _percent(summary: Summary | None) -> str:
    return MISSING if summary is None else f"{100 * summary.mean:.1f}%"


def _share(point: Point) -> str:
    return f"{100 * point.router_macs / point.macs:.0f}%" if point.macs else MISSING


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"
