r"""The minimum of tr(q^T Gamma q) under four constraints, and which q two frames of a given width can make.

    frobenius   |q|_F <= 1
    nuclear     sum of singular values of q <= 1: what |W_1|_F |W_2|_F <= 1, or |W_1|_F^2 + |W_2|_F^2 <= 2, allows
    operator    |q|_2 <= 1: what |W_1|_2 <= 1, |W_2|_2 <= 1 allows, if the width is at least min(m, n)
    frames      q = W_1^T W_2 with W_1^T W_1 = I, W_2^T W_2 = I of width h: |q|_2 <= 1, and at least m + n - h singular
                values are 1

q is m x n, Gamma has the eigenvalues gamma_1 <= gamma_2 <= ... Source: Esser, Mukherjee, Ghoshdastidar
(arXiv 2309.02011), Propositions 2 and 3. The part that the width plays is ours.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.orthogonal_flow import network_gradients
from ssltheory.unconstrained import naive_flow

__all__ = [
    "Constraint",
    "Minimum",
    "constrained_minimum",
    "descend_bounded",
    "descend_constrained",
    "forced_ones",
    "frames_with_product",
    "least_width",
    "project",
    "sphere_flow",
]

Constraint = Literal["frobenius", "nuclear", "operator", "frames"]
"""The four sets of the module's docstring."""


class Minimum(NamedTuple):
    """The least ``loss`` and the ``singular`` values of a q that has it: its left singular vectors are v_1, v_2, ..."""

    loss: float
    singular: Float[np.ndarray, " r"]


def forced_ones(h: int, m: int, n: int) -> int:
    """How many singular values of q = W_1^T W_2 must be 1 for frames of width h: max(m + n - h, 0).

    The Gram matrix [[I, q], [q^T, I]] of the m + n columns has the eigenvalues 1 + s_i, 1 - s_i and ones, and its rank
    is at most h. Raises ``ValueError`` for h < max(m, n), where there are no such frames. Ours.
    """
    h, m, n = (_validate.count(name, value) for name, value in (("h", h), ("m", m), ("n", n)))
    if h < max(m, n):
        raise ValueError(f"h must be at least max(m, n) = {max(m, n)}, or there are no frames; got {h}")
    return max(m + n - h, 0)


def frames_with_product(
    q: Float[np.ndarray, "m n"], h: int, *, tol: float = 1e-9
) -> tuple[Float[np.ndarray, "h m"], Float[np.ndarray, "h n"]]:
    """Two frames of width h with W_1^T W_2 = q, from the Gram matrix of their columns.

    Raises ``ValueError`` if there are none: a singular value exceeds 1, or fewer than ``forced_ones(h, m, n)`` of them
    are 1, by more than ``tol``. Ours.
    """
    q = _validate.shaped("q", q, ("m", "n"))
    m, n = q.shape
    forced, values = forced_ones(h, m, n), np.linalg.svd(q, compute_uv=False)
    if values[0] > 1 + tol or (forced and values[forced - 1] < 1 - tol):
        raise ValueError(
            f"q has the singular values {np.round(values, 6)}; need all at most 1 and the first {forced} equal to 1"
        )
    gram = np.block([[np.eye(m), q], [q.T, np.eye(n)]])
    squares, vectors = np.linalg.eigh(gram)
    rows = (vectors * np.sqrt(squares.clip(0))).T[::-1][:h]
    W = np.zeros((h, m + n))
    W[: len(rows)] = rows
    return W[:, :m], W[:, m:]


def constrained_minimum(
    gamma: Float[np.ndarray, " m"], n: int, constraint: Constraint, h: int | None = None
) -> Minimum:
    r"""The least loss under a constraint, in closed form.

    .. math:: \min(\gamma_1, 0), \qquad \sum_{i \le \min(k, n, h)} \gamma_i, \qquad
              \sum_{i \le \max(m + n - h,\, \min(k, n))} \gamma_i

    for ``"frobenius"`` and ``"nuclear"``; ``"operator"``; ``"frames"``; with k negative eigenvalues. Where other q have
    the same loss (multiple or zero eigenvalues), that with the fewest directions is given.

    Args:
        gamma: eigenvalues of the contrast matrix, in any order.
        n: dimension of the code.
        h: width; needed for ``"frames"``, without limit for ``"operator"`` if None.

    Raises ``ValueError`` for another constraint, or for frames without a width or with one below max(m, n).
    Source: Propositions 2 and 3; the frames are ours.
    """
    _validate.one_of("constraint", constraint, get_args(Constraint))
    gamma = np.sort(_validate.shaped("gamma", gamma, ("m",)))
    n, m = _validate.count("n", n), len(gamma)
    size = min(m, n)
    negative = int((gamma < 0).sum())
    if constraint == "frames":
        if h is None:
            raise ValueError("h: got None, need the width of the frames")
        kept = max(forced_ones(h, m, n), min(negative, n))
    elif constraint == "operator":
        kept = min(negative, n, m if h is None else _validate.count("h", h))
    else:
        kept = min(negative, 1)
    return Minimum(float(gamma[:kept].sum()), (np.arange(size) < kept).astype(float))


def least_width(gamma: Float[np.ndarray, " m"], n: int, *, minimisers: bool = False) -> int:
    """The least width from which on frames lose nothing against the bound |q|_2 <= 1: max(m, m + n - k_0).

    k_0 counts the eigenvalues <= 0. From it on the least losses agree; with ``minimisers`` the q that have it agree
    too, for which k_0 counts the negative eigenvalues only. It is at least n, since k_0 <= m. Raises ``ValueError`` for
    n < 1 or no eigenvalue. Ours.
    """
    gamma = _validate.shaped("gamma", gamma, ("m",))
    n, m = _validate.count("n", n), len(gamma)
    count = int((gamma < 0).sum() if minimisers else (gamma <= 0).sum())
    return max(m, m + n - count)


def project(q: Float[np.ndarray, "*batch m n"], constraint: Constraint) -> Float[np.ndarray, "*batch m n"]:
    """The nearest matrix that satisfies a constraint on q alone: all but ``"frames"``.

    Raises ``ValueError`` for ``"frames"``, whose set is not convex, or another name.
    """
    _validate.one_of("constraint", constraint, ("frobenius", "nuclear", "operator"))
    q = _validate.shaped("q", q, ("m", "n"), batched=True)
    if constraint == "frobenius":
        return q / np.maximum(np.linalg.norm(q, axis=(-2, -1)), 1.0)[..., None, None]
    left, values, right = np.linalg.svd(q, full_matrices=False)
    if constraint == "operator":
        kept = np.minimum(values, 1.0)
    else:
        # Soft thresholding at the level that brings the sum to 1 (projection on a simplex).
        levels = (np.cumsum(values, axis=-1) - 1) / np.arange(1, values.shape[-1] + 1)
        last = (values > levels).sum(axis=-1, keepdims=True) - 1
        level = np.maximum(np.take_along_axis(levels, last, axis=-1), 0.0)
        kept = np.maximum(values - level, 0.0)
    return (left * kept[..., None, :]) @ right


def descend_constrained(
    q: Float[np.ndarray, "*batch m n"],
    gamma: Float[np.ndarray, "m m"],
    constraint: Constraint,
    *,
    step: float,
    steps: int,
) -> Float[np.ndarray, "*batch m n"]:
    """Projected gradient descent on tr(q^T Gamma q): q <- project(q - step * 2 Gamma q), the last state.

    Raises ``ValueError`` as :func:`project`, for ``step`` <= 0 or ``steps`` < 1.
    """
    step, steps = _validate.scalar("step", step, _validate.positive), _validate.count("steps", steps)
    gamma = _validate.symmetric("gamma", _validate.shaped("gamma", gamma, ("m", "m")))
    q = _validate.shaped("q", q, (len(gamma), "n"), batched=True)
    for _ in range(steps):
        q = project(q - 2 * step * gamma @ q, constraint)
    return q


def descend_bounded(
    W1: Float[np.ndarray, "*batch h m"],
    W2: Float[np.ndarray, "*batch h n"],
    gamma: Float[np.ndarray, "m m"],
    *,
    step: float,
    steps: int,
) -> tuple[Float[np.ndarray, "*batch h m"], Float[np.ndarray, "*batch h n"]]:
    """Projected gradient descent on both weights under |W_1|_2 <= 1, |W_2|_2 <= 1: W <- project(W - step G), the last.

    The starts are projected first. Raises ``ValueError`` as :func:`ssltheory.orthogonal_flow.network_gradients`, for
    ``step`` <= 0 or ``steps`` < 1. Source: the first form of Proposition 3.
    """
    step, steps = _validate.scalar("step", step, _validate.positive), _validate.count("steps", steps)
    W1, W2 = project(W1, "operator"), project(W2, "operator")
    for _ in range(steps):
        first, second = network_gradients(W1, W2, gamma)
        W1, W2 = project(W1 - step * first, "operator"), project(W2 - step * second, "operator")
    return W1, W2


def sphere_flow(
    q: Float[np.ndarray, "m n"], gamma: Float[np.ndarray, "m m"], times: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T m n"]:
    r"""The gradient flow of tr(q^T Gamma q) on the sphere |q|_F = 1, in closed form.

    .. math:: q' = -2 \Gamma q + 2 \operatorname{tr}(q^\top \Gamma q)\, q, \qquad
              q(t) = e^{-2\Gamma t} q_0 \,/\, |e^{-2 \Gamma t} q_0|_F

    It is the flow without constraint, divided by its norm, and starts at the normalised ``q``. Raises ``ValueError``
    for shapes that do not fit or a start that is zero. Ours.
    """
    gamma = _validate.symmetric("gamma", _validate.shaped("gamma", gamma, ("m", "m")))
    if not np.any(q):
        raise ValueError("q must not be zero: it has no direction")
    # A multiple of the identity changes only the size; with this one nothing overflows.
    path = naive_flow(q, gamma - np.linalg.eigvalsh(gamma)[0] * np.eye(len(gamma)), times)
    return path / np.linalg.norm(path, axis=(1, 2))[:, None, None]
