"""Where a data set's files lie: opens folders and archives (safely), and finds a layout at or below a folder."""

import errno
import lzma
import os
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from moist.errors import DiskFullError, InputError

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
LARGEST_ARCHIVE_BYTES = 4 << 30
MOST_MEMBERS = 100_000
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@contextmanager
def opened(source: Path, scratch: Path) -> Iterator[Path]:
    """Give the folder `source`, or a temporary folder below `scratch` with the archive `source` unpacked.

    Raises InputError where source is neither, or is an archive that is damaged, has links, absolute paths or '..', or
    unpacks to more than 4 GiB; DiskFullError where there is no room.
    """
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise InputError(f"Data source {source} does not exist; give a folder or an archive.")
    if not source.name.lower().endswith(ARCHIVE_SUFFIXES):
        raise InputError(f"Data source {source} is neither a folder nor a {', '.join(ARCHIVE_SUFFIXES)} archive.")
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="unpacked-") as target:
        _extract(source, Path(target))
        yield Path(target)


def _extract(archive: Path, target: Path) -> None:
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as zipped:
                _check_zip(archive, zipped)
                zipped.extractall(target)
        else:
            with tarfile.open(archive) as tar:
                _check_tar(archive, tar)
                tar.extractall(target, filter="data")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"No room left in {target} to unpack {archive}; free some space.") from error
        raise InputError(f"Archive {archive} cannot be unpacked: {error}.") from error
    except (*_DAMAGE, EOFError, ValueError, OverflowError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"Archive {archive} is damaged or of another kind: {error}.") from error


def _check_tar(archive: Path, tar: tarfile.TarFile) -> None:
    total = 0
    # Member by member: stops at the first bad one, before a bomb is decompressed further.
    for count, member in enumerate(tar):
        if not (member.isfile() or member.isdir()):
            raise InputError(f"Archive {archive}: {member.name} is a link or device; only plain files are allowed.")
        total += member.size
        _check_member(archive, member.name, total, count)


def _check_zip(archive: Path, zipped: zipfile.ZipFile) -> None:
    total = 0
    for count, member in enumerate(zipped.infolist()):
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"Archive {archive}: {member.filename} is a link or device; only plain files are allowed.")
        total += member.file_size
        _check_member(archive, member.filename, total, count)


def _check_member(archive: Path, name: str, total_bytes: int, count: int) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", name):
        raise InputError(f"Archive {archive}: member {name!r} points outside the archive; such archives are refused.")
    if total_bytes > LARGEST_ARCHIVE_BYTES or count >= MOST_MEMBERS:
        raise InputError(
            f"Archive {archive} unpacks to more than {LARGEST_ARCHIVE_BYTES >> 30} GiB or {MOST_MEMBERS} files; "
            "such archives are refused."
        )


def folders_with(root: Path, *patterns: str) -> list[Path]:
    """The folders at or below `root` that hold, for each regular expression, a file whose whole name matches."""
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        if all(any(re.fullmatch(pattern, file) for file in files) for pattern in patterns):
            found.append(Path(folder))
    return found
