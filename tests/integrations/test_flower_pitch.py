"""One client of four sends what it should not: what happens to Flower's strategies, and to the same ones inside `Defended`."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("flwr") is None:
    pytest.skip("needs flwr (extra `flower`)", allow_module_level=True)

from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, MultiKrum, Strategy
from in_process import HOSTILE, NODES, Client, LocalGrid, accuracy, honest, initial

from antivenom.integrations.flower import Defended, Limits

FAST = Limits(poll=0.001)
ENDS = "the run ends"
# What Flower 1.42 does, as measured on these rows: the run ends, or the accuracy is far below that without an attack.
FLOWER = {
    "sign-flip-x10": {"FedAvg": "harm"},
    "nan": {"FedAvg": "harm", "FedMedian": "harm"},
    "infinity": {"FedAvg": "harm"},
    "other-keys": dict.fromkeys(("FedAvg", "FedMedian", "FedTrimmedAvg", "MultiKrum"), ENDS),
    "no-arrays": dict.fromkeys(("FedAvg", "FedMedian", "FedTrimmedAvg", "MultiKrum"), ENDS),
    "a-further-metric": dict.fromkeys(("FedAvg", "FedMedian", "FedTrimmedAvg", "MultiKrum"), ENDS),
    "other-shape": dict.fromkeys(("FedAvg", "FedMedian", "FedTrimmedAvg", "MultiKrum"), ENDS),
    "shape-1": dict.fromkeys(("FedMedian", "FedTrimmedAvg", "MultiKrum"), ENDS),
    "text": dict.fromkeys(("FedAvg", "FedMedian", "FedTrimmedAvg", "MultiKrum"), ENDS),
    "a-header-that-lies": dict.fromkeys(("FedAvg", "FedMedian", "FedTrimmedAvg", "MultiKrum"), ENDS),
    "no-npy": dict.fromkeys(("FedAvg", "FedMedian", "FedTrimmedAvg", "MultiKrum"), ENDS),
    "claims-1e9-examples": {"FedAvg": "harm"},
    "claims-minus-the-rest": {"FedAvg": ENDS, "FedMedian": ENDS, "FedTrimmedAvg": ENDS},
    "claims-nan-examples": {"FedAvg": "harm", "MultiKrum": "harm"},
}
STRATEGIES: dict[str, type[FedAvg]] = {each.__name__: each for each in (FedAvg, FedMedian, FedTrimmedAvg, MultiKrum)}
QUICK = ["nan", "other-keys", "a-header-that-lies", "claims-1e9-examples", "no-reply"]


def plain(name: str) -> FedAvg:
    more = {"num_malicious_nodes": 1, "num_nodes_to_select": 3} if name == "MultiKrum" else {}
    return STRATEGIES[name](fraction_evaluate=0.0, **more)


def played(strategy: Strategy, first: Client, rounds: int = 2) -> float | str:
    clients = {node: honest(place) for place, node in enumerate(NODES)} | {NODES[0]: first}
    try:
        result = strategy.start(LocalGrid(clients), initial(), num_rounds=rounds, timeout=0.02)
    except Exception:
        return ENDS
    return accuracy(result.arrays)


@pytest.fixture(scope="module")
def clean() -> float:
    found = played(plain("FedAvg"), honest(0))
    assert isinstance(found, float)
    assert found > 0.85
    return found


def kept(first: Client, clean: float, **how: object) -> None:
    found = played(Defended(plain("FedAvg"), limits=FAST, **how), first)
    assert found != ENDS
    assert abs(float(found) - clean) < 0.02


@pytest.mark.parametrize("name", QUICK)
def test_a_defended_server_goes_on_as_if_the_client_were_honest(name: str, clean: float) -> None:
    kept(HOSTILE[name], clean)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in QUICK])
def test_a_defended_server_also_goes_on_with_the_other_replies(name: str, clean: float) -> None:
    kept(HOSTILE[name], clean)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HOSTILE if "flip" not in name and "1e9" not in name])
def test_checks_alone_suffice_against_malformed_replies(name: str, clean: float) -> None:
    kept(HOSTILE[name], clean, aggregates=False)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "strategy"), [(n, s) for n, found in FLOWER.items() for s in found])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_flower_alone_is_harmed(name: str, strategy: str, clean: float) -> None:
    found = played(plain(strategy), HOSTILE[name])
    assert found == ENDS if FLOWER[name][strategy] == ENDS else float(found) < clean - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_flower_alone_is_not_harmed_without_an_attack(strategy: str, clean: float) -> None:
    assert abs(float(played(plain(strategy), honest(0))) - clean) < 0.06
