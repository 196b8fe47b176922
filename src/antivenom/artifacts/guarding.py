"""Guard a process: what its unpicklers may import is judged by the allow list, before the import."""

from __future__ import annotations

import _compat_pickle
import _pickle
import io
import pickle
import sys
import threading
from types import ModuleType, TracebackType
from typing import Any, Self

from antivenom.core.errors import UnsafeFile
from antivenom.scan import AllowList, allow_list
from antivenom.scan.stubs import Global

# Modules that hold pickle's functions under names of their own and load files with them.
_TAKERS = ("pickle", "_pickle", "shelve", "cloudpickle", "cloudpickle.cloudpickle")
_lock = threading.RLock()
_active: list[Guard] = []
_replaced: list[tuple[Any, str, Any]] = []
_PythonUnpickler: Any = pickle._Unpickler


class Guard:
    """A guard in force until `undo`, or until the end of its `with` block."""

    def __init__(self, allow: AllowList) -> None:
        self.allow = allow
        with _lock:
            if not _active:
                _install()
            _active.append(self)

    def undo(self) -> None:
        """Lift this guard; with the last one everything is as it was. A second call does nothing."""
        with _lock:
            if self in _active:
                _active.remove(self)
                if not _active:
                    _remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


def guard(allow: AllowList | None = None) -> Guard:
    """Let unpicklers of this process import listed globals only, from now on; `with guard():` ends it with the block.

    Guarded: pickle.load, loads and Unpickler, C and Python, and what builds on them: torch.load with or without
    weights_only, joblib.load, numpy.load, pandas, dill, cloudpickle, shelve. The first name that is not listed raises
    UnsafeFile before it is imported. Guards add up: a name must be listed by all that are in force.
    Not guarded: what other modules took from pickle by name before (multiprocessing and joblib's workers, so they go on;
    torch.distributed), subclasses of pickle.Unpickler defined before or with a find_class that does not call ours, C code
    that calls the unpickler itself, TorchScript, other formats. It judges names only: patched classes and trailing streams
    are for the scan and `safe_load`.

    Fields:
        allow: the globals that may be imported; the vetted tier if absent.
    """
    return Guard(allow or allow_list())


def _judge(module: str, name: str) -> None:
    """Raises UnsafeFile unless every guard lists the global."""
    wanted = Global(module, name, 0)
    for each in tuple(_active):
        rule = each.allow.broken_rule(wanted)
        if rule is not None:
            raise UnsafeFile("an import that the allow list names", f"{wanted}: {rule.why}", rule.remedy)


class _Getattr:
    """getattr as a pickle may call it: the attribute of a class, judged as a global of its own."""

    __slots__ = ()  # nothing that a file could set

    def __call__(self, owner: Any, name: str, *default: Any) -> Any:
        if not isinstance(owner, type) or not isinstance(name, str):
            raise UnsafeFile("getattr on a class", f"getattr on a {type(owner).__name__}", "do not load the file")
        _judge(owner.__module__, f"{owner.__qualname__}.{name}")
        return getattr(owner, name, *default)


_getattr = _Getattr()


def _mapped(module: str, name: str) -> tuple[str, str]:
    """Python 3's name of a Python 2 global."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


class _Unpickler(_pickle.Unpickler):
    """The C unpickler, which asks before it imports.

    The mapping of Python 2's names is done here for every protocol, so that what is judged is what is imported.
    """

    def __init__(self, file: Any, *, fix_imports: bool = True, **options: Any) -> None:
        self._fix_imports = fix_imports
        super().__init__(file, fix_imports=fix_imports and not _active, **options)

    def find_class(self, module: str, name: str, /) -> Any:
        if not _active:
            return super().find_class(module, name)
        if self._fix_imports:
            module, name = _mapped(module, name)
        if (module, name) == ("builtins", "getattr"):
            return _getattr
        _judge(module, name)
        return super().find_class(module, name)


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def _loads(data: Any, /, **options: Any) -> Any:
    return _Unpickler(io.BytesIO(data), **options).load()


_real_find_class = _PythonUnpickler.find_class


def _find_class(self: Any, module: str, name: str) -> Any:
    """The Python unpickler's, from which those of joblib, dill and pandas inherit."""
    if _active:
        wanted = _mapped(module, name) if self.proto < 3 and self.fix_imports else (module, name)
        if wanted == ("builtins", "getattr"):
            return _getattr
        _judge(*wanted)
    return _real_find_class(self, module, name)


def _install() -> None:
    import multiprocessing.reduction  # noqa: F401 - takes its own reference to pickle.loads, which must not be ours

    theirs = {id(pickle.load): _load, id(pickle.loads): _loads, id(pickle.Unpickler): _Unpickler}
    for module in (sys.modules[name] for name in _TAKERS if name in sys.modules):
        for name, value in list(vars(module).items()):
            if id(value) in theirs:
                _replace(module, name, theirs[id(value)])
    _replace(_PythonUnpickler, "find_class", _find_class)


def _replace(owner: ModuleType | type, name: str, ours: Any) -> None:
    _replaced.append((owner, name, vars(owner)[name]))
    setattr(owner, name, ours)


def _remove() -> None:
    while _replaced:
        owner, name, theirs = _replaced.pop()
        setattr(owner, name, theirs)
