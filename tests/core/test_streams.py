"""Streams: equal by name, independent between names, and nothing global moves."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antivenom.core.errors import AntivenomError
from antivenom.core.streams import Streams

NAMES = st.lists(st.text(max_size=3), max_size=3).map(tuple)
PATHS = st.tuples(st.integers(0, 9), NAMES)


def drawn(streams: Streams, name: str) -> tuple:
    generator = streams.torch(name)
    return (
        tuple(streams.numpy(name).random(4)),
        tuple(torch.rand(4, generator=generator).tolist()),
        streams.sklearn(name),
    )


def test_asking_twice_gives_two_equal_fresh_generators():
    streams = Streams(3)
    first = streams.numpy("order")
    numbers = first.random(5)
    assert np.array_equal(streams.numpy("order").random(5), numbers)
    assert not np.array_equal(first.random(5), numbers)
    assert drawn(streams, "a") == drawn(Streams(3), "a")


@pytest.mark.parametrize("other", [Streams(4), Streams(3).child("x"), Streams(3, ("order",))])
def test_another_seed_or_path_gives_other_numbers(other):
    for mine, theirs in zip(drawn(Streams(3), "order"), drawn(other, "order"), strict=True):
        assert mine != theirs


@given(st.sets(PATHS, min_size=2, max_size=30))
def test_different_paths_have_different_keys(paths):
    keys = {Streams(seed, path).key for seed, path in paths}
    assert len(keys) == len(paths)


def test_a_separator_inside_a_name_does_not_make_two_paths_one():
    tricky = [("a", "b"), ("a\x1fb",), ("a', 'b",), ("a, b",), ("ab",), ("a", "", "b"), ("a", "b", "")]
    assert len({Streams(0, path).key for path in tricky}) == len(tricky)


def test_names_that_no_encoding_holds_are_names_too():
    assert Streams(0).child("\ud800").key != Streams(0).child("\ud801").key


def test_a_number_and_its_text_are_one_name():
    assert Streams(0).child("round", 3) == Streams(0).child("round", "3")
    assert Streams(np.int64(7)).key == Streams(7).key


def test_nested_children_are_one_path():
    assert Streams(1).child("a").child("b") == Streams(1).child("a", "b")


def test_seeds_fit_what_takes_them():
    for seed in range(50):
        streams = Streams(seed)
        assert 0 <= streams.key < 2**63
        assert 0 <= streams.sklearn("fit") < 2**31


def test_streams_are_uncorrelated():
    sample = np.stack([Streams(0).numpy("agent", i).standard_normal(2000) for i in range(20)])
    off_diagonal = np.corrcoef(sample)[np.triu_indices(20, k=1)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(2000)  # 190 pairs: five standard deviations hold for all


def test_what_the_attacker_draws_leaves_the_split_as_it_was():
    """Two trials that differ in their attack: everything that is not the attack's is drawn equal."""
    quiet, loud = Streams(5), Streams(5)
    loud.child("attack").numpy("rows").random(1000)
    loud.torch("attack")
    assert drawn(quiet, "split") == drawn(loud, "split")


@pytest.mark.usefixtures("global_randomness_unchanged")
def test_nothing_global_is_seeded():
    drawn(Streams(0), "a")


@given(PATHS, NAMES, NAMES)
def test_sealed_streams_give_the_same_numbers_as_open_ones(start, above, below):
    whole = Streams(*start)
    assert whole.sealed(*above).child(*below).key == whole.child(*above, *below).key
    assert whole.sealed(*above).sealed(*below).key == whole.child(*above, *below).key
    assert drawn(whole.sealed(*above), "x") == drawn(whole.child(*above), "x")


def test_sealed_streams_tell_neither_seed_nor_path():
    sealed = Streams(41, ("judge",)).sealed("attack")
    assert not hasattr(sealed, "seed")
    assert sealed.path == ()
    assert "41" not in repr(sealed)
    assert "judge" not in repr(sealed)
    assert not hasattr(sealed, "__dict__") or not vars(sealed).keys() - {"_state"}
    with pytest.raises(TypeError):
        dataclasses.replace(sealed, seed=3)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(sealed)


def test_sealed_streams_are_values():
    assert Streams(1).sealed("a") == Streams(1).sealed("a")
    assert Streams(1).sealed("a") != Streams(1).sealed("b")
    assert copy.deepcopy(Streams(1).sealed("a")) == Streams(1).sealed("a")


@pytest.mark.parametrize("seed", ["a", 0.5, None, True])
def test_a_seed_that_is_no_whole_number_is_one_line(seed):
    with pytest.raises(AntivenomError, match="a whole number as seed") as caught:
        Streams(seed)
    assert "\n" not in str(caught.value)
