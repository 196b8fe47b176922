"""The local server of a report: one page, for its own address only, whatever is asked."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from antivenom.auditing.plan import plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.report import serving
from antivenom.cli import run
from antivenom.core.errors import StoreError

PLAN = "version: 1\nseeds: 1\nscenarios:\n  - {kind: central, model: {name: MLP, hidden: [4]}, attacks: []}\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server of a page that says "the report"."""
    server = serving._Server(0, lambda: b"the report")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def asked(port: int, request: bytes) -> bytes:
    """What the server answers to these bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        found = b""
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                found += part
        except OSError:  # it closed the connection before it had read all
            pass
        return found


def get(port: int, path: str = "/", host: str | None = None) -> bytes:
    host = f"127.0.0.1:{port}" if host is None else host
    return asked(port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))


def test_the_page_is_served_with_headers_that_keep_it_to_itself(port: int) -> None:
    for host in ("127.0.0.1", "localhost"):
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/?again")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"the report")
        assert "frame-ancestors 'none'" in str(answer.headers["Content-Security-Policy"])
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Access-Control-Allow-Origin"] is None
        assert answer.headers["Server"].strip() == "antivenom"
        connection.close()
    assert b"the report" not in asked(port, f"HEAD / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())


@pytest.mark.parametrize(
    "path", ["/records.jsonl", "/report.html", "/../../etc/passwd", "/%2e%2e/x", "/.", "http://x/"]
)
def test_no_other_path_is_served(port: int, path: str) -> None:
    answer = get(port, path)
    assert answer.startswith(b"HTTP/1.0 404 ")
    assert b"the report" not in answer


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "localhost.:{port}"]
)
def test_another_host_name_is_refused(port: int, host: str) -> None:
    """A site whose name was made to resolve to this machine sends its own name."""
    answer = get(port, host=host.format(port=port))
    assert answer.startswith(b"HTTP/1.0 421 ")
    assert b"the report" not in answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil\r\n\r\n", b"421"),
        (b"POST / HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 9\r\n\r\n123456789", b"501"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", b"431"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"\r\n", b""),
    ],
    ids=["no host", "two hosts", "post", "long path", "long header", "many headers", "tls", "version", "empty"],
)
def test_odd_requests_are_refused(port: int, request_bytes: bytes, status: bytes) -> None:
    answer = asked(port, request_bytes.replace(b"{port}", str(port).encode()))
    assert status in answer[:300]
    assert b"the report" not in answer
    assert get(port).endswith(b"the report")


def test_more_connections_than_it_takes_are_closed_and_it_goes_on(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(serving._MOST)]
    try:
        for connection in silent:
            connection.sendall(b"GET")
        assert b"the report" not in get(port)
    finally:
        for connection in silent:
            connection.close()
    for _ in range(100):
        if get(port).endswith(b"the report"):
            return
    pytest.fail("it does not answer any more")


def test_it_listens_on_the_loopback_interface_only(port: int, tmp_path: Path) -> None:
    with serving.server_of(tmp_path) as server:
        assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(StoreError, match=rf"expected a free port on 127\.0\.0\.1, got {port}: Address already in use"):
        serving.server_of(tmp_path, port)


def test_the_page_follows_the_records(tmp_path: Path) -> None:
    page = serving.Page(tmp_path)
    assert b"There is nothing to show yet" in page.content()
    assert b'http-equiv="refresh" content="3"' in page.content()
    with Store(tmp_path, write=True) as store:
        store.append(plan_of(PLAN, "s.yaml").record("antivenom audit s.yaml"))
        running = page.content()
        assert b"Running: 0 of 1 trials were run." in running
        assert running.count(b'http-equiv="refresh" content="3"') == 1
        assert page.content() is running
    assert b"Interrupted: 0 of 1 trials were run." in page.content()
    assert b'http-equiv="refresh" content="30"' in page.content()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records.jsonl"]


def test_a_folder_that_does_not_exist_and_two_views_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(tmp_path / "nowhere"), "--serve"]) == 2
    assert "which is no folder: give the audit's --out" in capsys.readouterr().err
    assert run(["report", str(tmp_path), "--serve", "--card"]) == 4
