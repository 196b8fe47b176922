"""Plugins by name: one decorator per kind, build from a name or a mapping, third parties through entry points or a file.

A plugin is a frozen dataclass with `__call__`; its fields are its hyper-parameters. The decorator makes the dataclass,
so a plugin file needs nothing but the decorator:

    from antivenom import attack

    @attack(access="data-manipulation", goal="availability", cite="Somebody et al. 2030")
    class MyAttack:
        poisoned_rate: float = 0.1

        def __call__(self, data, context): ...
"""

from __future__ import annotations

import dataclasses
import enum
import importlib.metadata
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from antivenom.errors import PluginError, did_you_mean
from antivenom.threat import Access, Goal

C = TypeVar("C", bound=type)
ENTRY_POINTS = "antivenom.plugins"


class Kind(enum.StrEnum):
    """What arrow a plugin sits on. The call shapes are in `antivenom.protocols`."""

    DATA_ATTACK = "data attack"
    MODEL_ATTACK = "model attack"
    LOGIC_ATTACK = "logic attack"
    EVASION = "evasion"
    AGENT = "agent"
    SANITIZER = "sanitizer"
    ROBUST_LEARNER = "robust learner"
    MODEL_DETECTOR = "model detector"
    MITIGATION = "mitigation"
    CLIENT_DETECTOR = "client detector"
    AGGREGATOR = "aggregator"
    TRIGGER = "trigger"
    PARTITION = "partition"
    MODEL = "model"
    FEATURE_MAP = "feature map"

    @property
    def is_attack(self) -> bool:
        return self in ATTACKS

    @property
    def is_defence(self) -> bool:
        return self in DEFENCES


ATTACKS = (Kind.DATA_ATTACK, Kind.MODEL_ATTACK, Kind.LOGIC_ATTACK, Kind.EVASION, Kind.AGENT)
DEFENCES = (
    *(Kind.SANITIZER, Kind.ROBUST_LEARNER, Kind.MODEL_DETECTOR, Kind.MITIGATION),
    *(Kind.CLIENT_DETECTOR, Kind.AGGREGATOR),
)
# A field annotated with a call shape holds a plugin of that kind. A Model is a fitted one, so not a plugin's shape.
_SHAPES = {kind.title().replace(" ", ""): kind for kind in Kind if kind != "model"} | {"Architecture": Kind.MODEL}


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the registry knows of a plugin class.

    Fields:
        name: the class's name, unique over all kinds.
        kind: its arrow.
        cls: the class.
        access: access levels it needs (attacks) or guards (defences); empty where that has no meaning.
        goals: what it serves (attacks) or is meant against (defences).
        cite: authors, year, arXiv id or venue.
        origin: "antivenom", or the distribution or file it came from.
    """

    name: str
    kind: Kind
    cls: type
    access: tuple[Access, ...]
    goals: tuple[Goal, ...]
    cite: str
    origin: str

    @property
    def about(self) -> str:
        """The first line of the docstring."""
        return inspect.getdoc(self.cls).splitlines()[0] if self.cls.__doc__ else ""  # type: ignore[union-attr]


_ENTRIES: dict[str, Entry] = {}
_BUILTIN = (
    "antivenom.attacks",
    "antivenom.defenses",
    "antivenom.federated",
    "antivenom.models.features",
    "antivenom.models.reference",
    "antivenom.models.spambayes",
)
_loaded = False


def register(kind: Kind, access: Iterable[str], goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """The decorator behind every kind: make the class a frozen dataclass and remember it under its name."""
    goals, levels = _words(goal, Goal), _words(access, Access)

    def decorate(cls: C) -> C:
        made = vars(cls).get("__dataclass_params__")  # values that live below the registry are dataclasses already
        if made is not None and not made.frozen:
            raise PluginError(f"a frozen {cls.__name__}", "a dataclass that can change", "drop your own @dataclass")
        plugin = cls if made else typing.cast(C, dataclasses.dataclass(frozen=True)(cls))
        if "__call__" not in dir(plugin):
            raise PluginError(
                f"a __call__ in {cls.__name__}", "none", f"define it as antivenom.protocols says for a {kind}"
            )
        known = _ENTRIES.get(cls.__name__)
        if known is not None and _address(known.cls) != _address(cls):
            raise PluginError("a new plugin name", f"{cls.__name__}, taken by {known.origin}", "rename the class")
        origin = "antivenom" if cls.__module__.startswith("antivenom.") else cls.__module__
        _ENTRIES[cls.__name__] = Entry(cls.__name__, kind, plugin, levels, goals, cite, origin)
        return plugin

    return decorate


W = TypeVar("W", Access, Goal)


def _words(given: Iterable[str] | str, enumeration: type[W]) -> tuple[W, ...]:
    words = (given,) if isinstance(given, str) else tuple(given)
    for word in words:
        if word not in list(enumeration):
            remedy = did_you_mean(str(word), map(str, enumeration))
            raise PluginError(f"{enumeration.__name__.lower()} by a known name", repr(word), remedy)
    return tuple(map(enumeration, words))


def _address(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


# One function per kind, written out: a static type checker follows `dataclass_transform` only on a named function.
@typing.dataclass_transform(frozen_default=True)
def attack(*, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a data attack: (Dataset, AttackContext) -> Poison."""
    return register(Kind.DATA_ATTACK, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def model_attack(*, goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register an attack on a pretrained model: (Model, Dataset, AttackContext) -> (Model, Poison)."""
    return register(Kind.MODEL_ATTACK, (Access.TRANSFER_LEARNING,), goal, cite)


@typing.dataclass_transform(frozen_default=True)
def logic_attack(*, goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register an attack on training code: (Loss, AttackContext) -> Loss."""
    return register(Kind.LOGIC_ATTACK, (Access.LOGIC_CORRUPTION,), goal, cite)


@typing.dataclass_transform(frozen_default=True)
def evasion(*, goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register an evasion, which needs no access to training: (Model, test Dataset, AttackContext) -> their rows."""
    return register(Kind.EVASION, tuple(Access), goal, cite)


@typing.dataclass_transform(frozen_default=True)
def agent(
    *, access: Iterable[str] = (Access.LOGIC_CORRUPTION,), goal: Iterable[str] | str, cite: str
) -> Callable[[C], C]:
    """Register a malicious agent's strategy: AgentView -> updates (k, d)."""
    return register(Kind.AGENT, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def sanitizer(*, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a sanitizer: (Dataset, DefenceContext) -> Verdict over rows."""
    return register(Kind.SANITIZER, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def robust_learner(*, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a robust learner, which replaces the fit: (Dataset, DefenceContext) -> Model."""
    return register(Kind.ROBUST_LEARNER, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def model_detector(*, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a model detector: (Model, clean Dataset, DefenceContext) -> Verdict over classes."""
    return register(Kind.MODEL_DETECTOR, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def mitigation(*, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a mitigation: (Model, clean Dataset, DefenceContext) -> Model."""
    return register(Kind.MITIGATION, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def client_detector(*, goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a client detector: (ServerView, state) -> (Verdict over agents, state)."""
    return register(Kind.CLIENT_DETECTOR, (Access.LOGIC_CORRUPTION,), goal, cite)


@typing.dataclass_transform(frozen_default=True)
def trigger(*, cite: str) -> Callable[[C], C]:
    """Register a trigger: inputs (m, ...) -> triggered inputs (m, ...)."""
    return register(Kind.TRIGGER, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def model(*, cite: str) -> Callable[[C], C]:
    """Register an architecture: (row shape, classes) -> torch module, or -> scikit-learn estimator."""
    return register(Kind.MODEL, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def feature_map(*, cite: str) -> Callable[[C], C]:
    """Register a feature map: rows (m, ...) -> features (m, f), each from its row alone."""
    return register(Kind.FEATURE_MAP, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def partition(*, cite: str) -> Callable[[C], C]:
    """Register a partition: (Dataset, number of agents, rng) -> row numbers per agent."""
    return register(Kind.PARTITION, (), (), cite)


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


def entry_of(plugin: object) -> Entry:
    """The entry of a plugin object."""
    return find(type(plugin).__name__)


def build(spec: Any, *kinds: Kind) -> Any:
    """A plugin from its name, from `{name: ..., field: value}`, or from a plugin, which is returned as it is.

    Raises:
        PluginError: unknown name or field, or a value of the wrong type; one line with the nearest right name.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
            if type(spec).__name__ in _ENTRIES:
                find(type(spec).__name__, *kinds)
            return spec
        raise PluginError("a plugin's name or a mapping with `name`", repr(spec), "write `name: Krum` and its fields")
    if not isinstance(spec.get("name"), str):
        raise PluginError("`name` in the plugin's mapping", ", ".join(map(str, spec)) or "nothing", "add `name: ...`")
    return fill(find(spec["name"], *kinds).cls, {key: value for key, value in spec.items() if key != "name"})


def fill(cls: type, mapping: Mapping[str, Any]) -> Any:
    """A dataclass from a mapping of its fields; nested plugins and dataclasses are built, plain values checked.

    Raises:
        PluginError: unknown or missing field, or a value of the wrong type.
    """
    hints = fields_of(cls)
    for key in mapping:
        if key not in hints:
            raise PluginError(f"a field of {cls.__name__}", repr(key), did_you_mean(str(key), hints))
    values = {key: coerce(value, hints[key], f"{cls.__name__}.{key}") for key, value in mapping.items()}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is parameter.empty and name not in values:
            raise PluginError(f"a value for {cls.__name__}.{name}", "none", "it has no default: add it")
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:  # from a third party's own __post_init__; ours raise AntivenomErrors
        raise PluginError(f"valid fields for {cls.__name__}", str(error), "correct them") from error


def fields_of(cls: type) -> dict[str, Any]:
    """Field names and types of a dataclass."""
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise PluginError(
            f"annotations of {cls.__name__} that can be looked up", str(error), "import that name outside TYPE_CHECKING"
        ) from error
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def coerce(value: Any, hint: Any, where: str) -> Any:
    """`value` as the field's type."""
    import pydantic

    if holds_plugin(hint):
        if value is None and type(None) in typing.get_args(hint):
            return None
        shapes = [part.__name__ for part in typing.get_args(hint) or (hint,)]
        try:
            return build(value, *(_SHAPES[shape] for shape in shapes if shape in _SHAPES))
        except PluginError as error:
            error.at(where)
            raise
    if isinstance(value, (list, tuple)) and typing.get_origin(hint) is tuple and holds_plugin(typing.get_args(hint)[0]):
        return tuple(coerce(item, typing.get_args(hint)[0], f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return fill(typing.cast(type, hint), value)
    if isinstance(value, Mapping):  # a frozen field holds pairs; people write a mapping
        value = tuple(value.items())
    try:
        return pydantic.TypeAdapter(hint).validate_python(value)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise PluginError(f"a valid {where}", repr(value), reason[0].lower() + reason[1:]) from error


def holds_plugin(hint: Any) -> bool:
    """Whether a field of this type holds a plugin: its annotation is one of the call shapes."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)] or [hint]
    return all(getattr(part, "_is_protocol", False) for part in parts)


def describe(value: Any) -> dict[str, Any]:
    """The mapping that `build` or `fill` turns back into the value: every field in plain JSON, plugins by name."""
    fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    is_plugin = type(value).__name__ in _ENTRIES and _ENTRIES[type(value).__name__].cls is type(value)
    return {"name": type(value).__name__, **fields} if is_plugin else fields


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return describe(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return value
