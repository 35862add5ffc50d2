"""`lineage`: every artifact traced through the store, laid out as here and as on a cluster; what is wrong is said."""

import os
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from moist.reports.lineage import Lineage, lineage_page, lineage_text
from moist.runtime.artifacts import InputRecord, Manifest
from moist.runtime.contract import execute
from moist.runtime.lineage import artifacts_under, trace
from moist.runtime.local_store import BUCKET, store
from moist.runtime.runs import find_artifact
from moist.runtime.stage import StageSettings
from moist.runtime.store import Store
from moist.runtime.task import InputReference, Task
from small_stages.numbers.program import numbers
from small_stages.numbers.settings import STAGE as NUMBERS
from small_stages.scale.program import scale
from small_stages.scale.settings import STAGE as SCALE
from small_stages.total.program import total
from small_stages.total.settings import STAGE as TOTAL

UUIDS = {
    "numbers": "0a1b2c3d-0a1b-4c3d-8e9f-000000000001",
    "scale": "0a1b2c3d-0a1b-4c3d-8e9f-000000000002",
    "total": "0a1b2c3d-0a1b-4c3d-8e9f-000000000003",
}
Layout = Callable[[str, str, str], str]


def local(run: str, task: str, output: str) -> str:
    return f"s3://{BUCKET}/runs/{run}/{task}/{output}"


def kubeflow(run: str, task: str, output: str) -> str:
    return f"minio://{BUCKET}/v2/artifacts/small/{run}/{task}/{UUIDS[task]}/{output}"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "MOIST_")):
                patch.delenv(name)
        with store(tmp_path_factory.mktemp("store")) as served:
            for name, value in served.items():
                patch.setenv(name, value)
            opened = Store.from_environment()
            opened.ensure_bucket(BUCKET)
            yield opened


def run_all(layout: Layout, run: str, numbers_from: str | None = None) -> None:
    """The three tasks by the product's own contract; with `numbers_from` the first one is served from another run."""

    def task(name: str, settings: StageSettings, inputs: dict[str, str], outputs: list[str]) -> Task:
        given = {port: [InputReference(uri)] for port, uri in inputs.items()}
        return Task(name, settings, given, {output: layout(run, name, output) for output in outputs})

    source = layout(numbers_from or run, "numbers", "numbers")
    scaled = layout(run, "scale", "scaled")
    if numbers_from is None:
        execute(task("numbers", NUMBERS.settings(count=4), {}, ["numbers"]), NUMBERS, numbers)
    execute(task("scale", SCALE.settings(factor=3), {"numbers": source}, ["scaled", "page"]), SCALE, scale)
    execute(task("total", TOTAL.settings(), {"scaled": scaled, "numbers": source}, ["metrics"]), TOTAL, total)


def root_of(layout: Layout, run: str) -> str:
    return layout(run, "numbers", "numbers").split("/numbers/")[0]


@pytest.mark.parametrize("layout", [local, kubeflow])
def test_every_artifact_is_traced_to_what_it_came_from(found: Store, layout: Layout) -> None:
    run_all(layout, "traced")
    lineage = trace(found, root_of(layout, "traced"), "traced")
    assert [task.name for task in lineage.tasks] == ["numbers", "scale", "total"]
    gives = [[given.name for given in task.gives] for task in lineage.tasks]
    assert gives == [["numbers"], ["page", "scaled"], ["metrics"]]
    takes = {task.name: {taken.name: (taken.producer, taken.output) for taken in task.takes} for task in lineage.tasks}
    assert takes == {
        "numbers": {},
        "scale": {"numbers": (0, "numbers")},
        "total": {"scaled": (1, "scaled"), "numbers": (0, "numbers")},
    }
    assert lineage.tasks[1].settings == {"factor": 3.0, "offset": 0}
    assert lineage.problems == []
    assert lineage.older == []
    for text in (lineage_text(lineage), lineage_page(lineage)):
        for task in lineage.tasks:
            assert task.code_version in text
            assert "factor=3.0" in text
            for given in task.gives:
                assert given.digest in text
                assert f"{task.name}/" in given.uri
                assert given.uri == layout("traced", task.name, given.name)
                assert given.uri in text


def test_a_task_served_from_another_run_is_found_through_its_consumers(found: Store) -> None:
    """As with Kubeflow's cache, whose tasks leave nothing under the run's own prefix."""
    run_all(kubeflow, "original")
    run_all(kubeflow, "cached", numbers_from="original")
    lineage = trace(found, root_of(kubeflow, "cached"), "cached")
    assert [task.name for task in lineage.tasks] == ["numbers", "scale", "total"]
    assert lineage.tasks[0].gives[0].uri == kubeflow("original", "numbers", "numbers")
    assert lineage.problems == []
    known = artifacts_under(found, root_of(kubeflow, "cached"))
    assert known["numbers"]["numbers"].uri == kubeflow("original", "numbers", "numbers")
    assert known["scale"]["scaled"].uri == kubeflow("cached", "scale", "scaled")
    _, _, page = find_artifact(known, "page")
    assert page == InputRecord(uri=kubeflow("cached", "scale", "page"), digest=lineage.tasks[1].gives[0].digest)


def change(found: Store, uri: str, old: bytes, new: bytes) -> None:
    content = found.get_bytes(uri)
    if old not in content:
        raise AssertionError(content)
    found.put_bytes(uri, content.replace(old, new))


def overwritten(found: Store, run: str) -> None:
    settings = NUMBERS.settings(count=9)
    execute(Task("numbers", settings, {}, {"numbers": local(run, "numbers", "numbers")}), NUMBERS, numbers)


DAMAGE: dict[str, tuple[Callable[[Store, str], Any], list[str]]] = {
    "bit": (
        lambda found, run: change(found, local(run, "numbers", "numbers") + "/numbers.json", b"4", b"5"),
        ["numbers/numbers: damaged: numbers.json is not what was written", "scale: stale", "total: stale"],
    ),
    "short": (
        lambda found, run: found.put_bytes(local(run, "total", "metrics") + "/sums.json", b"{}"),
        ["total/metrics: damaged: sums.json has 2 bytes"],
    ),
    "extra": (
        lambda found, run: found.put_bytes(local(run, "total", "metrics") + "/more.json", b"{}"),
        ["total/metrics: damaged: more.json does not belong to it"],
    ),
    "file gone": (
        lambda found, run: found.delete(local(run, "scale", "scaled") + "/scaled.json"),
        ["scale/scaled: damaged: scaled.json is missing", "total: stale"],
    ),
    "page forged": (
        lambda found, run: found.put_bytes(local(run, "scale", "page"), b"<html>forged"),
        ["scale/page: damaged: it is not what was written"],
    ),
    "page gone": (
        lambda found, run: found.delete(local(run, "scale", "page")),
        ["scale/page: missing"],
    ),
    "input gone": (
        lambda found, run: found.delete(local(run, "numbers", "numbers")),
        [
            "s3://moist/runs/damaged/numbers/numbers: missing",
            "scale: stale: its input numbers (s3://moist/runs/damaged/numbers/numbers) is gone",
            "total: stale",
        ],
    ),
    "overwritten": (overwritten, ["scale: stale: its input numbers", "total: stale: its input"]),
    "final output gone": (
        lambda found, run: found.delete(local(run, "total", "metrics")),
        ["s3://moist/runs/damaged/total/metrics: missing"],
    ),
    "manifest": (
        lambda found, run: found.put_bytes(local(run, "scale", "scaled") + "/moist.json", b"[1, 2"),
        [
            "s3://moist/runs/damaged/scale/scaled: damaged: its moist.json is not a manifest",
            "s3://moist/runs/damaged/scale/page: damaged: it has no moist.json",
            "total: stale: its input scaled (s3://moist/runs/damaged/scale/scaled) is damaged",
        ],
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_wrong_is_said(found: Store, damage: str) -> None:
    found.delete(f"s3://{BUCKET}/runs/damaged")
    run_all(local, "damaged")
    cause, expected = DAMAGE[damage]
    cause(found, "damaged")
    recorded = [local("damaged", *whole) for whole in (("scale", "page"), ("total", "metrics"))]
    lineage = trace(found, root_of(local, "damaged"), "damaged", also=recorded)
    for sentence in expected:
        assert any(problem.startswith(sentence) for problem in lineage.problems), lineage.problems
    named = {sentence.split(": ")[0] for sentence in expected}
    assert {problem.split(": ")[0] for problem in lineage.problems} == named
    for text in (lineage_text(lineage), lineage_page(lineage)):
        assert expected[0].split(" (")[0] in text


def test_quick_reads_sizes_only(found: Store) -> None:
    run_all(local, "quick")
    change(found, local("quick", "numbers", "numbers") + "/numbers.json", b"4", b"5")
    assert trace(found, root_of(local, "quick"), "quick", thorough=False).problems == []
    assert trace(found, root_of(local, "quick"), "quick").problems != []


def test_other_code_is_said_and_is_no_problem(found: Store) -> None:
    run_all(local, "older")
    uri = local("older", "numbers", "numbers") + "/moist.json"
    manifest = Manifest.model_validate_json(found.get_bytes(uri))
    older = manifest.model_copy(update={"code_version": "0.0.9+abc"}).sealed()
    found.put_bytes(uri, older.model_dump_json().encode())
    lineage = trace(found, root_of(local, "older"), "older")
    assert lineage.older == ["numbers"]
    assert lineage.problems == []
    assert f"Made by other code than the present {lineage.code_version}: numbers." in lineage_text(lineage)


class _Page(HTMLParser):
    """What a page loads, links to and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.targets += [value for name in ("href", "src") if (value := given.get(name))]
        self.ids += [value] if (value := given.get("id")) else []


def hostile(lineage: Lineage) -> Lineage:
    text = "<script>alert(1)</script>\x1b[31m\n"
    data = lineage.model_dump()
    data["title"] = text
    for task in data["tasks"]:
        task |= {"name": text, "stage": text, "settings": {text: text}, "problems": [text]}
        for given in task["gives"]:
            given |= {"name": text, "kind": text, "uri": text}
    return Lineage.model_validate(data)


def test_the_page_stands_alone_and_shows_hostile_names_as_text(found: Store) -> None:
    run_all(local, "page")
    lineage = trace(found, root_of(local, "page"), "page")
    page = _Page()
    page.feed(lineage_page(lineage))
    assert page.tags.count("path") == 3  # numbers to scale, scale to total, numbers to total
    assert page.tags.count("circle") == 3
    assert page.targets
    assert {target.removeprefix("#") for target in page.targets} <= set(page.ids)
    assert "script" not in page.tags
    bad = hostile(lineage)
    page = _Page()
    page.feed(lineage_page(bad))
    assert "script" not in page.tags
    assert not any(character in lineage_page(bad) + lineage_text(bad) for character in "\x1b\x00")
    assert "\n[31m" not in lineage_text(bad)
