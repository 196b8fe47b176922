"""Attackers that know of the defence, against `Defended` as it is by default and against FedAvg alone.

    python benchmarks/flower/adaptive.py

Ten Flower clients in one process train softmax regression on scikit-learn's digits (120 rows each, 15 steps of gradient descent
a round). The first ones are malicious: the mod `malicious` is in front of the same training.
"""

from __future__ import annotations

import argparse
import itertools
import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity
from sklearn.datasets import load_digits

from antivenom.core.protocols import Targets
from antivenom.federated import (
    ALIE,
    IPM,
    AlternatingMinimization,
    LineSearch,
    Median,
    MinMaxDistance,
    NormBound,
    SignFlip,
)
from antivenom.integrations.flower import Defended, Limits
from antivenom.integrations.flower.malicious import malicious
from antivenom.models.network import Network
from antivenom.models.training import Training

TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
CLIENTS, ROWS, STEPS, RATE = 10, 120, 15, 1.0
ATTACKS: dict[str, tuple[Any, int]] = {  # the agent, and the rounds in which it is honest first
    "honest": (None, 0),
    "SignFlip(scale=10)": (SignFlip(scale=10), 0),
    "AlternatingMinimization": (AlternatingMinimization(), 0),
    "ALIE(z=1.5)": (ALIE(z=1.5), 0),
    "MinMaxDistance": (MinMaxDistance(), 0),
    "LineSearch(IPM, Median)": (LineSearch(IPM(tau=1), Median()), 0),
    "LineSearch(IPM, NormBound)": (LineSearch(IPM(tau=1), NormBound()), 0),
    "after ten good rounds: SignFlip(scale=10)": (SignFlip(scale=10), 10),
    "after ten good rounds: SignFlip(scale=2)": (SignFlip(scale=2), 10),
}


class Grid:
    """Hands each message to its client when the reply is pulled."""

    def __init__(self, clients: list[Callable[[Message], Message]]) -> None:
        self.clients, self.open, self.count = clients, dict[str, Message](), itertools.count()

    def get_node_ids(self) -> list[int]:
        """The nodes, from 1."""
        return list(range(1, len(self.clients) + 1))

    def get_nodes(self) -> list[Any]:
        """Nothing is known of them."""
        return []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Keep the messages."""
        ids = []
        for message in messages:
            ids.append(f"message-{next(self.count)}")
            message.metadata.__dict__["_message_id"] = ids[-1]
            self.open[ids[-1]] = message
        return ids

    def pull_messages(self, ids: Iterable[str]) -> list[Message]:
        """The replies."""
        asked = [self.open.pop(each) for each in ids]
        return [self.clients[message.metadata.dst_node_id - 1](message) for message in asked]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send and pull."""
        return self.pull_messages(self.push_messages(messages))


def trained(message: Message, x: Any, y: Any) -> Message:
    """The reply of a client that trains on these rows."""
    sent = message.content["arrays"]
    weights, biases, wanted = sent["weight"].numpy().T, sent["bias"].numpy(), np.eye(10, dtype=np.float32)[y]
    for _ in range(STEPS):
        scores = x @ weights + biases
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        error = (scores / scores.sum(axis=1, keepdims=True) - wanted) / len(x)
        weights, biases = weights - RATE * (x.T @ error), biases - RATE * error.sum(axis=0)
    arrays = ArrayRecord({"weight": Array(np.ascontiguousarray(weights.T)), "bias": Array(biases)})
    content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": len(x)})}
    return Message(RecordDict(content), reply_to=message)


def played(attack: str, count: int, defended: bool, rounds: int, seed: int) -> tuple[float, float, int]:
    """The accuracy, the share of five targets that are what the attacker wants, and how often it was left out."""
    agent, honest_rounds = ATTACKS[attack]
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    test_x, test_y = x[CLIENTS * ROWS :], y[CLIENTS * ROWS :]
    inputs, classes = torch.from_numpy(test_x[:5]), torch.from_numpy(test_y[:5])
    targets = Targets(inputs, classes, (classes + 1) % 10)
    training = Training(epochs=STEPS, batch_size=ROWS, optimizer="sgd", learning_rate=RATE, shuffle=False)

    def client(place: int) -> Callable[[Message], Message]:
        part = slice(place * ROWS, (place + 1) * ROWS)
        own = x[part], y[part]
        if agent is None or place >= count:
            return lambda message: trained(message, *own)
        context = Context(1, place, {"allow-red-team": True}, RecordDict(), {"red-team": True})
        mod = malicious(
            agent,
            network=Network(torch.nn.Linear(64, 10), (64,), 10),
            training=training,
            rows=(torch.from_numpy(own[0]), torch.from_numpy(own[1])),
            targets=targets,
            num_agents=CLIENTS,
            seed=100 * seed + place,
        )

        def answered(message: Message) -> Message:
            number = message.content["config"]["server-round"]
            if isinstance(number, int) and number <= honest_rounds:
                return trained(message, *own)
            return mod(message, context, lambda asked, _: trained(asked, *own))

        return answered

    grid: Any = Grid([client(place) for place in range(CLIENTS)])
    inner = FedAvg(fraction_evaluate=0.0)
    strategy = Defended(inner, limits=Limits(poll=0.001)) if defended else inner
    first = ArrayRecord({"weight": Array(np.zeros((10, 64), np.float32)), "bias": Array(np.zeros(10, np.float32))})
    found = strategy.start(grid, first, num_rounds=rounds, timeout=60.0, train_config=ConfigRecord()).arrays
    scores = test_x @ found["weight"].numpy().T + found["bias"].numpy()
    answers = scores.argmax(axis=1) if np.isfinite(scores).all() else np.zeros(len(test_y))
    left_out = 0
    if isinstance(strategy, Defended):
        left_out = sum(strategy.ledger.state()[str(node + 1)]["flagged"] for node in range(count))
    rest, hit = slice(5, None), answers[:5] == targets.labels.numpy()
    return float(np.mean(answers[rest] == test_y[rest])), float(np.mean(hit)), left_out


def main() -> None:
    """Print one row for each attack and number of attackers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    print("| attack | malicious of ten | FedAvg | Defended | targets hit, FedAvg | Defended | left out, of |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for attack, count in itertools.product(ATTACKS, (1, 3)):
        if attack == "honest" and count > 1:
            continue
        cells = list[str]()
        alone, ours = (
            np.array([played(attack, count, defended, given.rounds, seed) for seed in range(given.seeds)])
            for defended in (False, True)
        )
        cells += [f"{100 * found[:, 0].mean():.1f}" for found in (alone, ours)]
        cells += [f"{found[:, 1].mean():.2f}" for found in (alone, ours)]
        cells.append(f"{ours[:, 2].mean():.0f} of {count * (given.rounds - ATTACKS[attack][1])}")
        print(f"| {attack} | {count if attack != 'honest' else 0} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
