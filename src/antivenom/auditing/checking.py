"""The check of a whole plan before anything runs: data, wanted classes, numbers of rows, models, rules and their f.

What only a training can show is not checked here; it becomes the record of a trial.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from antivenom.auditing.plan import Cell, Plan
from antivenom.core.errors import AntivenomError, NotApplicable
from antivenom.core.protocols import Checks
from antivenom.core.streams import Streams


def check(plan: Plan) -> None:
    """Check every cell of the plan. The rows of each data set are read once, with the random streams of seed 0.

    Combinations that make no sense are no errors: their trials say so in their records.

    Raises:
        AntivenomError: one line with file, line and field, for the first cell of which every trial would fail.
    """
    split: Any = None
    source: Any = None
    checked: set[int] = set()
    for cell in plan.cells:
        scenario = cell.scenario
        if not isinstance(scenario, Checks):
            continue
        if id(scenario) not in checked:
            with _placed(cell, "data"):
                own = getattr(scenario, "data", None)
                if own is not source or split is None:
                    split, source = _rows(own), own
            if split is not None:
                with _placed(cell, ""):
                    scenario.check_rows(split)
            checked.add(id(scenario))
        with _placed(cell, ""):
            scenario.check_plugins(cell.attack, cell.defence)


def _rows(source: Any) -> Any:
    """The rows of a source, or None if it fails with an error that is not antivenom's; its trials will record that."""
    try:
        return None if source is None else source(Streams(0))
    except AntivenomError:
        raise
    except Exception:  # the source of a third party may raise anything
        return None


@contextlib.contextmanager
def _placed(cell: Cell, field: str) -> Iterator[None]:
    """Put the place of the field that an error is about in front of its message.

    Combinations that make no sense, and errors that are not antivenom's, are left to the trials.
    """
    try:
        yield
    except NotApplicable:
        pass
    except AntivenomError as error:
        places = cell.places
        error.at(places.get(error.field or field) or places.get("") or "")
        raise
    except Exception:
        pass
