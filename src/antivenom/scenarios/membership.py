"""The leak: what a trained model tells about the rows of others, and how much poison makes it tell."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from antivenom.data import Dataset, Poison, load
from antivenom.errors import DataError, NotApplicable, ScenarioError
from antivenom.leakage.dpsgd import DPSGD
from antivenom.leakage.likelihood_ratio import Curve, curve, interval, lira, logit_scaled
from antivenom.leakage.shadows import beginnings, halves, logits_of, train_together
from antivenom.models.face import Architecture
from antivenom.models.reference import MLP
from antivenom.models.training import Training
from antivenom.protocols import AttackContext
from antivenom.registry import Kind
from antivenom.rng import Streams
from antivenom.scenarios.checks import granted, poison_of
from antivenom.scenarios.outcome import Outcome
from antivenom.threat import Access, Goal, ThreatModel, enforce

RATES = {"tpr_at_1": 0.01, "tpr_at_01": 0.001}
RESAMPLES = 1000


@dataclass(frozen=True)
class Membership:
    """Was this record in the training set? Asked of each of many models in turn, the others being the attacker's shadows.

    Each model trains on half of a pool of rows, and on what the attacker contributes. With `attribute`, every model holds
    each target with one of its possible values, drawn evenly, and the question is which. Pool, halves, targets and initial
    weights depend on the seed alone, so trials with one seed are paired.

    Fields:
        data: name of the data set.
        model: a torch architecture of layers that can be stacked.
        training: how every model is trained; the same for victim and shadows.
        access: data-injection or data-manipulation.
        goal: privacy.
        pooling: side of the squares of pixels that are averaged first; 1 keeps images as they are.
        pool_rows: rows in the pool, even; None is all there are.
        attacker_rows: rows of every training set that are the attacker's own; a data-manipulation attack changes these.
        targets: records asked about.
        group: targets that are poisoned together, and asked of one set of models.
        models: how many are trained at once, even.
        attribute: columns of one one-hot attribute that the attacker does not know; () asks about membership.
        annealed: the step size falls to 0; without it, the noise of the last steps hides what was memorised.
    """

    data: str = "digits"
    model: Architecture = MLP()
    training: Training = Training(epochs=30, batch_size=128, optimizer="sgd", learning_rate=0.3, momentum=0.9)
    access: Access = Access.DATA_INJECTION
    goal: Goal = Goal.PRIVACY
    pooling: int = 1
    pool_rows: int | None = None
    attacker_rows: int = 0
    targets: int = 100
    group: int = 20
    models: int = 64
    attribute: tuple[int, ...] = ()
    annealed: bool = True

    def __post_init__(self) -> None:
        threat = self.threat
        object.__setattr__(self, "access", threat.access)
        object.__setattr__(self, "goal", threat.goal)
        if self.goal is not Goal.PRIVACY:
            raise ScenarioError("goal: privacy here", f"{self.goal}", "use kind: central")
        if self.access not in (Access.DATA_INJECTION, Access.DATA_MANIPULATION):
            raise ScenarioError("access: data-injection or data-manipulation", f"{self.access}", "change `access`")
        if min(self.pooling, self.group, self.targets) < 1 or self.models < 8 or self.models % 2:
            raise ScenarioError(
                "pooling, group and targets from 1, an even number of models from 8",
                f"{self.pooling}, {self.group}, {self.targets} and {self.models}",
                "correct them",
            )
        if len({*self.attribute}) != len(self.attribute) or len(self.attribute) == 1:
            raise ScenarioError("attribute: () or two or more different columns", f"{self.attribute}", "correct it")

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is."""
        return ThreatModel(self.access, self.goal)

    def run(self, attack: Any, defence: Any, seed: int, device: str = "cpu") -> Outcome:
        """Contribute poison, train victims and shadows, ask, judge. `attack` is a data attack or None; `defence` DPSGD
        or None."""
        streams = Streams(seed)
        attack, _ = granted(attack, self.threat, Kind.DATA_ATTACK)
        if defence is not None and not isinstance(defence, DPSGD):
            raise NotApplicable("DPSGD or no defence", type(defence).__name__, "others are not trained many at once")
        split = load(self.data, streams)
        test = shrunk(split.test, self.pooling)
        table, members, asked, own = self._shared(shrunk(split.train, self.pooling), streams)
        each = self.targets if attack is None or self.access is Access.DATA_MANIPULATION else self.group
        answers, poisoned, seen = [], [], []
        for number, group in enumerate(np.split(asked, range(each, len(asked), each))):
            at = streams.child("group", number)
            poison = self._poisoned(attack, table, table[group.ravel()], own, at)
            phi, accuracies = self._trained(poison.data, table, members, group, test, defence, at, device)
            answers.append(phi)
            seen.append(accuracies)
            poisoned.append(int(poison.mask.sum()))
        inside = members[:, asked]
        scores = lira(np.concatenate(answers, axis=1).reshape(self.models, -1), inside.reshape(self.models, -1))
        found = _judged(scores.reshape(inside.shape), inside, streams.numpy("resamples"))
        clean_accuracy, train_accuracy = np.mean(seen, axis=0)
        trained_on = int(members[0].sum()) + len(own)
        found |= {
            "clean_accuracy": float(clean_accuracy),
            "train_accuracy": float(train_accuracy),
            "chance_accuracy": float(np.bincount(test.y).max() / len(test)),
            "test_rows": float(len(test)),
            "targets": float(self.targets),
            "poisoned_rows": float(np.mean(poisoned)),
            "poisoned_rate": float(np.mean(poisoned) / trained_on),
            "removed_rows": 0.0,
        }
        notes = []
        if attack is not None and not any(poisoned):
            notes.append("the attack touched no row: give it replicas, or attacker_rows to change")
        if defence is not None:
            found["epsilon"] = defence.epsilon(trained_on + round(np.mean(poisoned)))
            notes.append(f"epsilon is for one row, at delta {defence.delta:g}, and counts one training")
        return Outcome(found, notes=tuple(notes))

    def _shared(self, train: Dataset, streams: Streams) -> tuple[Dataset, np.ndarray, np.ndarray, Dataset]:
        """The table of all rows that may be trained on, (models, rows) who trains on which, (targets, values) the rows
        asked about, and the attacker's own."""
        values = len(self.attribute)
        apart = self.attacker_rows + (self.targets if values else 0)
        pool_rows = (len(train) - apart) // 2 * 2 if self.pool_rows is None else self.pool_rows
        if self.attacker_rows < 0 or not self.targets <= pool_rows <= len(train) - apart:
            raise DataError(
                f"attacker_rows >= 0 and pool_rows from {self.targets} to {len(train) - apart}",
                f"{self.attacker_rows} and {pool_rows}",
                f"{train.name} has {len(train)} rows",
            )
        order = streams.numpy("pool").permutation(len(train))
        pool, rest = train[order[:pool_rows]], order[pool_rows:]
        own = train[rest[: self.attacker_rows]]
        members = halves(self.models, pool_rows, streams.numpy("halves"))
        if not values:
            asked = streams.numpy("targets").permutation(pool_rows)[: self.targets]
            return pool, members, asked[:, None], own
        people = train[rest[self.attacker_rows : apart]]
        table = pool.extend(*every_value(people, self.attribute))
        held = streams.numpy("values").permuted(np.tile(np.arange(self.models) % values, (self.targets, 1)), axis=1).T
        one_each = (held[:, :, None] == np.arange(values)).reshape(self.models, -1)
        asked = np.arange(pool_rows, len(table)).reshape(self.targets, values)
        return table, np.hstack([members, one_each]), asked, own

    def _poisoned(self, attack: Any, table: Dataset, asked: Dataset, own: Dataset, streams: Streams) -> Poison:
        """What the attacker contributes to every training set. It sees no more than that and the records asked about."""
        if attack is None:
            return Poison.none(own)
        manipulates = self.access is Access.DATA_MANIPULATION
        clean = own if manipulates else table
        context = AttackContext(streams.child("attack"), self.threat, rows=None if manipulates else asked)
        poison = poison_of(attack(clean, context), attack, None)
        enforce(self.threat, clean, poison)
        if manipulates:
            return poison
        added = poison.data[len(clean) :]
        both = own.extend(added.x, added.y)
        return Poison(both, np.arange(len(both)) >= len(own))

    def _trained(
        self,
        contributed: Dataset,
        table: Dataset,
        members: np.ndarray,
        group: np.ndarray,
        test: Dataset,
        private: DPSGD | None,
        streams: Streams,
        device: str,
    ) -> tuple[np.ndarray, tuple[float, float]]:
        """(models, targets, values) confidences of the group, and the mean accuracy on the test rows and on the rows
        trained on."""
        data = table.extend(contributed.x, contributed.y)
        x, y = (torch.tensor(part, device=device) for part in (data.dense, data.y))
        everywhere = np.ones((self.models, len(contributed)), dtype=bool)
        inside = torch.tensor(np.hstack([members, everywhere]), device=device)
        rows = inside.nonzero()[:, 1].view(self.models, -1)
        network, start = beginnings(self.model, data.shape, data.num_classes, self.models, streams)
        network, start = network.to(device), start.to(device)
        generator = streams.torch("training", device=device)
        if private is None:
            vectors = train_together(network, start, x, y, rows, self.training, generator, self.annealed)
        else:
            vectors = private.train_together(network, start, x, y, rows, generator)
        places = torch.tensor(group.ravel(), device=device)
        asked = logit_scaled(logits_of(network, vectors, x[places]), y[places].expand(self.models, -1))
        right = logits_of(network, vectors, x).argmax(-1) == y
        unseen = logits_of(network, vectors, torch.tensor(test.dense, device=device)).argmax(-1).cpu().numpy() == test.y
        own = right[:, : len(table)][inside[:, : len(table)]]
        return asked.cpu().numpy().reshape(-1, *group.shape), (float(unseen.mean()), float(own.float().mean()))


def _judged(scores: np.ndarray, inside: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """What the scores (models, targets, values) find, with bounds from resampled targets."""
    found: dict[str, float] = {}
    if scores.shape[2] > 1:  # how far each value is ahead of the best other one
        found["attribute_accuracy"] = float(np.take_along_axis(inside, scores.argmax(2)[..., None], axis=2).mean())
        found["attribute_chance"] = 1 / scores.shape[2]
        top = np.sort(scores, axis=2)
        scores = scores - np.where(scores == top[..., -1:], top[..., -2:-1], top[..., -1:])
    flat, truth = (part.transpose(0, 2, 1).reshape(-1, scores.shape[1]) for part in (scores, inside))

    def measure(of: Curve) -> list[float]:
        return [of.auc, *map(of.tpr_at, RATES.values())]

    bounds = interval(flat, truth, measure, rng, RESAMPLES)
    for name, value, low, high in zip(("auc", *RATES), measure(curve(flat, truth)), *bounds, strict=True):
        known = name == "auc" or (~truth).sum() * RATES[name] >= 1  # else no false alarm is allowed
        numbers = (value, float(low), float(high)) if known else (math.nan,) * 3
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))
    return found


def shrunk(data: Dataset, side: int) -> Dataset:
    """The images with every square of side x side pixels averaged."""
    if side == 1:
        return data
    if not data.is_image or data.shape[1] % side or data.shape[2] % side:
        raise DataError(f"images whose sides are multiples of {side}", f"rows of shape {data.shape}", "pooling: 1")
    return replace(data, x=F.avg_pool2d(torch.tensor(data.dense), side).numpy())


def every_value(data: Dataset, columns: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(t v, features) each row with each value of a one-hot attribute, in turn, and their labels.

    Raises:
        DataError: columns that are not there, or not one-hot.
    """
    held = (
        data.dense[:, list(columns)] if data.x.ndim == 2 and 0 <= min(columns) <= max(columns) < data.shape[0] else None
    )
    if held is None or not (np.isin(held, (0, 1)).all() and (held.sum(axis=1) == 1).all()):
        raise DataError("columns of one one-hot attribute", f"{columns}", f"look at the columns of {data.name}")
    x = np.repeat(data.dense, len(columns), axis=0)
    x[:, list(columns)] = np.tile(np.eye(len(columns), dtype=x.dtype), (len(data), 1))
    return x, np.repeat(data.y, len(columns))
