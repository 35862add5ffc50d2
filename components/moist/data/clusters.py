"""Classes grouped by how alike a teacher finds them: k-means on mean logits, and the folder that keeps the result."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from moist.errors import DamagedArtifactError, InputError

STARTS = 20


@dataclass(frozen=True)
class ClassClusters:
    """A partition of the classes, no part empty, and the evidence for it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    mean_logits: list[list[float]]
    similarity: list[list[float]]
    clusters: list[list[int]]
    criterion: str
    scores: dict[str, float]

    @property
    def student_of_class(self) -> npt.NDArray[np.int64]:
        """Which student's cluster holds each class: int64 (classes,)."""
        found = np.empty(sum(map(len, self.clusters)), np.int64)
        for student, members in enumerate(self.clusters):
            found[members] = student
        return found


def cluster(means: npt.NDArray[np.float64], *, k: int, max_k: int, seed: int) -> ClassClusters:
    """Group classes by k-means on their mean logit vectors, (classes, classes).

    Args:
        k: number of clusters, 1 to the number of classes; 0 takes the k from 2 to `max_k` with the best mean silhouette
            (Rousseeuw 1987), the smaller one on a tie.

    Raises:
        InputError: for a k below 0 or above the number of classes.
    """
    classes = len(means)
    if not 0 <= k <= classes:
        raise InputError(f"k={k} is not possible for {classes} classes; it must be 1 to {classes}, or 0 to choose it.")
    if classes < 2:
        raise InputError(f"There are {classes} classes; at least 2 are needed to group them.")
    distinct = len(np.unique(means, axis=0))
    if distinct < max(k, 2):
        raise InputError(
            f"The teacher tells only {distinct} of {classes} classes apart, too few for {max(k, 2)} clusters; train it "
            "longer, or lower k."
        )
    # The silhouette is defined for at most classes - 1 clusters; two classes can only be two clusters.
    candidates = range(2, min(max_k, classes - 1, distinct) + 1) or range(2, 3)
    labels = {count: _k_means(means, count, seed) for count in {*candidates, *([k] if k else [])}}
    scores = {count: _silhouette(means, labels[count]) for count in sorted(labels)}
    chosen = k or max(candidates, key=lambda count: (scores[count], -count))
    criterion = f"k = {k} was given" if k else f"k = {chosen} has the best mean silhouette of {_range(candidates)}"
    centred = means - means.mean(axis=0)
    norms = np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    similarity = np.clip((centred / norms) @ (centred / norms).T, -1, 1)
    groups = [np.flatnonzero(labels[chosen] == group).tolist() for group in range(chosen)]
    return ClassClusters(
        means.tolist(), similarity.tolist(), sorted(groups), criterion, {str(c): s for c, s in scores.items()}
    )


def _k_means(means: npt.NDArray[np.float64], k: int, seed: int) -> npt.NDArray[np.int64]:
    from sklearn.cluster import KMeans  # takes seconds to import, and only one stage needs it

    found = KMeans(k, n_init=STARTS, random_state=seed).fit(means)
    labels: npt.NDArray[np.int64] = found.labels_.astype(np.int64)
    return labels


def _silhouette(means: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Mean silhouette, -1 to 1; 0 where each class is a cluster of its own, as Rousseeuw defines it, or all are one."""
    from sklearn.metrics import silhouette_score

    if len(np.unique(labels)) in (1, len(means)):
        return 0.0
    return float(silhouette_score(means, labels))


def _range(candidates: range) -> str:
    return f"{candidates[0]} to {candidates[-1]}"


def save(folder: Path, found: ClassClusters, classes: tuple[str, ...]) -> None:
    """Write the partition and its evidence as `clusters.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"classes": list(classes), **asdict(found)}, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / "clusters.json").write_text(text + "\n", "utf-8")


def load(folder: Path, classes: int) -> ClassClusters:
    """Read a partition of so many classes.

    Raises:
        DamagedArtifactError: if it is missing, damaged, or not a partition of 0 .. classes-1 into non-empty parts.
    """
    try:
        content = json.loads((folder / "clusters.json").read_text("utf-8"))
        content.pop("classes")
        found = TypeAdapter(ClassClusters).validate_python(content)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError, ValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DamagedArtifactError(f"{folder} does not hold clusters ({reason}); rerun cluster_logits.") from None
    members = sorted(label for group in found.clusters for label in group)
    if members != list(range(classes)) or not all(found.clusters):
        raise DamagedArtifactError(
            f"{folder}: {found.clusters} does not put each of the {classes} classes into exactly one cluster; "
            "are the clusters from another data set?"
        )
    return found
