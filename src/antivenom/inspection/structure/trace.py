"""The common result of all structural checks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trace:
    """One observation about the structure of a model.

    Fields:
        check: name of the check, such as `input-condition` or `exact-unit`.
        where: the tensor, node or layer that it concerns; empty if it concerns the whole model.
        what: one whole sentence for a person.
        value: the measured value, or NaN if nothing was measured.
        suspicious: False for a note, such as the summary of a comparison or the reason why a check could not run.
    """

    check: str
    where: str
    what: str
    value: float = float("nan")
    suspicious: bool = True
