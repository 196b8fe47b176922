"""Sample inputs of an attack: how a poisoned row, image or text looks beside the one from which it was made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from antivenom.auditing.pictures import as_png
from antivenom.auditing.results import CellResult

MOST = 4  # for each breach, with test inputs
Marked = list[tuple[bool, str]]  # (whether it changed, text)


def samples(cell: CellResult) -> dict[str, object]:
    """The samples of the cell's first record that has some: images, rows as tables, and texts."""
    found: list[dict[str, Any]] = next((record["samples"] for record in cell.records if record.get("samples")), [])
    tests = [sample for sample in found if "test" in sample["kind"]]
    rows = [sample for sample in found if "test" not in sample["kind"]][: MOST - len(tests)]
    chosen = [*rows, *tests][:MOST]
    recovered: dict[str, Any] = next((r["pictures"] for r in cell.records if r.get("pictures")), {})
    return {
        "images": [_image(sample) for sample in chosen if sample["after"] is not None],
        "rows": [_row(sample) for sample in chosen if sample["after"] is None],
        "triggers": [(name, as_png(picture)) for name, picture in recovered.items()],
    }


def _image(sample: Mapping[str, Any]) -> dict[str, object]:
    before = sample["before"]
    return _told(sample) | {"after": as_png(sample["after"]), "before": None if before is None else as_png(before)}


def _row(sample: Mapping[str, Any]) -> dict[str, object]:
    cells = [{"column": column, "parts": _parts(before, after, sample)} for column, before, after in sample["cells"]]
    left = sample["columns"] - len(cells)
    return _told(sample) | {"cells": cells, "left": max(left, 0), "changed": sample["changed"], "of": sample["columns"]}


def _told(sample: Mapping[str, Any]) -> dict[str, object]:
    """Kind, class and origin in words."""
    relabelled = sample["was"] and sample["was"] != sample["label"]
    label = f"{sample['was']} → {sample['label']}" if relabelled else sample["label"]
    test = "test" in sample["kind"]
    return {
        "kind": sample["kind"],
        "label": f"{'wanted class' if test else 'label'}: {label}",
        "relabelled": bool(relabelled),
        "known": sample["known"],
        "added": sample["kind"].startswith("added"),
    }


def _parts(before: str, after: str, sample: Mapping[str, Any]) -> tuple[Marked, Marked]:
    """The value before, if it differs, and the value after, in parts of which the changed ones are marked."""
    if not sample["known"] or before == after:
        return [], [(False, after)]
    old, new = (re.split(r"(\s+)", text) for text in (before, after))
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1

    def cut(words: list[str]) -> Marked:
        parts = [(False, words[:start]), (True, words[start : len(words) - end]), (False, words[len(words) - end :])]
        return [(marked, "".join(some)) for marked, some in parts if "".join(some)]

    return cut(old), cut(new)
