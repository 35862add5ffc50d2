"""One real run of the whole pipeline, shared by the tests that look at what it left behind."""

import contextlib
import functools
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from moist.runtime.command_line import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class FinishedRun:
    """A run of `pipeline.py run --preset smoke`: its home, id, and what it printed."""

    home: Path
    id: str
    stdout: str
    stderr: str

    @property
    def folder(self) -> Path:
        return self.home / "runs" / self.id


def clean_environment() -> dict[str, str]:
    """The tester's environment without what it says about stores and runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOIST_"))}


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pipeline.py as a user would."""
    command = [sys.executable, str(ROOT / "pipeline.py"), *arguments]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False, cwd=ROOT)


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As `run_program`, but in this process, which has its imports behind it; a run's tasks are processes as ever."""
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name in os.environ.keys() - clean_environment().keys():
            patch.delenv(name)
        patch.chdir(ROOT)
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        before = os.dup(2)  # what tasks write to
        os.dup2(err.fileno(), 2)
        try:
            code = main(moist_pipeline(), list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        finally:
            os.dup2(before, 2)
            os.close(before)
        out.flush()
        err.flush()
        said = [Path(f"/proc/self/fd/{file.fileno()}").read_text() for file in (out, err)]
    return subprocess.CompletedProcess(["pipeline.py", *arguments], code, *said)


def imported(name: str, path: Path) -> ModuleType:
    """A Python file that is no module of a package."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AssertionError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def moist_pipeline() -> Callable[..., Any]:
    """pipeline.py's function that makes the pipeline."""
    factory: Callable[..., Any] = imported("pipeline", ROOT / "pipeline.py").moist_pipeline
    return factory


def finished(home: Path, done: subprocess.CompletedProcess[str]) -> FinishedRun:
    """What a successful run left."""
    if done.returncode != 0:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    found = re.search(r"^Run (\S+):", done.stderr, re.MULTILINE)
    if found is None:
        raise AssertionError(done.stderr)
    return FinishedRun(home, found[1], done.stdout, done.stderr)


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """`pipeline.py run --preset smoke`, once a session."""
    home = tmp_path_factory.mktemp("home")
    return finished(home, run_program("run", "--preset", "smoke", "--home", str(home)))
