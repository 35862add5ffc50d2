"""Tasks that are forked from one process: each is as separate as a program of its own."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moist.runtime.fork_server import USED_LATE, ForkedTask, ForkServer

HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    started = ForkServer(["no.such.module", "json.tool"], ENVIRONMENT)
    yield started
    started.close()


def start(server: ForkServer, out: Path, ending: str = "0", **environment: str) -> ForkedTask:
    return server.start(["forked_program", str(out), ending], {**ENVIRONMENT, **environment})


def facts(server: ForkServer, out: Path, **environment: str) -> dict[str, Any]:
    with start(server, out, **environment) as task:
        assert task.wait() == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def told(out: Path) -> Any:
    """What a task that goes on says of itself."""
    while not out.exists():
        time.sleep(0.01)
    return json.loads(out.read_text())


def test_a_task_finds_what_a_program_finds(server: ForkServer, tmp_path: Path) -> None:
    found = facts(server, tmp_path / "out", OF_THE_TASK="yes")
    assert found["name"] == "__main__"
    assert found["environment"] == {**ENVIRONMENT, "OF_THE_TASK": "yes"}
    assert found["folder"] == str(Path.cwd())
    assert found["interrupts"]
    assert found["held back"] == 0


def test_modules_are_imported_while_nothing_else_is_to_be_done(server: ForkServer, tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    while not facts(server, tmp_path / "out")["imported"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_of_one_task_reaches_the_next(server: ForkServer, tmp_path: Path) -> None:
    first, second = facts(server, tmp_path / "1", OMP_NUM_THREADS="3"), facts(server, tmp_path / "2")
    assert "LEFT_BEHIND" not in second["environment"]
    assert first["folder"] == second["folder"]
    assert first["state"] == second["state"] == ["0"]
    assert [first["torch"], second["torch"]] == [3, 1]
    assert first["random"] != second["random"]
    assert first["numpy"] != second["numpy"]


def test_how_a_task_ended_is_said_as_subprocess_says_it(server: ForkServer, tmp_path: Path) -> None:
    with start(server, tmp_path / "a", "3") as task:
        assert task.wait() == 3
    for number in (signal.SIGTERM, signal.SIGKILL):
        with start(server, tmp_path / str(number), "sleep") as task:
            told(tmp_path / str(number))
            task.terminate() if number == signal.SIGTERM else task.kill()
            assert task.wait() == -number
    with server.start(["no_such_program"], {**ENVIRONMENT, "PYTHONWARNINGS": ""}) as task:
        assert task.wait() == 1


def test_tasks_at_the_same_time(server: ForkServer, tmp_path: Path) -> None:
    with start(server, tmp_path / "long", "sleep") as long:
        told(tmp_path / "long")
        with start(server, tmp_path / "short", "4") as short:
            assert short.wait() == 4
        long.kill()
        assert long.wait() == -signal.SIGKILL


def test_a_task_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    starter = """
import os
from moist.runtime.fork_server import ForkServer
ForkServer([], os.environ).start(["sleeping_program"], os.environ).wait()
"""
    program = """
import os, time
if __name__ == "__main__":
    open("pid.part", "w").write(str(os.getpid()))
    os.replace("pid.part", "pid")
    time.sleep(60)
"""
    (tmp_path / "sleeping_program.py").write_text(program)
    process = subprocess.Popen([sys.executable, "-c", starter], env=ENVIRONMENT, cwd=tmp_path)
    pid = told(tmp_path / "pid")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_imported_late_is_what_those_modules_use() -> None:
    """A name that is wrong would be passed over in silence."""
    for user, used in USED_LATE.items():
        path = importlib.util.find_spec(user)
        assert path is not None
        assert path.origin is not None
        # torch imports its own module when the loop makes an optimizer
        assert f"from {used} import" in Path(path.origin).read_text() or used == "torch._dynamo"


def test_a_task_that_is_ended_at_once_ends_at_once(server: ForkServer, tmp_path: Path) -> None:
    """Between its start and its first own step it has no handlers of its own: what arrives then must not be lost."""
    for number in range(10):
        with start(server, tmp_path / str(number), "sleep") as task:
            task.terminate()
            assert task.wait() == -signal.SIGTERM
