"""The search for the worst attack: within its budget, paired, complete, honest about luck and about failures."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from antivenom.core.errors import NotApplicable, PluginError, ScenarioError
from antivenom.core.outcome import Outcome
from antivenom.core.threat import HARMS, Goal, Knowledge
from antivenom.federated import (
    ALIE,
    FLAME,
    IPM,
    AccuracyCheck,
    CenteredClipping,
    Chain,
    Clip,
    Delayed,
    Every,
    FalseExamples,
    GaussianNoise,
    LabelFlip,
    LineSearch,
    Mean,
    Median,
    Mimic,
    NonFinite,
    NormBound,
    NormBounded,
    Scaled,
    SignFlip,
    Sybils,
    WeakDP,
)
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.federated import Federated
from antivenom.search import OMNISCIENT, Attempt, Choices, Family, Range, families_for, worst_case
from antivenom.search.limits import limits_of
from antivenom.search.strategy import cost

FACTOR = Range(0.01, 100.0, log=True)
TWO = Family(Scaled(IPM(tau=1.0)), {"factor": FACTOR, "agent.tau": FACTOR})


@dataclasses.dataclass(frozen=True)
class Hill:
    """A scenario with one narrow peak at factor 7.3 and tau 0.04. Seeds from 100 on halve it, and ALIE cannot be run."""

    goal: Goal = Goal.AVAILABILITY
    peak: tuple[float, float] = (7.3, 0.04)

    def harm(self, attack: Any) -> float:
        if not isinstance(attack, Scaled):
            return 0.02
        at = (math.log(attack.factor), math.log(attack.agent.tau))  # type: ignore[attr-defined]
        apart = sum((x - math.log(best)) ** 2 for x, best in zip(at, self.peak, strict=True))
        return 0.8 / (1 + apart)

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        if isinstance(attack, ALIE):
            raise NotApplicable("something", "ALIE", "leave it out")
        lost = 0.0 if attack is None else self.harm(attack) / (2 if seed >= 100 else 1)
        return Outcome({"clean_accuracy": 0.9 - 0.8 * lost, "chance_accuracy": 0.1, "test_rows": 1e9})


def search(scenario: Any = Hill(), families: Any = (TWO, Family(SignFlip()), Family(ALIE())), **options: Any) -> Any:
    asked = {"trials": 30, "seeds": (0, 1), "confirm": (100, 101)} | options
    return worst_case(None, scenario, families=families, **asked)


@functools.cache
def usual() -> Any:
    """The search with the usual arguments, run once."""
    return search()


@pytest.mark.parametrize("draws", range(2))
def test_an_optimum_in_two_fields_that_a_grid_of_equal_cost_misses(draws: int) -> None:
    found, scenario = search(draws=draws, trials=100), Hill()
    side = math.isqrt(100 // 2)
    places = [i / (side - 1) for i in range(side)]
    grid = max(scenario.harm(TWO.at(point)) for point in itertools.product(places, places))
    assert grid < 0.7
    assert found.harm > 0.78 > grid
    assert len(found.attempts) <= 100
    assert found.attack.factor == pytest.approx(7.3, rel=0.2)
    assert found.attack.agent.tau == pytest.approx(0.04, rel=0.2)
    assert found.confirmed == pytest.approx(found.harm / 2)
    assert found.interval.low <= found.confirmed <= found.interval.high
    assert found.at_least == max(each.interval.low for each in found.finalists)


@dataclasses.dataclass(frozen=True)
class Helpless:
    """A scenario in which every attack brings the accuracy down to chance."""

    goal: Goal = Goal.AVAILABILITY

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        accuracy = 0.9 if attack is None else 0.1
        return Outcome({"clean_accuracy": accuracy, "chance_accuracy": 0.1, "test_rows": 1e9})


def test_no_search_follows_an_attack_that_does_all_possible_harm() -> None:
    found = search(Helpless(), families=(TWO, Family(SignFlip())))
    assert found.harm == 1
    tried = [(a.attack, a.seed) for a in found.attempts if a.stage in ("explore", "refine")]
    assert set(tried) == {(attack, seed) for attack in (TWO.attack, SignFlip()) for seed in (0, 1)}


def test_finalists_are_of_different_families_and_the_ranking_is_in_order() -> None:
    found = usual()
    assert [type(each.attack) for each in found.finalists] == [Scaled, SignFlip]
    assert [each.harm for each in found.finalists] == sorted((each.harm for each in found.finalists), reverse=True)
    assert found.ranking()[0] == (found.attack, found.harm, 2)
    assert {attack for attack, _, _ in found.ranking()} == {
        a.attack for a in found.attempts if a.stage in ("explore", "refine") and not a.error
    }


@dataclasses.dataclass(frozen=True)
class Plateau(Hill):
    """Every other attack does more harm than the foot of the hill."""

    def harm(self, attack: Any) -> float:
        return super().harm(attack) if isinstance(attack, Scaled) else 0.5


def test_a_family_with_nothing_new_to_try_gives_way_to_the_next() -> None:
    few = Family(Mimic(), {"client": Choices((0, 1, 2))})
    found = search(Plateau(peak=(0.011, 90.0)), families=(few, TWO), finalists=1, seeds=(0, 1, 2))
    assert found.harm > 0.75
    assert {attack for attack, _, _ in found.ranking()} >= {Mimic(client=client) for client in (0, 1, 2)}
    small = search(Plateau(), families=(few,), finalists=1)
    assert len(small.attempts) == 4 + 3 * 2 + 2  # twins, all three on both seeds, and the winner on fresh ones
    assert small.harm == pytest.approx(0.5)


def test_equal_arguments_give_equal_results_and_other_draws_others() -> None:
    assert search() == usual()
    assert search(draws=1, trials=20).attempts != search(trials=20).attempts


def test_every_trial_is_listed_reported_and_paired() -> None:
    told: list[tuple[int, int, Attempt]] = []
    found = search(progress=lambda *report: told.append(report))
    assert tuple(attempt for _, _, attempt in told) == found.attempts
    assert [done for done, _, _ in told] == list(range(1, len(told) + 1))
    assert {budget for _, budget, _ in told} == {30}
    stages = [attempt.stage for attempt in found.attempts]
    assert stages.count("twin") == 4  # one for each seed, the fresh ones included
    assert stages.count("confirm") == 2 * 2
    assert [a.stage for a in found.attempts if a.attack is None] == ["twin"] * 4
    runs = [(a.attack, a.seed) for a in found.attempts]
    assert len(set(runs)) == len(runs)  # no trial is run twice


@pytest.mark.parametrize("budget", [10, 17, 31])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2), (0, 1, 2, 3, 4)], ids=len)
def test_the_budget_is_never_exceeded_and_seldom_left(budget: int, seeds: tuple[int, ...]) -> None:
    families = (TWO, Family(SignFlip()), Family(GaussianNoise(), {"std": FACTOR}))
    least = cost(3, len(seeds), 1) + len(seeds) + 2
    if budget < least:
        with pytest.raises(ScenarioError, match=f"a budget of at least {least} trials for 3 families"):
            search(families=families, trials=budget, seeds=seeds, confirm=(9,), finalists=1)
        return
    found = search(families=families, trials=budget, seeds=seeds, confirm=(9,), finalists=1)
    assert budget - len(seeds) < len(found.attempts) <= budget
    assert [a.stage for a in found.attempts][-1] == "confirm"


def test_the_fewest_trials_by_hand() -> None:
    assert cost(9, 4, 1) == 9 + 3  # nine on one seed, one on three more
    assert cost(9, 4, 3) == 9 + 3 * 3
    assert cost(2, 1, 2) == 2


def test_confirmation_uses_other_seeds_than_the_selection() -> None:
    found = usual()
    chosen = {a.seed for a in found.attempts if a.stage in ("explore", "refine")}
    confirming = {a.seed for a in found.attempts if a.stage == "confirm"}
    assert (chosen, confirming) == ({0, 1}, {100, 101})
    for seeds, confirm in (((0, 1), (1, 2)), ((), (1,)), ((0, 0), (1,))):
        with pytest.raises(ScenarioError, match="other seeds for confirmation"):
            search(seeds=seeds, confirm=confirm)
    unconfirmed = search(confirm=())
    assert math.isnan(unconfirmed.confirmed)
    assert unconfirmed.interval is None
    assert unconfirmed.at_least == 0.0


def test_failed_trials_are_listed_and_never_win() -> None:
    found = usual()
    failed = [attempt for attempt in found.attempts if attempt.error]
    assert {type(attempt.attack) for attempt in failed} == {ALIE}
    assert len(failed) == 1  # the first failure ends it
    assert all(math.isnan(attempt.harm) for attempt in failed)
    assert not any(isinstance(attack, ALIE) for attack, _, _ in found.ranking())
    nothing = search(families=[Family(ALIE(), {"z": Range(0.0, 1.0)})])
    assert nothing.attack is None
    assert math.isnan(nothing.harm)
    assert math.isnan(nothing.confirmed)
    assert (nothing.finalists, nothing.ranking()) == ((), [])
    assert "confirm" not in [attempt.stage for attempt in nothing.attempts]


@dataclasses.dataclass(frozen=True)
class Moody(Hill):
    """The best attack fails at seed 1, clean twins fail at seed 2, are at chance at seed 3, and seed 101 fails."""

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        if seed == 2 or (seed in (1, 101) and attack is not None and self.harm(attack) > 0.2):
            raise PluginError("luck", f"seed {seed}")
        found = super().run(attack, defence, seed)
        return dataclasses.replace(found, metrics=found.metrics | {"chance_accuracy": 0.9}) if seed == 3 else found


def test_an_attack_that_fails_on_a_later_seed_does_not_win() -> None:
    found = search(Moody(), seeds=(0, 1))
    assert Hill().harm(found.attack) <= 0.2
    assert any(a.error and a.harm != a.harm and a.seed == 1 for a in found.attempts)


def test_seeds_without_a_usable_twin_are_not_used() -> None:
    found = search(Moody(), seeds=(0, 2, 3))
    assert {a.seed for a in found.attempts if a.stage in ("explore", "refine")} == {0}
    assert [(a.seed, bool(a.error)) for a in found.attempts if a.stage == "twin"][:3] == [
        (0, False),
        (2, True),
        (3, True),
    ]
    assert found.harm > 0.7
    nothing = search(Moody(), seeds=(2, 3))
    assert nothing.attack is None
    assert [a.stage for a in nothing.attempts] == ["twin", "twin"]


def test_a_failure_on_a_fresh_seed_widens_the_interval() -> None:
    sure, unsure = search(seeds=(0,)), search(Moody(), seeds=(0,))
    assert unsure.confirmed == pytest.approx(sure.confirmed)  # of the seed that did not fail
    assert unsure.interval.high > sure.interval.high or unsure.interval.high == 1.0
    assert unsure.interval.low < sure.interval.low or sure.interval.low == 0.0
    assert unsure.interval.n == 1


@dataclasses.dataclass(frozen=True)
class Noise:
    """Harm that no attack causes: normal noise of standard deviation 0.2, which depends on the attack and the seed."""

    goal: Goal = Goal.TARGETED

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        if attack is None:
            return Outcome({"targets_hit": 0.5})
        key = hashlib.sha256(f"{attack} {seed}".encode()).digest()
        return Outcome({"targets_hit": 0.5 + float(np.random.default_rng(list(key)).normal(0, 0.2))})


@pytest.mark.slow
def test_the_winner_among_noise_has_an_unbiased_confirmed_harm() -> None:
    found = [search(Noise(), families=(TWO,), draws=draws, finalists=1, trials=60) for draws in range(1000, 1025)]
    chosen, confirmed = [each.harm for each in found], [each.confirmed for each in found]
    assert np.mean(chosen) > 0.2  # what the maximum over noise looks like
    assert abs(np.mean(confirmed)) < 3 * 0.2 / math.sqrt(25 * 2)
    assert sum(each.interval.low > 0.08 for each in found) <= 3  # mean of the noise without its negative part: 0.08


def test_ranges_and_choices() -> None:
    assert [Range(1.0, 100.0, log=True).at(place) for place in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 10.0, 100.0])
    assert [Range(-2.0, 2.0).at(place) for place in (0.0, 0.25, 1.0)] == [-2.0, -1.0, 2.0]
    assert Range(1 / 3, 2 / 3).at(1 / 3) == 0.4444  # 4/9
    assert Range(1 / 3, 2 / 3).at(1.0) == 2 / 3  # the end itself
    whole = Range(1, 4, whole=True)
    counts = [sum(whole.at((i + 0.5) / 400) == value for i in range(400)) for value in (1, 2, 3, 4)]
    assert counts == [100] * 4
    assert isinstance(whole.at(0.3), int)
    choices = Choices(("a", "b", "c"))
    assert [choices.at(place) for place in (0.0, 0.34, 0.999, 1.0)] == ["a", "b", "c", "c"]
    for axis, values in (
        (Range(0.1, 7.0, log=True), (0.1, 1.0, 7.0)),
        (Range(0, 9, whole=True), range(10)),
        (Range(1, 50, log=True, whole=True), range(1, 51)),
        (Range(3.0, 3.0), (3.0,)),
        (choices, "abc"),
    ):
        assert [axis.at(axis.place(value)) for value in values] == pytest.approx(list(values)) or axis is choices
    assert Range(1.0, 2.0).place(9.0) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Range(0.0, 1.0, log=True), "low above 0 with log"),
        (lambda: Range(2.0, 1.0), "low <= high"),
        (lambda: Range(0.0, math.inf), "a finite range"),
        (lambda: Choices(()), "at least one value"),
        (lambda: Family(IPM(), {"tua": FACTOR}), "did you mean 'tau'"),
        (lambda: Family(Scaled(IPM()), {"agent.z": FACTOR}), "a field of IPM"),
        (lambda: Family(IPM(), {"tau.x": FACTOR}), "a field of float"),
        (lambda: search(families=()), "at least one family"),
        (lambda: families_for(SimpleNamespace(goal=Goal.PRIVACY, federation=None), None), "pass `families`"),  # type: ignore[arg-type]
    ],
    ids=["log of zero", "empty", "endless", "no choice", "misspelt", "inner", "too deep", "no family", "other goal"],
)
def test_mistakes_in_a_search(make: Any, message: str) -> None:
    with pytest.raises((PluginError, ScenarioError), match=message):
        make()


def test_a_family_starts_with_its_own_agent_and_covers_its_ranges() -> None:
    rng = np.random.default_rng(0)
    points = list(itertools.islice(TWO.points(rng), 64))
    for axis in range(2):  # every sixteenth of every coordinate is reached
        assert {int(16 * point[axis]) for point in points} == set(range(16))
    assert TWO.at(TWO.start) == TWO.attack
    found = usual()
    explored = [a.attack for a in found.attempts if a.stage == "explore"]
    assert explored[:3] == [TWO.attack, SignFlip(), ALIE()]


def kinds(families: Any) -> set[type]:
    """The types of the agents and of the agents in their fields."""
    found = set()
    for family in families:
        agent = family.attack
        while agent is not None:
            found.add(type(agent))
            agent = getattr(agent, "agent", None)
    return found


def scenario_of(goal: Goal, **federation: Any) -> Federated:
    return dataclasses.replace(
        OMNISCIENT, goal=goal, federation=dataclasses.replace(OMNISCIENT.federation, **federation)
    )


def test_the_families_of_each_goal_serve_it_and_know_the_rule() -> None:
    from antivenom.scenarios.federated import _agent

    for goal in HARMS:
        for family in families_for(scenario_of(goal), Median()):
            assert _agent(family.attack, goal) is family.attack
            for point in itertools.islice(family.points(np.random.default_rng(1)), 8):
                assert _agent(family.at(point), goal) is not None
    for rule in (Median(), AccuracyCheck()):  # a detector is known, too
        tuned = [f.attack for f in families_for(OMNISCIENT, rule) if isinstance(f.attack, LineSearch)]
        assert {agent.rule for agent in tuned} == {rule}
    (clipped,) = {f.attack.rule for f in families_for(OMNISCIENT, Clip()) if isinstance(f.attack, LineSearch)}
    assert clipped == Chain((Clip(),), Mean())
    # z of ALIE is searched: its own, from n and f, is about 0 for few attackers
    assert any(family.attack == ALIE(z=1.0) and "z" in family.fields for family in families_for(OMNISCIENT, Median()))


def test_availability_searches_broken_senders_lies_flips_pauses_and_copies() -> None:
    listed = kinds(families_for(scenario_of(Goal.AVAILABILITY, weighting="examples"), Median()))
    assert {NonFinite, FalseExamples, LabelFlip, Every, Delayed, Mimic, Sybils} <= listed
    # a lie about examples has no effect where nobody asks, and one agent has no sybils
    assert FalseExamples not in kinds(families_for(OMNISCIENT, Median()))
    assert Sybils not in kinds(families_for(scenario_of(Goal.AVAILABILITY, num_malicious=1), Median()))
    assert not {Every, Delayed} & kinds(families_for(scenario_of(Goal.AVAILABILITY, rounds=1), Median()))


def test_attacks_that_wait_begin_in_the_last_round_at_the_latest() -> None:
    """In ten rounds, at most nine are honest. Every counts the round in which it begins, and Delayed the rounds before it."""
    found = families_for(scenario_of(Goal.AVAILABILITY, rounds=10), Median())
    every, delayed = (next(f for f in found if isinstance(f.attack, kind)) for kind in (Every, Delayed))
    assert (every.fields["first"].low, every.fields["first"].high) == (1, 10)
    assert (delayed.fields["rounds"].low, delayed.fields["rounds"].high) == (0, 9)
    assert delayed.attack.rounds == 9


@pytest.mark.parametrize("goal", HARMS)
def test_a_search_starts_from_values_that_it_covers(goal: Goal) -> None:
    for family in families_for(scenario_of(goal), Median()):
        for (path, axis), place in zip(family.fields.items(), family.start, strict=True):
            own = functools.reduce(getattr, path.split("."), family.attack)
            if own is not None and path != "window":  # PoisonedFL's own window is longer than this federation
                assert axis.at(place) == pytest.approx(own), path


@pytest.mark.parametrize(
    ("rule", "bound", "factor"),
    [
        (Clip(bound=0.7), 0.7, None),
        (Chain((WeakDP(bound=2.0), Clip(bound=5.0)), FLAME()), 2.0, 1.0),
        (CenteredClipping(tau=0.4), 0.4, None),
        (NormBound(bound=3.0), 3.0, None),
        (NormBound(factor=2.5), None, 2.5),
        (Median(), None, None),
        (None, None, None),
    ],
    ids=["clip", "chain", "centred", "bound", "multiple", "median", "undefended"],
)
def test_attacks_stay_just_below_the_defences_own_limit(rule: Any, bound: float | None, factor: float | None) -> None:
    near = [f for f in families_for(OMNISCIENT, rule) if isinstance(f.attack, NormBounded)]
    agents: list[Any] = [family.attack for family in near]
    assert [agent.bound for agent in agents if agent.bound is not None] == ([] if bound is None else [bound])
    assert [agent.factor for agent in agents if agent.bound is None] == ([] if factor is None else [factor])
    for family in near:
        name, inner = family.fields
        limit = bound if name == "bound" else factor
        assert getattr(family.at((1.0, 0.0)), name) == limit
        assert getattr(family.at((0.0, 0.0)), name) == limit / 2  # type: ignore[operator]
        assert {type(getattr(family.at((0.5, place)), inner)) for place in (0.0, 1.0)} == {Scaled, IPM}
    assert len(limits_of(rule)) == len(near)


def test_harm_by_hand() -> None:
    twin = {"clean_accuracy": 0.9, "chance_accuracy": 0.1, "asr": 0.05, "targets_hit": 0.2}
    own = {"clean_accuracy": 0.5, "asr": 0.75, "targets_hit": 0.9}

    def harm_done(goal: str, own: dict[str, float], twin: dict[str, float]) -> float:
        return Goal(goal).metric.value(own, twin)

    assert harm_done("availability", own, twin) == pytest.approx(0.5)
    assert harm_done("availability", {"clean_accuracy": 0.0}, twin) == 1.0
    assert harm_done("backdoor", own, twin) == pytest.approx(0.7)
    assert harm_done("targeted", own, twin) == pytest.approx(0.7)
    assert math.isnan(harm_done("backdoor", {}, twin))


QUICK = Training(epochs=3, batch_size=20, learning_rate=0.02)


def small(goal: Goal, **fields: Any) -> Federated:
    asked = {
        "num_agents": 5,
        "num_malicious": 2,
        "rounds": 2,
        "training": QUICK,
        "knowledge": Knowledge.OMNISCIENT,
    } | fields
    federation = dataclasses.replace(OMNISCIENT.federation, **asked)
    return Federated(model=MLP(hidden=(8,)), federation=federation, goal=goal, train_rows=400, test_rows=200)


def test_against_the_mean_a_larger_scale_is_worse() -> None:
    found = worst_case(
        None,
        small(Goal.AVAILABILITY),
        families=[Family(IPM(tau=0.1), {"tau": Range(0.1, 10.0, log=True)})],
        trials=20,
        seeds=(0,),
        confirm=(100,),
    )
    assert found.attack.tau > 3
    assert found.harm > 0.8
    assert found.confirmed > 0.8


@pytest.mark.parametrize(
    ("goal", "rule", "fields"),
    [
        (Goal.AVAILABILITY, NormBound(), {"weighting": "examples"}),
        (Goal.AVAILABILITY, CenteredClipping(tau=1.0), {"knowledge": Knowledge.OWN}),
        (Goal.TARGETED, Clip(bound=1.0), {}),
        (Goal.BACKDOOR, Median(), {}),
    ],
    ids=["availability", "own knowledge", "targeted", "backdoor"],
)
def test_every_family_runs_in_a_real_federation(goal: Goal, rule: Any, fields: dict[str, Any]) -> None:
    scenario, twin = (
        small(goal, **fields),
        {"clean_accuracy": 1.0, "chance_accuracy": 0.1, "asr": 0.0, "targets_hit": 0.0},
    )
    for family in families_for(scenario, rule):
        outcome = scenario.run(family.attack, rule, 0)
        assert 0 <= goal.metric.value(outcome.metrics, twin) <= 1
