"""CRFL: parameters stay within their bound, votes are counted, the radius is the theorem's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.streams import Streams
from antivenom.federated import CRFL, Median
from antivenom.federated.smoothing import certified_radius, smoothed_votes
from antivenom.models.architectures import MLP
from antivenom.models.network import build

NETWORK = build(MLP(hidden=()), (2,), 2, Streams(0))


def view(start: torch.Tensor, updates: torch.Tensor, number: int) -> ServerView:
    n = len(updates)
    return ServerView(number, start, updates, tuple(range(n)), torch.full((n,), 1 / n), NETWORK, streams=Streams(3))


def test_parameters_are_clipped_to_a_growing_bound_and_made_noisy() -> None:
    start, updates = torch.full((4,), 3.0), torch.ones(3, 4)
    for number in (1, 10):
        moved, _ = CRFL(rho=1.0, growth=0.5, sigma=0.0).step(updates, None, view(start, updates, number), None)
        assert torch.linalg.vector_norm(start + moved) == pytest.approx(1.0 + 0.5 * number)
        assert torch.allclose(start + moved, (start + moved)[0].expand(4))
    short = torch.full((3, 4), 0.1)
    quiet = CRFL(rho=5.0, sigma=0.0, rule=Median())
    assert torch.allclose(quiet(short), torch.full((4,), 0.1))
    noisy = CRFL(rho=5.0, sigma=0.5)
    many = torch.zeros(2, 50_000)
    assert float(noisy(many).std()) == pytest.approx(0.5, rel=0.02)
    assert not torch.equal(noisy(many), noisy(many))  # bare calls draw fresh noise
    with pytest.raises(PluginError, match="rho > 0"):
        CRFL(rho=0.0)


def test_votes_follow_the_margin() -> None:
    vector = torch.zeros(6)
    vector[0] = 4.0  # the first feature speaks for class 0
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    votes = smoothed_votes(NETWORK, vector, x, 0.5, 2000, Streams(0))
    assert votes.sum(axis=1).tolist() == [2000, 2000]
    # the difference of two logits is normal: N(4, 2 * 2 * .25) for the first row, N(0, .5) for the second
    assert votes[0, 0] / 2000 == pytest.approx(norm.cdf(4), abs=0.01)
    assert votes[1, 0] / 2000 == pytest.approx(0.5, abs=0.04)


def test_the_radius_by_hand_and_its_directions() -> None:
    rule = CRFL(rho=2.0, growth=0.1, sigma=1.0)
    votes = np.array([[0, 990, 10], [500, 499, 1]])
    fields = {"attacked_round": 2, "rounds": 4, "shares": [0.05, 0.05], "boost": 2.0, "local_steps": 3.0}
    fields |= {"learning_rate": 0.1, "poisoned_rate": 0.5}
    classes, radius = certified_radius(votes, rule, **fields)
    slack = math.sqrt(math.log(2 * 3 * 1000) / 2000)  # two sides of three classes, each vote 1000 times
    margin = (math.sqrt(0.99 - slack) - math.sqrt(0.01 + slack)) ** 2
    spread = 2 * 2 * (2 + 2 * 2.2 + 2.2**2) * 2 * 0.05**2 * (2 * 3 * 0.1 * 0.5) ** 2
    kept = (2 * norm.cdf(2.3) - 1) * (2 * norm.cdf(2.4) - 1)
    assert classes.tolist() == [1, 0]
    assert radius.tolist() == pytest.approx([math.sqrt(-math.log(1 - margin) / (spread * kept)), -1.0])
    for weaker in ({"boost": 20.0}, {"local_steps": 9.0}, {"poisoned_rate": 1.0}, {"shares": [0.1, 0.1]}):
        assert certified_radius(votes, rule, **(fields | weaker))[1][0] < radius[0]
    assert certified_radius(votes, rule, **(fields | {"rounds": 9}))[1][0] > radius[0]  # later rounds wash poison out
    with pytest.raises(PluginError, match="attacked_round"):
        certified_radius(votes, rule, **(fields | {"rounds": 2}))
    for silent, alpha in ((CRFL(sigma=0.0), 0.001), (rule, 0.0)):
        with pytest.raises(PluginError, match="sigma > 0 and alpha between 0 and 1"):
            certified_radius(votes, silent, **fields, alpha=alpha)


def test_a_step_adds_noise_to_what_is_clipped() -> None:
    rule, start, updates = CRFL(rho=1.0, growth=0.5, sigma=0.01), torch.full((4,), 3.0), torch.ones(3, 4)
    clipped = rule.clipped(start + 1, 2)
    assert float(clipped.norm()) == pytest.approx(2.0)
    assert torch.equal(rule.clipped(clipped / 2, 2), clipped / 2)
    moved, _ = rule.step(updates, None, view(start, updates, 2), None)
    assert 0 < float((start + moved - clipped).abs().max()) < 0.1
