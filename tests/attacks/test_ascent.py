"""How added rows climb: on a loss whose hills are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from antivenom.attacks.availability.ascent import Ascent
from antivenom.core.errors import PluginError
from antivenom.data import Column, Dataset, Schema

REALS = Schema((Column("x", width=2),))


@dataclass(frozen=True)
class Hills:
    """One hill, 1 - |x - top|^2, plus the distances from the rows that are there already."""

    top: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...] = ()

    def add(self, x: np.ndarray, label: int) -> Hills:
        return replace(self, rows=(*self.rows, tuple(x)))

    def loss(self, x: np.ndarray, label: int) -> tuple[float, Callable[[], np.ndarray]]:
        away = x - np.array(self.top)
        apart = x - np.array(self.rows).reshape(-1, len(x))
        far = np.linalg.norm(apart, axis=1)
        return 1 - away @ away + far.sum(), lambda: -2 * away + (apart / far[:, None]).sum(axis=0)


def square(*rows: tuple[float, float]) -> Dataset:
    return Dataset(np.array(rows or [(0, 0), (4, 2)]), np.arange(len(rows) or 2) % 2, ("a", "b"), schema=REALS)


def test_a_row_reaches_the_top_of_the_hill_inside_its_box() -> None:
    low, high = np.zeros(2), np.array([4.0, 2.0])
    value, x = Ascent(steps=60).climb(Hills((3.0, 1.5)), np.array([0.5, 0.5]), 0, low, high)
    assert x == pytest.approx([3.0, 1.5], abs=0.01)
    assert value == pytest.approx(1, abs=1e-4)


def test_a_top_outside_the_box_ends_at_its_projection() -> None:
    low, high = np.zeros(2), np.array([4.0, 2.0])
    _, x = Ascent(steps=60).climb(Hills((3.0, 9.0)), np.array([0.5, 0.5]), 0, low, high)
    assert x == pytest.approx([3.0, 2.0], abs=0.01)


def test_no_steps_leave_the_start_where_it_is() -> None:
    value, x = Ascent(steps=0).climb(Hills((3.0, 1.0)), np.array([1.0, 1.0]), 0, np.zeros(2), np.full(2, 4.0))
    assert x.tolist() == [1, 1]
    assert value == -3


def test_a_feature_that_is_constant_stays_and_no_room_at_all_is_no_climb() -> None:
    ascent, hill = Ascent(steps=30), Hills((3.0, 9.0))
    _, x = ascent.climb(hill, np.array([0.0, 1.0]), 0, np.array([0.0, 1.0]), np.array([4.0, 1.0]))
    assert x == pytest.approx([3.0, 1.0], abs=0.01)
    _, x = ascent.climb(hill, np.array([5.0, 5.0]), 0, np.ones(2), np.ones(2))
    assert x.tolist() == [1, 1]


def test_the_box_is_each_column_s_range_an_image_s_whole_range_or_what_is_said() -> None:
    table = square((0, 1), (4, 3), (2, 2))
    assert [part.tolist() for part in Ascent().bounds(table)] == [[0, 1], [4, 3]]
    image = replace(table, x=table.x.reshape(3, 1, 1, 2))
    assert [part.tolist() for part in Ascent().bounds(image)] == [[0, 0], [4, 4]]
    assert [part.tolist() for part in Ascent(box=(-1, 5)).bounds(table)] == [[-1, -1], [5, 5]]


def test_of_several_starts_the_one_that_ends_highest_is_kept_with_its_label() -> None:
    starts = square((0, 0), (4, 2), (2, 0), (2.5, 1.5))  # two points, two starts each: 0 and 2, 1 and 3
    poison = Ascent(starts=2, steps=0)(Hills((2.0, 0.0)), square(), (starts, np.array([0, 1, 1, 0])), 2)
    assert poison.data.x[2:].tolist() == [[2, 0], [2.5, 1.5]]
    assert poison.data.y[2:].tolist() == [1, 0]
    assert poison.mask.tolist() == [False, False, True, True]


def test_a_second_round_moves_the_first_row_away_from_the_later_ones() -> None:
    data, hill = square(), Hills((2.0, 1.0))
    starts = square((2.0, 1.0), (2.0, 1.9), (2.0, 0.1), (2.0, 1.9))
    labels = np.array([0, 0, 1, 1])
    once = Ascent(rounds=1)(hill, data, (starts[:2], labels[:2]), 2).data.x[2:]
    twice = Ascent(rounds=2)(hill, data, (starts, labels), 2).data.x[2:]
    assert once == pytest.approx(np.array([[2, 1], [2, 1.5]]), abs=0.01)  # 1/2 from the top is where the slopes cancel
    assert twice == pytest.approx(np.array([[2, 0.5], [2, 1.5]]), abs=0.01)


@pytest.mark.parametrize(
    "fields",
    [{"starts": 0}, {"rounds": 0}, {"steps": -1}, {"step": 0}, {"step": 1.5}, {"box": (1, 1)}, {"box": (0, np.inf)}],
)
def test_nonsense_is_refused_in_one_line(fields: dict[str, object]) -> None:
    with pytest.raises(PluginError) as caught:
        Ascent(**fields)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
