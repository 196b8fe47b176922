"""Aggregation rules: (n, d) updates to the one (d,) that moves the global model. One file per family."""

from antivenom.federated.aggregators.averages import SLSGD, WBC, CappedMean, Mean
from antivenom.federated.aggregators.clipping import CenteredClipping
from antivenom.federated.aggregators.clustering import FLAME, Auror, ClippedClustering
from antivenom.federated.aggregators.coordinates import Meamed, Median, TrimmedMean
from antivenom.federated.aggregators.geometry import CAF, GeometricMedian
from antivenom.federated.aggregators.layers import LASA, DeepSight
from antivenom.federated.aggregators.selection import CGE, Bulyan, DnC, Krum, MultiKrum, compared, selected
from antivenom.federated.aggregators.signs import RLR, SignGuard
from antivenom.federated.aggregators.subsets import MDA, SMEA
from antivenom.federated.aggregators.trust import FLTrust, FoolsGold, MoNNA

__all__ = [
    "CAF",
    "CGE",
    "FLAME",
    "LASA",
    "MDA",
    "RLR",
    "SLSGD",
    "SMEA",
    "WBC",
    "Auror",
    "Bulyan",
    "CappedMean",
    "CenteredClipping",
    "ClippedClustering",
    "DeepSight",
    "DnC",
    "FLTrust",
    "FoolsGold",
    "GeometricMedian",
    "Krum",
    "Meamed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "SignGuard",
    "TrimmedMean",
    "compared",
    "selected",
]
