"""Compiled kernels give what torch gives, and networks sort.

Most matrices hold multiples of 1/8. Their products, and sums of some thousands of these, are numbers of single precision, so
they come out exactly in whatever order a processor adds them. Elsewhere the bounds are those of docs/design/rules.md.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
import warnings

import numpy as np
import pytest
import torch

from antivenom.fast import kernels
from antivenom.fast.kernels import plain
from antivenom.fast.kernels.networks import apply, batcher, selection
from antivenom.fast.kernels.threads import over_columns
from antivenom.federated.distances import Gram

SIZES = (1, 2, 3, 4, 5, 7, 10, 16, 33)


def geometry(products: torch.Tensor) -> Gram:
    return Gram(len(products) - 1, lambda: products)


def matrix(n: int, kind: torch.dtype, d: int = 603) -> torch.Tensor:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(n), dtype=kind)
    x = (8 * x).round() / 8
    x[:, ::7] = x[:, ::7].round()  # with many ties
    return x


def check_mixed(found: torch.Tensor, c: torch.Tensor, x: torch.Tensor) -> None:
    """Each number is off by at most n + 1 roundings of the sum of its terms' absolute values, what is expected as well."""
    bound = (len(x) + 1) * torch.finfo(x.dtype).eps * (c.abs() @ x.double().abs())
    assert ((found.double() - c @ x.double()).abs() <= bound).all()


@pytest.mark.parametrize("n", range(1, 14))
def test_a_network_that_sorts_all_zeros_and_ones_sorts_everything(n: int) -> None:
    columns = np.array(list(itertools.product((0, 1), repeat=n))).T  # the zero-one principle
    assert (np.diff(apply([(i, j, 0) for i, j in batcher(n)], columns), axis=0) >= 0).all()


@pytest.mark.parametrize(("n", "first", "last"), [(5, 2, 2), (10, 4, 5), (50, 24, 25), (31, 6, 24)])
def test_a_selection_puts_its_rows_right_with_fewer_comparisons(n: int, first: int, last: int) -> None:
    columns = np.random.default_rng(0).standard_normal((n, 200))
    chosen = apply(selection(n, first, last), columns)[first : last + 1]
    assert np.array_equal(chosen, np.sort(columns, axis=0)[first : last + 1])
    assert len(selection(n, first, last)) <= len(batcher(n))


def some_of(numbers: range) -> list[int]:
    """All of up to 16 numbers, and otherwise both ends and the middle, because each makes a kernel that is compiled."""
    middle = len(numbers) // 2
    return [*numbers] if len(numbers) <= 16 else [*numbers[:3], *numbers[middle - 1 : middle + 1], *numbers[-3:]]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", SIZES)
def test_compiled_equals_plain(n: int, kind: torch.dtype) -> None:
    x = matrix(n, kind)
    same = {"rtol": 4 * torch.finfo(kind).eps, "atol": 0}  # sums are exact; then come a division and a fourth of it
    torch.testing.assert_close(kernels.median(x), plain.median(x), **same)
    for f in some_of(range((n - 1) // 2 + 1)):
        torch.testing.assert_close(kernels.trimmed_mean(x, f), plain.trimmed_mean(x, f), **same)
    for keep in some_of(range(1, n + 1)):
        torch.testing.assert_close(kernels.mean_around_median(x, keep), plain.mean_around_median(x, keep), **same)
    c = torch.linspace(-1, 2, n, dtype=torch.float64)
    check_mixed(kernels.combine(c, x)[None], c[None], x)
    check_mixed(kernels.mix(torch.outer(c, c), x), torch.outer(c, c), x)
    some = torch.arange(0, n, 2)
    torch.testing.assert_close(kernels.mean_around_median(x, 1, some), plain.mean_around_median(x[some], 1), **same)
    exact = {"rtol": 1e-12, "atol": 1e-9}  # the plain form takes a mean for its shift and rounds, in double precision
    torch.testing.assert_close(kernels.norms_about(x, x[0]), plain.norms_about(x, x[0]), **exact)
    found, wanted = geometry(kernels.gram(x)), geometry(plain.gram(x))
    torch.testing.assert_close(found.inner, wanted.inner, **exact)
    torch.testing.assert_close(found.squared_distances, wanted.squared_distances, **exact)


@pytest.mark.parametrize("module", [kernels, plain])
def test_errors_of_long_sums_do_not_grow_with_their_length(module) -> None:
    # Every 4096 columns a product of 1 comes first, and 2**-24 after that: added to 1 in single precision, each is lost.
    x = torch.full((1, 1 << 16), 2.0**-12)
    x[:, ::4096] = 1
    bound, exact = 514 * 2.0**-24, float(x.double().square().sum())
    one_by_one = float(np.cumsum(x[0, :4096].square().numpy())[-1])
    assert one_by_one == 1  # all are lost: seven times the bound
    assert float(x[:, :4096].double().square().sum()) - 1 > 7 * bound
    rows = torch.cat([torch.zeros_like(x), x, 2 * x])  # the shift is the middle one
    inner = geometry(module.gram(rows)).inner
    assert abs(float(inner[1, 1]) - exact) <= bound * exact
    assert abs(float(inner[1, 2]) - 2 * exact) <= 4 * bound * exact
    assert abs(float(module.norms_about(rows, rows[0])[1]) ** 2 - exact) <= bound * exact


@pytest.mark.parametrize("module", [kernels, plain])
def test_distances_survive_a_large_common_part_and_a_huge_row(module) -> None:
    x = matrix(8, torch.float32, 5000) + 1000
    x[3] = 1e15
    honest = torch.arange(8) != 3
    exact = torch.cdist(x[honest].double(), x[honest].double()) ** 2
    found = geometry(module.gram(x)).squared_distances
    torch.testing.assert_close(found[honest][:, honest], exact, rtol=1e-3, atol=1e-2)


def test_rows_that_overflow_single_precision_are_multiplied_in_double() -> None:
    x = matrix(6, torch.float32)
    x[2], x[4] = 1e25, -1e25
    torch.testing.assert_close(kernels.gram(x), plain.gram(x))
    assert geometry(kernels.gram(x)).squared_distances.isfinite().all()


def test_means_of_the_largest_numbers_are_finite() -> None:
    most = 3.3e38
    x = torch.tensor([[-most], [most], [most], [most], [most]]).expand(5, 100)
    for module in (kernels, plain):
        for found in (module.median(x[1:]), module.trimmed_mean(x, 1), module.mean_around_median(x, 4)):
            torch.testing.assert_close(found, x[1])
    torch.testing.assert_close(kernels.mean_around_median(x, 4, torch.arange(1, 5)), x[1])


@pytest.mark.parametrize("module", [kernels, plain])
def test_norms_and_angles_of_rows_far_shorter_than_the_others(module) -> None:
    x = matrix(7, torch.float32, 100)
    x[2] /= 64
    found, exact = geometry(module.gram(x)), torch.nn.functional.normalize(x.double(), dim=1)
    # The inner products with the short row i are (u_i, u_j) - |u_i|^2 / 2 - |u_j|^2 / 2 + |x_i|^2 / 2 + |x_j|^2 / 2 with u
    # about the shift: all of the size of the long rows' squared norms, each off by 102 roundings at most.
    lengths = x.double().norm(dim=1)
    about = torch.cdist(x, x).max().double()  # a u is a difference of two rows
    bound = 102 * 2.0**-24 * (2 * about**2 + lengths.max() ** 2) / (lengths.min() * lengths.sort().values[1])
    assert bound < 1e-2
    assert (found.cosines - exact @ exact.T).abs().max() <= bound
    x[2] /= 128
    torch.testing.assert_close(geometry(module.gram(x)).norms, x.double().norm(dim=1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("module", [kernels, plain])
@pytest.mark.parametrize("values", [[3e38, -3e38, 1e-40], [1e150, 1e-150], [-1e-300, 0.0]])
def test_geometry_of_hostile_rows_is_symmetric(module, values: list[float]) -> None:
    # Clusterings refuse distances that are not, and a refusal would end the training.
    x = torch.randn(11, 23, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x[: len(values)] = torch.tensor(values, dtype=torch.float64)[:, None]
    found = geometry(module.gram(x))
    for matrix in (found.inner, found.cosines, found.squared_distances):
        assert matrix.isfinite().all()
        assert torch.equal(matrix, matrix.T)
    torch.testing.assert_close(
        found.norms[: len(values)], x[: len(values)].abs()[:, 0] * 23**0.5, rtol=1e-12, atol=1e-7
    )


@pytest.mark.parametrize("module", [kernels, plain])
def test_rows_that_pass_as_finite_have_finite_products(module) -> None:
    x = matrix(3, torch.float64, 4)
    x[1] = 1e154
    assert module.finite_rows(x).tolist() == [True, False, True]
    x[0], x[1], x[2] = 8e152, -8e152, 1e152
    assert module.finite_rows(x).all()
    assert geometry(module.gram(x)).inner.isfinite().all()


def test_rows_with_nan_or_infinity_are_named() -> None:
    x = matrix(6, torch.float32)
    x[1, 5], x[4, -1] = float("nan"), float("inf")
    assert kernels.finite_rows(x).tolist() == plain.finite_rows(x).tolist() == [True, False, True, True, False, True]
    huge = matrix(3, torch.float64)
    huge[1] = 1e200  # its square is infinite
    assert kernels.finite_rows(huge).tolist() == plain.finite_rows(huge).tolist() == [True, False, True]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("n", [1, 5, 12])
def test_every_kernel_refuses_what_is_not_finite(n: int, bad: float) -> None:
    x = matrix(n, torch.float32)
    x[n // 2, 17] = bad
    zero = torch.zeros(n, dtype=torch.float64)
    passes = [
        lambda: kernels.median(x),
        lambda: kernels.trimmed_mean(x, (n - 1) // 2),
        lambda: kernels.mean_around_median(x, 1),
        lambda: kernels.gram(x),
        lambda: kernels.norms_about(x, torch.zeros(603)),
        lambda: kernels.combine(zero, x),
    ]
    for read in passes:
        with pytest.raises(FloatingPointError):
            read()


def test_several_threads_give_what_one_gives() -> None:
    x, tall = matrix(12, torch.float32, 100_000), matrix(9000, torch.float32, 90)  # 30 columns for each of 3
    c = torch.rand(7, 9000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = kernels.median(x), kernels.gram(x)
        mixed = kernels.mix(c, tall)
        torch.set_num_threads(3)
        torch.testing.assert_close(kernels.mix(c, tall), mixed, rtol=1e-5, atol=1e-4)  # in two orders
        together = kernels.median(x), kernels.gram(x)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone[0], together[0])
    torch.testing.assert_close(
        geometry(alone[1]).squared_distances, geometry(together[1]).squared_distances, rtol=1e-12, atol=0
    )


def test_no_thread_is_left_at_work_when_one_fails() -> None:
    x, done = np.zeros((4, 1 << 18), np.float32), []

    def work(begin: int, end: int) -> None:
        if begin == 0:
            raise KeyboardInterrupt
        time.sleep(0.2)
        done.append(end)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            over_columns(x, work)
    finally:
        torch.set_num_threads(before)
    assert done == [1 << 18]


def test_other_layouts_and_kinds_fall_back_or_are_copied() -> None:
    x = matrix(5, torch.float32)
    torch.testing.assert_close(kernels.median(x.T.contiguous().T), plain.median(x))
    assert kernels.median(x.to(torch.bfloat16)).dtype == torch.bfloat16
    assert kernels.median(x[:, :0]).shape == (0,)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 65])
def test_columns_that_fill_no_vector_are_right_and_looked_at(d: int, kind: torch.dtype) -> None:
    for n in (1, 2, 5):
        x = matrix(n, kind, d)
        torch.testing.assert_close(kernels.median(x), plain.median(x))
        torch.testing.assert_close(kernels.mean_around_median(x, 1), plain.mean_around_median(x, 1))
        x[-1, -1] = float("nan")
        with pytest.raises(FloatingPointError):
            kernels.median(x)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 23, 24, 39, 40, 41, 79, 80, 81, 170])
def test_products_that_fill_no_square_of_registers_are_right(d: int, kind: torch.dtype) -> None:
    for m, n in ((0, 3), (1, 1), (1, 7), (4, 2), (5, 5), (6, 3), (13, 9)):
        x = matrix(n, kind, d)
        c = torch.randn(m, n, generator=torch.Generator().manual_seed(m), dtype=torch.float64)
        check_mixed(kernels.mix(c, x), c, x)


@pytest.mark.parametrize("n", [256, 257, 600])  # the largest network, and more rows than it takes
def test_many_rows_are_put_in_order_too(n: int) -> None:
    x = matrix(n, torch.float32, 2100)
    torch.testing.assert_close(kernels.median(x), plain.median(x))
    torch.testing.assert_close(kernels.trimmed_mean(x, n // 4), plain.trimmed_mean(x, n // 4))
    torch.testing.assert_close(kernels.mean_around_median(x, n // 3), plain.mean_around_median(x, n // 3))
    for bad in ("nan", "inf", "-inf"):
        x[n // 2, 2050] = float(bad)
        with pytest.raises(FloatingPointError):
            kernels.median(x)


def test_rows_that_are_not_among_those_asked_for_may_be_anything() -> None:
    x = matrix(6, torch.float32)
    x[2] = float("nan")
    rows = torch.tensor([5, 0, 4])
    torch.testing.assert_close(kernels.mean_around_median(x, 2, rows), plain.mean_around_median(x[rows], 2))
    with pytest.raises(FloatingPointError):
        kernels.mean_around_median(x, 2, torch.tensor([5, 2, 4]))


def test_finite_values_whose_sum_is_infinite_are_not_refused() -> None:
    x = torch.full((5, 40), 3e38)
    x[0] = -1
    assert torch.equal(kernels.median(x), x[1])
    assert torch.equal(kernels.mean_around_median(x, 1, torch.arange(3)), plain.mean_around_median(x[:3], 1))


def test_a_forked_process_has_threads_of_its_own() -> None:
    x = matrix(12, torch.float32, 100_000)
    wanted = kernels.median(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forking with threads around is what is tested
        child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that waits for threads it has not got
        os._exit(0 if torch.equal(kernels.median(x), wanted) else 1)
    assert os.waitpid(child, 0)[1] == 0
