"""Rows that are in memory already."""

from __future__ import annotations

from typing import Any

from antivenom.core.errors import DataError
from antivenom.core.registry import keep, kept, source
from antivenom.core.streams import Streams
from antivenom.data.dataset import Dataset, Split
from antivenom.data.fingerprints import of_rows
from antivenom.data.splitting import split_by_seed


@source(cite="the user's own rows")
class Memory:
    """A value in memory: rows that are split by the seed, or parts that the user split already.

    A record names the rows by their fingerprint and does not hold them. Worker processes are sent the rows.

    Fields:
        rows: a Dataset, or a Split, whose parts stay as they are.
        test_share: share of the rows that become test rows, above 0 and below 1; not used for a Split.
    """

    rows: Dataset | Split
    test_share: float = 0.3

    def __post_init__(self) -> None:
        if not isinstance(self.rows, (Dataset, Split)):
            raise DataError("a Dataset or a Split", type(self.rows).__name__, "use antivenom.data.source_of(value)")
        if not 0 < self.test_share < 1:
            raise DataError("test_share above 0 and below 1", f"{self.test_share}")

    def __call__(self, streams: Streams) -> Split:
        if isinstance(self.rows, Split):
            return self.rows
        return split_by_seed(self.rows, streams, self.test_share)

    def unsplit(self) -> Dataset:
        """All rows in their own order; of a Split, the training rows."""
        return self.rows.train if isinstance(self.rows, Split) else self.rows

    def __reduce__(self) -> tuple[type[Memory], tuple[object, ...]]:
        return type(self), (self.rows, self.test_share)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Memory) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"Memory({self._name}, {self.fingerprint()[:15]})"

    def fingerprint(self) -> str:
        """The SHA-256 of rows and labels, computed on the first call."""
        if "_fingerprint" not in vars(self):
            object.__setattr__(self, "_fingerprint", of_rows(self.rows))
        return str(vars(self)["_fingerprint"])

    def described(self) -> dict[str, Any]:
        """What a record holds in place of the rows."""
        spec = {
            "name": "Memory",
            "data": self._name,
            "test_share": None if isinstance(self.rows, Split) else self.test_share,
            "fingerprint": self.fingerprint(),
        }
        keep(spec, self, weakly=True)
        return spec

    @property
    def _name(self) -> str:
        return self.rows.train.name if isinstance(self.rows, Split) else self.rows.name

    @property
    def _id(self) -> tuple[str, ...]:
        return tuple(map(str, self.described().values()))


def held(described: Any) -> Memory:
    """The source of that description.

    Raises:
        DataError: its rows are not in this process.
    """
    found = kept(described)
    if not isinstance(found, Memory):
        raise DataError(
            "rows that are in memory", f"a record of {described.get('data')!r} without them", "pass the same rows again"
        )
    return found
