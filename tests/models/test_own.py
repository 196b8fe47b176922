"""The user's own models: by value, by name, as module:name; what is refused, and how a specification names them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from antivenom.attacks import LabelFlipping
from antivenom.auditing.plan import plan_of
from antivenom.auditing.trial import Trial, run_trial
from antivenom.core.errors import ModelError, NotApplicable, PluginError
from antivenom.core.registry import Kind, build, describe
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.defences import KNNSanitizer
from antivenom.models import BlackBox, learner, maker_of
from antivenom.models.architectures import MLP
from antivenom.models.estimators import RandomForest
from antivenom.models.own import OwnArchitecture, OwnEstimator
from antivenom.models.scikit import SklearnLearner
from antivenom.models.wrappers import BlackBoxModel, TorchLearner
from antivenom.scenarios.central import Central
from antivenom.scenarios.federated import Federated

STREAMS = Streams(5)


class Net(nn.Module):
    """Batch norm, and no arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def make_net(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes))


def make_forest(seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(5, random_state=seed)


def make_nothing_known() -> Any:
    return LogisticRegression(max_iter=50)


class Answers:
    """predict_proba alone: certain of class 0."""

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.eye(10)[np.zeros(len(x), dtype=int)]


class Majority:
    """fit and predict, and nothing else of scikit-learn."""

    def fit(self, x: Any, y: np.ndarray) -> Majority:
        self.top = np.bincount(y).argmax()
        return self

    def predict(self, x: Any) -> np.ndarray:
        return np.full(len(x), self.top)


class NoPredict:
    def fit(self, x: Any, y: Any) -> None: ...


def rows() -> Dataset:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    return Dataset(rng.normal(size=(60, 5)) + 4 * y[:, None], y, ("a", "b", "c"))


def pipeline() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def named(value: object) -> str:
    """A test's id: a text as it is, a class or function by its name, anything else by its class. No addresses."""
    return value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (MLP(), TorchLearner),
        ("MLP", TorchLearner),
        ({"name": "MLP", "hidden": [4]}, TorchLearner),
        (make_net, TorchLearner),
        (Net, TorchLearner),
        (Net(), TorchLearner),
        (lambda shape, classes: nn.Linear(*shape, classes), TorchLearner),
        ("tests_own_models:make_net", TorchLearner),
        (RandomForest(), SklearnLearner),
        ("RandomForest", SklearnLearner),
        (LogisticRegression(), SklearnLearner),
        (LogisticRegression, SklearnLearner),
        (pipeline(), SklearnLearner),
        (Majority(), SklearnLearner),
        (make_forest, SklearnLearner),
        (make_nothing_known, SklearnLearner),
        ("sklearn.linear_model:LogisticRegression", SklearnLearner),
        ("tests_own_models:make_forest", SklearnLearner),
    ],
    ids=named,
)
def test_whatever_the_user_has_becomes_a_learner(own_module: None, value: Any, kind: type) -> None:
    assert type(learner(value)) is kind


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module under a name that `module:name` can import."""
    monkeypatch.setitem(sys.modules, "tests_own_models", sys.modules[__name__])


@pytest.mark.parametrize("value", [LogisticRegression(), pipeline(), Majority(), make_forest], ids=named)
def test_an_estimator_learns_and_the_users_own_object_stays_unfitted(value: Any) -> None:
    model = learner(value).fit(rows(), STREAMS)
    assert model.predict(rows().x).shape == (60,)
    assert not hasattr(value, "classes_")
    assert not hasattr(value, "top")


def test_the_seed_reaches_every_random_state() -> None:
    nested = make_pipeline(StandardScaler(), BaggingClassifier(DecisionTreeClassifier(random_state=1)))
    made = maker_of(nested)(7)
    assert made.get_params()["baggingclassifier__random_state"] == 7
    assert made.get_params()["baggingclassifier__estimator__random_state"] == 7
    assert nested.get_params()["baggingclassifier__random_state"] is None


def test_a_modules_own_weights_are_where_training_starts() -> None:
    module = nn.Linear(5, 3)
    maker = learner(module)
    first, second = (maker.network(rows(), Streams(seed)) for seed in (0, 1))
    assert torch.equal(first.initial, second.initial)
    assert torch.equal(first.initial[:15], module.weight.detach().flatten())
    before = module.weight.detach().clone()
    maker.fit(rows(), STREAMS)
    assert torch.equal(module.weight, before)


def test_a_factorys_weights_are_drawn_for_each_seed() -> None:
    for make in (Net, lambda: nn.Linear(5, 3)):
        maker = maker_of(make)
        assert isinstance(maker, OwnArchitecture)
    one, other = (learner(lambda: nn.Linear(5, 3)).network(rows(), Streams(seed)) for seed in (0, 1))
    assert not torch.equal(one.initial, other.initial)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (NoPredict(), r"an object with fit and predict, got NoPredict without predict: add predict"),
        (3, r"a registered model, a torch module .* got int"),
        (object(), r"got object"),
        (lambda a, b, c: None, r"a function \(row shape, classes\) -> torch module or \(seed\) -> estimator"),
        ("MLPP", "did you mean 'MLP'"),
        ("no_such_module:make", r"the module of 'no_such_module:make' to import, got ModuleNotFoundError"),
        ("math:no_such_name", r"no_such_name in math, got no such name"),
        ("Krum", "the name of an architecture or estimator, got 'Krum', which is of kind aggregator"),
        ({"colour": 1}, r"`name` in the model's mapping, got colour"),
        (LabelFlipping(), "architecture or estimator"),
    ],
    ids=named,
)
def test_what_is_no_model_is_refused_in_one_line(value: Any, says: str) -> None:
    with pytest.raises((PluginError, ModelError), match=says) as caught:
        Central(model=value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_factory_that_returns_something_else_is_refused() -> None:
    with pytest.raises(ModelError, match="a torch module from <lambda>, got int"):
        learner(lambda shape, classes: 3).fit(rows(), STREAMS)
    with pytest.raises(ModelError, match="an object with fit and predict, got NoPredict without predict from <lambda>"):
        learner(lambda seed: NoPredict()).fit(rows(), STREAMS)


def test_a_module_whose_forward_fails_is_one_line() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyError("many\nlines")

    with pytest.raises(ModelError, match=r"a model for rows of shape \(5,\), got KeyError") as caught:
        learner(Fails()).fit(rows(), STREAMS)
    assert len(str(caught.value).splitlines()) == 1


# --- in a scenario ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [LogisticRegression(max_iter=500), Net()], ids=["estimator", "module"])
def test_a_scenario_runs_on_the_users_model(model: Any) -> None:
    scenario = Central(model=model, goal="availability", access="data-manipulation", train_rows=400)
    clean, flipped = (scenario.run(a, None, 0).metrics["clean_accuracy"] for a in (None, LabelFlipping(0.45)))
    assert clean > 0.85
    assert flipped < clean - 0.02


def test_a_black_box_is_judged_as_it_is_and_never_fitted() -> None:
    scenario = Central(model=Answers(), goal="availability", access="data-manipulation")
    found = scenario.run(None, None, 0).metrics
    assert found["clean_accuracy"] == pytest.approx(found["test_rows"] ** -1 * 0.1 * found["test_rows"], abs=0.03)
    for attack, defence in ((LabelFlipping(0.1), None), (None, KNNSanitizer())):
        with pytest.raises(NotApplicable, match="a model that can be fitted, got Answers, a black box"):
            scenario.run(attack, defence, 0)
    with pytest.raises(NotApplicable, match="a torch model in a federation"):
        Federated(model=Answers()).run(None, None, 0)


def test_a_fitted_estimator_can_be_declared_a_black_box() -> None:
    fitted = LogisticRegression().fit(rows().x, rows().y)
    model = learner(BlackBox(fitted)).finished(rows())
    assert np.array_equal(model.predict(rows().x), fitted.predict(rows().x))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (np.zeros((2, 2)), r"finite probabilities of shape \(2, 3\) from .*, got shape \(2, 2\)"),
        (np.full((2, 3), np.nan), "got NaN or infinity"),
    ],
)
def test_what_a_black_box_answers_is_looked_at(answer: np.ndarray, says: str) -> None:
    class Box:
        def predict_proba(self, x: Any) -> np.ndarray:
            return answer

    with pytest.raises(ModelError, match=says):
        BlackBoxModel(Box(), 3).predict(np.zeros((2, 1)))


# --- in a specification ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [LogisticRegression(C=0.5), pipeline(), Net(), make_net, Answers(), "MLP"], ids=named)
def test_a_specification_names_the_model_and_gives_it_back(value: Any) -> None:
    scenario = Central(model=value)
    spec = json.loads(json.dumps(Trial(scenario, None, None, 0).spec, allow_nan=False))
    again = Trial.from_spec(spec)
    assert again.scenario.model is scenario.model or again.scenario == scenario
    assert again.key == Trial(scenario, None, None, 0).key


def test_equal_models_have_equal_fingerprints_and_others_do_not() -> None:
    def mark(value: Any) -> str:
        return str(describe(maker_of(value))["fingerprint"])

    assert mark(LogisticRegression(C=0.5)) == mark(LogisticRegression(C=0.5))
    assert mark(LogisticRegression(C=0.5)) != mark(LogisticRegression(C=1.0))
    module = nn.Linear(5, 3)
    before = mark(module)
    assert before == mark(module)
    with torch.no_grad():
        module.bias.add_(1)
    assert mark(module) != before
    module.weight.requires_grad_(False)
    assert mark(nn.Sequential(nn.Linear(5, 3), nn.ReLU())) != mark(nn.Sequential(nn.Linear(5, 3), nn.Tanh()))


def test_another_process_rebuilds_what_it_can_and_says_so_where_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    simple, net = (Trial(Central(model=m), None, None, 0).spec for m in (LogisticRegression(C=0.5), Net()))
    monkeypatch.setattr("antivenom.core.registry.memory._KEPT", {})
    assert Trial.from_spec(simple).scenario.model.make.C == 0.5
    with pytest.raises(PluginError, match="run the trial in the process that holds the model"):
        Trial.from_spec(net)


def test_a_trial_of_a_users_model_is_a_record() -> None:
    scenario = Central(model=LogisticRegression(max_iter=300), goal="availability", access="data-manipulation")
    record = run_trial(Trial(scenario, None, None, 0).spec)
    assert record["status"] == "ok"
    assert record["spec"]["scenario"]["model"]["estimator"] == "sklearn.linear_model._logistic:LogisticRegression"
    assert record["spec"]["scenario"]["model"]["parameters"]["max_iter"] == 300


def test_a_scenario_file_names_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models_of_test_own.py").write_text(
        "from torch import nn\ndef make(shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = "scenarios:\n  - kind: central\n    model: [my_models_of_test_own:make, MLP]\n"
    plan = plan_of(text, "file")
    own, reference = (cell.scenario.model for cell in plan.cells)
    assert reference == MLP()
    assert own.path == "my_models_of_test_own:make"
    assert [cell.group for cell in plan.cells] == [
        "central [model=my_models_of_test_own:make]",
        "central [model=MLP]",
    ]
    assert describe(own)["architecture"] == "my_models_of_test_own:make"
    before = describe(own)["fingerprint"]
    (tmp_path / "my_models_of_test_own.py").write_text("def make(shape, classes): return None\n")
    assert describe(own)["fingerprint"] != before


def test_a_user_class_with_the_name_of_a_plugin_is_the_users() -> None:
    class RandomForest(Majority):
        pass

    assert isinstance(maker_of(RandomForest()), OwnEstimator)
    assert build("RandomForest", Kind.ESTIMATOR) != RandomForest()
