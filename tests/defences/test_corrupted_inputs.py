"""Defences that change an input before the model answers: corruptions and their severities, and shrunk images."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.defences import ShrinkPad, TeCo
from antivenom.defences.corruptions import CORRUPTIONS, SEVERITIES, brightness, jpeg, motion_blur, pixelation
from antivenom.defences.gates.corrupted import first_changes
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.pipeline import Pipeline

CLASSES = ("a", "b", "c")
BRIGHTNESS = CORRUPTIONS.index(brightness)


def context(seed: int = 0) -> DefenceContext:
    return Pipeline(MLP(), Training(epochs=1), "cpu", Streams(seed)).context()


class Rule:
    """A model of three classes that is a function of the images."""

    num_classes = 3

    def __init__(self, rule: Callable[[np.ndarray], np.ndarray]) -> None:
        self.rule = rule

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.rule(x), dtype=int)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.eye(3)[self.predict(x)]


CORNER = Rule(lambda x: np.where((x[:, 0, 0, :3] >= 0.999).all(axis=1), 2, 0))  # class 2 if three pixels are white


def images(*levels: float, side: int = 12) -> np.ndarray:
    return (np.ones((len(levels), 1, side, side)) * np.array(levels)[:, None, None, None]).astype(np.float32)


def clean_rows(x: np.ndarray) -> Dataset:
    return Dataset(x, np.zeros(len(x), dtype=int), CLASSES)


# --- corruptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
def test_a_corruption_is_strongest_at_its_last_severity_and_keeps_the_shape(corrupt: Any) -> None:
    x = F.interpolate(torch.tensor(load("digits", Streams(0)).test.x[:60]), scale_factor=4, mode="bicubic").numpy()
    x = (x - x.min()) / (x.max() - x.min())
    before, found = x.copy(), []
    for severity in range(1, SEVERITIES + 1):
        changed = np.clip(corrupt(x, severity, np.random.default_rng(0)), 0, 1)
        assert changed.shape == x.shape
        assert np.array_equal(changed, np.clip(corrupt(x, severity, np.random.default_rng(0)), 0, 1))
        found.append(float(np.abs(changed - x).mean()))
    assert np.array_equal(x, before)  # the images themselves are left alone
    assert found[0] > 0
    assert found[-1] == max(found)


def test_jpeg_compresses_every_channel_of_every_image_alone() -> None:
    x = np.random.default_rng(0).random((3, 2, 16, 24))
    found = jpeg(x, 2, np.random.default_rng(0))
    for i in range(3):
        for channel in range(2):
            file = io.BytesIO()
            Image.fromarray(np.round(255 * x[i, channel]).astype(np.uint8)).save(file, "JPEG", quality=18)
            assert np.array_equal(np.asarray(Image.open(file)) / 255, found[i, channel])


def test_blur_and_pixelation_by_hand() -> None:
    x = np.zeros((1, 1, 1, 11))
    x[0, 0, 0, 5] = 1
    blurred = motion_blur(x, 1, np.random.default_rng(0))[0, 0, 0]
    assert blurred == pytest.approx([0, 0, 0, 0.2, 0.2, 0.2, 0.2, 0.2, 0, 0, 0])
    halved = pixelation(np.arange(8.0)[None, None, None].repeat(8, axis=2), 2, np.random.default_rng(0))[0, 0, 0]
    assert halved.tolist() == [0.5, 0.5, 2.5, 2.5, 4.5, 4.5, 6.5, 6.5]


# --- TeCo ------------------------------------------------------------------------------------------------------------


def test_the_first_severity_that_changes_a_prediction() -> None:
    """Brightness adds .1 for each severity: an image of .35 passes .5 at the second, one of .05 at the fifth."""
    model = Rule(lambda x: x.mean(axis=(1, 2, 3)) > 0.5)
    x = images(0.35, 0.05, 0.6)
    assert first_changes(model, x, 0.0, 1.0, 0)[:, BRIGHTNESS].tolist() == [2, 5, 6]
    other = Rule(lambda x: x.mean(axis=(1, 2, 3)) > 0)  # pixels from -5 to 5
    assert first_changes(other, 10 * x - 5, -5.0, 5.0, 0)[:, BRIGHTNESS].tolist() == [2, 5, 6]
    constant = Rule(lambda x: np.zeros(len(x)))
    assert (first_changes(constant, x, 0.0, 1.0, 0) == SEVERITIES + 1).all()


@pytest.mark.parametrize("deviation", [False, True], ids=["distance", "deviation"])
def test_a_brittle_trigger_is_refused_and_clean_images_pass(deviation: bool) -> None:
    x = images(*np.linspace(0.0, 0.4, 40))
    x[:, 0, -1, -1] = 1.0  # so that the range of the pixels is known
    clean = clean_rows(x)
    filtered = TeCo(false_rejection=0.05, deviation=deviation)(CORNER, clean, context())
    x = images(0.15, 0.25, 0.35)
    triggered = x.copy()
    triggered[:, 0, 0, :3] = 1.0
    assert (CORNER.predict(triggered) == 2).all()
    assert filtered(triggered).flags.all()
    assert filtered(clean.dense).flags.sum() <= 2  # 5 % of 40
    assert len(filtered(x[:0])) == 0


def test_teco_needs_clean_images() -> None:
    with pytest.raises(NotApplicable, match="images for TeCo"):
        TeCo()(CORNER, Dataset(np.zeros((4, 2)), np.zeros(4, dtype=int), CLASSES), context())
    with pytest.raises(DataError, match="clean rows for TeCo"):
        TeCo()(CORNER, clean_rows(images(0.5))[:0], context())
    with pytest.raises(PluginError, match=r"TeCo.false_rejection from 0 to 1"):
        TeCo(false_rejection=1.5)


# --- ShrinkPad -------------------------------------------------------------------------------------------------------


def test_images_are_shrunk_and_put_at_places_that_depend_on_key_and_image() -> None:
    x = np.random.default_rng(0).random((150, 2, 10, 8)).astype(np.float32) + 1
    clean = clean_rows(np.concatenate([x, np.zeros((1, 2, 10, 8), dtype=np.float32)]))
    model: Any = ShrinkPad(pixels=2)(CORNER, clean, context())
    small = F.interpolate(torch.from_numpy(x), size=(8, 6), mode="bilinear", antialias=True).numpy()
    places = []
    for image, moved in zip(small, model.change(x), strict=True):
        rows, columns = np.flatnonzero(moved[0].any(axis=1)), np.flatnonzero(moved[0].any(axis=0))
        assert np.allclose(moved[:, rows[0] : rows[0] + 8, columns[0] : columns[0] + 6], image)
        assert len(rows) == 8
        assert len(columns) == 6
        places.append((rows[0], columns[0]))
    assert set(places) == {(top, left) for top in range(3) for left in range(3)}
    assert np.array_equal(model.change(x[::-1])[::-1], model.change(x))  # whatever else is asked
    other: Any = ShrinkPad(pixels=2)(CORNER, clean, context(seed=1))
    assert not np.array_equal(other.change(x), model.change(x))


def test_a_trigger_in_the_corner_is_lost() -> None:
    clean = clean_rows(np.concatenate([images(0.0), images(*np.linspace(0.1, 0.4, 40))]))
    triggered = clean.dense.copy()
    triggered[:, 0, 0, :3] = 1.0
    model = ShrinkPad(pixels=4)(CORNER, clean, context())
    assert model.num_classes == 3
    assert (CORNER.predict(triggered) == 2).all()
    assert (model.predict(triggered) == 0).all()
    assert np.array_equal(model.predict_proba(triggered).argmax(axis=1), model.predict(triggered))


def test_shrinking_needs_images_that_are_large_enough() -> None:
    with pytest.raises(NotApplicable, match="images for ShrinkPad"):
        ShrinkPad()(CORNER, Dataset(np.zeros((4, 2)), np.zeros(4, dtype=int), CLASSES), context())
    with pytest.raises(DataError, match="a clean row for ShrinkPad"):
        ShrinkPad()(CORNER, clean_rows(images(0.5))[:0], context())
    with pytest.raises(PluginError, match="up to 3 for images of 7 pixels, got 4"):
        ShrinkPad()(CORNER, clean_rows(images(0.5, side=7)), context())
    with pytest.raises(PluginError, match="pixels >= 1"):
        ShrinkPad(pixels=0)
