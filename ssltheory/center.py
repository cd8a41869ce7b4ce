r"""The center vector, and the three parts into which it splits the length of codes.

A sample x has several views, and each view a code z, usually of length one. With the center s = E z, the residual
r_x = E[z | x] - s of a sample and what is left, z - s - r_x, the mean squared length is a sum of three,

    E|z|^2  =  |s|^2  +  E|r_x|^2  +  v,        v = E|z - s - r_x|^2,

which is 1 for codes of length one: what all codes share, what tells samples apart, and what tells views of one sample
apart. Total collapse is (1, 0, 0).

Source: Jha, Blaschko, Asano, Tuytelaars (arXiv 2402.14957); the estimators without bias are ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

from ssltheory import _validate

__all__ = ["CenterParts", "center_parts", "center_rate", "pair_parts", "unit"]


@dataclass(frozen=True)
class CenterParts:
    """The three parts of the mean squared length of codes.

    Attributes:
        center: |s|^2, squared length of the mean code.
        between: E|r_x|^2, how far the mean codes of samples are from it.
        within: v, how far codes of one sample are apart.
    """

    center: Float[np.ndarray, "..."]
    between: Float[np.ndarray, "..."]
    within: Float[np.ndarray, "..."]

    @property
    def total(self) -> Float[np.ndarray, "*batch"]:
        """Their sum, the mean squared length of a code."""
        return self.center + self.between + self.within

    @property
    def center_length(self) -> Float[np.ndarray, "*batch"]:
        """The length |s|; 0 where an estimate of its square is negative."""
        return np.sqrt(np.maximum(self.center, 0.0))

    @property
    def separation(self) -> Float[np.ndarray, "*batch"]:
        """E|r_x|^2 / (E|r_x|^2 + v): the share of the spread about s that tells samples apart; nan without any."""
        spread = self.between + self.within
        return np.where(spread > 0, self.between / np.where(spread > 0, spread, 1.0), np.nan)


def unit(z: Num[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch n"]:
    """Codes divided by their lengths. Raises ``ValueError`` for a code that is zero or not finite."""
    z = _validate.shaped("z", z, ("n",), batched=True)
    length = np.linalg.norm(z, axis=-1, keepdims=True)
    if not length.all():
        raise ValueError(f"z: {int(np.sum(length == 0))} of its {length.size} codes are zero and have no direction")
    return z / length


def center_parts(z: Num[np.ndarray, "*batch N V n"], *, unbiased: bool = False) -> CenterParts:
    r"""Split the mean squared length of the codes of N samples, V views of each.

    With the mean code :math:`\bar z_i` of a sample, and T the mean of :math:`|z|^2` over all codes,

    .. math:: |s|^2 = \Bigl|\frac1N \sum_i \bar z_i\Bigr|^2, \qquad
              E|r|^2 = \frac1N \sum_i |\bar z_i|^2 - |s|^2, \qquad v = T - \frac1N \sum_i |\bar z_i|^2.

    These sum to T exactly, and are the parts of the N V codes themselves. As estimates of the parts of a population
    they are biased: few views hide part of v in the residual, few samples part of both in the center. ``unbiased``
    takes, over different samples and over different views of one sample, the means of inner products

    .. math:: |s|^2 = \operatorname{mean}_{i \ne j} \langle \bar z_i, \bar z_j\rangle, \qquad
              |s|^2 + E|r|^2 = \operatorname{mean}_{i, a \ne b} \langle z_{ia}, z_{ib}\rangle,

    which sum to T too, and may come out slightly negative.

    Args:
        z: codes, (..., N, V, n).
        unbiased: estimate the parts of the population; needs N >= 2 and V >= 2.

    Raises:
        ValueError: no code, a non-finite entry, or too few samples or views.
    """
    z = _validate.shaped("z", z, ("N", "V", "n"), batched=True)
    samples, views = z.shape[-3:-1]
    if not z.size or (unbiased and min(samples, views) < 2):
        need = "two samples of two views" if unbiased else "one code"
        raise ValueError(f"z has shape {z.shape}; need (..., N, V, n) with at least {need}")
    total = np.mean(np.sum(z**2, axis=-1), axis=(-2, -1))
    means = z.mean(axis=-2)
    same = np.mean(np.sum(means**2, axis=-1), axis=-1)
    center = np.sum(means.mean(axis=-2) ** 2, axis=-1)
    if unbiased:
        center = (samples * center - same) / (samples - 1)
        same = (views * same - total) / (views - 1)
    return CenterParts(center, same - center, total - same)


def pair_parts(z1: Num[np.ndarray, "*batch N n"], z2: Num[np.ndarray, "*batch N n"]) -> CenterParts:
    """Unbiased parts from two views of N samples: the within part of unit codes is the invariance loss itself.

    Raises ``ValueError`` for shapes that differ, fewer than two samples, or a non-finite entry.
    """
    z1 = _validate.shaped("z1", z1, ("N", "n"), batched=True)
    z2 = _validate.shaped("z2", z2, z1.shape)
    return center_parts(np.stack([z1, z2], axis=-2), unbiased=True)


def center_rate(
    z: Num[np.ndarray, "*batch N n"], gradient: Num[np.ndarray, "*batch N n"]
) -> Float[np.ndarray, "*batch"]:
    r"""Speed at which the length of the center changes when every code goes down its own gradient.

    .. math:: \frac{d|s|}{dt} = -\Bigl\langle \frac{s}{|s|}, \sum_i g_i \Bigr\rangle, \qquad
              \dot z_i = -N g_i, \quad s = \frac1N \sum_i z_i

    with g the gradient of a mean over the N codes. Negative where the loss shortens the center. A network moves all
    codes together and need not follow. The gradient of a loss that normalises codes has no part along them; another is
    first projected to the sphere by the caller. Raises ``ValueError`` for shapes that differ, a non-finite entry, or a
    center that is zero.
    """
    z = _validate.shaped("z", z, ("N", "n"), batched=True)
    gradient = _validate.shaped("gradient", gradient, z.shape)
    return -np.sum(unit(z.mean(axis=-2)) * gradient.sum(axis=-2), axis=-1)
