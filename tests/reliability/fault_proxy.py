"""A proxy between a stage and its store that delays, cuts, damages or refuses what passes through it."""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>later</Message>'
    b"<Resource>/</Resource><RequestId>1</RequestId><HostId>1</HostId></Error>"
)
FAULTS = ("latency", "reset", "reset after", "503", "503 page", "truncate", "garbled xml")
"""What may happen to a request and still pass when it is sent again."""

Plan = Callable[[str, str], str | None]
"""Says what happens to a request, given its method and path; None lets it through."""


class FaultProxy:
    """An HTTP proxy on loopback in front of one server."""

    def __init__(self, upstream: str, plan: Plan) -> None:
        self.plan, self.met, self._gone_until = plan, Counter[str](), 0.0
        parts = urlsplit(upstream)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                if time.monotonic() < proxy._gone_until:
                    proxy.met["gone"] += 1
                    self._reset()
                    return
                super().handle_one_request()

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy.plan(self.command, self.path) if time.monotonic() >= proxy._gone_until else "reset"
                proxy.met[fault or "none"] += 1
                if fault == "latency":
                    time.sleep(0.1)
                elif fault == "reset":
                    self._reset()
                    return
                elif fault == "503":
                    self._answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
                    return
                elif fault == "503 page":
                    self._answer(503, {"Content-Type": "text/html"}, b"<h1>Service unavailable</h1>")
                    return
                elif fault == "garbled xml":
                    self._answer(500, {"Content-Type": "application/xml"}, SLOW_DOWN[:60])
                    return
                elif fault == "damage upload" and body:
                    body = _damaged(body)
                status, headers, content = self._forward(body)
                if fault == "reset after":  # the store did it, but nobody hears of it
                    self._reset()
                elif fault == "truncate" and len(content) > 1:
                    self._answer(status, headers, content[: len(content) // 2], promised=len(content))
                    self._reset()
                elif fault == "damage":
                    self._answer(status, headers, _damaged(content) if content else content)
                else:
                    self._answer(status, headers, content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815

            def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
                try:
                    # The Host header stays the client's: it is part of what the client signed.
                    connection.request(self.command, self.path, body, dict(self.headers.items()))
                    answer = connection.getresponse()
                    return answer.status, dict(answer.headers.items()), answer.read()
                finally:
                    connection.close()

            def _answer(
                self, status: int, headers: dict[str, str], content: bytes, promised: int | None = None
            ) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                size = headers.get("Content-Length", "0") if self.command == "HEAD" else str(promised or len(content))
                self.send_header("Content-Length", size)
                self.end_headers()
                self.wfile.write(content)

            def _reset(self) -> None:
                self.wfile.flush()
                self.close_connection = True
                # Closing with a linger time of 0 sends RST rather than FIN.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

            def finish(self) -> None:
                if self.connection.fileno() != -1:
                    super().finish()

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def shutdown_request(self, request: object) -> None:
                if request.fileno() != -1:  # type: ignore[attr-defined]
                    super().shutdown_request(request)  # type: ignore[arg-type]

            def handle_error(self, *_: object) -> None: ...  # a client that went away is no news here

        self._server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def vanish(self, seconds: float) -> None:
        """Reset every connection for so many seconds."""
        self._gone_until = time.monotonic() + seconds

    @contextmanager
    def serving(self) -> Iterator["FaultProxy"]:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def _damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def nothing(method: str, path: str) -> None:
    """The plan of a proxy that lets all pass."""


def always(fault: str, methods: str = "GET PUT POST HEAD DELETE", containing: str = "") -> Plan:
    """The same fault for all requests of some methods whose path contains a text."""
    return lambda method, path: fault if method in methods.split() and containing in path else None


def first(count: int, fault: str, methods: str = "GET PUT POST HEAD DELETE") -> Plan:
    """A fault for the first requests, then none."""
    left = [count]

    def plan(method: str, path: str) -> str | None:
        if method not in methods.split() or left[0] == 0:
            return None
        left[0] -= 1
        return fault

    return plan


def at_random(seed: int, share: float) -> Plan:
    """Any of FAULTS for a share of the requests."""
    draw = random.Random(seed)
    return lambda method, path: draw.choice(FAULTS) if draw.random() < share else None
