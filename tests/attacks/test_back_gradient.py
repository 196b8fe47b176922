"""Back-gradient descent: its gradient against unrolling and against numbers, what it achieves and what it refuses."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import nn

from antivenom.attacks import BackGradient, FlippedPoints
from antivenom.attacks.availability.ascent import Ascent
from antivenom.attacks.availability.hypergradient import (
    IDENTITY,
    SIGMOID,
    SOFTMAX,
    LinearProblem,
    Link,
    NetworkProblem,
    Steps,
)
from antivenom.core.errors import DataError, ModelError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, load
from antivenom.models.architectures import MLP, Logistic, SmallCNN
from antivenom.models.estimators import Adaline, RandomForest
from antivenom.models.network import Network, build
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner, learner
from antivenom.scenarios.grants import enforce

INJECTS = ThreatModel("data-injection", "availability")
LINKS = {"logistic": (SIGMOID, 2), "softmax": (SOFTMAX, 3), "adaline": (IDENTITY, 2), "adaline of three": (IDENTITY, 3)}


def context(rows: Dataset | None = None, seed: int = 1) -> AttackContext:
    return AttackContext(Streams(seed), INJECTS, rows=rows)


def table(n: int, c: int, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    return Dataset(x, (x @ rng.normal(size=(5, c)) + 0.5 * rng.normal(size=(n, c))).argmax(axis=1), tuple("abc"[:c]))


def linear(link: Link, c: int, steps: Steps, wanted: bool = False) -> LinearProblem:
    rows = table(30, c, 1)
    return LinearProblem.of(link, steps, table(20, c), rows, (rows.y + 1) % c if wanted else None)


def unrolled(problem: LinearProblem, link: str, x: np.ndarray, label: int) -> tuple[float, np.ndarray]:
    """The loss and its gradient, by keeping every step of a training with ordinary weights."""
    row = torch.tensor(x, requires_grad=True)
    rows = torch.cat([torch.tensor(problem.x), row[None]])
    more = problem.add(x, label)
    rows, y = torch.cat([rows, torch.ones(len(rows), 1)], dim=1), torch.tensor(more.y)
    others = torch.cat([torch.tensor(problem.others), torch.ones(len(problem.others), 1)], dim=1)
    w = torch.zeros(rows.shape[1], y.shape[1], dtype=torch.float64, requires_grad=True)

    def loss(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if link == "logistic":
            return F.binary_cross_entropy_with_logits(z, y)
        return F.cross_entropy(z, y) if link == "softmax" else ((z - y) ** 2).sum(1).mean() / 2

    for _ in range(problem.steps.number):
        (step,) = torch.autograd.grad(loss(rows @ w, y), w, create_graph=True)
        w = w - problem.steps.rate * step
    value = problem.sign * loss(others @ w, torch.tensor(problem.truth))
    (gradient,) = torch.autograd.grad(value, row)
    return value.item(), gradient.numpy()


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("name", LINKS)
def test_closed_forms_equal_the_training_written_out_and_unrolled(name: str, wanted: bool) -> None:
    link, c = LINKS[name]
    problem = linear(link, c, Steps(25, 0.05, undo=30), wanted)
    x = np.array([0.3, -2.0, 1.0, 0.0, 4.0])
    for label in range(c):
        value, gradient = problem.loss(x, label)
        expected, slope = unrolled(problem, name.split()[0], x, label)
        assert value == pytest.approx(expected, rel=1e-10)
        assert gradient() == pytest.approx(slope, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", LINKS)
def test_closed_forms_equal_numeric_differences(name: str) -> None:
    link, c = LINKS[name]
    problem, x = linear(link, c, Steps(40, 0.05, undo=30)), np.array([0.3, -2.0, 1.0, 0.0, 4.0])
    numeric = [(problem.loss(x + h, 1)[0] - problem.loss(x - h, 1)[0]) / 2e-6 for h in 1e-6 * np.eye(5)]
    assert problem.loss(x, 1)[1]() == pytest.approx(numeric, rel=1e-5, abs=1e-9)


def test_one_step_by_hand() -> None:
    zeros = Dataset(np.array([[0.0], [0.0]]), np.array([0, 1]), ("a", "b"))
    rows = Dataset(np.array([[1.0]]), np.array([1]), ("a", "b"))
    problem = LinearProblem.of(SIGMOID, Steps(1, 0.6, undo=50), zeros, rows, None)
    # From w = b = 0 the residuals are 1/2, -1/2 and, for the row x = 2 labelled a, 1/2: w = -0.6 * (2 / 2) / 3 = -0.2 and
    # b = -0.6 * (1 / 2) / 3 = -0.1, so z = -0.3 for the attacker's row. dw/dx = -0.1 and dloss/dz = sigmoid(z) - 1.
    value, gradient = problem.loss(np.array([2.0]), 0)
    assert value == pytest.approx(np.log1p(np.exp(0.3)))
    assert gradient() == pytest.approx([0.1 / (1 + np.exp(-0.3))])


def network_problem(network: Network, shape: tuple[int, ...], steps: Steps, n: int = 12) -> NetworkProblem:
    rng = np.random.default_rng(0)
    make = lambda n: Dataset(rng.normal(size=(n, *shape)), np.arange(n) % 3, ("a", "b", "c"))  # noqa: E731
    return NetworkProblem.of(network, steps, make(n), make(9), None)


def unrolled_network(problem: NetworkProblem, x: np.ndarray, label: int) -> tuple[float, np.ndarray]:
    row = torch.tensor(x).reshape(1, *problem.network.row_shape).requires_grad_()
    y, w = torch.cat([problem.y, torch.tensor([label])]), problem.start.clone().requires_grad_()
    for _ in range(problem.steps.number):
        loss = F.cross_entropy(problem.network.logits(w, torch.cat([problem.x, row])), y)
        (step,) = torch.autograd.grad(loss, w, create_graph=True)
        w = w - problem.steps.rate * step
    value = F.cross_entropy(problem.network.logits(w, problem.others), problem.truth)
    return value.item(), torch.autograd.grad(value, row)[0].numpy().reshape(-1)


def tanh(shape: tuple[int, ...], c: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, c))


@pytest.mark.parametrize(
    ("architecture", "shape", "near"),  # undoing across the kinks of ReLU and pooling is not exact
    [(tanh, (5,), 1e-6), (MLP(hidden=(6,)), (5,), 1e-3), (SmallCNN(channels=(2, 3), dense=5), (1, 16, 16), 5e-3)],
    ids=["tanh", "MLP", "CNN"],
)
def test_networks_equal_their_unrolled_training(architecture: object, shape: tuple[int, ...], near: float) -> None:
    problem = network_problem(build(architecture, shape, 3, Streams(0)), shape, Steps(10, 0.02, undo=20))
    x = np.random.default_rng(5).normal(size=int(np.prod(shape)))
    value, gradient = problem.loss(x, 2)
    expected, slope = unrolled_network(problem, x, 2)
    assert value == pytest.approx(expected, rel=1e-10)
    assert gradient() == pytest.approx(slope, abs=near * np.abs(slope).max())
    assert np.abs(slope).max() > 1e-6


def test_one_undoing_iteration_is_near_and_more_are_nearer() -> None:
    network, x = build(tanh, (5,), 3, Streams(0)), np.random.default_rng(5).normal(size=5)
    errors = []
    for undo in (1, 2, 4):
        problem = network_problem(network, (5,), Steps(30, 0.1, undo))
        exact = unrolled_network(problem, x, 2)[1]
        errors.append(float(np.linalg.norm(problem.loss(x, 2)[1]() - exact) / np.linalg.norm(exact)))
    assert errors[0] < 0.05
    assert errors[2] < errors[1] < errors[0]


def test_memory_does_not_grow_with_the_number_of_steps() -> None:
    peaks = []
    for number in (20, 2000):
        problem = linear(SOFTMAX, 3, Steps(number, 0.05))
        gradient = problem.loss(np.zeros(5), 1)[1]
        gradient()
        tracemalloc.start()
        gradient()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]  # the weights alone of 2,000 steps would be 2000 * 21 * 3 * 8 bytes = 1 MB
    assert peaks[1] < 200_000


def breast_cancer() -> tuple[Dataset, Dataset, Dataset]:
    split = load("breast-cancer", Streams(5))
    return split.train[:80], split.train[80:280], split.test


SGD = Training(epochs=300, batch_size=1000, optimizer="sgd", learning_rate=0.1, shuffle=False)


def error(model: object, poison_rows: Dataset, test: Dataset) -> float:
    fitted = learner(model, SGD).fit(poison_rows, Streams(0))  # type: ignore[arg-type]
    return float((fitted.predict(test.x) != test.y).mean())


@pytest.mark.parametrize("model", [Logistic(), Adaline()], ids=["logistic", "adaline"])
def test_its_rows_cost_more_accuracy_than_the_rows_that_it_starts_from(model: object) -> None:
    data, rows, test = breast_cancer()
    rate = 0.1 if isinstance(model, Logistic) else 0.02
    errors = {}
    for attack in (FlippedPoints(0.15), BackGradient(0.15, learner=model, learning_rate=rate, ascent=Ascent(steps=25))):  # type: ignore[arg-type]
        poison = attack(data, context(rows))
        enforce(ThreatModel("data-injection", "availability", max_poisoned_rate=0.15), data, poison)
        errors[type(attack).__name__] = error(model, poison.data, test)
    assert errors["BackGradient"] > errors["FlippedPoints"] + 0.03


def test_what_it_finds_for_one_learner_works_on_another() -> None:
    data, rows, test = breast_cancer()
    poison = BackGradient(0.15, learner=Adaline(), learning_rate=0.02)(data, context(rows))
    flipped = FlippedPoints(0.15)(data, context(rows))
    assert error(Logistic(), poison.data, test) > error(Logistic(), flipped.data, test) + 0.03


def test_a_network_s_loss_rises_and_its_start_is_drawn_from_the_streams() -> None:
    data, rows, _ = breast_cancer()
    attack = BackGradient(0.025, learner=MLP(hidden=(4,)), steps=50, learning_rate=0.3, ascent=Ascent(steps=6))
    poison = attack(data, context(rows))
    network = build(attack.learner, data.shape, 2, context().streams.child("learner"))
    problem, losses = NetworkProblem.of(network, Steps(50, 0.3), data, rows, None), []
    for added in (FlippedPoints(0.025)(data, context(rows)).data[80:], poison.data[80:]):
        losses.append(problem.add(added.x[0], int(added.y[0])).loss(added.x[1], int(added.y[1]))[0])
    assert losses[1] > losses[0] + 0.005


def test_error_specific_rows_turn_one_digit_into_another() -> None:
    split = load("digits", Streams(2))
    data, rows, test = split.train[:200], split.train[200:400], split.test
    wanted = tuple(3 if c == 8 else c for c in range(10))
    attack = BackGradient(0.025, wanted=wanted, steps=50, learning_rate=0.3, ascent=Ascent(steps=10))
    poison = attack(data, context(rows))
    assert set(poison.data.y[200:]) == {3}
    eights = test.x[test.y == 8]
    shares = [
        float((TorchLearner(Logistic(), SGD).fit(rows, Streams(0)).predict(eights) == 3).mean())
        for rows in (data, poison.data)
    ]
    assert shares[1] > shares[0] + 0.05


def test_without_steps_it_adds_what_flipping_adds() -> None:
    data, rows = table(40, 3), table(50, 3, 1)
    still = BackGradient(poisoned_rate=0.1, ascent=Ascent(steps=0, box=(-9, 9)))(data, context(rows))
    flipped = FlippedPoints(poisoned_rate=0.1)(data, context(rows))
    assert np.array_equal(still.data.x, flipped.data.x)
    assert np.array_equal(still.data.y, flipped.data.y)
    assert (
        rows.y[[int(np.flatnonzero((rows.x == x).all(axis=1))[0]) for x in flipped.data.x[40:]]] != flipped.data.y[40:]
    ).all()


def test_what_it_cannot_attack_is_refused() -> None:
    data = table(30, 3)
    with pytest.raises(DataError, match="rows with classes"):
        BackGradient()(Dataset(data.x, data.x[:, 0], ()), context())
    with pytest.raises(DataError, match="dense rows"):
        BackGradient()(Dataset(sp.csr_array(data.x), data.y, data.classes), context())
    with pytest.raises(DataError, match="training rows of two classes"):
        BackGradient()(Dataset(data.x, np.zeros(30), ("a",)), context())
    with pytest.raises(DataError, match="3 wanted classes from 0 to 2"):
        BackGradient(wanted=(1, 0))(data, context())
    with pytest.raises(DataError, match="a label from 0 to 2"):
        BackGradient(label=5)(data, context())
    with pytest.raises(DataError, match="rows of a class that can be mislabelled"):
        BackGradient(wanted=(0, 1, 2))(data, context())
    with pytest.raises(ModelError, match="RandomForest"):
        BackGradient(learner=RandomForest())(data, context())
    with pytest.raises(ModelError, match=r"lower BackGradient\.learning_rate"):
        BackGradient(learner=Adaline(), learning_rate=1e3)(data, context())


def test_a_budget_below_one_row_adds_none() -> None:
    assert not BackGradient(poisoned_rate=0.01)(table(60, 2), context()).mask.any()


@pytest.mark.parametrize("fields", [{"poisoned_rate": -1}, {"steps": 0}, {"undo": 0}, {"learning_rate": 0}])
def test_nonsense_is_refused_in_one_line(fields: dict[str, float]) -> None:
    with pytest.raises(PluginError) as caught:
        BackGradient(**fields)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
