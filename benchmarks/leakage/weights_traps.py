"""Data traps in a pretrained model: rows read after fine-tuning, and what stops it."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn
from weights_tables import Parts, Table, accuracy, said, state

from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.leakage.disarm import cut_rare_units
from antivenom.leakage.recovery import reconstructed
from antivenom.leakage.traps import DataTraps
from antivenom.leakage.weights import screen
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner, TorchModel

USUAL = Training(epochs=5, batch_size=32, optimizer="sgd", learning_rate=0.1)
TUNINGS = {
    "SGD, rate 0.1": USUAL,
    "SGD, rate 0.01": replace(USUAL, learning_rate=0.01),
    "SGD, rate 0.01, momentum 0.9": replace(USUAL, learning_rate=0.01, momentum=0.9),
    "SGD, rate 0.1, batch 128": replace(USUAL, batch_size=128),
    "Adam": replace(USUAL, optimizer="adam", learning_rate=1e-3),
}
PLANTS = {
    "32": DataTraps(),
    "32, fired by 1 %": DataTraps(rate=0.01),
    "32, fired by 2 %": DataTraps(rate=0.02),
    "32, knows the screen: gain 0.5, no bias": DataTraps(gain=0.5, bias=False),
    "32, knows both: that, and fired by 2 %": DataTraps(rate=0.02, gain=0.5, bias=False),
    "64 of 128 units": DataTraps(count=64),
    "64, knows the screen and its reference": DataTraps(count=64, gain=0.5, bias=False),
}


def private_training(
    model: TorchModel, data: Dataset, training: Training, clip: float, noise: float, streams: Streams
) -> TorchModel:
    """SGD with every row's gradient clipped to length `clip`, and noise of `noise` * `clip` on their sum.

    Written out for one hidden layer: a row's gradient of a dense layer is (error, in) times (input, 1), so its length is
    the product of theirs.
    """
    x, y = torch.tensor(data.flat), F.one_hot(torch.tensor(data.y), data.num_classes)
    vector, generator = model.vector.clone(), streams.torch("noise")
    for rows in training.batches(len(y), streams.numpy("order")):
        w1, b1, w2, b2 = model.network.parameters(vector).values()
        h = torch.relu(x[rows] @ w1.T + b1)
        above = (h @ w2.T + b2).softmax(1) - y[rows]
        below = (above @ w2) * (h > 0)
        squares = [(error**2).sum(1) * ((seen**2).sum(1) + 1) for error, seen in ((below, x[rows]), (above, h))]
        factor = (clip / (squares[0] + squares[1]).sqrt().clamp_min(1e-12)).clamp(max=1).unsqueeze(1)
        below, above = below * factor, above * factor
        total = torch.cat([(below.T @ x[rows]).flatten(), below.sum(0), (above.T @ h).flatten(), above.sum(0)])
        total += noise * clip * torch.randn(total.shape, generator=generator)
        vector = vector - training.learning_rate * total / len(rows)
    return model.with_vector(vector)


def without_first_layer(model: TorchModel, streams: Streams) -> TorchModel:
    fresh = build(MLP((128,)), model.network.row_shape, model.num_classes, streams).initial
    vector, first = model.vector.clone(), 128 * (784 + 1)
    vector[:first] = fresh[:first]
    return model.with_vector(vector)


def with_new_head(model: TorchModel, streams: Streams) -> TorchModel:
    fresh = build(MLP((128,)), model.network.row_shape, model.num_classes, streams).initial
    vector, first = model.vector.clone(), 128 * (784 + 1)
    vector[first:] = fresh[first:]
    return model.with_vector(vector)


def traps(name: str, seeds: int) -> str:
    table = Table("traps", "what the victim does", "records read", "of rows not trained on", "accuracy before", "after")
    screened = Table("traps", "screen", "with the clean model as reference")
    for seed in range(seeds):
        fill(table, screened, Parts.of(name, seed), Streams(seed))
    return f"{table}\n{screened}"


def fill(table: Table, screened: Table, parts: Parts, streams: Streams) -> None:
    base = TorchLearner(MLP((128,)), Training(epochs=10)).fit(parts.public, streams)
    planted = {label: plant.plant(base, parts.public.x, streams) for label, plant in PLANTS.items()}

    def report(label: str, how: str, start: TorchModel, end: TorchModel) -> None:
        guesses = DataTraps().read(start, end)
        found = [float(reconstructed(guesses, part.x).sum()) for part in (parts.private, parts.other)]
        right = accuracy(start, parts.test), accuracy(end, parts.test)
        table.add((label, how), *found, *right)

    def tuned(start: TorchModel, training: Training = USUAL) -> TorchModel:
        return TorchLearner(MLP((128,)), training).fit(parts.private, streams.child("tune"), start=start)

    for how, training in TUNINGS.items():
        report("none (control)", how, base, tuned(base, training))
        report("32", how, planted["32"], tuned(planted["32"], training))
    for label, start in planted.items():
        screened.add((label,), said(screen(state(start))), said(screen(state(start), state(base))))
        if start is not planted["32"]:
            report(label, "SGD, rate 0.1", start, tuned(start))
        cut = cut_rare_units(start, parts.private.x)
        report(label, "units that fire on < 1 % cut, then SGD", cut, tuned(cut))
    cut = cut_rare_units(base, parts.private.x)
    report("none (control)", "units that fire on < 1 % cut, then SGD", cut, tuned(cut))
    for clip, noise in ((1.0, 0.0), (1.0, 0.1), (1.0, 1.0)):
        for label, start in (("none (control)", base), ("32", planted["32"])):
            end = private_training(start, parts.private, USUAL, clip, noise, streams.child("private"))
            report(label, f"rows' gradients clipped to {clip:g}, noise {noise:g}", start, end)
    for how, change in (
        ("first layer drawn anew, then SGD", without_first_layer),
        ("new head, then SGD", with_new_head),
    ):
        for label, start in (("none (control)", base), ("32", planted["32"])):
            changed = change(start, streams.child("fresh"))
            report(label, how, changed, tuned(changed))


def two_convolutions(shape: tuple[int, ...], num_classes: int) -> nn.Module:
    front = (nn.Conv2d(1, 16, 5), nn.ReLU(), nn.Conv2d(16, 16, 5), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*front, nn.Linear(16 * 20 * 20, 64), nn.ReLU(), nn.Linear(64, num_classes))


def behind_convolutions(seeds: int) -> str:
    columns = ("traps", "fine-tuning", "records read at 30 dB", "at 20 dB", "accuracy before", "after", "screen")
    table = Table(*columns)
    for seed in range(seeds):
        parts, streams = Parts.of("mnist", seed), Streams(seed)
        private, learner = parts.private[:1000], TorchLearner(two_convolutions, Training(epochs=3))
        base = learner.fit(parts.public[:2000], streams)
        plants = {f"16, gain {gain:g}": DataTraps(16, 2e-3, gain) for gain in (3.0, 10.0, 100.0)}
        starts = {"none (control)": base}
        starts |= {label: traps.plant(base, parts.public.x[:2000], streams) for label, traps in plants.items()}
        for label, start in starts.items():
            for rate in (0.05, 0.01):
                training = replace(USUAL, epochs=2, learning_rate=rate)
                end = TorchLearner(two_convolutions, training).fit(private, streams.child("tune"), start=start)
                guesses = DataTraps().read(start, end)
                found = [float(reconstructed(guesses, private.x, least).sum()) for least in (30.0, 20.0)]
                right = accuracy(start, parts.test[:2000]), accuracy(end, parts.test[:2000])
                table.add((label, f"SGD, rate {rate:g}"), *found, *right, said(screen(state(start))))
    return str(table)
