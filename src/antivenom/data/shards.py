"""Partitions divide the training rows among the agents of a federation. A partition returns row indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from antivenom.core.errors import DataError
from antivenom.data.dataset import Dataset


class Partition(Protocol):
    """Divides rows among agents."""

    def __call__(self, data: Dataset, num_agents: int, rng: np.random.Generator) -> list[np.ndarray]:
        """One array of row indices for each agent; together they hold every row once."""
        ...


@dataclass(frozen=True)
class IID:
    """Divides a random permutation of the rows into equal parts; if n is no multiple, the first shards get one row more.

    Reference: McMahan et al. 2017, arXiv:1602.05629.
    """

    def __call__(self, data: Dataset, num_agents: int, rng: np.random.Generator) -> list[np.ndarray]:
        _check_enough(data, num_agents)
        return list(np.array_split(rng.permutation(len(data)), num_agents))


@dataclass(frozen=True)
class Dirichlet:
    """Divides each class among the agents by shares drawn from Dirichlet(beta); with a small beta, agents have few classes.

    A draw that leaves an agent with fewer than `min_rows` rows is repeated, at most 1000 times.

    Fields:
        beta: concentration, > 0; 0.1 is very uneven, 100 is nearly IID.
        min_rows: the smallest number of rows that an agent may have.

    Reference: Hsu et al. 2019, arXiv:1909.06335.
    """

    beta: float = 0.5
    min_rows: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.beta < np.inf:
            raise DataError("a finite Dirichlet beta > 0", f"{self.beta}", "0.1 is very uneven, 100 nearly IID")
        if self.min_rows < 1:
            raise DataError("Dirichlet min_rows >= 1", f"{self.min_rows}", "an agent without rows cannot train")

    def __call__(self, data: Dataset, num_agents: int, rng: np.random.Generator) -> list[np.ndarray]:
        _check_enough(data, num_agents, self.min_rows)
        order = rng.permutation(len(data))
        rows_of = [order[data.y[order] == c] for c in range(data.num_classes)]
        for _ in range(1000):
            parts: list[list[np.ndarray]] = [[] for _ in range(num_agents)]
            for rows in rows_of:
                shares = np.cumsum(rng.dirichlet(np.full(num_agents, self.beta)))[:-1]
                for agent, part in enumerate(np.split(rows, np.round(shares * len(rows)).astype(int))):
                    parts[agent].append(part)
            shards = [rng.permutation(np.concatenate(p)) for p in parts]
            if min(map(len, shards)) >= self.min_rows:
                return shards
        raise DataError(
            f"at least {self.min_rows} rows for each of {num_agents} agents",
            f"an agent with fewer in 1000 draws of Dirichlet({self.beta:g})",
            "raise beta, lower min_rows or use fewer agents",
        )


@dataclass(frozen=True)
class ByGroup:
    """Gives each agent the rows of one group, such as those of one hospital, device or user, in their order.

    It needs rows whose groups are known and as many agents as there are groups.
    """

    def __call__(self, data: Dataset, num_agents: int, rng: np.random.Generator) -> list[np.ndarray]:
        if data.groups is None:
            raise DataError("rows with groups for ByGroup", "none", "name their column: TableFile(group=...)")
        groups = np.unique(data.groups)
        if len(groups) != num_agents:
            raise DataError(f"{num_agents} groups of rows, one per agent", f"{len(groups)}", "change num_agents")
        return [np.flatnonzero(data.groups == group) for group in groups]


def _check_enough(data: Dataset, num_agents: int, each: int = 1) -> None:
    if num_agents < 1:
        raise DataError("at least one agent", f"{num_agents}", "raise num_agents")
    if len(data) < num_agents * each:
        raise DataError(
            f"at least {each} rows for each of {num_agents} agents",
            f"{len(data)} rows",
            "use fewer agents or more rows",
        )


def missing_classes(data: Dataset, shards: list[np.ndarray]) -> str | None:
    """A note, for a trial's outcome, if shards lack classes; None if every shard has all classes.

    Agents without some class still train, but their updates drift away from those of the others.
    """
    have = [set(np.unique(data.y[rows]).tolist()) for rows in shards]
    occurring = set(np.unique(data.y).tolist())
    short = {agent: sorted(occurring - classes) for agent, classes in enumerate(have)}
    short = {agent: gone for agent, gone in short.items() if gone}
    if not short:
        return None
    agent, gone = next(iter(short.items()))
    return (
        f"expected every class in every shard, got {len(short)} of {len(shards)} agents without some "
        f"(agent {agent} has no row of class {', '.join(data.classes[c] for c in gone[:3])}): "
        "use IID or a larger beta if that is not meant"
    )
