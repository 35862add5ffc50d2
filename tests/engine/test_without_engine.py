"""`--runner docker` where it cannot be had: one sentence, and no trace."""

import re
from pathlib import Path
from typing import Any

import pytest
from moist.errors import InputError
from moist.runtime.containers import _address
from moist.runtime.task_cache import cache_key


def test_no_engine_is_said_in_a_sentence(pipeline_command: Any, tmp_path: Path) -> None:
    command = ("run", "--runner", "docker", "--home", str(tmp_path / "home"))
    process = pipeline_command(*command, environment={"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (1, "")
    assert re.fullmatch(r"No container engine answers .*docker/start-engine\.sh.*\n", stderr)
    assert not (tmp_path / "home").exists()


def test_a_store_that_only_this_machine_reaches_is_refused() -> None:
    for host in ("localhost", "127.0.0.1"):
        with pytest.raises(InputError, match="listens on this machine only"):
            _address(host)


def test_the_cache_keeps_images_and_this_machines_code_apart() -> None:
    given = {"inputs": {"parameterValues": {"seed": 1.0}}, "outputs": {"artifacts": {"data": {}}}}
    keys = {cache_key(["python3", "{}"], given, code) for code in ({"moist": "1"}, {"image": "a"}, {"image": "b"})}
    assert len(keys) == 3
