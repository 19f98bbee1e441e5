"""The small HTTP server of an operator's tools: /metrics, /healthz and /readyz.

On threads of its own, so that a scrape is answered while the loop is busy: that is when one wants
it. Scrapes are few; more than a handful of connections at once are closed unanswered.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

CONNECTIONS_MAX: Final = 16
REQUEST_TIMEOUT_SECONDS: Final = 5.0
TEXT: Final = "text/plain; charset=utf-8"


@final
class MetricsServer:
    """Serves from construction until `close`. Raises OSError when the port cannot be bound."""

    def __init__(
        self,
        registry: CollectorRegistry,
        is_ready: Callable[[], bool],
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        class Handler(_Handler):
            metrics = registry
            ready = staticmethod(is_ready)

        family = socket.AF_INET6 if ":" in host else socket.AF_INET

        class Server(_Server):
            address_family = family
            tls_context = tls

        self._server = Server((host, port), Handler)
        self.port: int = self._server.server_address[1]
        """Where it listens; the one that was asked for unless that was 0."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def set_tls(self, tls: ssl.SSLContext | None) -> None:
        """What the next connections are served with."""
        self._server.tls_context = tls

    def close(self) -> None:
        """Stop listening. Running answers end by themselves, within their timeout."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Past the slots, so that a crowd is turned away at once and not left to the kernel.
    request_queue_size = 4 * CONNECTIONS_MAX
    # Its close would wait for a client that keeps its connection open.
    block_on_close = False
    tls_context: ssl.SSLContext | None = None

    def __init__(self, *arguments: Any) -> None:
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(REQUEST_TIMEOUT_SECONDS)
            if self.tls_context is not None:
                # Here and not in accept: a silent client holds its own thread, not the listener.
                request = self.tls_context.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError:
            self.shutdown_request(request)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event; nothing else can fail here but writing to it."""


class _Handler(BaseHTTPRequestHandler):
    metrics: CollectorRegistry
    ready: Callable[[], bool]
    timeout = REQUEST_TIMEOUT_SECONDS
    server_version = "triodex"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("accept", ""))
            self._answer(200, encode(self.metrics), content_type)
        elif path == "/healthz":
            self._answer(200, b"ok\n")
        elif path == "/readyz":
            ready = self.ready()
            self._answer(200 if ready else 503, b"ready\n" if ready else b"not ready\n")
        else:
            self._answer(404, b"/metrics /healthz /readyz\n")

    def _answer(self, status: int, body: bytes, content_type: str = TEXT) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """A scrape every few seconds is no news."""
