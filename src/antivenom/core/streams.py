"""Named, independent random streams from one seed.

Two trials that share a seed share every stream of the same name. So changing the attack leaves the split, the
initial weights and the order of the rows as they were, and a comparison is paired.
"""

from __future__ import annotations

import hashlib
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from antivenom.core.errors import ScenarioError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Streams:
    """A seed and a path of names below it. Asking twice for one name gives two equal, fresh generators."""

    seed: int
    path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, numbers.Integral):
            raise ScenarioError("a whole number as seed", repr(self.seed), "seed: 0 is a good start")

    def child(self, *names: object) -> Streams:
        """The streams below `names`; `child("round", 3)` differs from `child("round", 4)`."""
        return Streams(self.seed, self.path + tuple(str(name) for name in names))

    def sealed(self, *names: object) -> Streams:
        """The same streams as `child(*names)`, from which neither the seed nor the path can be read.

        Plugins get sealed streams, so that none of them can derive the split, the order of the rows or another plugin's
        numbers. Weakness: a seed can be guessed, because trials are numbered from 0.
        """
        return SealedStreams(_absorbed(hashlib.sha256(), (str(self.seed), *self.path, *names)))

    @property
    def key(self) -> int:
        """63 bits that depend on the seed and on every name of the path."""
        text = repr([str(self.seed), *self.path])  # repr quotes, so that no two paths share a text
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def numpy(self, *names: object) -> np.random.Generator:
        return np.random.default_rng(self.child(*names).key)

    def torch(self, *names: object, device: torch.device | str = "cpu") -> torch.Generator:
        import torch

        return torch.Generator(device=device).manual_seed(self.child(*names).key)

    def sklearn(self, *names: object) -> int:
        """A seed for scikit-learn's `random_state` (32 bits)."""
        return self.child(*names).key & 0x7FFFFFFF


class SealedStreams(Streams):
    """Streams below a point that they cannot go above: they hold an unfinished hash instead of a seed and a path."""

    _state: Any

    def __init__(self, state: object) -> None:
        object.__setattr__(self, "_state", state)

    def child(self, *names: object) -> Streams:
        return SealedStreams(_absorbed(self._state.copy(), names, first=False))

    def sealed(self, *names: object) -> Streams:
        return self.child(*names)

    @property
    def key(self) -> int:
        state = self._state.copy()
        state.update(b"]")
        return int.from_bytes(state.digest()[:8], "big") >> 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SealedStreams) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return "Streams(sealed)"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("sealed streams cannot be pickled: draw the generators first")


def _absorbed(state: Any, names: tuple[object, ...], first: bool = True) -> Any:
    """The hash after the names, in the text whose end is `key`'s."""
    for name in names:
        state.update((("[" if first else ", ") + repr(str(name))).encode())
        first = False
    return state
