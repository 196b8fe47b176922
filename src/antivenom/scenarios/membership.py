"""The leak: what a trained model tells about the rows of others, and how much poison makes it tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from antivenom.core.errors import DataError, NotApplicable, ScenarioError
from antivenom.core.outcome import Outcome
from antivenom.core.protocols import Architecture, AttackContext, Known, Source
from antivenom.core.registry import Kind, scenario
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.data import Dataset, Named, Poison
from antivenom.leakage.cohort import Cohort, draw
from antivenom.leakage.dpsgd import DPSGD
from antivenom.leakage.likelihood_ratio import lira
from antivenom.leakage.metrics import judged
from antivenom.leakage.shadows import Shadows, beginnings, train_together
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios import guarded
from antivenom.scenarios.fields import settle
from antivenom.scenarios.grants import granted


@scenario(
    name="membership",
    arrows=(Kind.DATA_ATTACK, Kind.ROBUST_LEARNER),
    levels=(Access.DATA_MANIPULATION, Access.DATA_INJECTION),
    cite="Tramer et al. 2022, CCS, arXiv:2204.00032",
)
class Membership:
    """Was this record in the training set? Asked of each of many models in turn, the others being the attacker's shadows.

    Each model trains on half of a pool of rows, and on what the attacker contributes. With `attribute`, every model holds
    each target with one of its possible values, drawn evenly, and the question is which. Pool, halves, targets and initial
    weights depend on the seed alone, so trials with one seed are paired.

    Fields:
        data: where the rows come from: a source, the name of a data set, a Dataset, a Split, or (X, y).
        model: an architecture of layers that can be stacked: by name, a torch module, a function that makes one, or
            `module:name` of one of these.
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

    data: Source = Named("digits")
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
        settle(self)
        if self.goal is not Goal.PRIVACY:
            raise ScenarioError("goal: privacy here", f"{self.goal}", "use kind: central")
        if self.access not in (Access.DATA_INJECTION, Access.DATA_MANIPULATION):
            raise ScenarioError("access: data-injection or data-manipulation", f"{self.access}", "change `access`")
        if min(self.pooling, self.group, self.targets) < 1 or self.models < 8 or self.models % 2:
            raise ScenarioError(
                "pooling, group and targets from 1, an even number of models from 8",
                f"{self.pooling}, {self.group}, {self.targets} and {self.models}",
            )
        if len({*self.attribute}) != len(self.attribute) or len(self.attribute) == 1:
            raise ScenarioError("attribute: () or two or more different columns", f"{self.attribute}")

    @property
    def threat(self) -> ThreatModel:
        """Who the attacker is."""
        return ThreatModel(self.access, self.goal)

    @property
    def level(self) -> str:
        """The step of the report's ladder: the access level."""
        return str(self.access)

    def known_to(self, attack: object) -> Known:
        """What the attack is shown while it makes its rows, and afterwards when it asks."""
        rows = "the pool that training rows are drawn from", "the records asked about"
        shown = ("its own rows",) if self.access is Access.DATA_MANIPULATION else rows
        asks = "how the model is trained", "the finished model's confidences"
        return Known((*shown, *asks), ("who is in the training set",))

    def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
        """Contribute poison, train victims and shadows, ask, judge. `attack` is a data attack, `defence` DPSGD, or None."""
        streams = Streams(seed)
        attack = attack if granted(attack, self.threat, Kind.DATA_ATTACK) else None
        if defence is not None and not isinstance(defence, DPSGD):
            raise NotApplicable("DPSGD or no defence", type(defence).__name__, "others are not trained many at once")
        split = self.data(streams)
        train, test = (shrunk(part, self.pooling) for part in (split.train, split.test))
        sizes = (self.models, self.pool_rows, self.targets, self.attacker_rows)
        cohort = draw(train, *sizes, self.attribute, streams)
        each = self.targets if attack is None or self.access is Access.DATA_MANIPULATION else self.group
        answers, accuracies, poisoned = [], [], []
        for number, group in enumerate(np.split(cohort.asked, range(each, self.targets, each))):
            at = streams.child("group", number)
            poison = self._poisoned(attack, cohort, group, at)
            shadows = self._trained(cohort, poison.data, defence, at, device)
            answers.append(shadows.confidences(cohort.table[group.ravel()]).reshape(-1, *group.shape))
            own = shadows.right(cohort.table)[cohort.members]
            accuracies.append((shadows.right(test).mean(), own.mean()))
            poisoned.append(int(poison.mask.sum()))
        inside, phi = cohort.inside, np.concatenate(answers, axis=1)
        scores = lira(phi.reshape(self.models, -1), inside.reshape(self.models, -1)).reshape(inside.shape)
        clean_accuracy, train_accuracy = np.mean(accuracies, axis=0)
        found = judged(scores, inside, streams.numpy("resamples")) | {
            "clean_accuracy": float(clean_accuracy),
            "train_accuracy": float(train_accuracy),
            "chance_accuracy": float(np.bincount(test.y).max() / len(test)),
            "test_rows": float(len(test)),
            "targets": float(self.targets),
            "poisoned_rows": float(np.mean(poisoned)),
            "poisoned_rate": float(np.mean(poisoned) / cohort.trained_on),
            "removed_rows": 0.0,
        }
        notes = []
        if attack is not None and not any(poisoned):
            notes.append("the attack touched no row: give it replicas, or attacker_rows to change")
        if defence is not None:
            found["epsilon"] = defence.epsilon(cohort.trained_on + round(np.mean(poisoned)))
            notes.append(f"epsilon is for one row, at delta {defence.delta:g}, and counts one training")
        return Outcome(found, notes=tuple(notes))

    def _poisoned(self, attack: object, cohort: Cohort, group: np.ndarray, streams: Streams) -> Poison:
        """What the attacker contributes to every training set. It sees no more than that and the records asked about."""
        own = cohort.own
        if attack is None:
            return Poison.none(own)
        manipulates = self.access is Access.DATA_MANIPULATION
        clean, asked = (own, None) if manipulates else (cohort.table, cohort.table[group.ravel()])
        view = AttackContext(streams.sealed("attack"), self.threat, rows=asked)
        poison = guarded.data_attack(attack, clean, view)
        if manipulates:
            return poison
        added = poison.data[len(clean) :]
        both = own.extend(added.x, added.y)
        return Poison(both, np.arange(len(both)) >= len(own))

    def _trained(
        self, cohort: Cohort, contributed: Dataset, private: DPSGD | None, streams: Streams, device: str
    ) -> Shadows:
        """All models, each on its members of the cohort and on what the attacker contributed."""
        data = cohort.table.extend(contributed.x, contributed.y)
        everywhere = np.ones((self.models, len(contributed)), dtype=bool)
        inside = torch.tensor(np.hstack([cohort.members, everywhere]), device=device)
        rows = inside.nonzero()[:, 1].view(self.models, -1)
        x, y = (torch.tensor(part, device=device) for part in (data.dense, data.y))
        network, start = beginnings(self.model, data.shape, data.num_classes, self.models, streams)
        network, start = network.to(device), start.to(device)
        generator = streams.torch("training", device=device)
        if private is not None:
            return Shadows(network, private.train_together(network, start, x, y, rows, generator))
        return Shadows(network, train_together(network, start, x, y, rows, self.training, generator, self.annealed))


def shrunk(data: Dataset, side: int) -> Dataset:
    """The images with every square of side x side pixels averaged."""
    if side == 1:
        return data
    if not data.is_image or data.shape[1] % side or data.shape[2] % side:
        raise DataError(f"images whose sides are multiples of {side}", f"rows of shape {data.shape}", "pooling: 1")
    return replace(data, x=F.avg_pool2d(torch.tensor(data.dense), side).numpy(), schema=None)
