"""The report of a run: one HTML file that needs nothing else, neither network nor script."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from moist.reports import plots
from moist.reports.cost_plot import accuracy_against_cost, cascade_curves, published, second_looks
from moist.reports.documents import Drawing, Table, document
from moist.reports.labels import (
    class_order,
    column,
    fewer_macs,
    fixed,
    ordered_rows,
    printable,
    row_label,
    shortened,
)
from moist.reports.peers import PEERS
from moist.reports.results import Reliability, Results, Routing, Row
from moist.reports.table import HEADINGS, PAPER_HEADINGS, PAPER_KEY, paper_lines, table_lines
from moist.reports.verdict import caveat, verdicts

LINEAGE_FIRST = ("name", "stage", "uri", "digest", "code version", "seconds", "parameters")


def html_report(results: Results) -> str:
    """The report as the text of one HTML document; the same results give the same text."""
    return document("report.html", _context(results))


def _context(results: Results) -> dict[str, Any]:
    draw = Drawing()
    classes = [printable(name) for name in results.data.classes]
    rows = ordered_rows(results)
    return {
        "data": results.data,
        "results": results,
        "verdicts": verdicts(results),
        "caveat": caveat(results),
        "headline": _headline_table(results),
        "rows": rows,
        "label": row_label,
        "notes": [(row_label(row), printable(row.note)) for row in rows if row.note],
        "cost_figure": draw(
            "Accuracy on the held-out images against multiply-adds per image (log scale, router included). Up and to "
            "the left is better. Bars: one binomial standard error.",
            "Scatter plot of the models in the table above: accuracy in percent against million multiply-adds.",
            accuracy_against_cost,
            results,
        ),
        "cascades": draw(
            "Asking the teacher about the images of which a model is least sure: accuracy against the mean cost of an "
            "image, from nobody asked (left end) to all of them (right end: the teacher's accuracy, at both costs).",
            "Line plot: accuracy in percent against mean million multiply-adds, one line a model.",
            cascade_curves,
            results,
        )
        if any(row.cascade for row in rows)
        else None,
        "looks": draw(
            "Looking again: a single student that averages in its answer to the mirrored image where it is least sure, "
            "on none of the images (left end) to all of them. A mixture is worth its cost where it lies above.",
            "Line plot: accuracy in percent against mean million multiply-adds, a line a student, a point a mixture.",
            second_looks,
            results,
        )
        if any(row.second_look for row in rows)
        else None,
        "paper": _paper_table(results),
        "paper_key": PAPER_KEY,
        "peers": [(peer.name, peer.source) for peer in PEERS] if published(results.data.name) else [],
        "inference": _inference_table(results),
        "training": _training_table(results),
        "latency": _latency_table(results),
        "curves": [
            draw(
                curve.stage,
                f"Training curves of {printable(curve.stage)}: {', '.join(map(printable, curve.series))} by epoch.",
                plots.training_curve,
                curve,
            )
            for curve in results.curves
            if any(curve.series.values())
        ],
        "clustering": results.clustering,
        "clusters": [", ".join(classes[index] for index in cluster) for cluster in results.clustering.clusters],
        "similarity": draw(
            "Cosine similarity of the classes' mean teacher logits (centred). A frame holds the classes of one "
            "student, whose number stands at the right.",
            "Matrix of class similarities, ordered by cluster.",
            plots.similarity_matrix,
            results.clustering,
            classes,
        ),
        "scores": draw(
            "Silhouette score of each number of clusters considered; the one in use is filled.",
            "Bar chart: " + ", ".join(f"k = {k}: {fixed(v, 3)}" for k, v in results.clustering.scores.items()) + ".",
            plots.silhouette_scores,
            results.clustering,
        )
        if results.clustering.scores
        else None,
        "mixtures": [
            _mixture(row, row.routing, classes, draw)
            for row in rows
            if row.role == "mixture" and row.routing and not row.swept
        ],
        "confusions": [
            draw(
                f"{row_label(row)}: test images by true and predicted class, in the clusters' order.",
                f"Confusion matrix of {row_label(row)}, accuracy {100 * row.accuracy:.2f} percent.",
                plots.confusion_matrix,
                row.confusion,
                classes,
                class_order(len(classes), results.clustering.clusters),
                ("true class", "predicted class"),
            )
            for row in reversed(rows)
            if row.role in ("mixture", "teacher") and not row.swept
        ],
        "reliability": [
            draw(
                label,
                f"Reliability plot of {label}: accuracy against confidence, and images in each bin.",
                plots.reliability_plot,
                measured,
                note=f"expected calibration error {fixed(measured.ece, 3)}",
            )
            for label, measured in _calibrations([row for row in rows if not row.swept])
        ],
        "lineage": _lineage_table(results),
    }


def _mixture(row: Row, routing: Routing, classes: Sequence[str], draw: Drawing) -> dict[str, Any]:
    students = [f"student {index + 1}" for index in range(len(routing.clusters))]
    return {
        "label": row_label(row),
        "routing": routing,
        "shares": [
            draw(
                "Share of each class's test images sent to each student (Fig. 2 of the paper).",
                f"Stacked bars, one a class: shares of the {len(students)} students in percent.",
                plots.class_shares,
                routing,
                classes,
                part,
            )
            for part in _parts(class_order(len(classes), routing.clusters))
        ],
        "confusion": draw(
            "Router: test images by the student that holds their class and the student that they were sent to.",
            f"Confusion matrix of the router, accuracy {100 * routing.r:.2f} percent.",
            plots.confusion_matrix,
            routing.confusion,
            students,
            range(len(students)),
            ("true cluster", "chosen student"),
        ),
    }


def _parts(order: Sequence[int]) -> list[Sequence[int]]:
    """The classes in runs of about equal length, at most fifty, so that no figure becomes a long ribbon."""
    length = math.ceil(len(order) / max(1, math.ceil(len(order) / 50))) or 1
    return [order[start : start + length] for start in range(0, len(order), length)]


def _calibrations(rows: Sequence[Row]) -> list[tuple[str, Reliability]]:
    models = [(row_label(row), row.reliability) for row in rows if row.role != "upper bound"]
    routers = [
        (f"router of {row_label(row)}", row.routing.reliability)
        for row in rows
        if row.routing is not None and row.role == "mixture"
    ]
    return models + routers


def _marks(results: Results) -> list[str]:
    return [row.role.replace(" ", "-") for row in ordered_rows(results)]


def _headline_table(results: Results) -> Table:
    headings = ["model", *(" ".join(filter(None, heading)) for heading in HEADINGS)]
    return Table(headings, [[line.label, *line.cells] for line in table_lines(results)], _marks(results))


def _paper_table(results: Results) -> Table | None:
    """Beside Table I; None for data that the paper did not measure on."""
    headings = ["model", *(" ".join(filter(None, heading)) for heading in PAPER_HEADINGS)]
    lines = paper_lines(results)
    return Table(headings, [[line.label, *line.cells] for line in lines], _marks(results)) if lines else None


def _inference_table(results: Results) -> Table:
    rows = ordered_rows(results)
    teacher = next((row for row in rows if row.role == "teacher"), None)
    claimed = [teacher.paper_mflops / row.paper_mflops if teacher and row.paper_mflops > 0 else None for row in rows]
    columns = [
        [row_label(row) for row in rows],
        column([row.router_macs / 1e6 if row.router_macs else None for row in rows], 3),
        column([(row.macs - row.router_macs) / 1e6 for row in rows], 3),
        column([row.macs / 1e6 for row in rows], 3),
        [fixed(fewer_macs(row, results), 1) for row in rows],
        column([row.paper_mflops for row in rows], 3),
        [fixed(value, 1) for value in claimed],
    ]
    headings = [
        "model", "router", "students or network", "together", "x fewer", "as the paper counts", "x fewer so counted",
    ]  # fmt: skip
    return Table(headings, list(zip(*columns, strict=True)), _marks(results))


def _training_table(results: Results) -> Table:
    rows = ordered_rows(results)
    columns = [
        [row_label(row) for row in rows],
        [f"{row.parameters:,}" for row in rows],
        [f"{row.epochs:g}" for row in rows],
        column([row.training_macs / 1e12 for row in rows], 3),
    ]
    headings = ["model", "parameters", "epochs, all parts", "training, 10¹² forward multiply-adds"]
    return Table(headings, list(zip(*columns, strict=True)), _marks(results))


def _latency_table(results: Results) -> Table:
    rows = ordered_rows(results)
    sizes = sorted({latency.batch_size for row in rows for latency in row.latency})
    headings, columns = ["model"], [[row_label(row) for row in rows]]
    for size, (statistic, title) in itertools.product(sizes, (("median_ms", "median"), ("p95_ms", "95th percentile"))):
        headings.append(f"batch {size}, {title}")
        measured = [{latency.batch_size: getattr(latency, statistic) for latency in row.latency} for row in rows]
        columns.append(column([values.get(size) for values in measured], 3))
    return Table(headings, list(zip(*columns, strict=True)), _marks(results))


def _lineage_table(results: Results) -> Table:
    known = dict.fromkeys(key for entry in results.lineage for key in entry)
    keys = [key for key in LINEAGE_FIRST if key in known] + [key for key in known if key not in LINEAGE_FIRST]
    return Table(
        [shortened(key, 40) for key in keys],
        [[printable(entry.get(key, "")) for key in keys] for entry in results.lineage],
        numbers=False,
    )
