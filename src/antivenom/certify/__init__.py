"""Learners with certified predictions, which a bounded number of changes to the training rows cannot change."""

from antivenom.certify.aggregation import DPA, FiniteAggregation
from antivenom.certify.bases import Base
from antivenom.certify.bounds import Bound, certified_bound
from antivenom.certify.certificate import Certificate
from antivenom.certify.smoothing import Proof, RandomizedSmoothing

__all__ = [
    "DPA",
    "Base",
    "Bound",
    "Certificate",
    "FiniteAggregation",
    "Proof",
    "RandomizedSmoothing",
    "certified_bound",
]
