"""Records on disk: appended, flushed, mended, never mixed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from antivenom.auditing.identity import Identity
from antivenom.auditing.records import Store
from antivenom.core.errors import StoreError


def record(name: str, **fields: object) -> dict[str, object]:
    """A record whose key is the one of a trial of that name."""
    identity = Identity({"name": name}, {}, {}, "1")
    kept = {"key": identity.key, "spec": identity.spec, **identity.parts}
    return {"schema": 1, "type": "trial", "status": "error", **kept, **fields}


PLAN = {
    "schema": 1,
    "type": "plan",
    "name": "x",
    "source": "x",
    "command": "x",
    "claim": {},
    "seeds": [0],
    "limits": {},
    "fail_if": {},
    "levels": [],
    "curves": {},
    "cells": [],
}


def names(store: Store) -> set[str]:
    """The trials that the store has records of."""
    return {found["spec"]["name"] for found in store.trials().values()}


def test_what_is_appended_comes_back_and_the_last_record_of_a_key_counts(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        for line in (record("a", n=1), PLAN | {"n": 1}, record("b"), record("a", n=2)):
            store.append(line)
    store = Store(tmp_path)
    assert {r["spec"]["name"]: r.get("n") for r in store.trials().values()} == {"a": 2, "b": None}
    assert store.plan()["n"] == 1


@pytest.mark.parametrize("cut", range(2, 30, 4))
def test_a_torn_last_line_is_cut_off_and_writing_goes_on(tmp_path: Path, cut: int) -> None:
    with Store(tmp_path, write=True) as store:
        store.append(record("a"))
        store.append(record("b"))
    os.truncate(store.path, store.path.stat().st_size - cut)
    assert names(Store(tmp_path)) == {"a"}  # reading does not need the lock, nor mends
    with Store(tmp_path, write=True) as store:
        store.append(record("c"))
    assert names(Store(tmp_path)) == {"a", "c"}
    assert all(json.loads(line) for line in store.path.read_text().splitlines())


def test_two_audits_cannot_write_into_one_folder(tmp_path: Path) -> None:
    with Store(tmp_path, write=True), pytest.raises(StoreError, match="one audit at a time"):
        Store(tmp_path, write=True)
    Store(tmp_path, write=True).close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device on which every write fails")
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        store.append(record("a"))
    whole = store.path.read_bytes()
    with Store(tmp_path, write=True) as store:
        full = open("/dev/full", "ab", buffering=0)  # noqa: SIM115 - swapped in below
        os.dup2(full.fileno(), store._file.fileno())
        with pytest.raises(StoreError, match=r"room to write .*No space left on device: free some space") as caught:
            store.append(record("b"))
        full.close()
    assert "\n" not in str(caught.value)
    assert store.path.read_bytes() == whole


def test_a_line_that_is_half_written_when_the_disk_fills_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path, write=True) as store:
        store.append(record("a"))
        whole = store.path.read_bytes()

        def fail(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError):
            store.append(record("b"))
    assert store.path.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json\n", "something else in line 1"),
        (b"[]\n", "something else in line 1"),
        (b'{"schema": 99, "type": "trial", "key": "a"}\n', "schema 99 in line 1: update antivenom"),
    ],
)
def test_foreign_lines_are_one_line_errors(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "records.jsonl").write_bytes(content)
    with pytest.raises(StoreError, match=message):
        Store(tmp_path).trials()


def test_no_records_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run antivenom audit first"):
        Store(tmp_path).trials()
    with Store(tmp_path, write=True) as store, pytest.raises(StoreError, match="expected a plan"):
        store.plan()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another --out"):
        Store(tmp_path / "file" / "out", write=True)


def test_a_record_whose_key_does_not_follow_from_it_is_counted_and_left_out(tmp_path: Path) -> None:
    invented = {"schema": 1, "type": "trial", "key": "0123456789abcdef", "status": "ok", "metrics": {"asr": 0.0}}
    with Store(tmp_path, write=True) as store:
        for line in (record("a"), record("b", key=record("a")["key"]), invented, record("c", version="2")):
            store.append(line)
    assert names(Store(tmp_path)) == {"a"}
    assert Store(tmp_path).foreign() == 3
