"""A gate that inserts a word whose effect on clean texts is known, and on which triggered texts do not depend."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, InputFilter, Model
from antivenom.core.registry import gate
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.data.text import PADDING, UNKNOWN
from antivenom.defences.gates.onion import require_tokens
from antivenom.defences.inputs import check_share
from antivenom.defences.networks import network_of
from antivenom.models.network import Network
from antivenom.models.wrappers import TorchModel


@gate(goal=Goal.BACKDOOR, cite="Yang et al. 2021, EMNLP, arXiv:2110.07831")
class RAP:
    """Refuses a text whose class loses less than usual when a word that argues against the class is inserted.

    For each class, the embedding of a rare word is changed until its insertion at the start of clean texts of the class
    lowers the log-odds of the class by a margin. A trigger overrules this word, so that the log-odds of a triggered text
    fall less. The paper compares probabilities; their falls depend on how certain the model is of a text, which varies much
    in models that are not fine-tuned from a large one. Only a copy of the model is changed. It needs token rows, a torch
    network that begins with an embedding, and clean texts of each class.

    Weakness: a trigger that does not overrule other words is missed. In a small transformer trained from scratch, RAP finds
    half of the texts with three trigger tokens, and hardly any text with one.

    Fields:
        margin: the smallest and the largest fall of the log-odds that the embedding is trained for, rising from 0.
        false_rejection: share of the clean rows of a class that the threshold refuses at most, 0 to 1.
        steps: gradient steps for each class, from 1.
        learning_rate: step size of Adam.

    Reference: Yang, Lin, Li, Zhou and Sun 2021, "RAP: Robustness-Aware Perturbations for Defending against Backdoor Attacks
    on NLP Models", EMNLP, arXiv:2110.07831.
    """

    margin: tuple[float, float] = (4.0, 4.5)
    false_rejection: float = 0.05
    steps: int = 100
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        low, high = self.margin
        check_share(self.false_rejection, "RAP.false_rejection")
        if not 0 < low < high < math.inf:
            raise PluginError("RAP.margin rising from above 0", f"{self.margin}")
        if self.steps < 1 or not self.learning_rate > 0:
            raise PluginError("RAP.steps >= 1 and learning_rate above 0", f"{self.steps} and {self.learning_rate}")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> InputFilter:
        require_tokens(clean, self)
        network = network_of(model, self)
        name = embedding_of(network)
        rng = context.streams.numpy("halves")
        word = rare_word(clean, rng)
        order = rng.permutation(len(clean))
        tuned, held = clean.x[order[: len(order) // 2]], clean.x[order[len(order) // 2 :]]
        answers, held_answers = network.predict(tuned), network.predict(held)
        changed: dict[int, TorchModel] = {}
        limits: dict[int, float] = {}
        for c in range(network.num_classes):
            mine, calibrated = tuned[answers == c], held[held_answers == c]
            if len(mine) and len(calibrated):
                changed[c] = self._tuned(network, name, word, mine, c)
                limits[c] = float(np.quantile(falls(network, changed[c], calibrated, word, c), self.false_rejection))

        def judged(x: np.ndarray) -> Verdict:
            said = network.predict(x)
            scores, flags = np.zeros(len(x)), np.zeros(len(x), dtype=bool)
            for c, other in changed.items():
                own = said == c
                fall = falls(network, other, x[own], word, c)
                scores[own], flags[own] = limits[c] - fall, fall < limits[c]
            return Verdict(scores, flags)

        return judged

    def _tuned(self, model: TorchModel, name: str, word: int, texts: np.ndarray, c: int) -> TorchModel:
        """The model with another embedding of the word, which lowers the log-odds of class c by the margin."""
        network, low, high = model.network, *self.margin
        with torch.no_grad():
            before = log_odds(model.logits(texts), c)
        inserted = network.rows(with_word(texts, word))
        place = _slice(network, name, word)
        own = model.vector[place].clone().requires_grad_()
        optimizer = torch.optim.Adam([own], lr=self.learning_rate)
        for step in range(self.steps):
            batch = torch.arange(step * 64, step * 64 + min(64, len(texts)), device=own.device) % len(texts)
            logits = network.logits(_with(model.vector, place, own), inserted[batch], model.buffers)
            fall = before[batch] - log_odds(logits, c)
            loss = (low - fall).clamp(min=0).mean() + (fall - high).clamp(min=0).mean()
            (own.grad,) = torch.autograd.grad(loss, own)
            optimizer.step()
        return model.with_vector(_with(model.vector, place, own.detach()))


def embedding_of(model: TorchModel) -> str:
    """Name of the first layer of embeddings whose weights are trained.

    Raises:
        NotApplicable: there is no such layer.
    """
    for name, module in model.network.module.named_modules():
        if isinstance(module, nn.Embedding) and f"{name}.weight" in model.network.shapes:
            return str(name)
    raise NotApplicable(
        "a network with trained embeddings of tokens for RAP", "one without", "use TinyTransformer, or ONION"
    )


def rare_word(clean: Dataset, rng: np.random.Generator) -> int:
    """One of the words that occur least often in the clean texts, drawn at random, so that no attacker knows it."""
    words = len(clean.columns.vocabulary)
    times = np.bincount(clean.x.ravel(), minlength=words).astype(float)
    times[[PADDING, UNKNOWN][:words]] = np.inf
    return int(rng.choice(np.flatnonzero(times == times.min())))


def with_word(x: np.ndarray, word: int) -> np.ndarray:
    """The texts with the word in front; a text that fills its row loses its last word."""
    return np.concatenate([np.full((len(x), 1), word, dtype=x.dtype), x[:, :-1]], axis=1)


def falls(model: TorchModel, changed: TorchModel, x: np.ndarray, word: int, c: int) -> np.ndarray:
    """(m,) by how much the log-odds of class c fall when the word with its changed embedding is inserted."""
    before, after = log_odds(model.logits(x), c), log_odds(changed.logits(with_word(x, word)), c)
    return np.asarray((before - after).cpu().numpy(), dtype=np.float64)


def log_odds(logits: Tensor, c: int) -> Tensor:
    """(m,) log-odds of class c, log p / (1 - p), of logits (m, classes)."""
    others = torch.cat([logits[:, :c], logits[:, c + 1 :]], dim=1)
    return logits[:, c] - others.logsumexp(1)


def _slice(network: Network, name: str, word: int) -> slice:
    """Where the embedding of the word lies in the flat vector."""
    start = 0
    for key, shape in network.shapes.items():
        if key == f"{name}.weight":
            return slice(start + word * shape[1], start + (word + 1) * shape[1])
        start += shape.numel()
    raise KeyError(name)


def _with(vector: Tensor, place: slice, values: Tensor) -> Tensor:
    return torch.cat([vector[: place.start], values, vector[place.stop :]])
