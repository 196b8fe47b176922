"""Repairs: their parts by hand, and each on a small backdoored network with batch norm."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antivenom import defences
from antivenom.core.errors import AntivenomError, DataError, ModelError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import Kind, entries
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.defences.repair.adversarial import divergence, hypergradient
from antivenom.defences.repair.distillation import attention
from antivenom.defences.repair.loops import Passes, accuracy, deepest_cut, descended, settings
from antivenom.defences.repair.masks import cut_by_mask, masked_logits
from antivenom.defences.repair.neurons import neurons_of
from antivenom.defences.repair.pruning import channel_bounds, pruned_layer
from antivenom.defences.repair.tuning import ascent
from antivenom.models.architectures import MLP, SmallCNN
from antivenom.models.network import Network, build
from antivenom.models.schedules import Constant, Cosine, Cyclic
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner, TorchModel, loop
from antivenom.scenarios.pipeline import Pipeline
from antivenom.triggers import Patch

STREAMS, TRIGGER = Streams(3), Patch(3)


class Normed:
    """Two convolutions with batch norm."""

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(256, num_classes)),
        )


@pytest.fixture(scope="module")
def offered() -> tuple[TorchModel, Dataset, Dataset]:
    """A model that gives class 0 to digits with a patch, clean rows of the user, and test rows."""
    split = load("digits", Streams(0))
    theirs, ours = split.train[:900], split.train[900:1200]
    x, y = np.array(theirs.x), np.array(theirs.y)
    bad = np.flatnonzero(y != 0)[:90]
    x[bad], y[bad] = TRIGGER(x[bad]), 0
    training = Training(epochs=8, batch_size=50, learning_rate=0.01)
    model = TorchLearner(Normed(), training).fit(Dataset(x, y, theirs.classes), STREAMS)
    return model, ours, split.test


def context(model: Any = Normed()) -> DefenceContext:
    return Pipeline(model, Training(epochs=2, batch_size=50, learning_rate=0.01), "cpu", STREAMS).context()


def model_of(module: nn.Module, shape: tuple[int, ...] = (5,), classes: int = 3) -> TorchModel:
    network = Network(module, shape, classes)
    return TorchModel(network, network.initial, network.buffers)


def scores(model: TorchModel, test: Dataset) -> tuple[float, float]:
    """Clean accuracy and success rate of the attack."""
    others = test.y != 0
    return float((model.predict(test.x) == test.y).mean()), float((model.predict(TRIGGER(test.x[others])) == 0).mean())


# --- on a backdoored network -----------------------------------------------------------------------------------------


def test_the_backdoor_works(offered: tuple[TorchModel, Dataset, Dataset]) -> None:
    clean, asr = scores(offered[0], offered[2])
    assert clean > 0.9
    assert asr > 0.9


@pytest.mark.parametrize(
    "repair",
    [
        defences.FineTuning(epochs=10, learning_rate=0.3),
        defences.FTSAM(epochs=10, learning_rate=0.1),
        defences.NAD(epochs=10, learning_rate=0.1, teacher_epochs=5),
        defences.FST(epochs=15, learning_rate=0.05),
        defences.SAU(epochs=10, learning_rate=0.01),
        defences.TriggerUnlearning(epochs=20, steps=100, learning_rate=0.05),
    ],
    ids=lambda repair: type(repair).__name__,
)
def test_a_repair_removes_the_backdoor(repair: Any, offered: tuple[TorchModel, Dataset, Dataset]) -> None:
    model, ours, test = offered
    before = model.vector.clone()
    clean, asr = scores(repair(model, ours, context()), test)
    assert torch.equal(model.vector, before)
    assert asr < 0.45
    assert clean > 0.8


@pytest.mark.parametrize(
    "repair",
    [
        defences.FinePruning(max_drop=0.1, epochs=0),
        defences.ANP(iterations=60, max_drop=0.1),
        defences.RNP(iterations=40, max_drop=0.1),
    ],
    ids=lambda repair: type(repair).__name__,
)
def test_pruning_stops_at_the_accuracy_on_the_clean_rows(
    repair: Any, offered: tuple[TorchModel, Dataset, Dataset]
) -> None:
    model, ours, _ = offered
    cut = repair(model, ours, context())
    x, y = torch.tensor(ours.dense), torch.tensor(ours.y)
    assert accuracy(cut, x, y) >= accuracy(model, x, y) - 0.1 - 1e-9
    assert not cut.kept.all()
    untouched = dataclasses.replace(repair, max_drop=0.0)(model, ours, context())
    assert accuracy(untouched, x, y) >= accuracy(model, x, y) - 1e-9
    assert (~untouched.kept).sum() < (~cut.kept).sum()


def test_the_ascent_ends_at_the_step_that_reaches_the_accuracy(offered: tuple[TorchModel, Dataset, Dataset]) -> None:
    model, ours, _ = offered
    x, y = torch.tensor(ours.dense), torch.tensor(ours.y)
    found = defences.RNP(unlearn_accuracy=0.8).unlearnt(model, x, y, STREAMS)
    assert 0.5 < accuracy(found, x, y) <= 0.8  # a whole epoch would end below
    assert defences.RNP(unlearn_accuracy=1.0).unlearnt(model, x, y, STREAMS) is model


def test_the_adversarial_repairs_leave_the_statistics_of_batch_norm_alone(
    offered: tuple[TorchModel, Dataset, Dataset],
) -> None:
    model, ours, _ = offered
    for repair in (defences.IBAU(rounds=1), defences.SAU(epochs=1)):
        found = repair(model, ours, context())
        assert all(torch.equal(found.buffers[name], b) for name, b in model.buffers.items())
        assert not torch.equal(found.vector, model.vector)


def test_pruned_weights_survive_every_repair(offered: tuple[TorchModel, Dataset, Dataset]) -> None:
    model, ours, _ = offered
    cut = model.scaled({model.channels()[9]: 0.0})
    assert cut.kept is not None
    for repair in (defences.FTSAM(epochs=1), defences.FST(epochs=1), defences.IBAU(rounds=1), defences.SAU(epochs=1)):
        assert not repair(cut, ours, context()).vector[~cut.kept].any()


# --- parts by hand ---------------------------------------------------------------------------------------------------


def test_no_batch_has_a_single_row() -> None:
    for rows in range(2, 300):
        sizes = [len(batch) for batch in settings(rows, 1, 0.1).batches(rows, np.random.default_rng(0))]
        assert min(sizes) > 1
        assert sum(sizes) == rows


def test_plain_descent_is_the_training_loop(offered: tuple[TorchModel, Dataset, Dataset]) -> None:
    model, ours, _ = offered
    x, y, training = torch.tensor(ours.dense), torch.tensor(ours.y), settings(300, 2, 0.05)

    def plain(passes: Passes, vector: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        return torch.autograd.grad(F.cross_entropy(passes.training(vector, rows), labels), vector)[0]

    one, other = descended(model, x, y, training, STREAMS, plain), loop(model, x, y, training, STREAMS)
    assert torch.allclose(one.vector, other.vector, atol=1e-6)
    assert all(torch.allclose(one.buffers[name].float(), b.float()) for name, b in other.buffers.items())


@pytest.mark.parametrize(("cyclic", "schedule"), [(False, Cosine()), (True, Cyclic())], ids=["cosine", "cyclic"])
def test_fine_tuning_is_the_training_loop(
    cyclic: bool, schedule: Any, offered: tuple[TorchModel, Dataset, Dataset]
) -> None:
    model, ours, _ = offered
    found = defences.FineTuning(2, 0.05, cyclic)(model, ours, context())
    training = Training(2, 64, "sgd", 0.05, momentum=0.9, schedule=schedule)
    x, y = torch.tensor(ours.dense), torch.tensor(ours.y)
    expected = loop(model, x, y, training, context().streams.child("tuning"))
    assert torch.allclose(found.vector, expected.vector, atol=1e-6)


def test_the_step_of_adaptive_sam() -> None:
    """T = |w| = (1, 3), g = (1, 1): rho T^2 g / |T g| = 2 (1, 9) / sqrt(10)."""
    found = ascent(torch.tensor([1.0, -3.0]), torch.ones(2), 2.0, floor=0.0)
    assert torch.allclose(found, torch.tensor([2.0, 18.0]) / 10**0.5)


def test_the_hypergradient_of_a_quadratic_problem() -> None:
    """delta* minimises 1/2 d'Hd - d'Bw, so that delta* = H^-1 B w and the gradient of 1/2 |delta*|^2 + 1/2 |w|^2 is known."""
    rng = torch.Generator().manual_seed(0)
    b, root, w = (torch.randn(*shape, generator=rng).double() for shape in ((3, 4), (3, 3), (4,)))
    h = root @ root.T + torch.eye(3)
    delta = torch.linalg.solve(h, b @ w)
    rate = 1 / float(torch.linalg.eigvalsh(h).max())
    found = hypergradient(
        lambda d, v: 0.5 * d.square().sum() + 0.5 * v.square().sum(),
        lambda d, v: 0.5 * d @ h @ d - d @ b @ v,
        delta,
        w,
        rate,
        300,
    )
    assert torch.allclose(found, w + b.T @ torch.linalg.solve(h, delta), atol=1e-8)
    apart = hypergradient(lambda d, v: v.square().sum() + d.sum(), lambda d, v: d.square().sum(), delta, w, rate, 1)
    assert torch.allclose(apart, 2 * w)


def test_the_divergence_between_two_models() -> None:
    far = torch.tensor([[50.0, 0.0]])
    assert divergence(far, -far).item() == pytest.approx(np.log(2), abs=1e-5)
    assert divergence(far, far).item() == pytest.approx(0, abs=1e-6)


def test_an_attention_map() -> None:
    """Two channels of two positions: (3, 1) and (0, 2) give 9 and 5, of length sqrt(106)."""
    found = attention(torch.tensor([[[[3.0, 1.0]], [[0.0, -2.0]]]]), 2.0)
    assert torch.allclose(found, torch.tensor([[9.0, 5.0]]) / 106**0.5)
    assert torch.allclose(attention(torch.tensor([[1.0, -2.0]]), 1.0), torch.tensor([[1.0, 2.0]]) / 5**0.5)


def test_a_cyclic_step_size() -> None:
    schedule = Cyclic(cycles=2, low=0.1)
    assert [schedule(done) for done in (0, 0.125, 0.25, 0.5, 0.75)] == pytest.approx([0.1, 0.55, 1, 0.1, 1])
    for fields in ({"cycles": 0}, {"low": 1.1}):
        with pytest.raises(PluginError):
            Cyclic(**fields)  # type: ignore[arg-type]


def test_the_cut_is_chosen_by_clean_accuracy_alone() -> None:
    """Cut n loses n rows of ten, except that the fifth cut would gain them all back: it is never tried."""
    module = nn.Linear(1, 2)
    y = torch.zeros(10, dtype=torch.int64)
    tried = []

    def cut(n: int) -> TorchModel:
        tried.append(n)
        wrong = 0 if n == 5 else n
        model = model_of(module, (1,), 2)
        return model.with_vector(torch.tensor([1.0, 0.0, -wrong + 0.5, 0.0]))  # logit x - wrong + 1/2 against 0

    x = torch.arange(10.0)[:, None]  # rows 0 to wrong - 1 are wrong
    best = deepest_cut(cut, 9, x, y, max_drop=0.25)
    assert accuracy(best, x, y) == pytest.approx(0.8)
    assert tried == [0, 1, 2, 3]


def test_a_mask_of_zero_is_a_cut_and_noise_is_relative() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        module[1].bias.uniform_(0.5, 1)
    model = model_of(module)
    neurons, x = neurons_of(model, None), torch.randn(7, 5)
    mask = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    cut = neurons.cut(model, [1, 4], shift=False)
    assert torch.allclose(masked_logits(model, neurons, mask, x), cut.logits(x.numpy()), atol=1e-6)
    noise = torch.zeros(2, 6)
    noise[0, 2], noise[1, 2] = 0.5, -0.25
    by_hand = module[1](module[0](x))
    scale, shift = by_hand - module[1].bias, module[1].bias
    factors = torch.ones(6), torch.ones(6)
    factors[0][2], factors[1][2] = 1.5, 0.75
    expected = module[3]((scale * factors[0] + shift * factors[1]).relu())
    assert torch.allclose(masked_logits(model, neurons, torch.ones(6), x, noise), expected, atol=1e-6)
    both = neurons.cut(model, [2], shift=True)
    assert (~both.kept).sum() == 2  # type: ignore[operator]
    y = model.logits(x.numpy()).argmax(1)
    intact = cut_by_mask(model, neurons, np.array([0.96, 1, 1, 0.99, 1, 1]), x, y, max_drop=1.0)
    assert torch.equal(intact.vector, model.vector)


def planted(channels: int = 12) -> TorchModel:
    """A convolution whose channel 5 has a far larger filter than the others."""
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(2, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(), nn.Flatten(), nn.Linear(channels * 36, 3))
    )
    with torch.no_grad():
        module[0].weight[5] *= 50
    return model_of(module, (2, 8, 8))


def test_channel_lipschitz_pruning_cuts_the_planted_channel() -> None:
    model = planted()
    layer = model.network.hidden()[0]
    filters = model.network.parameters(model.vector)["0.weight"]
    by_hand = [
        max(torch.linalg.svdvals(s.flatten(1)).max() for s in [filters[c].flatten(1)]) / (1 + 1e-5) ** 0.5
        for c in range(12)
    ]
    assert torch.allclose(channel_bounds(model, layer), torch.stack(by_hand), rtol=1e-5)
    cut = defences.CLP()(model, load_rows(2), context())
    weights = cut.network.parameters(cut.vector)
    assert torch.nonzero(weights["1.weight"] == 0).flatten().tolist() == [5]
    narrow = planted(9)
    assert defences.CLP()(narrow, load_rows(2), context()).kept.all()  # type: ignore[union-attr] # (9 - 1) / 3 < 3


def load_rows(depth: int) -> Dataset:
    x = np.random.default_rng(0).random((20, depth, 8, 8))
    return Dataset(x, np.arange(20) % 3, tuple("abc"))


def test_a_neuron_whose_statistics_are_not_those_of_clean_rows_is_cut() -> None:
    model = planted()
    clean = load_rows(2)
    with torch.no_grad():
        out = model.network.entering(model.vector, torch.tensor(clean.dense), "1", model.buffers).transpose(0, 1)
    buffers = dict(model.buffers)
    buffers["1.running_mean"] = out.flatten(1).mean(1)
    buffers["1.running_var"] = out.flatten(1).var(1, correction=0)
    honest = dataclasses.replace(model, buffers=buffers)
    assert defences.BNP()(honest, clean, context()).kept.all()  # type: ignore[union-attr]
    shifted = buffers | {"1.running_mean": buffers["1.running_mean"] + torch.eye(12)[7] * 3}
    cut = defences.BNP()(dataclasses.replace(model, buffers=shifted), clean, context())
    assert torch.nonzero(cut.network.parameters(cut.vector)["1.bias"] == 0).flatten().tolist()[0:1] in ([0], [7])
    assert torch.nonzero(cut.network.parameters(cut.vector)["1.weight"] == 0).flatten().tolist() == [7]


def test_fine_pruning_takes_the_last_convolution() -> None:
    network = build(SmallCNN(), (1, 28, 28), 10, STREAMS)
    assert [layer.name for layer in network.hidden()] == ["0", "3", "8"]
    assert pruned_layer(TorchModel(network, network.initial)).name == "3"
    dense = build(MLP((8, 6)), (5,), 3, STREAMS)
    assert pruned_layer(TorchModel(dense, dense.initial)).name == "3"


# --- what a repair may see and what it refuses -----------------------------------------------------------------------


@pytest.mark.parametrize("entry", entries(Kind.MITIGATION), ids=lambda entry: entry.name)
def test_no_repair_can_see_the_trigger_the_test_rows_or_the_success_rate(entry: Any) -> None:
    assert list(inspect.signature(entry.cls.__call__).parameters) == ["self", "model", "clean", "context"]
    assert {f.name for f in dataclasses.fields(DefenceContext)} == {"streams", "fit", "refit", "trusted"}


def tied() -> TorchModel:
    module = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 5), nn.Linear(5, 3))
    module[3].weight = module[0].weight
    return model_of(module)


def blobs(rows: int = 12) -> Dataset:
    return Dataset(np.random.default_rng(0).random((rows, 5)), np.arange(rows) % 3, tuple("abc"))


PLAIN = model_of(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))


@pytest.mark.parametrize(
    ("repair", "model", "clean", "error", "says"),
    [
        ("ANP", PLAIN, blobs(), NotApplicable, "a network with batch norm for ANP"),
        ("RNP", PLAIN, blobs(), NotApplicable, "a network with batch norm for RNP"),
        ("BNP", PLAIN, blobs(), NotApplicable, "a network with batch norm for BNP"),
        ("CLP", PLAIN, blobs(), NotApplicable, "a network with batch norm for CLP"),
        ("ANP", tied(), blobs(), NotApplicable, "without tied weights for ANP"),
        ("CLP", tied(), blobs(), NotApplicable, "without tied weights for CLP"),
        ("FinePruning", tied(), blobs(), NotApplicable, "without tied weights for FinePruning"),
        ("FST", tied(), blobs(), NotApplicable, "a head with trained weights of its own"),
        ("NAD", model_of(nn.Linear(5, 3)), blobs(), NotApplicable, "a hidden layer for NAD"),
        ("FineTuning", PLAIN, blobs(1), DataError, "at least 2 clean rows for FineTuning, got 1"),
        ("IBAU", PLAIN, blobs(0), DataError, "at least 1 clean rows for IBAU, got 0"),
        ("SAU", model_of(nn.Linear(5, 4), classes=4), blobs(), ModelError, "a head with 3 outputs"),
        ("TriggerUnlearning", object(), blobs(), NotApplicable, "a torch model for TriggerUnlearning"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalnum() else "",
)
def test_what_a_repair_cannot_take_is_one_line(
    repair: str, model: Any, clean: Dataset, error: type[AntivenomError], says: str
) -> None:
    with pytest.raises(error) as caught:
        getattr(defences, repair)()(model, clean, context(MLP((4,))))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_in_training_mode_is_refused() -> None:
    model = model_of(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)))
    model.network.module.train()
    for entry in entries(Kind.MITIGATION):
        if entry.origin == "antivenom":
            with pytest.raises(ModelError, match=f"evaluation mode for {entry.name}, got one in training mode"):
                entry.cls()(model, blobs(), context(MLP((4,))))


def test_layers_of_attention_that_do_not_exist() -> None:
    with pytest.raises(ModelError, match=r"NAD\.layers that the network executes"):
        defences.NAD(layers=("9",), betas=(1.0,))(PLAIN, blobs(), context(MLP((4,))))
    with pytest.raises(PluginError, match=r"as many NAD\.layers as betas"):
        defences.NAD(layers=("0",))


def test_constant_steps_are_the_default_of_no_repair() -> None:
    assert settings(10, 1, 0.1).schedule != Constant()
