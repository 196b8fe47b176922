"""The client. The mod makes it malicious where both the run and the node allow it."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits.data import shard
from digits.model import trained


def red_team(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
    """Send the opposite of ten times the own update. Nodes that do not allow it need no antivenom installed."""
    if not context.node_config.get("allow-red-team"):
        return call_next(message, context)
    from antivenom.federated import SignFlip
    from antivenom.integrations.flower.malicious import malicious

    return malicious(SignFlip(scale=10))(message, context, call_next)


app = ClientApp(mods=[red_team])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on the node's own rows."""
    node = context.node_config
    x, y = shard(int(node["partition-id"]), int(node["num-partitions"]))
    arrays = trained(message.content["arrays"].to_numpy_ndarrays(), x, y)
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": len(x)})}
    return Message(RecordDict(content), reply_to=message)
