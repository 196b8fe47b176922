"""The repair that an audit of a user's own pipeline recommends, as code and configuration to paste."""

from __future__ import annotations

import dataclasses
import enum
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from antivenom.auditing.naming import short
from antivenom.auditing.results import CellResult, LevelResult, State, Summary
from antivenom.auditing.sentences import price, slower
from antivenom.core.errors import AntivenomError
from antivenom.core.registry import Kind, build, find, registered

Spec: TypeAlias = Mapping[str, Any]  # a plugin as a record holds it
EXAMINED = 100  # rows that a defence with trusted rows asks the user to examine
_USED = {"Defended", "data", "rows_of", "np", "drawn", "examined", "others", "model", "answers", "refused", "Training"}
_TRUSTING = (Kind.MITIGATION, Kind.GATE, Kind.MODEL_DETECTOR)  # kinds that get clean rows as an argument
_OWN = ("architecture", "estimator", "training")


@dataclass(frozen=True)
class Repair:
    """A defence to deploy, and how.

    Fields:
        level: the access level at which it helps.
        defence: the full label of the defence.
        held: whether it is shown to hold against the attacks that were tried; otherwise it left the least harm.
        said: one sentence: what it is, whether it held, and what it costs.
        python: code that trains the user's model with it.
        scenario: the lines of a scenario file that deploy it.
        command: the command or the Python call that tests it again.
    """

    level: str
    defence: str
    held: bool
    said: str
    python: str
    scenario: str
    command: str

    def __str__(self) -> str:
        return "\n\n".join((self.said, self.python, f"# Test it again:\n# {self.command}"))


def repairs(summary: Summary) -> tuple[Repair, ...]:
    """The repair at each breached level of an audit of a user's own pipeline, the worst level first; each defence once."""
    if summary.given is None:
        return ()
    breached = [level for level in summary.levels if level.state is State.BREACHED]
    held_first = lambda level: (level.best is not None and level.best.state is State.HELD, level.severity)  # noqa: E731
    found: dict[str, Repair] = {}
    for level in sorted(breached, key=held_first, reverse=True):
        repair = _repair(level, summary)
        if repair is not None:
            found.setdefault(repair.defence, repair)
    return tuple(found.values())


def _repair(level: LevelResult, summary: Summary) -> Repair | None:
    """The repair at one level; None if no defence does better than what is deployed, or it is no part of a training."""
    best = level.best
    spec = None if best is None else _spec_of(best, summary)
    if best is None or spec is None or not level.improves:
        return None
    try:
        code = python_of(best.scenario, spec)
        lines = yaml.safe_dump({"defences": [_short(spec)], "deployed": spec["name"]}, sort_keys=False, width=110)
        command = _command(str(summary.plan["command"]), _short(spec))
    except AntivenomError:  # a plugin of somebody else that is not loaded here
        return None
    return Repair(level.level, best.defence, best.state is State.HELD, _said(best, summary), code, lines, command)


def _spec_of(cell: CellResult, summary: Summary) -> Spec | None:
    """The defence of a cell as its records describe it."""
    same = [c for c in summary.cells if (c.group, c.defence) == (cell.group, cell.defence)]
    return next((record["spec"]["defence"] for c in same for record in c.records), None)


def _said(best: CellResult, summary: Summary) -> str:
    name, costs = short(best.defence), f"it {price(best.shown_cost)}{slower(best, summary)}"
    if best.state is State.HELD:
        return f"{name} is the cheapest defence that held against every attack that was tried; {costs}."
    what = "It did not hold, so it does not suffice" if best.state is State.BREACHED else "It is not shown to hold"
    return f"{name} left the least harm of the defences that were tried; {costs}. {what}."


def _kind(spec: Spec) -> Kind:
    return find(str(spec["name"])).kind


def _needs_trusted(spec: Spec) -> bool:
    """Whether the defence needs rows that are known to be clean."""
    kind = _kind(spec)
    return kind in _TRUSTING or (kind is Kind.SANITIZER and getattr(build(spec, kind), "trusted", False) is True)


def python_of(scenario: Spec, defence: Spec) -> str:
    """Code that trains the pipeline of a scenario with a defence, both as records describe them.

    Raises:
        AntivenomError: a plugin that is not loaded.
    """
    return "\n".join(_lines(scenario, defence, _kind(defence)))


def _lines(scenario: Spec, spec: Spec, kind: Kind) -> Iterator[str]:
    trusted = _needs_trusted(spec)
    imports: dict[str, set[str]] = {"antivenom": {"Defended"}, "antivenom.defences.sanitize": {"rows_of"}}
    model, of_model = _model_code(scenario["model"], imports)
    defence = _defence_code(spec, imports)
    arguments = [f"defence={defence}", model] if model.startswith("train=") else [model, defence]
    if "architecture" in scenario["model"] or _is_architecture(scenario["model"]):
        arguments += _training_code(scenario.get("training", {}), imports)
    source = _source_code(scenario["data"], imports)
    yield from (["import numpy as np", ""] if trusted else [])
    yield from sorted(f"from {module} import {', '.join(sorted(names))}" for module, names in imports.items() if names)
    yield ""
    if source is None:
        source = "data"
        yield "# `data` are the rows that you gave to antivenom.audit."
    if of_model:
        yield f"# `{model}` is the model that you gave to antivenom.audit."
    yield f"data = rows_of({source})"
    if trusted:
        yield f"drawn = np.random.default_rng(0).permutation(len(data))[:{EXAMINED}]"
        yield f"examined = data[drawn]  # examine these {EXAMINED} rows by hand: the defence takes them for clean"
        yield "others = data[np.setdiff1d(np.arange(len(data)), drawn)]"
    yield f"model = Defended({', '.join(arguments)})"
    yield "model.fit(others, trusted=examined)" if trusted else "model.fit(data)"
    yield "answers = model.predict(data)  # numbers of classes, in the order of data.classes"
    if kind is Kind.GATE:
        yield "refused = model.refused(data)  # give no answer to these inputs"
    if kind is Kind.MODEL_DETECTOR:
        yield "print(model.verdict_)  # it reports, and changes nothing"


def _defence_code(spec: Spec, imports: dict[str, set[str]]) -> str:
    """The defence as an argument of `Defended`: its name, which needs no import, if all fields have their defaults."""
    needed: dict[str, set[str]] = {}
    code = _code(spec, needed)
    if code.endswith("()"):
        return repr(code[:-2])
    for module, names in needed.items():
        imports.setdefault(module, set()).update(names)
    return code


def _is_architecture(spec: Spec) -> bool:
    return "name" in spec and _kind(spec) is Kind.ARCHITECTURE


def _model_code(spec: Spec, imports: dict[str, set[str]]) -> tuple[str, bool]:
    """The model as an argument of `Defended`, and whether it is a value in memory that the code cannot name."""
    key = next((key for key in _OWN if key in spec), None)
    if key is None:
        return _code(spec, imports), False
    if spec.get("in_memory"):
        return ("train=train" if key == "training" else "model"), True
    module, _, name = str(spec[key]).partition(":")
    first = name.partition(".")[0]
    if first in _USED:
        name = repr(spec[key])
    else:
        imports.setdefault(module, set()).add(first)
    return (f"train={name}" if key == "training" else name), False


def _training_code(spec: Spec, imports: dict[str, set[str]]) -> list[str]:
    """The argument `training`, if it is not the usual one."""
    from antivenom.models.training import Training

    fields = ", ".join(_fields(Training, spec, imports))
    if not fields:
        return []
    imports.setdefault("antivenom.models.training", set()).add("Training")
    return [f"training=Training({fields})"]


def _source_code(spec: object, imports: dict[str, set[str]]) -> str | None:
    """The rows, or None for rows in memory."""
    if isinstance(spec, Mapping) and (spec.get("name", "Memory") == "Memory"):
        return None
    return _code(spec, imports)


def _code(value: object, imports: dict[str, set[str]]) -> str:
    """A value of a record as Python: a plugin by its class, with the fields that are not its defaults."""
    if isinstance(value, Mapping) and "name" in value:
        cls = find(str(value["name"])).cls
        imports.setdefault(_home(cls), set()).add(cls.__name__)
        fields = {**value, **value.get("fields", {})}
        return f"{cls.__name__}({', '.join(_fields(cls, fields, imports))})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_code(item, imports)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_code(item, imports) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _fields(cls: type, spec: Spec, imports: dict[str, set[str]]) -> Iterator[str]:
    for field in dataclasses.fields(cls):
        if field.name in spec and not _is_default(field, spec[field.name]):
            yield f"{field.name}={_code(spec[field.name], imports)}"


def _is_default(field: dataclasses.Field[object], value: object) -> bool:
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    else:
        return False
    return bool(_plain(default) == _plain(value))


def _plain(value: object) -> object:
    """A value as records hold it."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        entry = registered(type(value))
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return fields if entry is None else {"name": entry.name, **fields}
    return value


def _home(cls: type) -> str:
    """The module from which users import a plugin: its package, which exports it, or else its own module."""
    parts = cls.__module__.split(".")
    return ".".join(parts[:2]) if parts[0] == "antivenom" and parts[1] not in ("models", "core") else cls.__module__


def _short(spec: Spec) -> str | Spec:
    """The defence as a scenario file writes it: its name, or a mapping with the fields that are not its defaults."""
    cls = find(str(spec["name"])).cls
    kept = {
        f.name: spec[f.name] for f in dataclasses.fields(cls) if f.name in spec and not _is_default(f, spec[f.name])
    }
    return {"name": spec["name"], **kept} if kept else spec["name"]


def _command(command: str, defence: str | Spec) -> str:
    """The audit's own command with this defence deployed and a folder of its own."""
    name = defence if isinstance(defence, str) else _flow(defence)
    words = shlex.split(command)
    if words[:2] != ["antivenom", "audit"]:
        return f"antivenom.audit(..., deployed={defence!r})"
    folder = f"audit-with-{name if isinstance(defence, str) else defence['name']}"
    return shlex.join([*_without(words, ("--deployed", "--out", "--write")), "--deployed", name, "--out", folder])


def _flow(defence: str | Spec) -> str:
    """The defence as YAML in one line."""
    return yaml.safe_dump(defence, default_flow_style=True, sort_keys=False, width=1000).strip()


def _without(words: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """The words of a command without these options and their values."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = True
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            yield word
