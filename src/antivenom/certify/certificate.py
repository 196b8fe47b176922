"""What a certified radius counts, and the rule that keeps it true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from antivenom.core.errors import PluginError


@dataclass(frozen=True)
class Certificate:
    """What a model's `certified(x)` proves: so many changes to the training rows leave the prediction for x as it is.

    Fields:
        unit: what is counted.
        theorem: where the proof stands.
    """

    unit: str
    theorem: str


def one_row_at_a_time(features: Any, learner: str) -> None:
    """Refuse a feature map that was, or will be, fitted to rows.

    Raises:
        PluginError: with the reason.
    """
    if hasattr(features, "fit") or (features is not None and not callable(features)):
        raise PluginError(
            f"a feature map that looks at one row at a time for {learner}.features",
            f"{type(features).__name__}, which is fitted to rows",
            "one inserted row would change every base, so nothing would be certified: use HOG or None",
        )
