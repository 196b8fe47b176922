"""A Flower app in one process: a grid without a network, and clients that train softmax regression on digits in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from sklearn.datasets import load_digits

NODES = (11, 22, 33, 44)
Client = Callable[[Message], Message | None]

for _name in ("run_id", "task_id", "node_id"):  # a message cannot be made outside a task of Flower's without these
    setattr(TaskIdentity, _name, 1)


class LocalGrid(Grid):
    """Hands every message to its client when replies are pulled. A client that returns None sends no reply."""

    def __init__(self, clients: Mapping[int, Client]) -> None:
        self.clients = dict(clients)
        self.asked = list[int]()
        self._open = dict[str, Message]()

    def set_run(self, run: Any) -> None: ...

    @property
    def run(self) -> Any:
        return None

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.clients)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            ids.append(f"message-{len(self.asked)}")
            message.metadata.__dict__["_message_id"] = ids[-1]
            self.asked.append(message.metadata.dst_node_id)
            self._open[ids[-1]] = message
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        asked = [self._open.pop(each) for each in list(message_ids) if each in self._open]
        replies = [self.clients[message.metadata.dst_node_id](message) for message in asked]
        return [reply for reply in replies if reply is not None]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(list(messages)))


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order] / 16).astype(np.float32), y[order]


def test_rows() -> tuple[np.ndarray, np.ndarray]:
    x, y = digits()
    return x[1200:], y[1200:]


def initial(dtype: str = "float32") -> ArrayRecord:
    return ArrayRecord([np.zeros((64, 10), dtype), np.zeros(10, dtype)])


def accuracy(arrays: ArrayRecord) -> float:
    weights, biases = (np.asarray(a, np.float64) for a in arrays.to_numpy_ndarrays())
    x, y = test_rows()
    scores = x @ weights + biases
    return float(np.mean(scores.argmax(axis=1) == y)) if np.isfinite(scores).all() else 0.1


def trained_on(arrays: ArrayRecord, x: Any, y: Any, steps: int = 15, rate: float = 1.0) -> list[np.ndarray]:
    weights, biases = (a.astype(np.float32) for a in arrays.to_numpy_ndarrays())
    wanted = np.eye(10, dtype=np.float32)[y]
    for _ in range(steps):
        with np.errstate(all="ignore"):
            scores = np.exp(x @ weights + biases - (x @ weights + biases).max(axis=1, keepdims=True))
            error = (scores / scores.sum(axis=1, keepdims=True) - wanted) / len(x)
        weights, biases = weights - rate * x.T @ error, biases - rate * error.sum(axis=0)
    return [weights, biases]


def trained(arrays: ArrayRecord, place: int, **how: Any) -> list[np.ndarray]:
    x, y = digits()
    return trained_on(arrays, x[300 * place : 300 * (place + 1)], y[300 * place : 300 * (place + 1)], **how)


def honest(place: int, **how: Any) -> Client:
    """A client that trains, or evaluates, on its shard."""

    def client(message: Message) -> Message:
        arrays = next(iter(message.content.array_records.values()))
        metrics: dict[str, Any] = {"num-examples": 300}
        if message.metadata.message_type == "evaluate":
            metrics["accuracy"] = accuracy(arrays)
            return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)
        kind = next(iter(arrays.values())).dtype
        made = ArrayRecord([each.astype(kind) for each in trained(arrays, place, **how)])
        metrics["loss"] = 0.5 + place
        return Message(RecordDict({"arrays": made, "metrics": MetricRecord(metrics)}), reply_to=message)

    return client


def changed(change: Callable[[list[np.ndarray], list[np.ndarray], RecordDict], Any]) -> Client:
    """The honest client of the first shard, whose reply `change(start, end, content)` rewrites.

    A list of arrays that it returns replaces the reply's arrays.
    """
    of_shard = honest(0)

    def client(message: Message) -> Message:
        reply = of_shard(message)
        if message.metadata.message_type == "train":
            start = next(iter(message.content.array_records.values())).to_numpy_ndarrays()
            made = change(start, reply.content["arrays"].to_numpy_ndarrays(), reply.content)
            if isinstance(made, list):
                reply.content["arrays"] = ArrayRecord(made)
        return reply

    return client


def flipped(times: float) -> Callable[..., list[np.ndarray]]:
    return lambda start, end, content: [a - times * (b - a) for a, b in zip(start, end, strict=True)]


def with_value(value: float) -> Callable[..., list[np.ndarray]]:
    def change(start: Any, end: list[np.ndarray], content: Any) -> list[np.ndarray]:
        end[0][3, 4] = value
        return end

    return change


def claiming(number: float, times: float = -1.0) -> Callable[..., list[np.ndarray]]:
    def change(start: Any, end: list[np.ndarray], content: RecordDict) -> list[np.ndarray]:
        content["metrics"]["num-examples"] = number
        return flipped(times)(start, end, content)

    return change


def rewritten(**fields: Any) -> Callable[..., None]:
    """One array with other fields than its bytes have."""

    def change(start: Any, end: Any, content: RecordDict) -> None:
        array = content["arrays"]["0"]
        old = {"dtype": array.dtype, "shape": array.shape, "stype": array.stype, "data": array.data}
        content["arrays"]["0"] = Array(**{**old, **{k: v(array) if callable(v) else v for k, v in fields.items()}})

    return change


def renamed(start: Any, end: Any, content: RecordDict) -> None:
    content["arrays"] = ArrayRecord({f"other-{name}": array for name, array in content["arrays"].items()})


def without_arrays(start: Any, end: Any, content: RecordDict) -> None:
    del content["arrays"]


def further_metric(start: Any, end: Any, content: RecordDict) -> None:
    content["metrics"]["extra"] = 1.0


def failing(message: Message) -> Message:
    return Message(Error(code=2, reason="ValueError: no such file"), reply_to=message)


def silent(message: Message) -> None:
    return None


def lying_header(array: Array) -> bytes:
    return array.data.replace(b"(64, 10)", b"(99, 10)")


HOSTILE: dict[str, Client] = {
    "sign-flip-x10": changed(flipped(10)),
    "nan": changed(with_value(np.nan)),
    "infinity": changed(with_value(np.inf)),
    "other-keys": changed(renamed),
    "no-arrays": changed(without_arrays),
    "a-further-metric": changed(further_metric),
    "other-shape": changed(lambda start, end, content: [end[0][:60], end[1]]),
    "shape-1": changed(lambda start, end, content: [np.ones(1, np.float32), end[1]]),
    "text": changed(lambda start, end, content: [np.full((64, 10), "a"), end[1]]),
    "a-header-that-lies": changed(rewritten(data=lying_header)),
    "no-npy": changed(rewritten(data=b"garbage")),
    "claims-1e9-examples": changed(claiming(1e9, times=3)),
    "claims-minus-the-rest": changed(claiming(-900)),
    "claims-nan-examples": changed(claiming(float("nan"))),
    "an-error": failing,
    "no-reply": silent,
}
