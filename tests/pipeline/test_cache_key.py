"""What a cached task's outputs are known by: also the files of this machine that its settings name."""

from pathlib import Path

from moist.runtime.local_runner import cache_key, digests


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
