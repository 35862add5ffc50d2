"""The report's figures, each as the text of one SVG element.

Every function takes `name`, a word of letters, digits and dashes that no other figure on the page has. Text stays text,
so that a page's own font shows it and readers can search it. The same results give the same bytes.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from moist.reports.labels import class_order, ordered_rows, printable, row_label, shortened
from moist.reports.results import Clustering, Curve, Reliability, Results, Routing
from moist.reports.svg import INK, MUTED, new_figure, style, svg_text
from moist.reports.verdict import standard_error

# Okabe and Ito's palette (2008): told apart with every common colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
ROLE_STYLE: dict[str, tuple[str, float, str]] = {
    "teacher": ("s", 8, "#000000"),
    "student": ("o", 8, "#56B4E9"),
    "mixture": ("D", 8, "#0072B2"),
    "control": ("^", 10, "#D55E00"),
    "upper bound": ("v", 10, "#8a8f94"),
}


def accuracy_against_cost(results: Results, name: str) -> str:
    """Accuracy in percent against multiply-adds per image (log axis), one labelled point a row, bars of one error."""
    rows = [row for row in ordered_rows(results) if row.macs > 0 and math.isfinite(row.accuracy)]
    rows.sort(key=lambda row: row.accuracy)
    labels = [_wrapped(f"{row_label(row)}, {100 * row.accuracy:.1f}", 27) for row in rows]
    width, line = 480.0, 13.0
    heights = [line * (label.count("\n") + 1) + 7 for label in labels]
    height = max(300.0, sum(heights) + 75)
    with style(name):
        figure = new_figure(width, height)
        box = (48 / width, 44 / height, 242 / width, (height - 62) / height)
        axes = figure.add_axes(box)
        for row in rows:
            marker, size, colour = ROLE_STYLE[row.role]
            error = 100 * standard_error(row.accuracy, results.data.test)
            axes.errorbar(row.macs / 1e6, 100 * row.accuracy, yerr=error, color=colour, linewidth=1, zorder=3)
            axes.plot(
                row.macs / 1e6,
                100 * row.accuracy,
                marker,
                markersize=size,
                color=colour,
                markeredgecolor="white",
                zorder=4,
            )
        axes.set_xscale("log")
        if rows:
            costs = [row.macs / 1e6 for row in rows]
            axes.set_xlim(min(costs) / 1.7, max(costs) * 1.7)
            wide = max(costs) / min(costs) > 300
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axes.margins(y=0.12)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(True)
        axes.set_xlabel("million multiply-adds per image")
        axes.set_ylabel("accuracy, %")
        low, high = axes.get_ylim()
        units = (high - low) / (height - 62)
        centres = _spread([100 * row.accuracy for row in rows], [units * tall for tall in heights], low, high)
        for row, label, centre in zip(rows, labels, centres, strict=True):
            axes.annotate(
                label,
                (row.macs / 1e6, 100 * row.accuracy),
                (1.06, (centre - low) / (high - low)),
                textcoords="axes fraction",
                va="center",
                fontsize=9.5,
                annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": "#9aa5b1", "linewidth": 0.7, "shrinkB": 4, "relpos": (0, 0.5)},
            )
        return svg_text(figure, name)


def training_curve(curve: Curve, name: str) -> str:
    """One stage's series against the epoch; what is named alike at its end (loss, accuracy) shares a panel."""
    panels: dict[str, list[str]] = {}
    for series in sorted(curve.series):
        panels.setdefault(series.rsplit("_", 1)[-1], []).append(series)
    with style(name):
        figure = new_figure(360, 30 + 150 * max(1, len(panels)), layout="constrained")
        grid = figure.subplots(max(1, len(panels)), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (kind, members) in zip(grid, panels.items(), strict=False):
            percent = kind == "accuracy"
            for index, member in enumerate(members):
                values = np.asarray(curve.series[member], dtype=float) * (100 if percent else 1)
                axes.plot(
                    np.arange(1, len(values) + 1),
                    values,
                    color=PALETTE[index % len(PALETTE)],
                    linestyle=("-", "--", "-.", ":")[index % 4],
                    marker="o" if len(values) < 4 else "",
                    markersize=4,
                    label=printable(member).replace("_", " "),
                )
            axes.set_ylabel("accuracy, %" if percent else shortened(kind, 16))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            axes.grid(True)
            if len(members) > 1 or members[0] != kind:
                axes.legend(loc="best", handlelength=2.4)
        grid[-1].set_xlabel("epoch")
        return svg_text(figure, name)


def similarity_matrix(clustering: Clustering, classes: Sequence[str], name: str) -> str:
    """Cosine similarity (-1 to 1) of the classes' mean logits, in the clusters' order, the clusters framed."""
    order = class_order(len(classes), clustering.clusters)
    values = np.asarray(clustering.similarity, dtype=float)[np.ix_(order, order)]
    with style(name):
        figure, axes, size = _matrix_axes([classes[index] for index in order])
        image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="none")
        _cells(axes, values, "{:.2f}", np.abs(values) > 0.62)
        start = -0.5
        for index, cluster in enumerate(clustering.clusters):
            side = len(cluster)
            axes.add_patch(
                Rectangle((start, start), side, side, fill=False, edgecolor=INK, linewidth=1.8, clip_on=False)
            )
            if side * size >= 11:
                axes.annotate(
                    f"student {index + 1}",
                    (1, 1 - (start + 0.5 + side / 2) / len(classes)),
                    (6, 0),
                    xycoords="axes fraction",
                    textcoords="offset points",
                    va="center",
                    fontsize=9,
                )
            start += side
        _colour_bar(figure, axes, image, "cosine similarity")
        return svg_text(figure, name)


def silhouette_scores(clustering: Clustering, name: str) -> str:
    """The score of every number of clusters that was considered; the chosen one is filled."""
    scores = {int(k): score for k, score in clustering.scores.items()}
    with style(name):
        figure = new_figure(360, 200, layout="constrained")
        axes = figure.add_subplot()
        for k, score in sorted(scores.items()):
            chosen = k == len(clustering.clusters)
            colour = PALETTE[0]
            axes.bar(k, score, 0.6, facecolor=colour if chosen else "white", edgecolor=colour)
            if math.isfinite(score) and len(scores) <= 10:
                axes.annotate(
                    f"{score:.2f}",
                    (k, max(0.0, score)),
                    (0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=9,
                    fontweight="bold" if chosen else "normal",
                )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        axes.set_xlabel("number of clusters, k")
        axes.set_ylabel("silhouette score")
        axes.margins(y=0.15)
        axes.grid(True, axis="y")
        return svg_text(figure, name)


def class_shares(routing: Routing, classes: Sequence[str], name: str) -> str:
    """Fig 2 of the paper: one bar a class, split by the students that its test images were sent to, in percent."""
    share = 100 * np.nan_to_num(np.asarray(routing.share, dtype=float))
    order = class_order(len(classes), routing.clusters)
    students = share.shape[1]
    step = 22.0 if len(classes) <= 30 else 12.0
    home = {member: index for index, cluster in enumerate(routing.clusters) for member in cluster}
    # Half a bar of room between clusters shows which classes belong together.
    places = np.cumsum([0.0] + [1.0 if home.get(a) == home.get(b) else 1.5 for a, b in itertools.pairwise(order)])
    legend_rows = math.ceil(students / 4)
    with style(name):
        figure = new_figure(440, 62 + 17 * legend_rows + step * (places[-1] + 1), layout="constrained")
        axes = figure.add_subplot()
        left = np.zeros(len(classes))
        for student in range(students):
            width = share[order, student]
            colour = _student_colour(student, students)
            axes.barh(
                places,
                width,
                0.82,
                left=left,
                color=colour,
                edgecolor="white",
                linewidth=0.6,
                label=f"student {student + 1}",
            )
            for place, start, value in zip(places, left, width, strict=True):
                if step > 12 and value >= 9:
                    axes.text(
                        start + value / 2,
                        place,
                        f"{value:.0f}",
                        ha="center",
                        va="center",
                        fontsize=9,
                        color=_on(colour),
                    )
            left += width
        axes.set_yticks(places, [shortened(classes[index], 20) for index in order], fontsize=9.5 if step > 12 else 8)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(places[-1] + 0.6, -0.6)
        axes.set_xlim(0, max(100.0, float(left.max())))
        axes.set_xlabel("share of the class's test images, %")
        axes.spines["left"].set_visible(False)
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside upper left",
            ncols=min(4, students),
            handlelength=1,
            columnspacing=1.4,
        )
        return svg_text(figure, name)


def confusion_matrix(
    matrix: Sequence[Sequence[int]], names: Sequence[str], order: Sequence[int], axis: tuple[str, str], name: str
) -> str:
    """Counts as text, each row's shares as colour (rows true, columns predicted), in the given order of classes.

    `axis` names the rows and the columns.
    """
    counts = np.asarray(matrix, dtype=float)[np.ix_(order, order)]
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with style(name):
        figure, axes, _ = _matrix_axes([names[index] for index in order])
        # The root brings out the errors, which are small beside the diagonal.
        image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="none")
        _cells(axes, counts, "{:.0f}", share > 35)
        axes.set_ylabel(axis[0])
        axes.set_xlabel(axis[1])
        _colour_bar(figure, axes, image, "% of row")
        return svg_text(figure, name)


def reliability_plot(reliability: Reliability, name: str) -> str:
    """Accuracy against mean confidence of the bins that hold images, and below how many images each holds."""
    bins = [
        (confidence, accuracy, count)
        for confidence, accuracy, count in zip(
            reliability.confidence, reliability.accuracy, reliability.count, strict=True
        )
        if count > 0
    ]
    total = max(1, sum(count for _, _, count in bins))
    with style(name):
        figure = new_figure(270, 320, layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot((0, 100), (0, 100), color=MUTED, linestyle="--", linewidth=1)
        x = [100 * confidence for confidence, _, _ in bins]
        upper.plot(x, [100 * accuracy for _, accuracy, _ in bins], color=PALETTE[0], marker="o", markersize=4.5)
        upper.set(xlim=(0, 100), ylim=(0, 103), ylabel="accuracy, %")
        upper.set_aspect("auto")
        upper.grid(True)
        lower.bar(
            x, [100 * count / total for _, _, count in bins], 70 / max(1, len(reliability.count)), color="#9aa5b1"
        )
        lower.set(xlabel="confidence, %", ylabel="images, %")
        lower.grid(True, axis="y")
        return svg_text(figure, name)


def _matrix_axes(names: Sequence[str]) -> tuple[Figure, Axes, float]:
    """Square axes with names on both sides, and the side of a cell in pixels; many names get a wider figure."""
    cell = max(7.0, min(60.0, 290 / max(1, len(names))))
    step = 1
    if cell * len(names) > 900:
        cell = 900 / len(names)
        step = math.ceil(7 / cell)
    shown = [shortened(item, 16 if len(names) <= 30 else 14) for item in names]
    font = min(9.5, max(6.0, cell * 0.9))
    margin = 24 + 0.62 * font * max(map(len, shown), default=0)
    side = cell * len(names)
    figure = new_figure(side + margin + 130, side + margin + 34, layout="constrained")
    axes = figure.add_subplot()
    ticks = list(range(0, len(names), step))
    axes.set_yticks(ticks, shown[::step], fontsize=font)
    axes.set_xticks(ticks, shown[::step], fontsize=font, rotation=90 if len(names) > 3 else 0)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes, cell


def _cells(axes: Axes, values: np.ndarray[Any, Any], form: str, dark: np.ndarray[Any, Any]) -> None:
    """The values as text in the cells, where there is room for them."""
    if len(values) > 14:
        return
    for row, column in np.ndindex(*values.shape):
        if math.isfinite(values[row, column]):
            axes.text(
                column,
                row,
                form.format(values[row, column]),
                ha="center",
                va="center",
                fontsize=8 if len(values) > 5 else 9.5,
                color="white" if dark[row, column] else INK,
            )


def _colour_bar(figure: Figure, axes: Axes, image: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=22, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8.5)


def _student_colour(student: int, students: int) -> str:
    if students <= len(PALETTE):
        return PALETTE[student]
    return mpl.colors.to_hex(mpl.colormaps["viridis"](student / (students - 1)))


def _on(colour: str) -> str:
    """Black or white, whichever reads better on this colour (relative luminance after WCAG 2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in mpl.colors.to_rgb(colour)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if luminance > 0.24 else "white"


def _spread(desired: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres of boxes in ascending order, as near to the desired ones as fits between low and high without overlap."""
    centres: list[float] = []
    floor = low
    for index, (centre, height) in enumerate(zip(desired, heights, strict=True)):
        ceiling = high - sum(heights[index + 1 :])
        centre = max(floor + height / 2, min(centre, ceiling - height / 2))
        centres.append(centre)
        floor = centre + height / 2
    return centres


def _wrapped(text: str, width: int) -> str:
    """At most two lines of about `width` characters."""
    words, lines = shortened(text, 2 * width - 4).split(" "), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width and len(lines) < 2:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(shortened(line, width + 4) for line in lines)
