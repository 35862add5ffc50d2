"""python -m moist.stages.cluster_logits.program --logits IN --k 3 --clusters OUT --view OUT --metrics OUT"""

from pathlib import Path

from moist.data import clusters as class_clusters
from moist.data import logits as stored_logits
from moist.reports.pages import clustering_page
from moist.reports.results import Clustering
from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main
from moist.stages.cluster_logits.settings import STAGE, Settings


def cluster_logits(settings: Settings, *, logits: Path, clusters: Path, view: Path, metrics: Path) -> Metadata:
    """Cluster the classes' mean logits; with k = 0 take the k with the best silhouette score."""
    teacher = stored_logits.load(logits)
    found = class_clusters.cluster(teacher.class_means(), k=settings.k, max_k=settings.max_k, seed=settings.seed)
    class_clusters.save(clusters, found, teacher.classes)
    summary = Clustering.model_validate(found.__dict__)
    view.write_text(clustering_page(summary, list(teacher.classes)), "utf-8")
    facts = {
        "k": len(found.clusters),
        "silhouette": found.scores[str(len(found.clusters))],
        "criterion": found.criterion,
    }
    write_json(metrics / "metrics.json", {**facts, "scores": found.scores})
    named = {
        f"cluster_{i}": ", ".join(teacher.classes[label] for label in members)
        for i, members in enumerate(found.clusters)
    }
    return {"clusters": {**facts, **named}, "metrics": {key: facts[key] for key in ("k", "silhouette")}}


if __name__ == "__main__":
    main(STAGE, cluster_logits)
