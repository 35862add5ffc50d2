"""The object store: artifacts to and from S3, with retries, through the minio client. Nothing else imports minio."""

import configparser
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.credentials import AWSConfigProvider, ChainedProvider, IamAwsProvider, Provider, StaticProvider
from minio.datatypes import Object
from minio.error import MinioException, S3Error

from moist.errors import DamagedArtifactError, InputError, StoreError
from moist.runtime.artifacts import MANIFEST, full_disk_is_an_error
from moist.runtime.location import Location, is_uri

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
PATIENCE = "MOIST_STORE_PATIENCE_SECONDS"
"""Environment variable: seconds after a call's first failure during which it is tried again (default 20)."""

PATIENCE_SECONDS = 20.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.25, 5.0
TRANSIENT = {
    *("SlowDown", "SlowDownWrite", "RequestTimeout", "InternalError", "ServiceUnavailable"),
    # The request arrived damaged or short.
    *("XAmzContentSHA256Mismatch", "BadDigest", "InvalidDigest", "IncompleteBody"),
}
REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
PARTIAL = ".partial"

Result = TypeVar("Result")


def store_is_configured() -> bool:
    """Whether the environment names an object store."""
    return any(os.environ.get(variable) for variable in ENDPOINT_VARIABLES)


class Store:
    """An S3 endpoint. Every call retries what may pass (connection, 5xx, throttling) with backoff."""

    def __init__(
        self,
        endpoint: str,
        region: str | None = None,
        credentials: Provider | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        wrong = InputError(f"Store endpoint {endpoint!r} must look like https://host:port.")
        try:
            parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
            parts.port  # noqa: B018 - raises for what is no port
        except ValueError:
            raise (wrong if "@" not in endpoint else InputError("The store's endpoint is no address.")) from None
        if "@" in parts.netloc:  # not shown: what stands before the @ is a secret
            raise InputError(
                f"The store's endpoint ({parts.hostname}) must not hold credentials: set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY."
            )
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise wrong
        self.endpoint = f"{parts.scheme}://{parts.netloc}"
        self._patience_seconds = patience_seconds
        try:
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
        except ValueError as error:
            raise InputError(f"Store endpoint {endpoint!r} or AWS_REGION={region!r} cannot be: {error}.") from None

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
        names = [f"AWS_{name}" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")]
        keys = [secret_of(environment, name) for name in names]
        given = StaticProvider(keys[0], keys[1], keys[2]) if keys[0] and keys[1] else None
        for variable in ENDPOINT_VARIABLES:
            if environment.get(variable):
                region = (environment.get("AWS_REGION") or "").strip()
                return cls(environment[variable].strip(), region, given, _patience(environment))
        raise StoreError(
            f"No object store is configured: set {ENDPOINT_VARIABLES[0]} (for example http://seaweedfs:8333), "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )

    def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket if it is not there. Raises InputError for a name that no bucket can have."""
        Location.parse(f"s3://{bucket}/x")

        def make() -> None:
            if not self._client.bucket_exists(bucket):
                self._client.make_bucket(bucket)

        self._retry(make, f"bucket {bucket}")

    def list(self, uri: str) -> dict[str, int]:
        """Size in bytes of every object under a prefix, by its key relative to the prefix ("" for an object itself)."""
        return {name: item.size or 0 for name, item in self._objects(uri).items()}

    def etags(self, uri: str) -> dict[str, str]:
        """What the store says of the content of the object, or of each object under a prefix, by its URI."""
        where = Location.parse(uri)
        return {where.child(name).uri(): item.etag or "" for name, item in self._objects(uri).items()}

    def _objects(self, uri: str) -> dict[str, Object]:
        """The objects that `list` gives the sizes of."""
        where = Location.parse(uri)

        def fetch() -> dict[str, Object]:
            found: dict[str, Object] = {}
            for item in self._client.list_objects(where.bucket, prefix=where.key, recursive=True):
                key = item.object_name or ""
                inside = key == where.key or key.startswith(where.key + "/") or not where.key
                if inside and not key.endswith("/"):  # such keys are folder markers that some tools leave
                    found[key[len(where.key) :].removeprefix("/")] = item
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
        objects = self.list(uri)
        if not objects:
            raise DamagedArtifactError(
                f"{uri} is not in the store at {self.endpoint}; was it deleted? Rerun the stage that made it."
            )
        for name, size in sorted(objects.items()):
            target = path / name if name else path
            with full_disk_is_an_error(target):
                _make_room(target, path, uri, name)
                self._retry(partial(self._fetch, Location.parse(uri).child(name), target, size), uri)

    def _fetch(self, where: Location, target: Path, size: int) -> None:
        response = self._client.get_object(where.bucket, where.key)
        part = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
        try:
            with (part / "new").open("wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
            arrived = (part / "new").stat().st_size
            if arrived != size:
                raise ConnectionError(f"{where.key} arrived with {arrived} of {size} bytes")
            (part / "new").replace(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            response.close()
            response.release_conn()

    def check_free(self, uri: str, is_file: bool) -> dict[str, int]:
        """What an upload to this place would replace, as `list` gives it.

        Raises:
            InputError: that would be a whole bucket, or what is no artifact: objects that somebody else put there.
            StoreError: the bucket is not there, or refuses the credentials.
        """
        where = Location.parse(uri)
        if not where.key:
            raise InputError(f"{uri} is a whole bucket: an artifact needs a key in it, such as {where.uri()}NAME.")
        found = self.list(uri)
        if is_file and any(found):
            raise InputError(f"{uri} is a folder, of {len(found)} objects; choose another place, or delete them.")
        if found and not is_file and MANIFEST not in found and not self.list(f"{where.uri()}{PARTIAL}"):
            raise InputError(
                f"{uri} is in use: it holds {len(found)} objects that are no artifact, such as "
                f"{where.child(min(found)).key}. Choose another place, or delete them."
            )
        return found

    def upload(self, path: Path, uri: str) -> None:
        """Send a file, or a folder in place of the artifact that is under the prefix.

        The manifest leaves first and comes last: without it an artifact does not count as there, so that at no time
        a part of one, or a mixture of an old and a new one, can be taken for an artifact. Meanwhile an object beside
        it, named as the prefix and `PARTIAL`, says that what is there may be replaced.

        Raises:
            InputError: as `check_free`.
        """
        where = Location.parse(uri)
        if path.is_file():
            self._send(path, where)
            return
        before = self.check_free(uri, is_file=False)
        files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
        begun = Location(where.bucket, f"{where.key}{PARTIAL}")
        self.put_bytes(begun.uri(), b"")
        for name in sorted(before, key=lambda name: name != MANIFEST):
            if name == MANIFEST or name not in files:
                self._remove(where.child(name))
        for name in sorted(files, key=lambda name: (name == MANIFEST, name)):
            self._send(files[name], where.child(name))
        self._remove(begun)

    def delete(self, uri: str) -> None:
        """Delete an object or everything under a prefix."""
        for name in self.list(uri):
            self._remove(Location.parse(uri).child(name))

    def _send(self, file: Path, where: Location) -> None:
        self._retry(partial(self._client.fput_object, where.bucket, where.key, str(file)), where.uri())

    def _remove(self, where: Location) -> None:
        self._retry(partial(self._client.remove_object, where.bucket, where.key), where.uri())

    def _retry(self, call: Callable[[], Result], what: str) -> Result:
        """Call until it succeeds, fails for good, or has failed for longer than the store's patience."""
        wait, give_up = FIRST_WAIT_SECONDS, None
        while True:
            try:
                return call()
            except (
                urllib3.exceptions.HTTPError,
                OSError,
                MinioException,
                ValueError,
                ParseError,
                configparser.Error,
            ) as error:
                if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                    raise  # this machine's disk, not the store
                now = time.monotonic()
                give_up = now + self._patience_seconds if give_up is None else give_up
                if not _may_pass(error) or now + wait > give_up:
                    raise self._problem(error, what) from None
                time.sleep(wait)
                wait = min(LONGEST_WAIT_SECONDS, 2 * wait)

    def _problem(self, error: Exception, what: str) -> StoreError:
        if isinstance(error, S3Error):
            if error.code in REFUSED:
                return StoreError(
                    f"The store at {self.endpoint} refused the credentials for {what} ({error.code}): check "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
                )
            return StoreError(f"The store at {self.endpoint} answered {error.code} for {what}.")
        if _lacks_credentials(error):
            return StoreError(
                f"No credentials for the store at {self.endpoint}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        if isinstance(error, configparser.Error):  # its words quote the file, so they are not shown
            return StoreError(
                f"The file of AWS credentials cannot be read ({type(error).__name__}): correct it, or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        # A ValueError's words may quote a header, which may be a secret.
        reason = "" if isinstance(error, ValueError) else str(error.__cause__ or error)
        reason = reason.split("(Caused by")[0].strip()[:200]
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


def secret_of(environment: Mapping[str, str], name: str) -> str | None:
    """An environment variable that holds a secret, less the white space around it; None if it is not set or empty.

    Raises:
        InputError: it has a control character in it; the value is not shown.
    """
    value = (environment.get(name) or "").strip()
    if not value.isprintable():
        raise InputError(f"{name} has a control character in it, such as a line break: set it again, without.")
    return value or None


def _patience(environment: Mapping[str, str]) -> float:
    text = environment.get(PATIENCE) or str(PATIENCE_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise InputError(f"{PATIENCE}={text!r} is not allowed: give seconds from 0 to 3600.")
    return seconds


def _make_room(target: Path, folder: Path, uri: str, name: str) -> None:
    """Make the folders for one object of a prefix; refuse a name that cannot be a file of its own in the folder."""
    refusal = DamagedArtifactError(f"{uri} holds an object named {name!r}, which cannot be a file of it; delete it.")
    if name and any(part in ("", ".", "..") for part in name.split("/")):
        raise refusal
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise refusal from None
    if target.is_dir() or not target.resolve().is_relative_to(folder.resolve()):
        raise refusal


def _may_pass(error: Exception) -> bool:
    if isinstance(error, S3Error):
        status = error.response.status if error.response is not None else 500
        return status >= 500 or status == 429 or error.code in TRANSIENT
    return not (_lacks_credentials(error) or isinstance(error, configparser.Error))


def _lacks_credentials(error: Exception) -> bool:
    return isinstance(error, ValueError) and "credentials" in str(error)


def local_copy(source: str, folder: Path) -> str:
    """A source as a path of this machine: what an s3:// URI names is fetched into a folder of its own within `folder`.

    Raises:
        InputError: there is nothing.
        StoreError: the store cannot be reached or refuses the credentials.
    """
    if not is_uri(source):
        return source
    target = Path(tempfile.mkdtemp(dir=folder), source.rstrip("/").rsplit("/", 1)[-1])
    Store.from_environment().download(source, target)
    return str(target)
