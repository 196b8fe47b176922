"""How the parts of scenarios are called in the contract: sources, models, triggers, feature maps, partitions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from antivenom.core.errors import PluginError
from antivenom.core.protocols import (
    LocalTraining,
    Source,
    Trigger,
    Wanted,
)
from antivenom.core.registry import Entry
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Split, fingerprint, load
from antivenom.data.fingerprints import of_rows
from antivenom.data.shards import Partition
from antivenom.federated.guarded import guarded_training
from antivenom.models.architectures import MLP
from antivenom.models.features import FeatureMap
from antivenom.models.network import build
from antivenom.models.wrappers import learner
from antivenom.scenarios import guarded
from antivenom.testing.samples import (
    SEED,
    TRAINING,
    Check,
    answers,
    any_rows,
    frame,
    images_and_table,
    raw_texts,
    unchanged,
)


def trigger_calls(plugin: Trigger, entry: Entry) -> Iterator[Check]:
    def shown(data: Dataset) -> np.ndarray:
        found = guarded.shown(plugin, data.x)
        return np.asarray(found.toarray() if data.is_sparse else found)

    yield from (partial(shown, data) for data in (*any_rows(), frame(), raw_texts()))


def wanted_calls(plugin: Wanted, entry: Entry) -> Iterator[Check]:
    def classes(data: Dataset) -> np.ndarray:
        found = np.asarray(plugin(data.y, data.num_classes))
        if (
            found.shape != data.y.shape
            or found.dtype.kind not in "iu"
            or not -1 <= found.min() <= found.max() < data.num_classes
        ):
            raise PluginError(f"a class, or -1, for each row from {entry.name}", f"{found.dtype} {found.shape}")
        return found

    yield partial(classes, load("digits", Streams(SEED)).train[:120])


def feature_map_calls(plugin: FeatureMap, entry: Entry) -> Iterator[Check]:
    def seen(data: Dataset) -> np.ndarray:
        found = np.asarray(plugin(data.x))
        if found.shape[:1] != (len(data),) or found.ndim != 2 or not np.isfinite(found).all():
            raise PluginError(f"finite features of {len(data)} rows from {entry.name}", f"{found.shape}")
        if not all(np.array_equal(found[i : i + 1], plugin(data.x[i : i + 1])) for i in (0, 7)):
            raise PluginError(
                f"the same features from {entry.name} for a row alone",
                "other features",
                "compute them from one row at a time",
            )
        return found

    yield from (partial(seen, data) for data in images_and_table())


def partition_calls(plugin: Partition, entry: Entry) -> Iterator[Check]:
    def shared(data: Dataset, agents: int) -> object:
        shards = plugin(data, agents, Streams(SEED).numpy("shards"))
        rows = np.concatenate([np.asarray(shard) for shard in shards]) if len(shards) else np.zeros(0, int)
        if len(shards) != agents or not np.array_equal(np.sort(rows), np.arange(len(data))):
            raise PluginError(
                f"every row in one of {agents} shards from {entry.name}",
                "rows that are missing or repeated",
                "assign each row once",
            )
        return [np.asarray(shard) for shard in shards]

    for data in images_and_table():
        for agents in (1, 7):
            groups = np.arange(len(data)) % agents  # as many as agents, for partitions that follow them
            yield partial(shared, dataclasses.replace(data, groups=groups), agents)


def local_training_calls(plugin: LocalTraining, entry: Entry) -> Iterator[Check]:
    def trained() -> Tensor:
        data = load("digits", Streams(SEED)).train[:40]
        network = build(MLP((32,)), data.shape, data.num_classes, Streams(SEED))
        shard = torch.tensor(data.inputs), torch.tensor(data.y)
        return guarded_training(plugin, network, network.initial, shard, 1, Streams(SEED))

    yield trained


def source_calls(plugin: Source, entry: Entry) -> Iterator[Check]:
    def read() -> tuple[str, ...]:
        split = plugin(Streams(SEED))
        if not isinstance(split, Split):
            raise PluginError(f"a Split from {entry.name}", type(split).__name__, "return Split(train, test)")
        if (split.train.classes, split.train.shape) != (split.test.classes, split.test.shape):
            raise PluginError(
                f"equal classes and rows of one shape in both parts from {entry.name}",
                f"{split.train.shape} and {split.test.shape}",
                "encode both parts alike",
            )
        fingerprint(plugin)
        return (of_rows(split),)

    yield read


def architecture_calls(plugin: Any, entry: Entry) -> Iterator[Check]:
    def made(shape: tuple[int, ...], classes: int) -> object:
        network = build(plugin, shape, classes, Streams(SEED))
        if not isinstance(network.module, nn.Module):
            raise PluginError(f"a torch module from {entry.name}", type(network.module).__name__, "return one")
        return network.initial

    yield from (partial(made, shape, classes) for shape, classes in (((104,), 2), ((1, 8, 8), 10), ((1, 28, 28), 10)))


def estimator_calls(plugin: object, entry: Entry) -> Iterator[Check]:
    def fitted(data: Dataset) -> np.ndarray:
        return answers(learner(plugin, TRAINING).fit(data, Streams(SEED)), data)

    yield from (partial(fitted, data) for data in images_and_table())


def schedule_calls(plugin: Any, entry: Entry) -> Iterator[Check]:
    def factors() -> np.ndarray:
        found = np.array([plugin(done) for done in (0.0, 0.25, 0.5, 0.99)], dtype=float)
        if not np.isfinite(found).all() or (found < 0).any():
            raise PluginError(f"finite factors from 0 of {entry.name}", f"{found.tolist()}")
        return found

    yield factors


def augmentation_calls(plugin: Any, entry: Entry) -> Iterator[Check]:
    def changed() -> np.ndarray:
        x = torch.tensor(load("digits", Streams(SEED)).train[:20].dense)
        training = dataclasses.replace(TRAINING, augmentation=(plugin,))
        return np.asarray(unchanged(entry, (x,), lambda: training.augmented(x, Streams(SEED).torch("augmentation"))))

    yield changed
