"""Parameters as one vector and back: nothing lost, nothing copied, differentiable."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from antivenom.models.network import Network
from antivenom.models.vector import flatten, unflatten

SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=3).map(torch.Size), min_size=1, max_size=5)


def named(shapes: list[torch.Size]) -> dict[str, torch.Size]:
    return {f"p{i}": shape for i, shape in enumerate(shapes)}


@given(SHAPES)
def test_flatten_and_unflatten_undo_each_other(shapes):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    vector = flatten(tensors)
    assert vector.shape == (sum(shape.numel() for shape in shapes),)
    back = unflatten(vector, named(shapes))
    assert all(torch.equal(a, b) for a, b in zip(tensors, back.values(), strict=True))
    assert torch.equal(flatten(back.values()), vector)


@given(SHAPES, st.integers(0, 3))
def test_stacked_vectors_unflatten_row_by_row(shapes, n):
    d = sum(shape.numel() for shape in shapes)
    matrix = torch.arange(n * d, dtype=torch.float32).view(n, d)
    stacked = unflatten(matrix, named(shapes))
    for i, row in enumerate(matrix):
        for name, tensor in unflatten(row, named(shapes)).items():
            assert torch.equal(stacked[name][i], tensor)
    assert all(tensor.shape == (n, *shape) for tensor, shape in zip(stacked.values(), shapes, strict=True))


def test_by_hand():
    parts = unflatten(torch.arange(7.0), {"weight": torch.Size([2, 3]), "bias": torch.Size([])})
    assert parts["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert parts["bias"].item() == 6


def test_unflatten_gives_views():
    vector = torch.zeros(6)
    unflatten(vector, {"a": torch.Size([2]), "b": torch.Size([4])})["b"][0] = 1
    assert vector.tolist() == [0, 0, 1, 0, 0, 0]


def test_both_ways_are_differentiable():
    shapes = {"weight": torch.Size([2, 3]), "bias": torch.Size([2])}
    vector = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def there_and_back(v):
        parts = unflatten(v, shapes)
        return flatten([parts["weight"] ** 2, parts["bias"].exp()])

    assert torch.autograd.gradcheck(there_and_back, vector)
    assert torch.autograd.gradcheck(
        lambda v: there_and_back(v.view(2, 8)[0]), torch.cat([vector, vector]).detach().requires_grad_()
    )


def test_logits_are_differentiable_in_the_vector_and_in_the_inputs():
    network = Network(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (3,), 2)
    network.module.double()
    vector = network.initial.double().requires_grad_()
    x = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, rows: network.logits(v, rows), (vector, x))


def test_running_statistics_are_not_parameters():
    """Five inputs to four outputs, four scales and shifts; mean, variance and count stay apart."""
    network = Network(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), (5,), 3)
    assert network.dimension == (5 * 4 + 4) + (4 + 4) + (4 * 3 + 3)
    assert set(network.buffers) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert not set(network.buffers) & set(network.shapes)
    assert network.kernels.sum() == 5 * 4 + 4 * 3
