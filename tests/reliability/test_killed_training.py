"""kill -9 at random moments of a real training stage: the retried run ends with the bits of an undisturbed one."""

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from moist.runtime.artifacts import verify
from moist.stages.prepare_data.settings import STAGE as PREPARE
from moist.stages.train_teacher.settings import STAGE as TRAIN

SEED, KILLS = 20, 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    flags = [
        "--train-limit",
        "400",
        "--test-limit",
        "50",
        "--dataset",
        folder / "data",
        "--metrics",
        folder / "metrics",
    ]
    subprocess.run([sys.executable, "-m", PREPARE.module, *map(str, flags)], check=True)
    return folder / "data"


def start(data: Path, out: Path, checkpoints: Path) -> "subprocess.Popen[bytes]":
    places = [part for name in TRAIN.outputs for part in (f"--{name}", str(out / name))]
    settings = ["--epochs", "3", "--batch-size", "4", "--views", "1", "--checkpoint-seconds", "0"]
    environment = {**os.environ, "MOIST_CHECKPOINTS": str(checkpoints), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", TRAIN.module, "--dataset", str(data), *places, *settings]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def weights(out: Path) -> str:
    """Digest of the teacher's weights; all outputs must be whole."""
    for name, port in TRAIN.outputs.items():
        if not port.is_file:
            verify(out / name, name, kind=port.kind)
    return hashlib.sha256((out / "teacher" / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_random_moments(data: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    assert start(data, tmp_path / "undisturbed", tmp_path / "none").wait() == 0
    whole_run = time.monotonic() - began
    wanted = weights(tmp_path / "undisturbed")
    draw = random.Random(SEED)
    went_on = 0
    for number in range(KILLS):
        out, checkpoints = tmp_path / f"out-{number}", tmp_path / f"checkpoints-{number}"
        process = start(data, out, checkpoints)
        time.sleep(draw.uniform(0, whole_run))
        process.kill()
        process.wait()
        # What has its final name is whole: all outputs get theirs in the same moment, at the end.
        there = [name for name in TRAIN.outputs if (out / name).exists()]
        for name in there:
            if not TRAIN.outputs[name].is_file:
                verify(out / name, name, kind=TRAIN.outputs[name].kind)
        went_on += bool(list(checkpoints.rglob("*.pt")))
        assert start(data, tmp_path / f"retried-{number}", checkpoints).wait() == 0
        assert weights(tmp_path / f"retried-{number}") == wanted, f"after kill {number}"
        assert not list(checkpoints.rglob("*.pt"))
    assert went_on >= KILLS // 4  # else the moments were not those in which it matters
