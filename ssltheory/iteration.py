"""The discrete algorithm: a gradient step of the student, then a moving average of the teacher."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.linear import Dynamics, LinearProblem, check_dynamics
from ssltheory.trajectory import Outcome, Trajectory


def iterate(
    problem: LinearProblem,
    dynamics: Dynamics,
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    C: Float[np.ndarray, "*batch n m"] | None = None,
    *,
    step: Float[np.ndarray, " steps"] | float,
    alpha: Float[np.ndarray, " steps"] | float | None = None,
    steps: int,
    record_every: int = 1,
    field_tol: float | None = None,
    norm_limit: float = 1e8,
) -> Trajectory:
    """Run the training iteration, one state or a batch.

    A+ = A - step P, B+ = B - step Q at the teacher C (SG: C = A), then C+ = alpha C + (1 - alpha) A+: the teacher
    follows the updated student, so alpha = 0 is exactly SG and alpha = 1 a frozen teacher. ``"gradient"`` descends E.

    ``step`` > 0 (units of time of the flow) and ``alpha`` in [0, 1] (``"ema"`` only) are numbers or one value for
    each of the ``steps``. C is A if None. A member stops as converged when the norm of its field, (P, Q, kappa (A - C))
    with kappa = (1 - alpha) / step, is at most ``field_tol`` (None: never), and as diverged when its state is not
    finite or exceeds ``norm_limit``. Every ``record_every``-th state is kept, the first and last always.

    Raises ``ValueError`` for bad shapes, steps or momenta. Source: Ponce et al. (arXiv 2507.01028), section 2.
    """
    C = A if dynamics == "ema" and C is None else C
    check_dynamics(dynamics, C=C, alpha=alpha)
    steps = _validate.count("steps", steps)
    record_every = _validate.count("record_every", record_every)
    etas = schedule("step", _validate.positive("step", step), steps)
    alphas = np.zeros(steps) if alpha is None else schedule("alpha", _validate.probability("alpha", alpha), steps)
    if field_tol is not None:
        field_tol = _validate.scalar("field_tol", field_tol, _validate.nonnegative)
    norm_limit = _validate.scalar("norm_limit", norm_limit, _validate.positive)
    state = list(problem.check_state(A, B, C))
    batch = np.broadcast_shapes(*(M.shape[:-2] for M in state))
    if 0 in batch:
        raise ValueError(f"A and B have the batch axes {batch}; need at least one state")
    state = [np.array(np.broadcast_to(M, batch + M.shape[-2:])) for M in state]

    outcomes = np.full(batch, Outcome.UNFINISHED.value, dtype="U10")
    stopped_at = np.zeros(batch, dtype=np.int64)
    live = np.ones(batch, dtype=bool)
    kept: list[list[np.ndarray]] = []
    norms: list[np.ndarray] = []
    counts: list[int] = []
    norm = np.zeros(batch)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(steps + 1):
            last = min(k, steps - 1)
            kappa = (1 - alphas[last]) / etas[last]
            velocity = problem._velocity(dynamics, *state, kappa=kappa)  # type: ignore[misc, arg-type]
            norm = np.where(live, _norm(velocity), norm)
            if field_tol is not None:
                _stop(live & (norm <= field_tol), Outcome.CONVERGED, k, outcomes, stopped_at, live)
            if k % record_every == 0 or k == steps or not live.any():
                kept.append([M.copy() for M in state])
                norms.append(norm.copy())
                counts.append(k)
            if k == steps or not live.any():
                break
            new = advance(state, velocity, etas[k], alphas[k])
            fits = _norm(new) <= norm_limit
            _stop(live & ~fits, Outcome.DIVERGED, k + 1, outcomes, stopped_at, live)
            for M, M_new in zip(state, new, strict=True):
                np.copyto(M, M_new, where=live[..., None, None])

    stopped_at[outcomes == Outcome.UNFINISHED] = counts[-1]
    outcome, reason = describe_outcomes(outcomes, stopped_at, norm, field_tol, norm_limit)
    columns = [np.stack(column) for column in zip(*kept, strict=True)]
    steps_taken = np.array(counts)
    times = np.concatenate([[0.0], np.cumsum(etas)])[steps_taken]
    teacher = columns[2] if len(columns) == 3 else None
    return Trajectory(times, columns[0], columns[1], teacher, np.stack(norms), outcome, reason, outcomes, steps_taken)


def schedule(name: str, value: np.ndarray, steps: int) -> np.ndarray:
    """Return one value a step from a number or a whole schedule ``(steps,)``."""
    if value.shape not in ((), (steps,)):
        raise ValueError(f"{name} has shape {value.shape}; need a number or one value a step, ({steps},)")
    return np.broadcast_to(value, (steps,))


def advance(state: Sequence[np.ndarray], velocity: Sequence[np.ndarray], step: float, alpha: float) -> list[np.ndarray]:
    """Return the state after one step: the student along its velocity, then the teacher, if any, after the student."""
    new = [M + step * V for M, V in zip(state[:2], velocity[:2], strict=True)]
    return new if len(state) == 2 else [*new, alpha * state[2] + (1 - alpha) * new[0]]


def _norm(matrices: Sequence[np.ndarray]) -> np.ndarray:
    return np.sqrt(sum(np.einsum("...ij,...ij->...", M, M) for M in matrices))


def _stop(
    which: np.ndarray, outcome: Outcome, at: int, outcomes: np.ndarray, stopped_at: np.ndarray, live: np.ndarray
) -> None:
    outcomes[which] = outcome.value
    stopped_at[which] = at
    live[which] = False


def describe_outcomes(
    outcomes: np.ndarray, stopped_at: np.ndarray, norm: np.ndarray, field_tol: float | None, norm_limit: float
) -> tuple[Outcome, str]:
    """Return the worst outcome of a batch and a sentence that says why its members ended."""
    counts = {outcome: int((outcomes == outcome.value).sum()) for outcome in Outcome}
    worst = next(o for o in (Outcome.DIVERGED, Outcome.UNFINISHED, Outcome.CONVERGED) if counts[o])
    if outcomes.ndim:
        parts = ", ".join(f"{number} {outcome.value}" for outcome, number in counts.items() if number)
        return worst, f"of {outcomes.size} trajectories: {parts}, after at most {stopped_at.max()} steps"
    k = int(stopped_at)
    if worst is Outcome.CONVERGED:
        return worst, f"converged: the field's norm {float(norm):.2e} is at most {field_tol:.2e} after {k} steps"
    if worst is Outcome.DIVERGED:
        return worst, f"diverged: the state's norm exceeds {norm_limit:.2e} or is not finite at step {k}"
    return worst, f"unfinished: the field's norm is {float(norm):.2e} after all {k} steps"
