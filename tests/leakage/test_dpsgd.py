"""DP-SGD: clipping row by row, noise as large as said, and what the accountant proves against published numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from antivenom import Central
from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.leakage import DPSGD, epsilon
from antivenom.leakage.accountant import ORDERS, renyi
from antivenom.leakage.dpsgd import _sampled, check_dense, clipped_sum
from antivenom.leakage.shadows import beginnings
from antivenom.models.architectures import MLP, Logistic, SmallCNN
from antivenom.models.estimators import Sklearn
from antivenom.models.training import Training


def rows(seed: int, models: int = 2, size: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = Streams(seed).torch("rows")
    x = 3 * torch.randn(models, size, 4, generator=generator)
    return x, torch.randint(3, (models, size), generator=generator), torch.rand(models, size, generator=generator) < 0.7


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 1.0, 100.0]), st.sampled_from([MLP(hidden=(6,)), Logistic()]))
def test_the_clipped_sum_is_that_of_row_by_row(seed: int, clip: float, model: MLP | Logistic) -> None:
    network, start = beginnings(model, (4,), 3, 2, Streams(seed))
    x, y, real = rows(seed)
    found = clipped_sum(network, start.clone().requires_grad_(), x, y, real, clip)
    for i in range(2):
        total = torch.zeros(network.dimension)
        for row, label in zip(x[i][real[i]], y[i][real[i]], strict=True):
            vector = start[i].clone().requires_grad_()
            loss = F.cross_entropy(network.logits(vector, row[None]), label[None])
            (gradient,) = torch.autograd.grad(loss, vector)
            total += gradient * min(1, clip / gradient.norm().item())
        assert torch.allclose(found[i], total, atol=1e-4, rtol=1e-3)


def test_one_row_more_moves_the_sum_by_at_most_the_clip() -> None:
    network, start = beginnings(MLP(hidden=(6,)), (4,), 3, 2, Streams(0))
    x, y, _ = rows(0)
    with_all = torch.ones(2, 5, dtype=torch.bool)
    without = with_all.clone()
    without[:, 3] = False
    vectors = start.clone().requires_grad_()
    change = clipped_sum(network, vectors, x, y, with_all, 0.5) - clipped_sum(network, vectors, x, y, without, 0.5)
    assert change.norm(dim=1).tolist() == pytest.approx([0.5, 0.5], rel=1e-4)  # both gradients there are longer


def test_the_noise_is_as_large_as_said() -> None:
    """One step of plain SGD from the start; with noise 1,000 times the clip the rows do not show."""
    training = Training(epochs=1, batch_size=20, optimizer="sgd", learning_rate=2.0)
    network, start = beginnings(MLP(hidden=(60,)), (4,), 3, 20, Streams(0))
    x, y = rows(0, 1, 20)[:2]
    own = torch.arange(20).expand(20, 20)
    plugin = DPSGD(clip=0.5, noise=1000.0, training=training)
    moved = plugin.train_together(network, start, x[0], y[0], own, Streams(0).torch()) - start
    assert moved.std().item() == pytest.approx(2.0 * 1000 * 0.5 / 20, rel=0.03)
    assert abs(moved.mean().item()) < 2
    assert len({round(row[0].item(), 3) for row in moved}) == 20  # each model has noise of its own


def test_rows_are_drawn_each_on_its_own() -> None:
    own = torch.arange(400).view(2, 200)
    sizes = []
    for batch, real in _sampled(own, 0.25, 200, Streams(0).torch()):
        for i in (0, 1):
            drawn = batch[i][real[i]].tolist()
            assert len({*drawn}) == len(drawn)
            assert {*drawn} <= {*own[i].tolist()}
        sizes += real.sum(1).tolist()
    sizes_ = torch.tensor(sizes, dtype=torch.float)
    assert sizes_.mean().item() == pytest.approx(50, abs=1.5)
    assert sizes_.std().item() == pytest.approx(math.sqrt(200 * 0.25 * 0.75), rel=0.15)


@pytest.mark.parametrize("model", [SmallCNN(), MLP(hidden=(4,), dropout=0.5)])
def test_gradients_of_unknown_length_are_refused(model: SmallCNN | MLP) -> None:
    with pytest.raises(NotApplicable, match="dense layers without dropout"):
        check_dense(beginnings(model, (1, 28, 28), 10, 2, Streams(0))[0])


def moments(rate: float, noise: float, steps: int) -> float:
    """Epsilon at 1e-5 as in 2016, by the tail bound of the moments."""
    return min(steps * renyi(a, rate, noise) + math.log(1e5) / (a - 1) for a in ORDERS)


def test_published_epsilons() -> None:
    assert moments(0.01, 4, 10_000) == pytest.approx(1.26, abs=0.005)  # Abadi et al. 2016, section 3.2
    assert moments(256 / 60_000, 1.3, 20 * 60_000 // 256) == pytest.approx(1.34, abs=0.015)  # Bu et al. 2020, figure 4


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "expected"),
    [(0.01, 4, 10_000, 1.0354900660362), (0.05, 1.0, 600, 9.1584374317), (0.2, 2.0, 100, 5.5551752906)],
)
def test_epsilon_is_that_of_dp_accounting(rate: float, noise: float, steps: int, expected: float) -> None:
    assert epsilon(rate, noise, steps, 1e-5) == pytest.approx(expected, rel=1e-9)  # version 0.6.0, same orders
    assert epsilon(rate, noise, steps, 1e-5) < moments(rate, noise, steps)


def test_a_step_on_all_rows_is_the_gaussian_mechanism() -> None:
    assert renyi(7, 1, 2.0) == 7 / 8
    assert renyi(7, 1 - 1e-12, 2.0) == pytest.approx(7 / 8)
    assert (epsilon(0, 1, 10, 1e-5), epsilon(0.1, 1, 0, 1e-5)) == (0, 0)


def test_more_noise_costs_less_and_more_steps_cost_more() -> None:
    assert epsilon(0.05, 2, 100, 1e-5) < epsilon(0.05, 1, 100, 1e-5) < epsilon(0.05, 1, 200, 1e-5)
    plugin = DPSGD()
    assert plugin.epsilon(5000) == epsilon(256 / 5000, 1.0, 600, 1e-5)
    assert DPSGD(noise=0).epsilon(5000) == math.inf


@pytest.mark.parametrize("fields", [{"clip": 0}, {"noise": -1}, {"delta": 1}])
def test_fields_out_of_range(fields: dict[str, float]) -> None:
    with pytest.raises(PluginError, match=r"DPSGD\.clip > 0"):
        DPSGD(**fields)
    with pytest.raises(PluginError, match="delta between 0 and 1"):
        epsilon(0.1, 0, 1, 1e-5)


def test_it_replaces_the_fit_of_a_central_scenario_and_learns() -> None:
    training = Training(epochs=15, batch_size=100, optimizer="sgd", learning_rate=0.5, momentum=0.9)
    scenario = Central(access="data-manipulation", goal="availability")  # type: ignore[arg-type]
    found = scenario.run(None, DPSGD(training=training), 0).metrics
    assert found["clean_accuracy"] > 0.8
    with pytest.raises(NotApplicable, match="a torch network for DPSGD"):
        Central(model=Sklearn(), access="data-manipulation", goal="availability").run(None, DPSGD(), 0)  # type: ignore[arg-type]
