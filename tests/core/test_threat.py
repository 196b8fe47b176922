"""The threat model is enforced: every way to overstep it is refused, and nothing that it grants is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from antivenom.core.errors import ThreatError
from antivenom.core.threat import Access, Goal, Knowledge, ThreatModel, goals
from antivenom.data import Dataset, Poison
from antivenom.scenarios.grants import enforce

CLEAN = Dataset(np.arange(20.0).reshape(10, 2) + 0.25, np.array([0, 1] * 5), ("no", "yes"))
FORBIDDEN_TO_TOUCH = [Access.LOGIC_CORRUPTION, Access.TRANSFER_LEARNING]


def threat(access: Access, rate: float = 1.0) -> ThreatModel:
    return ThreatModel(access, Goal.AVAILABILITY, max_poisoned_rate=rate)


def mask(*rows: int, n: int = 10) -> np.ndarray:
    marked = np.zeros(n, dtype=bool)
    marked[list(rows)] = True
    return marked


def relabelled(*rows: int) -> Dataset:
    y = CLEAN.y.copy()
    y[list(rows)] = 1 - y[list(rows)]
    return replace(CLEAN, y=y)


def moved(*rows: int) -> Dataset:
    x = CLEAN.x.copy()
    x[list(rows), 1] += 0.5
    return replace(CLEAN, x=x)


def injected(k: int) -> Dataset:
    return CLEAN.extend(np.ones((k, 2)), np.zeros(k, dtype=int))


def refused(model: ThreatModel, poison: Poison, says: str) -> None:
    with pytest.raises(ThreatError, match=says) as caught:
        enforce(model, CLEAN, poison)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("access", list(Access))
def test_doing_nothing_is_always_granted(access):
    enforce(threat(access, rate=0.0), CLEAN, Poison.none(CLEAN))


@pytest.mark.parametrize("access", FORBIDDEN_TO_TOUCH)
@pytest.mark.parametrize("after", [relabelled(3), moved(3), injected(1), CLEAN[:9]])
def test_who_may_not_touch_rows_may_not_touch_rows(access, after):
    refused(threat(access), Poison(after, np.ones(len(after), dtype=bool)), "untouched rows")


@pytest.mark.parametrize("access", FORBIDDEN_TO_TOUCH)
def test_untouched_rows_cannot_be_called_poison(access):
    refused(threat(access), Poison(CLEAN, mask(1, 2)), "2 rows marked")


class TestManipulation:
    access = Access.DATA_MANIPULATION

    @pytest.mark.parametrize("after", [relabelled(3, 4), moved(3, 4)])
    def test_rows_and_labels_may_change(self, after):
        enforce(threat(self.access, rate=0.2), CLEAN, Poison(after, mask(3, 4)))

    @pytest.mark.parametrize("after", [relabelled(3, 4), moved(3, 4)])
    def test_a_changed_row_outside_the_mask_is_refused(self, after):
        refused(threat(self.access), Poison(after, mask(3)), "1 changed rows outside it")

    def test_a_marked_row_may_be_left_as_it_was(self):
        """A flip to the class that a row has already."""
        enforce(threat(self.access), CLEAN, Poison(relabelled(3), mask(3, 4)))

    @pytest.mark.parametrize("after", [injected(1), CLEAN[:9], CLEAN[:0]])
    def test_the_number_of_rows_stays(self, after):
        refused(threat(self.access), Poison(after, np.ones(len(after), dtype=bool)), "10 rows")


class TestInjection:
    access = Access.DATA_INJECTION

    def test_rows_may_be_appended(self):
        enforce(threat(self.access, rate=0.3), CLEAN, Poison(injected(3), mask(10, 11, 12, n=13)))

    @pytest.mark.parametrize("edited", [relabelled(0), moved(9)])
    def test_editing_an_existing_row_is_refused(self, edited):
        after = edited.extend(np.ones((1, 2)), np.zeros(1, dtype=int))
        refused(threat(self.access), Poison(after, mask(10, n=11)), "existing rows unchanged")

    def test_dropping_a_row_is_refused(self):
        refused(threat(self.access), Poison(CLEAN[:9], mask(n=9)), "existing rows unchanged")

    def test_rows_put_in_front_are_refused(self):
        after = injected(1)[np.array([10, *range(10)])]
        refused(threat(self.access), Poison(after, mask(0, n=11)), "existing rows unchanged")

    @pytest.mark.parametrize("marked", [(), (10,), (10, 11, 0)])
    def test_the_mask_is_exactly_the_added_rows(self, marked):
        refused(threat(self.access), Poison(injected(2), mask(*marked, n=12)), "exactly the added rows")


@pytest.mark.parametrize(
    ("rate", "k", "granted"),
    [(0.3, 3, True), (0.3, 4, False), (0.29, 2, True), (0.29, 3, False), (0.0, 1, False), (1.0, 10, True)],
)
def test_the_budget_is_counted_in_clean_rows(rate, k, granted):
    flipped = Poison(relabelled(*range(k)), mask(*range(k)))
    added = Poison(injected(k), mask(*range(10, 10 + k), n=10 + k))
    for access, poison in ((Access.DATA_MANIPULATION, flipped), (Access.DATA_INJECTION, added)):
        if granted:
            enforce(threat(access, rate), CLEAN, poison)
        else:
            refused(threat(access, rate), poison, f"at most {int(rate * 10)} poisoned rows .* got {k}")


def test_a_rate_that_binary_fractions_miss_is_not_rounded_down():
    clean = Dataset(np.zeros((100, 1)), np.zeros(100), ("a", "b"))
    poison = Poison(clean, np.arange(100) < 29)  # 0.29 * 100 is 28.999... in floating point
    enforce(threat(Access.DATA_MANIPULATION, 0.29), clean, poison)


@pytest.mark.parametrize(
    "after",
    [
        Dataset(CLEAN.x[:, :1], CLEAN.y, CLEAN.classes),
        Dataset(CLEAN.x.reshape(10, 1, 2), CLEAN.y, CLEAN.classes),
        Dataset(CLEAN.x, CLEAN.y, ("no", "yes", "perhaps")),
    ],
)
@pytest.mark.parametrize("access", list(Access))
def test_the_form_of_the_data_stays(access, after):
    refused(threat(access), Poison(after, np.ones(10, dtype=bool)), "as before the attack")


def test_no_rows_at_all_can_be_enforced():
    nothing = CLEAN[:0]
    for access in Access:
        enforce(threat(access), nothing, Poison.none(nothing))


def test_images_are_compared_pixel_by_pixel():
    clean = Dataset(np.zeros((3, 1, 2, 2)), np.zeros(3), ("a",))
    x = clean.x.copy()
    x[1, 0, 1, 1] = 1
    with pytest.raises(ThreatError, match="1 changed rows"):
        enforce(threat(Access.DATA_MANIPULATION), clean, Poison(replace(clean, x=x), np.zeros(3, dtype=bool)))


def test_plain_words_are_the_same_threat_model():
    plain = ThreatModel("data-injection", "backdoor", "omniscient")  # type: ignore[arg-type]
    assert plain == ThreatModel(Access.DATA_INJECTION, Goal.BACKDOOR, Knowledge.OMNISCIENT)
    refused(plain, Poison(relabelled(1), mask(1)), "data-injection")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"access": "data-injektion"}, "did you mean 'data-injection'"),
        ({"goal": "backdor"}, "did you mean 'backdoor'"),
        ({"knowledge": None}, "a threat model's knowledge"),
        ({"max_poisoned_rate": 1.5}, "from 0 to 1, got 1.5"),
        ({"max_poisoned_rate": -0.1}, "from 0 to 1"),
        ({"max_poisoned_rate": float("nan")}, "from 0 to 1, got nan"),
    ],
)
def test_a_threat_model_that_means_nothing_is_refused(fields, says):
    with pytest.raises(ThreatError, match=says):
        ThreatModel(**({"access": Access.DATA_INJECTION, "goal": Goal.BACKDOOR} | fields))


def test_integrity_is_everything_but_availability():
    assert [goal.is_integrity for goal in goals()] == [False, True, True, False]
