"""The calls of the contract for each kind of plugin: on small real data, through the adapters that the engine uses.

`CALLS` maps a kind to a generator of calls. `check_plugin` makes each call twice and compares the results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from antivenom.core.errors import PluginError, ThreatError
from antivenom.core.protocols import (
    Agent,
    AgentView,
    AttackContext,
    ClientDetector,
    DataAttack,
    DefenceContext,
    Evasion,
    Gate,
    LogicAttack,
    Mitigation,
    Model,
    ModelAttack,
    ModelDetector,
    Participation,
    Reducer,
    RobustLearner,
    Sanitizer,
    ServerView,
    Source,
    Targets,
    Trigger,
    Wanted,
)
from antivenom.core.registry import Entry, Kind
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, Knowledge, ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, Split, fingerprint, load
from antivenom.data.fingerprints import of_rows
from antivenom.data.shards import Partition
from antivenom.federated.agents.objectives import train_honest
from antivenom.federated.clients import Shards
from antivenom.federated.guarded import guarded_agent, guarded_detector, guarded_reducer, shares_memory
from antivenom.models.architectures import MLP
from antivenom.models.estimators import Sklearn
from antivenom.models.features import FeatureMap
from antivenom.models.network import Network, build
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios import guarded
from antivenom.scenarios.pipeline import Pipeline
from antivenom.testing.goals_and_scenarios import goal_calls, scenario_calls
from antivenom.triggers import Patch

SEED = 7
TRAINING = Training(epochs=2, batch_size=20, learning_rate=0.005)
Check = Callable[[], object]
_T = TypeVar("_T")


def _unchanged(entry: Entry, inputs: tuple[Tensor, ...], call: Callable[[], _T]) -> _T:
    """The result of the call, after a check that it left its input tensors unchanged."""
    before = [tensor.clone() for tensor in inputs]
    result = call()
    if not all(map(torch.equal, before, inputs)):
        raise PluginError(f"{entry.name} to leave its inputs alone", "a changed input", "work on a copy")
    return result


# --- one generator of calls per kind; a repeated call must return an equal result ---------------------------------------------


def _data() -> Iterator[Dataset]:
    """120 images and 120 rows of a table."""
    for name in ("digits", "breast-cancer"):
        yield load(name, Streams(SEED)).train[:120]


def _any_rows() -> Iterator[Dataset]:
    """These two, a sparse table of words in texts, and a regression. A plugin works on each or refuses it with an error."""
    yield from _data()
    table = load("breast-cancer", Streams(SEED)).train[:120]
    frequent = table.dense > np.median(table.dense, axis=0)
    yield dataclasses.replace(table, x=sp.csr_array(frequent.astype(np.float32)))
    yield load("diabetes", Streams(SEED)).train[:120]


def _frame() -> Dataset:
    """120 rows of a DataFrame, whose columns are called c0, c1 and so on."""
    table = load("breast-cancer", Streams(SEED)).train[:120]
    names = [f"c{i}" for i in range(table.shape[0])]
    return Dataset(pd.DataFrame(table.dense, columns=names), table.y, table.classes)


def _model(data: Dataset) -> TorchModel:
    fitted = learner(MLP(hidden=(16,)), TRAINING).fit(data, Streams(SEED).child("model"))
    assert isinstance(fitted, TorchModel)
    return fitted


def _context(threat: ThreatModel, rows: Dataset | None = None, data: Dataset | None = None) -> AttackContext:
    """An attacker's context. A targeted attack gets the first three rows of class 1 in `data` as targets."""
    streams = Streams(SEED).sealed("attack")
    if threat.goal is Goal.BACKDOOR:
        return AttackContext(streams, threat, AllToOne(), Patch(), rows=rows)
    if threat.goal is Goal.TARGETED and data is not None:
        return AttackContext(streams, threat, AllToOne(), targets=data[data.y == 1][:3], rows=rows)
    return AttackContext(streams, threat, rows=rows)


def _defence(data: Dataset, trusted: bool = True) -> DefenceContext:
    """A context whose last 40 rows are trusted. The model is a network for dense classes, and otherwise from scikit-learn."""
    estimator = "Ridge" if data.is_regression else "LogisticRegression"
    torch_fits = not data.is_sparse and not data.is_regression
    model = MLP(hidden=(16,)) if torch_fits else Sklearn(f"sklearn.linear_model.{estimator}")
    return Pipeline(model, TRAINING, "cpu", Streams(SEED)).context(data[-40:] if trusted else None)


def _threats(entry: Entry, *levels: Access) -> Iterator[ThreatModel]:
    for access in levels or entry.access or tuple(Access):
        for goal in entry.goals:
            yield ThreatModel(access, goal)


def _data_attack(plugin: DataAttack, entry: Entry) -> Iterator[Check]:
    def attacked(data: Dataset, threat: ThreatModel, own_rows: bool) -> object:
        poison = guarded.data_attack(plugin, data[:80], _context(threat, data[80:] if own_rows else None, data))
        x = poison.data.x
        return (x.toarray() if poison.data.is_sparse else x), poison.data.y, poison.mask

    for data in _any_rows():
        for own in (False, True):
            yield from (partial(attacked, data, threat, own) for threat in _threats(entry))


def _model_attack(plugin: ModelAttack, entry: Entry) -> Iterator[Check]:
    def attacked(data: Dataset, model: TorchModel, threat: ThreatModel) -> object:
        return _answers(guarded.model_attack(plugin, model, data, _context(threat, data=data))[0], data)

    for data in _data():
        for threat in _threats(entry):
            yield partial(attacked, data, _model(data), threat)


def _logic_attack(plugin: LogicAttack, entry: Entry) -> Iterator[Check]:
    def corrupted(data: Dataset, threat: ThreatModel) -> object:
        loss = guarded.logic_attack(plugin, _context(threat))
        model = _model(data)
        vector = model.vector.clone().requires_grad_()
        x, y = torch.tensor(data.x[:20]), torch.tensor(data.y[:20])
        value = _unchanged(entry, (x, y), lambda: loss(lambda inputs: model.network.logits(vector, inputs), x, y))
        if not value.isfinite():
            raise PluginError(f"one finite number from the loss of {entry.name}", str(value), "return a scalar tensor")
        return value.detach(), torch.autograd.grad(value, vector)[0]

    for data in _data():
        yield from (partial(corrupted, data, threat) for threat in _threats(entry))


def _sanitizer(plugin: Sanitizer, entry: Entry) -> Iterator[Check]:
    def judged(data: Dataset, trusted: bool) -> object:
        verdict = guarded.sanitizer(plugin, data[:80], _defence(data, trusted))
        return verdict.scores, verdict.flags

    for data in _any_rows():
        sourced = dataclasses.replace(data, groups=np.arange(len(data)) % 4)
        yield from (partial(judged, rows, trusted) for rows in (data, sourced) for trusted in (False, True))


def _robust_learner(plugin: RobustLearner, entry: Entry) -> Iterator[Check]:
    def learnt(data: Dataset, trusted: bool) -> object:
        model = guarded.robust_learner(plugin, data[:80], _defence(data, trusted))
        radii = np.asarray(model.certified(data.x)) if hasattr(model, "certified") else np.zeros(len(data), dtype=int)
        if radii.shape != (len(data),) or radii.dtype.kind not in "iu":
            raise PluginError(f"whole radii ({len(data)},) from {entry.name}", f"{radii.dtype} {radii.shape}")
        return (np.asarray(model.predict(data.x)) if data.is_regression else _answers(model, data)), radii

    yield from (partial(learnt, data, trusted) for data in _any_rows() for trusted in (False, True))


def _evasion(plugin: Evasion, entry: Entry) -> Iterator[Check]:
    def sent(data: Dataset, threat: ThreatModel) -> object:
        model = _defence(data).fit(data[:80])
        found = guarded.evasion(plugin, model, data[80:], _context(threat, data[:80]))
        return found.x.toarray() if found.is_sparse else found.x

    for data in _any_rows():
        yield from (partial(sent, data, threat) for threat in _threats(entry, Access.DATA_INJECTION))


def _model_detector(plugin: ModelDetector, entry: Entry) -> Iterator[Check]:
    def judged(data: Dataset) -> object:
        verdict = guarded.model_detector(plugin, _model(data), data[:60], _defence(data))
        classes = (verdict.classes.scores, verdict.classes.flags) if verdict.classes is not None else ()
        return (verdict.score, verdict.flag, *classes)

    yield from (partial(judged, data) for data in _data())


def _mitigation(plugin: Mitigation, entry: Entry) -> Iterator[Check]:
    def repaired(data: Dataset) -> object:
        return _answers(guarded.mitigation(plugin, _model(data), data[:60], _defence(data)), data)

    yield from (partial(repaired, data) for data in _data())


def _gate(plugin: Gate, entry: Entry) -> Iterator[Check]:
    def judged(data: Dataset) -> object:
        verdict = guarded.gate(plugin, _model(data), data[:60], _defence(data))(data.x[60:])
        return verdict.scores, verdict.flags

    yield from (partial(judged, data) for data in _data())


def _answers(model: Model, data: Dataset) -> np.ndarray:
    return np.asarray(model.predict_proba(data.x))


def _agent(plugin: Agent, entry: Entry) -> Iterator[Check]:
    def sent(k: int, past: bool) -> object:
        view = _agent_view(k, past, Goal.BACKDOOR in entry.goals)
        inputs = (view.start, view.targets.x, *(tensor for shard in view.shards for tensor in shard))
        try:
            sent = _unchanged(entry, inputs, lambda: guarded_agent(plugin, view, None))
        except ThreatError:  # it reads the benign updates, which only an omniscient agent gets
            others = _federation()[3][k:].clone()
            view = dataclasses.replace(view, knowledge=Knowledge.OMNISCIENT, benign=others)
            sent = _unchanged(entry, inputs, lambda: guarded_agent(plugin, view, None))
        again = guarded_agent(plugin, dataclasses.replace(view, round=view.round + 1), sent.state)
        return sent.updates, again.updates

    yield from (partial(sent, k, past) for k, past in ((1, False), (2, True)))


def _federation() -> tuple[Dataset, Network, Shards, Tensor]:
    """300 images, a network, ten shards of them, and ten updates (10, d)."""
    data = load("digits", Streams(SEED)).train[:300]
    network = build(MLP(hidden=(8,)), data.shape, data.num_classes, Streams(SEED))
    updates = 0.01 * torch.randn(10, network.dimension, generator=Streams(SEED).torch("updates"))
    return data, network, Shards.of(data, np.array_split(np.arange(300), 10)), updates


def _agent_view(k: int, past: bool, backdoor: bool) -> AgentView:
    _, network, shards, updates = _federation()
    before = (Participation(1, network.initial - 0.01, updates[:k]),) if past else ()
    x, y = shards.of_agent(0)
    return AgentView(
        round=1 + len(before),
        start=network.initial,
        network=network,
        training=TRAINING,
        shards=tuple(shards.of_agent(9 - i) for i in range(k)),
        targets=Targets(x[:1], y[:1], (y[:1] + 1) % 10, *((AllToOne(), Patch()) if backdoor else ())),
        num_agents=10,
        weight=0.1,
        past=before,
        streams=Streams(SEED).child("attack"),
        trainer=train_honest,
        lasting=Streams(SEED).child("lasting"),
    )


def _server_view(updates: Tensor, number: int) -> ServerView:
    data, network, _, _ = _federation()
    n = len(updates)
    weights, streams = torch.full((n,), 1 / n), Streams(SEED).child("server", number)
    return ServerView(number, network.initial, updates, tuple(range(n)), weights, network, data[:60], TRAINING, streams)


def _client_detector(plugin: ClientDetector, entry: Entry) -> Iterator[Check]:
    def judged() -> object:
        updates, state, seen = _federation()[3], None, []
        for number in (1, 2):
            view = _server_view(updates, number)
            verdict, state = _unchanged(entry, (updates, view.start), partial(guarded_detector, plugin, view, state))
            seen.append((verdict.scores, verdict.flags))
        return seen

    yield judged


def _aggregator(plugin: Any, entry: Entry) -> Iterator[Check]:
    def combined() -> object:
        updates = _federation()[3]
        view, weights = _server_view(updates, 1), torch.full((10,), 0.1)
        one = _unchanged(entry, (updates, weights), lambda: plugin(updates, weights, view))
        if not isinstance(one, Tensor) or one.shape != updates.shape[1:] or not one.isfinite().all():
            got = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
            raise PluginError(f"a finite update of shape {tuple(updates.shape[1:])} from {entry.name}", str(got))
        for name, other in (
            ("without weights", plugin(updates, None, view)),
            ("of an array", torch.as_tensor(np.asarray(plugin(updates.numpy(), None, view)))),
            ("of lists", torch.as_tensor(np.asarray(plugin(updates.tolist(), None, view)))),
            ("in reverse order", plugin(updates.flip(0), weights, view)),
        ):
            if not torch.allclose(one, other.to(one.dtype), atol=1e-6):
                raise PluginError(f"the same update {name} from {entry.name}", "another one", "treat all rows alike")
        return one

    def remembered() -> list[Tensor]:
        updates, state, seen = _federation()[3], None, []
        for number in (1, 2, 3):
            rows, view = updates * number, _server_view(updates * number, number)
            aggregate, state = _unchanged(entry, (rows,), partial(plugin.step, rows, view.weights, view, state))
            if shares_memory(state, aggregate):
                raise PluginError(f"a state apart from the aggregate of {entry.name}", "one tensor", "return a clone")
            seen.append(aggregate)
        if not torch.equal(seen[0], plugin(updates, torch.full((10,), 0.1), _server_view(updates, 1))):
            raise PluginError(
                f"{entry.name} to start without memory", "another first step", "treat the state None as an empty memory"
            )
        return seen

    yield from (combined, remembered)


def _reducer(plugin: Reducer, entry: Entry) -> Iterator[Check]:
    def reduced(weighted: bool) -> object:
        updates = _federation()[3]
        weights, view = (torch.full((10,), 0.1) if weighted else None), _server_view(updates, 1)
        rows, shares = _unchanged(entry, (updates,), lambda: guarded_reducer(plugin, updates, weights, view))
        if len(rows) > len(updates):
            raise PluginError(f"at most {len(updates)} rows from {entry.name}", f"{len(rows)}")
        return rows, shares if weighted else rows

    yield from (partial(reduced, weighted) for weighted in (False, True))


def _trigger(plugin: Trigger, entry: Entry) -> Iterator[Check]:
    def shown(data: Dataset) -> np.ndarray:
        found = guarded.shown(plugin, data.x)
        return np.asarray(found.toarray() if data.is_sparse else found)

    yield from (partial(shown, data) for data in (*_any_rows(), _frame()))


def _wanted(plugin: Wanted, entry: Entry) -> Iterator[Check]:
    def classes(data: Dataset) -> np.ndarray:
        found = np.asarray(plugin(data.y, data.num_classes))
        if (
            found.shape != data.y.shape
            or found.dtype.kind not in "iu"
            or not -1 <= found.min() <= found.max() < data.num_classes
        ):
            raise PluginError(f"a class, or -1, for each row from {entry.name}", f"{found.dtype} {found.shape}")
        return found

    yield partial(classes, load("digits", Streams(SEED)).train[:120])


def _feature_map(plugin: FeatureMap, entry: Entry) -> Iterator[Check]:
    def seen(data: Dataset) -> np.ndarray:
        found = np.asarray(plugin(data.x))
        if found.shape[:1] != (len(data),) or found.ndim != 2 or not np.isfinite(found).all():
            raise PluginError(f"finite features of {len(data)} rows from {entry.name}", f"{found.shape}")
        if not all(np.array_equal(found[i : i + 1], plugin(data.x[i : i + 1])) for i in (0, 7)):
            raise PluginError(
                f"the same features from {entry.name} for a row alone",
                "other features",
                "compute them from one row at a time",
            )
        return found

    yield from (partial(seen, data) for data in _data())


def _partition(plugin: Partition, entry: Entry) -> Iterator[Check]:
    def shared(data: Dataset, agents: int) -> object:
        shards = plugin(data, agents, Streams(SEED).numpy("shards"))
        rows = np.concatenate([np.asarray(shard) for shard in shards]) if len(shards) else np.zeros(0, int)
        if len(shards) != agents or not np.array_equal(np.sort(rows), np.arange(len(data))):
            raise PluginError(
                f"every row in one of {agents} shards from {entry.name}",
                "rows that are missing or repeated",
                "assign each row once",
            )
        return [np.asarray(shard) for shard in shards]

    yield from (partial(shared, data, agents) for data in _data() for agents in (1, 7))


def _source(plugin: Source, entry: Entry) -> Iterator[Check]:
    def read() -> tuple[str, ...]:
        split = plugin(Streams(SEED))
        if not isinstance(split, Split):
            raise PluginError(f"a Split from {entry.name}", type(split).__name__, "return Split(train, test)")
        if (split.train.classes, split.train.shape) != (split.test.classes, split.test.shape):
            raise PluginError(
                f"equal classes and rows of one shape in both parts from {entry.name}",
                f"{split.train.shape} and {split.test.shape}",
                "encode both parts alike",
            )
        fingerprint(plugin)
        return (of_rows(split),)

    yield read


def _architecture(plugin: Any, entry: Entry) -> Iterator[Check]:
    def made(shape: tuple[int, ...], classes: int) -> object:
        network = build(plugin, shape, classes, Streams(SEED))
        if not isinstance(network.module, nn.Module):
            raise PluginError(f"a torch module from {entry.name}", type(network.module).__name__, "return one")
        return network.initial

    yield from (partial(made, shape, classes) for shape, classes in (((104,), 2), ((1, 8, 8), 10), ((1, 28, 28), 10)))


def _estimator(plugin: object, entry: Entry) -> Iterator[Check]:
    def fitted(data: Dataset) -> np.ndarray:
        return _answers(learner(plugin, TRAINING).fit(data, Streams(SEED)), data)

    yield from (partial(fitted, data) for data in _data())


def _schedule(plugin: Any, entry: Entry) -> Iterator[Check]:
    def factors() -> np.ndarray:
        found = np.array([plugin(done) for done in (0.0, 0.25, 0.5, 0.99)], dtype=float)
        if not np.isfinite(found).all() or (found < 0).any():
            raise PluginError(f"finite factors from 0 of {entry.name}", f"{found.tolist()}")
        return found

    yield factors


def _augmentation(plugin: Any, entry: Entry) -> Iterator[Check]:
    def changed() -> np.ndarray:
        x = torch.tensor(load("digits", Streams(SEED)).train[:20].dense)
        training = dataclasses.replace(TRAINING, augmentation=(plugin,))
        return np.asarray(_unchanged(entry, (x,), lambda: training.augmented(x, Streams(SEED).torch("augmentation"))))

    yield changed


CALLS: dict[Kind, Callable[[Any, Entry], Iterator[Check]]] = {
    Kind.DATA_ATTACK: _data_attack,
    Kind.MODEL_ATTACK: _model_attack,
    Kind.LOGIC_ATTACK: _logic_attack,
    Kind.EVASION: _evasion,
    Kind.AGENT: _agent,
    Kind.SANITIZER: _sanitizer,
    Kind.ROBUST_LEARNER: _robust_learner,
    Kind.MODEL_DETECTOR: _model_detector,
    Kind.MITIGATION: _mitigation,
    Kind.GATE: _gate,
    Kind.CLIENT_DETECTOR: _client_detector,
    Kind.AGGREGATOR: _aggregator,
    Kind.REDUCER: _reducer,
    Kind.TRIGGER: _trigger,
    Kind.WANTED: _wanted,
    Kind.PARTITION: _partition,
    Kind.ARCHITECTURE: _architecture,
    Kind.ESTIMATOR: _estimator,
    Kind.SCHEDULE: _schedule,
    Kind.AUGMENTATION: _augmentation,
    Kind.FEATURE_MAP: _feature_map,
    Kind.GOAL: goal_calls,
    Kind.SCENARIO: scenario_calls,
    Kind.SOURCE: _source,
}
