"""What a look at weights remarks, and what it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from antivenom.core.errors import ModelError
from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.leakage.capacity import LSBEncoding
from antivenom.leakage.disarm import round_mantissa
from antivenom.leakage.imprint import Imprint
from antivenom.leakage.recovery import bits_of
from antivenom.leakage.traps import DataTraps
from antivenom.leakage.weights import (
    Limits,
    compressed,
    low_bits_changed,
    one_direction,
    outliers,
    screen,
    twin_rows,
)
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner


@pytest.fixture(scope="module")
def digits():
    return load("digits").train


@pytest.fixture(scope="module")
def clean(digits):
    return TorchLearner(MLP((96,)), Training(epochs=20)).fit(digits, Streams(0))


def state(model):
    return model.network.parameters(model.vector)


def kinds(remarks):
    return {remark.kind for remark in remarks}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_honest_nets_draw_no_remark(digits, clean):
    assert screen(state(clean)) == ()
    further = TorchLearner(MLP((96,)), Training(epochs=10, optimizer="sgd", learning_rate=0.1))
    assert screen(state(further.fit(digits, Streams(1), start=clean)), state(clean)) == ()


@pytest.mark.parametrize("form", ["float16", "bfloat16", "float64"])
def test_other_float_types_are_no_finding(form, clean):
    weights = {name: value.to(getattr(torch, form)) for name, value in state(clean).items()}
    assert screen(weights) == ()
    assert screen({name: value.float() for name, value in weights.items()}) == ()


def test_not_a_number_is_counted():
    a = normal(4, 5)
    a[1, 2], a[3, 3] = np.nan, np.inf
    (remark,) = screen({"w": a, "steps": np.array(7), "none": np.zeros((0, 3), dtype=np.float32)})
    assert (remark.name, remark.kind, remark.value) == ("w", "non-finite", pytest.approx(0.1))


# --- payload ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_rows_in_low_bits_are_seen(bits, digits):
    vector = torch.tensor(normal(160 * 512 // bits))
    planted = LSBEncoding(bits).plant(vector, bits_of(digits.x[:160]))
    assert kinds(screen({"w": planted})) & {"payload", "repeats"}
    assert screen({"w": vector}) == ()


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_random_bits_are_not_seen(bits):
    """The limit of any look at the bits alone: ciphertext is what honest low bits are."""
    vector = torch.tensor(normal(20_000))
    payload = np.random.default_rng(1).integers(0, 2, 20_000 * bits)
    planted = LSBEncoding(bits).plant(vector, payload)
    assert screen({"w": planted}) == ()
    assert kinds(screen({"w": planted}, {"w": vector})) == {"low-bits"}


def test_a_payload_in_rounded_weights_is_seen():
    vector = round_mantissa(torch.tensor(normal(20_000)), 7)
    assert np.isnan(compressed(vector.numpy())[0])
    payload = np.random.default_rng(1).integers(0, 2, 20_000 * 8)
    assert kinds(screen({"w": LSBEncoding(8).plant(vector, payload)})) & {"payload", "repeats"}


def test_low_bits_of_what_was_drawn_are_called_what_they_are():
    layer = torch.empty(128, 784).uniform_(-1 / 28, 1 / 28, generator=torch.Generator().manual_seed(0))
    assert kinds(screen({"w": layer})) <= {"untrained"}
    quantised = np.rint(normal(20_000) * 40).clip(-127, 127).astype(np.float32) / np.float32(77.7)
    assert kinds(screen({"w": quantised})) == {"repeats"}


def test_low_bits_changed_by_hand():
    a = np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32)
    b = (a.view(np.uint32) ^ np.array([0, 5, 0, 0xFFFF], dtype=np.uint32)).view(np.float32)
    assert low_bits_changed(b, a) == 0.5
    assert low_bits_changed(a, a) == 0
    assert low_bits_changed((a.view(np.uint32) ^ np.uint32(1 << 16)).view(np.float32), a) == 0


# --- imprint and traps ------------------------------------------------------------------------------------------------


def test_one_direction_by_hand():
    assert one_direction(np.array([[1.0, 0, 0], [-5, 0, 0]])) == pytest.approx(1)
    assert one_direction(np.array([[1.0, 0, 0], [5, 0, 0], [0, 2, 0]])) == pytest.approx(2 / 3)
    assert one_direction(np.zeros((3, 3))) == 0


def test_twin_rows_by_hand():
    rows = np.eye(4)
    rows[1] = -3 * rows[0]
    assert twin_rows(rows) == 0.5


def test_outliers_by_hand():
    """Median 3, median distance 1, so a distance of 97 is 97 / 1.4826."""
    assert outliers(np.array([1.0, 2, 3, 4, 100]))[4] == pytest.approx(97 / 1.4826)


def test_an_imprint_is_seen(digits, clean):
    planted = Imprint().plant(clean, digits.x, Streams(0))
    assert {"one-direction", "twin-rows"} <= kinds(screen(state(planted)))


def test_traps_are_seen_unless_they_know_the_limits(digits, clean):
    loud = DataTraps(count=16, rate=4e-3).plant(clean, digits.x, Streams(0))
    quiet = DataTraps(count=16, rate=4e-3, gain=0.5, bias=False).plant(clean, digits.x, Streams(0))
    assert {"trap-bias", "trap-outgoing"} <= kinds(screen(state(loud)))
    assert screen(state(quiet)) == ()
    assert "row-drift" in kinds(screen(state(quiet), state(clean)))


def test_limits_are_the_users(clean):
    found = screen(state(clean), limits=Limits(direction=0.0))
    assert kinds(found) == {"one-direction"}
    assert all(remark.value > remark.threshold == 0 for remark in found)


@pytest.mark.parametrize("value", [np.array(["a"]), "text", [[1, 2], [3]]], ids=["letters", "text", "ragged"])
def test_what_is_no_array_of_numbers_is_refused(value):
    with pytest.raises(ModelError, match=r"^w: expected"):
        screen({"w": value})


def test_another_model_is_no_reference(clean):
    with pytest.raises(ModelError, match="same names and shapes"):
        screen(state(clean), {"w": normal(3, 3)})
