"""What the explorer of the chapter on linear dynamics shows: the algorithm at one step size, laid over its flow."""

from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.explorers import Line, Panel, Points, Scene
from ssltheory.flow import integrate
from ssltheory.iteration import iterate
from ssltheory.linear import Dynamics, LinearProblem
from ssltheory.moments import second_moments
from ssltheory.samples import train_on_samples
from ssltheory.trajectory import Trajectory

KAPPA, DURATION, BATCH = 0.1, 120.0, 32
Algorithm = Literal["sg", "ema", "cosine", "minibatch"]
WORDS = {"sg": "SG", "ema": "EMA", "cosine": "EMA, cosine schedule", "minibatch": "SG on minibatches"}


def cosine_rate(t: float) -> float:
    """The teacher's rate kappa(t) that falls from ``KAPPA`` to 0 along half a cosine over ``DURATION``."""
    return KAPPA * (1 + float(np.cos(np.pi * min(t, DURATION) / DURATION))) / 2


def overlay_scene(
    step: float,
    algorithm: Algorithm,
    *,
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    A: Float[np.ndarray, "n m"],
    B: Float[np.ndarray, "n n"],
    lam: float,
) -> Scene:
    """Draw the algorithm with steps of size ``step`` over the flow that it is meant to follow, from one start (A, B).

    ``"sg"`` and ``"ema"`` (alpha = 1 - step KAPPA) see all pairs at every step, ``"cosine"`` lets the teacher's rate
    fall to zero, ``"minibatch"`` is SG on ``BATCH`` pairs drawn anew for each step. Left, the singular values of the
    encoder; right, the norm of the imbalance |D| with the flow's e^{-2 lam t} |D(0)|. Raises ``ValueError`` for a step
    that is not positive or would need a negative alpha.
    """
    step = _validate.scalar("step", step, _validate.positive)
    _validate.one_of("algorithm", algorithm, tuple(WORDS))
    if step * KAPPA > 1:
        raise ValueError(f"step must be at most {1 / KAPPA:g}; got {step:g}")
    problem = LinearProblem(second_moments(x, y), lam, len(A))
    dynamics: Dynamics = "ema" if algorithm in ("ema", "cosine") else "sg"
    rates: dict[str, Any] = {"ema": KAPPA, "cosine": cosine_rate}
    times = np.concatenate([[0.0], np.geomspace(0.2, DURATION, 60)])
    flow = integrate(problem, dynamics, A, B, kappa=rates.get(algorithm), duration=DURATION, samples=times, rtol=1e-7)
    run = _run(problem, algorithm, A, B, step, x, y)
    color = dynamics
    stay = len(run.times)
    if run.outcome == "diverged":  # beyond the last state within the limit nothing moved
        moved = np.flatnonzero(np.any(run.A[1:] != run.A[:-1], axis=(1, 2)))
        stay = int(moved[-1]) + 2 if moved.size else 1
    clock, B_run = run.times[:stay], run.B[:stay]
    values = np.linalg.svd(flow.A, compute_uv=False)
    reached = np.linalg.svd(run.A[:stay], compute_uv=False)
    left: list[Any] = []
    for k in range(values.shape[1]):
        left.append(Line(flow.times, values[:, k], color="muted", width=1.6, label="flow" if k == 0 else ""))
        seen = reached[:, k] <= 1.6
        if seen.any():
            label = WORDS[algorithm] * (k == 0)
            left.append(Points(clock[seen], reached[seen, k], color=color, size=4, label=label))
    D = np.linalg.norm(problem.imbalance(run.A[:stay], B_run), axis=(1, 2))
    inside = D <= 10
    law = D[0] * np.exp(-2 * lam * times)
    right: list[Any] = [Line(times, law, color="muted", width=1.6, label="flow")]
    if inside.any():
        right.append(Points(clock[inside], np.maximum(D[inside], 1e-3), color=color, size=4))
    span = {"xlim": (0.0, DURATION), "xlabel": "time t, sum of the steps"}
    panels = [
        Panel(left, ylabel="singular values of A", ylim=(0.0, 1.6), **span),  # type: ignore[arg-type]
        Panel(right, ylabel="imbalance |D|", yscale="log", ylim=(1e-3, 10.0), **span),  # type: ignore[arg-type]
    ]
    if run.outcome == "diverged":
        return Scene(panels, f"{WORDS[algorithm]}, step {step:g}: diverged after time {clock[-1]:.0f}.")
    at = {"A": flow.A[-1], "B": flow.B[-1]}
    gap = np.abs(reached[-1] - np.linalg.svd(at["A"], compute_uv=False)).max()
    ratio = D[-1] / law[-1]
    return Scene(
        panels,
        f"{WORDS[algorithm]}, step {step:g}: at time {run.times[-1]:.0f} the singular values are within {gap:.2g} of"
        f" the flow's, the imbalance is {ratio:.2g} times the flow's.",
    )


def _run(
    problem: LinearProblem,
    algorithm: Algorithm,
    A: np.ndarray,
    B: np.ndarray,
    step: float,
    x: np.ndarray,
    y: np.ndarray,
) -> Trajectory:
    steps = max(1, int(DURATION / step + 1e-9))
    every = max(1, steps // 48)
    if algorithm == "minibatch":
        rng = np.random.default_rng(0)
        options: dict[str, Any] = {"lam": problem.lam, "step": step, "steps": steps, "batch": BATCH, "rng": rng}
        run = train_on_samples(x, y, "sg", A[None], B[None], record_every=every, norm_limit=100.0, **options)
        return Trajectory(
            run.times, run.A[:, 0], run.B[:, 0], None, run.field_norm[:, 0], run.outcome, run.reason, run.outcomes[0]
        )
    alpha: Any = None
    if algorithm == "ema":
        alpha = 1 - step * KAPPA
    if algorithm == "cosine":
        alpha = 1 - step * np.array([cosine_rate(k * step) for k in range(steps)])
    dynamics: Dynamics = "sg" if algorithm == "sg" else "ema"
    return iterate(problem, dynamics, A, B, step=step, alpha=alpha, steps=steps, record_every=every, norm_limit=100.0)
