"""The calls of the contract for goals and scenarios."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from antivenom.core.errors import PluginError
from antivenom.core.outcome import Outcome
from antivenom.core.registry import Entry
from antivenom.core.threat import Goal

SEED = 7


def goal_calls(plugin: Any, entry: Entry) -> Iterator[Any]:
    """Check that a goal returns a float: 0 for a trial that equals its clean twin, and nan if nothing was measured."""

    def judged() -> np.ndarray:
        measured = dict.fromkeys(_read(plugin), 0.5) | {"chance_accuracy": 0.1}
        same, absent = plugin(measured, measured), plugin({}, {})
        if not isinstance(same, float) or abs(same) > 1e-9:
            raise PluginError(
                f"no harm by {entry.name} in a trial that equals its clean twin", repr(same), "return 0.0"
            )
        if not isinstance(absent, float) or not math.isnan(absent):
            raise PluginError(
                f"nan from {entry.name} where nothing was measured", repr(absent), "read metrics with .get(name, nan)"
            )
        return np.array([same])

    yield judged


class _Names(dict[str, float]):
    """Metrics that are all 0.5 and record which names are read.

    A metric that is read with another default than nan is optional: it stays absent and is not recorded.
    """

    def get(self, name: str, default: object = None) -> Any:
        optional = not (isinstance(default, float) and math.isnan(default))
        return default if optional else self[name]

    def __getitem__(self, name: str) -> float:
        self[name] = 0.5
        return 0.5


def _read(plugin: Any) -> set[str]:
    """The names of the metrics that a goal reads."""
    read = _Names()
    plugin(read, read)
    return {*read}


def scenario_calls(plugin: Any, entry: Entry) -> Iterator[Any]:
    """Check that a clean trial returns the metrics that the goal reads, and that the level is a declared one."""

    def ran() -> np.ndarray:
        levels = [level.name for level in entry.traits.levels] if entry.traits is not None else []
        if plugin.level not in levels:
            raise PluginError(
                f"a level of {entry.name}: {', '.join(levels)}", repr(plugin.level), "declare it in levels="
            )
        if plugin.threat.goal != plugin.goal:
            raise PluginError(f"one goal of {entry.name}", f"{plugin.goal} and {plugin.threat.goal}", "keep them equal")
        outcome = plugin.run(None, None, SEED)
        if not isinstance(outcome, Outcome):
            raise PluginError(f"an Outcome from {entry.name}", type(outcome).__name__, "return antivenom's Outcome")
        missing = _read(Goal(plugin.goal).metric.value) - outcome.metrics.keys()
        if missing:
            raise PluginError(
                f"the metrics of {plugin.goal} from {entry.name}",
                f"no {sorted(missing)[0]}",
                "measure it in every trial",
            )
        return np.array([-1.0 if math.isnan(value) else value for value in outcome.metrics.values()])

    yield partial(ran)
