"""Checkpoints of a training loop, where they outlive the pod: a folder or a prefix in the object store."""

import hashlib
import io
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch

from moist.errors import DamagedArtifactError, InputError, MoistError
from moist.runtime.artifacts import full_disk_is_an_error, sha256
from moist.runtime.contract import CHECKPOINTS
from moist.runtime.location import is_uri
from moist.runtime.store import Store

KEPT = 2
NO_STATE = (ValueError, TypeError, LookupError, RuntimeError, EOFError, UnpicklingError)
"""What reading a file that holds no state raises."""

NAME = re.compile(r"(\d{8})-([0-9a-f]{64})\.pt")


class _Place(Protocol):
    """Where files are kept whole or not at all."""

    def names(self) -> list[str]: ...
    def fetch(self, name: str, target: Path) -> None: ...
    def keep(self, file: Path, name: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def clear(self) -> None: ...


class StoredCheckpoints:
    """The checkpoints of one task, as `moist.training.loop.Checkpoints` wants them.

    The task is known by what its result depends on, so a retry finds them although its outputs go elsewhere, and so
    does another run, which goes on from what was left undone. Training that another run has finished is done again: who
    runs a task anew, with Kubeflow's cache off, wants it trained. Each file has its number and its SHA-256 in its name;
    the last two are kept.
    """

    def __init__(self, identity: str, seconds: float, root: str | None = None, run: str = "") -> None:
        """`seconds` is the least time between two; `root` the folder or URI, by default what MOIST_CHECKPOINTS says."""
        self._run = run
        where = f"{(root or os.environ[CHECKPOINTS]).rstrip('/')}/{identity}"
        self._place: _Place = _Prefix(where) if is_uri(where) else _Folder(Path(where))
        self._where, self._seconds, self._last, self._kept = where, seconds, time.monotonic(), False

    def load(self) -> dict[str, Any] | None:
        """The last state that is whole; a damaged one is passed over, with a line on stderr.

        Raises:
            InputError: if the folder cannot be read.
            StoreError: if the store cannot be reached or refuses the credentials.
        """
        try:
            names = sorted(self._names(), reverse=True)
        except OSError as error:
            raise InputError(f"{CHECKPOINTS}: {self._where} cannot be read ({error.strerror}).") from None
        finished_elsewhere = False
        for name in names:
            try:
                state = self._read(name)
                position = f"epoch {state['epoch']}, step {state['step']}"
            # Not found: another run of the same task has meanwhile removed it.
            except (DamagedArtifactError, FileNotFoundError, *NO_STATE) as error:
                self._say(f"checkpoint {name[:8]} is damaged and was passed over ({str(error).splitlines()[0]})")
                continue
            own = state.get("run") == self._run
            if not own and (finished_elsewhere or state.get("finished")):
                self._say(f"checkpoint {name[:8]} was passed over: it is of another run, which finished the training")
                finished_elsewhere = True
                continue
            self._say(f"going on from checkpoint {name[:8]}: {position}")
            self._kept = True
            return state
        return None

    def due(self, finished: bool = False) -> bool:
        """Whether the interval has passed since the start or the last checkpoint.

        A finished training that was saved before is due in any case: what the task does next may take long, and another
        run must see that it is finished.
        """
        return (finished and self._kept) or time.monotonic() - self._last >= self._seconds

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state. Training does not end because this fails; it says so on stderr."""
        try:
            with tempfile.TemporaryDirectory(prefix="moist-checkpoint-") as folder:
                file = Path(folder, "state.pt")
                with full_disk_is_an_error(file):
                    torch.save({**state, "run": self._run}, file)
                before = sorted(self._names())
                number = int(before[-1][:8]) + 1 if before else 1
                self._place.keep(file, f"{number:08d}-{sha256(file)}.pt")
                self._kept = True
                for name in before[: -(KEPT - 1)]:
                    self._place.remove(name)
        except (MoistError, OSError) as error:
            self._say(f"no checkpoint could be kept: {error}")
        self._last = time.monotonic()

    def clear(self) -> None:
        """Remove them all, and what a killed process left half-written, once the task's outputs are safe."""
        try:
            self._place.clear()
        except (MoistError, OSError) as error:
            self._say(f"checkpoints could not be removed from {self._where}: {error}")

    def _names(self) -> list[str]:
        return [name for name in self._place.names() if NAME.fullmatch(name)]

    def _read(self, name: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="moist-checkpoint-") as folder:
            file = Path(folder, "state.pt")
            self._place.fetch(name, file)
            content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != name[9:73]:
            raise ValueError("its digest differs")
        # weights_only: tensors and plain values, never code.
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return state

    def _say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        return [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []

    def fetch(self, name: str, target: Path) -> None:
        target.write_bytes((self._folder / name).read_bytes())

    def keep(self, file: Path, name: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".{name}.partial-{os.getpid()}"
        try:
            partial.write_bytes(file.read_bytes())
            partial.replace(self._folder / name)
        finally:
            partial.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def clear(self) -> None:
        if self._folder.exists():
            shutil.rmtree(self._folder)


class _Prefix:
    def __init__(self, uri: str) -> None:
        self._uri, self._store = uri, Store.from_environment()

    def names(self) -> list[str]:
        return list(self._store.list(self._uri))

    def fetch(self, name: str, target: Path) -> None:
        self._store.download(f"{self._uri}/{name}", target)

    def keep(self, file: Path, name: str) -> None:
        self._store.upload(file, f"{self._uri}/{name}")

    def remove(self, name: str) -> None:
        self._store.delete(f"{self._uri}/{name}")

    def clear(self) -> None:
        self._store.delete(self._uri)
