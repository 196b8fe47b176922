"""The embedded audit has an attacker who knows the defence, wherever one can be built."""

from __future__ import annotations

from antivenom.attacks import BadNets, LabelFlipping
from antivenom.auditing.knowledge import knowledge
from antivenom.auditing.plan import Cell, embedded, plan_of
from antivenom.core.registry import Kind, entry_of
from antivenom.defences import ActivationClustering


def cells() -> tuple[Cell, ...]:
    return plan_of(embedded(), "digits.yaml").cells


def test_an_attacker_searches_against_each_aggregation_rule() -> None:
    rules = {c.defence for c in cells() if c.defence is not None and entry_of(c.defence).kind is Kind.AGGREGATOR}
    assert rules
    for rule in rules:
        known = [knowledge(c.scenario, c.attack, rule) for c in cells() if c.defence == rule and c.attack is not None]
        assert any("the defence (its field `rule`)" in text for text in known)


def test_no_flip_is_random() -> None:
    flips = [c.attack for c in cells() if isinstance(c.attack, LabelFlipping)]
    assert flips
    assert all(flip.choice != "random" for flip in flips)


def test_the_poison_is_more_than_the_clustering_flags() -> None:
    (check,) = {c.defence for c in cells() if isinstance(c.defence, ActivationClustering)}
    (attack,) = {c.attack for c in cells() if isinstance(c.attack, BadNets)}
    share_of_class = attack.poisoned_rate / (
        attack.poisoned_rate + 0.1
    )  # a tenth of the digits are of the wanted class
    assert share_of_class > check.max_share + 0.1


def test_the_worst_cells_are_confirmed_within_the_budget() -> None:
    plan = plan_of(embedded(), "digits.yaml")
    assert plan.more is not None
    assert plan.more.trials is not None
    assert plan.size == 220
    assert plan.more.trials >= plan.size + 5 * 4 * plan.more.confirm  # at each level two pairs and their clean twins
