"""Confidence intervals: for a share of trials, and for a mean over seeds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ssltheory import _validate


class Interval(NamedTuple):
    """A confidence interval, ends included."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        """Tell whether a number lies in the interval."""
        return isinstance(value, (int, float, np.number)) and bool(self.low <= float(value) <= self.high)


def share_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return the exact (Clopper-Pearson) interval of a share.

    It covers the true share with at least the stated confidence whatever the share is, 0 and 1 included.

    Raises ``ValueError`` unless 0 <= successes <= trials, trials >= 1 and 0 < confidence < 1. Source: Clopper and
    Pearson (1934).
    """
    from scipy.stats import binomtest

    trials = _validate.count("trials", trials)
    successes = _validate.count("successes", successes, least=0)
    if successes > trials:
        raise ValueError(f"got {successes} successes in {trials} trials; need at most as many as trials")
    found = binomtest(successes, trials).proportion_ci(_confidence(confidence), method="exact")
    return Interval(float(found.low), float(found.high))


def mean_interval(values: Float[np.ndarray, " S"], confidence: float = 0.95) -> Interval:
    """Return Student's t interval of a mean from ``S`` >= 2 independent values, one a seed.

    Raises ``ValueError`` for fewer than two values or a non-finite one.
    """
    from scipy.stats import t

    values = _validate.shaped("values", values, ("S",))
    if len(values) < 2:
        raise ValueError(f"got {len(values)} value(s); a mean's interval needs at least 2")
    half = float(t.ppf((1 + _confidence(confidence)) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    mean = float(values.mean())
    return Interval(mean - half, mean + half)


def _confidence(value: float) -> float:
    value = _validate.scalar("confidence", value)
    if not 0 < value < 1:
        raise ValueError(f"confidence must be between 0 and 1; got {value:.6g}")
    return value
