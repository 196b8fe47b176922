"""Defences on rows and on models. Aggregation rules and client detectors live in `antivenom.federated`."""

from antivenom.defenses.activations import ActivationClustering
from antivenom.defenses.certified import DPA, FiniteAggregation, LabelSmoothing
from antivenom.defenses.neighbours import KNNSanitizer
from antivenom.defenses.pruning import FinePruning
from antivenom.defenses.regression import TRIM, TrimmedRegressor
from antivenom.defenses.spam import AdversaryAwareNaiveBayes, DynamicThresholds
from antivenom.defenses.trivial import FlagAll, FlagNone

__all__ = [
    "DPA",
    "TRIM",
    "ActivationClustering",
    "AdversaryAwareNaiveBayes",
    "DynamicThresholds",
    "FinePruning",
    "FiniteAggregation",
    "FlagAll",
    "FlagNone",
    "KNNSanitizer",
    "LabelSmoothing",
    "TrimmedRegressor",
]
