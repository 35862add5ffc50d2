"""The embedded object store: its ports, and what happens when somebody else has one of them."""

import os
import socket
from pathlib import Path

import pytest
from moist.errors import StoreError
from moist.runtime import local_store
from moist.runtime.store import PATIENCE, Store

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def no_store_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in local_store.ENDPOINT_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_ports_are_not_those_of_outgoing_connections() -> None:
    for _ in range(50):
        ports = local_store._free_ports(HOST, 10)
        assert len(set(ports)) == 10
        with socket.create_server((HOST, 0)) as server, socket.create_connection(server.getsockname()) as client:
            assert max(ports) < client.getsockname()[1]


def test_a_port_in_use_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((HOST, 0)) as taken:
        used = taken.getsockname()[1]
        monkeypatch.setattr(local_store, "PORTS", range(used - 100, used + 100))
        for _ in range(20):
            assert used not in local_store._free_ports(HOST, 2)


def test_a_port_that_is_taken_meanwhile_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, drawn = local_store._free_ports, []
    with socket.create_server((HOST, 0)) as taken:

        def ports(host: str, count: int) -> list[int]:
            found = draw(host, count)
            if not drawn:
                found[local_store.SERVICES.index("filer")] = taken.getsockname()[1]
            drawn.append(found)
            return found

        monkeypatch.setattr(local_store, "_free_ports", ports)
        with local_store.store(tmp_path) as environment:
            assert len(drawn) == 2
            assert environment[local_store.ENDPOINT_VARIABLES[0]].endswith(
                str(drawn[1][local_store.SERVICES.index("s3")])
            )
    assert f"port {drawn[0][local_store.SERVICES.index('filer')]} " in (tmp_path / "server.log").read_text()


def test_the_user_s_session_token_is_of_no_concern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-other-keys")
    with local_store.store(tmp_path) as environment:
        Store.of({**os.environ, **environment}).ensure_bucket("moist")


def test_a_store_of_the_user_s_own_keeps_the_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {local_store.ENDPOINT_VARIABLES[0]: "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "a", PATIENCE: "0.5"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with local_store.store(tmp_path) as environment:
        assert {name: environment[name] for name in given} == given


def test_a_server_that_never_starts_is_an_error_that_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((HOST, 0)) as taken:
        draw = local_store._free_ports
        monkeypatch.setattr(
            local_store, "_free_ports", lambda host, count: [taken.getsockname()[1], *draw(host, count - 1)]
        )
        refused = pytest.raises(StoreError, match=r"ended with exit code \d+; see .*server\.log")
        with refused, local_store.store(tmp_path):
            pass


def test_an_address_that_is_not_this_machines_is_an_error(tmp_path: Path) -> None:
    refused = pytest.raises(StoreError, match=r"no free ports on 192\.0\.2\.1: .*assign")
    with refused, local_store.store(tmp_path, host="192.0.2.1"):
        pass
