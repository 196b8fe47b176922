"""What a user asks for: rows, a model, and what to try against them in how much time."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from antivenom.auditing.plan import COST
from antivenom.auditing.settings import check_share
from antivenom.core.errors import ScenarioError
from antivenom.core.protocols import Source
from antivenom.core.registry import Kind, build
from antivenom.data import source_of
from antivenom.models.defaults import WHY, default_model
from antivenom.models.own import maker_of, training_of
from antivenom.models.training import Training
from antivenom.pipelines.choosing import Choice, choose
from antivenom.pipelines.looking import Look, look

BUDGET, TIME = 0.01, "5m"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_DEFENCES = (Kind.SANITIZER, Kind.ROBUST_LEARNER, Kind.MITIGATION, Kind.GATE, Kind.MODEL_DETECTOR)


@dataclass(frozen=True)
class Request:
    """What to audit, and how.

    Fields:
        data: the rows, as a source.
        model: the user's model as a scenario takes it; None for one that suits the rows.
        budget: the share of the training rows that the attacker may change or add, above 0 and at most 1.
        seconds: the time that the audit may take.
        trials: the most trials that it runs, so that a result does not depend on the speed of the machine; None for no limit.
        search: whether to search for the worst attack at each access level, and again against the best defence.
        access: access levels to try; empty for all that fit.
        goals: goals to try; empty for all that fit.
        target: the class that the attacker wants; None for the largest one.
        training: how a torch module is trained; None for what suits the number of rows.
        deployed: the defence that the user runs, or None.
        limits: goal -> harm (0 to 1) from which a cell counts as breached, where it is not the goal's own limit.
        fail_if: goal -> the same limit for the goals that decide the exit code; `cost` -> that of the deployed defence's cost.
        timeout: seconds per trial, or None.
        name: the audit's name.
    """

    data: Source
    model: Any = None
    budget: float = BUDGET
    seconds: float = 300.0
    trials: int | None = None
    search: bool = True
    access: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    target: str | int | None = None
    training: Training | None = None
    deployed: object = None
    limits: Mapping[str, float] = field(default_factory=dict)
    fail_if: Mapping[str, float] = field(default_factory=dict)
    timeout: float | None = None
    name: str = "your pipeline"

    def __post_init__(self) -> None:
        if not 0 < self.budget <= 1:
            raise ScenarioError("a budget above 0 and at most 1", f"{self.budget}", "0.01 is one row in a hundred")
        if not 5 <= self.seconds < math.inf:
            raise ScenarioError("a time of 5 seconds at least", f"{self.seconds:g} s", "write --time 5m")
        for goal, share in self.limits.items():
            check_share(goal, share)
        for goal, share in self.fail_if.items():
            check_share(goal, share, COST)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request together with what was found in the rows and what was chosen.

    Fields:
        request: what was asked for.
        look: what was found in the rows.
        model: the model, as scenarios take it.
        why: why the model was chosen; empty if the user gave one.
        choice: what is tried, and what is not.
    """

    request: Request
    look: Look
    model: Any
    why: str
    choice: Choice


def request_of(
    data: object,
    model: object = None,
    *,
    train: object = None,
    time: str | float = TIME,
    deployed: object = None,
    name: str = "",
    **rest: Any,
) -> Request:
    """A request from the values that a user gives.

    Args:
        data: anything that `antivenom.data.source_of` takes.
        model: anything that the field `model` of a scenario takes, or None.
        train: a function train(rows, labels) -> predict, or its `module:name`, in place of a model; or None.
        time: seconds, or a text such as "90s", "5m" or "1.5h".
        deployed: the defence that the user runs, as a value or by its name; None for none.
        name: the audit's name; "" for the name of the data.
        rest: further fields of `Request`.

    Raises:
        AntivenomError: one of them cannot be used.
    """
    if model is not None and train is not None:
        raise ScenarioError("a model or a training function", "both", "give one of them")
    source = source_of(data)
    made = training_of(train) if train is not None else None if model is None else maker_of(model)
    defence = None if deployed in (None, "none") else build(deployed, *_DEFENCES)
    return Request(source, made, seconds=seconds_of(time), deployed=defence, name=name or named(source), **rest)


def named(source: Any) -> str:
    """A short name of the data, such as its file's."""
    path = getattr(source, "path", "") or getattr(source, "function", "") or getattr(source, "dataset", "")
    return str(path).replace("\\", "/").rstrip("/").rpartition("/")[2] or "your rows"


def seconds_of(time: str | float) -> float:
    """Seconds from a number, or from a text such as "90s", "5m" or "1.5h".

    >>> seconds_of("1.5h"), seconds_of("90"), seconds_of(20)
    (5400.0, 90.0, 20.0)

    Raises:
        ScenarioError: another text.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", str(time).lower())
    if found is None:
        raise ScenarioError("a time such as 90s, 5m or 1h", repr(time))
    return float(found[1]) * _UNITS[found[2]]


def prepare(request: Request) -> Prepared:
    """Look at the rows and choose what to try. Nothing is trained.

    Raises:
        AntivenomError: the rows cannot be used, the model does not fit them, or nothing can be tried.
    """
    found = look(request.data)
    model, why = request.model, ""
    if model is None:
        model, why = maker_of(default_model(found.form, found.train.is_frame)), WHY[found.form]
    choice = choose(
        found,
        request.data,
        model,
        budget=request.budget,
        access=request.access,
        goals=request.goals,
        target=request.target,
        training=request.training,
        deployed=request.deployed,
    )
    for group in choice.groups:
        group.scenario.check_rows(found.split)
    return Prepared(request, found, model, why, choice)
