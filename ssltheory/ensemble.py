"""Many trajectories at once, each taken to rest: the flow by a stiff integrator, the algorithm by plain iteration.

A trial is one problem ``(X, Y, lam)`` with one initial state. Trials do not see each other, so a batch may be cut
anywhere: it runs on threads by default, and on any :class:`concurrent.futures.Executor` that is given.
"""

import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate as validate
from ssltheory.linear import Dynamics
from ssltheory.trajectory import Outcome

OUTCOMES = (Outcome.CONVERGED, Outcome.UNFINISHED, Outcome.DIVERGED)


@dataclass(frozen=True)
class Rest:
    """Where a batch of ``K`` trials ended, and why each stopped.

    ``outcome[k]`` indexes :data:`OUTCOMES`: 0 converged (the norm of the field is at most ``field_tol``), 1 unfinished
    (the limit on steps or time came first), 2 diverged. ``time`` is flow time, or steps times step size.
    """

    A: Float[np.ndarray, "K n m"]
    B: Float[np.ndarray, "K n n"]
    C: Float[np.ndarray, "K n m"] | None
    field_norm: Float[np.ndarray, " K"]
    outcome: Int[np.ndarray, " K"]
    time: Float[np.ndarray, " K"]
    steps: Int[np.ndarray, " K"]

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.outcome)

    def having(self, outcome: Outcome) -> np.ndarray:
        """Return the mask ``(K,)`` of the trials with this outcome."""
        return self.outcome == OUTCOMES.index(outcome)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many trials had each outcome, by the outcome's name."""
        return {str(o.value): int(self.having(o).sum()) for o in OUTCOMES}


def flow_to_rest(
    dynamics: Dynamics,
    A: Float[np.ndarray, "K n m"],
    B: Float[np.ndarray, "K n n"],
    C: Float[np.ndarray, "K n m"] | None = None,
    *,
    X: Float[np.ndarray, "*K m m"],
    Y: Float[np.ndarray, "*K m m"],
    Z: Float[np.ndarray, "*K m m"] | None = None,
    lam: Float[np.ndarray, " K"] | float,
    kappa: Float[np.ndarray, " K"] | float | None = None,
    field_tol: float = 1e-9,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    max_steps: int = 100_000,
    max_time: float = np.inf,
    executor: Executor | None = None,
) -> Rest:
    r"""Integrate the flow of each trial until its field is small.

    The states obey :math:`A' = -P`, :math:`B' = -Q` (and :math:`C' = \kappa (A - C)` for ``"ema"``) with the fields
    of :class:`ssltheory.LinearProblem`. The integrator is RODAS, an L-stable Rosenbrock method of order 4(3): near a
    stable equilibrium its step grows without bound, so that the spread of the rates (from ``lam`` or ``kappa`` to
    ``rho r^2``) costs nothing.

    Args:
        dynamics: ``"gradient"`` (of E), ``"sg"`` or ``"ema"``.
        A: encoders ``(K, n, m)`` at time 0.
        B: predictors ``(K, n, n)`` at time 0.
        C: teachers ``(K, n, m)`` at time 0; ``"ema"`` only, a copy of ``A`` if not given.
        X: ``[x x^T]``, one for all trials ``(m, m)`` or one each ``(K, m, m)``.
        Y: ``[y x^T]``, likewise.
        Z: ``[y y^T]``, likewise; needed by ``"gradient"``.
        lam: weight decay, a number or ``(K,)``.
        kappa: rate of the teacher, a number or ``(K,)``; ``"ema"`` only.
        field_tol: a trial has converged when the norm of its time derivative is at most this, or at most the rounding
            error of the field itself where that is larger (states of norm ``r`` cannot resolve less than about
            ``4e-16 r^2 (|X| r + |Y|)``).
        rtol: local error allowed in a step, as a share of the state's norm.
        atol: local error allowed in a step, in the state's units.
        max_steps: steps after which a trial is unfinished.
        max_time: flow time at which a trial stops; unfinished unless at rest.
        executor: runs the slices of the batch; threads on all cores if not given.

    Raises:
        ValueError: for non-finite values, shapes that do not fit, X not positive definite, ``lam < 0``, ``n < m``, a
            teacher or its rate missing or not called for.

    Source: Ponce et al. (2026), section 4; Hairer and Wanner, *Solving Ordinary Differential Equations II*, IV.7.
    """
    batch = _Batch.of(dynamics, A, B, C, X=X, Y=Y, Z=Z, lam=lam)
    if dynamics == "ema":
        if kappa is None:
            raise ValueError("kappa is missing: dynamics 'ema' needs the teacher's rate kappa >= 0")
        rates = batch.each("kappa", validate.nonnegative("kappa", kappa))
    elif kappa is not None:
        raise ValueError(f"got kappa = {kappa!r} with dynamics {dynamics!r}: only 'ema' has a teacher with a rate")
    else:
        rates = np.zeros(len(A))
    limits = (
        float(validate.positive("field_tol", field_tol)),
        float(validate.positive("rtol", rtol)),
        float(validate.positive("atol", atol)),
        validate.count("max_steps", max_steps),
        _limit("max_time", max_time),
    )
    return batch.run(_flow_slice, (batch.X, batch.Y, batch.Z, batch.lam, rates), limits, executor)


def iterate_to_rest(
    dynamics: Dynamics,
    A: Float[np.ndarray, "K n m"],
    B: Float[np.ndarray, "K n n"],
    C: Float[np.ndarray, "K n m"] | None = None,
    *,
    X: Float[np.ndarray, "*K m m"],
    Y: Float[np.ndarray, "*K m m"],
    Z: Float[np.ndarray, "*K m m"] | None = None,
    lam: Float[np.ndarray, " K"] | float,
    step: Float[np.ndarray, " K"] | float,
    alpha: Float[np.ndarray, " K"] | float | None = None,
    field_tol: float = 1e-9,
    max_steps: int = 200_000,
    executor: Executor | None = None,
) -> Rest:
    r"""Iterate the discrete algorithm of each trial until its field is small.

    One step is :math:`A \leftarrow A - \eta P`, :math:`B \leftarrow B - \eta Q`, then for ``"ema"`` the teacher
    follows the new encoder, :math:`C \leftarrow \alpha C + (1 - \alpha) A`. The field's norm counts the teacher's
    motion as :math:`(1 - \alpha)(A - C) / \eta`, which makes it the norm of the flow with
    :math:`\kappa = (1 - \alpha) / \eta`.

    Args:
        dynamics: ``"gradient"`` (of E), ``"sg"`` or ``"ema"``.
        A: encoders ``(K, n, m)`` before the first step.
        B: predictors ``(K, n, n)`` before the first step.
        C: teachers ``(K, n, m)``; ``"ema"`` only, a copy of ``A`` if not given.
        X: ``[x x^T]``, one for all trials ``(m, m)`` or one each ``(K, m, m)``.
        Y: ``[y x^T]``, likewise.
        Z: ``[y y^T]``, likewise; needed by ``"gradient"``.
        lam: weight decay, a number or ``(K,)``.
        step: step size eta, a number or ``(K,)``.
        alpha: momentum of the teacher in [0, 1], a number or ``(K,)``; ``"ema"`` only.
        field_tol: a trial has converged when the field's norm is at most this.
        max_steps: steps after which a trial is unfinished.
        executor: runs the slices of the batch; threads on all cores if not given.

    Raises:
        ValueError: as :func:`flow_to_rest`, and for ``step <= 0`` or ``alpha`` outside [0, 1].

    Source: Ponce et al. (2026), section 4.
    """
    batch = _Batch.of(dynamics, A, B, C, X=X, Y=Y, Z=Z, lam=lam)
    steps = batch.each("step", validate.positive("step", step))
    if dynamics == "ema":
        if alpha is None:
            raise ValueError("alpha is missing: dynamics 'ema' needs the teacher's momentum alpha in [0, 1]")
        momenta = batch.each("alpha", validate.probability("alpha", alpha))
    elif alpha is not None:
        raise ValueError(f"got alpha = {alpha!r} with dynamics {dynamics!r}: only 'ema' has a teacher with momentum")
    else:
        momenta = np.zeros(len(A))
    limits = (float(validate.positive("field_tol", field_tol)), validate.count("max_steps", max_steps))
    return batch.run(_iteration_slice, (batch.X, batch.Y, batch.Z, batch.lam, steps, momenta), limits, executor)


@dataclass(frozen=True)
class _Batch:
    """A checked batch: flat states ``(K, size)`` and one problem for each."""

    dynamics: Dynamics
    n: int
    m: int
    states: np.ndarray
    X: np.ndarray
    Y: np.ndarray
    Z: np.ndarray
    lam: np.ndarray

    @classmethod
    def of(cls, dynamics: Any, A: Any, B: Any, C: Any, *, X: Any, Y: Any, Z: Any, lam: Any) -> "_Batch":
        validate.one_of("dynamics", dynamics, get_args(Dynamics))
        A = validate.shaped("A", A, ("K", "n", "m"))
        if 0 in A.shape:
            raise ValueError(f"A has shape {A.shape}; need (K, n, m), none of them 0")
        K, n, m = A.shape
        if n < m:
            raise ValueError(f"A has shape {A.shape}, that is n = {n} < m = {m}; need n >= m")
        B = validate.shaped("B", B, (K, n, n))
        blocks = [A, B]
        if dynamics == "ema":
            blocks.append(A if C is None else validate.shaped("C", C, (K, n, m)))
        elif C is not None:
            raise ValueError(f"got a teacher C with dynamics {dynamics!r}; only 'ema' has a teacher of its own")
        if dynamics == "gradient" and Z is None:
            raise ValueError("Z is missing: dynamics 'gradient' needs [y y^T]")
        moments = []
        for name, M in (("X", X), ("Y", Y), ("Z", X if Z is None else Z)):
            M = validate.shaped(name, M, (K, m, m) if np.ndim(M) == 3 else (m, m))
            M = M if name == "Y" else validate.positive_definite(name, M)
            moments.append(np.ascontiguousarray(np.broadcast_to(M, (K, m, m))))
        states = np.concatenate([block.reshape(K, -1) for block in blocks], axis=1)
        X, Y, Z = moments
        batch = cls(cast(Dynamics, dynamics), n, m, states, X, Y, Z, np.zeros(K))
        return replace(batch, lam=batch.each("lam", validate.nonnegative("lam", lam)))

    def each(self, name: str, value: np.ndarray) -> np.ndarray:
        """Return ``value``, a number or one for each trial, as ``(K,)``."""
        trials = (len(self.states),)
        if value.shape not in ((), trials):
            raise ValueError(f"{name} has shape {value.shape}; need a number or one for each trial, {trials}")
        return np.ascontiguousarray(np.broadcast_to(value, trials))

    def run(self, work: Callable[..., Any], arrays: tuple, limits: tuple, executor: Executor | None) -> Rest:
        cores = os.cpu_count() or 1
        # Slices far more numerous than cores even out trials of unequal length.
        cuts = np.array_split(np.arange(len(self.states)), max(1, min(16 * cores, len(self.states) // 64)))
        slices = [(self.dynamics, self.n, self.m, self.states[c], tuple(a[c] for a in arrays), limits) for c in cuts]
        if executor is not None:
            parts = [future.result() for future in [executor.submit(work, *s) for s in slices]]
        elif len(slices) == 1:
            parts = [work(*slices[0])]
        else:
            # One call on no trial compiles the kernel before the threads race for it.
            none = np.arange(0)
            work(self.dynamics, self.n, self.m, self.states[none], tuple(a[none] for a in arrays), limits)
            with ThreadPoolExecutor(cores) as pool:
                parts = [future.result() for future in [pool.submit(work, *s) for s in slices]]
        states, norm, outcome, time, steps = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        K, na, nn = len(states), self.n * self.m, self.n * self.n
        return Rest(
            A=states[:, :na].reshape(K, self.n, self.m),
            B=states[:, na : na + nn].reshape(K, self.n, self.n),
            C=states[:, na + nn :].reshape(K, self.n, self.m) if self.dynamics == "ema" else None,
            field_norm=norm,
            outcome=outcome,
            time=time,
            steps=steps,
        )


def _limit(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0; got {value!r}")
    return float(value)


def _empty(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(count), np.empty(count, np.int8), np.empty(count), np.empty(count, np.int64)


def _flow_slice(dynamics: Dynamics, n: int, m: int, states: np.ndarray, arrays: tuple, limits: tuple) -> tuple:
    from ssltheory import _kernels

    states = states.copy()
    norm, outcome, time, steps = _empty(len(states))
    kernel = _kernels.flow_kernel(_kernels.CODES[dynamics], n, m)
    kernel(states, *arrays, *limits, norm, outcome, time, steps)
    return states, norm, outcome, time, steps


def _iteration_slice(dynamics: Dynamics, n: int, m: int, states: np.ndarray, arrays: tuple, limits: tuple) -> tuple:
    from ssltheory import _kernels

    states = states.copy()
    norm, outcome, _, steps = _empty(len(states))
    kernel = _kernels.iteration_kernel(_kernels.CODES[dynamics], n, m)
    kernel(states, *arrays, *limits, norm, outcome, steps)
    return states, norm, outcome, steps * arrays[4], steps
