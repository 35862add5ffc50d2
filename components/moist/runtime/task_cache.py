"""The cache of runs on this machine: what a task's outputs depend on, and where those of an earlier one are."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from moist.runtime import cores, provenance
from moist.runtime.artifacts import MANIFEST, sha256
from moist.runtime.local_store import BUCKET
from moist.runtime.store import Store
from moist.runtime.task import settings_values

SOURCES = ("source", "target")
"""What the names of settings end in that may be paths of this machine."""

GPUS = Path("/proc/driver/nvidia/gpus")
"""Where the driver describes them, so that torch need not be imported to ask."""


def hardware() -> dict[str, str]:
    """What of this machine a task that runs alone is measured on."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(cores.usable())
    described = [path.read_text("utf-8") for path in sorted(GPUS.glob("*/information"))]
    models = [line.partition(":")[2].strip() for text in described for line in text.splitlines() if "Model:" in line]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return {"machine": provenance.machine(), "threads": threads, "gpus": f"{', '.join(models)} {visible}".strip()}


def named_sources(executor_input: dict[str, Any]) -> list[str]:
    """The files and folders, of this machine or of the store, that a task's parameters name."""
    given = executor_input.get("inputs", {}).get("parameterValues", {})
    return sorted(
        {value for name, value in given.items() if value and name.endswith(SOURCES) and isinstance(value, str)}
    )


def digests(sources: list[str]) -> dict[str, str]:
    """The digest of every file there: a file that was edited since is another input."""
    files = [
        file
        for source in map(Path, sources)
        for file in ([source] if source.is_file() else sorted(source.rglob("*")))
        if file.is_file()
    ]
    return {str(file): sha256(file) for file in files}


def cache_key(command: list[str], executor_input: dict[str, Any], facts: dict[str, str]) -> str:
    """What a task's outputs depend on: program, parameters, inputs by digest, and `facts` (code and named files)."""
    inputs = executor_input.get("inputs", {})
    artifacts = {
        name: [artifact.get("metadata", {}).get("digest", artifact["uri"]) for artifact in entry["artifacts"]]
        for name, entry in inputs.get("artifacts", {}).items()
    }
    depends_on = [
        command[:-1],
        facts,
        settings_values(inputs.get("parameterValues", {})),
        artifacts,
        sorted(executor_input["outputs"].get("artifacts", {})),
    ]
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()


def keep_task(store: Store, key: str, entry: dict[str, Any]) -> None:
    """Remember a finished task: the run, its name there, and Kubeflow's executor output."""
    store.put_bytes(_uri(key), json.dumps(entry).encode())


def _uri(key: str) -> str:
    return f"s3://{BUCKET}/cache/{key}.json"


def cached_task(store: Store, key: str) -> dict[str, Any] | None:
    """An earlier task's outputs, if all of them are still whole in the store; a damaged entry is none."""
    if not store.list(_uri(key)):
        return None
    try:
        entry: dict[str, Any] = json.loads(store.get_bytes(_uri(key)))
        outputs = [output["artifacts"][0]["uri"] for output in entry["output"]["artifacts"].values()]
        if not isinstance(entry["run"], str):
            return None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    for uri in outputs:
        found = store.list(uri)
        if not found or ("" not in found and MANIFEST not in found):
            return None
    return entry
