"""Rules over coordinates, signs, trust, clusters and layers against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.federated import (
    FLAME,
    LASA,
    RLR,
    SLSGD,
    WBC,
    Auror,
    CappedMean,
    ClippedClustering,
    DeepSight,
    FLTrust,
    FoolsGold,
    Meamed,
    Mean,
    Median,
    MoNNA,
    SignGuard,
    TrimmedMean,
)
from antivenom.federated.aggregators.clustering import _two_means
from antivenom.federated.aggregators.layers import _energies, output_layer
from antivenom.federated.aggregators.signs import mean_shift
from antivenom.models.architectures import MLP, Logistic, SmallCNN
from antivenom.models.network import build
from antivenom.models.training import Training

FOUR = [[1.0, 2.0, 3.0], [-1.0, 4.0, -1.0], [2.0, 2.0, 3.0], [3.0, 1.0, 3.0]]


def rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- coordinates -----------------------------------------------------------------------------------------------------


def test_coordinate_rules_by_hand() -> None:
    np.testing.assert_allclose(Mean()(FOUR), [1.25, 2.25, 2.0])
    np.testing.assert_allclose(Median()(FOUR), [1.5, 2.0, 3.0])
    np.testing.assert_allclose(TrimmedMean(f=1)(FOUR), [1.5, 2.0, 3.0])
    np.testing.assert_allclose(SLSGD(f=1, alpha=0.5)(FOUR), [0.75, 1.0, 1.5])
    assert TrimmedMean(f=1)([[0.0], [10.0], [20.0], [30.0], [40.0]]).tolist() == [20.0]
    assert TrimmedMean(f=1)(np.float32([[1.0], [1.0], [1.0], [1e30]])).tolist() == [1.0]


def test_meamed_by_hand() -> None:
    assert Meamed(f=1)([[0.0, 0.0], [1.0, 100.0], [100.0, 1.0]]).tolist() == [0.5, 0.5]
    five = [[-10.0, 0.0], [1.0, 100.0], [2.0, 2.0], [3.0, -100.0], [100.0, 1.0]]
    assert Meamed(f=2)(five).tolist() == [2.0, 1.0]


# --- weights, steps, signs -------------------------------------------------------------------------------------------


def test_capped_weights_by_hand() -> None:
    # Cap c with c = 0.4 (3 * 0.1 + c): c = 0.2; scaled back to the old sum 1: 0.2, 0.2, 0.2, 0.4.
    capped = CappedMean(f=1, share=0.4).capped(torch.tensor([0.1, 0.1, 0.1, 0.7], dtype=torch.float64))
    assert capped.tolist() == pytest.approx([0.2, 0.2, 0.2, 0.4])
    assert CappedMean(f=1, share=0.4)(np.eye(4), [0.1, 0.1, 0.1, 0.7]).tolist() == pytest.approx([0.2, 0.2, 0.2, 0.4])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("f", "share"), [(1, 0.2), (2, 0.3), (3, 0.5), (2, 0.05)])
def test_the_heaviest_hold_the_share_and_no_more(seed: int, f: int, share: float) -> None:
    weights = torch.rand(9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 4
    capped = CappedMean(f=f, share=share).capped(weights).sort(descending=True).values
    held, allowed = float(capped[:f].sum() / capped.sum()), max(share, f / 9)
    assert float(capped.sum()) == pytest.approx(float(weights.sum()))
    before = float(weights.sort(descending=True).values[:f].sum() / weights.sum())
    assert held == pytest.approx(min(allowed, before))


def test_robust_learning_rate_by_hand() -> None:
    # Signs: + + + -, so a sum of 2; + + + +, 4; + + - -, 0.
    updates = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, -3.0]]
    assert RLR(threshold=2)(updates).tolist() == [0.5, 1.0, 0.5]
    assert RLR(threshold=4)(updates).tolist() == [-0.5, 1.0, 0.5]
    with pytest.raises(PluginError, match="n >= threshold = 5"):
        RLR(threshold=5)(updates)


def test_white_blood_cells_shake_what_hardly_changes() -> None:
    rule, still = WBC(scale=0.1), torch.zeros(3, 4000)
    first, state = rule.step(still, None, None, None)
    assert torch.equal(first, torch.zeros(4000))
    moved = still.clone()
    moved[:, :1000] = 50.0
    second, _ = rule.step(moved, None, None, state)
    torch.testing.assert_close(second[:1000], moved[0, :1000])  # the mean alone, to rounding
    assert float(second[1000:].abs().mean()) == pytest.approx(0.1, rel=0.1)  # the mean of |Laplace(b)| is b


def test_sign_guard_leaves_out_odd_norms_and_odd_signs() -> None:
    honest = rows(0, 8, 2000).abs() * 0.1 + 1  # all positive
    flipped, huge = -honest[:1], 100 * honest[1:2]
    attacked = torch.cat([flipped, huge, honest])
    passed = attacked[2:]
    middle = attacked.norm(dim=1).quantile(0.5)
    expected = (passed * (middle / passed.norm(dim=1)).clamp(max=1)[:, None]).mean(0)
    torch.testing.assert_close(SignGuard()(attacked), expected)


def test_sign_guard_compares_shares_of_plus_zero_and_minus() -> None:
    """Against the definition on all coordinates: the largest cluster of the three shares."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        chances = rng.dirichlet((3, 3, 3), size=9)
        updates = np.stack([rng.choice([1.0, 0.0, -1.0], size=40, p=p) for p in chances])
        shares = np.stack([(updates == sign).mean(axis=1) for sign in (1, 0, -1)], axis=1)
        apart = np.linalg.norm(shares[:, None] - shares, axis=2)
        labels = mean_shift(shares, np.sort(apart)[:, 3].mean())  # the nearest half of nine: itself and three others
        expected = labels == np.bincount(labels).argmax()
        assert np.array_equal(SignGuard(share=1.0)._majority(torch.from_numpy(updates), None), expected)


# --- trust -----------------------------------------------------------------------------------------------------------


def view(updates: Tensor) -> ServerView:
    """A server of a logistic regression (d = 6) with four root rows on a line."""
    x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], dtype=np.float32)
    network = build(Logistic(), (2,), 2, Streams(0))
    n = len(updates)
    rooted = Dataset(x, np.array([0, 0, 1, 1]), ("a", "b"))
    training = Training(epochs=1, batch_size=4, optimizer="sgd", learning_rate=1.0)
    return ServerView(1, torch.zeros(6), updates, tuple(range(n)), torch.full((n,), 1 / n), network, rooted, training)


# From zero weights one step of gradient descent on the four rows: the gradient of class 0's weights is the mean of
# (p - y) x with p = 1/2: over rows -1/2, -1/2, 1/2, 1/2, so -(0.95, 0.05)/4 + (0.05, 0.95)/4 = (-0.225, 0.225).
ROOT = torch.tensor([0.225, -0.225, -0.225, 0.225, 0.0, 0.0])


def test_fltrust_by_hand() -> None:
    updates = torch.stack([2 * ROOT, -5 * ROOT, torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 0.0]), torch.zeros(6)])
    torch.testing.assert_close(FLTrust()(updates, None, view(updates)), ROOT)
    half = torch.stack([ROOT, torch.tensor([0.3, 0.0, 0.0, 0.0, 0.0, 0.0])])  # cosine 1/2: weights 1 and 1/2
    expected = (ROOT + 0.5 * torch.tensor([0.45, 0, 0, 0, 0, 0])) / 1.5
    torch.testing.assert_close(FLTrust()(half, None, view(half)), expected)
    assert FLTrust()(-updates[:1], None, view(updates[:1])).tolist() == [0.0] * 6


def test_monna_by_hand() -> None:
    points = [[0.0, 0.0], [10.0, 0.0], [0.0, 11.0]]
    assert MoNNA(f=1, trusted=0)(points).tolist() == [5.0, 0.0]
    assert MoNNA(f=1, trusted=2)(points).tolist() == [0.0, 5.5]
    updates = torch.stack([ROOT, 1.1 * ROOT, -9 * ROOT])
    torch.testing.assert_close(MoNNA(f=1)(updates, None, view(updates)), 1.05 * ROOT)
    with pytest.raises(PluginError, match="trusted from 0 to 2"):
        MoNNA(f=1, trusted=3)(points)


@pytest.mark.parametrize("rule", [FLTrust(), MoNNA()], ids=repr)
def test_rules_that_need_root_rows_say_so(rule: FLTrust | MoNNA) -> None:
    with pytest.raises(NotApplicable, match=r"root rows of the server.*got a bare matrix"):
        rule(rows(0, 5, 6))


def test_foolsgold_by_hand() -> None:
    # Two doubles and an orthogonal client: largest cosines 1, 1, 0; weights 0, 0, 1, then 0, 0, 1 after the logit.
    updates = [[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]]
    assert FoolsGold()(updates).tolist() == pytest.approx([0.0, 1.0])
    # Cosines: 0-1: 0.8, others 0.6, 0. Worst: 0.8, 0.8, 0.6; row 2 is pardoned to 0.6 * 0.6/0.8 = 0.45.
    cosines = torch.tensor([[1.0, 0.8, 0.6], [0.8, 1.0, 0.0], [0.6, 0.0, 1.0]], dtype=torch.float64)
    share = 0.2 / 0.55
    expected = [np.log(share / (1 - share)) + 0.5] * 2 + [1.0]
    assert FoolsGold().shares(cosines).tolist() == pytest.approx(np.clip(expected, 0, 1).tolist())


def test_foolsgold_remembers() -> None:
    # Sybils that look different in one round, but add up to the same.
    rule, one, two = FoolsGold(), torch.eye(3), torch.eye(3)[[1, 0, 2]]
    _, state = rule.step(one, None, None, None)
    aggregate, _ = rule.step(two, None, None, state)
    torch.testing.assert_close(aggregate, torch.tensor([0.0, 0.0, 1 / 3]))
    assert (rule(two) > 0.3).all()


# --- clusters --------------------------------------------------------------------------------------------------------


def test_clipped_clustering_by_hand() -> None:
    # Norms 3.742, 4.243, 4.123, 4.359; the bound is their median, 4.183; the second row points elsewhere.
    bound = (17**0.5 + 18**0.5) / 2
    last = np.array([3.0, 1.0, 3.0]) * bound / 19**0.5
    expected = (np.array([1.0, 2.0, 3.0]) + np.array([2.0, 2.0, 3.0]) + last) / 3
    np.testing.assert_allclose(ClippedClustering()(FOUR), expected)
    np.testing.assert_allclose(ClippedClustering()(FOUR), [1.9596, 1.6532, 2.9596], atol=1e-4)


def test_clipped_clustering_remembers_norms() -> None:
    rule, x = ClippedClustering(), torch.ones(3, 2)
    _, seen = rule.step(x, None, None, None)
    clipped, seen = rule.step(10 * x, None, None, seen)
    assert len(seen) == 6
    torch.testing.assert_close(clipped, torch.full((2,), 5.5))  # the median of three norms of 1 and three of 10


def test_flame_admits_the_majority_and_adds_noise() -> None:
    towards = torch.zeros(50, dtype=torch.float64)
    towards[0] = 1.0
    honest = 7 * (towards + 0.05 * rows(0, 7, 50))
    attacked = torch.cat([honest, -20 * honest[:3]])
    quiet = FLAME(noise=0.0)(attacked)
    assert torch.cosine_similarity(quiet, towards, dim=0) > 0.9
    assert quiet.norm() <= attacked.norm(dim=1).quantile(0.5)
    noise = FLAME(noise=0.1)(attacked) - quiet
    assert float(noise.std()) == pytest.approx(0.1 * float(attacked.norm(dim=1).quantile(0.5)), rel=0.4)


def test_two_means_in_one_dimension() -> None:
    minority, apart = _two_means(torch.tensor([[0.0, 0.0], [0.2, 0.0], [5.0, 1.0], [0.1, 1.0]], dtype=torch.float64))
    assert minority[:, 0].tolist() == [False, False, True, False]
    assert not minority[:, 1].any()  # two clusters of one size
    assert apart.tolist() == pytest.approx([4.9, 1.0])


def test_auror_leaves_out_who_stands_alone() -> None:
    honest = 0.01 * rows(0, 8, 40)
    attacked = torch.cat([honest, honest[:2] + 1.0])
    torch.testing.assert_close(Auror(alpha=0.5)(attacked), honest.mean(0))
    torch.testing.assert_close(Auror(alpha=9.0)(attacked), attacked.mean(0))  # no coordinate is indicative


# --- layers ----------------------------------------------------------------------------------------------------------


def test_lasa_drops_small_values() -> None:
    # One client, 4 values, 30 %: the smallest is dropped.
    assert LASA(sparsity=0.3)([[4.0, -3.0, 0.5, 2.0]]).tolist() == [4.0, -3.0, 0.0, 2.0]


def test_lasa_looks_at_norms_and_at_signs() -> None:
    # Norms 1, 1, 1, 1 and 0.1: the deviations from the median are 0 and 0.9 / 0.36 = 2.5.
    short = np.array([[1.0, 0.0]] * 4 + [[0.1, 0.0]])
    np.testing.assert_allclose(LASA(sparsity=0.0, norm_bound=2.4)(short), [1.0, 0.0])
    np.testing.assert_allclose(LASA(sparsity=0.0, norm_bound=2.6, sign_bound=9.0)(short), [0.82, 0.0])
    # Shares of positive signs 1, 1, 1, 1 and 0: likewise 2.5.
    turned = np.array([[1.0, 0.0]] * 4 + [[-1.0, 0.0]])
    np.testing.assert_allclose(LASA(sparsity=0.0, sign_bound=2.4)(turned), [1.0, 0.0])
    np.testing.assert_allclose(LASA(sparsity=0.0, sign_bound=2.6)(turned), [0.6, 0.0])


def test_lasa_lets_every_layer_choose_its_own_clients() -> None:
    # Four weights, then two biases. The last client is odd in the biases only, the one before in the weights only.
    updates = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]] * 5)
    updates[3, :4] *= -1
    updates[4, 4:] *= -1
    rule = LASA(sparsity=0.0, sign_bound=1.3)  # over all six coordinates the last one deviates by 1.2
    torch.testing.assert_close(rule(updates, None, view(updates)), torch.ones(6))
    assert not torch.allclose(rule(updates), torch.ones(6))


def test_energies_by_hand() -> None:
    kernel, bias = torch.tensor([[[1.0, -1.0], [0.0, 0.0]]]), torch.tensor([[0.0, -1.0]])
    assert _energies(kernel, bias).tolist() == [[0.8, 0.2]]  # energies 2 and 1, squared, normalised
    assert _energies(0 * kernel, 0 * bias).tolist() == [[0.0, 0.0]]


def test_deepsight_leaves_out_a_cluster_that_learnt_one_class() -> None:
    network = build(MLP(hidden=(8,)), (1, 8, 8), 10, Streams(0))
    draw = torch.Generator().manual_seed(0)
    common = 0.1 * torch.randn(network.dimension, generator=draw)
    updates = common + 0.03 * torch.randn(20, network.dimension, generator=draw)
    last = updates[14:, -90:]  # six clients' output layers: 10 x 8 weights, 10 biases
    last *= 0.05
    last[:, [*range(8), 80]] = 1 + 0.1 * torch.randn(6, 9, generator=draw)
    seen = ServerView(1, network.initial, updates, tuple(range(20)), torch.full((20,), 0.05), network)
    bound = updates.norm(dim=1).quantile(0.5)
    honest = updates[:14] * (bound / updates[:14].norm(dim=1)).clamp(max=1)[:, None]
    torch.testing.assert_close(DeepSight()(updates, None, seen), honest.mean(0))


@pytest.mark.parametrize(
    ("classes", "mains", "others", "left_out"),
    [
        (
            10,
            1,
            0.26,
            True,
        ),  # energies are squares: .068 of the largest in nine classes, below a tenth; one class counts
        (10, 1, 0.36, False),  # .13: all ten count
        (10, 5, 0.26, True),  # five count, which is half of the others' ten
        (10, 6, 0.26, False),  # six are more than half
        (128, 1, 0.095, True),  # .0090 is above 1/128, but below .01
        (128, 1, 0.105, False),  # .011
    ],
)
def test_deepsight_counts_the_classes_with_much_of_the_energy(
    classes: int, mains: int, others: float, left_out: bool
) -> None:
    """The output layers of six clients have large updates in `mains` classes, and `others` times as large ones in the rest."""
    network = build(MLP(hidden=(8,)), (1, 8, 8), classes, Streams(0))
    draw = torch.Generator().manual_seed(0)
    common = 0.1 * torch.randn(network.dimension, generator=draw)
    updates = common + 0.03 * torch.randn(30, network.dimension, generator=draw)
    of_class = torch.cat([torch.arange(classes).repeat_interleave(8), torch.arange(classes)])
    last = updates[:, -len(of_class) :]
    last[:24] = 1.0
    last[24:] = torch.where(of_class < mains, 1.0, -others)
    last *= 1 + 0.01 * torch.randn(last.shape, generator=draw)
    seen = ServerView(1, network.initial, updates, tuple(range(30)), torch.full((30,), 1 / 30), network)
    clipped = updates * (updates.norm(dim=1).quantile(0.5) / updates.norm(dim=1)).clamp(max=1)[:, None]
    torch.testing.assert_close(DeepSight()(updates, None, seen), clipped[: 24 if left_out else 30].mean(0))


def test_deepsight_leaves_out_a_client_whose_output_biases_alone_point_elsewhere() -> None:
    """The biases are too small to show in answers or energies; all else is equal. The last client's have a cosine of 2/3."""
    network = build(MLP(hidden=(8,)), (1, 8, 8), 10, Streams(0))
    updates = torch.full((7, network.dimension), 0.01)
    updates[:, -10:] = torch.tensor([0.0] + [1e-20] * 6 + [0.0] * 3)  # shares four classes of six with its mirror image
    updates[6, -10:] = updates[0, -10:].flip(0)
    seen = ServerView(1, network.initial, updates, tuple(range(7)), torch.full((7,), 1 / 7), network)
    torch.testing.assert_close(DeepSight()(updates, None, seen), updates[0], rtol=1e-5, atol=0.0)


def test_deepsight_says_what_it_needs() -> None:
    with pytest.raises(NotApplicable, match="a ServerView for DeepSight"):
        DeepSight()(rows(0, 5, 6))
    headless = build(SmallCNN(), (1, 28, 28), 10, Streams(0))
    headless.num_classes = 7
    with pytest.raises(NotApplicable, match="ends in a dense layer with biases"):
        output_layer(headless, torch.zeros(3, headless.dimension))
