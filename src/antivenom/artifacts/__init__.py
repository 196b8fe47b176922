"""Model files in use: load them safely, convert, sign and verify them, guard a process, watch a file as it is loaded."""

from antivenom.artifacts.conversion import convert, read_tensors
from antivenom.artifacts.detonation import Detonation, Event, detonate
from antivenom.artifacts.guarding import Guard, guard
from antivenom.artifacts.loading import safe_load
from antivenom.artifacts.signing import Difference, sign, verify

__all__ = [
    "Detonation",
    "Difference",
    "Event",
    "Guard",
    "convert",
    "detonate",
    "guard",
    "read_tensors",
    "safe_load",
    "sign",
    "verify",
]
