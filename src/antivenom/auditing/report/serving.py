"""A small local server that shows the report of an audit while it runs.

It listens on the loopback interface only, answers for its own address only, so that no other site can read it through a name
that resolves to this machine (DNS rebinding), and serves a single page. It reads records and writes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import html
import http.server
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from antivenom.auditing.records import Store
from antivenom.auditing.report import render
from antivenom.auditing.report.front import banner
from antivenom.auditing.summary import summary_of
from antivenom.core.errors import AntivenomError, StoreError

HOST = "127.0.0.1"
RUNNING, DONE = 3, 30  # seconds between two requests of a browser that shows the page
_MOST = 16  # requests at one time
_IDLE = 10.0  # seconds after which a silent connection is closed
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_WAITING = "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>antivenom report</title></head><body><p>{}</p></body></html>"


class Page:
    """The report of a folder, made again when its records have changed.

    Args:
        folder: the folder of an audit, which need not have begun.
    """

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder)
        self._lock = threading.Lock()
        self._known: tuple[object, bytes] | None = None

    def content(self) -> bytes:
        """The page with an instruction to load it again; a line if there are no records yet or they cannot be read."""
        with self._lock:
            state = (self._stamp(), is_running(self._store.path))
            if self._known is None or self._known[0] != state:
                self._known = (state, self._made(running=state[1]).encode("utf-8"))
            return self._known[1]

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = os.stat(self._store.path, follow_symlinks=False)
        except OSError:
            return ()
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _made(self, running: bool) -> str:
        seconds = RUNNING
        try:
            summary = summary_of(self._store)
            text = render(summary, self._store.sha256())
        except StoreError as error:
            text = _WAITING.format(html.escape(f"There is nothing to show yet: {error}"))
        except (AntivenomError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            text = _WAITING.format(html.escape(f"The records cannot be shown: {type(error).__name__}: {error}"))
        else:
            said = banner(summary) or ""
            seconds = RUNNING if running else DONE
            if running and said:
                text = text.replace(said, said.replace("Interrupted:", "Running:", 1), 1)
        refresh = f'<meta http-equiv="refresh" content="{seconds}">'
        return text.replace('<meta charset="utf-8">', f'<meta charset="utf-8">{refresh}', 1).replace(
            "<meta charset='utf-8'>", f"<meta charset='utf-8'>{refresh}", 1
        )


def is_running(path: Path) -> bool:
    """Whether an audit holds the lock of its records."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)  # also gives the lock back


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD for "/" and refuses everything else."""

    server_version, sys_version = "antivenom", ""
    timeout = _IDLE
    server: _Server

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        if self.headers.get_all("Host", []) not in [[name] for name in self.server.names]:
            self.send_error(421, "Not the address of this server")
        elif self.path.partition("?")[0] != "/":
            self.send_error(404, "There is one page, /")
        else:
            content = self.server.page()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: a request may hold anything."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, port: int, page: Callable[[], bytes]) -> None:
        super().__init__((HOST, port), _Handler)
        self.page = page
        self.names = [f"{name}:{self.server_port}" for name in (HOST, "localhost")]
        self._free = threading.BoundedSemaphore(_MOST)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: the other side broke the connection off."""


def server_of(folder: Path, port: int = 0) -> _Server:
    """A server of the folder's report, which listens but does not serve yet.

    Args:
        folder: the folder of an audit.
        port: the port to listen on; 0 takes a free one.

    Raises:
        StoreError: the folder does not exist, or the port cannot be used.
    """
    if not folder.is_dir():
        raise StoreError("the folder of an audit", f"{folder}, which is no folder", "give the audit's --out")
    try:
        return _Server(port, Page(folder).content)
    except (OSError, OverflowError) as error:
        got = error.strerror if isinstance(error, OSError) else "no port"
        raise StoreError(f"a free port on {HOST}", f"{port}: {got}", "leave out --port for any free one") from error


def serve(folder: Path, port: int, say: Callable[[str], None]) -> None:
    """Show the report of a folder until Ctrl-C.

    Args:
        folder, port: as in `server_of`.
        say: receives the line that states the address.
    """
    with server_of(folder, port) as server, contextlib.suppress(KeyboardInterrupt):
        say(f"http://{HOST}:{server.server_port}/ shows {folder} as it grows. Ctrl-C ends it.")
        server.serve_forever(poll_interval=0.2)
