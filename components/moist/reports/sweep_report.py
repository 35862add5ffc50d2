"""The report of a sweep: one HTML file that needs nothing else, neither network nor script."""

from collections.abc import Sequence
from typing import Any

from moist.reports.cost_plot import published
from moist.reports.documents import Drawing, Table, document
from moist.reports.labels import printable
from moist.reports.mode_tables import claims_table
from moist.reports.peers import PEERS
from moist.reports.sweep import SweepComparison
from moist.reports.sweep_plots import all_points, line_plot
from moist.reports.sweep_tables import TITLES, caveat, differences, line_table, reference_table, why


def sweep_report(comparison: SweepComparison, lineage: Sequence[tuple[str, str, str]]) -> str:
    """The report as the text of one HTML document; `lineage` is task, digest and seconds of what was compared."""
    return document("sweep_report.html", _context(comparison, lineage))


def _context(comparison: SweepComparison, lineage: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    draw = Drawing()
    broken = [claim for claim in comparison.claims if claim.verdict == "does not hold"]
    open_ = [claim for claim in comparison.claims if claim.verdict == "not settled"]
    peers = PEERS if published(comparison.data.name) else ()
    return {
        "data": comparison.data,
        "comparison": comparison,
        "caveat": caveat(comparison),
        "claims": claims_table(comparison.claims),
        "holding": len(comparison.claims) - len(broken) - len(open_),
        "broken": broken,
        "open": open_,
        "references": reference_table(comparison),
        "differences": differences(comparison),
        "cost": draw(
            "Every model of the sweep: mean accuracy against multiply-adds per image (log scale, router included); up "
            "and to the left is better. Small marks are the sweep’s other points; bars are one standard deviation.",
            "Scatter plot of all models: accuracy in percent against million multiply-adds.",
            all_points,
            comparison,
        ),
        "peers": [(peer.name, peer.source) for peer in peers],
        "lines": [
            {
                "along": line.along,
                "title": TITLES[line.along],
                "table": line_table(comparison, line),
                "why": why(comparison, line),
                "plot": draw(
                    "Above: mean accuracy, bars of one standard deviation, a pale dot a seed; dashed and dotted, what "
                    "it is read against. Below: cost with the router, and as the paper counts it.",
                    f"{TITLES[line.along]}: accuracy in percent, and million multiply-adds.",
                    line_plot,
                    comparison,
                    line,
                ),
                "clusters": [
                    (point.k, [", ".join(map(printable, members)) for members in point.clusters])
                    for point in line.points
                ]
                if line.along == "k"
                else [],
            }
            for line in comparison.lines
        ],
        "lineage": Table(["results of", "digest", "seconds"], [list(entry) for entry in lineage], numbers=False),
        "settings": Table(
            ["stage’s output", "settings"], [list(entry) for entry in comparison.parameters.items()], numbers=False
        ),
    }
