"""DataFrames, word counts and raw text through whole scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from antivenom.attacks import BackGradient, ClassMeanShift, FlippedPoints, LabelFlipping, SVMPoisoning
from antivenom.attacks.availability.ascent import Ascent
from antivenom.data import TableFile, TextFile
from antivenom.defences import KNNSanitizer, SphereSanitizer
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.central import Central

SAMPLES = Path(__file__).parent / "samples"
PEOPLE = TableFile(str(SAMPLES / "people.csv"), "premium", ignore=("id",), decimal=",", encoding="latin-1")
WORDS = ColumnTransformer([("words", OneHotEncoder(handle_unknown="ignore"), ["job", "town"])], remainder="passthrough")
PIPELINE = make_pipeline(WORDS, HistGradientBoostingClassifier(min_samples_leaf=3))
NETWORK = MLP(hidden=(16,))


@pytest.mark.parametrize("model", [PIPELINE, NETWORK], ids=["pipeline", "network"])
@pytest.mark.parametrize(
    ("attack", "defence"),
    [
        (None, None),
        (LabelFlipping(poisoned_rate=0.4), KNNSanitizer()),
        (FlippedPoints(poisoned_rate=0.4), SphereSanitizer()),
        (SVMPoisoning(poisoned_rate=0.1, ascent=Ascent(steps=2)), None),
        (BackGradient(poisoned_rate=0.1, steps=5, ascent=Ascent(steps=2)), None),
        (ClassMeanShift(), None),
    ],
    ids=lambda plugin: type(plugin).__name__,
)
def test_a_table_of_numbers_and_words(model, attack, defence) -> None:
    access = "data-manipulation" if isinstance(attack, (LabelFlipping, ClassMeanShift)) else "data-injection"
    training = Training(epochs=60, learning_rate=0.05)
    scenario = Central(data=PEOPLE, model=model, training=training, access=access, goal="availability", clean_rows=5)
    found = scenario.run(attack, defence, 0).metrics
    assert (found["poisoned_rows"] > 0) == (attack is not None)
    if attack is None:
        assert found["clean_accuracy"] > 0.8  # premium is income above 2600


@pytest.mark.parametrize(
    ("form", "model"),
    [
        ("raw", make_pipeline(TfidfVectorizer(), LogisticRegression())),
        ("counts", MultinomialNB()),
    ],
    ids=["raw", "counts"],
)
def test_text(form, model) -> None:
    data = TextFile(str(SAMPLES / "mails.jsonl"), form=form)
    scenario = Central(data=data, model=model, access="data-manipulation", goal="availability", clean_rows=2)
    assert scenario.run(None, None, 0).metrics["clean_accuracy"] == 1
    flipped = scenario.run(LabelFlipping(poisoned_rate=1.0), None, 0).metrics
    assert flipped["clean_accuracy"] == 0
