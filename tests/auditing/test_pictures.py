"""Pictures of inputs in records and in the report."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from antivenom.auditing.pictures import as_png, decoded, encoded
from antivenom.auditing.records import Store
from antivenom.auditing.report import write_report
from antivenom.cli import run
from antivenom.core.errors import PluginError
from antivenom.scenarios.pictures import picture


@pytest.mark.parametrize("shape", [(2, 3), (4, 4, 3)])
def test_a_picture_survives_the_record_and_becomes_a_png(shape: tuple[int, ...]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    assert np.array_equal(decoded(encoded(image)), image)
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(as_png(encoded(image))))))
    scale = 96 // max(shape[:2])
    assert np.array_equal(drawn[::scale, ::scale], image)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"shape": [2, 2], "pixels": "AAAA"}, "3 instead of 4 bytes"),
        ({"shape": [2, 2], "pixels": "<img>"}, "no base64"),
        ({"shape": [100000, 100000], "pixels": ""}, "no picture"),
        ({"shape": [2, True], "pixels": "AAA="}, "no picture"),
        ({"shape": [1, 1, 4], "pixels": "AAAAAA=="}, "no picture"),
        ({}, "no picture"),
    ],
)
def test_what_is_no_picture_is_refused(value: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decoded(value)


def test_only_small_pictures_of_bytes_are_kept() -> None:
    with pytest.raises(PluginError, match="at most 64 pixels a side"):
        encoded(np.zeros((65, 2), dtype=np.uint8))
    with pytest.raises(PluginError, match="float64"):
        encoded(np.zeros((2, 2)))
    large = picture(np.linspace(0, 1, 3 * 200 * 100).reshape(3, 200, 100))
    assert large is not None
    assert large.shape == (50, 25, 3)
    assert picture(np.zeros(5)) is None
    grey = picture(np.array([[[-1.0, 0.5, 2.0]]]))
    assert grey is not None
    assert grey.tolist() == [[0, 128, 255]]


SCENARIO = """
version: 1
name: pictures
seeds: 1
scenarios:
  - kind: acceptance
    data: digits
    model: {name: MLP, hidden: [16]}
    training: {epochs: 5, learning_rate: 0.01}
    wanted: 0
    clean_rows: 64
    attacks: [{name: BadNets, poisoned_rate: 0.1}]
    defences: [{name: NeuralCleanse, steps: 10}]
"""


def test_the_report_shows_clean_triggered_and_recovered_inputs(tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    assert run(["audit", str(tmp_path / "scenario.yaml"), "--out", str(tmp_path / "out"), "--jobs", "1", "-q"]) in (
        0,
        3,
    )
    trials = [r for r in Store(tmp_path / "out").trials().values() if r["spec"]["attack"] and r["spec"]["defence"]]
    images = {name: decoded(image) for name, image in trials[0]["pictures"].items()}
    assert list(images) == ["clean", "triggered", "recovered"]
    changed = np.argwhere(images["clean"] != images["triggered"])
    assert changed.min() >= 6  # the patch covers the last two rows and columns of eight
    assert (images["triggered"][6:, 6:] == 255).all()
    assert 0 <= trials[0]["metrics"]["recovered_asr"] <= 1
    page = write_report(tmp_path / "out").read_text()
    assert page.count("data:image/png;base64,") == 5  # two without a detector, three with one
    assert 'alt="recovered input in' in page
