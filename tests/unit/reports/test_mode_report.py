"""The MoDE report: whole, repeatable, safe, and plain about what does not hold."""

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from moist.mode.comparison import compare_results
from moist.mode.probing import Probe, probe_experts
from moist.mode.results import Architecture, NarrowVision, TableResults, VariantResults
from moist.reports.mode_report import Run, mode_report
from moist.reports.mode_tables import mode_text

ALPHAS = [0.0, 0.01, 0.1, 100.0]
HOSTILE = "<script>alert(1)</script>|\x1b[31m"
RUN = Run("a machine", {"python": "3"}, [("probe-experts-0", "sha256:0", "1.0")])


def probes(seed: int) -> list[Probe]:
    random = np.random.default_rng(seed)
    return [
        probe_experts(
            random.normal(size=(30, 3)),
            random.dirichlet((1, 1), 30),
            random.normal(size=(30, 2, 3)),
            random.integers(0, 3, 30),
        )
        for _ in range(3)
    ]


def table(name: str, classes: list[str], better: float) -> TableResults:
    base = [
        [plain, plain + better + wobble, plain + better, 0.3] for plain, wobble in ((0.8, 0), (0.81, 0.001), (0.82, 0))
    ]
    shared: dict[str, Any] = {"training": {"epochs": 3}, "alphas": ALPHAS, "seeds": [0, 1, 2], "test": base}
    return TableResults(
        table=name,
        rows=150,
        features=4,
        classes=classes,
        notes=[],
        variants=[
            VariantResults(
                architecture=Architecture(gate="dense", experts=experts, top_k=2, hidden=16),
                validation=base,
                kept_epoch=[[1] * 4] * 3,
                narrow_vision=[
                    NarrowVision(share=[[0.7, 0.3], [None, None]], own_share=[None, 0.5], epochs=[1, 6]) for _ in ALPHAS
                ],
                probes=[probes(seed) for seed in range(4)],
                seconds=1.0,
                **shared,
            )
            for experts in (2, 4)
        ],
    )


def report(*tables: TableResults) -> str:
    return mode_report(compare_results(tables, [0.01, 0.1]), tables, [0.0, 0.01, 100.0], RUN)


class Page(HTMLParser):
    """Collects tags and ids, and checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        self.links |= {str(found[name]) for name in ("href", "src") if found.get(name)}


def test_it_needs_nothing_from_elsewhere_and_its_links_lead_somewhere() -> None:
    page = Page(report(table("digits", ["0", "1", "2"], 0.02)))
    assert page.tags.isdisjoint({"script", "img", "link", "iframe"})
    assert len(page.ids) == len(set(page.ids))
    assert page.links
    for link in page.links:
        assert link.startswith("#")
        assert link[1:] in page.ids


def test_hostile_names_are_shown_not_obeyed() -> None:
    found = table(HOSTILE, [HOSTILE, "b", "$x$"], 0.02)
    text = report(found)
    assert "<script>" not in text
    assert "\x1b" not in text + mode_text(compare_results([found], [0.01]), [found], [0.0])


def test_it_is_repeatable_and_free_of_nan() -> None:
    one, two = (report(table("t", ["a", "b", "c"], 0.02), table("u", ["a", "b", "c"], 0.01)) for _ in range(2))
    assert one == two
    assert not re.search(r"\bnan\b", one, re.IGNORECASE)


@pytest.mark.parametrize(("better", "shown"), [(-0.05, True), (0.05, False)])
def test_what_does_not_hold_is_said_at_the_top(better: float, shown: bool) -> None:
    header = report(table("t", ["a", "b", "c"], better)).split("</header>")[0]
    assert ("MoDE is more accurate than MoE (dense gate, Table 3)" in header) == shown


def test_the_papers_figures_stand_beside_ours() -> None:
    text = report(table("mfeat-karhunen", ["a", "b", "c"], 0.02))
    for printed in ("93.80 ± 1.36", "95.43 ± 1.09", "96.25"):
        assert printed in text
