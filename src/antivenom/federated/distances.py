"""Distances, norms and angles of updates, from one Gram matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from antivenom.fast import kernels


class Gram:
    """The inner products that give distances, norms and angles of n updates, computed on first use.

    Args:
        size: n.
        products: gives the (n + 1, n + 1) inner products of the n rows and, last, of the origin, about a common shift;
            float64, on the CPU. Differences of rows do not depend on the shift, and the origin gives norms and angles back.
        norms: gives the (n,) L2 norms of the rows where they cost less than the products; None is from these.
    """

    def __init__(self, size: int, products: Callable[[], Tensor], norms: Callable[[], Tensor] | None = None) -> None:
        self._size, self._products, self._norms = size, products, norms

    @classmethod
    def of(cls, updates: Tensor) -> Gram:
        """From the rows of (n, d): the products are the one pass over them that costs n * n * d."""
        return cls(len(updates), lambda: kernels.gram(updates), lambda: kernels.norms(updates).cpu())

    def __len__(self) -> int:
        return self._size

    @cached_property
    def products(self) -> Tensor:
        """(n + 1, n + 1) inner products of the rows and, last, of the origin, about a common shift."""
        half = self._products() / 2
        return half + half.T  # a matrix product is symmetric to rounding only, and clusterings insist on it

    @property
    def centred(self) -> Tensor:
        """(n, n) inner products of the rows about the shift: for whatever depends on differences only."""
        return self.products[:-1, :-1]

    @property
    def squared_distances(self) -> Tensor:
        """(n, n) squared L2 distances between the rows."""
        norms = self.centred.diagonal()
        squares = (norms[:, None] + norms[None, :] - 2 * self.centred).clamp_min_(0)
        return squares.fill_diagonal_(0)

    @property
    def inner(self) -> Tensor:
        """(n, n) inner products of the rows as they are."""
        to_origin = self.products[-1]
        both = to_origin[:-1, None] + to_origin[None, :-1]  # symmetric, as two differences one after another are not
        return self.centred - both + to_origin[-1]

    @cached_property
    def norms(self) -> Tensor:
        """(n,) L2 norms of the rows."""
        if self._norms is not None and "products" not in vars(self):
            return self._norms()
        return self.inner.diagonal().clamp_min(0).sqrt()

    @property
    def cosines(self) -> Tensor:
        """(n, n) cosines between the rows, 1 of a row with itself; 0 with a row of zeros.

        In float32 their error is about 1e-7 r where one of two rows is r times shorter than most, 1e-7 r^2 where both are;
        docs/design/rules.md has the bounds.
        """
        lengths = self.norms
        scale = lengths.where(lengths > 0, torch.inf)
        half = (self.inner / scale[:, None] / scale[None, :]).clamp_(-1, 1) / 2
        return (half + half.T).fill_diagonal_(1)  # of hostile rows the two can differ by more than rounding

    def copied(self) -> Gram:
        """The same numbers in memory of its own. Numbers computed for the copy are also kept here."""
        return Gram(self._size, lambda: self.products.clone(), lambda: self.norms.clone())

    def mixed(self, mixing: Tensor) -> Gram:
        """The Gram matrix of mixing (m, n) @ rows, without the rows: W G W^T, where the origin stays where it is."""
        m, n = mixing.shape
        whole = mixing.new_zeros(m + 1, n + 1)
        whole[:m, :n], whole[:m, n], whole[m, n] = mixing, 1 - mixing.sum(dim=1), 1
        return Gram(m, lambda: whole @ self.products @ whole.T)


def squared_distances(updates: Tensor) -> Tensor:
    """(n, n) squared L2 distances between the rows of (n, d), in double precision.

    Must equal `torch.cdist(updates, updates) ** 2` to rounding.
    """
    return Gram.of(updates).squared_distances


def distances(updates: Tensor) -> Tensor:
    """(n, n) L2 distances, in double precision."""
    return squared_distances(updates).sqrt_()


def middle_norm(norms: Tensor) -> Tensor:
    """The median norm; for even n the mean of the two middle ones."""
    return norms.quantile(0.5)


def clip_factors(norms: Tensor, bound: Tensor | float) -> Tensor:
    """(n,) what each row is multiplied with so that no norm exceeds the bound."""
    return (bound / norms.where(norms > 0, 1)).clamp(max=1).where(norms > 0, 1.0)
