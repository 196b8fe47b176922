"""The number f of malicious clients that a rule assumes, after some clients of the round were left out.

A rule with the field `f` tolerates f faulty clients. A client whose update is unusable (NaN, infinity, a wrong length, an
impossible claim) is faulty, and it is gone: f - 1 are left among the others. Otherwise one such client would switch a rule
off that has just enough clients for its f. A client that a detector flagged is only suspected. It lowers f only where the
rule would refuse the clients that are left.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import ServerView
from antivenom.federated.aggregation import require_min_updates
from antivenom.federated.needs import name_of

R = TypeVar("R")


def lowered(rule: R, faults: int) -> R:
    """The rule with `faults` taken from every `f` in it, also in the rules and reducers that it contains; f is at least 0."""
    if faults <= 0 or not dataclasses.is_dataclass(rule) or isinstance(rule, type):
        return rule
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(rule):
        value = getattr(rule, field.name)
        if field.name == "f" and isinstance(value, int):
            new: Any = max(value - faults, 0)
        elif isinstance(value, tuple):
            new = tuple(lowered(part, faults) for part in value)
        else:
            new = lowered(value, faults)
        if new is not value and new != value:
            changed[field.name] = new
    return dataclasses.replace(rule, **changed) if changed else rule


def lowered_for(rule: R, n: int, suspects: int) -> R:
    """The rule with its f lowered as far as n clients require, and at most by `suspects`."""
    for faults in range(suspects + 1):
        fitted = lowered(rule, faults)
        if _accepts(fitted, n):
            return fitted
    return rule


def without_unusable(rule: Any) -> Callable[..., Any]:
    """The rule as a function of (updates, weights, view) that leaves unusable rows out instead of refusing the matrix.

    A rule called outside a federation refuses NaN, infinity and rows of different lengths. This function drops rows that are
    not finite, and those whose length is not the most common one (of equally common lengths, that of the first row), together
    with their weights. It lowers every f in the rule by their number, at least to 0, and warns with their numbers.

    >>> import warnings
    >>> from antivenom import Krum
    >>> rule = without_unusable(Krum(f=1))
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     rule([[1.0, 2.0], [1.1, 2.0], [0.9, 2.1], [1.0, 1.9], [float("nan"), 0.0]])
    array([1., 2.])
    >>> print(said[0].message)
    Krum: unusable rows [4] were left out

    Raises:
        PluginError: no usable row is left, or the rule refuses what is left.
    """

    def call(updates: Any, weights: Any = None, view: ServerView | None = None) -> Any:
        rows = [torch.as_tensor(row) for row in updates]
        lengths = Counter(row.shape for row in rows)
        usual = lengths.most_common(1)[0][0] if lengths else None
        kept = [i for i, row in enumerate(rows) if row.shape == usual and bool(row.isfinite().all())]
        if not kept:
            raise PluginError(f"a usable row for {name_of(rule)}", "none: every row holds NaN or infinity")
        dropped = sorted(set(range(len(rows))) - set(kept))
        if not dropped:
            return rule(updates, weights, view)
        warnings.warn(f"{name_of(rule)}: unusable rows {dropped} were left out", stacklevel=2)
        if view is not None:
            matrix = torch.stack([rows[i] for i in kept])
            agents = tuple(view.agents[i] for i in kept)
            view = dataclasses.replace(view, updates=matrix, agents=agents, weights=view.weights[kept])
        some = updates[kept] if isinstance(updates, (Tensor, np.ndarray)) else [updates[i] for i in kept]
        shares = None if weights is None else [float(weights[i]) for i in kept]
        return lowered(rule, len(dropped))(some, shares, view)

    return call


def _accepts(rule: Any, n: int) -> bool:
    try:
        for part in (rule, *getattr(rule, "reducers", ())[:1]):
            require_min_updates(part, n)
    except PluginError:
        return False
    return True
