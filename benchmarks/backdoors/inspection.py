"""How well `antivenom inspect` tells backdoored models from clean ones, on models of seeds that had no part in its design.

    python benchmarks/backdoors/inspection.py [--models 4] [--out benchmarks/backdoors/out]

TinyCNN on 10,000 rows of Fashion-MNIST, six epochs, as in the claims on backdoors. Nine clean references, five times `models` clean
models and `models` of each attack; every model has rows, initial weights and target class of its own. The settings of the checks
were fixed on other seeds. Models and statistics are kept in the folder, so that a run can be killed and continued. It prints, for
each attack, how many models are flagged and whether the target class is named, and over all of them the AUROC of the score.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from antivenom.attacks import SubnetReplacement
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import Kind, build, entry_of
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.core.verdict import ModelVerdict
from antivenom.core.wanted import AllToOne, FromTo
from antivenom.data import load
from antivenom.defences.acceptance.calibration import Statistics, combined
from antivenom.inspection.checks import detectors_for, measured
from antivenom.inspection.references import Clock
from antivenom.inspection.rows import divided
from antivenom.inspection.traces import state_of, weight_traces
from antivenom.models.architectures import TinyCNN
from antivenom.models.schedules import Cosine
from antivenom.models.training import Training, cross_entropy
from antivenom.models.wrappers import TorchLearner, TorchModel
from antivenom.triggers import Blend, Patch, Together, Warp

TRAINING = Training(epochs=6, batch_size=128, learning_rate=0.004, schedule=Cosine())
DECIDING = ("NeuralCleanse", "SmallestPerturbation")
REFERENCES, FIRST, PROBES = 9, 7000, 6999  # seeds of the benchmark: the references, the models, the clean rows
CORNERS = Together(tuple(Patch(corner=corner) for corner in ("top-left", "top-right", "bottom-left", "bottom-right")))


@dataclass(frozen=True)
class Attack:
    """A trigger and how it is planted.

    Fields:
        trigger: the trigger of the test.
        plugin: the data attack, or None for one that edits weights.
        one_source: whether the trigger works on rows of one class only (TaCT); rows of the others carry it with their labels.
        beyond: whether it is expected to be missed; the AUROC is given without and with such attacks.
    """

    trigger: Any
    plugin: dict[str, object] | None
    beyond: bool = False
    one_source: bool = False


ATTACKS = {
    "patch": Attack(Patch(size=3), {"name": "BadNets", "poisoned_rate": 0.05}),
    "blend": Attack(Blend(), {"name": "BadNets", "poisoned_rate": 0.05}),
    "adaptive blend": Attack(
        Blend(share=0.25),
        {"name": "AdaptiveBlend", "payload_rate": 0.015, "cover_rate": 0.015, "strength": 0.8},
    ),
    "adaptive patch": Attack(
        CORNERS,
        {"name": "AdaptivePatch", "payload_rate": 0.015, "cover_rate": 0.015, "strength": 1.0},
    ),
    "subnet replacement": Attack(Patch(size=3), None),
    "evasive blend": Attack(Blend(), {"name": "EvasiveBackdoor"}, beyond=True),
    "one source class": Attack(
        Patch(size=3), {"name": "BadNets", "poisoned_rate": 0.05, "cover_rate": 0.05}, beyond=True, one_source=True
    ),
    "warp": Attack(Warp(strength=1.5), {"name": "WaNet", "noise_rate": 0.0}, beyond=True),
}


# The order in which the attacks got their seeds.
SEEDED = (
    "patch",
    "blend",
    "adaptive blend",
    "adaptive patch",
    "subnet replacement",
    "evasive blend",
    "warp",
    "one source class",
)


@dataclass(frozen=True)
class Job:
    """One model. Seeds of different jobs differ.

    Fields:
        kind: "reference", "clean", or the name of an attack.
        seed: its seed, from which its rows, weights and target class follow.
    """

    kind: str
    seed: int

    @property
    def target(self) -> int:
        return self.seed % 10


def jobs(models: int) -> list[Job]:
    found = [Job("reference", FIRST + i) for i in range(REFERENCES)]
    found += [Job("clean", FIRST + 100 + i) for i in range(5 * models)]
    for number, kind in enumerate(SEEDED):
        found += [Job(kind, FIRST + 200 + 100 * number + 7 * i) for i in range(models)]
    return found


def trained(job: Job) -> tuple[TorchModel, dict[str, float]]:
    """The model, its accuracy, and the success of the trigger."""
    split, streams = load("fashion-mnist"), Streams(job.seed)
    clean = split.train[streams.numpy("rows").permutation(len(split.train))[:10_000]]
    attack = ATTACKS.get(job.kind)
    rows, trigger = clean, None if attack is None else attack.trigger
    source = (job.target + 3) % 10 if attack is not None and attack.one_source else None
    wanted = AllToOne(job.target) if source is None else FromTo(source, job.target)
    threat = ThreatModel(Access.DATA_INJECTION, Goal.BACKDOOR)
    context = AttackContext(streams.child("attack"), threat, wanted, trigger)
    loss = cross_entropy
    if attack is not None and attack.plugin is not None:
        plugin = build(attack.plugin, Kind.DATA_ATTACK, Kind.LOGIC_ATTACK)
        if entry_of(plugin).kind is Kind.LOGIC_ATTACK:
            loss = plugin(cross_entropy, context)
        else:
            rows = plugin(clean, context).data
    order = streams.numpy("arrival").permutation(len(rows))
    model = TorchLearner(TinyCNN(), TRAINING).fit(rows[order], streams, loss)
    if attack is not None and attack.plugin is None:
        model, _ = SubnetReplacement()(model, clean[:2000], context)  # type: ignore[assignment]
    test = split.test[np.arange(3000, 10_000)]
    found = {"accuracy": float((model.predict(test.x) == test.y).mean())}
    if trigger is not None:
        others = test[test.y != job.target if source is None else test.y == source]
        found["asr"] = float((model.predict(trigger(others.x)) == job.target).mean())
    return model, found


def examined(job: Job, folder: str) -> dict[str, Any]:
    """Train a model, measure its statistics, and keep both."""
    torch.set_num_threads(1)
    place = Path(folder) / f"{job.kind.replace(' ', '-')}-{job.seed}.json"
    if place.exists():
        found: dict[str, Any] = json.loads(place.read_text())
        return found
    model, found = trained(job)
    probes = divided(load("fashion-mnist").test[np.arange(3000)], Streams(PROBES)).probes
    checks = measured(model, probes, Clock(1e9), detectors_for(model, True))
    found |= {"seconds": sum(check.seconds for check in checks), "statistics": {}}
    for check in checks:
        assert check.statistics is not None, check.why
        found["statistics"][check.name] = [
            check.statistics.values.tolist(),
            check.statistics.reached.tolist(),
            float(check.statistics.lowest),
        ]
    found["traces"] = [trace.check for trace in weight_traces(state_of(model), model) if trace.suspicious]
    part = place.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.rename(place)
    return found


def statistics_of(found: dict[str, Any]) -> dict[str, Statistics]:
    return {
        name: Statistics(np.array(values), np.array(reached), lowest)
        for name, (values, reached, lowest) in found["statistics"].items()
    }


def judged(one: dict[str, Any], references: list[dict[str, Any]], names: Sequence[str]) -> ModelVerdict:
    """The verdict over a model by these checks, and by the traces in its weights, beside the references."""
    own = statistics_of(one)
    others = [statistics_of(other) for other in references]
    counts = [len(model["traces"]) for model in (one, *references)]
    return combined([own[name] for name in names], [[other[name] for name in names] for other in others], counts)


def report(found: dict[Job, dict[str, Any]]) -> None:
    references = [one for job, one in found.items() if job.kind == "reference"]
    models = {job: one for job, one in found.items() if job.kind != "reference"}
    verdicts = {job: judged(one, references, DECIDING) for job, one in models.items()}
    print(f"{len(references)} references, accuracy {np.mean([one['accuracy'] for one in references]):.3f}")
    print("| models | number | accuracy | success of the trigger | flagged | target named | median score |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind in ("clean", *ATTACKS):
        own = [job for job in models if job.kind == kind]
        flags = sum(verdicts[job].flag for job in own)
        named = sum(bool(named_of(verdicts[job])[job.target]) for job in own)
        asr = "" if kind == "clean" else f"{np.mean([models[job]['asr'] for job in own]):.2f}"
        print(
            f"| {kind} | {len(own)} | {np.mean([models[job]['accuracy'] for job in own]):.3f} | {asr} | {flags} | "
            f"{'' if kind == 'clean' else named} | {np.median([verdicts[job].score for job in own]):.1f} |"
        )
    usual = [job for job in models if job.kind == "clean" or not ATTACKS[job.kind].beyond]
    truth = [job.kind != "clean" for job in models]
    within = roc_auc_score([job.kind != "clean" for job in usual], [verdicts[job].score for job in usual])
    print(f"AUROC of the score: {within:.3f}; with the attacks that are expected to be missed", end=" ")
    print(f"{roc_auc_score(truth, [verdicts[job].score for job in models]):.3f}")
    for name in next(iter(found.values()))["statistics"]:
        scores = [
            judged(one | {"traces": []}, [r | {"traces": []} for r in references], [name]).score
            for one in models.values()
        ]
        print(f"AUROC of {name} alone: {roc_auc_score(truth, scores):.3f}")
    with_traces = [job.kind for job, one in found.items() if one["traces"]]
    print(f"models with traces in their weights: {', '.join(sorted(with_traces)) or 'none'}")
    print(
        f"processor time of the checks for one model: {np.median([one['seconds'] for one in found.values()]):.1f} s (median)"
    )
    for job, verdict in verdicts.items():
        if verdict.flag != (job.kind != "clean"):
            print(
                f"{'missed' if job.kind != 'clean' else 'false alarm'}: {job.kind}, seed {job.seed}, score {verdict.score:.1f}"
            )


def named_of(verdict: ModelVerdict) -> np.ndarray:
    assert verdict.classes is not None
    return verdict.classes.flags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=4, help="models of each attack")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    todo = jobs(options.models)
    with ProcessPoolExecutor(options.jobs) as pool:
        found = dict(zip(todo, pool.map(examined, todo, [str(options.out)] * len(todo)), strict=True))
    report(found)


if __name__ == "__main__":
    main()
