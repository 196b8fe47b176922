"""The malicious agents: hand-computed steps on a linear network, the paper's invariants, small learning checks."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.protocols import AgentView, Participation, Targets
from antivenom.core.streams import Streams
from antivenom.core.wanted import FromTo
from antivenom.data import load
from antivenom.federated import (
    AlternatingMinimization,
    BenignEstimation,
    Delayed,
    DirtyLabel,
    ExplicitBoosting,
    Federation,
    HoldOff,
    ImplicitBoosting,
    StealthyPoisoning,
    WithHonest,
)
from antivenom.federated.agents.objectives import AdamSteps, estimated_benign, honest, pull, train_honest
from antivenom.federated.answers import accuracy, probabilities
from antivenom.models.architectures import MLP, Logistic
from antivenom.models.network import Network, build
from antivenom.models.training import Training, train
from antivenom.scenarios.federated import Federated

STREAMS = Streams(11)
TRAINING = Training(epochs=2, batch_size=20, learning_rate=5e-3)


def view(
    model: Any = MLP(hidden=(16,)), k: int = 1, r: int = 1, past: tuple[Participation, ...] = (), **fields: Any
) -> AgentView:
    rows = load("digits", STREAMS).train
    network = build(model, rows.shape, 10, STREAMS)
    x, y = torch.tensor(rows.x), torch.tensor(rows.y)
    shards = tuple((x[100 * i : 100 * i + 100], y[100 * i : 100 * i + 100]) for i in range(k))
    targets = Targets(x[900 : 900 + r], y[900 : 900 + r], (y[900 : 900 + r] + 1) % 10)
    base = AgentView(
        round=len(past) + 1,
        start=network.initial,
        network=network,
        training=TRAINING,
        shards=shards,
        targets=targets,
        num_agents=10,
        weight=0.1,
        past=past,
        streams=STREAMS.child("attack"),
        trainer=train_honest,
    )
    return dataclasses.replace(base, **fields)


def plain_adam(network: Network, start: Tensor, targets: Targets, steps: int, lr: float = 1e-3) -> Tensor:
    """The oracle: the published Adam recursion, written out."""
    w, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t in range(1, steps + 1):
        leaf = w.clone().requires_grad_()
        F.cross_entropy(network.logits(leaf, targets.x), targets.labels).backward()
        g = leaf.grad
        assert g is not None
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return w


def test_explicit_boosting_is_adam_on_the_targets_times_k() -> None:
    seen = view(Logistic(), r=3)
    sent = ExplicitBoosting(steps=5)(seen)
    by_hand = 10 * (plain_adam(seen.network, seen.start, seen.targets, 5) - seen.start)
    torch.testing.assert_close(sent[0], by_hand, rtol=1e-4, atol=1e-5)
    assert sent.abs().max() <= 10 * 5 * 1.01e-3  # five Adam steps of 1e-3, boosted tenfold: the paper's histogram


def test_boost_is_shared_among_the_malicious_agents_and_can_be_set() -> None:
    one, two = view(), view(k=2)
    assert one.boost == pytest.approx(10.0)
    assert two.boost == pytest.approx(5.0)
    torch.testing.assert_close(ExplicitBoosting(boost=2)(one), ExplicitBoosting()(one) / 5)


def test_until_loss_goes_on_until_the_loss_is_reached() -> None:
    seen = view(Logistic())
    few = ExplicitBoosting(steps=5, boost=1)(seen)[0]
    many = ExplicitBoosting(steps=5, until_loss=1e-2, learning_rate=1e-2, boost=1)(seen)[0]
    loss = [
        float(F.cross_entropy(seen.network.logits(seen.start + u, seen.targets.x), seen.targets.labels))
        for u in (few, many)
    ]
    assert loss[0] > 1e-2 >= loss[1]
    stopped = ExplicitBoosting(steps=5, until_loss=0.0, max_steps=7, boost=1)(seen)[0]
    torch.testing.assert_close(stopped, ExplicitBoosting(steps=7, boost=1)(seen)[0])


def test_implicit_boosting_minimises_at_the_averaged_point() -> None:
    seen = view(Logistic())
    sent = ImplicitBoosting(steps=400, learning_rate=1e-2)(seen)[0]
    confidence = probabilities(seen.network, seen.start + 0.1 * sent, seen.targets.x)[0, seen.targets.labels]
    assert float(confidence) > 0.9


def test_adam_steps_equal_torchs_from_any_point() -> None:
    step = AdamSteps(torch.zeros(3), 1e-3)
    leaf = torch.zeros(3, requires_grad=True)
    adam = torch.optim.Adam([leaf], lr=1e-3)
    for gradient in torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1e-4, 0.0]):
        before = leaf.detach().clone()
        leaf.grad = gradient.clone()
        adam.step()
        torch.testing.assert_close(step(gradient), leaf.detach() - before, rtol=1e-4, atol=1e-9)
        with torch.no_grad():
            leaf.zero_()  # the moments do not depend on the point


def test_dirty_label_trains_on_its_rows_and_the_copies_only() -> None:
    seen = view()
    honest_update = honest(seen, 0)
    dirty = DirtyLabel(copies=200)(seen)[0]
    confidence = [
        float(probabilities(seen.network, seen.start + u, seen.targets.x)[0, seen.targets.labels])
        for u in (honest_update, dirty)
    ]
    assert confidence[1] > 0.5 > confidence[0]
    assert dirty.norm() < 3 * honest_update.norm()  # not boosted
    assert not torch.equal(DirtyLabel(copies=200, noise=0.1)(seen)[0], dirty)


def test_estimate_by_hand() -> None:
    start = torch.arange(4.0)
    seen = view(Logistic())
    past = Participation(2, start, torch.tensor([[10.0, 0, 0, 0], [10.0, 0, 0, 0]]))
    seen = dataclasses.replace(seen, round=5, start=torch.tensor([5.0, 7.0, 5.0, 3.0]), past=(past,))
    # Moved by (5, 6, 3, 0) in three rounds, of which 0.1 * 20 in the first coordinate was its own.
    assert estimated_benign(seen).tolist() == pytest.approx([1.0, 2.0, 1.0, 0.0])  # type: ignore[union-attr]
    assert estimated_benign(dataclasses.replace(seen, past=())) is None


def shifted(seen: AgentView, by: float) -> AgentView:
    """The same view one round later, the others having moved the global model by `by` in every coordinate."""
    sent = torch.ones(1, seen.network.dimension)
    past = Participation(1, seen.start - by - 0.1 * sent[0], sent)
    return dataclasses.replace(seen, round=2, past=(past,))


def test_pre_correction_optimises_from_where_the_global_model_will_be() -> None:
    seen = shifted(view(Logistic()), 0.01)
    inner = ExplicitBoosting(steps=3)
    expected = inner(dataclasses.replace(seen, start=seen.start + 0.01))
    torch.testing.assert_close(BenignEstimation(inner)(seen), expected)


def test_post_correction_subtracts_the_boosted_estimate() -> None:
    seen = shifted(view(Logistic()), 0.01)
    inner = ExplicitBoosting(steps=3)
    corrected = BenignEstimation(inner, correction="post")(seen)  # type: ignore[arg-type]
    torch.testing.assert_close(corrected, inner(seen) - 10 * 0.01, rtol=1e-4, atol=1e-5)


def test_without_a_past_estimation_is_the_inner_agent() -> None:
    seen = view(Logistic())
    inner = ExplicitBoosting(steps=3)
    assert torch.equal(BenignEstimation(inner)(seen), inner(seen))


def test_delay_and_hold_off_are_honest_until_then() -> None:
    seen = view()
    inner = ExplicitBoosting()
    expected = honest(seen, 0)
    assert torch.equal(Delayed(inner, rounds=3)(seen)[0], expected)
    assert torch.equal(Delayed(inner, rounds=0)(seen), inner(seen))
    assert torch.equal(HoldOff(inner, confidence=0.0)(seen)[0], expected)
    assert torch.equal(HoldOff(inner, confidence=1.0)(seen), inner(seen))
    torch.testing.assert_close(WithHonest(inner)(seen)[0], inner(seen)[0] + expected)


def test_an_honest_update_is_what_training_gives() -> None:
    seen = view()
    x, y = seen.shards[0]
    end, _ = train(seen.network, seen.start, x, y, TRAINING, seen.streams.child("member", 0, "honest"))
    torch.testing.assert_close(honest(seen, 0), end - seen.start, rtol=0, atol=1e-5)  # another way to add up
    assert accuracy(seen.network, end, x, y) > accuracy(seen.network, seen.start, x, y)


@pytest.mark.parametrize("half_squared", [True, False])
def test_the_pull_is_the_gradient_of_the_distance(half_squared: bool) -> None:
    centre, at = torch.tensor([1.0, 0.0]), torch.tensor([4.0, 4.0], requires_grad=True)
    apart = torch.linalg.vector_norm(at - centre)
    (expected,) = torch.autograd.grad(0.5 * apart.square() if half_squared else apart, at)
    torch.testing.assert_close(pull(at.detach(), centre, half_squared), expected)
    assert not pull(centre, centre, half_squared).any()


STEALTH = AlternatingMinimization(epochs=2, stealth_steps=2, learning_rate=5e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"rho": 1.0},
        {"centre": "none"},
        {"centre": "last-benign", "rho": 1.0},
        {"half_squared": False, "rho": 1.0},
        {"malicious_first": True},
        {"weights_only": False},
        {"stealth_steps": 5},
        {"boost": 3.0},
    ],
)
def test_every_option_of_alternating_minimization_changes_the_update(change: dict[str, Any]) -> None:
    seen = shifted(view(), 0.01)
    base = dataclasses.replace(STEALTH, rho=0.1)
    assert not torch.equal(base(seen), dataclasses.replace(base, **change)(seen))


@pytest.mark.parametrize("centre", ["own-honest", "last-benign"])
@pytest.mark.parametrize("half_squared", [True, False])
def test_the_distance_term_has_a_gradient(centre: str, half_squared: bool) -> None:
    # A weight so large that only the distance counts: without it the attack must end further from the centre.
    seen = shifted(view(), 0.01)
    strong = dataclasses.replace(STEALTH, centre=centre, half_squared=half_squared, boost=0.0, weights_only=False)
    near = honest(seen, 0, 2) if centre == "own-honest" else torch.full_like(seen.start, 0.01)
    apart = [float((dataclasses.replace(strong, rho=rho)(seen)[0] - near).norm()) for rho in (0.0, 100.0)]
    assert apart[1] < 0.8 * apart[0]


def test_weights_only_boosts_no_bias() -> None:
    seen = view()
    kernels = seen.network.kernels
    plain = dataclasses.replace(STEALTH, centre="none")
    boosted = [dataclasses.replace(plain, boost=boost, stealth_steps=10)(seen)[0] for boost in (1.0, 50.0)]
    ratio = [float(u[kernels].norm() / u[~kernels].norm()) for u in boosted]
    assert ratio[1] > 3 * ratio[0]


@pytest.mark.parametrize(
    "change", [{"rho": 1.0}, {"half_squared": True, "rho": 1.0}, {"one_loss": True}, {"boost": 3.0}]
)
def test_every_option_of_stealthy_poisoning_changes_the_update(change: dict[str, Any]) -> None:
    seen = shifted(view(), 0.01)
    base = StealthyPoisoning(epochs=2, rho=0.1, learning_rate=5e-3)
    assert not torch.equal(base(seen), dataclasses.replace(base, **change)(seen))


FEDERATED = Federated(
    model=MLP(hidden=(64,)),
    federation=Federation(rounds=6, training=Training(epochs=2, batch_size=20, learning_rate=5e-3)),
    wanted=FromTo(5, 7),
)


def test_boosting_beats_averaging_and_dirty_labels_do_not() -> None:
    clean, boosted, dirty = (
        FEDERATED.run(a, None, 0).metrics for a in (None, ExplicitBoosting(steps=10, learning_rate=5e-3), DirtyLabel())
    )
    assert clean["target_confidence"] < 0.1
    assert boosted["target_confidence"] > 0.9
    assert boosted["targets_hit"] == 1.0
    assert dirty["targets_hit"] == 0.0
    assert boosted["accuracy_gap"] > 0.3 > dirty["accuracy_gap"]


def test_alternating_minimization_is_stealthier_than_boosting() -> None:
    loud = FEDERATED.run(ExplicitBoosting(steps=10, learning_rate=5e-3), None, 0).metrics
    quiet = FEDERATED.run(AlternatingMinimization(stealth_steps=4, learning_rate=5e-3), None, 0).metrics
    clean = FEDERATED.run(None, None, 0).metrics
    assert quiet["accuracy_gap"] < 0.8 * loud["accuracy_gap"]
    assert quiet["range_statistic"] < loud["range_statistic"]
    assert quiet["target_confidence"] > clean["target_confidence"] + 0.3


def test_several_targets_and_several_malicious_agents() -> None:
    crowd = dataclasses.replace(
        FEDERATED,
        num_targets=3,
        wanted=None,
        federation=dataclasses.replace(FEDERATED.federation, num_malicious=2),
    )
    attacked = crowd.run(ExplicitBoosting(steps=10, learning_rate=5e-3), None, 1).metrics
    assert attacked["targets_hit"] > crowd.run(None, None, 1).metrics["targets_hit"] + 0.5
