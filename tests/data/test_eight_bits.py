"""Images of 8 bit: whatever an attacker writes into them is still there after the image was saved and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antivenom.core.errors import DataError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack, evasion
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal, ThreatModel
from antivenom.data import Column, ColumnKind, Dataset, ImageFolder, Named, Poison, Schema, source_of
from antivenom.scenarios import guarded
from antivenom.triggers import Blend

BYTES = np.arange(256, dtype=np.uint8)
EVERY = (BYTES.astype(np.float32) / np.float32(255)).reshape(1, 1, 16, 16)  # as the readers of images make them


@pytest.fixture
def half_a_step(plugins: None) -> Any:
    @attack(access=Access.DATA_MANIPULATION, goal=Goal.AVAILABILITY, cite="the test of 8 bits")
    class HalfAStep:
        """Brightens the first image by 0.4 steps, which saving undoes, and the second by 0.6 steps, which become 1."""

        def __call__(self, data: Dataset, context: AttackContext) -> Poison:
            x = data.x.copy()
            x[0] += 0.4 / 255
            x[1] += 0.6 / 255
            return Poison(Dataset(x, data.y, data.classes, data.name, schema=data.schema), np.arange(len(data)) < 2)

    return HalfAStep()


@pytest.fixture
def brighter(plugins: None) -> Any:
    @evasion(goal=Goal.AVAILABILITY, cite="the test of 8 bits")
    class Brighter:
        """Brightens every image by 0.6 steps."""

        def __call__(self, model: object, data: Dataset, context: AttackContext) -> np.ndarray:
            return np.asarray(data.x + np.float32(0.6 / 255))

    return Brighter()


def saved(x: np.ndarray) -> np.ndarray:
    """The numbers after they were saved with 8 bit and read again, computed as Pillow and the readers do it."""
    return np.floor(x.astype(np.float64).clip(0, 1) * 255 + 0.5).astype(np.uint8).astype(np.float32) / np.float32(255)


def folder(path: Path) -> ImageFolder:
    """Two classes of four images with every brightness from 0 to 255."""
    from PIL import Image

    for name in ("dark", "light"):
        (path / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.roll(BYTES, 16 * number).reshape(16, 16)).save(path / name / f"{number}.png")
    return ImageFolder(str(path), (16, 16), 1)


def test_every_byte_stays_what_it_is_and_everything_else_goes_to_the_nearest_one() -> None:
    schema = Schema.pixels((1, 16, 16), steps=255)
    assert np.array_equal(schema.saved(EVERY), EVERY)
    assert np.array_equal(schema.decode(EVERY), EVERY)
    drawn = np.random.default_rng(0).uniform(0, 1, (20, 1, 16, 16)).astype(np.float32)
    assert np.array_equal(schema.saved(drawn), saved(drawn))
    assert np.array_equal(schema.decode(drawn), saved(drawn))
    assert schema.saved(np.full((1, 1, 16, 16), 1.7, np.float32)).max() == 1
    assert schema.allows(EVERY).all()
    assert not schema.allows(drawn).any()
    assert schema.fault(EVERY + np.float32(0.001)).startswith("pixel = 0.001")
    assert "a multiple of 1/255 of the range from 0 to 1" in schema.fault(EVERY + np.float32(0.001))


def test_other_rows_are_not_rounded() -> None:
    x = np.full((2, 1, 2, 2), 0.3001, np.float32)
    assert Schema.pixels((1, 2, 2)).saved(x) is x
    assert np.array_equal(Schema.pixels((1, 2, 2)).decode(x), x)


@pytest.mark.parametrize(
    "fields",
    [{"kind": ColumnKind.REAL, "low": 0, "high": 1}, {"kind": ColumnKind.PIXEL}],
    ids=["a table's column", "a range without ends"],
)
def test_only_pixels_with_a_range_have_steps(fields: dict[str, object]) -> None:
    with pytest.raises(DataError, match="steps > 0, and only of pixels with a finite range"):
        Column("x", steps=255, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        ((np.tile(BYTES.reshape(1, 16, 16), (4, 1, 1)), [0, 1, 0, 1]), 255),
        ((np.tile(EVERY, (4, 1, 1, 1)), [0, 1, 0, 1]), 255),
        ((np.tile(EVERY, (4, 1, 1, 1)) + np.float32(0.001), [0, 1, 0, 1]), 0),
    ],
    ids=["bytes", "bytes divided by 255", "other numbers"],
)
def test_rows_in_memory_say_themselves_whether_they_were_bytes(value: tuple[np.ndarray, list[int]], steps: int) -> None:
    train = source_of((value[0], np.array(value[1])))(Streams(0)).train
    assert [column.steps for column in train.columns.columns] == [steps]


def test_folders_and_archives_of_images_have_8_bits_and_the_named_sets_stay_as_they_are(tmp_path: Path) -> None:
    from antivenom.data import NpzFile

    assert folder(tmp_path / "png").unsplit().columns.columns[0].steps == 255
    np.savez(tmp_path / "x.npz", x=np.tile(BYTES.reshape(1, 16, 16), (4, 1, 1)), y=np.array([0, 1, 0, 1]))
    assert NpzFile(str(tmp_path / "x.npz")).unsplit().columns.columns[0].steps == 255
    assert Named("digits")(Streams(0)).train.columns.columns[0].steps == 0


def test_what_an_attack_writes_is_what_a_file_would_hold(tmp_path: Path, half_a_step: Any, brighter: Any) -> None:
    rows = folder(tmp_path / "png").unsplit()
    context = AttackContext(Streams(0), ThreatModel(Access.DATA_MANIPULATION, Goal.AVAILABILITY, max_poisoned_rate=0.5))
    found = guarded.data_attack(half_a_step, rows, context)
    assert np.array_equal(found.data.x[0], rows.x[0])
    assert np.array_equal(found.data.x[1], saved(rows.x[1] + np.float32(1 / 255)))
    assert np.array_equal(found.data.x[2:], rows.x[2:])
    evaded = guarded.evasion(brighter, None, rows, context)  # type: ignore[arg-type]
    assert np.array_equal(evaded.x, saved(rows.x + np.float32(1 / 255)))
    blended = guarded.shown(Blend(share=0.03), rows.x, rows.schema)
    assert np.array_equal(blended, saved(blended))
    assert not np.array_equal(guarded.shown(Blend(share=0.03), rows.x), blended)
