"""The gradient attack on support vector machines: its machine, its gradient, what it achieves and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.svm import SVC

from antivenom.attacks import FlippedPoints, SVMPoisoning
from antivenom.attacks.availability.ascent import Ascent
from antivenom.attacks.availability.svm import Kernel, Machine
from antivenom.core.errors import AntivenomError, DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, load
from antivenom.scenarios.grants import enforce

INJECTS = ThreatModel("data-injection", "availability")
KERNELS = [Kernel(), Kernel("poly", 0.3, 3, 1.0), Kernel("rbf", 0.2)]


def context(rows: Dataset | None = None, seed: int = 1) -> AttackContext:
    return AttackContext(Streams(seed), INJECTS, rows=rows)


def blobs(n: int, seed: int) -> Dataset:
    """Two overlapping classes in four dimensions."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    return Dataset(x, x[:, 0] + 0.6 * rng.normal(size=n) > 0, ("a", "b"))


def machine(kernel: Kernel, seed: int = 0) -> Machine:
    return Machine.of(kernel, 1.0, blobs(30, seed), blobs(40, seed + 100))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_slope_of_a_kernel_is_its_derivative(kernel: Kernel) -> None:
    rng = np.random.default_rng(2)
    weights, a, x = rng.normal(size=5), rng.normal(size=(5, 3)), rng.normal(size=3)
    numeric = [
        (weights @ (kernel(a, (x + h)[None]) - kernel(a, (x - h)[None]))).item() / 2e-5 for h in 1e-5 * np.eye(3)
    ]
    assert kernel.slope(weights, a, x) == pytest.approx(numeric, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_machine_is_scikit_learn_s_and_its_loss_is_the_hinge_written_out(kernel: Kernel) -> None:
    data, rows = blobs(30, 0), blobs(40, 100)
    x = np.array([0.5, -1.0, 0.3, 2.0])
    names = {"kernel": kernel.name, "gamma": kernel.gamma, "degree": kernel.degree, "coef0": kernel.coef0}
    svc = SVC(C=1.0, tol=1e-8, **names).fit(np.vstack([data.x, x]).astype(np.float64), np.append(data.y, 1))
    scores = svc.decision_function(rows.x.astype(np.float64))
    hinge = sum(max(0.0, 1 - (1 if label else -1) * score) for score, label in zip(scores, rows.y, strict=True)) / 40
    assert machine(kernel).loss(x, 1)[0] == pytest.approx(hinge, abs=1e-5)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_gradient_is_the_numeric_one_wherever_the_row_lies(kernel: Kernel) -> None:
    kinds = set()
    for seed in range(24):
        problem, label = machine(kernel, seed), seed % 2
        x = np.random.default_rng(500 + seed).normal(size=4) * (0.5 if seed % 3 else 2.0)
        solution = problem.add(x, label).solution
        kinds.add("bound" if solution.alpha[-1] == 1 else "margin" if 30 in solution.margin else "rest")
        numeric = [(problem.loss(x + h, label)[0] - problem.loss(x - h, label)[0]) / 2e-6 for h in 1e-6 * np.eye(4)]
        assert problem.loss(x, label)[1]() == pytest.approx(numeric, rel=1e-4, abs=1e-7)
    assert kinds == {"bound", "margin", "rest"}


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_solution_keeps_the_kkt_conditions_from_a_guess_and_without(kernel: Kernel) -> None:
    for seed in range(6):
        grown = machine(kernel, seed).add(np.random.default_rng(seed).normal(size=4), seed % 2)
        for problem in (grown, replace(grown, guess=None)):
            found = problem.solution
            slack = problem.y * (problem.gram @ (found.alpha * problem.y) + found.bias) - 1
            inside = (found.alpha > 0) & (found.alpha < 1)
            assert found.alpha @ problem.y == pytest.approx(0, abs=1e-6)
            assert found.alpha.min() >= 0
            assert found.alpha.max() <= 1
            assert np.abs(slack[inside]).max() < 1e-4
            assert slack[found.alpha == 0].min() > -1e-4
            assert slack[found.alpha == 1].max() < 1e-4


def test_a_row_far_on_its_own_side_has_no_influence() -> None:
    line = Dataset(np.array([[-1.0], [1.0]]), np.array([0, 1]), ("a", "b"))
    problem = Machine.of(Kernel(), 10.0, line, Dataset(np.array([[0.5], [-2.0]]), np.array([1, 0]), ("a", "b")))
    loss, gradient = problem.loss(np.array([3.0]), 1)
    assert loss == pytest.approx(0.25)  # w = 1 and b = 0, so the hinges are 1/2 and 0
    assert gradient().tolist() == [0]


def test_repeated_rows_on_the_margin_do_not_break_the_solution() -> None:
    line = Dataset(np.array([[-1.0], [-1.0], [1.0], [1.0]]), np.array([0, 0, 1, 1]), ("a", "b"))
    problem = Machine.of(Kernel(), 10.0, line, line)
    assert problem.loss(np.array([1.0]), 1)[0] == pytest.approx(0, abs=1e-6)
    assert np.isfinite(problem.loss(np.array([1.0]), 1)[1]()).all()


def test_rows_of_zeros_are_rows_too() -> None:
    zeros = Dataset(np.zeros((4, 2)), np.array([0, 0, 1, 1]), ("a", "b"))
    loss, gradient = Machine.of(Kernel(), 1.0, zeros, zeros).loss(np.array([0.0, 0.0]), 1)
    assert loss == pytest.approx(1, abs=1e-6)  # nothing to tell them apart by: the bias alone errs on half of the rows
    assert np.isfinite(gradient()).all()


def test_without_steps_it_adds_what_flipping_adds() -> None:
    data, rows = blobs(50, 3), blobs(60, 4)
    still = SVMPoisoning(poisoned_rate=0.1, ascent=Ascent(steps=0, box=(-9, 9)))(data, context(rows))
    flipped = FlippedPoints(poisoned_rate=0.1)(data, context(rows))
    assert np.array_equal(still.data.x, flipped.data.x)
    assert np.array_equal(still.data.y, flipped.data.y)


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf"])
def test_its_rows_cost_more_accuracy_than_the_rows_that_it_starts_from(kernel: str) -> None:
    split = load("breast-cancer", Streams(5))
    data, rows = split.train[:100], split.train[100:300]
    errors = {}
    for attack in (FlippedPoints(poisoned_rate=0.05), SVMPoisoning(poisoned_rate=0.05, kernel=kernel)):
        poison = attack(data, context(rows))
        enforce(ThreatModel("data-injection", "availability", max_poisoned_rate=0.05), data, poison)
        svc = SVC(kernel=kernel).fit(poison.data.x, poison.data.y)
        errors[type(attack).__name__] = 1 - svc.score(split.test.x, split.test.y)
        low, high = data.x.min(axis=0), data.x.max(axis=0)
        if isinstance(attack, SVMPoisoning):
            added = poison.data.x[100:]
            assert (added >= low).all()
            assert (added <= high).all()
    assert errors["SVMPoisoning"] > errors["FlippedPoints"] + 0.01


def test_one_label_can_be_demanded() -> None:
    poison = SVMPoisoning(poisoned_rate=0.1, label=0)(blobs(30, 0), context(blobs(30, 1)))
    assert poison.data.y[30:].tolist() == [0, 0, 0]


def test_without_rows_of_his_own_the_attacker_puts_a_third_aside() -> None:
    poison = SVMPoisoning(poisoned_rate=0.05)(blobs(60, 0), context())
    assert poison.mask.sum() == 3


def test_a_budget_below_one_row_adds_none() -> None:
    assert not SVMPoisoning(poisoned_rate=0.01)(blobs(60, 0), context()).mask.any()


def test_what_it_cannot_attack_is_refused() -> None:
    data = blobs(30, 0)
    many = Dataset(data.x, np.arange(30) % 3, ("a", "b", "c"))
    with pytest.raises(NotApplicable, match="two classes for SVMPoisoning"):
        SVMPoisoning()(many, context())
    with pytest.raises(DataError, match="rows with classes"):
        SVMPoisoning()(Dataset(data.x, data.x[:, 0], ()), context())
    with pytest.raises(DataError, match="rows with classes"):
        SVMPoisoning()(Dataset(data.x, data.x[:, 0], ()), context())
    with pytest.raises(DataError, match="rows with classes"):
        SVMPoisoning()(Dataset(data.x, data.x[:, 0], ()), context())
    with pytest.raises(DataError, match="dense rows"):
        SVMPoisoning(0.5)(Dataset(sp.csr_array(data.x), data.y, ("a", "b")), context())
    with pytest.raises(DataError, match="a label from 0 to 1"):
        SVMPoisoning(0.5, label=2)(data, context())


def test_constant_features_stay_constant() -> None:
    data = blobs(30, 0)
    flat = Dataset(np.column_stack([data.x, np.full(30, 7.0)]), data.y, ("a", "b"))
    poison = SVMPoisoning(poisoned_rate=0.1)(flat, context())
    assert (poison.data.x[:, 4] == 7).all()


@pytest.mark.parametrize(
    "fields",
    [
        {"poisoned_rate": 2},
        {"kernel": "sigmoid"},
        {"c": 0},
        {"degree": 0},
        {"gamma": -1.0},
        {"coef0": np.inf},
    ],
)
def test_nonsense_is_refused_in_one_line(fields: dict[str, float]) -> None:
    with pytest.raises(PluginError) as caught:
        SVMPoisoning(**fields)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, AntivenomError)
