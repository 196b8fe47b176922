"""Streams with listed names only, which lead the unpickler or joblib to bytes that a scanner does not read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from antivenom.scan.samples.arrays import npy_of_objects
from antivenom.scan.samples.assembly import Op, Sample, call, named, payload, pickled, put, sample

_METHODS = "own finding: the unpickler looks __setstate__, append, extend and add up on the instance"
_ARRAYS = "own finding: joblib reads raw bytes after an object that the stream describes in two ways"
_RAW = 64  # bytes that joblib reads as an array


def _with(state: Op) -> Callable[[str], bytes]:
    """An instance whose `__setstate__` is a listed function that unpickles, then BUILD with a pickle as its state."""
    return lambda m: b"\x80\x04" + call("collections:OrderedDict") + state + b"b" + put(pickled(payload(m), 2)) + b"b."


def _growing(name: str, opcodes: Callable[[Op], bytes], fires: bool | str = True) -> Sample:
    def build(marker: str) -> bytes:
        instance = call("collections:OrderedDict") + put({name: _LOAD}) + b"b"
        return b"\x80\x04" + instance + opcodes(put(pickled(payload(marker), 2))) + b"."

    return _torch(f"instance-{name}", build, fires)


def _torch(name: str, build: Callable[[str], bytes], fires: bool | str = True) -> Sample:
    return sample(f"listed/{name}", build, _METHODS, fires=fires, packages=("torch",))


_LOAD = named("torch.storage:_load_from_bytes")
_COMPUTED = call("builtins:str", "__setstate__")
_ORDERED = Op(call("collections:OrderedDict") + put("__setstate__") + _LOAD + b"s")
_PARAMETER = call(
    "torch._utils:_rebuild_parameter_with_state",
    call("torch:Tensor"),
    False,
    call("collections:OrderedDict"),
    {"append": _LOAD},
)

_NEW = Op(named("joblib.numpy_pickle:NumpyArrayWrapper") + b")\x81")
_OLD = call("copyreg:_reconstructor", named("joblib.numpy_pickle:NumpyArrayWrapper"), named("builtins:object"), None)


def _dtype(code: str, width: int = -1, flags: int = 0) -> Op:
    """A new dtype whose state overrides its type code."""
    return Op(call("numpy:dtype", code, False, True) + put((3, "|", None, None, None, width, 1, flags)) + b"b")


def _state(dtype: Op, *more: tuple[object, object]) -> list[tuple[object, object]]:
    plain = {"subclass": named("numpy:ndarray"), "shape": (1,), "order": "C", "dtype": dtype, "allow_mmap": False}
    return [*plain.items(), *more]


def _mapping(pairs: list[tuple[object, object]]) -> Op:
    return Op(b"}(" + b"".join(put(key) + put(value) for key, value in pairs) + b"u")


def _two_readings(wrapper: Op, state: Op, taken: int) -> Callable[[str], bytes]:
    """joblib skips 64 raw bytes and executes the rest; a scan that skips fewer sees one long bytes object instead."""

    def build(marker: str) -> bytes:
        tail = payload(marker) + b"0"
        hidden = _RAW - taken - 5 + len(tail)
        raw = b"\0" * taken + b"B" + struct.pack("<I", hidden)
        return b"\x80\x04" + wrapper + state + b"b" + raw + b"\0" * (_RAW - len(raw)) + tail + b"."

    return build


def _object_flag(marker: str) -> bytes:
    inner = pickled(payload(marker))
    state = _mapping(_state(_dtype(f"S{len(inner)}", len(inner), 63)))
    return b"\x80\x04" + _NEW + state + b"b" + inner + b"."


def _other_file(folder: Path, marker: Path) -> Path:
    (folder / "listed-other-file.npy").write_bytes(npy_of_objects(str(marker)))
    path = folder / "listed-other-file.pkl"
    state = put({"filename": "listed-other-file.npy", "subclass": named("numpy:ndarray"), "allow_mmap": False})
    path.write_bytes(b"\x80\x04" + named("joblib.numpy_pickle:NDArrayWrapper") + b")\x81" + state + b"b.")
    return path


def _far_file(folder: Path, marker: Path) -> Path:
    other = folder / "far"
    other.mkdir(exist_ok=True)
    (other / "objects.npy").write_bytes(npy_of_objects(str(marker)))
    path = folder / "listed-far-file.pkl"
    state = put({"filename": str(other / "objects.npy"), "subclass": named("numpy:ndarray"), "allow_mmap": False})
    path.write_bytes(b"\x80\x04" + named("joblib.numpy_pickle:NDArrayWrapper") + b")\x81" + state + b"b.")
    return path


def _joblib(name: str, build: Callable[[str], bytes]) -> Sample:
    return sample(f"listed/{name}", build, _ARRAYS, loader="joblib", packages=("joblib", "numpy"))


_PLAIN = _dtype(f"S{_RAW}", _RAW)
_MANY: list[tuple[object, object]] = [(f"k{number}", None) for number in range(70)]

SAMPLES: tuple[Sample, ...] = (
    _torch("instance-setstate", _with(put({"__setstate__": _LOAD}))),
    _torch("instance-setstate-slots", _with(put((None, {"__setstate__": _LOAD})))),
    _torch("instance-setstate-computed", _with(put({_COMPUTED: _LOAD}))),
    _torch("instance-setstate-built", _with(_ORDERED)),
    _torch("instance-setstate-late", _with(_mapping([*_MANY, ("__setstate__", _LOAD)]))),
    _growing("append", lambda data: data + b"a"),
    _growing("extend", lambda data: b"(" + data + b"e", "a function of bytes, which is given a list"),
    _growing("add", lambda data: b"(" + data + b"\x90"),
    _torch("parameter-append", lambda m: b"\x80\x04" + _PARAMETER + put(pickled(payload(m), 2)) + b"a."),
    _joblib("array-width", _two_readings(_NEW, _mapping(_state(_dtype("S1", _RAW))), 1)),
    _joblib("array-object-flag", _object_flag),
    _joblib("array-state-in-slots", _two_readings(_NEW, Op(b"N" + _mapping(_state(_PLAIN)) + b"\x86"), 0)),
    _joblib("array-made-by-copyreg", _two_readings(_OLD, _mapping(_state(_PLAIN)), 0)),
    _joblib("array-shape-computed", _two_readings(_NEW, _mapping(_state(_dtype("S1", 1), (call("builtins:str", "shape"), (_RAW,)))), 1)),
    _joblib("array-shape-late", _two_readings(_NEW, _mapping([*_state(_dtype("S1", 1)), *_MANY, ("shape", (_RAW,))]), 1)),
    Sample("listed/other-file", "joblib.numpy_pickle_compat: NDArrayWrapper.read", _other_file, "joblib", True, ("joblib", "numpy")),
    Sample("listed/far-file", "joblib.numpy_pickle_compat: NDArrayWrapper.read", _far_file, "joblib", True, ("joblib", "numpy")),
)  # fmt: skip
