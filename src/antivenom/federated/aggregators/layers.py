"""Rules that need to know which coordinates belong to which layer."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import NotApplicable
from antivenom.core.protocols import Need, ServerView
from antivenom.core.registry import require_range
from antivenom.fast import kernels
from antivenom.federated.aggregation import aggregator
from antivenom.federated.aggregators.selection import chosen
from antivenom.federated.answers import probabilities
from antivenom.federated.distances import Gram, clip_factors, middle_norm
from antivenom.federated.needs import layers_of, network_of
from antivenom.models.network import Network


@aggregator(goal=("availability",), cite="Xu et al. 2025, arXiv:2409.01435")
class LASA:
    """Sparsifies the updates, then lets every layer choose its own clients by norm and by direction.

    Updates are clipped to the median norm and lose their smallest values. In each layer a client passes whose norm and
    share of positive signs are near the median, in units of the standard deviation; what passes is averaged. Where
    nobody passes, all do. A layer is a weight or a bias; on a bare matrix everything is one layer. The authors' code never
    drops values of biases, and keeps one value less; here all values of an update compete. Weakness: the deviation is
    itself inflated by the malicious updates; an attack within one deviation everywhere passes.

    Fields:
        sparsity: share of each update's values that are set to zero (0 to 1).
        norm_bound: tolerated deviation of a layer's norm, in standard deviations.
        sign_bound: tolerated deviation of a layer's share of positive signs, likewise.

    Reference: Xu, Zhang and Hu 2025, WACV, arXiv:2409.01435, after the authors' code.
    """

    sparsity: float = 0.3
    norm_bound: float = 2.0
    sign_bound: float = 1.0
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LAYERS})

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "sparsity")
        require_range(self, 0, math.inf, "norm_bound", "sign_bound")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        d = updates.shape[1]
        norms = kernels.norms(updates)
        factors = clip_factors(norms, middle_norm(norms)).to(updates)
        sparse = torch.stack([_largest_values(row, d - int(self.sparsity * d)) for row in updates * factors[:, None]])
        sizes = [d] if view is None else [shape.numel() for shape in layers_of(view, d, self)]
        return torch.cat([self._averaged(layer) for layer in sparse.split(sizes, dim=1)])

    def _averaged(self, layer: Tensor) -> Tensor:
        """(p,) the mean over the clients that pass, of one layer (n, p)."""
        signs = layer.sign()
        balance = 0.5 * (1 + signs.sum(dim=1, dtype=torch.float64) / signs.count_nonzero(dim=1).clamp_min(1))
        passed = (_deviations(layer.double().norm(dim=1)) < self.norm_bound) & (_deviations(balance) < self.sign_bound)
        good = torch.nonzero(passed if passed.any() else torch.ones_like(passed)).flatten()
        return kernels.combine(chosen(len(layer), good.cpu()), layer)


def _largest_values(row: Tensor, keep: int) -> Tensor:
    """The row with all but its `keep` largest values, by magnitude, set to zero."""
    rest = row.abs().topk(len(row) - keep, largest=False).indices
    return row.index_fill(0, rest, 0)


def _deviations(values: Tensor) -> Tensor:
    """(n,) distances to the median in standard deviations; 0 where all are equal."""
    spread = values.std(correction=0)
    return (values - values.quantile(0.5)).abs() / spread.where(spread > 0, torch.inf)


@aggregator(goal=("targeted", "backdoor"), cite="Rieger et al. 2022, arXiv:2201.00763")
class DeepSight:
    """Looks into the models: clusters clients by what their output layers learnt, and drops clusters full of narrow updates.

    Three views of a client: how its update's energy is spread over the output classes, how its model's answers to random
    inputs differ from the global model's, and the direction of its output biases. Each is clustered (HDBSCAN), the
    clusterings are averaged and clustered again. A client whose energy is concentrated on few classes is suspicious; a
    cluster with too many of them is left out; the rest is clipped to the median norm and averaged. Ours to decide were
    what HDBSCAN calls noise (one cluster in the three views, left out in the end), that a single cluster is allowed in
    each view, and its size: at least 5, or half of fewer than 10 clients. Weakness: with few clients every clustering is
    noise; an attacker with balanced data is not suspicious.

    Fields:
        tau: a cluster with this share of suspicious clients or more is left out (0 to 1).
        samples: random inputs for the answers; the paper has 20,000.
        repeats: how many sets of random inputs.

    Reference: Rieger et al. 2022, NDSS, arXiv:2201.00763; thresholds as in FLPoison's code.
    """

    tau: float = 1 / 3
    samples: int = 1000
    repeats: int = 3
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LAYERS, Need.NETWORK})

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "tau")
        require_range(self, 1, math.inf, "samples", "repeats")

    def __call__(self, updates: Tensor, weights: Tensor | None = None, view: ServerView | None = None) -> Tensor:
        n = len(updates)
        if view is None:
            raise NotApplicable(
                "a ServerView for DeepSight", "a bare matrix", "it looks into the network: use a federation"
            )
        layers_of(view, updates.shape[1], self)  # refuses updates with more in them than parameters
        network = network_of(view, self)
        kernel, bias = output_layer(network, updates)
        energies = _energies(kernel, bias)
        among_most = (energies > max(0.01, 1 / energies.shape[1]) * energies.max(axis=1, keepdims=True)).sum(axis=1)
        suspicious = among_most <= np.median(among_most) / 2
        answers = [_clusters(self._answers(updates, view, network, i)) for i in range(self.repeats)]
        directions = _clusters((1 - Gram.of(bias).cosines).clamp_min(0).numpy(), "precomputed")
        views = [
            np.mean([_apart(labels) for labels in answers], axis=0),
            _apart(_clusters(energies)),
            _apart(directions),
        ]
        labels = _clusters(np.mean(views, axis=0), "precomputed")
        good = [
            i for i in range(n) if labels[i] >= 0 and suspicious[labels == labels[i]].mean() < self.tau
        ]  # noise is no cluster
        norms = kernels.norms(updates).cpu()
        return kernels.combine(
            chosen(n, torch.tensor(good, dtype=torch.int64)) * clip_factors(norms, middle_norm(norms)), updates
        )

    def _answers(self, updates: Tensor, view: ServerView, network: Network, repeat: int) -> np.ndarray:
        """(n, c) mean ratios of each client's outputs to the global model's, on random inputs."""
        generator = view.streams.torch("random inputs", repeat)
        x = torch.rand(self.samples, *network.row_shape, generator=generator).to(view.start)
        before = probabilities(network, view.start, x) + 1e-6
        after = [probabilities(network, view.start + row.to(view.start), x) for row in updates]
        return torch.stack([(own / before).mean(dim=0) for own in after]).double().cpu().numpy()


def output_layer(network: Network, updates: Tensor) -> tuple[Tensor, Tensor]:
    """(n, c, p) and (n, c): the updates of the last layer's weights and biases.

    Raises:
        NotApplicable: the network does not end in a dense layer with biases.
    """
    shapes = list(network.shapes.values())
    c = network.num_classes
    if len(shapes) < 2 or len(shapes[-2]) != 2 or shapes[-2][0] != c or tuple(shapes[-1]) != (c,):
        got = ", ".join(network.shapes) or "nothing"
        raise NotApplicable("a network that ends in a dense layer with biases", got, "use another rule")
    kernel, bias = updates[:, -c - shapes[-2].numel() : -c], updates[:, -c:]
    return kernel.reshape(len(updates), c, -1), bias


def _energies(kernel: Tensor, bias: Tensor) -> np.ndarray:
    """(n, c) normalised update energies: how much of each output layer's update belongs to each class; rows sum to 1."""
    energy = bias.double().abs() + kernel.double().abs().sum(dim=2)
    largest = energy.max(dim=1, keepdim=True).values
    energy = (energy / largest.where(largest > 0, 1)).square()  # the square of a huge one would overflow
    total = energy.sum(dim=1, keepdim=True)
    return (energy / total.where(total > 0, 1)).cpu().numpy()


def _clusters(x: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """(n,) HDBSCAN labels, -1 for noise; all 0 where there are too few clients to tell."""
    n = len(x)
    if n < 4:
        return np.zeros(n, dtype=int)
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(
        min_cluster_size=min(5, n // 2), min_samples=3, metric=metric, allow_single_cluster=True, copy=True
    ).fit_predict(x)
    return np.asarray(found)


def _apart(labels: np.ndarray) -> np.ndarray:
    """(n, n) 0 for two in one cluster, 1 for two in different ones."""
    return np.asarray(labels[:, None] != labels[None, :], dtype=float)
