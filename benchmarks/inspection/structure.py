"""False alarms and hits of `inspect_weights` on networks that are trained here: writes RESULTS-structure.md.

    ANTIVENOM_DATA=... python benchmarks/inspection/structure.py [--first 200] [--seeds 10]     about 6 minutes on one core

The bounds were set on seeds 0 to 5. Each honest network with a dense layer before its head is also edited by DormantUnits, and
once more by an attacker who knows the screen: 16 units that differ by noise of 1 %, with half the gain, whose outgoing weights to
the other classes stay as they were.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from antivenom.attacks import DormantUnits
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset, load
from antivenom.inspection.structure import inspect_weights
from antivenom.models.architectures import MLP, SmallCNN, TinyCNN
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios import guarded
from antivenom.triggers import Patch

OUT = Path(__file__).with_name("RESULTS-structure.md")
TRAININGS = [
    Training(epochs=15, learning_rate=0.01),
    Training(epochs=30, learning_rate=1e-3),
    Training(epochs=10, optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=5e-4),
    Training(epochs=10, optimizer="adamw", learning_rate=3e-3, weight_decay=0.1),
]
NETWORKS = [
    ("digits", MLP((24,))),
    ("digits", MLP((96,))),
    ("digits", MLP((64, 32))),
    ("breast-cancer", MLP((32,))),
    ("mnist", MLP((64,))),
    ("mnist", MLP((128, 64))),
    ("mnist", SmallCNN()),
    ("mnist", TinyCNN()),
    ("fashion-mnist", MLP((128,))),
    ("fashion-mnist", TinyCNN()),
]
TARGET = 3


def rows(name: str) -> Dataset:
    data = load(name, Streams(0)).train
    most = {"digits": 1200, "breast-cancer": 400}.get(name, 3000)
    return data[np.random.default_rng(0).permutation(len(data.y))[:most]]


def flagged(model: TorchModel) -> list[str]:
    return sorted({each.check for each in inspect_weights(model.network.parameters(model.vector)) if each.suspicious})


def success(model: TorchModel, data: Dataset, trigger: Patch) -> float:
    answers = model.predict_proba(trigger(data.inputs)).argmax(axis=1)
    return float((answers[data.y != TARGET] == TARGET).mean())


def edited(model: TorchModel, data: Dataset, attack: DormantUnits, trigger: Patch) -> TorchModel:
    threat = ThreatModel("transfer-learning", "backdoor")
    found, _ = guarded.model_attack(attack, model, data, AttackContext(Streams(3), threat, AllToOne(TARGET), trigger))
    assert isinstance(found, TorchModel)
    return found


def hidden(model: TorchModel, edit: TorchModel) -> TorchModel:
    """The edit with a little noise, and with the outgoing weights of the edited units to the other classes as they were."""
    vector = edit.vector.detach().clone()
    vector += 0.01 * vector.abs() * torch.randn(len(vector), generator=torch.Generator().manual_seed(0))
    head = f"{model.network.head().name}.weight"
    ours, before = edit.network.parameters(vector)[head], model.network.parameters(model.vector)[head]
    kept = [row for row in range(len(ours)) if row != TARGET]
    ours[kept] = before[kept].detach()
    return edit.with_vector(vector)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = {name: rows(name) for name, _ in NETWORKS}
    count: Counter[str] = Counter()
    checks: dict[str, Counter[str]] = {}
    asr: dict[str, list[float]] = {}

    def judge(kind: str, model: TorchModel, rate: float = float("nan")) -> None:
        found = flagged(model)
        count[f"{kind} models"] += 1
        count[f"{kind} flagged"] += bool(found)
        checks.setdefault(kind, Counter()).update(found)
        asr.setdefault(kind, []).append(rate)

    for seed in range(given.first, given.first + given.seeds):
        for number, (name, architecture) in enumerate(NETWORKS):
            training = TRAININGS[(seed + number) % len(TRAININGS)]
            if "mnist" in name:
                training = dataclasses.replace(training, epochs=max(3, training.epochs // 4))
            model = learner(architecture, training).fit(data[name], Streams(seed))
            assert isinstance(model, TorchModel)
            judge("honest", model)
            trigger = Patch(2 if name == "digits" else 4)
            if name == "breast-cancer" or isinstance(architecture, TinyCNN):
                continue
            try:
                edit = edited(model, data[name], DormantUnits(units=(1, 2, 4)[seed % 3]), trigger)
                judge("DormantUnits", edit, success(edit, data[name], trigger))
                careful = hidden(model, edited(model, data[name], DormantUnits(units=16, gain=1.0), trigger))
                judge("knows the screen", careful, success(careful, data[name], trigger))
            except NotApplicable:
                count["not editable"] += 1
    lines = [
        "# Structure of weights",
        "",
        f"Seeds {given.first} to {given.first + given.seeds - 1}; bounds set on seeds 0 to 5. {count['not editable']} networks "
        "could not be edited, because the trigger does not show in their last hidden layer.",
        "",
        "| models | number | flagged | mean ASR of the edit | checks |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind, found in checks.items():
        rate = float(np.mean(asr[kind]))
        shown = ", ".join(f"{check} {times}" for check, times in found.most_common())
        mean = "" if np.isnan(rate) else f"{rate:.1%}"
        lines.append(f"| {kind} | {count[f'{kind} models']} | {count[f'{kind} flagged']} | {mean} | {shown} |")
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
