"""A real S3 server for the tests of a folder whose conftest.py imports these fixtures."""

import contextlib
import re
from collections.abc import Iterator

import pytest
from moist.runtime.contract import CHECKPOINTS, OUTPUT_ROOT
from moist.runtime.local_store import BUCKET, store
from moist.runtime.processes import PROCESSES
from moist.runtime.store import ENDPOINT_VARIABLES, PATIENCE, Store

FOREIGN = (*ENDPOINT_VARIABLES, OUTPUT_ROOT, CHECKPOINTS, PROCESSES, PATIENCE)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tester's shell says about stores and processes is not what is tested."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def store_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that name the server and its keys."""
    with pytest.MonkeyPatch.context() as patch:
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        running = contextlib.ExitStack()
        environment = running.enter_context(store(tmp_path_factory.mktemp("store")))
    with running:
        Store.of(environment).ensure_bucket(BUCKET)
        yield environment


@pytest.fixture
def s3(store_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, plain_environment: None) -> Store:
    """The server, which the environment names too."""
    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    return Store.from_environment()


@pytest.fixture
def uri(request: pytest.FixtureRequest) -> str:
    """A prefix of the store that no other test uses."""
    return f"s3://{BUCKET}/tests/" + re.sub(r"\W+", "-", request.node.name).strip("-")
