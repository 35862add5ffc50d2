"""Kubeflow Pipelines through kfp's client: who we are, what may pass is tried again, and errors in words."""

import contextlib
import io
import json
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kfp_server_api  # type: ignore[import-untyped]
import urllib3
from kfp import client as kfp_client
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials
from kfp_server_api.rest import RESTClientObject  # type: ignore[import-untyped]

from moist.errors import InputError, MoistError, StoreError
from moist.runtime.store import secret_of
from moist.runtime.terminal import say

HOST, TOKEN, COOKIE = "KF_PIPELINES_ENDPOINT", "KFP_TOKEN", "KFP_COOKIE"
"""Environment variables: the API's address as kfp knows it, and the credentials, which are never arguments."""
TIMEOUT_SECONDS = (10, 60)
FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.5, 30.0
ATTEMPTS = 6
"""How often a request is tried: about 16 seconds in all. While a run is watched, its state is asked for far longer."""


class ClusterError(StoreError):
    """Kubeflow cannot be reached, or answers with an error of its own."""


class AccessError(MoistError):
    """Kubeflow refuses the credentials."""

    exit_code = 7


def waits(attempts: int) -> Iterator[float | None]:
    """Seconds before each further attempt, doubling; None after the last."""
    for attempt in range(attempts - 1):
        yield min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
    yield None


class _Transport(RESTClientObject):  # type: ignore[misc]
    """kfp's HTTP client with time limits, patience for what may pass, and errors that name what to do."""

    def __init__(self, configuration: Any, host: str) -> None:
        configuration.retries = False
        super().__init__(configuration)
        self._host = host
        self.attempts = ATTEMPTS

    def request(self, method: str, url: str, **options: Any) -> Any:
        options["_request_timeout"] = TIMEOUT_SECONDS
        # Only what changes nothing is sent again: a run whose creation was cut off may exist.
        for wait in waits(self.attempts if method == "GET" else 1):
            try:
                return self._checked(super().request(method, url, **options))
            except kfp_server_api.ApiException as error:
                if wait is None or not (error.status == 429 or error.status >= 500):
                    raise self._problem(error) from None
            except urllib3.exceptions.HTTPError as error:
                if wait is None:
                    raise self._unreachable(error) from None
            time.sleep(wait)
        raise ClusterError(f"Kubeflow at {self._host} does not answer.")

    def _checked(self, response: Any) -> Any:
        if "html" in (response.getheader("content-type") or ""):
            raise AccessError(
                f"{self._host} answers with a web page, probably a login: set {TOKEN} or {COOKIE}, or give the address "
                "of the Pipelines API."
            )
        return response

    def _problem(self, error: Any) -> MoistError:
        if error.status in (401, 403):
            return AccessError(
                f"Kubeflow at {self._host} refused the credentials ({error.status}): they have expired, or lack the "
                f"rights. Put a fresh token into {TOKEN} or the file of --token-file, or a cookie into {COOKIE}."
            )
        reason = _message(error.body) or error.reason
        if error.status == 0:
            return ClusterError(f"No secure connection to Kubeflow at {self._host}: {reason}")
        if error.status == 404:
            return NotFoundError(f"Kubeflow at {self._host} has no such thing ({reason}): check --host and the names.")
        if error.status >= 500 or error.status == 429:
            return ClusterError(f"Kubeflow at {self._host} answers {error.status} ({reason}): try again later.")
        return InputError(f"Kubeflow at {self._host} refused the request ({error.status}): {reason}")

    def _unreachable(self, error: Exception) -> ClusterError:
        reason = str(error).rsplit(": ", 1)[-1][:200]
        return ClusterError(
            f"Kubeflow at {self._host} cannot be reached ({type(error).__name__}: {reason}): is the address right, and "
            "does the port-forward still run?"
        )


class NotFoundError(InputError):
    """The API does not know what was asked for."""


def _message(body: Any) -> str:
    """The API's own words, of a JSON error or of plain text, shortened."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    with contextlib.suppress(ValueError):
        answer = json.loads(text)
        if isinstance(answer, dict):
            text = str(answer.get("message") or answer.get("error") or text)
    return " ".join(text.split())[:500]


@dataclass
class Cluster:
    """A Kubeflow Pipelines API and the namespace in which runs go.

    `namespace` is empty where Kubeflow knows no users: then runs go where it is installed.
    """

    host: str
    client: Any = field(repr=False)
    transport: Any = field(repr=False)
    namespace: str | None
    multi_user: bool
    version: str

    def link(self, run_id: str) -> str:
        """Where a browser shows the run."""
        return f"{self.host}/#/runs/details/{run_id}"

    @contextlib.contextmanager
    def patient(self, attempts: int) -> Iterator[None]:
        """Meanwhile put up with longer outages."""
        before, self.transport.attempts = self.transport.attempts, attempts
        try:
            yield
        finally:
            self.transport.attempts = before

    def call(self, method: str, /, **arguments: Any) -> Any:
        """A method of kfp's client, without the links it prints."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return getattr(self.client, method)(**arguments)
        except OSError as error:  # the network's are ours by now; this is the file that holds the token
            raise AccessError(f"The file of --token-file cannot be read any more ({error.strerror}).") from None


def connect(
    host: str | None, namespace: str | None, token_file: Path | None = None, attempts: int = ATTEMPTS
) -> Cluster:
    """Reach Kubeflow Pipelines.

    Args:
        host: address of the API, e.g. http://localhost:8080; default: $KF_PIPELINES_ENDPOINT.
        namespace: where runs go in a Kubeflow with users; otherwise of no effect, which is said.
        token_file: file with a bearer token, read again for each request, so that it may be refreshed meanwhile.
        attempts: how often to ask before giving up.

    Raises:
        InputError: without an address, or without a namespace where one is needed.
        AccessError: if the credentials are refused.
        ClusterError: if it cannot be reached.
    """
    address = (host or os.environ.get(HOST) or "").rstrip("/")
    if not address:
        raise InputError(
            f"--host is missing: the address of Kubeflow Pipelines, e.g. http://localhost:8080 (or {HOST})."
        )
    if "://" not in address:
        address = f"https://{address}"
    if not address.startswith(("http://", "https://")) or "@" in address:
        raise InputError("--host must look like https://host:port/path, without a user name or password.")
    if token_file is not None and not (token_file.is_file() and os.access(token_file, os.R_OK)):
        raise InputError(f"--token-file {token_file} is not a file that can be read.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # kfp announces on every use which servers it works with
        client = _Client(
            host=address,
            existing_token=None if token_file else secret_of(os.environ, TOKEN),
            credentials=ServiceAccountTokenVolumeCredentials(str(token_file)) if token_file else None,
            cookies=secret_of(os.environ, COOKIE),
            ssl_ca_cert=os.environ.get("SSL_CERT_FILE") or None,
        )
    api = client.healthz.api_client
    api.rest_client = transport = _Transport(api.configuration, address)
    transport.attempts = attempts
    try:
        health = _get(api, "/apis/v2beta1/healthz")
    except NotFoundError:
        raise ClusterError(
            f"{address} is not Kubeflow Pipelines 2: it has no /apis/v2beta1. Check the address and its path."
        ) from None
    multi_user = bool(health.get("multi_user"))
    if multi_user and not namespace:
        raise InputError(f"Kubeflow at {address} has users: say with --namespace in which namespace to run.")
    if namespace and not multi_user:
        say(
            f"Kubeflow at {address} has no users: --namespace {namespace} has no effect, runs go where it is installed."
        )
    return Cluster(address, client, transport, namespace if multi_user else None, multi_user, _version(api, health))


class _Client(kfp_client.Client):  # type: ignore[misc]
    """kfp's client without its file of defaults: what an earlier user of this machine kept there is not ours."""

    def _load_context_setting_or_default(self) -> None:
        # A namespace that is set keeps the client from asking the server, with its own impatient transport.
        self._context_setting = {"namespace": "unset"}

    def get_user_namespace(self) -> str:
        return ""

    @property
    def healthz(self) -> Any:
        return self._healthz_api


def _get(api: Any, path: str) -> dict[str, Any]:
    """A GET whose answer has no model in kfp_server_api."""
    answer = api.call_api(path, "GET", response_type="object", auth_settings=["Bearer"], _return_http_data_only=True)
    return answer if isinstance(answer, dict) else {}


def _version(api: Any, health: dict[str, Any]) -> str:
    """Kubeflow's version, where it says one: the web server and the first API do, the second does not."""
    found = health.get("apiServerTagName") or health.get("tag_name") or health.get("frontendTagName")
    if not found:
        with contextlib.suppress(MoistError):
            found = _get(api, "/apis/v1beta1/healthz").get("tag_name")
    return str(found or "")
