"""What a reducer of a third party may do wrong: each mistake is one typed line that names the reducer, not the chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView
from antivenom.federated import Chain, Clip, Mean, Server
from antivenom.federated.distances import Gram
from antivenom.federated.guarded import NotFinite, guarded_mixing

ROWS = torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 12.0]])


class Reduces:
    """A reducer that returns what a function makes of the rows and weights."""

    def __init__(self, reduce: Callable[[Tensor, Tensor | None], Any]) -> None:
        self.reduce = reduce

    def __call__(self, updates: Tensor, weights: Tensor | None, view: ServerView | None) -> Any:
        return self.reduce(updates, weights)


class Mixes:
    """A linear reducer that returns what a function makes of the Gram matrix."""

    def __init__(self, mix: Callable[[Gram], Any]) -> None:
        self.mix = mix

    def mixing(self, gram: Gram, weights: Tensor | None, view: ServerView | None) -> Any:
        return self.mix(gram)


def stepped(link: object, *before: object, rows: Tensor = ROWS) -> Any:
    return Server(Chain((*before, link), Mean())).step(1, torch.zeros(2), rows, range(len(rows)))  # type: ignore[arg-type]


def test_an_honest_reducer_passes() -> None:
    assert stepped(Reduces(lambda u, w: (2 * u, w))).aggregate.tolist() == pytest.approx([6.0, 32 / 3])
    assert stepped(Mixes(lambda gram: torch.eye(3, dtype=torch.float64)[:1])).aggregate.tolist() == pytest.approx(
        [1, 0]
    )


@pytest.mark.parametrize("before", [(), (Clip(100.0),)], ids=["first", "after another"])
@pytest.mark.parametrize(
    "write",
    [
        lambda u, w: u.mul_(2),
        lambda u, w: u.numpy().sort(axis=0),
        lambda u, w: u.data.zero_(),
        lambda u, w: w.fill_(1),
    ],
    ids=["in place", "numpy", "data", "weights"],
)
def test_a_reducer_that_writes_into_its_input_is_named(write: Callable[..., Any], before: tuple[object, ...]) -> None:
    rows = ROWS.flip(0).clone()  # sorted in the other direction
    link = Reduces(lambda u, w: (write(u, w), (u, w))[1])
    with pytest.raises(PluginError, match="expected Reduces to leave its inputs alone"):
        stepped(link, *before, rows=rows)


def test_a_reducer_that_writes_into_the_gram_matrix_is_named_and_the_next_one_sees_the_true_one() -> None:
    def writes(gram: Gram) -> Tensor:
        gram.products.zero_()
        return torch.eye(3, dtype=torch.float64)

    with pytest.raises(PluginError, match="expected Mixes to leave its inputs alone"):
        stepped(Mixes(writes))
    gram = Gram.of(ROWS.double())
    before = gram.products.clone()
    with pytest.raises(PluginError):
        guarded_mixing(Mixes(writes), gram, None, None)
    guarded_mixing(Mixes(lambda own: own.norms.zero_().diag() + torch.eye(3)), gram, None, None)
    assert torch.equal(gram.products, before)
    assert gram.norms.tolist() == pytest.approx([1.0, 5.0, 13.0])


@pytest.mark.parametrize(
    ("reduce", "message"),
    [
        (lambda u, w: (u[:, :1], w), r"rows of shape \(m, 2\) from Reduces, got \(3, 1\)"),
        (lambda u, w: (u[:0], w[:0]), r"rows of shape \(m, 2\) from Reduces, got \(0, 2\)"),
        (lambda u, w: (u[0], w), r"rows of shape \(m, 2\) from Reduces, got \(2,\)"),
        (lambda u, w: (u.long(), w), r"rows of shape \(m, 2\) from Reduces, got \(3, 2\) of torch.int64"),
        (lambda u, w: (u.numpy(), w), r"rows of shape \(m, 2\) from Reduces, got ndarray"),
        (lambda u, w: u, "rows and weights from Reduces, got Tensor: return both"),
        (lambda u, w: (u, w[:2]), r"weights of shape \(3,\) from Reduces, got \(2,\)"),
        (lambda u, w: (u, None), r"weights of shape \(3,\) from Reduces, got none"),
        (lambda u, w: 1 / 0, "expected Reduces to work, got ZeroDivisionError: division by zero"),
    ],
    ids=[
        "columns",
        "no rows",
        "a vector",
        "whole numbers",
        "array",
        "rows alone",
        "few weights",
        "no weights",
        "raises",
    ],
)
def test_what_a_reducer_returns_is_checked(reduce: Callable[..., Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        stepped(Reduces(reduce))


def test_weights_that_nobody_gave_are_refused() -> None:
    with pytest.raises(PluginError, match=r"no weights from Reduces, got \(3,\)"):
        Chain((Reduces(lambda u, w: (u, torch.ones(3))),), Mean())(ROWS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (lambda gram: torch.eye(2), r"shares of shape \(m, 3\) from Mixes, got \(2, 2\)"),
        (lambda gram: [[1.0] * 3], r"shares of shape \(m, 3\) from Mixes, got list"),
        (lambda gram: gram.nothing, "expected Mixes to work, got AttributeError"),
    ],
    ids=["shape", "list", "raises"],
)
def test_the_shares_of_a_linear_reducer_are_checked(mix: Callable[[Gram], Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        stepped(Mixes(mix))


@pytest.mark.parametrize(
    "link",
    [
        Reduces(lambda u, w: (u * torch.inf, w)),
        Reduces(lambda u, w: (u, w * torch.nan)),
        Mixes(lambda g: torch.eye(3) / 0),
    ],
    ids=["rows", "weights", "shares"],
)
def test_a_reducer_that_overflows_ends_a_bare_call_but_not_the_training(link: Any) -> None:
    decision = stepped(link)
    assert decision.aggregate.tolist() == [0.0, 0.0]
    assert "finite" in decision.failure
    assert type(link).__name__ in decision.failure
    with pytest.raises(NotFinite, match=type(link).__name__):
        Chain((link,), Mean())(ROWS, torch.ones(3))
