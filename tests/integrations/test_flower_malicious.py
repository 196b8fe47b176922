"""A malicious client sends in a Flower app what its agent sends in the engine, and only where it is allowed to."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

if importlib.util.find_spec("flwr") is None:
    pytest.skip("needs flwr (extra `flower`)", allow_module_level=True)

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from in_process import initial

from antivenom.core.errors import AntivenomError, NotApplicable
from antivenom.core.protocols import AgentView, Targets
from antivenom.core.streams import Streams
from antivenom.core.threat import Knowledge
from antivenom.federated import (
    ALIE,
    Delayed,
    Every,
    FalseExamples,
    FreeRider,
    GaussianNoise,
    LabelFlip,
    NonFinite,
    NormBounded,
    PoisonedFL,
    Scaled,
    SignFlip,
)
from antivenom.federated.agents.objectives import train_honest
from antivenom.federated.guarded import guarded_agent
from antivenom.integrations.flower.malicious import malicious
from antivenom.models.network import Network
from antivenom.models.training import Training

AGENTS = [
    GaussianNoise(),
    FreeRider(),
    PoisonedFL(),
    SignFlip(),
    Scaled(SignFlip(), 2.0),
    NormBounded(SignFlip(), bound=1.0),
    FalseExamples(SignFlip()),
    Every(SignFlip(), 2),
    Delayed(SignFlip(), 2),
]
NOTHING = Targets(torch.empty((0, 0)), torch.empty(0).long(), torch.empty(0).long())


def context(red_team: Any = True, allowed: Any = True) -> Context:
    node, run = {"allow-red-team": allowed}, {"red-team": red_team}
    return Context(1, 1, node, RecordDict(), run)


def asked(arrays: ArrayRecord, number: int = 1) -> Message:
    from flwr.app import ConfigRecord

    return Message(RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": number})}), 1, "train")


def client(update: np.ndarray) -> Any:
    """An app whose training adds this update (650,)."""

    def call_next(message: Message, context: Context) -> Message:
        weights, biases = message.content["arrays"].to_numpy_ndarrays()
        made = ArrayRecord([weights + update[:640].reshape(64, 10), biases + update[640:]])
        return Message(RecordDict({"arrays": made, "metrics": MetricRecord({"num-examples": 7})}), reply_to=message)

    return call_next


def flat(arrays: ArrayRecord) -> np.ndarray:
    return np.concatenate([each.ravel() for each in arrays.to_numpy_ndarrays()])


@pytest.mark.parametrize("agent", AGENTS, ids=lambda each: type(each).__name__)
def test_three_rounds_equal_those_of_the_engine(agent: Any) -> None:
    updates = np.random.default_rng(0).normal(size=(3, 650)).astype(np.float32)
    mod, where, past, state, start = malicious(agent, num_agents=4), context(), (), None, initial()
    for number, update in enumerate(updates, 1):
        reply = mod(asked(start, number), where, client(update))
        vector, shard = torch.from_numpy(flat(start)), (torch.empty((7, 0)), torch.zeros(7).long())
        view = AgentView(
            round=number,
            start=vector,
            training=Training(),
            shards=(shard,),
            targets=NOTHING,
            num_agents=4,
            weight=0.25,
            past=past,
            streams=Streams(0).sealed("round", number, "agents"),
            trainer=lambda view, members, shards, own=update: torch.from_numpy(own)[None].repeat(len(shards), 1),
            lasting=Streams(0).sealed("lasting"),
        )
        sent = guarded_agent(agent, view, state)
        from antivenom.core.protocols import Participation

        past, state = (*past, Participation(number, view.start, sent.updates))[-8:], sent.state
        np.testing.assert_allclose(flat(reply.content["arrays"]), (vector + sent.updates[0]).numpy(), atol=1e-6)
        start = reply.content["arrays"]
    claimed = reply.content["metrics"]["num-examples"]
    assert claimed == (float(agent.examples((shard,))[0]) if isinstance(agent, FalseExamples) else 7)


@pytest.mark.parametrize(("red_team", "allowed"), [(False, True), (True, False), (True, 1), ("true", True)], ids=str)
def test_both_the_run_and_the_node_must_allow_it(red_team: Any, allowed: Any) -> None:
    update = np.ones(650, np.float32)
    reply = malicious(SignFlip())(asked(initial()), context(red_team, allowed), client(update))
    np.testing.assert_array_equal(flat(reply.content["arrays"]), update)


def test_nan_is_sent_as_nan() -> None:
    reply = malicious(NonFinite())(asked(initial()), context(), client(np.ones(650, np.float32)))
    assert not np.isfinite(flat(reply.content["arrays"])).all()


def test_a_false_claim_is_written_where_the_strategy_reads_it() -> None:
    def call_next(message: Message, context: Context) -> Message:
        reply = client(np.ones(650, np.float32))(message, context)
        reply.content["metrics"] = MetricRecord({"rows": 7})
        return reply

    reply = malicious(FalseExamples(SignFlip()), weighted_by_key="rows")(asked(initial()), context(), call_next)
    shard = (torch.empty((7, 0)), torch.zeros(7).long())
    assert dict(reply.content["metrics"]) == {"rows": float(FalseExamples(SignFlip()).examples((shard,))[0])}


def test_a_process_that_starts_for_each_message_does_not_import_what_only_a_server_needs() -> None:
    code = "import sys, antivenom.integrations.flower.malicious; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sklearn", "pandas", "scipy.stats", "scipy.cluster", "numba"} & set(done.stdout.split())


def test_an_agent_that_trains_on_rows_of_its_own_needs_them() -> None:
    with pytest.raises(NotApplicable, match="pass network, training and rows"):
        malicious(LabelFlip())(asked(initial()), context(), client(np.ones(650, np.float32)))


def test_an_agent_that_trains_sends_what_it_sends_in_the_engine() -> None:
    module = torch.nn.Linear(64, 10)
    network, training = Network(module, (64,), 10), Training(epochs=1)
    draw = np.random.default_rng(1)
    rows = (torch.from_numpy(draw.normal(size=(40, 64)).astype(np.float32)), torch.from_numpy(draw.integers(0, 10, 40)))
    arrays = ArrayRecord(module.state_dict())
    start = template_start(arrays)

    def call_next(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 40})
        return Message(RecordDict({"arrays": arrays.copy(), "metrics": metrics}), reply_to=message)

    mod = malicious(LabelFlip(), network=network, training=training, rows=rows, num_agents=4)
    reply = mod(asked(arrays), context(), call_next)
    view = AgentView(
        round=1,
        start=start,
        training=training,
        shards=(rows,),
        targets=NOTHING,
        num_agents=4,
        weight=0.25,
        past=(),
        streams=Streams(0).sealed("round", 1, "agents"),
        network=network,
        trainer=train_honest,
        lasting=Streams(0).sealed("lasting"),
    )
    expected = start + LabelFlip()(view)[0]
    np.testing.assert_allclose(template_start(reply.content["arrays"]).numpy(), expected.numpy(), atol=1e-6)
    assert float((expected - start).norm()) > 0


def template_start(arrays: ArrayRecord) -> torch.Tensor:
    from antivenom.integrations.flower.wire import template_of

    return torch.from_numpy(template_of(arrays).values(arrays)[0])


def test_an_agent_that_must_see_other_clients_is_refused() -> None:
    with pytest.raises(AntivenomError, match="omniscient"):
        malicious(ALIE(knowledge=Knowledge.OMNISCIENT))(asked(initial()), context(), client(np.ones(650, np.float32)))
