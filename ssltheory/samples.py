"""Training on the samples themselves: stochastic gradient steps of the linear networks on pairs of views."""

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.iteration import advance, describe_outcomes, schedule
from ssltheory.linear import Dynamics, check_dynamics, velocity
from ssltheory.trajectory import Outcome, Trajectory


def train_on_samples(
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    dynamics: Dynamics,
    A: Float[np.ndarray, "S n m"],
    B: Float[np.ndarray, "S n n"],
    *,
    lam: float,
    step: Float[np.ndarray, " steps"] | float,
    alpha: float | None = None,
    steps: int,
    batch: int,
    rng: np.random.Generator,
    record_every: int = 100,
    norm_limit: float = 1e8,
) -> Trajectory:
    """Train ``S`` networks at once, each on its own stream of minibatches.

    A step draws ``batch`` pairs with replacement for each network and moves (A, B) by ``-step`` times the gradient of
    the minibatch loss 1/(2 batch) sum |B A x_i - C y_i|^2 + lam/2 (|A|^2 + |B|^2): through both branches for
    ``"gradient"``, with the teacher C held for ``"sg"`` (C = A) and ``"ema"``, whose teacher, at first a copy of A,
    then follows: C <- alpha C + (1 - alpha) A. The loss is quadratic in each pair, so the minibatch enters by its
    second moments alone. ``field_norm`` in the result is that of the minibatch field: it does not vanish.

    Returns a trajectory with batch axis ``S``, unfinished unless a network's state exceeds ``norm_limit``: stochastic
    training has no equilibrium to stop at. Raises ``ValueError`` for bad shapes, values or schedules.
    """
    x = _validate.shaped("x", x, ("N", "m"))
    y = _validate.shaped("y", y, x.shape)
    A = _validate.shaped("A", A, ("S", "n", x.shape[1]))
    S, n, m = A.shape
    if 0 in x.shape or not S:
        raise ValueError(f"x has shape {x.shape} and A {A.shape}; need at least one pair and one network")
    if n < m:
        raise ValueError(f"n must be at least m = {m}; got {n}")
    B = _validate.shaped("B", B, (S, n, n))
    lam = _validate.scalar("lam", lam, _validate.nonnegative)
    check_dynamics(dynamics, alpha=alpha)
    momentum = 0.0 if alpha is None else _validate.scalar("alpha", alpha, _validate.probability)
    steps = _validate.count("steps", steps)
    batch = _validate.count("batch", batch)
    record_every = _validate.count("record_every", record_every)
    etas = schedule("step", _validate.positive("step", step), steps)
    norm_limit = _validate.scalar("norm_limit", norm_limit, _validate.positive)

    state = [A.copy(), B.copy()] + ([A.copy()] if dynamics == "ema" else [])
    live = np.ones(S, dtype=bool)
    stopped_at = np.full(S, steps)
    kept: list[list[np.ndarray]] = []
    norms: list[np.ndarray] = []
    counts: list[int] = []
    for k in range(steps + 1):
        pick = rng.integers(len(x), size=(S, batch))
        xs, ys = x[pick], y[pick]
        XX, YX, YY = (np.einsum("sbi,sbj->sij", p, q) / batch for p, q in ((xs, xs), (ys, xs), (ys, ys)))
        moved = velocity(dynamics, XX, YX, YY, lam, *state, kappa=0.0)  # type: ignore[misc, arg-type]
        if k % record_every == 0 or k == steps:
            kept.append([M.copy() for M in state])
            norms.append(np.sqrt(sum(np.einsum("sij,sij->s", M, M) for M in moved[:2])))
            counts.append(k)
        if k == steps:
            break
        new = advance(state, moved, etas[k], momentum)
        size = np.sqrt(sum(np.einsum("sij,sij->s", M, M) for M in new))
        lost = live & ~(size <= norm_limit)
        stopped_at[lost] = k + 1
        live &= ~lost
        for M, M_new in zip(state, new, strict=True):
            np.copyto(M, M_new, where=live[:, None, None])
    outcomes = np.where(live, Outcome.UNFINISHED.value, Outcome.DIVERGED.value)
    outcome, reason = describe_outcomes(outcomes, stopped_at, norms[-1], None, norm_limit)
    columns = [np.stack(column) for column in zip(*kept, strict=True)]
    taken = np.array(counts)
    times = np.concatenate([[0.0], np.cumsum(etas)])[taken]
    teacher = columns[2] if len(columns) == 3 else None
    return Trajectory(times, columns[0], columns[1], teacher, np.stack(norms), outcome, reason, outcomes, taken)
