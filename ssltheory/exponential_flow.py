r"""The three flows in every metric, integrated by exponentials of rows: stable for long steps, exact near the limit.

In the eigenvectors of Gamma each row of q obeys q_i' = q_i (-gamma_i P + (2 + omega) M), with the same symmetric n x n
matrices P = (2 + omega) I + (2 - omega) K, K = I - q^T q, and M = q^T Gamma q in all of them, and K itself obeys
K' = 4 (M K + K M). With M and K held, both are exponentials. A step takes them from a predicted midpoint, moves along a
factor of K = F F^T as a variable of its own, F' = 4 M F, and gives the moved q the Gram matrix I - K: the rank of K is
kept to the last digit, and the stiff part, angles within the columns, decays for any length of step, where an explicit
integrator must follow it. Two half steps against one whole step give the error, their extrapolation the next order.
Ours.
"""

from typing import get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.contrast import linear_loss
from ssltheory.flow import sample_times
from ssltheory.orthogonal_flow import FramePath, flow_velocity
from ssltheory.stiefel import ROTATION, Tangent
from ssltheory.trajectory import Outcome

__all__ = ["exponential_flow"]

_GROWTH = 12.0
"""Largest exponent by which a step may enlarge an entry relative to others; it enlarges rounding as much."""


def exponential_flow(
    q: Float[np.ndarray, "m n"],
    gamma: Float[np.ndarray, " m"],
    kind: Tangent,
    *,
    duration: float,
    samples: int | Float[np.ndarray, " T"] = 2,
    speed_tol: float | None = None,
    step_tol: float = 1e-8,
    max_steps: int = 100_000,
) -> FramePath:
    """Integrate :func:`ssltheory.orthogonal_flow.flow_velocity` from a state of a network, as ``orthogonal_flow`` does.

    For long runs of large states; ``orthogonal_flow`` is better below some hundred entries, and takes states outside.

    Args:
        q: start in the eigenvectors of Gamma, no singular value above 1.
        gamma: eigenvalues, in any order.
        kind: ``"grassmann"``, ``"embedded"`` or ``"canonical"``.
        duration, samples, speed_tol: as in ``orthogonal_flow``; the norm of the velocity is looked at after each step.
        step_tol: bound on the estimated error of a step, in the norm of q.
        max_steps: steps tried before it gives up, unfinished.

    Raises ``ValueError`` for shapes that do not fit, a start of no network, or numbers that are not positive.
    """
    gamma = _validate.shaped("gamma", gamma, ("m",))
    q = _validate.shaped("q", q, (len(gamma), "n"))
    _validate.one_of("kind", kind, get_args(Tangent))
    duration = _validate.scalar("duration", duration, _validate.positive)
    step_tol = _validate.scalar("step_tol", step_tol, _validate.positive)
    tol = None if speed_tol is None else _validate.scalar("speed_tol", speed_tol, _validate.positive)
    max_steps = _validate.count("max_steps", max_steps)
    times = sample_times(samples, duration)
    K = np.eye(q.shape[1]) - q.T @ q
    slack, basis = np.linalg.eigh(K)
    if slack[0] < -1e-9:
        raise ValueError(f"q must have singular values of at most 1; got {np.linalg.norm(q, 2):.6g}")
    F = basis[:, slack > 1e-12] * np.sqrt(slack[slack > 1e-12])
    omega, t, tries = ROTATION[kind], 0.0, 0
    h = 1e-3 / max(np.abs(gamma).max(), 1e-300)
    longest = 60.0 / max(np.abs(gamma).max(), 1e-300)  # so that no exponential overflows
    kept, states = [], []
    outcome = Outcome.UNFINISHED
    for target in times:
        while t < target and tries < max_steps and outcome is Outcome.UNFINISHED:
            tries += 1
            worst = np.linalg.eigvalsh((q.T * gamma) @ q)[-1] - gamma.min()
            wished = min(h, longest, _GROWTH / max((2 + omega) * worst, 1e-300))
            trial = min(wished, target - t)
            whole = _step(q, F, gamma, omega, trial)
            half = _step(*_step(q, F, gamma, omega, trial / 2), gamma, omega, trial / 2)
            error = float(np.linalg.norm(half[0] - whole[0])) / 3
            if error <= step_tol:
                F = half[1] + (half[1] - whole[1]) / 3
                q, F = _with_gram(half[0] + (half[0] - whole[0]) / 3, F)
                t = target if trial == target - t else t + trial
                if tol is not None and np.linalg.norm(flow_velocity(q, gamma, kind)) <= tol:
                    outcome = Outcome.CONVERGED
            factor = min(4.0, max(0.2, 0.9 * (step_tol / max(error, 1e-300)) ** (1 / 3)))
            if error > step_tol or trial == wished:
                h = trial * factor
        kept.append(t)
        states.append(q)
        if t < target or outcome is not Outcome.UNFINISHED:
            break
    path = np.stack(states)
    velocity = flow_velocity(path, gamma, kind)
    speed, end = np.abs(velocity).max(axis=(1, 2)), f"at time {t:.6g}"
    if outcome is Outcome.CONVERGED:
        reason = f"converged: the speed fell to {tol:.2e} {end}"
    elif tries == max_steps:
        reason = (
            f"unfinished: {max_steps} steps were not enough; the largest entry of the speed is {speed[-1]:.2e} {end}"
        )
    else:
        reason = f"unfinished: the largest entry of the speed is {speed[-1]:.2e} {end}"
    return FramePath(np.array(kept), path, linear_loss(path, gamma), speed, outcome, reason)


def _step(q: np.ndarray, F: np.ndarray, gamma: np.ndarray, omega: float, h: float) -> tuple[np.ndarray, np.ndarray]:
    middle, F_middle = _move(q, F, F, (q.T * gamma) @ q, gamma, omega, h / 2)
    return _move(q, F, F_middle, (middle.T * gamma) @ middle, gamma, omega, h)


def _move(
    q: np.ndarray, F: np.ndarray, F_held: np.ndarray, M: np.ndarray, gamma: np.ndarray, omega: float, h: float
) -> tuple[np.ndarray, np.ndarray]:
    mu, U = np.linalg.eigh(M)
    inner = np.exp(np.minimum((2 + omega) * h * (mu - gamma[:, None]), 600.0))
    slack, V = np.linalg.eigh(F_held @ F_held.T)
    strength = (2 - omega) * h / 2 * np.abs(gamma).max() * np.abs(slack).max()
    if strength > 1e-17:
        outer = np.exp(-(2 - omega) * h / 2 * gamma[:, None] * slack)
        moved = ((((q @ V) * outer) @ (V.T @ U)) * inner) @ (U.T @ V)
        moved = (moved * outer) @ V.T
    else:
        moved = ((q @ U) * inner) @ U.T
    F = (U * np.exp(np.minimum(4 * h * mu, 300.0))) @ (U.T @ F)
    return _with_gram(moved, F)[0], F


def _with_gram(q: np.ndarray, F: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q C with a symmetric positive C that gives it the Gram matrix I - F F^T where that is large, and F of that q.

    1 - K is worth trusting where K is small, q^T q where it is; each large singular value of q takes its size from F,
    and each small one gives it back.
    """
    values, U = np.linalg.eigh(q.T @ q)
    large = values > 0.5
    basis, roots, rest = U[:, large], np.sqrt(values[large]), U[:, ~large]
    inside = basis.T @ F
    if not large.all():  # K is invertible on the rest, which uses up as much of its rank
        left, sizes, _ = np.linalg.svd(inside, full_matrices=False)
        rank = max(F.shape[1] - rest.shape[1], 0)
        inside = left[:, :rank] * sizes[:rank]
        F = np.concatenate([basis @ inside, rest * np.sqrt(1 - values[~large])], axis=1)
    inner, W = np.linalg.eigh(roots[:, None] * (np.eye(len(roots)) - inside @ inside.T) * roots)
    C = (W * np.sqrt(np.maximum(inner, 0.0))) @ W.T / roots[:, None] / roots
    turned = q @ U
    turned[:, large] = turned[:, large] @ C
    return turned @ U.T, F
