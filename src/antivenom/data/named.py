"""The named data sets. `load("digits")` returns a Split; `DATASETS` describes each set."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from antivenom.core.errors import DataError, did_you_mean
from antivenom.core.streams import Streams
from antivenom.data import adult, cifar, text
from antivenom.data.dataset import Dataset, Split
from antivenom.data.files import PublishedFile, locate, parse
from antivenom.data.limits import arrays, require_plain_mat
from antivenom.data.schema import Column, ColumnKind, Schema
from antivenom.data.splitting import split_by_seed

_FASHION = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
_FASHION_PACKAGE = "/usr/share/datasets/fashion-mnist/"
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/"


def _fashion(filename: str, sha256: str) -> PublishedFile:
    how = "apt install dataset-fashion-mnist, or put the four idx files into $ANTIVENOM_DATA"
    return PublishedFile(filename, _FASHION + filename, f"sha256:{sha256}", _FASHION_PACKAGE + filename, how)


@dataclass(frozen=True)
class NamedData:
    """A data set that has a name.

    Fields:
        name: its name in scenario files.
        about: one line with rows, features, classes and licence.
        files: the files that it needs; () for sets that come with scikit-learn.
        read: reads the files into a Split. The test rows are the publisher's if there are any.
    """

    name: str
    about: str
    files: tuple[PublishedFile, ...]
    read: Callable[[Streams], Split]


def load(name: str, streams: Streams | None = None) -> Split:
    """The data set `name`, split into training and test rows.

    Sets without published test rows are split 70 to 30 by the stream "split", so that trials with equal seeds share the
    split. Missing files are downloaded once and kept in the user's cache.

    Args:
        name: one of `DATASETS`.
        streams: the random streams; None stands for those of seed 0.

    Raises:
        DataError: the name is unknown, or a file is damaged.
        DataNotFound: a file is missing and cannot be downloaded.

    Example:
        >>> split = load("digits")
        >>> split.train.x.shape, split.test.x.shape, split.train.num_classes
        ((1258, 1, 8, 8), (539, 1, 8, 8), 10)
    """
    if name not in DATASETS:
        raise DataError("the name of a data set", repr(name), did_you_mean(name, DATASETS))
    return DATASETS[name].read(streams or Streams(0))


@functools.cache  # every trial of an audit asks for it, and scikit-learn parses a text file
def _all_digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images[:, None, :, :] / 16.0
    return Dataset.from_arrays(images, bunch.target, tuple(str(c) for c in range(10)), "digits")


def _digits(streams: Streams) -> Split:
    return split_by_seed(_all_digits(), streams)


@functools.cache
def _all_breast_cancer() -> Dataset:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    schema = Schema(tuple(Column(str(name)) for name in bunch.feature_names))
    return Dataset(bunch.data, bunch.target, tuple(map(str, bunch.target_names)), "breast-cancer", schema=schema)


def _breast_cancer(streams: Streams) -> Split:
    return _scaled(split_by_seed(_all_breast_cancer(), streams))


def _scaled(split: Split) -> Split:
    """Scale each feature to [0, 1] by the range of the training rows; test rows may lie outside."""
    low = split.train.x.min(axis=0)
    span = split.train.x.max(axis=0) - low
    span[span == 0] = 1  # a feature that is constant in training becomes 0 there, instead of being divided by 0

    def scale(data: Dataset) -> Dataset:
        return replace(data, x=(data.x - low) / span)

    return Split(scale(split.train), scale(split.test))


def _idx(content: bytes, rank: int) -> np.ndarray:
    """Parse the idx format of MNIST: two zero bytes, a type byte, the rank, the sizes (big-endian), the values.

    Args:
        content: the file's bytes.
        rank: the expected number of dimensions; the type must be unsigned bytes.
    """
    if content[:4] != bytes([0, 0, 8, rank]):
        raise ValueError(f"not an idx file of unsigned bytes with {rank} dimensions")
    sizes = np.frombuffer(content, dtype=">u4", count=rank, offset=4).astype(int)
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank)
    if values.size != sizes.prod():
        raise ValueError(f"{values.size} values where the header says {sizes.prod()}")
    return values.reshape(sizes)


def _image_split(parts: list[np.ndarray], classes: tuple[str, ...], name: str) -> Split:
    """A split of grey images; `parts` are training images and labels, then test images and labels."""

    def dataset(x: np.ndarray, y: np.ndarray) -> Dataset:
        return Dataset(x[:, None, :, :].astype(np.float32) / 255.0, y, classes, name)

    return Split(dataset(parts[0], parts[1]), dataset(parts[2], parts[3]))


_FASHION_SOURCES = (
    _fashion("train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    _fashion("train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    _fashion("t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    _fashion("t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)
_FASHION_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_MNIST_SOURCE = PublishedFile(
    "mnist.npz",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
)
_ADULT_SOURCES = (
    PublishedFile(
        "adult.data",
        _UCI + "adult/adult.data",
        "sha256:5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    ),
    PublishedFile(
        "adult.test",
        _UCI + "adult/adult.test",
        "sha256:a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
    ),
)
_MNIST_1_7_SOURCE = PublishedFile(
    "mnist_1_7.mat",
    how="take it from the repository of the back-gradient authors (Munoz-Gonzalez et al. 2017)",
)
_SPAMBASE_SOURCE = PublishedFile(
    "spambase.csv",
    _UCI + "spambase/spambase.data",
    "sha256:b1ef93de71f97714d3d7d4f58fc9f718da7bbc8ac8a150eff2778616a8097b12",
)


def _fashion_mnist(_: Streams) -> Split:
    parts = [
        parse(locate(source), lambda content, rank=rank: _idx(content, rank))  # type: ignore[misc]
        for source, rank in zip(_FASHION_SOURCES, (3, 1, 3, 1), strict=True)
    ]
    return _image_split(parts, _FASHION_CLASSES, "fashion-mnist")


def _mnist(_: Streams) -> Split:
    def split(content: bytes) -> Split:
        parts = arrays(io.BytesIO(content), ("x_train", "y_train", "x_test", "y_test"))
        return _image_split(parts, tuple(str(c) for c in range(10)), "mnist")

    return parse(locate(_MNIST_SOURCE), split)


def _adult(_: Streams) -> Split:
    return adult.preprocess(*(parse(locate(source), adult.rows) for source in _ADULT_SOURCES))


def _mnist_1_7(streams: Streams) -> Split:
    def table(content: bytes) -> tuple[np.ndarray, np.ndarray]:
        from scipy.io import loadmat

        require_plain_mat(content)
        file = loadmat(io.BytesIO(content), variable_names=("x", "y"))  # type: ignore[arg-type] # the stubs know only paths
        return file["x"], np.asarray(file["y"]).ravel()

    x, y = parse(locate(_MNIST_1_7_SOURCE), table)
    schema = Schema((Column("pixel", ColumnKind.PIXEL, 0, 1, width=x.shape[1]),))
    return split_by_seed(Dataset(x, y, ("1", "7"), "mnist-1-7", schema=schema), streams)


@functools.cache
def _all_diabetes() -> Dataset:
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    schema = Schema(tuple(Column(str(name)) for name in bunch.feature_names))
    return Dataset(bunch.data, bunch.target, (), "diabetes", schema=schema)


def _diabetes(streams: Streams) -> Split:
    return _scaled(split_by_seed(_all_diabetes(), streams))


def _spambase(streams: Streams) -> Split:
    def table(content: bytes) -> tuple[np.ndarray, np.ndarray]:
        lines = content.decode("ascii").splitlines()
        if lines[0].startswith("make,"):
            lines = lines[1:]  # a copy with a header, whose labels are spam and nonspam instead of 1 and 0
        cells = [line.split(",") for line in lines if line]
        if len(cells) != 4601 or any(len(row) != 58 for row in cells):
            raise ValueError(f"{len(cells)} rows where 4601 of 58 columns are published")
        x = np.array([row[:57] for row in cells], dtype=np.float32)
        return x, np.array([row[57] in ("spam", "1") for row in cells], dtype=np.int64)

    x, y = parse(locate(_SPAMBASE_SOURCE), table)
    schema = Schema((Column("feature", width=x.shape[1]),))
    return _scaled(split_by_seed(Dataset(np.log1p(x), y, ("ham", "spam"), "spambase", schema=schema), streams))


DATASETS: dict[str, NamedData] = {
    data.name: data
    for data in (
        NamedData("digits", "1,797 images 8x8, 10 classes; comes with scikit-learn", (), _digits),
        NamedData("breast-cancer", "569 rows, 30 features, 2 classes; comes with scikit-learn", (), _breast_cancer),
        NamedData("fashion-mnist", "70,000 images 28x28, 10 classes; MIT", _FASHION_SOURCES, _fashion_mnist),
        NamedData(
            "cifar-10",
            "60,000 colour images 32x32, 10 classes; research use (cifar10-jpeg.npz: compressed as JPEG, not exact)",
            (cifar.CIFAR10,),
            lambda _: cifar.cifar10(),
        ),
        NamedData("mnist", "70,000 images 28x28, 10 classes; CC BY-SA 3.0", (_MNIST_SOURCE,), _mnist),
        NamedData(
            "adult", "UCI Census income, 45,220 rows, 104 features, 2 classes; CC BY 4.0", _ADULT_SOURCES, _adult
        ),
        NamedData("spambase", "4,601 mails, 57 features (log), 2 classes; CC BY 4.0", (_SPAMBASE_SOURCE,), _spambase),
        NamedData("mnist-1-7", "2,197 rows of 784 pixels, 2 classes; MIT", (_MNIST_1_7_SOURCE,), _mnist_1_7),
        NamedData(
            "enron-spam",
            "33,715 mails, which tokens each has (sparse), 2 classes; public research corpus",
            text.ENRON,
            lambda streams: split_by_seed(text.token_presence("enron-spam"), streams),
        ),
        NamedData(
            "spamassassin",
            "6,046 mails with headers, which tokens each has (sparse), 2 classes; CC0",
            text.SPAMASSASSIN,
            lambda streams: split_by_seed(text.token_presence("spamassassin"), streams),
        ),
        NamedData(
            "enron1",
            "5,172 mails of enron1, word counts (sparse), 2 classes; public research corpus",
            text.ENRON[:1],
            lambda streams: text.enron1(streams.numpy("split")),
        ),
        NamedData(
            "imdb",
            "50,000 reviews, word counts (sparse), 2 classes; research use",
            (text.IMDB_TRAIN, text.IMDB_TEST),
            lambda _: text.imdb(),
        ),
        NamedData(
            "imdb-tokens",
            "50,000 reviews, the first 128 words of each in order (tokens), 2 classes; research use",
            (text.IMDB_TRAIN, text.IMDB_TEST),
            lambda _: text.imdb_tokens(),
        ),
        NamedData("diabetes", "442 rows, 10 features, regression; comes with scikit-learn", (), _diabetes),
    )
}
