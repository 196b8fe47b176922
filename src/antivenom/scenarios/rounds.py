"""The judge of the federated arrow: looks at every round with the truth in hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.core.outcome import Outcome
from antivenom.core.protocols import Trigger
from antivenom.core.verdict import Verdict
from antivenom.federated.aggregators import selected
from antivenom.federated.answers import accuracies, probabilities
from antivenom.federated.detectors import range_statistic, range_statistics
from antivenom.federated.distances import distances
from antivenom.federated.engine import Round
from antivenom.models.network import Network
from antivenom.scenarios.metrics import Judge, Triggered, detection, on_targets, share


class RoundJudge:
    """Looks at every round with the truth in hand: the test rows, the targets, who is malicious.

    A model whose outputs for an input are not finite has no usable answer for it, and neither hits nor keeps a class.

    Args:
        network: the architecture of the global model.
        judge: the test rows and what the attacker wants.
        device: where the model is measured.

    Attributes:
        curves: one value per round of everything that is measured in every round.
        end: (d,) the global parameters after the last round.
    """

    def __init__(self, network: Network, judge: Judge, device: str) -> None:
        self.network, self.judge, self.device = network, judge, device
        self.x, self.y = self._on_device(judge.test.x), self._on_device(judge.test.y)
        self.targets = judge.aim.targets
        self.target_x = None if self.targets is None else self._on_device(self.targets.rows.x)
        self.triggered = judge.triggered() if judge.backdoor else None
        self.triggered_x = None if self.triggered is None else self._on_device(self.triggered.x)
        self.own_trigger: Trigger | None = None  # the attacker's, as last sent
        self.end = network.initial
        self.curves: dict[str, list[float]] = {}
        self.notes: list[str] = []
        self._verdicts: list[Verdict] = []
        self._malicious_then: list[np.ndarray] = []
        self._last_targets: dict[str, float] = {}

    @property
    def memory(self) -> dict[str, Any]:
        """All that it has seen, in tensors and plain values (unless an attacker sent a trigger), from which it can go on."""
        then = zip(self._verdicts, self._malicious_then, strict=True)
        return {
            "end": self.end,
            "trigger": self.own_trigger,
            "curves": {name: [*curve] for name, curve in self.curves.items()},
            "notes": [*self.notes],
            "targets": dict(self._last_targets),
            "verdicts": [tuple(map(torch.tensor, (v.scores, v.flags, bad))) for v, bad in then],
        }

    @memory.setter
    def memory(self, memory: dict[str, Any]) -> None:
        self.end, self.own_trigger = memory["end"], memory["trigger"]
        self.curves, self.notes, self._last_targets = memory["curves"], memory["notes"], memory["targets"]
        self._verdicts = [Verdict(scores.numpy(), flags.numpy()) for scores, flags, _ in memory["verdicts"]]
        self._malicious_then = [bad.numpy() for *_, bad in memory["verdicts"]]

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
            self._malicious_then.append(played.malicious.numpy())
            self._verdicts.append(played.verdict)

    def _global(self, played: Round) -> Iterator[tuple[str, float]]:
        """What the attacker wants of the global model: the targets' answers, or those with the trigger."""
        if self.targets is not None and self.target_x is not None:
            shares = probabilities(self.network, played.end, self.target_x)
            probable = shares.cpu().numpy()
            self._last_targets = on_targets(_answers(shares), probable, self.targets.rows.y, self.targets.labels)
        for name in ("target_confidence", "targets_hit"):
            yield name, self._last_targets.get(name, math.nan)
        if self.triggered is not None and self.triggered_x is not None:
            said = self._said(played.end, self.triggered_x)
            yield "asr", share(said == self.triggered.wanted)
            yield "robust_accuracy", share(said == self.triggered.y)

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

    def outcome(self, twin: Callable[[], Tensor], notes: tuple[str, ...]) -> Outcome:
        """The last round's numbers, means over rounds, and every curve.

        `twin` gives the parameters (d,) of the clean twin; it is asked under a backdoor goal only.
        """
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
        metrics |= self._last_targets
        if self.triggered is not None:
            clean = twin()
            metrics |= self._obeyed(self.triggered, clean)
            if self.own_trigger is not None:
                own = self._obeyed(self.judge.triggered(self.own_trigger), clean)
                metrics |= {f"own_{name}": own[name] for name in ("asr", "asr_clean", "robust_accuracy")}
                notes = (*notes, "the attacker made a trigger of its own; `asr` is that of the scenario's trigger")
        if self._verdicts:
            scores, flags = (np.concatenate([getattr(v, part) for v in self._verdicts]) for part in ("scores", "flags"))
            metrics |= detection(Verdict(scores, flags), np.concatenate(self._malicious_then))
        return Outcome(metrics, self.curves, (*notes, *self.notes))

    def _obeyed(self, triggered: Triggered, clean: Tensor) -> dict[str, float]:
        """What the trigger does to the last global model and to the clean twin's parameters (d,)."""
        x = self._on_device(triggered.x)
        return triggered.metrics(self._said(self.end, x), self._said(clean, x))

    def _said(self, vector: Tensor, x: Tensor) -> np.ndarray:
        return _answers(probabilities(self.network, vector, x))

    def _on_device(self, rows: np.ndarray) -> Tensor:
        return torch.tensor(rows, device=self.device)


def _answers(shares: Tensor) -> np.ndarray:
    """(m,) the most probable classes; -1 where the outputs were not finite, of which `probabilities` makes zeros."""
    usable = shares.sum(dim=1) > 0
    said: np.ndarray = shares.argmax(dim=1).where(usable, -1).cpu().numpy()
    return said


def _mean(values: list[float]) -> float:
    """The mean of the values that are defined; nan if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan
