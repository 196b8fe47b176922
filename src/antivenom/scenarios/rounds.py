"""The judge of the federated arrow: looks at every round with the truth in hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from antivenom.core.outcome import Outcome
from antivenom.core.protocols import Targets, Trigger
from antivenom.core.verdict import Verdict, quality
from antivenom.data import Dataset
from antivenom.federated.aggregators import selected
from antivenom.federated.answers import accuracies, probabilities
from antivenom.federated.detectors import range_statistic, range_statistics
from antivenom.federated.distances import distances
from antivenom.federated.engine import Round
from antivenom.models.network import Network
from antivenom.scenarios.guarded import shown


class RoundJudge:
    """Looks at every round with the truth in hand: the test rows, the targets, who is malicious."""

    def __init__(
        self, network: Network, targets: Targets, test: Dataset, device: str, source: int | None = None
    ) -> None:
        self.network, self.targets = network, targets
        self.x, self.y = torch.tensor(test.x, device=device), torch.tensor(test.y, device=device)
        self.shown: Tensor | None = None
        self.own_trigger: Trigger | None = None  # the attacker's, as last sent
        self.end: Tensor | None = None
        if targets.trigger is not None:
            others = test.y != targets.target if source is None else test.y == source
            self.others = test[np.flatnonzero(others)]
            self.shown = torch.tensor(shown(targets.trigger, self.others.dense), device=device)
        self.curves: dict[str, list[float]] = {}
        self.notes: list[str] = []
        self._flags: list[np.ndarray] = []
        self._owned: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []

    def look_at(self, played: Round) -> None:
        """Append one value to every curve."""
        self.notes += played.notes
        self.end, self.own_trigger = played.end, played.trigger or self.own_trigger
        bad = torch.nonzero(played.malicious).flatten().tolist()
        good = torch.nonzero(~played.malicious).flatten().tolist()
        vectors = [played.end]
        if bad and len(good) > 1:
            vectors += [played.start + played.updates[i] for i in bad]
            vectors.append(played.start + (played.weights[:, None] * played.updates)[good].sum(dim=0))
        whole, *parts = accuracies(self.network, vectors, self.x, self.y)
        seen = {"accuracy": whole} | dict(self._global(played)) | dict(self._malicious(played, bad, good, parts))
        for name, value in seen.items():
            self.curves.setdefault(name, []).append(value)
        if played.verdict is not None:
            self._owned.append(played.malicious.numpy())
            self._flags.append(played.verdict.flags)
            self._scores.append(played.verdict.scores)

    def _global(self, played: Round) -> Iterator[tuple[str, float]]:
        wanted = self.targets.wanted
        confidence, hit = math.nan, math.nan
        if len(wanted):
            shares = probabilities(self.network, played.end, self.targets.x)
            confidence = float(shares.gather(1, wanted[:, None]).mean())
            hit = float(((shares.argmax(1) == wanted) & (shares.sum(1) > 0)).float().mean())
        yield "target_confidence", confidence
        yield "targets_hit", hit
        if self.shown is not None:
            yield from self._triggered(played.end, self.shown)

    def _triggered(self, vector: Tensor, shown: Tensor) -> Iterator[tuple[str, float]]:
        """How many rows with a trigger in them become the target class, and how many keep their own."""
        shares = probabilities(self.network, vector, shown)
        said, usable = shares.argmax(1), shares.sum(1) > 0
        true = torch.tensor(self.others.y, device=said.device)
        yield "asr", float(((said == self.targets.target) & usable).float().mean())
        yield "robust_accuracy", float(((said == true) & usable).float().mean())

    def _malicious(
        self, played: Round, bad: list[int], good: list[int], accuracies: list[float]
    ) -> Iterator[tuple[str, float]]:
        """What the paper measures of the malicious agents: accuracy of their model alone, gap, distances, norms.

        `accuracies` are those with each malicious update alone and, last, with the benign ones.
        """
        names = (
            "malicious_accuracy",
            "accuracy_gap",
            "range_statistic",
            "benign_range_statistic",
            "malicious_norm",
            "benign_norm",
            "malicious_distance_min",
            "malicious_distance_max",
            "benign_distance_min",
            "benign_distance_max",
            "malicious_selected",
        )
        if not accuracies:
            yield from ((name, math.nan) for name in names)
            return
        *alone, benign_accuracy = accuracies
        apart = distances(played.updates).numpy()
        between = apart[np.ix_(bad, good)]
        benign = apart[np.ix_(good, good)]
        among = benign[np.triu_indices(len(good), k=1)]
        # Each malicious agent is judged against the benign ones only, each benign one against the other benign ones.
        suspects = [range_statistic(apart[np.ix_([*good, i], [*good, i])], len(good)) for i in bad]
        norms = played.updates.norm(dim=1).cpu()
        values = (
            np.mean(alone),
            benign_accuracy - np.mean(alone),
            max(suspects),
            range_statistics(benign).max(),
            norms[bad].mean(),
            norms[good].mean(),
            between.min(),
            between.max(),
            among.min(),
            among.max(),
            selected(played.updates, played.aggregate)[bad].any(),
        )
        yield from ((name, float(value)) for name, value in zip(names, values, strict=True))

    def outcome(self, notes: tuple[str, ...]) -> Outcome:
        """The last round's numbers, means over rounds, and every curve."""
        last = {name: curve[-1] for name, curve in self.curves.items()}
        metrics = {
            "clean_accuracy": last["accuracy"],
            "chance_accuracy": float(torch.bincount(self.y).max()) / len(self.y),
            "test_rows": float(len(self.y)),
            "target_confidence": last["target_confidence"],
            "targets_hit": last["targets_hit"],
            "rounds": float(len(self.curves["accuracy"])),
            "rounds_hit": _mean(self.curves["targets_hit"]),
            "malicious_accuracy": last["malicious_accuracy"],
            "accuracy_gap": _mean(self.curves["accuracy_gap"]),
            "range_statistic": _mean(self.curves["range_statistic"]),
            "benign_range_statistic": _mean(self.curves["benign_range_statistic"]),
            "malicious_selected": _mean(self.curves["malicious_selected"]),
        }
        if "asr" in last:
            metrics |= {name: last[name] for name in ("asr", "robust_accuracy")}
            metrics["triggered_rows"] = float(len(self.others))
        if self.own_trigger is not None and self.end is not None:
            own = torch.tensor(shown(self.own_trigger, self.others.dense), device=self.x.device)
            metrics |= {f"own_{name}": value for name, value in self._triggered(self.end, own)}
            notes = (*notes, "the attacker made a trigger of its own; `asr` is that of the scenario's trigger")
        if self._flags:
            owned = np.concatenate(self._owned)
            judged = quality(Verdict(np.concatenate(self._scores), np.concatenate(self._flags)), owned)
            metrics |= {"detection_auroc": judged.auroc, "detection_tpr": judged.tpr, "detection_fpr": judged.fpr}
        return Outcome(metrics, self.curves, (*notes, *self.notes))


def _mean(values: list[float]) -> float:
    """The mean of the values that are defined; nan if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan
