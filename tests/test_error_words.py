"""Remedies that help, and messages in words of our own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antivenom.artifacts import safe_load
from antivenom.core.errors import DataError, PluginError, UnsafeFile, did_you_mean
from antivenom.core.streams import Streams
from antivenom.data import NpzFile
from antivenom.data.reading import read_cells
from antivenom.federated.aggregation import require_min_updates
from antivenom.federated.aggregators import Krum


@pytest.mark.parametrize(
    ("n", "f", "remedy"),
    [
        (4, 1, "use at least 5 agents, or another rule"),
        (6, 2, "use f <= 1"),
        (2, 0, "use at least 3 agents, or another rule"),
    ],
)
def test_too_few_agents_get_a_remedy_that_helps(n: int, f: int, remedy: str) -> None:
    """Krum needs 2f + 3 updates; f = 0 would be no defence, so that it is never advised."""
    with pytest.raises(PluginError, match=remedy):
        require_min_updates(Krum(f=f), n)


def test_names_that_do_not_fit_in_a_line_are_counted_or_listed_elsewhere() -> None:
    names = [f"column_{i:03}" for i in range(500)]
    assert did_you_mean("income", names, "antivenom list") == "`antivenom list` lists all 500"
    found = did_you_mean("income", names)
    assert found.startswith("choose from column_000, column_001, ")
    assert found.endswith(" more")
    assert len(found) < 340
    assert did_you_mean("x" * 9, ["y" * 900, "z"]).endswith(f"{'y' * 9} and 1 more")
    assert did_you_mean("flip", ["BitFlip", "LabelFlip", "Median"]) == "did you mean 'BitFlip' or 'LabelFlip'?"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"w": torch.ones(2), "extra": frozenset([1])}, "an object that needs frozenset"),
        (torch.nn.Linear(2, 2), "an object that needs torch.nn.modules.linear.Linear"),
        (b"not a model", "content of the format text under a name that ends in .pt"),
        (b"", "an empty file"),
        (b"\x80\x04\x95\x08\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.", "opcode 149"),
        (b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.", "a pickle that torch.save did not write"),
    ],
    ids=["frozenset", "module", "text", "empty", "pickle 4", "pickle 2"],
)
def test_torch_never_speaks_through_safe_load(content: object, says: str, tmp_path: Path) -> None:
    """Its advice is to load the file without protection."""
    path = tmp_path / "m.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with warnings.catch_warnings(action="error"), pytest.raises(UnsafeFile) as caught:
        safe_load(path)
    line = str(caught.value)
    assert says in line
    for word in ("weights_only", "torch.load", "trust", "add_safe_globals", "Weights only", "file an issue"):
        assert word not in line


def test_a_quote_in_a_file_with_tabs_is_a_character(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text('a\tb\n1\t2" wide\n3\t"4\n5\t"six"\n')
    assert list(read_cells(tmp_path / "t.tsv")["b"]) == ['2" wide', '"4', '"six"']
    (tmp_path / "q.tsv").write_text(
        'a\tb\n1\t"two\twords"\n3\t"say ""4"""\n'
    )  # quoted on purpose, as spreadsheets write it
    assert list(read_cells(tmp_path / "q.tsv")["b"]) == ["two\twords", 'say "4"']


def test_a_quote_that_is_never_closed_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,2\n3,"4\n5,6\n')
    with pytest.raises(DataError, match=r"got a quote in line 3 that is never closed: close it"):
        read_cells(tmp_path / "t.csv")
    (tmp_path / "none.csv").touch()
    with pytest.raises(DataError, match=r"expected a header and rows in .*, got an empty file"):
        read_cells(tmp_path / "none.csv")


@pytest.mark.parametrize("content", [b"not arrays", np.array([{}], dtype=object)], ids=["text", "objects"])
def test_numpy_never_advises_to_load_objects(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, x=content, y=np.zeros(1))
    with pytest.raises(DataError) as caught:
        NpzFile(str(path))(Streams(0))
    assert "got another format, or Python objects, which are not loaded: write it with np.savez" in str(caught.value)
