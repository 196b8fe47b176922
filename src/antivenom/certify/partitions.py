"""Which rows go into which part: by what they hold, never by where they stand."""

from __future__ import annotations

import hashlib

import numpy as np

from antivenom.data import Dataset


def digests(data: Dataset, with_labels: bool) -> np.ndarray:
    """(n, 2) uint64: a hash of each row's contents, and of its label if asked for; equal rows have equal digests."""
    labels = data.y if with_labels else np.zeros(len(data), dtype=np.int64)
    # A cryptographic hash takes one message at a time, hence a loop; about 5 microseconds for 784 features.
    hashed = [
        hashlib.blake2b(contents, digest_size=16, key=label.tobytes()).digest()
        for contents, label in zip(_contents(data), labels, strict=True)
    ]
    return np.frombuffer(b"".join(hashed), dtype="<u8").reshape(-1, 2)


def _contents(data: Dataset) -> list[bytes]:
    """Each row as bytes: its numbers, or the places and values of those that are not 0."""
    if not data.is_sparse:
        return [row.tobytes() for row in data.dense + np.float32(0)]  # -0 equals 0 and becomes it
    table = data.x.copy()
    table.eliminate_zeros()
    places = table.indices.astype(np.int64)
    bounds = zip(table.indptr[:-1], table.indptr[1:], strict=True)
    return [places[i:j].tobytes() + table.data[i:j].tobytes() for i, j in bounds]


def parts(data: Dataset, buckets: int, offsets: tuple[int, ...], labels_only: bool) -> tuple[np.ndarray, ...]:
    """The rows of each of as many parts as buckets; bucket j goes into the parts j + offset, modulo their number.

    A row's bucket is the hash of its contents and label. With `labels_only` the label is left out, so that changing it
    moves nothing; the rows themselves are then trusted, and buckets get equally many of those that differ (SS-DPA). Within
    a part, rows stand in the order of bucket and hash, whatever their order in `data`.
    """
    keys = digests(data, with_labels=not labels_only)
    order = np.lexsort((data.y, keys[:, 1], keys[:, 0]))
    if labels_only:
        ranked = keys[order]
        fresh = np.ones(len(order), dtype=bool)
        fresh[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
        bucket = (np.cumsum(fresh) - 1) % buckets
    else:
        bucket = (keys[order, 0] % np.uint64(buckets)).astype(np.int64)
    part = np.concatenate([(bucket + offset) % buckets for offset in offsets])
    rows = np.tile(order, len(offsets))[np.argsort(part, kind="stable")]
    ends = np.cumsum(np.bincount(part, minlength=buckets))
    return tuple(np.split(rows, ends[:-1]))
