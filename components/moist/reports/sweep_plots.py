"""The figures of the sweep report, each as the text of one SVG element, in the style of the other reports."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from moist.reports.cost_plot import ROLE_STYLE, CostPoint, cost_plot, published, spread_out
from moist.reports.labels import printable, shortened
from moist.reports.plots import PALETTE
from moist.reports.svg import axes_at, new_figure, style, svg_text
from moist.reports.sweep import Line, Point, SweepComparison
from moist.reports.sweep_tables import HEADINGS, name_of

REFERENCES = {"teacher": "teacher", "same_budget": "single, same training", "same_cost": "single, same cost"}


def line_plot(comparison: SweepComparison, line: Line, name: str) -> str:
    """Above: mean accuracy (%) and each seed's, against what varies. Below: multiply-adds, counted both ways."""
    places = list(range(len(line.points)))
    references = [point for key in REFERENCES for point in comparison.points if point.key == key]
    with style(name):
        figure = new_figure(470, 400)
        upper, lower = axes_at(figure, 50, 8, 300, 206), axes_at(figure, 50, 232, 300, 116)
        _accuracies(upper, places, line.points, ROLE_STYLE["mixture"][2], "D")
        if line.along == "width":
            by_width = {point.width: point for point in comparison.students}
            beside = [(place, by_width[point.width]) for place, point in zip(places, line.points, strict=True)
                      if point.width in by_width]  # fmt: skip
            _accuracies(
                upper, [place for place, _ in beside], [point for _, point in beside], ROLE_STYLE["student"][2], "o"
            )
        ends = [("mixture", line.points[-1].accuracy.mean, ROLE_STYLE["mixture"][2])]
        if line.along == "width" and beside:
            ends.append(("distilled student", beside[-1][1].accuracy.mean, ROLE_STYLE["student"][2]))
        for point in references:
            colour = ROLE_STYLE[point.role][2]
            upper.axhline(
                100 * point.accuracy.mean,
                color=colour,
                linewidth=1.2,
                linestyle="--" if point.key != "same_cost" else ":",
            )
            ends.append((REFERENCES[point.key], point.accuracy.mean, colour))
        upper.margins(y=0.08)
        _named_ends(upper, ends)
        upper.tick_params(labelbottom=False)
        upper.set_ylabel("accuracy, %")
        lower.plot(places, [point.macs / 1e6 for point in line.points], color=PALETTE[0], marker="D", markersize=5)
        students = [(point.macs - point.router_macs) / 1e6 for point in line.points]
        lower.plot(places, students, color=PALETTE[1], marker="o", markersize=5, linestyle="--")
        lower.set_ylim(bottom=0)
        last = line.points[-1]
        _named_ends(
            lower,
            [
                ("router + student", last.macs / 1e8, PALETTE[0]),
                ("as the paper counts, x 64", students[-1] / 100, "#9a6700"),
            ],
        )
        lower.set_ylabel("MMAC")
        for axes in (upper, lower):
            axes.set_xlim(-0.35, len(places) - 0.65)
            axes.set_xticks(places, [shortened(name_of(point, line.along), 16) for point in line.points])
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.yaxis.set_label_coords(-38 / 300, 0.5)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.grid(True, axis="y")
        lower.set_xlabel(HEADINGS[line.along])
        return svg_text(figure, name)


def all_points(comparison: SweepComparison, name: str) -> str:
    """Every model of the sweep by accuracy and cost; named are the middle and what it is read against."""
    named = {point.key for point in (comparison.teacher, comparison.middle, *comparison.controls) if point}
    named |= {"student", _best(comparison).key}
    drawn = [
        CostPoint(
            printable(point.label) if point.key in named else "",
            point.role,
            point.macs,
            point.accuracy.mean,
            point.accuracy.std,
        )
        for point in comparison.points
    ]
    return cost_plot([*drawn, *published(comparison.data.name)], name)


def _best(comparison: SweepComparison) -> Point:
    return max(comparison.mixtures, key=lambda point: point.accuracy.mean)


def _accuracies(axes: Axes, places: Sequence[float], found: Sequence[Point], colour: str, marker: str) -> None:
    """Means joined by a line, with a bar of one standard deviation, and a pale dot a seed."""
    for place, point in zip(places, found, strict=True):
        values = [100 * value for value in point.accuracy.values]
        if len(values) > 1:
            axes.plot([place] * len(values), values, ".", color=colour, alpha=0.35, markersize=5)
    means = [100 * point.accuracy.mean for point in found]
    spreads = [100 * (point.accuracy.std or 0.0) for point in found]
    axes.errorbar(
        places, means, yerr=spreads, color=colour, linewidth=1.4, elinewidth=1.2, marker=marker, markersize=6,
        markeredgecolor="white", zorder=3,
    )  # fmt: skip


def _named_ends(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Names to the right of the axes, each at its value (0-1) as far as there is room."""
    height = axes.get_window_extent().height
    low, high = axes.get_ylim()
    wanted = sorted((height * (100 * value - low) / (high - low), text, colour) for text, value, colour in ends)
    centres = spread_out([place for place, _, _ in wanted], [13.0] * len(wanted), height)
    for (_, text, colour), centre in zip(wanted, centres, strict=True):
        axes.annotate(
            text, (1, centre / height), (6, 0), xycoords="axes fraction", textcoords="offset points", va="center",
            fontsize=9, color=colour, annotation_clip=False,
        )  # fmt: skip
