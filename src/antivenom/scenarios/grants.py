"""What a threat model grants: which plugins a scenario accepts, what the attacker sees, and which rows it may change."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from antivenom.attacks import NoAttack
from antivenom.core.errors import NotApplicable, ThreatError, with_article
from antivenom.core.protocols import AttackContext, Trigger, Wanted
from antivenom.core.registry import Kind, entry_of
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.data import Dataset, Poison, check_allowed
from antivenom.data.forms import form_of
from antivenom.scenarios.targets import Targets


def attack_kind(attack: object, threat: ThreatModel, *kinds: Kind) -> Kind | None:
    """The attack's kind, or None for no attack (None or NoAttack).

    Raises:
        NotApplicable: the attack is of another kind than `kinds`, or needs another access level or another goal.
    """
    if attack is None or isinstance(attack, NoAttack):
        return None
    entry = entry_of(attack)
    if entry.kind not in kinds:
        raise NotApplicable(
            with_article(" or ".join(kinds)), f"{entry.name}, {with_article(entry.kind)}", "use it in another scenario"
        )
    if threat.access not in entry.access:
        needs = " or ".join(entry.access) or "no access level at all"
        raise NotApplicable(
            f"an attack that needs only {threat.access}", f"{entry.name}, which needs {needs}", "change `access`"
        )
    if threat.goal not in entry.goals:
        wants = " or ".join(entry.goals)
        raise NotApplicable(
            f"an attack whose goal is {threat.goal}", f"{entry.name}, whose goal is {wants}", "change `goal`"
        )
    return entry.kind


def defence_kind(defence: object, trusted: Dataset, *kinds: Kind) -> Kind | None:
    """The defence's kind, or None for no defence.

    Raises:
        NotApplicable: the defence is of another kind than `kinds`, or it needs trusted rows and there are none.
    """
    if defence is None:
        return None
    entry = entry_of(defence)
    if entry.kind not in kinds:
        raise NotApplicable(
            with_article(" or ".join(kinds)), f"{entry.name}, {with_article(entry.kind)}", "use it in another scenario"
        )
    if entry.kind in (Kind.MODEL_DETECTOR, Kind.MITIGATION, Kind.GATE) and not len(trusted):
        raise NotApplicable(f"trusted rows for {entry.name}", "clean_rows: 0", "raise clean_rows")
    return entry.kind


@dataclass(frozen=True, eq=False)
class Aim:
    """The aim of a scenario's attacker.

    Fields:
        threat: access, goal and limits.
        wanted: the classes that the attacker wants.
        trigger: the trigger that is put on test inputs.
        targets: the inputs that should be misclassified, drawn by the judge (goal targeted), else None.
    """

    threat: ThreatModel
    wanted: Wanted
    trigger: Trigger
    targets: Targets | None = None

    def view(self, streams: Streams, rows: Dataset | None = None) -> AttackContext:
        """What the attacker sees. Wanted classes and trigger are included for backdoors only, targets for targeted attacks.

        `rows` are further rows that the scenario grants, or None.
        """
        own, goal = streams.sealed("attack"), self.threat.goal
        if goal is Goal.BACKDOOR:
            return AttackContext(own, self.threat, self.wanted, self.trigger, rows=rows)
        if self.targets is not None:
            return AttackContext(own, self.threat, self.targets.wanted, targets=self.targets.rows, rows=rows)
        return AttackContext(own, self.threat, rows=rows)


def enforce(threat: ThreatModel, clean: Dataset, poison: Poison) -> None:
    """Check that an attack kept to its threat model.

    Args:
        threat: access level and max_poisoned_rate.
        clean: the rows before the attack.
        poison: the rows after it, with the mask of poisoned rows.

    Raises:
        ThreatError: the attack changed rows that it may not change, left changed rows out of the mask, or poisoned too
            many rows.
        DataError: a poisoned row that the schema does not allow.
    """
    after, n = poison.data, len(clean)
    before, now = form_of(clean.x), form_of(after.x)
    if after.shape != clean.shape or after.classes != clean.classes or now != before:
        raise ThreatError(
            f"{before} rows of shape {clean.shape} and {len(clean.classes)} classes, as before the attack",
            f"{now} ones of {after.shape} and {len(after.classes)}",
            "keep the data's form",
        )
    if threat.access in (Access.LOGIC_CORRUPTION, Access.TRANSFER_LEARNING):
        if not _same_rows(clean, after):
            raise ThreatError(
                f"untouched rows from a {threat.access} attack", "changed rows", "declare data-manipulation"
            )
        if poison.mask.any():
            raise ThreatError(
                "an empty mask over untouched rows", f"{int(poison.mask.sum())} rows marked", "return Poison.none(data)"
            )
        return
    if threat.access is Access.DATA_INJECTION:
        if len(after) < n or not _same_rows(clean, after[:n]):
            raise ThreatError("existing rows unchanged by a data-injection attack", "changed rows", "only append rows")
        if poison.mask[:n].any() or not poison.mask[n:].all():
            raise ThreatError(
                "a mask that names exactly the added rows", "another mask", "mark every added row as poison"
            )
    else:
        if len(after) != n:
            raise ThreatError(
                f"{n} rows from a data-manipulation attack", f"{len(after)}", "edit rows, do not add or drop"
            )
        touched = _changed(clean, after)
        if (touched & ~poison.mask).any():
            rows = int((touched & ~poison.mask).sum())
            raise ThreatError("every changed row in the mask", f"{rows} changed rows outside it", "mark them as poison")
    check_allowed(clean, after, poison.mask)
    allowed = int(np.floor(threat.max_poisoned_rate * n + 1e-9))  # 0.29 * 100 is 28.999... in floating point
    used = int(poison.mask.sum())
    if used > allowed:
        raise ThreatError(
            f"at most {allowed} poisoned rows (max_poisoned_rate {threat.max_poisoned_rate:g} of {n})",
            f"{used}",
            "lower the attack's poisoned_rate or raise max_poisoned_rate",
        )


def _changed(before: Dataset, after: Dataset) -> np.ndarray:
    """(n,) bool, True for rows whose features or label differ. NaN equals NaN. Both must have the same form."""
    differs = before.x != after.x
    if not before.is_sparse:
        differs = np.asarray(differs & ~((before.x != before.x) & (after.x != after.x))).reshape(
            len(before), math.prod(before.shape)
        )
    rows = differs.sum(axis=1) > 0 if before.is_sparse else differs.any(axis=1)
    return np.asarray(rows | (before.y != after.y))


def _same_rows(before: Dataset, after: Dataset) -> bool:
    return len(before) == len(after) and not _changed(before, after).any()
