"""A real S3 server, with a proxy in front of it where a test asks for one."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy, Plan, nothing
from moist.runtime.local_store import BUCKET, store
from moist.runtime.store import ENDPOINT_VARIABLES, PATIENCE, Store

FOREIGN = (*ENDPOINT_VARIABLES, "MOIST_OUTPUT_ROOT", "MOIST_CHECKPOINTS", "MOIST_PROCESSES", PATIENCE)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tester's shell says about stores and processes is not what is tested."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def store_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        running = contextlib.ExitStack()
        environment = running.enter_context(store(tmp_path_factory.mktemp("store")))
    with running:
        Store.of(environment).ensure_bucket(BUCKET)
        yield environment


@pytest.fixture
def s3(store_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store, which the environment names too."""
    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    return Store.from_environment()


@pytest.fixture
def uri(request: pytest.FixtureRequest) -> str:
    """A prefix of the store that no other test uses."""
    return f"s3://{BUCKET}/tests/{request.node.name.replace('[', '-').replace(' ', '-').rstrip(']')}"


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
