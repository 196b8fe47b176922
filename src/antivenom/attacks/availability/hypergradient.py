"""Derivatives of the loss after a fixed number of gradient steps with respect to one training row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit
from torch import Tensor

from antivenom.core.errors import ModelError
from antivenom.data import Dataset
from antivenom.models.network import Network


class Descent(Protocol):
    """A training loss in some coordinates, an array or a tensor w, of the weights."""

    def gradient(self, w: Any, /) -> Any:
        """Gradient of the training loss with respect to the weights, in the coordinates of w."""
        ...

    def products(self, w: Any, v: Any, /) -> tuple[Any, Any, Any]:
        """The gradient, the Hessian at w times v, and the derivative of v · gradient with respect to the row."""
        ...


@dataclass(frozen=True)
class Steps:
    """Full-batch gradient descent, forwards and backwards.

    Fields:
        number: T, number of steps.
        rate: learning rate.
        undo: fixed-point iterations that recover the weights before a step from those after it; the paper uses 1.
    """

    number: int
    rate: float
    undo: int = 1

    def forward(self, gradient: Callable[[Any], Any], w: Any) -> Any:
        """The weights after T steps from w."""
        for _ in range(self.number):
            w = w - self.rate * gradient(w)
        return w

    def backward(self, descent: Descent, w: Any, v: Any) -> Any:
        """The derivative of a loss with respect to the row; w are the weights after T steps, v the gradient of the loss.

        No intermediate weights are stored. Each step is undone by ascending the gradient, so that memory does not grow
        with T.
        """
        derivative, gradient = 0.0, descent.gradient(w)
        for _ in range(self.number):
            after = w
            w = after + self.rate * gradient
            for _ in range(self.undo - 1):
                w = after + self.rate * descent.gradient(w)
            gradient, curved, mixed = descent.products(w, v)
            derivative = derivative - self.rate * mixed
            v = v - self.rate * curved
        return derivative


# --- learners that are linear in the features ------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """Link and loss of a linear learner with outputs z (n, k) and targets y (n, k). The gradient of the loss is p - y.

    Fields:
        predict: z -> predictions p.
        curve: p and q (n, k) -> the derivative of p with respect to z, times q.
        loss: z and y -> losses (n,).
        low: target of the wrong classes; the target of the true class is 1.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    curve: Callable[[np.ndarray, np.ndarray], np.ndarray]
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray]
    low: float = 0.0

    def targets(self, y: np.ndarray, num_classes: int) -> np.ndarray:
        """Targets (n, 1) for two classes, otherwise (n, c)."""
        own = y[:, None] == (np.arange(num_classes) if num_classes > 2 else 1)
        return np.where(own, 1.0, self.low)


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _log_sum_exp(z: np.ndarray) -> np.ndarray:
    top = z.max(axis=1)
    return np.asarray(top + np.log(np.exp(z - top[:, None]).sum(axis=1)))


SIGMOID = Link(expit, lambda p, q: p * (1 - p) * q, lambda z, y: (np.logaddexp(0, z) - y * z)[:, 0])
SOFTMAX = Link(
    _softmax,
    lambda p, q: p * (q - (p * q).sum(axis=1, keepdims=True)),
    lambda z, y: _log_sum_exp(z) - (z * y).sum(axis=1),
)
IDENTITY = Link(lambda z: z, lambda p, q: q, lambda z, y: ((z - y) ** 2).sum(axis=1) / 2, low=-1.0)


@dataclass(frozen=True, eq=False)
class Dual:
    """The mean loss of a linear learner whose weights are a linear combination of its rows.

    Gradient descent from zero never leaves the span of the rows. So the weights are coefficients w (n, k), and the outputs
    are G w. A step costs n^2 k operations, independently of the number of features.

    Fields:
        link: link and loss.
        gram: (n, n) inner products G of the rows.
        y: (n, k) targets.
    """

    link: Link
    gram: np.ndarray
    y: np.ndarray

    def gradient(self, w: np.ndarray) -> np.ndarray:
        return np.asarray((self.link.predict(self.gram @ w) - self.y) / len(self.y))


@dataclass(frozen=True, eq=False)
class Adjoint(Dual):
    """The backward pass. The last row is the variable; a direction is `start` minus a linear combination v of the rows.

    Fields:
        start: (m, k) direction at the end of training, as coefficients of the attacker's rows.
        pull: (n, k) inner products of the training rows with `start`.
    """

    start: np.ndarray
    pull: np.ndarray

    def products(self, w: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The derivative with respect to the row is given as coefficients (m + n,) of attacker's and training rows."""
        p, n = self.link.predict(self.gram @ w), len(self.y)
        residual, curved = p - self.y, self.link.curve(p, self.pull - self.gram @ v)
        mixed = np.concatenate([self.start @ residual[-1], w @ curved[-1] - v @ residual[-1]])
        return residual / n, -curved / n, mixed / n


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """A linear learner with bias, and its mean loss on the attacker's rows.

    Fields:
        link, steps: the learner.
        x, y: (n, d) training rows and (n, k) targets.
        others, truth: (m, d) the attacker's rows and (m, k) targets.
        sign: 1 to raise the loss, -1 to lower it.
        num_classes: c.
        gram, cross: (n, n) and (m, n) inner products, 1 added for the bias.
    """

    link: Link
    steps: Steps
    x: np.ndarray
    y: np.ndarray
    others: np.ndarray
    truth: np.ndarray
    sign: int
    num_classes: int
    gram: np.ndarray
    cross: np.ndarray

    @classmethod
    def of(cls, link: Link, steps: Steps, data: Dataset, rows: Dataset, wanted: np.ndarray | None) -> Self:
        x, others = (part.dense.reshape(len(part), -1).astype(np.float64) for part in (data, rows))
        y, c = link.targets(data.y, data.num_classes), data.num_classes
        truth = link.targets(rows.y if wanted is None else wanted, c)
        sign = 1 if wanted is None else -1
        return cls(link, steps, x, y, others, truth, sign, c, x @ x.T + 1, others @ x.T + 1)

    def add(self, x: np.ndarray, label: int) -> Self:
        column = self.x @ x + 1
        gram = np.block([[self.gram, column[:, None]], [column, x @ x + 1]])
        cross = np.column_stack([self.cross, self.others @ x + 1])
        y = np.vstack([self.y, self.link.targets(np.array([label]), self.num_classes)])
        return replace(self, x=np.vstack([self.x, x]), y=y, gram=gram, cross=cross)

    def loss(self, x: np.ndarray, label: int) -> tuple[float, Callable[[], np.ndarray]]:
        more = self.add(x, label)
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging descent is refused below
            w = self.steps.forward(Dual(self.link, more.gram, more.y).gradient, np.zeros_like(more.y))
            z = more.cross @ w
            value = self.sign * float(self.link.loss(z, self.truth).mean())
        _finite(value)

        def gradient() -> np.ndarray:
            start = self.sign * (self.link.predict(z) - self.truth) / len(self.truth)
            back = Adjoint(self.link, more.gram, more.y, start, more.cross.T @ start)
            found = self.steps.backward(back, w, np.zeros_like(w))
            m = len(self.truth)
            return np.asarray(found[:m] @ self.others + found[m:] @ more.x)

        return value, gradient


def _finite(value: float) -> None:
    if not np.isfinite(value):
        raise ModelError(
            "an attacker's learner that converges", f"a loss of {value}", "lower BackGradient.learning_rate"
        )


# --- networks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Loss:
    """The mean cross-entropy of a network on rows x and one additional `row`, which is the variable."""

    network: Network
    buffers: dict[str, Tensor]
    x: Tensor
    y: Tensor
    row: Tensor

    def __call__(self, w: Tensor) -> Tensor:
        return F.cross_entropy(self.network.logits(w, torch.cat([self.x, self.row]), self.buffers), self.y)

    def gradient(self, w: Tensor) -> Tensor:
        w = w.detach().requires_grad_()
        return torch.autograd.grad(self(w), w)[0]

    def products(self, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w = w.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self(w), w, create_graph=True)
        curved, mixed = torch.autograd.grad(gradient @ v, (w, self.row))
        return gradient.detach(), curved, mixed


@dataclass(frozen=True, eq=False)
class NetworkProblem:
    """A network that starts from given weights, and its mean cross-entropy on the attacker's rows.

    Fields:
        network, start, steps: the learner; `start` (d,) in double precision, because steps are undone.
        x, y: training rows and classes.
        others, truth: the attacker's rows and classes.
        sign: 1 to raise the loss, -1 to lower it.
    """

    network: Network
    start: Tensor
    steps: Steps
    x: Tensor
    y: Tensor
    others: Tensor
    truth: Tensor
    sign: int

    @classmethod
    def of(cls, network: Network, steps: Steps, data: Dataset, rows: Dataset, wanted: np.ndarray | None) -> Self:
        x, others = (torch.tensor(part.dense, dtype=torch.float64) for part in (data, rows))
        truth, sign = (rows.y, 1) if wanted is None else (wanted, -1)
        y = torch.tensor(data.y)
        return cls(network, network.initial.double(), steps, x, y, others, torch.tensor(truth), sign)

    def add(self, x: np.ndarray, label: int) -> Self:
        return replace(self, x=torch.cat([self.x, self._row(x)]), y=self._labels(label))

    def loss(self, x: np.ndarray, label: int) -> tuple[float, Callable[[], np.ndarray]]:
        buffers = {name: b.double() if b.is_floating_point() else b for name, b in self.network.buffers.items()}
        training = Loss(self.network, buffers, self.x, self._labels(label), self._row(x).requires_grad_())
        w = self.steps.forward(training.gradient, self.start).requires_grad_()
        value = self.sign * F.cross_entropy(self.network.logits(w, self.others, buffers), self.truth)
        _finite(value.item())

        def gradient() -> np.ndarray:
            (v,) = torch.autograd.grad(value, w)
            return np.asarray(self.steps.backward(training, w.detach(), v).numpy().reshape(-1))

        return value.item(), gradient

    def _row(self, x: np.ndarray) -> Tensor:
        return torch.tensor(x, dtype=torch.float64).reshape(1, *self.network.row_shape)

    def _labels(self, label: int) -> Tensor:
        return torch.cat([self.y, torch.tensor([label])])
