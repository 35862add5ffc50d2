"""A stage run in this process or as a program, and a real S3 server."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_stage
from moist.runtime.contract import main
from moist.runtime.local_store import BUCKET, store
from moist.runtime.store import ENDPOINT_VARIABLES, PATIENCE, Store

HERE = Path(__file__).parent
FOREIGN = (*ENDPOINT_VARIABLES, "MOIST_OUTPUT_ROOT", "MOIST_CHECKPOINTS", "MOIST_PROCESSES", PATIENCE)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tester's shell says about stores and processes is not what is tested."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tiny(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the tiny stage in this process; returns its exit code and what it wrote to stderr."""

    def run(*argv: str | Path) -> tuple[int, str]:
        before = signal.getsignal(signal.SIGTERM)
        try:
            main(tiny_stage.STAGE, tiny_stage.tiny, [str(part) for part in argv])
        except SystemExit as end:
            return int(end.code or 0), capsys.readouterr().err
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


@pytest.fixture
def start_tiny(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts the tiny stage as a program that sleeps, once it has written a part of its outputs."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: str | Path) -> "subprocess.Popen[str]":
        flag = tmp_path / f"started-{len(started)}"
        environment = {**os.environ, "TINY_STARTED": str(flag), "PYTHONPATH": str(HERE)}
        command = [sys.executable, "-m", "tiny_stage", *map(str, argv), "--ending", "sleep"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        started.append(process)
        while not flag.exists():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="session")
def store_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        running = contextlib.ExitStack()
        environment = running.enter_context(store(tmp_path_factory.mktemp("store")))
    with running:
        Store.of(environment).ensure_bucket(BUCKET)
        yield environment


@pytest.fixture
def s3(store_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Store:
    """A real S3 server, which the environment names; failing calls are not tried again for long."""
    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(PATIENCE, "1")
    return Store.from_environment()


@pytest.fixture
def uri(request: pytest.FixtureRequest) -> str:
    """A prefix of the store that no other test uses."""
    return f"s3://{BUCKET}/tests/{request.node.name.replace('[', '-').rstrip(']')}"
