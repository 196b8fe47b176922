"""safe_load: tensors come back, everything else is refused, and what was scanned is what is loaded."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.torch_version import TorchVersion

from antivenom import safe_load
from antivenom.artifacts import loading
from antivenom.artifacts.snapshot import Snapshot
from antivenom.core.errors import FileError, UnsafeFile


def state(seed: int = 0, size: int = 4) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(size, size, generator=generator)
    return {"weight": weight, "tied": weight, "nested": {"bias": torch.ones(3, dtype=torch.bfloat16)}, "step": 7}


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return (
        torch.equal(found["weight"], wanted["weight"])
        and torch.equal(found["nested"]["bias"], wanted["nested"]["bias"])
        and found["step"] == 7
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_comes_back(tmp_path: Path, zipped: bool) -> None:
    torch.save(state(), tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = safe_load(tmp_path / "a.pt")
    assert same(found, state())
    assert found["tied"].data_ptr() == found["weight"].data_ptr()


def test_safetensors_come_back(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.arange(5)}, tmp_path / "a")
    assert torch.equal(safe_load(tmp_path / "a")["a"], torch.arange(5))
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes() + b"more")
    with pytest.raises(UnsafeFile):
        safe_load(tmp_path / "a")


def test_every_sample_fires_in_its_loader(sample: tuple[Path, Callable[[Path], Any]], marker: Path) -> None:
    path, load = sample
    load(path)
    assert marker.exists()


def test_every_sample_is_refused_before_it_fires(sample: tuple[Path, Any], marker: Path) -> None:
    with pytest.raises(UnsafeFile, match=r"expected a safe file, got unsafe, pickle-global: .*posix\.mkdir"):
        safe_load(sample[0])
    assert not marker.exists()


@pytest.mark.parametrize("size", [4, 1024])  # below and above what is read at once
@pytest.mark.parametrize("how", ["path", "content", "content and clock"])
def test_a_swap_between_scan_and_load_changes_nothing(
    tmp_path: Path, payload, marker: Path, monkeypatch, size: int, how: str
) -> None:
    path, evil = tmp_path / "a.pt", tmp_path / "evil.pt"
    torch.save(state(size=size), path)
    torch.save({"weight": payload(os.mkdir, str(marker)), "fill": state(size=size)}, evil)
    clock = path.stat()

    def scan_then_swap(*arguments: Any) -> Any:
        report = loading_scan(*arguments)
        if how == "path":
            os.replace(evil, path)
        else:
            path.write_bytes(evil.read_bytes()[: clock.st_size])  # the same file, other bytes, not shorter
            assert path.stat().st_size == clock.st_size
            if how == "content and clock":
                os.utime(path, ns=(clock.st_atime_ns, clock.st_mtime_ns))
        return report

    loading_scan = loading.scan_view
    monkeypatch.setattr(loading, "scan_view", scan_then_swap)
    if how == "content":
        with pytest.raises(FileError, match="written to while it was loaded"):
            safe_load(path)
    else:
        found = safe_load(path)
        assert set(found) == set(state())
        assert same(found, state(size=size)) or (size > 4 and how == "content and clock")
    assert not marker.exists()


def test_what_torch_refuses_is_not_loaded_another_way(tmp_path: Path, monkeypatch) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pt")
    calls = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: calls.append(k["weights_only"]) or load(*a, **k))
    with pytest.raises(UnsafeFile, match=r"tensors only, got .*torch\.nn\.modules\.linear\.Linear"):
        safe_load(tmp_path / "module.pt")
    assert calls == [True]


def test_an_older_torch_reads_no_pickled_file(tmp_path: Path, monkeypatch) -> None:
    torch.save(state(), tmp_path / "a.pt")
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.9.1+cpu"))
    with pytest.raises(FileError, match="CVE-2026-24747"):
        safe_load(tmp_path / "a.pt")
    safetensors.torch.save_file({"a": torch.arange(5)}, tmp_path / "a")
    assert list(safe_load(tmp_path / "a")) == ["a"]


def test_what_is_no_readable_file_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("not a model")
    for name, wrong in (("fifo", "regular"), ("none", "No such file"), ("", "regular"), ("text", "tensors only")):
        with pytest.raises((FileError, UnsafeFile), match=wrong) as caught:
            safe_load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_the_error_survives_pickling(tmp_path: Path, payload) -> None:
    (tmp_path / "a").write_bytes(pickle.dumps(payload(print)))
    with pytest.raises(UnsafeFile) as caught:
        safe_load(tmp_path / "a")
    assert pickle.loads(pickle.dumps(caught.value)).got == caught.value.got


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 9_000)), max_size=8))
def test_pages_that_were_read_stay_as_they_were(tmp_path_factory, reads: list[tuple[int, int]]) -> None:
    path = tmp_path_factory.mktemp("pages") / "file"
    before, after = bytes(range(250)) * 70, b"\xff" * 17_500
    path.write_bytes(before)
    with path.open("rb") as raw:
        file = Snapshot(raw.fileno())
        for start, count in reads:
            assert file[start : start + count] == before[start : start + count]
        path.write_bytes(after)
        file.keeping = False
        stream = file.open()
        for start, count in reads:
            assert file[start : start + count] == before[start : start + count]
            stream.seek(start)
            assert stream.read(count) == before[start : start + count]
        known = {i for start, count in reads for i in range(start, min(start + count, len(before)))}
        everything = file[0 : len(file)]
        assert all(everything[i] == before[i] for i in known)
        assert all(byte in (before[i], 0xFF) for i, byte in enumerate(everything))


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10_000))
    with (tmp_path / "a").open("rb") as raw:
        file = Snapshot(raw.fileno())
        os.truncate(tmp_path / "a", 5_000)
        with pytest.raises(FileError, match="shrank"):
            file[0:10_000]


def test_a_scan_that_reads_too_much_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("antivenom.artifacts.snapshot._MOST", 2)
    (tmp_path / "a").write_bytes(pickle.dumps("text" * 4096))
    with pytest.raises(FileError, match="at most 1 GiB"):
        safe_load(tmp_path / "a")
