"""The object store: artifacts to and from S3, with retries, through the minio client. Nothing else imports minio."""

import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials import AWSConfigProvider, ChainedProvider, IamAwsProvider, Provider, StaticProvider
from minio.error import MinioException, S3Error

from moist.errors import DamagedArtifactError, InputError, StoreError
from moist.runtime.artifacts import MANIFEST, full_disk_is_an_error

SCHEMES = ("s3", "minio")
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
ATTEMPTS = 8
MAX_WAIT_SECONDS = 5.0

Result = TypeVar("Result")


def is_uri(location: str) -> bool:
    """Whether a location is an object store's URI rather than a path."""
    return location.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def store_is_configured() -> bool:
    """Whether the environment names an object store."""
    return any(os.environ.get(variable) for variable in ENDPOINT_VARIABLES)


@dataclass(frozen=True)
class Location:
    """An object or a prefix in a store: `s3://bucket/key`, or `minio://`, which is only another label for S3."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> "Location":
        """Raises InputError for anything but `s3://bucket/key` with a plain key."""
        parts = urlsplit(uri)
        key = parts.path.strip("/")
        if parts.scheme not in SCHEMES or not parts.netloc or parts.query or parts.fragment:
            raise InputError(f"{uri!r} is not a URI of an object store; it must look like s3://bucket/key.")
        if any(part in ("", ".", "..") for part in key.split("/")) and key:
            raise InputError(f"{uri!r} has an empty or relative part in its key; give the plain key.")
        return cls(parts.netloc, key)

    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class Store:
    """An S3 endpoint. Every call retries what may pass (connection, 5xx, throttling) with backoff."""

    def __init__(self, endpoint: str, region: str | None = None, credentials: Provider | None = None) -> None:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise InputError(f"Store endpoint {endpoint!r} must look like https://host:port.")
        self.endpoint = f"{parts.scheme}://{parts.netloc}"
        self._client = Minio(
            parts.netloc,
            secure=parts.scheme == "https",
            region=region or "us-east-1",
            credentials=credentials or ChainedProvider(_providers()),
            # Retries are ours, so that one place decides what may pass and how long to wait.
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=5, read=60),
                retries=False,
                cert_reqs="CERT_REQUIRED",
                ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
            ),
        )

    @classmethod
    def from_environment(cls) -> "Store":
        """The store that AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL), AWS_ACCESS_KEY_ID and so on describe.

        Raises:
            StoreError: if no endpoint is set.
        """
        return cls.of(os.environ)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Store":
        """As `from_environment`, for variables that are not this process's own."""
        keys = [environment.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")]
        given = StaticProvider(keys[0], keys[1], keys[2]) if keys[0] and keys[1] else None
        for variable in ENDPOINT_VARIABLES:
            if environment.get(variable):
                return cls(environment[variable], environment.get("AWS_REGION"), given)
        raise StoreError(
            f"No object store is configured: set {ENDPOINT_VARIABLES[0]} (for example http://seaweedfs:8333), "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )

    def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket if it is not there."""

        def make() -> None:
            if not self._client.bucket_exists(bucket):
                self._client.make_bucket(bucket)

        self._retry(make, f"bucket {bucket}")

    def list(self, uri: str) -> dict[str, int]:
        """Size in bytes of every object under a prefix, by its key relative to the prefix ("" for an object itself)."""
        where = Location.parse(uri)

        def fetch() -> dict[str, int]:
            found: dict[str, int] = {}
            for item in self._client.list_objects(where.bucket, prefix=where.key, recursive=True):
                key = item.object_name or ""
                if key == where.key or key.startswith(where.key + "/") or not where.key:
                    found[key[len(where.key) :].strip("/")] = item.size or 0
            return found

        return self._retry(fetch, uri)

    def get_bytes(self, uri: str, limit: int = 16 << 20) -> bytes:
        """An object's content.

        Raises:
            StoreError: if it is not there, or larger than `limit` bytes.
        """
        where = Location.parse(uri)

        def fetch() -> bytes:
            response = self._client.get_object(where.bucket, where.key)
            try:
                content: bytes = response.read(limit + 1)
            finally:
                response.close()
                response.release_conn()
            return content

        content = self._retry(fetch, uri)
        if len(content) > limit:
            raise StoreError(f"{uri} has more than {limit} bytes, which it should not have.")
        return content

    def put_bytes(self, uri: str, content: bytes) -> None:
        """Write one object; an object store shows it whole or not at all."""
        where = Location.parse(uri)
        self._retry(lambda: self._client.put_object(where.bucket, where.key, io.BytesIO(content), len(content)), uri)

    def download(self, uri: str, path: Path) -> None:
        """Fetch an object to a file, or everything under a prefix to a folder.

        Raises:
            DamagedArtifactError: if nothing is there.
            StoreError: if the store cannot be reached, or an object keeps arriving short.
        """
        where = Location.parse(uri)
        objects = self.list(uri)
        if not objects:
            raise DamagedArtifactError(
                f"{uri} is not in the store at {self.endpoint}; was it deleted? Rerun the stage that made it."
            )
        for name, size in sorted(objects.items()):
            target = path / name if name else path
            if not target.resolve().is_relative_to(path.resolve()):
                raise StoreError(f"{uri} holds an object named {name!r}, which would leave its folder; it was refused.")
            target.parent.mkdir(parents=True, exist_ok=True)
            key = f"{where.key}/{name}" if name else where.key
            with full_disk_is_an_error(target):
                self._retry(partial(self._fetch, where.bucket, key, target, size), uri)

    def _fetch(self, bucket: str, key: str, target: Path, size: int) -> None:
        response = self._client.get_object(bucket, key)
        try:
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".partial-", delete=False) as part:
                shutil.copyfileobj(response, part, 1 << 20)
            if Path(part.name).stat().st_size != size:
                raise ConnectionError(f"{key} arrived with {Path(part.name).stat().st_size} of {size} bytes")
            Path(part.name).replace(target)
        finally:
            Path(part.name).unlink(missing_ok=True)
            response.close()
            response.release_conn()

    def upload(self, path: Path, uri: str) -> None:
        """Send a file, or a folder with its manifest last: without its manifest an artifact does not count as there."""
        where = Location.parse(uri)
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in sorted(files, key=lambda file: file.name == MANIFEST):
            key = where.key if path.is_file() else f"{where.key}/{file.relative_to(path).as_posix()}"
            self._retry(
                partial(self._client.fput_object, where.bucket, key, str(file)),
                f"s3://{where.bucket}/{key}",
            )

    def delete(self, uri: str) -> None:
        """Delete an object or everything under a prefix."""
        where = Location.parse(uri)
        for name in self.list(uri):
            key = f"{where.key}/{name}" if name else where.key
            self._retry(partial(self._client.remove_object, where.bucket, key), uri)

    def _retry(self, call: Callable[[], Result], what: str) -> Result:
        for wait in [*_waits(), None]:
            try:
                return call()
            except (urllib3.exceptions.HTTPError, OSError, MinioException, ValueError) as error:
                if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                    raise  # this machine's disk, not the store
                problem = self._problem(error, what)
                if wait is None or not _may_pass(error):
                    raise problem from None
                time.sleep(wait)
        raise StoreError(f"{what} could not be reached at {self.endpoint}.")

    def _problem(self, error: Exception, what: str) -> StoreError:
        if isinstance(error, S3Error):
            if error.code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
                return StoreError(
                    f"The store at {self.endpoint} refused the credentials for {what} ({error.code}): check "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
                )
            return StoreError(f"The store at {self.endpoint} answered {error.code} for {what}.")
        if isinstance(error, ValueError):
            return StoreError(
                f"No credentials for the store at {self.endpoint}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        reason = str(error.__cause__ or error).split("(Caused by")[0].strip()[:200]
        return StoreError(
            f"The store at {self.endpoint} cannot be reached for {what} ({type(error).__name__}: {reason}): is it "
            "running, and is the endpoint right?"
        )


def _providers() -> list[Provider]:
    """Where credentials come from without environment variables: the AWS files, and the pod's role where it has one."""
    providers: list[Provider] = [AWSConfigProvider()]
    if os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") or os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        # Only then: without a role this provider asks a metadata service that may not answer.
        providers.append(IamAwsProvider())
    return providers


def _waits() -> Iterator[float]:
    """Seconds before each retry: 0.25, 0.5, 1, 2, 4, 5, 5 — about 18 in all, so that a short outage passes."""
    for attempt in range(ATTEMPTS - 1):
        yield min(MAX_WAIT_SECONDS, 0.25 * 2**attempt)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, S3Error):
        status = error.response.status if error.response is not None else 500
        return status >= 500 or status == 429 or error.code in ("SlowDown", "RequestTimeout", "InternalError")
    return not isinstance(error, ValueError)
