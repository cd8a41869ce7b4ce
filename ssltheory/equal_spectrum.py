r"""Cosine loss, closed-form predictor: what happens near the state in which all eigenvalues are equal.

The toy setting: x ~ N(0, I), x_1 = x + e_1 xi_1, x_2 = x + e xi, encoder A (n x m), B = Sigma^p, Sigma = E[z_1 z_1^T].
The state Sigma = mu I is at rest for every gradient and every noise, and its linearisation is a single number. It is
known in closed form through two averages over the angle theta between n-dimensional normal vectors x_1, x_2 whose
coordinates have the correlation r = 1 / sqrt((1 + e_1^2)(1 + e^2)):

    c = E[cos theta],   q = E[cos theta sin^2 theta].

>>> rate = deviation_rate(10, 1.0, 1.0, gradient="sg")
>>> round(float(rate), 6)  # -2p / (n + 2)
-0.166667
>>> bool(deviation_rate(10, 1.0, 1.0, gradient="none", noise=0.3) < 0 < deviation_rate(10, 1.0, 1.0, gradient="wrong"))
True
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, hyp2f1

from ssltheory import _validate
from ssltheory.eigenmodes import GRADIENTS, Gradient


@dataclass(frozen=True)
class AngleMoments:
    """Averages over the angle theta of two correlated normal vectors: E[cos theta] and E[cos theta sin^2 theta]."""

    cos: Float[np.ndarray, "..."]
    cos_sin2: Float[np.ndarray, "..."]


def angle_moments(n: int, correlation: float | Float[np.ndarray, "..."]) -> AngleMoments:
    r"""Return the averages of cos theta and cos theta sin^2 theta between x, y in R^n whose coordinates correlate by r.

    With g = Gamma((n + 1)/2) / Gamma(n/2) and Gauss' hypergeometric function F,

        E[cos theta] = (2/n) g^2 r F(1/2, 1/2; n/2 + 1; r^2),
        E[cos theta sin^2 theta] = 2 (n - 1) / (n (n + 2)) g^2 r (1 - r^2) F(3/2, 3/2; n/2 + 2; r^2).

    ``correlation`` in [-1, 1], any shape; raises ``ValueError`` otherwise. Our derivation: expand the density of the
    pair in powers of x . y and average each power over the sphere.
    """
    n = _validate.count("n", n)
    r = _validate.finite("correlation", correlation)
    if (np.abs(r) > 1).any():
        raise ValueError(f"correlation must be in [-1, 1]; got {np.abs(r).max():.6g} in absolute value")
    square = np.exp(2 * (gammaln((n + 1) / 2) - gammaln(n / 2)))
    rest = np.clip((1 - r) * (1 + r), 0.0, 1.0)
    inner = np.where(rest > 0, r, 0.0) ** 2
    cos = np.where(rest > 0, 2 / n * square * r * hyp2f1(0.5, 0.5, n / 2 + 1, inner), np.sign(r))
    tail = 2 * (n - 1) / (n * (n + 2)) * square * r * rest * hyp2f1(1.5, 1.5, n / 2 + 2, inner)
    return AngleMoments(cos=cos, cos_sin2=tail)


def deviation_rate(
    n: int,
    mu: float | Float[np.ndarray, "..."],
    p: float,
    *,
    gradient: Gradient,
    noise: float | Float[np.ndarray, "..."] = 0.0,
    noise_first: float = 0.0,
) -> Float[np.ndarray, "..."]:
    r"""Return R in delta' = R delta, where mu_k = mu + delta_k with sum delta_k = 0 are n eigenvalues near their mean.

    With s = mu / (1 + e_1^2), c and q the averages of :func:`angle_moments`, and Q = 2 q / ((n + 2)(n - 1)),

        sg:    s R = -2p c / (n + 2) - Q            iso:   the same divided by d = mu^p
        none:  s R = -2 (1 + p) Q                   wrong: s R = 2p c / (n + 2) - (1 + 2p) Q.

    The eigenvalues are those of Sigma, ``n`` >= 2 of them, ``mu`` > 0, ``p`` >= 0 (p = 0: no predictor), time is that
    of the flow. Zero modes beside the n equal ones change nothing. Raises ``ValueError`` on other input. Ours; proved
    in the chapter on the two losses.
    """
    n = _validate.count("n", n, 2)
    p = _validate.scalar("p", p, _validate.nonnegative)
    mu = _validate.positive("mu", mu)
    _validate.one_of("gradient", gradient, GRADIENTS)
    first = 1 + _validate.scalar("noise_first", noise_first, _validate.nonnegative) ** 2
    second = 1 + _validate.nonnegative("noise", noise) ** 2
    mean = angle_moments(n, 1 / np.sqrt(first * second))
    pull = 2 * p * mean.cos / (n + 2)
    tilt = 2 * mean.cos_sin2 / ((n + 2) * (n - 1))
    scaled = {
        "sg": -pull - tilt,
        "iso": (-pull - tilt) / mu**p,
        "none": -2 * (1 + p) * tilt,
        "wrong": pull - (1 + 2 * p) * tilt,
    }
    return np.asarray(scaled[gradient] * first / mu)
