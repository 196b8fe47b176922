"""The number of rows that an attack uses, written into its fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from antivenom.core.errors import PluginError, ScenarioError
from antivenom.core.streams import Streams
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset
from antivenom.scenarios.central import Central
from antivenom.scenarios.splits import hold_out, only_classes
from antivenom.search.space import Aimed

RATES = ("poisoned_rate", "payload_rate", "cover_rate", "noise_rate")  # shares of all training rows, which add up
PER_TARGET = ("copies", "poisons")  # rows for each target
MARGIN = 0.95  # of the budget, where a share refers to a class, whose size differs a little from seed to seed


def with_rows(attack: Any, rows: int, data: Dataset, targets: int = 1) -> Any:
    """The attack with a budget of so many rows. Where it has several kinds of rows, their proportions are kept.

    >>> from antivenom.attacks import WaNet
    >>> from antivenom.data import Dataset
    >>> data = Dataset(np.zeros((100, 2), dtype=np.float32), np.zeros(100, dtype=int), ("a", "b"))
    >>> with_rows(WaNet(), 9, data)
    WaNet(poisoned_rate=0.03, noise_rate=0.06)

    Args:
        attack: an attack on rows, or an `Aimed` one.
        rows: the number of rows, at least 1.
        data: the clean training rows.
        targets: the number of targets of a targeted attack.

    Raises:
        PluginError: the attack has no field for the number of its rows.
    """
    if isinstance(attack, Aimed):
        return dataclasses.replace(attack, attack=_set(attack.attack, rows, data, targets, attack.wanted))
    return _set(attack, rows, data, targets, None)


def _set(attack: Any, rows: int, data: Dataset, targets: int, wanted: Any) -> Any:
    names = {field.name for field in dataclasses.fields(attack)}
    n = len(data)
    if "class_share" in names:
        own = _of_class(data, wanted.target if isinstance(wanted, AllToOne) else None)
        return dataclasses.replace(attack, class_share=min(MARGIN * rows / own, 1.0))
    if "texts" in names:
        return dataclasses.replace(attack, texts=rows)
    for name in PER_TARGET:
        if name in names:
            return dataclasses.replace(attack, **{name: max(rows // max(targets, 1), 1)})
    if getattr(attack, "source", None) is not None:
        own = _of_class(data, attack.source)
        return dataclasses.replace(attack, poisoned_rate=min(MARGIN * rows / own, 1.0))
    rates = [name for name in RATES if name in names]
    if not rates:
        raise PluginError("an attack with a number of rows", type(attack).__name__, "give a family of another attack")
    parts = _parts([getattr(attack, name) for name in rates], rows)
    return dataclasses.replace(attack, **{name: min(part / n, 1.0) for name, part in zip(rates, parts, strict=True)})


def _parts(weights: Sequence[float], rows: int) -> list[int]:
    """So many rows divided in proportion to the weights; the first part has at least one row and gets the remainder."""
    total = sum(weights)
    others = [int(rows * weight / total + 1e-9) if total else 0 for weight in weights[1:]]
    while sum(others) >= rows:
        others[int(np.argmax(others))] -= 1
    return [rows - sum(others), *others]


def _of_class(data: Dataset, number: int | None) -> int:
    """The rows of a class; of the smallest class for None."""
    sizes = np.bincount(data.y.astype(int), minlength=data.num_classes)
    return int(max(sizes.min() if number is None else sizes[number], 1))


def limited(scenario: Any, share: float | None, rows: int | None) -> Any:
    """The scenario with this limit to the rows that the attacker may change or add.

    Raises:
        ScenarioError: both are given, the scenario has no such limit, or there are not so many rows.
    """
    if share is None and rows is None:
        return scenario
    if share is not None and rows is not None:
        raise ScenarioError("a share or a number of rows", "both", "leave one out")
    if not hasattr(scenario, "max_poisoned_rate"):
        raise ScenarioError(
            "a scenario with a limit to poisoned rows", type(scenario).__name__, "leave out `share` and `rows`"
        )
    if share is None:
        number = len(rows_of(scenario))
        assert rows is not None
        if not 1 <= rows <= number:
            raise ScenarioError(f"rows from 1 to {number}, the training rows", f"{rows}")
        share = rows / number
    if not 0 < share <= 1:
        raise ScenarioError("a share above 0 and at most 1", f"{share}", "0.01 is one row in a hundred")
    return dataclasses.replace(scenario, max_poisoned_rate=share)


def rows_of(scenario: Central) -> Dataset:
    """The clean training rows of a central scenario at seed 0, which an attacker sees."""
    streams = Streams(0)
    split = scenario.data(streams)
    split = split if scenario.classes is None else only_classes(split, scenario.classes)
    clean, *_ = hold_out(split.train, scenario.clean_rows, scenario.train_rows, streams, scenario.attacker_rows)
    return clean
