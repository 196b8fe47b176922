"""Gradient attacks against what else computes them: processor seconds, and their ratio.

    python benchmarks/availability_attacks.py [--repeats 5]

One row against a linear SVM (MNIST 7 against 1, 100 training and 500 validation images), from equal starts, against ART's
attack where it is installed; and one hypergradient of 100 training steps against unrolling them with autograd. Both sides
run in one process on one thread. What each reached is printed too: a fast wrong answer is no answer.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from antivenom.attacks.availability.ascent import Ascent
from antivenom.attacks.availability.hypergradient import SIGMOID, LinearProblem, NetworkProblem, Steps
from antivenom.attacks.availability.svm import Kernel, Machine
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.models.architectures import MLP
from antivenom.models.network import build

PEER_STEPS, PEER_STEP = 100, 0.5  # of ART's attack: moves, and length of one


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def images(seed: int) -> tuple[Dataset, Dataset]:
    """100 training and 500 validation images of 7 (class 0) and 1 (class 1)."""
    train = load("mnist", Streams(0)).train
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(np.isin(train.y, (7, 1))))[:600]
    data = Dataset(train.dense[rows], (train.y[rows] == 1).astype(int), ("7", "1"))
    return data[:100], data[100:]


def art_row(data: Dataset, rows: Dataset, start: np.ndarray, label: int) -> np.ndarray:
    from art.attacks.poisoning import PoisoningAttackSVM
    from art.estimators.classification import SklearnClassifier
    from sklearn.svm import SVC

    flat, others = (np.asarray(part.flat, dtype=np.float64) for part in (data, rows))
    targets, truth = np.eye(2)[data.y], np.eye(2)[rows.y]
    classifier = SklearnClassifier(model=SVC(C=1.0, kernel="linear"), clip_values=(0, 1))
    classifier.fit(flat, targets)
    attack = PoisoningAttackSVM(
        classifier, PEER_STEP, 1.0, flat, targets, others, truth, max_iter=PEER_STEPS, verbose=False
    )
    # Its `poison` goes on to ask the machine for probabilities, which scikit-learn's newest does not give.
    return np.asarray(attack.generate_attack_point(start.copy(), np.eye(2)[label])[0])


def svm(repeats: int) -> None:
    print("| split, label | hinge at the start | ART | s | here | s | ratio |\n|" + " --- |" * 7)
    ratios, ascent = [], Ascent(step=0.1, box=(0, 1))
    for seed in range(repeats):
        data, rows = images(seed)
        label = seed % 2
        first = int(np.flatnonzero(rows.y != label)[0])
        start, problem = rows.flat[first].astype(np.float64), Machine.of(Kernel(), 1.0, data, rows)
        low, high = ascent.bounds(data)
        seconds, (value, _) = timed(lambda: ascent.climb(problem, start, label, low, high))  # noqa: B023
        line = f"{value:.3f} | {seconds:.2f}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                peer, row = timed(lambda: art_row(data, rows, start, label))  # noqa: B023
            ratios.append(peer / seconds)
            line = f"{problem.loss(row, label)[0]:.3f} | {peer:.1f} | {line} | {ratios[-1]:.0f}"
        except ImportError:
            line = f"not installed | | {line} | "
        print(f"| {seed}, {label} | {problem.loss(start, label)[0]:.3f} | {line} |", flush=True)
    if ratios:
        print(f"\nmedian ratio {statistics.median(ratios):.0f}, least {min(ratios):.0f}")


def unrolled(loss: Callable[..., torch.Tensor], w: torch.Tensor, row: torch.Tensor, steps: Steps) -> np.ndarray:
    """The gradient of loss(w, None) after all steps on loss(w, row), every step kept."""
    w = w.detach().clone().requires_grad_()
    for _ in range(steps.number):
        (step,) = torch.autograd.grad(loss(w, row), w, create_graph=True)
        w = w - steps.rate * step
    return torch.autograd.grad(loss(w, None), row)[0].numpy().reshape(-1)


def hypergradients(repeats: int) -> None:
    data, rows = images(0)
    x, others = (torch.tensor(part.flat, dtype=torch.float64) for part in (data, rows))
    y, truth = torch.tensor(np.append(data.y, 0)), torch.tensor(rows.y)
    start, steps = rows.flat[int(np.flatnonzero(rows.y == 1)[0])].astype(np.float64), Steps(100, 0.1)

    def logistic(w: torch.Tensor, row: torch.Tensor | None) -> torch.Tensor:
        z = (others if row is None else torch.cat([x, row[None]])) @ w[:-1] + w[-1]
        return F.binary_cross_entropy_with_logits(z, (truth if row is None else y).double())

    flat = Dataset(data.flat, data.y, data.classes), Dataset(rows.flat, rows.y, rows.classes)
    network = build(MLP(hidden=(10,)), (784,), 2, Streams(0))
    deep = NetworkProblem.of(network, steps, *flat, None)

    def mlp(w: torch.Tensor, row: torch.Tensor | None) -> torch.Tensor:
        z = network.logits(w, others if row is None else torch.cat([x, row[None]]))
        return F.cross_entropy(z, truth if row is None else y)

    closed = LinearProblem.of(SIGMOID, steps, *flat, None)
    cases = [
        ("logistic regression", closed, logistic, torch.zeros(785, dtype=torch.float64)),
        ("MLP of 10", deep, mlp, deep.start),
    ]
    print("\n| learner | unrolled ms | back-gradient ms | ratio | cosine |\n|" + " --- |" * 5)
    for name, problem, loss, w in cases:
        ours, theirs = [], []
        for _ in range(repeats):
            seconds, gradient = timed(lambda: problem.loss(start, 0)[1]())  # noqa: B023
            ours.append(seconds)
            row = torch.tensor(start, requires_grad=True)
            seconds, exact = timed(lambda: unrolled(loss, w, row, steps))  # noqa: B023
            theirs.append(seconds)
        cosine = gradient @ exact / np.linalg.norm(gradient) / np.linalg.norm(exact)
        here, there = min(ours), min(theirs)
        print(f"| {name} | {1000 * there:.0f} | {1000 * here:.1f} | {there / here:.1f} | {cosine:.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, numpy {np.__version__}, {platform.processor() or platform.machine()}\n")
    svm(options.repeats)
    hypergradients(options.repeats)


if __name__ == "__main__":
    main()
