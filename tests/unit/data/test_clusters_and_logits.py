"""Classes grouped by mean logits, and the teacher's logits in their folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from moist.data import clusters, logits
from moist.errors import DamagedArtifactError, InputError

# Three groups that are far apart: {0, 3}, {1, 4, 5}, {2}.
GROUPS = [[0, 3], [1, 4, 5], [2]]


def means() -> np.ndarray:
    centre = np.zeros((6, 6))
    for number, group in enumerate(GROUPS):
        centre[group, number] = 10
    return centre + 0.1 * np.random.default_rng(0).normal(size=(6, 6))


def test_a_given_k_partitions_the_classes() -> None:
    for k in range(2, 7):
        found = clusters.cluster(means(), k=k, max_k=8, seed=0)
        assert len(found.clusters) == k
        assert all(found.clusters)
        assert sorted(label for group in found.clusters for label in group) == list(range(6))


def test_k_is_chosen_by_the_silhouette() -> None:
    found = clusters.cluster(means(), k=0, max_k=8, seed=0)
    assert found.clusters == GROUPS
    assert max(found.scores, key=lambda k: found.scores[k]) == "3"
    assert list(found.scores) == ["2", "3", "4", "5"]
    assert found.student_of_class.tolist() == [0, 1, 2, 0, 1, 1]


def test_one_cluster_has_all_classes() -> None:
    found = clusters.cluster(means(), k=1, max_k=8, seed=0)
    assert found.clusters == [[0, 1, 2, 3, 4, 5]]
    assert found.scores["1"] == 0


@pytest.mark.parametrize("k", [-1, 7])
def test_an_impossible_k_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"k={k} is not possible for 6 classes; it must be 1 to 6"):
        clusters.cluster(means(), k=k, max_k=8, seed=0)


def test_two_classes_are_two_clusters() -> None:
    found = clusters.cluster(np.array([[1.0, 0.0], [0.0, 1.0]]), k=0, max_k=8, seed=0)
    assert found.clusters == [[0], [1]]


def test_classes_the_teacher_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(InputError, match="lower k"):
        clusters.cluster(np.ones((4, 4)), k=3, max_k=8, seed=0)


def test_similarity_is_one_on_the_diagonal() -> None:
    found = clusters.cluster(means(), k=3, max_k=8, seed=0)
    assert np.diag(np.array(found.similarity)) == pytest.approx(1)


def test_clusters_come_back_and_a_partition_of_other_classes_is_refused(tmp_path: Path) -> None:
    found = clusters.cluster(means(), k=3, max_k=8, seed=0)
    clusters.save(tmp_path, found, tuple("abcdef"))
    assert clusters.load(tmp_path, 6) == found
    with pytest.raises(DamagedArtifactError, match="each of the 10 classes"):
        clusters.load(tmp_path, 10)
    content = json.loads((tmp_path / "clusters.json").read_text())
    content["clusters"] = [[0, 1], [2], []]
    (tmp_path / "clusters.json").write_text(json.dumps(content))
    with pytest.raises(DamagedArtifactError):
        clusters.load(tmp_path, 3)


def save_logits(folder: Path) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(3, 8, 2)).astype(np.float32)
    logits.save(folder, values, np.arange(8) % 2, ("x", "y"), view_seed=7)
    return values


def test_logits_come_back_as_half_precision(tmp_path: Path) -> None:
    values = save_logits(tmp_path)
    found = logits.load(tmp_path)
    assert found.views == 2
    assert found.view_seed == 7
    assert np.array_equal(found.values, values.astype(np.float16))
    assert found.class_means()[1] == pytest.approx(values[0, 1::2].astype(np.float16).astype(float).mean(0))


def test_the_same_logits_are_the_same_bytes(tmp_path: Path) -> None:
    save_logits(tmp_path / "a")
    save_logits(tmp_path / "b")
    for name in ("logits.safetensors", "logits.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_truncated_logits_are_refused(tmp_path: Path) -> None:
    save_logits(tmp_path)
    path = tmp_path / "logits.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamagedArtifactError, match="rerun train_teacher"):
        logits.load(tmp_path)
