"""Recommends aggregation rules by the measured grids of attacks and rules in docs/guide/matrix.md.

matrix.json holds the grids. A "setting" is one grid: a data set, a number of agents, of which some are malicious, a kind
of partition, and for every rule the harm of every attack and the cost without attack.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from antivenom.auditing.grid import label
from antivenom.auditing.timings import extrapolated, interpolated
from antivenom.core.errors import NotApplicable, PluginError, ScenarioError, did_you_mean
from antivenom.core.protocols import Aggregator
from antivenom.core.registry import Kind, build
from antivenom.core.threat import goals

MOST_ROWS = 300  # rules are tried with at most so many updates, because some take time cubic in their number
# A caution is given if the request differs from the measured setting by more than
FAR = 2.0  # this factor in the number of agents,
FAR_PARAMETERS = 10.0  # this factor in the number of parameters, or
FAR_SHARE = 0.05  # this difference in the share of malicious agents.

Row = dict[str, Any]  # an object of matrix.json or catalogue.json


@dataclass(frozen=True)
class Choice:
    """A rule that can be used, with the harm that the measured attacks do in spite of it.

    Fields:
        spec: the description of the rule with the requested f; None is the plain mean.
        name: the rule's label.
        harm: the harm of the worst attack, from 0 to 1, as the attack's goal measures it; mean over the seeds.
        attack: the worst attack; "none" if no agent is malicious.
        seeds: the harm of the worst attack in each seed.
        cost: the accuracy lost without any attack, mean over the seeds; negative if the rule improved it.
        data: the data set on which harm plus cost were worst. All numbers here were measured on it.
        seconds: the time of one call with n updates of d numbers, interpolated between measured sizes; None if unknown.
        why: one line that states these numbers.
    """

    spec: Any
    name: str
    harm: float
    attack: str
    seeds: tuple[float, ...]
    cost: float
    data: str
    seconds: float | None
    why: str

    @functools.cached_property
    def rule(self) -> Aggregator | None:
        """The rule, ready to use with the requested f; None is the plain mean. Asking for it imports torch."""
        if self.spec is None:
            return None
        rule: Aggregator = build(self.spec, Kind.AGGREGATOR)
        return rule


@dataclass(frozen=True)
class Recommendation:
    """The answer of `recommend`.

    Fields:
        choices: the rules that can be used, sorted by worst measured harm plus clean cost, best first. The plain mean is
            one of them, and comes first among equals.
        refused: (label, reason) of each rule that cannot be used.
        basis: the grids from which the numbers come, in words.
        cautions: one line for each way in which the request is far from the measured settings.
        no_rule: why no rule at all can be recommended, or None.
    """

    choices: tuple[Choice, ...]
    refused: tuple[tuple[str, str], ...]
    basis: str
    cautions: tuple[str, ...]
    no_rule: str | None = None


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

    The numbers are those of the settings with the next larger measured share of malicious agents, in which the rules assume
    the right f. A rule is ranked by the data set on which it did worst. With f = 0 only the cost counts. If half of the
    updates or more may be malicious, no rule is recommended: an equal number of honest and malicious updates looks the same
    with the roles exchanged, so that no rule can tell them apart (breakdown point 1/2). Weakness: the
    measured federations are small, so that the numbers rank rules but do not predict the harm in another federation.

    Args:
        n: the number of updates per round.
        f: how many of them may be malicious.
        d: the number of parameters, for the times; None if unknown.
        iid: whether the agents' rows have the same distribution.
        root_data: whether the server has clean rows of its own.
        budget: the most seconds that one aggregation may take, or None.
        goal: the goal of the expected attacks; None for all goals.

    Raises:
        ScenarioError: n or f is impossible, a budget is given without d, or the goal is unknown or was not measured.
    """
    matrix = measured()
    _check(n, f, d, budget, goal, matrix["settings"])
    settings = _nearest(matrix["settings"], f / n, iid)
    choices, refused = [], []
    beyond = _beyond_breakdown(n, f)
    for described in rules_of(matrix["settings"]):
        spec, name = assuming(described, f), _named(matrix["settings"], described, f)
        seconds = interpolated(_timed(matrix["seconds"], spec), n, d)
        seen = [
            _with_more(_choice(spec, name, setting, row, seconds, goal), row, setting, matrix["settings"], goal)
            for setting, row in rows_of(settings, spec)
        ]
        reason = (
            beyond
            or _too_slow(seconds, budget)
            or _objection(spec, n, f, root_data)
            or _unmeasured(seen, settings)
            or _without_goal(settings, spec, goal)
        )
        if reason:
            refused.append((name, reason))
        else:
            choices.append(max(seen, key=_regret))
    ranked = sorted(choices, key=lambda choice: (_regret(choice), choice.spec is not None, choice.cost))
    cautions = (*_cautions(settings, n, f, d), *extrapolated(matrix["seconds"], n, d))
    if beyond is None and f > 0 and all(choice.spec is None for choice in ranked):
        beyond = "every measured rule is refused, and the plain mean withstands no malicious agent"
    return Recommendation(tuple(_compared(ranked)), tuple(refused), _basis(matrix, settings), cautions, beyond)


def _beyond_breakdown(n: int, f: int) -> str | None:
    """Why no rule can withstand f malicious ones of n updates, or None."""
    if 2 * f < n:
        return None
    return f"{f} of {n} updates may be malicious: no rule withstands half or more (breakdown point)"


def _named(settings: list[Row], spec: object, f: int) -> str:
    """The label of the rule with this f, as the tables have it, so that the rule need not be imported."""
    rows = [row for _, row in rows_of(settings, spec)]
    same = [row["label"] for row in rows if row["defence"] == assuming(spec, f)]
    if same:
        return str(same[0])
    for row in rows:
        had = _assumed(row["defence"])
        if had is not None and f"f={had}" in row["label"] and f != 1:  # labels leave out f = 1, the default
            return re.sub(rf"\bf={had}\b", f"f={f}", row["label"])
    return label(build(assuming(spec, f), Kind.AGGREGATOR))


def _assumed(spec: object) -> int | None:
    """The f in a description, or None."""
    if isinstance(spec, Mapping):
        return spec["f"] if "f" in spec else next((f for f in map(_assumed, spec.values()) if f is not None), None)
    return next((f for f in map(_assumed, spec) if f is not None), None) if isinstance(spec, list) else None


def _without_goal(settings: list[Row], spec: object, goal: str | None) -> str | None:
    """Why a rule's harm under attacks with the goal is unknown, or None."""
    for setting, row in rows_of(settings, spec):
        if goal is not None and setting["malicious"] and not any(cell["goal"] == goal for cell in row["harm"]):
            return f"not measured against {goal} attacks on {setting['data']}"
    return None


@functools.cache
def measured() -> Row:
    """The content of matrix.json, as benchmarks/matrix/table.py wrote it."""
    text = resources.files("antivenom.auditing").joinpath("matrix.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def _check(n: int, f: int, d: int | None, budget: float | None, goal: str | None, settings: list[Row]) -> None:
    if n < 1 or not 0 <= f <= n:
        raise ScenarioError("n >= 1 and f from 0 to n", f"n = {n} and f = {f}")
    if d is not None and d < 1:
        raise ScenarioError("d >= 1 parameters", f"{d}", "count the model's parameters")
    if budget is not None and (d is None or not budget > 0):
        raise ScenarioError("a budget > 0 s with the number of parameters", f"{budget} s and d = {d}", "give both")
    known = [str(each) for each in goals()]
    if goal is not None and goal not in known:
        raise ScenarioError("the name of a goal", repr(goal), did_you_mean(goal, known))
    seen = {cell["goal"] for setting in settings for row in setting["defences"] for cell in row["harm"]}
    if goal is not None and goal not in seen:
        raise ScenarioError(f"a goal that was measured: {', '.join(sorted(seen))}", repr(goal))


def _nearest(settings: list[Row], share: float, iid: bool) -> list[Row]:
    """The settings with this kind of partition, a rightly assumed f, and the next larger share of malicious agents.

    If no measured share is as large as the requested one, they are those of the largest share.
    """
    usable = [s for s in settings if s["iid"] == iid and s["assumed"] == s["malicious"]]
    shares = sorted(map(_share, usable))
    nearest = next((measured for measured in shares if measured >= share - 1e-9), shares[-1])
    return [s for s in usable if _share(s) == nearest]


def _share(setting: Row) -> float:
    return float(setting["malicious"]) / float(setting["agents"])


def rules_of(settings: list[Row]) -> list[Row | None]:
    """The descriptions of all measured rules, each once whatever its f; None is the plain mean."""
    found: list[Row | None] = []
    for row in (row for setting in settings for row in setting["defences"]):
        if assuming(row["defence"], 0) not in [assuming(spec, 0) for spec in found]:
            found.append(row["defence"])
    return found


def rows_of(settings: list[Row], spec: object) -> Iterator[tuple[Row, Row]]:
    """Each setting in which the rule was measured, with its numbers there, whatever f it assumed."""
    for setting in settings:
        for row in setting["defences"]:
            if assuming(row["defence"], 0) == assuming(spec, 0):
                yield setting, row


def _timed(seconds: list[Row], spec: object) -> list[list[float]]:
    """The measured [n, d, seconds] of the rule; empty if it was not timed."""
    return next((row["points"] for row in seconds if assuming(row["defence"], 0) == assuming(spec, 0)), [])


def _regret(choice: Choice) -> float:
    """The number by which rules are ranked: the harm left plus the clean cost. A gain in accuracy does not offset harm."""
    return choice.harm + max(choice.cost, 0.0)


def assuming(spec: object, f: int) -> object:
    """The description of a rule with every f in it, also of rules in its fields, replaced by the given one."""
    if isinstance(spec, Mapping):
        return {key: f if key == "f" else assuming(value, f) for key, value in spec.items()}
    return [assuming(item, f) for item in spec] if isinstance(spec, list) else spec


def _unmeasured(seen: list[Choice], settings: list[Row]) -> str | None:
    one = settings[0]
    few = len(seen) < len(settings)
    return f"not measured with {one['malicious']} of {one['agents']} agents malicious" if few else None


def _too_slow(seconds: float | None, budget: float | None) -> str | None:
    if budget is None or seconds is None or seconds <= budget:
        return None
    return f"about {seconds:.2g} s per round, more than {budget:g} s"


def _objection(spec: object, n: int, f: int, root_data: bool) -> str | None:
    """Why the rule cannot be used with n updates, or None. For large n, MOST_ROWS with the same share f / n are tried."""
    if spec is None:
        return None
    need = next(need for rule, need in stored_needs() if rule == assuming(spec, 0))
    if "root" in need:
        return None if root_data else f"it needs {need['root']}"
    rows = min(n, MOST_ROWS)
    assumed = math.ceil(f * rows / n)
    if rows >= need["per_f"] * assumed + need["more"]:
        return None
    text = f"it needs {need['expected'].format(f=assumed)}, not n = {rows}"
    return text + (f" (asked for {rows} rows)" if rows < n else "")


def stored_needs() -> list[tuple[object, Row]]:
    """(rule, what it needs) for each measured rule, from catalogue.json, so that no rule need be imported."""
    from antivenom.auditing.catalogue import stored

    return [(need["rule"], need) for need in stored()["needs"]]


def current_needs() -> list[Row]:
    """What each measured rule needs, found by calling it: root rows, or at least per_f f + more updates."""
    return [{"rule": assuming(spec, 0), **_need(spec)} for spec in rules_of(measured()["settings"]) if spec is not None]


def _need(spec: Row) -> Row:
    try:
        refusals = [_refusals(spec, f) for f in (0, 1, 2, 7)]
    except NotApplicable as error:
        return {"root": error.expected}
    least = [len(refused) for refused in refusals]
    per_f, more = least[1] - least[0], least[0]
    if least[2:] != [2 * per_f + more, 7 * per_f + more]:
        raise PluginError(
            "a rule whose smallest n is linear in f", f"{spec['name']}: {least}", "extend `current_needs` for it"
        )
    text = refusals[3][-1] if refusals[3] else ""
    return {"per_f": per_f, "more": more, "expected": text.replace("f = 7", "f = {f}")}


def _refusals(spec: object, f: int) -> list[str]:
    """The rule's error messages for 0, 1, 2... updates, up to the first number of updates that it accepts."""
    import torch

    rule, refusals = build(assuming(spec, f), Kind.AGGREGATOR), []
    for n in range(MOST_ROWS):
        try:
            rule(torch.eye(n, max(n, 2)))
        except PluginError as error:
            refusals.append(error.expected)
        else:
            break
    return refusals


def _choice(spec: object, name: str, setting: Row, row: Row, seconds: float | None, goal: str | None) -> Choice:
    """The rule with its numbers in one setting; `row` holds them."""
    counted, worst = _worst(row, goal)
    attack, values = ("none", [0.0] * len(row["cost"])) if worst is None else (worst["attack"], worst["values"])
    cost, data = _mean(row["cost"]), setting["data"]
    why = f"without attack {0.0 - cost:+.3f} accuracy on {data}"
    if worst is not None:
        why = (
            f"worst of {counted} attacks on {data} is {attack} ({worst['goal']}): {_mean(values):.2f} "
            f"({min(values):.2f} to {max(values):.2f}, {len(values)} seeds); {why.removesuffix(f' on {data}')}"
        )
    return Choice(spec, name, _mean(values), attack, tuple(values), cost, data, seconds, why)


def _worst(row: Row, goal: str | None) -> tuple[int, Any]:
    """The number of attacks with that goal, and the cell of the worst one."""
    counted = [cell for cell in row["harm"] if goal is None or cell["goal"] == goal]
    return len(counted), max(counted, key=lambda cell: _mean(cell["values"]), default=None)


def _with_more(choice: Choice, row: Row, setting: Row, settings: list[Row], goal: str | None) -> Choice:
    """Add to `why` the rule's harm with the most malicious agents measured, while it assumed this setting's f."""
    others = [
        (other["malicious"], _worst(found, goal)[1])
        for other in settings
        for found in other["defences"]
        if other["malicious"] > setting["malicious"] > 0
        and _worst(found, goal)[1] is not None
        and found["defence"] == row["defence"]
        and (other["data"], other["iid"]) == (setting["data"], setting["iid"])
    ]
    if not others:
        return choice
    most, cell = max(others, key=lambda other: int(other[0]))
    text = f"; if {most} of {setting['agents']} were malicious {_mean(cell['values']):.2f} by {cell['attack']}"
    return dataclasses.replace(choice, why=choice.why + text)


def _compared(ranked: list[Choice]) -> Iterator[Choice]:
    """Add a note to each choice that is not clearly worse than the first one, because their seeds overlap."""
    for place, choice in enumerate(ranked):
        close = place > 0 and any(choice.seeds) and min(choice.seeds) <= max(ranked[0].seeds)
        yield dataclasses.replace(choice, why=choice.why + "; seeds overlap the first's") if close else choice


def _basis(matrix: Row, settings: list[Row]) -> str:
    one = settings[0]
    names = " and ".join(setting["data"] for setting in settings)
    return (
        f"measured on {names}: {one['malicious']} of {one['agents']} agents malicious and f = {one['assumed']}, "
        f"{'equal' if one['iid'] else 'uneven'} shards ({one['partition']}), {len(matrix['seeds'])} seeds, {one['date']}"
    )


def _cautions(settings: list[Row], n: int, f: int, d: int | None) -> Iterator[str]:
    one = settings[0]
    agents, malicious, asked, had = one["agents"], one["malicious"], f / n, _share(one)
    if asked > had + 1e-9:
        yield f"{f} of {n} is a larger share than any measured, {malicious} of {agents}: expect worse"
    elif had - asked > FAR_SHARE:
        yield f"{f} of {n} was not measured; these are the harms of a larger share, {malicious} of {agents}"
    if not agents / FAR <= n <= agents * FAR:
        yield f"{n} agents are far from the {agents} that were measured: rules that compare agents see more, or fewer, of them"
    sizes = sorted(setting["parameters"] for setting in settings)
    if d is not None and not sizes[0] / FAR_PARAMETERS <= d <= sizes[-1] * FAR_PARAMETERS:
        yield f"{d:,} parameters are far from the {' and '.join(f'{size:,}' for size in sizes)} of the measured networks"
    if len(settings) == 1:
        yield f"this share and these shards were measured on one data set only, {one['data']}"


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
