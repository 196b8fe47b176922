"""Enumerates the classes of a library whose objects a file can create and keep without running code of the class.

    PYTHON benchmarks/scan/honest/enumerate_classes.py PACKAGE [PACKAGE ...]

Runs in an environment that has the packages, imports each of their modules, and prints lines for `lists/classes.txt`. It
takes a class only if everything that unpickling runs for a *kept* object is known (see `Permission.kept`):

- `__new__` is a built-in type's, or only calls it (`KNOWN_NEW`), so that an empty object runs nothing;
- `__setstate__` is missing or was read by a person (`READ_STATE`), so that BUILD updates the object's dict;
- no `__del__`; and where a class has a `__getattr__` or `__getattribute__`, looking `__setstate__` up on an empty object
  fails as it would without them. The scan permits one state for each kept object, so that the object is empty then.

`+slots` says that no `__setattr__` and no property with a setter can run when a state sets slots, and `filled` that the
methods with which opcodes add items are those of `dict`, `list` and their like. Enumerations whose `_missing_` is Python's
own are called with a plain value. Named tuples store their arguments. Modules for tests, programs and examples, and
names that are known to be dangerous, are left out; so are modules that cannot be imported.
"""

from __future__ import annotations

import collections
import enum
import importlib
import os
import pkgutil
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from types import MemberDescriptorType, ModuleType
from typing import Any, TextIO

BUILT_IN = ("builtins", "collections")
END = time.monotonic() + float(os.environ.get("SECONDS_PER_PACKAGE", "600"))  # some packages have thousands of modules
SKIPPED = frozenset(
    {
        "test",
        "tests",
        "testing",
        "conftest",
        "setup",
        "examples",
        "example",
        "scripts",
        "cli",
        "benchmarks",
        "benchmark",
    }
    | {
        "__main__",
        "onnx",
        "_dynamo",
        "_inductor",
        "commands",
        "tools",
        "demos",
        "notebook",
        "docs",
        "distributed",
        "contrib",
        "hub",
        "plotting",
        "gui",
    }
)
READ_NEW = frozenset(
    {"typing.Generic", "typing.Protocol", "abc.ABC", "networkx.classes.graph.Graph", "networkx.classes.digraph.DiGraph"}
    | {"networkx.classes.multigraph.MultiGraph", "networkx.classes.multidigraph.MultiDiGraph"}
)
# Classes whose own method was read; it acts on the object's dict alone.
READ_STATE = frozenset(
    {"sklearn.base.BaseEstimator", "statsmodels.base.wrapper.ResultsWrapper", "statsmodels.base.data.ModelData"}
    | {"networkx.classes.coreviews.AtlasView", "networkx.classes.coreviews.UnionAtlas", "catboost.core._CatBoostBase"}
    | {"networkx.classes.reportviews.NodeView", "torch_geometric.data.storage.BaseStorage", "optuna.study.study.Study"}
    | {"optuna.storages._in_memory.InMemoryStorage", "omegaconf.basecontainer.BaseContainer"}
    | {
        "torchmetrics.metric.Metric",
        "transformers.tokenization_utils_base.BatchEncoding",
        "pandas.core.generic.NDFrame",
    }
    | {f"torch.nn.modules.{n}" for n in ("module.Module", "conv._ConvNd", "rnn.RNNBase", "pooling.AvgPool3d")}
    | {f"torch.nn.modules.activation.{n}" for n in ("MultiheadAttention", "Softmax", "Softmin", "LogSoftmax")}
    | {f"torch.nn.modules.transformer.Transformer{n}" for n in ("EncoderLayer", "DecoderLayer")}
    | {
        "torch.nn.modules.upsampling.Upsample",
        "gpytorch.kernels.kernel.Kernel",
        "torch_geometric.data.data.BaseData",
        "torch.optim.optimizer.Optimizer",
    }
    | {f"torch.optim.{n}" for n in ("adam.Adam", "sgd.SGD", "adamw.AdamW", "rmsprop.RMSprop", "adagrad.Adagrad")}
)
ITEMS = ("append", "extend", "add", "update", "__setitem__", "setdefault")


def owner(kind: type, name: str) -> str:
    """The class that defines an attribute; empty for a built-in type or if there is none."""
    for each in kind.__mro__:
        if name in vars(each):
            return "" if each.__module__ in BUILT_IN and not is_heap(each) else f"{each.__module__}.{each.__qualname__}"
    return ""


def is_heap(kind: type) -> bool:
    """Whether a class was defined in Python, as against a built-in one of C."""
    return bool(kind.__flags__ & (1 << 9)) and kind not in (
        collections.OrderedDict,
        collections.defaultdict,
        collections.deque,
    )


REJECTED: collections.Counter[str] = collections.Counter()  # method of which class -> how many classes it keeps out


def kind_of(kind: type) -> str:
    """The kind of a class in `classes.txt`; empty if it cannot be listed."""
    if issubclass(kind, enum.Enum):
        own = owner(kind, "_missing_")
        return "enum" if own.startswith("enum.") and kind.__members__ and not owner(kind, "__del__") else ""
    if issubclass(kind, tuple):
        fields = getattr(kind, "_fields", None)
        new = vars(kind).get("__new__")
        made = getattr(new, "__code__", None)
        return "tuple" if fields and made is not None and made.co_filename.startswith("<string>") else ""
    if issubclass(kind, (type, BaseException, ModuleType)) or not is_heap(kind):
        return ""
    read = {"__new__": READ_NEW, "__setstate__": READ_STATE, "__del__": frozenset[str]()}
    unread = [f"{own}.{name}" for name in read if (own := owner(kind, name)) not in {"", *read[name]}]
    if not unread and not empty_is_plain(kind):
        unread = [f"{owner(kind, '__getattr__') or owner(kind, '__getattribute__')}.__getattr__"]
    REJECTED.update(unread)
    if unread:
        return ""
    if "__dict__" in {name for each in kind.__mro__ for name in vars(each) if isinstance(vars(each)[name], property)}:
        return ""
    setters = any(
        hasattr(type(value), "__set__")
        and not isinstance(value, MemberDescriptorType)
        and name not in ("__dict__", "__weakref__")
        for each in kind.__mro__
        if each.__module__ not in BUILT_IN
        for name, value in vars(each).items()
        if not (isinstance(value, property) and value.fset is None)
    )
    slots = not setters and not owner(kind, "__setattr__")
    container = issubclass(kind, (dict, list, set, collections.deque)) and not any(owner(kind, name) for name in ITEMS)
    return ("filled" if container else "kept") + ("+slots" if slots else "")


def empty_is_plain(kind: type) -> bool:
    """Whether the look-ups of BUILD on an empty object find what Python's own would, although the class has its own."""
    if not owner(kind, "__getattr__") and not owner(kind, "__getattribute__"):
        return True
    try:
        empty: Any = kind.__new__(kind)
        if empty.__dict__ != {}:
            return False
    except Exception:
        return False
    try:
        found = empty.__setstate__
    except AttributeError:
        return True
    except Exception:
        return False
    return owner(kind, "__setstate__") != "" and getattr(found, "__self__", None) is empty


def modules(package: str) -> Iterator[ModuleType]:
    """The package and its submodules, as far as they can be imported."""
    try:
        top = importlib.import_module(package)
    except Exception as error:
        print(f"# {package}: {error}", file=sys.stderr)
        return
    yield top
    for found in pkgutil.walk_packages(getattr(top, "__path__", ()), f"{package}.", onerror=lambda name: None):
        if time.monotonic() > END:
            print(f"# {package}: out of time", file=sys.stderr)
            return
        parts = set(found.name.split("."))
        if parts & SKIPPED or any(part.startswith(("test_", "_test", "benchmark_")) for part in parts):
            continue
        try:
            yield importlib.import_module(found.name)
        except BaseException:
            continue


def main(out: TextIO) -> None:
    warnings.simplefilter("ignore")
    from antivenom.scan.danger import danger

    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for package in sys.argv[1:]:
        for module in modules(package):
            for value in list(vars(module).values()):
                if (
                    not isinstance(value, type)
                    or value.__module__ != module.__name__
                    or "<locals>" in value.__qualname__
                ):
                    continue
                kind = kind_of(value)
                if kind and not danger(value.__module__, value.__qualname__) and reachable(value):
                    found[kind, value.__module__].add(value.__qualname__)
    for (kind, module_name), names in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        print(kind, module_name, *sorted(names), file=out)
    for method, count in REJECTED.most_common():
        print(f"# not read: {method} keeps out {count}", file=sys.stderr)


def reachable(value: type) -> bool:
    """Whether the name leads back to the class."""
    here: Any = sys.modules[value.__module__]
    for part in value.__qualname__.split("."):
        here = getattr(here, part, None)
    return here is value


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as lines:
        os.dup2(2, 1)  # what modules print on import is no part of the list
        main(lines)
    os._exit(0)  # threads that modules have started
