"""How far a set of embeddings has collapsed, and what can still be read from it.

Embeddings are the rows of an array of shape (..., N, n): N samples, n features, any leading batch. No single number
here detects every collapse: those that ignore scale cannot see embeddings that all shrink to one point, and those
that see scale cannot see rank. The book reports them together.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Integer, Num

from ssltheory import _validate

__all__ = [
    "center_norm",
    "effective_rank",
    "feature_spread",
    "few_label_accuracy",
    "knn_accuracy",
    "linear_probe_accuracy",
    "participation_ratio",
    "principal_coordinates",
    "spectrum",
    "whitened",
]


def spectrum(z: Num[np.ndarray, "*batch N n"], *, centred: bool = True) -> Float[np.ndarray, "*batch n"]:
    r"""Eigenvalues, in descending order, of the second moments of embeddings.

    .. math:: \Sigma = \frac1N \sum_i (z_i - \bar z)(z_i - \bar z)^\top

    with :math:`\bar z` the mean embedding when ``centred`` and zero otherwise. All eigenvalues vanish in total
    collapse; some of them vanish in dimensional collapse.

    Args:
        z: embeddings, shape (..., N, n).
        centred: subtract the mean embedding (covariance) or not (second moments).

    Raises:
        ValueError: ``z`` has fewer than two dimensions, no sample, no feature, or a non-finite entry.
    """
    z = _embeddings("z", z)
    if centred:
        z = z - z.mean(axis=-2, keepdims=True)
    # Squared singular values keep the relative accuracy that the eigenvalues of a product would lose.
    squares = np.linalg.svd(z, compute_uv=False) ** 2 / z.shape[-2]
    missing = z.shape[-1] - squares.shape[-1]
    return np.pad(squares, [(0, 0)] * (squares.ndim - 1) + [(0, missing)])


def effective_rank(eigenvalues: Num[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
    r"""Exponential of the entropy of a spectrum: the number of directions that embeddings fill.

    .. math:: \exp\Bigl(-\sum_k p_k \log p_k\Bigr), \qquad p_k = \lambda_k / \textstyle\sum_j \lambda_j

    It lies between 1 (one direction) and n (all alike) and ignores scale. A spectrum that is exactly zero has
    rank 0. Source: Roy and Vetterli (2007), who take singular values where we take eigenvalues.

    Args:
        eigenvalues: nonnegative, in any order, shape (..., n).

    Raises:
        ValueError: an eigenvalue is negative or not finite.
    """
    share, total = _shares(eigenvalues)
    entropy = -np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=-1)
    return np.where(total > 0, np.exp(entropy), 0.0)


def participation_ratio(eigenvalues: Num[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
    r"""Squared sum over sum of squares of a spectrum, a second count of the directions in use.

    .. math:: \Bigl(\sum_k \lambda_k\Bigr)^2 \Big/ \sum_k \lambda_k^2

    It lies between 1 and n, never exceeds :func:`effective_rank`, and ignores scale. A spectrum that is exactly zero
    has ratio 0.

    Args:
        eigenvalues: nonnegative, in any order, shape (..., n).

    Raises:
        ValueError: an eigenvalue is negative or not finite.
    """
    share, total = _shares(eigenvalues)
    return np.where(total > 0, 1.0 / np.where(total > 0, np.sum(share**2, axis=-1), 1.0), 0.0)


def feature_spread(z: Num[np.ndarray, "*batch N n"]) -> Float[np.ndarray, "*batch"]:
    r"""Mean standard deviation of a feature, relative to the length of an embedding.

    .. math:: \frac{1}{\sqrt n} \sum_{k=1}^n \operatorname{std}(z_k) \Big/ \sqrt{\mathbb E|z|^2}

    It is 0 when all embeddings coincide and 1 when they are centred and every feature has the same variance.
    Multiplying all embeddings by one number leaves it as it is; moving them away from the origin lowers it. It is 0
    by convention where every embedding is zero.

    Args:
        z: embeddings, shape (..., N, n).

    Raises:
        ValueError: as :func:`spectrum`.
    """
    z = _embeddings("z", z)
    length = np.sqrt(np.mean(np.sum(z**2, axis=-1), axis=-1))
    deviation = z.std(axis=-2).sum(axis=-1) / np.sqrt(z.shape[-1])
    return np.where(length > 0, deviation / np.where(length > 0, length, 1.0), 0.0)


def center_norm(z: Num[np.ndarray, "*batch N n"]) -> Float[np.ndarray, "*batch"]:
    r"""Length of the mean embedding relative to the root mean square length of an embedding.

    .. math:: |\mathbb E z| \big/ \sqrt{\mathbb E |z|^2}

    It is 1 exactly when all embeddings coincide and 0 when they are centred. It is 1 by convention where every
    embedding is zero. A small value does not exclude collapse: two opposite points have centre 0.

    Args:
        z: embeddings, shape (..., N, n).

    Raises:
        ValueError: as :func:`spectrum`.
    """
    z = _embeddings("z", z)
    length = np.sqrt(np.mean(np.sum(z**2, axis=-1), axis=-1))
    center = np.linalg.norm(z.mean(axis=-2), axis=-1)
    return np.where(length > 0, np.minimum(center / np.where(length > 0, length, 1.0), 1.0), 1.0)


def principal_coordinates(
    z: Num[np.ndarray, "N n"], count: int = 2, *, like: Num[np.ndarray, "N k"] | None = None
) -> Float[np.ndarray, "N k"]:
    r"""Coordinates of centred embeddings in the subspace of their ``count`` leading principal directions.

    Their total variance is the sum of the ``count`` largest eigenvalues of :func:`spectrum`. Coordinates within the
    subspace are free up to a rotation or reflection. With ``like`` they are turned as close to those coordinates as
    possible (orthogonal Procrustes), so that a sequence of pictures does not flip; without, they are along the
    principal directions.

    Raises:
        ValueError: as :func:`spectrum`; ``count`` outside 1 to min(N, n); ``like`` not (N, ``count``).
    """
    z = _embeddings("z", z)
    if z.ndim != 2 or _validate.count("count", count) > min(z.shape):
        raise ValueError(f"count: got {count} for embeddings of shape {z.shape}, need between 1 and {min(z.shape)}")
    left, singular, _ = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    coordinates = left[:, :count] * singular[:count]
    if like is None:
        return coordinates
    like = _embeddings("like", like)
    if like.shape != coordinates.shape:
        raise ValueError(f"like: got shape {like.shape}, need {coordinates.shape}")
    # The singular vectors alone decide the turn: embeddings of vanishing size must not lose it to rounding.
    turn_left, _, turn_right = np.linalg.svd(left[:, :count].T @ (like - like.mean(axis=0)))
    return coordinates @ turn_left @ turn_right


def whitened(
    z: Num[np.ndarray, "N n"], z_test: Num[np.ndarray, "M n"]
) -> tuple[Float[np.ndarray, "N n"], Float[np.ndarray, "M n"]]:
    r"""Both sets of embeddings in principal coordinates of the first, each coordinate of the first with variance one.

    .. math:: z \mapsto \Sigma^{-1} V^\top (z - \bar z), \qquad \operatorname{Cov}(z) = V \Sigma^2 V^\top

    An invertible linear map of all embeddings changes the result by a rotation at most. Coordinates are free up to
    their sign.

    Raises:
        ValueError: as :func:`spectrum`; the sets differ in dimension, or the first does not fill its n dimensions.
    """
    z, z_test = _embeddings("z", z), _embeddings("z_test", z_test)
    if z.ndim != 2 or z_test.ndim != 2 or z.shape[1] != z_test.shape[1]:
        raise ValueError(f"need (N, n) and (M, n); got {z.shape} and {z_test.shape}")
    mean = z.mean(axis=0)
    _, singular, rows = np.linalg.svd(z - mean, full_matrices=False)
    if len(singular) < z.shape[1] or singular[-1] <= np.finfo(float).eps * max(z.shape) * singular[0]:
        raise ValueError(f"z fills fewer than its {z.shape[1]} dimensions, and cannot be whitened")
    turn = rows.T / singular * np.sqrt(len(z))
    return (z - mean) @ turn, (z_test - mean) @ turn


def knn_accuracy(
    z: Num[np.ndarray, "N n"],
    labels: Integer[np.ndarray, "N"],
    z_test: Num[np.ndarray, "M n"],
    labels_test: Integer[np.ndarray, "M"],
    *,
    neighbours: int = 5,
) -> float:
    r"""Share of test embeddings whose nearest training embeddings (Euclidean) vote for the right class.

    Unchanged by rotating, shifting or rescaling all embeddings together.

    Args:
        z, labels: training embeddings (N, n) and their classes (N,).
        z_test, labels_test: the same for the test set.
        neighbours: the number of voters, at most N.

    Raises:
        ValueError: shapes disagree, a non-finite entry, fewer than two classes, or ``neighbours`` outside 1 to N.
    """
    z, labels, z_test, labels_test = _labelled(z, labels, z_test, labels_test)
    if _validate.count("neighbours", neighbours) > len(z):
        raise ValueError(f"neighbours: got {neighbours}, need between 1 and the {len(z)} training embeddings")
    from sklearn.neighbors import KNeighborsClassifier

    return float(KNeighborsClassifier(neighbours).fit(z, labels).score(z_test, labels_test))


def linear_probe_accuracy(
    z: Num[np.ndarray, "N n"],
    labels: Integer[np.ndarray, "N"],
    z_test: Num[np.ndarray, "M n"],
    labels_test: Integer[np.ndarray, "M"],
    *,
    scale: Literal["total", "feature", "none"] = "total",
    penalty: float = 1e-3,
) -> float:
    r"""Share of test embeddings that a linear classifier, fitted to the training embeddings, puts in the right class.

    One-hot targets :math:`t_i` are fitted by ridge regression with an unpenalised intercept,

    .. math:: \min_{W, b} \frac1N \sum_i |W z_i + b - t_i|^2 + \mu |W|^2,

    and the largest output names the class. What ``scale`` undoes beforehand matters for collapsed embeddings:
    ``"none"`` leaves the embeddings, so that those of vanishing size are useless; ``"total"`` divides all features
    by one number, the root mean square length, so that rank and centre still count; ``"feature"`` standardises each
    feature, so that a direction of vanishing variance counts as much as any other.

    Args:
        z, labels: training embeddings (N, n) and their classes (N,).
        z_test, labels_test: the same for the test set.
        scale: what to divide by, computed on the training embeddings.
        penalty: the ridge penalty :math:`\mu` >= 0.

    Raises:
        ValueError: shapes disagree, a non-finite entry, fewer than two classes, an unknown ``scale``, or a negative
            ``penalty``.
    """
    z, labels, z_test, labels_test = _labelled(z, labels, z_test, labels_test)
    _validate.one_of("scale", scale, ("total", "feature", "none"))
    penalty = _validate.scalar("penalty", penalty, _validate.nonnegative)
    from sklearn.linear_model import RidgeClassifier

    factor: np.ndarray = np.ones(())
    if scale == "total":
        factor = np.sqrt(np.mean(np.sum(z**2, axis=-1)))
    elif scale == "feature":
        factor = z.std(axis=0)
    factor = np.where(factor > 0, factor, 1.0)
    probe = RidgeClassifier(alpha=penalty * len(z)).fit(z / factor, labels)
    return float(probe.score(z_test / factor, labels_test))


def few_label_accuracy(
    z: Num[np.ndarray, "S N n"],
    labels: Integer[np.ndarray, "s N"],
    z_test: Num[np.ndarray, "S M n"],
    labels_test: Integer[np.ndarray, "s M"],
    seeds: Sequence[int],
    counts: Sequence[int],
    *,
    draws: int,
    penalty: float,
) -> Float[np.ndarray, "K S"]:
    """Accuracy of a linear probe that sees few labels of each class, for S networks: the mean over draws of those.

    It is :func:`linear_probe_accuracy` with ``scale="total"``, for all networks and draws at once, which is many times
    as fast as one at a time. Which embeddings are labelled depends on the network's seed and the draw alone.

    Args:
        z, z_test: embeddings to draw from and of the test set, (S, N, n) and (S, M, n).
        labels, labels_test: their classes, a row for each network or one row for all.
        seeds: S numbers.
        counts: K numbers of labels for each class.
        draws: how many.
        penalty: the ridge penalty >= 0.

    Raises:
        ValueError: shapes disagree, a non-finite entry, a class with fewer embeddings than ``counts``, or a negative
            ``penalty``.
    """
    z = _validate.shaped("z", z, ("S", "N", "n"))
    z_test = _validate.shaped("z_test", z_test, (len(z), "M", z.shape[2]))
    penalty = _validate.scalar("penalty", penalty, _validate.nonnegative)
    if len(seeds) != len(z):
        raise ValueError(f"got {len(seeds)} seeds for {len(z)} networks")
    classes = np.unique(labels)
    labels = np.broadcast_to(labels, z.shape[:2])
    least = min(int((row == c).sum()) for row in labels for c in classes)
    if counts and max(counts) > least:
        raise ValueError(f"counts: got {tuple(counts)}, and a class has only {least} embeddings")
    truth = np.searchsorted(classes, np.broadcast_to(labels_test, z_test.shape[:2]))[:, None]
    found = []
    for k in counts:
        known = np.stack(
            [
                [code[_labelled_rows(row, classes, k, seed, d)] for d in range(draws)]
                for code, row, seed in zip(z, labels, seeds, strict=True)
            ]
        )  # (S, draws, k classes, n)
        size = np.sqrt(np.square(known).sum(axis=-1).mean(axis=-1))[..., None, None]
        size = np.where(size > 0, size, 1.0)
        mean = known.mean(axis=2, keepdims=True)
        centred, target = (known - mean) / size, np.repeat(np.eye(len(classes)), k, axis=0)
        ridge = penalty * known.shape[2] * np.eye(known.shape[3])
        weights = np.linalg.solve(centred.mT @ centred + ridge, centred.mT @ (target - target.mean(axis=0)))
        guess = np.argmax((z_test[:, None] - mean) / size @ weights, axis=-1)
        found.append((guess == truth).mean(axis=(1, 2)))
    return np.array(found)


def _labelled_rows(labels: np.ndarray, classes: np.ndarray, count: int, seed: int, draw: int) -> np.ndarray:
    rng = np.random.default_rng([seed, draw])
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), count, replace=False) for c in classes])


def _embeddings(name: str, z: Num[np.ndarray, "*batch N n"]) -> Float[np.ndarray, "*batch N n"]:
    z = _validate.shaped(name, z, ("samples", "features"), batched=True)
    if not z.size:
        raise ValueError(f"{name} has shape {z.shape}; need at least one sample of at least one feature")
    return z


def _shares(eigenvalues: Num[np.ndarray, "*batch n"]) -> tuple[np.ndarray, np.ndarray]:
    eigenvalues = _validate.nonnegative(
        "eigenvalues", _validate.shaped("eigenvalues", eigenvalues, ("n",), batched=True)
    )
    if not eigenvalues.shape[-1]:
        raise ValueError(f"eigenvalues have shape {eigenvalues.shape}; need (..., n) with n >= 1")
    largest = eigenvalues.max(axis=-1, keepdims=True)
    scaled = eigenvalues / np.where(largest > 0, largest, 1.0)
    total = scaled.sum(axis=-1)
    return scaled / np.where(total > 0, total, 1.0)[..., None], total


def _labelled(z, labels, z_test, labels_test) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    z, z_test = _embeddings("z", z), _embeddings("z_test", z_test)
    labels, labels_test = np.asarray(labels), np.asarray(labels_test)
    if z.ndim != 2 or z_test.ndim != 2 or z.shape[1] != z_test.shape[1]:
        raise ValueError(f"z and z_test: got shapes {z.shape} and {z_test.shape}, need (N, n) and (M, n)")
    for name, values, rows in (("labels", labels, len(z)), ("labels_test", labels_test, len(z_test))):
        if values.shape != (rows,):
            raise ValueError(f"{name}: got shape {values.shape}, need ({rows},), one class for each embedding")
    if len(np.unique(labels)) < 2:
        raise ValueError(f"labels: got {len(np.unique(labels))} class, need at least two")
    return z, labels, z_test, labels_test
