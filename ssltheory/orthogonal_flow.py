r"""Training under orthogonality constraints, in the coordinates that do not depend on the width of the network.

A linear network f(x) = W_2^T W_1 x has W_1 of size h x m and W_2 of size h x n, both with orthonormal columns, and the
loss tr(q^T Gamma q) of its q = W_1^T W_2, an m x n matrix: f(x) = q^T x. Everything here is a function of q. Source:
Esser, Mukherjee, Ghoshdastidar (arXiv 2309.02011), equations (8) to (12), where q is u, or q in the eigenvectors of
Gamma. The flow without constraint width, and the four flows that a projected gradient can follow, are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _orthogonal, _validate
from ssltheory.contrast import linear_loss
from ssltheory.flow import follow, sample_times
from ssltheory.stiefel import ROTATION, Tangent, polar_factor, qr_factor, random_frame, tangent_part
from ssltheory.trajectory import Outcome

__all__ = [
    "FOLLOWED",
    "Flow",
    "FramePath",
    "descend_network",
    "euler_path",
    "euler_step",
    "flow_velocity",
    "network_gradients",
    "network_step",
    "orthogonal_flow",
    "random_network",
    "step_path",
]

Flow = Literal["grassmann", "embedded", "canonical", "qr"]
"""The flows of a gradient step that is projected in different ways; :func:`flow_velocity` gives the formulas."""
Retraction = Literal["polar", "qr"]

FOLLOWED: dict[tuple[Tangent | None, Retraction], Flow] = {
    ("grassmann", "polar"): "grassmann",
    ("grassmann", "qr"): "grassmann",
    (None, "polar"): "embedded",
    ("embedded", "polar"): "embedded",
    ("embedded", "qr"): "embedded",
    ("canonical", "polar"): "canonical",
    ("canonical", "qr"): "canonical",
    (None, "qr"): "qr",
}
"""The flow that small steps follow, by the part of the gradient that is kept and the way back to the frames. Ours."""


@dataclass(frozen=True)
class FramePath:
    """A trajectory of T states: ``q`` (T, m, n), ``loss`` (T,) and the largest entry of the ``speed`` (T,)."""

    times: Float[np.ndarray, " T"]
    q: Float[np.ndarray, "T m n"]
    loss: Float[np.ndarray, " T"]
    speed: Float[np.ndarray, " T"]
    outcome: Outcome
    reason: str


def flow_velocity(
    q: Float[np.ndarray, "*batch m n"], gamma: Float[np.ndarray, "..."], kind: Flow
) -> Float[np.ndarray, "*batch m n"]:
    r"""The time derivative of q when both weights follow a projected gradient of the loss.

    .. math:: q' = -2\,[\Gamma q\,(I - q^\top q) + (I - q q^\top)\, \Gamma q] + \Omega_1 q - q\, \Omega_2

    ``"grassmann"``: no rotation, the flow of our source (its equation (9)). ``"embedded"``: Omega_1 = S Gamma - Gamma S
    with S = q q^T, the limit of plain gradient steps followed by the polar factor. ``"canonical"``: twice that; then
    q' = -4 (I - q q^T) Gamma q, Oja's flow. ``"qr"``: the limit of plain steps followed by Gram and Schmidt, where
    Omega_1 and Omega_2 are L - L^T for the strictly lower triangles L of 2 S Gamma and 2 q^T Gamma q.

    Args:
        q: W_1^T W_2, any batch.
        gamma: contrast matrix (m, m), or its eigenvalues (m,) with q in its eigenvectors. All kinds but ``"qr"`` are
            the same flow in every orthonormal basis of the views.

    Raises ``ValueError`` for shapes that do not fit or another kind.
    """
    _validate.one_of("kind", kind, get_args(Flow))
    q, times_gamma = _state(q, gamma)
    force = times_gamma(q)
    velocity = _orthogonal.velocity(q, force, ROTATION.get(kind, 0.0))
    if kind == "qr":
        velocity = velocity + _sweep(2 * times_gamma(q @ q.mT).mT) @ q - q @ _sweep(2 * q.mT @ force)
    return velocity


def orthogonal_flow(
    q: Float[np.ndarray, "m n"],
    gamma: Float[np.ndarray, "..."],
    kind: Flow,
    *,
    duration: float,
    samples: int | Float[np.ndarray, " T"] = 201,
    speed_tol: float | None = None,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    norm_limit: float = 1e3,
) -> FramePath:
    """Integrate :func:`flow_velocity` from q at time 0, and say why it stopped.

    Converged: ``speed_tol`` was given and the norm of the velocity fell to it. Diverged: the norm of q exceeded
    ``norm_limit``, which no q that belongs to a network can do. Unfinished: neither before ``duration``.

    ``samples`` is a number of equally spaced times or the times themselves. Raises ``ValueError`` as
    :func:`flow_velocity`, and for times, tolerances or a limit that are not positive.
    """
    q = _validate.shaped("q", q, ("m", "n"))
    shape = q.shape
    flow_velocity(q, gamma, kind)
    duration = _validate.scalar("duration", duration, _validate.positive)
    rtol, atol, norm_limit = (
        _validate.scalar(name, value, _validate.positive)
        for name, value in (("rtol", rtol), ("atol", atol), ("norm_limit", norm_limit))
    )
    tol = None if speed_tol is None else _validate.scalar("speed_tol", speed_tol, _validate.positive)
    times = sample_times(samples, duration)
    if np.linalg.norm(q) > norm_limit:
        raise ValueError(f"norm_limit must exceed the norm of the start, {np.linalg.norm(q):.6g}")

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        return flow_velocity(flat.reshape(shape), gamma, kind).ravel()

    def at_rest(t: float, flat: np.ndarray) -> float:
        if tol is None:
            return 1.0
        return float(np.log(max(float(np.linalg.norm(velocity(t, flat))), 1e-300) / tol))

    limits = {"rtol": rtol, "atol": atol, "norm_limit": norm_limit}
    # A Jacobian of some hundred rows is cheap; without one the rest of a stiff flow is lost in the integrator's noise.
    method: Literal["LSODA", "DOP853"] = "LSODA" if q.size <= 400 else "DOP853"
    path = follow(velocity, q.ravel(), times, at_rest=at_rest, method=method, **limits)
    states = path.states.reshape(-1, *q.shape)
    speed = np.abs(flow_velocity(states, gamma, kind)).max(axis=(1, 2))
    end = f"at time {path.t[-1]:.6g}"
    if path.end == "diverged":
        outcome, reason = Outcome.DIVERGED, f"diverged: the norm of q reached {norm_limit:.2e} {end}"
    elif path.end == "at rest":
        outcome, reason = Outcome.CONVERGED, f"converged: the speed fell to {tol:.2e} {end}"
    elif path.end == "gave up":
        outcome, reason = Outcome.UNFINISHED, f"unfinished: the integrator gave up {end}: {path.message}"
    else:
        outcome, reason = Outcome.UNFINISHED, f"unfinished: the largest entry of the speed is {speed[-1]:.2e} {end}"
    return FramePath(path.t, states, linear_loss(states, gamma), speed, outcome, reason)


def euler_step(
    q: Float[np.ndarray, "*batch m n"], gamma: Float[np.ndarray, "..."], step: float
) -> Float[np.ndarray, "*batch m n"]:
    """One explicit Euler step of the Grassmann flow, q + step q'.

    It keeps no constraint: q may leave the set |q|_2 <= 1 of the networks. Raises ``ValueError`` as
    :func:`flow_velocity`, and for ``step`` <= 0. Source: equation (12).
    """
    step = _validate.scalar("step", step, _validate.positive)
    return q + step * flow_velocity(q, gamma, "grassmann")


def euler_path(
    q: Float[np.ndarray, "*batch m n"],
    gamma: Float[np.ndarray, "..."],
    step: float,
    steps: int,
    *,
    limit: float = np.inf,
) -> Float[np.ndarray, "T *batch m n"]:
    """The start and the states after 1, ..., ``steps`` of :func:`euler_step`.

    Once an entry is larger than ``limit`` in modulus, what follows is nan. Raises ``ValueError`` as
    :func:`euler_step`, for ``steps`` < 1 and a limit that is not positive.
    """
    steps = _validate.count("steps", steps)
    if not limit > 0:
        raise ValueError(f"limit must be greater than 0; got {limit}")
    path = np.full((steps + 1, *np.shape(q)), np.nan)
    path[0] = q
    for k in range(steps):
        if np.abs(path[k]).max() > limit:
            break
        path[k + 1] = euler_step(path[k], gamma, step)
    return path


def network_step(
    q: Float[np.ndarray, "*batch m n"],
    gamma: Float[np.ndarray, "..."],
    step: float,
    *,
    tangent: Tangent | None = None,
    retraction: Retraction = "polar",
) -> Float[np.ndarray, "*batch m n"]:
    r"""One projected gradient step of the network, of any width, computed from q alone: it is exact, not a limit.

    The new weights are W_1 and W_2 times small matrices, since the gradients are 2 W_2 q^T Gamma and 2 W_1 Gamma q. So
    their Gram matrices, and q after any retraction that is defined by Gram matrices, are functions of q:

    .. math:: q^+ = N_1^{-1/2}\, (q - 4\eta\, \Gamma q + 4 \eta^2\, \Gamma q\, q^\top \Gamma q)\, N_2^{-1/2}

    for a plain gradient and the polar factor, with N_1 = I - 2 eta (S Gamma + Gamma S) + 4 eta^2 Gamma S Gamma and
    N_2 = I - 4 eta q^T Gamma q + 4 eta^2 q^T Gamma^2 q. With Gram and Schmidt, Cholesky factors replace the roots. N_1
    is I plus a matrix of rank 2n, on which :func:`ssltheory.orthogonal_steps.exact_steps` saves: it is faster by far
    for n below m, and does the polar factor only.

    Args:
        q, gamma: as in :func:`flow_velocity`.
        step: eta > 0.
        tangent: which part of the gradient is kept before the step; None keeps all of it.
        retraction: ``"polar"`` or ``"qr"``.

    Raises ``ValueError`` for shapes that do not fit, ``step`` <= 0 or an unknown name. Ours.
    """
    step = _validate.scalar("step", step, _validate.positive)
    _validate.one_of("retraction", retraction, get_args(Retraction))
    if tangent is not None:
        _validate.one_of("tangent", tangent, get_args(Tangent))
    q, times_gamma = _state(q, gamma)
    U = np.concatenate([q, times_gamma(q)], axis=-1)
    M, c, second = _orthogonal.step_in_span(U.mT @ U, step, None if tangent is None else ROTATION[tangent])
    first = np.eye(q.shape[-2]) + U @ M @ U.mT
    return _inverse_root(first, retraction).mT @ (U @ c) @ _inverse_root(second, retraction)


def step_path(
    q: Float[np.ndarray, "*batch m n"],
    gamma: Float[np.ndarray, "..."],
    step: float,
    steps: int,
    *,
    tangent: Tangent | None = None,
    retraction: Retraction = "polar",
) -> Float[np.ndarray, "T *batch m n"]:
    """The start and the states after 1, ..., ``steps`` of :func:`network_step`, whose errors it raises.

    Raises ``ValueError`` for ``steps`` < 1 too.
    """
    path = [np.asarray(q)]
    for _ in range(_validate.count("steps", steps)):
        path.append(network_step(path[-1], gamma, step, tangent=tangent, retraction=retraction))
    return np.stack(path)


def random_network(
    rng: np.random.Generator, h: int, m: int, n: int, batch: tuple[int, ...] = ()
) -> tuple[Float[np.ndarray, "*batch h m"], Float[np.ndarray, "*batch h n"]]:
    """Draw both weights uniformly among the frames. Raises ``ValueError`` for h < m or h < n."""
    return random_frame(rng, h, m, batch), random_frame(rng, h, n, batch)


def network_gradients(
    W1: Float[np.ndarray, "*batch h m"], W2: Float[np.ndarray, "*batch h n"], gamma: Float[np.ndarray, "m m"]
) -> tuple[Float[np.ndarray, "*batch h m"], Float[np.ndarray, "*batch h n"]]:
    """The gradients of tr(W_2^T W_1 Gamma W_1^T W_2) by the weights: 2 W_2 q^T Gamma and 2 W_1 Gamma q, q = W_1^T W_2.

    Raises ``ValueError`` for shapes that do not fit.
    """
    gamma = _validate.symmetric("gamma", gamma)
    W1 = _validate.shaped("W1", W1, ("h", len(gamma)), batched=True)
    W2 = _validate.shaped("W2", W2, (W1.shape[-2], "n"), batched=True)
    force = gamma @ (W1.mT @ W2)
    return 2 * W2 @ force.mT, 2 * W1 @ force


def descend_network(
    W1: Float[np.ndarray, "*batch h m"],
    W2: Float[np.ndarray, "*batch h n"],
    gamma: Float[np.ndarray, "m m"],
    *,
    step: float,
    steps: int,
    tangent: Tangent | None = None,
    retraction: Retraction = "polar",
    every: int = 1,
) -> tuple[Float[np.ndarray, "T *batch m n"], Float[np.ndarray, "*batch h m"], Float[np.ndarray, "*batch h n"]]:
    """Train the weights themselves by projected gradient descent; return q after each ``every`` steps, and the weights.

    One step is W <- R(W - step T(G)), with T the part of the gradient that ``tangent`` keeps, and R the retraction. The
    first state returned is the start. Raises ``ValueError`` as :func:`network_gradients`, for ``step`` <= 0, counts
    below 1 or an unknown name. Source: equation (11), which does not say how the weights are projected back.
    """
    step = _validate.scalar("step", step, _validate.positive)
    steps, every = _validate.count("steps", steps), _validate.count("every", every)
    _validate.one_of("retraction", retraction, get_args(Retraction))
    retract = polar_factor if retraction == "polar" else qr_factor
    path = [W1.mT @ W2]
    for k in range(1, steps + 1):
        grads = network_gradients(W1, W2, gamma)
        if tangent is not None:
            grads = tangent_part(W1, grads[0], tangent), tangent_part(W2, grads[1], tangent)
        W1, W2 = retract(W1 - step * grads[0]), retract(W2 - step * grads[1])
        if k % every == 0:
            path.append(W1.mT @ W2)
    return np.stack(path), W1, W2


def _state(q: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    gamma = _validate.finite("gamma", gamma)
    if gamma.ndim != 1:
        gamma = _validate.symmetric("gamma", gamma)
        if gamma.ndim != 2:
            raise ValueError(f"gamma has shape {gamma.shape}; need (m, m) or its eigenvalues (m,)")
    q = _validate.shaped("q", q, (gamma.shape[-1], "n"), batched=True)
    return q, (lambda a: gamma[:, None] * a) if gamma.ndim == 1 else (lambda a: gamma @ a)


def _sweep(M: np.ndarray) -> np.ndarray:
    """The antisymmetric matrix with the strictly lower triangle of M."""
    lower = np.tril(M, -1)
    return lower - lower.mT


def _inverse_root(N: np.ndarray, retraction: Retraction) -> np.ndarray:
    """A matrix R with R^T N R = I: the symmetric inverse root, or the inverse of the upper Cholesky factor."""
    if retraction == "qr":
        return np.linalg.inv(np.linalg.cholesky(N).mT)
    return _orthogonal.inverse_root(N)
