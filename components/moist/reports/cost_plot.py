"""Accuracy against multiply-adds: the figure of the reports and of the README, with published networks beside ours."""

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from moist.reports.labels import ordered_rows, row_label, shortened
from moist.reports.paper import DATASET
from moist.reports.peers import PEERS
from moist.reports.plots import PALETTE
from moist.reports.results import CascadePoint, Results, Row
from moist.reports.svg import axes_at, new_figure, style, svg_text
from moist.reports.verdict import standard_error

ROLE_STYLE: dict[str, tuple[str, float, str]] = {
    "teacher": ("s", 8, "#000000"),
    "student": ("o", 8, "#56B4E9"),
    "mixture": ("D", 8, "#0072B2"),
    "control": ("^", 10, "#D55E00"),
    "upper bound": ("v", 10, "#8a8f94"),
    "published": ("p", 10, "#AA4499"),
}


class CostPoint(NamedTuple):
    """One model of the plot."""

    label: str
    """Empty: the point is drawn without a name."""
    role: str
    """A key of ROLE_STYLE."""
    macs: float
    accuracy: float
    """0-1"""
    error: float | None = None
    """Half of the bar, 0-1."""
    hollow: bool = False


def accuracy_against_cost(results: Results, name: str) -> str:
    """A run's rows, bars of one standard error; on CIFAR-10 with the published networks."""
    rows = [
        CostPoint(row_label(row), row.role, row.macs, row.accuracy, standard_error(row.accuracy, results.data.test))
        for row in ordered_rows(results)
    ]
    return cost_plot([*rows, *published(results.data.name)], name)


def cascade_curves(results: Results, name: str) -> str:
    """Accuracy in percent against mean multiply-adds per image where more and more images are asked of the teacher."""
    return _curves([(row, row.cascade) for row in ordered_rows(results) if row.cascade], name)


def second_looks(results: Results, name: str) -> str:
    """The same where single students look again at more and more images; mixtures are points beside them."""
    rows = [row for row in ordered_rows(results) if not row.swept and (row.second_look or row.role == "mixture")]
    here = [[CascadePoint(share=0, accuracy=row.accuracy, macs=row.macs)] for row in rows]
    return _curves([(row, row.second_look or point) for row, point in zip(rows, here, strict=True)], name)


def _curves(rows: list[tuple[Row, list[CascadePoint]]], name: str) -> str:
    legend_height = 17.0 * len(rows) + 8
    with style(name):
        figure = new_figure(400, legend_height + 260)
        axes = axes_at(figure, 46, legend_height, 340, 216)
        for index, (row, points) in enumerate(rows):
            axes.plot(
                [point.macs / 1e6 for point in points],
                [100 * point.accuracy for point in points],
                color=PALETTE[index % len(PALETTE)],
                linestyle=("-", "--", "-.", ":")[index % 4],
                marker=ROLE_STYLE[row.role][0],
                markersize=4,
                label=shortened(row_label(row), 50),
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(y=0.08)
        axes.grid(True)
        axes.set_xlabel("mean million multiply-adds per image")
        axes.set_ylabel("accuracy, %")
        figure.legend(loc="upper left", bbox_to_anchor=(0, 1), handlelength=2.6, borderaxespad=0, borderpad=0.2)
        return svg_text(figure, name)


def published(dataset: str) -> list[CostPoint]:
    """The published networks, if they were measured on this data set."""
    if dataset != DATASET:
        return []
    return [CostPoint(peer.name, "published", peer.macs, peer.accuracy, hollow=peer.target) for peer in PEERS]


def cost_plot(points: Sequence[CostPoint], name: str, background: str = "none") -> str:
    """Accuracy in percent against multiply-adds per image (log axis), named points with their accuracy at the right."""
    points = sorted(
        (point for point in points if point.macs > 0 and math.isfinite(point.accuracy)),
        key=lambda point: point.accuracy,
    )
    named = [point for point in points if point.label]
    labels = [_wrapped(f"{100 * point.accuracy:.1f}  {point.label}", 26 if len(named) > 8 else 22) for point in named]
    heights = [12.0 * (label.count("\n") + 1) + 8 for label in labels]
    inner = max(250.0, sum(heights))
    with style(name):
        figure = new_figure(400 if len(named) <= 8 else 420, inner + 52)
        figure.set_facecolor(background)
        axes = axes_at(figure, 46, 8, 210, inner)
        for point in points:
            marker, size, colour = ROLE_STYLE[point.role]
            place = (point.macs / 1e6, 100 * point.accuracy)
            if point.error is not None:
                axes.errorbar(*place, yerr=100 * point.error, color=colour, linewidth=1.2, zorder=3)
            axes.plot(
                *place,
                marker,
                markersize=size if point.label else 0.6 * size,
                color="white" if point.hollow else colour,
                markeredgecolor=colour if point.hollow else "white",
                zorder=4,
            )
        axes.set_xscale("log")
        if points:
            costs = [point.macs / 1e6 for point in points]
            axes.set_xlim(min(costs) / 1.7, max(costs) * 1.7)
            subs = (1.0,) if max(costs) / min(costs) > 300 else (1.0, 2.0, 5.0)
            axes.xaxis.set_major_locator(LogLocator(subs=subs))
        axes.margins(y=0.12)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(True)
        axes.set_xlabel("million multiply-adds per image")
        axes.set_ylabel("accuracy, %")
        low, high = axes.get_ylim()
        wanted = [inner * (100 * point.accuracy - low) / (high - low) for point in named]
        for point, label, centre in zip(named, labels, spread_out(wanted, heights, inner), strict=True):
            axes.annotate(
                label,
                (point.macs / 1e6, 100 * point.accuracy),
                (1.06, centre / inner),
                textcoords="axes fraction",
                va="center",
                fontsize=9.5,
                annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": "#9aa5b1", "linewidth": 0.7, "shrinkB": 4, "relpos": (0, 0.5)},
            )
        return svg_text(figure, name)


def spread_out(desired: Sequence[float], heights: Sequence[float], room: float) -> list[float]:
    """Centres of boxes in ascending order, near to the desired ones, from 0 to room without overlap."""
    centres: list[float] = []
    floor = 0.0
    for index, (centre, height) in enumerate(zip(desired, heights, strict=True)):
        ceiling = room - sum(heights[index + 1 :])
        centres.append(max(floor + height / 2, min(centre, ceiling - height / 2)))
        floor = centres[-1] + height / 2
    return centres


def _wrapped(text: str, width: int) -> str:
    """At most three lines of about `width` characters."""
    lines = textwrap.wrap(shortened(text, 3 * width - 6), width, break_on_hyphens=False)
    return "\n".join([*lines[:2], " ".join(lines[2:])] if len(lines) > 3 else lines)
