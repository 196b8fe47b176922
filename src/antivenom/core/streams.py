"""Named, independent random streams from one seed.

Two trials with the same seed draw equal numbers from every stream of the same name. So a change of the attack leaves
the split, the initial weights and the order of the rows as they were, and a comparison with the clean twin is paired.
"""

from __future__ import annotations

import hashlib
import numbers
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from antivenom.core.errors import ScenarioError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Streams:
    """A seed and a path of names below it; asking twice for the same name gives two equal, fresh generators.

    >>> streams = Streams(0)
    >>> draws = [streams.numpy("split").permutation(4).tolist() for _ in range(2)]
    >>> draws[0] == draws[1]
    True
    >>> streams.child("round", 3) == streams.child("round", 4)
    False

    Fields:
        seed: any whole number; a bool is refused.
        path: the names below the seed, outermost first.
    """

    seed: int
    path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, numbers.Integral):
            raise ScenarioError("a whole number as seed", repr(self.seed), "write seed: 0, for example")

    @classmethod
    def fresh(cls) -> Streams:
        """Streams from the entropy of the operating system, which nobody can predict and no seed repeats."""
        return cls(secrets.randbits(128))

    def child(self, *names: object) -> Streams:
        """The streams below `names`, which are converted to strings and appended to the path."""
        return Streams(self.seed, self.path + tuple(str(name) for name in names))

    def sealed(self, *names: object) -> Streams:
        """The same streams as `child(*names)`, from which neither the seed nor the path can be read.

        Plugins get sealed streams, so that none of them can derive the split, the order of the rows or another plugin's
        numbers. Weakness: a plugin can guess the seed, because seeds are small numbers, and rebuild the streams from it.
        """
        return SealedStreams(_absorbed(hashlib.sha256(), (str(self.seed), *self.path, *names)))

    @property
    def key(self) -> int:
        """A 63-bit seed for a generator: a hash of the seed and of every name of the path."""
        text = repr([str(self.seed), *self.path])  # repr quotes each name, so ("a", "b") and ("a, b",) differ
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def numpy(self, *names: object) -> np.random.Generator:
        """A fresh numpy generator for the stream below `names`."""
        return np.random.default_rng(self.child(*names).key)

    def torch(self, *names: object, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh torch generator for the stream below `names`. Its numbers depend on the kind of device."""
        import torch  # here, because core must work without torch

        return torch.Generator(device=device).manual_seed(self.child(*names).key)

    def sklearn(self, *names: object) -> int:
        """A seed for scikit-learn's `random_state` (32 bits)."""
        return self.child(*names).key & 0x7FFFFFFF


class SealedStreams(Streams):
    """Streams that cannot be followed upwards: they hold an unfinished SHA-256 instead of a seed and a path.

    A hash state can be extended by further names, which gives the child streams, but not inverted, which would give the
    seed. Sealed streams cannot be pickled, because a hash state cannot.
    """

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
    """The hash state after the names. With the "]" that `key` adds, the hashed text is `Streams.key`'s repr of a list."""
    for name in names:
        state.update((("[" if first else ", ") + repr(str(name))).encode())
        first = False
    return state
