"""Errors about the store's address and its credentials do not show what is secret."""

from collections.abc import Callable
from pathlib import Path

import pytest
from moist.errors import InputError, StoreError
from moist.runtime.location import Location
from moist.runtime.store import ENDPOINT_VARIABLES, PATIENCE, Store, secret_of

Run = Callable[..., tuple[int, str]]
SECRET = "TOPSECRET"


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_a_line_break_at_the_end_is_not_part_of_a_secret(
    name: str, s3: Store, uri: str, store_environment: dict[str, str]
) -> None:
    """As `echo KEY | base64` leaves it in a Kubernetes secret."""
    value = store_environment.get(name)
    if value is not None:
        assert Store.of({**store_environment, name: f"{value}\n"}).list(uri) == {}
    assert secret_of({name: f" {SECRET}\n"}, name) == SECRET
    assert secret_of({name: " \n"}, name) is None
    assert secret_of({}, name) is None


def test_one_inside_is_refused_without_showing_it() -> None:
    with pytest.raises(InputError, match="AWS_SESSION_TOKEN has a control character") as error:
        Store.of({ENDPOINT_VARIABLES[0]: "http://localhost:1", "AWS_SESSION_TOKEN": f"x\n{SECRET}"})
    assert SECRET not in str(error.value)


def test_a_damaged_file_of_credentials_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text(f"{SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(PATIENCE, "3600")  # it will not pass, so it is not waited for
    store = Store.of({ENDPOINT_VARIABLES[0]: "http://localhost:1"})
    with pytest.raises(StoreError, match="file of AWS credentials cannot be read") as error:
        store.list("s3://bucket/key")
    assert SECRET not in str(error.value)


def test_a_uri_with_credentials_is_refused_without_showing_it(tiny: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must not hold credentials") as error:
        Location.parse(f"s3://id:{SECRET}@bucket/key")
    assert SECRET not in str(error.value)
    places = [part for name in ("copy", "page", "metrics") for part in (f"--{name}", str(tmp_path / name))]
    code, said = tiny(*places, "--source", f"s3://id:{SECRET}@bucket/key")
    assert code in (2, 3, 4)
    assert SECRET not in said


@pytest.mark.parametrize("endpoint", ["http://localhost:83333", "http://[::1"])
def test_an_address_that_cannot_be_is_one_sentence(endpoint: str) -> None:
    with pytest.raises(InputError, match=r"Store endpoint .* (must look like|cannot be)"):
        Store.of({ENDPOINT_VARIABLES[0]: endpoint})


def test_a_region_that_cannot_be_is_one_sentence() -> None:
    with pytest.raises(InputError, match="AWS_REGION='eu west' cannot be"):
        Store.of({ENDPOINT_VARIABLES[0]: "http://localhost:1", "AWS_REGION": "eu west"})
