"""The section for a model card: the verdicts with their numbers, and no markup from what was audited."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_comparing import audit

from antivenom.auditing.report.model_card import card_of


def test_it_says_what_was_audited_with_which_result_and_how_to_repeat_it() -> None:
    summary = audit({("BadNets(poisoned_rate=0.1)", "none"): [1.0] * 12}, scenario={"data": "digits", "model": "MLP"})
    summary = replace(summary, plan=summary.plan | {"command": "antivenom audit s.yaml"})
    text = card_of(summary, "abc")
    for line in (
        "Audited on 2030-01-02 with antivenom: **digits** with **MLP**, no defence deployed.",
        "| adds rows | BREACHED | BadNets, 10% of rows |  | ASR 100% (",
        "- An attacker who adds rows gets through: 100% of the inputs with the trigger get the attacker's class (0% without the attack).",
        "a stronger attacker is not excluded",
        "OWASP Machine Learning Security Top 10 2023: ML02:2023 Data Poisoning Attack",
        "- command: `antivenom audit s.yaml`",
        "- seeds: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "- versions: antivenom 9\n",
        "- records.jsonl: SHA-256 abc",
    ):
        assert line in text
    assert "complian" not in text.lower()
    assert text.startswith("## Data poisoning audit\n\n")
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    "name", ["<img src=x>", "a | b", "[x](http://y)", "**bold**", "`code`", "# head\n# head", "\x1b[31m"]
)
def test_names_add_no_markup(name: str) -> None:
    summary = audit({("A", "none"): [1.0] * 12}, scenario={"data": name, "model": "MLP"})
    text = card_of(replace(summary, plan=summary.plan | {"command": f"antivenom {name}"}))
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in table} == {6}
    audited = text.splitlines()[2]
    assert name not in audited
    assert "\x1b" not in text
    assert not [line for line in text.splitlines()[1:] if line.startswith("#")]
