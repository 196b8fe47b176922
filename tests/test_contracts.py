"""Every registered plugin keeps the contract, and the contract can be broken: one rogue for each rule."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antivenom.attacks import (
    AdversarialPoison,
    BackGradient,
    BullseyePolytope,
    ConvexPolytope,
    DeepConfuse,
    ErrorMinimizingNoise,
    FeatureCollision,
    GradientMatching,
    InfluenceAttack,
    InputAware,
    KKTAttack,
    LabelConsistent,
    MinMax,
    Narcissus,
    RIPPLe,
    SleeperAgent,
    SubnetReplacement,
)
from antivenom.core import registry
from antivenom.core.errors import PluginError
from antivenom.core.registry import (
    Kind,
    agent,
    architecture,
    attack,
    augmentation,
    client_detector,
    entries,
    estimator,
    evasion,
    feature_map,
    logic_attack,
    mitigation,
    model_attack,
    model_detector,
    partition,
    robust_learner,
    sanitizer,
    schedule,
    source,
    trigger,
)
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.core.wanted import Rows
from antivenom.data import (
    Dataset,
    HuggingFaceFolder,
    ImageFolder,
    Memory,
    NpzFile,
    Poison,
    PythonSource,
    TableFile,
    TextFile,
)
from antivenom.defences import ANP, RNP, RONI
from antivenom.federated import ExplicitBoosting, Federation, ImplicitBoosting
from antivenom.federated.aggregation import aggregator, reducer
from antivenom.integrations.flower.federation import FlowerModel, FlowerRows, FlowerTraining
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.central import Central
from antivenom.scenarios.federated import Federated
from antivenom.scenarios.membership import Membership
from antivenom.scenarios.transfer import Transfer
from antivenom.testing import check_plugin
from antivenom.triggers import Cells, GeneratedNoise, GeneratedPatch, Perturbation, Recovered

SAMPLES = Path(__file__).parent / "data" / "samples"


def ten_rows() -> Dataset:
    return Dataset(np.arange(20.0).reshape(10, 2), np.arange(10) % 2, ("a", "b"))


ONCE = Training(epochs=1)
QUICK = {
    "ANP": ANP(iterations=20),
    "RNP": RNP(unlearn_epochs=2, iterations=20),
    "Cells": Cells((("c0", 12.5),)),
    "Perturbation": Perturbation(np.full((1, 8, 8), 0.1)),
    "GeneratedNoise": GeneratedNoise(np.linspace(-1, 1, 322), 2),
    "GeneratedPatch": GeneratedPatch(np.linspace(-0.2, 0.1, 322), np.linspace(-1, 1, 322), 2),
    "InputAware": InputAware(mask_steps=0),
    "SubnetReplacement": SubnetReplacement(steps=20, restarts=1),
    "Recovered": Recovered(np.full((1, 8, 8), 0.5), np.ones((1, 8, 8))),
    "Rows": Rows((0,), (9,)),
    "AdversarialPoison": AdversarialPoison(steps=3, training=ONCE),
    "BackGradient": BackGradient(steps=10),
    "DeepConfuse": DeepConfuse(trials=3),
    "ErrorMinimizingNoise": ErrorMinimizingNoise(rounds=2),
    "BullseyePolytope": BullseyePolytope(steps=3, training=ONCE),
    "ConvexPolytope": ConvexPolytope(steps=3, training=ONCE),
    "GradientMatching": GradientMatching(0.1, steps=3, training=ONCE),
    "SleeperAgent": SleeperAgent(0.1, steps=3, training=ONCE),
    "FeatureCollision": FeatureCollision(poisons=3, steps=3, training=ONCE),
    "LabelConsistent": LabelConsistent(0.1, steps=3, training=ONCE),
    "Narcissus": Narcissus(0.1, steps=5, training=ONCE),
    "ImplicitBoosting": ImplicitBoosting(steps=20),
    "InfluenceAttack": InfluenceAttack(steps=3, refresh=2),
    "KKTAttack": KKTAttack(gammas=(0.65,), repeats=(8,), rounds=1),
    "MinMax": MinMax(steps=50),
    "RIPPLe": RIPPLe(training=Training(epochs=2, learning_rate=0.01)),
    "central": Central(training=ONCE),
    "federated": Federated(federation=Federation(rounds=1, training=ONCE)),
    "membership": Membership(training=ONCE, models=8, pool_rows=200, targets=10, group=10),
    "transfer": Transfer(training=ONCE, fine_tune_epochs=1),
    "RONI": RONI(repeats=1, batch=10),
    "Memory": Memory(ten_rows()),
    "PythonSource": PythonSource(f"{__name__}:ten_rows"),
    "TableFile": TableFile(str(SAMPLES / "people.csv"), "premium", encoding="latin-1"),
    "HuggingFaceFolder": HuggingFaceFolder(str(SAMPLES / "saved" / "table"), "left"),
    "ImageFolder": ImageFolder(str(SAMPLES / "pictures"), (4, 4)),
    "TextFile": TextFile(str(SAMPLES / "mails.jsonl")),
    **{cls.__name__: cls(str(SAMPLES / "flower_app")) for cls in (FlowerRows, FlowerModel, FlowerTraining)},
    "NpzFile": NpzFile(str(SAMPLES / "arrays.npz")),
}


def instance(entry: registry.Entry) -> Any:
    """With defaults; a combinator around an agent."""
    if entry.name in QUICK:
        return QUICK[entry.name]
    inner = {"agent": ExplicitBoosting()} if "agent" in {f.name for f in fields(entry.cls)} else {}
    return entry.cls(**inner)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_the_contract_is_kept(entry: registry.Entry, global_randomness_unchanged: None) -> None:
    if entry.name.startswith("Flower"):
        pytest.importorskip("flwr.serverapp", reason="needs flwr (extra `flower`)")
    check_plugin(instance(entry))


DOC = """Does harm. Weakness: all of it."""


def breaks(message: str, cls: type) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        check_plugin(cls)
    assert "\n" not in str(caught.value)


def data_attack(call: Any, doc: str | None = DOC, name: str = "Rogue", **words: Any) -> type:
    cls = type(name, (), {"__call__": call, "__doc__": doc, "__module__": __name__})
    globals()[name] = cls  # a pickle looks it up there
    words = {"access": ("data-manipulation",), "goal": "availability", "cite": "none"} | words
    return attack(**words)(cls)


def nothing(self: Any, data: Dataset, context: Any) -> Poison:
    return Poison.none(data)


def test_a_plugin_that_does_nothing_wrong_passes(plugins: None) -> None:
    check_plugin(data_attack(nothing))


def test_an_unregistered_class_is_told_so() -> None:
    breaks("expected the name of a plugin", type("Stranger", (), {}))


@pytest.mark.parametrize("doc", [None, "A line.", "   "])
def test_an_undocumented_plugin(plugins: None, doc: str | None) -> None:
    breaks("to be documented", data_attack(nothing, doc))


class WithRate:
    """Does harm. Weakness: all of it."""

    rate: float = 0.1
    __call__ = nothing


class WithFunction:
    """Does harm. Weakness: all of it. Fields: how: a function."""

    how: object = print
    __call__ = nothing


def test_an_undocumented_field(plugins: None) -> None:
    breaks("the field rate below Fields:", attack(access=(), goal="availability", cite="none")(WithRate))


def test_a_field_that_no_record_brings_back(plugins: None) -> None:
    breaks("a frozen value, got a builtin", attack(access=(), goal="availability", cite="none")(WithFunction))


def test_a_class_that_no_pickle_brings_back(plugins: None) -> None:
    class Local:
        """Does harm. Weakness: all of it."""

        __call__ = nothing

    breaks("a frozen value, got Can't pickle", attack(access=(), goal="availability", cite="none")(Local))


def returns_an_array(self: Any, data: Dataset, context: Any) -> Any:
    return data.x


def writes_into_the_rows(self: Any, data: Dataset, context: Any) -> Poison:
    data.x[0] = 1
    return Poison.none(data)


def adds_a_row(self: Any, data: Dataset, context: Any) -> Poison:
    more = data.extend(data.x[:1], data.y[:1])
    return Poison(more, np.arange(len(more)) >= len(data))


def draws_globally(self: Any, data: Dataset, context: Any) -> Poison:
    torch.rand(1)
    return Poison.none(data)


def draws_from_numpy(self: Any, data: Dataset, context: Any) -> Poison:
    np.random.rand()  # noqa: NPY002
    return Poison.none(data)


def never_twice_the_same(self: Any, data: Dataset, context: Any) -> Poison:
    rows = np.random.default_rng().permutation(len(data))[:5]
    y = data.y.copy()
    y[rows] = (y[rows] + 1) % data.num_classes
    return Poison(Dataset(data.x, y, data.classes), np.isin(np.arange(len(data)), rows))


def hides_its_rows(self: Any, data: Dataset, context: Any) -> Poison:
    y = (data.y + 1) % data.num_classes
    return Poison(Dataset(data.x, y, data.classes), np.zeros(len(data), dtype=bool))


def warns(self: Any, data: Dataset, context: Any) -> Poison:
    np.float64(1) / np.float64(0)
    return Poison.none(data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (returns_an_array, "expected a Poison from Rogue"),
        (writes_into_the_rows, "inputs are read-only: work on a copy"),
        (draws_globally, "no global randomness"),
        (draws_from_numpy, "no global randomness"),
        (never_twice_the_same, "equal results of"),
        (warns, "RuntimeWarning"),
    ],
)
def test_attacks_on_rows(plugins: None, call: Any, message: str) -> None:
    breaks(message, data_attack(call))


@pytest.mark.parametrize("call", [adds_a_row, hides_its_rows])
def test_an_attack_that_takes_more_than_it_asked_for(plugins: None, call: Any) -> None:
    from antivenom.core.errors import ThreatError

    with pytest.raises(ThreatError):
        check_plugin(data_attack(call))


def rogue(kind: Kind, call: Any) -> type:
    cls = type("Rogue", (), {"__call__": call, "__doc__": DOC, "__module__": __name__})
    globals()["Rogue"] = cls
    decorators: dict[Kind, Any] = {
        Kind.MODEL_ATTACK: model_attack(goal="backdoor", cite="none"),
        Kind.LOGIC_ATTACK: logic_attack(goal="backdoor", cite="none"),
        Kind.EVASION: evasion(goal="availability", cite="none"),
        Kind.ROBUST_LEARNER: robust_learner(goal="availability", cite="none"),
        Kind.AGENT: agent(goal="targeted", cite="none"),
        Kind.SANITIZER: sanitizer(goal="backdoor", cite="none"),
        Kind.MODEL_DETECTOR: model_detector(goal="backdoor", cite="none"),
        Kind.MITIGATION: mitigation(goal="backdoor", cite="none"),
        Kind.CLIENT_DETECTOR: client_detector(goal="targeted", cite="none"),
        Kind.AGGREGATOR: aggregator(goal="targeted", cite="none"),
        Kind.REDUCER: reducer(goal="targeted", cite="none"),
        Kind.TRIGGER: trigger(cite="none"),
        Kind.PARTITION: partition(cite="none"),
        Kind.ARCHITECTURE: architecture(cite="none"),
        Kind.ESTIMATOR: estimator(cite="none"),
        Kind.SCHEDULE: schedule(cite="none"),
        Kind.AUGMENTATION: augmentation(cite="none"),
        Kind.FEATURE_MAP: feature_map(cite="none"),
        Kind.SOURCE: source(cite="none"),
    }
    return decorators[kind](cls)  # type: ignore[no-any-return]


class Certifies:
    """A model with one radius, whole or not, for every row."""

    def __init__(self, inner: Any, radius: float) -> None:
        self.predict, self.predict_proba = inner.predict, inner.predict_proba
        self.num_classes, self.radius = inner.num_classes, radius

    def certified(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), self.radius)


def over_three_classes(self: Any, model: Any, data: Any, context: Any) -> Any:
    return ModelVerdict.of_classes(Verdict(np.zeros(3), np.zeros(3, bool)))


def boosts_in_place(self: Any, view: Any) -> Any:
    view.start.mul_(2)
    return torch.zeros(len(view.shards), view.network.dimension)


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (Kind.MODEL_ATTACK, lambda self, m, data, context: m, r"\(model, Poison\) from Rogue"),
        (Kind.LOGIC_ATTACK, lambda self, loss, context: 1.0, "a loss from Rogue"),
        (Kind.LOGIC_ATTACK, lambda self, loss, context: lambda f, x, y: f(x), "one number from the loss of Rogue"),
        (Kind.AGENT, lambda self, view: view.start, "updates of shape"),
        (Kind.AGENT, boosts_in_place, "to leave its inputs alone"),
        (Kind.SANITIZER, lambda self, data, c: Verdict(np.zeros(3), np.zeros(3, bool)), "over 80 rows"),
        (Kind.ROBUST_LEARNER, lambda self, data, c: None, "a Model from Rogue"),
        (Kind.ROBUST_LEARNER, lambda self, data, c: Certifies(c.fit(data), 0.5), "whole radii"),
        (Kind.EVASION, lambda self, m, data, c: data.x[:3], "return every row"),
        (
            Kind.MODEL_DETECTOR,
            lambda self, m, data, c: Verdict(np.zeros(10), np.zeros(10, bool)),
            "a ModelVerdict from",
        ),
        (Kind.MODEL_DETECTOR, over_three_classes, "over 10 classes"),
        (Kind.MITIGATION, lambda self, m, data, c: None, "a Model from Rogue"),
        (Kind.CLIENT_DETECTOR, lambda self, view, state: state, "a Verdict and a state from Rogue"),
        (Kind.AGGREGATOR, lambda self, u, w, view: u[0], "the same update in reverse order"),
        (Kind.AGGREGATOR, lambda self, u, w, view: u, "an aggregate of shape"),
        (Kind.AGGREGATOR, lambda self, u, w, view: u.mul_(0).sum(0), "to leave its inputs alone"),
        (Kind.REDUCER, lambda self, u, w, view: u, "rows and weights from Rogue"),
        (Kind.REDUCER, lambda self, u, w, view: (u.repeat(2, 1), w), "at most 10 rows from Rogue"),
        (Kind.REDUCER, lambda self, u, w, view: (u[:3], None), r"weights of shape \(3,\) from Rogue"),
        (Kind.TRIGGER, lambda self, x: x[:1], "finite inputs of shape"),
        (Kind.PARTITION, lambda self, data, n, rng: [np.arange(len(data))] * n, "in one of 7 shards"),
        (Kind.ARCHITECTURE, lambda self, shape, c: MLP()(shape, c + 1), "a model with 2 outputs|10 outputs"),
        (Kind.ESTIMATOR, lambda self, seed: object(), "an object with fit and predict"),
        (Kind.SCHEDULE, lambda self, done: -1.0, "finite factors"),
        (Kind.AUGMENTATION, lambda self, x, generator: x[:1], "images of shape"),
        (Kind.AUGMENTATION, lambda self, x, generator: x.mul_(0), "to leave its inputs alone"),
        (Kind.SOURCE, lambda self, streams: None, "a Split from Rogue"),
        (Kind.FEATURE_MAP, lambda self, x: x, "finite features of 120 rows"),
        (Kind.FEATURE_MAP, lambda self, x: x.reshape(len(x), -1) - x.mean(), "compute them from one row at a time"),
    ],
)
def test_every_other_kind(plugins: None, kind: Kind, call: Any, message: str) -> None:
    breaks(message, rogue(kind, call))
