"""`Defended` in a deployment: SuperLink, SuperNodes and ServerApp as processes of their own, plain and with TLS.

The quick test is part of `make test`. The others take minutes:

    python -m pytest -m slow tests/integrations/test_flower_deployed.py
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("flwr") is None:
    pytest.skip("needs flwr (extra `flower`)", allow_module_level=True)

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from in_process import LocalGrid, accuracy, digits, initial, trained_on

from antivenom.integrations.flower import Defended, Limits

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("flower_deploy", ROOT / "examples" / "flower" / "deploy.py")
assert _spec is not None
assert _spec.loader is not None
deploy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(deploy)


class Federation(deploy.Deployment):  # type: ignore[misc]
    """A deployment of the example with clients that can be broken, and the results of its runs."""

    def __init__(self, folder: Path, **how: Any) -> None:
        super().__init__(folder, **how)
        self.app, self.results = folder / "app", folder / "results"
        shutil.copytree(ROOT / "examples" / "flower", self.app, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("data.py", "broken.py"):
            shutil.copy(Path(__file__).parent / "deployed" / name, self.app / "digits")
        config = (self.app / "pyproject.toml").read_text()
        (self.app / "pyproject.toml").write_text(config.replace("digits.client_app:app", "digits.broken:app"))
        x, y = digits()
        np.savez(folder / "digits.npz", x=x, y=y)
        self.environment["DIGITS"] = str(folder / "digits.npz")

    def node(self, place: int, of: int, reply: str = "honest") -> Any:
        """Start a node with this part of the rows."""
        config = {
            "partition-id": place,
            "num-partitions": of,
            "reply": reply,
            "says": str(self.folder / f"says-{place}"),
        }
        return self.start_node(f"node-{place}", **config)

    def run_rounds(self, rounds: int, nodes: int) -> list[float]:
        """The accuracies before and after each round that a run computes."""
        how = {"num_server_rounds": rounds, "nodes": nodes, "round_timeout": TIMEOUT, "results": str(self.results)}
        log, found = self.run(self.app, **how), self.results / "accuracy.json"
        assert found.exists(), log[-3000:]
        return list(json.loads(found.read_text()).values())

    def lines(self) -> list[dict[str, Any]]:
        """The log of all rounds so far."""
        log = self.results / "rounds.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


TIMEOUT = 300.0  # seconds for a round: a busy machine must not make a client late


@contextmanager
def federation(folder: Path, **how: Any) -> Iterator[Federation]:
    """A deployment of which nothing is left at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with Federation(folder, **how) as made:
        yield made
    assert made.processes() == []


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def in_one_process(places: int, rounds: int) -> float:
    """The accuracy that honest clients reach in process, with the same rows."""

    def client(place: int) -> Callable[[Message], Message]:
        def reply(message: Message) -> Message:
            x, y = (part[:1200][place::places] for part in digits())
            made = ArrayRecord(trained_on(message.content["arrays"], x, y))
            content = {"arrays": made, "metrics": MetricRecord({"num-examples": len(x)})}
            return Message(RecordDict(content), reply_to=message)

        return reply

    grid = LocalGrid({place + 1: client(place) for place in range(places)})
    strategy = Defended(FedAvg(fraction_evaluate=0.0), limits=Limits(poll=0.001))
    return accuracy(strategy.start(grid, initial(), num_rounds=rounds, timeout=5.0).arrays)


def test_one_broken_client_of_three_neither_ends_nor_harms_a_run(tmp_path: Path) -> None:
    with federation(tmp_path / "plain") as deployed:
        for place, reply in enumerate(("honest", "honest", "other_keys")):
            deployed.node(place, 3, reply)
        found = deployed.run_rounds(1, 3)[-1]
        assert [problem["reason"][:12] for problem in deployed.lines()[0]["left_out"]] == ["other arrays"]
    assert found > in_one_process(3, 1) - 0.02


BROKEN = [("nan", "nan_claim", "huge"), ("other_keys", "garbage", "never")]


@pytest.mark.slow
@pytest.mark.parametrize("replies", BROKEN, ids="-".join)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_broken_clients_and_a_killed_node_neither_end_nor_harm_a_run(
    replies: tuple[str, ...], tls: bool, tmp_path: Path
) -> None:
    places = ["honest"] * 3 + list(replies)
    with ThreadPoolExecutor(1) as pool, federation(tmp_path / "many", tls=tls) as deployed:
        nodes = [deployed.node(place, 6, reply) for place, reply in enumerate(places)]
        run = pool.submit(deployed.run_rounds, 1, 6)
        if "never" in replies:
            until(lambda: (deployed.folder / "says-5").exists() or run.done())
            nodes[-1].kill()
        found = run.result()[-1]
        (line,) = deployed.lines()
        reasons = " ".join(problem["reason"] for problem in line["left_out"])
        words = {"nan": "NaN or infinity", "nan_claim": "nan examples", "huge": "too much memory"}
        words |= {"other_keys": "other arrays", "garbage": "bytes in 0", "never": ""}
        assert all(words[reply] in reasons for reply in replies), reasons
        assert line["usable"] == 3
    assert found > in_one_process(6, 1) - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("what", ["serverapp", "superlink"])
def test_a_run_goes_on_after_a_kill_in_its_third_round_as_if_nothing_had_happened(what: str, tmp_path: Path) -> None:
    database = str(tmp_path / "superlink.db") if what == "superlink" else None
    with ThreadPoolExecutor(1) as pool, federation(tmp_path / "killed", database=database) as deployed:
        for place in range(3):
            deployed.node(place, 3)
        first = pool.submit(deployed.run_rounds, 5, 3)
        until(lambda: len(deployed.lines()) >= 2 or first.done())
        assert not first.done()
        if what == "serverapp":
            server = [each for each in deployed.processes() if any("flwr-serverapp" in part for part in each.cmdline())]
            for each in server:
                each.send_signal(signal.SIGKILL)
            assert server
        else:
            deployed.superlink.kill()
            deployed.superlink.wait()
            deployed.start_superlink()
        assert first.exception() is not None  # the run did not finish
        found = deployed.run_rounds(5, 3)[-1]
        assert [line["round"] for line in deployed.lines()][-1] == 5
    assert round(found, 4) == round(in_one_process(3, 5), 4)


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_node_that_starts_again_is_the_same_client_only_if_it_has_a_key(tls: bool, tmp_path: Path) -> None:
    with federation(tmp_path / "again", tls=tls) as deployed:
        nodes = [deployed.node(place, 2) for place in range(2)]
        deployed.run_rounds(1, 2)
        nodes[0].terminate()
        nodes[0].wait()
        deployed.node(0, 2)
        deployed.run_rounds(2, 2)
        before, after = (set(line["claims"]) for line in deployed.lines())
        assert len(before & after) == (2 if tls else 1)


@pytest.mark.slow
def test_nodes_with_an_unknown_key_or_another_authority_are_refused(tmp_path: Path) -> None:
    with federation(tmp_path / "tls", tls=True) as deployed:
        deploy.write_key(tmp_path / "tls" / "stranger")  # never registered
        stranger = deployed.node_of("stranger")
        assert stranger.wait(TIMEOUT) != 0
        (tmp_path / "other").mkdir()
        deploy.write_certificates(tmp_path / "other")
        shutil.copy(
            tmp_path / "other" / "ca.pem", deployed.folder / "ca.pem"
        )  # the SuperLink's is signed by the old one
        log = deployed.folder / "flower-supernode-1.log"
        deployed.node_of("stranger")
        until(lambda: "CERTIFICATE_VERIFY_FAILED" in log.read_text())
