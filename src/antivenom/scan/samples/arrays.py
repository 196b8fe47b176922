"""Pickles inside and behind arrays, and in the formats of libraries that extend pickle."""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antivenom.scan.samples.assembly import Sample, payload, pickled, sample
from antivenom.scan.samples.containers import zipped

if TYPE_CHECKING:
    import numpy as np


class _Mkdir:
    """An object whose pickle calls os.mkdir."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (self.marker,)


def npy_of_objects(marker: str) -> bytes:
    """An npy file with one pickled object."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + pickled(payload(marker))


def _behind_npy(marker: str) -> bytes:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\1\2\3\4" + pickled(payload(marker))


def _joblib(
    name: str, value: Callable[[_Mkdir], object], compress: object = 0, packages: tuple[str, ...] = ()
) -> Sample:
    def make(folder: Path, marker: Path) -> Path:
        path = folder / f"joblib-{name}.joblib"
        importlib.import_module("joblib").dump(value(_Mkdir(str(marker))), path, compress=compress)
        return path

    return Sample(
        f"joblib/{name}",
        "spec: joblib inline arrays and compression",
        make,
        "joblib",
        True,
        ("joblib", "numpy", *packages),
    )


def _ones(count: int) -> np.ndarray:
    import numpy as np

    return np.ones(count)


def _objects(value: object) -> np.ndarray:
    import numpy as np

    found = np.empty(2, dtype=object)
    found[1] = value
    return found


def _structured(value: object) -> np.ndarray:
    import numpy as np

    found = np.zeros(2, dtype=[("a", "f8"), ("b", object)])
    found["b"][0] = value
    return found


def _pickle_of_array(name: str, build: Callable[[_Mkdir], object], protocol: int) -> Sample:
    return sample(
        f"array/{name}-{protocol}",
        lambda m: pickle.dumps(build(_Mkdir(m)), protocol),
        "numpy: object arrays",
        packages=("numpy",),
    )


def _by_value(package: str) -> Sample:
    """The file contains the function itself, because these packages pickle functions without a module by value."""

    def build(marker: str) -> bytes:
        names: dict[str, Any] = {}
        exec("def act(marker):\n    open(marker, 'w').close()", names)  # noqa: S102, a function without a module is pickled by value

        class Acting:
            def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
                return names["act"], (marker,)

        data: bytes = importlib.import_module(package).dumps(Acting())
        return data

    return sample(f"by-value/{package}", build, f"{package} documentation", loader=package, packages=(package,))


SAMPLES: tuple[Sample, ...] = (
    sample("array/npy", npy_of_objects, "numpy: allow_pickle; CVE-2019-6446", ".npy", "numpy", packages=("numpy",)),
    sample("array/npz", lambda m: zipped(("a.npy", npy_of_objects(m))), "numpy: allow_pickle", ".npz", "numpy", packages=("numpy",)),
    sample("array/behind-npy", _behind_npy, "spec: trailing streams", ".npy", "numpy", "numpy, which reads one array", ("numpy",)),
    *(_pickle_of_array("objects", _objects, protocol) for protocol in (2, 5)),
    *(_pickle_of_array("structured", _structured, protocol) for protocol in (2, 5)),
    _joblib("behind-array", lambda act: [_ones(100), act]),
    _joblib("between-arrays", lambda act: [_ones(3), act, _ones(3)]),
    _joblib("object-array", lambda act: {"weights": _objects(act)}),
    _joblib("structured-array", _structured),
    *(_joblib(f"array-{method}", lambda act: [_ones(100), act], (method, 3)) for method in ("zlib", "gzip", "bz2", "xz", "lzma")),
    _joblib("array-lz4", lambda act: [_ones(100), act], ("lz4", 3), ("lz4",)),
    _by_value("cloudpickle"),
    _by_value("dill"),
)  # fmt: skip
