"""Attacks of one formula: hand-computed vectors, most of them byzfl's, and the intervals and limits of the papers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from antivenom.core.errors import PluginError, ThreatError
from antivenom.core.protocols import AgentView, Participation
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.federated import (
    ALIE,
    IPM,
    FangKrum,
    FangMedian,
    FangTrimmedMean,
    GaussianNoise,
    Krum,
    LabelFlip,
    Mimic,
    MinMaxDistance,
    MinSumDistance,
    NonFinite,
    PoisonedFL,
    SignFlip,
)
from antivenom.federated.agents.alie import z_max
from antivenom.federated.agents.extremes import perturbation
from antivenom.federated.agents.fang import picked, signs
from antivenom.federated.agents.knowledge import benign, crowd, estimated, moments
from antivenom.federated.agents.objectives import honest

View = Callable[..., AgentView]
ROWS = [[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize(
    ("agent", "sent"),
    [
        (SignFlip(knowledge=Knowledge.OMNISCIENT), [-4.0, -5, -6]),
        (IPM(tau=2.0), [-8.0, -10, -12]),
        (ALIE(z=-1.5), [8.5, 9.5, 10.5]),  # byzfl adds 1.5 standard deviations of 3, the paper takes them away
        (ALIE(z=1.5), [-0.5, 0.5, 1.5]),
        (Mimic(client=0), [1.0, 2, 3]),
        (Mimic(client=2), [7.0, 8, 9]),
    ],
)
def test_vectors_by_hand(bare: View, agent: Any, sent: list[float]) -> None:
    assert agent(bare(ROWS, k=2)).tolist() == [pytest.approx(sent)] * 2


@pytest.mark.parametrize(
    ("n", "f", "z"),
    [
        (50, 24, 1.4261),  # the paper's: s = 2, Phi(z) = 24 / 26
        (10, 4, 0.4307),  # s = 2, 4 / 6
        (10, 2, 0.0),  # s = 4, 4 / 8
        (10, 1, -0.1397),  # s = 5, 4 / 9
        (5, 4, 3.0902),  # one honest agent and nobody needed: bounded at 0.999
    ],
)
def test_the_z_of_alie(n: int, f: int, z: float) -> None:
    assert z_max(n, f) == pytest.approx(z, abs=1e-4)


def test_alie_takes_n_and_f_of_the_round(bare: View, cloud: Tensor) -> None:
    seen = bare(cloud, k=4, num_agents=100, num_chosen=12)
    mean, spread = moments(cloud)
    torch.testing.assert_close(ALIE()(seen)[3], mean - z_max(12, 4) * spread)


def test_who_may_not_see_the_benign_updates_estimates_them(digits: View) -> None:
    for agent in (IPM(), ALIE(z=1.0), Mimic(), MinMaxDistance(), FangKrum(), FangTrimmedMean()):
        with pytest.raises(ThreatError, match="omniscient"):
            dataclasses.replace(agent, knowledge=Knowledge.OMNISCIENT)(digits())
    seen = digits(k=2)
    own = torch.stack([honest(seen, 0), honest(seen, 1)])
    torch.testing.assert_close(
        benign(seen), own
    )  # to rounding: both are trained in one stack where training is not compiled
    torch.testing.assert_close(IPM(tau=0.5)(seen)[0], -0.5 * own.mean(dim=0))


def test_a_lone_agent_estimates_a_spread_from_resamples(digits: View) -> None:
    seen = digits()
    known = estimated(seen)
    assert len(known) == 4
    assert torch.equal(known[0], honest(seen, 0))
    assert (known.std(dim=0) > 0).float().mean() > 0.5
    lengths = known.norm(dim=1)
    assert float(lengths.max() / lengths.min()) < 1.5  # as many steps as an honest update


def test_a_round_without_benign_agents_is_estimated(digits: View) -> None:
    nobody = digits(k=2, knowledge=Knowledge.OMNISCIENT)
    nobody = dataclasses.replace(nobody, benign=nobody.start.new_zeros(0, nobody.start.numel()))
    assert torch.equal(benign(nobody), estimated(nobody))


def test_a_crowd_has_as_many_as_the_round(digits: View, bare: View, cloud: Tensor) -> None:
    filled = crowd(digits(k=2, num_chosen=30))
    assert len(filled) == 28
    assert torch.equal(filled[:2], estimated(digits(k=2)))
    inner, outer = filled[:2].mean(dim=0), filled[2:].mean(dim=0)
    assert float((inner - outer).norm()) < 0.5 * float(filled[:2].std(dim=0).norm())
    assert torch.equal(crowd(bare(cloud, k=2)), cloud)


def test_sign_flip_of_its_own_update(digits: View) -> None:
    seen = digits(k=2)
    sent = SignFlip(scale=3.0)(seen)
    torch.testing.assert_close(sent, -3 * torch.stack([honest(seen, 0), honest(seen, 1)]))


def test_noise_has_its_moments_and_differs_among_agents(digits: View) -> None:
    seen = digits(k=2)
    sent = GaussianNoise(std=2.0, mean=0.5)(seen)
    assert sent.mean() == pytest.approx(0.5, abs=0.1)
    assert sent.std() == pytest.approx(2.0, rel=0.05)
    assert not torch.equal(sent[0], sent[1])
    added = GaussianNoise(std=2.0, mean=0.5, on_honest=True)(seen)
    torch.testing.assert_close(added[0], sent[0] + honest(seen, 0))


def test_label_flips(digits: View) -> None:
    y = torch.arange(10)
    assert LabelFlip().flipped(y, 10).tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert LabelFlip(source=3, target=7).flipped(y, 10).tolist() == [0, 1, 2, 7, 4, 5, 6, 7, 8, 9]
    with pytest.raises(PluginError, match="source and target"):
        LabelFlip(source=3)
    seen = digits()
    end = seen.start + LabelFlip(source=0, target=1)(seen)[0]
    assert not torch.equal(end - seen.start, honest(seen, 0))


@pytest.mark.parametrize(("value", "is_it"), [("nan", torch.isnan), ("inf", torch.isposinf), ("-inf", torch.isneginf)])
def test_senders_of_what_is_no_number(digits: View, value: Any, is_it: Callable[[Tensor], Tensor]) -> None:
    assert is_it(NonFinite(value=value)(digits())).all()
    few = NonFinite(value=value, share=0.01)(digits())[0]
    assert int(is_it(few).sum()) == round(0.01 * few.numel())
    assert int(is_it(NonFinite(value=value, share=0.0)(digits())).sum()) == 1


def test_mimic_finds_the_client_that_differs_most(bare: View) -> None:
    rows = [[1.0, 0], [1, 0.1], [1, -0.1], [1, 5]]
    assert Mimic(client=None)(bare(rows)).tolist() == [[1.0, 5.0]]


@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
def test_min_max_is_the_papers_bisection(bare: View, cloud: Tensor, direction: Any) -> None:
    way, mean = perturbation(cloud, direction), cloud.mean(dim=0)
    limit = torch.cdist(cloud, cloud).max()
    low, high = 0.0, 100.0
    while high - low > 1e-9:
        gamma = (low + high) / 2
        inside = (mean + gamma * way - cloud).norm(dim=1).max() <= limit
        low, high = (gamma, high) if inside else (low, gamma)
    sent = MinMaxDistance(direction=direction)(bare(cloud))[0]
    torch.testing.assert_close(sent, mean + low * way, rtol=1e-6, atol=1e-6)
    assert float((sent - cloud).norm(dim=1).max()) == pytest.approx(float(limit), rel=1e-9)


@pytest.mark.parametrize("direction", ["unit", "std", "sign"])
def test_min_sum_meets_its_limit(bare: View, cloud: Tensor, direction: Any) -> None:
    limit = torch.cdist(cloud, cloud).square().sum(dim=1).max()
    sent = MinSumDistance(direction=direction)(bare(cloud))[0]
    assert float((sent - cloud).square().sum()) == pytest.approx(float(limit), rel=1e-9)
    further = sent + 1e-3 * perturbation(cloud, direction)
    assert float((further - cloud).square().sum()) > float(limit)


def test_the_three_directions_by_hand() -> None:
    rows = torch.tensor([[3.0, -4.0, 0.0], [3.0, -4.0, 2.0], [3.0, -4.0, -2.0]])
    assert perturbation(rows, "unit").tolist() == pytest.approx([-0.6, 0.8, 0.0])  # type: ignore[arg-type]
    assert perturbation(rows, "std").tolist() == [0.0, 0.0, -2.0]  # type: ignore[arg-type]
    assert perturbation(rows, "sign").tolist() == [-1.0, 1.0, 0.0]  # type: ignore[arg-type]


def test_min_max_among_equal_updates_is_their_mean(bare: View) -> None:
    rows = [[1.0, 2.0]] * 4
    for agent in (MinMaxDistance(direction="std"), MinMaxDistance(), MinSumDistance()):  # type: ignore[arg-type]
        assert agent(bare(rows)).tolist() == [pytest.approx([1.0, 2.0])]


def test_fang_krum_is_picked_with_the_largest_scale_that_is(bare: View) -> None:
    generator = torch.Generator().manual_seed(3)
    known = torch.randn(12, 6, generator=generator, dtype=torch.float64) + 0.2
    sent = FangKrum(spread=0.0)(bare(known, k=4))
    against = -signs(Krum(f=4)(known))
    scale = float(sent[0].abs()[0])
    torch.testing.assert_close(sent, (scale * against).repeat(4, 1))
    assert torch.equal(Krum(f=4)(torch.cat([known, sent])), sent[0])
    twice, limit = 2 * sent, FangKrum.upper_bound(known, 4)
    assert 1e-3 < scale < limit / 2
    assert not torch.equal(Krum(f=4)(torch.cat([known, twice])), twice[0])
    assert math.log2(limit / scale) == pytest.approx(round(math.log2(limit / scale)), abs=1e-6)  # halved from the bound


def test_fang_krum_with_own_knowledge_tries_it_on_its_own_updates(digits: View) -> None:
    seen = digits(k=4)
    known = estimated(seen)
    sent = FangKrum(spread=0.0)(seen)
    scale = float(sent[0, 0].abs())
    assert scale > 1e-4
    torch.testing.assert_close(sent, (-scale * signs(known.mean(dim=0))).repeat(4, 1))
    assert any(picked(known, sent[0], supporters, 4) for supporters in range(1, 5))


def test_the_upper_bound_of_fang_krum_by_hand() -> None:
    known = torch.tensor([[0.0, 3.0], [0.0, 4.0], [0.0, 6.0]], dtype=torch.float64)
    # One other each (m - c - 2 = 1): the closest is 1 away; m - 2c - 1 = 1; the furthest from the start is 6; d = 2.
    assert FangKrum.upper_bound(known, 1) == pytest.approx(math.sqrt(1 / 2) + 6 / math.sqrt(2))


def test_supporters_stay_close(bare: View, cloud: Tensor) -> None:
    sent = FangKrum(spread=0.01)(bare(cloud, k=3))
    apart = (sent - sent[0]).norm(dim=1)
    assert float(apart[0]) == 0.0
    assert (apart[1:] > 0).all()
    assert (apart <= 0.01).all()


@pytest.mark.parametrize("agent", [FangTrimmedMean(b=3.0, of_models=False), FangMedian(b=3.0, of_models=False)])
def test_fang_draws_beyond_the_extreme(bare: View, agent: Any) -> None:
    rows = [[1.0, -1.0, 2.0], [2.0, -2.0, 3.0], [3.0, -4.0, -9.0]]
    sent = agent(bare(rows, k=40))
    # Up, down, and (mean -4/3, median 2) down for the trimmed mean and up for the median.
    third = (3.0, 9.0) if isinstance(agent, FangTrimmedMean) else (-27.0, -9.0)
    for column, (low, high) in zip(sent.T, [(1 / 3, 1.0), (-1.0, -1 / 3), third], strict=True):
        assert low <= column.min() < column.max() <= high
        assert column.max() - column.min() > 0.7 * (high - low)  # it fills the interval


def test_fang_measures_models_by_default(bare: View) -> None:
    sent = FangTrimmedMean()(bare([[1.0], [2.0]], k=30, start=torch.tensor([10.0], dtype=torch.float64)))
    assert (sent >= 5.5 - 10).all()
    assert (sent <= 1.0).all()
    assert float(sent.min()) < -2  # beyond 11 towards 11 / 2


def test_fang_with_own_knowledge_stays_within_three_and_four_deviations(digits: View) -> None:
    seen = digits(k=3)
    mean, spread = moments(estimated(seen))
    apart = (FangTrimmedMean()(seen) - mean) * -signs(mean)
    moving = spread > 1e-6
    ratio = (apart / spread)[:, moving]
    assert ((ratio > 2.9) & (ratio < 4.1)).all()


def test_poisoned_fl_by_hand(bare: View) -> None:
    start = torch.zeros(4, dtype=torch.float64)
    agent, first = PoisonedFL(scale=8.0), bare([[0.0] * 4])
    assert agent(first).tolist() == [[0.0] * 4]
    s = PoisonedFL.direction(first)
    assert set(s.tolist()) <= {1.0, -1.0}
    before = Participation(1, start, torch.zeros(1, 4, dtype=torch.float64))
    moved = torch.tensor([3.0, 0.0, 0.0, 4.0], dtype=torch.float64)
    second = dataclasses.replace(first, round=2, start=start + moved, past=(before,))
    torch.testing.assert_close(agent(second)[0], 8 * moved.abs() * s)  # nothing of the change was its own
    # It sent 40 along s in the first coordinate, scaled to the length of the change (5): 3 of that is not its own.
    sent = torch.zeros(1, 4, dtype=torch.float64)
    sent[0, 1] = 40.0
    third = dataclasses.replace(
        second,
        round=3,
        start=second.start + torch.tensor([0.0, 5.0, 0.0, 0.0]),
        past=(before, Participation(2, second.start, sent)),
    )
    assert agent(third).norm() == pytest.approx(0.0)  # all of the change was its own


def test_poisoned_fl_reads_off_its_scale_and_lowers_it_where_nothing_gets_through(bare: View) -> None:
    agent = PoisonedFL(scale=8.0, window=2)
    seen = bare([[0.0] * 64])
    s = PoisonedFL.direction(seen)
    walk = torch.linspace(1, 2, 64, dtype=torch.float64)

    def view(way: Tensor, number: int, missed: int = 0) -> AgentView:
        unit = walk / walk.norm()
        sent = (8.0 * float(walk.norm()) * unit * s).repeat(1, 1)  # c = 8 times the length of the change before
        past = tuple(Participation(number - missed - 4 + i, i * way * walk, sent) for i in (1, 2, 3))
        return dataclasses.replace(seen, round=number, start=past[-1].start + way * walk.flip(0), past=past)

    through = agent(view(s, 4))
    stopped = agent(view(-s, 4))
    untested = agent(view(-s, 5))
    length = float(walk.norm())
    assert float(through.norm()) == pytest.approx(8 * length)
    assert float(stopped.norm()) == pytest.approx(0.7 * 8 * length)
    assert float(untested.norm()) == pytest.approx(8 * length)
    late = agent(view(-s, 7, missed=1))  # it was not chosen in round 6
    assert float(late.norm()) == pytest.approx(0.7 * 8 * length)
    low = dataclasses.replace(agent, smallest=6.0)(view(-s, 4))
    assert float(low.norm()) == pytest.approx(8 * length)  # 5.6 would be below the smallest


def test_directions_differ_by_seed_and_not_by_round(bare: View) -> None:
    seen = bare([[0.0] * 64])
    later = dataclasses.replace(seen, round=9, streams=seen.streams.child("another"))
    other = dataclasses.replace(seen, lasting=Streams(12).child("lasting"))
    assert torch.equal(PoisonedFL.direction(seen), PoisonedFL.direction(later))
    assert not torch.equal(PoisonedFL.direction(seen), PoisonedFL.direction(other))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FangTrimmedMean(b=1.0), "expected b > 1"),
        (lambda: FangMedian(b=0.5), "expected b > 1"),
        (lambda: PoisonedFL(window=0), "expected window >= 1"),
    ],
)
def test_fields_are_checked(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make()
