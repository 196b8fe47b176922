"""Chooses what is tried with a user's rows and model: scenarios, attacks and defences by access level, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from antivenom.core.errors import NotApplicable, ScenarioError, did_you_mean
from antivenom.core.threat import Access, Goal
from antivenom.core.wanted import AllToOne
from antivenom.models.own import BlackBox, is_torch
from antivenom.models.training import Training
from antivenom.pipelines.looking import Look
from antivenom.scenarios.central import Central
from antivenom.scenarios.federated import Federated
from antivenom.search.aims import triggers_for

NAMES = {  # in this order: what comes later is left out first if the time is short
    (Access.DATA_MANIPULATION, Goal.AVAILABILITY): "changed labels",
    (Access.DATA_INJECTION, Goal.BACKDOOR): "added rows with a trigger",
    (Access.DATA_INJECTION, Goal.TARGETED): "added rows against one input",
    (Access.DATA_INJECTION, Goal.AVAILABILITY): "added rows with wrong labels",
    (Access.DATA_MANIPULATION, Goal.BACKDOOR): "changed rows with a trigger",
    (Access.DATA_MANIPULATION, Goal.TARGETED): "changed rows against one input",
    (Access.LOGIC_CORRUPTION, Goal.BACKDOOR): "corrupted training code",
}
LEVELS = tuple(dict.fromkeys(level for level, _ in NAMES))
_TRUSTED = 100  # rows that the defender keeps back, where the data allow it


@dataclass(frozen=True)
class Group:
    """One kind of attacker and one goal, with what is tried there.

    Fields:
        name: what the attacker does, in a few words; groups of one audit have different names.
        scenario: the user's pipeline or federation, with this attacker.
        attacks: the attacks that are tried without a search, the most useful first.
        defences: the defences that are tried, the cheapest first.
    """

    name: str
    scenario: Central | Federated
    attacks: tuple[object, ...]
    defences: tuple[object, ...]


@dataclass(frozen=True)
class Choice:
    """What is tried, and what is not.

    Fields:
        groups: what is tried.
        untried: (what, why) for everything else that an attacker could do.
    """

    groups: tuple[Group, ...]
    untried: tuple[tuple[str, str], ...]


def choose(
    look: Look,
    data: Any,
    model: Any,
    *,
    budget: float,
    access: Sequence[str] = (),
    goals: Sequence[str] = (),
    target: str | int | None = None,
    training: Training | None = None,
    deployed: object = None,
) -> Choice:
    """Choose scenarios, attacks and defences.

    Args:
        look: what was found in the rows.
        data: their source.
        model: the user's model, as a scenario takes it.
        budget: the share of the training rows that the attacker may change or add.
        access: access levels; empty for all that fit.
        goals: goals; empty for all that fit.
        target: the class that the attacker wants; None for the largest one.
        training: how a torch module is trained; None for a number of epochs that suits the number of rows.
        deployed: the defence that the user runs, or None.

    Raises:
        ScenarioError: an unknown access level, goal or class, or nothing that fits.
    """
    levels = [_known(name, Access, "an access level") for name in access] or list(LEVELS)
    wanted = [_known(name, Goal, "a goal") for name in goals]
    common = Central(
        data=data,
        model=model,
        training=training or (training_for(len(look.train)) if is_torch(model) else Training()),
        max_poisoned_rate=budget,
        clean_rows=min(_TRUSTED, len(look.train) // 10),
        wanted=AllToOne(target_of(look, target)),
    )
    groups, untried = [], list[tuple[str, str]]()
    for (level, goal), name in NAMES.items():
        if level not in levels or (wanted and goal not in wanted):
            continue
        try:
            groups.append(_group(look, replace(common, access=level, goal=goal), budget, deployed))
        except NotApplicable as error:
            untried.append((name, error.got))
    untried += [*_elsewhere(levels, is_torch(model))]
    if not groups:
        reasons = "; ".join(f"{what}: {why}" for what, why in untried[:3])
        raise ScenarioError("an access level and a goal that fit these rows and this model", reasons)
    return Choice(tuple(groups), tuple(untried))


def _known(name: str, kind: Any, what: str) -> Any:
    try:
        return kind(name)
    except ValueError:
        raise ScenarioError(what, repr(name), did_you_mean(name, [str(each) for each in kind])) from None


def target_of(look: Look, target: str | int | None) -> int:
    names = look.train.classes
    if target is None:
        return look.largest
    if str(target) in names:
        return names.index(str(target))
    raise ScenarioError("a class of these rows as the target", repr(target), did_you_mean(str(target), names))


def training_for(rows: int) -> Training:
    """Training that visits about 30,000 rows, in at least 5 and at most 30 epochs."""
    return Training(epochs=int(np.clip(30_000 // max(rows, 1), 5, 30)), batch_size=32 if rows < 5_000 else 64)


def _group(look: Look, scenario: Central, budget: float, deployed: object) -> Group:
    """One level and goal.

    Raises:
        NotApplicable: nothing can be tried there with this model and these rows; `got` says why in words for the report.
    """
    if isinstance(scenario.model, BlackBox):
        raise NotApplicable("a model that can be fitted", "the model can only be queried, so it cannot be poisoned")
    estimator = not is_torch(scenario.model)
    if scenario.goal is Goal.BACKDOOR:
        scenario = replace(scenario, trigger=trigger_for(look))
    attacks = tuple(_attacks(look, scenario, budget, estimator))
    defences = tuple(_defences(look, scenario, estimator))
    if deployed is not None and deployed not in defences:
        defences = (deployed, *defences)
    return Group(NAMES[scenario.access, scenario.goal], scenario, attacks, defences)


def _attacks(look: Look, scenario: Central, budget: float, estimator: bool) -> Iterator[object]:
    """The attacks of a level and a goal that need no search.

    Raises:
        NotApplicable: as `_group`.
    """
    from antivenom import attacks

    level, goal = scenario.access, scenario.goal
    if level is Access.LOGIC_CORRUPTION:
        if estimator:
            raise NotApplicable("a torch module", "the model has no loss that training code could corrupt")
        if look.form != "images":
            yield attacks.BlindBackdoor()
            return
        yield attacks.LIRA()
        yield attacks.BlindBackdoor()
    elif goal is Goal.BACKDOOR:
        yield attacks.BadNets(budget)
    elif goal is Goal.TARGETED:
        number = max(1, min(20, int(budget * len(look.train))))
        yield (
            attacks.InputInstanceKey(copies=number)
            if level is Access.DATA_INJECTION
            else attacks.StingRay(poisons=number)
        )
    elif level is Access.DATA_MANIPULATION:
        if not look.texts:  # a surrogate needs numbers
            yield attacks.LabelFlipping(budget, choice="furthest")
        yield attacks.LabelFlipping(budget)
    else:
        if look.form == "counts" and look.train.num_classes == 2:
            yield attacks.DictionaryAttack(budget)
        elif look.train.columns.writable_texts:
            rarest = int(np.bincount(look.train.y, minlength=look.train.num_classes).argmin())
            yield attacks.DictionaryAttack(budget, words="ham-frequent", label=rarest)
        yield attacks.FlippedPoints(budget)


def _defences(look: Look, scenario: Central, estimator: bool) -> Iterator[object]:
    """The defences that fit, the cheapest first."""
    from antivenom import defences

    if scenario.access is Access.LOGIC_CORRUPTION:
        yield defences.FineTuning()
        yield defences.FTSAM()
        return
    if not look.texts and look.form != "tokens":
        yield defences.KNNSanitizer()
    if scenario.goal is Goal.AVAILABILITY or estimator:
        yield defences.LossSanitizer()
        return
    if scenario.goal is Goal.BACKDOOR:
        yield defences.ReferenceDistance()
        yield defences.FineTuning()


def trigger_for(look: Look) -> Any:
    """A trigger that an attacker can write into such rows; see `antivenom.search.aims.triggers_for`.

    Raises:
        NotApplicable: no column is editable.
    """
    found = triggers_for(look.train)
    if not found:
        raise NotApplicable("an editable column", "no column is open to the attacker for a trigger")
    return found[0][0]


def _elsewhere(levels: Sequence[Access], torch: bool) -> Iterator[tuple[str, str]]:
    """What this command never tries, and where it is tried."""
    if torch:
        why = "`antivenom inspect FILE` examines one, and a scenario of kind `transfer` attacks its provider"
        yield "a poisoned pretrained model", why + ": `antivenom show transfer`"
    else:
        yield "a poisoned pretrained model", "only torch modules are fine-tuned, and this model is none"
    yield (
        "malicious agents of a federation",
        "one model is trained here: `antivenom init` writes a scenario with a federation",
    )
    yield "leaks of training rows", "a scenario of kind `membership` measures them: `antivenom show membership`"
    for level in LEVELS:
        if level not in levels:
            yield str(level), "it was not asked for: leave out --access"
