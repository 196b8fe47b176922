"""What the fields of every scenario go through when one is made."""

from __future__ import annotations

import dataclasses
from typing import Any

from antivenom.core.wanted import wanted_of
from antivenom.data import source_of
from antivenom.models.own import maker_of


def settle(scenario: Any) -> None:
    """Turn what a user may write into a new scenario's fields into what it means: a name into a source, for example.

    Raises:
        AntivenomError: a field names nothing that is known, or its threat model is not allowed.
    """
    written = {field.name for field in dataclasses.fields(scenario)}
    object.__setattr__(scenario, "data", source_of(scenario.data))
    object.__setattr__(scenario, "model", maker_of(scenario.model))
    if "wanted" in written:
        object.__setattr__(scenario, "wanted", wanted_of(scenario.wanted) or scenario.wanted)
    threat = scenario.threat
    for name in written & {"access", "goal"}:
        object.__setattr__(scenario, name, getattr(threat, name))
