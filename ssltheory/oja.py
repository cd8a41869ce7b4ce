r"""The flows whose second moment S = q q^T is known in closed form, for a code of any number of features.

The canonical metric makes of the constrained gradient flow that of Oja, q' = -4 (I - q q^T) Gamma q, and S then obeys a
Riccati equation, S' = -4 (Gamma S + S Gamma - 2 S Gamma S), which is linear in disguise. For a q with orthonormal
columns all three metrics give that equation, at the speeds 2 : 3 : 4.

Source: Yan, Helmke, Moore, *Global analysis of Oja's flow for neural networks* (1994).
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import qr

from ssltheory import _validate

__all__ = ["isometry_moment", "oja_loss", "oja_moment"]


def oja_moment(
    q0: Float[np.ndarray, "m n"], gamma: Float[np.ndarray, " m"], times: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T m m"]:
    r"""S(t) = q q^T along the canonical flow from q0.

    .. math:: S = Y\, (K_0 + Y^\top Y)^{-1}\, Y^\top, \qquad Y = e^{-4 \Gamma t} q_0, \quad K_0 = I - q_0^\top q_0

    Args:
        q0: start in the eigenvectors of Gamma, no singular value above 1.
        gamma: eigenvalues, in any order.
        times: t >= 0. Where two rows of Y differ by more than about 10^300 the smaller is lost.

    Raises ``ValueError`` for shapes that do not fit, a singular value above 1, or negative times.
    """
    q0, gamma, times, K0 = _checked(q0, gamma, times)
    values, vectors = np.linalg.eigh(K0)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return np.stack([_moment(q0, -4 * gamma * t, root) for t in times])


def oja_loss(
    q0: Float[np.ndarray, "m n"], gamma: Float[np.ndarray, " m"], times: Float[np.ndarray, " T"]
) -> Float[np.ndarray, " T"]:
    """The loss tr(Gamma S) along the canonical flow, from :func:`oja_moment`, whose errors it raises."""
    moment = oja_moment(q0, gamma, times)
    return np.diagonal(moment, axis1=-2, axis2=-1) @ np.asarray(gamma, dtype=np.float64)


def isometry_moment(
    q0: Float[np.ndarray, "m n"], gamma: Float[np.ndarray, " m"], times: Float[np.ndarray, " T"], rotation: float
) -> Float[np.ndarray, "T m m"]:
    r"""S(t) from orthonormal columns, q0^T q0 = I: the projection on the columns of exp(-(2 + omega) Gamma t) q0.

    Raises ``ValueError`` for columns that are not orthonormal to 1e-9, a rotation outside [0, 2], or as
    :func:`oja_moment`. Ours.
    """
    q0, gamma, times, K0 = _checked(q0, gamma, times)
    rotation = _validate.scalar("rotation", rotation)
    if not 0 <= rotation <= 2:
        raise ValueError(f"rotation must be between 0 and 2; got {rotation:.6g}")
    if np.abs(K0).max() > 1e-9:
        raise ValueError(f"q0 must have orthonormal columns; q0^T q0 differs from I by {np.abs(K0).max():.3g}")
    nothing = np.zeros((0, q0.shape[1]))
    return np.stack([_moment(q0, -(2 + rotation) * gamma * t, nothing) for t in times])


def _moment(q0: np.ndarray, exponents: np.ndarray, root: np.ndarray) -> np.ndarray:
    """The upper left block of the projection on the columns of [exp(exponents) q0; root]."""
    top = max(exponents.max(), 0.0)
    stacked = np.concatenate([np.exp(exponents - top)[:, None] * q0, np.exp(-top) * root])
    order = np.argsort(-np.abs(stacked).max(axis=1), kind="stable")  # graded rows: largest first keeps the small ones
    frame, triangle, _ = qr(stacked[order], mode="economic", pivoting=True)
    frame = frame[:, np.abs(np.diagonal(triangle)) > 0]
    back = np.empty_like(frame)
    back[order] = frame
    back = back[: len(q0)]
    return back @ back.T


def _checked(
    q0: np.ndarray, gamma: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    gamma = _validate.shaped("gamma", gamma, ("m",))
    q0 = _validate.shaped("q0", q0, (len(gamma), "n"))
    times = _validate.nonnegative("times", _validate.shaped("times", times, ("T",)))
    K0 = np.eye(q0.shape[1]) - q0.T @ q0
    least = float(np.linalg.eigvalsh(K0)[0])
    if least < -1e-9:
        raise ValueError(f"q0 must have singular values of at most 1; got {np.sqrt(1 - least):.6g}")
    return q0, gamma, times, K0
