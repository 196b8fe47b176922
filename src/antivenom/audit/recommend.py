"""Which rule to choose, by what we measured: the matrix of docs/guide/matrix.md, as data."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch

from antivenom.audit.grid import label
from antivenom.errors import NotApplicable, PluginError, ScenarioError, did_you_mean
from antivenom.registry import Kind, build
from antivenom.threat import Goal

MOST_ROWS = 300  # some rules take the cube of the number of rows


@dataclass(frozen=True)
class Choice:
    """A rule that can be used, and what it left of the attacks.

    Fields:
        rule: ready to use, its f set to what was asked for; None is the plain mean.
        name: its label.
        harm: mean over the seeds of the worst attack, from 0 to 1: share of the accuracy above chance lost, or rise of the
            share of triggered inputs obeyed, or of the confidence in the wanted class.
        attack: the attack that did it.
        seeds: its harm in each seed.
        cost: accuracy lost without any attack, mean over the seeds; negative if the rule helped.
        seconds: of one call with n updates of d numbers, read off between measured sizes; None if unknown.
        why: one line.
    """

    rule: Any
    name: str
    harm: float
    attack: str
    seeds: tuple[float, ...]
    cost: float
    seconds: float | None
    why: str


@dataclass(frozen=True)
class Recommendation:
    """Rules, best first.

    Fields:
        choices: what can be used, ranked by the worst measured harm plus the clean cost. The plain mean is among them.
        refused: what cannot: a label and the reason.
        basis: where the numbers come from, and how far that is from what was asked.
    """

    choices: tuple[Choice, ...]
    refused: tuple[tuple[str, str], ...]
    basis: str


def recommend(
    n: int,
    f: int,
    d: int | None = None,
    *,
    iid: bool = False,
    root_data: bool = False,
    budget: float | None = None,
    goal: str | None = None,
) -> Recommendation:
    """Rank the measured rules for rounds of `n` updates, `f` of which may be malicious.

    `d` is the number of parameters, `iid` whether the agents' rows are alike, `root_data` whether the server has clean rows
    of its own, `budget` the seconds that one aggregation may take, `goal` what is feared; None is everything. The numbers
    are those of one small federation: they order rules, they do not foretell the harm elsewhere.

    Raises:
        ScenarioError: numbers that make no federation, a budget without d, an unknown goal.
    """
    _check(n, f, d, budget, goal)
    matrix = measured()
    setting = _nearest(matrix["settings"], f / n, iid)
    choices, refused = [], []
    for row in setting["defences"]:
        rule = None if row["defence"] is None else build(assuming(row["defence"], f), Kind.AGGREGATOR)
        seconds = interpolated(matrix["seconds"].get(row["label"], []), n, d)
        reason = _too_slow(seconds, budget) or _objection(row["defence"], n, f, root_data)
        if reason:
            refused.append((label(rule), reason))
        else:
            choices.append(_choice(rule, row, seconds, goal))
    ranked = sorted(choices, key=lambda choice: (choice.harm + max(choice.cost, 0.0), choice.cost))
    return Recommendation(tuple(_compared(ranked)), tuple(refused), _basis(matrix, setting, n, f))


@functools.cache
def measured() -> dict[str, Any]:
    """The matrix as benchmarks/matrix/table.py wrote it."""
    text = resources.files("antivenom.audit").joinpath("matrix.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def _check(n: int, f: int, d: int | None, budget: float | None, goal: str | None) -> None:
    if n < 1 or not 0 <= f <= n:
        raise ScenarioError("n >= 1 agents, of which 0 to n are malicious", f"n = {n} and f = {f}", "correct them")
    if d is not None and d < 1:
        raise ScenarioError("d >= 1 parameters", f"{d}", "count the model's parameters")
    if budget is not None and (d is None or not budget > 0):
        raise ScenarioError("a budget > 0 s with the number of parameters", f"{budget} s and d = {d}", "give both")
    if goal is not None and goal not in list(Goal):
        raise ScenarioError(f"a goal: {', '.join(Goal)}", repr(goal), did_you_mean(goal, map(str, Goal)))


def _nearest(settings: list[dict[str, Any]], share: float, iid: bool) -> dict[str, Any]:
    """The setting with that kind of shards and the smallest malicious share that is no smaller; else the largest."""
    alike = sorted((s for s in settings if s["iid"] == iid), key=_share)
    return next((s for s in alike if _share(s) >= share - 1e-9), alike[-1])


def _share(setting: Mapping[str, Any]) -> float:
    return float(setting["malicious"]) / float(setting["agents"])


def assuming(spec: Any, f: int) -> Any:
    """The description of a rule with every f in it replaced."""
    if isinstance(spec, Mapping):
        return {key: f if key == "f" else assuming(value, f) for key, value in spec.items()}
    return [assuming(item, f) for item in spec] if isinstance(spec, list) else spec


def _too_slow(seconds: float | None, budget: float | None) -> str | None:
    if budget is None or seconds is None or seconds <= budget:
        return None
    return f"about {seconds:.2g} s per round, more than {budget:g} s"


def _objection(spec: Any, n: int, f: int, root_data: bool) -> str | None:
    """Why the rule cannot be used: it is asked itself, with n rows; with fewer of the same malicious share if n is large."""
    if spec is None:
        return None
    rows = min(n, MOST_ROWS)
    rule = build(assuming(spec, math.ceil(f * rows / n)), Kind.AGGREGATOR)
    try:
        rule(torch.eye(rows))
    except NotApplicable as error:
        return None if root_data else f"it needs {error.expected}"
    except PluginError as error:
        return f"it needs {error.expected}, not {error.got}" + (f" (asked for {rows} rows)" if rows < n else "")
    return None


def _choice(rule: Any, row: Mapping[str, Any], seconds: float | None, goal: str | None) -> Choice:
    counted = [cell for cell in row["harm"] if goal is None or cell["goal"] == goal]
    worst = max(counted, key=lambda cell: _mean(cell["values"]))
    values = worst["values"]
    cost = _mean(row["cost"])
    why = (
        f"worst of {len(counted)} attacks is {worst['attack']} ({worst['goal']}): {_mean(values):.2f} "
        f"({min(values):.2f} to {max(values):.2f}, {len(values)} seeds); without attack {0.0 - cost:+.3f} accuracy"
    )
    return Choice(rule, label(rule), _mean(values), worst["attack"], tuple(values), cost, seconds, why)


def _compared(ranked: list[Choice]) -> Iterator[Choice]:
    """The choices, those whose seeds overlap the first one's said to be no worse than it for sure."""
    for place, choice in enumerate(ranked):
        close = place > 0 and min(choice.seeds) <= max(ranked[0].seeds)
        yield dataclasses.replace(choice, why=choice.why + "; seeds overlap the first's") if close else choice


def interpolated(points: list[list[float]], n: int, d: int | None) -> float | None:
    """Seconds of a call at (n, d): linear in the logarithms between four measured corners, and beyond them."""
    if not points or d is None:
        return None
    at = {(int(rows), int(columns)): math.log(seconds) for rows, columns, seconds in points}
    ns, ds = sorted({rows for rows, _ in at}), sorted({columns for _, columns in at})
    across, along = _part(n, ns[0], ns[-1]), _part(d, ds[0], ds[-1])
    few, many = (at[rows, ds[0]] * (1 - along) + at[rows, ds[-1]] * along for rows in (ns[0], ns[-1]))
    return math.exp(few * (1 - across) + many * across)


def _part(value: int, low: int, high: int) -> float:
    return math.log(value / low) / math.log(high / low)


def _basis(matrix: Mapping[str, Any], setting: Mapping[str, Any], n: int, f: int) -> str:
    asked, had = f / n, _share(setting)
    text = (
        f"measured on {matrix['data']}: {setting['malicious']} of {setting['agents']} agents malicious, f assumed "
        f"{setting['assumed']}, {'equal' if setting['iid'] else 'uneven'} shards ({setting['partition']}), "
        f"{len(matrix['seeds'])} seeds, {matrix['date']}"
    )
    if asked > had + 1e-9:
        text += f"; {f} of {n} is a larger share than any measured: expect worse"
    return text


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
