"""The families of attacks that are searched, by the kind of scenario."""

from __future__ import annotations

from typing import Any

from antivenom.core.errors import ScenarioError
from antivenom.scenarios.central import Central
from antivenom.search import central, federated
from antivenom.search.space import Family


def families_for(scenario: Any, defence: object) -> tuple[Family, ...]:
    """The families to search for the scenario's goal and access level, against this defence.

    Raises:
        ScenarioError: there are no families for this kind of scenario or this goal.
    """
    if isinstance(scenario, Central):
        return central.families(scenario, defence)
    if hasattr(scenario, "federation"):
        return federated.families(scenario, defence)
    raise ScenarioError("a scenario with known families", type(scenario).__name__, "pass `families`")
