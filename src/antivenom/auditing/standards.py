"""Which entries of published lists of risks the evidence of an audit touches. It is no statement that a list is covered.

standards.json holds the lists with their editions, the entries that are used, and which retired identifiers they replace.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from antivenom.auditing.results import CellResult, State, Summary
from antivenom.auditing.summary import severity


@dataclass(frozen=True)
class Entry:
    """One entry of a published list, and what an audit shows of it.

    Fields:
        list: the list's name and edition, such as "MITRE ATLAS 2026.09", and where it applies if not always.
        id, name: the entry's.
        family: the ways of attack that it was mapped to.
        state: the worst state of a deployed pair of attack and defence of these ways; "NOT MEASURED" if none was planned.
        evidence: the worst such pair; None if none was planned.
    """

    list: str
    id: str
    name: str
    family: str
    state: State
    evidence: CellResult | None

    def record(self) -> dict[str, object]:
        """The values in plain JSON."""
        cell = self.evidence
        found = None if cell is None else {"group": cell.group, "attack": cell.attack, "defence": cell.defence}
        values = {name: getattr(self, name) for name in ("list", "id", "name", "family")}
        return values | {"state": str(self.state), "evidence": found}


@functools.cache
def stored() -> dict[str, Any]:
    """The content of standards.json."""
    text = resources.files("antivenom.auditing").joinpath("standards.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def editions() -> list[str]:
    """The lists with their editions, one line each."""
    return [f"{each['name']} {each['edition']} ({each['note']})" for each in stored()["lists"].values()]


def touched(summary: Summary) -> list[Entry]:
    """Every entry, in the order of the lists, with the worst state of the deployed pairs that are mapped to it."""
    content = stored()
    families: dict[str, list[Mapping[str, Any]]] = {}
    for family in content["families"]:
        for identifier in family["ids"]:
            families.setdefault(identifier, []).append(family)
    found = []
    for identifier, (name_of_list, name) in content["entries"].items():
        own = families.get(identifier, [])
        if not own:
            continue
        cells = [cell for cell in summary.attacks if cell.deployed and any(_covers(family, cell) for family in own)]
        cells = [cell for cell in cells if cell.state is not State.NOT_APPLICABLE]
        worst = max(cells, key=severity, default=None)
        title = content["lists"][name_of_list]
        ways = ", ".join(dict.fromkeys(family["family"] for family in own))
        state = State.NOT_MEASURED if worst is None else worst.state
        condition = f", {title['applies']}" if "applies" in title else ""
        found.append(Entry(f"{title['name']} {title['edition']}{condition}", identifier, name, ways, state, worst))
    return found


def _covers(family: Mapping[str, Any], cell: CellResult) -> bool:
    return family["level"] in ("", cell.level) and (not family["goals"] or cell.goal in family["goals"])


def current(identifier: str) -> str:
    """The identifier that replaces a retired one; any other is returned as it is."""
    superseded: Mapping[str, str] = stored()["superseded"]
    return superseded.get(identifier, identifier)
