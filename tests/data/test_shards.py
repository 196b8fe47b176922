"""Partitions: every row to exactly one agent, or one line that says why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antivenom.core.errors import DataError
from antivenom.core.streams import Streams
from antivenom.data import IID, ByGroup, Dataset, Dirichlet, missing_classes


def rows_of(y: list[int], classes: int = 3) -> Dataset:
    return Dataset(np.arange(len(y), dtype=float)[:, None], y, tuple("abcdefghij"[:classes]))


def balanced(n: int, classes: int = 3) -> Dataset:
    return rows_of([i % classes for i in range(n)], classes)


def draw(partition, data: Dataset, num_agents: int, seed: int = 0) -> list[np.ndarray]:
    return partition(data, num_agents, Streams(seed).numpy("shards"))


@given(n=st.integers(1, 60), agents=st.integers(1, 12), seed=st.integers(0, 5))
def test_iid_shards_are_disjoint_complete_and_equal(n, agents, seed):
    data = balanced(n)
    if n < agents:
        with pytest.raises(DataError):
            draw(IID(), data, agents, seed)
        return
    shards = draw(IID(), data, agents, seed)
    assert sorted(np.concatenate(shards).tolist()) == list(range(n))
    sizes = [len(rows) for rows in shards]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@settings(max_examples=40)
@given(
    y=st.lists(st.integers(0, 2), min_size=30, max_size=60),
    agents=st.integers(1, 5),
    beta=st.sampled_from([0.3, 1.0, 100.0]),
    min_rows=st.integers(1, 3),
)
def test_dirichlet_shards_are_disjoint_complete_and_large_enough(y, agents, beta, min_rows):
    shards = draw(Dirichlet(beta, min_rows), rows_of(y), agents)
    assert len(shards) == agents
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(y)))
    assert min(map(len, shards)) >= min_rows


@pytest.mark.parametrize("partition", [IID(), Dirichlet(0.5)])
def test_a_seed_gives_one_partition_and_another_seed_another(partition):
    data = balanced(60)
    first, again, other = (draw(partition, data, 4, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_iid_shards_are_shuffled():
    assert draw(IID(), balanced(30), 2)[0].tolist() != list(range(15))


def class_spread(beta: float) -> float:
    """How far the agents' class shares are from those of all rows, on average."""
    data = balanced(600)
    shares = [np.bincount(data.y[rows], minlength=3) / len(rows) for rows in draw(Dirichlet(beta), data, 6)]
    return float(np.abs(np.array(shares) - 1 / 3).mean())


def test_small_beta_is_uneven_and_large_beta_nearly_iid():
    assert class_spread(0.1) > 0.25
    assert class_spread(1000.0) < 0.05


def refused(says: str, partition, data: Dataset, num_agents: int) -> None:
    with pytest.raises(DataError, match=says) as caught:
        draw(partition, data, num_agents)
    assert len(str(caught.value).splitlines()) == 1


def test_more_agents_than_rows_is_refused():
    refused("at least 1 rows for each of 4 agents, got 3 rows: use fewer agents", IID(), balanced(3), 4)
    refused("at least 2 rows for each of 4 agents, got 7 rows", Dirichlet(), balanced(7), 4)


@pytest.mark.parametrize("partition", [IID(), Dirichlet()])
def test_no_agents_is_refused(partition):
    refused("at least one agent, got 0", partition, balanced(9), 0)


def test_a_draw_that_never_leaves_enough_is_given_up():
    """With so small a beta a class goes to one agent whole, so one class cannot feed three agents."""
    refused("fewer in 1000 draws of Dirichlet.* raise beta", Dirichlet(1e-3, 3), rows_of([0] * 9, 1), 3)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_beta_is_positive_and_finite(beta):
    with pytest.raises(DataError, match="finite Dirichlet beta > 0"):
        Dirichlet(beta)


def test_an_agent_needs_a_row():
    with pytest.raises(DataError, match="min_rows >= 1, got 0"):
        Dirichlet(min_rows=0)


def test_missing_classes_are_named_in_one_line():
    data = rows_of([0, 0, 1, 1, 2, 2])
    line = missing_classes(data, [np.array([0, 2, 4]), np.array([1, 3]), np.array([5])])
    assert line is not None
    assert line.startswith("expected every class in every shard, got 2 of 3 agents without some")
    assert "agent 1 has no row of class c" in line
    assert "\n" not in line


def test_nothing_is_said_when_every_shard_has_every_class():
    data = rows_of([0, 0, 1, 1, 2, 2])
    assert missing_classes(data, [np.array([0, 2, 4]), np.array([1, 3, 5])]) is None


def test_a_class_without_any_row_is_not_the_partitions_fault():
    data = rows_of([0, 0, 1, 1])
    assert missing_classes(data, [np.array([0, 2]), np.array([1, 3])]) is None


def test_each_group_is_an_agent_s_shard_in_its_order() -> None:
    data = replace(balanced(7), groups=np.array([5, 2, 5, 9, 2, 2, 5]))
    assert [rows.tolist() for rows in draw(ByGroup(), data, 3)] == [[1, 4, 5], [0, 2, 6], [3]]
    with pytest.raises(DataError, match="expected 4 groups of rows, one per agent, got 3: change num_agents"):
        draw(ByGroup(), data, 4)
    with pytest.raises(DataError, match="rows with groups"):
        draw(ByGroup(), balanced(7), 3)
