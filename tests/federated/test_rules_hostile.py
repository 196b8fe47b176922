"""What a hostile client, or a careless caller, may hand to a rule: the result stays finite, or one line says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.federated import (
    FLAME,
    LASA,
    MDA,
    NNM,
    RLR,
    SLSGD,
    SMEA,
    WBC,
    Auror,
    CappedMean,
    CenteredClipping,
    Clip,
    ClippedClustering,
    DeepSight,
    DnC,
    FLTrust,
    FoolsGold,
    GeometricMedian,
    Krum,
    Mean,
    Median,
    MoNNA,
    SignGuard,
    TrimmedMean,
    WeakDP,
)
from antivenom.federated.aggregators.layers import _energies
from antivenom.federated.distances import Gram
from antivenom.models.architectures import Logistic
from antivenom.models.network import build
from antivenom.models.training import Training

WEIGHTED = [Mean(), CappedMean(), RLR(), WBC()]


def rows(seed: int, n: int, d: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# --- matrices and weights ---------------------------------------------------------------------------------------------


def test_arrays_that_torch_cannot_share_are_taken_all_the_same() -> None:
    x = rows(0, 9).numpy()
    for odd in (x[::-1], x[:, ::-1][:, ::-1], x.astype(">f8"), np.asfortranarray(x)):
        np.testing.assert_allclose(Median()(odd), np.median(x, axis=0))
    assert Krum()(x[:, ::-1]).tolist() == Krum()(x)[::-1].tolist()


@pytest.mark.parametrize(
    "bad", [{}, {"w": [1.0]}, rows(0, 5).to(torch.complex64), rows(0, 5).numpy() * 1j, rows(0, 5).to_sparse()]
)
def test_what_is_no_dense_real_matrix_is_refused_in_one_line(bad: Any) -> None:
    with pytest.raises(PluginError) as caught:
        Median()(bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", [*WEIGHTED, Median()], ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([float("nan"), *[0.1] * 8], "finite weights >= 0, got nan for row 0"),
        ([*[0.1] * 8, float("inf")], "finite weights >= 0, got inf for row 8"),
        ([0.5, -0.5, *[0.1] * 7], "finite weights >= 0, got -0.5 for row 1"),
        ("much", "weights that are numbers"),
        ([0.1] * 8, r"weights of shape \(9,\), got \(8,\)"),
    ],
)
def test_weights_that_are_no_weights_are_refused(rule: Any, weights: Any, said: str) -> None:
    with pytest.raises(PluginError, match=said) as caught:
        rule(rows(0, 9), weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("f", [1.5, float("nan"), None, "1", True])
@pytest.mark.parametrize("rule", [Krum, TrimmedMean, MDA, NNM, DnC, CappedMean])
def test_f_is_a_whole_number(rule: Any, f: Any) -> None:
    with pytest.raises(PluginError, match=rf"expected {rule.__name__}\.f: a whole number, got"):
        rule(f=f)


NAN, OUTSIDE = float("nan"), -1.0


@pytest.mark.parametrize(
    ("plugin", "fields"),
    [
        (Clip, {"bound": OUTSIDE}),
        (WeakDP, {"noise": NAN}),
        (CenteredClipping, {"tau": OUTSIDE}),
        (CenteredClipping, {"steps": 0}),
        (FLAME, {"noise": NAN}),
        (Auror, {"alpha": NAN}),
        (Auror, {"tau": 2.0}),
        (GeometricMedian, {"nu": OUTSIDE}),
        (GeometricMedian, {"tolerance": NAN}),
        (GeometricMedian, {"most_steps": 0}),
        (LASA, {"sparsity": 2.0}),
        (LASA, {"sign_bound": OUTSIDE}),
        (DeepSight, {"tau": NAN}),
        (DeepSight, {"samples": 0}),
        (DnC, {"repeats": 0}),
        (DnC, {"c": OUTSIDE}),
        (RLR, {"threshold": NAN}),
        (SignGuard, {"share": 5.0}),
        (SignGuard, {"upper": 0.5}),
        (SLSGD, {"alpha": 5.0}),
        (WBC, {"scale": OUTSIDE}),
        (FoolsGold, {"confidence": NAN}),
    ],
)
def test_fields_outside_their_range_are_refused(plugin: Any, fields: dict[str, float]) -> None:
    (name,) = fields
    with pytest.raises(
        PluginError,
        match=rf"expected {plugin.__name__}\.{name} (from .* to .*|>= .*|as a number), got {fields[name]:g}",
    ):
        plugin(**fields)


def test_a_radius_of_zero_lets_nothing_through() -> None:
    assert CenteredClipping(tau=0.0)(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist() == [0.0, 0.0]


# --- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", WEIGHTED, ids=lambda rule: type(rule).__name__)
def test_a_mean_of_finite_numbers_is_finite(rule: Any) -> None:
    huge = torch.full((9, 3), 3e38)  # a sum that is divided afterwards would overflow
    torch.testing.assert_close(rule(huge), huge[0])
    torch.testing.assert_close(rule.step(huge, None, None, huge[0])[0], huge[0])


def test_one_client_that_claims_everything_is_capped() -> None:
    capped = CappedMean(f=1, share=0.3).capped(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert capped.tolist() == [0.25] * 4
    nearly = CappedMean(f=1, share=0.3).capped(torch.tensor([1.0, 1e-44, 1e-44, 1e-44]))
    assert nearly.tolist() == pytest.approx([0.25] * 4)
    assert CappedMean()(rows(0, 4), [0.0] * 4).tolist() == [0.0] * 6


def test_signs_of_many_clients_are_counted_exactly() -> None:
    x = torch.ones(601, 2, dtype=torch.bfloat16)  # its own type counts to 256, and then by twos
    x[:171, 0] = -1  # 259 more say yes, of which it makes 260
    assert RLR(threshold=260)(x).sign().tolist() == [-1.0, 1.0]
    assert RLR(threshold=259)(x).sign().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("n", [5, 12, 30])
@pytest.mark.parametrize("rule", [FLAME(), ClippedClustering()], ids=repr)
def test_short_updates_beside_long_ones_do_not_upset_a_clustering(rule: Any, n: int) -> None:
    # Products of the short ones are rounding errors, which differ above and below the diagonal.
    for seed in range(10):
        x = rows(seed, n, 100, torch.float16)
        x[: n // 2 + 1] = 6e4 * x[0].sign()
        gram = Gram.of(x)
        assert torch.equal(gram.products, gram.products.T)
        assert rule(x).isfinite().all()


@pytest.mark.parametrize(("dtype", "huge"), [(torch.float32, 3e38), (torch.float64, 1e152), (torch.float16, 6e4)])
def test_foolsgold_survives_sums_that_would_overflow(dtype: torch.dtype, huge: float) -> None:
    rule, x, state = FoolsGold(), rows(0, 5, 6, dtype), None
    x[0] = huge
    for _ in range(30):
        aggregate, state = rule.step(x, None, None, state)
        assert aggregate.isfinite().all()
    assert all(total.isfinite().all() for total in state.values())


def test_two_or_three_clients_pass_sign_guard() -> None:
    # The width of the mean shift was the distance of a client to itself.
    for n in (1, 2, 3):
        for seed in range(5):
            assert SignGuard()(rows(seed, n, 1000) + 0.3).any()


def test_shares_of_signs_are_exact_in_half_precision() -> None:
    x = torch.ones(5, 200_000, dtype=torch.float16)  # a count of them is no number of this type
    x[4] = -1
    assert LASA(sparsity=0.0)(x).tolist() == [1.0] * 200_000


def test_energies_do_not_overflow() -> None:
    kernel = torch.tensor([[[1e154, 1e154], [5e153, 5e153]]], dtype=torch.float64)
    assert _energies(kernel, torch.zeros(1, 2, dtype=torch.float64)).tolist() == [
        [pytest.approx(0.8), pytest.approx(0.2)]
    ]


@pytest.mark.parametrize("rule", [FLTrust(), MoNNA()], ids=repr)
def test_a_server_whose_own_training_diverged_says_so(rule: Any) -> None:
    network = build(Logistic(), (2,), 2, Streams(0))
    root = Dataset(np.full((2, 2), 1e30, dtype=np.float32), np.array([0, 1]), ("a", "b"))
    training = Training(epochs=3, batch_size=1, optimizer="sgd", learning_rate=1e30)
    x = rows(0, 5, 6, torch.float32)
    view = ServerView(1, torch.zeros(6), x, tuple(range(5)), torch.full((5,), 0.2), network, root, training)
    with pytest.raises(PluginError, match="a finite update of the root rows for"):
        rule(x, None, view)


def test_smallest_eigenvalue_averaging_refuses_few_but_huge_subsets() -> None:
    with pytest.raises(PluginError, match=r"at most 50000 subsets .* got 50000 with 2499900001 each"):
        SMEA(f=1).coefficients(Gram(50_000, lambda: torch.empty(50_001, 50_001, device="meta")))
    x = rows(0, 90, 3)
    x[7] = 50.0
    torch.testing.assert_close(SMEA(f=1)(x), x[[i for i in range(90) if i != 7]].mean(0))
