"""The figures of the MoDE report, each as the text of one SVG element, in the style of the other reports."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray

from moist.mode.comparison import Choice, Comparison, accuracies
from moist.mode.results import NarrowVision, VariantResults
from moist.mode.statistics import Paired
from moist.reports.labels import printable, shortened
from moist.reports.plots import PALETTE, on
from moist.reports.svg import MUTED, axes_at, new_figure, style, svg_text

GATES = {"dense": ("o", PALETTE[0]), "sparse": ("D", PALETTE[1])}


def differences(comparison: Comparison, name: str) -> str:
    """MoDE − MoE in points with its 95% interval: one line a table and mixture; right of 0 is better."""
    entries = [(line.table, choice) for line in comparison.lines for choice in line.choices]
    labels = [f"{shortened(table, 20)}: {_short(choice)}" for table, choice in entries]
    left, inner = 14 + 5.6 * max(map(len, labels)), 24.0 * len(entries) + 8
    with style(name):
        figure = new_figure(left + 300, inner + 48)
        axes = axes_at(figure, left, 6, 280, inner)
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, (_, choice) in enumerate(entries):
            marker, colour = GATES[choice.architecture.gate]
            gain = choice.difference
            if gain.low is not None and gain.high is not None:
                axes.plot((100 * gain.low, 100 * gain.high), (place, place), color=colour, linewidth=2)
            axes.plot(100 * gain.mean, place, marker, color=colour, markersize=7, markeredgecolor="white")
        axes.set_yticks(range(len(entries)), labels)
        axes.set_ylim(len(entries) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(True, axis="x")
        axes.set_xlabel("MoDE − MoE, points of accuracy")
        return svg_text(figure, name)


def strengths(variant: VariantResults, name: str) -> str:
    """Fig 4: mean accuracy (%) at every alpha; bars are the 95% interval of the paired difference to alpha 0."""
    alphas = sorted(variant.alphas)
    plain = accuracies(variant, 0.0)
    means = {alpha: 100 * float(np.mean(accuracies(variant, alpha))) for alpha in alphas}
    with style(name):
        figure = new_figure(400, 250)
        axes = axes_at(figure, 50, 8, 340, 196)
        axes.axhline(means[0.0], color=MUTED, linewidth=1, linestyle="--")
        axes.plot(range(len(alphas)), [means[alpha] for alpha in alphas], color=PALETTE[0], linewidth=1, alpha=0.6)
        for place, alpha in enumerate(alphas):
            gain = Paired.of(accuracies(variant, alpha), plain)
            if alpha > 0 and gain.low is not None and gain.high is not None:
                ends = [means[0.0] + 100 * gain.low, means[0.0] + 100 * gain.high]
                axes.plot((place, place), ends, color=PALETTE[0], linewidth=2)
            axes.plot(place, means[alpha], "o", color=PALETTE[0], markersize=7, markeredgecolor="white")
        axes.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.grid(True, axis="y")
        axes.set_xlabel("distillation strength α (0: MoE)")
        axes.set_ylabel("test accuracy, %")
        return svg_text(figure, name)


def domains(by_class: Sequence[Sequence[int]], classes: Sequence[str], name: str) -> str:
    """Fig 3: one bar a class, split by the expert that dominates its test rows, in percent. (experts, classes)"""
    counts = np.asarray(by_class, dtype=float)
    share = 100 * counts / np.maximum(counts.sum(axis=0), 1)
    names = [shortened(printable(each), 18) for each in classes]
    places = np.arange(len(names))
    return _shares(share, names, places, "share of the class's test rows, %", name, step=20 if len(names) <= 30 else 12)


def gradient_bars(measured: dict[float, NarrowVision], name: str) -> str:
    """Fig 1: for each alpha and subset, what part of the subset's gradient each expert gets, in percent."""
    experts = len(next(iter(measured.values())).share)
    rows = [(alpha, subset) for alpha in measured for subset in range(experts)]
    labels = [f"α {alpha:g}, subset of {subset + 1}" for alpha, subset in rows]
    share = np.array(
        [[100 * (measured[alpha].share[subset][expert] or 0) for alpha, subset in rows] for expert in range(experts)]
    )
    places = np.array([index + 0.5 * (index // experts) for index in range(len(rows))])
    return _shares(share, labels, places, "share of the subset's gradient, %", name, step=22, numbers=True)


def _shares(
    share: NDArray[np.floating],
    labels: Sequence[str],
    places: NDArray[np.number],
    meaning: str,
    name: str,
    *,
    step: float,
    numbers: bool = False,
) -> str:
    """Lying bars, `step` pixels apart, each split among the experts; `share` (experts, bars) in percent."""
    left, inner = 16 + 5.6 * max(map(len, labels)), step * (places[-1] + 1)
    with style(name):
        figure = new_figure(left + 252, inner + 66)
        axes = axes_at(figure, left, 22, 240, inner)
        start = np.zeros(len(labels))
        for expert, width in enumerate(share):
            colour = PALETTE[expert % len(PALETTE)]
            axes.barh(
                places, width, 0.82, left=start, color=colour, edgecolor="white", linewidth=0.6,
                label=f"expert {expert + 1}",
            )  # fmt: skip
            for place, begin, value in zip(places, start, width, strict=True):
                if numbers and value >= 12:
                    axes.text(
                        begin + value / 2, place, f"{value:.0f}", ha="center", va="center", fontsize=9, color=on(colour)
                    )
            start += width
        axes.set_yticks(places, labels, fontsize=9.5 if step > 12 else 8)
        axes.set_ylim(places[-1] + 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.xaxis.set_major_locator(FixedLocator((0, 25, 50, 75, 100)))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(meaning)
        figure.legend(
            loc="upper left", bbox_to_anchor=(0, 1), ncols=4, handlelength=1, columnspacing=1.4, borderaxespad=0,
            borderpad=0.2,
        )  # fmt: skip
        return svg_text(figure, name)


def own_share_by_epoch(measured: dict[float, NarrowVision], name: str) -> str:
    """Fig 1 over time: the share of a subset's gradient that its own expert gets, one line an alpha."""
    with style(name):
        figure = new_figure(360, 240)
        axes = axes_at(figure, 48, 8, 304, 186)
        for index, (alpha, one) in enumerate(measured.items()):
            values = [np.nan if value is None else 100 * value for value in one.own_share]
            axes.plot(
                one.epochs, values, ("-", "--", "-.", ":")[index % 4], color=PALETTE[index % len(PALETTE)],
                marker="o" if len(values) < 4 else "", label=f"α {alpha:g}",
            )  # fmt: skip
        axes.axhline(100 / len(next(iter(measured.values())).share), color=MUTED, linewidth=1, linestyle="--")
        epochs = next(iter(measured.values())).epochs
        axes.xaxis.set_major_locator(FixedLocator(epochs) if len(epochs) < 4 else MaxNLocator(integer=True, nbins=6))
        axes.grid(True)
        axes.legend(loc="center right")
        axes.set_xlabel("epoch")
        axes.set_ylabel("own expert's share, %")
        return svg_text(figure, name)


def _short(choice: Choice) -> str:
    model = choice.architecture
    return f"{model.gate} {model.experts}"
