"""What every form of training with orthonormal weights computes from q and Gamma q; arguments were checked before."""

import numpy as np


def velocity(q: np.ndarray, force: np.ndarray, rotation: float = 0.0) -> np.ndarray:
    """-4 p + (2 - omega) p q^T q + (2 + omega) q q^T p, for p = ``force`` and omega = ``rotation``."""
    return -4 * force + (2 - rotation) * (force @ (q.mT @ q)) + (2 + rotation) * (q @ (q.mT @ force))


def step_in_span(
    gram: np.ndarray, step: float | np.ndarray, rotation: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""M, c and N_2 of a step of both weights before they are projected, from the Gram matrix of U = [q, Gamma q].

    The Gram matrices of the new weights are I + U M U^T and N_2, and their product W_1^T W_2 is U c. With Q = q^T q,
    L = q^T Gamma q and P = q^T Gamma^2 q, for the part of the gradient that is tangent with the rotation omega,

    .. math::
        M = \eta^2 \begin{pmatrix} \omega^2 P & -\omega^2 L \\ -\omega^2 L & 4 I - (4 - \omega^2)\, Q \end{pmatrix},
        \quad
        c = \begin{pmatrix} I + (2 + \omega)\, \eta L + 2 \omega \eta^2 (L^2 - P) \\
        -4 \eta I + (2 - \omega)\, \eta\, (Q + 2 \eta\, (Q L - L)) \end{pmatrix}

    and N_2 = I + 4 eta^2 (P - L^2). For the whole gradient (None) M has the blocks 0, -2 eta, -2 eta, 4 eta^2, c those
    I, 4 eta^2 L - 4 eta, and N_2 = I - 4 eta L + 4 eta^2 P.
    """
    n = gram.shape[-1] // 2
    inner, squared = gram[..., :n, n:], gram[..., n:, n:]
    inner = (inner + inner.mT) / 2
    eye = np.eye(n)
    M = np.zeros(gram.shape)
    if rotation is None:
        M[..., :n, n:] = M[..., n:, :n] = -2 * step * eye
        M[..., n:, n:] = 4 * step**2 * eye
        lower = 4 * step**2 * inner - 4 * step * eye
        c = np.concatenate([np.broadcast_to(eye, lower.shape), lower], axis=-2)
        return M, c, eye - 4 * step * inner + 4 * step**2 * squared
    product, excess = gram[..., :n, :n], squared - inner @ inner
    M[..., n:, n:] = step**2 * (4 * eye - (4 - rotation**2) * product)
    upper = eye + (2 + rotation) * step * inner
    if rotation:
        M[..., :n, :n] = (step * rotation) ** 2 * squared
        M[..., :n, n:] = M[..., n:, :n] = -((step * rotation) ** 2) * inner
        upper = upper - 2 * rotation * step**2 * excess
    lower = (2 - rotation) * step * (product + 2 * step * (product @ inner - inner)) - 4 * step * eye
    return M, np.concatenate([upper, lower], axis=-2), eye + 4 * step**2 * excess


def inverse_root(N: np.ndarray) -> np.ndarray:
    """The inverse of the symmetric root of a positive definite matrix."""
    values, vectors = np.linalg.eigh(N)
    return (vectors / np.sqrt(values)[..., None, :]) @ vectors.mT
