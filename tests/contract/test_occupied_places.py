"""Outputs replace artifacts, and nothing else: what somebody keeps at a place is safe from a mistyped flag."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from moist.errors import InputError
from moist.runtime.artifacts import publish
from moist.runtime.location import Location
from moist.runtime.store import PARTIAL, Store

Run = Callable[..., tuple[int, str]]
NAMES = ("copy", "page", "metrics")


def at(root: str | Path, **others: str | Path) -> list[str]:
    return [part for name in NAMES for part in (f"--{name}", str(others.get(name, f"{root}/{name}")))]


def folder_of(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_a_folder_of_other_files_is_left_alone(tiny: Run, tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "mine", notes="of a year")
    for name in NAMES:
        code, error = tiny(*at(tmp_path / "out", **{name: mine}))
        assert code == 2
        what = "is a folder" if name == "page" else "is in use: it holds files that are no artifact"
        assert f"Output {name}: {mine} {what}" in error
    assert [path.name for path in mine.iterdir()] == ["notes"]
    assert not list((tmp_path / "out").glob("*")), "and no other output was written"


def test_a_file_is_left_alone_where_a_folder_should_be(tiny: Run, tmp_path: Path) -> None:
    mine = tmp_path / "notes"
    mine.write_text("of a year")
    code, error = tiny(*at(tmp_path / "out", copy=mine))
    assert (code, mine.read_text()) == (2, "of a year")
    assert f"Output copy: {mine} is a file" in error


def test_an_empty_folder_and_an_earlier_artifact_are_replaced(tiny: Run, tmp_path: Path) -> None:
    folder_of(tmp_path / "out" / "copy")
    assert tiny(*at(tmp_path / "out")) == (0, "")
    assert tiny(*at(tmp_path / "out"), "--lines", "5") == (0, "")
    assert (tmp_path / "out" / "copy" / "deep" / "lines.txt").read_text().count("line") == 5


def test_what_comes_to_be_there_meanwhile_is_left_alone_too(tmp_path: Path) -> None:
    new, mine = folder_of(tmp_path / "new", file="1"), folder_of(tmp_path / "mine", notes="of a year")
    with pytest.raises(InputError, match="is in use"):
        publish(new, mine)
    assert (mine / "notes").read_text() == "of a year"


def test_a_parent_that_cannot_be_written_is_found_before_the_work(tiny: Run, tmp_path: Path) -> None:
    code, error = tiny(*at(tmp_path / "out", copy="/proc/copy"), "--ending", "crash")
    assert code == 2
    assert "Output copy cannot be written to /proc/copy" in error


def test_a_page_does_not_go_where_an_artifact_is(s3: Store, uri: str, tiny: Run) -> None:
    assert tiny(*at(uri)) == (0, "")
    before = s3.list(uri)
    code, error = tiny(*at(f"{uri}/other", page=f"{uri}/copy"))
    assert code == 2
    assert f"Output page: {uri}/copy is a folder" in error
    assert s3.list(uri) == before


def test_objects_of_others_are_left_alone(s3: Store, uri: str, tiny: Run) -> None:
    for name in ("data/1.png", "data/2.png", "archive.zip"):
        s3.put_bytes(f"{uri}/{name}", b"mine")
    for place in (f"{uri}/data", f"{uri}/archive.zip", uri):
        code, error = tiny(*at(f"{uri}/out", copy=place), "--ending", "crash")
        assert code == 2
        assert "Output copy" in error
    assert sorted(s3.list(uri)) == ["archive.zip", "data/1.png", "data/2.png"]


def test_a_whole_bucket_is_no_place_for_an_artifact(s3: Store, uri: str, tiny: Run) -> None:
    s3.put_bytes(f"{uri}/mine", b"1")
    bucket = Location.parse(uri).bucket
    code, error = tiny(*at(f"{uri}/out", copy=f"s3://{bucket}"))
    assert code == 2
    assert f"Output copy: s3://{bucket} is a whole bucket" in error
    assert list(s3.list(uri)) == ["mine"]


def test_a_bucket_that_is_not_there_is_found_before_the_work(s3: Store, tiny: Run) -> None:
    code, error = tiny(*at("s3://nobodys-bucket/out"), "--ending", "crash")
    assert code == 4
    assert "NoSuchBucket" in error


def test_an_interrupted_upload_may_be_done_again(
    s3: Store, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "new", first="1", second="2", **{"moist.json": "{}"})
    send, sent = s3._send, []

    def interrupted(file: Path, where: Location) -> None:
        if len(sent) == 1:
            raise KeyboardInterrupt
        sent.append(file.name)
        send(file, where)

    with monkeypatch.context() as patched:
        patched.setattr(s3, "_send", interrupted)
        with pytest.raises(KeyboardInterrupt):
            s3.upload(folder, f"{uri}/made")
    assert list(s3.list(f"{uri}/made")) == sent
    shutil.rmtree(folder)
    folder_of(folder, other="3", **{"moist.json": "{}"})
    s3.upload(folder, f"{uri}/made")
    assert sorted(s3.list(uri)) == ["made/moist.json", "made/other"], f"and no {PARTIAL} is left"
