"""Small HTML pages that one stage writes, for the Kubeflow UI: training curves, and how classes were grouped."""

from collections.abc import Sequence

from markupsafe import Markup

from moist.reports import plots
from moist.reports.documents import document
from moist.reports.labels import printable
from moist.reports.results import Clustering, Curve


def curves_page(curve: Curve) -> str:
    """One stage's training curves and their last values as a self-contained HTML document."""
    if not curve.series:
        return _page(f"{curve.stage}: training curves", ["No epochs, so nothing was trained."], [])
    last = [f"{name.replace('_', ' ')} {values[-1]:.4f}" for name, values in curve.series.items() if values]
    epochs = max(len(values) for values in curve.series.values())
    drawing = plots.training_curve(curve, "curves")
    return _page(f"{curve.stage}: training curves", [f"After {epochs} epochs: {', '.join(last)}."], [drawing])


def clustering_page(clustering: Clustering, classes: Sequence[str]) -> str:
    """Which class went to which student, and the similarities behind it, as a self-contained HTML document."""
    groups = [
        f"Student {student}: {', '.join(printable(classes[label]) for label in members)}"
        for student, members in enumerate(clustering.clusters, start=1)
    ]
    drawings = [plots.similarity_matrix(clustering, [printable(name) for name in classes], "similarity")]
    if len(clustering.scores) > 1:
        drawings.append(plots.silhouette_scores(clustering, "scores"))
    return _page("Classes grouped by the teacher's mean logits", [clustering.criterion + ".", *groups], drawings)


def _page(title: str, lines: Sequence[str], drawings: Sequence[str]) -> str:
    figures = [Markup(drawing) for drawing in drawings]
    return document("page.html", {"title": title, "lines": lines, "figures": figures})
