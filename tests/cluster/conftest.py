"""The overlays of k8s/, rendered once by kubectl."""

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))


@cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    """The manifests `kubectl kustomize` makes of an overlay."""
    command = ["kubectl", "kustomize", str(K8S / "overlays" / overlay)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(output))


@pytest.fixture(scope="session")
def render() -> Callable[[str], list[dict[str, Any]]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, and only it renders the overlays")
    return rendered


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest, render: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The manifests of each overlay in turn."""
    return render(request.param)
