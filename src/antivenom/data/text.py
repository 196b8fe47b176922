"""Mail and review corpora as sparse tables: which tokens a text has, or how often.

A corpus is one JSON object a line (id, label, text), packed by xz. The vocabulary of a token-presence table is that of the
whole corpus: it names columns and holds no statistic, and an attacker's dictionary may hold words that training never saw.
"""

from __future__ import annotations

import functools
import json
import lzma
from pathlib import Path

import numpy as np

from antivenom.data.dataset import Dataset, Split
from antivenom.data.sources import Source, locate, parse

TOKEN = r"[a-z0-9'$!-]{3,12}"  # after lower-casing


def _corpus(filename: str, published: str) -> Source:
    how = f"write it as lines of JSON with id, label and text, packed by xz, from the corpus at {published}"
    return Source(filename, "", "", how=how)


ENRON = _corpus("enron-spam.jsonl.xz", "www2.aueb.gr/users/ion/data/enron-spam")
SPAMASSASSIN = _corpus("spamassassin.jsonl.xz", "spamassassin.apache.org/old/publiccorpus")
IMDB = tuple(_corpus(f"imdb-{part}.jsonl.xz", "ai.stanford.edu/~amaas/data/sentiment") for part in ("train", "test"))
MAIL, REVIEWS = ("ham", "spam"), ("neg", "pos")


def texts(source: Source, classes: tuple[str, ...]) -> tuple[list[str], np.ndarray, list[str]]:
    """The texts of a corpus, their classes (n,) and their ids."""

    def read(content: bytes) -> tuple[list[str], np.ndarray, list[str]]:
        rows = [json.loads(line) for line in lzma.decompress(content).splitlines()]
        labels = np.array([classes.index(row["label"]) for row in rows])
        return [row["text"] for row in rows], labels, [row["id"] for row in rows]

    return parse(locate(source), read)


def token_presence(source: Source, name: str) -> Dataset:
    """A column per token, 1 where the mail has it."""
    return _token_presence(source, name, locate(source))


@functools.lru_cache(maxsize=2)  # trials of one process share it; it is read-only
def _token_presence(source: Source, name: str, _: Path) -> Dataset:
    from sklearn.feature_extraction.text import CountVectorizer

    mails, y, _ids = texts(source, MAIL)
    counter = CountVectorizer(token_pattern=TOKEN, binary=True, dtype=np.float32)
    return Dataset(counter.fit_transform(mails), y, MAIL, name)


def imdb() -> Split:
    """Word counts of the reviews, over the words of the training part."""
    return _imdb(tuple(locate(source) for source in IMDB))


@functools.lru_cache(maxsize=1)
def _imdb(_: tuple[Path, ...]) -> Split:
    from sklearn.feature_extraction.text import CountVectorizer

    (train, train_y, _ids), (test, test_y, _more) = (texts(source, REVIEWS) for source in IMDB)
    counter = CountVectorizer(dtype=np.float32)
    rows = counter.fit_transform(train)
    return Split(Dataset(rows, train_y, REVIEWS, "imdb"), Dataset(counter.transform(test), test_y, REVIEWS, "imdb"))


def enron1(rng: np.random.Generator) -> Split:
    """Word counts of the first Enron mailbox: 80 to 20, words without English stop words in at least 10 training mails."""
    from sklearn.feature_extraction.text import CountVectorizer

    mails, y = _enron1_texts(locate(ENRON))
    order = rng.permutation(len(mails))
    cut = round(0.8 * len(mails))
    train, test = order[:cut], order[cut:]
    counter = CountVectorizer(min_df=10, stop_words="english", dtype=np.float32)
    rows = counter.fit_transform([mails[i] for i in train])
    held = counter.transform([mails[i] for i in test])
    return Split(Dataset(rows, y[train], MAIL, "enron1"), Dataset(held, y[test], MAIL, "enron1"))


@functools.lru_cache(maxsize=1)
def _enron1_texts(_: Path) -> tuple[list[str], np.ndarray]:
    mails, y, ids = texts(ENRON, MAIL)
    first = [i for i, name in enumerate(ids) if name.startswith("enron1/")]
    return [mails[i] for i in first], y[first]
