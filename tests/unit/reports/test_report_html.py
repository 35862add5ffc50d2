"""The HTML report is one well-formed, self-contained, safe file with everything of the run in it."""

import re
from html.parser import HTMLParser

import pytest
from example_results import example_results
from moist.reports.html import html_report
from moist.reports.results import Results

SECTIONS = ["results", "cost", "clusters", "routing", "confusion", "calibration", "training", "data", "lineage", "run"]
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced and gathers ids, tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        self.ids += [value or "" for key, value in attrs if key == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def report() -> str:
    return html_report(example_results())


def test_it_is_balanced_and_has_every_section(report: str) -> None:
    page = Page(report)
    assert [tag for tag in page.ids if tag in SECTIONS] == SECTIONS
    assert len(page.ids) == len(set(page.ids)), "an id twice on the page"
    targets = {value[1:] for key, value in page.attributes if key == "href" and value[0] == "#"}
    assert targets <= set(page.ids)
    assert set(SECTIONS) <= targets


def test_it_needs_nothing_from_outside(report: str) -> None:
    page = Page(report)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    for key, value in page.attributes:
        if key in ("src", "href", "xlink:href", "srcset", "action"):
            assert value.startswith(("#", "data:image/png;base64,")), value
        assert not key.startswith("on")
    assert "@import" not in report
    assert not re.search(r"url\((?!#)", report)
    # Sources are named in the text; no element has an address to go to, and no style.
    assert {value for _, value in page.attributes if "://" in value} == {"http://www.w3.org/2000/svg"}
    assert not [style for style in re.findall(r"<style.*?</style>", report, re.DOTALL) if "://" in style]


def test_it_holds_the_numbers_of_the_run(report: str) -> None:
    results, text = example_results(), " ".join(Page(report).text.split())
    for row in results.rows:
        assert f"{100 * row.accuracy:.2f}" in text
        assert f"{row.parameters:,}" in text
        assert row.label in text
    assert text.count("control") >= 2
    assert "knows the label" in text
    assert "0.28 ± 0.55 points below the single student with the same training budget" in text
    for expected in ("8.698", "0.104", "83.7", "43.2", "0.907", "4,000 images", results.data.split, results.device):
        assert expected in text
    for entry in results.lineage:
        assert entry["uri"] in text
        assert entry["digest"] in text
    for package, version in results.versions.items():
        assert package in text
        assert version in text


def test_it_is_accessible(report: str) -> None:
    page = Page(report)
    assert page.tags.count("h1") == 1
    assert page.tags.count("figure") == page.tags.count("figcaption") == page.tags.count("svg") > 10
    alts = [value for key, value in page.attributes if key == "aria-label"]
    assert all(alts)
    assert report.count("<th") - report.count("<thead") == report.count('<th scope="')


def test_it_is_repeatable_and_free_of_nan(report: str) -> None:
    results = example_results(["a", "b"], k=2, curves=[])
    small = results.model_copy(update={"rows": results.rows[:1]})
    assert html_report(small) == html_report(small)
    assert not re.search(r"\bnan\b", report, re.IGNORECASE)
    assert not re.search(r"\bNone\b", Page(report).text)


def test_hostile_names_are_shown_not_obeyed() -> None:
    bad = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    results = example_results(classes=["<script>", bad, "</svg>", "</style>", "a&b"], k=2)
    document = results.model_dump()
    document["rows"] = [row | {"label": bad, "note": bad} for row in document["rows"]]
    document |= {"device": bad, "versions": {bad: bad}, "lineage": [{"name": bad, "uri": bad, bad: bad}]}
    document["data"] |= {"name": bad, "split": bad}
    document["curves"] = [{"stage": bad, "series": {bad: [1.0, 2.0]}}]
    document["clustering"]["criterion"] = bad
    page = Page(html_report(Results.model_validate(document)))
    assert not {"script", "img"} & set(page.tags)
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert page.tags.count("style") == 1
    assert page.text.count("<script>alert(1)</script>") >= 20
    assert "</svg>" in page.text


@pytest.mark.parametrize(("classes", "k"), [(2, 2), (100, 6)])
def test_few_and_many_classes(classes: int, k: int) -> None:
    names = [f"a rather long-winded class, number {index}" for index in range(classes)]
    page = Page(html_report(example_results(names, k=k, curves=[])))
    assert f"{classes} classes, {k} students" in page.text
    assert page.text.count(f"a rather long-winded class, number {classes - 1}") >= 1


def test_a_run_with_little_in_it_still_reads() -> None:
    results = example_results(curves=[], lineage=[])
    bare = results.model_copy(update={"rows": results.rows[:2]})
    text = Page(html_report(bare)).text
    assert "No mixture was measured." in text
    assert "No lineage was recorded." in text
    assert "No curves were recorded." in text
