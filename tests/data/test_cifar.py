"""CIFAR-10 from small files of both forms, and the first images of the real file where it is at hand."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from antivenom.core.errors import DataError
from antivenom.data import cifar, load
from antivenom.data.files import candidates
from antivenom.data.limits import arrays

LABELS = np.arange(12) % 10
TRAIN = np.arange(12) < 10


@pytest.fixture
def folder(bare_machine, monkeypatch, tmp_path):
    """$ANTIVENOM_DATA, empty."""
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path))
    cifar._images.cache_clear()
    yield tmp_path
    cifar._images.cache_clear()


def pictures() -> np.ndarray:
    """(12, 3, 32, 32) uint8: smooth images whose channels differ, so that JPEG changes them little."""
    ramp = np.arange(32)
    base = np.stack([np.add.outer(ramp, ramp), np.add.outer(2 * ramp, ramp), np.full((32, 32), 200)])
    return np.stack([np.clip(base + 5 * i, 0, 255) for i in range(12)]).astype(np.uint8)


def write_archive(folder: Path, batches: int = 5, cut: int = 0) -> None:
    """Two training images in each batch, as in the publisher's archive, and two test images."""
    records = np.concatenate([LABELS[:, None].astype(np.uint8), pictures().reshape(12, -1)], axis=1)
    parts = {f"data_batch_{i + 1}.bin": records[2 * i : 2 * i + 2] for i in range(batches)} | {
        "test_batch.bin": records[10:]
    }
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for name, rows in parts.items():
            content = rows.tobytes()[: rows.size - cut]
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_jpeg(folder: Path, **changed: np.ndarray) -> None:
    images = []
    for x in pictures():
        file = io.BytesIO()
        Image.fromarray(np.moveaxis(x, 0, 2)).save(file, "JPEG", quality=95)
        images.append(file.getvalue())
    held = {
        "data": np.frombuffer(b"".join(images), np.uint8),
        "offsets": np.cumsum([0, *map(len, images)]),
        "labels": LABELS.astype(np.uint8),
        "train": TRAIN,
    }
    np.savez(folder / "cifar10-jpeg.npz", **(held | changed))


def test_the_publishers_archive_is_read(folder):
    write_archive(folder)
    split = load("cifar-10")
    assert split.train.x.shape == (10, 3, 32, 32)
    assert split.test.y.tolist() == [0, 1]
    assert split.train.y.tolist() == list(range(10))
    assert np.array_equal(
        np.concatenate([split.train.x, split.test.x]), pictures().astype(np.float32) / np.float32(255)
    )
    assert split.train.classes[3] == "cat"


def test_jpeg_images_are_nearly_the_same(folder):
    write_jpeg(folder)
    split = load("cifar-10")
    exact = pictures() / 255
    assert np.abs(split.train.x - exact[:10]).mean() < 0.01
    assert np.abs(split.test.x - exact[10:]).mean() < 0.01
    assert (split.train.y.tolist(), split.test.y.tolist()) == (list(range(10)), [0, 1])
    file = np.load(folder / "cifar10-jpeg.npz")
    with Image.open(io.BytesIO(file["data"][: file["offsets"][1]].tobytes())) as image:
        opened = np.asarray(image)
    assert np.array_equal(np.round(split.train.x[0] * 255), np.moveaxis(opened, 2, 0))  # as Pillow opens the file


@pytest.mark.parametrize("fault", ["no batch", "cut record", "short labels", "other mask", "cut image", "labels"])
def test_a_broken_file_is_one_line(folder, fault):
    if fault == "no batch":
        write_archive(folder, batches=4)
    elif fault == "cut record":
        write_archive(folder, cut=1)
    else:
        changed = {
            "short labels": {"labels": LABELS[:3]},
            "other mask": {"train": TRAIN.astype(int)},
            "cut image": {"data": np.zeros(40, np.uint8)},
            "labels": {"labels": LABELS + 7},
        }
        write_jpeg(folder, **changed[fault])
    with pytest.raises(DataError) as caught:
        load("cifar-10")
    assert len(str(caught.value).splitlines()) == 1


def test_the_real_file_holds_the_published_numbers():
    found = next(
        (place for place in candidates(cifar.CIFAR10) if place.name.endswith(".npz") and place.is_file()), None
    )
    if found is None:
        pytest.skip("no cifar10-jpeg.npz in $ANTIVENOM_DATA")
    data, offsets, labels, train = arrays(io.BytesIO(found.read_bytes()), ("data", "offsets", "labels", "train"))
    assert np.bincount(labels[train]).tolist() == [5000] * 10
    assert np.bincount(labels[~train]).tolist() == [1000] * 10
    x = cifar.decoded(data.tobytes()[: offsets[51]], offsets[:51])
    assert x.shape == (50, 3, 32, 32)
    assert x.std() > 30
