"""Every named data set: its published numbers where the files are at hand, its parser on tiny files everywhere."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from antivenom.core.errors import DataError, DataNotFound
from antivenom.core.streams import Streams
from antivenom.data import DATASETS, Dataset, Split, load
from antivenom.data.adult import rows
from antivenom.data.named import _scaled

BUNDLED = [name for name, data in DATASETS.items() if not data.files]
FETCHED = [name for name, data in DATASETS.items() if data.files]


def forms(split: Split) -> tuple:
    return split.train.x.shape, split.test.x.shape, split.train.num_classes


def refused(name: str, says: str, file: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        load(name)
    assert file in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture
def folder(bare_machine, monkeypatch, tmp_path):
    """$ANTIVENOM_DATA, empty."""
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path))
    return tmp_path


# --- the sets themselves ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bare_machine", "global_randomness_unchanged")
@pytest.mark.parametrize(
    ("name", "expected"),
    [("digits", ((1258, 1, 8, 8), (539, 1, 8, 8), 10)), ("breast-cancer", ((398, 30), (171, 30), 2))],
)
def test_bundled_sets_need_no_file_and_no_network(name, expected):
    split = load(name)
    assert forms(split) == expected
    assert split.train.x.min() == 0
    assert split.train.x.max() == 1
    assert split.train.name == split.test.name == name


@pytest.mark.parametrize("name", BUNDLED)
def test_a_split_depends_on_the_seed_alone(name):
    first, again, other = load(name, Streams(1)), load(name, Streams(1)), load(name, Streams(2))
    assert np.array_equal(first.train.x, again.train.x)
    assert not np.array_equal(first.train.y, other.train.y)
    assert np.array_equal(load(name).train.x, load(name, Streams(0)).train.x)


def test_a_split_is_stratified_disjoint_and_complete():
    from sklearn.datasets import load_digits

    split = load("digits", Streams(3))
    everything = load_digits()
    both = np.concatenate([split.train.x, split.test.x]).reshape(-1, 64) * 16
    assert sorted(map(tuple, both)) == sorted(map(tuple, everything.data))
    for c in range(10):
        of_class = (everything.target == c).sum()
        assert (split.test.y == c).sum() == round(0.3 * of_class)
    assert not np.array_equal(split.train.y, np.sort(split.train.y))


PUBLISHED = {
    "adult": ((30160, 104), (15060, 104), 2),
    "mnist": ((60000, 1, 28, 28), (10000, 1, 28, 28), 10),
    "fashion-mnist": ((60000, 1, 28, 28), (10000, 1, 28, 28), 10),
    "spambase": ((3221, 57), (1380, 57), 2),
    "mnist-1-7": ((1538, 784), (659, 784), 2),
    "enron-spam": ((23600, 157228), (10115, 157228), 2),
    "spamassassin": ((4232, 262433), (1814, 262433), 2),
    "enron1": ((4138, 3898), (1034, 3898), 2),
    "imdb": ((25000, 74851), (25000, 74851), 2),
}
# Class by class, over both parts. Adult's complete rows are 11,208 and 34,014; the two left out are one of each class.
COUNTS = {
    "adult": [11207, 34013],
    "mnist": [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958],
    "fashion-mnist": [7000] * 10,
    "spambase": [2788, 1813],
    "mnist-1-7": [1127, 1070],
    "enron-spam": [16545, 17170],
    "spamassassin": [4150, 1896],
    "enron1": [3672, 1500],
    "imdb": [25000, 25000],
}


SLOW_TO_READ = ("cifar-10", "imdb-tokens")  # about 7 seconds each: their parts are tested alone
SLOW = ("imdb", "enron-spam", "spamassassin")  # 5 to 14 seconds each


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in FETCHED
        if name not in SLOW_TO_READ
    ],
)
def test_published_sets_have_their_published_numbers(name, named_data):
    split = named_data(name)
    assert forms(split) == PUBLISHED[name]
    assert (np.bincount(split.train.y) + np.bincount(split.test.y)).tolist() == COUNTS[name]
    assert split.train.x.min() == 0
    if not split.train.is_sparse:
        assert split.train.x.max() == pytest.approx(1, abs=0.005)
    if name in ("enron-spam", "spamassassin"):  # the presence of tokens
        assert set(np.unique(split.train.x.data)) == {1.0}


def test_word_counts_know_the_training_words_only(named_data):
    split = named_data("enron1")
    assert (split.train.x > 0).sum(axis=0).min() >= 10  # min_df, counted on the training mails
    assert split.train.y.mean() == pytest.approx(split.test.y.mean(), abs=0.03)


def test_adult_is_what_the_federated_paper_trains_on(named_data):
    split = named_data("adult")
    assert (split.train.y == 1).mean() == pytest.approx(0.751, abs=0.001)
    assert split.train.classes == (">50K", "<=50K")
    one_hot, numbers = split.train.x[:, :98], split.train.x[:, 98:]
    assert set(np.unique(one_hot)) == {0, 1}
    assert (one_hot.sum(axis=1) == 8).all()
    assert (numbers.min(axis=0) == 0).all()


def test_every_set_says_what_it_is():
    for name, data in DATASETS.items():
        assert name == data.name
        assert data.about
        for source in data.files:
            assert source.checksum.partition(":")[0] in ("sha256", "md5") if source.url else source.how


# --- errors ----------------------------------------------------------------------------------------------------------


def test_a_wrong_name_gets_the_nearest_right_one():
    with pytest.raises(DataError, match="did you mean 'fashion-mnist'"):
        load("fashion_mnist")


@pytest.mark.parametrize("name", FETCHED)
def test_absent_and_offline_is_one_line(name, folder, monkeypatch):
    first = DATASETS[name].files[0]
    monkeypatch.setattr("antivenom.data.files.candidates", lambda source: [folder / source.filename])
    with pytest.raises(DataNotFound, match=first.filename) as caught:
        load(name)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert "ANTIVENOM_OFFLINE is set" in line
    assert ("apt install" if name == "fashion-mnist" else first.url or first.how) in line


# --- Fashion-MNIST: idx ----------------------------------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def tiny_fashion(folder) -> None:
    """Three training images of one brightness each, two test images."""
    files = {
        "train-images-idx3-ubyte.gz": np.full((3, 28, 28), 51) * np.arange(1, 4)[:, None, None],
        "train-labels-idx1-ubyte.gz": np.array([0, 9, 4]),
        "t10k-images-idx3-ubyte.gz": np.full((2, 28, 28), 255),
        "t10k-labels-idx1-ubyte.gz": np.array([1, 2]),
    }
    for name, values in files.items():
        (folder / name).write_bytes(gzip.compress(idx(values.astype(np.uint8))))


def test_idx_files_are_parsed(folder):
    tiny_fashion(folder)
    split = load("fashion-mnist")
    assert forms(split) == ((3, 1, 28, 28), (2, 1, 28, 28), 10)
    assert split.train.x[:, 0, 5, 7] == pytest.approx([0.2, 0.4, 0.6])
    assert split.train.y.tolist() == [0, 9, 4]
    assert split.train.classes[9] == "ankle boot"
    assert split.test.x.min() == 1


def test_idx_files_may_be_unpacked(folder):
    tiny_fashion(folder)
    for packed in folder.glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    assert len(load("fashion-mnist").train) == 3


IMAGES = "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(idx(np.zeros((3, 28, 28), np.uint8)))[:-9], "a compressed file that ends too early"),
        (gzip.compress(idx(np.zeros((3, 28, 28), np.uint8))[:-1]), "2351 values where the header says 2352"),
        (gzip.compress(b"\0\0\x08\x03\0\0"), "ValueError"),
        (gzip.compress(b""), "not an idx file"),
        (gzip.compress(idx(np.zeros(3, np.uint8))), "with 3 dimensions"),
        (gzip.compress(b"\0\0\x0d\x03" + bytes(100)), "unsigned bytes"),
    ],
    ids=["cut gz", "cut values", "cut header", "empty", "labels instead of images", "floats"],
)
def test_a_broken_idx_file_is_named(folder, content, says):
    tiny_fashion(folder)
    (folder / IMAGES).write_bytes(content)
    refused("fashion-mnist", says, str(folder / IMAGES))


def test_labels_of_another_file_are_refused(folder):
    tiny_fashion(folder)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(4, np.uint8))))
    refused("fashion-mnist", "one label per row", "(4,)")


# --- MNIST: npz ------------------------------------------------------------------------------------------------------


def tiny_mnist(path, **changed: np.ndarray) -> None:
    arrays = {
        "x_train": np.full((3, 28, 28), 255, np.uint8),
        "y_train": np.array([3, 1, 4], np.uint8),
        "x_test": np.zeros((2, 28, 28), np.uint8),
        "y_test": np.array([5, 9], np.uint8),
    } | changed
    np.savez(path, **arrays)  # type: ignore[arg-type]


def test_an_npz_is_parsed(folder):
    tiny_mnist(folder / "mnist.npz")
    split = load("mnist")
    assert forms(split) == ((3, 1, 28, 28), (2, 1, 28, 28), 10)
    assert split.train.y.tolist() == [3, 1, 4]
    assert (split.train.x.min(), split.test.x.max()) == (1, 0)


@pytest.mark.parametrize("kept", [0, 10, 2000, -1])
def test_a_cut_npz_is_named(folder, kept):
    tiny_mnist(folder / "mnist.npz")
    whole = (folder / "mnist.npz").read_bytes()
    (folder / "mnist.npz").write_bytes(whole[:kept])
    refused("mnist", "delete the file and fetch it again", str(folder / "mnist.npz"))


def test_an_npz_with_other_arrays_is_named(folder):
    np.savez(folder / "mnist.npz", images=np.zeros(3))
    refused("mnist", "KeyError", "mnist.npz")
    tiny_mnist(folder / "mnist.npz", y_train=np.array([3, 1, 11]))
    refused("mnist", "labels from 0 to 9", "mnist.npz")
    tiny_mnist(folder / "mnist.npz", y_train=np.array([3, 1, None]))
    refused("mnist", "Python objects, which are not loaded", "mnist.npz")


# --- Adult: text -----------------------------------------------------------------------------------------------------

JOBS = ["Private", "Self-emp-not-inc", "State-gov"]


def adult_text(n: int, ending: str = "", seed: int = 0) -> str:
    """n complete rows in the published form, and one that misses a value after every tenth."""
    rng = np.random.default_rng(seed)
    ages, jobs, rich = rng.integers(20, 61, n), rng.integers(0, 3, n), rng.random(n) < 0.25
    ages[:2] = 20, 60
    lines = []
    for i, (age, job, above) in enumerate(zip(ages, jobs, rich, strict=True)):
        start = f"{age}, {JOBS[job]}, 1000, Bachelors, 13, Never-married, Sales, Own-child"
        lines.append(f"{start}, White, Male, 0, 0, 40, Cuba, {'>50K' if above else '<=50K'}{ending}")
        if i % 10 == 9:
            lines.append(
                f"{age}, ?, 1000, Bachelors, 13, Never-married, ?, Own-child, White, Male, 0, 0, 40, Cuba, >50K"
            )
    return "\n".join(lines) + "\n\n"


def test_adult_rows_are_parsed(folder):
    (folder / "adult.data").write_text(adult_text(30162))
    test_rows = "|1x3 Cross validator\n" + adult_text(15060, ".", seed=1).replace("State-gov", "Never-worked")
    (folder / "adult.test.gz").write_bytes(gzip.compress(test_rows.encode()))
    split = load("adult")
    # Three jobs, one value in each of the other seven categorical columns, six numbers.
    assert forms(split) == ((30160, 16), (15060, 16), 2)
    assert split.train.x[0, -6] == 0
    assert split.train.x[1, -6] == 1
    assert (split.train.y == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert (split.test.y == 0).mean() == pytest.approx(0.25, abs=0.02)
    # A job that no training row has is all zeros in its three columns.
    assert set(split.train.x[:, :3].sum(axis=1)) == {1}
    assert set(split.test.x[:, :3].sum(axis=1)) == {0, 1}


def test_a_cut_adult_file_is_named(folder):
    text = adult_text(30162)
    (folder / "adult.data").write_text(text[: len(text) // 2])
    refused("adult", "complete rows where 30162", str(folder / "adult.data"))


def test_adult_rows_keeps_complete_rows_only():
    with pytest.raises(ValueError, match=r"^20 complete rows"):
        rows(adult_text(20).encode())


# --- Spambase: csv ---------------------------------------------------------------------------------------------------


def spam_table(last: tuple[str, str]) -> str:
    """4601 rows; the first feature counts from 0 to 4600, the others are 0."""
    return "".join(f"{i}{',0' * 56},{last[i % 2]}\n" for i in range(4601))


@pytest.mark.parametrize(
    "text",
    [spam_table(("0", "1")), "make," + "x," * 56 + "type\n" + spam_table(("nonspam", "spam"))],
    ids=["published", "with header"],
)
def test_spambase_is_parsed(folder, text):
    (folder / "spambase.csv").write_text(text)
    split = load("spambase")
    assert forms(split) == PUBLISHED["spambase"]
    assert split.train.y.sum() + split.test.y.sum() == 2300
    values = np.sort(np.concatenate([split.train.x[:, 0], split.test.x[:, 0]]))
    assert values[3] - values[1] == pytest.approx(values[1] - values[0])  # log(1 + i) for i = 0, 1, 3


@pytest.mark.parametrize("text", ["", spam_table(("0", "1"))[:-3], spam_table(("0", "1"))[:1000], "0,1\n" * 4601])
def test_a_cut_spambase_is_named(folder, text):
    (folder / "spambase.csv").write_text(text)
    refused("spambase", "delete the file and fetch it again", str(folder / "spambase.csv"))


# --- scaling ---------------------------------------------------------------------------------------------------------


def test_a_feature_that_never_varies_in_training_does_not_explode():
    train = Dataset(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([0, 1]), ("a", "b"))
    test = Dataset(np.array([[2.0, 6.0], [5.0, 5.0]]), np.array([0, 1]), ("a", "b"))
    scaled = _scaled(Split(train, test))
    assert scaled.train.x.tolist() == [[0, 0], [1, 0]]
    assert scaled.test.x.tolist() == [[0.5, 1], [2, 0]]
