"""Looks for rows that were poisoned already, in a process of its own, which may be killed if it takes too long."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from antivenom.auditing.executors import seeded
from antivenom.auditing.trial import Record
from antivenom.auditing.workers import PRELOAD, memory_each, threads_each
from antivenom.core.errors import AntivenomError, DataError, text_of
from antivenom.core.protocols import Source
from antivenom.core.watched import Task, watched
from antivenom.defences.suspects import suspects

_LONGER, _MORE_S = 2.0, 5.0  # reading and describing the rows may take so much longer than the time for models


class _Examine:
    """Runs in the process: the record of the suspects, or the reason why there is none, as a line of JSON."""

    def __init__(self, seconds: float, source: Source | None = None) -> None:
        self.seconds, self.source = seconds, source

    def __call__(self, _: object, parcels: Mapping[str, bytes]) -> bytes:
        import cloudpickle

        try:
            seeded(0)
            source = self.source if "source" not in parcels else cloudpickle.loads(parcels["source"])
            return json.dumps({"found": suspects(source, seconds=self.seconds).record()}).encode()
        except AntivenomError as error:
            return json.dumps({"failed": [error.expected, error.got, error.remedy]}).encode()
        except BaseException as error:  # the rows may come from code of the user
            return json.dumps({"failed": ["rows that can be examined", text_of(error), ""]}).encode()


def examined(source: Source, seconds: float, until: float | None = None) -> Record:
    """The record of the rows whose label is probably wrong.

    Args:
        source: the rows.
        seconds: time for the training of models.
        until: when to stop, on the clock of `time.monotonic`, or None.

    Raises:
        DataError: it cannot be said, or not in this time.
    """
    parcel = _pickled(source)
    parcels = {} if parcel is None else {"source": parcel}
    answer = _Examine(seconds, source if parcel is None else None)
    limit = _LONGER * seconds + _MORE_S
    ended = watched(
        [Task(None, parcels, alone=True)],
        1,
        answer,
        PRELOAD,
        threads_each(1),
        limit,
        memory_each(1),
        "forkserver" if parcels else "fork",  # a value that cannot be pickled is there in a copy of this process
        until,
    )
    found = next((found for _, found in ended), None)
    if isinstance(found, bytes):
        said: dict[str, Any] = json.loads(found)
        if "found" in said:
            return dict(said["found"])
        raise DataError(*said["failed"])
    why = None if found is None else found.why
    raise DataError(f"an examination of the rows within {limit:.0f} s", why or "none that ended", "raise --time")


def _pickled(source: Source) -> bytes | None:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(source))
    except Exception:  # a user's object may raise any exception when it is pickled
        return None
