"""Corpora of mails and reviews as sparse tables, from small files of the published form."""

from __future__ import annotations

import io
import json
import lzma
import tarfile

import numpy as np
import pytest

from antivenom.core.errors import DataError
from antivenom.core.streams import Streams
from antivenom.data import load, text

MAILS = [
    ("enron1/1", "ham", "Meeting at NOON, don't be late-ish!"),
    ("enron1/2", "spam", "free $$$ free money"),
    ("enron2/1", "ham", "meeting moved, ok"),
    ("enron2/2", "spam", "FREE money at noon, unsubscribabilities"),
]


@pytest.fixture
def corpus(bare_machine, monkeypatch, tmp_path):
    """Writes a corpus into $ANTIVENOM_DATA."""
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path))

    def write(filename, rows=MAILS):
        lines = [json.dumps({"id": i, "label": label, "text": body}) for i, label, body in rows]
        (tmp_path / filename).write_bytes(lzma.compress("\n".join(lines).encode()))
        forget()

    yield write
    forget()


def forget():
    for cache in (text._token_presence, text._imdb, text._imdb_tokens, text._enron1_mails, text._lines):
        cache.cache_clear()


def test_tokens_are_present_or_not(corpus):
    corpus("spamassassin.jsonl.xz")
    data = text.token_presence("spamassassin")
    # tokens of 3 to 12 characters of a-z0-9'$!-; "ok", "at" and "be" are too short, a word of 18 letters gives two
    assert data.x.shape == (
        4,
        len({*["meeting", "noon", "don't", "late-ish!", "free", "$$$", "money", "moved", "unsubscribab", "ilities"]}),
    )
    assert data.x.sum(axis=1).tolist() == [4, 3, 2, 5]
    assert data.y.tolist() == [0, 1, 0, 1]


def test_the_vocabulary_holds_words_of_the_test_part_too(corpus):
    corpus("enron-spam.jsonl.xz", MAILS * 5)
    split = load("enron-spam", Streams(0))
    assert split.train.shape == split.test.shape == (10,)


def test_reviews_are_counts_over_the_training_words(corpus):
    corpus("imdb-train.jsonl.xz", [("0", "neg", "bad bad film"), ("1", "pos", "good film")])
    corpus("imdb-test.jsonl.xz", [("0", "pos", "good splendid good film")])
    split = load("imdb")
    assert split.train.x.toarray().tolist() == [[2, 1, 0], [0, 1, 1]]  # bad, film, good
    assert split.test.x.toarray().tolist() == [[0, 1, 2]]
    assert (split.train.y.tolist(), split.test.y.tolist()) == ([0, 1], [1])


def test_reviews_as_tokens_keep_the_order_of_words(corpus):
    corpus("imdb-train.jsonl.xz", [("0", "neg", "A bad, bad film"), ("1", "pos", "good film " * 100)])
    corpus("imdb-test.jsonl.xz", [("0", "pos", "film splendid good film bad")])
    split = load("imdb-tokens")
    assert split.train.schema.vocabulary == (
        "<pad>",
        "<unknown>",
        "film",
        "good",
        "bad",
    )  # 65, 64 and 2 times in 128 words
    assert split.train.x.shape == (2, 128)
    assert split.train.x[0, :5].tolist() == [4, 4, 2, 0, 0]  # "a" is no word for scikit-learn
    assert split.train.x[1].tolist() == [3, 2] * 64
    assert split.test.x[0, :6].tolist() == [2, 1, 3, 2, 4, 0]
    assert split.train.is_tokens


def test_a_vocabulary_of_tokens_ends(corpus, monkeypatch):
    monkeypatch.setattr(text, "VOCABULARY", 2)
    corpus("imdb-train.jsonl.xz", [("0", "neg", "bad bad film film old ace"), ("1", "pos", "film")])
    corpus("imdb-test.jsonl.xz", [("0", "pos", "ace film")])
    split = load("imdb-tokens")
    assert split.train.schema.vocabulary == ("<pad>", "<unknown>", "film", "bad")
    assert split.test.x[0, :3].tolist() == [1, 2, 0]


@pytest.mark.parametrize("content", [b"no xz", lzma.compress(b'{"id": 1}'), lzma.compress(b"{")])
def test_a_broken_corpus_is_named(corpus, content, tmp_path):
    corpus("spamassassin.jsonl.xz")
    (tmp_path / "spamassassin.jsonl.xz").write_bytes(content)
    with pytest.raises(DataError, match="complete, readable spamassassin") as caught:
        load("spamassassin")
    assert len(str(caught.value).splitlines()) == 1


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))


def test_a_publishers_archive_gives_the_same_reviews(corpus, tmp_path):
    rows = {"train": [("0_1", "neg", "bad film"), ("1_9", "pos", "good film")], "test": [("0_9", "pos", "fine film é")]}
    for part, lines in rows.items():
        corpus(f"imdb-{part}.jsonl.xz", lines)
    once = load("imdb")
    for part in rows:
        (tmp_path / f"imdb-{part}.jsonl.xz").unlink()
    members = {f"aclImdb/{part}/{c}/{i}.txt": t.encode() for part, lines in rows.items() for i, c, t in lines}
    archive(tmp_path / "aclImdb_v1.tar.gz", members | {"aclImdb/train/unsup/0_0.txt": b"no label", "README": b""})
    forget()
    again = load("imdb")
    for part in ("train", "test"):
        one, other = getattr(once, part), getattr(again, part)
        assert np.array_equal(one.x.toarray(), other.x.toarray())
        assert np.array_equal(one.y, other.y)


def test_mailboxes_are_read_from_their_archives(corpus, tmp_path):
    for i in range(1, 7):
        mails = {f"enron{i}/{c}/{k}.txt": f"{c} mail {i}".encode() for k in range(10) for c in ("ham", "spam")}
        archive(tmp_path / f"enron{i}.tar.gz", mails | {f"enron{i}/ham/99.txt": "caf\xe9 ham".encode("latin-1")})
    split = load("enron-spam", Streams(0))
    assert len(split.train) + len(split.test) == 126
    assert split.train.shape == (4,)  # caf, ham, mail, spam
    (tmp_path / "enron3.tar.gz").write_bytes(b"no archive")
    forget()
    with pytest.raises(DataError, match="complete, readable enron3"):
        load("enron-spam")


def test_enron1_takes_the_first_mailbox_and_frequent_words(corpus):
    rows = [(f"enron1/{i}", "ham", "project rare" if i == 0 else "project lunch") for i in range(20)]
    corpus("enron-spam.jsonl.xz", [*rows, *(("enron3/9", "spam", "project viagra"),) * 20])
    split = load("enron1", Streams(1))
    assert (len(split.train), len(split.test)) == (16, 4)
    assert split.train.x.shape[1] == 2  # project and lunch; rare is in one mail, viagra in another mailbox
    assert np.array_equal(np.unique(split.train.x.data), [1])
