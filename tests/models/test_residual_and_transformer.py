"""ResNet-18 and the small transformer: sizes and outputs by hand, the interface to layers, channels and stacked weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from antivenom.core.errors import ModelError, NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.data.schema import Schema
from antivenom.models.architectures import ResNet18, TinyTransformer
from antivenom.models.augmentations import Crop, Flip
from antivenom.models.layers import Channel
from antivenom.models.network import build
from antivenom.models.schedules import Cosine
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner

STREAMS = Streams(3)
SMALL = TinyTransformer(vocabulary=30, width=8, heads=2, dropout=0.0, word_dropout=0.0)


def model_of(make: ResNet18 | TinyTransformer, shape: tuple[int, ...], classes: int = 3) -> TorchModel:
    network = build(make, shape, classes, STREAMS)
    return TorchModel(network, network.initial, network.buffers)


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3, 16, 16), dtype=np.float32)


def texts(n: int, length: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 30, (n, length))


# --- ResNet-18 ---------------------------------------------------------------------------------------------------------


def test_parameters_of_the_residual_network_by_hand() -> None:
    def group(entering: int, filters: int) -> int:
        first = 9 * entering * filters + 9 * filters**2 + 4 * filters  # two convolutions and two batch norms
        shortcut = entering * filters + 2 * filters if entering != filters else 0
        return first + shortcut + 18 * filters**2 + 4 * filters

    groups = group(64, 64) + group(64, 128) + group(128, 256) + group(256, 512)
    expected = 27 * 64 + 128 + groups + 512 * 10 + 10
    assert sum(p.numel() for p in ResNet18()((3, 32, 32), 10).parameters()) == expected == 11_173_962


def test_sizes_inside_the_residual_network() -> None:
    network = build(ResNet18(width=2), (3, 32, 32), 5, STREAMS)
    convolutions = [layer for layer in network.layers if layer.kind == "Conv2d" and "shortcut" not in layer.name]
    sides = [32] * 5 + [16] * 4 + [8] * 4 + [4] * 4
    assert [layer.shape for layer in convolutions] == [
        (filters, side, side) for filters, side in zip([2] * 5 + [4] * 4 + [8] * 4 + [16] * 4, sides, strict=True)
    ]
    assert all(layer.normalised_by for layer in network.layers if layer.kind == "Conv2d")
    assert network.head().channels == 5
    assert len(network.hidden()) == 20  # 17 convolutions and 3 of shortcuts
    assert network.skipped() == ()


def test_a_block_adds_its_input() -> None:
    """With the last batch norm of a block at 0, the block returns its input, which is not negative."""
    module = ResNet18(width=2)((3, 8, 8), 2).eval()
    block = module[3]
    torch.nn.init.zeros_(block.second_norm.weight)
    x = torch.rand(2, 2, 8, 8)
    assert torch.equal(block(x), x)


def test_a_pruned_filter_of_the_residual_network_is_silent() -> None:
    model = model_of(ResNet18(width=2), (3, 16, 16))
    name = model.network.hidden()[1].name
    norm = model.network.hidden()[1].normalised_by
    pruned = model.scaled({Channel(name, 1): 0.0})
    seen = pruned.features(images(4), norm).reshape(4, 2, -1)
    assert not seen[:, 1].any()
    assert seen[:, 0].any()
    assert pruned.features(images(4)).shape == (4, 16)


def test_the_residual_network_trains_with_augmentation_and_schedule() -> None:
    x, y = images(32)[:, :, :8, :8], np.arange(32) % 2
    x[y == 1, 0] *= 0.2  # class 1 has little red
    training = Training(epochs=2, batch_size=16, learning_rate=0.01, schedule=Cosine(), augmentation=(Flip(), Crop(1)))
    model = learner(ResNet18(width=2), training).fit(Dataset(x, y, ("a", "b")), STREAMS)
    start = model.network.initial
    assert set(model.network.running) == {
        name for name in model.buffers if "norm" in name or name.split(".")[0] == "1"
    } | {name for name in model.buffers if "shortcut" in name}
    assert not torch.equal(model.buffers["1.running_mean"], model.network.buffers["1.running_mean"])
    assert (model.vector - start).abs().max() > 0.01


def test_rows_that_are_no_images_are_refused() -> None:
    with pytest.raises(ModelError, match="images of at least 8x8"):
        ResNet18()((5,), 2)
    with pytest.raises(PluginError, match=r"ResNet18\.width >= 1"):
        ResNet18(width=0)


# --- the transformer ---------------------------------------------------------------------------------------------------


def by_hand(model: TorchModel, x: np.ndarray, heads: int) -> Tensor:
    """Logits of a transformer of one layer, text by text without its padding, head by head."""
    p = model.network.parameters(model.vector)
    out = []
    for row in x:
        row = torch.tensor(row[row != 0])
        inner = p["embedding.weight"][row] + p["positions.weight"][: len(row)]
        normed = F.layer_norm(inner, (8,), p["layers.0.attention_norm.weight"], p["layers.0.attention_norm.bias"])
        parts = [
            normed @ p[f"layers.0.attention.{name}.weight"].T + p[f"layers.0.attention.{name}.bias"]
            for name in ("query", "key", "value")
        ]
        size = 8 // heads
        attended = []
        for h in range(heads):
            query, key, value = (part[:, h * size : (h + 1) * size] for part in parts)
            attended.append((query @ key.T / size**0.5).softmax(1) @ value)
        joined = torch.cat(attended, 1) @ p["layers.0.attention.joined.weight"].T + p["layers.0.attention.joined.bias"]
        inner = inner + joined
        normed = F.layer_norm(inner, (8,), p["layers.0.dense_norm.weight"], p["layers.0.dense_norm.bias"])
        wide = (normed @ p["layers.0.wide.weight"].T + p["layers.0.wide.bias"]).relu()
        inner = inner + wide @ p["layers.0.narrow.weight"].T + p["layers.0.narrow.bias"]
        mean = F.layer_norm(inner, (8,), p["norm.weight"], p["norm.bias"]).mean(0)
        out.append(mean @ p["head.weight"].T + p["head.bias"])
    return torch.stack(out)


def padded(n: int) -> np.ndarray:
    x = texts(n)
    for i, row in enumerate(x):
        row[6 - i % 5 :] = 0
    return x


def test_logits_of_the_transformer_by_hand() -> None:
    model = model_of(SMALL, (6,))
    assert model.network.tokens
    assert model.logits(padded(7)).numpy() == pytest.approx(by_hand(model, padded(7), 2).numpy(), abs=1e-5)


def test_a_text_of_padding_alone_has_finite_logits() -> None:
    assert torch.isfinite(model_of(SMALL, (6,)).logits(np.zeros((2, 6), dtype=np.int64))).all()


def test_the_transformer_under_vmap_and_functional_call() -> None:
    model = model_of(SMALL, (6,))
    network, x, y = model.network, torch.tensor(padded(4)), torch.tensor([0, 1, 2, 0])
    vectors = torch.stack([model.vector, 1.5 * model.vector])

    def loss(vector: Tensor, row: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(network.module, network.parameters(vector), (row[None],))
        return F.cross_entropy(logits, label[None])

    both = vmap(lambda vector: functional_call(network.module, network.parameters(vector), (x,)))(vectors)
    assert torch.allclose(both, torch.stack([network.logits(vector, x) for vector in vectors]), atol=1e-6)
    per_row = vmap(grad(loss), in_dims=(None, 0, 0))(model.vector, x, y)
    one = grad(loss)(model.vector, x[2], y[2])
    assert torch.allclose(per_row[2], one, atol=1e-6)
    assert not torch.allclose(per_row[2], per_row[1], atol=1e-6)


def test_layers_activations_and_features_of_the_transformer() -> None:
    model = model_of(SMALL, (6,))
    names = [layer.name for layer in model.network.layers]
    assert names[names.index("embedding") :][:3] == ["embedding", "positions", "layers.0.attention_norm"]
    assert model.network.head().name == names[-1] == "head"
    hidden = [layer.name for layer in model.network.hidden()]
    dense = ["attention.query", "attention.key", "attention.value", "attention.joined", "wide", "narrow"]
    assert hidden == [f"layers.0.{name}" for name in dense]
    x = padded(5)
    assert model.features(x).shape == (5, 8)
    with torch.no_grad():
        seen = model.network.activations(model.vector, torch.tensor(x), ["layers.0.wide", "head"])
    assert seen["layers.0.wide"].shape == (5, 6, 16)
    assert torch.equal(seen["head"], model.logits(x))


def test_scaled_channels_of_the_transformer() -> None:
    model, x = model_of(SMALL, (6,)), padded(5)
    name = "layers.0.wide"
    before = model.features(x, name).reshape(5, 6, 16)
    after = model.scaled({Channel(name, 3): 2.0, Channel(name, 5): 0.0}).features(x, name).reshape(5, 6, 16)
    factors = np.ones(16)
    factors[[3, 5]] = 2, 0
    assert after == pytest.approx(before * factors, abs=1e-6)


def test_word_dropout_spares_padding_and_is_off_afterwards() -> None:
    make = TinyTransformer(vocabulary=30, width=8, heads=2, dropout=0.0, word_dropout=0.5)
    network = build(make, (6,), 3, STREAMS)
    seen: dict[str, Tensor] = {}

    def see(name: str, _: nn.Module, entered: Tensor, out: Tensor) -> None:
        seen[name] = entered

    x = torch.tensor(padded(200))
    network.training_forward(Streams(0).torch("dropout"), {}, see)(network.initial, x)
    shown = seen["embedding"]
    changed = shown != x
    assert (shown[changed] == 1).all()
    assert not changed[x == 0].any()
    assert changed[x > 1].float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(network.logits(network.initial, x), network.logits(network.initial, x))


def test_the_transformer_learns_the_order_of_words() -> None:
    """Class 1 if word 5 comes before word 6. A bag of words cannot tell the classes apart."""
    rng = np.random.default_rng(0)
    x = rng.integers(7, 30, (160, 6))
    y = np.arange(160) % 2
    for row, label in zip(x, y, strict=True):
        first, second = np.sort(rng.permutation(6)[:2])
        row[[first, second]] = (5, 6) if label else (6, 5)
    data = Dataset(x, y, ("a", "b"), schema=Schema.tokens([str(i) for i in range(30)], 6))
    training = Training(epochs=25, batch_size=40, learning_rate=0.01, schedule=Cosine())
    model = learner(TinyTransformer(vocabulary=30, width=16, heads=2, dropout=0.0, word_dropout=0.0), training)
    assert (model.fit(data, STREAMS).predict(x) == y).mean() >= 0.95


def test_what_the_transformer_refuses() -> None:
    with pytest.raises(ModelError, match=r"token rows \(n, length\) for TinyTransformer"):
        TinyTransformer()((1, 8, 8), 2)
    for fields in (
        {"width": 9},
        {"heads": 0},
        {"vocabulary": 1},
        {"depth": 0},
        {"dropout": 1.0},
        {"word_dropout": -0.1},
    ):
        with pytest.raises(PluginError):
            TinyTransformer(**fields)
    table = Dataset(np.random.default_rng(0).random((20, 6)), np.arange(20) % 2, ("a", "b"))
    with pytest.raises((ModelError, NotApplicable)) as caught:
        learner(SMALL, Training(epochs=1)).fit(table, STREAMS)
    assert len(str(caught.value).splitlines()) == 1


def test_a_vocabulary_that_is_too_small_is_one_line() -> None:
    data = Dataset(texts(20) + 5, np.arange(20) % 2, ("a", "b"), schema=Schema.tokens([str(i) for i in range(40)], 6))
    with pytest.raises(ModelError) as caught:
        learner(SMALL, Training(epochs=1)).fit(data, STREAMS)
    assert len(str(caught.value).splitlines()) == 1
