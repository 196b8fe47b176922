"""`Defended`, a user's model behind a defence: what it trains on, what it answers, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from antivenom import Defended
from antivenom.core.errors import DataError, NotApplicable
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import gate, mitigation
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset

Y = np.arange(40) % 2
X = np.random.default_rng(0).normal(6.0 * Y[:, None], 1.0, (40, 2))
WORDS = np.array(["ham", "spam"])[Y]


@pytest.fixture
def above_all_clean(plugins: None) -> object:
    @gate(access=Access.DATA_INJECTION, goal=Goal.BACKDOOR, cite="the test of Defended")
    class AboveAllClean:
        """Refuses inputs whose first number is above those of the trusted rows."""

        def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> Any:
            most = float(clean.x[:, 0].max())
            return lambda x: Verdict(x[:, 0] - most, x[:, 0] > most)

    return AboveAllClean()


@pytest.fixture
def fitted_anew(plugins: None) -> object:
    @mitigation(access=Access.DATA_INJECTION, goal=Goal.BACKDOOR, cite="the test of Defended")
    class FittedAnew:
        """Replaces the model by one that is fitted to the trusted rows."""

        def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> Model:
            return context.fit(clean)

    return FittedAnew()


def test_flagged_rows_are_not_trained_on_and_answers_are_the_users_labels() -> None:
    wrong = WORDS.copy()
    wrong[4] = "spam"
    model = clone(Defended(LogisticRegression(), "KNNSanitizer")).fit(X, wrong)
    assert np.flatnonzero(model.verdict_.flags).tolist() == [4]
    assert model.classes_.tolist() == ["ham", "spam"]
    assert (model.predict(X) == WORDS).all()
    assert model.predict_proba(X).argmax(axis=1).tolist() == Y.tolist()
    assert model.score(X, WORDS) == 1.0
    assert not model.refused(X).any()


def test_labels_may_be_any_numbers() -> None:
    assert Defended(LogisticRegression(), "FlagNone").fit(X, Y * 5 - 3).predict(X).tolist() == (Y * 5 - 3).tolist()


def test_a_training_function_takes_the_place_of_the_model() -> None:
    def train(rows: np.ndarray, labels: np.ndarray) -> Any:
        cut = np.mean([rows[labels == c, 0].mean() for c in (0, 1)])
        return lambda new: (new[:, 0] > cut).astype(int)

    assert (Defended(train=train).fit(X, WORDS).predict(X) == WORDS).all()


def test_a_gate_refuses_what_is_unlike_the_trusted_rows(above_all_clean: Any) -> None:
    model = Defended(LogisticRegression(), above_all_clean).fit(X[10:], WORDS[10:], trusted=(X[:10], WORDS[:10]))
    asked = np.array([[X[:10, 0].max(), 0.0], [X[:10, 0].max() + 0.1, 0.0]])
    assert model.refused(asked).tolist() == [False, True]


def test_a_mitigation_gets_the_trusted_rows_with_the_users_labels(fitted_anew: Any) -> None:
    turned = np.array(["spam", "ham"])[Y]
    model = Defended(LogisticRegression(), fitted_anew).fit(X[10:], turned[10:], trusted=(X[:10], WORDS[:10]))
    assert (model.predict(X) == WORDS).all()


@pytest.mark.parametrize(
    ("defence", "fields", "error", "said"),
    [
        (
            "above_all_clean",
            {},
            NotApplicable,
            "trusted rows for AboveAllClean, got none: give clean rows as `trusted`",
        ),
        ("FlagAll", {}, DataError, "training rows left after FlagAll, got all 40 flagged"),
        ("fitted_anew", {"trusted": (X[:1], ["eggs"])}, DataError, "trusted labels among ham, spam, got 'eggs'"),
    ],
    ids=["no trusted rows", "no rows left", "an unknown label"],
)
def test_what_cannot_be_done_is_one_line(
    defence: str, fields: dict[str, object], error: type[Exception], said: str, request: pytest.FixtureRequest
) -> None:
    own = defence if defence == "FlagAll" else request.getfixturevalue(defence)
    with pytest.raises(error, match=said.replace("(", r"\(")):
        Defended(LogisticRegression(), own).fit(X, WORDS, **fields)  # type: ignore[arg-type]
