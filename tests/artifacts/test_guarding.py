"""guard: unlisted imports are refused in every loader that builds on pickle, listed ones load, undo restores all."""

from __future__ import annotations

import _pickle
import io
import multiprocessing
import os
import pickle
import shelve
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

from antivenom import guard
from antivenom.core.errors import UnsafeFile
from antivenom.scan import AllowList, allow_list
from antivenom.scan.allow import Permission

_loads_of_before = pickle.loads


class Subclass(pickle._Unpickler):
    """As joblib's, dill's and pandas' are: made before the guard, on the Python unpickler."""


def allowing(module: str, *names: str) -> AllowList:
    """The vetted tier and more names of a module."""
    listed = allow_list().names
    return AllowList({**listed, module: {**listed.get(module, {}), **dict.fromkeys(names, Permission())}})


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    """Every test leaves pickle as it was."""
    there = [(m, n, getattr(m, n)) for m in (pickle, _pickle) for n in ("load", "loads", "Unpickler")]
    there.append((pickle._Unpickler, "find_class", pickle._Unpickler.find_class))
    yield
    for owner, name, value in there:
        assert getattr(owner, name) is value, name


def test_every_sample_is_refused_before_it_fires(sample: tuple[Path, Callable[[Path], Any]], marker: Path) -> None:
    path, load = sample
    with guard(), pytest.raises(UnsafeFile, match=r"on the allow list, got posix\.mkdir"):
        load(path)
    assert not marker.exists()
    load(path)  # the guard is lifted
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_names_are_judged_in_every_protocol(protocol: int, payload, marker: Path) -> None:
    data = pickle.dumps([OrderedDict(a=1), payload(os.mkdir, str(marker))], protocol)
    with guard():
        assert pickle.loads(pickle.dumps(OrderedDict(a=1), protocol)) == {"a": 1}
        for loads in (pickle.loads, pickle._loads, lambda b: Subclass(io.BytesIO(b)).load()):
            with pytest.raises(UnsafeFile, match=r"posix\.mkdir"):
                loads(data)
    assert not marker.exists()


@pytest.mark.parametrize("in_c", [True, False])
def test_python_2s_names_are_judged_as_what_they_stand_for(in_c: bool) -> None:
    with guard():
        loads = pickle.loads if in_c else pickle._loads
        assert loads(b"c__builtin__\nxrange\n(I3\ntR.") == range(3)
        with pytest.raises(UnsafeFile, match=r"subprocess\.getoutput"):
            loads(b"ccommands\ngetoutput\n.")


def calling_getattr(owner: bytes, name: str) -> bytes:
    return b"\x80\x02cbuiltins\ngetattr\n" + owner + b"U" + bytes([len(name)]) + name.encode() + b"\x86R."


@pytest.mark.parametrize("in_c", [True, False])
def test_getattr_reaches_only_listed_attributes_of_classes(in_c: bool) -> None:
    with guard(allowing("builtins", "dict.fromkeys")):
        loads = pickle.loads if in_c else pickle._loads
        assert loads(calling_getattr(b"cbuiltins\ndict\n", "fromkeys"))(["a"]) == {"a": None}
        for owner, name in ((b"cbuiltins\ndict\n", "__subclasses__"), (b"}", "__doc__")):
            with pytest.raises(UnsafeFile):
                loads(calling_getattr(owner, name))
        for state in (b"}X\x01\x00\x00\x00aNs", b"N}X\x01\x00\x00\x00aNs\x86"):
            with pytest.raises((AttributeError, pickle.UnpicklingError)):  # what stands for getattr takes no state
                loads(b"\x80\x02cbuiltins\ngetattr\n" + state + b"b.")


def test_a_forest_and_a_state_dict_load_as_without(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 4)), np.arange(80) % 2
    forest = RandomForestClassifier(5, random_state=0).fit(x, y)
    joblib.dump(forest, tmp_path / "forest", compress=3)
    torch.save({"w": torch.arange(3)}, tmp_path / "state")
    with guard():
        assert np.array_equal(joblib.load(tmp_path / "forest").predict_proba(x), forest.predict_proba(x))
        for weights_only in (True, False):
            assert torch.equal(torch.load(tmp_path / "state", weights_only=weights_only)["w"], torch.arange(3))


def test_guards_add_up_and_may_end_in_any_order() -> None:
    data = pickle.dumps(NormalDist(1, 2))
    outer, inner = guard(), guard(allowing("statistics", "NormalDist"))
    with pytest.raises(UnsafeFile):
        pickle.loads(data)
    outer.undo()
    outer.undo()
    assert pickle.loads(data) == NormalDist(1, 2)
    inner.undo()
    assert pickle.loads is _loads_of_before


def test_it_holds_for_all_threads_and_ends_with_an_error() -> None:
    caught: list[BaseException] = []

    def load() -> None:
        try:
            pickle.loads(pickle.dumps(NormalDist(1, 2)))
        except UnsafeFile as error:
            caught.append(error)

    with pytest.raises(ZeroDivisionError), guard():  # noqa: PT012
        thread = threading.Thread(target=load)
        thread.start()
        thread.join()
        raise ZeroDivisionError
    assert len(caught) == 1


def test_what_was_taken_during_a_guard_is_plain_after_it() -> None:
    with guard():
        loads, unpickler = pickle.loads, pickle.Unpickler
    data = pickle.dumps(NormalDist(1, 2))
    assert loads(data) == unpickler(io.BytesIO(data)).load() == NormalDist(1, 2)


def test_a_subclass_with_its_own_rule_is_judged_by_both() -> None:
    with guard():

        class Own(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                return super().find_class(module, name)

            def persistent_load(self, identity: Any) -> Any:
                return identity

        assert Own(io.BytesIO(b"\x80\x02U\x01aQ.")).load() == "a"
        with pytest.raises(UnsafeFile):
            Own(io.BytesIO(pickle.dumps(NormalDist(1, 2)))).load()


def test_modules_that_hold_pickles_functions_are_guarded(tmp_path: Path, payload, marker: Path) -> None:
    held = cloudpickle.loads, cloudpickle.cloudpickle.load, shelve.Unpickler
    evil = payload(os.mkdir, str(marker))
    with shelve.open(str(tmp_path / "shelf")) as shelf:
        shelf["model"] = evil
    with guard():
        with pytest.raises(UnsafeFile):
            cloudpickle.loads(pickle.dumps(evil))
        with shelve.open(str(tmp_path / "shelf")) as shelf, pytest.raises(UnsafeFile):
            shelf["model"]
    assert not marker.exists()
    assert (cloudpickle.loads, cloudpickle.cloudpickle.load, shelve.Unpickler) == held


def test_multiprocessing_goes_on() -> None:
    ours, theirs = multiprocessing.Pipe()
    with guard():
        ours.send(NormalDist(1, 2))
        assert theirs.recv() == NormalDist(1, 2)


class EarlyInC(pickle.Unpickler):
    """As dill's is: made before the guard, on the C unpickler."""


@pytest.mark.parametrize("protocol", range(6))
def test_what_was_taken_before_is_judged(protocol: int, payload, marker: Path) -> None:
    listed, evil = (pickle.dumps(each, protocol) for each in (OrderedDict(a=1), payload(os.mkdir, str(marker))))
    with guard():
        for loads in (_loads_of_before, lambda data: EarlyInC(io.BytesIO(data)).load()):
            assert loads(listed) == {"a": 1}
            with pytest.raises(UnsafeFile, match=r"posix\.mkdir"):
                loads(evil)
        assert _loads_of_before(b"c__builtin__\nxrange\n(I3\ntR.") == range(3)
    assert not marker.exists()
    assert _loads_of_before(pickle.dumps(NormalDist(1, 2))) == NormalDist(1, 2)


_IMPORTED_FIRST = """
import io, os, pickle, sys, types
import dill, torch
own = types.SimpleNamespace(__name__="own", Unpickler=pickle.Unpickler, load=pickle.load)
import antivenom
from antivenom.core.errors import UnsafeFile

class Evil:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1],)

files = {new: io.BytesIO() for new in (True, False)}
for new, file in files.items():
    torch.save([Evil()], file, _use_new_zipfile_serialization=new)
data = pickle.dumps(Evil())
attempts = [lambda: dill.loads(data), lambda: dill.load(io.BytesIO(data))]
for module in (dill, own):
    for file in files.values():
        attempts.append(lambda m=module, f=file: (f.seek(0), torch.load(f, pickle_module=m, weights_only=False)))
with antivenom.guard():
    assert torch.equal(dill.loads(dill.dumps(torch.ones(2))), torch.ones(2))
    for attempt in attempts:
        try:
            attempt()
        except UnsafeFile:
            print("refused")
"""


def test_dill_and_pickle_modules_that_were_imported_first(marker: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORTED_FIRST, str(marker)], capture_output=True, text=True)
    assert done.stdout.split() == ["refused"] * 6, done.stderr
    assert not marker.exists()


def test_a_guard_is_light_and_multiprocessing_does_not_catch_it() -> None:
    code = (
        "import sys, antivenom; g = antivenom.guard()\n"
        "assert not {'torch', 'numpy', 'joblib'} & set(sys.modules)\n"
        "import statistics, multiprocessing as m; a, b = m.Pipe()\n"
        "a.send(statistics.NormalDist(1, 2)); print(b.recv())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "NormalDist(mu=1.0, sigma=2.0)\n", done.stderr


@pytest.mark.parametrize("options", [{}, {"encoding": "bytes"}, {"fix_imports": False}, {"errors": "ignore"}])
def test_options_are_passed_on(options: dict[str, Any]) -> None:
    def outcome() -> Any:
        try:
            return pickle.loads(b"\x80\x02U\x03a\xffb.", **options)
        except UnicodeDecodeError as error:
            return str(error)

    plain = outcome()
    with guard():
        assert outcome() == plain


def test_buffers_out_of_band_are_passed_on() -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(pickle.PickleBuffer(bytearray(b"abc")), 5, buffer_callback=buffers.append)
    with guard():
        assert bytes(pickle.loads(data, buffers=buffers)) == b"abc"
