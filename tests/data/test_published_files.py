"""Where files are looked for, what a checked download accepts, and what broken files say."""

from __future__ import annotations

import gzip
import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from antivenom.core.errors import DataError, DataNotFound
from antivenom.data.files import OFFLINE, PublishedFile, cache_folder, candidates, locate, parse, read_bytes

CONTENT = b"published bytes\n" * 5000
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def source(url: str = "http://127.0.0.1:9/table.csv", checksum: str = SHA256, **fields: str) -> PublishedFile:
    return PublishedFile("table.csv", url, checksum, **fields)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 100 if self.path == "/cut" else None])

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def publisher(bare_machine, monkeypatch):
    """A web server on this machine, and permission to download; `asked` lists the requests."""
    monkeypatch.delenv(OFFLINE)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        server.url = partial("http://127.0.0.1:{}/{}".format, server.server_port)  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_places_in_order(bare_machine, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path / "own"))
    packaged = source(package_path=str(tmp_path / "package" / "other-name.csv"))
    assert [str(place.relative_to(tmp_path)) for place in candidates(packaged)] == [
        "own/table.csv",
        "own/table.csv.gz",
        "package/other-name.csv",
        "cache/antivenom/table.csv",
        "cache/antivenom/table.csv.gz",
    ]


def test_a_published_gz_may_lie_unpacked(bare_machine):
    packed = replace(source(), filename="images.gz")
    assert [place.name for place in candidates(packed)] == ["images.gz", "images"]


def test_the_first_place_that_has_the_file_wins(bare_machine, monkeypatch, tmp_path):
    """Files are put into the places from the last to the first; each one hides those before it."""
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path / "own"))
    packaged = source(package_path=str(tmp_path / "package.csv"))
    for place in reversed(candidates(packaged)):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(gzip.compress(CONTENT) if place.suffix == ".gz" else CONTENT)
        assert locate(packaged) == place


def test_the_home_sign_is_understood(bare_machine, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTIVENOM_DATA", "~/data")
    assert candidates(source())[0] == tmp_path / "data" / "table.csv"


def test_absent_and_offline_says_file_places_and_how(bare_machine, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTIVENOM_DATA", "/nowhere")
    with pytest.raises(DataNotFound) as caught:
        locate(source(package_path="/usr/share/some-package/table.csv"))
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    for part in ("table.csv", "/nowhere", "/usr/share/some-package", str(tmp_path / "cache"), OFFLINE):
        assert part in line
    assert line.endswith("fetch http://127.0.0.1:9/table.csv into $ANTIVENOM_DATA")


def test_the_files_own_advice_replaces_the_url(bare_machine):
    with pytest.raises(DataNotFound, match=r"ANTIVENOM_DATA \(not set\).*: apt install it$"):
        locate(source(how="apt install it"))


def test_a_download_with_the_right_checksum_is_kept(publisher):
    wanted = source(publisher.url("table.csv"))
    path = locate(wanted)
    assert path == cache_folder() / "table.csv"
    assert path.read_bytes() == CONTENT
    assert locate(wanted) == path
    assert publisher.asked == ["/table.csv"]


def test_a_download_shows_its_progress_on_a_terminal(publisher, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    locate(source(publisher.url("table.csv")))
    shown = capsys.readouterr().err
    assert "table.csv" in shown
    assert "100%" in shown


def test_md5_is_a_checksum_too(publisher):
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert locate(source(publisher.url("table.csv"), f"md5:{md5}")).read_bytes() == CONTENT


def nothing_kept() -> bool:
    return not cache_folder().exists() or list(cache_folder().iterdir()) == []


@pytest.mark.parametrize("checksum", ["sha256:" + "0" * 64, "md5:" + "0" * 32])
def test_a_download_with_another_checksum_is_refused_and_not_kept(publisher, checksum):
    wanted = source(publisher.url("table.csv"), checksum)
    for _ in range(2):
        with pytest.raises(DataNotFound, match="does not have the published checksum and was refused") as caught:
            locate(wanted)
        assert len(str(caught.value).splitlines()) == 1
        assert nothing_kept()
    assert publisher.asked == ["/table.csv"] * 2


@pytest.mark.parametrize(("page", "says"), [("absent", "HTTPError"), ("cut", "ChunkedEncodingError|checksum")])
def test_a_download_that_fails_is_one_line_and_leaves_nothing(publisher, page, says):
    with pytest.raises(DataNotFound, match=f"no download .*({says})") as caught:
        locate(source(publisher.url(page)))
    assert len(str(caught.value).splitlines()) == 1
    assert nothing_kept()


def test_a_server_that_is_not_there_is_one_line(publisher):
    publisher.shutdown()
    publisher.socket.close()
    with pytest.raises(DataNotFound, match=r"ConnectionError from 127\.0\.0\.1:"):
        locate(source(publisher.url("table.csv")))


def test_offline_asks_nobody(publisher, monkeypatch):
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(DataNotFound, match=OFFLINE):
        locate(source(publisher.url("table.csv")))
    assert publisher.asked == []


def test_gz_is_unpacked_by_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(CONTENT)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CONTENT))
    assert read_bytes(tmp_path / "a.csv") == read_bytes(tmp_path / "a.csv.gz") == CONTENT


def broken_gz(kind: str) -> bytes:
    whole = gzip.compress(CONTENT)
    return {
        "cut": whole[:-20],
        "cut in the header": whole[:5],
        "not gzip": b"<html>not found</html>",
        "damaged": whole[:20] + bytes(255 - b for b in whole[20:40]) + whole[40:],
        "garbage behind": whole + b"garbage",
    }[kind]


def refused_by_name(path: Path, read) -> None:
    with pytest.raises(DataError, match="delete the file and fetch it again") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["cut", "cut in the header", "not gzip", "damaged", "garbage behind"])
def test_a_broken_gz_is_named(tmp_path, kind):
    path = tmp_path / "rows.gz"
    path.write_bytes(broken_gz(kind))
    refused_by_name(path, read_bytes)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    refused_by_name(tmp_path, read_bytes)  # a folder: unreadable for every user, root included


def test_a_place_that_cannot_be_looked_into_is_named(bare_machine, monkeypatch, tmp_path):
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path / ("x" * 300)))  # longer than any file system's names
    with pytest.raises(DataError, match=r"complete, readable table\.csv"):
        locate(source())


def test_whatever_a_parser_trips_over_is_one_line_with_the_file(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x")

    def parser(content: bytes) -> None:
        raise KeyError("many\nlines" + "x" * 500)

    refused_by_name(path, partial(parse, parser=parser))
    assert parse(path, bytes.decode) == "x"


def test_a_parsers_own_complaint_names_the_file_too(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x")

    def parser(content: bytes) -> None:
        raise DataError("labels from 0 to 9", "11", "name every class")

    refused_by_name(path, partial(parse, parser=parser))
