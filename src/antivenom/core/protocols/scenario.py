"""An arrow from end to end: what an audit plans, runs and reports on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from antivenom.core.outcome import Outcome
from antivenom.core.threat import Goal, ThreatModel


class Scenario(Protocol):
    """A frozen dataclass, registered with `@scenario`, whose fields describe a pipeline and its attacker.

    It measures the goal's metrics: those that `goal.metric.value` reads must be in the outcome, for clean twins too.
    """

    @property
    def goal(self) -> Goal:
        """What the attacker wants."""

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is."""

    @property
    def level(self) -> str:
        """The name of the step of the report's ladder; one of those that `@scenario` was given."""

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        """One trial. `attack` is None for the clean twin, `defence` None for the undefended pipeline.

        Everything random depends on the seed alone, so that trials with one seed are paired.

        Raises:
            NotApplicable: this attack or defence has no place here; the message says why.
        """


@dataclass(frozen=True)
class Known:
    """What an attacker is shown, in words; each part continues a sentence that begins with "knows".

    Fields:
        shown: such as "the training rows".
        withheld: such as "the model".
    """

    shown: tuple[str, ...]
    withheld: tuple[str, ...] = ()


@runtime_checkable
class Tells(Protocol):
    """A scenario that says in words what its attacker is shown. Without it the report says "not stated"."""

    def known_to(self, attack: Any) -> Known:
        """What this attack is shown; it must follow from the fields and from the attack's kind."""


@runtime_checkable
class Limits(Protocol):
    """A scenario whose attacker's budget is not a number of rows."""

    @property
    def budget(self) -> str:
        """The budget in words, such as "1 of 10 agents, in 10 rounds"."""
