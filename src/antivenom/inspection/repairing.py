"""Repairs a model and keeps the best repair, by held-out clean rows and recovered triggers alone."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from antivenom.artifacts.conversion import check_new, write_tensors
from antivenom.core.errors import AntivenomError, DataError, NotApplicable
from antivenom.core.protocols import DefenceContext, Mitigation, Model
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.defences import FTSAM, NAD, SAU, FineTuning, TriggerUnlearning
from antivenom.inspection.reading import Subject
from antivenom.inspection.references import Clock, accuracy
from antivenom.inspection.result import Candidate, Repaired, Suspect
from antivenom.inspection.rows import Rows
from antivenom.inspection.suspects import hit
from antivenom.inspection.traces import state_of
from antivenom.models.wrappers import TorchModel

REPAIRS: tuple[Mitigation, ...] = (TriggerUnlearning(), FTSAM(), FineTuning(), NAD(), SAU())
ALLOWED = 0.05  # accuracy on held-out clean rows that a repair may cost
SAME = 0.02  # success rates of triggers that differ by less are the same; then accuracy decides
LEAST, MOST = 50, 2000  # clean rows on which repairs are trained; more take longer and change little


def repaired(
    subject: Subject,
    found: Sequence[Suspect],
    references: Sequence[Model],
    rows: Rows | None,
    out: Path,
    seconds: float,
    streams: Streams,
    force: bool = False,
) -> Repaired:
    """Repair the model, write the best repair, and tell what each of them did.

    Every mitigation is run on the clean rows that are not held out. Of those that cost at most five points of
    accuracy on the held-out rows, and on which the recovered triggers work least, up to two points more, the most accurate one is
    chosen. The true trigger is not known. A clean reference is repaired alike, which shows what the repair itself costs.

    Raises:
        NotApplicable, DataError, FileError: see `check_repair`; the file cannot be written.
    """
    model, rows = check_repair(subject, rows, out, force)
    clock, rest = Clock(seconds), rows.rest[:MOST]
    clean = next((other for other in references if isinstance(other, TorchModel)), None)
    good: list[tuple[Candidate, TorchModel]] = []
    tried, skipped, longest = [], [], 0.0
    before = _judged("before", model, clean, found, rows.held_out)
    for repair in REPAIRS:
        name = type(repair).__name__
        if clock.left <= longest:
            skipped.append(name)
            continue
        start = time.monotonic()
        try:
            fixed = _applied(repair, model, rest, streams)
            twin = None if clean is None else _applied(repair, clean, rest, streams)
        except AntivenomError as error:
            skipped.append(f"{name} ({error})")
            continue
        longest = max(longest, time.monotonic() - start)
        candidate = _judged(name, fixed, twin, found, rows.held_out)
        tried.append(candidate)
        if candidate.accuracy >= before.accuracy - ALLOWED:
            good.append((candidate, fixed))
    result = Repaired(before, tuple(tried), skipped=tuple(skipped))
    if not good:
        return result
    least = min(candidate.rate for candidate, _ in good)
    chosen, fixed = max((one for one in good if not one[0].rate > least + SAME), key=lambda one: one[0].accuracy)
    write_tensors(_state(subject, fixed), out, force)
    return replace(result, chosen=chosen.name, path=out)


def check_repair(subject: Subject, rows: Rows | None, out: str | Path, force: bool = False) -> tuple[TorchModel, Rows]:
    """The network to repair and the rows for it.

    Raises:
        NotApplicable: the file is no torch network with an architecture.
        DataError: too few clean rows.
        FileError: the file to write exists.
    """
    if not isinstance(subject.model, TorchModel):
        raise NotApplicable("a torch network to repair", str(subject.form), subject.why)
    if rows is None or len(rows.rest) < LEAST:
        raise DataError(
            f"{LEAST} clean rows for a repair", f"{0 if rows is None else len(rows.rest)}", "give more rows"
        )
    check_new(out, force)
    return subject.model, rows


def _applied(repair: Mitigation, model: TorchModel, rows: Dataset, streams: Streams) -> TorchModel:
    own = streams.child("repair", type(repair).__name__)

    def train(*_: object) -> Model:
        raise NotApplicable("a repair with a training loop of its own", type(repair).__name__)

    fixed = repair(model, rows, DefenceContext(own, train, train, rows))
    if not isinstance(fixed, TorchModel):
        raise NotApplicable("a torch network after the repair", type(fixed).__name__)
    return fixed


def _judged(
    name: str, model: TorchModel, clean: TorchModel | None, found: Sequence[Suspect], held_out: Dataset
) -> Candidate:
    """Accuracy and mean success of the recovered triggers on held-out rows."""
    rates = [hit(model, suspect.trigger, suspect.index, held_out) for suspect in found]
    rate = float(np.mean(rates)) if rates else math.nan
    return Candidate(name, accuracy(model, held_out), rate, math.nan if clean is None else accuracy(clean, held_out))


def _state(subject: Subject, model: TorchModel) -> dict[str, Tensor]:
    """The tensors of the file with the repaired values, under their names in the file and in their types."""
    new = state_of(model)
    state: dict[str, Tensor] = {}
    for name, tensor in subject.tensors.items():
        own = next((key for key in new if name == key or name.endswith(f".{key}")), None)
        state[name] = tensor if own is None else new[own].detach().to(tensor.dtype).contiguous()
    return state
