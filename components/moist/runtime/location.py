"""Where things lie in an object store: URIs, and what they must not hold."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from moist.errors import InputError

SCHEMES = ("s3", "minio")
BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


def is_uri(location: str) -> bool:
    """Whether a location is an object store's URI rather than a path."""
    return location.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def refuse_credentials(uri: str) -> None:
    """Raises InputError, which does not show the URI, if it has a user name or a password in it."""
    if "@" in uri.partition("://")[2].partition("/")[0]:
        raise InputError(
            "A URI must not hold credentials (what stands before an @): set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY instead."
        )


@dataclass(frozen=True)
class Location:
    """An object or a prefix in a store: `s3://bucket/key`, or `minio://`, which is only another label for S3."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> "Location":
        """Raises InputError for anything but `s3://bucket/key` with a plain key."""
        refuse_credentials(uri)
        parts = urlsplit(uri)
        key = parts.path.strip("/")
        if parts.scheme not in SCHEMES or not parts.netloc or parts.query or parts.fragment:
            raise InputError(f"{uri!r} is not a URI of an object store; it must look like s3://bucket/key.")
        if not BUCKET_NAME.fullmatch(parts.netloc) or ".." in parts.netloc:
            raise InputError(
                f"{uri!r} names no possible bucket: 3 to 63 letters, digits, dots and hyphens are allowed."
            )
        if any(part in ("", ".", "..") for part in key.split("/")) and key:
            raise InputError(f"{uri!r} has an empty or relative part in its key; give the plain key.")
        return cls(parts.netloc, key)

    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def child(self, name: str) -> "Location":
        """The object `name` under this prefix; "" is the object itself."""
        return Location(self.bucket, "/".join(part for part in (self.key, name) if part))
