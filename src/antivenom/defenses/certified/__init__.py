"""Learners whose predictions come with a proof: so many changes to the training rows do not change them."""

from antivenom.defenses.certified.aggregation import DPA, FiniteAggregation
from antivenom.defenses.certified.bases import Base
from antivenom.defenses.certified.certificate import Certificate
from antivenom.defenses.certified.smoothing import Bound, LabelSmoothing

__all__ = ["DPA", "Base", "Bound", "Certificate", "FiniteAggregation", "LabelSmoothing"]
