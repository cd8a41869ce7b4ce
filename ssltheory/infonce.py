r"""Contrastive losses that compare an anchor with many negatives, for linear codes f(x) = q^T x.

    InfoNCE    L = mean_i [ -f(x_i) . f(x_i^+) + log mean_j exp f(x_i) . f(x_j^-) ]        (temperature 1)
    in batch   L = mean_i [ -s_i + log (1/N) (exp s_i + sum_{j != i} exp f(x_i) . f(x_j)) ],  s_i = f(x_i) . f(x_i^+)
    spectral   L = -2 mean_i f(x_i) . f(x_i^+) + mean_ij (f(x_i) . f(x_j^-))^2

and, without negatives, minus the mean cosine between the two codes of a pair.

Every loss of S = q q^T alone has the flow q' = -2 Gamma(q) q, with one matrix for all components of the code. For
InfoNCE it is the contrast matrix of the triples whose negative is the mean of all negatives with their softmax weights.

Sources: van den Oord, Li, Vinyals (arXiv 1807.03748); HaoChen et al. (arXiv 2106.04156); Chen et al. (2020). The
Gaussian closed form and its identity with the spectral loss are ours.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.contrast import contrast_matrix
from ssltheory.flow import follow, sample_times
from ssltheory.trajectory import Outcome

__all__ = [
    "Loss",
    "component_reach",
    "cosine_infonce",
    "cosine_pairs",
    "gaussian_infonce",
    "in_batch_infonce",
    "limit_gram",
    "many_negatives",
    "many_negatives_flow",
]

Loss = Literal["infonce", "spectral"]


def many_negatives(
    q: Float[np.ndarray, "m n"],
    x: Float[np.ndarray, "N m"],
    positive: Float[np.ndarray, "N m"],
    negative: Float[np.ndarray, "M m"],
    *,
    loss: Loss = "infonce",
) -> tuple[float, Float[np.ndarray, "m m"]]:
    """The loss on samples and its matrix Gamma(q): the gradient by q is 2 Gamma(q) q.

    All M negatives serve every anchor. Raises ``ValueError`` for shapes that do not fit or another loss.
    """
    _validate.one_of("loss", loss, get_args(Loss))
    x = _validate.shaped("x", x, ("N", "m"))
    positive = _validate.shaped("positive", positive, x.shape)
    negative = _validate.shaped("negative", negative, ("M", x.shape[1]))
    q = _validate.shaped("q", q, (x.shape[1], "n"))
    code = x @ q
    agree = float(np.mean(np.sum(code * (positive @ q), axis=1)))
    scores = code @ (negative @ q).T
    if loss == "spectral":
        pull = contrast_matrix(x, 2 * positive, 2 * (scores @ negative) / len(negative))
        return float(np.mean(scores**2)) - 2 * agree, pull
    top = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - top)
    total = weights.mean(axis=1, keepdims=True)
    value = float(np.mean(np.log(total) + top)) - agree
    return value, contrast_matrix(x, positive, weights @ negative / (len(negative) * total))


def in_batch_infonce(
    q: Float[np.ndarray, "m n"], x: Float[np.ndarray, "N m"], positive: Float[np.ndarray, "N m"]
) -> tuple[float, Float[np.ndarray, "m m"]]:
    """InfoNCE in its usual form, with the positive in the denominator and the other anchors as negatives; and Gamma(q).

    Raises ``ValueError`` for shapes that do not fit or fewer than two anchors.
    """
    x = _validate.shaped("x", x, ("N", "m"))
    positive = _validate.shaped("positive", positive, x.shape)
    _validate.count("anchors", len(x), 2)
    q = _validate.shaped("q", q, (x.shape[1], "n"))
    code = x @ q
    agree = np.sum(code * (positive @ q), axis=1)
    scores = code @ code.T
    np.fill_diagonal(scores, agree)  # in its own row an anchor meets its positive, not itself
    top = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - top)
    total = weights.mean(axis=1, keepdims=True)
    value = float(np.mean(np.log(total) + top)) - float(np.mean(agree))
    weights /= len(x) * total
    own = np.diag(weights).copy()
    np.fill_diagonal(weights, 0.0)
    return value, contrast_matrix(x, positive, weights @ x + own[:, None] * positive)


def cosine_pairs(
    q: Float[np.ndarray, "m n"], x: Float[np.ndarray, "N m"], positive: Float[np.ndarray, "N m"]
) -> tuple[float, Float[np.ndarray, "m m"]]:
    """The loss -mean cos(f(x_i), f(x_i^+)) of pairs without negatives, and its matrix Gamma(q).

    The loss does not change with the size of q, so that tr(q^T Gamma(q) q) = 0 and the flow keeps |q|. A code of rank
    one has cosines 1 and -1 only, and is at rest. Raises ``ValueError`` for shapes that do not fit, or a view whose
    code is zero.
    """
    x = _validate.shaped("x", x, ("N", "m"))
    positive = _validate.shaped("positive", positive, x.shape)
    q = _validate.shaped("q", q, (x.shape[1], "n"))
    a, b = _unit_codes(q, x=x, positive=positive)
    agree = np.sum((a @ q) * (b @ q), axis=1)
    lengths = (a.T * agree) @ a + (b.T * agree) @ b
    return -float(np.mean(agree)), contrast_matrix(a, b) + lengths / (2 * len(x))


def cosine_infonce(
    q: Float[np.ndarray, "m n"],
    x: Float[np.ndarray, "N m"],
    positive: Float[np.ndarray, "N m"],
    negative: Float[np.ndarray, "M m"],
    *,
    temperature: float = 0.5,
) -> tuple[float, Float[np.ndarray, "m m"]]:
    """InfoNCE on codes of length one, with scores cos(f(x), f(y)) / ``temperature``, and its matrix Gamma(q).

    The loss does not change with the size of q, so that tr(q^T Gamma(q) q) = 0 and the flow keeps |q|. Raises
    ``ValueError`` for shapes that do not fit, a temperature <= 0, or a view whose code is zero.
    """
    x = _validate.shaped("x", x, ("N", "m"))
    positive = _validate.shaped("positive", positive, x.shape)
    negative = _validate.shaped("negative", negative, ("M", x.shape[1]))
    q = _validate.shaped("q", q, (x.shape[1], "n"))
    temperature = _validate.scalar("temperature", temperature, _validate.positive)
    a, b, e = _unit_codes(q, x=x, positive=positive, negative=negative)
    agree = np.sum((a @ q) * (b @ q), axis=1)
    cosines = (a @ q) @ (e @ q).T
    weights = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / temperature)
    total = weights.mean(axis=1, keepdims=True)
    value = float(np.mean(np.log(total[:, 0]) + (cosines.max(axis=1) - agree) / temperature))
    weights = weights / (total * e.shape[0])
    pull = contrast_matrix(a, b, weights @ e)
    # What the lengths give back: each score loses its own size along both of its views.
    back = agree - np.sum(weights * cosines, axis=1)
    onto = np.mean(weights * cosines, axis=0)
    lengths = (a.T * back) @ a / len(a) + (b.T * agree) @ b / len(a) - (e.T * onto) @ e
    return value, (pull + lengths / 2) / temperature


def gaussian_infonce(
    q: Float[np.ndarray, "m n"], X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"]
) -> tuple[float, Float[np.ndarray, "m m"]]:
    r"""InfoNCE for centred Gaussian views and infinitely many negatives, and its matrix Gamma(q).

    .. math:: L = -\operatorname{tr}(q^\top Y q) + \tfrac12 \operatorname{tr}\bigl((q^\top X q)^2\bigr), \qquad
              \Gamma(q) = -\tfrac12 (Y + Y^\top) + X q q^\top X

    with X the second moment of a view and Y that of the two. It is half the spectral loss, of views of any law. Raises
    ``ValueError`` for shapes that do not fit. Ours.
    """
    X = _validate.symmetric("X", _validate.shaped("X", X, ("m", "m")))
    Y = _validate.shaped("Y", Y, X.shape)
    q = _validate.shaped("q", q, (len(X), "n"))
    moved = X @ q
    gram = q.T @ moved
    value = -float(np.sum(q * (Y @ q))) + float(np.sum(gram * gram)) / 2
    return value, moved @ moved.T - (Y + Y.T) / 2


def limit_gram(X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], n: int) -> Float[np.ndarray, "m m"]:
    r"""S = q q^T at the minimum of :func:`gaussian_infonce` for codes of n numbers, which almost every start reaches.

    .. math:: X^{1/2} S X^{1/2} = \sum_{k \le n,\; y_k > 0} y_k\, w_k w_k^\top

    with y_1 >= y_2 >= ... the eigenvalues of the symmetric part of X^{-1/2} Y X^{-1/2} and w_k its eigenvectors. Its
    rank is the smaller of n and the number of positive y_k. Raises ``ValueError`` for shapes, n < 1, or an X that is
    not positive definite. Ours.
    """
    X = _validate.positive_definite("X", _validate.shaped("X", X, ("m", "m")))
    Y, n = _validate.shaped("Y", Y, X.shape), _validate.count("n", n)
    values, V = np.linalg.eigh(X)
    whiten = (V / np.sqrt(values)) @ V.T
    inner = whiten @ (Y + Y.T) @ whiten / 2
    y, W = np.linalg.eigh((inner + inner.T) / 2)
    y, W = y[::-1][:n], W[:, ::-1][:, :n]
    back = whiten @ W
    return (back * np.clip(y, 0, None)) @ back.T


def component_reach(
    matrix: Callable[[np.ndarray], Float[np.ndarray, "m m"]],
    q: Float[np.ndarray, "m n"],
    push: Float[np.ndarray, " m"],
    *,
    step: float = 1e-6,
) -> float:
    """How much the velocity of a code's first component changes if ``push`` moves the second, over the first itself.

    The velocity is -2 Gamma(q) q, with ``matrix`` giving Gamma(q); zero means that the components are decoupled. Finite
    differences of length ``step``. Raises ``ValueError`` for shapes that do not fit or fewer than two components.
    """
    q = _validate.shaped("q", q, ("m", "n"))
    push = _validate.shaped("push", push, (len(q),))
    if q.shape[1] < 2:
        raise ValueError(f"q has {q.shape[1]} component; need two")

    def speed(state: np.ndarray) -> np.ndarray:
        return (-2 * matrix(state) @ state)[:, 0]

    moved = [speed(q + step * np.outer(push, unit)) - speed(q) for unit in np.eye(q.shape[1])[:2]]
    return float(np.linalg.norm(moved[1]) / np.linalg.norm(moved[0]))


def many_negatives_flow(
    matrix: Callable[[np.ndarray], Float[np.ndarray, "m m"]],
    q: Float[np.ndarray, "m n"],
    *,
    duration: float,
    samples: int | Float[np.ndarray, " T"] = 201,
    speed_tol: float | None = None,
    rtol: float = 1e-9,
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, "T m n"], Outcome]:
    """Integrate q' = -2 Gamma(q) q, with ``matrix`` giving Gamma(q); times, states, and whether it came to rest.

    Converged: the norm of the velocity fell to ``speed_tol``. Raises ``ValueError`` for a q that is no matrix, and for
    numbers that are not positive.
    """
    q = _validate.shaped("q", q, ("m", "n"))
    duration, rtol = (_validate.scalar(k, v, _validate.positive) for k, v in (("duration", duration), ("rtol", rtol)))
    tol = None if speed_tol is None else _validate.scalar("speed_tol", speed_tol, _validate.positive)

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        state = flat.reshape(q.shape)
        return (-2 * matrix(state) @ state).ravel()

    def at_rest(t: float, flat: np.ndarray) -> float:
        return 1.0 if tol is None else float(np.log(max(float(np.linalg.norm(velocity(t, flat))), 1e-300) / tol))

    times = sample_times(samples, duration)
    path = follow(velocity, q.ravel(), times, at_rest=at_rest, rtol=rtol, atol=rtol * 1e-3, norm_limit=1e6)
    ends = {"diverged": Outcome.DIVERGED, "at rest": Outcome.CONVERGED}
    return path.t, path.states.reshape(-1, *q.shape), ends.get(path.end, Outcome.UNFINISHED)


def _unit_codes(q: np.ndarray, **views: np.ndarray) -> list[np.ndarray]:
    """The views, each divided by the length of its code."""
    units = []
    for name, each in views.items():
        size = np.linalg.norm(each @ q, axis=1, keepdims=True)
        if not size.all():
            raise ValueError(f"{name} has a view whose code is zero, and a zero has no direction")
        units.append(each / size)
    return units
