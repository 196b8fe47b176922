"""`Defended` in parts: inner optimisers, batch norm, half precision, claims, quorum, reputations, evaluation, log and state."""

from __future__ import annotations

import importlib.util
import io
import json
import resource
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("flwr") is None:
    pytest.skip("needs flwr (extra `flower`)", allow_module_level=True)

from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedMedian, FedProx, Strategy
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from in_process import (
    NODES,
    Client,
    LocalGrid,
    accuracy,
    changed,
    claiming,
    digits,
    failing,
    flipped,
    honest,
    initial,
    trained_on,
    with_value,
)

from antivenom.core.errors import ModelError, NotApplicable, ScenarioError, StoreError
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.federated import FLDetector, FLTrust, FoolsGold, Krum, Mean, MultiKrum, Server
from antivenom.federated.aggregators import LASA
from antivenom.integrations.flower import Defended, Limits, layout_of
from antivenom.integrations.flower.wire import Unusable, template_of
from antivenom.models.layout import Layout, Role
from antivenom.models.network import Network
from antivenom.models.training import Training

FAST = Limits(poll=0.001)


def clients(first: Client | None = None) -> dict[int, Client]:
    return {node: honest(place) for place, node in enumerate(NODES)} | ({} if first is None else {NODES[0]: first})


def start(strategy: Strategy, grid: LocalGrid | None = None, arrays: ArrayRecord | None = None, **how: Any) -> Any:
    how = {"num_rounds": 2, "timeout": 0.02, **how}
    return strategy.start(grid or LocalGrid(clients()), arrays or initial(), **how)


def avg(**how: Any) -> FedAvg:
    return FedAvg(**{"fraction_evaluate": 0.0, **how})


def fixed(make: Callable[[ArrayRecord], Any], examples: Any = 10, **metrics: Any) -> Client:
    """A client that answers with `make(what it received)`."""

    def client(message: Message) -> Message:
        arrays = next(iter(message.content.array_records.values()))
        record = MetricRecord({"num-examples": examples, **metrics})
        return Message(RecordDict({"arrays": make(arrays), "metrics": record}), reply_to=message)

    return client


def added(numbers: Iterable[float], examples: Any = 10, **metrics: Any) -> Client:
    """A client that adds these numbers to the first array."""

    def make(arrays: ArrayRecord) -> ArrayRecord:
        first, *others = arrays.to_numpy_ndarrays()
        if first.dtype == np.float16:
            return ArrayRecord([first.astype(np.float32) + np.asarray(list(numbers), np.float32)])
        return ArrayRecord([first + np.asarray(list(numbers), first.dtype), *others])

    return fixed(make, examples, **metrics)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_round_with_a_mean_is_the_weighted_mean_of_the_replies() -> None:
    grid = LocalGrid({1: added([1, 0], 10), 2: added([0, 3], 20)})
    server = Server(Mean())
    found = start(Defended(avg(), server, limits=FAST), grid, ArrayRecord([np.ones(2, np.float32)]), num_rounds=1)
    # the larger claim is bounded to half of all examples, so both count alike: 1 + 1/2 and 1 + 3/2
    np.testing.assert_allclose(found.arrays.to_numpy_ndarrays()[0], [1.5, 2.5])
    limits = Limits(claim_share=1.0, poll=0.001)
    found = start(
        Defended(avg(), Server(Mean()), limits=limits), grid, ArrayRecord([np.ones(2, np.float32)]), num_rounds=1
    )
    np.testing.assert_allclose(found.arrays.to_numpy_ndarrays()[0], [1 + 1 / 3, 3.0])


def test_metrics_are_those_that_most_clients_send_in_their_weighted_mean() -> None:
    grid = LocalGrid(
        {
            1: added([0], 10, loss=1.0, curve=[1.0, 2.0]),
            2: added([0], 10, loss=2.0, curve=[3.0, 4.0], extra=9.0),
            3: added([0], 20, loss=float("nan"), curve=[5.0]),
        }
    )
    result = start(Defended(avg(), limits=FAST), grid, ArrayRecord([np.ones(1, np.float32)]), num_rounds=1)
    found = dict(result.train_metrics_clientapp[1])
    assert found == {"loss": 1.5, "curve": [2.0, 3.0], "replies-kept": 3, "replies-left-out": 0}


@pytest.mark.parametrize("inner", [FedAvgM, FedAdam, FedProx], ids=lambda each: each.__name__)
def test_optimisers_of_the_server_give_what_they_give_alone(inner: Any) -> None:
    how = {FedAvgM: {"server_momentum": 0.5}, FedAdam: {"eta": 0.05}, FedProx: {"proximal_mu": 0.1}}[inner]
    alone, ours = (start(s) for s in (_of(inner, how), Defended(_of(inner, how), Server(Mean()), limits=FAST)))
    for a, b in zip(alone.arrays.to_numpy_ndarrays(), ours.arrays.to_numpy_ndarrays(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def _of(inner: Any, how: dict[str, float]) -> Any:
    return inner(fraction_evaluate=0.0, **how)


def test_batch_norm_goes_round_the_rule_and_keeps_its_types() -> None:
    names = ["weight", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"]
    first = [np.zeros(2, np.float32), np.zeros(1, np.float32), np.ones(1, np.float32), np.array(5)]

    def client(weight: float, mean: float, var: float, batches: int) -> Client:
        made = [np.full(2, weight, np.float32), np.float32([mean]), np.float32([var]), np.array(batches)]
        return fixed(lambda arrays: ArrayRecord({n: Array(a) for n, a in zip(names, made, strict=True)}))

    grid = LocalGrid(
        {
            1: client(1, 1, 1, 10),
            2: client(1, 2, 2, 11),
            3: client(1, 3, 3, 12),
            4: client(1, 4, -4, 13),
            5: client(1, 9e9, 4, 14),
        }
    )
    arrays = ArrayRecord({n: Array(a) for n, a in zip(names, first, strict=True)})
    strategy = Defended(FedAdam(fraction_evaluate=0.0), limits=FAST)
    for rounds in (1, 2):  # in the second one the model must still have the types that clients send
        found = start(strategy, grid, arrays, num_rounds=rounds).arrays
        assert {n: (a.dtype, a.shape) for n, a in found.items()} == {n: (a.dtype, a.shape) for n, a in arrays.items()}
        # the fourth client's variance is negative; the medians of the others
        assert [float(found[n].numpy().item()) for n in names[1:]] == [2.5, 2.5, 12.0]  # 11.5 is rounded to even
    assert template_of(arrays).d == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("inner", [FedAvg, FedMedian], ids=lambda each: each.__name__)
def test_other_precisions_keep_their_type(dtype: str, inner: Any) -> None:
    ml = pytest.importorskip("ml_dtypes") if dtype == "bfloat16" else None
    kind = np.dtype(ml.bfloat16 if ml else dtype)

    def client(value: float) -> Client:
        return fixed(lambda arrays: ArrayRecord({"w": Array(np.asarray([value, 1.0], kind))}))

    grid = LocalGrid({node: client(value) for node, value in enumerate((2.0, 3.0, 4.0))})
    first = ArrayRecord({"w": Array(np.ones(2, kind))})
    for aggregates in (True, False):
        strategy = Defended(inner(fraction_evaluate=0.0), limits=FAST, aggregates=aggregates)
        found = start(strategy, grid, first, num_rounds=2).arrays["w"]
        assert found.dtype == dtype
        raw = np.load(io.BytesIO(found.data))
        assert raw.view(kind).astype(float).tolist() == pytest.approx([3.0, 1.0])


def test_a_result_that_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    grid = LocalGrid({node: added([40960.0]) for node in (1, 2, 3)})
    log = tmp_path / "log.jsonl"
    first = ArrayRecord([np.full(1, 10240, np.float16)])
    found = start(Defended(avg(), log=log, limits=FAST), grid, first, num_rounds=2)
    assert found.arrays.to_numpy_ndarrays()[0].tolist() == [51200.0]
    assert [line["failure"] is None for line in lines(log)] == [True, False]


def test_frozen_arrays_stay_and_a_layout_orders_the_rest() -> None:
    import torch

    layout = Layout(
        ("head", "base"),
        (torch.Size([1]), torch.Size([2])),
        (torch.float32, torch.float32),
        (Role.TRAINED, Role.FROZEN),
    )
    arrays = ArrayRecord({"base": Array(np.ones(2, np.float32)), "head": Array(np.zeros(1, np.float32))})

    def client(base: float) -> Client:
        made = {"base": Array(np.full(2, base, np.float32)), "head": Array(np.ones(1, np.float32))}
        return fixed(lambda received: ArrayRecord(dict(made)))

    grid = LocalGrid({1: client(1), 2: client(1), 3: client(float("nan"))})
    found = start(Defended(avg(), Server(layout=layout), limits=FAST), grid, arrays, num_rounds=1).arrays
    assert [found[name].numpy().tolist() for name in ("base", "head")] == [[1.0, 1.0], [1.0]]
    with pytest.raises(ModelError, match="layout"):
        start(Defended(avg(), Server(layout=layout)), grid, ArrayRecord([np.ones(2, np.float32)]))


def test_rules_that_need_layers_get_them_from_the_arrays() -> None:
    with pytest.raises(NotApplicable, match="layers"):
        Server(LASA())
    server = Server(LASA(), layout=layout_of(initial()))
    assert accuracy(start(Defended(avg(), server, limits=FAST)).arrays) > 0.8


@pytest.mark.parametrize(("matching", "least"), [(True, 0.9), (False, 0.0)], ids=["as-clients-train", "by-default"])
def test_fltrust_moves_the_model_as_far_as_the_servers_own_training(matching: bool, least: float) -> None:
    import torch

    x, y = digits()
    validation = Dataset(x[1200:1300], y[1200:1300], tuple(range(10)))
    as_clients = Training(epochs=15, batch_size=100, optimizer="sgd", learning_rate=1.0, shuffle=False)

    def client(place: int, times: float = 1.0) -> Client:
        def reply(message: Message) -> Message:
            weights, biases = (message.content["arrays"][name].numpy() for name in ("weight", "bias"))
            rows = slice(300 * place, 300 * (place + 1))
            made, bias = trained_on(ArrayRecord([weights.T, biases]), x[rows], y[rows])
            weight = np.ascontiguousarray(weights + times * (made.T - weights))
            arrays = ArrayRecord({"weight": Array(weight), "bias": Array(bias)})
            return Message(
                RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 300})}), reply_to=message
            )

        return reply

    server = Server(
        FLTrust(),
        network=Network(torch.nn.Linear(64, 10), (64,), 10),
        validation=validation,
        training=as_clients if matching else None,
        streams=Streams(0),
    )
    first = {"weight": Array(np.zeros((10, 64), np.float32)), "bias": Array(np.zeros(10, np.float32))}
    grid = LocalGrid({node: client(place, -10.0 if place == 0 else 1.0) for place, node in enumerate(NODES)})
    found = start(Defended(avg(), server, limits=FAST), grid, ArrayRecord(first), num_rounds=4, timeout=1.0).arrays
    moved = float(np.linalg.norm(found["weight"].numpy()))
    assert (moved > 3) == matching
    assert accuracy(ArrayRecord([found["weight"].numpy().T, found["bias"].numpy()])) > least


def test_a_result_that_overflows_is_refused_and_forgotten(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"

    class Overflowing(FedAvgM):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            arrays, metrics = super().aggregate_train(server_round, replies)
            if server_round == 2:
                self.momentum_vector = [np.full(1, np.nan)]
                arrays = ArrayRecord([np.full(1, np.inf, np.float32)])
            return arrays, metrics

    inner = Overflowing(fraction_evaluate=0.0, server_momentum=0.5)
    grid = LocalGrid({node: added([1.0]) for node in (1, 2, 3)})
    found = start(Defended(inner, log=log, limits=FAST), grid, ArrayRecord([np.zeros(1, np.float32)]), num_rounds=3)
    assert found.arrays.to_numpy_ndarrays()[0].tolist() == [2.5]  # 0 + 1, refused, then 1 + (1 + 0.5)
    assert [bool(line["failure"]) for line in lines(log)] == [False, True, False]
    assert "refused" in lines(log)[1]["failure"]


def test_too_few_usable_replies_leave_the_model_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    grid = LocalGrid(clients() | {NODES[0]: failing, NODES[1]: failing, NODES[2]: changed(with_value(np.nan))})
    found = start(Defended(avg(), log=log, limits=FAST), grid)
    assert accuracy(found.arrays) == accuracy(initial())
    assert [line["failure"] for line in lines(log)] == ["1 usable replies of 4, 2 needed"] * 2


def test_a_rule_that_too_few_replies_are_left_for_skips_the_round(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    grid = LocalGrid(
        clients() | {NODES[0]: failing}
    )  # Krum with f = 1 needs 4; an error is no attack, so that f stays 1
    start(Defended(avg(), Server(Krum(f=1)), log=log, limits=FAST), grid, num_rounds=1)
    assert "Krum" in lines(log)[0]["failure"]
    grid = LocalGrid(clients() | {NODES[0]: changed(with_value(np.nan))})  # the attacker is gone: f is 0 for the rest
    start(Defended(avg(), Server(Krum(f=1)), log=log, limits=FAST), grid, num_rounds=1)
    assert lines(log)[1]["failure"] is None


def test_hostile_clients_are_asked_no_more_and_failing_ones_are() -> None:
    grid = LocalGrid(clients(changed(with_value(np.nan))) | {NODES[1]: failing})
    strategy = Defended(avg(), limits=Limits(strikes=2, poll=0.001))
    start(strategy, grid, num_rounds=5)
    assert [grid.asked.count(node) for node in NODES] == [2, 5, 5, 5]
    past = strategy.ledger.state()
    assert (past["11"]["hostile"], past["22"]["faults"], past["33"]["good"]) == (2, 5, 5)
    assert past["22"]["hostile"] == 0


def test_nobody_is_hostile_if_most_clients_diverge() -> None:
    bad = changed(with_value(np.nan))
    strategy = Defended(avg(), limits=Limits(strikes=1, poll=0.001))
    start(strategy, LocalGrid({11: bad, 22: bad, 33: bad, 44: honest(1)}))
    assert all(past["hostile"] == 0 for past in strategy.ledger.state().values())


def test_a_node_that_registers_again_keeps_its_reputation_by_its_key() -> None:
    class Authenticated(LocalGrid):
        def get_nodes(self) -> Iterable[NodeInfo]:
            return [NodeInfo(node_id=node, public_key=b"key" if node in (11, 99) else b"") for node in self.clients]

    bad = changed(with_value(np.nan))
    strategy = Defended(avg(), limits=Limits(strikes=2, poll=0.001))
    start(strategy, Authenticated(clients(bad)))
    again = Authenticated({99: bad, **{node: honest(i) for i, node in enumerate(NODES) if node != 11}})
    start(strategy, again)
    assert 99 not in again.asked


def test_detectors_leave_out_who_they_flag_and_the_log_has_their_scores(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    strategy = Defended(avg(), log=log, limits=Limits(flags=1, poll=0.001))
    grid = LocalGrid(clients(changed(flipped(10))))
    result = start(strategy, grid)
    first = lines(log)[0]
    assert first["left_out"] == [{"node": "11", "reason": "flagged by NormBound", "hostile": False}]
    assert first["scores"]["NormBound"]["11"] > 3 > first["scores"]["NormBound"]["22"]
    assert result.train_metrics_clientapp[1]["replies-left-out"] == 1
    assert grid.asked.count(11) == 1


def test_claims_are_bounded_also_where_the_strategy_inside_aggregates(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    found = start(Defended(avg(), aggregates=False, log=log, limits=FAST), LocalGrid(clients(changed(claiming(1e9)))))
    assert accuracy(found.arrays) > 0.85
    assert lines(log)[0]["claims"]["11"] == {"claimed": 1e9, "counted": 900.0}


def test_evaluation_replies_are_checked_too(tmp_path: Path) -> None:
    def lying(message: Message) -> Message:
        reply = honest(0)(message)
        if message.metadata.message_type == "evaluate":
            reply.content["metrics"] = MetricRecord({"num-examples": 10**9, "accuracy": 0.0, "extra": 1.0})
        return reply

    def broken(message: Message) -> Message:
        reply = honest(1)(message)
        if message.metadata.message_type == "evaluate":
            reply.content["metrics"] = MetricRecord({"num-examples": float("nan"), "accuracy": float("inf")})
        return reply

    grid = LocalGrid(clients(lying) | {NODES[1]: broken})
    result = start(Defended(avg(fraction_evaluate=1.0), log=tmp_path / "log.jsonl", limits=FAST), grid)
    found = result.evaluate_metrics_clientapp[2]
    assert set(found) == {"accuracy"}
    assert 0.4 < found["accuracy"] < 0.65  # the liar counts for half of three at most
    assert [line["phase"] for line in lines(tmp_path / "log.jsonl")] == ["train", "evaluate"] * 2


def test_a_strategy_that_waits_for_nodes_gives_up() -> None:
    strategy = Defended(avg(min_available_nodes=9), limits=Limits(patience=0.0, poll=0.001))
    found = start(strategy, num_rounds=2)
    assert accuracy(found.arrays) == accuracy(initial())


def test_a_message_that_cannot_be_read_costs_its_sender_only(tmp_path: Path) -> None:
    class Breaking(LocalGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            found = list(super().pull_messages(message_ids))
            if any(message.metadata.src_node_id == NODES[0] for message in found):
                raise ValueError("unexpected set of children")
            return found

    log = tmp_path / "log.jsonl"
    found = start(Defended(avg(), log=log, limits=FAST), Breaking(clients()))
    assert accuracy(found.arrays) > 0.85
    assert lines(log)[0]["left_out"] == [
        {"node": "11", "reason": "a message that cannot be read (ValueError)", "hostile": True}
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is one of Linux")
def test_a_huge_reply_is_refused_before_its_bytes_are_in_memory(tmp_path: Path) -> None:
    class Huge(LocalGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            found = list(super().pull_messages(message_ids))
            if any(message.metadata.src_node_id == NODES[0] for message in found):
                pieces = pull_objects([str(i) for i in range(100)], lambda each: b"\1" * 5_242_880)  # as HttpGrid does
                return list(pieces.values())  # type: ignore[arg-type]
            return found

    log = tmp_path / "log.jsonl"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = start(Defended(avg(), log=log, limits=FAST), Huge(clients()))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB, of 500,000 in each of two rounds
    assert accuracy(found.arrays) > 0.85
    assert lines(log)[0]["left_out"][0]["reason"] == "a message that takes too much memory (MemoryError)"
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_second_and_unasked_replies_do_not_count(tmp_path: Path) -> None:
    strategy = Defended(avg(), Server(Mean()), log=tmp_path / "log.jsonl", limits=FAST)
    arrays, grid = ArrayRecord([np.zeros(1, np.float32)]), LocalGrid({1: honest(0), 2: honest(0)})
    from flwr.app import ConfigRecord

    asked = list(strategy.configure_train(1, arrays, ConfigRecord(), grid))
    asked.sort(key=lambda message: message.metadata.dst_node_id)
    foreign = Message(asked[0].content, 7, "train")
    replies = [added([1])(asked[0]), added([9])(asked[0]), added([3])(asked[1]), added([9])(foreign)]
    found, _ = strategy.aggregate_train(1, replies)
    assert found.to_numpy_ndarrays()[0].tolist() == [2.0]
    assert lines(tmp_path / "log.jsonl")[0]["strays"] == [
        {"node": "1", "reason": "a second reply"},
        {"node": "7", "reason": "a reply of a node that was not asked"},
    ]


@pytest.mark.parametrize("inner", [FedAvg, FedAvgM], ids=lambda each: each.__name__)
def test_a_restart_goes_on_as_if_nothing_had_happened(inner: Any, tmp_path: Path) -> None:
    def make(folder: Path | None) -> Defended:
        how = {"server_momentum": 0.5} if inner is FedAvgM else {}
        server = Server(FoolsGold(), (FLDetector(),))
        return Defended(inner(fraction_evaluate=0.0, **how), server, state=folder, limits=Limits(poll=0.001, strikes=1))

    bad = changed(with_value(np.nan))
    seen = list[int]()
    whole = start(make(None), LocalGrid(clients(bad)), num_rounds=5)
    start(make(tmp_path), LocalGrid(clients(bad)), num_rounds=2)

    def evaluated(number: int, arrays: ArrayRecord) -> None:
        seen.append(number)

    grid = LocalGrid(clients(bad))
    after = start(make(tmp_path), grid, num_rounds=5, evaluate_fn=evaluated)
    assert seen == [2, 3, 4, 5]
    assert list(after.train_metrics_clientapp) == [3, 4, 5]
    assert NODES[0] not in grid.asked  # excluded before the restart
    for a, b in zip(whole.arrays.to_numpy_ndarrays(), after.arrays.to_numpy_ndarrays(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)  # the order of clients in a sum is Flower's, and random
    done = start(make(tmp_path), num_rounds=5)
    np.testing.assert_array_equal(done.arrays.to_numpy_ndarrays()[0], after.arrays.to_numpy_ndarrays()[0])
    with pytest.raises(StoreError, match="another"):
        start(make(tmp_path), arrays=ArrayRecord([np.zeros(3, np.float32)]))


def test_a_state_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "defended.pt").write_bytes(b"half a file")
    with pytest.raises(StoreError, match=r"defended\.pt"):
        start(Defended(avg(), state=tmp_path))


def test_a_full_disk_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    strategy = Defended(avg(), limits=FAST, log=tmp_path / "file" / "log", state=tmp_path / "file" / "state")
    with pytest.MonkeyPatch.context() as patch:  # reading it must succeed, as on a disk that fills up later
        patch.setattr("antivenom.integrations.flower.saved.load", lambda folder: None)
        assert accuracy(start(strategy).arrays) > 0.85


def test_mistakes_of_the_operator_are_errors_of_one_line() -> None:
    with pytest.raises(ScenarioError, match="strategy"):
        Defended("FedAvg")  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="quorum"):
        Limits(quorum=2)
    with pytest.raises(ScenarioError, match="strikes"):
        Limits(strikes=0)
    with pytest.raises(ModelError, match="numbers"):
        start(Defended(avg()), arrays=ArrayRecord([np.array(["a"])]))
    with pytest.raises(Exception, match="MultiKrum"):  # every client replies, so that nobody else is to blame
        start(Defended(avg(), Server(MultiKrum(f=2)), limits=FAST))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stype": "pickle"}, "serialisation"),
        ({"shape": (3, 2)}, "shape"),
        ({"dtype": "object"}, "type"),
        ({"dtype": "float64"}, "bytes"),
        ({"dtype": "bfloat16"}, "bytes"),
        ({"data": lambda d: d[:-1]}, "header that contradicts"),
        ({"data": lambda d: d + b"0"}, "header that contradicts"),
        ({"data": lambda d: d + b"0" * 2000}, "bytes"),
        ({"data": lambda d: d.replace(b"<f4", b"<i4")}, "header that contradicts"),
        ({"data": lambda d: d.replace(b"<f4", b">f4")}, "no .npy header"),
        ({"data": lambda d: d.replace(b"False", b"1+1,0")}, "no .npy header"),
        ({"data": lambda d: b"\x93NUMPY\x02" + d[7:]}, "no .npy header"),
    ],
    ids=[
        "serialisation",
        "shape",
        "type",
        "width",
        "half",
        "cut",
        "longer",
        "much-longer",
        "header-kind",
        "header-byte-order",
        "header-expression",
        "header-version",
    ],
)
def test_arrays_that_differ_from_what_they_claim_are_named(change: dict[str, Any], reason: str) -> None:
    sent = ArrayRecord({"w": Array(np.zeros((2, 3), np.float32))})
    array = sent["w"]
    fields = {"dtype": array.dtype, "shape": array.shape, "stype": array.stype, "data": array.data}
    fields |= {name: value(array.data) if callable(value) else value for name, value in change.items()}
    with pytest.raises(Unusable, match=reason):
        template_of(sent).values(ArrayRecord({"w": Array(**fields)}))


def test_fortran_order_and_scalars_are_read_as_numpy_reads_them() -> None:
    made = {
        "a": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "b": np.float32(7) * np.ones(()),
        "c": np.zeros((0, 2)),
    }
    sent = ArrayRecord({name: Array(np.asarray(each, np.float32)) for name, each in made.items()})
    assert b"True" in sent["a"].data[:100]
    assert template_of(sent).values(sent)[0].tolist() == [0, 1, 2, 3, 4, 5, 7]
