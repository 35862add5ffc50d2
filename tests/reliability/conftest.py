"""A real S3 server, with a proxy in front of it where a test asks for one."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy, Plan, nothing
from moist.runtime.store import ENDPOINT_VARIABLES, Store
from store_fixtures import plain_environment, s3, store_environment, uri

__all__ = ["plain_environment", "s3", "store_environment", "uri"]


@pytest.fixture
def proxy(
    s3: Store, store_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Plan], FaultProxy]]:
    """Puts a proxy with a plan between the store and what reads the environment; `s3` itself stays direct."""
    with contextlib.ExitStack() as running:

        def start(plan: Plan = nothing) -> FaultProxy:
            made = running.enter_context(FaultProxy(store_environment[ENDPOINT_VARIABLES[0]], plan).serving())
            monkeypatch.setenv(ENDPOINT_VARIABLES[0], made.endpoint)
            return made

        yield start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For what a test writes on this machine."""
    return tmp_path / "local"
