"""How many seeds each cell of a plan has been asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """The number of seeds of each cell of a plan.

    Fields:
        seeds: cell i has the first `seeds[i]` of the plan's seeds. What is selected is selected on these.
        fresh: and the first `fresh[i]` of the seeds that are kept for confirmation; 0 for cells that were not selected.
        kept_from: the place of the first seed that is kept for confirmation.
    """

    seeds: tuple[int, ...]
    fresh: tuple[int, ...]
    kept_from: int

    def places(self, cell: int) -> Iterator[int]:
        """The places of the cell's seeds in the plan's order."""
        yield from range(self.seeds[cell])
        yield from self.fresh_places(cell)

    def fresh_places(self, cell: int) -> range:
        """The places of the cell's fresh seeds."""
        return range(self.kept_from, self.kept_from + self.fresh[cell])
