"""The imprint layer and trap weights: rows read out of one client's update, and what stops it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from weights_tables import Parts, Table, said, state

from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.leakage.imprint import Imprint
from antivenom.leakage.recovery import reconstructed
from antivenom.leakage.traps import DataTraps
from antivenom.leakage.weights import screen
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training, train
from antivenom.models.wrappers import TorchModel

DOINGS = ("one step", "clipped to length 0.1", "noise of 1 % of its length", "of 10 %", "of 100 %", "one step of Adam")


def imprint(name: str, seeds: int) -> str:
    table = Table(
        "bins", "rows of the client", "alone in a bin", "one step", "5 epochs, batch 16, rate 0.001", "rate 0.01"
    )
    counters = Table("sent", "rows of the client", "screen of what is sent", *DOINGS)
    for seed in range(seeds):
        fill(table, counters, Parts.of(name, seed), Streams(seed))
    return f"Records reconstructed, by what the client does:\n\n{table}\nOf 256 units:\n\n{counters}"


def fill(table: Table, counters: Table, parts: Parts, streams: Streams) -> None:
    def update(model: TorchModel, rows: Dataset, training: Training) -> Tensor:
        x, y = torch.tensor(rows.x), torch.tensor(rows.y)
        return train(model.network, model.vector, x, y, training, streams.child("local"))[0] - model.vector

    def fresh(hidden: tuple[int, ...]) -> TorchModel:
        network = build(MLP(hidden), parts.private.shape, 10, streams)
        return TorchModel(network, network.initial)

    local = Training(epochs=5, batch_size=16, optimizer="sgd", learning_rate=0.001)
    for bins in (64, 256, 512):
        model = Imprint().plant(fresh((bins,)), parts.public.x, streams)
        begins = -model.network.parameters(model.vector)["1.bias"].numpy()
        for n in (16, 64, 256):
            rows = parts.private[:n]
            bin_of = (rows.flat.mean(1)[:, None] > begins).sum(1)
            alone = float((np.bincount(bin_of)[bin_of] == 1).sum())
            step = Training(epochs=1, batch_size=n, optimizer="sgd", learning_rate=0.1)
            ways = (step, local, replace(local, learning_rate=0.01))
            found = [
                float(reconstructed(Imprint().read(model, update(model, rows, way)), rows.x).sum()) for way in ways
            ]
            table.add((str(bins), str(n)), alone, *found)
    for n in (16, 64, 256):
        rows = parts.private[:n]
        step = Training(epochs=1, batch_size=n, optimizer="sgd", learning_rate=0.1)
        sent = {
            "honest": (fresh((256,)), Imprint()),
            **{f"imprint, noise {s:g}": (Imprint(s), Imprint(s)) for s in (0.0, 0.1, 0.3, 1.0)},
            "trap weights, gain 0.5": (DataTraps(256, 1 / n, 0.5, bias=False),) * 2,
        }
        for label, (plant, attack) in sent.items():
            start = plant if isinstance(plant, TorchModel) else plant.plant(fresh((256,)), parts.public.x, streams)
            change = update(start, rows, step)
            noise = torch.randn(len(change), generator=streams.torch("dp"))
            scale = change.norm() / len(change) ** 0.5
            updates = (
                change,
                change * min(1, 0.1 / float(change.norm())),
                *(change + share * scale * noise for share in (0.01, 0.1, 1.0)),
                update(start, rows, replace(step, optimizer="adam", learning_rate=1e-3)),
            )
            if isinstance(attack, DataTraps):
                read = [attack.read(start, start.with_vector(start.vector + sent_back)) for sent_back in updates]
            else:
                read = [attack.read(start, sent_back) for sent_back in updates]
            found = [float(reconstructed(guesses, rows.x).sum()) for guesses in read]
            counters.add((label, str(n)), said(screen(state(start))), *found)
