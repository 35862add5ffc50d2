"""Inputs that are not what their producer wrote: each kind of damage is refused with exit code 3 and one sentence."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from moist.runtime.artifacts import MANIFEST, MAX_MANIFEST_BYTES

Run = Callable[..., tuple[int, str]]


def edit(folder: Path, checksum: str = "", **changes: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "checksum": checksum, **changes}))


def other_provenance(folder: Path) -> None:
    edit(folder, **{**json.loads((folder / MANIFEST).read_text()), "machine": "another"})


def flip(folder: Path) -> None:
    content = bytearray((folder / "deep" / "lines.txt").read_bytes())
    content[3] ^= 1
    (folder / "deep" / "lines.txt").write_bytes(content)


def truncate(folder: Path) -> None:
    (folder / "deep" / "lines.txt").write_text("line")


def lose_file(folder: Path) -> None:
    (folder / "deep" / "lines.txt").unlink()


def lose_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def lose_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def add_file(folder: Path) -> None:
    (folder / "deep" / "extra.txt").write_text("who put me here?")


def not_json(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")


def deep_json(folder: Path) -> None:
    (folder / MANIFEST).write_text("[" * 500_000)


def deep_settings(folder: Path) -> None:
    (folder / MANIFEST).write_text(
        (folder / MANIFEST).read_text().replace('"rate"', '"x": ' + "[" * 5000 + "]" * 5000 + ', "rate"')
    )


def huge_json(folder: Path) -> None:
    (folder / MANIFEST).write_text('"' + "x" * MAX_MANIFEST_BYTES + '"')


def long_kind(folder: Path) -> None:
    edit(folder, kind="x" * 100_000)


def other_kind(folder: Path) -> None:
    edit(folder, kind="teacher")


def wrong_digest(folder: Path) -> None:
    edit(folder, digest="sha256:" + "0" * 64)


def outside(folder: Path) -> None:
    """A file name that would leave the folder, with the right digest of what lies there."""
    manifest = json.loads((folder / MANIFEST).read_text())
    record = manifest["files"].pop("deep/lines.txt")
    shutil.move(folder / "deep" / "lines.txt", folder.parent / "lines.txt")
    edit(folder, files={"../lines.txt": record})


def link(folder: Path) -> None:
    """A link to a folder elsewhere is not followed."""
    shutil.move(folder / "deep", folder.parent / "deep")
    (folder / "deep").symlink_to(folder.parent / "deep")


DAMAGES = {
    flip: "is not what tiny wrote",
    truncate: "is not what tiny wrote (4 bytes",
    lose_file: "lines.txt is missing; rerun tiny",
    lose_folder: "is not there; run the stage that makes it",
    lose_manifest: "has no moist.json",
    add_file: "extra.txt does not belong to the artifact",
    not_json: "is not a manifest of moist",
    deep_json: "is not a manifest of moist",
    deep_settings: "is not a manifest of moist",
    huge_json: "which no manifest has",
    long_kind: "is not a manifest of moist",
    other_provenance: "is not a manifest of moist",
    other_kind: "must be a lines, but",
    wrong_digest: "was swapped or overwritten since its producer ran",
    outside: "../lines.txt is missing",
    link: "lines.txt is missing",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_refused(damage: Callable[[Path], None], tmp_path: Path, tiny: Run) -> None:
    places = {name: tmp_path / "made" / name for name in ("copy", "page", "metrics")}
    assert tiny(*(part for name, path in places.items() for part in (f"--{name}", path)))[0] == 0
    folder = tmp_path / "made" / "copy"
    damage(folder)
    wanted = {name: tmp_path / "out" / name for name in places}
    code, error = tiny("--source", folder, *(part for name, path in wanted.items() for part in (f"--{name}", path)))
    assert code == 3
    assert "Input source: " in error or "Input source must be" in error
    assert DAMAGES[damage] in error
    assert error.count("\n") == 1
    assert len(error) < 1000
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_an_artifact_swapped_for_another_whole_one_is_refused(tmp_path: Path, tiny: Run) -> None:
    """Kubeflow hands on the digest that the producer reported, so replacing files and manifest together shows."""
    for lines in ("1", "2"):
        places = [part for name in ("copy", "page", "metrics") for part in (f"--{name}", tmp_path / lines / name)]
        assert tiny(*places, "--lines", lines)[0] == 0
    digest = json.loads((tmp_path / "1" / "copy" / MANIFEST).read_text())["digest"]

    def given(folder: Path) -> str:
        artifact = {"uri": str(folder), "metadata": {"digest": digest}}
        names = ("copy", "page", "metrics")
        made = {name: {"artifacts": [{"uri": str(tmp_path / "out" / name)}]} for name in names}
        outputs = {"outputFile": str(tmp_path / "task" / "out.json"), "artifacts": made}
        return json.dumps({"inputs": {"artifacts": {"source": {"artifacts": [artifact]}}}, "outputs": outputs})

    code, error = tiny("--executor-input", given(tmp_path / "2" / "copy"))
    assert code == 3
    assert f"but {digest} was expected" in error
    assert tiny("--executor-input", given(tmp_path / "1" / "copy")) == (0, "")


def test_a_manifest_of_a_version_that_knew_fewer_fields_is_whole(tmp_path: Path, tiny: Run) -> None:
    """Its checksum is of the fields that it has."""
    made = tmp_path / "made" / "copy"
    places = {name: tmp_path / "made" / name for name in ("copy", "page", "metrics")}
    assert tiny(*(part for name, path in places.items() for part in (f"--{name}", path)))[0] == 0
    fields = {
        name: value
        for name, value in json.loads((made / MANIFEST).read_text()).items()
        if name not in ("checksum", "compute_seconds")
    }
    checksum = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    wanted = [part for name in places for part in (f"--{name}", tmp_path / "out" / name)]
    for given, code in ((checksum, 0), (checksum[::-1], 3)):
        (made / MANIFEST).write_text(json.dumps({**fields, "checksum": given}))
        assert tiny("--source", made, *wanted)[0] == code
