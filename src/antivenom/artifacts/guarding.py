"""Guard a process: every import that an unpickler asks for is checked against the allow list before it happens."""

from __future__ import annotations

import _compat_pickle
import _pickle
import functools
import importlib.util
import io
import pickle
import sys
import threading
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from antivenom.core.errors import UnsafeFile, with_article
from antivenom.scan import AllowList, allow_list
from antivenom.scan.stubs import Global

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

# Modules that keep their own references to pickle's functions and load files with them.
_IMPORTERS = ("pickle", "_pickle", "shelve", "cloudpickle", "cloudpickle.cloudpickle")
_CHANNELS = ("multiprocessing.", "concurrent.", "joblib.externals.loky.")  # messages between a program's own processes
_lock = threading.RLock()
_active: list[Guard] = []
_replaced: list[tuple[ModuleType | type, str, object]] = []
_PythonUnpickler: Any = pickle._Unpickler


class _Readable(Protocol):
    """A binary file that pickle can read."""

    def read(self, n: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


class Guard:
    """A guard that is in force until `undo` is called or its `with` block ends."""

    def __init__(self, allow: AllowList) -> None:
        self.allow = allow
        with _lock:
            if not _active:
                _install()
            _active.append(self)

    def undo(self) -> None:
        """Lift this guard. Lifting the last guard restores pickle's own functions. A second call does nothing."""
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
    """Restrict the unpicklers of this process to listed globals, until `undo` or the end of a `with guard():` block.

    Guarded are the C and Python versions of pickle.load, loads and Unpickler, and what builds on them: torch.load with or
    without weights_only and with any pickle_module, joblib.load, numpy.load, pandas, cloudpickle, shelve, dill, subclasses
    and references that were made before. The first name that is not listed raises UnsafeFile before it is imported. If
    several guards are in force, all must list a name.
    Not guarded are messages between processes of multiprocessing, concurrent.futures and joblib, a find_class that
    resolves names without the one that it overrides, unpicklers that do not derive from Python's, TorchScript and other
    formats. An audit hook finds the unpicklers that others hold; it stays, and does nothing, after the last guard.
    Weakness: a guard checks names only; patched classes and trailing streams are found by the scan and refused by
    `safe_load`.

    >>> import pickle
    >>> with guard():
    ...     pickle.loads(pickle.dumps({"weights": [0.5, 1.0]}))
    {'weights': [0.5, 1.0]}

    Fields:
        allow: the globals that can be imported; the vetted tier by default.
    """
    return Guard(allow or allow_list())


def _judge(module: str, name: str) -> None:
    """Raises UnsafeFile unless every guard lists the global."""
    wanted = Global(module, name, 0)
    for each in tuple(_active):
        rule = each.allow.broken_rule(wanted)
        if rule is not None:
            raise UnsafeFile("an import on the allow list", f"{wanted}: {rule.why}", rule.remedy)


class _Getattr:
    """A getattr for pickles: reads attributes of classes only, and checks each against the allow list like a global."""

    __slots__ = ()  # so that a file cannot set attributes on it

    def __call__(self, owner: object, name: str, *default: object) -> object:
        if not isinstance(owner, type) or not isinstance(name, str):
            raise UnsafeFile(
                "getattr on a class", f"getattr on {with_article(type(owner).__name__)}", "do not load the file"
            )
        _judge(owner.__module__, f"{owner.__qualname__}.{name}")
        return getattr(owner, name, *default)


_getattr = _Getattr()


def _mapped(module: str, name: str) -> tuple[str, str]:
    """The Python 3 name of a Python 2 global."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


class _Unpickler(_pickle.Unpickler):
    """The C unpickler with a check before each import.

    It maps the names of Python 2 itself, for every protocol, so that the checked name is the imported name.
    """

    def __init__(self, file: _Readable, *, fix_imports: bool = True, **options: Any) -> None:
        self._fix_imports = fix_imports
        super().__init__(file, fix_imports=fix_imports and not _active, **options)

    def find_class(self, module: str, name: str, /) -> object:
        if not _active:
            return super().find_class(module, name)
        if self._fix_imports:
            module, name = _mapped(module, name)
        if (module, name) == ("builtins", "getattr"):
            return _getattr
        _judge(module, name)
        return super().find_class(module, name)


def _load(file: _Readable, **options: Any) -> object:
    return _Unpickler(file, **options).load()


def _loads(data: Buffer, /, **options: Any) -> object:
    return _Unpickler(io.BytesIO(data), **options).load()


_real_find_class = _PythonUnpickler.find_class


def _find_class(self: Any, module: str, name: str) -> object:
    """find_class of the Python unpickler, from which the unpicklers of joblib and pandas inherit."""
    if _active:
        wanted = _mapped(module, name) if self.proto < 3 and self.fix_imports else (module, name)
        if wanted == ("builtins", "getattr"):
            return _getattr
        _judge(*wanted)
    return _real_find_class(self, module, name)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Judges the names of unpicklers that were taken or derived before the guard, as CPython announces each import."""
    if event != "pickle.find_class" or not _active:
        return
    asker = sys._getframe(1)
    if asker.f_code is _real_find_class.__code__ and asker.f_back:
        asker = asker.f_back
    if asker.f_code in _JUDGING:
        return  # one of the functions above has judged the name
    if f"{asker.f_globals.get('__name__')}.".startswith(_CHANNELS):
        return
    module, name = arguments
    mapped = _mapped(module, name)  # the protocol, which decides whether Python maps the name, is not known here
    _judge(*mapped)
    if (module, name) != mapped and (mapped[0] == module or importlib.util.find_spec(module)):
        _judge(module, name)


_JUDGING = frozenset({_Unpickler.find_class.__code__, _find_class.__code__})


@functools.cache
def _listen() -> None:
    """Adds the audit hook, once, because Python cannot remove one."""
    sys.addaudithook(_audit)


def _install() -> None:
    import multiprocessing.reduction  # noqa: F401 - keeps a reference to pickle.loads, which must be the real one

    guarded = {id(pickle.load): _load, id(pickle.loads): _loads, id(pickle.Unpickler): _Unpickler}
    for module in (sys.modules[name] for name in _IMPORTERS if name in sys.modules):
        for name, value in list(vars(module).items()):
            if id(value) in guarded:
                _replace(module, name, guarded[id(value)])
    _replace(_PythonUnpickler, "find_class", _find_class)
    _listen()


def _replace(owner: ModuleType | type, name: str, guarded: object) -> None:
    _replaced.append((owner, name, vars(owner)[name]))
    setattr(owner, name, guarded)


def _remove() -> None:
    while _replaced:
        owner, name, original = _replaced.pop()
        setattr(owner, name, original)
