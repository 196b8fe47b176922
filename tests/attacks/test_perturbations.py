"""Availability perturbations: the ball, the arithmetic by hand and by loops, gradients, and that victims fail."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from antivenom.attacks.availability.perturbations import (
    AdversarialPoison,
    ClassMeanShift,
    DeepConfuse,
    ErrorMinimizingNoise,
    SeparableShortcuts,
)
from antivenom.attacks.availability.perturbations.adversarial import gradient
from antivenom.attacks.availability.perturbations.bounded import chosen, targets
from antivenom.attacks.availability.perturbations.confuse import _slope
from antivenom.attacks.availability.perturbations.generator import generator
from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, load
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training, train
from antivenom.models.wrappers import TorchLearner, TorchModel, learner
from antivenom.scenarios.grants import enforce

THREAT = ThreatModel("data-manipulation", "availability")
SMALL = MLP(hidden=(8,))
ATTACKS = [
    ClassMeanShift(),
    SeparableShortcuts(),
    AdversarialPoison(surrogate=SMALL, steps=3),
    ErrorMinimizingNoise(surrogate=SMALL, steps=3, rounds=2),
    ErrorMinimizingNoise(surrogate=SMALL, steps=3, rounds=2, class_wise=True),
    DeepConfuse(surrogate=SMALL, trials=2, code=8, label_specific=False),
    DeepConfuse(surrogate=SMALL, trials=2, code=8),
]


def context(seed: int = 1) -> AttackContext:
    return AttackContext(Streams(seed), THREAT)


def grey(n: int = 24, c: int = 3, size: int = 8, spread: float = 0.1) -> Dataset:
    """Images near mid-grey, so that no small change is clipped."""
    x = 0.5 + spread * (np.random.default_rng(4).random((n, 1, size, size)) - 0.5)
    return Dataset(x, np.arange(n) % c, tuple("abcdef"[:c]))


@pytest.fixture(scope="module")
def digits() -> Any:
    return load("digits", Streams(1))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_a_share_of_the_rows_changes_within_the_ball_and_no_label(attack: Any, rate: float, digits: Any) -> None:
    fields = {name: getattr(attack, name) for name in attack.__dataclass_fields__} | {"poisoned_rate": rate}
    data = digits.train[:50]
    before = data.x.copy()
    poison = type(attack)(**fields | {"epsilon": 0.2})(data, context())
    assert poison.mask.sum() == round(50 * rate)
    assert np.array_equal(poison.data.y, data.y)
    change = np.abs(poison.data.x - data.x).reshape(50, -1).max(axis=1)
    assert (change[~poison.mask] == 0).all()
    assert (change[poison.mask] > 0.05).all()
    assert change.max() <= 0.2 + 1e-6
    assert poison.data.x.min() >= 0
    assert poison.data.x.max() <= 1
    assert np.array_equal(data.x, before)
    enforce(ThreatModel("data-manipulation", "availability", max_poisoned_rate=rate), data, poison)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: type(a).__name__)
def test_rows_that_cannot_be_perturbed_are_refused_in_one_line(attack: Any) -> None:
    one = Dataset(grey().x, np.zeros(24, int), ("a", "b"))
    wide = Dataset(3 * grey().x, grey().y, grey().classes)
    regression = Dataset(np.zeros((4, 3)), np.arange(4.0), ())
    for data, message in ((one, "at least two classes"), (wide, "features from 0 to 1"), (regression, "with classes")):
        with pytest.raises(DataError, match=message) as caught:
            attack(data, context())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        *(
            (cls, fields)
            for cls in dict.fromkeys(map(type, ATTACKS))
            for fields in ({"epsilon": 0}, {"poisoned_rate": 2})
        ),
        (ClassMeanShift, {"targets": "any"}),
        (AdversarialPoison, {"targets": "any"}),
        (AdversarialPoison, {"steps": 0}),
        (AdversarialPoison, {"step_size": float("nan")}),
        (SeparableShortcuts, {"blocks": 0}),
        (SeparableShortcuts, {"spread": -1}),
        (ErrorMinimizingNoise, {"rounds": 0}),
        (ErrorMinimizingNoise, {"stop_error": 2}),
        (DeepConfuse, {"trials": 0}),
        (DeepConfuse, {"learning_rate": 0}),
    ],
)
def test_fields_that_make_no_sense(cls: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(PluginError):
        cls(**fields)


def test_a_higher_rate_takes_the_same_rows_and_more() -> None:
    few, many = chosen(0.3, 40, Streams(2)), chosen(0.7, 40, Streams(2))
    assert (len(few), len(many)) == (12, 28)
    assert set(few) <= set(many)


@pytest.mark.parametrize("seed", range(4))
def test_nearest_targets_are_the_cheapest_pairing_without_fixed_points(seed: int) -> None:
    x = np.random.default_rng(seed).random((15, 1, 4, 4), dtype=np.float32)
    y = np.arange(15) % 5
    means = np.stack([x[y == c].mean(axis=0).ravel() for c in range(5)])

    def cost(pairing: tuple[int, ...]) -> float:
        return sum(float(np.linalg.norm(means[c] - means[k])) for c, k in enumerate(pairing))

    free = [p for p in itertools.permutations(range(5)) if all(c != k for c, k in enumerate(p))]
    found = tuple(targets(x, y, 5, "nearest"))
    assert found in free
    assert cost(found) == pytest.approx(min(map(cost, free)))  # a cycle and its reverse cost the same


def test_targets_skip_a_class_without_rows() -> None:
    x, y = np.random.default_rng(0).random((6, 3)), np.array([0, 1, 3, 0, 1, 3])
    assert targets(x, y, 5, "next").tolist() == [1, 3, 2, 0, 4]
    assert set(targets(x, y, 5, "nearest")[[0, 1, 3]]) == {0, 1, 3}


def test_class_mean_shift_by_hand() -> None:
    x = np.array([[0.2, 0.5, 0.9], [0.4, 0.5, 0.9], [0.5, 0.5, 0.1], [0.9, 0.5, 0.3]])  # means .3 .5 .9 and .7 .5 .2
    data = Dataset(x, np.array([0, 0, 1, 1]), ("a", "b"))
    found = ClassMeanShift(epsilon=0.25)(data, context()).data.x
    wanted = [[0.45, 0.5, 0.65], [0.65, 0.5, 0.65], [0.25, 0.5, 0.35], [0.65, 0.5, 0.55]]
    assert found == pytest.approx(np.array(wanted), abs=1e-6)


def test_shortcuts_are_blocks_of_one_pattern_per_class() -> None:
    data = grey(spread=0)
    delta = SeparableShortcuts(blocks=2, spread=0, epsilon=0.2)(data, context()).data.x - 0.5
    assert np.abs(delta) == pytest.approx(0.2, abs=1e-6)
    for block in (delta[:, :, i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)):
        assert (block == block[:, :, :1, :1]).all()
    assert all((delta[data.y == c] == delta[c]).all() for c in range(3))
    noisy = SeparableShortcuts(blocks=2, spread=0.2, epsilon=0.2)(data, context()).data.x - 0.5
    assert np.abs(noisy).max() <= 0.2 + 1e-6
    assert np.corrcoef(noisy.ravel(), delta.ravel())[0, 1] > 0.95
    assert not np.array_equal(noisy[0], noisy[3])


def test_shortcuts_need_images_and_no_more_blocks_than_pixels(digits: Any) -> None:
    with pytest.raises(NotApplicable, match="images for SeparableShortcuts"):
        SeparableShortcuts()(Dataset(np.zeros((4, 3)), np.arange(4) % 2, ("a", "b")), context())
    many = SeparableShortcuts(blocks=100, spread=0)(grey(), context())
    assert np.array_equal(many.data.x, SeparableShortcuts(blocks=8, spread=0)(grey(), context()).data.x)


def test_gradient_of_every_row_against_differences() -> None:
    data = grey()
    network = build(MLP(hidden=(6,)), data.shape, 3, Streams(0))
    model = TorchModel(network, 2 * network.initial)
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ends = [
            F.cross_entropy(model.network.logits(model.vector, x + h * direction), y, reduction="none")
            for h in (0.01, -0.01)
        ]
    slopes = (gradient(model, x, y, batch=7) * direction).flatten(1).sum(1)
    assert slopes.numpy() == pytest.approx(((ends[0] - ends[1]) / 0.02).numpy(), abs=2e-3)


def test_adversarial_poison_is_pgd_toward_the_target_on_the_clean_surrogate(digits: Any) -> None:
    data, attack = digits.train[:60], AdversarialPoison(targets="next", surrogate=SMALL, steps=4, step_size=0.4)
    found = attack(data, context()).data.x
    model = TorchLearner(SMALL, attack.training).fit(data, Streams(1).child("surrogate"))
    x = torch.tensor(data.x)
    now = x.clone()
    for _ in range(4):
        for i in range(60):
            row = now[i : i + 1].clone().requires_grad_()
            loss = F.cross_entropy(model.network.logits(model.vector, row), torch.tensor([(data.y[i] + 1) % 10]))
            moved = row.detach() - 0.12 * torch.autograd.grad(loss, row)[0].sign()
            now[i] = torch.clip(torch.clip(moved, x[i] - 0.3, x[i] + 0.3), 0, 1)[0]
    assert np.mean(np.abs(found - now.numpy()) < 1e-5) > 0.999  # a gradient near zero may round to either sign


@pytest.mark.parametrize("class_wise", [False, True])
def test_one_turn_of_error_minimising_noise_by_hand(class_wise: bool) -> None:
    data = grey()
    attack = ErrorMinimizingNoise(class_wise=class_wise, surrogate=SMALL, steps=1, rounds=1, train_steps=1)
    delta = attack(data, context()).data.x - data.x
    network = build(SMALL, data.shape, 3, Streams(1))
    seen = Streams(1).numpy("turns").permutation(24)
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    vector, _ = train(network, network.initial, x[seen], y[seen], attack.training, Streams(1).child("turn", 0))
    slope = gradient(TorchModel(network, vector), x, y)
    if class_wise:
        slope = torch.stack([slope[y == c].sum(0) for c in range(3)])[y]
    assert delta == pytest.approx(-0.03 * slope.sign().numpy(), abs=1e-6)


def test_error_minimising_noise_stops_once_nothing_is_left_to_learn(digits: Any) -> None:
    data = digits.train[:200]
    fields = {"surrogate": SMALL, "steps": 5, "rounds": 3}
    easy, full = (ErrorMinimizingNoise(stop_error=e, **fields)(data, context()).data.x for e in (1.0, 0.0))
    once = ErrorMinimizingNoise(stop_error=0.0, **fields | {"rounds": 1})(data, context()).data.x
    assert np.array_equal(easy, once)
    assert not np.array_equal(easy, full)


@pytest.mark.parametrize("label_specific", [False, True])
def test_deep_confuse_is_the_papers_algorithm(label_specific: bool) -> None:
    """Algorithm 2 written out, with a differentiable pseudo-step."""
    data = grey(spread=1.0)
    attack = DeepConfuse(
        surrogate=SMALL, trials=2, epochs=2, batch_size=10, code=5, label_specific=label_specific, generator_rate=0.01
    )
    found = attack(data, context()).data.x
    x, y, rate = torch.tensor(data.x), torch.tensor(data.y), attack.learning_rate
    g = generator(data.shape, 5, 0.3, Streams(1))
    optimizer, order = torch.optim.Adam(g.parameters(), lr=0.01), Streams(1).numpy("order")
    for trial in range(2):
        network = build(SMALL, data.shape, 3, Streams(1).child("surrogate", trial))
        theta, frozen = network.initial, (x + g(x)).clamp(0, 1).detach()
        for _ in range(2):
            for rows in np.split(order.permutation(24), (10, 20)):
                leaf = theta.clone().requires_grad_()
                worn = (x[rows] + g(x[rows])).clamp(0, 1)
                loss = F.cross_entropy(network.logits(leaf, worn), y[rows])
                ahead = leaf - rate * torch.autograd.grad(loss, leaf, create_graph=True)[0]
                logits = network.logits(ahead, x[rows])
                goal = (
                    F.cross_entropy(logits, (y[rows] + 1) % 3) if label_specific else -F.cross_entropy(logits, y[rows])
                )
                optimizer.zero_grad()
                goal.backward()
                optimizer.step()
                theta = theta - rate * _slope(network, theta, frozen[rows], y[rows])
    wanted = (x + g(x)).clamp(0, 1).detach().numpy()
    assert np.abs(found - wanted).max() < 1e-4
    assert np.corrcoef((found - data.x).ravel(), (wanted - data.x).ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("attack", "most"),
    [
        (ClassMeanShift(), 0.3),
        (ClassMeanShift(targets="nearest"), 0.3),
        (SeparableShortcuts(), 0.8),
        (AdversarialPoison(), 0.4),
        (ErrorMinimizingNoise(), 0.8),
        (ErrorMinimizingNoise(class_wise=True), 0.8),
        (DeepConfuse(trials=40, batch_size=64), 0.5),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_model_trained_on_the_perturbed_rows_fails_on_clean_ones(attack: Any, most: float, digits: Any) -> None:
    """Clean training reaches 97 %."""
    poison = attack(digits.train, context())
    model = learner(MLP(), Training(epochs=20)).fit(poison.data, Streams(5))
    accuracy = (model.predict(digits.test.x) == digits.test.y).mean()
    assert accuracy < most
