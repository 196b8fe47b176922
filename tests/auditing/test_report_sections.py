"""The page for the one who decides and for the one who repairs, from records made by hand."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hand_made import cells_of, every_state, many, summary_of
from test_beside import LINES
from test_report import Page

from antivenom.auditing.report import render
from antivenom.auditing.report.budget import curves, searches
from antivenom.auditing.results import State
from antivenom.auditing.samples import encoded_samples, require_sample
from antivenom.core.outcome import Cell, Sample


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(every_state()))


def test_the_first_screen_names_data_model_rows_and_the_next_step(page: Page) -> None:
    first = page.text[: page.text.index("What to do Now")] if "What to do Now" in page.text else page.text
    for part in (
        "Audited: digits with MLP , no defence deployed",
        "An attacker who adds rows (100 rows, 10% of the training rows) gets through: 90% of the inputs with the trigger",
        "(0% without the attack)",
        "18 rows (2%), the smallest number that a search of 20 trials found",
        "BadNets, 10% of rows on digits with MLP, no defence",
        "Deploy FinePruning, the cheapest defence that held: 90% → 0%; it costs no accuracy.",
        "Not tried: an attacker who hands out the model. What was looked at says why.",
        "severity: very high",
    ):
        assert part in first, part
    for state in State:
        assert str(state) in page.text


def test_the_curve_marks_where_a_breach_begins() -> None:
    summary = every_state()
    (one,) = curves(summary)
    assert one["said"][0] == "BadNets, no defence: breached from 5% on (50 rows)"  # type: ignore[index]
    assert [row[1] for row in one["rows"]] == ["1%", "5%", "10%"] * 3  # type: ignore[attr-defined]
    (search,) = searches(summary)
    assert search["said"] == (
        "Of 20 trials, the worst attack found is BadNets: 90% ASR on the seeds of the search; on fresh seeds 85% (50% to 100%)."
    )
    assert search["figure"]["said"] == ["worst attack found: breached from 2% on (18 rows)"]  # type: ignore[index]
    assert "-" not in "".join(row[3] for row in search["figure"]["rows"])  # type: ignore[index]  # clipped to the possible


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"flagged": 1, "expected_false_alarms": 0.9}, "Nothing points to it"),
        ({"flagged": 12, "expected_false_alarms": 0.9}, "Perhaps"),
        ({"flagged": 80, "warning": "It flags a whole class."}, "Not answered"),
    ],
    ids=["as expected", "more than expected", "implausible"],
)
def test_whether_it_happened_already(changes: dict[str, Any], answer: str) -> None:
    text = Page(
        render(summary_of(cells_of({("none", "none"): many(0.0, 4)}), suspects=LINES["suspects"] | changes))
    ).text
    assert f"Did it happen already? {answer}" in text
    assert str(changes.get("warning", "")) in text


def test_optional_sections_are_absent_without_their_records() -> None:
    text = Page(render(summary_of(cells_of({("none", "none"): many(0.0, 4), ("A", "none"): many(0.9, 4)})))).text
    for title in ("Did it happen already?", "What was looked at", "Certified floor", "Round by round"):
        assert title not in text
    assert "Are the rows poisoned already? not examined" in text


SAMPLES = (
    Sample("changed row", "yes", "no", (Cell("age", "31", "79"), Cell("job", "<b>", "<b>")), 1, 9),
    Sample("test input with the trigger", "yes", "no", (Cell("text", "a very good film", "a very cf film"),), 1, 1),
    Sample("added row", "yes", "", before=np.zeros((4, 4), np.uint8), after=np.full((4, 4), 9, np.uint8)),
)


def test_samples_mark_what_changed_and_escape_it() -> None:
    part = cells_of({("none", "none"): many(0.0), ("A", "none"): many(0.9)})
    for record in part[1].values():
        if "A-none-0" in record["key"]:
            record["samples"] = encoded_samples(SAMPLES)
            for sample in record["samples"]:
                require_sample(sample)
    text = render(summary_of(part))
    assert "<del>31</del> → <mark>79</mark>" in text
    assert "<mark>label: no → yes</mark>; 1 of 9 values differ from the original" in text
    assert "a very <mark>cf</mark> film" in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text.replace("<b>digits</b>", "").replace("<b>MLP</b>", "").replace("<b>no defence</b>", "")
    assert text.count("data:image/png;base64,") == 2
    assert "and 7 more" in text


@pytest.mark.parametrize(
    "bad",
    [
        {"cells": [["a", "b"]]},
        {"cells": [["a", "b", "c" * 301]]},
        {"cells": [["a" * 81, "b", "c"]]},
        {"after": {"shape": [1, 1], "pixels": "AAAA"}},
    ],
    ids=["two parts", "long text", "long name", "no picture"],
)
def test_samples_beyond_the_limits_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sample|picture"):
        require_sample(encoded_samples(SAMPLES)[0] | bad)


def test_long_samples_are_cut_when_they_are_written() -> None:
    long = Sample(
        "changed row", "y" * 999, "n", tuple(Cell("c" * 999, "b" * 999, "a" * 999) for _ in range(99)), 99, 99
    )
    (one, *_), count = (found := encoded_samples((long,) * 99)), len(found)
    assert (count, len(one["cells"]), len(one["label"])) == (6, 16, 80)
    require_sample(one)


def test_no_interval_leaves_the_possible_and_no_number_is_negative(page: Page) -> None:
    assert re.findall(r"(?<![\w.-])-\d+(?:\.\d+)?%", page.text) == []
    assert re.findall(r"\(-\d", page.text) == []
    assert [n for n in map(int, re.findall(r"\b(\d+)%", page.text)) if n > 100] == []
