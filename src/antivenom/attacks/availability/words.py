"""Mails as tables of words, and back, so that one attack serves word counts and raw texts."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from antivenom.attacks.inputs import injected
from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import AttackContext
from antivenom.data import Dataset, Poison, Schema


def in_words(data: Dataset, attack: object) -> Dataset:
    """The rows as they are, or for texts a sparse table with one column per word, which is 1 if the text contains it.

    Raises:
        NotApplicable: a DataFrame without a column of text that the attacker can write, or a list of columns for texts.
    """
    if not data.is_frame:
        return data
    from sklearn.feature_extraction.text import CountVectorizer

    if getattr(attack, "columns", ()):
        raise NotApplicable(f"word counts for {type(attack).__name__}.columns", "texts", "use words: ham-frequent")
    if not data.columns.writable_texts:
        raise NotApplicable(f"a column of text that {type(attack).__name__} can write", "none")
    counter = CountVectorizer(binary=True, dtype=np.float32)
    rows = counter.fit_transform(data.x[data.columns.writable_texts[0]].astype(str))
    schema = Schema.words(counter.get_feature_names_out(), binary=True)
    return Dataset(rows, data.y, data.classes, data.name, schema=schema)


def filed(data: Dataset, mails: sp.csr_array, label: int, table: Dataset, context: AttackContext) -> Poison:
    """The data with these mails (k, words) appended under this label; as texts if the data are texts.

    `table` is what `in_words` made, whose columns the mails have. Other columns than the text are those of real rows.
    """
    number = mails.shape[0]
    labels = np.full(number, label)
    if not data.is_frame:
        return injected(data, mails, labels)
    order = context.streams.numpy("other columns").permutation(len(data))
    rows = data[np.resize(order, number)].x.copy()
    words, texts = table.columns.vocabulary, dict[bytes, str]()  # the mails are few, and some are added many times
    held = [mails.indices[start:stop] for start, stop in zip(mails.indptr[:-1], mails.indptr[1:], strict=True)]
    for own in held:
        if own.tobytes() not in texts:
            texts[own.tobytes()] = " ".join(words[place] for place in own)
    rows[data.columns.writable_texts[0]] = [texts[own.tobytes()] for own in held]
    return injected(data, rows, labels)
