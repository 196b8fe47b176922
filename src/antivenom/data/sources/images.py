"""Rows from folders of images."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.registry import source
from antivenom.core.streams import Streams
from antivenom.data.dataset import Dataset, Split
from antivenom.data.fingerprints import of_files
from antivenom.data.schema import BYTES, Schema
from antivenom.data.splitting import split_by_seed

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})


@source(cite="the user's own images, read by Pillow")
class ImageFolder:
    """A folder with one folder of images per class. Images become arrays (channels, height, width) from 0 to 1.

    All pixels are multiples of 1/255, also those that an attack writes, as after saving with 8 bit.

    Classes are the names of the folders in sorted order. Files that are not images are skipped. An image that cannot be
    read is an error.

    Fields:
        path: the folder.
        size: height and width to which every image is scaled, in pixels.
        channels: 1 for grey, 3 for colour.
        test: a second folder of the same form with the test images; "" splits the images of `path`.
        test_share: share of the images that become test rows, above 0 and below 1, if there is no second folder.
    """

    path: str
    size: tuple[int, int]
    channels: int = 3
    test: str = ""
    test_share: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(self.path))
        object.__setattr__(self, "test", str(self.test))
        object.__setattr__(self, "size", tuple(self.size))
        if len(self.size) != 2 or min(self.size) < 1 or self.channels not in (1, 3):
            got = f"size {self.size} and channels {self.channels}"
            raise DataError("size: a height and a width from 1, channels: 1 or 3", got)
        if not 0 < self.test_share < 1:
            raise DataError("test_share above 0 and below 1", f"{self.test_share}")

    def __call__(self, streams: Streams) -> Split:
        train, test = _parts(self, self.fingerprint())
        return split_by_seed(train, streams, self.test_share) if test is None else Split(train, test)

    def unsplit(self) -> Dataset:
        """The images of `path`, sorted by class and file name."""
        return _parts(self, self.fingerprint())[0]

    def files(self) -> list[Path]:
        """The files of the images of `path`, in the order of `unsplit`."""
        return [file for file, _ in _files(Path(self.path))]

    def fingerprint(self) -> str:
        """The SHA-256 of all images and of their paths in the folder."""
        files = [(folder, file) for folder in (self.path, self.test) if folder for file, _ in _files(Path(folder))]
        return of_files([file for _, file in files], [str(file.relative_to(folder)) for folder, file in files])


@functools.lru_cache(maxsize=2)  # every trial calls it; the second argument, the fingerprint, changes with the files
def _parts(folder: ImageFolder, _: str) -> tuple[Dataset, Dataset | None]:
    train = _dataset(folder, folder.path, None)
    return train, _dataset(folder, folder.test, train.classes) if folder.test else None


def _files(folder: Path) -> list[tuple[Path, str]]:
    """(path, name of its class) of every image, sorted."""
    if not folder.is_dir():
        raise DataError(f"a folder of images at {folder}", "no such folder", "check the path")
    classes = sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    found = [
        (file, place.name)
        for place in classes
        for file in sorted(place.rglob("*"))
        if file.suffix.lower() in SUFFIXES and file.is_file()
    ]
    if not found:
        raise DataError(f"one folder of images per class in {folder}", "no images", "put each class in its own folder")
    return found


def _dataset(folder: ImageFolder, path: str, classes: tuple[str, ...] | None) -> Dataset:
    files = _files(Path(path))
    labels = [label for _, label in files]
    known = classes or tuple(sorted({*labels}))
    x = np.stack([_image(file, folder.size, folder.channels) for file, _ in files])
    return Dataset(x, np.array(labels), known, Path(path).name, schema=Schema.pixels(x.shape[1:], steps=BYTES))


def _image(file: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    """(channels, height, width) float32 from 0 to 1."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                scaled = image.convert("L" if channels == 1 else "RGB").resize(size[::-1], Image.Resampling.BILINEAR)
    except Exception as error:  # Pillow raises many classes of exceptions, which mean the same to the user
        raise DataError(
            f"an image in {file}", f"{type(error).__name__}: {' '.join(str(error).split())[:120]}", "mend or remove it"
        ) from error
    pixels = np.asarray(scaled, dtype=np.float32) / np.float32(255)
    return pixels[None] if channels == 1 else np.moveaxis(pixels, 2, 0)
