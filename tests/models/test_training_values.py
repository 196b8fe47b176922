"""Optimisers, schedules and augmentation as values; which fast path answers for which, and the oracle for the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from antivenom.core.errors import NotApplicable, PluginError, ScenarioError
from antivenom.core.registry import describe, fill
from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.fast import dense
from antivenom.federated.clients import Client, loop_note, one_by_one, trained
from antivenom.federated.engine import Federation
from antivenom.leakage.dpsgd import DPSGD
from antivenom.leakage.shadows import train_together
from antivenom.models import stacked
from antivenom.models.architectures import MLP
from antivenom.models.augmentations import Crop, Flip
from antivenom.models.network import build
from antivenom.models.schedules import Constant, Cosine, Steps
from antivenom.models.training import Training, train
from antivenom.scenarios.federated import Federated

STREAMS = Streams(3)
SGD = Training(epochs=2, batch_size=10, optimizer="sgd", learning_rate=0.1, momentum=0.9)
ELEMENTWISE = [
    replace(SGD, nesterov=True),
    replace(SGD, weight_decay=0.01),
    Training(2, 10, "adamw", 0.01, weight_decay=0.1),
    Training(2, 10, "adam", 0.01, weight_decay=0.1),
]
PLAIN_LOOP = [replace(SGD, schedule=Cosine()), replace(SGD, schedule=Steps((0.5,)))]


def rows(m: int = 34) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    return torch.tensor(rng.standard_normal((m, 5)).astype(np.float32)), torch.tensor(rng.integers(0, 3, m))


def torchs_own(training: Training) -> torch.optim.Optimizer:
    """The optimiser as its user would write it."""
    leaf = nn.Parameter(torch.zeros(1))
    if training.optimizer == "adam":
        return torch.optim.Adam([leaf], lr=training.learning_rate, weight_decay=training.weight_decay)
    if training.optimizer == "adamw":
        return torch.optim.AdamW([leaf], lr=training.learning_rate, weight_decay=training.weight_decay)
    return torch.optim.SGD(
        [leaf],
        training.learning_rate,
        training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.nesterov,
    )


@pytest.mark.parametrize("training", [*ELEMENTWISE, *PLAIN_LOOP], ids=str)
def test_training_is_the_loop_that_its_fields_describe(training: Training) -> None:
    network, (x, y) = build(MLP((7,)), (5,), 3, STREAMS), rows()
    found, _ = train(network, network.initial, x, y, training, STREAMS)
    module = build(MLP((7,)), (5,), 3, STREAMS).module
    own = torchs_own(training)
    own.param_groups[0]["params"] = list(module.parameters())
    batches = list(training.batches(34, STREAMS.numpy("order")))
    for step, batch in enumerate(batches):
        own.param_groups[0]["lr"] = training.learning_rate * training.schedule(step / len(batches))
        own.zero_grad()
        nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
        own.step()
    by_hand = torch.cat([p.detach().flatten() for p in module.parameters()])
    assert torch.allclose(found, by_hand, atol=2e-6)
    plain, _ = train(
        network,
        network.initial,
        x,
        y,
        replace(training, schedule=Constant(), weight_decay=0.0, nesterov=False),
        STREAMS,
    )
    assert not torch.allclose(found, plain, atol=1e-4)


def test_schedules_by_hand() -> None:
    assert [Constant()(done) for done in (0, 0.5)] == [1, 1]
    assert [Cosine()(done) for done in (0, 0.5)] == pytest.approx([1, 0.5])
    assert Cosine(end=0.2)(0.5) == pytest.approx(0.6)
    assert [Steps((0.5, 0.75), 0.1)(done) for done in (0, 0.49, 0.5, 0.8)] == pytest.approx([1, 1, 0.1, 0.01])


def test_crop_moves_an_image_and_flip_mirrors_it() -> None:
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3).expand(200, 1, 3, 3)
    moved = Crop(padding=1)(x, STREAMS.torch("crop"))
    places = {
        tuple(int(v) for v in nn.functional.pad(x[:1], [1] * 4)[0, 0, top : top + 3, left : left + 3].flatten())
        for top in range(3)
        for left in range(3)
    }
    assert {tuple(int(v) for v in image.flatten()) for image in moved} == places
    mirrored = Flip(0.5)(x, STREAMS.torch("flip"))
    flipped = (mirrored == x.flip(3)).all(dim=(1, 2, 3))
    assert 0.35 < flipped.float().mean() < 0.65
    assert torch.equal(mirrored[~flipped], x[~flipped])
    assert torch.equal(Flip(0.0)(x, STREAMS.torch("flip")), x)


def test_the_loss_sees_augmented_images_and_the_seed_decides_which() -> None:
    data = load("digits", STREAMS).train[:40]
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    network = build(MLP((8,)), data.shape, 10, STREAMS)
    training = Training(epochs=1, batch_size=20, augmentation=(Crop(2), Flip()))
    seen: list[torch.Tensor] = []

    def watching(forward, batch, labels):
        seen.append(batch)
        return nn.functional.cross_entropy(forward(batch), labels)

    one, _ = train(network, network.initial, x, y, training, STREAMS, loss=watching)
    same, _ = train(network, network.initial, x, y, training, STREAMS)
    other, _ = train(network, network.initial, x, y, replace(training, augmentation=()), STREAMS)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not any((batch[0] == x).all(dim=(1, 2, 3)).any() for batch in seen[:1])


# --- fast paths ------------------------------------------------------------------------------------------------------


def clients(training: Training, architecture: object = MLP((7,))) -> list[Client]:
    x, y = rows()
    network = build(architecture, (5,), 3, STREAMS)  # type: ignore[arg-type]
    return [
        Client(network, network.initial, x, y, training, STREAMS.child(i), torch.arange(i, 34, 2 + i)) for i in range(3)
    ]


@pytest.mark.parametrize("training", ELEMENTWISE, ids=str)
def test_a_stack_equals_the_oracle_for_every_optimiser(training: Training) -> None:
    from antivenom.federated.batched import together

    assert stacked.supports(training) is None
    assert dense.supports(clients(training)[0].network, training) is not None
    assert torch.allclose(together(clients(training)), one_by_one(clients(training)), atol=5e-5)
    assert torch.allclose(trained(clients(training)), one_by_one(clients(training)), atol=5e-5)


@pytest.mark.parametrize("training", PLAIN_LOOP, ids=str)
def test_what_no_fast_path_supports_is_done_by_the_oracle_and_noted(training: Training) -> None:
    assert stacked.supports(training) is not None
    assert torch.equal(trained(clients(training)), one_by_one(clients(training)))
    note = loop_note(clients(training)[0].network, training, "cpu")
    assert note is not None
    assert "has no vectorised form" in note
    scenario = Federated(
        model=MLP((8,)),
        federation=Federation(num_agents=2, num_malicious=0, rounds=1, training=training),
        only_right=False,
    )
    assert note in scenario.run(None, None, 0).notes


def test_convolutions_on_a_cpu_train_side_by_side_with_any_training() -> None:
    training = Training(epochs=1, batch_size=10, augmentation=(Crop(1),), schedule=Cosine())
    data = load("digits", STREAMS).train[:30]
    network = build(
        lambda shape, classes: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, classes)),
        data.shape,
        10,
        STREAMS,
    )
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    some = [
        Client(network, network.initial, x, y, training, STREAMS.child(i), torch.arange(i, 30, 2)) for i in range(2)
    ]
    assert torch.allclose(trained(some), one_by_one(some), atol=1e-6)
    assert loop_note(network, training, "cpu") is None


def test_many_models_at_once_refuse_a_schedule_of_their_own() -> None:
    network, (x, y) = build(MLP((7,)), (5,), 3, STREAMS), rows()
    start, numbers = network.initial.expand(2, -1), torch.arange(20).expand(2, -1)
    with pytest.raises(NotApplicable, match="a training without schedule and augmentation, got the schedule Cosine"):
        train_together(network, start, x, y, numbers, PLAIN_LOOP[0], STREAMS.torch("x"))
    with pytest.raises(NotApplicable, match="augmentation has no vectorised form"):
        DPSGD(training=replace(SGD, augmentation=(Flip(),))).train_together(
            network, start, x, y, numbers, STREAMS.torch("x")
        )


# --- values ----------------------------------------------------------------------------------------------------------


def test_a_training_is_described_and_filled_again() -> None:
    training = Training(2, 10, "sgd", 0.1, 0.9, nesterov=True, schedule=Steps((0.3,)), augmentation=(Flip(), Crop(2)))
    assert fill(Training, describe(training)) == training
    named = fill(Training, {"schedule": "Cosine", "augmentation": ["Flip", {"name": "Crop", "padding": 2}]})
    assert named == Training(schedule=Cosine(), augmentation=(Flip(), Crop(2)))
    assert hash(named) == hash(fill(Training, describe(named)))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"optimizer": "adamm"}, "optimizer: adam, adamw, sgd, got 'adamm': did you mean"),
        ({"nesterov": True}, "sgd with momentum for nesterov, got optimizer adam"),
        ({"weight_decay": -1.0}, "weight_decay >= 0"),
        ({"weight_decay": float("inf")}, "weight_decay >= 0"),
    ],
)
def test_wrong_fields_are_one_line(fields: dict, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        Training(**fields)


@pytest.mark.parametrize(
    "make",
    [lambda: Steps((0.5, 0.2)), lambda: Steps((1.0,)), lambda: Cosine(2.0), lambda: Crop(0), lambda: Flip(1.5)],
)
def test_wrong_values_are_refused(make) -> None:
    with pytest.raises(PluginError):
        make()


def test_augmentation_is_for_images() -> None:
    network, (x, y) = build(MLP((7,)), (5,), 3, STREAMS), rows()
    with pytest.raises(NotApplicable, match=r"images for Flip, got rows of shape \(5,\)"):
        train(network, network.initial, x, y, replace(SGD, augmentation=(Flip(),)), STREAMS)
