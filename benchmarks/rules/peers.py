"""One peer's rules on given matrices; run by agreement.py with the interpreter of that peer's own environment.

    python peers.py byzfl vectors.npz results.npz

Every rule gets the matrix and f; what a peer calls by another name keeps the peer's name here.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Rules = dict[str, Callable[[np.ndarray, int], Any]]


def byzfl() -> Rules:
    import byzfl

    return {
        "Average": lambda x, f: byzfl.Average()(x),
        "Median": lambda x, f: byzfl.Median()(x),
        "TrMean": lambda x, f: byzfl.TrMean(f)(x),
        "GeometricMedian": lambda x, f: byzfl.GeometricMedian(nu=1e-6, T=1000)(x),
        "Krum": lambda x, f: byzfl.Krum(f)(x),
        "MultiKrum": lambda x, f: byzfl.MultiKrum(f)(x),
        "CenteredClipping": lambda x, f: byzfl.CenteredClipping(L=3, tau=2.0)(x),
        "MDA": lambda x, f: byzfl.MDA(f)(x),
        "MoNNA": lambda x, f: byzfl.MoNNA(f, idx=5)(x),
        "Meamed": lambda x, f: byzfl.Meamed(f)(x),
        **{name: lambda x, f: byzfl.CAF(f)(x) for name in ("CAF", "CAF, again")},
        **{name: lambda x, f: byzfl.SMEA(f)(x) for name in ("SMEA", "SMEA, again")},
        "NNM": lambda x, f: byzfl.NNM(f)(x),
        "Clipping": lambda x, f: byzfl.Clipping(2.0)(x.copy()),  # it writes into its input
        "ARC": lambda x, f: byzfl.ARC(f)(x.copy()),
    }


def byzpy() -> Rules:
    import torch
    from byzpy.aggregators.coordinate_wise.mean_of_medians import MeanOfMedians
    from byzpy.aggregators.coordinate_wise.median import CoordinateWiseMedian
    from byzpy.aggregators.coordinate_wise.trimmed_mean import CoordinateWiseTrimmedMean
    from byzpy.aggregators.geometric_wise.geometric_median import GeometricMedian
    from byzpy.aggregators.geometric_wise.krum import Krum, MultiKrum
    from byzpy.aggregators.geometric_wise.minimum_diameter_average import MinimumDiameterAveraging
    from byzpy.aggregators.geometric_wise.monna import MoNNA
    from byzpy.aggregators.geometric_wise.smea import SMEA
    from byzpy.aggregators.norm_wise.caf import CAF
    from byzpy.aggregators.norm_wise.center_clipping import CenteredClipping
    from byzpy.aggregators.norm_wise.comparative_gradient_elimination import ComparativeGradientElimination
    from byzpy.pre_aggregators.arc import ARC
    from byzpy.pre_aggregators.bucketing import Bucketing
    from byzpy.pre_aggregators.clipping import Clipping
    from byzpy.pre_aggregators.nnm import NearestNeighborMixing

    def tensors(x: np.ndarray) -> list[Any]:
        return [torch.tensor(row) for row in x]

    def rule(make: Callable[[int, int], Any]) -> Callable[[np.ndarray, int], Any]:
        return lambda x, f: make(len(x), f).aggregate(tensors(x))

    def reducer(make: Callable[[int, int], Any]) -> Callable[[np.ndarray, int], Any]:
        return lambda x, f: np.stack([np.asarray(row) for row in make(len(x), f).pre_aggregate(tensors(x))])

    return {
        "CoordinateWiseMedian": rule(lambda n, f: CoordinateWiseMedian()),
        "CoordinateWiseTrimmedMean": rule(lambda n, f: CoordinateWiseTrimmedMean(f)),
        "MeanOfMedians": rule(lambda n, f: MeanOfMedians(f)),
        "GeometricMedian": rule(lambda n, f: GeometricMedian(tol=1e-12, max_iter=5000)),
        "Krum": rule(lambda n, f: Krum(f)),
        "MultiKrum": rule(lambda n, f: MultiKrum(f, n - f)),
        "MinimumDiameterAveraging": rule(lambda n, f: MinimumDiameterAveraging(f)),
        "MoNNA": rule(lambda n, f: MoNNA(f, reference_index=5)),
        "SMEA": rule(lambda n, f: SMEA(f)),
        "CAF": rule(lambda n, f: CAF(f, power_iters=2000)),
        "CenteredClipping": rule(lambda n, f: CenteredClipping(c_tau=2.0, M=3, init="zero")),
        "ComparativeGradientElimination": rule(lambda n, f: ComparativeGradientElimination(f)),
        "NearestNeighborMixing": reducer(lambda n, f: NearestNeighborMixing(f)),
        "Clipping": reducer(lambda n, f: Clipping(2.0)),
        "ARC": reducer(lambda n, f: ARC(f)),
        "Bucketing": reducer(lambda n, f: Bucketing(3, perm=list(range(n))[::-1])),
    }


def flwr() -> Rules:
    from flwr.server.strategy.aggregate import (
        aggregate,
        aggregate_bulyan,
        aggregate_krum,
        aggregate_median,
        aggregate_trimmed_avg,
    )

    def results(x: np.ndarray) -> list[Any]:
        return [([row], 1) for row in x]

    return {
        "aggregate": lambda x, f: aggregate(results(x))[0],
        "aggregate_median": lambda x, f: aggregate_median(results(x))[0],
        "aggregate_trimmed_avg": lambda x, f: aggregate_trimmed_avg(results(x), f / len(x) + 1e-9)[0],
        "aggregate_krum": lambda x, f: aggregate_krum(results(x), f, 0)[0],
        "aggregate_krum, to_keep": lambda x, f: aggregate_krum(results(x), f, len(x) - f)[0],
        "aggregate_bulyan": lambda x, f: aggregate_bulyan(results(x), f, aggregate_krum, to_keep=0)[0],
    }


def krum() -> Rules:
    import torch
    from krum.primitives.aggregators.average import Average
    from krum.primitives.aggregators.bulyan import Bulyan
    from krum.primitives.aggregators.geometric_median import GeometricMedian
    from krum.primitives.aggregators.median import Median
    from krum.primitives.aggregators.multikrum import MultiKrum
    from krum.primitives.aggregators.trimmed_mean import TrimmedMean

    def rule(cls: Any, **fields: Any) -> Callable[[np.ndarray, int], Any]:
        return lambda x, f: cls.aggregate(torch.tensor(x), n=len(x), f=f, **fields)

    return {
        "Average": rule(Average),
        "Median": rule(Median),
        "TrimmedMean": rule(TrimmedMean),
        "GeometricMedian": rule(GeometricMedian),
        "MultiKrum, m = 1": rule(MultiKrum, m=1),
        "MultiKrum": rule(MultiKrum),
        "Bulyan, m = 1": rule(Bulyan, m=1),
    }


def main() -> None:
    peer, given, wanted = sys.argv[1:]
    rules: Rules = {"byzfl": byzfl, "byzpy": byzpy, "flwr": flwr, "krum": krum}[peer]()
    vectors = np.load(given)
    found: dict[str, Any] = {"version": importlib.metadata.version(peer)}
    for name, rule in rules.items():
        for case in vectors.files:
            try:
                found[f"{name}|{case}"] = np.asarray(rule(vectors[case].copy(), 2), dtype=np.float64)
            except Exception as error:
                found[f"{name}|{case}"] = f"{type(error).__name__}: {error}"
    np.savez(wanted, **found)


if __name__ == "__main__":
    main()
