"""The min-max attack: inside the set it was told of, near the bound, as counts, with and without an oracle."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from antivenom.attacks import MinMax
from antivenom.certify.feasible import feasible_sets
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, load
from antivenom.models.hinge import BoundedSVC, signs
from antivenom.scenarios.grants import enforce

INJECTS = ThreatModel("data-injection", "availability")


def context(seed: int = 0) -> AttackContext:
    return AttackContext(Streams(seed), INJECTS)


def words(n: int = 120, d: int = 40) -> Dataset:
    """Counts of two classes with words of their own; sparse."""
    rng = np.random.default_rng(2)
    y = np.arange(n) % 2
    rates = np.where(np.arange(d) < d // 2, 0.3, 0.1)
    x = rng.poisson(np.where(y[:, None] == 1, rates, rates[::-1]))
    return Dataset(sp.csr_array(x.astype(np.float32)), y, ("a", "b"))


def passing(poison: Dataset, sets) -> np.ndarray:
    return np.array([sets[k].contains(poison.flat[[i]])[0] for i, k in enumerate(poison.y)])


def test_it_adds_its_budget_inside_the_clean_sets() -> None:
    data = load("breast-cancer").train
    poison = MinMax(poisoned_rate=0.1, steps=200)(data, context())
    enforce(ThreatModel("data-injection", "availability", max_poisoned_rate=0.1), data, poison)
    assert poison.mask.sum() == int(0.1 * len(data))
    assert passing(poison.data[poison.mask], feasible_sets(data, 70)).all()


def test_it_raises_the_loss_on_rows_never_seen() -> None:
    split = load("breast-cancer")
    poison = MinMax(poisoned_rate=0.3, rho_squared=4.0, steps=600)(split.train, context())
    clean, harmed = (BoundedSVC(4.0, random_state=0).fit(d.flat, d.y) for d in (split.train, poison.data))

    def loss(svc: BoundedSVC) -> float:
        return float(np.maximum(1 - signs(split.test.y) * svc.decision_function(split.test.flat), 0).mean())

    assert loss(harmed) > 1.1 * loss(clean)


def test_counts_are_whole_and_pass_where_random_rounding_does_not() -> None:
    data = words()
    sets = feasible_sets(data, 70)
    exact, rounded = (
        MinMax(poisoned_rate=0.1, steps=60, rounding=rounding)(data, context()) for rounding in ("feasible", "random")
    )
    for poison in (exact, rounded):
        added = poison.data[poison.mask].x.toarray()
        assert (added == np.rint(added)).all()
        assert (added >= 0).all()
        assert poison.data.is_sparse
    assert passing(exact.data[exact.mask], sets).all()
    assert not passing(rounded.data[rounded.mask], sets).all()


def test_without_an_oracle_it_drags_the_centroids() -> None:
    data = load("breast-cancer").train
    clean = feasible_sets(data, 70)

    def reach(oracle: bool) -> float:
        poison = MinMax(poisoned_rate=0.2, steps=200, oracle=oracle, turns=4)(data, context())
        dragged = feasible_sets(poison.data, 70)
        return max(
            float(np.linalg.norm(after.centre - before.centre)) for before, after in zip(clean, dragged, strict=True)
        )

    assert reach(oracle=False) > reach(oracle=True)


def test_images_keep_their_form() -> None:
    digits = load("digits").train
    data = digits[np.isin(digits.y, (0, 1))]
    two = Dataset(data.x, data.y, ("0", "1"))
    poison = MinMax(poisoned_rate=0.05, steps=30)(two, context())
    assert poison.data.shape == two.shape


def test_refusals_and_a_budget_below_one_row() -> None:
    with pytest.raises(DataError, match="two classes"):
        MinMax()(load("digits").train, context())
    with pytest.raises(DataError, match="rows with classes"):
        MinMax()(load("diabetes").train, context())
    for fields in ({"steps": 0}, {"percentile": 0.0}, {"slab_percentile": 101.0}, {"rho_squared": -1.0}):
        with pytest.raises(PluginError, match="MinMax: rho_squared, eta"):
            MinMax(**fields)
    assert not MinMax(poisoned_rate=0.001)(words(), context()).mask.any()
