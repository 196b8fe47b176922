"""Audits of a user's own pipeline: rows and a model in, a verdict, a worst case and a page out."""

from antivenom.pipelines.calling import assert_robust, audit
from antivenom.pipelines.result import Audit

__all__ = ["Audit", "assert_robust", "audit"]
