"""A stage run in this process or as a program, and a real S3 server."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_stage
from moist.runtime.contract import main
from moist.runtime.store import PATIENCE
from store_fixtures import plain_environment, s3, store_environment, uri

__all__ = ["plain_environment", "s3", "store_environment", "uri"]

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch, plain_environment: None) -> None:
    """Failing calls to the store are not tried again for long."""
    monkeypatch.setenv(PATIENCE, "1")


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
