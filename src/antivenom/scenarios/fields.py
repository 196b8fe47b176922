"""Conversion and checks of the fields that all scenarios share."""

from __future__ import annotations

import dataclasses
from typing import Any

from antivenom.core.wanted import wanted_of
from antivenom.data import source_of
from antivenom.models.own import maker_of


def settle(scenario: Any) -> None:
    """Convert a new scenario's fields from what a user may write to values: the name of a data set to its source, say.

    Raises:
        AntivenomError: a field has an unknown name, or the threat model is not allowed.
    """
    written = {field.name for field in dataclasses.fields(scenario)}
    object.__setattr__(scenario, "data", source_of(scenario.data))
    object.__setattr__(scenario, "model", maker_of(scenario.model))
    if "wanted" in written:
        object.__setattr__(scenario, "wanted", wanted_of(scenario.wanted) or scenario.wanted)
    threat = scenario.threat
    for name in written & {"access", "goal"}:
        object.__setattr__(scenario, name, getattr(threat, name))
