"""What malicious training code writes into weights, and what erases it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from antivenom.core.errors import ModelError, PluginError
from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.leakage.capacity import CapacityAbuse, CorrelatedValues, LSBEncoding, SignEncoding
from antivenom.leakage.disarm import round_mantissa
from antivenom.leakage.recovery import bits_of, bits_right, exact_records, psnr
from antivenom.models.architectures import MLP
from antivenom.models.training import Training, train
from antivenom.models.wrappers import TorchLearner, TorchModel

ADAM = Training(epochs=40, learning_rate=3e-3)


@pytest.fixture(scope="module")
def digits():
    return load("digits").train[:600]


def trained(digits, penalty):
    learner = TorchLearner(MLP((64,)), ADAM)
    network = learner.network(digits, Streams(0))
    x, y = torch.tensor(digits.x), torch.tensor(digits.y)
    vector, _ = train(network, network.initial, x, y, ADAM, Streams(0).child("fit"), penalty=penalty)
    return TorchModel(network, vector)


def test_two_low_bits_by_hand():
    """1.0 is 0x3F800000; the payload 10, 01, 1(0) becomes the last two bits of three words."""
    vector = torch.tensor([1.0, -1.0, 1.0, 1.0])
    planted = LSBEncoding(2).plant(vector, np.array([1, 0, 0, 1, 1]))
    assert planted.numpy().view(np.uint32).tolist() == [0x3F800002, 0xBF800001, 0x3F800002, 0x3F800000]
    assert LSBEncoding(2).read(planted, 5).tolist() == [1, 0, 0, 1, 1]
    assert vector.tolist() == [1, -1, 1, 1]


@pytest.mark.parametrize("bits", [1, 8, 16, 23])
def test_low_bits_change_a_weight_by_less_than_their_worth(bits):
    vector = torch.randn(500, generator=torch.Generator().manual_seed(0))
    payload = np.random.default_rng(0).integers(0, 2, 500 * bits)
    planted = LSBEncoding(bits).plant(vector, payload)
    assert (LSBEncoding(bits).read(planted, len(payload)) == payload).all()
    assert ((planted - vector).abs() <= vector.abs() * 2.0 ** (bits - 23)).all()


@pytest.mark.parametrize("keep", [7, 10])
def test_rounding_erases_low_bits(keep):
    vector = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    payload = np.random.default_rng(0).integers(0, 2, 4000 * 8)
    rounded = round_mantissa(LSBEncoding(8).plant(vector, payload), keep)
    assert not LSBEncoding(8).read(rounded, len(payload)).any()
    assert ((rounded - vector).abs() <= vector.abs() * 2.0 ** (-keep)).all()


def test_a_payload_needs_room():
    with pytest.raises(ModelError, match="room for 25 values, got 24"):
        LSBEncoding(8).plant(torch.zeros(3), np.zeros(25))
    with pytest.raises(ModelError, match="room for 4 values, got 3"):
        SignEncoding().penalty(np.zeros(4))(torch.zeros(3))


@pytest.mark.parametrize("bits", [0, 24])
def test_bits_that_float32_has_not(bits):
    with pytest.raises(PluginError, match="from 1 to 23"):
        LSBEncoding(bits)


def test_the_penalty_on_signs_by_hand():
    """Wanted +, -, +, -: the second and third are wrong by 2 and 3; 10 * 5 / 4."""
    penalty = SignEncoding(10.0).penalty(np.array([1, 0, 1, 0]))
    assert penalty(torch.tensor([1.0, 2.0, -3.0, -4.0, 100.0])).item() == pytest.approx(12.5)


def test_the_reward_for_correlation_by_hand():
    values = np.array([[1.0, 2.0, 4.0]])
    like, unlike = torch.tensor([10.0, 20.0, 40.0, -7.0]), torch.tensor([-1.0, -2.0, -4.0, 9.0])
    assert CorrelatedValues(3.0).penalty(values)(like).item() == pytest.approx(-3)
    assert CorrelatedValues(3.0).penalty(values)(unlike).item() == pytest.approx(3)


def test_signs_carry_rows_through_training(digits):
    payload = bits_of(digits.x[:4])  # 2,048 of 4,810 parameters
    model, clean = trained(digits, SignEncoding(200.0).penalty(payload)), trained(digits, None)
    read, chance = (SignEncoding().read(m.vector, len(payload)) for m in (model, clean))
    assert bits_right(read, payload) > 0.98
    assert 0.4 < bits_right(chance, payload) < 0.6
    assert (SignEncoding().read(round_mantissa(model.vector, 7), len(payload)) == read).all()
    assert (model.predict(digits.x) == digits.y).mean() > 0.97


def test_values_carry_rows_through_training(digits):
    model, clean = trained(digits, CorrelatedValues(3.0).penalty(digits.x[:20])), trained(digits, None)
    seen, chance = (CorrelatedValues().read(m.vector, (1, 8, 8), 20) for m in (model, clean))
    assert np.median(np.diag(psnr(seen, digits.x[:20]))) > 25 > 15 > np.median(np.diag(psnr(chance, digits.x[:20])))


def test_labels_carry_bits_to_whoever_may_ask(digits):
    payload = bits_of(digits.x[:2], 4)
    abuse = CapacityAbuse(key=3)
    planted = abuse.plant(digits, payload)
    assert len(planted) == len(digits) + -(-len(payload) // 3)  # ten classes carry three bits
    model = TorchLearner(MLP((128,)), Training(epochs=80, learning_rate=3e-3)).fit(planted, Streams(0))
    read = abuse.read(model, digits.shape, len(payload))
    assert exact_records(read, payload, 256) == 2
    assert bits_right(CapacityAbuse(key=4).read(model, digits.shape, len(payload)), payload) < 0.65
