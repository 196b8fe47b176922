"""Network: an architecture apart from its weights, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from antivenom.core.errors import ModelError
from antivenom.core.streams import Streams
from antivenom.models.architectures import MLP, FashionCNN, SmallCNN
from antivenom.models.estimators import RandomForest
from antivenom.models.network import Network, SeededDropout, build, dropped
from antivenom.models.training import Training, train


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(dropout: float = 0.0) -> Network:
    return build(MLP(hidden=(6,), dropout=dropout), (4,), 3, Streams(1))


def refused(says: str, module: nn.Module, shape: tuple[int, ...] = (4,), classes: int = 3) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        Network(module, shape, classes)
    assert len(str(caught.value).splitlines()) == 1


def test_logits_are_the_plain_modules():
    module = MLP(hidden=(6,), dropout=0.5)((4,), 3)
    network = Network(module, (4,), 3)
    x = torch.randn(7, 4, generator=generator())
    assert torch.equal(network.logits(network.initial, x), module.eval()(x))


def test_other_weights_are_used_without_touching_the_module():
    network = small()
    x = torch.randn(7, 4, generator=generator())
    before = network.logits(network.initial, x)
    assert network.logits(torch.zeros(network.dimension), x).abs().max() == 0
    assert torch.equal(network.logits(network.initial, x), before)


def test_the_number_of_outputs_is_the_number_of_classes():
    refused(r"a model with 3 outputs, one per class, got output shape \(2,\)", nn.Linear(4, 2))
    refused(r"got output shape \(4, 3\)", nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Linear(1, 3)))


def test_rows_of_another_shape_are_refused():
    refused(r"rows of shape \(5,\), got RuntimeError", nn.Linear(4, 3), (5,))
    refused(r"rows of shape \(1, 8, 8\)", nn.Conv2d(3, 4, 3), (1, 8, 8))


class Returns(nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.weight, self.value = nn.Parameter(torch.zeros(1)), value

    def forward(self, x: torch.Tensor) -> object:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.mark.parametrize("value", [None, (torch.zeros(1, 3),), KeyError("many\nlines"), ZeroDivisionError()])
def test_a_module_that_gives_no_tensor_is_refused(value):
    refused(r"a model for rows of shape \(4,\)", Returns(value))


def test_a_module_without_parameters_is_refused():
    refused("parameters to train in Flatten, got none", nn.Flatten())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (SmallCNN(), r"images of at least 16x16, got rows of shape \(4,\): use MLP"),
        (FashionCNN(), r"images of at least 9x9"),
        (MLP(hidden=(-1,)), r"a module for rows of shape \(4,\) from MLP\(hidden=\(-1,\).*, got RuntimeError"),
        (MLP(dropout=2.0), r"a module for rows of shape \(4,\) from MLP\(.*dropout=2.*, got ValueError"),
        (RandomForest(), r"a module for rows of shape \(4,\) from RandomForest\(.*, got TypeError"),
        (lambda shape, classes: "no module", "a torch module"),
    ],
    ids=["too small", "no image", "width", "dropout", "estimator", "text"],
)
@pytest.mark.usefixtures("global_randomness_unchanged")
def test_an_architecture_that_does_not_fit_is_refused(make, says):
    with pytest.raises(ModelError, match=says) as caught:
        build(make, (4,), 3, Streams(0))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("global_randomness_unchanged")
def test_initial_weights_depend_on_the_stream_alone():
    torch.rand(3, generator=generator())
    one, same, other = (build(MLP(), (4,), 3, Streams(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.initial, same.initial)
    assert not torch.equal(one.initial, other.initial)


def test_kernels_are_the_weights_and_not_the_biases():
    network = small()
    assert network.kernels.tolist() == [True] * 24 + [False] * 6 + [True] * 18 + [False] * 3


def test_a_network_moves_as_a_whole(device):
    network = build(lambda shape, classes: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), (4,), 3, Streams(0))
    moved = network.to(device)
    assert moved.initial.device.type == device
    x = torch.ones(2, 4)
    ours, theirs = network.logits(network.initial, x), moved.logits(moved.initial, x.to(device))
    assert torch.allclose(ours, theirs.cpu(), atol=1e-6)
    assert moved.to(device).initial.device == moved.initial.device
    assert network.initial.device.type == "cpu"


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_dropout_by_hand():
    x, noise = torch.ones(4), torch.tensor([0.0, 0.74, 0.75, 0.99])
    assert dropped(x, noise, 0.75).tolist() == [0, 0, 4, 4]
    assert dropped(x, noise, 1.0).tolist() == [0, 0, 0, 0]
    assert dropped(x.double(), noise.double(), 0.1)[3].item() == 1 / 0.9


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    n = 200_000
    out = SeededDropout(p, generator())(torch.ones(n))
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)
    assert out.mean().item() == pytest.approx(1, abs=5 * (p / (1 - p) / n) ** 0.5)


def test_dropout_is_off_in_evaluation():
    x = torch.ones(50)
    assert torch.equal(SeededDropout(0.5, generator()).eval()(x), x)
    network = small(dropout=0.9)
    rows = torch.ones(5, 4)
    assert torch.equal(network.logits(network.initial, rows), network.logits(network.initial, rows))


@pytest.mark.usefixtures("global_randomness_unchanged")
def test_dropout_draws_from_its_own_generator_alone():
    network, x = small(dropout=0.5), torch.ones(5, 4)
    one, same, other = (network.training_forward(generator(seed), {})(network.initial, x) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


class Branches(nn.Module):
    """Not a Sequential: two heads, one dropout used in both."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.drop = nn.Linear(4, 3), nn.Linear(4, 3), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.left(x)) + self.drop(self.right(x))


@pytest.mark.usefixtures("global_randomness_unchanged")
def test_dropout_inside_any_module_is_seeded():
    network, x = build(lambda shape, classes: Branches(), (4,), 3, Streams(0)), torch.ones(50, 4)
    one, same = (network.training_forward(generator(3), {})(network.initial, x) for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, network.logits(network.initial, x))
    assert type(network.module.drop) is nn.Dropout
    assert not network.module.training


class Meeting(nn.Module):
    """Its forward waits until another thread is in its forward, too, and leaves it together with that."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 4))
        self.met: Callable[[], object] = lambda: None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.met()
        out = x @ self.weight.T
        self.met()
        return out


def test_threads_that_train_one_network_use_each_its_own_weights():
    network, x = Network(Meeting(), (4,), 3), torch.ones(2, 4)
    network.module.met = threading.Barrier(2, timeout=20).wait
    forwards = [network.training_forward(generator(), {}) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(lambda of: of[1](torch.full((12,), of[0]), x), zip([1.0, 2.0], forwards, strict=True)))
    assert [output.unique().tolist() for output in outputs] == [[4.0], [8.0]]


@pytest.mark.parametrize("p", [0.25, 0.3])
def test_dropout_in_half_precision_drops_the_same(p):
    x = torch.ones(5000)
    exact, half = (SeededDropout(p, generator()).train()(x.to(kind)) for kind in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert torch.equal(half == 0, exact == 0)
    assert (half == 0).float().mean() == pytest.approx(p, abs=0.02)


# --- buffers ---------------------------------------------------------------------------------------------------------


def test_training_moves_the_given_buffers_and_no_others():
    """Rows are all 2, so after one batch the running mean is 0.9 * 0 + 0.1 * (the layer's output for 2)."""
    network = Network(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), (4,), 3)
    state = {name: value.clone() for name, value in network.buffers.items()}
    network.training_forward(generator(), state)(network.initial, torch.full((5, 4), 2.0))
    assert state["0.running_mean"].tolist() == pytest.approx([0.2] * 4)
    assert state["0.running_var"].tolist() == pytest.approx([0.9] * 4)
    assert state["0.num_batches_tracked"] == 1
    assert network.buffers["0.running_mean"].tolist() == [0] * 4
    assert network.module[0].running_mean.tolist() == [0] * 4


def test_logits_use_the_given_buffers():
    network = Network(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), (4,), 3)
    x = torch.full((1, 4), 2.0)
    shifted = network.buffers | {"0.running_mean": torch.full((4,), 2.0)}
    bias = network.parameters(network.initial)["1.bias"]
    assert torch.allclose(network.logits(network.initial, x, shifted)[0], bias)
    assert not torch.allclose(network.logits(network.initial, x)[0], bias)


class Viewing(nn.Module):
    """A convolution whose outputs are flattened by `view`, as in many tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 3, 3), nn.Linear(27, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).view(-1, 27))


def test_a_module_that_views_its_images_gets_them_in_the_usual_order():
    module = Viewing()
    network = Network(module, (2, 5, 5), 4)
    assert not network.channels_last
    assert Network(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(27, 4)), (2, 5, 5), 4).channels_last
    x = torch.rand(6, 2, 5, 5)
    torch.testing.assert_close(network.logits(network.initial, x), module(x))
    end, _ = train(network, network.initial, x, torch.arange(6) % 4, Training(epochs=2, batch_size=3), Streams(0))
    assert not torch.equal(end, network.initial)
