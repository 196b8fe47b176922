"""Stacked forward passes against one network after another, layer by layer; and what must not be stacked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from antivenom.models.network import Network
from antivenom.models.stacked import Draws, stacked, stacked_logits, unsupported

IMAGE, ROW = (3, 6, 6), (5,)
SHARED = nn.ReLU()


def head(*layers: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 4))


# One network per layer type that has a stacked form, and the settings of it that change the arithmetic.
ROWS = {
    "Linear": head(nn.Linear(5, 7), width=7),
    "Linear without bias": head(nn.Linear(5, 7, bias=False), width=7),
    "ReLU": head(nn.Linear(5, 7), nn.ReLU(), width=7),
    "ReLU in place": head(nn.Linear(5, 7), nn.ReLU(inplace=True), width=7),
    "LeakyReLU": head(nn.Linear(5, 7), nn.LeakyReLU(0.3), width=7),
    "Tanh": head(nn.Linear(5, 7), nn.Tanh(), width=7),
    "Sigmoid": head(nn.Linear(5, 7), nn.Sigmoid(), width=7),
    "GELU": head(nn.Linear(5, 7), nn.GELU(approximate="tanh"), width=7),
    "SiLU": head(nn.Linear(5, 7), nn.SiLU(), width=7),
    "Identity": head(nn.Linear(5, 7), nn.Identity(), width=7),
    "Dropout": head(nn.Linear(5, 7), nn.Dropout(0.5), width=7),
    "nested": nn.Sequential(nn.Sequential(nn.Linear(5, 7), nn.Sequential(nn.Tanh())), nn.Linear(7, 4)),
    "one layer used twice": nn.Sequential(nn.Linear(5, 7), SHARED, nn.Linear(7, 6), SHARED, nn.Linear(6, 4)),
    "nothing but one layer": nn.Linear(5, 4),
}
IMAGES = {
    "Conv2d": head(nn.Conv2d(3, 2, 3), width=2 * 4 * 4),
    "Conv2d without bias": head(nn.Conv2d(3, 2, 3, bias=False), width=2 * 4 * 4),
    "Conv2d with everything": head(nn.Conv2d(3, 6, 3, stride=2, padding=2, dilation=2, groups=3), width=6 * 3 * 3),
    "Conv2d same": head(nn.Conv2d(3, 2, 3, padding="same"), width=2 * 6 * 6),
    "MaxPool2d": head(nn.MaxPool2d(2), width=3 * 3 * 3),
    "MaxPool2d overlapping": head(nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), width=3 * 4 * 4),
    "AvgPool2d": head(nn.AvgPool2d(3, stride=1), width=3 * 4 * 4),
    "AdaptiveAvgPool2d": head(nn.AdaptiveAvgPool2d(2), width=3 * 2 * 2),
    "Linear over the last of three dimensions": head(nn.Linear(6, 2), width=3 * 6 * 2),
    "Linear without bias over the last": head(nn.Linear(6, 2, bias=False), width=3 * 6 * 2),
}
EVERY = {name: (module, ROW) for name, module in ROWS.items()} | {
    name: (module, IMAGE) for name, module in IMAGES.items()
}


def doubles(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_every_layer_with_a_stacked_form_is_tried():
    tried = {type(layer) for module, _ in EVERY.values() for layer in module.modules()} - {nn.Sequential}
    assert tried == set(stacked.registry) - {object}


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 4), b=st.integers(1, 4), seed=st.integers(0, 3))
def test_stacked_is_one_network_after_another(name, n, b, seed):
    """In double precision, where rounding is 1e-16 and any other difference would show."""
    module, shape = EVERY[name]
    network = Network(module, shape, 4)
    vectors, x = doubles(seed, n, network.dimension), doubles(seed + 100, n, b, *shape)
    before = x.clone()
    together = stacked_logits(network, vectors, x)
    alone = torch.stack([network.logits(vector, rows) for vector, rows in zip(vectors, x, strict=True)])
    assert together.shape == (n, b, 4)
    assert torch.allclose(together, alone, rtol=1e-12, atol=1e-12)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", EVERY)
def test_gradients_are_those_of_one_network_after_another(name):
    module, shape = EVERY[name]
    network = Network(module, shape, 4)
    vectors, x = doubles(1, 3, network.dimension).requires_grad_(), doubles(2, 3, 2, *shape)
    (together,) = torch.autograd.grad((stacked_logits(network, vectors, x) ** 2).sum(), vectors)
    for i in range(3):
        vector = vectors[i].detach().requires_grad_()
        (alone,) = torch.autograd.grad((network.logits(vector, x[i]) ** 2).sum(), vector)
        assert torch.allclose(together[i], alone, rtol=1e-10, atol=1e-12)


def test_dropout_masks_are_those_of_the_loop():
    """Shards of 3, 2 and 3 rows: the padding row of the second costs no random number."""
    network = Network(nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.5), nn.Dropout(0.2), nn.Linear(6, 4)), ROW, 4)
    vectors, x, sizes = doubles(0, 3, network.dimension), doubles(1, 3, 3, 5), [3, 2, 3]
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    together = stacked_logits(network, vectors, x, Draws(generators, sizes))
    for i, size in enumerate(sizes):
        generator = torch.Generator().manual_seed(i)
        alone = network.training_forward(generator, {})(vectors[i], x[i, :size])
        assert torch.allclose(together[i, :size], alone, rtol=1e-12, atol=1e-12)
        assert torch.equal(generator.get_state(), generators[i].get_state())
    assert not torch.allclose(together, stacked_logits(network, vectors, x))


# --- what must go one after another ----------------------------------------------------------------------------------


class Doubling(nn.Linear):
    """Looks like a dense layer, is none."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Reversed(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        for layer in reversed(list(self)):
            x = layer(x)
        return x


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTM(5, 3, batch_first=True), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x[:, None])[0][:, 0])


def tied() -> nn.Module:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Linear(5, 4))


def twice() -> nn.Module:
    layer = nn.Linear(5, 5)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(5, 4))


def hooked() -> nn.Module:
    module = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 4))
    module[0].register_forward_hook(lambda layer, inputs, output: output + 1)
    return module


def hooked_whole() -> nn.Module:
    module = nn.Sequential(nn.Sequential(nn.Linear(5, 5)), nn.Linear(5, 4))
    module[0].register_forward_pre_hook(lambda layer, inputs: (inputs[0] * 2,))
    return module


def parametrized() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 5)), nn.Linear(5, 4))


UNSUPPORTED = {
    "BatchNorm1d": lambda: nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)),
    "Doubling": lambda: nn.Sequential(Doubling(5, 5), nn.Linear(5, 4)),
    "Reversed": lambda: Reversed(nn.Linear(5, 4), nn.Linear(5, 5)),
    "Recurrent": Recurrent,
    "Linear with shared weights": tied,
    "Linear with a hook": hooked,
    "Sequential": hooked_whole,
    "ParametrizedLinear": parametrized,
    "Flatten of some dimensions": lambda: nn.Sequential(nn.Unflatten(1, (5, 1)), nn.Flatten(1, 2), nn.Linear(5, 4)),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_has_no_stacked_form_is_named(name):
    assert name in unsupported(Network(UNSUPPORTED[name](), ROW, 4))


def test_a_layer_with_weights_used_twice_is_named():
    assert unsupported(Network(twice(), ROW, 4)) == ["Linear with shared weights"]


def test_another_padding_is_named():
    module = head(nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"), width=2 * 6 * 6)
    assert unsupported(Network(module, IMAGE, 4)) == ["Conv2d with reflect padding"]


@pytest.mark.parametrize("name", EVERY)
def test_what_has_a_stacked_form_is_not_named(name):
    module, shape = EVERY[name]
    assert unsupported(Network(module, shape, 4)) == []


def test_a_layer_without_stacked_form_is_an_error_when_asked_for_all_the_same():
    network = Network(UNSUPPORTED["BatchNorm1d"](), ROW, 4)
    with pytest.raises(TypeError, match="BatchNorm1d"):
        stacked_logits(network, torch.zeros(2, network.dimension), torch.zeros(2, 3, 5))
