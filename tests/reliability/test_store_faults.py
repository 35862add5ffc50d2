"""Between a stage and its store anything may go wrong: it succeeds after retries, or says why not; no damage passes."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import chain_stages
import pytest
from fault_proxy import FAULTS, FaultProxy, Plan, always, at_random, first, nothing
from moist.errors import DamagedArtifactError, DiskFullError, StoreError
from moist.runtime.artifacts import MANIFEST, verify
from moist.runtime.contract import execute
from moist.runtime.store import PATIENCE, Store
from moist.runtime.task import InputReference, Task

Proxy = Callable[[Plan], FaultProxy]


def make(uri: str) -> None:
    places = {name: f"{uri}/{name}" for name in ("numbers", "page")}
    execute(Task("make", chain_stages.Settings(), {}, places), chain_stages.MAKE, chain_stages.make)


def take(uri: str, folder: Path | str) -> None:
    inputs = {"numbers": [InputReference(f"{uri}/numbers")]}
    execute(Task("take", chain_stages.Settings(), inputs, {"again": str(folder)}), chain_stages.TAKE, chain_stages.take)


def digest(s3: Store, uri: str, folder: Path) -> str:
    """The digest of the numbers under a prefix, checked file by file."""
    s3.download(f"{uri}/numbers", folder)
    return verify(folder, "numbers", kind="numbers").digest


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest that an undisturbed run gives."""
    folder = tmp_path_factory.mktemp("undisturbed")
    places = {name: str(folder / name) for name in ("numbers", "page")}
    execute(Task("make", chain_stages.Settings(), {}, places), chain_stages.MAKE, chain_stages.make)
    return verify(folder / "numbers", "numbers", kind="numbers").digest


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_tried_again(fault: str, proxy: Proxy, s3: Store, uri: str, folder: Path, right: str) -> None:
    """The first requests of each kind fail; writing and reading succeed all the same."""
    between = proxy(first(2, fault, "PUT POST"))
    make(uri)
    assert between.met[fault] == 2
    between.plan = first(2, fault, "GET")
    take(uri, folder)
    assert between.met[fault] == 4
    assert digest(s3, uri, folder.with_name("direct")) == right
    assert verify(folder, "again", kind="numbers").digest == right


@pytest.mark.parametrize("seed", [1, 2])
def test_a_network_that_fails_every_third_time(
    seed: int, proxy: Proxy, s3: Store, uri: str, folder: Path, right: str
) -> None:
    between = proxy(at_random(seed, 0.33))
    make(uri)
    take(uri, folder)
    assert sum(count for fault, count in between.met.items() if fault != "none") >= 3
    assert digest(s3, uri, folder.with_name("direct")) == right
    assert verify(folder, "again", kind="numbers").digest == right


def _outage(seconds: float, proxy: Proxy, uri: str, folder: Path, right: str) -> None:
    between = proxy(nothing)
    make(uri)
    between.plan = lambda method, path: (
        between.vanish(seconds) if "medium" in path and not between.met["gone"] else None
    )
    take(uri, folder)
    assert between.met["gone"] > 0
    assert verify(folder, "again", kind="numbers").digest == right


def test_a_store_that_vanishes_for_two_seconds(proxy: Proxy, uri: str, folder: Path, right: str) -> None:
    _outage(2, proxy, uri, folder, right)


@pytest.mark.slow
def test_a_store_that_vanishes_for_ten_seconds(proxy: Proxy, uri: str, folder: Path, right: str) -> None:
    _outage(10, proxy, uri, folder, right)


@pytest.mark.parametrize("fault", ["reset", "503", "503 page", "truncate", "garbled xml"])
def test_what_does_not_pass_is_one_sentence(
    fault: str, proxy: Proxy, uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy(nothing)
    make(uri)
    monkeypatch.setenv(PATIENCE, "0.3")
    proxy(always(fault, "GET"))
    with pytest.raises(StoreError) as met:
        take(uri, folder)
    assert str(met.value).startswith("The store at http://127.0.0.1:")
    assert f"{uri}/numbers" in str(met.value)
    assert "\n" not in str(met.value)
    assert not folder.exists()
    assert not list(folder.parent.glob(".*"))


def test_wrong_keys_are_not_waited_for(proxy: Proxy, uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    between = proxy(nothing)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match=r"refused the credentials for .* \(SignatureDoesNotMatch\)"):
        take(uri, folder)
    assert sum(between.met.values()) == 1


def test_a_failing_upload_leaves_no_artifact(
    proxy: Proxy, s3: Store, uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store takes some files and then no more: without its manifest what lies there is no artifact."""
    monkeypatch.setenv(PATIENCE, "0.3")
    proxy(always("reset", "PUT POST", "medium"))
    with pytest.raises(StoreError, match="numbers/medium"):
        make(uri)
    assert MANIFEST not in s3.list(f"{uri}/numbers")
    with pytest.raises(DamagedArtifactError, match=f"has no {MANIFEST}"):
        take(uri, folder)


def test_a_failing_upload_over_an_earlier_one_leaves_no_mixture(
    proxy: Proxy, s3: Store, uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(uri)
    monkeypatch.setenv(PATIENCE, "0.3")
    proxy(always("reset", "PUT POST", "medium"))
    with pytest.raises(StoreError):
        make(uri)
    assert MANIFEST not in s3.list(f"{uri}/numbers")


@pytest.mark.parametrize("name", ["medium", MANIFEST])
def test_damage_on_the_way_here_is_found(name: str, proxy: Proxy, uri: str, folder: Path) -> None:
    proxy(nothing)
    make(uri)
    proxy(always("damage", "GET", f"numbers/{name}"))
    with pytest.raises(DamagedArtifactError, match="Input numbers"):
        take(uri, folder)
    assert not folder.exists()


def test_damage_on_the_way_there_is_refused_by_the_store_and_sent_again(
    proxy: Proxy, s3: Store, uri: str, folder: Path, right: str
) -> None:
    between = proxy(first(1, "damage upload", "PUT"))
    make(uri)
    assert between.met["damage upload"] == 1
    assert digest(s3, uri, folder) == right


def test_no_room_for_what_comes(
    proxy: Proxy, uri: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy(nothing)
    make(uri)
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        monkeypatch.setattr("tempfile.tempdir", str(small))
        monkeypatch.setenv(PATIENCE, "3600")  # a full disk here is not a store to wait for
        with pytest.raises(DiskFullError, match=f"No space left for {small}"):
            take(uri, folder)
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert not folder.exists()
