"""The influence attack: the gradient through the learner's optimum, the way back into the filters, and that it hurts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from antivenom.attacks import InfluenceAttack
from antivenom.attacks.availability.influence import ascent, project
from antivenom.attacks.availability.passing import Passage, Victim, margins
from antivenom.certify.feasible import FeasibleSet
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, load
from antivenom.models.hinge import signs
from antivenom.scenarios.grants import enforce

INJECTS = ThreatModel("data-injection", "availability")


def context(rows: Dataset | None = None) -> AttackContext:
    return AttackContext(Streams(0), INJECTS, rows=rows)


def test_the_gradient_through_the_optimum() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), np.sign(rng.normal(size=60))
    held = Dataset(rng.normal(size=(30, 4)), np.arange(30) % 2, ("a", "b"))
    places, s = rng.normal(size=(2, 4)), signs(np.arange(30) % 2)

    def loss(z: np.ndarray) -> float:
        theta, _ = ascent(x, y, z.reshape(2, 4), (5, 9), held, np.zeros(5), 0.1, 0.3)
        return float(np.mean(0.3 * np.logaddexp(0, (1 - s * (held.flat @ theta[:-1] + theta[-1])) / 0.3)))

    _, climb = ascent(x, y, places, (5, 9), held, np.zeros(5), 0.1, 0.3)
    assert climb.ravel() == pytest.approx(approx_fprime(places.ravel(), loss, 1e-4), abs=2e-5)


def test_project_leaves_what_passes_and_brings_back_the_rest() -> None:
    inside = FeasibleSet(np.zeros(2), np.array([1.0, 0.0]), 2.0, 1.0)
    conditions = (Passage(inside, -1.0, (), 1.0, False), Passage(inside, 1.0, (), 1.0, False))
    limits = (np.full(2, -10.0), np.full(2, 1.5))
    good, far = project(np.array([[0.5, 0.5], [0.0, -8.0]]), conditions, limits)
    assert good == pytest.approx([0.5, 0.5], abs=1e-4)
    assert far[0] == pytest.approx(0, abs=1e-3)
    assert -3 < far[1] < -1.9
    assert conditions[1].excess(far)[0] < 0.01 * conditions[1].excess(np.array([0.0, -8.0]))[0]


def test_the_poison_of_a_class_starts_at_the_centroid_of_the_other() -> None:
    """Rows lie widely around (0, 0) and (1, 0), so that both centroids pass the filters; the only step is tiny."""
    around = np.array([[4.0, 4], [4, -4], [-4, 4], [-4, -4]])
    data = Dataset(np.concatenate([around, around + np.array([1.0, 0.0])]), np.repeat([0, 1], 4), ("a", "b"))
    attack = InfluenceAttack(0.5, 0.1, steps=1, step_size=1e-6, removed=0.0, integer=False)
    added = attack(data, context()).data[8:]
    assert added.y.tolist() == [0, 0, 1, 1]
    assert added.x == pytest.approx(np.array([[1.0, 0], [1, 0], [0, 0], [0, 0]]), abs=1e-3)


def test_it_hurts_on_a_real_table() -> None:
    split = load("breast-cancer")
    attack = InfluenceAttack(poisoned_rate=0.1, weight_decay=0.01, steps=20, step_size=0.2, integer=False)
    poison = attack(split.train, context(split.test))
    enforce(INJECTS, split.train, poison)
    added = poison.data[poison.mask]
    assert poison.mask.sum() == int(0.1 * len(split.train))
    assert len(np.unique(added.x, axis=0)) == 2
    clean, harmed = (
        float((margins(split.test.flat, split.test.y, Victim(0.01, 0).fit(d.flat, d.y)) <= 0).mean())
        for d in (split.train, poison.data)
    )
    assert harmed > clean + 0.02


def test_refusals_and_a_budget_below_one_row() -> None:
    with pytest.raises(DataError, match="two classes"):
        InfluenceAttack()(load("digits").train, context())
    with pytest.raises(DataError, match="rows with classes"):
        InfluenceAttack()(load("diabetes").train, context())
    for fields in ({"steps": 0}, {"positive": 1.5}, {"temperature": 0.0}, {"step_size": np.inf}):
        with pytest.raises(PluginError):
            InfluenceAttack(**fields)
    assert not InfluenceAttack(poisoned_rate=0.001)(load("breast-cancer").train, context()).mask.any()
