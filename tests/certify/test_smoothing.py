"""Smoothing against flipped labels: every flip and every noise of small cases written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import binom

from antivenom.certify import Proof, RandomizedSmoothing
from antivenom.certify.smoothing import SmoothedRidge, flips
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.central import Central
from antivenom.scenarios.pipeline import Pipeline


def context() -> DefenceContext:
    return Pipeline(MLP(), Training(), "cpu", Streams(0)).context()


def small(classes: int, n: int, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """n training rows of as many blobs as classes, and 30 rows to ask about."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    data = Dataset(3 * np.eye(3)[y] + rng.random((n, 3)), y, tuple("abc"[:classes]))
    near = np.repeat(data.x[:3], 5, axis=0) + rng.random((15, 3))
    return data, np.concatenate([near, rng.uniform(0, 4, (15, 3))]).astype(np.float32)


def labellings(data: Dataset) -> np.ndarray:
    """(c^n, n) every way to label the rows."""
    return np.array(list(itertools.product(range(data.num_classes), repeat=len(data))))


def answers(model: SmoothedRidge, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(ways, m) what least squares says for each labelling."""
    one_hot = np.eye(model.num_classes)[labels]  # (ways, n, c)
    return np.einsum("mn,wnc->wmc", model.influences(asked), one_hot).argmax(axis=2)


CASES = [(2, 8), (3, 7)]


@pytest.mark.parametrize(("classes", "n"), CASES)
def test_every_flip_within_the_radius_and_one_beyond_the_exact_one(classes: int, n: int) -> None:
    data, asked = small(classes, n)
    model = RandomizedSmoothing(noise=0.05, penalty=0.05, proof=Proof.EXACT)(data, context())
    assert np.array_equal(answers(model, data.y[None], asked)[0], model.predict(asked))
    ways = labellings(data)
    distance = (ways != data.y).sum(axis=1)
    turned = answers(model, ways, asked) != model.predict(asked)
    fewest = np.where(turned, distance[:, None], n + 1).min(axis=0)
    assert np.array_equal(model.certified(asked), fewest - 1)
    assert fewest.max() >= 2
    for noise in (0.01, 0.05, 0.2):
        smoothed = RandomizedSmoothing(noise=noise, penalty=0.05)(data, context())
        assert (smoothed.certified(asked) < fewest).all()


@pytest.mark.parametrize(("classes", "n"), CASES)
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
def test_the_vote_under_every_noise(classes: int, n: int, noise: float) -> None:
    """Chernoff's bound is above the chance, and no flips within the radius move the vote."""
    data, asked = small(classes, n)
    model = RandomizedSmoothing(noise=noise, penalty=0.05)(data, context())
    winner = model.predict(asked)
    ways = labellings(data)
    said = answers(model, ways, asked)  # (ways, m)

    def chances(y: np.ndarray) -> np.ndarray:
        """(m, c) of the vote when the labels are y."""
        weight = np.where(ways == y, 1 - noise, noise / (classes - 1)).prod(axis=1)
        return np.stack([weight @ (said == c) for c in range(classes)], axis=1)

    clean = chances(data.y)
    for label in range(classes):
        exponent = model._exponent(model.influences(asked), label, winner)
        beaten = (ways[:, None, :] == winner[:, None]) * 1.0 - (ways[:, None, :] == label)
        reached = (np.einsum("mn,wmn->wm", model.influences(asked), beaten) <= 0).T
        weight = np.where(ways == data.y, 1 - noise, noise / (classes - 1)).prod(axis=1)
        apart = winner != label
        assert ((reached @ weight)[apart] <= np.exp(-exponent[apart]) + 1e-12).all()
    radii = model.certified(asked)
    assert (clean.argmax(axis=1) == winner)[radii > 0].all()
    for y in ways[(ways != data.y).sum(axis=1) <= radii.max()]:
        sure = radii >= (y != data.y).sum()
        assert np.array_equal(chances(y)[sure].argmax(axis=1), winner[sure])


def test_the_exponent_is_found_by_newton() -> None:
    data, asked = small(2, 8)
    model = RandomizedSmoothing(noise=0.1, penalty=0.05)(data, context())
    influence, winner = model.influences(asked), model.predict(asked)
    t = np.linspace(0, 60, 3001)[:, None]
    for row, w in zip(influence, winner, strict=True):
        sign = np.where(data.y == w, 1, -1) * row
        best = -np.log(0.9 * np.exp(-t * sign) + 0.1 * np.exp(t * sign)).sum(axis=1)
        found = model._exponent(row[None], 1 - int(w), np.array([w]))[0]
        assert found == pytest.approx(max(best.max(), 0), rel=0.02, abs=1e-3)
        assert found <= best.max() + 1e-3


def test_the_theorem_in_numbers_and_below_the_exact_test() -> None:
    # p = .99, q = .1: -log(4 * .99 * .01) = 3.2288; a flip costs 2 * .8 * log 9 = 3.5156 of it
    assert flips(np.log([0.01]), 0.1).tolist() == [0]
    assert flips(np.log([0.001]), 0.1).tolist() == [1]  # 5.5225
    assert flips(np.log([0.5, 0.9, 1.0]), 0.1).tolist() == [0, 0, 0]
    assert flips(np.array([-1000.0]), 0.1).tolist() == [int((1000 - math.log(4)) / 3.51556)]
    for noise, log_wrong in itertools.product((0.05, 0.2, 0.4), (-2.0, -10.0, -40.0)):
        r = int(flips(np.array([log_wrong]), noise)[0])
        # Neyman-Pearson: r coordinates, the set that is likeliest after the flips and has chance exp(log_wrong) before
        k = np.arange(r + 1)
        before, after = binom.pmf(k, r, 1 - noise), binom.pmf(k, r, noise)  # how many show their first label
        order = np.argsort(before / after)
        taken = np.minimum(np.cumsum(before[order]), np.exp(log_wrong))
        share = np.diff(np.r_[0, taken]) / before[order]
        assert (share * after[order]).sum() <= 0.5


def test_influences_are_those_of_ridge_and_add_up_to_scores() -> None:
    data, asked = small(3, 7)
    model = RandomizedSmoothing(penalty=0.05)(data, context())
    x = np.c_[data.x.astype(float), np.ones(7)]
    gram = x.T @ x
    weights = np.linalg.inv(gram + 0.05 * np.trace(gram) * np.eye(4)) @ x.T
    assert model.influences(asked) == pytest.approx(np.c_[asked, np.ones(30)] @ weights)
    assert model.scores(asked) == pytest.approx(model.influences(asked) @ np.eye(3)[data.y])
    shares = model.predict_proba(asked)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert np.array_equal(shares.argmax(axis=1), model.predict(asked))


@pytest.mark.parametrize("proof", list(Proof))
def test_it_learns_breast_cancer_and_proves_something(proof: Proof) -> None:
    scenario = Central(data="breast-cancer", goal="availability", access="data-manipulation", clean_rows=0)
    found = scenario.run(None, RandomizedSmoothing(proof=proof), seed=0).metrics
    assert found["clean_accuracy"] > 0.9
    assert found["certified_median"] >= {Proof.SMOOTHING: 2, Proof.EXACT: 10}[proof]


def test_rows_that_say_nothing_prove_nothing() -> None:
    data = Dataset(np.zeros((6, 2)), np.array([0, 1] * 3), ("a", "b"))
    for proof in Proof:
        model = RandomizedSmoothing(proof=proof)(data, context())
        assert model.certified(np.zeros((3, 2), dtype=np.float32)).tolist() == [0, 0, 0]
        assert model.certified(np.zeros((0, 2), dtype=np.float32)).shape == (0,)


def test_what_it_cannot_serve_it_refuses() -> None:
    class Fitted:
        def fit(self, x: np.ndarray) -> None: ...

        def __call__(self, x: np.ndarray) -> np.ndarray:
            return x

    for make in (
        lambda: RandomizedSmoothing(noise=0.0),
        lambda: RandomizedSmoothing(noise=1.0),
        lambda: RandomizedSmoothing(penalty=0.0),
        lambda: RandomizedSmoothing(features=Fitted()),
    ):
        with pytest.raises(PluginError):
            make()
    data, _ = small(2, 8)
    with pytest.raises(DataError, match=r"noise below \(c - 1\) / c for 2 classes, got 0.5"):
        RandomizedSmoothing(noise=0.5)(data, context())
    with pytest.raises(DataError, match="dense rows"):
        RandomizedSmoothing()(Dataset(sp.csr_array(data.dense), data.y, data.classes), context())
    with pytest.raises(DataError, match="rows with classes"):
        RandomizedSmoothing()(load("diabetes", Streams(0)).train, context())
