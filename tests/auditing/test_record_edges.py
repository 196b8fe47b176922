"""Records that are odd, and files that stand where records should be: one line each, nothing lost, and the audit goes on."""

from __future__ import annotations

import getpass
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from antivenom.auditing.executors import serial
from antivenom.auditing.formatting import not_measured
from antivenom.auditing.identity import Identity
from antivenom.auditing.lines import require_trial
from antivenom.auditing.plan import plan_of
from antivenom.auditing.private import without_places
from antivenom.auditing.records import Store
from antivenom.auditing.report import write_report
from antivenom.auditing.run import audit, missing
from antivenom.auditing.summary import summary_of
from antivenom.auditing.trial import Record, run_trial
from antivenom.core.errors import StoreError

TEXT = """
version: 1
seeds: 1
scenarios:
  - kind: central
    model: {name: MLP, hidden: [8]}
    training: {epochs: 1}
    attacks: [BadNets]
    defences: [KNNSanitizer]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """The records of a small audit: a plan and four trials."""
    folder = tmp_path_factory.mktemp("made")
    with Store(folder, write=True) as store:
        for _ in audit(plan_of(TEXT, "s.yaml"), store, serial, run_trial, "antivenom audit s.yaml"):
            pass
    return list(map(json.loads, store.path.read_text().splitlines()))


def folder_of(folder: Path, *lines: object, end: bytes = b"\n") -> Path:
    """The folder, with records.jsonl of these lines."""
    raw = [line if isinstance(line, bytes) else json.dumps(line, separators=(",", ":")).encode() for line in lines]
    (folder / "records.jsonl").write_bytes(b"\n".join(raw) + end)
    return folder


TRIAL: dict[str, dict[str, Any]] = {
    "metrics are missing": {"metrics": ...},
    "curves are missing": {"curves": ...},
    "notes are missing": {"notes": ...},
    "versions are missing": {"versions": ...},
    "the machine is missing": {"versions": {"python": "3"}},
    "seconds are missing": {"seconds": ...},
    "the start is missing": {"started": ...},
    "the device is missing": {"device": ...},
    "status is missing": {"status": ...},
    "status is unknown": {"status": "fine"},
    "status is a list": {"status": ["ok"]},
    "metrics are a list": {"metrics": [1]},
    "metrics are null": {"metrics": None},
    "metrics are empty": {"metrics": {}},
    "a metric is a word": {"metrics": {"clean_accuracy": "high", "asr": 0.1}},
    "a metric is a list": {"metrics": {"clean_accuracy": [1], "asr": 0.1}},
    "a metric has 400 digits": {"metrics": {"clean_accuracy": 10**400, "asr": 0.1}},
    "a metric is true": {"metrics": {"clean_accuracy": True, "asr": 0.1}},
    "curves are numbers": {"curves": {"accuracy": 1}},
    "a curve holds words": {"curves": {"accuracy": ["a"]}},
    "notes are a word": {"notes": "none"},
    "notes are numbers": {"notes": [1]},
    "error is a number": {"error": 3},
    "seconds are a word": {"seconds": "long"},
    "versions are a list": {"versions": []},
    "device is a number": {"device": 1},
    "traceback is a list": {"traceback": []},
    "run is a mapping": {"run": {}},
    "type is missing": {"type": ...},
    "type is unknown": {"type": "trail"},
    "type is a list": {"type": []},
    "schema is missing": {"schema": ...},
    "schema is a word": {"schema": "1"},
    "schema is true": {"schema": True},
    "schema is null": {"schema": None},
    "schema is zero": {"schema": 0},
    "an error holds half a character": {"error": "\ud800"},
}
LINES = {
    "no JSON": b"something else",
    "no text": b"\xff\xfe\x00",
    "zero bytes": b"\0" * 100,
    "half a record": b'{"schema":1,"type":"trial","key":"ab',
    "two records": b'{"schema":1} {"schema":1}',
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "NaN": b"NaN",
    "a number that JSON lacks": b'{"schema":1,"type":"trial","metrics":{"asr":NaN}}',
    "an infinite number": b'{"schema":1,"type":"trial","metrics":{"asr":Infinity}}',
    "a number of 5,000 digits": b'{"schema":' + b"9" * 5000 + b"}",
    "nesting of 100,000": b"[" * 100_000 + b"]" * 100_000,
    "a byte order mark": b'\xef\xbb\xbf{"schema":1}',
}


def checked(folder: Path, number: int, made: list[Record]) -> None:
    """Check that the line is named, that a report is made, and that the audit goes on with what is missing."""
    store = Store(folder)
    (bad,) = store.bad_lines()
    assert f"line {number} of " in bad
    assert bad.endswith("delete that line, or leave it: it is ignored")
    assert "\n" not in bad
    summary = summary_of(store)
    assert summary.trials["ok"] == len(store.trials())
    plan = plan_of(TEXT, "s.yaml")
    again = {record["key"] for record in made[1:]} - store.trials().keys()
    assert len(missing(plan, store)) == len(again)
    with Store(folder, write=True) as store:
        for record in made[1:]:
            if record["key"] in again:
                store.append(record)
    assert missing(plan, Store(folder)) == []
    assert summary_of(Store(folder)).trials["ok"] == 4


@pytest.mark.parametrize("change", TRIAL.values(), ids=list(TRIAL))
def test_a_trial_with_a_wrong_field_is_named_and_ignored(
    tmp_path: Path, made: list[Record], change: dict[str, Any]
) -> None:
    odd = {name: value for name, value in (made[2] | change).items() if value is not ...}
    checked(folder_of(tmp_path, *made[:2], odd, *made[3:]), 3, made)


@pytest.mark.parametrize("line", LINES.values(), ids=list(LINES))
def test_a_line_that_is_no_record_is_named_and_ignored(tmp_path: Path, made: list[Record], line: bytes) -> None:
    checked(folder_of(tmp_path, *made[:2], line, *made[3:]), 3, made)


@pytest.mark.parametrize("name", ["key", "spec", "code", "data", "version"])
@pytest.mark.parametrize("value", [None, 3, [], "x", {"a": 1}, [[1]], ...], ids=str)
def test_a_trial_whose_key_does_not_follow_is_counted(
    tmp_path: Path, made: list[Record], name: str, value: object
) -> None:
    odd = {key: given for key, given in (made[2] | {name: value}).items() if given is not ...}
    store = Store(folder_of(tmp_path, *made[:2], odd, *made[3:]))
    assert (store.foreign(), store.bad_lines(), len(store.trials())) == (1, [], 3)
    assert summary_of(store).trials["missing"] == 1


PLAN: dict[str, dict[str, Any]] = {
    **{
        f"{name} is missing": {name: ...} for name in ("name", "seeds", "limits", "fail_if", "levels", "cells", "claim")
    },
    **{f"{name} is a number": {name: 3} for name in ("name", "seeds", "limits", "levels", "curves", "cells", "source")},
    "a limit is a word": {"limits": {"backdoor": "low"}},
    "no goal has a limit": {"limits": {}},
    "a cell is empty": {"cells": [{}]},
    "a level is a word": {"levels": ["top"]},
    "a seed is a word": {"seeds": ["first"]},
}


@pytest.mark.parametrize("change", PLAN.values(), ids=list(PLAN))
def test_a_wrong_plan_is_named(tmp_path: Path, made: list[Record], change: dict[str, Any]) -> None:
    odd = {name: value for name, value in (made[0] | change).items() if value is not ...}
    store = Store(folder_of(tmp_path, odd, *made[1:]))
    assert "line 1 of " in store.bad_lines()[0]
    with pytest.raises(StoreError, match=r"expected a plan in .*, got none: run antivenom audit first"):
        store.plan()
    assert missing(plan_of(TEXT, "s.yaml"), store) == []
    assert Store(folder_of(tmp_path, made[0], odd, *made[1:])).plan() == made[0]


def test_a_plan_whose_clean_twin_was_removed_is_named(tmp_path: Path, made: list[Record]) -> None:
    for left_out in range(2):
        cells = [cell for number, cell in enumerate(made[0]["cells"]) if number != left_out]
        store = Store(folder_of(tmp_path, made[0] | {"cells": cells}, *made[1:]))
        assert "without its clean twins" in store.bad_lines()[0]


def test_a_complete_last_record_without_an_end_of_line_is_kept(tmp_path: Path, made: list[Record]) -> None:
    folder = folder_of(tmp_path, *made, end=b"")
    assert len(Store(folder).trials()) == 4
    with Store(folder, write=True) as store:
        assert missing(plan_of(TEXT, "s.yaml"), store) == []
        store.append(made[0])
    assert list(map(json.loads, store.path.read_text().splitlines())) == [*made, made[0]]


OTHERS = {
    "a letter": b"Dear Ann,\nthese are my records.\n",
    "a letter without an end of line": b"Dear Ann",
    "other JSON": b'{"name": "Ann"}\n{"name": "Bea"}\n',
    "other JSON without an end of line": b'{"name": "Ann"}',
    "bytes": bytes(range(256)) * 10,
    "zero bytes": b"\0" * 4096,
    "later records": b'{"schema":99,"type":"plan"}\n',
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=list(OTHERS))
def test_another_file_of_that_name_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        Store(tmp_path, write=True)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_first_record_that_was_cut_off_is_begun_again(tmp_path: Path, made: list[Record]) -> None:
    path = tmp_path / "records.jsonl"
    for content in (b"", b'{"sch', b'{"schema":1,"type":"plan","name":"dig'):
        path.write_bytes(content)
        with Store(tmp_path, write=True) as store:
            store.append(made[0])
        assert store.plan() == made[0]
        assert path.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("kind", ["link", "dangling link", "link to zeros", "pipe", "folder", "loop"])
@pytest.mark.parametrize("write", [True, False])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, made: list[Record], kind: str, write: bool) -> None:
    (tmp_path / "out").mkdir()
    target = folder_of(tmp_path, *made) / "records.jsonl"
    before = target.read_bytes()
    place = tmp_path / "out" / "records.jsonl"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        to = {"link": target, "dangling link": tmp_path / "new", "link to zeros": Path("/dev/zero"), "loop": place}
        place.symlink_to(to[kind])
    failed: list[StoreError] = []

    def attempt() -> None:
        try:
            store = Store(tmp_path / "out", write=write)
            store.trials()
        except StoreError as error:
            failed.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert "expected an audit's records in " in str(failed[0])
    assert str(failed[0]).endswith(": choose another --out, or move it away")
    assert target.read_bytes() == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", [".report.html.part", "report.html"])
def test_a_link_in_the_place_of_the_report_is_not_followed(tmp_path: Path, made: list[Record], name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    folder_of(out, *made)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (out / name).symlink_to(precious)
    assert write_report(out).read_text().startswith("<!doctype html>")
    assert precious.read_text() == "mine"
    assert not (out / "report.html").is_symlink()
    assert not (out / ".report.html.part").exists()


def test_a_folder_in_the_place_of_the_report_is_one_line(tmp_path: Path, made: list[Record]) -> None:
    folder_of(tmp_path, *made)
    (tmp_path / ".report.html.part").mkdir()
    with pytest.raises(StoreError, match="a place to write"):
        write_report(tmp_path)


def test_records_hold_no_folder_of_this_machine(tmp_path: Path, made: list[Record]) -> None:
    here, home = os.getcwd(), str(Path.home())
    found = without_places(
        {
            "error": f"no file {here}/rows.csv or {home}/rows.csv, nor {tempfile.gettempdir()}/x ({home})",
            "traceback": 'Traceback\n  File "/srv/ann/secret/project/plugin.py", line 3, in f\nError: x',
            "notes": [f"{home}/a", f"{home}ly/a"],
            "spec": {"path": f"{home}/rows.csv"},
            "metrics": {"asr": 0.5},
        }
    )
    assert found == {
        "error": "no file ./rows.csv or ~/rows.csv, nor tmp/x (~)",
        "traceback": 'Traceback\n  File "project/plugin.py", line 3, in f\nError: x',
        "notes": ["~/a", f"{home}ly/a"],
        "spec": {"path": f"{home}/rows.csv"},
        "metrics": {"asr": 0.5},
    }


def test_an_audit_that_fails_writes_no_folder_into_records_or_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_of_edges.py").write_text(
        "from antivenom import attack\n@attack(access=['data-injection'], goal='backdoor', cite='none')\n"
        "class BrokenOfEdges:\n    def __call__(self, data, context):\n"
        "        raise RuntimeError(f'in {__file__}')\n"
    )
    from antivenom.core.registry import entry as registry
    from antivenom.core.registry import load_builtin, load_file

    load_builtin()
    before = dict(registry._ENTRIES)
    load_file(tmp_path / "broken_of_edges.py")
    try:
        plan = plan_of(TEXT.replace("BadNets", "BrokenOfEdges"), "s.yaml")
        with Store(tmp_path / "out", write=True) as store:
            command = f"antivenom audit {tmp_path}/s.yaml"
            assert any(record["status"] == "error" for record, _ in audit(plan, store, serial, run_trial, command))
    finally:
        registry._ENTRIES.clear()
        registry._ENTRIES.update(before)
    written = store.path.read_text() + write_report(tmp_path / "out").read_text()
    assert "Traceback" in written
    for private in (str(tmp_path), str(Path.home()), f"/{getpass.getuser()}/"):
        assert private not in written


def test_many_records_are_read_once(tmp_path: Path) -> None:
    def record(number: int) -> Record:
        identity = Identity({"number": number}, {}, {}, "1")
        return {
            "schema": 1,
            "type": "trial",
            "status": "error",
            "key": identity.key,
            "spec": identity.spec,
        } | identity.parts

    store = Store(folder_of(tmp_path, *map(record, range(5000))))
    begun = time.perf_counter()
    assert len(store.trials()) == 5000
    first = time.perf_counter() - begun
    for _ in range(20):
        assert store.foreign() == 0
        assert store.bad_lines() == []
    assert time.perf_counter() - begun < 4 * first + 0.5


def test_terminal_and_report_name_the_lines_that_were_ignored(tmp_path: Path, made: list[Record]) -> None:
    folder = folder_of(tmp_path, *made, *[b"odd"] * 9)
    gaps = not_measured(summary_of(Store(folder)))
    assert [gap for gap in gaps if "line 6 of records.jsonl" in gap]
    assert gaps[-1] == "4 more lines that are no records; they were ignored"
    assert "line 6 of records.jsonl" in write_report(folder).read_text()


@pytest.mark.parametrize(
    ("goal", "names"),
    [
        ("availability", ("clean_accuracy", "chance_accuracy")),
        ("targeted", ("clean_accuracy", "targets_hit")),
        ("backdoor", ("clean_accuracy", "asr")),
    ],
)
def test_a_finished_trial_has_the_numbers_of_its_goal(goal: str, names: tuple[str, ...]) -> None:
    """Once, a record of a backdoor without `asr` passed, and its cell was open for a reason that nobody could see."""
    trial: Record = {
        "key": "0",
        "status": "ok",
        "metrics": dict.fromkeys(names, 0.5),
        "curves": {},
        "notes": [],
        "versions": {"machine": "x"},
        "seconds": 1.0,
        "started": "",
        "device": "cpu",
        "spec": {"seed": 0, "scenario": {"goal": goal}},
    }
    require_trial(trial)
    for name in names:
        less = {key: value for key, value in trial["metrics"].items() if key != name}
        with pytest.raises(ValueError, match=f"without the number `{name}`"):
            require_trial(trial | {"metrics": less})
