"""Attacks on rows: which rows, which labels, how many; hand-computed."""

from __future__ import annotations

import numpy as np
import pytest

from antivenom.attacks import BadNets, LabelFlipping, NoAttack
from antivenom.core.errors import AntivenomError, DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset
from antivenom.scenarios.grants import enforce
from antivenom.triggers import Patch, Stamp

FLIPS = ThreatModel("data-manipulation", "availability")
INJECTS = ThreatModel("data-injection", "backdoor")


def context(threat: ThreatModel = FLIPS, target: int | None = None, trigger=None, seed: int = 1) -> AttackContext:
    return AttackContext(Streams(seed), threat, None if target is None else AllToOne(target), trigger)


def images(n: int = 40, c: int = 4) -> Dataset:
    x = np.random.default_rng(3).random((n, 1, 6, 5), dtype=np.float32)
    return Dataset(x, np.arange(n) % c, tuple("abcdefgh"[:c]))


@pytest.mark.parametrize(("rate", "flipped"), [(0.0, 0), (0.3, 12), (0.31, 12), (1.0, 40), (0.1, 4)])
def test_label_flipping_flips_that_share_rounded_down(rate: float, flipped: int) -> None:
    data = images()
    poison = LabelFlipping(poisoned_rate=rate)(data, context())
    assert poison.mask.sum() == flipped
    assert np.array_equal(poison.mask, poison.data.y != data.y)
    assert poison.data.x is data.x
    enforce(ThreatModel("data-manipulation", "availability", max_poisoned_rate=rate), data, poison)


def test_a_higher_rate_flips_the_same_rows_and_more() -> None:
    few, many = (LabelFlipping(poisoned_rate=rate)(images(), context()) for rate in (0.2, 0.5))
    assert np.array_equal(many.data.y[few.mask], few.data.y[few.mask])
    assert (few.mask <= many.mask).all()


def test_flips_are_even_over_the_wrong_classes() -> None:
    data = images(4000)
    y = LabelFlipping(poisoned_rate=1.0)(data, context()).data.y
    shifts = np.bincount((y - data.y) % 4, minlength=4)
    assert shifts[0] == 0
    assert shifts[1:].min() > 1333 - 5 * 30  # five standard deviations of a fair draw


def test_one_class_can_be_the_source() -> None:
    data = images()
    poison = LabelFlipping(poisoned_rate=0.5, source=2)(data, context())
    assert set(data.y[poison.mask]) == {2}
    assert poison.mask.sum() == 5


@pytest.mark.parametrize("fields", [{"poisoned_rate": 1.1}, {"poisoned_rate": -0.1}, {"source": -1}])
def test_label_flipping_refuses_nonsense(fields: dict[str, float]) -> None:
    with pytest.raises(PluginError):
        LabelFlipping(**fields)  # type: ignore[arg-type]


def test_label_flipping_needs_two_classes_and_a_source_that_exists() -> None:
    with pytest.raises(DataError, match="source from 0 to 3"):
        LabelFlipping(source=4)(images(), context())
    with pytest.raises(DataError, match="at least two classes"):
        LabelFlipping()(images(4, 1), context())


def test_badnets_adds_triggered_copies_of_other_classes_labelled_as_the_target() -> None:
    data, trigger = images(), Patch(size=2)
    poison = BadNets(poisoned_rate=0.25)(data, context(INJECTS, 1, trigger))
    added = poison.data[poison.mask]
    assert len(added) == 10
    assert (added.y == 1).all()
    assert np.array_equal(poison.data.x[:40], data.x)
    assert np.array_equal(poison.data.y[:40], data.y)
    shown = trigger(data.x[data.y != 1])
    for row in added.x:
        assert (row == shown).all(axis=(1, 2, 3)).any()
    enforce(ThreatModel("data-injection", "backdoor", max_poisoned_rate=0.25), data, poison)


def test_badnets_copies_a_row_twice_only_after_all_were_copied() -> None:
    data = images()
    added = BadNets(poisoned_rate=1.0)(data, context(INJECTS, 1, Patch())).data.x[40:]
    _, times = np.unique(added.reshape(40, -1), axis=0, return_counts=True)
    assert sorted(times) == [1] * 20 + [2] * 10  # 30 rows of other classes


def test_badnets_needs_a_target_a_trigger_and_another_class() -> None:
    with pytest.raises(NotApplicable, match="a target class and a trigger"):
        BadNets()(images(), context(INJECTS))
    with pytest.raises(DataError, match="none of these classes: choose another target"):
        BadNets()(images(4, 1), context(INJECTS, 0, Patch()))


def test_no_attack_does_nothing() -> None:
    data = images()
    poison = NoAttack()(data, context())
    assert poison.data is data
    assert not poison.mask.any()


CORNERS = {
    "top-left": (slice(2), slice(2)),
    "top-right": (slice(2), slice(3, 5)),
    "bottom-left": (slice(4, 6), slice(2)),
    "bottom-right": (slice(4, 6), slice(3, 5)),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_patch_writes_a_square_in_its_corner_and_nothing_else(corner: str) -> None:
    x = images().x
    shown = Patch(size=2, value=0.5, corner=corner)(x)
    rows, columns = CORNERS[corner]
    inside = np.zeros((6, 5), dtype=bool)
    inside[rows, columns] = True
    assert (shown[:, :, inside] == 0.5).all()
    assert np.array_equal(shown[:, :, ~inside], x[:, :, ~inside])
    assert shown is not x


def test_patch_on_a_table_takes_the_last_or_the_first_features() -> None:
    x = np.zeros((3, 7), dtype=np.float32)
    assert np.flatnonzero(Patch(size=3)(x)[0]).tolist() == [4, 5, 6]
    assert np.flatnonzero(Patch(size=3, corner="top-left")(x)[0]).tolist() == [0, 1, 2]


def test_a_patch_may_fill_the_smaller_side_but_not_more() -> None:
    assert (Patch(size=5)(images().x)[:, :, 1:, :] == 1).all()
    with pytest.raises(DataError, match="at least 6 per side"):
        Patch(size=6)(images().x)


def test_stamp_writes_its_columns() -> None:
    x = np.zeros((2, 4), dtype=np.float32)
    assert Stamp(features=(1, 3), value=9.0)(x).tolist() == [[0, 9, 0, 9]] * 2
    for wrong in (images().x, x[:, :3]):
        with pytest.raises(DataError, match="more than 3 features"):
            Stamp(features=(1, 3))(wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Patch(size=0),
        lambda: Patch(value=float("nan")),
        lambda: Patch(corner="bottom-rigth"),
        lambda: Stamp(features=()),
        lambda: Stamp(features=(-1,)),
        lambda: BadNets(poisoned_rate=2),
    ],
)
def test_fields_that_make_no_sense_are_one_line(make) -> None:
    with pytest.raises(AntivenomError) as caught:
        make()
    assert "\n" not in str(caught.value)
