"""CIFAR-10 from its publisher's binary archive, or from a smaller file in which the images are compressed as JPEG.

The JPEG file is a NumPy archive (.npz) with four arrays: `data`, the bytes of all JPEG images one after the other; `offsets`, where each image
begins, and the end of the last one; `labels`; and `train`, which is True for the 50,000 training images. JPEG loses detail,
so that its images differ slightly from the published ones: name the file that was used beside a result.
"""

from __future__ import annotations

import functools
import io
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from antivenom.data import limits
from antivenom.data.dataset import Dataset, Split
from antivenom.data.files import PublishedFile, locate, parse

CIFAR10 = PublishedFile(
    "cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    other="cifar10-jpeg.npz",
)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
_PIXELS = 3 * SIDE * SIDE
_TRAINING, _TEST = tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",)
Images = tuple[np.ndarray, np.ndarray]  # (n, 3, 32, 32) uint8, (n,) labels


def cifar10() -> Split:
    """The images with numbers from 0 to 1."""
    parts = _images(locate(CIFAR10))
    train, test = (Dataset(x.astype(np.float32) / np.float32(255), y, CLASSES, "cifar-10") for x, y in parts)
    return Split(train, test)


@functools.lru_cache(maxsize=1)  # decoding takes seconds; bytes need a quarter of the memory of the rows
def _images(place: Path) -> tuple[Images, Images]:
    return parse(place, lambda content: compressed(content) if content.startswith(b"PK") else published(content))


def published(content: bytes) -> tuple[Images, Images]:
    """Training and test images of the publisher's archive: a byte for the label and 3,072 for the image, 60,000 times."""
    found: dict[str, bytes] = {}
    packed = content.startswith(b"\x1f\x8b")
    with tarfile.open(fileobj=io.BytesIO(limits.unpacked(content, ".gz" if packed else "")), mode="r:") as tar:
        for member in tar.getmembers():
            name = Path(member.name).name
            file = tar.extractfile(member) if name in (*_TRAINING, *_TEST) and member.size < limits.MOST_BYTES else None
            if file is not None:
                found[name] = file.read()
    return _records([found[name] for name in _TRAINING]), _records([found[name] for name in _TEST])


def _records(batches: list[bytes]) -> Images:
    rows = np.concatenate([np.frombuffer(batch, np.uint8).reshape(-1, 1 + _PIXELS) for batch in batches])
    return rows[:, 1:].reshape(-1, 3, SIDE, SIDE), rows[:, 0].astype(np.int64)


def compressed(content: bytes) -> tuple[Images, Images]:
    """Training and test images of the file with JPEG images."""
    data, offsets, labels, train = limits.arrays(io.BytesIO(content), ("data", "offsets", "labels", "train"))
    if data.dtype != np.uint8 or train.dtype != bool or not len(offsets) - 1 == len(labels) == len(train):
        raise ValueError("arrays of other lengths or types")
    images = decoded(data.tobytes(), offsets)
    y = labels.astype(np.int64)
    return (images[train], y[train]), (images[~train], y[~train])


def decoded(data: bytes, offsets: np.ndarray) -> np.ndarray:
    """(n, 3, 32, 32) uint8 of n JPEG images, which lie in `data` between consecutive offsets (n + 1,)."""
    from PIL import Image

    places = offsets.tolist()
    x = np.empty((len(places) - 1, SIDE, SIDE, 3), dtype=np.uint8)
    for number, (start, stop) in enumerate(pairwise(places)):
        x[number] = np.asarray(Image.frombytes("RGB", (SIDE, SIDE), data[start:stop], "jpeg", "RGB", ""))
    return np.moveaxis(x, 3, 1)
