"""A network's layers in the order of execution, its head, its channels, and what it holds by role."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from antivenom.core.errors import ModelError, NotApplicable
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.defences import FinePruning
from antivenom.federated.clients import Client, one_by_one, trained
from antivenom.models.architectures import MLP, SmallCNN
from antivenom.models.layers import Channel
from antivenom.models.layout import Role
from antivenom.models.network import Network, build
from antivenom.models.stacked import stacked_logits, unsupported
from antivenom.models.training import Training, train
from antivenom.models.wrappers import TorchLearner, TorchModel, learner
from antivenom.scenarios.pipeline import Pipeline

STREAMS = Streams(4)
FEW = Training(epochs=2, batch_size=16, learning_rate=0.01)


class HeadFirst(nn.Module):
    """Declares its head before the layers that it executes before it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.second = nn.Linear(8, 6)
        self.first = nn.Linear(5, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu())


class Auxiliary(HeadFirst):
    """Runs a second head last whose answer is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        self.unused(x)
        return out


class Words(nn.Module):
    """Embeddings of tokens, averaged; the output weights are not the embedding's."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 3)
        self.head = nn.Linear(3, 3 if not tied else 11)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).mean(1))


class Adapted(nn.Module):
    """A frozen dense layer with a trained low-rank addition (LoRA)."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) * 0.3)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.down.T @ self.up.T


def blobs() -> Dataset:
    rng = np.random.default_rng(1)
    y = np.arange(60) % 3
    return Dataset(rng.normal(size=(60, 5)) + 3 * np.eye(5)[y], y, ("a", "b", "c"))


def model_of(module: nn.Module, shape: tuple[int, ...] = (5,), classes: int = 3) -> TorchModel:
    network = Network(module, shape, classes)
    return TorchModel(network, network.initial, network.buffers)


def names(network: Network) -> list[str]:
    return [layer.name for layer in network.layers]


# --- order and head --------------------------------------------------------------------------------------------------


def test_layers_come_in_the_order_of_execution():
    network = Network(HeadFirst(), (5,), 3)
    assert names(network) == ["first", "second", "head"]
    assert [layer.kind for layer in network.layers] == ["Linear"] * 3
    assert [layer.shape for layer in network.layers] == [(8,), (6,), (3,)]
    cnn = build(SmallCNN(), (1, 28, 28), 10, STREAMS)
    assert [layer.kind for layer in cnn.layers if layer.mixes] == ["Conv2d", "Conv2d", "Linear", "Linear"]
    assert cnn.layers[0].shape == (16, 24, 24)


@pytest.mark.parametrize("module", [HeadFirst(), Auxiliary()], ids=["declared first", "not the last to run"])
def test_the_head_is_found_from_the_trace(module):
    model = model_of(module)
    assert model.network.head().name == "head"
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    with torch.no_grad():
        entering = module.second(module.first(torch.tensor(x)).relu()).relu().numpy()
    assert np.array_equal(model.features(x), entering)
    assert not np.array_equal(model.features(x)[:, :5], x)


def test_features_of_any_layer():
    module = HeadFirst()
    model, x = model_of(module), np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    with torch.no_grad():
        first = module.first(torch.tensor(x))
    assert np.array_equal(model.features(x, "first"), first.numpy())
    assert np.array_equal(model.features(x, -2), first.relu().numpy())
    assert np.array_equal(model.features(x, 0), x)
    with pytest.raises(ModelError, match="did you mean 'first'"):
        model.features(x, "frist")
    with pytest.raises(ModelError, match="a layer from -3 to 2, got 3"):
        model.features(x, 3)
    seen = model.network.activations(model.vector, torch.tensor(x), ["second", "head"])
    assert torch.equal(seen["head"], model.logits(x))


def test_watching_leaves_the_module_as_it_was():
    module = HeadFirst()
    model_of(module).features(np.zeros((2, 5), np.float32))
    assert not any(layer._forward_hooks for layer in module.modules())


# --- channels --------------------------------------------------------------------------------------------------------


def conv_with_norm() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )
    with torch.no_grad():
        module[1].running_mean.uniform_(-1, 1)
        module[1].bias.uniform_(0.1, 1)
    return module


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.5])
@pytest.mark.parametrize(("name", "given"), [("0", "1"), ("3", "3")], ids=["with batch norm", "without"])
def test_a_scaled_channel_gives_that_multiple(name, given, factor):
    model = model_of(conv_with_norm(), (1, 8, 8), 2)
    x = np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)
    scaled = model.scaled({Channel(name, 2): factor})
    before, after = (
        m.features(x, given).reshape(5, -1, *m.network.layers[0].shape[1:][:0], 1) for m in (model, scaled)
    )
    size = 36 if given == "1" else 16
    before, after = before.reshape(5, -1, size), after.reshape(5, -1, size)
    expected = before.copy()
    expected[:, 2] *= factor
    assert np.allclose(after, expected, atol=1e-6)
    assert np.abs(before[:, 2]).max() > 0.1


def test_channels_are_those_of_hidden_layers_and_the_rest_is_named():
    model = model_of(conv_with_norm(), (1, 8, 8), 2)
    assert model.channels() == [*(Channel("0", i) for i in range(3)), *(Channel("3", i) for i in range(4))]
    assert model.network.skipped() == ()
    model = model_of(nn.Sequential(Adapted(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3)))
    assert model.channels() == []
    assert model.network.skipped() == ("0.base", "0")
    with pytest.raises(ModelError, match="a channel that `channels"):
        model.scaled({Channel("0", 1): 0.0})


@pytest.mark.parametrize("training", [FEW, Training(2, 16, "sgd", 0.1, momentum=0.9)], ids=["adam", "sgd"])
def test_a_pruned_channel_stays_pruned_in_further_training(training):
    data = blobs()
    maker = TorchLearner(MLP((6,)), training)
    cut = maker.fit(data, STREAMS).scaled({Channel("1", 2): 0.0})
    tuned = maker.fit(data, STREAMS.child("more"), start=cut)
    weights = tuned.network.parameters(tuned.vector)
    assert not weights["1.weight"][2].any()
    assert weights["1.bias"][2] == 0
    assert not torch.equal(weights["1.weight"][1], cut.network.parameters(cut.vector)["1.weight"][1])
    again = maker.fit(data, STREAMS.child("still more"), start=tuned)
    assert not again.network.parameters(again.vector)["1.weight"][2].any()


def test_fine_pruning_cuts_hidden_units_wherever_the_head_is_declared():
    """It once cut the weights of the inputs, since the last layer by declaration was the first to run."""
    data = blobs()
    maker = learner(HeadFirst, Training(epochs=20, batch_size=16, learning_rate=0.02))
    model = maker.fit(data, STREAMS)
    context = Pipeline(maker.architecture, FEW, "cpu", STREAMS).context()
    mended = FinePruning(max_drop=0.2, epochs=1)(model, data, context)
    weights = mended.network.parameters(mended.vector)
    dead = (weights["second.weight"] == 0).all(dim=1)
    assert dead.any()
    assert not (weights["first.weight"] == 0).any()
    assert not (weights["head.weight"] == 0).any()


def test_a_network_without_hidden_units_cannot_be_fine_pruned():
    maker = learner(MLP(()), FEW)
    with pytest.raises(NotApplicable, match="a network with a hidden layer"):
        FinePruning()(maker.fit(blobs(), STREAMS), blobs(), Pipeline(MLP(()), FEW, "cpu", STREAMS).context())


# --- roles -----------------------------------------------------------------------------------------------------------


def test_the_layout_says_what_is_trained():
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    module[0].weight.requires_grad_(False)
    network = Network(module, (5,), 3)
    roles = dict(zip(network.layout.names, network.layout.roles, strict=True))
    assert roles["0.weight"] is Role.FROZEN
    assert roles["0.bias"] is roles["1.weight"] is Role.TRAINED
    assert roles["1.running_mean"] is Role.BUFFER
    assert roles["1.num_batches_tracked"] is Role.COUNTER
    assert network.dimension == 4 + 4 + 4 + 12 + 3
    assert network.running == ("1.running_mean", "1.running_var", "1.num_batches_tracked")


def test_a_constant_buffer_is_no_running_statistic():
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.full((5,), 2.0))
            self.linear = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x - self.mean)

    network = Network(Centred(), (5,), 3)
    assert list(network.buffers) == ["mean"]
    assert network.running == ()


def test_a_buffer_that_is_assigned_anew_is_kept_up_to_date():
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.zeros(()))
            self.linear = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.steps = self.steps + 1
            return self.linear(x)

    network = Network(Counts(), (5,), 3)
    assert network.running == ("steps",)
    x, y = torch.tensor(blobs().x), torch.tensor(blobs().y)
    _, state = train(network, network.initial, x, y, FEW, STREAMS)
    assert state["steps"] == 8
    assert network.buffers["steps"] == 0


def frozen_base() -> nn.Module:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    module[0].requires_grad_(False)
    return module


@pytest.mark.parametrize(
    "module",
    [frozen_base(), nn.Sequential(Adapted(nn.Linear(5, 6)), nn.ReLU(), nn.Linear(6, 3))],
    ids=["frozen layer", "low rank"],
)
def test_frozen_parameters_stay_as_they_are(module):
    before = {name: p.detach().clone() for name, p in module.named_parameters() if not p.requires_grad}
    model = learner(module, FEW).fit(blobs(), STREAMS)
    assert set(model.network.frozen) == set(before)
    assert all(torch.equal(model.network.frozen[name], value) for name, value in before.items())
    assert model.network.dimension == sum(p.numel() for p in module.parameters() if p.requires_grad)
    hand = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(hand, lr=FEW.learning_rate)
    x, y = torch.tensor(blobs().x), torch.tensor(blobs().y)
    for rows in FEW.batches(60, STREAMS.child("fit").numpy("order")):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
        optimizer.step()
    assert torch.allclose(model.vector, torch.cat([p.detach().flatten() for p in hand]), atol=1e-6)


def test_clients_with_a_frozen_base_equal_the_loop():
    network = Network(frozen_base(), (5,), 3)
    assert unsupported(network) == []
    x, y = torch.tensor(blobs().x), torch.tensor(blobs().y)
    clients = [Client(network, network.initial, x[i::3], y[i::3], FEW, STREAMS.child("agent", i)) for i in range(3)]
    assert torch.allclose(trained(clients), one_by_one(clients), atol=1e-6)
    vectors = torch.stack([network.initial, network.initial * 2])
    both = stacked_logits(network, vectors, x.expand(2, *x.shape))
    assert torch.allclose(both[1], network.logits(vectors[1], x), atol=1e-6)


def test_networks_with_other_frozen_numbers_are_not_trained_as_one():
    one, other = Network(frozen_base(), (5,), 3), Network(frozen_base(), (5,), 3)
    assert one.architecture == one.architecture != other.architecture
    assert Network(nn.Linear(5, 3), (5,), 3).architecture == Network(nn.Linear(5, 3), (5,), 3).architecture


def test_a_tied_parameter_counts_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.two(self.one(x)))

    network = Network(Tied(), (5,), 3)
    assert network.dimension == 25 + 5 + 5 + 18
    x = torch.randn(4, 5)
    halved = network.initial.clone()
    network.parameters(halved)["one.weight"].mul_(0.5)
    by_hand = network.module.one.weight.detach() * 0.5
    one = x @ by_hand.T + network.module.one.bias
    expected = network.module.head(one @ by_hand.T + network.module.two.bias)
    assert torch.allclose(network.logits(halved, x), expected, atol=1e-6)
    assert [channel.layer for channel in TorchModel(network, network.initial).channels()] == ["one"] * 5


def test_tokens_are_rows_of_whole_numbers():
    network = Network(Words(), (4,), 3)
    assert network.tokens
    model = TorchModel(network, network.initial)
    x = np.array([[1, 2, 3, 10], [0, 0, 0, 0]])
    assert np.array_equal(model.predict(x), model.predict(x.astype(np.float32)))
    with pytest.raises(ModelError, match="token rows of whole numbers, got fractions"):
        model.predict(x + 0.5)
    assert model.features(x).shape == (2, 3)
    tied = Network(Words(tied=True), (4,), 11)
    assert tied.dimension == 33 + 11


def test_a_model_of_tokens_learns():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (3 * rng.integers(0, 3, (90, 4)) + y[:, None] + 1).astype(np.float32)
    data = Dataset(x, y, ("a", "b", "c"))
    model = learner(Words, Training(epochs=30, batch_size=10, learning_rate=0.05)).fit(data, STREAMS)
    assert (model.predict(data.x) == y).mean() > 0.95


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_parameters_of_another_precision(dtype):
    module = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).to(dtype)
    network = Network(module, (5,), 3)
    assert network.initial.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
    model = learner(module, Training(epochs=20, batch_size=16, learning_rate=0.02)).fit(blobs(), STREAMS)
    assert model.vector.dtype is network.initial.dtype
    assert (model.predict(blobs().x) == blobs().y).mean() > 0.9
    if dtype is not torch.float64:
        assert unsupported(network) == [f"Linear with {dtype} weights"]


def test_lazy_and_parametrized_layers():
    lazy = Network(nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(3)), (5,), 3)
    assert lazy.dimension == 24 + 15
    normed = model_of(nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3)))
    assert names(normed.network) == ["0", "1", "2"]
    assert normed.channels() == []
    assert normed.network.skipped() == ("0",)


def test_a_transformer_has_features():
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, 8)
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(self.embedding(x)).mean(1))

    model = model_of(Reader(), (4,))
    assert model.network.head().name == "head"
    assert model.features(np.zeros((2, 4), dtype=np.int64)).shape == (2, 8)
    assert {"block.linear1", "block.self_attn"} <= set(names(model.network))


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (nn.Linear(5, 3).requires_grad_(False), "parameters to train in Linear, got only frozen ones"),
        (nn.Linear(5, 3, dtype=torch.complex64), "real parameters, got torch.complex64 in weight"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(module: nn.Module, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        Network(module, (5,), 3)


def test_a_batch_of_one_row_in_a_batch_norm_is_one_line() -> None:
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    training = Training(epochs=1, batch_size=59)
    with pytest.raises(ModelError, match="choose a batch_size that leaves no single row") as caught:
        learner(module, training).fit(blobs(), STREAMS)
    assert len(str(caught.value).splitlines()) == 1


def test_any_module_says_what_failed_in_training() -> None:
    class Fails(nn.Linear):
        def forward(self, x: Any) -> Tensor:
            if self.training:
                raise KeyError("many\nlines")
            return super().forward(x)

    with pytest.raises(ModelError, match="got KeyError") as caught:
        learner(Fails(5, 3), FEW).fit(blobs(), STREAMS)
    assert len(str(caught.value).splitlines()) == 1
