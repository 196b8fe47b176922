"""Gates at prediction time, and finished models that are looked at before they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from antivenom.attacks import BadNets, BlindBackdoor, RIPPLe
from antivenom.core.errors import DataError, NotApplicable
from antivenom.core.registry import gate, model_detector
from antivenom.core.streams import Streams
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.data import Dataset, load
from antivenom.defences import STRIP, FinePruning, NeuralCleanse
from antivenom.models.architectures import MLP
from antivenom.models.estimators import RandomForest
from antivenom.models.training import Training
from antivenom.scenarios.acceptance import Acceptance
from antivenom.scenarios.central import Central
from antivenom.scenarios.pipeline import Pipeline
from antivenom.triggers import Patch

QUICK = Training(epochs=8, batch_size=50, learning_rate=0.01)
SMALL: dict[str, Any] = {"model": MLP(hidden=(32,)), "training": QUICK, "wanted": 2, "trigger": Patch(3)}
CENTRAL = Central(**SMALL)
OFFERED = Acceptance(**SMALL)


@pytest.fixture(autouse=True)
def _(plugins: None) -> None: ...


def test_a_gate_is_judged_end_to_end() -> None:
    """A gate that refuses exactly the inputs with a bright corner, by hand."""

    @gate(goal="backdoor", cite="none")
    class Corner:
        """Refuses a bright corner."""

        def __call__(self, model: Any, clean: Dataset, context: Any) -> Any:
            def judged(x: np.ndarray) -> Verdict:
                bright = x[:, 0, -3:, -3:].mean(axis=(1, 2))
                return Verdict(bright, bright == 1)

            return judged

    bare, guarded = CENTRAL.run(BadNets(), None, 0).metrics, CENTRAL.run(BadNets(), Corner(), 0).metrics
    assert guarded["ungated_asr"] == bare["asr"] > 0.8
    assert guarded["asr"] == guarded["gate_far"] == 0
    assert (guarded["gate_frr"], guarded["gate_auroc"]) == (0, 1)
    assert guarded["clean_accuracy"] == guarded["ungated_accuracy"] == bare["clean_accuracy"]


def test_refused_inputs_get_no_right_answer() -> None:
    @gate(goal="backdoor", cite="none")
    class Closed:
        """Refuses all."""

        def __call__(self, model: Any, clean: Dataset, context: Any) -> Any:
            return lambda x: Verdict(np.ones(len(x)), np.ones(len(x), dtype=bool))

    found = CENTRAL.run(BadNets(), Closed(), 0).metrics
    assert found["clean_accuracy"] == found["asr"] == found["robust_accuracy"] == 0
    assert found["gate_frr"] == 1


def test_strip_refuses_a_patch_and_few_clean_rows() -> None:
    found = CENTRAL.run(BadNets(), STRIP(), 0).metrics
    assert found["gate_auroc"] > 0.8
    assert found["gate_frr"] < 0.15
    assert found["asr"] < found["ungated_asr"] - 0.3


def test_strip_answers_for_each_row_alone_and_calibrates_on_clean_rows() -> None:
    clean = load("digits", Streams(0)).train[:100]
    pipeline = Pipeline(MLP(hidden=(8,)), QUICK, "cpu", Streams(0))
    model = pipeline.fit(clean, "model")
    filtered = STRIP(false_rejection=0.1)(model, clean, pipeline.context(clean))
    whole, part = filtered(clean.dense), filtered(clean.dense[10:12])
    assert np.allclose(whole.scores[10:12], part.scores)
    assert whole.flags.mean() < 0.2
    with pytest.raises(DataError, match="at least 40 clean rows"):
        STRIP()(model, clean[:30], pipeline.context(clean))


def test_a_model_that_is_refused_does_no_harm_and_serves_nobody() -> None:
    @model_detector(goal="backdoor", cite="none")
    class Suspects:
        """Suspects every model as a whole, without naming a class."""

        def __call__(self, model: Any, clean: Dataset, context: Any) -> ModelVerdict:
            return ModelVerdict(3.0, True)

    for bad in (BadNets(), None):
        found = OFFERED.run(bad, Suspects(), 0)
        assert (found.metrics["refused"], found.metrics["detected"], found.metrics["model_score"]) == (1, 1, 3)
        assert found.metrics["asr"] == 0
        assert found.metrics["clean_accuracy"] == found.metrics["chance_accuracy"] < 0.2
        assert np.isnan(found.metrics["detection_auroc"])
        assert "refused" in found.notes[0]
    repaired = Acceptance(**SMALL, repair=FinePruning()).run(BadNets(), Suspects(), 0)
    assert repaired.metrics["refused"] == 0
    assert repaired.metrics["clean_accuracy"] > 0.7


def test_neural_cleanse_names_the_target_of_a_patch() -> None:
    found = OFFERED.run(BadNets(), NeuralCleanse(), 0).metrics
    assert found["detected"] == found["detection_tpr"] == 1
    assert found["detection_auroc"] == 1
    assert found["offered_asr"] > 0.8


def test_the_notes_of_a_detector_are_those_of_the_trial() -> None:
    quick = NeuralCleanse(steps=5, rows=8)
    assert "uncalibrated" in OFFERED.run(None, quick, 0).notes[0]
    assert any("uncalibrated" in note for note in CENTRAL.run(None, quick, 0).notes)
    ranked = OFFERED.run(None, NeuralCleanse(steps=5, rows=8, references=2), 0).notes[0]
    assert "false alarms in at most 1 of 3" in ranked


def test_a_recovered_trigger_is_a_trigger_that_can_be_judged() -> None:
    train = load("digits", Streams(0)).train
    model = Pipeline(MLP(hidden=(16,)), QUICK, "cpu", Streams(0)).fit(train[100:], "model")
    found = NeuralCleanse(steps=60).inverted(model, train[:40])
    assert found.reached.all()
    shown = found.triggers[3](train[100:200].dense)
    assert (model.predict(shown) == 3).mean() > 0.7


def test_every_kind_of_attack_can_make_the_finished_model() -> None:
    for access, bad in (("logic-corruption", BlindBackdoor()), ("transfer-learning", RIPPLe(training=QUICK))):
        found = Acceptance(**SMALL, access=access).run(bad, None, 0).metrics  # type: ignore[arg-type]
        assert found["asr"] > found["asr_clean"] + 0.4
        assert found["poisoned_rows"] == 0


def test_neural_cleanse_needs_gradients() -> None:
    forest = Acceptance(data="digits", model=RandomForest(n_estimators=3), wanted=2)  # type: ignore[arg-type]
    with pytest.raises(NotApplicable, match="a torch model for NeuralCleanse"):
        forest.run(None, NeuralCleanse(), 0)
