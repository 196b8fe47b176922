"""The families of attacks on a federation for each goal, with the ranges of their fields.

An agent with `knowledge` None knows what the scenario's threat model grants. Attackers know the defence: some tune
themselves against it in every round, and where it limits the length of an update, some stay just below that limit.
"""

from __future__ import annotations

from typing import Any

from antivenom.core.errors import ScenarioError
from antivenom.core.protocols import Agent
from antivenom.core.registry import Kind, entry_of
from antivenom.core.threat import Goal
from antivenom.federated.agents import (
    ALIE,
    DBA,
    IPM,
    ALIEBackdoor,
    AlternatingMinimization,
    ClientBadNets,
    ConstrainAndScale,
    Delayed,
    DirtyLabel,
    EdgeCase,
    Every,
    ExplicitBoosting,
    FalseExamples,
    FangKrum,
    FangMedian,
    FangTrimmedMean,
    GaussianNoise,
    HoldOff,
    LabelFlip,
    LineSearch,
    Mimic,
    MinMaxDistance,
    MinSumDistance,
    ModelReplacement,
    Neurotoxin,
    NonFinite,
    NormBounded,
    PoisonedFL,
    Scaled,
    SignFlip,
    StealthyPoisoning,
    Sybils,
)
from antivenom.federated.agents.adaptive import Centre, Damage
from antivenom.federated.agents.backdoors import Anomaly
from antivenom.federated.agents.byzantine import NotANumber
from antivenom.federated.agents.extremes import Direction
from antivenom.federated.aggregators import Mean
from antivenom.federated.chain import Chain
from antivenom.federated.engine import Federation
from antivenom.federated.weighting import Weighting
from antivenom.scenarios.federated import Federated
from antivenom.search.limits import limits_of
from antivenom.search.space import Axis, Choices, Family, Range

FACTOR = Range(0.1, 100.0, log=True)  # what an update is multiplied with
CLAIM = Range(1.0, 1e4, log=True)  # claimed examples, as a multiple of the true number
NEAR_LIMIT = 0.5  # from this share of a limit up to the limit itself


def families(scenario: Federated, rule: Any) -> tuple[Family, ...]:
    """The families to search for the goal of a federation, against this defence.

    Lies about examples are among them if the federation weights clients by examples.

    Raises:
        ScenarioError: there are no families for this goal.
    """
    federation = scenario.federation
    listed = {Goal.AVAILABILITY: _availability, Goal.TARGETED: _targeted, Goal.BACKDOOR: _backdoor}.get(scenario.goal)
    if listed is None:
        raise ScenarioError("a goal with known families", f"{scenario.goal}", "pass `families`")
    served, strongest = listed(federation)
    loud: list[Agent] = [Scaled(strongest, factor=1000.0)]
    if scenario.goal is Goal.AVAILABILITY:
        loud.append(IPM(tau=1000.0))
    found = [*served, *_timed(strongest, federation), *_near_limits(tuple(loud), rule)]
    if federation.weighting == Weighting.EXAMPLES:
        found.append(_scaled(FalseExamples(strongest), {"factor": CLAIM}))
    if federation.num_malicious > 1:
        found.append(_scaled(Sybils(strongest, noise=0.01), {"noise": Range(1e-3, 1.0, log=True)}))
    return (*found, *_tuned(scenario.goal, rule))


def _availability(federation: Federation) -> tuple[list[Family], Agent]:
    """The families, and the agent that combinators are tried with."""
    directions = Choices(tuple(Direction))
    others = max(federation.clients_per_round - federation.num_malicious, 1)
    window = Range(1, max(federation.rounds // 2, 1), whole=True)
    return [
        Family(Scaled(SignFlip()), {"factor": FACTOR}),
        Family(IPM(tau=1.0), {"tau": FACTOR}),
        Family(GaussianNoise(std=0.01), {"std": Range(1e-3, 10.0, log=True), "on_honest": Choices((False, True))}),
        Family(ALIE(z=1.0), {"z": Range(-6.0, 6.0)}),
        _scaled(MinMaxDistance(), {"direction": directions}, Centre.BENIGN),
        _scaled(MinSumDistance(), {"direction": directions}, Centre.BENIGN),
        _scaled(FangKrum(), {}),
        Family(
            Scaled(FangTrimmedMean()),
            {
                "agent": Choices((FangTrimmedMean(), FangMedian())),
                "agent.of_models": Choices((True, False)),
                "agent.b": Range(1.1, 20.0, log=True),
                "factor": FACTOR,
            },
        ),
        Family(PoisonedFL(), {"scale": Range(0.5, 100.0, log=True), "window": window}),
        _scaled(LabelFlip(), {}),
        Family(Mimic(), {"client": Choices((None, *range(others)))}),
        Family(NonFinite(), {"value": Choices(tuple(NotANumber))}),
    ], SignFlip()


def _targeted(federation: Federation) -> tuple[list[Family], Agent]:
    few, many = Range(1, 10, whole=True), Range(1, 50, log=True, whole=True)
    boost = Range(0.3, 3.0 * federation.num_agents, log=True)
    penalty = Range(1e-6, 1e-1, log=True)
    alternating = {"epochs": few, "stealth_steps": Range(1, 20, whole=True), "boost": boost, "rho": penalty}
    return [
        Family(ExplicitBoosting(boost=1.0), {"steps": many, "boost": boost}),
        Family(ModelReplacement(boost=1.0), {"epochs": few, "boost": boost}),
        Family(EdgeCase(), {"radius": Range(0.1, 30.0, log=True), "boost": boost}),
        Family(AlternatingMinimization(epochs=5, boost=float(federation.num_agents)), alternating),
        Family(StealthyPoisoning(boost=float(federation.num_agents)), {"epochs": few, "boost": boost, "rho": penalty}),
        Family(Neurotoxin(boost=1.0), {"masked": Range(0.001, 0.5, log=True), "epochs": few, "boost": boost}),
        Family(ALIEBackdoor(z=1.5), _ALIE_FIELDS),
        Family(DirtyLabel(), {"copies": Range(1, 1000, log=True, whole=True)}),
        Family(HoldOff(ExplicitBoosting(boost=1.0)), {"confidence": Range(0.3, 1.0), "agent.boost": boost}),
    ], ModelReplacement(boost=1.0)


def _backdoor(federation: Federation) -> tuple[list[Family], Agent]:
    few = Range(1, 10, whole=True)
    boost = Range(0.3, 3.0 * federation.num_agents, log=True)
    parts = Choices(tuple(sorted({1, 4, max(federation.num_malicious, 1)})))
    stealth: dict[str, Axis] = {
        "alpha": Range(0.1, 1.0),
        "anomaly": Choices(tuple(Anomaly)),
        "epochs": few,
        "boost": boost,
    }
    return [
        Family(ModelReplacement(boost=1.0), {"epochs": few, "boost": boost}),
        Family(ConstrainAndScale(boost=1.0), stealth),
        Family(DBA(boost=1.0), {"parts": parts, "epochs": few, "boost": boost}),
        Family(Neurotoxin(boost=1.0), {"masked": Range(0.001, 0.5, log=True), "epochs": few, "boost": boost}),
        Family(EdgeCase(), {"radius": Range(0.1, 30.0, log=True), "boost": boost}),
        Family(ClientBadNets(), {"poisoned_rate": Range(0.05, 5.0, log=True)}),
        Family(ALIEBackdoor(z=1.5), _ALIE_FIELDS),
    ], ModelReplacement(boost=1.0)


_ALIE_FIELDS: dict[str, Axis] = {
    "z": Range(0.05, 10.0, log=True),
    "alpha": Range(0.05, 1.0),
    "epochs": Range(1, 10, whole=True),
}


def _timed(strongest: Agent, federation: Federation) -> list[Family]:
    """Attacks that come and go, and those that start late: a rule may forget, and late harm is not repaired."""
    last = federation.rounds
    if last < 2:
        return []
    period, first = Range(1, max(last // 2, 2), whole=True), Range(1, last, whole=True)
    return [
        Family(Every(Scaled(strongest, factor=3.0)), {"rounds": period, "first": first, "agent.factor": FACTOR}),
        Family(
            Delayed(Scaled(strongest, factor=10.0), rounds=last - 1),
            {"rounds": Range(0, last - 1, whole=True), "agent.factor": FACTOR},
        ),
    ]


def _near_limits(loud: tuple[Agent, ...], rule: Any) -> list[Family]:
    """Loud updates, shortened to just below the defence's own limits."""
    found = []
    for limit in limits_of(rule):
        near, agents = Range(NEAR_LIMIT * limit.length, limit.length), Choices(loud)
        if limit.of_median:
            found.append(Family(NormBounded(loud[0], factor=limit.length), {"factor": near, "agent": agents}))
        else:
            found.append(Family(NormBounded(loud[0], bound=limit.length), {"bound": near, "agent": agents}))
    return found


def _tuned(goal: Goal, rule: Any) -> list[Family]:
    """Attacks whose scale is tuned in every round against the very defence, whatever its threshold."""
    if rule is None or isinstance(rule, Mean):  # the larger, the worse: nothing to tune
        return []
    played: Any = Chain((rule,), Mean()) if entry_of(rule).kind is Kind.REDUCER else rule
    damage: dict[str, Axis] = {"damage": Choices(tuple(Damage))}
    if goal is not Goal.AVAILABILITY:
        replacing = LineSearch(ModelReplacement(boost=1.0), played, first_step=1.0)
        return [Family(replacing, {"first_step": Range(0.1, 10.0, log=True)})]
    return [
        Family(LineSearch(IPM(tau=1.0), played), damage),
        Family(LineSearch(ALIE(z=-1.0), played, centre=Centre.BENIGN), {"agent.z": Choices((-1.0, 1.0)), **damage}),
        Family(
            LineSearch(MinSumDistance(), played, centre=Centre.BENIGN),
            {"agent.direction": Choices(tuple(Direction)), **damage},
        ),
    ]


def _scaled(agent: Agent, fields: dict[str, Axis], centre: Centre = Centre.ZERO) -> Family:
    """The agent's fields and a factor of its update."""
    inner = {f"agent.{name}": axis for name, axis in fields.items()}
    return Family(Scaled(agent, centre=centre), {**inner, "factor": FACTOR})
