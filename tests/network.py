"""Bad networks and tired stores, on the loopback interface: what stands between a test and a real S3 store."""

from __future__ import annotations

import http.server
import math
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Network:
    """The way to a store, through which each connection carries only so many bytes before it breaks or stalls.

    `to_store` and `from_store` limit the bytes of one connection in one direction; `breaks` is how many connections
    suffer that. `reached` is set with the first. Between `cut` and `mend` no connection comes through; `refused` counts
    those that were tried.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        to_store: float = math.inf,
        from_store: float = math.inf,
        breaks: float = math.inf,
        stall: bool = False,
    ) -> None:
        address = urlsplit(endpoint)
        self._store = (str(address.hostname), int(str(address.port)))
        self._to_store, self._from_store, self._breaks, self._stall = to_store, from_store, breaks, stall
        self._server = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.reached = threading.Event()
        self._cut = 0.0
        self.refused = 0

    def cut(self, connections: float = math.inf) -> None:
        """Break all connections, and let none of the next so many through."""
        with self._lock:
            self._cut = connections
            for connection in self._sockets:
                _wake(connection)

    def mend(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._cut = 0

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        _wake(self._server)
        with self._lock:
            for connection in self._sockets:
                _wake(connection)
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                cut = self._cut > 0
                self._cut -= cut
                self.refused += cut
            if cut:
                client.close()
                continue
            store = socket.create_connection(self._store)
            with self._lock:
                self._sockets += [client, store]
                if self._ended.is_set():
                    _wake(client)
            self._run(self._carry, client, store)

    def _carry(self, client: socket.socket, store: socket.socket) -> None:
        target = {client: store, store: client}
        left = {client: self._to_store, store: self._from_store}
        # Closed with bytes unread, a connection is reset, as it is when a machine or a wire fails.
        with client, store:
            while True:
                for source in select.select([client, store], [], [])[0]:
                    try:
                        data = source.recv(65536)
                        left[source] -= len(data)
                        if not data or (left[source] < 0 and self._may_break()):
                            return
                        target[source].sendall(data)
                    except ConnectionError:
                        return

    def _may_break(self) -> bool:
        with self._lock:
            self._breaks -= 1
            if self._breaks < 0:
                return False
        self.reached.set()
        if self._stall:
            self._ended.wait()
        return True


@contextmanager
def throttling(refusals: float = math.inf) -> Iterator[tuple[str, list[str]]]:
    """An endpoint which answers SlowDown so many times and then with an object, and the methods it was asked with."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            asked.append(self.command)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            refused = len(asked) <= refusals
            body = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
            body = body if refused else b"answer"
            self.send_response(503 if refused else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """The tests' own output stays clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _wake(connection: socket.socket) -> None:
    """End what other threads wait for on this connection, which they may have closed already."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
