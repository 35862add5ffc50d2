"""What a cached task's outputs are known by: also the files of this machine that its settings name."""

from pathlib import Path

import moist
import pytest
from moist.runtime import provenance, task_cache
from moist.runtime.local_runner import LocalRun, run_pipeline
from moist.runtime.local_store import store
from moist.runtime.store import Store
from moist.runtime.task_cache import cache_key, digests
from small_stages.small_pipeline import small_pipeline


def key(*sources: Path) -> str:
    given = {"inputs": {"parameterValues": {"source": str(sources[0])}}, "outputs": {}}
    return cache_key(["python3", "{}"], given, digests([str(source) for source in sources]))


def test_an_edited_file_is_another_input(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("1,2\n")
    before = key(table)
    assert key(table) == before
    table.write_text("1,3\n")
    assert key(table) != before
    table.write_text("1,2\n")
    assert key(table) == before


def test_a_file_that_came_into_a_folder_or_left_it_is_another_input(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    before = key(tmp_path)
    (tmp_path / "deep" / "batch").write_text("1")
    more = key(tmp_path)
    (tmp_path / "deep" / "batch").rename(tmp_path / "deep" / "renamed")
    assert len({before, more, key(tmp_path)}) == 3


def test_what_is_measured_is_not_reused_on_other_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of the small stages is one that runs alone, as those do that measure times."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    reused = []
    with store(tmp_path / "store") as environment:
        for number, threads in enumerate((1, 1, 2)):
            monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
            said: list[str] = []
            where = Store.of(environment)
            run = LocalRun(f"small-{number}", where, environment, tmp_path / f"{number}", say=said.append)
            run_pipeline(run, small_pipeline(), {})
            reused.append([name for name in ("numbers", "scale", "total") if any(f"{name}: unch" in x for x in said)])
    assert reused == [[], ["numbers", "scale", "total"], ["numbers", "scale"]]


def test_another_gpu_is_other_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_cache, "GPUS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert task_cache.hardware()["gpus"] == ""
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA H100\nIRQ:   \t\t 50\n")
    assert task_cache.hardware()["gpus"] == "NVIDIA H100"


def test_code_that_is_edited_meanwhile_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("1")
    monkeypatch.setattr(moist, "__file__", str(tmp_path / "__init__.py"))
    provenance.code_version.cache_clear()
    try:
        provenance.code_version()
        assert provenance.code_is_unchanged()
        (tmp_path / "a.py").write_text("2")
        assert not provenance.code_is_unchanged()
    finally:
        provenance.code_version.cache_clear()


def test_what_ran_while_code_was_edited_is_not_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    said: list[str] = []
    with store(tmp_path / "store") as environment:
        for number, unchanged in enumerate((False, True, True)):
            monkeypatch.setattr(provenance, "code_is_unchanged", lambda unchanged=unchanged: unchanged)
            run = LocalRun(
                f"small-{number}", Store.of(environment), environment, tmp_path / f"{number}", say=said.append
            )
            run_pipeline(run, small_pipeline(), {})
            assert [line for line in said if "unchanged, taken from small-0" in line] == []
    assert len([line for line in said if "unchanged, taken from small-1" in line]) == 3
