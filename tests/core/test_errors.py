"""Errors are one line, survive a process boundary, and help with wrong names."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antivenom.core import errors
from antivenom.core.errors import AntivenomError, DataError, DataNotFound, did_you_mean

EVERY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AntivenomError)]


def test_the_line_says_expected_got_and_remedy():
    assert str(DataError("3 rows", "2", "add one")) == "expected 3 rows, got 2: add one"
    assert str(DataError("3 rows", "2")) == "expected 3 rows, got 2"


@given(*[st.text()] * 3)
def test_the_message_is_one_line_whatever_a_library_said(expected, got, remedy):
    assert len(str(AntivenomError(expected, got, remedy)).splitlines()) == 1


def test_a_line_break_of_a_library_becomes_a_space():
    assert str(DataError("a", "first\n   second\r\nthird", "b")) == "expected a, got first second third: b"


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_survives_pickling(kind):
    copy = pickle.loads(pickle.dumps(kind("one", "two", "three").at("here")))  # noqa: S301
    assert type(copy) is kind
    assert (copy.expected, copy.got, copy.remedy) == ("one", "two", "three")
    assert str(copy) == "here: expected one, got two: three"


def test_the_innermost_place_wins():
    assert str(AntivenomError("a", "b").at("line 3").at("file")) == "line 3: expected a, got b"


def test_absent_data_is_a_data_error():
    assert issubclass(DataNotFound, DataError)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("krumm", "did you mean 'Krum'?"),
        ("KRUM", "did you mean 'Krum'?"),
        ("meddian", "did you mean 'Median'?"),
        ("xyzzy", "choose from Krum, Median"),
        ("", "choose from Krum, Median"),
    ],
)
def test_a_wrong_name_gets_the_nearest_right_one(name, remedy):
    assert did_you_mean(name, ["Median", "Krum"]) == remedy


def test_nothing_known_is_said():
    assert did_you_mean("x", []) == "choose from nothing: none known"
