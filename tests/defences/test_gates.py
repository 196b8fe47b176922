"""Gates: thresholds from clean rows, scores of constructed models by hand, and ranks against a naive count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from antivenom.core.errors import DataError, ModelError, NotApplicable
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.defences import IBDPSC, TED, ScaleUp
from antivenom.defences.gates.thresholds import above
from antivenom.defences.gates.topology import Neighbours
from antivenom.defences.repair.neurons import neurons_of
from antivenom.models.architectures import MLP
from antivenom.models.network import Network
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel
from antivenom.scenarios.pipeline import Pipeline

CLASSES = ("a", "b", "c")


def context() -> DefenceContext:
    return Pipeline(MLP(), Training(epochs=1), "cpu", Streams(0)).context()


def model_of(module: nn.Module, shape: tuple[int, ...], classes: int = 3) -> TorchModel:
    network = Network(module.eval(), shape, classes)
    return TorchModel(network, network.initial, network.buffers)


def dense(weights: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weights[0]), len(weights))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.bias.copy_(torch.zeros(len(weights)) if bias is None else torch.tensor(bias))
    return layer


# --- thresholds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "refused"), [(0.0, 0), (0.1, 1), (0.19, 1), (0.2, 2), (1.0, 10)])
def test_at_most_the_stated_share_of_the_clean_rows_is_refused(share: float, refused: int) -> None:
    clean = np.random.default_rng(0).permutation(10).astype(float)
    found = above(lambda x: x, clean, share)(clean)
    assert found.flags.sum() == refused
    assert set(clean[found.flags]) == set(range(10 - refused, 10))


def test_clean_rows_that_tie_with_the_threshold_pass() -> None:
    assert not above(lambda x: x, np.ones(10), 0.5)(np.ones(3)).flags.any()


# --- scaled pixels ---------------------------------------------------------------------------------------------------


class Brightness:
    """Says class 1 if the mean of an image is above .5, class 2 if its first pixel is above .9, and class 0 otherwise."""

    num_classes = 3

    def __init__(self, black: float = 0.0) -> None:
        self.black = black

    def predict(self, x: np.ndarray) -> np.ndarray:
        x = x - self.black
        return np.where(x[:, 0, 0, 0] > 0.9, 2, (x.mean(axis=(1, 2, 3)) > 0.5).astype(int))

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.eye(3)[self.predict(x)]


def grey(*levels: float) -> Dataset:
    """Images of one grey level each, whose first pixel is black."""
    x = np.ones((len(levels), 1, 4, 4)) * np.array(levels)[:, None, None, None]
    x[:, 0, 0, 0] = 0
    return Dataset(x, np.zeros(len(levels), dtype=int), CLASSES)


def test_the_consistency_of_scaled_images() -> None:
    """.1 of the range above 0 becomes .3, .5, .7, .9 and 1, times 15/16: two of five stay at most .5. .2 becomes .6: none."""
    x = grey(0.1, 0.2, 0.6).dense
    x = np.concatenate([x, x[:1]])
    x[3, 0, 0, 0] = 1.0
    expected = pytest.approx([0.4, 0.0, 1.0, 1.0])
    assert ScaleUp().consistency(Brightness(), x, 0.0, 1.0) == expected
    assert ScaleUp().consistency(Brightness(black=-1.0), x - 1, -1.0, 0.0) == expected


def test_a_bright_trigger_is_refused_and_clean_images_pass() -> None:
    clean = grey(0.1, 0.2, 0.1, 0.12, 0.2, 0.25, 1.0)
    filtered = ScaleUp(false_rejection=0.2)(Brightness(), clean, context())
    x = grey(0.1, 0.3).dense
    triggered = x.copy()
    triggered[:, 0, 0, 0] = 1.0
    assert filtered(x).flags.tolist() == [False, False]
    assert filtered(triggered).flags.tolist() == [True, True]


def test_scaling_is_refused_where_clean_predictions_survive_it() -> None:
    with pytest.raises(NotApplicable, match=r"mean consistency up to 0.8\), got 1.00"):
        ScaleUp()(Brightness(), grey(0.9, 0.8, 1.0), context())
    with pytest.raises(NotApplicable, match="images for ScaleUp"):
        ScaleUp()(Brightness(), Dataset(np.zeros((4, 2)), np.zeros(4, dtype=int), CLASSES), context())


# --- enlarged batch norms --------------------------------------------------------------------------------------------


def normed(*layers: nn.Module) -> nn.Sequential:
    """The layers, with running statistics that leave values as they are."""
    module = nn.Sequential(*layers)
    for layer in module:
        if isinstance(layer, nn.BatchNorm1d):
            layer.eps = 0.0
    return module


def two_norms() -> TorchModel:
    """Logits (2, x0, 10 x1): enlargement raises the honest x0 = 1 above the 2 of class 0, and class 2 stays above both."""
    head = dense([[0.0, 0.0], [1.0, 0.0], [0.0, 10.0]], [2.0, 0.0, 0.0])
    eye = [[1.0, 0.0], [0.0, 1.0]]
    norms = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    return model_of(normed(dense(eye), norms[0], nn.ReLU(), dense(eye), norms[1], nn.ReLU(), head), (2,))


def honest(n: int = 20) -> Dataset:
    x = np.stack([np.linspace(0.8, 1.2, n), np.zeros(n)], axis=1)
    return Dataset(x, np.zeros(n, dtype=int), CLASSES)


def test_batch_norms_are_enlarged_from_the_last_to_the_first_and_again() -> None:
    model, gate = two_norms(), IBDPSC()
    neurons = neurons_of(model, gate)
    for count, (first, last) in enumerate([(1.0, 1.0), (1.0, 1.5), (1.5, 1.5), (1.5, 2.25)]):
        weights = model.network.parameters(gate.enlarged(model, neurons, count).vector)
        assert weights["1.weight"].tolist() == [first, first]
        assert weights["4.weight"].tolist() == [last, last]
    assert gate.enlargements(model, neurons, honest()) == 2  # x0 = 1 becomes 1.5, then 2.25


def test_a_trigger_that_survives_enlargement_is_refused() -> None:
    filtered = IBDPSC(false_rejection=0.1)(two_norms(), honest(), context())
    x = np.array([[1.0, 0.0], [1.0, 1.0]])
    verdict = filtered(x)
    assert verdict.flags.tolist() == [False, True]
    logits = [(2, s, 10 * s) for s in 1.5 ** np.arange(2, 7)]
    assert verdict.scores[1] == pytest.approx(np.mean([c - np.log(np.exp(a) + np.exp(b)) for a, b, c in logits]))
    assert verdict.scores[1] > 40  # where the probability is 1 to rounding
    assert filtered(honest().dense).flags.mean() <= 0.1


def test_without_enough_errors_the_number_of_enlargements_with_the_most_is_used() -> None:
    """Of x0 = .8, .93, 1.07 and 1.2, factors 1, 1.5, 2.25 and 3.4 turn 0, 0, 3 and 4 rows; turning makes the last one right."""
    model, gate = two_norms(), IBDPSC(error=0.9)
    mixed = Dataset(honest(4).x, np.array([0, 0, 0, 1]), CLASSES)  # errors of 1, 1, 2 and 3 rows
    assert gate.enlargements(model, neurons_of(model, gate), mixed) == 3
    module = normed(dense([[1.0, 0.0], [0.0, 1.0]]), nn.BatchNorm1d(2), dense([[1.0, 0], [0, 1], [-1, -1]]))
    homogeneous = model_of(module, (2,))  # without shifts or biases all logits grow alike
    assert gate.enlargements(homogeneous, neurons_of(homogeneous, gate), honest()) == 1


def test_enlargement_needs_batch_norm() -> None:
    with pytest.raises(NotApplicable, match="batch norm for IBDPSC"):
        IBDPSC()(model_of(dense([[1.0, 0], [0, 1], [0, 0]]), (2,)), honest(), context())


# --- neighbours over the layers --------------------------------------------------------------------------------------


def turning() -> TorchModel:
    """Layer 0 sees x, and the head sees x1 alone: x is class 1 if x1 > 0, and class 0 otherwise."""
    module = nn.Sequential(dense([[1.0, 0.0], [0.0, 0.1]]), dense([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [0, 0, -100]))
    return model_of(module, (2,))


def groups(n: int = 12) -> Dataset:
    """Class 0 around (5, -1), class 1 around (13, 1)."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal((5, -1), 0.1, (n, 2)), rng.normal((13, 1), 0.1, (n, 2))])
    return Dataset(x, np.repeat([0, 1], n), CLASSES)


def ranks_by_hand(model: TorchModel, clean: Dataset, x: np.ndarray, leave_out: bool) -> list[list[int]]:
    right = model.predict(clean.x) == clean.y
    found = []
    for i, row in enumerate(x):
        ranks, predicted = [], model.predict(row[None])[0]
        for layer in ("0", "1"):
            own, inside = model.features(row[None].astype(np.float32), layer)[0], model.features(clean.dense, layer)
            order = sorted(
                (float(np.linalg.norm(inside[j] - own)), j) for j in np.flatnonzero(right) if not (leave_out and i == j)
            )
            ranks.append(next((rank for rank, (_, j) in enumerate(order) if clean.y[j] == predicted), len(order)))
        found.append(ranks)
    return found


def test_the_rank_of_the_first_neighbour_of_the_predicted_class() -> None:
    model, clean = turning(), groups()
    clean = Dataset(clean.x, np.where(np.arange(24) == 3, 1, clean.y), CLASSES)  # a row that the model gets wrong
    neighbours = Neighbours.of(model, torch.tensor(clean.dense), torch.tensor(clean.y))
    assert neighbours.layers == ("0", "1")
    assert len(neighbours.y) == 23
    x = np.random.default_rng(0).normal((9, 0), 4, (30, 2))
    assert neighbours.ranks(torch.tensor(x, dtype=torch.float32)).tolist() == ranks_by_hand(model, clean, x, False)
    own = neighbours.ranks(torch.tensor(clean.dense), leave_out=True)
    assert own.tolist() == ranks_by_hand(model, clean, clean.dense, True)
    assert neighbours.ranks(torch.tensor([[5.0, 1.0]]))[0].tolist() == [
        11,
        0,
    ]  # 11 rows of class 0 in layer 0, none in the head


def test_an_input_among_rows_of_another_class_is_refused() -> None:
    clean = groups(40)
    filtered = TED()(turning(), clean, context())
    assert filtered(np.array([[5.0, -1.0], [13.0, 1.0], [5.0, 1.0]])).flags.tolist() == [False, False, True]
    assert filtered(clean.dense).flags.mean() <= 0.05
    assert len(filtered(np.zeros((0, 2)))) == 0


def test_ranks_need_rows_that_the_model_gets_right() -> None:
    clean = groups()
    wrong = Dataset(clean.x, 1 - clean.y, CLASSES)
    with pytest.raises(DataError, match="clean rows that the model gets right for TED, got 0"):
        TED()(turning(), wrong, context())
    with pytest.raises(DataError, match="at least 2 clean rows"):
        TED()(turning(), clean[:1], context())


@pytest.mark.parametrize("gate", [IBDPSC(), TED()], ids=lambda gate: type(gate).__name__)
def test_a_gate_on_activations_refuses_other_models_and_training_mode(gate: Any) -> None:
    with pytest.raises(NotApplicable, match="a torch model"):
        gate(Brightness(), grey(0.1, 0.2), context())
    model = two_norms()
    model.network.module.train()
    with pytest.raises(ModelError, match="evaluation mode"):
        gate(model, honest(), context())
