"""kill -9 at random moments of a real training stage: the retried run ends with the bits of an undisturbed one."""

import hashlib
import multiprocessing
import os
import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import stage_process
from moist.runtime.artifacts import verify
from moist.stages.pretrain_router.settings import STAGE

SEED, KILLS = 20, 20


def start(inputs: Path, out: Path, checkpoints: Path) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stage_process"])
    process = context.Process(target=stage_process.run, args=(str(inputs), str(out), str(checkpoints)))
    process.start()
    return process


def whole(out: Path) -> list[str]:
    """The outputs that have their final names; each must be whole."""
    there = [name for name in STAGE.outputs if (out / name).exists()]
    for name in there:
        if not STAGE.outputs[name].is_file:
            verify(out / name, name, kind=STAGE.outputs[name].kind)
    return there


def finished(process: ForkServerProcess, out: Path) -> str:
    """Digest of the weights and of every value measured, once a run has ended well."""
    process.join()
    assert process.exitcode == 0, Path(f"{out}.log").read_text()
    assert len(whole(out)) == len(STAGE.outputs)
    contents = (out / "router" / "model.safetensors").read_bytes(), (out / "metrics" / "metrics.json").read_bytes()
    return hashlib.sha256(b"".join(contents)).hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Before Python 3.12.4 the server that forks ignores the path it is given, and then skips what it was to preload.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    stage_process.prepare(str(tmp_path))
    finished(start(tmp_path, tmp_path / "first", tmp_path / "none"), tmp_path / "first")  # imports are paid for here
    began = time.monotonic()
    wanted = finished(start(tmp_path, tmp_path / "undisturbed", tmp_path / "none"), tmp_path / "undisturbed")
    duration = time.monotonic() - began
    draw, went_on = random.Random(SEED), 0
    for number in range(KILLS):
        out, retried, checkpoints = (tmp_path / f"{what}-{number}" for what in ("out", "retried", "checkpoints"))
        process = start(tmp_path, out, checkpoints)
        time.sleep(draw.uniform(0, duration))
        process.kill()
        process.join()
        # All outputs get their final names in one moment at the end; a kill between two renames leaves whole ones.
        whole(out)
        assert finished(start(tmp_path, retried, checkpoints), retried) == wanted, f"after kill {number}"
        went_on += "going on from checkpoint" in Path(f"{retried}.log").read_text()
        assert not [path for path in checkpoints.rglob("*") if path.is_file()]
    assert went_on >= KILLS // 4  # else the moments were not those in which it matters
