"""Aggregation rules and client detectors against hand-computed numbers and the properties of their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.federated import AccuracyCheck, Krum, Mean, Median, RangeCheck
from antivenom.federated.detectors import range_statistics
from antivenom.federated.distances import distances, squared_distances
from antivenom.models.architectures import Logistic
from antivenom.models.network import build


def matrix(seed: int, n: int, d: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_mean_by_hand() -> None:
    updates = [[1.0, 2.0], [3.0, 6.0]]
    assert Mean()(updates).tolist() == [2.0, 4.0]
    assert Mean()(np.array(updates), [0.5, 0.25]).tolist() == pytest.approx([5 / 3, 10 / 3])  # (2 a + b) / 3


def test_krum_by_hand() -> None:
    # On a line: 0, 1, 3, 7, 100 with f = 1, so n - f - 2 = 2 neighbours. Sums of squares: 0: 1 + 9 = 10; 1: 1 + 4 = 5;
    # 3: 4 + 9 = 13; 7: 16 + 36 = 52; 100: far. So 1 wins.
    line = np.array([[0.0], [1.0], [3.0], [7.0], [100.0]])
    scores = Krum(f=1).scores(torch.tensor(line))
    assert scores[:4].tolist() == pytest.approx([10.0, 5.0, 13.0, 52.0])
    assert Krum(f=1)(line).tolist() == [1.0]
    assert Krum(f=1, squared=False).scores(torch.tensor(line))[:4].tolist() == pytest.approx([4.0, 3.0, 5.0, 10.0])


def test_squared_and_plain_krum_can_choose_differently() -> None:
    # Nine points on a line on which the two variants disagree, found by search.
    for seed in range(200):
        updates = matrix(seed, 9, 1) ** 3
        if Krum(f=2)(updates) != Krum(f=2, squared=False)(updates):
            return
    pytest.fail("the authors' variant never differs from the paper's rule")


def test_krum_ties_go_to_the_first() -> None:
    updates = torch.tensor([[1.0], [1.0], [1.0], [1.0], [9.0]])

    assert int(Krum(f=1).scores(updates).argmin()) == 0


@pytest.mark.parametrize(
    ("n", "f", "remedy"),
    [(4, 1, "at least 5 agents"), (6, 2, "f <= 1"), (1, 0, "at least 3 agents"), (10, 4, "f <= 3")],
)
def test_krum_refuses_too_large_f(n: int, f: int, remedy: str) -> None:
    with pytest.raises(PluginError, match=rf"n >= 2f \+ 3 updates for Krum with f = {f}, got n = {n}: use {remedy}"):
        Krum(f=f)(matrix(0, n, 3))
    with pytest.raises(PluginError, match=r"expected Krum\.f >= 0, got -1"):
        Krum(f=-1)


def test_median_by_hand() -> None:
    assert Median()([[1.0, 9.0], [2.0, 8.0], [90.0, -70.0]]).tolist() == [2.0, 8.0]
    assert Median()([[1.0], [2.0], [4.0], [90.0]]).tolist() == [3.0]  # even n: the mean of the two middle values


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_median_equals_numpy(n: int) -> None:
    updates = matrix(n, n, 1000)
    np.testing.assert_allclose(Median()(updates), np.median(updates.numpy(), axis=0))


@pytest.mark.parametrize("rule", [Mean(), Krum(f=2), Median()])
@pytest.mark.parametrize("kind", ["tensor", "array", "list of arrays", "list of tensors", "list of lists"])
def test_rules_take_any_matrix(rule: Mean | Krum | Median, kind: str) -> None:
    updates = matrix(1, 9, 4)
    given_as = {
        "tensor": updates,
        "array": updates.numpy(),
        "list of arrays": list(updates.numpy()),
        "list of tensors": list(updates),
        "list of lists": updates.tolist(),
    }[kind]
    result = rule(given_as)
    assert isinstance(result, torch.Tensor if "tensor" in kind else np.ndarray)
    np.testing.assert_allclose(np.asarray(result), np.asarray(rule(updates)))


@pytest.mark.parametrize("rule", [Mean(), Krum(f=2), Median()])
@settings(deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-10, 10), scale=st.floats(0.1, 10))
def test_rules_are_equivariant_and_ignore_order(
    rule: Mean | Krum | Median, seed: int, shift: float, scale: float
) -> None:
    updates = matrix(seed, 9, 5)
    result = rule(updates)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(rule(updates[order]), result)
    torch.testing.assert_close(rule(scale * updates + shift), scale * result + shift)


@pytest.mark.parametrize("rule", [Krum(f=2), Median()])
def test_f_arbitrary_rows_move_the_result_by_a_bounded_amount(rule: Krum | Median) -> None:
    honest = matrix(3, 9, 5)
    for size in (1e2, 1e5, 1e8):
        attacked = honest.clone()
        attacked[:2] = size
        assert rule(attacked).abs().max() <= honest.abs().max()
        assert Mean()(attacked).abs().max() > size / 10


@pytest.mark.parametrize("rule", [Mean(), Krum(), Median()])
def test_bad_matrices_are_one_line(rule: Mean | Krum | Median) -> None:
    for bad in ([[1.0, float("nan")]] * 5, [[1.0], [1.0, 2.0]], [1.0, 2.0], np.zeros((0, 3)), "text"):
        with pytest.raises(PluginError) as caught:
            rule(bad)
        assert "\n" not in str(caught.value)
        assert "expected" in str(caught.value)
    with pytest.raises(PluginError, match="weights of shape"):
        rule(matrix(0, 5, 2), [1.0, 2.0])


def test_rules_leave_their_input_alone() -> None:
    updates = matrix(5, 9, 7)
    before = updates.clone()
    for rule in (Mean(), Krum(f=2), Median()):
        result = rule(updates)
        result += 1.0 if not isinstance(rule, Krum) else 0.0
        assert torch.equal(updates, before)


@pytest.mark.parametrize(("n", "d"), [(3, 5), (10, 100_000)])
def test_gram_distances_equal_the_oracle(n: int, d: int) -> None:
    # A large common part, as in real rounds: without the shift a float32 Gram matrix would lose every digit.
    updates = matrix(7, n, d, torch.float32) * 1e-3 + 5.0
    oracle = torch.cdist(updates.double(), updates.double(), compute_mode="donot_use_mm_for_euclid_dist")
    # docs/design/rules.md: off by b (|u_i| + |u_j|)^2 at most, for rows less the shift, which is a row in each stretch.
    reach = sum(float(torch.cdist(part, part).max()) ** 2 for part in updates.double().split(4096, dim=1))
    bound = (min(d, 512) + 2) * 2.0**-24 * 4 * reach
    assert (squared_distances(updates) - oracle**2).abs().max() <= bound
    apart = ~torch.eye(n, dtype=torch.bool)
    assert ((distances(updates) - oracle).abs() * oracle)[apart].max() <= bound


def test_distances_are_exact_where_single_precision_is() -> None:
    # Differences are small multiples of 2**-10: their products, and sums of 512 of these, are numbers of single precision.
    updates = 5 + (matrix(7, 10, 100_000, torch.float32).clamp(-3, 3)).round() / 1024
    oracle = torch.cdist(updates.double(), updates.double(), compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(distances(updates), oracle, rtol=1e-12, atol=0)


def test_range_statistic_by_hand() -> None:
    # On a line: 0, 1, 2 and the suspect at 10. Benign pairs: 1, 1, 2, so Rl = 1 and Ru = 2. Suspect: 8, 9, 10.
    # max(|10 - 1|, |8 - 2|) = 9. For agent 0: own 1, 2, 10; others 1, 8, 9: max(|10 - 1|, |1 - 9|) = 9.
    scores = range_statistics(distances(torch.tensor([[0.0], [1.0], [2.0], [10.0]])).numpy())
    assert scores[3] == pytest.approx(9.0)
    assert scores[0] == pytest.approx(9.0)
    assert range_statistics(np.zeros((2, 2))).tolist() == [0.0, 0.0]


def view(updates: torch.Tensor, validation: Dataset | None = None) -> ServerView:
    network = build(Logistic(), (2,), 2, Streams(0))
    n = len(updates)
    weights = torch.full((n,), 1.0 / n)
    return ServerView(1, torch.zeros(network.dimension), updates, tuple(range(n)), weights, network, validation)


def test_range_check_flags_from_kappa_on() -> None:
    updates = torch.zeros(5, 6)
    updates[4] = 10.0
    verdict, _ = RangeCheck(kappa=5.0)(view(updates), None)
    assert verdict.flags.tolist()[4]
    verdict, _ = RangeCheck(kappa=1000.0)(view(updates), None)
    assert not verdict.flags.any()


def test_range_check_accuses_the_outliers_and_nobody_else() -> None:
    # Alone, every agent's score is high as soon as one outlier is among the others; taken out one by one, it is not.
    updates = matrix(4, 9, 6, torch.float32) * 0.1
    updates[3] += 50.0
    updates[7] -= 50.0
    assert (range_statistics(distances(updates).numpy()) > 5).all()
    verdict, _ = RangeCheck(kappa=5.0)(view(updates), None)
    assert np.flatnonzero(verdict.flags).tolist() == [3, 7]
    assert verdict.scores[[3, 7]].min() > verdict.scores[~verdict.flags].max()


def test_accuracy_check_has_the_meant_sign() -> None:
    # A line of points; four agents send a classifier that is right, the fifth one that is always wrong.
    x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], dtype=np.float32)
    rows = Dataset(x, np.array([0, 0, 1, 1]), ("a", "b"))
    right = torch.tensor([5.0, -5.0, -5.0, 5.0, 0.0, 0.0])  # weight (2, 2), then bias (2,)
    verdict, _ = AccuracyCheck(gamma=0.1)(view(torch.stack([right] * 4 + [-right]), rows), None)
    assert verdict.flags.tolist() == [False] * 4 + [True]
    assert verdict.scores[4] == pytest.approx(1.0)
    assert verdict.scores[0] == pytest.approx(0.0)


def test_accuracy_check_needs_validation_rows() -> None:
    with pytest.raises(NotApplicable, match="validation_rows"):
        AccuracyCheck()(view(torch.zeros(3, 6)), None)


def test_kernels_only_ignores_biases() -> None:
    updates = torch.zeros(5, 6)
    updates[:4] = torch.arange(4.0)[:, None] * 0.1
    updates[4, 4:] = 100.0  # a huge bias only
    everything = Krum(f=1)(updates)
    assert float(everything.abs().max()) < 1
    scores = RangeCheck(kappa=5.0, kernels_only=True)(view(updates), None)[0].scores
    assert scores.max() < 5
    with pytest.raises(PluginError, match="kernels_only"):
        Krum(f=1, kernels_only=True)(updates)
