"""Defences on rows and on models. Aggregation rules and client detectors live in `antivenom.federated`."""

from antivenom.defenses.activations import ActivationClustering
from antivenom.defenses.certified import DPA, FiniteAggregation, RandomizedSmoothing
from antivenom.defenses.combinators import AllOf
from antivenom.defenses.distances import KNNDistanceSanitizer, SlabSanitizer, SphereSanitizer
from antivenom.defenses.losses import SEVER, LossSanitizer
from antivenom.defenses.micromodels import Micromodels
from antivenom.defenses.neighbours import KNNSanitizer
from antivenom.defenses.probe import LinearProbe
from antivenom.defenses.pruning import FinePruning
from antivenom.defenses.regression import TRIM, TrimmedRegressor
from antivenom.defenses.roni import RONI, ProvenanceGroups
from antivenom.defenses.spam import AdversaryAwareNaiveBayes, DynamicThresholds
from antivenom.defenses.subspace import SVDSanitizer
from antivenom.defenses.trivial import FlagAll, FlagNone

__all__ = [
    "DPA",
    "RONI",
    "SEVER",
    "TRIM",
    "ActivationClustering",
    "AdversaryAwareNaiveBayes",
    "AllOf",
    "DynamicThresholds",
    "FinePruning",
    "FiniteAggregation",
    "FlagAll",
    "FlagNone",
    "KNNDistanceSanitizer",
    "KNNSanitizer",
    "LinearProbe",
    "LossSanitizer",
    "Micromodels",
    "ProvenanceGroups",
    "RandomizedSmoothing",
    "SVDSanitizer",
    "SlabSanitizer",
    "SphereSanitizer",
    "TrimmedRegressor",
]
