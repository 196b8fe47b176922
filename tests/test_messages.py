"""What the command line answers to a new user's mistakes: command -> exit code and the whole line."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from antivenom.auditing import catalogue
from antivenom.cli import run

TABLE = [
    ("show nothing", 4, "expected the name of a plugin or a data set, got 'nothing': `antivenom list` lists all "),
    ("show ''", 4, "expected the name of a plugin or a data set, got '': `antivenom list` lists all "),
    ("show krum", 4, "expected the name of a plugin or a data set, got 'krum': did you mean 'Krum'?"),
    ("show label_flipping", 4, "got 'label_flipping': did you mean 'LabelFlipping'?"),
    ("show alternating", 4, "got 'alternating': did you mean 'AlternatingMinimization'?"),
    ("show adlt", 4, "got 'adlt': did you mean 'adult'?"),
    ("show", 4, "antivenom show needs NAME: A plugin or a data set."),
    ("list --kind aggregatr", 4, "expected a kind of plugin, got 'aggregatr': did you mean 'aggregator'?"),
    ("list --kind foo", 4, "expected a kind of plugin, got 'foo': choose from agent, aggregator, architecture, "),
    ("list --goal foo", 4, "got 'foo': choose from availability, backdoor, privacy, targeted"),
    ("list attaks", 4, "expected the name of a list, got 'attaks': did you mean 'attacks'?"),
    ("audt", 4, "expected a command, got 'audt': did you mean 'audit'?"),
    ("frobnicate", 4, "expected a command, got 'frobnicate': choose from allow, audit, "),
    ("''", 4, "expected a command, got '': choose from allow, audit, "),
    ("t.csv", 4, "expected a command, got 't.csv': antivenom audit --data t.csv --label COLUMN"),
    ("'my rows.csv'", 4, "got 'my rows.csv': antivenom audit --data 'my rows.csv' --label COLUMN"),
    ("audit --sedes 3", 4, "expected an option of antivenom audit, got '--sedes': did you mean '--seeds'?"),
    ("audit --foo", 4, "expected an option of antivenom audit, got '--foo': see antivenom audit --help"),
    ("audit t.csv --dry-run", 4, "got t.csv, a table: antivenom audit --data t.csv --label COLUMN"),
    ("audit t.npz --dry-run", 4, "got t.npz, a file of arrays: antivenom audit --npz t.npz"),
    ("audit t.jsonl --dry-run", 4, "got t.jsonl, a file of texts: antivenom audit --text t.jsonl"),
    ("audit empty --dry-run", 4, "got empty, a folder: for a folder of images: antivenom audit --images empty"),
    ("audit m.pt --dry-run", 4, "got m.pt, a model file: antivenom inspect m.pt, or antivenom scan m.pt"),
    ("audit train.py --dry-run", 4, "antivenom audit --data TABLE --label COLUMN --estimator train:NAME"),
    ("audit list.yaml --dry-run", 4, "expected a mapping with a list of `scenarios`, got a list: antivenom init"),
    ("audit map.yaml --dry-run", 4, "expected a mapping with a list of `scenarios`, got a mapping of a, b: antivenom"),
    ("audit none.yaml --dry-run", 4, "expected a mapping with a list of `scenarios`, got an empty file: antivenom"),
    ("scan", 4, "antivenom scan needs PATHS: Files, folders, archives; - for standard input."),
    ("sanitize t.csv", 4, "expected --label, the column with the class, got none"),
    ("data foo", 4, "expected the name of a data set, got 'foo': choose from adult, "),
    ("data ''", 4, "expected the name of a data set, got '': choose from adult, "),
    ("compare", 4, "antivenom compare needs BEFORE: The folder of the earlier audit, or its records.jsonl."),
    ("compare empty empty", 2, "expected records in empty, got no records.jsonl there: run antivenom audit first"),
    ("audit --label x", 4, "got none beside --label: add --data, --images, --text, --npz or --federation"),
    ("audit --baseline empty", 4, "expected the folder of an audit as --baseline, got empty, without records.jsonl"),
    ("report empty --card --serve", 4, "expected one of --replay, --card and --serve, got several"),
    ("init empty", 4, "got empty, a folder: antivenom init empty/scenario.yaml"),
]


@pytest.fixture(scope="module", autouse=True)
def outlined() -> Iterator[None]:
    """The catalogue is opened once, instead of in every command."""
    with catalogue.known() as checked, pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "known", lambda plugins=(): contextlib.nullcontext(checked))
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a few files that are no scenario, which is the working directory."""
    (tmp_path / "empty").mkdir()
    for name in ("t.csv", "my rows.csv"):
        (tmp_path / name).write_text("a,b,label\n1,2,x\n3,4,y\n")
    for name in ("t.npz", "t.jsonl", "m.pt", "train.py", "none.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "map.yaml").write_text("a: 1\nb: 2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("command", "code", "line"), TABLE, ids=[command for command, _, _ in TABLE])
def test_a_mistake_is_answered_once_with_what_to_type(
    folder: Path, command: str, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shlex.split(command)) == code
    caught = capsys.readouterr()
    assert line in caught.err
    assert caught.err.count("\n") == 1
    assert caught.err.count("id you mean") + caught.err.count("choose from") <= 1
    assert len(caught.err) < 420
    assert caught.out == ""


def test_no_command_greets_with_three_things_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    caught = capsys.readouterr()
    commands = [line.split()[1] for line in caught.out.splitlines() if line.startswith("  antivenom ")]
    assert commands == ["audit", "sanitize", "scan"]
    assert max(map(len, caught.out.splitlines())) <= 100
    assert caught.err == ""


def test_help_describes_every_argument_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scan", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.count("Files, folders, archives; - for standard input.") == 1
    assert "[default: table]" in out
    assert "\\" not in out


def test_a_folder_without_files_is_not_judged_and_no_mistake(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scan", "empty"]) == 5
    assert capsys.readouterr().out == "0 files: nothing was scanned\n"
