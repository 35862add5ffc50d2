"""Two processes that share a stage's training give a single process's result."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import group_function
import pytest
import torch
from moist.errors import DivergedError, InputError, MoistError
from moist.runtime import processes
from moist.runtime.contract import Running
from moist.stages.prepare_data.settings import STAGE as PREPARE
from moist.stages.train_teacher.settings import STAGE as TRAIN
from small_training import group_member, trained
from torch import multiprocessing

# In double precision the two runs differ by the order of additions alone (1e-16 of each sum), which 32 AdamW steps
# enlarge: they divide a gradient by its own size, also where it is nothing but rounding error.
DOUBLE = 1e-7
# In single precision that rounding error is 1e-7, and the steps along directions that have no true gradient (a kernel
# or a bias in front of a batch norm has such) are noise: weights drift apart by up to a learning rate a step, what
# they compute hardly does. So losses are compared, not weights.
SINGLE = 2e-3

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What two processes make of each task, by its name."""
    folder = tmp_path_factory.mktemp("group")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        multiprocessing.spawn(group_member, (2, str(folder), ["double", "experts", "single"]), nprocs=2)
    return lambda task: torch.load(folder / f"{task}.pt", weights_only=True)


@pytest.mark.parametrize(
    "task",
    [
        pytest.param("double", id="batch norm over the whole batch, a last batch smaller than the group"),
        pytest.param("experts", id="experts that no image of a slice, or of a batch, reaches"),
    ],
)
def test_two_processes_compute_what_one_does(task: str, together: Callable[[str], dict[str, Any]]) -> None:
    kept, (model, history) = together(task), trained(task)
    assert kept["apart"] == 0  # both ended with the same bits
    wanted, found = model.state_dict(), kept["state"]
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        if name.endswith("running_var"):  # the batch that went to both whole counts twice in its unbiased variance
            torch.testing.assert_close(found[name], tensor, rtol=1e-2, atol=0)
        else:
            torch.testing.assert_close(found[name], tensor, rtol=DOUBLE, atol=DOUBLE)
    assert kept["series"]["loss"] == pytest.approx(history.series["loss"], rel=DOUBLE)
    assert kept["series"]["accuracy"] == pytest.approx(history.series["accuracy"], rel=DOUBLE)


def test_two_processes_in_single_precision(together: Callable[[str], dict[str, Any]]) -> None:
    kept, (_, history) = together("single"), trained("single")
    assert kept["apart"] == 0
    assert kept["series"]["loss"] == pytest.approx(history.series["loss"], rel=SINGLE)


def run_group(folder: Path, **changes: Any) -> tuple[dict[str, Any], Path]:
    """A function in two processes; returns its metadata and where the first one's output is."""
    (folder / "in.txt").write_text("given")
    inputs, staged = {"source": folder / "in.txt"}, {"result": folder / "result"}
    running = Running("the task")
    metadata = processes.run(group_function.add, group_function.Settings(**changes), inputs, staged, running, 2)
    assert not running.after_success  # there are no checkpoints to clear
    return metadata, folder / "result"


def test_a_group_leaves_the_first_one_s_output(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    metadata, result = run_group(tmp_path)
    assert metadata == {"result": {"sum": 3.0, "rank": 0}}
    assert (result / "sum.txt").read_text() == f"given 3.0 the task {max(1, before // 2)}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "result"]


def test_the_error_of_one_process_ends_them_all(tmp_path: Path) -> None:
    """Not what it leads to in the other, which waits for it in vain."""
    with pytest.raises(InputError, match=r"^The second process found something wrong\.$"):
        run_group(tmp_path, second="error")


def test_a_killed_process_ends_them_all(tmp_path: Path) -> None:
    with pytest.raises(MoistError, match=r"^Process 2 of 2 was killed; was the memory limit too low\?$"):
        run_group(tmp_path, second="killed")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    flags = [
        "--train-limit",
        "200",
        "--test-limit",
        "50",
        "--dataset",
        folder / "data",
        "--metrics",
        folder / "metrics",
    ]
    subprocess.run([sys.executable, "-m", PREPARE.module, *map(str, flags)], check=True)
    return folder / "data"


@pytest.fixture
def start(data: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts train_teacher in two processes; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def run(out: Path, *flags: str) -> "subprocess.Popen[str]":
        places = [part for name in TRAIN.outputs for part in (f"--{name}", str(out / name))]
        environment = {**os.environ, processes.PROCESSES: "2", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", TRAIN.module, "--dataset", str(data), *places, "--views", "1", *flags]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def lives(process: str) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_stage_in_two_processes_goes_on_from_its_checkpoint(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with all its processes, and retried: one set of outputs, one line an epoch, no checkpoint left."""
    monkeypatch.setenv("MOIST_CHECKPOINTS", str(tmp_path / "checkpoints"))
    flags = ["--epochs", "3", "--checkpoint-seconds", "0", "--batch-size", "8"]
    first = start(tmp_path / "lost", *flags)
    while not list(tmp_path.glob("checkpoints/*/*.pt")):
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.communicate()
    assert not (tmp_path / "lost" / "teacher").exists()
    second = start(tmp_path / "out", *flags)
    said = second.communicate()[1]
    assert second.returncode == 0, said
    assert said.count("going on from checkpoint") == 1
    assert said.count("train_teacher epoch 3/3") == 1
    assert not list(tmp_path.glob("checkpoints/*/*"))
    manifest = json.loads((tmp_path / "out" / "teacher" / "moist.json").read_text())
    assert manifest["device"].startswith("2 x ")
    series = json.loads((tmp_path / "out" / "metrics" / "metrics.json").read_text())["series"]
    assert len(series["loss"]) == 3
    assert all(map(math.isfinite, series["loss"]))


@pytest.mark.slow
def test_an_error_in_the_processes_is_one_sentence(start: Start, tmp_path: Path) -> None:
    # Each step multiplies the weights by about 1 - 10 * 1.
    exploding = ["--learning-rate", "10", "--weight-decay", "1", "--warmup-epochs", "0", "--precision", "fp32"]
    process = start(tmp_path, "--epochs", "10", "--batch-size", "8", *exploding)
    said = process.communicate()[1]
    assert process.returncode == DivergedError.exit_code
    assert "The loss became" in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_terminated_stage_takes_its_processes_along(start: Start, tmp_path: Path) -> None:
    process = start(tmp_path, "--epochs", "10000")
    line = process.stderr.readline() if process.stderr else ""
    assert "epoch 1/10000" in line
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 143, said
    assert "train_teacher: terminated; no output was written." in said
    assert len(children) >= 2
    while any(map(lives, children)):
        time.sleep(0.05)  # until the test's own timeout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["0", "-1", "two", "65", "1.5"])
def test_a_number_of_processes_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.PROCESSES, text)
    with pytest.raises(InputError, match=f"MOIST_PROCESSES='{text}' is not allowed: give a whole number from 1 to"):
        processes.wanted(TRAIN)
    assert processes.wanted(PREPARE) == 1  # does not train, so it does not ask
