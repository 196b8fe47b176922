"""What a grid, a record and a replay file hold, by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from antivenom.auditing import catalogue
from antivenom.auditing.grid import variants
from antivenom.auditing.identity import Identity
from antivenom.auditing.judging import error_of
from antivenom.auditing.lines import _numbers_of
from antivenom.auditing.recommend import Choice, _compared
from antivenom.auditing.trial import failure
from antivenom.auditing.yaml_lines import Located
from antivenom.core.errors import AntivenomError, PluginError


@dataclass(frozen=True)
class Picky:
    """A dataclass of a third party, with errors of its own."""

    size: int = 1
    name: str = "a"

    def __post_init__(self) -> None:
        if self.size == 3:
            raise ZeroDivisionError("three")
        if self.size == 4:
            raise PluginError("another size", "4")


def made(text: str) -> list[tuple[object, tuple[str, ...]]]:
    document = Located(text, "a.yaml")
    return variants(Picky, document.content, document, ())


def test_a_grid_has_every_combination_and_names_the_fields_that_vary() -> None:
    assert made("size: [1, 2]\nname: [b]") == [(Picky(1, "b"), ("size=1",)), (Picky(2, "b"), ("size=2",))]
    both = made("name: [b, c]\nsize: [1, 2]")
    assert [value for value, _ in both] == [Picky(1, "b"), Picky(2, "b"), Picky(1, "c"), Picky(2, "c")]
    assert both[1][1] == ("name=b", "size=2")


@pytest.mark.parametrize(
    ("size", "message"), [(3, "valid fields for Picky, got ZeroDivisionError: three"), (4, "another size, got 4")]
)
def test_an_error_of_a_third_partys_check_is_one_line(size: int, message: str) -> None:
    with pytest.raises(AntivenomError, match=message):
        made(f"size: {size}")


def test_a_traceback_keeps_its_beginning_and_its_end() -> None:
    kept = failure(RuntimeError("m" * 100_000 + "z"))["traceback"]
    assert kept.startswith("RuntimeError: mmm")
    assert kept.endswith("mz\n")
    assert len(kept) == len(" [...] ") + 20_000
    assert "traceback" not in failure(AntivenomError("a", "b"))


def test_the_error_of_a_report_is_shared_equally() -> None:
    assert [error_of(cells) for cells in (0, 1, 2, 4)] == [0.05, 0.05, 0.025, 0.0125]


def test_a_rule_is_marked_whose_best_seed_reaches_the_worst_seed_of_the_first() -> None:
    rows = [(0.1, 0.3), (0.3, 0.9), (0.31, 0.4), ()]
    ranked = [Choice(None, "rule", 0.2, "none", seeds, 0.0, "digits", None, "why") for seeds in rows]
    assert [choice.why for choice in _compared(ranked)] == ["why", "why; seeds overlap the first's", "why", "why"]


def test_a_key_has_sixteen_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{16}", Identity({"seed": 1}, {}, {}, "1").key)


def test_data_sets_have_no_access_level_goal_or_kind_of_plugin() -> None:
    assert {row["kind"] for row in catalogue.rows("data")} == {"data"}
    assert "data" in {row["kind"] for row in catalogue.rows("all")}
    for asked in ({"access": "data-injection"}, {"goal": "backdoor"}, {"kind": "sanitizer"}):
        assert "data" not in {row["kind"] for row in catalogue.rows("all", **asked)}


def test_a_finished_trial_of_a_known_goal_has_an_accuracy() -> None:
    assert _numbers_of({"scenario": {"goal": "backdoor"}}) == ("clean_accuracy", "asr")
    assert _numbers_of({"scenario": {"goal": "unknown"}}) == _numbers_of({"scenario": "backdoor"}) == ()
