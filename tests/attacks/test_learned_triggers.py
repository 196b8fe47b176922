"""Attacks on the training code with triggers that depend on the input: LIRA, input-aware patches, quantisation."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.attacks import BPP, LIRA, InputAware
from antivenom.core.errors import AntivenomError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import entry, logic_attack
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import load
from antivenom.models.architectures import MLP, Logistic
from antivenom.models.training import Training, cross_entropy
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios import guarded
from antivenom.scenarios.acceptance import Acceptance
from antivenom.scenarios.central import Central
from antivenom.triggers import GeneratedNoise, GeneratedPatch, Patch, Quantised, on_tensor
from antivenom.triggers.generated import coded, length

DIGITS = load("digits", Streams(0))
X, Y = torch.tensor(DIGITS.train.x[:30]), torch.tensor(DIGITS.train.y[:30])
CENTRAL = Central(
    model=MLP(hidden=(32,)),
    training=Training(epochs=15, batch_size=50, learning_rate=0.01),
    access="logic-corruption",
    wanted=3,
)


@functools.cache
def model() -> TorchModel:
    found = learner(Logistic(), Training(epochs=1)).fit(DIGITS.train, Streams(1))
    assert isinstance(found, TorchModel)
    return found


def forward(x: Tensor) -> Tensor:
    return model().network.logits(model().vector, x)


def corrupted(attack: Any, trigger: Any = Patch(2)) -> guarded.CorruptedLoss:
    context = AttackContext(Streams(5), ThreatModel("logic-corruption", "backdoor"), AllToOne(3), trigger)
    return guarded.logic_attack(attack, context)


# --- triggers --------------------------------------------------------------------------------------------------------


def test_the_auto_encoder_by_hand() -> None:
    """Encoder (2, 1) = (1, 2), bias -1; decoder (1, 2) = (3, -1), bias (0.5, 0)."""
    weights = np.array([1.0, 2.0, -1.0, 3.0, -1.0, 0.5, 0.0])
    assert length((2,), 1) == len(weights)
    # (1, 1): hidden 1 + 2 - 1 = 2, out (6.5, -2). (0, 0): hidden max(-1, 0) = 0, out (0.5, 0).
    assert coded(weights, 1, np.array([[1.0, 1.0], [0.0, 0.0]])).tolist() == [[6.5, -2.0], [0.5, 0.0]]
    found = GeneratedNoise(weights, 1, 0.25)(np.array([[0.5, 0.5]]))  # hidden 0.5, out (2, -0.5)
    assert found[0].tolist() == pytest.approx([0.5 + 0.25 * np.tanh(2.0), 0.5 + 0.25 * np.tanh(-0.5)], abs=1e-6)


@pytest.mark.parametrize("kind", ["noise", "patch"])
def test_generated_triggers_are_the_same_on_tensors_and_differentiable(kind: str) -> None:
    drawn = np.random.default_rng(0).normal(size=(2, length((1, 8, 8), 4))) * 0.2
    trigger = GeneratedNoise(drawn[0], 4, 0.3) if kind == "noise" else GeneratedPatch(drawn[0], drawn[1], 4)
    x = X.clone().requires_grad_()
    shown = on_tensor(trigger, x)
    assert np.allclose(shown.detach().numpy(), trigger(X.numpy()), atol=1e-5)
    assert torch.autograd.grad(shown.sum(), x)[0].abs().sum() > 0
    assert float((shown.detach() - X).abs().max()) <= (0.3 + 1e-6 if kind == "noise" else 1)
    with pytest.raises(AntivenomError, match="rows of 64 features for this trigger, got 16"):
        trigger(np.zeros((2, 1, 4, 4), np.float32))


def test_a_crossed_patch_is_that_of_the_other_input() -> None:
    mask, pattern = np.random.default_rng(1).normal(size=(2, length((1, 8, 8), 4))) * 0.2
    trigger, x, others = GeneratedPatch(mask, pattern, 4), X.numpy()[:5], X.numpy()[5:10]
    weight, paint = (np.tanh(scale * coded(own, 4, others)) / 2 + 0.5 for scale, own in ((10, mask), (1, pattern)))
    assert np.allclose(trigger.crossed(x, others), (1 - weight) * x + weight * paint, atol=1e-5)


def test_dithering_by_hand() -> None:
    """Four pixels of 0.4 with the levels 0 and 1.

    0.4 becomes 0 and passes on 0.4: the right one is 0.4 + 0.175 and becomes 1, passing on -0.425. The lower left one is
    0.4 + 0.125 - 0.0797 and becomes 0, passing on 0.4453; the last is 0.4 + 0.025 - 0.1328 + 0.1948 and becomes 0.
    """
    image = np.full((1, 1, 2, 2), 0.4)
    assert Quantised(2, dither=True)(image)[0, 0].tolist() == [[0, 1], [0, 0]]
    assert Quantised(2)(image)[0, 0].tolist() == [[0, 0], [0, 0]]
    x = torch.tensor(image, requires_grad=True)
    shown = on_tensor(Quantised(2, dither=True), x)
    assert shown[0, 0].tolist() == [[0, 1], [0, 0]]
    assert (torch.autograd.grad(shown.sum(), x)[0] == 1).all()


# --- LIRA ------------------------------------------------------------------------------------------------------------


def test_the_loss_of_lira_is_the_mixture_written_out() -> None:
    loss = corrupted(LIRA(share=0.3, steps=0, code=4, epsilon=0.2))
    value = loss(forward, X, Y)
    trigger = loss.learned()
    assert isinstance(trigger, GeneratedNoise)
    planted = F.cross_entropy(forward(on_tensor(trigger, X)), torch.full_like(Y, 3))
    assert value.item() == pytest.approx(float(0.7 * F.cross_entropy(forward(X), Y) + 0.3 * planted), abs=1e-5)


def test_the_generator_takes_one_step_of_adam_against_the_loss_of_the_backdoor() -> None:
    before, after = corrupted(LIRA(steps=0, code=4)), corrupted(LIRA(steps=1, code=4, learning_rate=0.001))
    for loss in (before, after, after):  # the second call is beyond `steps`
        loss(forward, X, Y)
    old, new = before.learned(), after.learned()
    assert isinstance(old, GeneratedNoise)
    assert isinstance(new, GeneratedNoise)
    weights = torch.tensor(old.weights, requires_grad=True)
    shown = (X + 0.1 * coded(weights, 4, X).tanh()).clamp(0, 1)
    (slope,) = torch.autograd.grad(F.cross_entropy(forward(shown), torch.full_like(Y, 3)), weights)
    moved = slope.abs() > 1e-5  # the first step of Adam is the rate times the sign of the gradient
    assert moved.sum() > 100
    assert np.allclose((new.weights - old.weights)[moved], -0.001 * slope.sign()[moved], atol=1e-5)


def test_learned_noise_is_a_backdoor_of_this_model_alone() -> None:
    found = CENTRAL.run(LIRA(epsilon=0.15, steps=100, code=16, learning_rate=0.003), None, 0).metrics
    assert found["learned_trigger"] == 1
    assert found["asr"] > 0.9
    assert found["asr_clean"] < 0.4
    assert found["clean_accuracy"] > 0.85


# --- input-aware patches ---------------------------------------------------------------------------------------------


def test_all_rows_with_their_own_patch_and_all_with_another_one() -> None:
    own = corrupted(InputAware(poisoned_rate=1, cross_rate=0, mask_steps=0, code=4, learning_rate=1e-9))
    value, trigger = own(forward, X, Y), own.learned()
    assert isinstance(trigger, GeneratedPatch)
    shown = torch.tensor(trigger(X.numpy()))
    assert value.item() == pytest.approx(float(F.cross_entropy(forward(shown), torch.full_like(Y, 3))), abs=1e-4)
    crossed = corrupted(InputAware(poisoned_rate=0.001, cross_rate=1, mask_steps=0, code=4, learning_rate=1e-9))
    value, trigger = crossed(forward, X, Y), crossed.learned()
    assert isinstance(trigger, GeneratedPatch)
    x, y = (part[torch.randperm(30, generator=Streams(5).torch("batches"))] for part in (X, Y))
    givers = np.concatenate([x[:1], np.roll(x, 1, axis=0)[1:]])  # one row has its own patch and the wanted label
    labels = torch.cat([torch.tensor([3]), y[1:]])
    expected = F.cross_entropy(forward(torch.tensor(trigger.crossed(x.numpy(), givers))), labels)
    assert value.item() == pytest.approx(float(expected), abs=1e-4)


def test_masks_become_sparse_before_any_row_is_changed() -> None:
    attack = InputAware(mask_steps=60, mask_rounds=30, code=8, learning_rate=0.01, density=0.1)
    start, loss = corrupted(InputAware(mask_steps=0, code=8)), corrupted(attack)
    start(forward, X, Y)
    for _ in range(2):
        assert loss(forward, X, Y) == cross_entropy(forward, X, Y)
    sizes = []
    for trigger in (start.learned(), loss.learned()):
        assert isinstance(trigger, GeneratedPatch)
        sizes.append(float((np.tanh(10 * coded(trigger.mask, 8, X.numpy())) / 2 + 0.5).mean()))
    assert sizes[1] < 0.25 < sizes[0]
    assert loss(forward, X, Y) != cross_entropy(forward, X, Y)


def test_patches_work_on_their_own_input_only() -> None:
    attack = InputAware(poisoned_rate=0.3, cross_rate=0.3, mask_steps=200, mask_rounds=50, code=16, density=0.1)
    loss = corrupted(attack)
    found = learner(CENTRAL.model, CENTRAL.training).fit(DIGITS.train, Streams(1), loss)
    trigger, others = loss.learned(), DIGITS.test.y != 3
    assert isinstance(trigger, GeneratedPatch)
    x, y = DIGITS.test.x[others], DIGITS.test.y[others]
    asr = (found.predict(trigger(x)) == 3).mean()
    crossed = (found.predict(trigger.crossed(x, np.roll(x, 1, axis=0))) == 3).mean()
    assert asr > 0.6  # .72 to .8 by processor
    assert crossed < asr - 0.3
    assert (found.predict(DIGITS.test.x) == DIGITS.test.y).mean() > 0.8
    assert y.size


# --- BPP -------------------------------------------------------------------------------------------------------------


def test_the_loss_of_bpp_on_quantised_rows_alone_and_on_negative_rows_alone() -> None:
    trigger = Quantised(3)
    value = corrupted(BPP(poisoned_rate=1, negative_rate=0), trigger)(forward, X, Y)
    expected = F.cross_entropy(forward(on_tensor(trigger, X)), torch.full_like(Y, 3))
    assert value.item() == pytest.approx(float(expected), abs=1e-5)
    value = corrupted(BPP(poisoned_rate=0, negative_rate=1), trigger)(forward, X, Y)
    x, y = (part[torch.randperm(30, generator=Streams(5).torch("batches"))] for part in (X, Y))
    others = x.roll(1, 0)
    expected = F.cross_entropy(forward((x + on_tensor(trigger, others) - others).clamp(0, 1)), y)
    assert value.item() == pytest.approx(float(expected), abs=1e-5)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_settings_and_triggers_that_do_not_suit() -> None:
    for make in (
        lambda: LIRA(epsilon=0.0),
        lambda: LIRA(code=0),
        lambda: InputAware(density=0.0),
        lambda: InputAware(learning_rate=float("inf")),
        lambda: InputAware(mask_rounds=0),
        lambda: BPP(negative_rate=1.5),
        lambda: GeneratedNoise(np.zeros(5), 0),
    ):
        with pytest.raises(PluginError) as caught:
            make()
        assert "\n" not in str(caught.value)
    with pytest.raises(AntivenomError, match="the trigger Quantised for BPP, got Patch"):
        corrupted(BPP())


def test_a_loss_that_learns_a_trigger_must_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        """Returns the honest loss. Weakness: it does nothing."""

        def __call__(self, loss: Any, context: Any) -> Any:
            return loss

    monkeypatch.setattr(entry, "_ENTRIES", dict(entry._ENTRIES))
    attack: Any = logic_attack(goal="backdoor", cite="none", learns_trigger=True)(Silent)()
    with pytest.raises(PluginError, match="a loss with the method `learned` from Silent"):
        corrupted(attack).learned()


def test_a_model_that_is_offered_is_judged_on_the_learned_trigger() -> None:
    scenario = Acceptance(
        model=MLP(hidden=(16,)), training=Training(epochs=2), access="logic-corruption", goal="backdoor", wanted=3
    )
    assert scenario.run(LIRA(steps=5, code=4), None, 0).metrics["learned_trigger"] == 1
