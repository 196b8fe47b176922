"""The statement of a certified radius, and the check of feature maps that its proof requires."""

from __future__ import annotations

from dataclasses import dataclass

from antivenom.core.errors import PluginError


@dataclass(frozen=True)
class Certificate:
    """The statement of a model's `certified(x)`: this number of changes to the training rows cannot change f(x).

    Fields:
        unit: the kind of change that is counted.
        theorem: reference to the proof.
    """

    unit: str
    theorem: str


def one_row_at_a_time(features: object, learner: str) -> None:
    """Refuses a feature map that is fitted to rows. Feature maps fitted to training data (PCA, scaling) do not qualify.

    Raises:
        PluginError: such a feature map.
    """
    if hasattr(features, "fit") or (features is not None and not callable(features)):
        raise PluginError(
            f"a feature map of single rows for {learner}.features",
            f"{type(features).__name__}, which is fitted to rows",
            "use HOG or None, because one inserted row would otherwise change every base",
        )
