r"""Forces of self-supervised losses on the center, for codes that move freely on the sphere.

Let every one of M unit codes go down its own gradient, z_i' = -M g_i, with g_i the gradient of a loss, less its part
along z_i. The center s = (z_1 + ... + z_M)/M then moves with the *pull*

    s' = -sum_i g_i.

Losses that see codes only through their cosines c_ij pull by pairs: a pair with the weight w_ij = -dL/dc_ij contributes

    w_ij (1 - c_ij) (z_i + z_j),

along the sum of its two codes if it attracts, against it if it repels (:func:`pair_pull`). Losses with a predictor or
with prototypes have forms of their own. Source: derived here; the question is that of Jha, Blaschko, Asano,
Tuytelaars (arXiv 2402.14957).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num
from scipy.special import softmax

from ssltheory import _validate
from ssltheory.center import unit

__all__ = [
    "Invariance",
    "center_repulsion",
    "free_pull",
    "info_nce_weights",
    "invariance_pull",
    "invariance_weights",
    "meet",
    "pair_pull",
    "predictor_gradient",
    "predictor_pull",
    "prototype_gradient",
    "tangent",
    "triplet_weights",
]


def tangent(z: Num[np.ndarray, "*batch n"], vectors: Num[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch n"]:
    """Vectors less their parts along the unit codes z. Raises ``ValueError`` for shapes that differ."""
    z = _validate.shaped("z", z, ("n",), batched=True)
    vectors = _validate.shaped("vectors", vectors, z.shape)
    return vectors - np.sum(z * vectors, axis=-1, keepdims=True) * z


def free_pull(
    z: Num[np.ndarray, "*batch M n"], gradient: Num[np.ndarray, "*batch M n"]
) -> Float[np.ndarray, "*batch n"]:
    """Pull s' = -sum_i g_i on the center of unit codes, each going down its gradient along the sphere.

    Raises ``ValueError`` for shapes that differ.
    """
    return -tangent(z, gradient).sum(axis=-2)


def center_repulsion(z: Num[np.ndarray, "*batch M n"]) -> Float[np.ndarray, "*batch n"]:
    r"""Pull on the center when every unit code is pushed by -s.

    .. math:: -\Bigl(I - \frac1M \sum_i z_i z_i^\top\Bigr) s, \qquad
              \langle s, \cdot\rangle = -\bigl(|s|^2 - \tfrac1M \textstyle\sum_i \langle z_i, s\rangle^2\bigr) \le 0

    It never lengthens the center, and lets it be only where every code is s or -s in direction, or s = 0. Raises
    ``ValueError`` for a non-finite entry.
    """
    z = _validate.shaped("z", z, ("M", "n"), batched=True)
    s = z.mean(axis=-2, keepdims=True)
    return -tangent(z, np.broadcast_to(s, z.shape)).mean(axis=-2)


def pair_pull(
    z: Num[np.ndarray, "*batch M n"], weights: Num[np.ndarray, "*batch M M"]
) -> Float[np.ndarray, "*batch n"]:
    r"""Pull on the center of unit codes from pairs that attract (positive weight) or repel (negative).

    .. math:: \sum_{i<j} w_{ij} (1 - \langle z_i, z_j\rangle)(z_i + z_j), \qquad w_{ij} = -\partial L/\partial c_{ij}

    Args:
        z: unit codes.
        weights: symmetric; the diagonal does not count.

    Raises:
        ValueError: shapes that do not fit, or weights that are not symmetric.
    """
    z = _validate.shaped("z", z, ("M", "n"), batched=True)
    weights = _validate.symmetric("weights", _validate.shaped("weights", weights, (*z.shape[:-1], z.shape[-2])))
    each = weights * (1 - z @ np.swapaxes(z, -1, -2))  # a code and itself: 1 - c = 0
    return np.sum(each.sum(axis=-1, keepdims=True) * z, axis=-2)


def invariance_weights(samples: int) -> Float[np.ndarray, "M M"]:
    """Pair weights of the invariance loss for codes (z_1, z_2) one after the other: 1/N between views of a sample."""
    N = _validate.count("samples", samples)
    return np.kron([[0.0, 1.0], [1.0, 0.0]], np.eye(N)) / N


def triplet_weights(
    z1: Num[np.ndarray, "N n"], z2: Num[np.ndarray, "N n"], *, margin: float = 1.0
) -> Float[np.ndarray, "M M"]:
    """Pair weights of the triplet loss of unit codes, the negative of sample i being the second view of sample i - 1.

    2/N to the positive and -2/N to the negative of every anchor whose hinge is active. Raises ``ValueError`` for shapes
    that differ.
    """
    z1, z2 = _two_views(z1, z2)
    N = len(z1)
    negative = np.roll(np.arange(N), 1)
    gap = 2 * np.sum(z1 * (z2[negative] - z2), axis=-1) + margin
    active = 2.0 / N * (gap > 0)
    w = np.zeros((2 * N, 2 * N))
    w[np.arange(N), N + np.arange(N)] += active
    w[np.arange(N), N + negative] -= active
    return w + w.T


def info_nce_weights(
    z1: Num[np.ndarray, "N n"], z2: Num[np.ndarray, "N n"], temperature: float = 0.5
) -> Float[np.ndarray, "M M"]:
    r"""Pair weights of InfoNCE over all M = 2 N unit codes.

    .. math:: w_{ij} = \frac{1}{M\tau}\bigl(2 \cdot 1[j = i'] - p_{ij} - p_{ji}\bigr), \qquad
              p_{ij} = \frac{e^{c_{ij}/\tau}}{\sum_{k \ne i} e^{c_{ik}/\tau}}

    with i' the other view of the sample of i. Raises ``ValueError`` for shapes that differ or a temperature that is not
    positive.
    """
    z1, z2 = _two_views(z1, z2)
    temperature = _validate.scalar("temperature", temperature, _validate.positive)
    z = np.concatenate([z1, z2])
    scores = z @ z.T / temperature
    np.fill_diagonal(scores, -np.inf)
    p = softmax(scores, axis=1)
    return invariance_weights(len(z1)) / temperature - (p + p.T) / (len(z) * temperature)


@dataclass(frozen=True)
class Invariance:
    """What the invariance loss does to the square of the center, d|s|^2/dt of free codes.

    Attributes:
        mean: 4 v |s|^2, as if every pair were as far apart as the average one. Never negative.
        covariance: 4 Cov(v_i, <m_i, s>): whether pairs far apart lie on the center's side.
    """

    mean: Float[np.ndarray, "..."]
    covariance: Float[np.ndarray, "..."]

    @property
    def rate(self) -> Float[np.ndarray, "*batch"]:
        """Their sum."""
        return self.mean + self.covariance


def invariance_pull(z1: Num[np.ndarray, "*batch N n"], z2: Num[np.ndarray, "*batch N n"]) -> Invariance:
    r"""Split the growth of |s|^2 under the invariance loss of unit codes.

    .. math:: \frac{d|s|^2}{dt} = 4\,\mathbb E\bigl[v_i \langle m_i, s\rangle\bigr]
              = 4\bigl(v |s|^2 + \operatorname{Cov}(v_i, \langle m_i, s\rangle)\bigr), \qquad
              v_i = 1 - \langle z_{1i}, z_{2i}\rangle, \quad m_i = \tfrac12(z_{1i} + z_{2i})

    Raises ``ValueError`` for shapes that differ.
    """
    z1, z2 = _two_views(z1, z2)
    apart, middle = 1 - np.sum(z1 * z2, axis=-1), (z1 + z2) / 2
    s = middle.mean(axis=-2, keepdims=True)
    along = np.sum(middle * s, axis=-1)
    mean = apart.mean(axis=-1) * along.mean(axis=-1)
    return Invariance(4 * mean, 4 * (np.mean(apart * along, axis=-1) - mean))


def meet(
    z1: Num[np.ndarray, "*batch N n"], z2: Num[np.ndarray, "*batch N n"], time: float
) -> tuple[Float[np.ndarray, "*batch N n"], Float[np.ndarray, "*batch N n"]]:
    r"""Both views of free unit codes after ``time`` of the invariance loss, in closed form; ``inf`` is allowed.

    .. math:: z_{1,2}(t) = \cos\tfrac{\varphi(t)}2\, \hat m \pm \sin\tfrac{\varphi(t)}2\, \hat d, \qquad
              \tan\tfrac{\varphi(t)}2 = e^{-4t} \tan\tfrac{\varphi(0)}2

    The angle of a pair obeys :math:`\varphi' = -4\sin\varphi`; a pair meets at the direction of its mean.

    Raises ``ValueError`` for shapes that differ, a negative time, or a pair of opposite codes, which stays.
    """
    z1, z2 = _two_views(z1, z2)
    if not time >= 0:
        raise ValueError(f"time must be at least 0; got {time}")
    middle, half = (z1 + z2) / 2, (z1 - z2) / 2
    cosine = np.linalg.norm(middle, axis=-1, keepdims=True)
    if not cosine.all():
        raise ValueError("z1, z2: a pair is opposite, and has no middle to meet at")
    slope = np.exp(-4 * time) / cosine  # tan(phi/2) is |half| / |middle|
    now = 1 / np.sqrt(1 + np.sum((half * slope) ** 2, axis=-1, keepdims=True))
    return now * (middle / cosine + half * slope), now * (middle / cosine - half * slope)


def predictor_gradient(
    B: Num[np.ndarray, "n n"], z: Num[np.ndarray, "M n"], target: Num[np.ndarray, "M n"]
) -> Float[np.ndarray, "M n"]:
    r"""Gradient in unit codes of the mean over them of :math:`1 - \langle Bz/|Bz|, t \rangle`, targets held.

    .. math:: -\frac1M (I - zz^\top)\, B^\top \frac{t - \langle \hat p, t\rangle \hat p}{|Bz|}, \qquad \hat p = Bz/|Bz|

    For the M = 2 N codes of two views, and as targets the codes of the other view, it is the gradient of SimSiam's
    loss, and a quarter of BYOL's. Raises ``ValueError`` for shapes that do not fit or a prediction that is zero.
    """
    z = _validate.shaped("z", z, ("M", "n"))
    B, target = _validate.shaped("B", B, (z.shape[1],) * 2), _validate.shaped("target", target, z.shape)
    p = z @ B.T
    length = np.linalg.norm(p, axis=1, keepdims=True)
    return -tangent(z, tangent(unit(p), target) / length @ B) / len(z)


def predictor_pull(sigma: float, along: float, across: float, center: float, contrast: float) -> tuple[float, float]:
    r"""Rate of a code under a linear predictor, where codes are z = sigma e + x with x orthogonal to e = s/|s|.

    The predictor multiplies e by ``along`` (beta) and x by ``across`` (b); the expected target of z is
    ``center`` (a) times sigma e plus ``contrast`` (rho) times x. Then, with :math:`|x|^2 = 1 - \sigma^2` and
    :math:`|p|^2 = \beta^2\sigma^2 + b^2|x|^2`, the expected force is tangent to the sphere,

    .. math:: k\,\bigl(|x|^2\, \sigma e - \sigma^2\, x\bigr), \qquad k = \frac{\beta b\,(a b - \beta\rho)}{|p|^3}.

    Returns its factors of :math:`\sigma e` and of x. Raises ``ValueError`` for sigma outside (0, 1] or p = 0.
    """
    sigma = _validate.scalar("sigma", sigma, _validate.probability)
    rest = 1 - sigma**2
    size = along**2 * sigma**2 + across**2 * rest
    if sigma == 0 or size == 0:
        raise ValueError(f"got sigma = {sigma} and |p|^2 = {size}; need both to be positive")
    k = along * across * (center * across - along * contrast) / size**1.5
    return k * rest, -k * sigma**2


def prototype_gradient(
    W: Num[np.ndarray, "K n"], z: Num[np.ndarray, "M n"], goal: Num[np.ndarray, "M K"], temperature: float
) -> Float[np.ndarray, "M n"]:
    r"""Gradient in unit codes of the mean cross-entropy of prototypes, as in SwAV and DINO, goals q held.

    .. math:: \frac{1}{M\tau} (I - zz^\top) W^\top (p - q), \qquad p = \operatorname{softmax}(W z/\tau)

    Raises ``ValueError`` for shapes that do not fit or a temperature that is not positive.
    """
    z = _validate.shaped("z", z, ("M", "n"))
    W = _validate.shaped("W", W, ("K", z.shape[1]))
    goal = _validate.shaped("goal", goal, (len(z), len(W)))
    temperature = _validate.scalar("temperature", temperature, _validate.positive)
    p = softmax(z @ W.T / temperature, axis=1)
    return tangent(z, (p - goal) @ W) / (len(z) * temperature)


def _two_views(z1: np.ndarray, z2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z1 = _validate.shaped("z1", z1, ("N", "n"), batched=True)
    return z1, _validate.shaped("z2", z2, z1.shape)
