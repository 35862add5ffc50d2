"""Archives with data sets: good ones unpacked and cleaned up, hostile and damaged ones refused, nothing written."""

import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from moist.data import folders
from moist.data.folders import opened
from moist.errors import InputError


def tar_with(path: Path, name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for member, content in (("good.txt", b"good"), (name, b"x" if kind == tarfile.REGTYPE else b"")):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            if member == name:
                info.type, info.linkname = kind, link
            tar.addfile(info, io.BytesIO(content))
    return path


def zip_with(path: Path, name: str, mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("good.txt", "good")
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        zipped.writestr(info, "/etc/passwd")
    return path


def refused(archive: Path, said: str) -> None:
    scratch = archive.parent / "scratch"
    with pytest.raises(InputError, match=said) as caught, opened(archive, scratch):
        pass
    assert archive.name in str(caught.value)
    assert list(scratch.iterdir()) == []
    assert not (archive.parent / "evil").exists()


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.ZIP"])
def test_good_archives_are_unpacked_and_removed_again(tmp_path: Path, name: str) -> None:
    write = zip_with if name.endswith("ZIP") else tar_with
    with opened(write(tmp_path / name, "below/more.txt"), tmp_path / "new" / "scratch") as folder:
        assert (folder / "good.txt").read_text() == "good"
        assert (folder / "below" / "more.txt").is_file()
    assert list((tmp_path / "new" / "scratch").iterdir()) == []


OUTSIDE = ["../evil", "a/../../evil", "/tmp/evil", "C:evil", "..\\evil"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_members_outside_are_refused(tmp_path: Path, name: str) -> None:
    refused(tar_with(tmp_path / "a.tar.gz", name), "outside")
    refused(zip_with(tmp_path / "a.zip", name), "outside")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    refused(tar_with(tmp_path / "a.tar", "link", kind=kind, link="good.txt"), "link is a link or device")


def test_zipped_links_are_refused(tmp_path: Path) -> None:
    refused(zip_with(tmp_path / "a.zip", "link", stat.S_IFLNK | 0o777), "link is a link or device")


def test_archives_that_unpack_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar, zipped = tar_with(tmp_path / "a.tar", "more"), zip_with(tmp_path / "a.zip", "more")
    monkeypatch.setattr(folders, "LARGEST_ARCHIVE_BYTES", 4)
    refused(tar, "unpacks to more than")
    refused(zipped, "unpacks to more than")
    monkeypatch.setattr(folders, "LARGEST_ARCHIVE_BYTES", 1 << 20)
    monkeypatch.setattr(folders, "MOST_MEMBERS", 1)
    refused(tar, "or 1 files")


def test_a_tar_that_claims_five_gigabytes_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("data")
    info.size = 5 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf() + b"\0" * 1024)
    refused(tmp_path / "a.tar", "unpacks to more than 4 GiB")


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.zip"])
def test_damaged_archives_are_refused(tmp_path: Path, name: str) -> None:
    write = zip_with if name.endswith("zip") else tar_with
    path = write(tmp_path / name, "more")
    content = path.read_bytes()
    cut = content[:514] if name == "a.tar" else content[: len(content) // 2]  # inside the first member
    damages = [b"", b"junk" * 300, cut, content[:30] + b"\xff" * 40 + content[70:]]
    for damaged in damages:
        path.write_bytes(damaged)
        refused(path, "damaged|cannot be unpacked")


@pytest.mark.parametrize("form", ["gztar", "zip"])
def test_a_garbled_compressed_stream_is_refused(tmp_path: Path, form: str) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "large").write_text(" ".join(str(number * number) for number in range(100_000)))
    path = Path(shutil.make_archive(str(tmp_path / "a"), form, tmp_path / "files"))
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\xff" * 50 + content[middle + 50 :])
    refused(path, "damaged|cannot be unpacked")


def test_other_sources_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "data.rar"
    other.write_bytes(b"x")
    with pytest.raises(InputError, match=r"neither a folder nor a \.tar"), opened(other, tmp_path):
        pass
    with pytest.raises(InputError, match="does not exist"), opened(tmp_path / "none", tmp_path):
        pass
