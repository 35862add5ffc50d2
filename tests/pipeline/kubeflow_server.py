"""A server that speaks Kubeflow Pipelines' v2beta1 API through the models of kfp_server_api, with faults on demand."""

import json
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
import yaml

SERIALIZER = api.ApiClient()
PREFIX = "/apis/v2beta1"
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@dataclass
class Fault:
    """What happens to the next `times` requests whose method and path match: a status, `cut`, `late-cut` or `html`."""

    pattern: str
    what: int | str
    times: int = 1
    message: str = "planned by the test"


@dataclass
class Kubeflow:
    """What the server knows, and what it was asked."""

    multi_user: bool = False
    version: str = "2.17.3"
    token: str | None = None
    polls: list[tuple[str, dict[str, str | None]]] = field(default_factory=lambda: [("SUCCEEDED", {})])
    """What each GET of a run sees: the run's state, and its tasks'; the last one stays."""
    error: str = ""
    run_ids: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    experiments: list[Any] = field(default_factory=list)
    runs: list[Any] = field(default_factory=list)
    pipelines: list[Any] = field(default_factory=list)
    versions: list[Any] = field(default_factory=list)
    packages: list[list[Any]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def asked(self, pattern: str) -> int:
        """How many requests matched, as `METHOD /path?query`."""
        return sum(bool(re.search(pattern, f"{method} {path}")) for method, path, _, _ in self.requests)


def read(data: Any, model: str) -> Any:
    """A model from JSON, as the client reads it; an unknown enum value or type fails."""
    return SERIALIZER.deserialize(SimpleNamespace(data=json.dumps(data)), model)


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def _handler(kubeflow: Kubeflow) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None: ...

        def do_GET(self) -> None:
            self.handle_request(b"")

        def do_POST(self) -> None:
            self.handle_request(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def handle_request(self, body: bytes) -> None:
            kubeflow.requests.append((self.command, self.path, dict(self.headers), body))
            fault = next(
                (f for f in kubeflow.faults if f.times > 0 and re.search(f.pattern, f"{self.command} {self.path}")),
                None,
            )
            if fault is not None:
                fault.times -= 1
                if fault.what == "cut":
                    return self.cut()
                if fault.what == "html":
                    return self.answer(200, b"<html>Log in</html>", "text/html; charset=utf-8")
                if isinstance(fault.what, int):
                    return self.refuse(fault.what, fault.message)
            try:
                if kubeflow.token and self.headers.get("authorization") != f"Bearer {kubeflow.token}":
                    raise _RefusedError(401, "Unauthenticated: token expired")
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                found = respond(kubeflow, self.command, url.path, query, body)
            except _RefusedError as refused:
                return self.refuse(refused.status, refused.message)
            if fault is not None:  # the request took effect, its answer is lost
                return self.cut()
            return self.answer(200, json.dumps(SERIALIZER.sanitize_for_serialization(found)).encode())

        def refuse(self, status: int, message: str) -> None:
            error = SERIALIZER.sanitize_for_serialization(api.GoogleRpcStatus(code=status, message=message))
            self.answer(status, json.dumps(error).encode())

        def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def cut(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


def respond(kubeflow: Kubeflow, method: str, path: str, query: dict[str, str], body: bytes) -> Any:
    """The model, or JSON, that answers a request."""
    where = path.removeprefix(PREFIX)
    if path == "/apis/v1beta1/healthz":
        return {"tag_name": kubeflow.version, "multi_user": kubeflow.multi_user}
    if not path.startswith(PREFIX):
        raise _RefusedError(404, "Not Found")
    if where == "/healthz":
        return api.V2beta1GetHealthzResponse(multi_user=kubeflow.multi_user)
    if kubeflow.multi_user and method == "GET" and where in ("/runs", "/experiments") and not query.get("namespace"):
        raise _RefusedError(400, "An experiment cannot have an empty namespace in multi-user mode")
    if (method, where) == ("GET", "/experiments"):
        return api.V2beta1ListExperimentsResponse(experiments=_filtered(kubeflow.experiments, query))
    if (method, where) == ("POST", "/experiments"):
        experiment = read(json.loads(body), "V2beta1Experiment")
        experiment.experiment_id = str(uuid.uuid4())
        kubeflow.experiments.append(experiment)
        return experiment
    if (method, where) == ("GET", "/runs"):
        newest = _filtered(list(reversed(kubeflow.runs)), query)
        return api.V2beta1ListRunsResponse(runs=newest[: int(query.get("page_size", 10))])
    if (method, where) == ("POST", "/runs"):
        run = read(json.loads(body), "V2beta1Run")
        run.run_id = kubeflow.run_ids.pop(0) if kubeflow.run_ids else str(uuid.uuid4())
        run.state = "PENDING"
        run.created_at = START + timedelta(minutes=len(kubeflow.runs))
        run.finished_at = datetime.fromtimestamp(0, UTC)
        kubeflow.runs.append(run)
        return run
    if method == "GET" and where.startswith("/runs/"):
        return _polled(kubeflow, where.removeprefix("/runs/"))
    if (method, where) == ("GET", "/pipelines"):
        return api.V2beta1ListPipelinesResponse(pipelines=_filtered(kubeflow.pipelines, query))
    if (method, where) == ("POST", "/pipelines/upload"):
        pipeline = api.V2beta1Pipeline(pipeline_id=str(uuid.uuid4()), display_name=query["name"])
        kubeflow.pipelines.append(pipeline)
        _version(kubeflow, pipeline.pipeline_id, query["name"], body)
        return pipeline
    if (method, where) == ("POST", "/pipelines/upload_version"):
        return _version(kubeflow, query["pipelineid"], query["name"], body)
    if method == "GET" and "/versions/" in where:
        version_id = where.rsplit("/", 1)[-1]
        return next(version for version in kubeflow.versions if version.pipeline_version_id == version_id)
    if method == "GET" and where.endswith("/versions"):
        return api.V2beta1ListPipelineVersionsResponse(pipeline_versions=list(reversed(kubeflow.versions)))
    raise _RefusedError(404, f"{method} {path} is not served here")


def _filtered(items: list[Any], query: dict[str, str]) -> list[Any]:
    if not query.get("filter"):
        return items
    (predicate,) = json.loads(query["filter"])["predicates"]
    if predicate["operation"] not in ("EQUALS", 1) or predicate["key"] != "display_name":
        raise _RefusedError(400, "only display_name EQUALS is served here")
    return [item for item in items if item.display_name == predicate["stringValue"]]


def _version(kubeflow: Kubeflow, pipeline_id: str, name: str, body: bytes) -> Any:
    start = re.search(rb"\r\n\r\n(.*)\r\n--", body, re.DOTALL)
    if start is None:
        raise _RefusedError(400, "no file in the upload")
    documents = list(yaml.safe_load_all(start[1]))
    kubeflow.packages.append(documents)
    version = api.V2beta1PipelineVersion(
        pipeline_id=pipeline_id,
        pipeline_version_id=str(uuid.uuid4()),
        display_name=name,
        pipeline_spec=dict(zip(("pipeline_spec", "platform_spec"), documents, strict=False)),
    )
    kubeflow.versions.append(version)
    return version


def _polled(kubeflow: Kubeflow, run_id: str) -> Any:
    run = next((run for run in kubeflow.runs if run.run_id == run_id), None)
    if run is None:
        raise _RefusedError(404, f"Run {run_id} not found")
    state, tasks = kubeflow.polls.pop(0) if len(kubeflow.polls) > 1 else kubeflow.polls[0]
    run.state = state
    if state in ("SUCCEEDED", "FAILED"):
        run.finished_at = run.created_at + timedelta(seconds=90)
    details = [
        api.V2beta1PipelineTaskDetail(
            run_id=run_id,
            display_name=name,
            state=task_state,
            create_time=START,
            start_time=START,
            end_time=START + timedelta(seconds=12),
            error=api.GoogleRpcStatus(code=13, message=kubeflow.error) if task_state == "FAILED" else None,
        )
        for name, task_state in {"root": state, "root-driver": "SUCCEEDED", **tasks}.items()
    ]
    run.run_details = api.V2beta1RunDetails(task_details=details)
    return run


@contextmanager
def serve(kubeflow: Kubeflow) -> Iterator[Kubeflow]:
    """Serve on a free port of loopback meanwhile."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(kubeflow))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    kubeflow.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kubeflow
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
