"""Small pictures of inputs, for the report."""

from __future__ import annotations

import numpy as np

MOST = 64  # pixels of a side; larger images are thinned out


def picture(row: np.ndarray, most: int = MOST) -> np.ndarray | None:
    """A row as a picture, (height, width) or (height, width, 3) of bytes; None for a row that is no image.

    Args:
        row: (channels, height, width), whose values from 0 to 1 become 0 to 255; values outside are clipped.
        most: pixels of the longer side; a larger image is thinned out.
    """
    if row.ndim != 3 or row.shape[0] not in (1, 3):
        return None
    step = -(-max(row.shape[1:]) // most)
    thin = np.clip(np.asarray(row, dtype=np.float64)[:, ::step, ::step], 0, 1)
    found: np.ndarray = np.round(255 * thin).astype(np.uint8)
    return found[0] if len(found) == 1 else found.transpose(1, 2, 0)


def pictures(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the named rows that are images, as pictures."""
    found = {name: picture(row) for name, row in rows.items()}
    return {name: drawn for name, drawn in found.items() if drawn is not None}
