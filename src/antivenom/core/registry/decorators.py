"""One decorator per kind of plugin. Each makes the class a frozen dataclass and registers it under its name.

The arguments are the same everywhere: `access` and `goal` say whom an attack serves or a defence works against, and `cite`
names the source as authors, year, and arXiv id or venue.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable
from typing import Any

from antivenom.core import goals
from antivenom.core.errors import PluginError
from antivenom.core.goals import Ends, Metric, Metrics, whole
from antivenom.core.outcome import Chart, Curve
from antivenom.core.registry.entry import C, Kind, Traits, register, words
from antivenom.core.threat import Access, Level, define_goal

Derived = Callable[..., Any]  # `__call__: ClassVar[Derived]` declares to type checkers a method that a decorator adds


# One function per kind, written out: a static type checker follows `dataclass_transform` only on a named function.
@typing.dataclass_transform(frozen_default=True)
def attack(
    *, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str, learns_trigger: bool = False
) -> Callable[[C], C]:
    """Register a data attack: (Dataset, AttackContext) -> Poison.

    An attack that optimises a trigger of its own sets `learns_trigger` and returns the trigger in its Poison.
    """
    return register(Kind.DATA_ATTACK, access, goal, cite, learns_trigger=learns_trigger)


@typing.dataclass_transform(frozen_default=True)
def model_attack(*, goal: Iterable[str] | str, cite: str, learns_trigger: bool = False) -> Callable[[C], C]:
    """Register an attack on a pretrained model: (Model, Dataset, AttackContext) -> (Model, Poison)."""
    return register(Kind.MODEL_ATTACK, (Access.TRANSFER_LEARNING,), goal, cite, learns_trigger=learns_trigger)


@typing.dataclass_transform(frozen_default=True)
def logic_attack(*, goal: Iterable[str] | str, cite: str, learns_trigger: bool = False) -> Callable[[C], C]:
    """Register an attack on training code: (Loss, AttackContext) -> Loss.

    An attack that optimises a trigger of its own sets `learns_trigger` and returns a loss with the method `learned`.
    """
    return register(Kind.LOGIC_ATTACK, (Access.LOGIC_CORRUPTION,), goal, cite, learns_trigger=learns_trigger)


@typing.dataclass_transform(frozen_default=True)
def evasion(*, goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register an evasion, which needs no access to training: (Model, test Dataset, AttackContext) -> changed test rows."""
    return register(Kind.EVASION, tuple(Access), goal, cite)


@typing.dataclass_transform(frozen_default=True)
def agent(
    *, access: Iterable[str] = (Access.LOGIC_CORRUPTION,), goal: Iterable[str] | str, cite: str
) -> Callable[[C], C]:
    """Register a strategy of malicious agents: AgentView -> updates (k, d).

    A strategy with memory defines `step(view, state) -> Sent` instead. It becomes callable too; the call is its first step.
    """

    def decorate(cls: C) -> C:
        if "step" in vars(cls) and "__call__" not in vars(cls):
            cls.__call__ = _first_step  # type: ignore[method-assign]
        return register(Kind.AGENT, access, goal, cite)(cls)

    return decorate


def _first_step(self: Any, view: Any) -> Any:
    return self.step(view, None).updates


@typing.dataclass_transform(frozen_default=True)
def sanitizer(*, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a sanitizer: (Dataset, DefenceContext) -> Verdict over rows."""
    return register(Kind.SANITIZER, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def robust_learner(*, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a robust learner, which replaces the fit: (Dataset, DefenceContext) -> Model."""
    return register(Kind.ROBUST_LEARNER, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def model_detector(*, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a model detector: (Model, clean Dataset, DefenceContext) -> ModelVerdict."""
    return register(Kind.MODEL_DETECTOR, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def mitigation(*, access: Iterable[str] = (), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a mitigation: (Model, clean Dataset, DefenceContext) -> Model."""
    return register(Kind.MITIGATION, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def gate(*, access: Iterable[str] = tuple(Access), goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a gate: (Model, clean Dataset, DefenceContext) -> (rows -> Verdict over rows)."""
    return register(Kind.GATE, access, goal, cite)


@typing.dataclass_transform(frozen_default=True)
def client_detector(*, goal: Iterable[str] | str, cite: str) -> Callable[[C], C]:
    """Register a client detector: (ServerView, state) -> (Verdict over agents, state)."""
    return register(Kind.CLIENT_DETECTOR, (Access.LOGIC_CORRUPTION,), goal, cite)


@typing.dataclass_transform(frozen_default=True)
def trigger(*, cite: str) -> Callable[[C], C]:
    """Register a trigger: inputs (m, ...) -> triggered inputs (m, ...)."""
    return register(Kind.TRIGGER, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def wanted(*, cite: str) -> Callable[[C], C]:
    """Register what an attacker wants: (true classes (m,), number of classes) -> wanted classes (m,), -1 for no wish."""
    return register(Kind.WANTED, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def architecture(*, cite: str) -> Callable[[C], C]:
    """Register an architecture: (row shape, number of classes) -> untrained torch module."""
    return register(Kind.ARCHITECTURE, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def estimator(*, cite: str) -> Callable[[C], C]:
    """Register an estimator: (seed) -> unfitted object with scikit-learn's fit and predict."""
    return register(Kind.ESTIMATOR, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def schedule(*, cite: str) -> Callable[[C], C]:
    """Register a schedule: share of the steps done, from 0 to below 1 -> factor on the step size."""
    return register(Kind.SCHEDULE, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def augmentation(*, cite: str) -> Callable[[C], C]:
    """Register an augmentation: (images (m, channels, height, width), generator) -> images of that shape."""
    return register(Kind.AUGMENTATION, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def feature_map(*, cite: str) -> Callable[[C], C]:
    """Register a feature map: rows (m, ...) -> features (m, f), where each row's features depend on that row alone."""
    return register(Kind.FEATURE_MAP, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def partition(*, cite: str) -> Callable[[C], C]:
    """Register a partition: (Dataset, number of agents, rng) -> row numbers per agent."""
    return register(Kind.PARTITION, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def local_training(*, cite: str) -> Callable[[C], C]:
    """Register how honest agents train: (Network, start (d,), Shard, round, Streams) -> parameters (d,)."""
    return register(Kind.LOCAL_TRAINING, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def source(*, cite: str) -> Callable[[C], C]:
    """Register a source of rows: Streams -> Split."""
    return register(Kind.SOURCE, (), (), cite)


@typing.dataclass_transform(frozen_default=True)
def goal(
    *,
    name: str,
    word: str,
    about: str,
    limit: float,
    cite: str,
    short: str = "",
    rows: str | None = "test_rows",
    span: Callable[[Metrics], float] = whole,
    curve: Curve | None = None,
    limit_in_curve: bool = True,
    ends: Callable[[Metrics, Metrics], Ends] | None = None,
    said: str = "",
    curves: tuple[Curve, ...] = (),
    terms: tuple[tuple[str, str], ...] = (),
) -> Callable[[C], C]:
    """Register a goal: (metrics of a trial, metrics of its clean twin) -> harm from 0 to 1, nan if not measured.

    An instance of the class with its defaults becomes the metric's `value`. The arguments other than `name` and `cite` are
    fields of `antivenom.core.goals.Metric`.
    """
    if not 0 <= limit <= 1:
        raise PluginError(f"a limit from 0 to 1 for the goal {name}", f"{limit}", "0.2 means 20 %")

    def decorate(cls: C) -> C:
        plugin = register(Kind.GOAL, (), (), cite, name)(cls)
        shown = (curve, limit_in_curve, ends, said, curves, terms)
        define_goal(name, Metric(plugin(), word, about, limit, short, rows, span, *shown))
        return plugin

    return decorate


@typing.dataclass_transform(frozen_default=True)
def scenario(
    *,
    name: str,
    arrows: Iterable[Kind | str],
    levels: Iterable[Level | Access | str],
    cite: str,
    in_step: bool = False,
    charts: tuple[Chart, ...] = (),
    table: tuple[Curve, ...] = (),
) -> Callable[[C], C]:
    """Register a scenario, a class with run(attack, defence, seed, device) -> Outcome.

    `name` is its `kind:` in scenario files. The other arguments are the fields of `Traits`; an access level among `levels`
    stands for the step of the ladder that it names.
    """
    kinds = tuple(map(Kind, words("kind", map(str, arrows), Kind)))
    steps = tuple(
        level if isinstance(level, Level) else Level.of(Access(words("access", level, Access)[0])) for level in levels
    )
    return register(Kind.SCENARIO, (), (), cite, name, Traits(kinds, steps, in_step, charts, table))


OURS = (
    ("availability", goals.Availability),
    ("targeted", goals.Targeted),
    ("backdoor", goals.Backdoor),
    ("privacy", goals.Privacy),
)
for _name, _cls in OURS:  # threat.py, which the registry imports, defines these goals; here they get their entries
    register(Kind.GOAL, (), (), "Barreno et al. 2010, Machine Learning 81", _name)(_cls)
