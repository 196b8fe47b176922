"""What the strategy inside gets: one reply that stands for all, or the replies that are left."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from antivenom.integrations.flower.metrics import aligned, mean
from antivenom.integrations.flower.rounds import Reply


def one_reply(
    good: Sequence[Reply], claims: Sequence[float], arrays: ArrayRecord, arrays_key: str, claim_key: str
) -> Message:
    """One reply with the aggregate, the mean metrics and the sum of the examples."""
    metrics = aligned([reply.metrics for reply in good], claims)
    record = MetricRecord({name: mean([each[name] for each in metrics], claims) for name in metrics[0]})
    record[claim_key] = math.fsum(claims)
    message = good[0].message
    message.content = RecordDict({arrays_key: arrays, "metrics": record})
    return message


def cleaned(
    good: Sequence[Reply],
    claims: Sequence[float],
    arrays: Sequence[ArrayRecord] | None,
    arrays_key: str,
    claim_key: str,
) -> list[Message]:
    """The replies with the same metrics and bounded claims, and with these arrays in a round of training."""
    metrics = aligned([reply.metrics for reply in good], claims)
    for place, (reply, found, claim) in enumerate(zip(good, metrics, claims, strict=True)):
        record = MetricRecord(dict(found))
        record[claim_key] = int(claim) if claim.is_integer() else claim
        content = RecordDict({"metrics": record})
        if arrays is not None:
            content[arrays_key] = arrays[place]
        reply.message.content = content
    return [reply.message for reply in good]
