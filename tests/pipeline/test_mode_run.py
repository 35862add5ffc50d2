"""The MoDE pipeline on this machine: what it prints and leaves, that its figures fit, what it reuses, how it fails."""

import json
import re
from pathlib import Path

import pytest
from conftest import FinishedRun, finished, run_command
from moist.mode.comparison import Comparison
from moist.mode.results import TableResults
from moist.mode.statistics import Paired
from moist.pipelines.kinds import OTHERS
from moist.runtime.artifacts import MANIFEST, Manifest
from moist.runtime.local_store import store
from moist.runtime.store import Store
from moist.runtime.submit import show_results

TASKS = {
    *("prepare-data-0", "train-vision-mixture-0"),
    *("prepare-table-0", "train-mixture-0-0", "train-mixture-0-1", "train-mixture-0-2", "probe-experts-0"),
    *("train-translator-0", "train-translator-1"),
    "compare",
}
TEXT = {
    "translators": json.dumps([{"model": "dense-2", "alpha": "1"}, {"model": "dense-2", "alpha": "0"}]),
    "text-vocabulary": "25",
    "text-width": "16",
    "text-feed-forward": "16",
    "text-layers": "1",
    "text-epochs": "1",
}
OPTIONS = ("run", "--pipeline", "mode", "--preset", "smoke")


@pytest.fixture(scope="module")
def mode_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """`pipeline.py run --pipeline mode --preset smoke`, with two translators of sentences that say nothing."""
    home = tmp_path_factory.mktemp("mode")
    return finished(home, run_command(*OPTIONS, *text_options(home), "--home", str(home)))


def text_options(folder: Path) -> list[str]:
    """What adds translation to a run."""
    files = {"text-source": folder / "text.a", "text-target": folder / "text.b"}
    for number, path in enumerate(files.values()):
        path.write_text("".join(f"{'abcdef'[i % 6 :]} {'xyz'[(i + number) % 3]}\n" for i in range(60)), "utf-8")
    return [part for name, value in {**files, **TEXT}.items() for part in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def artifacts(mode_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything the run left in the store, on disk."""
    folder = tmp_path_factory.mktemp("artifacts")
    with store(mode_run.home / "store") as environment:
        Store.of(environment).download(f"s3://moist/runs/{mode_run.id}", folder)
    return folder


@pytest.fixture(scope="module")
def comparison(mode_run: FinishedRun) -> Comparison:
    return Comparison.model_validate_json((mode_run.folder / "results.json").read_bytes())


@pytest.fixture(scope="module")
def results(artifacts: Path) -> TableResults:
    return TableResults.model_validate_json((artifacts / "probe-experts-0" / "results" / "results.json").read_bytes())


def test_it_prints_the_tables_and_names_the_report(mode_run: FinishedRun, comparison: Comparison) -> None:
    (line,) = comparison.lines
    for choice in line.choices:
        for summary in (choice.moe, choice.mode):
            assert f"{100 * summary.mean:.2f}" in mode_run.stdout
    (translated,) = comparison.translations
    assert (translated.corpus, translated.alpha, translated.single) == ("text.a - text.b", 1.0, None)
    for heading in ("Table 3", "Table 6", "Table 4", "What holds"):
        assert heading in mode_run.stdout
    report = mode_run.folder / "report.html"
    assert str(report) in mode_run.stdout
    assert report.read_text("utf-8").startswith("<!doctype html>")


def test_a_run_on_a_cluster_ends_with_the_same_text(
    mode_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in the store by provenance, as Kubeflow leaves it there."""
    with store(mode_run.home / "store") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        show_results(f"s3://moist/runs/{mode_run.id}", "some-run", tmp_path, OTHERS["mode"].outcome)
    text, _, report = capsys.readouterr().out.strip().rpartition("\n\nReport: ")
    assert text.strip() == mode_run.stdout.rpartition("\nReport: ")[0].strip()
    assert Path(report).read_bytes() == (mode_run.folder / "report.html").read_bytes()


def test_iterations_keep_their_artifacts_apart(mode_run: FinishedRun, artifacts: Path) -> None:
    record = json.loads((artifacts / "run.json").read_text())
    assert (record["state"], set(record["tasks"])) == ("succeeded", TASKS)
    manifests = {path.parent.parent.name: Manifest.model_validate_json(path.read_bytes()) for path in
                 artifacts.glob(f"*/mixtures/{MANIFEST}")}  # fmt: skip
    assert {name: manifest.settings["model"] for name, manifest in manifests.items()} == {
        "train-mixture-0-0": "dense-2",
        "train-mixture-0-1": "sparse-10-2",
        "train-mixture-0-2": "single",
    }
    probed = Manifest.model_validate_json((artifacts / "probe-experts-0" / "results" / MANIFEST).read_bytes())
    taken = probed.inputs["mixtures"]
    assert isinstance(taken, list)
    # In the order of the loop, whichever iteration ended first.
    assert [record.digest for record in taken] == [manifests[name].digest for name in sorted(manifests)]
    assert "[10/10] compare" in mode_run.stderr


def test_the_figures_are_those_of_the_variants(comparison: Comparison, results: TableResults) -> None:
    (line,) = comparison.lines
    variants = {variant.architecture.label: variant for variant in results.variants}
    assert set(variants) == {"single", "dense, 2 experts", "sparse, 2 of 10 experts"}
    for choice in line.choices:
        variant = variants[choice.architecture.label]
        at = variant.alphas.index(choice.alpha)
        moe, mode = ([row[column] for row in variant.test] for column in (0, at))
        assert (choice.moe.values, choice.mode.values) == (moe, mode)
        assert choice.difference == Paired.of(mode, moe)
    for variant in results.variants:
        assert len(variant.probes) == len(variant.alphas)
        for column, probes in enumerate(variant.probes):
            assert [probe.accuracy for probe in probes] == pytest.approx([row[column] for row in variant.test])


def test_unchanged_iterations_are_reused_and_one_changed_is_not(mode_run: FinishedRun) -> None:
    again = finished(mode_run.home, run_command(*OPTIONS, *text_options(mode_run.home), "--home", str(mode_run.home)))
    assert again.stderr.count("unchanged, taken from") == len(TASKS)
    assert again.stdout.split("Report:")[0] == mode_run.stdout.split("Report:")[0]
    variants = [{"model": "single", "alphas": "0", "narrow_vision": "skip"}]
    fewer = run_command(*OPTIONS, "--home", str(mode_run.home), "--variants", json.dumps(variants))
    assert finished(mode_run.home, fewer).stderr.count("unchanged, taken from") == 4


def test_a_table_that_is_not_there_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    done = run_command(*OPTIONS, "--home", str(tmp_path), "--tables", "nowhere.csv,also-nowhere.csv,nor-here.csv")
    assert done.returncode == 2
    # Two iterations run at once, and either may fail first.
    assert re.search(r"there is no file (also-)?nowhere\.csv", done.stderr)
    assert re.search(r"Task prepare-table-[01] failed with exit code 2", done.stderr)
    assert "Traceback" not in done.stderr
    assert "prepare-table-2" not in done.stderr
    assert "train-mixture" not in done.stderr
