"""What every test may ask for. Libraries run on one thread each, so that two workers do not fight for two cores."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):  # before they are imported; commands that tests start inherit it
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
gc.disable()  # until all tests are collected: nearly all that imports and collection make stays
_writes_no_bytecode = sys.dont_write_bytecode
sys.dont_write_bytecode = False  # until then too: each command that a test starts would compile all of antivenom again

import hypothesis  # noqa: F401 - before the freeze below: libraries register their generators with it, and it asks the collector for them
import numpy as np
import pytest
import torch

from antivenom.auditing.workers import PRELOAD
from antivenom.core import threat
from antivenom.core.registry import entry
from antivenom.core.streams import Streams
from antivenom.data import DATASETS, Dataset, Split, load
from antivenom.data.files import OFFLINE, candidates

torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        sys.dont_write_bytecode = _writes_no_bytecode


@pytest.fixture(scope="session", autouse=True)
def preloaded_server() -> Iterator[None]:
    """All workers of a test process are forked from one server. Whichever test starts it, it imports what audits need.

    Otherwise every trial would import all of it again after a test that has started the server for a scan.
    """
    of_test = forkserver.set_forkserver_preload
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forkserver, "set_forkserver_preload", lambda modules: of_test([*PRELOAD, *modules]))
        yield


@functools.lru_cache(maxsize=2)  # the image sets are large
def _loaded(name: str) -> Split:
    return load(name, Streams(0))


@pytest.fixture(scope="session")
def named_data() -> Callable[[str], Split]:
    """Loads a named data set from the files at hand; skips, naming the missing file, where there are none."""

    def get(name: str) -> Split:
        for source in DATASETS[name].files:
            if not any(place.is_file() for place in candidates(source)):
                pytest.skip(f"{name}: no {source.filename} in $ANTIVENOM_DATA, a system package or the user cache")
        return _loaded(name)

    return get


@pytest.fixture
def blobs() -> Dataset:
    """90 rows of three classes in five dimensions, far enough apart for any classifier."""
    rng = np.random.default_rng(7)
    y = np.repeat([0, 1, 2], 30)
    centres = 3 * np.eye(3, 5)
    return Dataset(centres[y] + 0.5 * rng.standard_normal((90, 5)), y, ("a", "b", "c"), "blobs")


@pytest.fixture
def bare_machine(tmp_path, monkeypatch) -> None:
    """No data folder and no network; the user cache is the empty folder `tmp_path / "cache"`."""
    monkeypatch.delenv("ANTIVENOM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(OFFLINE, "1")


def _same(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            _same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for place, part in enumerate(one):
            _same(part, other[place], f"{where}[{place}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6, nan_ok=True), where
    else:
        assert one == other, where


@pytest.fixture(scope="session")
def same_to_rounding() -> Callable[[Any, Any], None]:
    """Compares what two processes computed: lists and dictionaries of numbers, the numbers to rounding, all else exactly.

    The last bits of a product of matrices depend on the processor and on where the library's memory happens to lie, so two
    processes on one machine may differ in them. Another set of processor instructions moves the numbers of a short
    training by 3e-6 of their size.
    """
    return _same


@pytest.fixture
def global_randomness_unchanged() -> Iterator[None]:
    """Fails the test if it moved torch's or numpy's global generator."""
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    yield
    numpy_after = np.random.get_state()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert numpy_after[2:] == numpy_before[2:]
    assert np.array_equal(numpy_after[1], numpy_before[1])


@pytest.fixture
def plugins() -> Iterator[None]:
    """Plugins and goals registered in the test are forgotten after it."""
    entry.load_builtin()  # once, so that none of ours is taken for the test's
    kept = [(known, dict(known)) for known in (entry._ENTRIES, threat._GOALS)]
    yield
    for known, before in kept:
        known.clear()  # type: ignore[attr-defined]
        known.update(before)  # type: ignore[attr-defined]


_NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=_NO_CUDA)])
def device(request) -> str:
    """The CPU always, the GPU where there is one."""
    return request.param
