"""Streams of zstd: without a decompressor the status is cannot tell, and the reason names what is missing."""

import importlib.util
from pathlib import Path

import pytest

from antivenom.scan import scan


@pytest.mark.skipif(importlib.util.find_spec("compression") is not None, reason="this Python decompresses zstd")
def test_the_reason_names_the_python_that_reads_zstd(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl.zst"
    path.write_bytes(bytes.fromhex("28b52ffd0400010000") + bytes(4))
    report = scan(path)
    assert report.exit_code == 3
    assert any("zstd needs Python 3.14" in finding.what for finding in report.findings)
