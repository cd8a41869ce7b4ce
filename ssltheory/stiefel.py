r"""Frames, that is matrices with orthonormal columns, W^T W = I: drawing them, projecting on them, and their tangents.

The frames of size h x k are the Stiefel manifold; frames modulo rotations W -> W Q of the columns are the Grassmannian.
A gradient step leaves the manifold. What brings it back, and what was removed from the gradient before, decide which
flow is followed in the limit of small steps.

Source: Edelman, Arias, Smith (1998); Absil, Mahony, Sepulchre, *Optimization Algorithms on Matrix Manifolds* (2008).
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate

__all__ = ["ROTATION", "Tangent", "polar_factor", "qr_factor", "random_frame", "tangent_part"]

Tangent = Literal["grassmann", "embedded", "canonical"]
"""Which part of a gradient is kept; :func:`tangent_part` gives the formulas."""

ROTATION = {"grassmann": 0.0, "embedded": 1.0, "canonical": 2.0}
"""The factor omega of the rotation W skew(W^T G) within the columns that each of them keeps."""


def random_frame(
    rng: np.random.Generator, h: int, k: int, batch: tuple[int, ...] = ()
) -> Float[np.ndarray, "*batch h k"]:
    """Draw frames uniformly: W^T W = I, and the law of W is unchanged by W -> O W Q for orthogonal O, Q.

    The factor of Gram and Schmidt of a Gaussian matrix. Raises ``ValueError`` for k > h.
    """
    h, k = _validate.count("h", h), _validate.count("k", k)
    if k > h:
        raise ValueError(f"k must be at most h = {h}, or the columns cannot be orthonormal; got {k}")
    return qr_factor(rng.standard_normal((*batch, h, k)))


def polar_factor(W: Float[np.ndarray, "*batch h k"]) -> Float[np.ndarray, "*batch h k"]:
    """The nearest frame, W (W^T W)^{-1/2}.

    Computed from the k x k matrix W^T W, so that it costs h k^2; the columns are orthonormal up to rounding times the
    squared condition number of W. Raises ``ValueError`` if W has columns that are dependent, so that none is nearest.
    """
    W = _frame_like("W", W)
    values, vectors = np.linalg.eigh(W.mT @ W)
    if (values[..., 0] <= 1e-12 * values[..., -1]).any():
        raise ValueError("W must have independent columns; the smallest eigenvalue of W^T W is too small beside others")
    return W @ ((vectors / np.sqrt(values)[..., None, :]) @ vectors.mT)


def qr_factor(W: Float[np.ndarray, "*batch h k"]) -> Float[np.ndarray, "*batch h k"]:
    """The frame that Gram and Schmidt make of the columns, one after another: Q of W = Q R with diag R > 0.

    The signs matter: without them the factor of a frame is not that frame. Raises ``ValueError`` if a column depends
    on those before it.
    """
    Q, R = np.linalg.qr(_frame_like("W", W))
    diagonal = np.diagonal(R, axis1=-2, axis2=-1)
    if (np.abs(diagonal) <= 1e-12 * np.abs(diagonal).max(axis=-1, keepdims=True)).any():
        raise ValueError("W must have independent columns; a column is a combination of those before it")
    return Q * np.sign(diagonal)[..., None, :]


def tangent_part(
    W: Float[np.ndarray, "*batch h k"], G: Float[np.ndarray, "*batch h k"], kind: Tangent
) -> Float[np.ndarray, "*batch h k"]:
    r"""The part of a gradient G that is tangent to the frames at W.

    .. math:: (I - W W^\top)\, G + \omega\, W \operatorname{skew}(W^\top G)

    with skew(M) = (M - M^T)/2. omega = 0 for ``"grassmann"``, which also removes the rotations within the columns of W;
    omega = 1 for ``"embedded"``, the orthogonal projection on the tangent space, G - W sym(W^T G); omega = 2 for
    ``"canonical"``, the gradient in the canonical metric, G - W G^T W. All three agree if the loss is unchanged by
    W -> W Q.

    Raises ``ValueError`` for another kind or shapes that do not agree; W is taken to be a frame.
    Source: Edelman, Arias, Smith (1998), section 2.
    """
    _validate.one_of("kind", kind, get_args(Tangent))
    W = _frame_like("W", W)
    G = _validate.shaped("G", G, W.shape)
    inner = W.mT @ G
    return G - W @ inner + ROTATION[kind] * (W @ ((inner - inner.mT) / 2))


def _frame_like(name: str, W: np.ndarray) -> np.ndarray:
    W = _validate.shaped(name, W, ("h", "k"), batched=True)
    if W.shape[-1] > W.shape[-2] or 0 in W.shape:
        raise ValueError(f"{name} has shape {W.shape}; need (..., h, k) with 1 <= k <= h")
    return W
