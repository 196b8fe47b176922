"""The plan of an audit: the cells and trials that a scenario file describes, checked before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path as FilePath
from typing import Any

from antivenom.auditing.counts import Counts
from antivenom.auditing.grid import label, plugins, require_few, variants
from antivenom.auditing.identity import Identity, identity_of
from antivenom.auditing.knowledge import knowledge
from antivenom.auditing.mistaken import kind_of, require_scenario_file
from antivenom.auditing.settings import (
    MOST_TRIALS,
    More,
    goals,
    read_claim,
    read_seeds,
    read_shares,
    read_timeout,
    require_few_trials,
)
from antivenom.auditing.trial import RESERVED, SCHEMA, Record, Trial, scenario_entry
from antivenom.auditing.yaml_lines import Located, Path
from antivenom.core.errors import ScenarioError, did_you_mean
from antivenom.core.fingerprint import also_import_from
from antivenom.core.protocols import Limits, Scenario
from antivenom.core.registry import ATTACKS, DEFENCES, Kind, entries, entry_of, fields_of, ladder
from antivenom.core.regular import content_of
from antivenom.core.threat import Goal

COST = "cost"  # the key of `fail_if` that gates the accuracy which the deployed defence costs
_SELECTED = 7  # a level has at most three selected cells and four clean twins of them
_TOP = ("version", "name", "claim", "seeds", "timeout", "limits", "fail_if", "scenarios")
_MOST_BYTES = 1 << 22  # of a scenario file


@dataclass(frozen=True)
class Cell:
    """One combination of scenario, attack and defence, of which there is one trial per seed.

    Fields:
        group: the scenario's name in the file, with the values of its grid axes, such as "digits [poisoned_rate=0.1]".
        scenario: a value of a registered kind of scenario.
        attack: a plugin, or None for the clean twin.
        defence: a plugin, or None for the undefended pipeline.
        deployed: whether this defence is the one that the user runs.
        places: field, "attack" or "defence" -> where the file states it, for messages; "" is the scenario's own place.
    """

    group: str
    scenario: Scenario
    attack: Any
    defence: Any
    deployed: bool
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def level(self) -> str:
        """The name of the attacker's step on the report's ladder."""
        return self.scenario.level

    def trial(self, seed: int) -> Trial:
        """The cell's trial with this seed."""
        return Trial(self.scenario, self.attack, self.defence, seed)


@dataclass(frozen=True)
class Plan:
    """What an audit will run, and by which limits it will be judged.

    Fields:
        name: the audit's name.
        seeds: the seeds with which every cell is run.
        more: how many more seeds a cell may get while its verdict is open, or None; see `antivenom.auditing.allocation`.
        cells: all cells in the order of the file; each group begins with its clean twins.
        limits: goal -> harm (0 to 1) above which a cell counts as breached.
        fail_if: goal -> the same limit for the goals that decide the exit code; goals that are absent do not affect it. `cost`
            -> the accuracy that the deployed defence may cost.
        timeout: seconds per trial, or None.
        source: the scenario file's name.
        claim: free text by the file's author, such as a published number that the audit repeats.
    """

    name: str
    seeds: tuple[int, ...]
    more: More | None
    cells: tuple[Cell, ...]
    limits: dict[str, float]
    fail_if: dict[str, float]
    timeout: float | None
    source: str
    claim: dict[str, str]

    @cached_property
    def order(self) -> tuple[int, ...]:
        """All seeds that a cell may get: a cell with n seeds has the first n. The last `confirm` are for selected cells."""
        return self.seeds if self.more is None else tuple(range(self.more.most + self.more.confirm))

    @property
    def first(self) -> Counts:
        """The number of seeds of each cell at the start of the audit."""
        kept_from = len(self.seeds) if self.more is None else self.more.most
        return Counts((len(self.seeds),) * len(self.cells), (0,) * len(self.cells), kept_from)

    @cached_property
    def _identities(self) -> tuple[Identity, ...]:
        """For each cell, the identity of its trial with the first seed. This hashes the data of every source, each once."""
        known: dict[int, str] = {}
        trials = [cell.trial(self.seeds[0]) for cell in self.cells]
        return tuple(identity_of(trial.spec, trial.parts, known) for trial in trials)

    def identity(self, cell: int, place: int) -> Identity:
        """The identity of the trial of a cell, given by its number, with the seed at this place of `order`."""
        first = self._identities[cell]
        return replace(first, spec={**first.spec, "seed": self.order[place]})

    @cached_property
    def _keys(self) -> dict[tuple[int, int], str]:
        """The keys that were computed so far, by cell and place of the seed."""
        return {}

    def key(self, cell: int, place: int) -> str:
        """The key of that trial."""
        if (cell, place) not in self._keys:
            self._keys[cell, place] = self.identity(cell, place).key
        return self._keys[cell, place]

    def asked(self, counts: Counts) -> dict[str, tuple[int, int]]:
        """Every distinct trial, if the cells have these numbers of seeds: its key -> a cell and the place of its seed.

        All cells of one seed come first, so an interrupted audit has complete seeds.
        """
        places = sorted((place, i) for i in range(len(self.cells)) for place in counts.places(i))
        return {self.key(i, place): (i, place) for place, i in places}

    @cached_property
    def jobs(self) -> dict[str, Identity]:
        """Every distinct trial at the start of the audit, by its key."""
        return {key: self.identity(*each) for key, each in self.asked(self.first).items()}

    def trials(self) -> Iterator[Trial]:
        """Every distinct trial at the start of the audit, in the order of `jobs`."""
        return (self.cells[i].trial(self.order[place]) for i, place in self.asked(self.first).values())

    @property
    def size(self) -> int:
        """The number of distinct trials at the start of the audit, found without reading any data."""
        return self._distinct * len(self.seeds)

    @property
    def most(self) -> int:
        """The greatest number of distinct trials of the audit."""
        if self.more is None:
            return self.size
        levels = len({cell.level for cell in self.cells})
        size = self._distinct * self.more.most + min(self._distinct, _SELECTED * levels) * self.more.confirm
        return size if self.more.trials is None else min(size, self.more.trials)

    @cached_property
    def _distinct(self) -> int:
        """The number of distinct trials of one seed."""
        return len({json.dumps(cell.trial(0).spec, sort_keys=True) for cell in self.cells})

    def record(self, command: str, counts: Counts | None = None) -> Record:
        """The plan as a line of records.jsonl. It holds everything that a report needs besides the trials' records.

        Args:
            command: the command line that started the audit.
            counts: the number of seeds of each cell so far; None for those at the start.
        """
        counts = self.first if counts is None else counts
        return {
            "schema": SCHEMA,
            "type": "plan",
            "name": self.name,
            "source": self.source,
            "claim": dict(self.claim),
            "command": command,
            "seeds": list(self.order[: max(counts.seeds)]),
            "fresh": [self.order[place] for place in range(counts.kept_from, counts.kept_from + max(counts.fresh))],
            "more": None if self.more is None else asdict(self.more),
            "limits": dict(self.limits),
            "fail_if": dict(self.fail_if),
            "levels": [
                {
                    "name": step.level.name,
                    "about": step.level.about,
                    "access": list(step.level.access),
                    "add": step.add,
                }
                for step in ladder()
            ],
            "curves": {name: _curves(name) for name in dict.fromkeys(entry_of(c.scenario).name for c in self.cells)},
            "cells": [
                {
                    "group": cell.group,
                    "level": cell.level,
                    "goal": str(cell.scenario.goal),
                    "scenario": self._identities[i].spec["scenario"],
                    "attack": label(cell.attack),
                    "defence": label(cell.defence),
                    "deployed": cell.deployed,
                    "knowledge": knowledge(cell.scenario, cell.attack, cell.defence),
                    "budget": cell.scenario.budget if isinstance(cell.scenario, Limits) else "",
                    "keys": [self.key(i, place) for place in range(counts.seeds[i])],
                    "fresh": [self.key(i, place) for place in counts.fresh_places(i)],
                }
                for i, cell in enumerate(self.cells)
            ],
        }

    def with_budget(self, trials: int) -> Plan:
        """The same plan with at most so many trials. Keys and fingerprints that were computed for this one are kept."""
        assert self.more is not None
        found = replace(self, more=replace(self.more, trials=trials))
        vars(found).update({name: value for name, value in vars(self).items() if name.startswith("_")})
        return found

    def with_seeds(self, n: int) -> Plan:
        """The same plan with the seeds 0 to n - 1 for every cell, and no more.

        Raises:
            ScenarioError: that makes more trials than an audit can run.
        """
        require_few_trials(len(self.cells), n)
        return replace(self, seeds=tuple(range(n)), more=None)


def _curves(kind: str) -> dict[str, object]:
    """The charts and table columns that a kind of scenario declares, because the report knows no kind by name."""
    traits = scenario_entry(kind).traits
    assert traits is not None
    return {"charts": [asdict(chart) for chart in traits.charts], "table": [asdict(curve) for curve in traits.table]}


def embedded() -> str:
    """The text of the embedded scenario file, which is audited if no file is given, and which `antivenom init` writes."""
    return resources.files("antivenom.auditing").joinpath("digits.yaml").read_text(encoding="utf-8")


def read_plan(path: str | FilePath | None) -> Plan:
    """The plan of a scenario file; for None, of the embedded one.

    `module:name` in the file is also looked for in the file's own folder.

    Raises:
        ScenarioError: the file is missing or invalid; one line with file, line, field and the most similar known name.
    """
    if path is None:
        return plan_of(embedded(), "embedded digits.yaml")
    file = FilePath(path)
    require_scenario_file(file)
    text = _text_of(file)
    also_import_from(file.parent)
    return plan_of(text, file.name)


def _text_of(file: FilePath) -> str:
    """The text of a scenario file. A pipe or a device, which may never end, is refused without reading it."""
    try:
        return content_of(file, _MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = f"{error.strerror}" if isinstance(error, OSError) else "text that is not UTF-8"
        raise ScenarioError(f"a readable scenario file at {file}", reason, "antivenom init writes one") from error


def plan_of(text: str, name: str) -> Plan:
    """The plan that a YAML text describes; `name` is its file's name, for messages and as the audit's default name.

    Raises:
        ScenarioError: as `read_plan`.
    """
    document = Located(text, name)
    top = document.content
    with document.at(()):
        if not isinstance(top, Mapping) or not isinstance(top.get("scenarios"), list) or not top["scenarios"]:
            raise ScenarioError(
                "a mapping with a list of `scenarios`", kind_of(top), "antivenom init writes an example"
            )
    _require_known(top, _TOP, document, ())
    with document.at(("version",)):
        if top.get("version", 1) != 1:
            raise ScenarioError("version: 1", f"{top['version']}", "update antivenom")
    seeds, more = read_seeds(top.get("seeds", 3), document)
    cells: list[Cell] = []
    for i, group in enumerate(top["scenarios"]):
        for cell in _cells(group, document, ("scenarios", i)):
            cells.append(cell)
            if len(cells) * len(seeds) > MOST_TRIALS:
                with document.at(("scenarios", i)):
                    require_few_trials(len(cells), len(seeds))
    limits = {goal: Goal(goal).metric.limit for goal in goals()} | read_shares(top, "limits", document)
    fail_if = read_shares(top, "fail_if", document, COST)
    planned = {str(cell.scenario.goal) for cell in cells}
    if any(cell.deployed and cell.defence is not None for cell in cells):
        planned.add(COST)
    for goal in fail_if:
        with document.at(("fail_if", goal)):
            if goal not in planned:
                got = f"{goal!r}, which no scenario has"
                expected = f"a goal of one of the scenarios: {', '.join(sorted(planned))}"
                raise ScenarioError(expected, got, "remove it, or add a scenario with that goal")
    plan = Plan(
        name=_word(top, "name", name, document, ()),
        seeds=seeds,
        more=more,
        cells=tuple(cells),
        limits=limits | {goal: share for goal, share in fail_if.items() if goal != COST},
        fail_if=fail_if,
        timeout=read_timeout(top.get("timeout"), document),
        source=name,
        claim=read_claim(top.get("claim"), document),
    )
    with document.at(("seeds",)):
        if plan.most < plan.size:
            raise ScenarioError(f"trials >= {plan.size}, the first seeds of every cell", f"{plan.most}", "raise trials")
    return plan


def _word(mapping: Mapping[str, Any], field: str, default: str, document: Located, path: Path) -> str:
    """The text in a field of a mapping; a number counts as its text."""
    value = mapping.get(field, default)
    with document.at((*path, field)):
        if not isinstance(value, (str, int, float)):
            raise ScenarioError(f"{field}: a word", repr(value), f"write {field}: {default}")
    return str(value)


def _require_known(mapping: Mapping[str, object], known: tuple[str, ...], document: Located, path: Path) -> None:
    """Refuse a mapping with a key that is not known."""
    for key in mapping:
        with document.at((*path, key)):
            if key not in known:
                raise ScenarioError("a known field", repr(key), did_you_mean(str(key), known))


def _cells(group: object, document: Located, path: Path) -> Iterator[Cell]:
    """The cells of one entry of `scenarios`: variants of the scenario x (no attack, attacks) x (no defence, defences)."""
    with document.at(path):
        if not isinstance(group, Mapping):
            raise ScenarioError(
                "a mapping with `kind`", repr(group), f"write `- kind: {entries(Kind.SCENARIO)[0].name}`"
            )
        if "kind" not in group:
            raise ScenarioError(
                "`kind` in the scenario",
                ", ".join(map(str, group)),
                "add kind: " + " or ".join(entry.name for entry in entries(Kind.SCENARIO)),
            )
    with document.at((*path, "kind")):
        cls = scenario_entry(group["kind"]).cls
    _require_known(group, (*RESERVED, *fields_of(cls)), document, path)
    attacks = _plugins(group, "attacks", document, path, *ATTACKS)
    defences = _plugins(group, "defences", document, path, *DEFENCES)
    deployed = _deployed(group, [defence for defence, _ in defences[1:]], document, path)
    places = {"": document.place(path)} | {name: document.place((*path, name)) for name in group}
    own = _word(group, "name", group["kind"], document, path)
    scenarios = variants(cls, group, document, path, RESERVED)
    require_few(len(scenarios) * len(attacks) * len(defences), document, path)
    for scenario, axes in scenarios:
        name = own + (f" [{', '.join(axes)}]" if axes else "")
        for attack, attack_place in attacks:
            for defence, defence_place in defences:
                here = places | {"attack": attack_place, "defence": defence_place}
                yield Cell(name, scenario, attack, defence, deployed=defence == deployed, places=here)


def _plugins(group: Mapping[str, Any], name: str, document: Located, path: Path, *kinds: Kind) -> list[tuple[Any, str]]:
    """(plugin, its place) of None and of all attacks or defences of an entry of `scenarios`."""
    node = group.get(name, [])
    nodes = {(*path, name, i): item for i, item in enumerate(node)} if isinstance(node, list) else {(*path, name): node}
    found = [(p, document.place(at)) for at, item in nodes.items() for p, _ in plugins(item, document, at, *kinds)]
    return [(None, document.place(path)), *found]


def _deployed(group: Mapping[str, object], defences: list[object], document: Located, path: Path) -> object:
    """The defence that the user runs, or None. The file names it by its label (see `grid.label`) or by its class."""
    wanted = group.get("deployed", "none")
    by_label = {"none": None, **{label(d): d for d in defences}}
    by_class = [d for d in defences if type(d).__name__ == wanted]
    with document.at((*path, "deployed")):
        if isinstance(wanted, str) and wanted in by_label:
            return by_label[wanted]
        if len(by_class) == 1:
            return by_class[0]
        if by_class:
            labels = " or ".join(f'deployed: "{label(d)}"' for d in by_class)
            raise ScenarioError(
                "deployed: one of `defences`", f"{wanted!r}, of which there are several", f"write {labels}"
            )
        names = {*by_label, *(type(d).__name__ for d in defences)}
        remedy = did_you_mean(wanted, names) if isinstance(wanted, str) else f"choose from {', '.join(sorted(names))}"
        raise ScenarioError("deployed: none or the name of one of `defences`", repr(wanted), remedy)
