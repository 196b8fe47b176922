"""How attacks and defences on data and models are called in the contract, through the adapters that scenarios use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from antivenom.core.errors import PluginError
from antivenom.core.protocols import (
    DataAttack,
    Evasion,
    Gate,
    LogicAttack,
    Mitigation,
    ModelAttack,
    ModelDetector,
    RobustLearner,
    Sanitizer,
    Trigger,
)
from antivenom.core.registry import Entry
from antivenom.core.threat import Access, ThreatModel
from antivenom.data import Dataset
from antivenom.models.wrappers import TorchModel
from antivenom.scenarios import guarded
from antivenom.testing.samples import (
    Check,
    answers,
    any_rows,
    attack_context,
    defence_context,
    images_and_table,
    normed_model,
    small_model,
    some_triggers,
    text_model,
    texts,
    threats,
    unchanged,
)
from antivenom.triggers import Patch, Quantised


def data_attack_calls(plugin: DataAttack, entry: Entry) -> Iterator[Check]:
    def attacked(data: Dataset, threat: ThreatModel, own_rows: bool, trigger: Trigger) -> object:
        context = attack_context(threat, data[80:] if own_rows else None, data, trigger)
        poison = guarded.data_attack(plugin, data[:80], context)
        x = poison.data.x
        return (x.toarray() if poison.data.is_sparse else x), poison.data.y, poison.mask

    first, *others = some_triggers(entry)
    for data in any_rows():
        for own in (False, True):
            yield from (partial(attacked, data, threat, own, first) for threat in threats(entry))
        if data.is_image or data.is_sparse:
            yield from (partial(attacked, data, threat, False, other) for threat in threats(entry) for other in others)


def model_attack_calls(plugin: ModelAttack, entry: Entry) -> Iterator[Check]:
    def attacked(data: Dataset, model: TorchModel, threat: ThreatModel) -> object:
        return answers(guarded.model_attack(plugin, model, data, attack_context(threat, data=data))[0], data)

    for data in images_and_table():
        for threat in threats(entry):
            yield partial(attacked, data, small_model(data), threat)


def logic_attack_calls(plugin: LogicAttack, entry: Entry) -> Iterator[Check]:
    def corrupted(data: Dataset, threat: ThreatModel, trigger: Trigger) -> object:
        loss = guarded.logic_attack(plugin, attack_context(threat, trigger=trigger))
        model = small_model(data)
        vector = model.vector.clone().requires_grad_()
        x, y = torch.tensor(data.x[:20]), torch.tensor(data.y[:20])
        value = unchanged(entry, (x, y), lambda: loss(lambda inputs: model.network.logits(vector, inputs), x, y))
        if not value.isfinite():
            raise PluginError(f"one finite number from the loss of {entry.name}", str(value), "return a scalar tensor")
        return value.detach(), torch.autograd.grad(value, vector)[0]

    for data in images_and_table():
        for trigger in (Patch(), Quantised()):
            yield from (partial(corrupted, data, threat, trigger) for threat in threats(entry))


def evasion_calls(plugin: Evasion, entry: Entry) -> Iterator[Check]:
    def sent(data: Dataset, threat: ThreatModel) -> object:
        model = defence_context(data).fit(data[:80])
        found = guarded.evasion(plugin, model, data[80:], attack_context(threat, data[:80]))
        return found.x.toarray() if found.is_sparse else found.x

    for data in any_rows():
        yield from (partial(sent, data, threat) for threat in threats(entry, Access.DATA_INJECTION))


def sanitizer_calls(plugin: Sanitizer, entry: Entry) -> Iterator[Check]:
    def judged(data: Dataset, trusted: bool) -> object:
        verdict = guarded.sanitizer(plugin, data[:80], defence_context(data, trusted))
        return verdict.scores, verdict.flags

    for data in any_rows():
        sourced = dataclasses.replace(data, groups=np.arange(len(data)) % 4)
        yield from (partial(judged, rows, trusted) for rows in (data, sourced) for trusted in (False, True))


def robust_learner_calls(plugin: RobustLearner, entry: Entry) -> Iterator[Check]:
    def learnt(data: Dataset, trusted: bool) -> object:
        model = guarded.robust_learner(plugin, data[:80], defence_context(data, trusted))
        radii = np.asarray(model.certified(data.x)) if hasattr(model, "certified") else np.zeros(len(data), dtype=int)
        if radii.shape != (len(data),) or radii.dtype.kind not in "iu":
            raise PluginError(f"whole radii ({len(data)},) from {entry.name}", f"{radii.dtype} {radii.shape}")
        return (np.asarray(model.predict(data.x)) if data.is_regression else answers(model, data)), radii

    yield from (partial(learnt, data, trusted) for data in any_rows() for trusted in (False, True))


def model_detector_calls(plugin: ModelDetector, entry: Entry) -> Iterator[Check]:
    def judged(data: Dataset) -> object:
        verdict = guarded.model_detector(plugin, small_model(data), data[:60], defence_context(data))
        classes = (verdict.classes.scores, verdict.classes.flags) if verdict.classes is not None else ()
        return (verdict.score, verdict.flag, *classes)

    yield from (partial(judged, data) for data in images_and_table())


def mitigation_calls(plugin: Mitigation, entry: Entry) -> Iterator[Check]:
    def repaired(data: Dataset, made: Callable[[Dataset], TorchModel]) -> object:
        return answers(guarded.mitigation(plugin, made(data), data[:60], defence_context(data)), data)

    yield from (partial(repaired, data, made) for data in images_and_table() for made in (small_model, normed_model))


def gate_calls(plugin: Gate, entry: Entry) -> Iterator[Check]:
    def judged(data: Dataset, made: Callable[[Dataset], TorchModel]) -> object:
        verdict = guarded.gate(plugin, made(data), data[:60], defence_context(data))(data.x[60:])
        return verdict.scores, verdict.flags

    yield from (partial(judged, data, made) for data in images_and_table() for made in (small_model, normed_model))
    yield partial(judged, texts(), text_model)
