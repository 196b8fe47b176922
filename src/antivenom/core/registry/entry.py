"""The registered plugins: entries by name, from antivenom's packages, from installed third parties, and from files."""

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

from antivenom.core.errors import PluginError, did_you_mean, text_of, with_article
from antivenom.core.garbage import uncollected
from antivenom.core.outcome import Chart, Curve
from antivenom.core.registry.checks import with_checked_fields
from antivenom.core.threat import Access, Goal, Level, goals

C = TypeVar("C", bound=type)
ENTRY_POINTS = "antivenom.plugins"


class Kind(enum.StrEnum):
    """The kinds of plugin. `antivenom.core.protocols` has the call signature of each."""

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
    LOCAL_TRAINING = "local training"
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
        """Whether plugins of this kind are attacks."""
        return self in ATTACKS

    @property
    def is_defence(self) -> bool:
        """Whether plugins of this kind are defences."""
        return self in DEFENCES


ATTACKS = (Kind.DATA_ATTACK, Kind.MODEL_ATTACK, Kind.LOGIC_ATTACK, Kind.EVASION, Kind.AGENT)
DEFENCES = (
    *(Kind.SANITIZER, Kind.ROBUST_LEARNER, Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE),
    *(Kind.CLIENT_DETECTOR, Kind.AGGREGATOR, Kind.REDUCER),
)


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a scenario declares about itself, so that plan, executors and report need not know any scenario by name.

    Fields:
        arrows: the kinds of attack and of defence that it takes.
        levels: the steps of the report's ladder that its attackers stand on.
        in_step: whether trials may run interleaved on an accelerator, so that their clients are trained in one batch.
        charts: the report's figures of its curves, in addition to the goal's figure.
        table: curves that become columns of the report's table, in addition to the goal's.
    """

    arrows: tuple[Kind, ...]
    levels: tuple[Level, ...]
    in_step: bool = False
    charts: tuple[Chart, ...] = ()
    table: tuple[Curve, ...] = ()


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the registry knows about a plugin class.

    Fields:
        name: the class's name, or the name given to a goal or scenario; unique over all kinds.
        kind: the kind of plugin.
        cls: the class.
        access: the access levels that an attack needs, or that a defence protects against; empty for other kinds.
        goals: the goals that an attack serves, or that a defence works against; empty for other kinds.
        cite: authors, year, and arXiv id or venue.
        origin: "antivenom", or the module it came from.
        traits: what a scenario declares about itself; None for other kinds.
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
    "antivenom.integrations.flower.federation",
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
_asked = False  # whether the entry points of third parties were imported
_BROKEN: list[str] = []  # one line for each of them that was skipped


def register(
    kind: Kind,
    access: Iterable[str],
    goal: Iterable[str] | str,
    cite: str,
    name: str | None = None,
    traits: Traits | None = None,
    learns_trigger: bool = False,
) -> Callable[[C], C]:
    """The decorator behind those of all kinds: make the class a frozen dataclass and enter it under its name.

    Args:
        kind: the kind of plugin.
        access, goal, cite: as in `Entry`.
        name: a name other than the class's, for goals and scenarios.
        traits: as in `Entry`, for scenarios.
        learns_trigger: as in `Entry`, for attacks.

    Raises:
        PluginError: an unknown word, a dataclass that is not frozen, a missing method, or a name that is taken.
    """
    wanted = tuple(map(Goal, words("goal", goal, goals())))
    levels = tuple(map(Access, words("access", access, Access)))
    method = "run" if kind is Kind.SCENARIO else "__call__"

    def decorate(cls: C) -> C:
        made = vars(cls).get("__dataclass_params__")  # classes that the registry itself imports are dataclasses already
        if made is not None and not made.frozen:
            raise PluginError(f"a frozen {cls.__name__}", "a dataclass that can change", "drop your own @dataclass")
        plugin = cls if made else typing.cast(C, dataclasses.dataclass(frozen=True)(cls))
        if method not in dir(plugin):
            raise PluginError(
                f"a {method} in {cls.__name__}",
                "none",
                f"define it as antivenom.core.protocols says for {with_article(kind)}",
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
    """The given words as a tuple of strings, all of which must be known.

    Raises:
        PluginError: an unknown word; the message holds the most similar known one.
    """
    found, names = (given,) if isinstance(given, str) else tuple(given), [str(name) for name in known]
    for word in found:
        if word not in names:
            raise PluginError(f"{what} by a known name", repr(word), did_you_mean(str(word), names))
    return found


def _address(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def load_builtin() -> None:
    """Import, once, every package of antivenom that holds plugins."""
    global _loaded
    if _loaded:
        return
    _loaded = True  # before the imports: a plugin may ask the registry something while it is imported
    try:
        with uncollected():
            for module in _BUILTIN:
                importlib.import_module(module)
    except BaseException:
        _loaded = False
        raise


def load_installed() -> None:
    """Import, once, the entry points of installed third parties. One that fails is skipped; `broken` names it."""
    global _asked
    load_builtin()
    if _asked:
        return
    _asked = True  # before the imports, as above
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        before = dict(_ENTRIES)
        try:
            point.load()
        except (Exception, SystemExit) as error:  # a third party's module may raise anything
            _ENTRIES.clear()
            _ENTRIES.update(before)
            expected = f"the entry point {point.name} = {point.value} to import"
            remedy = "it was skipped; repair or uninstall that package"
            _BROKEN.append(str(PluginError(expected, repr(error), remedy)))


def broken() -> list[str]:
    """One line for each entry point that could not be imported and was skipped."""
    return list(_BROKEN)


def load_file(path: str | Path) -> list[Entry]:
    """Import a plugin file and return the entries that it registered. This runs the file's code.

    A file that is loaded already is imported again only if its text has changed. If the import fails, the registry stays
    as it was.

    Raises:
        PluginError: the file is no readable Python file, fails on import, or registers nothing.
    """
    load_builtin()
    path = Path(path)
    if not path.is_file():
        raise PluginError("a Python file with a plugin", str(path), "no such file: check the path after --plugin")
    name = f"antivenom_plugin_{path.stem}"  # without the folder, because workers find pickled plugins by this name
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise PluginError("a Python file with a plugin", str(path), "its name must end in .py")
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ != spec.origin:
        raise PluginError("plugin files with different names", f"{path} after {loaded.__file__}", "rename one of them")
    source = path.read_bytes()
    if loaded is not None and vars(loaded)["__source__"] == source:  # a second import would make unequal classes
        return [entry for entry in _ENTRIES.values() if entry.cls.__module__ == name]
    module = importlib.util.module_from_spec(spec)
    module.__source__ = source  # type: ignore[attr-defined]
    before = dict(_ENTRIES)
    sys.modules[name] = module
    try:
        # Not by the loader: its bytecode on disk can be that of an earlier text of the same size and second.
        exec(compile(source, path.resolve(), "exec", dont_inherit=True), vars(module))  # noqa: S102
        new = [entry for entry in _ENTRIES.values() if entry.cls.__module__ == name]
        if not any(getattr(module, entry.name, None) is entry.cls for entry in new):
            raise PluginError(f"a plugin in {path.name}", "none", "put one of antivenom's decorators on a class")
    except BaseException as error:
        sys.modules.pop(name)
        _ENTRIES.clear()
        _ENTRIES.update(before)  # a file that fails half-way leaves no entries behind
        if isinstance(error, PluginError) or not isinstance(error, (Exception, SystemExit)):
            raise
        raise PluginError(f"{path.name} to import", text_of(error)) from error
    return new


def entries(*kinds: Kind) -> list[Entry]:
    """The registered plugins of the given kinds, or of all kinds if none is given, sorted by kind and name.

    This imports the entry points of installed third parties.
    """
    load_installed()
    order = list(Kind)
    found = [entry for entry in _ENTRIES.values() if not kinds or entry.kind in kinds]
    return sorted(found, key=lambda entry: (order.index(entry.kind), entry.name))


def find(name: str, *kinds: Kind) -> Entry:
    """The entry of that name. The entry points of third parties are imported only if antivenom has no such plugin.

    Raises:
        PluginError: no plugin of the given kinds has that name; the message holds the most similar one.
    """
    load_builtin()
    own = _ENTRIES.get(name)
    if own is not None and (not kinds or own.kind in kinds):
        return own
    known = {entry.name: entry for entry in entries(*kinds)}
    if name not in known:
        what = with_article(" or ".join(kinds) or "plugin")
        got = f"{name!r}, which is of kind {_ENTRIES[name].kind}" if name in _ENTRIES else repr(name)
        raise PluginError(f"the name of {what}", got, did_you_mean(name, known, _listing(kinds)))
    return known[name]


def _listing(kinds: Iterable[Kind]) -> str:
    """The command that lists the plugins of these kinds."""
    asked = {*kinds}
    if not asked:
        return "antivenom list"
    if len(asked) == 1:
        return f"antivenom list --kind '{asked.pop()}'"
    return "antivenom list " + ("attacks" if asked <= {*ATTACKS} else "defences" if asked <= {*DEFENCES} else "all")


def registered(cls: type) -> Entry | None:
    """The entry of that class, else the entry of the class's name, which may hold another class, else None.

    Unlike `find`, this imports no plugins.
    """
    named = _ENTRIES.get(cls.__name__)
    if named is not None and named.cls is cls:
        return named
    return next((entry for entry in _ENTRIES.values() if entry.cls is cls), named)


def entry_of(plugin: object) -> Entry:
    """The entry of a plugin or of a plugin class."""
    cls = plugin if isinstance(plugin, type) else type(plugin)
    return registered(cls) or find(cls.__name__)
