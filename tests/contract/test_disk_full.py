"""A file system without room: exit code 6, one sentence, nothing half-written."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from moist.errors import DiskFullError
from moist.runtime.artifacts import full_disk_is_an_error
from moist.runtime.store import Store

Run = Callable[..., tuple[int, str]]
NAMES = ("copy", "page", "metrics")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def places(root: Path) -> list[str | Path]:
    return [part for name in NAMES for part in (f"--{name}", root / name)]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_no_room_for_the_outputs(small: Path, tiny: Run) -> None:
    assert tiny(*places(small), "--lines", "10")[0] == 0
    before = {path: path.read_bytes() for path in files(small)}
    code, error = tiny(*places(small), "--lines", "100000")
    assert code == 6
    assert f"No space left for {small / 'copy'}" in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in files(small)} == before


def test_no_room_to_work_in(small: Path, tmp_path: Path, tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small))
    code, error = tiny(*places(tmp_path / "out"), "--lines", "100000")
    assert code == 6
    assert f"No space left for {small}" in error
    assert not files(tmp_path / "out")
    assert not files(small)


def test_no_room_for_an_input(
    small: Path, tmp_path: Path, s3: Store, uri: str, tiny: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [part for name in NAMES for part in (f"--{name}", f"{uri}/{name}")]
    assert tiny(*made, "--lines", "100000")[0] == 0
    monkeypatch.setattr("tempfile.tempdir", str(small))
    code, error = tiny(*places(tmp_path / "out"), "--source", f"{uri}/copy")
    assert code == 6
    assert "No space left for" in error
    assert not files(small)


def test_what_libraries_make_of_a_full_disk_is_recognised(small: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    with pytest.raises(DiskFullError), full_disk_is_an_error(small):
        save_file({"x": np.zeros(500_000, np.uint8)}, small / "x.safetensors")
