"""The server's random numbers are fresh in every call and every round, and repeatable only for whoever holds the streams."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from antivenom.core.protocols import ServerView
from antivenom.core.streams import Streams
from antivenom.federated import CRFL, FLAME, WBC, Bucketing, Chain, DnC, Mean, Median, Server, SignGuard, WeakDP

AGENTS = 25  # nine fall into the same pairs in one of 945 draws, 25 in one of 8e12
UPDATES = torch.randn(AGENTS, 400, generator=Streams(1).torch("updates"))
NOISY = [FLAME(noise=1.0), CRFL(), Chain((WeakDP(noise=1.0),), Mean()), Chain((Bucketing(size=2),), Median())]


def seen(streams: Streams | None = None) -> ServerView:
    given = {} if streams is None else {"streams": streams}
    return ServerView(1, torch.zeros(400), UPDATES, tuple(range(AGENTS)), torch.full((AGENTS,), 1 / AGENTS), **given)


@pytest.mark.parametrize("rule", NOISY, ids=repr)
def test_bare_calls_and_views_draw_fresh_numbers_unless_streams_are_given(rule: Any) -> None:
    assert not torch.equal(rule(UPDATES), rule(UPDATES))
    assert not torch.equal(rule(UPDATES, None, seen()), rule(UPDATES, None, seen()))
    assert torch.equal(rule(UPDATES, None, seen(Streams(3))), rule(UPDATES, None, seen(Streams(3))))


def test_the_noise_of_wbc_is_fresh() -> None:
    still = torch.zeros(3, 100)
    first, second = (WBC(scale=1.0).step(still, None, None, torch.zeros(100))[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_the_columns_that_dnc_looks_at_are_unknown() -> None:
    # One update is far off in a single column of 200. A call that draws half of the columns sees it in half of the calls.
    updates = torch.randn(10, 200, generator=Streams(2).torch("updates"))
    updates[0, 7] = 1e4
    rule = DnC(f=1, coordinates=100)
    caught = [float(rule(updates)[7]) < 100 for _ in range(60)]
    assert 10 < sum(caught) < 50  # 30 expected; 20 away from it has a probability below 1e-6


def test_sign_guard_draws_its_columns_anew() -> None:
    # One update has other signs in a tenth of the columns; whether it passes depends on the columns drawn.
    results = {tuple(SignGuard(share=0.01)(UPDATES).tolist()) for _ in range(20)}
    assert len(results) > 1


@pytest.mark.parametrize("rule", NOISY, ids=repr)
def test_a_server_draws_other_numbers_in_every_round_and_repeats_them_with_its_streams(rule: Any) -> None:
    def rounds(streams: Streams | None) -> list[torch.Tensor]:
        server = Server(rule, streams=streams)
        return [server.step(i, torch.zeros(400), UPDATES, range(AGENTS)).aggregate for i in (1, 2)]

    one, two = rounds(Streams(4))
    assert not torch.equal(one, two)
    assert torch.equal(one, rounds(Streams(4))[0])
    assert not torch.equal(one, rounds(None)[0])
    assert not torch.equal(rounds(None)[0], rounds(None)[0])


def test_the_servers_streams_cannot_be_followed_to_its_seed() -> None:
    views: list[ServerView] = []

    def rule(updates: torch.Tensor, weights: torch.Tensor, view: ServerView) -> torch.Tensor:
        views.append(view)
        return updates[0].clone()

    Server(rule, streams=Streams(4)).step(1, torch.zeros(400), UPDATES, range(AGENTS))
    assert repr(views[0].streams) == "Streams(sealed)"
    assert Streams.fresh() != Streams.fresh()
