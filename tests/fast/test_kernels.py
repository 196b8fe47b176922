"""The kernels against their definitions, written once more in numpy, and the Gram matrix against distances taken one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.fast import kernels
from antivenom.federated.distances import Gram, clip_factors, middle_norm


def rows(seed: int, n: int, d: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def eighths(seed: int, n: int, d: int) -> Tensor:
    """In single precision, in which products of such numbers, and sums of hundreds of them, are exact in any order."""
    return (8 * rows(seed, n, d)).round().float() / 8


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_median_equals_numpy(n: int) -> None:
    x = rows(n, n, 300)
    np.testing.assert_allclose(kernels.median(x), np.median(x.numpy(), axis=0))


@pytest.mark.parametrize(("n", "f"), [(1, 0), (3, 1), (5, 2), (8, 1), (8, 3)])
def test_trimmed_mean_equals_numpy(n: int, f: int) -> None:
    x = rows(n, n, 300)
    np.testing.assert_allclose(kernels.trimmed_mean(x, f), np.sort(x.numpy(), axis=0)[f : n - f].mean(axis=0))


@pytest.mark.parametrize(("n", "keep"), [(1, 1), (3, 2), (5, 2), (7, 1), (8, 5), (8, 8)])
def test_mean_around_median_equals_numpy(n: int, keep: int) -> None:
    x = rows(n, n, 300).numpy()
    far = np.abs(x - np.median(x, axis=0))
    # By distance, and of equally far ones the lower value first.
    order = np.lexsort((x, np.round(far, 12)), axis=0)[:keep]
    np.testing.assert_allclose(
        kernels.mean_around_median(torch.tensor(x), keep), np.take_along_axis(x, order, 0).mean(0)
    )


@pytest.mark.parametrize(
    ("values", "keep", "result"),
    [
        ([1.0, 2.0, 0.5], 2, 0.75),  # median 1
        ([-0.5, 0.0, 10.0], 1, 0.0),
        ([0.0, 1.0, 2.0, 10.0], 1, 1.0),  # median 1.5: 1 and 2 are equally near, the lower one counts
        ([1.0, 1.0, 1.0, 1e30], 3, 1.0),  # nothing is lost beside a huge value
    ],
)
def test_mean_around_median_by_hand(values: list[float], keep: int, result: float) -> None:
    x = torch.tensor(values, dtype=torch.float32)[:, None]
    assert kernels.mean_around_median(x, keep).tolist() == [result]


def test_finite_rows() -> None:
    x = torch.zeros(5, 3, dtype=torch.float64)
    x[1, 0], x[2, 1], x[4, 2] = float("nan"), float("-inf"), 1e200
    assert kernels.finite_rows(x).tolist() == [True, False, False, True, False]
    assert kernels.finite_rows(torch.full((1, 3), 3e38)).all()  # its square fits into double precision


@pytest.mark.parametrize("d", [50, 500])
def test_combine_returns_a_single_row_bit_by_bit(d: int) -> None:
    x = rows(0, 4, d, torch.float32)
    x[2, ::7] = -0.0
    one = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    assert torch.equal(kernels.combine(one, x).view(torch.int32), x[2].view(torch.int32))
    torch.testing.assert_close(kernels.mix(torch.ones(2, 4, dtype=torch.float64), x)[1], x.sum(0))


def test_gram_gives_distances_norms_and_cosines() -> None:
    x = eighths(1, 6, 200) + 3
    gram, exact, same = Gram.of(x), x.double(), {"rtol": 1e-12, "atol": 1e-9}
    torch.testing.assert_close(gram.inner, exact @ exact.T, **same)
    torch.testing.assert_close(gram.norms, exact.norm(dim=1), **same)
    torch.testing.assert_close(gram.squared_distances, (exact[:, None] - exact[None]).square().sum(2), **same)
    unit = exact / exact.norm(dim=1, keepdim=True)
    torch.testing.assert_close(gram.cosines, unit @ unit.T, **same)
    assert len(gram) == 6


def test_cosines_with_zeros_are_zero() -> None:
    cosines = Gram.of(torch.tensor([[0.0, 0.0], [1.0, 0.0], [-2.0, 0.0]])).cosines
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0, 0], [0, 1, -1], [0, -1, 1]], dtype=torch.float64))


@pytest.mark.parametrize("size", [1e3, 1e8, 1e30])
def test_huge_rows_do_not_drown_the_distances_of_the_others(size: float) -> None:
    # About the plain mean, the squares of all rows would be size^2 / n^2 and the differences between them lost.
    x = eighths(2, 9, 100)
    honest = torch.cdist(x[2:].double(), x[2:].double(), compute_mode="donot_use_mm_for_euclid_dist") ** 2
    x[:2] = size
    torch.testing.assert_close(Gram.of(x).squared_distances[2:, 2:], honest, rtol=1e-12, atol=1e-9)


def test_a_mixed_gram_is_the_gram_of_the_mixed_rows() -> None:
    x = rows(3, 5, 40) + 2
    for seed in range(3):
        mixing = rows(seed, 3, 5)  # its rows do not sum to one: the origin must stay where it is
        mixed, direct = Gram.of(x).mixed(mixing), Gram.of(mixing @ x)
        torch.testing.assert_close(mixed.inner, direct.inner)
        torch.testing.assert_close(mixed.squared_distances, direct.squared_distances)


def test_clip_factors_by_hand() -> None:
    norms = torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)
    assert clip_factors(norms, 2.0).tolist() == [1.0, 1.0, 0.5]
    assert middle_norm(torch.tensor([1.0, 2.0, 4.0, 90.0])) == 3.0
