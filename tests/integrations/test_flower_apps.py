"""A Flower app of the user's own as a federation: the same accuracies as Flower, poisoned rows in the client's own training."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

if importlib.util.find_spec("flwr") is None:
    pytest.skip("needs flwr (extra `flower`)", allow_module_level=True)

from flwr.app import ArrayRecord
from flwr.serverapp import strategy as strategies
from in_process import LocalGrid
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from antivenom import Federated
from antivenom.auditing.plan import read_plan
from antivenom.cli import run
from antivenom.core.errors import AntivenomError
from antivenom.core.streams import Streams
from antivenom.data import ByGroup
from antivenom.federated import Bulyan, Federation, Krum, LabelFlip, Median, MultiKrum, NormBound, Server, Weighting
from antivenom.integrations.flower import Defended
from antivenom.integrations.flower.apps import App, app_in
from antivenom.integrations.flower.choosing import deployed_in, federation_of, prepared
from antivenom.integrations.flower.federation import FlowerModel, FlowerRows, FlowerTraining
from antivenom.integrations.flower.feeding import fed, read

APP = Path(__file__).parents[1] / "data" / "samples" / "flower_app"
PYPROJECT = (APP / "pyproject.toml").read_text(encoding="utf-8")


def federated(**fields: Any) -> Federated:
    federation = Federation(
        num_agents=4, rounds=3, partition=ByGroup(), local=FlowerTraining(str(APP)), weighting=Weighting.EXAMPLES
    )
    rows, model = FlowerRows(str(APP)), FlowerModel(str(APP))
    return Federated(
        data=rows,
        model=model,
        federation=federation,
        goal="availability",
        validation_rows=0,
        **fields,  # type: ignore[arg-type]
    )


def test_the_engine_and_flower_have_the_same_accuracies_in_every_round() -> None:
    app = app_in(str(APP))
    started, test = app.started, FlowerRows(str(APP))(Streams(0)).test
    clients = {100 + i: functools.partial(app.client, context=app._context(i)) for i in range(app.nodes)}
    seen: list[float] = []

    def judged(_: int, arrays: ArrayRecord) -> None:
        net = app.network()
        net.load_state_dict(arrays.to_torch_state_dict())
        seen.append(float((net(torch.tensor(test.x)).argmax(1).numpy() == test.y).mean()))

    started.strategy.start(
        LocalGrid(clients),
        started.arrays,
        started.rounds,
        train_config=started.config,
        evaluate_fn=judged,  # type: ignore[arg-type]
    )
    ours = federated().run(None, None, seed=0).curves["accuracy"]
    assert seen[3] > 0.8
    np.testing.assert_allclose(ours, seen[1:], atol=1e-4)


def test_flipped_labels_go_through_the_client_s_own_training() -> None:
    training, app = FlowerTraining(str(APP)), app_in(str(APP))
    x, y = read(app.loaded(1))[0]
    data = federated().data(Streams(0)).train
    network = federated_network()
    own = (torch.tensor(x), torch.tensor(y))
    honest = training(network, network.initial, own, 1, Streams(0))
    flipped = training(network, network.initial, (own[0], 9 - own[1]), 1, Streams(0))
    right = {name: accuracy(network, end, data) for name, end in (("honest", honest), ("flipped", flipped))}
    assert right["honest"] > 0.5 > 0.3 > right["flipped"]
    outcome = federated().run(LabelFlip(), None, seed=0)
    assert outcome.curves["accuracy"][0] < federated().run(None, None, seed=0).curves["accuracy"][0]


def federated_network() -> Any:
    from antivenom.models.network import build

    return build(FlowerModel(str(APP)), (1, 8, 8), 10, Streams(0))


def accuracy(network: Any, vector: torch.Tensor, data: Any) -> float:
    return float((network.logits(vector, torch.tensor(data.x)).argmax(1).numpy() == data.y).mean())


def test_every_client_keeps_its_rows_in_their_order() -> None:
    train = FlowerRows(str(APP))(Streams(0)).train
    assert train.groups is not None
    for client in range(4):
        x, y = read(app_in(str(APP)).loaded(client))[0]
        np.testing.assert_array_equal(train.x[train.groups == client], x)
        np.testing.assert_array_equal(train.y[train.groups == client], y)


@pytest.mark.parametrize("form", ["pairs", "mappings"])
def test_other_rows_come_in_the_form_and_the_order_of_the_loader(form: str) -> None:
    x, y = torch.arange(12.0).reshape(6, 2), torch.arange(6)
    old: Any = TensorDataset(x + 100, y + 100)
    if form == "mappings":
        old = [{"img": a, "label": int(b)} for a, b in old]
    loader = DataLoader(old, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3))
    again = DataLoader(old, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3))
    made, test = fed((loader, "test"), (x, y))
    assert test == "test"
    for ours, theirs in zip(made, again, strict=True):
        inputs, labels = (ours["img"], ours["label"]) if form == "mappings" else ours
        their_inputs, their_labels = (theirs["img"], theirs["label"]) if form == "mappings" else theirs
        torch.testing.assert_close(inputs, their_inputs - 100)
        torch.testing.assert_close(labels, their_labels - 100)


def test_arrays_as_of_scikit_learn_and_data_sets_without_loaders() -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])
    (train, labels), (test, _) = read((x, x + 1, y, y))
    np.testing.assert_array_equal(train, x)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(test, x + 1)
    data = TensorDataset(torch.tensor(x), torch.tensor(y))
    assert (read((data, data))[1][0] == x).all()


@pytest.mark.parametrize(
    ("loaded", "said"),
    [
        (None, "training rows and test rows from load_data, got NoneType"),
        ((1, 2, 3), "got 3 parts"),
        ((iter([]), iter([])), "a data loader or data set with a length"),
        (([{"a": 1, "b": 2, "label": 0}],) * 2, "items with an input and a label, got a, b, label"),
        (([3],) * 2, "items of an input and a label, got int"),
        (([],) * 2, "a client without rows"),
    ],
    ids=["nothing", "three", "iterators", "three-keys", "no-pairs", "empty"],
)
def test_rows_that_cannot_be_read(loaded: Any, said: str) -> None:
    with pytest.raises(AntivenomError, match=said) as caught:
        read(loaded)
    assert "\n" not in str(caught.value)


def test_a_loader_that_weighs_rows_is_not_given_others() -> None:
    rows = TensorDataset(torch.zeros(3, 2), torch.zeros(3))
    loader = DataLoader(rows, sampler=WeightedRandomSampler([0.1, 0.2, 0.7], 3))
    with pytest.raises(AntivenomError, match="got one with a WeightedRandomSampler"):
        fed((loader, None), (torch.zeros(3, 2), torch.zeros(3)))


@pytest.mark.parametrize(
    ("strategy", "rule"),
    [
        (strategies.FedAvg(), None),
        (strategies.FedProx(proximal_mu=0.1), None),
        (strategies.FedMedian(), Median()),
        (strategies.Krum(num_malicious_nodes=2), Krum(f=2)),
        (strategies.MultiKrum(num_malicious_nodes=1, num_nodes_to_select=3), MultiKrum(f=1, m=3)),
        (strategies.Bulyan(num_malicious_nodes=1), Bulyan(f=1)),
        (Defended(strategies.FedAvg(), Server(MultiKrum(f=1))), MultiKrum(f=1)),
        (Defended(strategies.FedMedian(), aggregates=False), Median()),
    ],
    ids=["FedAvg", "FedProx", "FedMedian", "Krum", "MultiKrum", "Bulyan", "Defended", "Defended-inner"],
)
def test_the_rule_of_a_strategy(strategy: Any, rule: Any) -> None:
    assert deployed_in(strategy)[0] == rule


def test_what_differs_is_named() -> None:
    class OwnStrategy(strategies.FedAvg): ...

    assert deployed_in(strategies.FedAdam())[1][0][0] == "the strategy FedAdam"
    assert deployed_in(OwnStrategy())[1][0][0] == "the strategy OwnStrategy"
    said = [what for what, _ in deployed_in(Defended(strategies.FedAvg(), Server(Median(), (NormBound(),))))[1]]
    assert said == ["the checks, caps and reputations of Defended", "NormBound before the rule of Defended"]


def test_the_protocol_of_the_app() -> None:
    federation = federation_of(app_in(str(APP)), 2, FlowerTraining(str(APP)))
    assert (federation.num_agents, federation.num_malicious, federation.rounds) == (4, 2, 3)
    assert federation.agents_per_round is None
    assert (federation.training.batch_size, federation.training.learning_rate) == (16, 0.1)


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a copy of the app, as a package of another name, with one text replaced by another."""
    names = list[str]()

    def change(file: str, old: str, new: str) -> str:
        name = f"changed_app_{len(names)}_{tmp_path.name}".replace("-", "_")
        names.append(name)
        for path in APP.rglob("*"):
            if path.suffix in (".py", ".toml"):
                text = path.read_text(encoding="utf-8")
                if path.name == file:
                    assert old in text
                    text = text.replace(old, new)
                target = tmp_path / name / str(path.relative_to(APP)).replace("sample_flower_app", name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text.replace("sample_flower_app", name), encoding="utf-8")
        return str(tmp_path / name)

    monkeypatch.setattr(sys, "path", list(sys.path))
    yield change
    for module in [each for each in sys.modules if each.partition(".")[0] in names]:
        del sys.modules[module]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("pyproject.toml", "[tool.flwr.app.components]", "[tool.flwr.app.other]", "a Flower app in"),
        (
            "pyproject.toml",
            "server_app:app",
            "server_app:main",
            "a ServerApp and a ClientApp, got function and ClientApp",
        ),
        ("server_app.py", "    strategy.start(", "    dict(", "to call strategy.start"),
        (
            "server_app.py",
            "    strategy.start(",
            "    raise RuntimeError('no')\n    dict(",
            "to start a strategy, got RuntimeError: no",
        ),
        ("server_app.py", "Net().state_dict()", "[Net()[1].weight.detach().numpy()]", "a torch module in the package"),
        ("task.py", "def load_data(partition_id", "def load_data(part", "one function in the package"),
        (
            "task.py",
            "num_partitions: int, batch_size",
            "num_partitions: int, shards",
            "a value of shards for load_data",
        ),
        ("task.py", "load_digits(return_X_y=True)", "1 / 0", "the rows of client 0, got ZeroDivisionError"),
    ],
    ids=["no-app", "no-server", "no-start", "fails", "no-module", "no-loader", "no-argument", "no-rows"],
)
def test_an_app_that_cannot_be_read(changed: Any, file: str, old: str, new: str, said: str) -> None:
    folder = changed(file, old, new)

    def read_all() -> None:
        app = app_in(folder)
        assert issubclass(app.network, torch.nn.Module)
        app.loaded(0)

    with pytest.raises(AntivenomError, match=said) as caught:
        read_all()
    assert "\n" not in str(caught.value)


def test_a_client_that_fails_is_named(changed: Any) -> None:
    app: App = app_in(changed("client_app.py", "    train_net(", "    raise OSError('gone')\n    train_net("))
    with pytest.raises(AntivenomError, match="client 2 to train, got OSError: gone"):
        app.trained(2, app.started.arrays, 1, key=0)


def test_what_is_tried_and_the_scenario_file_that_stands_for_it(tmp_path: Path) -> None:
    found = prepared(str(APP), deployed=Median())
    assert [str(group.scenario.goal) for group in found.choice.groups] == ["availability", "targeted", "backdoor"]
    assert all(Median() in group.defences for group in found.choice.groups)
    file = tmp_path / "federation.yaml"
    assert run(["audit", "--federation", str(APP), "--write", str(file)]) == 0
    plan = read_plan(file)
    assert {cell.scenario.federation.local for cell in plan.cells} == {FlowerTraining(str(APP))}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--federation", str(APP), "--data", "digits"], "got rows and --federation"),
        (["--federation", str(APP), "--budget", "0.1"], "no options of rows with --federation, got --budget"),
        (["--federation", "nowhere"], "a Flower app in nowhere"),
        (["--federation", str(APP), "--goal", "privacy"], "a goal of malicious clients"),
        (["--federation", str(APP), "--deployed", "KNNSanitizer"], "KNNSanitizer"),
        (["--data", "digits", "--malicious", "2"], "--malicious"),
        (["--clients", "3"], "--clients"),
    ],
    ids=["two", "budget", "nowhere", "goal", "deployed", "rows", "alone"],
)
def test_options_that_contradict_each_other(arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", *arguments, "--dry-run"]) == 4
    assert said in capfd.readouterr().err


@pytest.mark.slow
def test_an_audit_of_the_app(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--federation", str(APP), "--goal", "availability", "--no-search", "--trials", "16", "--jobs", "1"]
    assert run(["audit", *arguments, "--out", str(tmp_path / "out"), "--fail-if", "availability=0.2"]) == 1
    said = capfd.readouterr().out
    assert "1 of 4 agents, in 3 rounds" in said
    assert "BREACHED" in said
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
