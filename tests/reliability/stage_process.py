"""A training stage as a process that can be killed: forked from one that has its imports behind it."""

import os
import sys
from pathlib import Path

import moist.stages.pretrain_router.program as pretrain_router
import torch
import torch._dynamo  # an optimizer loads it, for seconds; here it is there before a process is forked
from moist.data.clusters import cluster, save
from moist.runtime.contract import Metadata, execute, main
from moist.runtime.kinds import CLUSTERS
from moist.runtime.stage import Stage, StageSettings
from moist.runtime.task import parse_task
from moist.stages.prepare_data.program import prepare_data
from moist.stages.prepare_data.settings import STAGE as PREPARE


class NoSettings(StageSettings):
    """Nothing to set."""


GROUP = Stage("group", "Three groups of digits.", NoSettings, {}, {"clusters": CLUSTERS})


def group(settings: NoSettings, *, clusters: Path) -> Metadata:
    """Any grouping will do."""
    found = cluster(torch.eye(10, dtype=torch.float64).numpy() * range(1, 11), k=3, max_k=3, seed=0)
    save(clusters, found, tuple("0123456789"))
    return {}


def prepare(folder: str) -> None:
    """The stage's inputs."""
    flags = ["--train-limit", "200", "--test-limit", "50", "--dataset", f"{folder}/data", "--metrics", f"{folder}/m"]
    execute(parse_task(PREPARE, flags), PREPARE, prepare_data)
    execute(parse_task(GROUP, ["--clusters", f"{folder}/clusters"]), GROUP, group)


def run(inputs: str, out: str, checkpoints: str) -> None:
    """pretrain_router: a network with batch norm and dropout, on augmented images; a checkpoint every 32 steps."""
    os.environ["MOIST_CHECKPOINTS"] = checkpoints
    torch.set_num_threads(1)
    sys.stderr.flush()
    os.dup2(os.open(f"{out}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    places = [part for name in pretrain_router.STAGE.outputs for part in (f"--{name}", f"{out}/{name}")]
    settings = ["--epochs", "3", "--batch-size", "4", "--checkpoint-seconds", "0"]
    data = ["--dataset", f"{inputs}/data", "--clusters", f"{inputs}/clusters"]
    main(pretrain_router.STAGE, pretrain_router.pretrain_router, [*data, *places, *settings])
