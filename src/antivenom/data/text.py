"""Corpora of mails and reviews as sparse tables of token presence (0 or 1) or of word counts, or as token rows.

A corpus is read from its publisher's archive, or from an xz file with one JSON object (id, label, text) per line. A table of
token presence has the vocabulary of the whole corpus, test rows included. That leaks no statistic into training, since the
vocabulary only names columns, and it is needed because an attacker's dictionary may hold words that no training row has.
"""

from __future__ import annotations

import functools
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from antivenom.data import limits
from antivenom.data.dataset import Dataset, Split
from antivenom.data.files import PublishedFile, locate, parse
from antivenom.data.schema import Schema

TOKEN = r"[a-z0-9'$!-]{3,12}"  # after lower-casing
PADDING, UNKNOWN = 0, 1  # the first tokens of every vocabulary of token rows
RESERVED = ("<pad>", "<unknown>")  # their names
TOKENS, VOCABULARY = 128, 20_000  # of the token rows of IMDB
MAIL, REVIEWS = ("ham", "spam"), ("neg", "pos")
_BY_HAND = "fetch it into $ANTIVENOM_DATA from {}, whose publisher gives no checksum"

ENRON = tuple(
    PublishedFile(
        f"enron{i}.tar.gz",
        how=_BY_HAND.format("www2.aueb.gr/users/ion/data/enron-spam"),
        other="enron-spam.jsonl.xz",
    )
    for i in range(1, 7)
)
SPAMASSASSIN = (
    PublishedFile(
        "spamassassin.jsonl.xz",
        how="write it as lines of JSON (id, label, text), packed by xz, from spamassassin.apache.org/old/publiccorpus",
    ),
)
IMDB_TRAIN, IMDB_TEST = (
    PublishedFile(
        "aclImdb_v1.tar.gz",
        "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        "md5:7c2ac02c03563afcf9b574c7e56c153a",
        other=f"imdb-{part}.jsonl.xz",
    )
    for part in ("train", "test")
)
Text = tuple[str, int, str]  # id, index of the class, content


def texts(source: PublishedFile, classes: tuple[str, ...], under: str = "") -> list[Text]:
    """The texts of a corpus, in the order of the file's lines, or of the ids in an archive.

    Args:
        source: the corpus.
        classes: the names of the classes, which are also folders in the archive.
        under: take only texts in this folder of the archive, such as "enron1/"; "" takes all.
    """

    def read(content: bytes) -> list[Text]:
        if not content.startswith(b"\xfd7zXZ"):
            return sorted(_members(content, classes, under), key=lambda text: text[1])
        found = [(row["id"], classes.index(row["label"]), row["text"]) for row in _lines(content)]
        return [text for text in found if text[0].startswith(under) or "/" not in text[0]]

    return parse(locate(source), read)


@functools.lru_cache(maxsize=1)  # one file holds all six Enron mailboxes, which are read one after the other
def _lines(content: bytes) -> list[dict[str, str]]:
    return [json.loads(line) for line in limits.unpacked(content, ".xz").splitlines()]


def _members(archive: bytes, classes: tuple[str, ...], under: str) -> list[Text]:
    """The texts in a tar archive, which are named FOLDER/CLASS/NAME.txt there; nothing is written to disk."""
    found = []
    packed = archive.startswith(b"\x1f\x8b")
    with tarfile.open(fileobj=io.BytesIO(limits.unpacked(archive, ".gz" if packed else "")), mode="r:") as tar:
        members = tar.getmembers()
        if sum(member.size for member in members) > limits.MOST_BYTES:  # a sparse member may be larger than the archive
            raise limits.too_much("when it is unpacked")
        for member in sorted(members, key=lambda m: m.name):
            path = re.fullmatch(rf"(.*/)?({'|'.join(classes)})/([^/]+\.txt)", member.name)
            file = tar.extractfile(member) if path and (path[1] or "").endswith(under) else None
            if path and file:
                body = file.read()
                try:
                    text = body.decode()
                except UnicodeDecodeError:  # many old mails are not in UTF-8; latin-1 decodes any bytes
                    text = body.decode("latin-1")
                found.append((under + path[3], classes.index(path[2]), text))
    if not found:
        raise ValueError(f"no texts below {under or 'its folders'} {' and '.join(classes)}")
    return found


def token_presence(name: str) -> Dataset:
    """Mails as a sparse table with one column per token, which is 1 if the mail contains the token.

    Args:
        name: "enron-spam" or "spamassassin".
    """
    return _token_presence(name, tuple(map(locate, ENRON if name == "enron-spam" else SPAMASSASSIN)))


@functools.lru_cache(maxsize=2)  # trials of one process can share it, because it is read-only
def _token_presence(name: str, _: tuple[Path, ...]) -> Dataset:
    from sklearn.feature_extraction.text import CountVectorizer

    mails = _enron_mails() if name == "enron-spam" else texts(SPAMASSASSIN[0], MAIL)
    counter = CountVectorizer(token_pattern=TOKEN, binary=True, dtype=np.float32)
    rows = counter.fit_transform([text for _, _, text in mails])
    schema = Schema.words(counter.get_feature_names_out(), binary=True)
    return Dataset(rows, _labels(mails), MAIL, name, schema=schema)


def _enron_mails() -> list[Text]:
    return [mail for i, source in enumerate(ENRON, start=1) for mail in texts(source, MAIL, f"enron{i}/")]


def _labels(rows: list[Text]) -> np.ndarray:
    return np.array([label for _, label, _ in rows])


def imdb() -> Split:
    """Word counts of the reviews; the vocabulary is that of the training rows."""
    return _imdb((locate(IMDB_TRAIN), locate(IMDB_TEST)))


@functools.lru_cache(maxsize=1)
def _imdb(_: tuple[Path, ...]) -> Split:
    from sklearn.feature_extraction.text import CountVectorizer

    train, test = texts(IMDB_TRAIN, REVIEWS, "train/"), texts(IMDB_TEST, REVIEWS, "test/")
    counter = CountVectorizer(dtype=np.float32)
    rows = counter.fit_transform([text for _, _, text in train])
    held = counter.transform([text for _, _, text in test])
    schema = Schema.words(counter.get_feature_names_out())
    return Split(
        Dataset(rows, _labels(train), REVIEWS, "imdb", schema=schema),
        Dataset(held, _labels(test), REVIEWS, "imdb", schema=schema),
    )


def imdb_tokens() -> Split:
    """The first 128 words of each review as token rows. Token 0 is padding, 1 stands for words outside the vocabulary.

    The vocabulary holds the 20,000 words that occur most often in the training rows, the most frequent first.
    """
    return _imdb_tokens((locate(IMDB_TRAIN), locate(IMDB_TEST)))


@functools.lru_cache(maxsize=1)
def _imdb_tokens(_: tuple[Path, ...]) -> Split:
    from sklearn.feature_extraction.text import CountVectorizer

    analyse = CountVectorizer().build_analyzer()
    train, test = texts(IMDB_TRAIN, REVIEWS, "train/"), texts(IMDB_TEST, REVIEWS, "test/")
    words = [[analyse(text)[:TOKENS] for _, _, text in part] for part in (train, test)]
    counts = Counter(word for row in words[0] for word in row)
    vocabulary = sorted(counts, key=lambda word: (-counts[word], word))[:VOCABULARY]
    place = {word: number for number, word in enumerate(vocabulary, start=len(RESERVED))}
    schema = Schema.tokens([*RESERVED, *vocabulary], TOKENS)
    return Split(
        *(
            Dataset(token_rows(rows, place, TOKENS), _labels(part), REVIEWS, "imdb-tokens", schema=schema)
            for rows, part in zip(words, (train, test), strict=True)
        )
    )


def token_rows(texts: Iterable[Sequence[str]], place: dict[str, int], length: int) -> np.ndarray:
    """(n, length) int64 token numbers of n texts, with 0 as padding and 1 for words that have no place.

    Args:
        texts: the words of each text; those beyond the length are left out.
        place: the number of each word in the vocabulary.
        length: number of tokens of a row.
    """
    numbered = [[place.get(word, UNKNOWN) for word in words[:length]] for words in texts]
    rows = np.zeros((len(numbered), length), dtype=np.int64)
    for row, numbers in zip(rows, numbered, strict=True):
        row[: len(numbers)] = numbers
    return rows


def enron1(rng: np.random.Generator) -> Split:
    """Word counts of the first Enron mailbox, split 80 to 20 at random.

    The vocabulary holds the words that occur in at least 10 training mails, without English stop words.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    mails = _enron1_mails(locate(ENRON[0]))
    order = rng.permutation(len(mails))
    y = _labels(mails)
    train, test = np.split(order, [round(0.8 * len(mails))])
    counter = CountVectorizer(min_df=10, stop_words="english", dtype=np.float32)
    rows = counter.fit_transform([mails[i][2] for i in train])
    held = counter.transform([mails[i][2] for i in test])
    schema = Schema.words(counter.get_feature_names_out())
    return Split(
        Dataset(rows, y[train], MAIL, "enron1", schema=schema), Dataset(held, y[test], MAIL, "enron1", schema=schema)
    )


@functools.lru_cache(maxsize=1)
def _enron1_mails(_: Path) -> list[Text]:
    return texts(ENRON[0], MAIL, "enron1/")
