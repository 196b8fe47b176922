"""Privacy accounting for DP-SGD: Rényi differential privacy of the sampled Gaussian mechanism, as (epsilon, delta)."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln, logsumexp

from antivenom.core.errors import PluginError

ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 384, 512)


def renyi(order: int, rate: float, noise: float) -> float:
    """Rényi divergence of one step at an integer order of at least 2.

    It is 1 / (order - 1) times the log of the sum over k of C(order, k) (1 - q)^(order - k) q^k
    exp((k^2 - k) / (2 sigma^2)), where rows are sampled independently with rate q.

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
    """The smallest provable epsilon at `delta`, after the given number of steps.

    >>> round(epsilon(rate=0.01, noise=1.1, steps=10_000, delta=1e-5), 2)
    5.65

    Args:
        rate: q, probability that a step samples a given row.
        noise: sigma, standard deviation of the noise in units of the clipping length.
        steps: number of steps.
        delta: probability with which the guarantee can fail.

    Raises:
        PluginError: an argument out of its range.

    Reference: Canonne, Kamath and Steinke 2020, arXiv:2004.00010, proposition 12 (from Rényi to epsilon and delta).
    """
    if not 0 <= rate <= 1 or not 0 < noise < math.inf or steps < 0 or not 0 < delta < 1:
        got = f"{rate}, {noise}, {steps} and {delta}"
        raise PluginError("rate from 0 to 1, noise > 0, steps >= 0 and delta between 0 and 1", got)
    if steps == 0 or rate == 0:
        return 0.0
    proved = [steps * renyi(a, rate, noise) + math.log1p(-1 / a) - math.log(delta * a) / (a - 1) for a in ORDERS]
    return float(max(min(proved), 0.0))
