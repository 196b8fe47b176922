"""Named, independent random streams from one seed.

Two trials that share a seed share every stream of the same name. So changing the attack leaves the split, the
initial weights and the order of the rows as they were, and a comparison is paired.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Streams:
    """A seed and a path of names below it. Asking twice for one name gives two equal, fresh generators."""

    seed: int
    path: tuple[str, ...] = ()

    def child(self, *names: object) -> Streams:
        """The streams below `names`; `child("round", 3)` differs from `child("round", 4)`."""
        return Streams(self.seed, self.path + tuple(str(name) for name in names))

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
