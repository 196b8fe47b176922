"""Folders that `datasets` 5.2.0 has saved by `save_to_disk`: tables, texts in two parts, images in two shards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from antivenom.core.errors import DataError
from antivenom.core.streams import Streams
from antivenom.data import HuggingFaceFolder

SAVED = Path(__file__).parent / "samples" / "saved"


def test_a_table_has_its_columns_and_sorted_classes() -> None:
    rows = HuggingFaceFolder(SAVED / "table", "left", ignore=("id",)).unsplit()
    assert [column.name for column in rows.columns.columns] == ["age", "job"]
    assert rows.x["age"].tolist() == list(range(20, 30))
    assert rows.classes == ("no", "yes")
    assert rows.y.tolist() == [0, 1, 0, 0, 1] * 2


def test_texts_of_two_parts_are_not_mixed() -> None:
    split = HuggingFaceFolder(SAVED / "texts")(Streams(0))
    assert split.train.x["text"].tolist()[:2] == ["bad film 0", "good film 1"]
    assert (len(split.train), len(split.test)) == (12, 2)
    assert split.test.x["text"].tolist() == ["good end", "bad end"]
    assert split.train.classes == split.test.classes == ("neg", "pos")
    assert split.test.y.tolist() == [1, 0]


def test_images_keep_their_bytes_over_all_shards() -> None:
    rows = HuggingFaceFolder(SAVED / "images").unsplit()
    assert rows.shape == (3, 4, 6)
    assert np.allclose(rows.x[:, 0, 0, 0], np.arange(6) * 40 / 255)
    assert rows.classes == ("a", "b", "c")
    assert HuggingFaceFolder(SAVED / "images", size=(8, 8)).unsplit().shape == (3, 8, 8)


def test_the_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    shutil.copytree(SAVED / "images", tmp_path / "images")
    before = HuggingFaceFolder(tmp_path / "images").fingerprint()
    assert before == HuggingFaceFolder(SAVED / "images").fingerprint()
    file = next((tmp_path / "images").glob("*.arrow"))
    file.write_bytes(file.read_bytes() + b"\0")
    assert HuggingFaceFolder(tmp_path / "images").fingerprint() != before


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"_data_files": [{"filename": "../../secret.arrow"}]}, "names of Arrow files"),
        ({"_data_files": []}, "names of Arrow files"),
        ({"_data_files": [{"filename": "absent.arrow"}]}, "a readable file .*absent.arrow"),
        ({"_data_files": [{"filename": "state.json"}]}, "an Arrow file at .*state.json"),
        ([1], "a mapping in .*state.json, got list"),
    ],
    ids=["out of the folder", "none", "absent", "no Arrow", "a list"],
)
def test_a_hostile_or_broken_description_is_one_line(tmp_path: Path, state: object, said: str) -> None:
    shutil.copytree(SAVED / "table", tmp_path / "t")
    (tmp_path / "t" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match=said) as caught:
        HuggingFaceFolder(tmp_path / "t", "left").unsplit()
    assert "\n" not in str(caught.value)


def test_wrong_names_and_other_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'lefd': did you mean 'left'"):
        HuggingFaceFolder(SAVED / "table", "lefd").unsplit()
    with pytest.raises(DataError, match=r"no state.json there: save the data set with save_to_disk"):
        HuggingFaceFolder(tmp_path).unsplit()


def test_columns_to_leave_out_may_share_an_option_as_those_of_a_table_do() -> None:
    from antivenom.cli.rows import RowOptions, source_from

    source = source_from(RowOptions(data=str(SAVED / "table"), label="left", ignore=("id, b", "c")))
    assert source.ignore == ("id", "b", "c")
