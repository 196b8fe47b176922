"""What may meet on the central and transfer arrows, and the one place where a plugin's return value is looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from antivenom.attacks import NoAttack
from antivenom.core.errors import NotApplicable, PluginError, ScenarioError, ThreatError
from antivenom.core.protocols import AttackContext, Model, Trigger
from antivenom.core.registry import Kind, entry_of
from antivenom.core.streams import Streams
from antivenom.core.threat import Goal, ThreatModel
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, Poison
from antivenom.models.wrappers import TorchModel


def granted(attack: object, threat: ThreatModel, *kinds: Kind) -> tuple[object, Kind | None]:
    """The attack and its kind; None twice for no attack.

    Raises:
        NotApplicable: the attack sits on another arrow, or needs another access level, or wants something else.
    """
    if attack is None or isinstance(attack, NoAttack):
        return None, None
    entry = entry_of(attack)
    if entry.kind not in kinds:
        raise NotApplicable(f"a {' or '.join(kinds)}", f"{entry.name}, a {entry.kind}", "use it in another scenario")
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
    return attack, entry.kind


def deployed(defence: object, trusted: Dataset, *kinds: Kind) -> Kind | None:
    """The defence's kind, or None for no defence.

    Raises:
        NotApplicable: the defence sits on another arrow, or needs trusted rows where there are none.
    """
    if defence is None:
        return None
    entry = entry_of(defence)
    if entry.kind not in kinds:
        raise NotApplicable(f"a {' or '.join(kinds)}", f"{entry.name}, a {entry.kind}", "use it in another scenario")
    if entry.kind in (Kind.MODEL_DETECTOR, Kind.MITIGATION) and not len(trusted):
        raise NotApplicable(f"trusted rows for {entry.name}", "clean_rows: 0", "raise clean_rows")
    return entry.kind


def view_of(
    threat: ThreatModel, target: int, trigger: Trigger, streams: Streams, rows: Dataset | None = None
) -> AttackContext:
    """What the attacker gets; target and trigger only if a backdoor is wanted."""
    own = streams.child("attack")
    return (
        AttackContext(own, threat, target, trigger, rows)
        if threat.goal is Goal.BACKDOOR
        else AttackContext(own, threat, rows=rows)
    )


def measured_goal(threat: ThreatModel) -> None:
    """Refuse goals that these scenarios do not measure."""
    elsewhere = {Goal.TARGETED: "federated", Goal.PRIVACY: "membership"}
    if threat.goal in elsewhere:
        raise ScenarioError(
            "goal: availability or backdoor here", f"{threat.goal}", f"use kind: {elsewhere[threat.goal]}"
        )


def poison_of(found: object, attack: object, target: int | None) -> Poison:
    """What a data or model attack returned, looked at."""
    if not isinstance(found, Poison):
        raise PluginError(f"a Poison from {type(attack).__name__}", type(found).__name__, "return antivenom's Poison")
    if target is not None and found.target not in (None, target):
        raise ThreatError(f"the target {target} of the scenario", f"{found.target}", "use context.target")
    return found


def verdict_of(found: object, defence: object, items: int, what: str) -> Verdict:
    """What a sanitizer or detector returned, looked at. A Verdict has checked its own numbers."""
    name = type(defence).__name__
    if not isinstance(found, Verdict):
        raise PluginError(f"a Verdict from {name}", type(found).__name__, "return antivenom.core.verdict.Verdict")
    if len(found) != items:
        raise PluginError(f"a verdict of {name} over {items} {what}", f"{len(found)}", "one score and one flag each")
    return found


def model_of(found: Any, plugin: Any, num_classes: int) -> Model:
    """What a model attack or a mitigation returned, looked at."""
    name = type(plugin).__name__
    if not all(hasattr(found, part) for part in ("predict", "predict_proba", "num_classes")):
        raise PluginError(
            f"a Model from {name}", type(found).__name__, "return something with predict_proba and predict"
        )
    if found.num_classes != num_classes:  # 0 is a regressor
        raise PluginError(f"a model of {num_classes} classes from {name}", f"{found.num_classes}", "keep the classes")
    if isinstance(found, TorchModel) and not bool(found.vector.isfinite().all()):
        raise PluginError(f"a model with finite weights from {name}", "NaN or infinity", "lower its learning rate")
    model: Model = found
    return model


def evaded(found: Any, test: Dataset, attack: Any) -> Dataset:
    """The test rows as an evasion sends them, looked at."""
    shape = getattr(found, "shape", None)
    if shape != test.x.shape:
        got = type(found).__name__ if shape is None else f"shape {shape}"
        raise PluginError(f"rows of shape {test.x.shape} from {type(attack).__name__}", got, "return every row")
    return replace(test, x=found)


def with_trigger(trigger: Trigger, x: np.ndarray) -> np.ndarray:
    """The inputs (m, ...) with the trigger in them, looked at."""
    shown, name = trigger(x), type(trigger).__name__
    if not isinstance(shown, np.ndarray) or shown.shape != x.shape or not np.isfinite(shown).all():
        got = f"shape {shown.shape}" if isinstance(shown, np.ndarray) else type(shown).__name__
        raise PluginError(f"finite inputs of shape {x.shape} from {name}", got, "return a new array of that shape")
    return shown.astype(np.float32, copy=False)
