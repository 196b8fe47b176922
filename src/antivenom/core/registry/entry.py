"""What is registered: entries by name, from our own rooms, from installed third parties, from a file."""

from __future__ import annotations

import dataclasses
import enum
import importlib.metadata
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from antivenom.core.errors import PluginError, did_you_mean
from antivenom.core.outcome import Chart, Curve
from antivenom.core.registry.checks import with_checked_fields
from antivenom.core.threat import Access, Goal, Level, goals

C = TypeVar("C", bound=type)
ENTRY_POINTS = "antivenom.plugins"


class Kind(enum.StrEnum):
    """What arrow a plugin sits on. The call shapes are in `antivenom.core.protocols`."""

    DATA_ATTACK = "data attack"
    MODEL_ATTACK = "model attack"
    LOGIC_ATTACK = "logic attack"
    EVASION = "evasion"
    AGENT = "agent"
    SANITIZER = "sanitizer"
    ROBUST_LEARNER = "robust learner"
    MODEL_DETECTOR = "model detector"
    MITIGATION = "mitigation"
    GATE = "gate"
    CLIENT_DETECTOR = "client detector"
    AGGREGATOR = "aggregator"
    REDUCER = "reducer"
    TRIGGER = "trigger"
    WANTED = "wanted"
    PARTITION = "partition"
    ARCHITECTURE = "architecture"
    ESTIMATOR = "estimator"
    SCHEDULE = "schedule"
    AUGMENTATION = "augmentation"
    FEATURE_MAP = "feature map"
    SOURCE = "source"
    GOAL = "goal"
    SCENARIO = "scenario"

    @property
    def is_attack(self) -> bool:
        return self in ATTACKS

    @property
    def is_defence(self) -> bool:
        return self in DEFENCES


ATTACKS = (Kind.DATA_ATTACK, Kind.MODEL_ATTACK, Kind.LOGIC_ATTACK, Kind.EVASION, Kind.AGENT)
DEFENCES = (
    *(Kind.SANITIZER, Kind.ROBUST_LEARNER, Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE),
    *(Kind.CLIENT_DETECTOR, Kind.AGGREGATOR, Kind.REDUCER),
)


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a scenario declares of itself, so that nobody needs its name to treat it rightly.

    Fields:
        arrows: the kinds of attack and of defence that it takes.
        levels: the steps of the report's ladder that its attackers stand on.
        in_step: on an accelerator its trials may run concurrently, so that their clients are trained in one batch.
        charts: figures of its curves, beside the one of the goal.
        table: curves that are columns of the report's table, beside those of the goal.
    """

    arrows: tuple[Kind, ...]
    levels: tuple[Level, ...]
    in_step: bool = False
    charts: tuple[Chart, ...] = ()
    table: tuple[Curve, ...] = ()


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the registry knows of a plugin class.

    Fields:
        name: the class's name, or the word given to a goal or scenario; unique over all kinds.
        kind: its arrow.
        cls: the class.
        access: access levels it needs (attacks) or guards (defences); empty where that has no meaning.
        goals: what it serves (attacks) or is meant against (defences).
        cite: authors, year, arXiv id or venue.
        origin: "antivenom", or the distribution or file it came from.
        traits: what a scenario declares of itself; None for other kinds.
        learns_trigger: whether an attack returns a trigger of its own, on which it is then judged.
    """

    name: str
    kind: Kind
    cls: type
    access: tuple[Access, ...]
    goals: tuple[Goal, ...]
    cite: str
    origin: str
    traits: Traits | None = None
    learns_trigger: bool = False

    @property
    def about(self) -> str:
        """The first line of the docstring."""
        return inspect.getdoc(self.cls).splitlines()[0] if self.cls.__doc__ else ""  # type: ignore[union-attr]


_ENTRIES: dict[str, Entry] = {}
_BUILTIN = (
    "antivenom.attacks",
    "antivenom.certify",
    "antivenom.core.wanted",
    "antivenom.data",
    "antivenom.defences",
    "antivenom.federated",
    "antivenom.leakage.dpsgd",
    "antivenom.leakage.truth_serum",
    "antivenom.models.features",
    "antivenom.models.hinge",
    "antivenom.models.own",
    "antivenom.models.schedules",
    "antivenom.models.architectures",
    "antivenom.models.augmentations",
    "antivenom.models.estimators",
    "antivenom.models.spambayes",
    "antivenom.scenarios.acceptance",
    "antivenom.scenarios.central",
    "antivenom.scenarios.federated",
    "antivenom.scenarios.membership",
    "antivenom.scenarios.transfer",
    "antivenom.triggers",
)
_loaded = False


def register(
    kind: Kind,
    access: Iterable[str],
    goal: Iterable[str] | str,
    cite: str,
    name: str | None = None,
    traits: Traits | None = None,
    learns_trigger: bool = False,
) -> Callable[[C], C]:
    """The decorator behind every kind: make the class a frozen dataclass and remember it under its name."""
    wanted = tuple(map(Goal, words("goal", goal, goals())))
    levels = tuple(map(Access, words("access", access, Access)))
    method = "run" if kind is Kind.SCENARIO else "__call__"

    def decorate(cls: C) -> C:
        made = vars(cls).get("__dataclass_params__")  # values that live below the registry are dataclasses already
        if made is not None and not made.frozen:
            raise PluginError(f"a frozen {cls.__name__}", "a dataclass that can change", "drop your own @dataclass")
        plugin = cls if made else typing.cast(C, dataclasses.dataclass(frozen=True)(cls))
        if method not in dir(plugin):
            raise PluginError(
                f"a {method} in {cls.__name__}", "none", f"define it as antivenom.core.protocols says for a {kind}"
            )
        plugin = with_checked_fields(plugin)
        own = name or cls.__name__
        known = _ENTRIES.get(own)
        if known is not None and _address(known.cls) != _address(cls):
            remedy = "choose another name" if name else "rename the class"
            raise PluginError("a new plugin name", f"{own}, taken by {known.origin}", remedy)
        origin = "antivenom" if cls.__module__.startswith("antivenom.") else cls.__module__
        _ENTRIES[own] = Entry(own, kind, plugin, levels, wanted, cite, origin, traits, learns_trigger)
        return plugin

    return decorate


def words(what: str, given: Iterable[str] | str, known: Iterable[str]) -> tuple[str, ...]:
    """The words, all of which must be known.

    Raises:
        PluginError: one that is not; with the nearest right one.
    """
    found, names = (given,) if isinstance(given, str) else tuple(given), [str(name) for name in known]
    for word in found:
        if word not in names:
            raise PluginError(f"{what} by a known name", repr(word), did_you_mean(str(word), names))
    return found


def _address(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def load_builtin() -> None:
    """Import every room that holds plugins, and those of installed third parties, once."""
    global _loaded
    if _loaded:
        return
    _loaded = True  # before the imports: a plugin may ask the registry something while it is imported
    try:
        for module in _BUILTIN:
            importlib.import_module(module)
        for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
            _load_entry_point(point)
    except BaseException:
        _loaded = False
        raise


def _load_entry_point(point: importlib.metadata.EntryPoint) -> None:
    try:
        point.load()
    except Exception as error:
        raise PluginError(
            f"the entry point {point.name} = {point.value} to import", repr(error), "mend or uninstall that package"
        ) from error


def load_file(path: str | Path) -> list[Entry]:
    """Import a plugin file and return what it registered. It is code of the caller's choice and is run as such.

    A file that is loaded already is imported again only if its text has changed.

    Raises:
        PluginError: not a readable Python file, or one that registers nothing.
    """
    load_builtin()
    path = Path(path)
    if not path.is_file():
        raise PluginError("a Python file with a plugin", str(path), "no such file: check the path after --plugin")
    name = f"antivenom_plugin_{path.stem}"  # without the folder: other processes look pickled plugins up by this name
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise PluginError("a Python file with a plugin", str(path), "its name must end in .py")
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ != spec.origin:
        raise PluginError("plugin files with different names", f"{path} after {loaded.__file__}", "rename one of them")
    source = path.read_bytes()
    if loaded is not None and vars(loaded)["__source__"] == source:  # a second copy of its classes would equal nothing
        return [entry for entry in _ENTRIES.values() if entry.cls.__module__ == name]
    module = importlib.util.module_from_spec(spec)
    module.__source__ = source  # type: ignore[attr-defined]
    before = dict(_ENTRIES)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        new = [entry for entry in _ENTRIES.values() if entry.cls.__module__ == name]
        if not any(getattr(module, entry.name, None) is entry.cls for entry in new):
            raise PluginError(f"a plugin in {path.name}", "none", "put one of antivenom's decorators on a class")
    except BaseException as error:
        sys.modules.pop(name)
        _ENTRIES.clear()
        _ENTRIES.update(before)  # a file that broke half-way leaves nothing behind
        if isinstance(error, PluginError) or not isinstance(error, (Exception, SystemExit)):
            raise
        raise PluginError(f"{path.name} to import", f"{type(error).__name__}: {error}", "mend the file") from error
    return new


def entries(*kinds: Kind) -> list[Entry]:
    """Every registered plugin of the given kinds (all kinds if none), in order of kind and name."""
    load_builtin()
    order = list(Kind)
    found = [entry for entry in _ENTRIES.values() if not kinds or entry.kind in kinds]
    return sorted(found, key=lambda entry: (order.index(entry.kind), entry.name))


def find(name: str, *kinds: Kind) -> Entry:
    """The plugin of that name.

    Raises:
        PluginError: no such plugin among the given kinds; with the nearest right name.
    """
    known = {entry.name: entry for entry in entries(*kinds)}
    if name not in known:
        what = " or ".join(kinds) or "plugin"
        article = "an" if what[0] in "aeiou" else "a"
        got = f"{name!r}, which is of kind {_ENTRIES[name].kind}" if name in _ENTRIES else repr(name)
        raise PluginError(f"the name of {article} {what}", got, did_you_mean(name, known))
    return known[name]


def registered(cls: type) -> Entry | None:
    """The entry of that class, else the one of its name, whatever class that holds; nothing is loaded for it."""
    own = (entry for entry in _ENTRIES.values() if entry.cls is cls)
    return next(own, None) or _ENTRIES.get(cls.__name__)


def entry_of(plugin: object) -> Entry:
    """The entry of a plugin, or of its class."""
    cls = plugin if isinstance(plugin, type) else type(plugin)
    return registered(cls) or find(cls.__name__)
