"""Fingerprints of code: equal while a class or function computes the same, different once its source is edited."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from antivenom.core.errors import PluginError

_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))


def digest(*parts: str | bytes) -> str:
    """16 hexadecimal digits of the parts; no two lists of parts share a text."""
    text = b"".join(
        b"%d:%s," % (len(raw), raw) for raw in (part.encode() if isinstance(part, str) else part for part in parts)
    )
    return hashlib.sha256(text).hexdigest()[:16]


def address(value: object) -> str:
    """`module:qualified.name` of a class or function, or of an object's class."""
    named = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    return f"{named.__module__}:{getattr(named, '__qualname__', type(named).__name__)}"


def code_of(value: object) -> str:
    """The identity of the code behind a class, a function or an object.

    Installed code is named by distribution and version. Other code is named by a hash of its module's file, so that an
    edited helper function in the same file counts too; code without a file (a notebook, a shell) by a hash of its own source.
    """
    named = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    module = getattr(named, "__module__", None) or "builtins"
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and (top in sys.stdlib_module_names or module in sys.builtin_module_names) and top != "__main__":
        return f"python {sys.version_info.major}.{sys.version_info.minor}"
    if file is not None and any(Path(file).resolve().is_relative_to(folder) for folder in _INSTALLED):
        return _distribution(top)
    try:
        source = Path(file).read_bytes() if file is not None else inspect.getsource(named).encode()
    except (OSError, TypeError):
        code = getattr(named, "__code__", None)
        source = repr((code.co_code, code.co_consts, code.co_names)).encode() if code else address(named).encode()
    return digest(source)


def _distribution(package: str) -> str:
    if package in sys.stdlib_module_names:
        return f"python {sys.version_info.major}.{sys.version_info.minor}"
    for name in metadata.packages_distributions().get(package, [package]):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return package


def imported(path: str) -> object:
    """What `module:name` names. The module is imported, so its code runs.

    Raises:
        PluginError: no such module, no such name in it, or a module that fails on import.
    """
    module, _, name = path.partition(":")
    try:
        found: object = importlib.import_module(module)
    except Exception as error:  # a user's module may fail with anything on import
        got = f"{type(error).__name__}: {error}"
        remedy = "put its folder on PYTHONPATH" if isinstance(error, ModuleNotFoundError) else ""
        raise PluginError(f"the module of {path!r} to import", got, remedy) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise PluginError(f"{name} in {module}", "no such name", f"define {name} there, or correct the path")
        found = getattr(found, part)
    return found
