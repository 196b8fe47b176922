"""Defences on rows and on models. Aggregation rules and client detectors live in `antivenom.federated`."""

from antivenom.defenses.activations import ActivationClustering
from antivenom.defenses.neighbours import KNNSanitizer
from antivenom.defenses.probe import LinearProbe
from antivenom.defenses.pruning import FinePruning
from antivenom.defenses.trivial import FlagAll, FlagNone

__all__ = ["ActivationClustering", "FinePruning", "FlagAll", "FlagNone", "KNNSanitizer", "LinearProbe"]
