r"""IsoLoss with a closed-form predictor: the objective that it descends, where it ends, and its course for p = 1.

The Euclidean IsoLoss is 1/2 E|z_1 - SG(z_2 + z_1 - B z_1)|^2 with B = Sigma^p, Sigma = E[z z^T]. Averaged over the two
orders of a pair its gradient is that of an objective without stop-gradient and without predictor,

.. math:: J = \tfrac{1}{2(p+1)} \operatorname{tr} \Sigma^{p+1} - \tfrac12\, \mathbb{E} \langle z_1, z_2 \rangle,

for every network that makes the codes. For a linear encoder the flow is that of
:func:`ssltheory.directpred.encoder_velocity` with ``gradient="iso"``.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.directpred import encoder_velocity
from ssltheory.ensemble import flow_to_rest
from ssltheory.moments import SecondMoments
from ssltheory.trajectory import Outcome


def code_potential(z1: Float[np.ndarray, "N n"], z2: Float[np.ndarray, "N n"], p: float) -> float:
    """The objective J of N pairs of codes, Sigma being the mean of z z^T over all 2 N codes.

    J = tr Sigma^{p+1} / (2(p+1)) - 1/2 mean <z_1, z_2> = 1/4 mean |z_1 - z_2|^2 + sum_k (mu_k^{p+1}/(p+1) - mu_k)/2.
    For p = 1, 4 J is the spectral contrastive loss, mean (z . z')^2 - 2 mean <z_1, z_2>, z and z' any two of the codes.
    Raises ``ValueError`` for p <= 0 or codes that are not finite and of one shape. Source: this book.
    """
    z1 = _validate.shaped("z1", z1, ("N", "n"))
    z2 = _validate.shaped("z2", z2, z1.shape)
    p = _validate.scalar("p", p, _validate.positive)
    Sigma = (z1.T @ z1 + z2.T @ z2) / (2 * len(z1))
    mu = np.clip(np.linalg.eigvalsh(Sigma), 0.0, None)
    return float(np.sum(mu ** (p + 1)) / (2 * (p + 1)) - np.sum(z1 * z2) / (2 * len(z1)))


def potential(
    A: Float[np.ndarray, "*batch n m"], X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float, p: float
) -> Float[np.ndarray, "*batch"]:
    """J of a linear encoder: tr (A X A^T)^{p+1} / (2(p+1)) - tr(A Y A^T)/2 + lam/2 |A|^2.

    For Y symmetric its gradient in A is (A X A^T)^p A X - A Y + lam A, minus the field of IsoLoss. Raises
    ``ValueError`` for shapes, X not positive definite, p <= 0 or lam < 0. Source: this book.
    """
    X = _validate.positive_definite("X", _validate.shaped("X", X, ("m", "m")))
    Y = _validate.shaped("Y", Y, X.shape)
    A = _validate.shaped("A", A, ("n", len(X)), batched=True)
    lam, p = _validate.scalar("lam", lam, _validate.nonnegative), _validate.scalar("p", p, _validate.positive)
    mu = np.linalg.svd(A @ np.linalg.cholesky(X), compute_uv=False) ** 2
    linear = np.einsum("...ij,jk,...ik->...", A, Y - lam * np.eye(len(X)), A)
    return (mu ** (p + 1)).sum(axis=-1) / (2 * (p + 1)) - linear / 2


def limit_gram(
    X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float, p: float, n: int | None = None
) -> Float[np.ndarray, "m m"]:
    """The Gram matrix S = A^T A of the global minima of :func:`potential`, for Y symmetric and a code of width n.

    S = X^{-1/2} (K_n)^{1/p} X^{-1/2}, where K_n keeps of K = X^{-1/2} (Y - lam) X^{-1/2} the n largest eigenvalues
    (None: all) as far as they are positive. Raises ``ValueError`` for Y not symmetric, X not positive definite, p <= 0,
    lam < 0. Source: this book.
    """
    X = _validate.positive_definite("X", _validate.shaped("X", X, ("m", "m")))
    Y = _validate.symmetric("Y", _validate.shaped("Y", Y, X.shape))
    lam, p = _validate.scalar("lam", lam, _validate.nonnegative), _validate.scalar("p", p, _validate.positive)
    n = len(X) if n is None else _validate.count("n", n)
    rho, U = np.linalg.eigh(X)
    inverse = (U / np.sqrt(rho)) @ U.T
    k, V = np.linalg.eigh(inverse @ (Y - lam * np.eye(len(X))) @ inverse)
    k = np.where(np.arange(len(k)) >= len(k) - n, np.clip(k, 0.0, None), 0.0)
    half = inverse @ (V * k ** (1 / (2 * p)))
    return half @ half.T


def directcopy_gram(
    A: Float[np.ndarray, "n m"], K: Float[np.ndarray, "m m"], times: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T m m"]:
    """The Gram matrix A^T A at given times under IsoLoss with p = 1 and X = I, in closed form; K = Y - lam, any matrix.

    A' = A (K - S) makes S' = K^T S + S K - 2 S^2, a Riccati equation: the inverse of S obeys a linear one, and

    S(t) = E^T A^T (I + 2 A G A^T)^{-1} A E,   E = e^{K t},   G = integral over [0, t] of e^{K u} e^{K^T u} du,

    for an A of any rank. It is applied in pieces of length 1/|K| or less, so that no exponential overflows. ``times``
    increase from 0 or later, in units of inverse K. Raises ``ValueError`` for shapes or times. Source: this book.
    """
    from scipy.linalg import expm, solve_triangular

    K = _validate.shaped("K", K, ("m", "m"))
    m = len(K)
    A = _validate.shaped("A", A, ("n", m))
    times = _validate.shaped("times", times, ("T",))
    if (np.diff(times, prepend=0.0) < 0).any():
        raise ValueError("times must increase from 0 or later")
    size = float(np.linalg.norm(K, 2))
    out, now, pieces = [], 0.0, dict[float, tuple[np.ndarray, np.ndarray]]()
    for t in times:
        count = max(int(np.ceil((t - now) * size)), 1)
        h = (t - now) / count
        if h not in pieces:
            block = expm(h * np.block([[-K, np.eye(m)], [np.zeros((m, m)), K.T]]))
            E = block[m:, m:].T
            pieces[h] = E, E @ block[:m, m:]
        E, G = pieces[h]
        for _ in range(count):
            C = np.linalg.cholesky(np.eye(len(A)) + 2 * A @ (G + G.T) @ A.T / 2)
            A = solve_triangular(C, A @ E, lower=True)
        out.append(A.T @ A)
        now = t
    return np.array(out).reshape(len(times), m, m)


def resting_gram(K: Float[np.ndarray, "m m"], p: float) -> Float[np.ndarray, "m m"]:
    """The positive definite S with K^T S + S K = 2 S^{p+1}, where the Gram matrix of IsoLoss rests for X = I.

    K = Y - lam need not be symmetric, but its eigenvalues must have positive real parts; 0 < p <= 1. Then S is unique
    and attracts every full-rank start; A itself rests only if K is symmetric, and else turns. For p = 1 the inverse of
    S solves a Lyapunov equation; else Newton's method polishes what the flow came to. Raises ``ValueError`` for other
    K or p. Source: this book.
    """
    from scipy.integrate import solve_ivp
    from scipy.linalg import solve_continuous_lyapunov
    from scipy.optimize import root

    K = _validate.shaped("K", K, ("m", "m"))
    if K.shape[0] != K.shape[1]:
        raise ValueError(f"K has shape {K.shape}; need (m, m)")
    p = _validate.scalar("p", p, _validate.positive)
    least = np.linalg.eigvals(K).real.min()
    if not (least > 0 and p <= 1):
        raise ValueError(f"need p <= 1 and eigenvalues of K with positive real parts; got p = {p:g}, {least:.3g}")
    S = np.linalg.inv(solve_continuous_lyapunov(K, 2 * np.eye(len(K))))
    if p == 1:
        return (S + S.T) / 2
    upper = np.triu_indices(len(K))

    def unpack(flat: np.ndarray) -> np.ndarray:
        M = np.zeros_like(K)
        M[upper] = flat
        return M + np.triu(M, 1).T

    def rate(flat: np.ndarray) -> np.ndarray:
        M = unpack(flat)
        k, V = np.linalg.eigh(M)
        return (K.T @ M + M @ K - 2 * (V * np.clip(k, 0.0, None) ** (p + 1)) @ V.T)[upper]

    near = solve_ivp(lambda t, z: rate(z), (0.0, 12 / least), S[upper], method="LSODA", rtol=1e-8, atol=1e-12).y[:, -1]
    found = root(rate, near, method="hybr", options={"xtol": 1e-14})
    if not np.abs(found.fun).max() < 1e-10 * max(1.0, np.abs(found.x).max() ** (p + 1)):
        raise ValueError(f"no rest point was found: {found.message}")
    S = unpack(found.x)
    if not np.linalg.eigvalsh(S)[0] > 0:
        raise ValueError("no rest point was found: Newton's method left the positive definite matrices")
    return S


class KeptModes(NamedTuple):
    """How many directions each of K starts keeps: ``iso`` under IsoLoss, ``sg`` under the loss itself, each (K,)."""

    iso: np.ndarray
    sg: np.ndarray


def kept_modes(
    A: Float[np.ndarray, "K n m"], Y: Float[np.ndarray, "m m"], lam: float, *, duration: float = 40.0, step: float = 0.1
) -> KeptModes:
    """Count the directions that DirectPred (p = 1/2) keeps from each of K starts, with X = I and weight decay.

    A direction is an eigenvalue of A^T A above a thousandth of the largest one of IsoLoss's limit. Under IsoLoss the
    encoder is followed by Heun's method to ``duration``; a mode of strength tau grows at the rate 2 (tau - lam). Under
    the loss itself the flow is the one of a learned predictor that starts at B = (A A^T)^{1/2}, and is followed to
    rest; Y must be symmetric positive semi-definite. Raises ``ValueError`` for shapes, lam <= 0 or other Y, and
    ``RuntimeError`` for a start whose flow does not come to rest.
    """
    Y = _validate.positive_semidefinite("Y", _validate.shaped("Y", Y, ("m", "m")))
    A = _validate.shaped("A", A, ("K", "n", len(Y)))
    lam = _validate.scalar("lam", lam, _validate.positive)
    least = 1e-3 * float(np.linalg.eigvalsh(limit_gram(np.eye(len(Y)), Y, lam, 0.5))[-1])
    moments = SecondMoments(np.eye(len(Y)), Y, np.eye(len(Y)) * max(1.0, float(np.linalg.norm(Y, 2)) ** 2))
    C = A
    for _ in range(int(np.ceil(duration / step))):
        first = encoder_velocity(C, moments, lam, 0.5, gradient="iso")
        C = C + step / 2 * (first + encoder_velocity(C + step * first, moments, lam, 0.5, gradient="iso"))
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    B = (U * s[:, None, :]) @ U.mT
    rest = flow_to_rest("sg", A, B, X=np.eye(len(Y)), Y=Y, lam=lam, field_tol=1e-7)
    if not rest.having(Outcome.CONVERGED).all():
        raise RuntimeError(f"not every start came to rest: {rest.counts}")
    iso, sg = ((np.linalg.svd(M, compute_uv=False) ** 2 > least).sum(axis=-1) for M in (C, rest.A))
    return KeptModes(iso, sg)
