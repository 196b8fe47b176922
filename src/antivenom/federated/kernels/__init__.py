"""The passes over an (n, d) matrix that aggregation rules are made of. Rules call these and nothing else that costs d.

`plain` holds them in plain torch: short, on any device, and the oracle of every faster form.
"""

from antivenom.federated.kernels.plain import combine, finite_rows, gram, mean_around_median, median, trimmed_mean

__all__ = ["combine", "finite_rows", "gram", "mean_around_median", "median", "trimmed_mean"]
