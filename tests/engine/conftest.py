"""A container engine with the pipeline's images; tests that need them are skipped where there are none."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

PipelineCommand = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def compiled() -> dict[str, Any]:
    """The pipeline as it is sent to a cluster."""
    golden = ROOT / "tests" / "pipeline" / "golden" / "moist.yaml"
    return dict(next(iter(yaml.safe_load_all(golden.read_text()))))


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of the engine."""
    docker = pytest.importorskip("docker.client", reason="the Docker SDK is not installed: pip install docker")
    errors = pytest.importorskip("docker.errors")
    try:
        client = docker.DockerClient.from_env()
        client.ping()
    except (errors.DockerException, OSError) as error:
        pytest.skip(f"no container engine answers ({error}): docker/start-engine.sh")
    yield client
    client.close()


@pytest.fixture(scope="session")
def images(engine: Any, compiled: dict[str, Any]) -> dict[str, str]:
    """Ids of the compiled pipeline's images, by reference: the slim one first."""
    errors = pytest.importorskip("docker.errors")
    found = {}
    executors = compiled["deploymentSpec"]["executors"].values()
    for reference in sorted({executor["container"]["image"] for executor in executors}):
        try:
            found[reference] = str(engine.images.get(reference).id)
        except errors.ImageNotFound:
            pytest.skip(f"{reference} is not built: make images")
    return found


@pytest.fixture(scope="session")
def pipeline_command() -> PipelineCommand:
    """Starts pipeline.py as a user would, without what the tester's shell says about stores."""

    def start(*arguments: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOIST_"))}
        return subprocess.Popen(
            [sys.executable, str(ROOT / "pipeline.py"), *arguments],
            env={**clean, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    return start
