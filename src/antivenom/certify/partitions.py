"""Assigns rows to parts by their content, independently of their order."""

from __future__ import annotations

import hashlib

import numpy as np

from antivenom.data import Dataset


def digests(data: Dataset, with_labels: bool) -> np.ndarray:
    """A hash (n, 2), uint64, of each row's content, and of its label if wanted. Equal rows have equal digests."""
    labels = data.y if with_labels else np.zeros(len(data), dtype=np.int64)
    # A cryptographic hash needs a loop over rows; it takes about 5 microseconds for 784 features.
    hashed = [
        hashlib.blake2b(contents, digest_size=16, key=label.tobytes()).digest()
        for contents, label in zip(_contents(data), labels, strict=True)
    ]
    return np.frombuffer(b"".join(hashed), dtype="<u8").reshape(-1, 2)


def _contents(data: Dataset) -> list[bytes]:
    """Each row as bytes: all its numbers if dense, indices and values of the non-zero ones if sparse, cells of a DataFrame."""
    if data.is_frame:  # not encoded: the encoding of a row depends on the other rows
        return [repr(row).encode() for row in data.x.itertuples(index=False, name=None)]
    if not data.is_sparse:
        return [row.tobytes() for row in data.dense + np.float32(0)]  # turns -0 into 0, because the two are equal
    table = data.x.copy()
    table.eliminate_zeros()
    places = table.indices.astype(np.int64)
    bounds = zip(table.indptr[:-1], table.indptr[1:], strict=True)
    return [places[i:j].tobytes() + table.data[i:j].tobytes() for i, j in bounds]


def parts(data: Dataset, buckets: int, offsets: tuple[int, ...], labels_only: bool) -> tuple[np.ndarray, ...]:
    """Indices of the rows of each part. Bucket j belongs to the parts j + offset, modulo the number of buckets.

    The bucket of a row is a hash of its content and label. With `labels_only` the hash ignores the label, so that a changed
    label moves no row. The rows themselves are then trusted, and the distinct rows are spread evenly over the buckets
    (SS-DPA). The order of rows within a part depends on bucket and hash only, not on the order in `data`.
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
