"""No credential appears in arguments, logs, executor outputs, artifacts, provenance, reports or compiled YAML."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import chain_stages
import pytest
from moist.errors import StoreError
from moist.runtime.contract import execute
from moist.runtime.local_store import BUCKET, store
from moist.runtime.store import ENDPOINT_VARIABLES, PATIENCE, Store
from moist.runtime.task import Task

ROOT = Path(__file__).resolve().parents[2]
DECOYS = {
    "DATABASE_PASSWORD": "planted-password-1b9f",
    "HF_TOKEN": "planted-token-77aa",
    "AWS_WEB_IDENTITY_TOKEN": "planted-identity-c0de",
}
"""What else a pod's environment may hold."""


def run(command: list[str], environment: dict[str, str], folder: Path) -> tuple[int, list[bytes]]:
    """Run a program; returns its exit code, and its arguments and what it said."""
    everything = {**os.environ, **DECOYS, **environment, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    result = subprocess.run(command, env=everything, capture_output=True, check=False, cwd=folder)
    return result.returncode, [*(part.encode() for part in command), result.stdout, result.stderr]


def task(
    module: str, name: str, root: Path, inputs: dict[str, Any], outputs: Iterable[str], **values: Any
) -> list[str]:
    """A stage's command as kfp makes it."""
    given = {
        "inputs": {
            "parameterValues": values,
            "artifacts": {key: {"artifacts": [artifact]} for key, artifact in inputs.items()},
        },
        "outputs": {
            "outputFile": str(root / name / "executor_output.json"),
            "artifacts": {key: {"artifacts": [{"uri": str(root / name / key)}]} for key in outputs},
        },
    }
    return [sys.executable, "-m", module, "--executor-input", json.dumps(given)]


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def objects(found: Store, uri: str) -> list[bytes]:
    """Content and name of everything under a prefix."""
    return [
        part
        for name in found.list(uri)
        for part in (name.encode(), found.get_bytes(f"{uri}/{name}" if name else uri, limit=1 << 30))
    ]


def planted(contents: Iterable[bytes], *secrets: str) -> list[str]:
    looked_at = list(contents)
    assert looked_at
    return [secret for secret in (*secrets, *DECOYS.values()) if any(secret.encode() in part for part in looked_at)]


@pytest.fixture
def secrets(store_environment: dict[str, str]) -> list[str]:
    return [store_environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]


def test_a_stage_run_keeps_the_store_s_keys_to_itself(
    s3: Store, uri: str, tmp_path: Path, store_environment: dict[str, str], secrets: list[str]
) -> None:
    environment = {**store_environment, "MOIST_OUTPUT_ROOT": uri, "MOIST_CHECKPOINTS": f"{uri}/checkpoints"}
    said = []
    prepared = task(
        "moist.stages.prepare_data.program", "prepare_data", tmp_path, {}, ("dataset", "metrics"),
        train_limit=150, test_limit=50,
    )  # fmt: skip
    code, lines = run(prepared, environment, tmp_path)
    assert code == 0, lines
    said += lines
    made = json.loads((tmp_path / "prepare_data" / "executor_output.json").read_text())
    outputs = ("teacher", "logits", "metrics", "curves")
    taught = task(
        "moist.stages.train_teacher.program", "train_teacher", tmp_path,
        {"dataset": made["artifacts"]["dataset"]["artifacts"][0]}, outputs, epochs=2, views=0, checkpoint_seconds=0,
    )  # fmt: skip
    code, lines = run(taught, environment, tmp_path)
    assert code == 0, lines
    said += lines
    stored = objects(s3, uri)
    assert len(stored) > 20
    assert not planted([*said, *stored, *files(tmp_path)], *secrets)


@pytest.mark.parametrize("wrong", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", ENDPOINT_VARIABLES[0]])
def test_what_a_stage_says_of_a_refusal_holds_no_key(
    wrong: str, s3: Store, uri: str, secrets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(wrong, "http://127.0.0.1:1" if wrong in ENDPOINT_VARIABLES else "planted-wrong-key")
    monkeypatch.setenv(PATIENCE, "0")
    places = {name: f"{uri}/{name}" for name in chain_stages.MAKE.outputs}
    with pytest.raises(StoreError) as met:
        execute(Task("make", chain_stages.Settings(), {}, places), chain_stages.MAKE, chain_stages.make)
    assert not planted([str(met.value).encode()], *secrets, "planted-wrong-key")


def test_the_compiled_pipeline_holds_no_key(
    tmp_path: Path, store_environment: dict[str, str], secrets: list[str]
) -> None:
    command = [sys.executable, str(ROOT / "pipeline.py"), "compile", "--output", str(tmp_path / "moist.yaml")]
    code, lines = run(command, store_environment, tmp_path)
    assert code == 0, lines
    assert not planted([*lines, *files(tmp_path)], *secrets)


@pytest.mark.slow
def test_a_whole_run_and_its_report_hold_no_key(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, str(ROOT / "pipeline.py"), "run", "--preset", "smoke", "--home", str(home)]
    code, lines = run(command, {}, tmp_path)
    assert code == 0, lines
    with store(home / "store") as environment:
        secrets = [environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
        stored = objects(Store.of(environment), f"s3://{BUCKET}")
    assert any(b"<html" in part for part in files(home / "runs"))
    assert len(stored) > 50
    assert not planted([*lines, *stored, *files(home / "runs")], *secrets)
