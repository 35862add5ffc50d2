"""`doctor`: what it finds of store, images, Kubeflow and GPUs, and that its exit code counts only what is needed."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubeflow_server import Fault, Kubeflow, serve
from moist.runtime import cluster, local_store
from moist.runtime.command_line import main
from small_stages.small_pipeline import small_pipeline

Doctor = Callable[..., tuple[int, dict[str, str]]]
PLANTED = "planted-secret-91c2"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                patch.delenv(name)
        with local_store.store(tmp_path_factory.mktemp("store")) as environment:
            yield environment


@pytest.fixture
def doctor(
    served: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    """Runs it with a store, without engine and cluster; gives the exit code, and the lines by subject."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "KFP_", "KF_", "DOCKER_", "KUBE")):
            monkeypatch.delenv(name)
    for name, value in served.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    kubeconfig("http://127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setattr(cluster, "FIRST_WAIT_SECONDS", 0.001)

    def run(*arguments: str) -> tuple[int, dict[str, str]]:
        code = main(small_pipeline, ["doctor", "--home", str(tmp_path), *arguments])
        lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
        return code, {line.split()[1]: line for line in lines}

    return run


def kubeconfig(server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = [{"name": "x", "cluster": {"server": server}, "user": {}, "context": {"cluster": "x", "user": "x"}}]
    config = {"clusters": named, "users": named, "contexts": named, "current-context": "x"}
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(folder / "kubeconfig"))


@contextmanager
def json_server(answers: dict[str, Any]) -> Iterator[str]:
    """Answers GETs by the last part of their path; gives host:port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

        def do_GET(self) -> None:
            found = answers.get(urlsplit(self.path).path.rsplit("/", 1)[-1])
            body = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_all_is_well(doctor: Doctor, served: dict[str, str]) -> None:
    with serve(Kubeflow()) as kubeflow:
        code, lines = doctor("--host", kubeflow.url)
    assert code == 0, lines
    assert {name for name, line in lines.items() if line.startswith("ok")} >= {"store", "kubeflow", "version", "runs"}
    assert f"at {served['AWS_ENDPOINT_URL_S3']}: wrote, read and deleted a probe" in lines["store"]
    assert "Kubeflow Pipelines 2.17.3" in lines["version"]
    assert lines["images"].startswith("skip")
    assert lines["gpus"].startswith("skip")


def test_without_a_host_kubeflow_is_skipped(doctor: Doctor) -> None:
    code, lines = doctor()
    assert code == 0
    assert lines["kubeflow"].startswith("skip")
    assert "version" not in lines


@pytest.mark.parametrize(
    ("version", "said"), [("2.15.2", "Kubeflow Pipelines 2.15.2; this is made for"), ("", "does not tell")]
)
def test_another_version_is_a_warning(doctor: Doctor, version: str, said: str) -> None:
    with serve(Kubeflow(version=version)) as kubeflow:
        code, lines = doctor("--host", kubeflow.url)
    assert code == 0
    assert lines["version"].startswith("warn")
    assert said in lines["version"]


def test_what_cannot_be_listed_fails(doctor: Doctor) -> None:
    with serve(Kubeflow(faults=[Fault("GET .*/experiments", 403)])) as kubeflow:
        code, lines = doctor("--host", kubeflow.url)
    assert code == 1
    assert lines["experiments"].startswith("FAIL")
    assert "refused the credentials (403)" in lines["experiments"]
    assert lines["runs"].startswith("ok")


def test_a_kubeflow_that_is_gone_or_wants_a_namespace_fails(doctor: Doctor) -> None:
    with serve(Kubeflow(multi_user=True)) as kubeflow:
        code, lines = doctor("--host", kubeflow.url)
        assert (code, lines["kubeflow"][:4]) == (1, "FAIL")
        assert "--namespace" in lines["kubeflow"]
        assert doctor("--host", kubeflow.url, "--namespace", "team-a")[0] == 0
    code, lines = doctor("--host", kubeflow.url)
    assert (code, lines["kubeflow"][:4]) == (1, "FAIL")


def test_wrong_keys_fail_and_are_not_said(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PLANTED)
    code, lines = doctor()
    assert code == 1
    assert lines["store"].startswith("FAIL")
    assert "refused the credentials" in lines["store"]
    assert PLANTED not in "".join(lines.values()) + capsys.readouterr().err


def test_keys_that_open_a_prefix_only_are_tried_there(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor("--bucket", "moist")[0] == 0  # so the bucket is there
    monkeypatch.setattr("moist.runtime.store.Store.ensure_bucket", None)  # such keys may not ask for buckets
    code, lines = doctor("--bucket", "moist/private-artifacts/team")
    assert code == 0
    assert lines["store"].endswith("a probe in bucket moist/private-artifacts/team")
    code, lines = doctor("--bucket", "/private-artifacts")
    assert (code, lines["store"][:4]) == (1, "FAIL")


def test_the_embedded_store_is_tried_where_none_is_configured(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    code, lines = doctor()
    assert code == 0
    assert "the embedded store: wrote, read and deleted" in lines["store"]


@pytest.mark.parametrize(("names", "state"), [(("slim", "train"), "ok"), (("slim",), "warn")])
def test_images_are_looked_for_where_an_engine_answers(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], state: str
) -> None:
    tags = [f"registry.example/moist-{name}:1" for name in names]
    listed = [{"Id": f"sha256:{index}", "RepoTags": [tag]} for index, tag in enumerate(tags)]
    with json_server({"version": {"ApiVersion": "1.47"}, "json": listed}) as address:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}")
        code, lines = doctor("--repository", "registry.example", "--tag", "1")
    assert code == 0
    assert lines["images"].startswith(state), lines
    assert ("has no registry.example/moist-train:1" in lines["images"]) is (state == "warn")


@pytest.mark.parametrize(("count", "state"), [("2", "ok"), ("0", "warn")])
def test_gpus_of_the_clusters_nodes(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: str, state: str
) -> None:
    node = {"metadata": {"name": "node-1"}, "status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": count}}}
    with serve(Kubeflow()) as kubeflow, json_server({"nodes": {"kind": "NodeList", "items": [node]}}) as address:
        kubeconfig(f"http://{address}", tmp_path, monkeypatch)
        code, lines = doctor("--host", kubeflow.url)
    assert code == 0
    assert lines["gpus"].startswith(state), lines
    assert ("2 on node-1" in lines["gpus"]) is (state == "ok")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """As in `pipeline.py doctor | head -1`."""
    program = [
        sys.executable,
        str(Path(__file__).resolve().parents[2] / "pipeline.py"),
        "doctor",
        "--home",
        str(tmp_path),
    ]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if process.stdout is None or process.stderr is None:
        raise AssertionError("no pipes")
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert said == b""
