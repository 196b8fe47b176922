"""The plan of an audit of a user's own pipeline, and the scenario file that stands for it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from antivenom.auditing.grid import label
from antivenom.auditing.plan import Cell, Plan
from antivenom.auditing.settings import More, goals
from antivenom.core.errors import ScenarioError
from antivenom.core.registry import Kind, entry_of
from antivenom.core.registry.entry import registered
from antivenom.core.threat import Goal
from antivenom.pipelines.choosing import Group
from antivenom.pipelines.request import Request

FIRST, MOST, CONFIRM = 5, 40, 4  # seeds


def plan_of(groups: Sequence[Group], request: Request, first: int = FIRST, confirm: int = CONFIRM) -> Plan:
    """The plan: each group's attacks, and no attack, against each of its defences, and against none.

    Args:
        groups: what is tried.
        request: what the user asked for: a name, limits, the deployed defence.
        first: seeds that every cell gets.
        confirm: fresh seeds of the cells that the first page shows.
    """
    shares = {goal: Goal(goal).metric.limit for goal in goals()} | dict(request.limits)
    gated = dict(request.fail_if)
    return Plan(
        name=request.name,
        seeds=tuple(range(first)),
        more=More(MOST, request.trials, confirm),
        cells=tuple(cell for group in groups for cell in _cells(group, request.deployed)),
        limits=shares | {goal: share for goal, share in gated.items() if goal in shares},
        fail_if=gated,
        timeout=request.timeout,
        source=request.name,
        claim={},
    )


def _cells(group: Group, deployed: object) -> Iterator[Cell]:
    for attack in (None, *group.attacks):
        for defence in (None, *group.defences):
            yield Cell(group.name, group.scenario, attack, defence, deployed=defence == deployed)


def written(groups: Sequence[Group], request: Request) -> str:
    """The scenario file that stands for the plan of these groups, as YAML.

    Raises:
        ScenarioError: the rows or the model are in memory, so that no file can name them.
    """
    seeds = {"first": FIRST, "most": MOST, "confirm": CONFIRM}
    document: dict[str, Any] = {"version": 1, "name": request.name, "seeds": seeds}
    if request.limits:
        document["limits"] = dict(request.limits)
    if request.fail_if:
        document["fail_if"] = dict(request.fail_if)
    if request.timeout is not None:
        document["timeout"] = request.timeout
    document["scenarios"] = [_entry(group, request.deployed) for group in groups]
    return yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)


def _entry(group: Group, deployed: object) -> dict[str, Any]:
    entry = {"kind": entry_of(group.scenario).name, "name": group.name, **_short(group.scenario)}
    entry["attacks"] = [_short(attack) for attack in group.attacks]
    entry["defences"] = [_short(defence) for defence in group.defences]
    entry["deployed"] = label(deployed)
    return entry


def _short(value: Any) -> Any:
    """A value as a scenario file writes it: a plugin by its name, with the fields that are not its defaults."""
    if hasattr(value, "described"):
        return _named(value.described())
    if isinstance(value, tuple) and value and all(_is_pair(item) for item in value):
        return {name: _short(item) for name, item in value}
    if isinstance(value, tuple):
        items = [_short(item) for item in value]
        return (
            [items] if any(isinstance(item, list) for item in items) else items
        )  # a list of lists is an axis of a grid
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Goal):
        return str(value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    kept = [field for field in dataclasses.fields(value) if not _is_default(field, getattr(value, field.name))]
    fields = {field.name: _short(getattr(value, field.name)) for field in kept}
    entry = registered(type(value))
    if entry is None or entry.cls is not type(value) or entry.kind is Kind.SCENARIO:
        return fields
    return {"name": entry.name, **fields} if fields else entry.name


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _named(found: Any) -> Any:
    """The name or path in what a value says of itself.

    Raises:
        ScenarioError: it is a value in memory.
    """
    if not isinstance(found, Mapping):
        return found
    if "in_memory" in found or found.get("name") == "Memory":
        raise ScenarioError("rows and a model that a file can name", "a value in memory", "give module:name or a file")
    path = next((found[key] for key in ("architecture", "estimator", "black_box") if key in found), None)
    return path or ({"training": found["training"]} if "training" in found else dict(found))


def _is_default(field: dataclasses.Field[Any], value: object) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(value == field.default)
    return field.default_factory is not dataclasses.MISSING and bool(value == field.default_factory())
