"""A run that is asked to stop says so in its record; what it leaves in the store never breaks the next command."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, clean_environment, run_command
from moist.runtime.local_store import BUCKET, store
from moist.runtime.runs import list_runs
from moist.runtime.store import Store
from moist.runtime.task_cache import cached_task

RUN = [sys.executable, str(ROOT / "pipeline.py"), "run", "--preset", "smoke"]


@pytest.mark.parametrize(
    ("configured", "number"), [(False, signal.SIGTERM), (True, signal.SIGTERM), (False, signal.SIGINT)]
)
def test_a_signal_ends_the_run_and_its_record_says_so(configured: bool, number: signal.Signals, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with store(tmp_path / "elsewhere") as environment:
        given = {**clean_environment(), **(environment if configured else {}), "TMPDIR": str(scratch)}
        process = subprocess.Popen([*RUN, "--home", str(tmp_path)], env=given, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        said = ""
        for line in process.stderr:
            said += line
            if "[2/" in line:  # a task runs
                break
        process.send_signal(number)
        process.communicate()
        assert process.returncode == 128 + number, said
        assert not list(scratch.glob("moist-*")), "the task had time to remove what it worked on"
        if configured:
            (record,) = list_runs(Store.of(environment))
            assert record.state == "interrupted"
    if not configured:
        with store(tmp_path / "store") as environment:
            (record,) = list_runs(Store.of(environment))
            assert record.state == "interrupted"


def test_a_run_can_be_looked_at_while_it_goes_on_and_after_it_was_killed(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path))
    long = [*RUN, "--teacher-epochs", "10000", *home]
    process = subprocess.Popen(long, env=clean_environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        assert any("[2/" in line for line in process.stderr)  # the first task is done, the second goes on
        assert run_command("runs", *home).stdout.splitlines()[1].split()[1] == "running"
        fetched = run_command("fetch", "latest", "prepare_data/dataset", "--output", str(tmp_path / "here"), *home)
        assert fetched.stdout.strip() == str(tmp_path / "here" / "dataset")
        assert "Nothing is stale, damaged or missing." in run_command("lineage", "latest", *home).stdout
        refused = run_command("remove", "latest", *home)
        assert refused.returncode == 4
        assert refused.stderr.startswith("Another run is using the store in ")
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    listed = run_command("runs", *home)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.splitlines()[1].split()[1] == "killed"
    with store(tmp_path / "store") as environment:
        (record,) = list_runs(Store.of(environment))
        assert set(record.tasks) == {"prepare-data"}


def test_a_damaged_cache_entry_is_none(tmp_path: Path) -> None:
    whole = {"run": "a-run", "task": "one", "output": {"artifacts": {}}}
    entries = [b"", b"{", b"[]", b'{"output": {"artifacts": {"x": {"artifacts": []}}}}', json.dumps(whole).encode()]
    with store(tmp_path) as environment:
        kept = Store.of(environment)
        kept.ensure_bucket(BUCKET)
        found = []
        for entry in entries:
            kept.put_bytes(f"s3://{BUCKET}/cache/a-key.json", entry)
            found.append(cached_task(kept, "a-key"))
    assert found == [None, None, None, None, whole]


def test_a_damaged_file_of_credentials_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    kept = set()
    for text in ("", "{", "[]", '{"AWS_ACCESS_KEY_ID": "only"}', None, None):
        if text is not None:
            path.write_text(text)
        with store(tmp_path) as environment:
            Store.of(environment).ensure_bucket(BUCKET)
            kept.add(environment["AWS_SECRET_ACCESS_KEY"])
        assert path.stat().st_mode & 0o777 == 0o600
        assert set(json.loads(path.read_text())) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert len(kept) == 4  # the last one is whole, and stays
    assert sorted(child.name for child in tmp_path.iterdir() if "credentials" in child.name) == ["credentials.json"]
