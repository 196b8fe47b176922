"""Reducers by hand, and chains: the fast way, on coefficients, must equal the plain one, on rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.streams import Streams
from antivenom.fast import kernels
from antivenom.federated import (
    ARC,
    CGE,
    MDA,
    NNM,
    Bucketing,
    CenteredClipping,
    Chain,
    Clip,
    GeometricMedian,
    Krum,
    Mean,
    Median,
    MultiKrum,
    TrimmedMean,
    WeakDP,
)
from antivenom.federated.distances import Gram

THREE = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]


def rows(seed: int, n: int, d: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_clip_by_hand() -> None:
    clipped, weights = Clip(2.0)(THREE)
    np.testing.assert_allclose(clipped, [2 * np.array(row) / np.linalg.norm(row) for row in THREE])
    assert weights is None
    assert Clip(1.0)([[3.0, 0.0], [0.0, 0.5]])[0].tolist() == [[1.0, 0.0], [0.0, 0.5]]


def test_arc_by_hand() -> None:
    # n = 3, f = 1: k = floor(2/3 * 2) = 1, so the longest row gets the length of the second.
    clipped, _ = ARC(f=1)(THREE)
    np.testing.assert_allclose(clipped[:2], THREE[:2])
    np.testing.assert_allclose(clipped[2], [4.41004009, 5.04004582, 5.67005155])
    assert ARC(f=0)(THREE)[0].tolist() == THREE
    # n = 11, f = 2: k = floor(4/11 * 9) = 3: 11, 10 and 9 become 8.
    line = np.arange(1.0, 12.0)[:, None]
    np.testing.assert_allclose(ARC(f=2)(line)[0], np.minimum(line, 8.0))


def test_nearest_neighbour_mixing_by_hand() -> None:
    mixed, _ = NNM(f=1)([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0]])
    assert mixed.tolist() == [[0.5, 0.0], [0.5, 0.0], [5.5, 0.0]]
    # 1 is as near to 0 as to 2: the first of them is taken.
    assert NNM(f=1)([[0.0], [1.0], [2.0]])[0].tolist() == [[0.5], [0.5], [1.5]]


def test_buckets_by_hand() -> None:
    mixing = Bucketing(2).buckets(torch.tensor([2, 0, 4, 1, 3]))
    assert (mixing @ torch.arange(1.0, 6.0, dtype=torch.float64)).tolist() == [2.0, 3.5, 4.0]
    with pytest.raises(PluginError, match="size >= 1"):
        Bucketing(0)


def test_buckets_hold_every_row_once_and_carry_its_weight() -> None:
    x, weights = rows(0, 7, 3), torch.arange(1.0, 8.0, dtype=torch.float64)
    buckets, shares = Bucketing(3)(x, weights)
    assert buckets.shape == (3, 3)
    assert shares.sum() == pytest.approx(28.0)
    sizes = torch.tensor([3.0, 3.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(sizes @ buckets, x.sum(0))


def test_weak_privacy_adds_one_draw_to_all() -> None:
    x = torch.zeros(40, 2000)
    noisy, _ = WeakDP(bound=1.0, noise=0.5)(x)
    assert torch.equal(noisy[0], noisy[39])
    assert float(noisy[0].std()) == pytest.approx(0.5, rel=0.1)
    quiet, _ = WeakDP(bound=2.0, noise=0.0)(THREE)
    np.testing.assert_allclose(quiet, Clip(2.0)(THREE)[0])


REDUCERS = {
    "nothing": (),
    "clip": (Clip(3.0),),
    "arc": (ARC(f=2),),
    "nnm": (NNM(f=2),),
    "buckets": (Bucketing(2),),
    "arc, nnm": (ARC(f=2), NNM(f=2)),
    "nnm, clip, buckets": (NNM(f=2), Clip(2.0), Bucketing(2)),
    "clip, noise, nnm": (Clip(3.0), WeakDP(2.0, 0.1), NNM(f=2)),
}
RULES = [
    Mean(),
    MultiKrum(f=1),
    Krum(f=1),
    MDA(f=1),
    CGE(f=1),
    GeometricMedian(tolerance=1e-12),
    Median(),
    TrimmedMean(f=1),
]


def seeded(x: Tensor) -> ServerView:
    """A server whose random numbers repeat; without one, every call draws fresh ones."""
    n, d = x.shape
    weights = torch.full((n,), 1 / n)
    return ServerView(1, torch.zeros(d), x, tuple(range(n)), weights, streams=Streams(0))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("reducers", REDUCERS.values(), ids=REDUCERS)
def test_a_chain_equals_its_links_one_after_another(reducers: tuple[Any, ...], rule: Any) -> None:
    x = rows(1, 11, 30) + 1
    x[:2] += 50
    weights = torch.arange(1.0, 12.0, dtype=torch.float64) / 66
    seen = seeded(x)
    plain, shares = x, weights
    for link in reducers:
        plain, shares = link(plain, shares, seen)
    # Near an update, the geometric median's distances are square roots of rounding errors.
    tolerance = 1e-5 if isinstance(rule, GeometricMedian) else 1e-9
    chained = Chain(reducers, rule)(x, weights, seen)
    torch.testing.assert_close(chained, rule(plain, shares, seen), rtol=tolerance, atol=tolerance)


def test_a_linear_chain_reads_the_rows_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    gram = Gram.of
    monkeypatch.setattr(Gram, "of", lambda updates: seen.append("gram") or gram(updates))
    Chain((ARC(f=1), NNM(f=1), Bucketing(1)), MultiKrum(f=1))(rows(0, 9, 5))
    assert seen == ["gram"]


def test_a_chain_remembers_what_its_rule_remembers() -> None:
    chain, x = Chain((NNM(f=1),), CenteredClipping(tau=0.5)), rows(2, 9, 4)
    first, state = chain.step(x, None, None, None)
    again, _ = chain.step(x, None, None, state)
    torch.testing.assert_close(first, chain(x))
    torch.testing.assert_close(again, CenteredClipping(tau=0.5).step(NNM(f=1)(x)[0], None, None, first)[0])
    assert not torch.allclose(first, again)


def test_a_chain_of_columns_takes_the_plain_way() -> None:
    with pytest.raises(PluginError, match="kernels_only"):
        Chain((NNM(f=1),), Krum(f=1, kernels_only=True))(rows(0, 9, 4))


@pytest.mark.parametrize("link", [ARC(f=2), NNM(f=2)], ids=repr)
def test_reducers_refuse_too_few_updates(link: Any) -> None:
    with pytest.raises(PluginError, match=r"n >= 2f \+ 1 updates for \w+ with f = 2, got n = 4: use f <= 1"):
        link(rows(0, 4, 3))


@pytest.mark.parametrize("rule", [Chain((Clip(1.0), Bucketing(2)), Median()), Chain((Clip(1.0),), Mean()), CGE(f=2)])
def test_links_that_need_no_distances_work_none_out(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows(3, 9, 40)
    expected = rule(x, None, seeded(x))

    def refused(updates: Tensor) -> Tensor:
        raise AssertionError("n * n * d products for nothing")

    monkeypatch.setattr(kernels, "gram", refused)
    assert torch.equal(rule(x, None, seeded(x)), expected)


@pytest.mark.parametrize("reducer", [Clip(1.0), Bucketing(2), ARC(), NNM()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_reducers_refuse_rows_that_are_not_finite(reducer: Any, dtype: torch.dtype) -> None:
    x = rows(4, 5, 40, dtype)
    x[3, 7] = float("nan")
    with pytest.raises(PluginError, match="NaN or infinity in row 3"):
        reducer(x)
