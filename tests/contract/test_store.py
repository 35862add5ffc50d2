"""The object store client and stages on `s3://` URIs, against a real S3 server."""

import contextlib
import hashlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from minio import Minio
from moist.errors import DamagedArtifactError, InputError, StoreError
from moist.runtime.artifacts import verify
from moist.runtime.location import Location
from moist.runtime.store import ENDPOINT_VARIABLES, PATIENCE, Store

Run = Callable[..., tuple[int, str]]
NAMES = ("copy", "page", "metrics")


def places(root: str) -> list[str]:
    return [part for name in NAMES for part in (f"--{name}", f"{root}/{name}")]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_stage_reads_and_writes_the_store(s3: Store, uri: str, tiny: Run, tmp_path: Path) -> None:
    assert tiny(*places(f"{uri}/first")) == (0, "")
    assert sorted(s3.list(f"{uri}/first")) == [
        "copy/deep/lines.txt", "copy/moist.json", "metrics/metrics.json", "metrics/moist.json", "page",
    ]  # fmt: skip
    minio = f"{uri}/first/copy".replace("s3://", "minio://")  # another label for the same store
    local = [part for name in NAMES for part in (f"--{name}", tmp_path / name)]
    assert tiny(*local, "--source", minio) == (0, "")
    assert (tmp_path / "copy" / "deep" / "lines.txt").read_text().count("line") == 6
    assert tiny(*places(f"{uri}/second"), "--source", f"{uri}/first/copy") == (0, "")
    s3.download(f"{uri}/second/copy", tmp_path / "fetched")
    found = verify(tmp_path / "fetched", "copy", kind="lines")
    # The same bytes whether from the store or from disk.
    assert found.digest == verify(tmp_path / "copy", "copy", kind="lines").digest


def test_a_failing_stage_writes_nothing_to_the_store(s3: Store, uri: str, tiny: Run) -> None:
    assert tiny(*places(uri), "--ending", "error")[0] == 2
    assert s3.list(uri) == {}


def test_large_and_empty_files_survive(s3: Store, uri: str, tmp_path: Path) -> None:
    """Above 5 MiB the client sends an object in parts."""
    large = bytes(range(256)) * 4 * 6000
    write(tmp_path / "from", {"large.bin": large, "empty": b"", "a b/ü+%20&=.txt": b"odd name", "moist.json": b"{}"})
    s3.upload(tmp_path / "from", uri)
    s3.download(uri, tmp_path / "to")
    assert {p.relative_to(tmp_path / "to").as_posix() for p in (tmp_path / "to").rglob("*") if p.is_file()} == {
        "large.bin", "empty", "a b/ü+%20&=.txt", "moist.json",
    }  # fmt: skip
    assert hashlib.sha256((tmp_path / "to" / "large.bin").read_bytes()).digest() == hashlib.sha256(large).digest()
    assert (tmp_path / "to" / "a b" / "ü+%20&=.txt").read_bytes() == b"odd name"


def test_a_prefix_does_not_reach_its_neighbours(s3: Store, uri: str, tmp_path: Path) -> None:
    for name in ("b", "bc", "b.txt"):
        s3.upload(write(tmp_path / name, {"file": name.encode()}), f"{uri}/{name}")
    assert s3.list(f"{uri}/b") == {"file": 1}
    s3.delete(f"{uri}/b")
    assert sorted(s3.list(uri)) == ["b.txt/file", "bc/file"]


def test_an_upload_replaces_what_was_there(s3: Store, uri: str, tmp_path: Path) -> None:
    s3.upload(write(tmp_path / "1", {"old": b"1", "both": b"1", "moist.json": b"1"}), uri)
    s3.upload(write(tmp_path / "2", {"new": b"2", "both": b"2", "moist.json": b"2"}), uri)
    assert sorted(s3.list(uri)) == ["both", "moist.json", "new"]
    assert s3.get_bytes(f"{uri}/both") == b"2"


def test_a_folder_marker_is_not_a_file(s3: Store, store_environment: dict[str, str], uri: str, tmp_path: Path) -> None:
    """S3 consoles leave empty objects whose names end in a slash."""
    s3.upload(write(tmp_path / "from", {"file": b"1"}), uri)
    client(store_environment).put_object("moist", Location.parse(uri).key + "/", io.BytesIO(), 0)
    s3.download(uri, tmp_path / "to")
    assert (tmp_path / "to" / "file").read_bytes() == b"1"


def client(environment: dict[str, str]) -> Minio:
    endpoint = environment[ENDPOINT_VARIABLES[0]].removeprefix("http://")
    keys = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    return Minio(endpoint, *keys, secure=False, region="us-east-1")


def test_what_is_not_there_is_exit_code_3(s3: Store, uri: str, tiny: Run) -> None:
    code, error = tiny(*places(uri), "--source", f"{uri}/nothing")
    assert code == 3
    assert f"{uri}/nothing is not in the store at {s3.endpoint}; was it deleted?" in error


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_credentials_are_exit_code_4_at_once(
    name: str, s3: Store, uri: str, tiny: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "3600")  # this does not pass, so it is not waited for
    monkeypatch.setenv(name, "wrong")
    code, error = tiny(*places(uri), "--source", f"{uri}/x")
    assert code == 4
    assert "refused the credentials" in error
    assert error.count("\n") == 1


def test_no_credentials_and_no_store_are_exit_code_4(
    s3: Store, uri: str, tiny: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.aws
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    code, error = tiny(*places(uri), "--source", f"{uri}/x")
    assert code == 4
    assert f"No credentials for the store at {s3.endpoint}: set AWS_ACCESS_KEY_ID" in error
    monkeypatch.delenv(ENDPOINT_VARIABLES[0])
    code, error = tiny(*places(uri))
    assert code == 4
    assert "No object store is configured: set AWS_ENDPOINT_URL_S3" in error


def test_a_store_that_is_down_is_exit_code_4(tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, but nobody listens
        monkeypatch.setenv(ENDPOINT_VARIABLES[0], f"http://127.0.0.1:{held.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv(PATIENCE, "0.3")
        code, error = tiny(*places("s3://bucket/out"), "--source", "s3://bucket/in")
    assert code == 4
    assert "cannot be reached for s3://bucket/out" in error
    assert "is it running, and is the endpoint right?" in error
    assert error.count("\n") == 1


def test_a_missing_bucket_is_named(s3: Store, tiny: Run) -> None:
    code, error = tiny(*places("s3://no-such-bucket/out"), "--source", "s3://no-such-bucket/in")
    assert code in (3, 4)
    assert "no-such-bucket" in error


@pytest.mark.parametrize(
    "uri",
    [
        *("s3://", "s3:///key", "s3://x/key", "s3://UP..per/key", "s3://b@d/key"),
        *("s3://bucket/a/../b", "s3://bucket/a//b", "s3://bucket/a?b=c"),
    ],
)
def test_a_uri_that_is_none(uri: str) -> None:
    with pytest.raises(
        InputError, match=r"URI of an object store|no possible bucket|empty or relative part|hold credentials"
    ):
        Location.parse(uri)


def test_an_endpoint_may_not_hold_credentials_and_they_are_not_shown(
    tiny: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLES[0], "http://planted-user:planted-secret@127.0.0.1:1")
    code, error = tiny(*places("s3://bucket/out"))
    assert code == 2
    assert "must not hold credentials" in error
    assert "planted" not in error


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "99999"])
def test_a_patience_that_is_none(text: str, s3: Store, uri: str, tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, text)
    code, error = tiny(*places(uri))
    assert code == 2
    assert f"{PATIENCE}={text!r} is not allowed: give seconds from 0 to 3600." in error


@contextlib.contextmanager
def hostile_store(*names: str) -> Iterator[Store]:
    """An S3 server that says it holds objects of these names, whatever it is asked for."""
    content = b"hostile"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listing = "list-type" in self.path
            entries = "".join(
                f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                for name in names
            )
            body = f"<ListBucketResult><Name>bucket</Name>{entries}</ListBucketResult>".encode() if listing else content
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    try:
        yield Store.of({ENDPOINT_VARIABLES[0]: f"http://127.0.0.1:{server.server_port}", **keys, PATIENCE: "0"})
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "names",
    [
        ["in/../../outside"],
        ["in/a/../../../outside"],
        ["in//etc/outside"],
        ["in/./file"],
        ["in/file", "in/file/inside"],
        ["in", "in/file"],
    ],
    ids="+".join,
)
def test_object_names_that_leave_the_folder_are_refused(names: list[str], tmp_path: Path) -> None:
    with hostile_store(*names) as store, pytest.raises(DamagedArtifactError, match="holds an object named"):
        store.download("s3://bucket/in", tmp_path / "deep" / "to")
    assert not list(tmp_path.rglob("outside"))


def test_a_short_object_is_an_error_even_if_the_server_says_otherwise(tmp_path: Path) -> None:
    with hostile_store("in/file") as store:
        store.download("s3://bucket/in", tmp_path / "to")
        assert (tmp_path / "to" / "file").read_bytes() == b"hostile"
        with pytest.raises(StoreError, match="more than 3 bytes"):
            store.get_bytes("s3://bucket/in/file", limit=3)
        store.list = lambda uri: {"file": 100}  # type: ignore[method-assign] # what an earlier listing said
        with pytest.raises(StoreError, match="arrived with 7 of 100 bytes"):
            store.download("s3://bucket/in", tmp_path / "again")
    assert not list((tmp_path / "again").iterdir())


def test_other_content_has_another_etag(s3: Store, uri: str) -> None:
    """What a run's cache knows of a source in the store."""
    for name, content in (("one", b"1"), ("deep/two", b"2")):
        s3.put_bytes(f"{uri}/{name}", content)
    before = s3.etags(uri)
    assert sorted(before) == [f"{uri}/deep/two", f"{uri}/one"]
    assert s3.etags(uri) == before
    s3.put_bytes(f"{uri}/one", b"3")  # of the same size
    after = s3.etags(uri)
    assert after[f"{uri}/one"] != before[f"{uri}/one"]
    assert after[f"{uri}/deep/two"] == before[f"{uri}/deep/two"]
    assert list(s3.etags(f"{uri}/one")) == [f"{uri}/one"]


def test_a_name_that_no_bucket_can_have_is_no_outage(s3: Store) -> None:
    with pytest.raises(InputError, match="names no possible bucket"):
        s3.ensure_bucket("a")
