"""Artifacts on disk: the manifest that travels with each, its digests, and writing so that nothing is half there."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moist.errors import DamagedArtifactError, DiskFullError, InputError, MoistError

MANIFEST = "moist.json"
MAX_MANIFEST_BYTES = 4 << 20


Name = Annotated[str, Field(max_length=200)]
"""What error messages quote of a manifest, which anybody may have written."""


class InputRecord(BaseModel):
    """One input of the task that made an artifact."""

    model_config = ConfigDict(frozen=True)
    uri: str
    digest: str


class FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True)
    sha256: Name
    bytes: int


class Manifest(BaseModel):
    """What travels with every artifact: what it is, what it came from, and the digests of its files."""

    model_config = ConfigDict(frozen=True, extra="allow")  # a later version's fields are under the checksum too
    kind: Name
    name: Name
    digest: Name
    files: dict[str, FileRecord]
    stage: Name
    task: Name
    code_version: str
    settings: dict[str, Any]
    inputs: dict[str, InputRecord | list[InputRecord]]
    outputs: dict[str, str] = {}
    versions: dict[str, str] = {}
    machine: str = ""
    device: str = ""
    threads: int = 0
    started: str = ""
    seconds: float = 0.0
    """From `started` until the outputs were made and described; what remained was to put them where they belong."""
    compute_seconds: float = 0.0
    """What the stage's own function took of them."""
    checksum: str = ""
    """SHA-256 of all the other fields, so that damage to what no file's digest covers is found; "" is not checked."""

    def sealed(self) -> Self:
        """The same with its checksum."""
        return self.model_copy(update={"checksum": _sum(self.model_dump(exclude={"checksum"}))})

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        # Of what is written there alone: fields that this version added are not in an older manifest's checksum.
        if self.checksum and self.checksum != _sum(self.model_dump(exclude={"checksum"}, exclude_unset=True)):
            raise ValueError("its checksum is another")
        return self


def _sum(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, allow_nan=False).encode()).hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path) -> dict[str, FileRecord]:
    """Digest and size of every file of an artifact, without its manifest.

    An artifact that is one file has no name in it (""): it may be kept under any.
    """
    if path.is_file():
        return {"": FileRecord(sha256=sha256(path), bytes=path.stat().st_size)}
    files = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    return {
        name: FileRecord(sha256=sha256(file), bytes=file.stat().st_size)
        for name, file in files.items()
        if name != MANIFEST
    }


def digest_of(files: dict[str, FileRecord]) -> str:
    """One digest over an artifact's files: `sha256:` and the SHA-256 of the sorted list of name and SHA-256."""
    listing = "".join(f"{name}\0{record.sha256}\n" for name, record in sorted(files.items()))
    return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()


def read_manifest(folder: Path, name: str) -> Manifest:
    """Read an artifact's manifest.

    Raises:
        DamagedArtifactError: if it is missing, too large, not JSON, or not a manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DamagedArtifactError(
            f"Input {name}: {folder} has no {MANIFEST}, so it is missing, or not an artifact of moist, or its upload "
            "did not finish; rerun the stage that makes it."
        )
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise DamagedArtifactError(f"Input {name}: {path} has {path.stat().st_size} bytes, which no manifest has.")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (ValidationError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise DamagedArtifactError(f"Input {name}: {path} is not a manifest of moist ({first}).") from None


def verify(folder: Path, name: str, *, kind: str, expected_digest: str | None = None) -> Manifest:
    """Check that a folder holds the artifact it should: its kind, and every file as it was written.

    Raises:
        DamagedArtifactError: naming the file, or the kind found and the kind expected.
    """
    manifest = read_manifest(folder, name)
    if manifest.kind != kind:
        raise DamagedArtifactError(
            f"Input {name} must be a {kind}, but {folder} holds a {manifest.kind} made by {manifest.stage}; "
            "pass the right artifact."
        )
    found = describe(folder)
    for file, record in manifest.files.items():
        if file not in found:
            raise DamagedArtifactError(f"Input {name}: {folder / file} is missing; rerun {manifest.task}.")
        if found[file] != record:
            raise DamagedArtifactError(
                f"Input {name}: {folder / file} is not what {manifest.stage} wrote ({found[file].bytes} bytes, SHA-256 "
                f"{found[file].sha256[:12]}…; expected {record.bytes} bytes, {record.sha256[:12]}…); rerun it."
            )
    extra = sorted(found.keys() - manifest.files.keys())
    if extra:
        raise DamagedArtifactError(f"Input {name}: {folder / extra[0]} does not belong to the artifact; remove it.")
    if digest_of(found) != manifest.digest or (expected_digest and expected_digest != manifest.digest):
        raise DamagedArtifactError(
            f"Input {name}: {folder} has digest {manifest.digest}, but {expected_digest or digest_of(found)} was "
            "expected: the artifact was swapped or overwritten since its producer ran; rerun the producer."
        )
    return manifest


def check_free(final: Path, is_file: bool) -> None:
    """Whether an artifact may get this name: nothing is there, or an earlier artifact.

    Raises:
        InputError: somebody's own files are there, or a folder where a file is to be, or the other way round.
    """
    if not os.path.lexists(final):
        return
    if final.is_dir() == is_file:
        raise InputError(f"{final} is a {'folder' if is_file else 'file'}; choose another place, or remove it.")
    if final.is_dir() and not (final / MANIFEST).exists() and any(final.iterdir()):
        raise InputError(f"{final} is in use: it holds files that are no artifact. Choose another place, or remove it.")


def publish(staged: Path, final: Path) -> None:
    """Give a finished artifact its final name in one step, replacing an earlier artifact that is there.

    Both must be on one file system. If it fails, what was there before stays.

    Raises:
        InputError: as `check_free`.
    """
    check_free(final, staged.is_file())
    final.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_is_an_error(final):
        if not os.path.lexists(final) or (staged.is_file() and final.is_file()):
            staged.replace(final)
            return
        old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old-", dir=final.parent))
        try:
            final.replace(old / "was")
            try:
                staged.replace(final)
            except BaseException:
                if not os.path.lexists(final):
                    (old / "was").replace(final)
                raise
        finally:
            shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, atomically.

    Raises:
        ValueError: for NaN and Infinity, which Kubeflow cannot read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    with full_disk_is_an_error(path):
        partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        try:
            partial.write_text(text, "utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk_is_an_error(path: Path) -> Iterator[None]:
    """Turn "no space left", whichever library meets it, into DiskFullError that names where."""
    try:
        yield
    except MoistError:
        raise
    except Exception as error:
        # safetensors, torch and shutil.move raise errors of their own that only quote the system's.
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT)):
            raise DiskFullError(
                f"No space left for {path}: free some, or point TMPDIR and the outputs elsewhere; nothing was kept."
            ) from None
        raise
