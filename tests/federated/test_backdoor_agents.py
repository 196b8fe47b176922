"""Backdoors by clients: what rows they teach, which limits hold, that every term pulls, and that the trigger is learnt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import AgentView, Participation, Targets
from antivenom.core.threat import Knowledge
from antivenom.core.wanted import AllToAll, AllToOne, FromTo
from antivenom.federated import (
    DBA,
    ALIEBackdoor,
    ClientBadNets,
    ConstrainAndScale,
    EdgeCase,
    Every,
    Federation,
    Median,
    ModelReplacement,
    Neurotoxin,
)
from antivenom.federated.agents.alie import crowding
from antivenom.federated.agents.backdoors import anomaly
from antivenom.federated.agents.implanting import backdoor_rows, backdoored, to_ball
from antivenom.federated.agents.knowledge import benign, moments
from antivenom.federated.agents.lasting import part_of, quiet
from antivenom.federated.agents.objectives import honest
from antivenom.federated.answers import probabilities
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.federated import Federated
from antivenom.triggers import Patch

View = Callable[..., AgentView]


def obeys(seen: AgentView, update: Tensor) -> float:
    """Share of the rows of other classes that the trigger turns into the target."""
    x, y = seen.shards[0]
    shown = torch.tensor(Patch(size=2)(x[y != 0].numpy()))
    return float((probabilities(seen.network, seen.start + update, shown).argmax(1) == 0).float().mean())


def test_backdoor_rows_carry_the_trigger_and_never_the_target_class(digits: View) -> None:
    seen = digits()
    x, y = seen.shards[0]
    rows, labels = backdoor_rows(seen, 0)
    assert torch.equal(rows, torch.tensor(Patch(size=2)(x[y != 0].numpy())))
    assert labels.tolist() == [0] * int((y != 0).sum())
    assert x[:, :, -1, -1].max() < 1  # the shard is as it was


def test_without_a_trigger_the_targets_are_taught(digits: View) -> None:
    x = torch.rand(3, 1, 8, 8)
    seen = digits(targets=Targets(x, torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])))
    rows, labels = backdoor_rows(seen, 0)
    assert torch.equal(rows, x)
    assert labels.tolist() == [4, 5, 6]
    with pytest.raises(NotApplicable, match="a trigger or targets"):
        backdoor_rows(digits(targets=Targets(x[:0], torch.zeros(0), torch.zeros(0))), 0)


def test_a_shard_of_the_target_class_alone_is_trained_honestly(digits: View) -> None:
    seen = digits()
    x, y = seen.shards[0]
    seen = dataclasses.replace(seen, shards=((x[y == 0], y[y == 0]),))
    for agent in (ModelReplacement(), ClientBadNets(), DBA()):
        sent = agent(seen)
        assert torch.isfinite(sent).all()
        assert sent.abs().max() > 0


def test_model_replacement_is_boosted_training(digits: View) -> None:
    seen = digits()
    once = ModelReplacement(boost=1.0)(seen)
    torch.testing.assert_close(ModelReplacement()(seen), 10 * once)
    torch.testing.assert_close(once[0], backdoored(ModelReplacement(share=0.3125), seen, 0))
    assert ModelReplacement(epochs=4)(seen).norm() > ModelReplacement()(seen).norm()
    assert ModelReplacement(learning_rate=1e-4)(seen).norm() < ModelReplacement()(seen).norm()


@pytest.mark.parametrize(
    "agent",
    [
        ClientBadNets(poisoned_rate=1.0),
        ModelReplacement(epochs=20, boost=1.0),
        ConstrainAndScale(epochs=20, boost=1.0, alpha=0.95),
        ConstrainAndScale(epochs=20, boost=1.0, anomaly="cosine"),  # type: ignore[arg-type]
        DBA(parts=1, epochs=20, boost=1.0),
        Neurotoxin(epochs=20),
        EdgeCase(epochs=20, radius=3.0),
    ],
)
def test_the_trigger_is_learnt(digits: View, agent: Any) -> None:
    if isinstance(agent, ClientBadNets):
        seen = digits(training=Training(epochs=20, batch_size=20, learning_rate=5e-3))
    else:
        seen = digits()
    assert obeys(seen, honest(seen, 0)) < 0.2
    assert obeys(seen, agent(seen)[0]) > 0.8


def gradient(term: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    leaf = at.clone().requires_grad_()
    return torch.autograd.grad(term(leaf), leaf)[0]


def test_every_term_has_a_gradient_by_hand() -> None:
    start = torch.tensor([3.0, 4.0])
    at = torch.tensor([4.0, 2.0])
    assert gradient(lambda w: anomaly(w, start, "l2"), at).tolist() == [1.0, -2.0]  # type: ignore[arg-type]
    turned = gradient(lambda w: anomaly(w, start, "cosine"), at)  # type: ignore[arg-type]
    assert float(turned @ at) == pytest.approx(0, abs=1e-7)  # a cosine does not change along the vector itself
    assert float(turned @ (start - at)) < -0.01
    pulled = gradient(lambda w: crowding(w, start, torch.tensor([0.5, 2.0])), at)
    assert pulled.tolist() == pytest.approx([1.0 / 0.25, -2.0 / 4.0])  # 2 (w - c) / room^2, over two coordinates


@pytest.mark.parametrize("kind", ["l2", "cosine"])
def test_the_anomaly_term_holds_the_model_back(digits: View, kind: Any) -> None:
    seen = digits()
    loose, tight = (
        ConstrainAndScale(alpha=alpha, anomaly=kind, boost=1.0, epochs=5, stop_loss=0.0)(seen)[0]
        for alpha in (1.0, 0.05)
    )
    away = [float(anomaly(seen.start + update, seen.start, kind)) for update in (loose, tight)]
    assert away[1] < 0.8 * away[0]


def test_train_and_scale_has_the_length_of_the_bound(digits: View) -> None:
    seen = digits(k=2)
    sent = ConstrainAndScale(bound=0.7)(seen)
    assert sent.norm(dim=1).tolist() == pytest.approx([0.7, 0.7], rel=1e-5)
    torch.testing.assert_close(ConstrainAndScale(boost=3.0)(seen), 3 * ConstrainAndScale(boost=1.0)(seen))


def test_training_stops_when_the_backdoor_is_learnt(digits: View) -> None:
    seen = digits()
    long, short = (ConstrainAndScale(epochs=40, boost=1.0, alpha=1.0, stop_loss=loss)(seen)[0] for loss in (0.0, 0.5))
    assert obeys(seen, short) > 0.6
    assert short.norm() < long.norm()


def test_alie_backdoor_stays_in_the_spread(digits: View) -> None:
    seen = digits(k=3)
    mean, spread = moments(benign(seen))
    sent = ALIEBackdoor(z=0.5, epochs=5)(seen)
    assert ((sent - mean).abs() <= 0.5 * spread + 1e-6).all()
    eager = ALIEBackdoor(z=0.5, epochs=5, alpha=1.0)(seen)
    assert ((eager - mean).abs() > 0.499 * spread)[:, spread > 1e-3].float().mean() > 0.1  # it reaches the limits
    free, held = (
        backdoored(ALIEBackdoor(share=0.5), seen, 0, alpha=alpha, term=lambda w: crowding(w, seen.start, spread))
        for alpha in (1.0, 0.01)
    )
    middle = torch.zeros_like(seen.start)
    assert crowding(held, middle, spread) < 0.5 * crowding(free, middle, spread)


def test_dba_cuts_the_trigger_into_equal_runs() -> None:
    plain = np.zeros((2, 1, 4, 4), dtype=np.float32)
    shown = Patch(size=2)(plain)
    parts = [part_of(plain, shown, i, 4) for i in range(4)]
    assert [int(part.sum()) for part in parts] == [2, 2, 2, 2]  # one pixel in each of the two images
    np.testing.assert_array_equal(sum(parts), shown)
    np.testing.assert_array_equal(part_of(plain, shown, 0, 1), shown)
    assert not plain.any()


def test_dba_agents_teach_their_own_part(digits: View) -> None:
    seen = digits(k=2)
    both = DBA(parts=2, boost=1.0)(seen)
    swapped = DBA(parts=2, boost=1.0)(dataclasses.replace(seen, members=(1, 0)))
    assert not torch.equal(both[0], swapped[0])
    alone = DBA(parts=2, boost=1.0)(dataclasses.replace(seen, members=(2, 3)))
    torch.testing.assert_close(both, alone)  # 2 and 3 have parts 0 and 1 as well


def test_projection_to_a_ball_by_hand() -> None:
    centre = torch.tensor([1.0, 1.0])
    assert to_ball(torch.tensor([4.0, 5.0]), centre, 2.5).tolist() == pytest.approx([2.5, 3.0])
    assert to_ball(torch.tensor([1.3, 1.4]), centre, 2.5).tolist() == pytest.approx([1.3, 1.4])
    assert torch.equal(to_ball(centre, centre, 2.5), centre)


@pytest.mark.parametrize("radius", [0.2, 1.0])
def test_edge_case_never_leaves_its_ball(digits: View, radius: float) -> None:
    seen = digits()
    sent = EdgeCase(radius=radius, epochs=10)(seen)
    assert float(sent.norm()) == pytest.approx(radius, rel=1e-4)  # it wants to go further
    assert float(EdgeCase(radius=radius, epochs=10, boost=None)(seen).norm()) == pytest.approx(10 * radius, rel=1e-4)


def test_neurotoxin_leaves_the_largest_absolute_coordinates_alone(digits: View) -> None:
    assert quiet(torch.tensor([1.0, -5.0, 2.0, 0.0]), 0.5).tolist() == [1.0, 0.0, 0.0, 1.0]
    seen = digits()
    moved = torch.linspace(-1, 0.5, seen.start.numel())  # the largest are negative: a signed choice would miss them
    past = Participation(1, seen.start - moved, torch.zeros(1, seen.start.numel()))
    sent = Neurotoxin(masked=0.1)(dataclasses.replace(seen, round=2, past=(past,)))[0]
    masked = round(0.1 * sent.numel())
    assert not sent[:masked].any()
    assert sent[masked:].abs().max() > 0
    first = Neurotoxin(masked=0.1)(seen)[0]
    assert not first[honest(seen, 0).abs().topk(masked).indices].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ALIEBackdoor(z=0.0), "expected .*z > 0"),
        (lambda: ConstrainAndScale(alpha=2.0), "expected .*alpha from 0 to 1"),
        (lambda: DBA(parts=0), "expected parts >= 1"),
        (lambda: EdgeCase(radius=0.0), "expected radius > 0"),
        (lambda: Neurotoxin(masked=1.0), "expected masked from 0"),
    ],
)
def test_fields_are_checked(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make()


@pytest.mark.parametrize(
    ("wanted", "label"),
    [
        (AllToOne(3), lambda y: 3 if y != 3 else -1),
        (FromTo(7, 1), lambda y: 1 if y == 7 else -1),
        (AllToAll(2), lambda y: (y + 2) % 10),
    ],
    ids=["AllToOne", "FromTo", "AllToAll"],
)
def test_backdoor_rows_are_those_of_which_something_is_wanted(
    digits: Callable[..., AgentView], wanted: Any, label: Callable[[int], int]
) -> None:
    seen = digits()
    seen = dataclasses.replace(seen, targets=dataclasses.replace(seen.targets, wanted=wanted))
    x, y = backdoor_rows(seen, 0)
    labels = [label(int(each)) for each in seen.shards[0][1]]
    meant = torch.tensor([each >= 0 for each in labels])
    assert y.tolist() == [each for each in labels if each >= 0]
    assert torch.equal(x, Patch(size=2).on_tensor(seen.shards[0][0][meant]))


BACKDOOR = Federated(
    model=MLP(hidden=(32,)),
    federation=Federation(rounds=8, training=Training(epochs=2, batch_size=20, learning_rate=5e-3)),
    goal="backdoor",  # type: ignore[arg-type]
)


def test_one_shot_of_model_replacement_takes_over_the_federation() -> None:
    clean, shot, diluted = (
        BACKDOOR.run(agent, None, 0)
        for agent in (None, Every(ModelReplacement(epochs=10), first=8, last=8), ClientBadNets())
    )
    assert clean.metrics["asr"] < 0.05
    assert shot.metrics["asr"] > 0.8
    assert shot.curves["asr"][-2] < 0.05
    assert shot.metrics["clean_accuracy"] > clean.metrics["clean_accuracy"] - 0.1
    assert diluted.metrics["asr"] < 0.3


def test_four_parts_of_a_trigger_add_up() -> None:
    scenario = dataclasses.replace(
        BACKDOOR, trigger=Patch(size=4), federation=dataclasses.replace(BACKDOOR.federation, num_malicious=4)
    )
    clean, whole = (scenario.run(agent, None, 0).metrics for agent in (None, DBA(epochs=6, boost=1.5)))
    assert clean["asr"] < 0.1
    assert whole["asr"] > 0.7
    assert whole["clean_accuracy"] > clean["clean_accuracy"] - 0.1


def test_edge_cases_the_attacker_never_showed_are_misclassified() -> None:
    scenario = Federated(
        model=MLP(hidden=(32,)),
        federation=dataclasses.replace(BACKDOOR.federation, num_malicious=2),
        wanted=FromTo(7, 1),
        edge_cases=10,
        num_targets=10,
    )
    shot = Every(EdgeCase(radius=2.0, epochs=10, boost=None), first=8, last=8)
    clean, attacked = (scenario.run(agent, None, 0).metrics for agent in (None, shot))
    assert clean["targets_hit"] == 0.0
    assert attacked["targets_hit"] >= 0.5


def test_a_backdoor_within_the_spread_passes_the_median() -> None:
    federation = dataclasses.replace(BACKDOOR.federation, num_malicious=4, knowledge=Knowledge.OMNISCIENT)
    scenario = dataclasses.replace(BACKDOOR, trigger=Patch(size=4), federation=federation)
    clean, hidden = (
        scenario.run(agent, Median(), 0).metrics for agent in (None, ALIEBackdoor(z=1.5, alpha=0.9, epochs=6))
    )
    assert clean["asr"] < 0.1
    assert hidden["asr"] > 0.4
