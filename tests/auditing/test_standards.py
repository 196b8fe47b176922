"""Published lists of risks: no retired identifier, every level of access mapped, states from the evidence."""

from __future__ import annotations

import json
import re
from importlib import resources

from test_comparing import audit

from antivenom.auditing.results import State
from antivenom.auditing.standards import current, editions, stored, touched
from antivenom.core.registry import ladder

CONTENT = stored()
USED = [identifier for family in CONTENT["families"] for identifier in family["ids"]]


def test_no_retired_identifier_is_used_and_each_has_a_successor() -> None:
    retired = CONTENT["superseded"]
    assert retired["AML.T0019"] == "AML.T0115.000"
    assert not {*USED, *CONTENT["entries"], *retired.values()} & {*retired}
    assert {*retired.values()} <= {*CONTENT["entries"]}
    assert not [identifier for identifier in USED if identifier.startswith("AML.T0020.")]  # it has no sub-techniques
    assert current("LLM03:2025") == "LLM04:2026"
    assert current("AML.T0020") == "AML.T0020"


def test_every_entry_has_a_list_with_an_edition_and_every_level_a_family() -> None:
    assert {*USED} <= {*CONTENT["entries"]}
    assert all(list_name in CONTENT["lists"] for list_name, _ in CONTENT["entries"].values())
    assert all(re.search(r"20\d\d", line) for line in editions())
    levels = {family["level"] for family in CONTENT["families"]}
    assert {step.level.name for step in ladder()} <= levels


def test_states_come_from_the_deployed_pairs() -> None:
    """Twelve seeds at a rate of 1: the backdoor by added rows is breached, and nothing else was measured."""
    found = {entry.id: entry for entry in touched(audit({("A", "none"): [1.0] * 12}))}
    assert found["ML02:2023"].state is State.BREACHED
    assert found["AML.T0043.004"].evidence is not None
    assert found["AML.T0043.004"].evidence.attack == "A"
    assert found["ML07:2023"].state is State.NOT_MEASURED
    assert found["NISTAML.024"].state is State.NOT_MEASURED
    assert "federated agents" in found["AML.T0020"].family
    assert found["ML02:2023"].record()["evidence"] == {"group": "g", "attack": "A", "defence": "none"}
    assert json.dumps([entry.record() for entry in found.values()])


def test_nothing_claims_that_a_list_is_fulfilled() -> None:
    text = resources.files("antivenom.auditing").joinpath("standards.json").read_text(encoding="utf-8")
    assert "complian" not in text.lower()
