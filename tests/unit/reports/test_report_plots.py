"""Every figure is well-formed SVG that stands alone, and shows the numbers it was given."""

import functools
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import pytest
from example_results import example_results
from moist.reports import plots
from moist.reports.cost_plot import accuracy_against_cost, cascade_curves, second_looks
from moist.reports.peers import PEERS
from moist.reports.results import Curve, Reliability

RESULTS = example_results()
CLASSES = RESULTS.data.classes
MIXTURE = RESULTS.rows[2]
ROUTING = MIXTURE.routing
ORDER = [0, 8, 1, 9, 2, 3, 4, 5, 6, 7]
FIGURES: dict[str, Callable[[str], str]] = {
    "cost": lambda name: accuracy_against_cost(RESULTS, name),
    "cascades": lambda name: cascade_curves(RESULTS, name),
    "second looks": lambda name: second_looks(RESULTS, name),
    "curve": lambda name: plots.training_curve(RESULTS.curves[0], name),
    "similarity": lambda name: plots.similarity_matrix(RESULTS.clustering, CLASSES, name),
    "scores": lambda name: plots.silhouette_scores(RESULTS.clustering, name),
    "shares": lambda name: plots.class_shares(ROUTING, CLASSES, ORDER, name),
    "confusion": lambda name: plots.confusion_matrix(MIXTURE.confusion, CLASSES, ORDER, ("true", "predicted"), name),
    "reliability": lambda name: plots.reliability_plot(MIXTURE.reliability, name),
}


@functools.cache
def drawn(kind: str, name: str) -> str:
    return FIGURES[kind](name)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("kind", FIGURES)
def test_figures_are_repeatable_self_contained_svg(kind: str) -> None:
    svg = drawn(kind, "one")
    assert svg == FIGURES[kind]("one")
    root = ElementTree.fromstring(svg)
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    assert "nan" not in svg.lower()
    addresses = re.findall(r"\w+://[^\"<]*", svg)
    assert set(addresses) == {"http://www.w3.org/2000/svg"}
    assert not {"style", "metadata", "script"} & {element.tag.split("}")[1] for element in root.iter()}


@pytest.mark.parametrize("kind", FIGURES)
def test_two_figures_of_one_page_share_no_id(kind: str) -> None:
    first, second = (set(re.findall(r'\bid="([^"]+)"', drawn(kind, name))) for name in ("one", "two"))
    assert first
    assert not first & second
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn(kind, "one")))
    assert referred == first


def test_cost_plot_labels_every_model_without_overlap() -> None:
    svg = accuracy_against_cost(RESULTS, "one")
    words = " ".join(texts(svg))
    for row in RESULTS.rows:
        assert f"{100 * row.accuracy:.1f} {row.label.split(',')[0].split()[0]}" in words
    crowded = [row.model_copy(update={"accuracy": 0.8, "macs": 1e7}) for row in RESULTS.rows] * 2
    svg = accuracy_against_cost(RESULTS.model_copy(update={"rows": crowded}), "one")
    places = re.findall(r"<text [^>]*translate\(([\d.]+) ([\d.]+)\)", svg) + re.findall(
        r'<text [^>]*x="([\d.]+)" y="([\d.]+)"', svg
    )
    labels = sorted(float(y) for x, y in places if float(x) > 260)
    assert len(labels) > len(crowded)
    assert min(np.diff(labels)) > 9, "text 9.5 pixels high"
    assert labels[0] > 0
    assert labels[-1] < float(ElementTree.fromstring(svg).attrib["height"])


def test_cascades_are_drawn_for_the_rows_that_have_one() -> None:
    words = " ".join(texts(cascade_curves(RESULTS, "one")))
    assert all(label in words for label in ("MoIST, CNN router", "same training budget"))
    assert "teacher, ResNet-18" not in words


def test_second_looks_are_single_students_with_the_mixture_beside_them() -> None:
    words = " ".join(texts(second_looks(RESULTS, "one")))
    assert all(label in words for label in ("MoIST, CNN router", "same training budget", "distilled student"))
    assert not any(label in words for label in ("teacher, ResNet-18", "100 % router"))


def test_published_networks_stand_beside_cifar_only() -> None:
    on_cifar = " ".join(texts(accuracy_against_cost(RESULTS, "one")))
    for peer in PEERS:
        assert f"{100 * peer.accuracy:.1f} {peer.name.split()[0]}" in on_cifar
        assert peer.source.count("https://") == 1
        assert 0 < peer.accuracy < 1 < peer.macs
    other = RESULTS.model_copy(update={"data": RESULTS.data.model_copy(update={"name": "digits"})})
    assert "ResNet-20" not in " ".join(texts(accuracy_against_cost(other, "one")))


def test_the_peer_of_known_layers_costs_what_they_do() -> None:
    """MLPerf Tiny's ResNet-8: stem and three stacks of one block, at 32, 16 and 8 pixels."""
    macs = 32 * 32 * 9 * 3 * 16 + 2 * 32 * 32 * 9 * 16 * 16
    for side, before, after in ((16, 16, 32), (8, 32, 64)):
        macs += side * side * (9 * before * after + 9 * after * after + before * after)
    assert PEERS[0].macs == pytest.approx(macs + 64 * 10, rel=1e-3)


def test_similarity_is_in_cluster_order() -> None:
    words = texts(plots.similarity_matrix(RESULTS.clustering, CLASSES, "one"))
    assert [word for word in words if word in CLASSES][:10] == [CLASSES[index] for index in ORDER]
    assert f"{RESULTS.clustering.similarity[0][8]:.2f}" in words


def test_confusion_shows_the_counts_in_order() -> None:
    words = texts(plots.confusion_matrix([[7, 1], [2, 90]], ["a", "b"], [1, 0], ("true", "predicted"), "one"))
    assert [word for word in words if word in ("7", "1", "2", "90")] == ["90", "2", "1", "7"]


def test_names_are_escaped_and_never_read_as_formulas() -> None:
    names = ["<script>", "$\\frac{$", "a\x00b", "\ud800", "猫", "&amp;", "x" * 200, '" id="', "#one", ""]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = plots.class_shares(ROUTING, names, ORDER, "one")
    assert "<script" not in svg
    words = texts(svg)
    for name in ("<script>", "$\\frac{$", "猫", "&amp;", '" id="', "#one"):
        assert name in words
    assert max(map(len, words)) < 60


def test_curves_of_odd_lengths_are_drawn() -> None:
    series = {"loss": [1.0], "router_loss": [0.5, float("nan"), 0.2], "learning_rate": [], "accuracy": [0.5]}
    words = texts(plots.training_curve(Curve(stage="s", series=series), "one"))
    assert {"loss", "router loss", "rate", "accuracy, %", "epoch"} <= set(words)


def test_empty_bins_are_left_out() -> None:
    empty = Reliability(confidence=[0.0, 0.9], accuracy=[float("nan"), 0.8], count=[0, 3], ece=0.1)
    assert "nan" not in plots.reliability_plot(empty, "one").lower()
