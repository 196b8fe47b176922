"""One JSON line per round: who was asked, whose reply was left out and why, with which scores."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from antivenom.federated import Decision, Server
from antivenom.integrations.flower.ledger import Ledger
from antivenom.integrations.flower.rounds import Round


def line_of(
    phase: str,
    now: Round,
    ledger: Ledger,
    claims: list[float],
    failure: str | None,
    decision: Decision | None = None,
    server: Server | None = None,
) -> dict[str, Any]:
    """One round, as it is logged. Nodes stand in it with their identity in the ledger."""
    left_out = {} if decision is None else {each.client: each.reason for each in decision.left_out}
    nodes = {ledger.of(reply.node).number: ledger.identity(reply.node) for reply in now.good}
    problems = [
        {"node": ledger.identity(node), "reason": problem.reason, "hostile": problem.hostile}
        for node, problem in sorted(now.problems.items())
    ]
    problems += [
        {"node": nodes[number], "reason": reason, "hostile": False}
        for number, reason in left_out.items()
        if number in nodes
    ]
    scores = dict[str, dict[str, float | None]]()
    if decision is not None and server is not None:
        for detector, verdict in zip(server.detectors, decision.verdicts, strict=False):
            values = zip(decision.clients, verdict.scores.tolist(), strict=True)
            found = {nodes[number]: value if math.isfinite(value) else None for number, value in values}
            scores[type(detector).__name__] = found
    return {
        "phase": phase,
        "round": now.number,
        "asked": len(now.asked),
        "usable": len(now.good),
        "left_out": problems,
        "strays": [{"node": ledger.identity(node), "reason": reason} for node, reason in now.strays],
        "claims": {
            ledger.identity(reply.node): {"claimed": reply.claim, "counted": counted}
            for reply, counted in zip(now.good, claims, strict=True)
        },
        "scores": scores,
        "failure": failure,
        "seconds": round(time.monotonic() - now.began, 3),
    }


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line to the file.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")
