r"""Training under the dot-product losses when nothing holds the weights: what it does, in closed form.

A linear code f(x) = q^T x has the loss tr(q^T Gamma q), so its gradient flow is the linear equation q' = -2 Gamma q. A
kernel machine obeys the same equation in its feature space. A linear network of two layers, f(x) = W_2^T W_1 x, does
not, but closes on the three small products of its weights.

Source: Esser, Mukherjee, Ghoshdastidar (arXiv 2309.02011), Proposition 1 and Remark 3. The closed forms, the rates
with a projector and the flow of the Gram matrices are ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.flow import follow, sample_times
from ssltheory.stiefel import random_frame
from ssltheory.trajectory import Outcome

__all__ = [
    "GramPath",
    "blow_up_bound",
    "draw_gram",
    "gram_velocity",
    "kernel_flow",
    "naive_flow",
    "one_mode_blow_up",
    "pairing_matrix",
    "ratio_law",
    "two_layer_flow",
    "two_layer_kernel_norm",
]


def naive_flow(
    q: Float[np.ndarray, "m n"],
    gamma: Float[np.ndarray, "..."],
    times: Float[np.ndarray, " T"],
    *,
    projector: Float[np.ndarray, "n r"] | None = None,
) -> Float[np.ndarray, "T m n"]:
    r"""The gradient flow of tr(q^T Gamma q) from q, or with a fixed projector P of tr(P^T q^T Gamma q P).

    .. math:: q(t) = \sum_{i,k} e^{-2 \gamma_i p_k t}\, v_i v_i^\top\, q\, u_k u_k^\top

    with p_k, u_k the eigenvalues and eigenvectors of P P^T, p_k = 1 without a projector: q(t) = e^{-2 Gamma t} q.

    Args:
        q: state at time 0. gamma: contrast matrix (m, m), or its eigenvalues (m,) with q in its eigenvectors.
        times: any numbers; negative ones go back.

    Raises ``ValueError`` for shapes that do not fit. Source: Proposition 1, Remark 3.
    """
    values, V = _eigen(gamma)
    q = _validate.shaped("q", q, (len(values), "n"))
    times = _validate.shaped("times", times, ("T",))
    p, U = np.ones(q.shape[1]), np.eye(q.shape[1])
    if projector is not None:
        projector = _validate.shaped("projector", projector, (q.shape[1], "r"))
        p, U = np.linalg.eigh(projector @ projector.T)
    grown = np.exp(-2 * times[:, None, None] * np.multiply.outer(values, p)) * (V.T @ q @ U)
    return V @ grown @ U.T


def ratio_law(
    q: Float[np.ndarray, "m n"], gamma: Float[np.ndarray, "..."], times: Float[np.ndarray, " T"]
) -> Float[np.ndarray, " T"]:
    r"""What the ratio of the two largest singular values of :func:`naive_flow` tends to.

    .. math:: \frac{\sigma_2}{\sigma_1} \sim e^{-2(\gamma_2 - \gamma_1) t}\, \frac{|q_2|\,\sin\angle(q_1, q_2)}{|q_1|}

    with q_i = q^T v_i. Raises ``ValueError`` as :func:`naive_flow`, and unless gamma_1 < gamma_2, and m and n are at
    least 2. Ours.
    """
    values, V = _eigen(gamma)
    times = _validate.shaped("times", times, ("T",))
    first, second = np.argsort(values, kind="stable")[:2] if len(values) > 1 else (0, 0)
    gap = values[second] - values[first]
    q = _validate.shaped("q", q, (len(values), "n"))
    if not gap > 0 or q.shape[1] < 2:
        raise ValueError(f"need a smallest eigenvalue that is simple and two columns; got gap {gap:.6g}, {q.shape[1]}")
    one, two = (V.T @ q)[[first, second]]
    area = np.sqrt(max(one @ one * (two @ two) - (one @ two) ** 2, 0.0))
    return np.exp(-2 * gap * times) * area / (one @ one)


def pairing_matrix(count: int, *, negatives: bool = True, extra: int = 0) -> Float[np.ndarray, "P P"]:
    r"""The symmetric matrix of the loss in the codes: tr(F^T B F), with F the codes of all views, one in a row.

    The rows are the ``count`` anchors, their positives, their negatives if any, and ``extra`` views that are in no
    triple. On each triple B has the eigenvalues -1, 0, 1 times 1/(sqrt 2 N), on each pair -1 and 1 times 1/(2 N).
    Raises ``ValueError`` for ``count`` < 1 or ``extra`` < 0. Source: equations (1) and (2).
    """
    N, extra = _validate.count("count", count), _validate.count("extra", extra, 0)
    size = (3 if negatives else 2) * N
    B = np.zeros((size + extra, size + extra))
    anchor = np.arange(N)
    B[anchor, N + anchor] = -1 / (2 * N)
    if negatives:
        B[anchor, 2 * N + anchor] = 1 / (2 * N)
    return B + B.T


def kernel_flow(
    K: Float[np.ndarray, "P P"],
    pairing: Float[np.ndarray, "P P"],
    F: Float[np.ndarray, "P n"],
    times: Float[np.ndarray, " T"],
) -> Float[np.ndarray, "T P n"]:
    r"""The codes of all views under the gradient flow of a kernel machine, F' = -2 K B F.

    .. math:: F(t) = F + R\, \frac{e^{-2 H t} - 1}{H}\, R B F, \qquad R = K^{1/2},\quad H = R B R

    which is e^{-2 K B t} F, and serves singular kernel matrices too. New points belong in K, with zero rows in B.

    Args:
        K: kernel of all views, positive semi-definite. pairing: B, from :func:`pairing_matrix`.
        F: their codes at time 0. times: any numbers.

    Raises ``ValueError`` for shapes that do not fit or a K that is no kernel matrix. Source: equations (4), (5).
    """
    K = _validate.positive_semidefinite("K", _validate.shaped("K", K, ("P", "P")))
    B = _validate.symmetric("pairing", _validate.shaped("pairing", pairing, K.shape))
    F = _validate.shaped("F", F, (len(K), "n"))
    times = _validate.shaped("times", times, ("T",))
    values, V = np.linalg.eigh(K)
    R = (V * np.sqrt(np.clip(values, 0, None))) @ V.T
    h, U = np.linalg.eigh(R @ B @ R)
    z = -2 * np.multiply.outer(times, h)
    grown = np.where(np.abs(z) > 0, np.expm1(z) / np.where(np.abs(z) > 0, z, 1.0), 1.0) * (-2 * times[:, None])
    return F + (R @ U) @ (grown[..., None] * (U.T @ (R @ (B @ F))))


@dataclass(frozen=True)
class GramPath:
    """A trajectory of T states of a linear network: ``G1`` = W_1^T W_1, ``q`` = W_1^T W_2, ``G2`` = W_2^T W_2."""

    times: Float[np.ndarray, " T"]
    G1: Float[np.ndarray, "T m m"]
    q: Float[np.ndarray, "T m n"]
    G2: Float[np.ndarray, "T n n"]
    outcome: Outcome


def gram_velocity(
    G1: Float[np.ndarray, "m m"],
    q: Float[np.ndarray, "m n"],
    G2: Float[np.ndarray, "n n"],
    gamma: Float[np.ndarray, "m m"],
) -> tuple[Float[np.ndarray, "m m"], Float[np.ndarray, "m n"], Float[np.ndarray, "n n"]]:
    """The time derivatives of a linear network's products while both layers follow the gradient of tr(q^T Gamma q).

    W_1' = -2 W_2 q^T Gamma and W_2' = -2 W_1 Gamma q give, for any width,
    G1' = -2 (Gamma S + S Gamma) with S = q q^T, q' = -2 (Gamma q G2 + G1 Gamma q), G2' = -4 q^T Gamma q. Ours.
    """
    force = gamma @ q
    outer, inner = force @ q.T, q.T @ force
    return -2 * (outer + outer.T), -2 * (force @ G2 + G1 @ force), -2 * (inner + inner.T)


def draw_gram(
    rng: np.random.Generator, h: int, m: int, n: int, *, frames: bool = True
) -> tuple[Float[np.ndarray, "m m"], Float[np.ndarray, "m n"], Float[np.ndarray, "n n"]]:
    """Draw the products G1, q, G2 of a random linear network of width h: of frames, or of Gaussian weights, var 1/h.

    The second has the law of W^T W / h with standard normal W, drawn by its Cholesky factor (Bartlett). The network is
    f(x) = W_2^T W_1 x without a factor; its flow is that of standard normal weights with the factor h^{-1/2}, weights
    and code divided by sqrt(h), at the same times and with the same kernel. Raises ``ValueError`` for h < m or n with
    frames, h < m + n else.
    """
    h, m, n = (_validate.count(k, v) for k, v in (("h", h), ("m", m), ("n", n)))
    if frames:
        W1, W2 = random_frame(rng, h, m), random_frame(rng, h, n)
        return np.eye(m), W1.T @ W2, np.eye(n)
    if h < m + n:
        raise ValueError(f"h must be at least m + n = {m + n}; got {h}")
    size = m + n
    L = np.tril(rng.standard_normal((size, size)), -1)
    L[np.diag_indices(size)] = np.sqrt(rng.chisquare(h - np.arange(size)))
    G = L @ L.T / h
    return G[:m, :m], G[:m, m:], G[m:, m:]


def two_layer_flow(
    G1: Float[np.ndarray, "m m"],
    q: Float[np.ndarray, "m n"],
    G2: Float[np.ndarray, "n n"],
    gamma: Float[np.ndarray, "m m"],
    *,
    duration: float,
    samples: int | Float[np.ndarray, " T"] = 201,
    norm_limit: float = 1e4,
    rtol: float = 1e-11,
) -> GramPath:
    """Integrate :func:`gram_velocity` until the norm of the state reaches ``norm_limit`` (diverged) or ``duration``.

    The products of a network of any width move by themselves, and reach infinity in finite time as soon as Gamma has a
    negative eigenvalue that q sees. Raises ``ValueError`` for shapes that do not fit, and for numbers that are not
    positive. Ours.
    """
    gamma = _validate.symmetric("gamma", _validate.shaped("gamma", gamma, ("m", "m")))
    q = _validate.shaped("q", q, (len(gamma), "n"))
    m, n = q.shape
    G1, G2 = _validate.shaped("G1", G1, (m, m)), _validate.shaped("G2", G2, (n, n))
    duration, norm_limit, rtol = (
        _validate.scalar(k, v, _validate.positive)
        for k, v in (("duration", duration), ("norm_limit", norm_limit), ("rtol", rtol))
    )
    cuts = [m * m, m * m + m * n]

    def parts(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b, c = np.split(flat, cuts)
        return a.reshape(m, m), b.reshape(m, n), c.reshape(n, n)

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        return np.concatenate([part.ravel() for part in gram_velocity(*parts(flat), gamma)])

    start = np.concatenate([G1.ravel(), q.ravel(), G2.ravel()])
    path = follow(
        velocity,
        start,
        sample_times(samples, duration),
        at_rest=lambda t, flat: 1.0,
        rtol=rtol,
        atol=rtol * 1e-3,
        norm_limit=norm_limit,
        method="DOP853",
    )
    kept = [np.stack(block) for block in zip(*map(parts, path.states), strict=True)]
    outcome = Outcome.DIVERGED if path.end == "diverged" else Outcome.UNFINISHED
    return GramPath(path.t, kept[0], kept[1], kept[2], outcome)


def two_layer_kernel_norm(
    G1: Float[np.ndarray, "*batch m m"], G2: Float[np.ndarray, "*batch n n"], X: Float[np.ndarray, "m m"]
) -> Float[np.ndarray, "*batch"]:
    r"""Root mean square over pairs of views of the tangent kernel x^T (G2_{kj} + delta_{kj} G1) x', all blocks k, j.

    X is the second moment of the views. Linear in (G1, G2) inside the norm: the norm of a difference of kernels is that
    of the differences. Raises ``ValueError`` for shapes that do not fit. Ours.
    """
    X = _validate.symmetric("X", _validate.shaped("X", X, ("m", "m")))
    G1 = _validate.shaped("G1", G1, X.shape, batched=True)
    G2 = _validate.shaped("G2", G2, ("n", "n"), batched=True)
    n = G2.shape[-1]
    middle = G2[..., None, None] * np.eye(len(X)) + np.eye(n)[..., None, None] * G1[..., None, None, :, :]
    moved = middle @ X
    return np.sqrt(np.einsum("...kjab,...kjba->...", moved, moved))


def blow_up_bound(norm2: float, loss: float, degree: int = 2) -> float:
    r"""A time by which the weights of a network that is homogeneous of degree D in them have reached infinity.

    .. math:: T \le \frac{|\theta(0)|^2}{4 D (D - 1)\, |L(0)|}

    for the gradient flow of a loss on inner products of codes. ``norm2``: the squared norm of all weights at the start.
    ``loss``: L(0) < 0. ``degree``: D >= 2, the number of layers. Raises ``ValueError`` for numbers out of range. Ours.
    """
    norm2 = _validate.scalar("norm2", norm2, _validate.positive)
    depth = _validate.scalar("-loss", -loss, _validate.positive)
    degree = _validate.count("degree", degree, 2)
    return norm2 / (4 * degree * (degree - 1) * depth)


def one_mode_blow_up(gamma: float, q: float, kernel_change: float | None = None) -> float:
    r"""When a network f(x) = w_2 . w_1 x with |w_1| = |w_2| = 1 and w_1 . w_2 = q reaches infinity, for gamma < 0.

    .. math:: t = \frac{1}{4 |\gamma| c} \log \frac{\tanh(\theta/2)}{\tanh(\theta_0 / 2)}, \qquad \tanh\theta_0 = |q|,
              \quad c = \sqrt{1 - q^2}

    with theta = infinity; or, with ``kernel_change`` > 0, when |w_1|^2, and with it the tangent kernel, has grown by
    that fraction: c cosh theta = 1 + ``kernel_change``. For small q it is log(2/|q|) / (4 |gamma|). Raises
    ``ValueError`` unless gamma < 0 < |q| < 1 and the change is positive. Ours.
    """
    gamma = -_validate.scalar("-gamma", -gamma, _validate.positive)
    q = _validate.scalar("|q|", abs(q), _validate.positive)
    if not q < 1:
        raise ValueError(f"|q| must be below 1; got {q:.6g}")
    c = np.sqrt(1 - q * q)
    start, end = np.tanh(np.arctanh(q) / 2), 1.0
    if kernel_change is not None:
        grown = 1 + _validate.scalar("kernel_change", kernel_change, _validate.positive)
        end = np.tanh(np.arccosh(grown / c) / 2)
    return float(np.log(end / start) / (-4 * gamma * c))


def _eigen(gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gamma = _validate.finite("gamma", gamma)
    if gamma.ndim == 1:
        return gamma, np.eye(len(gamma))
    values, V = np.linalg.eigh(_validate.symmetric("gamma", _validate.shaped("gamma", gamma, ("m", "m"))))
    return values, V
