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
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from moist.reports.labels import class_order, printable, shortened
from moist.reports.results import Clustering, Curve, Reliability, Routing
from moist.reports.svg import INK, MUTED, axes_at, new_figure, style, svg_text

# Okabe and Ito's palette (2008): told apart with every common colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


def training_curve(curve: Curve, name: str) -> str:
    """One stage's series against the epoch; what is named alike at its end (loss, accuracy) shares a panel."""
    panels: dict[str, list[str]] = {}
    for series in sorted(curve.series):
        panels.setdefault(series.rsplit("_", 1)[-1], []).append(series)
    with style(name):
        figure = new_figure(350, 148 * max(1, len(panels)) + 34)
        for panel, (kind, members) in enumerate(panels.items()):
            axes = axes_at(figure, 48, 148 * panel + 6, 294, 130)
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
            axes.yaxis.set_label_coords(-36 / 294, 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.grid(True)
            if len(members) > 1 or members[0] != kind:
                axes.legend(loc="lower right" if percent else "upper right", handlelength=2.4)
            if panel == len(panels) - 1:
                axes.set_xlabel("epoch")
            else:
                axes.tick_params(labelbottom=False)
        return svg_text(figure, name)


def similarity_matrix(clustering: Clustering, classes: Sequence[str], name: str) -> str:
    """Cosine similarity (-1 to 1) of the classes' mean logits, in the clusters' order, the clusters framed."""
    order = class_order(len(classes), clustering.clusters)
    values = np.asarray(clustering.similarity, dtype=float)[np.ix_(order, order)]
    with style(name):
        figure, axes = _matrix_axes([classes[index] for index in order])
        image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="none", aspect="auto")
        _cells(axes, values, "{:.2f}", np.abs(values) > 0.62)
        start = -0.5
        for number, side in enumerate(map(len, clustering.clusters), start=1):
            axes.add_patch(
                Rectangle((start, start), side, side, fill=False, edgecolor=INK, linewidth=1.8, clip_on=False)
            )
            axes.annotate(
                str(number),
                (1, 1 - (start + 0.5 + side / 2) / len(classes)),
                (6, 0),
                xycoords="axes fraction",
                textcoords="offset points",
                va="center",
                fontweight="bold",
            )
            start += side
        _colour_bar(figure, axes, image, "cosine similarity", (-1, -0.5, 0, 0.5, 1))
        return svg_text(figure, name)


def silhouette_scores(clustering: Clustering, name: str) -> str:
    """The score of every number of clusters that was considered; the chosen one is filled."""
    scores = {int(k): score for k, score in clustering.scores.items() if math.isfinite(score)}
    with style(name):
        figure = new_figure(360, 220)
        axes = axes_at(figure, 48, 8, 304, 172)
        for k, score in sorted(scores.items()):
            chosen = k == len(clustering.clusters)
            axes.bar(k, score, 0.6, facecolor=PALETTE[0] if chosen else "white", edgecolor=PALETTE[0])
            if len(scores) <= 10:
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
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        if len(scores) == 1:
            axes.set_xlim(min(scores) - 1.5, min(scores) + 1.5)
        axes.set_xlabel("number of clusters, k")
        axes.set_ylabel("silhouette score")
        axes.margins(y=0.15)
        axes.grid(True, axis="y")
        return svg_text(figure, name)


def class_shares(routing: Routing, classes: Sequence[str], order: Sequence[int], name: str) -> str:
    """Fig 2 of the paper: one bar a class, split by the students that its test images were sent to, in percent.

    `order` holds the indices of the classes to draw.
    """
    share = 100 * np.nan_to_num(np.asarray(routing.share, dtype=float))
    home = {member: index for index, cluster in enumerate(routing.clusters) for member in cluster}
    # Half a bar of room between clusters shows which classes belong together.
    steps = [1.0 if home.get(one) == home.get(next_one) else 1.5 for one, next_one in itertools.pairwise(order)]
    places = np.cumsum([0.0, *steps])
    roomy = len(order) <= 30
    names = [shortened(classes[index], 20) for index in order]
    font = 9.5 if roomy else 8.0
    students = share.shape[1]
    top, left = 12 + 16.0 * math.ceil(students / 4), 8 + 0.6 * font * max(map(len, names))
    inner = (22 if roomy else 12) * (places[-1] + 1)
    with style(name):
        figure = new_figure(410, top + inner + 40)
        axes = axes_at(figure, left, top, 396 - left, inner)
        start = np.zeros(len(order))
        for student in range(students):
            width, colour = share[order, student], _student_colour(student, students)
            label = f"student {student + 1}"
            axes.barh(places, width, 0.82, left=start, color=colour, edgecolor="white", linewidth=0.6, label=label)
            for place, begin, value in zip(places, start, width, strict=True):
                if roomy and value >= 9:
                    middle = (begin + value / 2, place)
                    axes.text(*middle, f"{value:.0f}", ha="center", va="center", fontsize=9, color=on(colour))
            start += width
        axes.set_yticks(places, names, fontsize=font)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(places[-1] + 0.5, -0.5)
        axes.set_xlim(0, max(100.0, float(start.max())))
        axes.set_xlabel("share of the class's test images, %")
        axes.spines["left"].set_visible(False)
        figure.legend(
            loc="upper left", bbox_to_anchor=(0, 1), ncols=min(4, students), handlelength=1, columnspacing=1.4,
            borderaxespad=0, borderpad=0.2, labelspacing=0.35,
        )  # fmt: skip
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
        figure, axes = _matrix_axes([names[index] for index in order], axis)
        # The root brings out the errors, which are small beside the diagonal.
        image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="none", aspect="auto")
        _cells(axes, counts, "{:.0f}", share > 35)
        _colour_bar(figure, axes, image, "% of row", (0, 5, 20, 50, 100))
        return svg_text(figure, name)


def reliability_plot(reliability: Reliability, name: str) -> str:
    """Accuracy against mean confidence of the bins that hold images, and below how many images each holds."""
    columns = (reliability.confidence, reliability.accuracy, reliability.count)
    bins = [(confidence, accuracy, count) for confidence, accuracy, count in zip(*columns, strict=True) if count > 0]
    total = max(1, sum(count for _, _, count in bins))
    with style(name):
        figure = new_figure(220, 284)
        upper, lower = axes_at(figure, 44, 6, 168, 168), axes_at(figure, 44, 188, 168, 56)
        upper.plot((0, 100), (0, 100), color=MUTED, linestyle="--", linewidth=1)
        x = [100 * confidence for confidence, _, _ in bins]
        upper.plot(x, [100 * accuracy for _, accuracy, _ in bins], color=PALETTE[0], marker="o", markersize=4.5)
        lower.bar(
            x, [100 * count / total for _, _, count in bins], 70 / max(1, len(reliability.count)), color="#9aa5b1"
        )
        upper.set(xlim=(0, 103), ylim=(0, 103), ylabel="accuracy, %")
        lower.set(xlim=(0, 103), xlabel="confidence, %", ylabel="images, %")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3))
        upper.tick_params(labelbottom=False)
        for axes in (upper, lower):
            axes.xaxis.set_major_locator(FixedLocator(range(0, 101, 20)))
            axes.yaxis.set_label_coords(-32 / 168, 0.5)
            axes.grid(True)
        return svg_text(figure, name)


def _matrix_axes(names: Sequence[str], axis: tuple[str, str] = ("", "")) -> tuple[Figure, Axes]:
    """Square axes with names on both sides and room for a colour bar above; many names get a wider figure."""
    cell = max(7.0, min(72.0, 300 / max(1, len(names))))
    step = 1
    if cell * len(names) > 900:
        cell = 900 / len(names)
        step = math.ceil(7 / cell)
    shown = [shortened(item, 16) for item in names]
    font = min(9.5, max(6.0, cell * 0.9))
    margin = 14 + 0.6 * font * max(map(len, shown), default=0)
    turned = margin > cell + 16
    left = margin + (18 if axis[0] else 0)
    below = (margin if turned else 20) + (18 if axis[1] else 0)
    side = cell * len(names)
    figure = new_figure(left + side + 24, 48 + side + below)
    axes = axes_at(figure, left, 48, side, side)
    ticks = list(range(0, len(names), step))
    axes.set_yticks(ticks, shown[::step], fontsize=font)
    axes.set_xticks(ticks, shown[::step], fontsize=font, rotation=90 if turned else 0)
    axes.tick_params(length=0)
    axes.set_ylabel(axis[0])
    axes.set_xlabel(axis[1])
    axes.yaxis.set_label_coords(-(left - 15) / side, 0.5)
    axes.xaxis.set_label_coords(0.5, -(below - 12) / side)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes


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


def _colour_bar(figure: Figure, axes: Axes, image: Any, label: str, ticks: Sequence[float]) -> None:
    width = 72 * figure.get_figwidth()
    place = axes.get_position()
    long = min(220.0, place.width * width)
    bar = figure.colorbar(
        image, cax=axes_at(figure, place.x0 * width, 20, long, 8), orientation="horizontal", ticks=ticks
    )
    bar.outline.set_visible(False)
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=8.5)
    bar.ax.set_title(label, fontsize=9, loc="left", pad=3)


def _student_colour(student: int, students: int) -> str:
    if students <= len(PALETTE):
        return PALETTE[student]
    return mpl.colors.to_hex(mpl.colormaps["viridis"](student / (students - 1)))


def on(colour: str) -> str:
    """Black or white, whichever reads better on this colour (relative luminance after WCAG 2)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in mpl.colors.to_rgb(colour)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if luminance > 0.24 else "white"
