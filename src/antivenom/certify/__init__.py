"""Learners whose predictions come with a proof: so many changes to the training rows do not change them."""

from antivenom.certify.aggregation import DPA, FiniteAggregation
from antivenom.certify.bases import Base
from antivenom.certify.certificate import Certificate
from antivenom.certify.smoothing import Bound, RandomizedSmoothing

__all__ = ["DPA", "Base", "Bound", "Certificate", "FiniteAggregation", "RandomizedSmoothing"]
