"""What DP-SGD spends: Rényi differential privacy of the sampled Gaussian mechanism, turned into epsilon at a delta."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln, logsumexp

from antivenom.core.errors import PluginError

ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 384, 512)


def renyi(order: int, rate: float, noise: float) -> float:
    """Rényi divergence of one step, at a whole order from 2.

    log of the sum over k of C(order, k) (1 - q)^(order - k) q^k exp((k^2 - k) / (2 sigma^2)), over order - 1, for rows
    sampled independently with rate q.

    Reference: Mironov, Talwar and Zhang 2019, arXiv:1908.10530, section 3.3 (neighbours differ in one row).
    """
    if rate == 0:
        return 0.0
    if rate == 1:
        return order / (2 * noise**2)
    k = np.arange(order + 1)
    choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = choose + (order - k) * math.log1p(-rate) + k * math.log(rate) + (k * k - k) / (2 * noise**2)
    return float(logsumexp(terms)) / (order - 1)


def epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    """The least epsilon that the orders prove at `delta`, after that many steps of sampling rate q and noise sigma.

    Raises:
        PluginError: numbers outside their ranges.

    Reference: Canonne, Kamath and Steinke 2020, arXiv:2004.00010, proposition 12 (from Rényi to epsilon and delta).
    """
    if not 0 <= rate <= 1 or not 0 < noise < math.inf or steps < 0 or not 0 < delta < 1:
        got = f"{rate}, {noise}, {steps} and {delta}"
        raise PluginError("rate from 0 to 1, noise > 0, steps >= 0 and delta between 0 and 1", got, "correct them")
    if steps == 0 or rate == 0:
        return 0.0
    proved = [steps * renyi(a, rate, noise) + math.log1p(-1 / a) - math.log(delta * a) / (a - 1) for a in ORDERS]
    return float(max(min(proved), 0.0))
