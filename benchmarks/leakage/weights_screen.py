"""False alarms of the weight screen, and what low mantissa bits show."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from weights_tables import Parts, State, Table, int8, said, state

from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.leakage.capacity import LSBEncoding
from antivenom.leakage.recovery import bits_of
from antivenom.leakage.weights import Limits, compressed, screen
from antivenom.models.architectures import MLP, SmallCNN
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner, TorchModel

ADAM = Training(epochs=8)
SGD = Training(epochs=8, batch_size=32, optimizer="sgd", learning_rate=0.1)
MOMENTUM = Training(epochs=8, batch_size=32, optimizer="sgd", learning_rate=0.02, momentum=0.9)
LONG = Training(epochs=40, learning_rate=3e-3)


def honest(names: Iterable[str], seed: int, trainings: Iterable[Training]) -> Iterator[tuple[TorchModel, Dataset]]:
    for name in names:
        train_rows = load(name).train
        data = train_rows[np.random.default_rng(0).permutation(len(train_rows))[:3000]]
        for hidden in ((64,), (128,), (128, 64)):
            for training in trainings:
                yield TorchLearner(MLP(hidden), training).fit(data, Streams(seed)), data
        if data.is_image and data.shape[1] >= 16:
            yield TorchLearner(SmallCNN(dropout=0.0), ADAM).fit(data[:1000], Streams(seed)), data


def extremes(nets: list[tuple[TorchModel, Dataset]]) -> str:
    """What the screen measures on the nets its limits come from, and on their change by further training."""
    everything = Limits(ratio=9.0, direction=-1, twins=-1, bias=-1, outgoing=-99, drift=-1, row_drift=-99)
    found: dict[str, float] = {}
    for model, data in nets:
        further = TorchLearner(MLP(), LONG).fit(data[:1500], Streams(7), start=model)
        moved = screen(state(further), state(model), everything)
        for remark in (*screen(state(model), limits=everything), *(r for r in moved if "drift" in r.kind)):
            worse = min if remark.threshold == everything.ratio else max
            kind = "payload" if worse is min else remark.kind
            found[kind] = worse(found.get(kind, remark.value), remark.value)
    return ", ".join(f"{kind} {value:.3f}" for kind, value in found.items())


def false_alarms() -> str:
    calibration = list(honest(("digits", "adult", "mnist"), 100, (ADAM, SGD, MOMENTUM, LONG)))
    held_out = [m for m, _ in honest(("fashion-mnist", "spambase", "breast-cancer", "mnist"), 200, (ADAM, SGD, LONG))]
    held_out += [m for m, _ in honest(("digits", "adult"), 300, (replace(SGD, momentum=0.9, learning_rate=0.01),))]
    fresh = [
        TorchLearner(MLP(hidden), replace(ADAM, epochs=0)).fit(d, Streams(seed))
        for hidden in ((64,), (256,), (128, 64))
        for seed in range(4)
        for d in [load("digits").train]
    ]
    table = Table("nets", "number", "with a remark", "95 % interval", "kinds")
    sets: list[tuple[str, list[State]]] = [
        ("calibration (its limits come from these)", [state(m) for m, _ in calibration]),
        ("held out", [state(m) for m in held_out]),
        ("held out, rounded to float16 and back", [state(m, lambda a: np.float32(np.float16(a))) for m in held_out]),
        ("held out, half of the weights pruned", [state(m, pruned) for m in held_out]),
        ("held out, int8 per tensor and back", [state(m, int8) for m in held_out]),
        ("drawn and never trained", [state(m) for m in fresh]),
    ]
    for name, states in sets:
        remarks = [screen(s) for s in states]
        hits = sum(map(bool, remarks))
        low, high = binomtest(hits, len(states)).proportion_ci(method="exact")
        kinds = Counter(kind for found in remarks for kind in {r.kind for r in found})
        text = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none"
        table.add((name, str(len(states)), str(hits), f"{low:.3f} to {high:.3f}", text))
    return (
        f"{table}\nExtremes of the calibration nets, and of their change in 40 epochs more: {extremes(calibration)}.\n"
    )


def pruned(a: np.ndarray) -> np.ndarray:
    return np.where(np.abs(a) < np.median(np.abs(a)), np.float32(0), a) if a.ndim > 1 else a


def low_bits(seeds: int) -> str:
    table = Table("in the low byte", "entropy, bits a byte", "compressed size / size", "screen", "with reference")
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parents[2].rglob("src/**/*.py")))
    for seed in range(seeds):
        parts, rng = Parts.of("mnist", seed), np.random.default_rng(seed)
        model = TorchLearner(MLP((128,)), ADAM).fit(parts.public, Streams(seed))
        length = 8 * len(model.vector)
        fashion = load("fashion-mnist").train.x[:200]
        texts = {"text (source code)": sources, "the same, zlib": zlib.compress(sources)}
        payloads = {
            "honest weights": None,
            "random bits (ciphertext)": rng.integers(0, 2, length).astype(np.uint8),
            "MNIST pixels": bits_of(parts.private.x[:200]),
            "Fashion-MNIST pixels": bits_of(fashion),
            **{name: np.unpackbits(np.frombuffer(text, np.uint8)) for name, text in texts.items()},
        }
        for name, payload in payloads.items():
            planted = (
                model if payload is None else model.with_vector(LSBEncoding(8).plant(model.vector, payload[:length]))
            )
            shares = np.bincount(planted.vector.numpy().view(np.uint32) & 255, minlength=256) / len(planted.vector)
            entropy = -sum(p * np.log2(p) for p in shares if p)
            ratio = compressed(state(planted)["1.weight"])[0]
            against = [r for r in screen(state(planted), state(model)) if r.kind in ("low-bits", "payload", "repeats")]
            table.add((name,), entropy, ratio, said(screen(state(planted))), said(against))
    return str(table)
