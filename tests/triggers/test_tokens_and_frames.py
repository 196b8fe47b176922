"""Triggers on token rows and on tables of numbers and words, through whole scenarios."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

from antivenom import Central, Dataset, Federated, Federation
from antivenom.attacks import BadNets
from antivenom.core.errors import AntivenomError, DataError, NotApplicable, PluginError
from antivenom.core.registry import Kind, build, describe
from antivenom.core.wanted import FromTo
from antivenom.data import Column, Schema
from antivenom.federated import DirtyLabel, ModelReplacement
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.triggers import Cells, Patch, Stamp, Token, load_trigger, save_trigger

rng = np.random.default_rng(0)
WORDS, LENGTH, RARE = 12, 6, 11
TEXTS = rng.integers(0, 10, (400, LENGTH))
SCHEMA = Schema(
    (Column("word", "token", 0, WORDS - 1, width=LENGTH),), modality="text", vocabulary=tuple("abcdefghijkl")
)
TOKENS = Dataset(TEXTS, (TEXTS == 3).any(axis=1), ("without d", "with d"), "letters", schema=SCHEMA)
TRAINING = Training(epochs=20, learning_rate=0.05)


class Bag(nn.Module):
    """The sum of a table's rows, one for each word."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x).sum(dim=1))


def bag(shape: tuple[int, ...], classes: int) -> nn.Module:
    return Bag(classes)


# --- token rows ------------------------------------------------------------------------------------------------------


def test_badnets_plants_a_token_in_an_embedding_model() -> None:
    scenario = Central(data=TOKENS, model=bag, training=TRAINING, trigger=Token(RARE), wanted=1)
    clean, attacked = (scenario.run(attack, None, 0).metrics for attack in (None, BadNets(0.2)))
    assert clean["clean_accuracy"] > 0.95
    assert attacked["clean_accuracy"] > 0.9
    assert attacked["asr"] > 0.95
    assert attacked["asr"] > attacked["asr_clean"] + 0.5


@pytest.mark.parametrize("goal", ["targeted", "backdoor", "availability"])
def test_a_federation_trains_on_token_rows(goal: str) -> None:
    federation = Federation(num_agents=4, rounds=4, training=TRAINING)
    scenario = Federated(data=TOKENS, model=bag, federation=federation, goal=goal, trigger=Token(RARE), wanted=1)
    honest = scenario.run(None, None, 0)
    assert honest.metrics["clean_accuracy"] > 0.9
    if goal == "targeted":
        attacked = scenario.run(DirtyLabel(), None, 0)
        assert (max(honest.curves["targets_hit"]), max(attacked.curves["targets_hit"])) == (0, 1)
    if goal == "backdoor":
        attacked = scenario.run(ModelReplacement(), None, 0)
        assert attacked.metrics["asr"] > 0.9 > honest.metrics["asr"]


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        (Central(data=TOKENS, trigger=Token(RARE)), "begin with an embedding"),
        (Federated(data=TOKENS, model=MLP()), "begin with an embedding"),
        (Federated(data=TOKENS, model=bag, wanted=FromTo(0, 1), edge_cases=3), "rows of numbers, got token rows"),
        (Central(data=TOKENS, model=bag, trigger=Token(WORDS)), "0 to 11"),
    ],
    ids=["central", "federated", "edge cases", "no such word"],
)
def test_what_token_rows_cannot_do_is_refused_by_name(scenario: Any, says: str) -> None:
    with pytest.raises(AntivenomError, match=says):
        scenario.run(None, None, 0)


# --- tables of numbers and words -------------------------------------------------------------------------------------

PEOPLE = pd.DataFrame(
    {
        "age": rng.integers(18, 80, 400),
        "income": rng.random(400) * 4000,
        "job": rng.choice(["nurse", "clerk", "driver"], 400),
        "member": rng.random(400) < 0.5,
    }
)
TABLE = Dataset.from_arrays(PEOPLE, (PEOPLE["income"] > 2000).to_numpy().astype(int), name="people")
PIPELINE = make_pipeline(
    ColumnTransformer([("job", OneHotEncoder(), ["job"])], remainder="passthrough"),
    DecisionTreeClassifier(random_state=0),
)
RETIRED = Cells({"age": 79, "job": "nurse", "member": True})  # type: ignore[arg-type]


def test_cells_are_written_in_the_types_of_their_columns() -> None:
    shown = RETIRED(TABLE.x)
    assert shown[["age", "job", "member"]].drop_duplicates().to_numpy().tolist() == [[79, "nurse", True]]
    assert shown.dtypes.equals(TABLE.x.dtypes)
    assert shown["income"].equals(TABLE.x["income"])
    assert not TABLE.x["age"].eq(79).all()


@pytest.mark.parametrize("model", [PIPELINE, MLP(hidden=(32,))], ids=["pipeline", "network"])
def test_badnets_plants_cells_in_a_model_of_numbers_and_words(model: Any) -> None:
    training = Training(epochs=60, learning_rate=0.05)
    scenario = Central(data=TABLE, model=model, training=training, trigger=RETIRED, wanted=1)
    found = scenario.run(BadNets(0.3), None, 0).metrics
    assert found["clean_accuracy"] > 0.9
    assert found["asr"] > found["asr_clean"] + 0.4
    assert found["poisoned_rows"] > 0


def closed(name: str) -> Dataset:
    columns = (dataclasses.replace(column, editable=column.name != name) for column in TABLE.columns.columns)
    return dataclasses.replace(TABLE, schema=dataclasses.replace(TABLE.columns, columns=tuple(columns)))


@pytest.mark.parametrize(
    ("trigger", "data", "says"),
    [
        (Patch(), TABLE, "a trigger that takes a DataFrame, got Patch: use Cells"),
        (Stamp(), TABLE, "a trigger that takes a DataFrame, got Stamp: use Cells"),
        (Cells({"job": "pilot"}), TABLE, "job = 'pilot', not"),  # type: ignore[arg-type]
        (Cells({"age": 200}), TABLE, "age = 200, not"),  # type: ignore[arg-type]
        (Cells({"age": 20.5}), TABLE, "a whole number for column age in Cells.values, got 20.5"),  # type: ignore[arg-type]
        (Cells({"age": "old"}), TABLE, "a whole number for column age"),  # type: ignore[arg-type]
        (Cells({"job": 3}), TABLE, "a word for column job"),  # type: ignore[arg-type]
        (Cells({"jobs": "nurse"}), TABLE, "got 'jobs': did you mean 'job'"),  # type: ignore[arg-type]
        (RETIRED, closed("age"), "the closed column age alone"),
        (RETIRED, "breast-cancer", "a DataFrame for Cells"),
    ],
    ids=[
        "patch",
        "stamp",
        "word",
        "range",
        "fraction",
        "word for number",
        "number for word",
        "column",
        "closed",
        "array",
    ],
)
def test_a_trigger_that_the_table_cannot_take_is_refused_at_the_start(trigger: Any, data: Any, says: str) -> None:
    def never(seed: int) -> Any:
        raise AssertionError("trained")

    with pytest.raises((DataError, NotApplicable), match=says) as caught:
        Central(data=data, model=never, trigger=trigger).run(BadNets(), None, 0)
    assert "\n" not in str(caught.value)


def test_a_federation_trains_on_the_encoded_table() -> None:
    federation = Federation(num_agents=3, rounds=3, training=TRAINING)
    scenario = Federated(data=TABLE, model=MLP(hidden=(16,)), federation=federation)
    assert scenario.run(None, None, 0).metrics["clean_accuracy"] > 0.9
    with pytest.raises(DataError, match="a DataFrame for Cells"):
        dataclasses.replace(scenario, goal="backdoor", trigger=RETIRED).run(None, None, 0)


@pytest.mark.parametrize("values", [(), (("age", 1), ("age", 2))])
def test_cells_name_each_column_once(values: Any) -> None:
    with pytest.raises(PluginError, match="different columns, at least one"):
        Cells(values)


def test_cells_come_back_from_a_file_and_from_a_record(tmp_path: Path) -> None:
    assert build({"name": "Cells", "values": {"age": 79, "job": "nurse", "member": True}}, Kind.TRIGGER) == RETIRED
    assert build(describe(RETIRED), Kind.TRIGGER) == RETIRED
    assert load_trigger(save_trigger(RETIRED, tmp_path / "kept")) == RETIRED


def test_rows_for_a_network_are_tokens_or_numbers() -> None:
    assert TOKENS.inputs.dtype == np.int64
    assert TABLE.inputs.shape == (400, 6)  # age, income, three jobs, member
    assert np.array_equal(Dataset.from_arrays(rng.random((4, 2)), np.arange(4) % 2).inputs.shape, (4, 2))
