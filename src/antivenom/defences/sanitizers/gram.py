"""A sanitizer that compares how channels of a network are active together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antivenom.core.errors import NotApplicable, PluginError, did_you_mean
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import sanitizer
from antivenom.core.threat import Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.defences.inputs import check_share, judged
from antivenom.defences.sanitizers.latent import ROWS, fitted
from antivenom.models.layers import Layer
from antivenom.models.wrappers import TorchModel

REACH = 10.0  # an entry deviates if it is farther from the median than this many median absolute deviations
CHUNK = 256  # rows at a time


@sanitizer(access=ROWS, goal=Goal.BACKDOOR, cite="Ma et al. 2023, NDSS, arXiv:2209.11715")
class Beatrix:
    """Flags rows whose Gram matrices of activations leave the range that clean rows of their class have.

    The Gram matrix of a row has an entry for each pair of channels: how strongly they are active at the same places. High
    orders p use the p-th powers of the activations and the p-th root of their products, which emphasises strong ones. Each
    entry that lies more than ten median absolute deviations from the median of the trusted rows adds its distance to the
    row's score. Weakness: with fewer than about 30 trusted rows of a class, the ranges are too narrow and many clean rows
    are flagged. It misses poison whose activations resemble those of its class, such as that of AdaptiveBlend or SIG.

    Fields:
        share: share of the trusted rows of each class whose score exceeds the threshold, 0 to 1. Scores of trusted rows
            come from cross-fitting.
        orders: the orders p, each at least 1.
        layer: name of the layer whose outputs are used; empty selects the last hidden layer whose outputs have places.

    Reference: Ma, Wang, Sun, Xue, Wang and Liu 2023, "The 'Beatrix' Resurrections: Robust Backdoor Detection via Gram
    Matrices", NDSS, arXiv:2209.11715.
    """

    share: float = 0.05
    orders: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9)
    layer: str = ""

    @property
    def trusted(self) -> bool:
        return True

    def __post_init__(self) -> None:
        check_share(self.share, "Beatrix.share")
        if not self.orders or min(self.orders) < 1:
            raise PluginError("Beatrix.orders of 1 or more", f"{self.orders}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        model = fitted(self, data, context)
        layer = self._layer(model)

        def score(reference: Dataset, rows: Dataset) -> np.ndarray:
            scores = np.zeros(len(rows))
            for c in np.unique(rows.y):
                known = self._entries(model, reference[reference.y == c], layer)
                scores[rows.y == c] = deviations(known, self._entries(model, rows[rows.y == c], layer))
            return scores

        return judged(self, data, context, score)

    def _layer(self, model: TorchModel) -> Layer:
        """The layer whose outputs are used."""
        layers = {layer.name: layer for layer in model.network.layers}
        if self.layer and self.layer not in layers:
            raise NotApplicable(
                "the name of an executed layer in Beatrix.layer", repr(self.layer), did_you_mean(self.layer, layers)
            )
        hidden = (layers[self.layer],) if self.layer else model.network.hidden()
        if not hidden:
            raise NotApplicable("a network with a hidden layer for Beatrix", "none", "choose MLP or SmallCNN")
        return next((layer for layer in reversed(hidden) if len(layer.shape) > 1), hidden[-1])

    def _entries(self, model: TorchModel, rows: Dataset, layer: Layer) -> np.ndarray:
        """(m, entries) upper triangles of the Gram matrices of all orders."""
        parts = []
        for i in range(0, len(rows), CHUNK):
            seen = model.features(rows.dense[i : i + CHUNK], layer.name)
            seen = seen.reshape(len(seen), *layer.shape)
            if not layer.kind.startswith(("Conv", "BatchNorm")):  # the channels of other layers are the last dimension
                seen = np.moveaxis(seen, -1, 1)
            parts.append(gram(seen.reshape(len(seen), seen.shape[1], -1), self.orders))
        return np.concatenate(parts)


def gram(seen: np.ndarray, orders: Sequence[int]) -> np.ndarray:
    """(m, orders * channels (channels + 1) / 2) Gram entries of activations a (m, channels, places).

    The entry of channels i and j is the sum over all places of (a_i a_j)^p, of which the p-th root is taken and the sign
    kept. With a single place all orders give the same entries, so that only the first one is used.
    """
    upper = np.triu_indices(seen.shape[1])
    used = orders if seen.shape[2] > 1 else orders[:1]
    scale = np.maximum(np.abs(seen).max(axis=(1, 2), keepdims=True), 1e-12)  # keeps high powers within range
    parts = []
    for p in used:
        raised = (seen / scale).astype(np.float64) ** p
        product = (raised @ raised.transpose(0, 2, 1))[:, upper[0], upper[1]]
        parts.append(np.sign(product) * np.abs(product) ** (1 / p) * scale[:, 0] ** 2)
    return np.concatenate(parts, axis=1)


def deviations(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(m,) how far the entries (m, e) lie outside of the range of the known rows' entries, in units of its ends, summed."""
    middle = np.median(known, axis=0)
    spread = REACH * np.median(np.abs(known - middle), axis=0)
    low, high = middle - spread, middle + spread
    below = np.maximum(low - asked, 0) / np.maximum(np.abs(low), 1e-6)
    above = np.maximum(asked - high, 0) / np.maximum(np.abs(high), 1e-6)
    return np.asarray((below + above).sum(axis=1))
