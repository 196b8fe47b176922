"""A scenario: a whole pipeline with its attacker. An audit plans, runs and reports trials of scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from antivenom.core.outcome import Outcome
from antivenom.core.threat import Goal, ThreatModel


class Scenario(Protocol):
    """A frozen dataclass, registered with `@scenario`, whose fields describe a pipeline and its attacker.

    The outcome of every trial, a clean twin included, must hold the metrics that `goal.metric.value` reads.
    """

    @property
    def goal(self) -> Goal:
        """What the attacker wants."""

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is."""

    @property
    def level(self) -> str:
        """The name of this attacker's step on the report's ladder; one of the levels given to `@scenario`."""

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        """Run one trial. `attack` is None for the clean twin, `defence` is None for the undefended pipeline.

        All randomness must follow from the seed, so that trials with the same seed are paired.

        Raises:
            NotApplicable: this attack or defence makes no sense in this scenario; the message says why.
        """


@dataclass(frozen=True)
class Known:
    """What an attacker knows, in words. The report joins the parts: "the training rows; not the model".

    Fields:
        shown: what the attacker is shown, such as "the training rows".
        withheld: what the attacker is not shown, such as "the model".
    """

    shown: tuple[str, ...]
    withheld: tuple[str, ...] = ()


@runtime_checkable
class Tells(Protocol):
    """A scenario that can state what its attacker knows. For other scenarios the report says "not stated"."""

    def known_to(self, attack: Any) -> Known:
        """What this attack knows, derived from the scenario's fields and the attack's kind and fields."""


@runtime_checkable
class Checks(Protocol):
    """A scenario that can be checked before anything is trained. Its errors say by `of` which field they are about."""

    def check_rows(self, split: Any) -> None:
        """Check that the fields suit the rows.

        Raises:
            AntivenomError: they do not, so that every trial would fail.
        """

    def check_plugins(self, attack: Any, defence: Any) -> None:
        """Check that the attack (or None) and the defence (or None) can be used.

        Raises:
            NotApplicable: the combination makes no sense, which a record says.
            AntivenomError: a plugin's fields do not suit the scenario, so that every trial would fail.
        """


@runtime_checkable
class Limits(Protocol):
    """A scenario in which the attacker's budget is something other than a number of rows."""

    @property
    def budget(self) -> str:
        """The budget in words, such as "1 of 10 agents, in 10 rounds"."""
