"""What the processes of a group run in place of a stage's function."""

import os
import signal
import sys
from pathlib import Path
from typing import Literal

import torch
from moist.errors import InputError
from moist.runtime.common_settings import TrainingSettings
from moist.runtime.contract import RUNNING, Metadata
from moist.training import distributed


class Settings(TrainingSettings):
    """How the second process ends."""

    second: Literal["well", "error", "killed", "bug"] = "well"


def add(settings: Settings, *, source: Path, result: Path) -> Metadata:
    """Add the ranks of all processes up."""
    if distributed.rank() == 1 and settings.second == "error":
        raise InputError("The second process found something wrong.")
    if distributed.rank() == 1 and settings.second == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if distributed.rank() == 1 and settings.second == "bug":
        raise RuntimeError("a bug in the second process")
    # Without the second process the first one waits here.
    found = float(distributed.total(torch.tensor([float(distributed.rank() + 1)])))
    running = RUNNING.get()
    if running is None:
        sys.exit("the process does not know its task")
    result.mkdir()
    (result / "sum.txt").write_text(f"{source.read_text()} {found} {running.identity} {torch.get_num_threads()}")
    return {"result": {"sum": found, "rank": distributed.rank()}}
