"""ONION and RAP: the language model against hand-made counts and a plain loop, and networks whose trigger is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from antivenom.core.errors import DataError, ModelError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.data.schema import Schema
from antivenom.defences import ONION, RAP
from antivenom.defences.gates.onion import perplexity_drops, without
from antivenom.defences.gates.rap import log_odds, rare_word, with_word
from antivenom.defences.ngrams import NGrams
from antivenom.models.architectures import MLP
from antivenom.models.estimators import Sklearn
from antivenom.models.network import Network
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios.pipeline import Pipeline
from antivenom.triggers import Token

VOCABULARY, LENGTH, TRIGGER = 100, 12, 59  # words from 58 on do not occur in clean texts


def chains(n: int, seed: int = 0) -> Dataset:
    """Texts in which word w + 1 mostly follows word w. Words below 30 occur in class 0, the others up to 57 in class 1."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    start = rng.integers(2, 20, n) + 28 * y
    x = start[:, None] + np.arange(LENGTH - 1)
    x = np.where(
        rng.random(x.shape) < 0.03, rng.integers(2, 58, x.shape), np.where(y[:, None] == 1, np.minimum(x, 57), x)
    )
    x = np.concatenate([x, np.zeros((n, 1), dtype=np.int64)], axis=1)
    return Dataset(x, y, ("a", "b"), schema=Schema.tokens([f"w{i}" for i in range(VOCABULARY)], LENGTH))


class Votes(nn.Module):
    """The mean of the words' votes for class 1, by a curve that flattens; the trigger has so many votes that others do not count."""

    def __init__(self, trigger: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 1)
        votes = torch.where(torch.arange(VOCABULARY) < 30, -1.0, 1.0)
        votes[0], votes[TRIGGER] = 0, trigger
        self.embedding.weight.data = votes[:, None]
        self.head = nn.Linear(1, 2)
        self.head.weight.data, self.head.bias.data = torch.tensor([[-1.0], [1.0]]), torch.zeros(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.embedding(x).sum(1) / (x != 0).sum(1, keepdim=True).clamp(min=1)).tanh())


def votes(trigger: float = 100.0) -> TorchModel:
    network = Network(Votes(trigger), (LENGTH,), 2)
    return TorchModel(network, network.initial, network.buffers)


@pytest.fixture
def context() -> DefenceContext:
    return Pipeline(MLP(), Training(epochs=1), "cpu", Streams(0)).context(None)


# --- the language model --------------------------------------------------------------------------------------------------


def test_probabilities_of_a_bigram_model_by_hand() -> None:
    """Two texts, "2 3" and "2 2", in a vocabulary of 4: three times word 2, once word 3, two kinds."""
    model = NGrams(np.array([[2, 3, 0], [2, 2, 0]]), 4, order=2)

    def unigram(times: int) -> float:
        return (times + 2 * 0.25) / (4 + 2)

    def probability(before: int, token: int) -> float:
        return math.exp(model.log_probability([np.array([before])], np.array([token]))[0])

    # After 2: once 3 and once 2, two kinds. After the beginning (4): twice 2, one kind. Nothing was seen after 3.
    assert probability(2, 3) == pytest.approx((1 + 2 * unigram(1)) / 4)
    assert probability(2, 1) == pytest.approx((0 + 2 * unigram(0)) / 4)
    assert probability(4, 2) == pytest.approx((2 + 1 * unigram(3)) / 3)
    assert probability(3, 2) == pytest.approx(unigram(3))
    assert sum(probability(2, token) for token in range(4)) == pytest.approx(1)
    expected = math.log(probability(4, 2)) + math.log(probability(2, 3))
    assert model.log_likelihoods(np.array([[2, 3, 0]])) == pytest.approx([expected])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_texts_without_a_word_equal_shorter_texts(order: int) -> None:
    rng = np.random.default_rng(order)
    rows = rng.integers(1, 6, (30, 7))
    rows[::3, 5:] = 0
    rows[1] = 0
    model = NGrams(rows[:15], 6, order)
    found = model.without_each(rows)
    for row, given in zip(rows, found, strict=True):
        for i in range(7):
            kept = [*np.delete(row, i), 0] if row[i] else row
            assert given[i] == pytest.approx(model.log_likelihoods(np.array([kept]))[0], abs=1e-9)


def test_a_drop_of_perplexity_by_hand() -> None:
    rows = np.array([[2, 3, 4, 0]])
    model = NGrams(np.array([[2, 4, 3, 3]]), 5, order=2)
    whole = -model.log_likelihoods(rows)[0] / 3
    shorter = -model.log_likelihoods(np.array([[2, 4, 0, 0]]))[0] / 2
    drops = perplexity_drops(model, rows)
    assert drops[0, 1] == pytest.approx(3 * (whole - shorter))
    assert drops[0, 1] > 0
    assert drops[0, 3] == 0


def test_removed_words_leave_no_gap() -> None:
    rows = np.array([[5, 6, 7, 0], [5, 6, 7, 8]])
    removed = np.array([[True, False, False, False], [False, True, False, True]])
    assert without(rows, removed).tolist() == [[6, 7, 0, 0], [5, 7, 0, 0]]


# --- the gates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gate",
    [ONION(), ONION(order=1), RAP(margin=(0.2, 0.3), learning_rate=0.1)],
    ids=["ONION", "ONION of single words", "RAP"],
)
def test_texts_with_a_trigger_are_refused_and_clean_ones_answered(gate: Any, context: DefenceContext) -> None:
    judged = gate(votes(), chains(300), context)
    unseen = chains(200, seed=1)
    shown = Token(TRIGGER, position=5)(unseen.x[unseen.y == 0])
    assert (votes().predict(shown) == 1).all()
    assert judged(shown).flags.mean() >= 0.95
    assert judged(unseen.x).flags.mean() <= 0.1


def test_a_trigger_without_effect_is_no_reason_for_onion(context: DefenceContext) -> None:
    judged = ONION()(votes(trigger=-1.0), chains(300), context)
    unseen = chains(200, seed=1)
    assert judged(Token(TRIGGER, position=5)(unseen.x[unseen.y == 0])).flags.mean() <= 0.1


def test_scores_of_onion_are_the_lost_probability(context: DefenceContext) -> None:
    judged = ONION()(votes(), chains(300), context)
    shown = Token(TRIGGER, position=5)(chains(20, seed=1).x[:2])
    assert judged(shown).scores[0] == pytest.approx(
        votes().predict_proba(shown)[0, 1] - 1 / (1 + math.exp(2 * math.tanh(1))),
        abs=0.02,  # all words that stay vote for class 0
    )


def test_the_word_of_rap_is_rare_and_inserted_in_front() -> None:
    clean = chains(300)
    words = {rare_word(clean, np.random.default_rng(seed)) for seed in range(9)}
    assert len(words) > 1
    assert min(words) >= 58  # all others occur, except 1, which stands for unknown words
    assert with_word(np.array([[3, 4, 0], [5, 6, 7]]), 9).tolist() == [[9, 3, 4], [9, 5, 6]]


def test_log_odds_by_hand() -> None:
    logits = torch.tensor([[0.2, 0.3, 0.5]]).log() + 7
    assert log_odds(logits, 2).item() == pytest.approx(math.log(0.5 / 0.5), abs=1e-6)
    assert log_odds(logits, 0).item() == pytest.approx(math.log(0.2 / 0.8), abs=1e-6)


def test_rap_leaves_the_model_alone(context: DefenceContext) -> None:
    model = votes()
    before = model.vector.clone()
    RAP(steps=3)(model, chains(60), context)
    assert torch.equal(model.vector, before)


@pytest.mark.parametrize("gate", [ONION(), RAP(steps=2)], ids=["ONION", "RAP"])
def test_no_inputs_get_no_verdicts(gate: Any, context: DefenceContext) -> None:
    assert len(gate(votes(), chains(60), context)(chains(2).x[:0])) == 0


# --- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [ONION(), RAP()], ids=["ONION", "RAP"])
def test_rows_without_an_order_of_words_are_refused(gate: Any, context: DefenceContext) -> None:
    counts = np.stack([np.bincount(row, minlength=VOCABULARY) for row in chains(40).x])
    bag = Dataset(counts, chains(40).y, ("a", "b"), schema=Schema.words([f"w{i}" for i in range(VOCABULARY)]))
    with pytest.raises(NotApplicable, match="which keep the order of words") as caught:
        gate(votes(), bag, context)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(DataError, match="at least 20 clean rows"):
        gate(votes(), chains(19), context)


def test_models_without_trained_embeddings_are_refused_by_rap(context: DefenceContext) -> None:
    fitted = learner(Sklearn("sklearn.naive_bayes.GaussianNB")).fit(
        Dataset(chains(40).x, chains(40).y, ("a", "b")), Streams(0)
    )
    with pytest.raises(NotApplicable, match="a torch model for RAP"):
        RAP()(fitted, chains(40), context)
    module = Votes(5.0)
    module.embedding.weight.requires_grad_(False)
    network = Network(module, (LENGTH,), 2)
    with pytest.raises(NotApplicable, match="trained embeddings of tokens for RAP"):
        RAP()(TorchModel(network, network.initial), chains(40), context)
    training = votes()
    training.network.module.train()
    with pytest.raises(ModelError, match="evaluation mode for RAP"):
        RAP()(training, chains(40), context)


def test_a_class_that_clean_rows_do_not_have_is_not_judged(context: DefenceContext) -> None:
    clean = chains(80)
    only = replace(clean, x=clean.x[clean.y == 1], y=clean.y[clean.y == 1])
    judged = RAP(steps=2)(votes(), only, context)
    assert not judged(clean.x[clean.y == 0]).flags.any()


@pytest.mark.parametrize(
    ("gate", "fields"),
    [
        *((ONION, {name: value}) for name, value in (("removed", 0.0), ("removed", 1.0), ("order", 4), ("order", 0))),
        (ONION, {"false_rejection": 1.5}),
        (RAP, {"false_rejection": -0.1}),
        *((RAP, {name: value}) for name, value in (("margin", (0.3, 0.1)), ("steps", 0), ("learning_rate", 0.0))),
    ],
)
def test_fields_out_of_range(gate: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match=gate.__name__):
        gate(**fields)
