"""Capacity abuse: what is written, what it costs, and what survives the receiver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from weights_tables import Parts, Table, accuracy, int8, said, state

from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.leakage.capacity import CapacityAbuse, CorrelatedValues, LSBEncoding, SignEncoding
from antivenom.leakage.disarm import round_mantissa
from antivenom.leakage.recovery import bits_of, bits_right, exact_records, psnr
from antivenom.leakage.weights import screen
from antivenom.models.architectures import MLP
from antivenom.models.training import Training, train
from antivenom.models.wrappers import TorchLearner, TorchModel


def small(data: Dataset) -> Dataset:
    return replace(data, x=F.avg_pool2d(torch.tensor(data.x), 2).numpy())


def after(model: TorchModel, data: Dataset, seed: int) -> list[TorchModel]:
    """The model, then what a receiver may make of it in the order of THEN; `data` are rows of the receiver's own."""
    spread = torch.cat([p.std().expand(p.numel()) for p in model.network.parameters(model.vector).values()])
    noise = torch.randn(len(spread), generator=Streams(seed).torch("noise"))
    quantised = torch.cat([torch.tensor(int8(a)).reshape(-1) for a in state(model).values()])
    tuning = Training(epochs=3, batch_size=32, optimizer="sgd", learning_rate=0.1)
    vectors = (model.vector, round_mantissa(model.vector, 7), quantised, model.vector + 0.01 * spread * noise)
    tuned = TorchLearner(MLP(), tuning).fit(data, Streams(seed).child("tune"), start=model)
    return [*(model.with_vector(vector) for vector in vectors), tuned]


THEN = ("as it is", "bfloat16", "int8", "noise", "fine-tuned")


def capacity(seeds: int) -> str:
    what = ("attack", "bits a parameter", "records")
    right, exact = Table(*what, "accuracy", "screen", *THEN), Table(*what, *THEN)
    error, named = Table("records", "accuracy", "screen", *THEN), Table("records", *THEN)
    costs = Table("accuracy of the clean model", *THEN)
    for seed in range(seeds):
        fill((right, exact, error, named, costs), Parts.of("mnist", seed), seed)
    return (
        "Noise has 1 % of a layer's spread; fine-tuning is 3 epochs of SGD at rate 0.1 on 2,000 other rows.\n\n"
        f"{costs}\nShare of bits read right:\n\n{right}\nRecords read without one wrong bit:\n\n{exact}\n"
        f"Correlated values, mean error of a pixel in [0, 1]:\n\n{error}\n"
        f"Correlated values, share of records whose nearest of all 3,000 training rows is the right one:\n\n{named}"
    )


def fill(tables: tuple[Table, ...], parts: Parts, seed: int) -> None:
    right, exact, error, named, costs = tables
    private, mine, test = small(parts.public[:3000]), small(parts.private), small(parts.test)
    streams, training = Streams(seed), Training(epochs=60)
    learner = TorchLearner(MLP((128,)), training)
    network, clean = learner.network(private, streams), learner.fit(private, streams)
    x, y = torch.tensor(private.x), torch.tensor(private.y)
    costs.add(("",), *(accuracy(model, test) for model in after(clean, mine, seed)))

    def trained(penalty: Callable[[Tensor], Tensor]) -> TorchModel:
        fitted, _ = train(network, network.initial, x, y, training, streams.child("fit"), penalty=penalty)
        return TorchModel(network, fitted)

    def report(
        name: str, planted: TorchModel, payload: np.ndarray, size: int, read: Callable[[TorchModel], np.ndarray]
    ) -> None:
        bits = [read(model) for model in after(planted, mine, seed)]
        key = (name, f"{len(payload) / len(planted.vector):.2f}", str(len(payload) // size))
        seen = accuracy(planted, test), said(screen(state(planted)))
        right.add(key, *seen, *(bits_right(found, payload) for found in bits))
        exact.add(key, *(float(exact_records(found, payload, size)) for found in bits))

    record = 196 * 8
    for width in (8, 16):
        encoding, payload = LSBEncoding(width), bits_of(private.x[: network.dimension * width // record])
        planted = clean.with_vector(encoding.plant(clean.vector, payload))
        report(f"LSB {width}", planted, payload, record, lambda m, e=encoding, n=len(payload): e.read(m.vector, n))
    for count in (4, 8, 16):
        payload, signs = bits_of(private.x[:count]), SignEncoding(200.0)
        planted = trained(signs.penalty(payload))
        report("sign", planted, payload, record, lambda m, s=signs, n=len(payload): s.read(m.vector, n))
    for count in (4, 20):
        payload, abuse = bits_of(private.x[:count], 4), CapacityAbuse(key=seed)
        planted = learner.fit(abuse.plant(private, payload), streams)
        name = "black box, 4 bits a pixel"
        report(name, planted, payload, record // 2, lambda m, a=abuse, n=len(payload): a.read(m, private.shape, n))
    for count in (34, 67, 134):
        values = CorrelatedValues(3.0)
        planted = trained(values.penalty(private.x[:count]))
        seen = [values.read(model.vector, private.shape, count) for model in after(planted, mine, seed)]
        errors = [float(np.abs(rows - private.x[:count]).mean()) for rows in seen]
        error.add((str(count),), accuracy(planted, test), said(screen(state(planted))), *errors)
        nearest = [psnr(rows, private.x).argmax(1) for rows in seen]
        named.add((str(count),), *(float((found == np.arange(count)).mean()) for found in nearest))
