"""Sample inputs in records: short texts and small pictures, within limits that are checked when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from antivenom.auditing.pictures import decoded, encoded

if TYPE_CHECKING:
    from antivenom.core.outcome import Sample

MOST = 6  # samples of a record
_CELLS = 16  # of a sample
_NAME = 80  # characters of a column's or class's name
_TEXT = 300  # characters of a cell


class SampleLine(BaseModel):
    """A sample as a record holds it."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    kind: str = Field(max_length=_NAME)
    label: str = Field(max_length=_NAME)
    was: str = Field(max_length=_NAME)
    cells: list[list[str]] = Field(max_length=_CELLS)
    changed: int
    columns: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    known: bool


def encoded_samples(samples: tuple[Sample, ...]) -> list[dict[str, Any]]:
    """The first samples of an outcome as plain values for JSON. Longer texts are cut."""
    return [
        {
            "kind": sample.kind[:_NAME],
            "label": sample.label[:_NAME],
            "was": sample.was[:_NAME],
            "cells": [[c.column[:_NAME], c.before[:_TEXT], c.after[:_TEXT]] for c in sample.cells[:_CELLS]],
            "changed": sample.changed,
            "columns": sample.columns,
            "before": None if sample.before is None else encoded(sample.before),
            "after": None if sample.after is None else encoded(sample.after),
            "known": sample.known,
        }
        for sample in samples[:MOST]
    ]


def require_sample(sample: Mapping[str, Any]) -> None:
    """Check what the types of a sample's fields do not say.

    Raises:
        ValueError: a cell is not a column with two texts of limited length, or a picture is none.
    """
    for cell in sample["cells"]:
        if len(cell) != 3 or len(cell[0]) > _NAME or max(map(len, cell[1:])) > _TEXT:
            raise ValueError("a sample with a cell that is not a short column name and two short texts")
    for side in ("before", "after"):
        if sample[side] is not None:
            decoded(sample[side])
