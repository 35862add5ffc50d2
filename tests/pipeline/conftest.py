"""One real run of the whole pipeline, shared by the tests that look at what it left behind."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

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


def run_command(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run pipeline.py as a user would."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOIST_"))}
    return subprocess.run(
        [sys.executable, str(ROOT / "pipeline.py"), *arguments],
        env={**clean, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=280,
    )


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
    return finished(home, run_command("run", "--preset", "smoke", "--home", str(home)))
