"""Sinusoid, warp and composed triggers, against formulas by hand and torch's own interpolation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from antivenom.core.errors import AntivenomError, PluginError
from antivenom.core.protocols import Trigger
from antivenom.core.registry import Kind, build, describe
from antivenom.triggers import (
    Amplified,
    Blend,
    Masked,
    Patch,
    Perturbation,
    Quantised,
    Sinusoid,
    Stamp,
    Together,
    Token,
    Warp,
    load_trigger,
    on_tensor,
    save_trigger,
)

IMAGES = np.random.default_rng(0).random((5, 2, 8, 10), dtype=np.float32)
TABLE = np.random.default_rng(1).random((5, 6), dtype=np.float32)
NEW: dict[str, Trigger] = {
    "sinusoid": Sinusoid(0.3, 2),
    "warp": Warp(2.0, 3, 4),
    "quantised": Quantised(4),
    "together": Together((Patch(2), Patch(1, 0.5, "top-left"), Blend(0.1))),
    "scaled": Amplified(Patch(3), 0.4),
    "masked": Masked(Blend(0.5), 16, 8, 2),
    "nested": Masked(Amplified(Together((Blend(0.5), Sinusoid(0.2, 3))), 1.5), 4, 1),
}


@pytest.mark.parametrize("trigger", NEW.values(), ids=list(NEW))
def test_numbers_and_tensors_agree_and_gradients_pass(trigger: Trigger) -> None:
    before = IMAGES.copy()
    found = trigger(IMAGES)
    assert found.dtype == np.float32
    x = torch.tensor(IMAGES, requires_grad=True)
    on = on_tensor(trigger, x)
    assert np.allclose(on.detach().numpy(), found, atol=1e-6)
    assert not np.allclose(found, IMAGES, atol=1e-3)
    assert torch.autograd.grad(on.sum(), x)[0].abs().sum() > 0
    assert np.array_equal(IMAGES, before)


@pytest.mark.parametrize("trigger", NEW.values(), ids=list(NEW))
def test_they_come_back_from_files_and_records(trigger: Trigger, tmp_path: Path) -> None:
    assert load_trigger(save_trigger(trigger, tmp_path / "kept")) == trigger
    assert build(describe(trigger), Kind.TRIGGER) == trigger


def test_a_learned_trigger_within_another_one_comes_back_to_the_bit(tmp_path: Path) -> None:
    trigger = Amplified(Perturbation(IMAGES[0] - 0.5), 3.0)
    found = load_trigger(save_trigger(trigger, tmp_path / "kept"))
    assert np.array_equal(found(IMAGES), trigger(IMAGES))


def test_the_sinusoid_by_hand() -> None:
    x = np.full((1, 1, 2, 4), 0.5, dtype=np.float32)  # columns 1 to 4 of one period: sin 90, 180, 270, 360 degrees
    assert np.allclose(Sinusoid(0.2, 1)(x)[0, 0], [[0.7, 0.5, 0.3, 0.5]] * 2)
    assert np.allclose(Sinusoid(0.8, 1)(x)[0, 0, 0], [1.0, 0.5, 0.0, 0.5])


def test_quantised_images_have_few_values() -> None:
    x = np.array([0.0, 0.2, 0.4, 0.6, 0.9, 1.0], dtype=np.float32).reshape(1, 1, 2, 3)
    assert np.allclose(Quantised(3)(x).ravel(), [0, 0, 0.5, 0.5, 1, 1])
    assert set(np.unique(Quantised(4)(IMAGES) * 3).round(5).tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("side", [28, 32, 9])
def test_the_warp_is_torchs_bicubic_field_and_bilinear_sample(side: int) -> None:
    warp, x = Warp(0.7, 4, 3), torch.rand(3, 2, side, side, generator=torch.Generator().manual_seed(1))
    coarse = np.random.default_rng(3).uniform(-1, 1, (2, 4, 4))
    field = torch.tensor(coarse / np.abs(coarse).mean())[None]
    fine = F.interpolate(field, size=side, mode="bicubic", align_corners=True)[0]  # down, right
    ends = torch.linspace(-1, 1, side, dtype=torch.float64)
    down, right = torch.meshgrid(ends, ends, indexing="ij")
    grid = torch.stack([right + 0.7 * fine[1] / side, down + 0.7 * fine[0] / side], dim=-1).clamp(-1, 1)
    wanted = F.grid_sample(x.double(), grid[None].repeat(3, 1, 1, 1), align_corners=True)
    assert np.allclose(warp(x.numpy()), wanted.numpy(), atol=1e-5)


def test_strength_is_half_a_pixel_per_unit_in_the_mean() -> None:
    moved = np.mean([np.abs(Warp(0.5, 28, key).displacement(28, 28)).mean() for key in range(5)])
    assert moved == pytest.approx(0.25 * 27 / 28, abs=1e-9)  # a grid as fine as the image is not interpolated
    assert np.allclose(Warp(1.0, 4, 1).displacement(28, 28), 2 * Warp(0.5, 4, 1).displacement(28, 28))


def test_noise_mode_is_another_warp_for_each_image() -> None:
    warp = Warp(0.5)
    same = np.repeat(IMAGES[:1, :, :8, :8], 4, axis=0)
    found = warp.jittered(same, np.random.default_rng(0))
    assert found.shape == same.shape
    assert np.abs(found[0] - found[1]).max() > 0.01
    assert np.abs(found - warp(same)).mean() > 0.01
    calm = warp.jittered(same, _Calm())  # type: ignore[arg-type]
    assert np.allclose(calm, warp(same), atol=1e-6)


class _Calm:
    """A generator that draws 0 alone."""

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
        return np.zeros(size)


def test_masked_keeps_half_of_the_pieces() -> None:
    x = np.zeros((3, 1, 8, 8), dtype=np.float32)
    changed = Masked(Patch(8), 16, 8, key=1)(x)[0, 0]
    pieces = changed.reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 4)
    assert sorted(pieces.sum(axis=1).tolist()) == [0] * 8 + [4] * 8
    assert np.array_equal(Masked(Patch(8), 16, 16)(x), Patch(8)(x))
    assert not np.array_equal(Masked(Patch(8), 16, 8, key=2)(x)[0, 0], changed)


def test_scaled_and_together_by_hand() -> None:
    x = np.full((1, 1, 2, 2), 0.4, dtype=np.float32)
    assert np.allclose(Amplified(Patch(2, 0.8), 0.5)(x), 0.6)
    assert np.allclose(Amplified(Patch(2, 0.8), 2.0)(x), 1.0)  # 0.4 + 2 * 0.4 = 1.2, clipped
    assert np.allclose(Together((Patch(2, 0.2), Patch(1, 0.9)))(x)[0, 0], [[0.2, 0.2], [0.2, 0.9]])
    assert np.allclose(Amplified(Blend(0.2, 3), 0.75)(IMAGES), Blend(0.15, 3)(IMAGES), atol=1e-6)  # Qi's training share
    tokens = np.zeros((2, 4), dtype=np.int64)
    assert Together((Token(7, 0), Token(9, 2)))(tokens).tolist() == [[7, 0, 9, 0]] * 2


@pytest.mark.parametrize(
    ("trigger", "rows", "says"),
    [
        (Sinusoid(), TABLE, "images of at least 2x2 pixels for Sinusoid"),
        (Quantised(), TABLE, "images of at least 2x2 pixels for Quantised"),
        (Warp(), TABLE, "images of at least 2x2 pixels for Warp"),
        (Masked(Patch(2)), TABLE, "images of at least 4x4 pixels for Masked"),
        (Masked(Blend()), IMAGES[:, :, :3], "images of at least 4x4"),
        (Amplified(Token(1)), np.zeros((2, 4), dtype=np.int64), "dense rows of numbers for Amplified"),
        (Together((Patch(1), Stamp())), IMAGES, "a table of more than 0 features for Stamp"),
        (Sinusoid(0.1, 5.0), IMAGES, "not a multiple of 10 / 2 on 10 columns"),
    ],
    ids=["sinusoid", "quantised", "warp", "masked table", "masked small", "scaled tokens", "together", "no wave"],
)
def test_rows_that_they_are_not_for(trigger: Trigger, rows: np.ndarray, says: str) -> None:
    with pytest.raises(AntivenomError, match=says) as caught:
        trigger(rows)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sinusoid(0.0),
        lambda: Sinusoid(0.1, float("inf")),
        lambda: Quantised(1),
        lambda: Warp(0.0),
        lambda: Warp(grid=1),
        lambda: Together(()),
        lambda: Amplified(Patch(), float("nan")),
        lambda: Masked(pieces=8),
        lambda: Masked(kept=17),
    ],
    ids=["delta", "frequency", "levels", "strength", "grid", "nothing", "factor", "pieces", "kept"],
)
def test_fields_out_of_range(make: object) -> None:
    with pytest.raises(PluginError):
        make()  # type: ignore[operator]


def test_the_modality_of_parts_is_the_modality_of_the_whole() -> None:
    assert Together((Sinusoid(), Patch())).where == "image"
    assert Together((Token(1), Token(2))).where == "text"
    assert Together((Token(1), Sinusoid())).where is None
    assert Amplified(Blend()).where == "image"
