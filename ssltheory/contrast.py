r"""Dot-product losses on triples of views: all that a linear code sees of the data is one symmetric matrix.

    contrastive        L = mean_i f(x_i) . (f(x_i^-) - f(x_i^+))
    non-contrastive    L = - mean_i f(x_i) . f(x_i^+)

x is the anchor, x^+ its positive and x^- its negative view. For f(x) = q^T x both are tr(q^T Gamma q), with Gamma the
contrast matrix. We average over the N anchors where our source sums: its matrix is N times ours.

Source: Esser, Mukherjee, Ghoshdastidar (arXiv 2309.02011), equations (1), (2) and (7).
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate
from ssltheory.digits import augment, load_digits

__all__ = [
    "centred_triples",
    "contrast_matrix",
    "digit_triples",
    "dot_loss",
    "expected_contrast",
    "linear_loss",
    "moon_triples",
    "sorted_eigen",
]


Data = Literal["moons", "digits"]


def contrast_matrix(
    x: Float[np.ndarray, "*batch N m"],
    positive: Float[np.ndarray, "*batch N m"],
    negative: Float[np.ndarray, "*batch N m"] | None = None,
) -> Float[np.ndarray, "*batch m m"]:
    r"""The symmetric matrix Gamma for which the loss of f(x) = q^T x is tr(q^T Gamma q).

    .. math:: \Gamma = \tfrac12 \operatorname{mean}_i \bigl( x_i d_i^\top + d_i x_i^\top \bigr)

    with d_i = x_i^- - x_i^+ for the contrastive loss, and d_i = -x_i^+ without ``negative``. In the squared unit of the
    views. Raises ``ValueError`` for arrays that are not finite or not of equal shape (..., N, m). Source: equation (7).
    """
    x, difference = _triples(x, positive, negative)
    product = x.mT @ difference / x.shape[-2]
    return (product + product.mT) / 2


def expected_contrast(
    covariance: Float[np.ndarray, "m m"], mean: Float[np.ndarray, " m"] | None = None, *, negatives: bool = True
) -> Float[np.ndarray, "m m"]:
    """The contrast matrix in expectation, for x^+ = x + centred noise and an independent x^-: -Cov(x).

    Without negatives it is -E[x x^T] = -(Cov(x) + mean mean^T). Either is negative semi-definite. Raises ``ValueError``
    for a ``covariance`` that is not symmetric positive semi-definite, or a ``mean`` of another length.
    """
    covariance = _validate.positive_semidefinite("covariance", _validate.shaped("covariance", covariance, ("m", "m")))
    mean = np.zeros(len(covariance)) if mean is None else _validate.shaped("mean", mean, (len(covariance),))
    return -covariance if negatives else -(covariance + np.outer(mean, mean))


def dot_loss(
    code: Float[np.ndarray, "*batch N n"],
    positive: Float[np.ndarray, "*batch N n"],
    negative: Float[np.ndarray, "*batch N n"] | None = None,
) -> Float[np.ndarray, "*batch"]:
    """The loss from the codes of the views: mean_i f(x_i).(f(x_i^-) - f(x_i^+)), or -mean_i f(x_i).f(x_i^+).

    Raises ``ValueError`` for arrays that are not finite or not of equal shape (..., N, n). Source: equations (1), (2).
    """
    code, difference = _triples(code, positive, negative)
    return np.sum(code * difference, axis=(-2, -1)) / code.shape[-2]


def linear_loss(q: Float[np.ndarray, "*batch m n"], gamma: Float[np.ndarray, "..."]) -> Float[np.ndarray, "*batch"]:
    """The loss tr(q^T Gamma q) of the code f(x) = q^T x.

    ``gamma`` is the contrast matrix (m, m), or its eigenvalues (m,), with q in its eigenvectors. Raises ``ValueError``
    for a q that does not fit. Source: equation (8).
    """
    gamma = _validate.finite("gamma", gamma)
    q = _validate.shaped("q", q, (gamma.shape[-1], "n"), batched=True)
    return np.sum(q * (gamma[:, None] * q if gamma.ndim == 1 else gamma @ q), axis=(-2, -1))


def sorted_eigen(gamma: Float[np.ndarray, "m m"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "m m"]]:
    """Eigenvalues of a contrast matrix, the most negative first, and its eigenvectors as columns V: Gamma = V diag V^T.

    Raises ``ValueError`` unless ``gamma`` is square and symmetric.
    """
    values, vectors = np.linalg.eigh(_validate.symmetric("gamma", _validate.shaped("gamma", gamma, ("m", "m"))))
    return values, vectors


def moon_triples(
    rng: np.random.Generator, count: int = 200, *, spread: float = 0.1, noise: float = 0.1
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N 2"], Float[np.ndarray, "N 2"], Int[np.ndarray, " N"]]:
    """Two half moons: anchors, positives x + ``noise`` * Gaussian, negatives drawn anew, and the anchors' moon.

    ``spread`` is scikit-learn's own noise about the moons. Raises ``ValueError`` for ``count`` < 2 or a negative
    amplitude. Source: Example 1, which does not print its amplitudes.
    """
    from sklearn.datasets import make_moons

    count = _validate.count("count", count, 2)
    spread = _validate.scalar("spread", spread, _validate.nonnegative)
    noise = _validate.scalar("noise", noise, _validate.nonnegative)
    draws = [make_moons(count, noise=spread, random_state=int(rng.integers(2**31))) for _ in range(2)]
    (x, labels), (negative, _) = draws
    negative = negative[rng.permutation(count)]
    return x, x + noise * rng.standard_normal(x.shape), negative, labels.astype(np.int64)


def digit_triples(
    rng: np.random.Generator, classes: tuple[int, ...] | None = None, **amplitudes: float
) -> tuple[Float[np.ndarray, "N 64"], Float[np.ndarray, "N 64"], Float[np.ndarray, "N 64"], Int[np.ndarray, " N"]]:
    """Real digits as anchors, one random view of each as its positive, another digit as its negative, and the labels.

    ``classes`` keeps the digits of those classes, all of them if None; negatives are a random cyclic shift, so that no
    anchor is its own. ``amplitudes`` go to :func:`ssltheory.digits.augment`. Raises ``ValueError`` for a class that is
    none of 0 to 9, or none at all.
    """
    images, labels = load_digits()
    if classes is not None:
        if not classes or not set(classes) <= set(range(10)):
            raise ValueError(f"classes: got {classes!r}, need digits from 0 to 9")
        keep = np.isin(labels, classes)
        images, labels = images[keep], labels[keep]
    count = len(images)
    positive = augment(images, rng, **amplitudes).reshape(count, -1)
    x = images.reshape(count, -1)
    order = rng.permutation(count)
    negative = np.empty_like(x)
    negative[order] = x[np.roll(order, int(rng.integers(1, count)))]
    return x, positive, negative, labels


def centred_triples(
    rng: np.random.Generator, data: Data, *, count: int | None = None, directions: int | None = None
) -> tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"], Float[np.ndarray, "N m"], Int[np.ndarray, " N"]]:
    """Triples of half moons or of all digits with the mean of the anchors subtracted from every view, and the labels.

    ``directions`` keeps that many principal directions of all anchors, ``count`` then a random choice of triples, whose
    own mean is subtracted. Raises ``ValueError`` for other data, or more of either than there are.
    """
    _validate.one_of("data", data, get_args(Data))
    *views, labels = moon_triples(rng) if data == "moons" else digit_triples(rng)
    if directions is not None:
        directions, largest = _validate.count("directions", directions), views[0].shape[1]
        if directions > largest:
            raise ValueError(f"directions must be at most {largest}; got {directions}")
        axes = np.linalg.svd(views[0] - views[0].mean(axis=0), full_matrices=False)[2][:directions].T
        views = [v @ axes for v in views]
    if count is not None:
        if _validate.count("count", count) > len(labels):
            raise ValueError(f"count must be at most {len(labels)}; got {count}")
        pick = rng.choice(len(labels), count, replace=False)
        views, labels = [v[pick] for v in views], labels[pick]
    x, positive, negative = (v - views[0].mean(axis=0) for v in views)
    return x, positive, negative, labels


def _triples(x: np.ndarray, positive: np.ndarray, negative: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    x = _validate.shaped("x", x, ("N", "m"), batched=True)
    if not x.size:
        raise ValueError(f"x has shape {x.shape}; need at least one sample of at least one dimension")
    positive = _validate.shaped("positive", positive, x.shape)
    return x, -positive if negative is None else _validate.shaped("negative", negative, x.shape) - positive
