"""Which attacks reach a user's own pipeline, on Adult and SpamAssassin as they are published."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from antivenom.attacks import DictionaryAttack, FlippedPoints, FocusedAttack, LabelFlipping, Pseudospam, StingRay
from antivenom.core.streams import Streams
from antivenom.data import DATASETS, Dataset, Schema, load
from antivenom.data.adult import rows
from antivenom.data.files import PublishedFile, candidates, locate, parse
from antivenom.data.schema import Column, ColumnKind
from antivenom.data.text import MAIL, SPAMASSASSIN, texts
from antivenom.defences import KNNSanitizer
from antivenom.pipelines.choosing import Group
from antivenom.pipelines.request import prepare, request_of
from antivenom.search import families_for

OPEN = ("hours", "workclass")  # the columns that the attacker can write
TREE = make_pipeline(
    make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")), remainder="passthrough"
    ),
    DecisionTreeClassifier(max_depth=8, random_state=0),
)


def here(source: PublishedFile) -> PublishedFile:
    """The file; the test is skipped where it is not at hand."""
    if not any(place.is_file() for place in candidates(source)):
        pytest.skip(f"no {source.filename} in $ANTIVENOM_DATA")
    return source


@functools.cache
def incomes() -> Dataset:
    """1,500 rows of Adult as a DataFrame of numbers and words."""
    raw = parse(locate(here(DATASETS["adult"].files[0])), rows)[:1500]
    frame = pd.DataFrame(
        {
            "age": raw[:, 0].astype(int),
            "workclass": raw[:, 1],
            "education": raw[:, 3],
            "married": raw[:, 5],
            "gain": raw[:, 10].astype(int),
            "hours": raw[:, 12].astype(int),
        }
    )
    schema = Schema.of(frame)
    columns = tuple(replace(column, editable=column.name in OPEN) for column in schema.columns)
    return Dataset.from_arrays(frame, raw[:, 14], name="adult", schema=replace(schema, columns=columns))


@functools.cache
def mails() -> Dataset:
    """600 mails of SpamAssassin as texts: their first 1,500 characters."""
    found = texts(here(SPAMASSASSIN[0]), MAIL)
    chosen = [found[place] for place in np.random.default_rng(0).permutation(len(found))[:600]]
    schema = Schema((Column("text", ColumnKind.TEXT),), "text", frame=True)
    frame = pd.DataFrame({"text": [text.partition("\n\n")[2][:1500] for _, _, text in chosen]})
    return Dataset(frame, np.array([label for _, label, _ in chosen]), MAIL, "mails", schema=schema)


def letters() -> Any:
    """A usual filter: TF-IDF and logistic regression."""
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


def group_of(data: Dataset, model: Any, access: str, goal: str, budget: float) -> Group:
    """The only group that the command would try at this level with this goal."""
    (found,) = prepare(request_of(data, model, access=(access,), goals=(goal,), budget=budget)).choice.groups
    return found


def test_a_backdoor_in_changed_rows_of_a_table_keeps_to_what_the_attacker_can_write() -> None:
    group = group_of(incomes(), TREE, "data-manipulation", "backdoor", 0.03)
    assert group.name == "changed rows with a trigger"
    assert {name for name, _ in group.scenario.trigger.values} <= set(OPEN)  # type: ignore[union-attr]
    bare, hurt = (group.scenario.run(attack, None, 0).metrics for attack in (None, group.attacks[0]))
    assert hurt["asr"] > bare["asr"] + 0.3
    assert hurt["clean_accuracy"] > bare["clean_accuracy"] - 0.05
    trained = 0.7 * 1500 - group.scenario.clean_rows  # type: ignore[union-attr]
    assert hurt["poisoned_rows"] == int(0.03 * trained)


def test_a_backdoor_in_changed_texts() -> None:
    group = group_of(mails(), letters(), "data-manipulation", "backdoor", 0.05)
    bare, hurt = (group.scenario.run(attack, None, 0).metrics for attack in (None, group.attacks[0]))
    assert hurt["asr"] > bare["asr"] + 0.2


def test_the_search_tries_wrong_and_right_labels_in_changed_rows() -> None:
    group = group_of(incomes(), TREE, "data-manipulation", "backdoor", 0.03)
    names = {type(family.attack.attack).__name__ for family in families_for(group.scenario, None)}
    assert names == {"BadNets", "SIG"}


def spam_numbers() -> Dataset:
    """1,500 mails of Spambase as 57 numbers."""
    here(DATASETS["spambase"].files[0])
    known = load("spambase", Streams(0)).train
    return known[:1500]


@pytest.mark.parametrize(
    ("access", "plain", "aware"),
    [
        ("data-manipulation", LabelFlipping(0.1, choice="furthest"), LabelFlipping(0.1, choice="clustered")),
        ("data-injection", FlippedPoints(0.1), FlippedPoints(0.1, choice="clustered", repeats=3)),
    ],
    ids=["changed", "added"],
)
def test_wrong_labels_close_together_pass_the_filter_that_asks_neighbours(access: str, plain: Any, aware: Any) -> None:
    """Stronger than the same labels elsewhere, against the filter, with the same number of rows."""
    group = group_of(spam_numbers(), LogisticRegression(max_iter=300), access, "availability", 0.1)
    run = group.scenario.run
    kept = {
        attack: [run(attack, KNNSanitizer(), seed).metrics for seed in (0, 1, 2)] for attack in (None, plain, aware)
    }
    clean, weak, strong = (np.mean([each["clean_accuracy"] for each in found]) for found in kept.values())
    assert clean - strong > max(clean - weak, 0) + 0.02
    found = [np.mean([each["detection_tpr"] for each in kept[attack]]) for attack in (plain, aware)]
    assert found[1] < 0.25 < 0.4 < found[0]
    assert len({each["poisoned_rows"] for attack in (plain, aware) for each in kept[attack]}) == 1


def test_an_attacker_who_knows_a_filter_also_tries_labels_close_together() -> None:
    for access, kind in (("data-manipulation", LabelFlipping), ("data-injection", FlippedPoints)):
        group = group_of(incomes(), TREE, access, "availability", 0.05)
        first = [family.own for family in families_for(group.scenario, KNNSanitizer())]
        chosen: Any = [attack for attack in first if isinstance(attack, kind) and attack.choice == "clustered"]
        assert chosen
        assert group.scenario.run(chosen[0], KNNSanitizer(), 0).metrics["poisoned_rows"] == int(0.05 * 950)


def test_changed_mails_of_the_wanted_class_turn_one_mail() -> None:
    """No label changes, and most of the chosen mails are called what the attacker wants."""
    group = group_of(mails(), letters(), "data-manipulation", "targeted", 0.05)
    assert group.name == "changed rows against one input"
    scenario = replace(group.scenario, num_targets=2)
    bare, hurt = (
        np.mean([scenario.run(attack, None, seed).metrics["target_confidence"] for seed in (0, 1, 2)])
        for attack in (None, StingRay(10))
    )
    assert hurt > bare + 0.15


def test_a_dictionary_of_words_is_added_to_texts_and_does_more_than_wrong_labels() -> None:
    model = make_pipeline(CountVectorizer(), MultinomialNB())
    group = group_of(mails(), model, "data-injection", "availability", 0.05)
    assert [type(attack) for attack in group.attacks] == [DictionaryAttack, FlippedPoints]
    bare, words, labels = (
        np.mean([group.scenario.run(attack, None, seed).metrics["clean_accuracy"] for seed in (0, 1)])
        for attack in (None, *group.attacks)
    )
    assert bare - words > max(bare - labels, 0) + 0.05
    searched = {type(family.attack) for family in families_for(group.scenario, None)}
    assert {DictionaryAttack, FocusedAttack, Pseudospam} <= searched
