"""A training stage on several GPUs of one machine: one process each, joined by torch.distributed."""

import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moist import errors
from moist.errors import InputError, MoistError
from moist.runtime.common_settings import TrainingSettings
from moist.runtime.stage import Stage, StageSettings

if TYPE_CHECKING:
    from moist.runtime.contract import Running

PROCESSES = "MOIST_PROCESSES"
"""Environment variable: how many processes share a training stage; default one a GPU, or one without GPUs."""


def wanted(stage: Stage) -> int:
    """How many processes are to run a stage's function; always 1 for a stage that does not train on images.

    Raises:
        InputError: for a number that is not one, or more processes than GPUs where there are GPUs.
    """
    if not issubclass(stage.settings, TrainingSettings):
        return 1
    import torch

    gpus = torch.cuda.device_count()
    text = os.environ.get(PROCESSES) or str(max(1, gpus))
    if not text.isdecimal() or not 1 <= int(text) <= (gpus or 64):
        raise InputError(f"{PROCESSES}={text!r} is not allowed: give a whole number from 1 to {gpus or 64}.")
    return int(text)


def run(
    function: Callable[..., dict[str, dict[str, Any]]],
    settings: StageSettings,
    inputs: dict[str, Any],
    staged: dict[str, Path],
    running: "Running",
    count: int,
) -> dict[str, dict[str, Any]]:
    """Run a stage's function in `count` processes at once; returns what the first one returned.

    Each runs the whole function on the same inputs. Inside, `moist.training.loop.fit` gives every process its slice of
    each batch and sums their gradients, so all end with the same weights. Only the first one's outputs and checkpoints
    are kept. The processes meet through a file, so that no port and no host name is needed (torchrun needs both).

    Raises:
        MoistError: the error that one of them met, or a sentence if one was killed.
    """
    import torch
    from torch.multiprocessing.spawn import ProcessException, start_processes

    # When one process ends early it names each of the others that it then stops; our own sentence follows.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="moist-processes-") as name:
        folder = Path(name)
        threads = max(1, torch.get_num_threads() // count)
        arguments = (function, settings, inputs, staged, (running.identity, running.run), folder, count, threads)
        context = start_processes(_work, arguments, nprocs=count, join=False, daemon=True)  # type: ignore[no-untyped-call]
        try:
            while not context.join():
                pass
        except ProcessException as error:
            # The others may have failed before this was noticed, for want of the one that was killed.
            killed = [i for i, process in enumerate(context.processes) if process.exitcode == -signal.SIGKILL]
            sentence = f"Process {killed[0] + 1} of {count} was killed; was the memory limit too low?" if killed else ""
            raise _met(folder) or (MoistError(sentence) if killed else error) from None
        finally:
            for process in context.processes:
                process.kill()
                process.join()
        result: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    if result["has_checkpoints"]:
        from moist.runtime.checkpoints import StoredCheckpoints

        running.after_success.append(StoredCheckpoints(running.identity, 0).clear)
    metadata: dict[str, dict[str, Any]] = result["metadata"]
    return metadata


def _met(folder: Path) -> MoistError | None:
    """The error of the process that was the first to meet one; those of the others may only follow from it."""
    found = sorted(folder.glob("error-*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        return None
    report = json.loads(found[0].read_text("utf-8"))
    error: MoistError = getattr(errors, report["kind"], MoistError)(report["message"])
    return error


def _work(
    rank: int,
    function: Callable[..., dict[str, dict[str, Any]]],
    settings: StageSettings,
    inputs: dict[str, Any],
    staged: dict[str, Path],
    task: tuple[str, str],
    folder: Path,
    count: int,
    threads: int,
) -> None:
    """One of the processes; `task` is the task's identity and its run."""
    import torch
    from torch import distributed

    from moist.runtime.contract import RUNNING, Running

    # The end of the process that started this one arrives as SIGINT, which a shell has its background jobs ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(threads)
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(rank)
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    identity, run = task
    running = Running(identity, run=run)
    RUNNING.set(running)
    if rank:
        staged = {name: folder / f"unused-{rank}" / name for name in staged}
        (folder / f"unused-{rank}").mkdir()
    try:
        distributed.init_process_group(
            "nccl" if gpu else "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count
        )
        metadata = function(settings, **inputs, **staged)
        if rank == 0:
            result = {"metadata": metadata, "has_checkpoints": bool(running.after_success)}
            (folder / "result.json").write_text(json.dumps(result), "utf-8")
        distributed.destroy_process_group()
    except MoistError as error:
        report = {"kind": type(error).__name__, "message": str(error)}
        (folder / f"error-{rank}.json").write_text(json.dumps(report), "utf-8")
        sys.exit(error.exit_code)
