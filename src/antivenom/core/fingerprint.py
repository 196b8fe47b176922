"""Fingerprints of code, which are part of a record's key: they change when the source of a plugin or function is edited."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from antivenom.core.errors import PluginError, text_of

_RECEIVED: dict[object, str] = {}
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))


def digest(*parts: str | bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the parts, each prefixed with its length.

    The prefixes keep ("ab", "c") and ("a", "bc") apart.
    """
    text = b"".join(
        b"%d:%s," % (len(raw), raw) for raw in (part.encode() if isinstance(part, str) else part for part in parts)
    )
    return hashlib.sha256(text).hexdigest()[:16]


def address(value: object) -> str:
    """`module:qualified.name` of a class or function; for any other object, of its class."""
    named = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    return f"{named.__module__}:{getattr(named, '__qualname__', type(named).__name__)}"


def code_of(value: object) -> str:
    """The identity of the code behind a class, a function or an object (for which its class counts).

    Installed code is identified by its distribution and version, the standard library by Python's version. Other code is
    identified by a hash of its module's file and of all files that this one imports, directly or indirectly, unless they
    are installed: an edit of a helper module counts too. Code without a file (a notebook, a shell) is identified by a hash
    of its own source. Weakness: imports by computed names, and files that the code reads, are not seen.
    """
    named = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    if named in _RECEIVED:
        return _RECEIVED[named]
    module = getattr(named, "__module__", None) or "builtins"
    top = module.partition(".")[0]
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if file is None and (top in sys.stdlib_module_names or module in sys.builtin_module_names) and top != "__main__":
        return f"python {sys.version_info.major}.{sys.version_info.minor}"
    if file is not None and _is_installed(Path(file)):
        return _distribution(top)
    try:
        if file is not None:
            # `load_file` stores the source that it executed; the file may have been edited since.
            source = getattr(loaded, "__source__", None) or Path(file).read_bytes()
            return digest(*_with_helpers(source, getattr(loaded, "__package__", None) or ""))
        source = inspect.getsource(named).encode()
    except (OSError, TypeError):
        code = getattr(named, "__code__", None)
        source = repr((code.co_code, code.co_consts, code.co_names)).encode() if code else address(named).encode()
    return digest(source)


def received(named: object, code: str) -> None:
    """Note the code of a class or function that another process sent.

    It is needed for one that was sent whole, such as a lambda: its module need not be here. One that was looked up in its
    module is left to `code_of`, which sees whether the module's file was edited meanwhile.
    """
    found: object = sys.modules.get(getattr(named, "__module__", None) or "")
    for part in getattr(named, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    if found is not named:
        _RECEIVED[named] = code


def _is_installed(file: Path) -> bool:
    resolved = file.resolve()
    return any(resolved.is_relative_to(folder) for folder in _INSTALLED) or "site-packages" in resolved.parts


def _with_helpers(source: bytes, package: str) -> list[bytes]:
    """The source, then the sources of all modules it imports, directly or not, that are not installed, sorted by name."""
    found: dict[str, bytes] = {}
    todo = [*_imports(source, package)]
    while todo:
        name = todo.pop()
        file = None if name in found else _own_file(name)
        if file is not None:
            found[name] = file.read_bytes()
            todo += _imports(found[name], name if file.stem == "__init__" else name.rpartition(".")[0])
    return [source, *(found[name] for name in sorted(found))]


@functools.lru_cache(maxsize=256)
def _imports(source: bytes, package: str) -> tuple[str, ...]:
    """The modules that a source text may import, also inside functions. `from a import b` yields a and a.b, module or not."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return ()
    return tuple(dict.fromkeys(name for node in nodes for name in _named(node, package)))


def _named(node: ast.AST, package: str) -> Iterator[str]:
    """The absolute module names in one import statement; nothing for other nodes."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.rsplit(".", node.level - 1)[0] if node.level else ""
        base = ".".join(part for part in (above, node.module) if part)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _own_file(name: str) -> Path | None:
    """The file of a module that is neither installed nor part of antivenom, or None."""
    top = name.partition(".")[0]
    if not top or top == "antivenom" or top in sys.stdlib_module_names:
        return None
    for part in (top, name):  # the top first, because find_spec("a.b") imports a, which may be an installed package
        try:
            loaded = sys.modules.get(part)
            origin = getattr(loaded, "__file__", None) if loaded is not None else _origin(part)
        except (ImportError, AttributeError, ValueError):
            return None
        if origin is None or not origin.endswith(".py") or _is_installed(Path(origin)):
            return None
    return Path(origin) if origin else None


def _origin(name: str) -> str | None:
    spec = importlib.util.find_spec(name)
    return None if spec is None else spec.origin


@functools.cache  # it reads the file lists of all installed distributions
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _distribution(package: str) -> str:
    if package in sys.stdlib_module_names:
        return f"python {sys.version_info.major}.{sys.version_info.minor}"
    for name in _distributions().get(package, [package]):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return package


BESIDE = "put it beside the scenario file, or its folder on PYTHONPATH"


def also_import_from(folder: Path) -> None:
    """Look for modules in this folder too, after all the other places. Worker processes inherit the search path.

    Call it only for a folder whose code the user asked to run.
    """
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.append(place)


def imported(path: str) -> object:
    """The object named by `module:name`, where name may be dotted. The module is imported, so its code runs.

    Raises:
        PluginError: no such module, no such name in it, or a module that fails on import.
    """
    module, _, name = path.partition(":")
    folder = os.getcwd()
    try:
        found: object = importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's module may fail with anything on import; sys.exit() is no Exception
        got = text_of(error)
        remedy = BESIDE if isinstance(error, ModuleNotFoundError) else ""
        raise PluginError(f"the module of {path!r} to import", got, remedy) from error
    finally:
        os.chdir(folder)  # a module may change it, and the paths of the user's other files start here
    for part in name.split("."):
        if not hasattr(found, part):
            raise PluginError(f"{name} in {module}", "no such name", f"define {name} there, or change the path")
        found = getattr(found, part)
    return found
