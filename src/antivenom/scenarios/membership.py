"""The membership scenario: what a trained model reveals about its training rows, and how far poison amplifies that."""

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
from antivenom.data import Dataset, Named, Poison, Split
from antivenom.leakage.cohort import Cohort, draw
from antivenom.leakage.dpsgd import DPSGD
from antivenom.leakage.likelihood_ratio import lira
from antivenom.leakage.metrics import judged
from antivenom.leakage.shadows import Shadows, beginnings, train_together
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios import guarded
from antivenom.scenarios.checks import about, check_model
from antivenom.scenarios.fields import settle
from antivenom.scenarios.grants import attack_kind


@scenario(
    name="membership",
    arrows=(Kind.DATA_ATTACK, Kind.ROBUST_LEARNER),
    levels=(Access.DATA_MANIPULATION, Access.DATA_INJECTION),
    cite="Tramer et al. 2022, CCS, arXiv:2204.00032",
)
class Membership:
    """Membership inference: was this record in the training set? Each model is the victim once, with the others as shadows.

    Each model trains on half of a pool of rows and on the attacker's contribution. With `attribute`, the scenario is
    attribute inference: every model trains on each target with one of the attribute's values, drawn uniformly, and the
    attacker asks which. Pool, halves, targets and initial weights depend only on the seed, so trials with the same seed
    are paired.

    Fields:
        data: source of the rows: a source, the name of a data set, a Dataset, a Split, or (X, y).
        model: an architecture whose layers all have a stacked form: by name, a torch module, a function that makes one,
            or `module:name` of one of these.
        training: how every model is trained, victim and shadows alike.
        access: data-injection or data-manipulation.
        goal: privacy.
        pooling: side of the squares of pixels that are averaged beforehand; 1 leaves images unchanged.
        pool_rows: number of rows in the pool, even; None is all.
        attacker_rows: number of the attacker's own rows in every training set. A data-manipulation attack changes these.
        targets: number of records that are asked about.
        group: number of targets that are poisoned together and share one set of models.
        models: number of models, even and at least 8; they are trained together.
        attribute: columns of a one-hot attribute that the attacker does not know; () asks about membership.
        annealed: let the step size fall to 0. Otherwise the noise of the last steps hides part of the memorisation.
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
            raise ScenarioError("goal: privacy", f"{self.goal}", "use kind: central")
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
        """The threat model: access and goal of the attacker."""
        return ThreatModel(self.access, self.goal)

    @property
    def level(self) -> str:
        """The attacker's access level, which is the step on the report's ladder."""
        return str(self.access)

    def known_to(self, attack: object) -> Known:
        """What the attacker sees while it makes its rows and when it queries the model, for the report."""
        rows = "the pool that training rows are drawn from", "the records asked about"
        shown = ("its own rows",) if self.access is Access.DATA_MANIPULATION else rows
        asks = "how the model is trained", "the finished model's confidences"
        return Known((*shown, *asks), ("who is in the training set",))

    def check_rows(self, split: Split) -> None:
        """Check that the pool, the targets and the model suit the rows."""
        with about("pooling"):
            train = pooled(split.train, self.pooling)
        with about("targets" if self.pool_rows is None else "pool_rows"):
            sizes = (self.models, self.pool_rows, self.targets, self.attacker_rows)
            draw(train, *sizes, self.attribute, Streams(0))
        check_model(self.model, self.training, train)

    def check_plugins(self, attack: object, defence: object) -> None:
        """Check that the attack is of the kind that this scenario takes."""
        attack_kind(attack, self.threat, Kind.DATA_ATTACK)

    def run(self, attack: object, defence: object, seed: int, device: str = "cpu") -> Outcome:
        """Run one trial: poison the training sets, train all models, infer membership, and measure.

        Args:
            attack: a data attack or None.
            defence: DPSGD or None.
            seed: seed of all random streams.
            device: the torch device to train on.

        Raises:
            NotApplicable: a plugin that cannot be used in this scenario.
            ThreatError: the attack did more than the threat model grants.
        """
        streams = Streams(seed)
        attack = attack if attack_kind(attack, self.threat, Kind.DATA_ATTACK) else None
        if defence is not None and not isinstance(defence, DPSGD):
            raise NotApplicable("DPSGD or no defence", type(defence).__name__, "others are not trained many at once")
        split = self.data(streams)
        train, test = (pooled(part, self.pooling) for part in (split.train, split.test))
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
        """The attacker's rows in every training set, after the attack.

        With data-manipulation the attack sees its own rows only; with data-injection, the pool and the records asked about.
        """
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
        """Train all models together, each on its members of the cohort and on the attacker's rows."""
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


def pooled(data: Dataset, side: int) -> Dataset:
    """Images (n, channels, h, w) with squares of side x side pixels replaced by their mean; other data if side is 1.

    Raises:
        DataError: rows that are not images, or sides that `side` does not divide.
    """
    if side == 1:
        return data
    if not data.is_image or data.shape[1] % side or data.shape[2] % side:
        raise DataError(f"images whose sides are multiples of {side}", f"rows of shape {data.shape}", "pooling: 1")
    return replace(data, x=F.avg_pool2d(torch.tensor(data.dense), side).numpy(), schema=None)
