"""What is known of earlier runs: their records in the store, their artifacts, and fetching one."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from moist.errors import DamagedArtifactError, InputError
from moist.runtime.artifacts import InputRecord, describe, digest_of, publish
from moist.runtime.local_runner import RECORD
from moist.runtime.local_store import BUCKET
from moist.runtime.store import Store

LATEST = "latest"
RUNS_URI = f"s3://{BUCKET}/runs"
TIME_LENGTH = len("20261122-120000-000000")

Artifacts = dict[str, dict[str, InputRecord]]
"""Where the artifacts of a run are and what their digests are, by task and output."""


class RunRecord(BaseModel):
    """The record that a run on this machine keeps in the store."""

    model_config = ConfigDict(frozen=True)
    id: str
    pipeline: str
    arguments: dict[str, Any]
    code_version: str = ""
    started: str = ""
    state: str
    seconds: float = 0.0
    tasks: dict[str, dict[str, Any]] = {}
    preset: str = ""
    routers: tuple[str, ...] = ()
    rerun_of: str = ""
    rerun: str = ""
    changed: dict[str, dict[str, Any]] = {}

    @property
    def artifacts(self) -> Artifacts:
        return artifacts_of(self.tasks)

    @property
    def mixture_accuracy(self) -> float | None:
        """0-1; None if the run did not evaluate."""
        outputs = self.tasks.get("evaluate", {}).get("output", {}).get("artifacts", {})
        if "metrics" not in outputs:
            return None
        value = outputs["metrics"]["artifacts"][0].get("metadata", {}).get("mixture_accuracy")
        return None if value is None else float(value)


def list_runs(store: Store) -> list[RunRecord]:
    """The records of all runs in the store, newest first."""
    found = [key for key in store.list(RUNS_URI) if key.count("/") == 1 and key.endswith(f"/{RECORD}")]
    # A run's id ends with the time at which it began.
    newest_first = sorted((key.split("/")[0] for key in found), key=lambda run: run[-TIME_LENGTH:], reverse=True)
    return [_listed(store, run) for run in newest_first]


def _listed(store: Store, run: str) -> RunRecord:
    """One bad record shall not hide the others."""
    try:
        return _read(store, run)
    except DamagedArtifactError:
        return RunRecord(id=run, pipeline="", arguments={}, state="unreadable")


def read_run(store: Store, run: str, pipeline: str | None = None) -> RunRecord:
    """The record of a run, or for `latest` of the newest one, of this pipeline if one is named.

    Raises:
        InputError: if there is no such run.
    """
    store.ensure_bucket(BUCKET)
    if run != LATEST and "/" not in run and RECORD in store.list(f"{RUNS_URI}/{run}"):
        return _read(store, run)
    known = list_runs(store)
    newest = next((record for record in known if pipeline in (None, record.pipeline)), None)
    if run == LATEST and newest is not None:
        return newest
    some = ", ".join(record.id for record in known[:5])
    hint = f"the newest are {some}" if some else "there is none yet, see `pipeline.py run`"
    raise InputError(f"There is no run {run!r} in the store at {store.endpoint}; {hint}.")


def remove_runs(store: Store, names: Sequence[str]) -> dict[str, int]:
    """Delete the records and artifacts of runs; returns the bytes that each held.

    Raises:
        InputError: there is no such run, or a run that stays has artifacts of one of them; then nothing is deleted.
    """
    store.ensure_bucket(BUCKET)
    known = {record.id: record for record in list_runs(store)}  # an unreadable one can be removed, too
    gone = [name if name in known else read_run(store, name).id for name in names]
    for record in known.values():
        uris = [reference.uri for outputs in record.artifacts.values() for reference in outputs.values()]
        needed = [run for run in gone if any(uri.startswith(f"{RUNS_URI}/{run}/") for uri in uris)]
        if needed and record.id not in gone:
            raise InputError(f"Run {record.id} also has artifacts of {', '.join(needed)}: remove it first, or with it.")
    held = {run: sum(store.list(f"{RUNS_URI}/{run}").values()) for run in dict.fromkeys(gone)}
    for run in held:
        store.delete(f"{RUNS_URI}/{run}")
    return held


def _read(store: Store, run: str) -> RunRecord:
    uri = f"{RUNS_URI}/{run}/{RECORD}"
    try:
        return RunRecord.model_validate_json(store.get_bytes(uri))
    except ValidationError as error:
        raise DamagedArtifactError(f"{uri} is not the record of a run ({str(error).splitlines()[0]}).") from None


def artifacts_of(tasks: Mapping[str, Mapping[str, Any]]) -> Artifacts:
    """What tasks gave, from what is recorded of each."""
    found: Artifacts = {}
    for task, entry in tasks.items():
        for output, value in entry.get("output", {}).get("artifacts", {}).items():
            artifact = value["artifacts"][0]
            reference = InputRecord(uri=artifact["uri"], digest=artifact.get("metadata", {}).get("digest", ""))
            found.setdefault(task, {})[output] = reference
    return found


def same_name(left: str, right: str) -> bool:
    """Whether two names are one: Kubeflow writes dashes where Python writes underscores."""
    return left.replace("-", "_") == right.replace("-", "_")


def find_artifact(artifacts: Mapping[str, Mapping[str, InputRecord]], name: str) -> tuple[str, str, InputRecord]:
    """Task, output and whereabouts of an artifact called `task/output`, or `output` where only one task gives it.

    Raises:
        InputError: naming what there is, if none or several are meant.
    """
    wanted_task, _, wanted = name.rpartition("/")
    found = [
        (task, output, reference)
        for task, outputs in artifacts.items()
        for output, reference in outputs.items()
        if same_name(output, wanted) and (not wanted_task or same_name(task, wanted_task))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(f"{task}/{output}" for task, output, _ in found)
        raise InputError(f"Artifact {name!r} is ambiguous: it may be {several}.")
    known = ", ".join(f"{task}/{output}" for task, outputs in artifacts.items() for output in outputs)
    raise InputError(f"The run has no artifact {name!r}; it has {known or 'none at all'}.")


def fetch(store: Store, reference: InputRecord, output: str, folder: Path) -> Path:
    """Download an artifact into a folder and check its digest; returns its path.

    Raises:
        DamagedArtifactError: if it is gone, or not what the run wrote; then nothing is left behind.
        InputError: something else has its name in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".moist-fetch-", dir=folder) as temporary:
        staged = Path(temporary, output)
        store.download(reference.uri, staged)
        check_digest(staged, reference)
        target = folder / (output if staged.is_dir() else f"{output}{_suffix(staged)}")
        publish(staged, target)
    return target


def check_digest(path: Path, reference: InputRecord) -> None:
    """Raises DamagedArtifactError unless the files at a path are those that a digest was taken of."""
    found = digest_of(describe(path))
    if found != reference.digest:
        raise DamagedArtifactError(
            f"{reference.uri} has digest {found}, but the run recorded {reference.digest or 'none'}: it was changed "
            "or damaged since; rerun the stage that makes it."
        )


def _suffix(path: Path) -> str:
    """Single-file artifacts are pages or Markdown; in the store they have no extension."""
    return ".html" if path.read_bytes()[:64].lstrip().lower().startswith((b"<!doctype", b"<html")) else ".md"
