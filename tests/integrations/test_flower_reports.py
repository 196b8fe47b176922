"""What users reported to flwrlabs/flower, each as a test of `Defended`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("flwr") is None:
    pytest.skip("needs flwr (extra `flower`)", allow_module_level=True)

from flwr.app import Error, Message
from flwr.serverapp.strategy import FedAvg
from in_process import (
    NODES,
    Client,
    LocalGrid,
    accuracy,
    changed,
    claiming,
    flipped,
    honest,
    initial,
    silent,
    with_value,
)

from antivenom.federated import FLDetector, Mean, Server
from antivenom.integrations.flower import Defended, Limits


def played(
    others: dict[int, Client], server: Server | None = None, rounds: int = 2, **how: Any
) -> tuple[Any, Defended, LocalGrid]:
    how = {"limits": Limits(poll=0.001), **how}
    grid = LocalGrid({node: honest(place) for place, node in enumerate(NODES)} | others)
    strategy = Defended(FedAvg(fraction_evaluate=0.0), server, **how)
    return strategy.start(grid, initial(), num_rounds=rounds, timeout=0.02), strategy, grid


def test_2252_a_client_that_fldetector_flags_is_asked_no_more() -> None:
    _, strategy, grid = played(
        {11: changed(flipped(5))}, Server(Mean(), (FLDetector(),)), 12, limits=Limits(flags=1, poll=0.001)
    )
    assert grid.asked.count(11) < 12
    assert strategy.ledger.state()["11"]["flagged"] == 1


@pytest.mark.parametrize("nodes", [NODES[:1], NODES], ids=["one", "all"])
def test_7708_clients_without_examples_neither_end_the_run_nor_make_the_model_nan(nodes: tuple[int, ...]) -> None:
    result, strategy, _ = played(dict.fromkeys(nodes, changed(claiming(0))))
    assert accuracy(result.arrays) > 0.85 if len(nodes) == 1 else accuracy(result.arrays) == accuracy(initial())
    assert strategy.ledger.state()["11"]["hostile"] == 0


def test_1060_the_model_stays_finite_if_all_clients_diverge() -> None:
    result, *_ = played(dict.fromkeys(NODES, changed(with_value(np.nan))))
    assert accuracy(result.arrays) == accuracy(initial())


def test_6185_an_unavailable_message_is_no_attack(tmp_path: Path) -> None:
    def unavailable(message: Message) -> Message:  # as Flower makes it: it names the server as its sender
        reply = Message(Error(code=5, reason="Reply message objects are unavailable"), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = 1
        return reply

    result, strategy, _ = played({11: unavailable}, log=tmp_path / "log.jsonl")
    assert accuracy(result.arrays) > 0.85
    assert (strategy.ledger.state()["11"]["faults"], strategy.ledger.state()["11"]["hostile"]) == (2, 0)
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert first["left_out"][0] == {
        "node": "11",
        "reason": "an error: Reply message objects are unavailable",
        "hostile": False,
    }


def test_3006_a_huge_array_is_left_out_by_its_shape_without_being_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = changed(lambda start, end, content: [np.zeros((1000, 2000), np.float32), end[1]])
    parsed = list[str]()
    from antivenom.integrations.flower import wire

    of_wire = wire._parsed
    monkeypatch.setattr(
        wire, "_parsed", lambda array, slot: (parsed.append(str(len(array.data) > 10_000)), of_wire(array, slot))[1]
    )
    result, strategy, _ = played({11: huge})
    assert accuracy(result.arrays) > 0.85
    assert strategy.ledger.state()["11"]["hostile"] == 2
    assert "True" not in parsed


def test_4968_an_offline_node_costs_the_timeout_and_nothing_else() -> None:
    result, strategy, _ = played({11: silent})
    assert accuracy(result.arrays) > 0.85
    assert strategy.ledger.state()["11"]["hostile"] == 0


def test_8083_a_round_that_a_timeout_cuts_short_does_not_let_a_minority_decide() -> None:
    hostile_and_alone: Iterable[int] = NODES[1:]
    result, *_ = played({11: changed(flipped(3)), **dict.fromkeys(hostile_and_alone, silent)})
    assert accuracy(result.arrays) == accuracy(initial())
