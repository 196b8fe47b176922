"""The contract of a plugin, run on small real data: `check_plugin` in a plugin author's own tests.

    from antivenom.testing import check_plugin
    def test_contract(): check_plugin(MyAttack)

What every kind must keep: a frozen value that survives a record and a pickle, a docstring that says idea, weakness and
fields, the call shape of `antivenom.protocols`, the access level it asked for, inputs left as they were, the same result
from the same streams, and no use of global randomness.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from antivenom.attacks import Patch
from antivenom.data import Dataset, load
from antivenom.errors import AntivenomError, DataError, ModelError, NotApplicable, PluginError, ThreatError
from antivenom.federated.clients import Shards
from antivenom.models.face import Model, TorchModel
from antivenom.models.network import Network, build
from antivenom.models.reference import MLP, learner
from antivenom.models.training import Training, cross_entropy
from antivenom.protocols import AgentView, AttackContext, Participation, ServerView, Targets
from antivenom.registry import ATTACKS, DEFENCES, Entry, Kind, describe, find
from antivenom.registry import build as built
from antivenom.rng import Streams
from antivenom.scenarios.checks import model_of, poison_of, verdict_of, with_trigger
from antivenom.scenarios.pipeline import Pipeline
from antivenom.threat import Access, Goal, Knowledge, ThreatModel, enforce

SEED = 7
TRAINING = Training(epochs=2, batch_size=20, learning_rate=0.005)
Check = Callable[[], Any]


def check_plugin(plugin: Any) -> None:
    """Run the contract of a plugin's kind; returns if it is kept.

    `plugin` is a registered class, an instance, or a name; a class is built with its defaults.

    Raises:
        PluginError: the first rule that is broken, in one line.
    """
    entry = find(plugin if isinstance(plugin, str) else (plugin if isinstance(plugin, type) else type(plugin)).__name__)
    try:
        instance = entry.cls() if isinstance(plugin, (str, type)) else plugin
    except TypeError as error:
        raise PluginError(
            f"{entry.name} with defaults", str(error), "give fields defaults, or pass an instance"
        ) from error
    _is_a_value(instance, entry)
    _is_documented(entry)
    ran, refused = 0, None
    for call in _CALLS[entry.kind](instance, entry):
        try:
            _is_repeatable(call, entry)
            ran += 1
        except (
            NotApplicable,
            DataError,
            ModelError,
        ) as error:  # it may not serve images, or tables, or this access level
            refused = error
    if not ran:
        raise PluginError(f"{entry.name} to run on digits or on breast-cancer", str(refused), "accept one of them")


def _is_a_value(plugin: Any, entry: Entry) -> None:
    """A record and a pickle must bring it back, and it must have a hash."""
    broken = None
    try:
        if built(json.loads(json.dumps(describe(plugin)))) != plugin:
            broken = "one that its own record does not bring back"
        elif pickle.loads(pickle.dumps(plugin)) != plugin:  # noqa: S301 - our own bytes
            broken = "one that a pickle does not bring back"
        hash(plugin)
    except Exception as error:
        broken = str(error).splitlines()[0]
    if broken:
        remedy = "define it at the top of a module, with numbers, words and tuples as fields"
        raise PluginError(f"{entry.name} to be a frozen value", broken, remedy)


def _is_documented(entry: Entry) -> None:
    text = inspect.getdoc(entry.cls) or ""
    wanted = ["a first line"] if not text.split("\n")[0].strip() or text.startswith(f"{entry.name}(") else []
    if entry.kind in (*ATTACKS, *DEFENCES) and "weakness" not in text.lower():
        wanted.append("the word Weakness and what it is")
    for field in dataclasses.fields(entry.cls):
        if f"{field.name}:" not in text and f"{field.name}," not in text:
            wanted.append(f"the field {field.name} below Fields:")
    if not entry.cite:
        wanted.append("cite=, its source")
    if wanted:
        raise PluginError(f"{entry.name} to be documented", f"no {wanted[0]}", "write it in the class's docstring")


def _is_repeatable(call: Check, entry: Entry) -> None:
    """Call twice: no warning, the same result, global randomness where it was."""
    numpy_before, torch_before = np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            first, second = call(), call()
    except AntivenomError:
        raise
    except Exception as error:
        remedy = "inputs are read-only: work on a copy" if "read-only" in str(error) else "mend it"
        raise PluginError(f"{entry.name} to run", f"{type(error).__name__}: {error}", remedy) from error
    if not _same(first, second):
        raise PluginError(
            f"{entry.name} to repeat itself", "two results from equal streams", "draw from the streams only"
        )
    numpy_after = np.random.get_state(legacy=False)  # noqa: NPY002
    moved = pickle.dumps(numpy_before) != pickle.dumps(numpy_after)
    if moved or not torch.equal(torch_before, torch.get_rng_state()):
        raise PluginError(f"{entry.name} to leave global randomness alone", "it moved", "draw from the streams only")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    return bool(np.array_equal(a, b))


def _unchanged(entry: Entry, inputs: tuple[Tensor, ...], call: Callable[[], Any]) -> Any:
    """What the call returns; its input tensors must be as before."""
    before = [tensor.clone() for tensor in inputs]
    result = call()
    if not all(map(torch.equal, before, inputs)):
        raise PluginError(f"{entry.name} to leave its inputs alone", "an input that it wrote into", "work on a copy")
    return result


# --- one generator of calls per kind; each call returns what must repeat ---------------------------------------------


def _data() -> Iterator[Dataset]:
    """120 images and 120 rows of a table."""
    for name in ("digits", "breast-cancer"):
        yield load(name, Streams(SEED)).train[:120]


def _model(data: Dataset) -> TorchModel:
    fitted = learner(MLP(hidden=(16,)), TRAINING).fit(data, Streams(SEED).child("model"))
    assert isinstance(fitted, TorchModel)
    return fitted


def _context(threat: ThreatModel) -> AttackContext:
    backdoor = threat.goal is Goal.BACKDOOR
    streams = Streams(SEED).child("attack")
    return AttackContext(streams, threat, 0 if backdoor else None, Patch() if backdoor else None)


def _pipeline() -> Pipeline:
    return Pipeline(MLP(hidden=(16,)), TRAINING, "cpu", Streams(SEED))


def _threats(entry: Entry, *levels: Access) -> Iterator[ThreatModel]:
    for access in levels or entry.access or tuple(Access):
        for goal in entry.goals:
            yield ThreatModel(access, goal)


def _data_attack(plugin: Any, entry: Entry) -> Iterator[Check]:
    def attacked(data: Dataset, threat: ThreatModel) -> Any:
        poison = poison_of(plugin(data, _context(threat)), plugin, None)
        enforce(threat, data, poison)
        return poison.data.x, poison.data.y, poison.mask

    for data in _data():
        yield from (partial(attacked, data, threat) for threat in _threats(entry))


def _model_attack(plugin: Any, entry: Entry) -> Iterator[Check]:
    def attacked(data: Dataset, model: TorchModel, threat: ThreatModel) -> Any:
        found = _unchanged(entry, (model.vector,), lambda: plugin(model, data, _context(threat)))
        if not isinstance(found, tuple) or len(found) != 2:
            raise PluginError(f"a model and a Poison from {entry.name}", type(found).__name__, "return both")
        poison_of(found[1], plugin, None)
        return _answers(model_of(found[0], plugin, model.num_classes), data)

    for data in _data():
        for threat in _threats(entry):
            yield partial(attacked, data, _model(data), threat)


def _logic_attack(plugin: Any, entry: Entry) -> Iterator[Check]:
    def corrupted(data: Dataset, threat: ThreatModel) -> Any:
        loss = plugin(cross_entropy, _context(threat))
        if not callable(loss):
            raise PluginError(f"a loss from {entry.name}", type(loss).__name__, "return (forward, x, y) -> number")
        model = _model(data)
        vector = model.vector.clone().requires_grad_()
        x, y = torch.tensor(data.x[:20]), torch.tensor(data.y[:20])
        value = _unchanged(entry, (x, y), lambda: loss(lambda inputs: model.network.logits(vector, inputs), x, y))
        if not isinstance(value, Tensor) or value.shape != () or not value.isfinite():
            raise PluginError(f"one finite number from the loss of {entry.name}", str(value), "return a scalar tensor")
        return value.detach(), torch.autograd.grad(value, vector)[0]

    for data in _data():
        yield from (partial(corrupted, data, threat) for threat in _threats(entry))


def _sanitizer(plugin: Any, entry: Entry) -> Iterator[Check]:
    def judged(data: Dataset) -> Any:
        verdict = verdict_of(plugin(data, _pipeline().context()), plugin, len(data), "rows")
        return verdict.scores, verdict.flags

    yield from (partial(judged, data) for data in _data())


def _model_detector(plugin: Any, entry: Entry) -> Iterator[Check]:
    def judged(data: Dataset) -> Any:
        model = _model(data)
        found = _unchanged(entry, (model.vector,), lambda: plugin(model, data[:60], _pipeline().context()))
        verdict = verdict_of(found, plugin, model.num_classes, "classes")
        return verdict.scores, verdict.flags

    yield from (partial(judged, data) for data in _data())


def _mitigation(plugin: Any, entry: Entry) -> Iterator[Check]:
    def mended(data: Dataset) -> Any:
        model = _model(data)
        found = _unchanged(entry, (model.vector,), lambda: plugin(model, data[:60], _pipeline().context()))
        return _answers(model_of(found, plugin, model.num_classes), data)

    yield from (partial(mended, data) for data in _data())


def _answers(model: Model, data: Dataset) -> np.ndarray:
    return np.asarray(model.predict_proba(data.x))


def _agent(plugin: Any, entry: Entry) -> Iterator[Check]:
    def sent(k: int, past: bool) -> Any:
        view = _agent_view(k, past)
        inputs = (view.start, view.targets.x, *(tensor for shard in view.shards for tensor in shard))
        try:
            updates = _unchanged(entry, inputs, lambda: plugin(view))
        except ThreatError:  # it looks at the others' updates, which only an omniscient attacker may
            view = dataclasses.replace(view, knowledge=Knowledge.OMNISCIENT)
            updates = _unchanged(entry, inputs, lambda: plugin(view))
        shape = (k, view.network.dimension)
        if not isinstance(updates, Tensor) or updates.shape != shape or not updates.is_floating_point():
            got = tuple(updates.shape) if isinstance(updates, Tensor) else type(updates).__name__
            raise PluginError(f"updates of shape {shape} from {entry.name}", str(got), "return one row per agent")
        return updates.detach()

    yield from (partial(sent, k, past) for k, past in ((1, False), (2, True)))


def _federation() -> tuple[Dataset, Network, Shards, Tensor]:
    """300 images, a network, ten shards of them, and ten updates (10, d)."""
    data = load("digits", Streams(SEED)).train[:300]
    network = build(MLP(hidden=(8,)), data.shape, data.num_classes, Streams(SEED))
    updates = 0.01 * torch.randn(10, network.dimension, generator=Streams(SEED).torch("updates"))
    return data, network, Shards.of(data, np.array_split(np.arange(300), 10)), updates


def _agent_view(k: int, past: bool) -> AgentView:
    _, network, shards, updates = _federation()
    before = (Participation(1, network.initial - 0.01, updates[:k]),) if past else ()
    x, y = shards.of_agent(0)
    return AgentView(
        round=1 + len(before),
        start=network.initial,
        network=network,
        training=TRAINING,
        shards=tuple(shards.of_agent(9 - i) for i in range(k)),
        targets=Targets(x[:1], y[:1], (y[:1] + 1) % 10),
        num_agents=10,
        weight=0.1,
        past=before,
        streams=Streams(SEED).child("attack"),
        benign=updates[k:].clone,
    )


def _server_view(updates: Tensor, number: int) -> ServerView:
    data, network, _, _ = _federation()
    n = len(updates)
    return ServerView(number, network.initial, updates, tuple(range(n)), torch.full((n,), 1 / n), network, data[:60])


def _client_detector(plugin: Any, entry: Entry) -> Iterator[Check]:
    def judged() -> Any:
        updates, state, seen = _federation()[3], None, []
        for number in (1, 2):
            view = _server_view(updates, number)
            found = _unchanged(entry, (updates, view.start), partial(plugin, view, state))
            if not isinstance(found, tuple) or len(found) != 2:
                raise PluginError(f"a Verdict and a state from {entry.name}", type(found).__name__, "return both")
            verdict, state = verdict_of(found[0], plugin, len(updates), "agents"), found[1]
            seen.append((verdict.scores, verdict.flags))
        return seen

    yield judged


def _aggregator(plugin: Any, entry: Entry) -> Iterator[Check]:
    def combined() -> Any:
        updates = _federation()[3]
        view, weights = _server_view(updates, 1), torch.full((10,), 0.1)
        one = _unchanged(entry, (updates, weights), lambda: plugin(updates, weights, view))
        if not isinstance(one, Tensor) or one.shape != updates.shape[1:] or not one.isfinite().all():
            got = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
            raise PluginError(
                f"a finite update of shape {tuple(updates.shape[1:])} from {entry.name}", str(got), "mend it"
            )
        for name, other in (
            ("without weights", plugin(updates, None, view)),
            ("of an array", torch.as_tensor(np.asarray(plugin(updates.numpy(), None, view)))),
            ("of lists", torch.as_tensor(np.asarray(plugin(updates.tolist(), None, view)))),
            ("in reverse order", plugin(updates.flip(0), weights, view)),
        ):
            if not torch.allclose(one, other.to(one.dtype), atol=1e-6):
                raise PluginError(f"the same update {name} from {entry.name}", "another one", "treat all rows alike")
        return one

    yield combined


def _trigger(plugin: Any, entry: Entry) -> Iterator[Check]:
    yield from (partial(with_trigger, plugin, data.x) for data in _data())


def _partition(plugin: Any, entry: Entry) -> Iterator[Check]:
    def shared(data: Dataset, agents: int) -> Any:
        shards = plugin(data, agents, Streams(SEED).numpy("shards"))
        rows = np.concatenate([np.asarray(shard) for shard in shards]) if len(shards) else np.zeros(0, int)
        if len(shards) != agents or not np.array_equal(np.sort(rows), np.arange(len(data))):
            raise PluginError(
                f"every row in one of {agents} shards from {entry.name}", "some not", "share each row once"
            )
        return [np.asarray(shard) for shard in shards]

    yield from (partial(shared, data, agents) for data in _data() for agents in (1, 7))


def _architecture(plugin: Any, entry: Entry) -> Iterator[Check]:
    def fitted(data: Dataset) -> np.ndarray:
        return _answers(learner(plugin, TRAINING).fit(data, Streams(SEED)), data)

    def made(shape: tuple[int, ...], classes: int) -> Any:
        network = build(plugin, shape, classes, Streams(SEED))
        if not isinstance(network.module, nn.Module):
            raise PluginError(f"a torch module from {entry.name}", type(network.module).__name__, "return one")
        return network.initial

    if "seed" in inspect.signature(type(plugin).__call__).parameters:  # scikit-learn
        for data in _data():
            yield partial(fitted, data)
        return
    yield from (partial(made, shape, classes) for shape, classes in (((104,), 2), ((1, 8, 8), 10), ((1, 28, 28), 10)))


_CALLS: dict[Kind, Callable[[Any, Entry], Iterator[Check]]] = {
    Kind.DATA_ATTACK: _data_attack,
    Kind.MODEL_ATTACK: _model_attack,
    Kind.LOGIC_ATTACK: _logic_attack,
    Kind.AGENT: _agent,
    Kind.SANITIZER: _sanitizer,
    Kind.MODEL_DETECTOR: _model_detector,
    Kind.MITIGATION: _mitigation,
    Kind.CLIENT_DETECTOR: _client_detector,
    Kind.AGGREGATOR: _aggregator,
    Kind.TRIGGER: _trigger,
    Kind.PARTITION: _partition,
    Kind.MODEL: _architecture,
}
