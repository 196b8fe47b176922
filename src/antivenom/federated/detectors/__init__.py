"""Client detectors: which of this round's agents look malicious to the server."""

from antivenom.federated.detectors.checks import AccuracyCheck, RangeCheck, range_statistic, range_statistics
from antivenom.federated.detectors.norms import NormBound
from antivenom.federated.detectors.prediction import FLANDERS, FLDetector
from antivenom.federated.detectors.validation import LeaveOneOut

__all__ = [
    "FLANDERS",
    "AccuracyCheck",
    "FLDetector",
    "LeaveOneOut",
    "NormBound",
    "RangeCheck",
    "range_statistic",
    "range_statistics",
]
