"""Is this model backdoored? The scan, the structure and the behaviour of a model file, beside clean references."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from antivenom.core.errors import ScenarioError
from antivenom.core.protocols import Model
from antivenom.core.streams import Streams
from antivenom.core.verdict import ModelVerdict
from antivenom.data import Dataset
from antivenom.defences.sanitize import rows_of
from antivenom.inspection.checks import LAST, LEAST, beside, detectors_for, measured, verdicts
from antivenom.inspection.reading import Form, Reader, Subject
from antivenom.inspection.references import Clock, accuracy, trainers, unlike
from antivenom.inspection.repairing import check_repair, repaired
from antivenom.inspection.result import Answer, Check, Inspection, Suspect
from antivenom.inspection.rows import Rows, divided
from antivenom.inspection.structure import Trace
from antivenom.inspection.suspects import suspects
from antivenom.inspection.traces import state_of, structure_of, weight_traces
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel
from antivenom.scan import AllowList


@dataclass(frozen=True)
class References:
    """How clean reference models are trained, if none is given.

    Fields:
        count: number of models, 0 for none; nine give false alarms in at most one of ten exchangeable clean models.
        training: how they are trained, which should be how the inspected model was trained.
        rows: least number of clean rows that must be left for their training.
    """

    count: int = 9
    training: Training = Training(epochs=10, batch_size=128)
    rows: int = 200


def inspect(
    path: str | Path,
    data: object = None,
    *,
    arch: object = None,
    shape: tuple[int, ...] | None = None,
    only: str = "",
    reference: Sequence[str | Path] = (),
    train: References = References(),
    repair: str | Path | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    allow: AllowList | None = None,
    force: bool = False,
) -> Inspection:
    """Inspect a model file for a backdoor.

    The scan judges the file first. Then follow the structure, which needs no rows, and the checks of behaviour: the weight
    screen, MM-BD, and inversion of masks and of perturbations, or a sweep of patches for models that can only be queried.
    The answer is the rank of the inspected model among clean references, which are given or trained on the user's rows. It
    is a test with a known rate of false alarms if the model, in case it is clean, was trained like the references.

    Args:
        path: a state dict, a safetensors file, an ONNX graph, a pickled scikit-learn model, or a folder of a transformer or
            a LoRA adapter.
        data: clean rows in any form that `antivenom.data.source_of` takes, or None.
        arch: the architecture of a file of tensors: a registered name, `module:name`, or a function (shape, classes) -> module.
        shape: the shape of a row, if there are no rows.
        only: the dotted key of the part of a checkpoint that holds the weights.
        reference: files of clean models of the same architecture. One is compared; four or more calibrate the answer.
        train: how references are trained on the rows if fewer than four are given.
        repair: a new safetensors file for the repaired weights, or None.
        seconds: time after which no further check is begun. The repair takes as long again at most.
        seed: the seed of all draws.
        allow: the globals that pickles can import; the vetted tier by default.
        force: overwrite an existing file of repaired weights.

    Raises:
        UnsafeFile: the scan does not find a file safe.
        FileError, ModelError, DataError: a file, a model or rows that cannot be used.
    """
    if not 0 < seconds < math.inf:
        raise ScenarioError("seconds > 0", f"{seconds}")
    clock, streams = Clock(seconds), Streams(seed)
    rows = None if data is None else divided(rows_of(data, seed), streams)
    read = Reader(
        arch,
        shape if rows is None else rows.probes.encoded.shape,
        () if rows is None else rows.probes.classes,
        only,
        allow,
    )
    subject, others = read(path), [read(each) for each in reference]
    if repair is not None:
        check_repair(subject, rows, repair, force)
    found = Inspection(subject.path, str(subject.form), Answer.CANNOT_TELL, subject.why)
    certain, statistical = structure_of(subject, others, len(read.classes) or None)
    found = replace(found, traces=(*certain, *statistical))
    given = [other.model for other in others if other.model is not None]
    if subject.model is not None:
        makers, notes = _makers(subject, given, rows, arch, train, streams)
        found = replace(found, notes=notes)
        found, clean = _examined(found, subject.model, rows, makers, clock, statistical)
        if repair is not None:
            fixed = repaired(subject, found.suspects, clean, rows, Path(repair), seconds, streams, force)
            found = replace(found, repaired=fixed)
    return replace(_with_structure(found, certain), seconds=clock.elapsed)


def _makers(
    subject: Subject, given: Sequence[Model], rows: Rows | None, arch: object, train: References, streams: Streams
) -> tuple[list[Callable[[], Model]], tuple[str, ...]]:
    """Functions that give the references, and notes on why there are none."""
    if len(given) >= LEAST:
        return [_constant(model) for model in given], ()
    few = (f"{len(given)} reference models are too few to calibrate: give {LEAST} or more",) if given else ()
    if not train.count:
        return [], few
    if rows is None:
        return [], (
            *few,
            "there are no rows on which references could be trained: give --data, or --reference four times",
        )
    if subject.form is Form.ESTIMATOR and arch is None:
        return [], (*few, "a fitted estimator cannot be trained again: give --arch with an unfitted one for references")
    if len(rows.rest) < train.rows:
        more = train.rows - len(rows.rest)
        return [], (*few, f"references need about {more} more clean rows, or --reference four times")
    return trainers(arch, train.training, rows.rest, streams, range(train.count)), few


def _constant(model: Model) -> Callable[[], Model]:
    return lambda: model


def _examined(
    found: Inspection,
    model: Model,
    rows: Rows | None,
    makers: Sequence[Callable[[], Model]],
    clock: Clock,
    traces: Sequence[Trace],
) -> tuple[Inspection, list[Model]]:
    """The inspection with the checks of behaviour, and the references."""
    probes = _no_rows(model) if rows is None else rows.probes
    checks = measured(model, probes, clock, detectors_for(model, len(probes) > 0))
    clean, statistics = beside(checks, makers, probes, clock, max(1, os.cpu_count() or 1))
    if len(probes) and isinstance(model, TorchModel):
        checks += measured(model, probes, clock, LAST)
    notes = list(found.notes)
    if makers and len(clean) < LEAST:
        spent = clock.elapsed / max(1, len(clean) + 1)
        notes.append(
            f"the time allowed for {len(clean)} of {len(makers)} references: "
            f"give about --time {math.ceil(spent * (len(makers) + 2))}s"
        )
        clean, statistics = [], []
    own, theirs = math.nan, [math.nan for _ in clean]
    if rows is not None:
        own, theirs = accuracy(model, rows.held_out), [accuracy(other, rows.held_out) for other in clean]
        reason = unlike(own, theirs, len(rows.held_out))
        if reason:
            notes.append(reason)
            statistics = []
        if own < np.bincount(rows.held_out.y).max() / len(rows.held_out):
            notes.append("a constant answer would be right more often: are classes and rows those of the model?")
    counts = [_suspicious(traces), *(_suspicious(weight_traces(state_of(other), other)) for other in clean)]
    whole, told = verdicts(checks, statistics, counts if statistics else ())
    named = () if rows is None else suspects(model, checks, told, whole, clean, rows.held_out)
    answer, why = _answer(told, whole, named)
    if answer is Answer.UNCALIBRATED and counts[0]:
        why += f"; its weights have {counts[0]} traces, which are shown above"
    examined = replace(
        found,
        answer=answer,
        reason=why,
        checks=tuple(told),
        suspects=named,
        p_value=math.nan if whole is None or whole.p_value is None else whole.p_value,
        references=len(statistics),
        accuracy=own,
        reference_accuracy=tuple(theirs),
        notes=tuple(notes),
    )
    return examined, clean


def _no_rows(model: Model) -> Dataset:
    """An empty data set in the shape of the model's rows, for detectors that need none."""
    shape = model.network.row_shape if isinstance(model, TorchModel) else (1,)
    classes = tuple(str(c) for c in range(model.num_classes))
    return Dataset(np.zeros((0, *shape)), np.zeros(0, dtype=np.int64), classes)


def _answer(checks: Sequence[Check], whole: ModelVerdict | None, named: Sequence[Suspect]) -> tuple[Answer, str]:
    """The answer and one sentence that explains it."""
    if not any(check.decides for check in checks):
        reasons = [check.why for check in checks if check.why]
        return Answer.CANNOT_TELL, f"no check ran: {reasons[0] if reasons else 'there is none for such a model'}"
    if whole is None or whole.p_value is None:
        return Answer.UNCALIBRATED, "without clean references, the rate of false alarms is unknown"
    bound = whole.notes[0]
    if not whole.flag:
        return Answer.NOTHING_FOUND, bound
    flagged = [suspect.name for suspect in named if suspect.flagged]
    if not flagged and whole.classes is not None:
        flagged = [str(c) for c in np.flatnonzero(whole.classes.flags)]
    blamed = f"class {', '.join(flagged)}" if flagged else "traces in the weights that no reference has"
    return Answer.SUSPICIOUS, f"{blamed}; {bound}"


def _suspicious(traces: Sequence[Trace]) -> int:
    return sum(trace.suspicious for trace in traces)


def _with_structure(found: Inspection, certain: Sequence[Trace]) -> Inspection:
    """A model whose structure is certainly that of a backdoor is suspicious, whatever the other checks say."""
    suspicious = [trace for trace in certain if trace.suspicious]
    if not suspicious:
        return found
    place = f" in {suspicious[0].where}" if suspicious[0].where else ""
    more = f"; {found.reason}" if found.answer is Answer.SUSPICIOUS else ""
    return replace(found, answer=Answer.SUSPICIOUS, reason=f"{suspicious[0].check}{place}: {suspicious[0].what}{more}")
