"""Many trajectories at once, each taken to rest: the flow by a stiff integrator, the algorithm by plain iteration.

A trial is one problem ``(X, Y, lam)`` with one initial state. Trials do not see each other, so a batch may be cut
anywhere and its slices computed anywhere, twice if need be, with the same result: it runs on threads by default, and on
any :class:`concurrent.futures.Executor` that is given.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate
from ssltheory.linear import Dynamics, check_dynamics
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
            teacher or its rate missing or not called for, an ``executor`` that is none.
        concurrent.futures.BrokenExecutor: the executor lost a slice of the batch and does not compute it again.

    Source: Ponce et al. (2026), section 4; Hairer and Wanner, *Solving Ordinary Differential Equations II*, IV.7.
    """
    check_dynamics(dynamics, kappa=kappa)
    batch = _Batch.of(dynamics, A, B, C, X=X, Y=Y, Z=Z, lam=lam)
    rates = batch.each("kappa", _validate.nonnegative("kappa", 0.0 if kappa is None else kappa))
    limits = (
        _validate.scalar("field_tol", field_tol, _validate.positive),
        _validate.scalar("rtol", rtol, _validate.positive),
        _validate.scalar("atol", atol, _validate.positive),
        _validate.count("max_steps", max_steps),
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
        concurrent.futures.BrokenExecutor: as :func:`flow_to_rest`.

    Source: Ponce et al. (2026), section 4.
    """
    check_dynamics(dynamics, alpha=alpha)
    batch = _Batch.of(dynamics, A, B, C, X=X, Y=Y, Z=Z, lam=lam)
    steps = batch.each("step", _validate.positive("step", step))
    momenta = batch.each("alpha", _validate.probability("alpha", 0.0 if alpha is None else alpha))
    limits = (
        _validate.scalar("field_tol", field_tol, _validate.positive),
        _validate.count("max_steps", max_steps),
    )
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
        A = _validate.shaped("A", A, ("K", "n", "m"))
        if 0 in A.shape:
            raise ValueError(f"A has shape {A.shape}; need (K, n, m), none of them 0")
        K, n, m = A.shape
        if n < m:
            raise ValueError(f"A has shape {A.shape}, that is n = {n} < m = {m}; need n >= m")
        B = _validate.shaped("B", B, (K, n, n))
        blocks = [A, B]
        if dynamics == "ema":
            C = A if C is None else C
            blocks.append(_validate.shaped("C", C, (K, n, m)))
        check_dynamics(dynamics, C=C)
        if dynamics == "gradient" and Z is None:
            raise ValueError("Z is missing: dynamics 'gradient' needs [y y^T]")
        moments = []
        checks = (_validate.positive_definite, _validate.finite, _validate.positive_semidefinite)
        for name, M, check in zip("XYZ", (X, Y, X if Z is None else Z), checks, strict=True):
            M = check(name, _validate.shaped(name, M, (m, m), (K, m, m)))
            moments.append(np.array(np.broadcast_to(M, (K, m, m)), order="C"))
        states = np.concatenate([block.reshape(K, -1) for block in blocks], axis=1)
        X, Y, Z = moments
        batch = cls(cast(Dynamics, dynamics), n, m, states, X, Y, Z, np.zeros(K))
        return replace(batch, lam=batch.each("lam", _validate.nonnegative("lam", lam)))

    def each(self, name: str, value: np.ndarray) -> np.ndarray:
        """Return ``value``, a number or one for each trial, as ``(K,)``."""
        trials = (len(self.states),)
        if value.shape not in ((), trials):
            raise ValueError(f"{name} has shape {value.shape}; need a number or one for each trial, {trials}")
        return np.array(np.broadcast_to(value, trials), order="C")

    def run(
        self, work: Callable[..., Any], arrays: Sequence[np.ndarray], limits: tuple, executor: Executor | None
    ) -> Rest:
        if executor is not None and not isinstance(executor, Executor):
            hint = "; a Dask client gives one: client.get_executor()" if hasattr(executor, "get_executor") else ""
            raise ValueError(f"executor must be a concurrent.futures.Executor; got {type(executor).__name__}{hint}")
        cores = _cores()
        # Slices far more numerous than workers even out trials of unequal length; an executor does not say how many
        # workers it has. A slice is some milliseconds of work, or handing it over would cost more.
        most = 16 * cores if executor is None else 512
        least = max(1, 128 // (self.n * self.m))
        count = max(1, min(most, len(self.states) // least))
        parts = zip(*(np.array_split(array, count) for array in (self.states, *arrays)), strict=True)
        slices = [(self.dynamics, self.n, self.m, states, rest, limits) for states, *rest in parts]
        if len(slices) > 1:
            # One call on no trial compiles the kernel before threads or processes race for it.
            none = (self.states[:0], [array[:0] for array in arrays])
            work(self.dynamics, self.n, self.m, *none, limits)
        if executor is not None:
            ends = _gather(executor, work, slices)
        elif len(slices) == 1:
            ends = [work(*slices[0])]
        else:
            with ThreadPoolExecutor(cores) as pool:
                ends = _gather(pool, work, slices)
        states, norm, outcome, time, steps = (np.concatenate(columns) for columns in zip(*ends, strict=True))
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


def _gather(executor: Executor, work: Callable[..., Any], slices: Sequence[tuple]) -> list[Any]:
    """Compute all slices, in order; if one fails, those not begun are called off."""
    futures: list[Future] = []
    try:
        for part in slices:
            futures.append(executor.submit(work, *part))
        return [future.result() for future in futures]
    except (BrokenExecutor, CancelledError) as problem:
        done = sum(future.done() and not future.cancelled() and future.exception() is None for future in futures)
        raise BrokenExecutor(
            f"the executor broke off with {done} of {len(slices)} slices done ({type(problem).__name__}: {problem}); "
            "was a worker killed, perhaps for want of memory? Run the batch again on a new executor: nothing is kept"
        ) from problem
    finally:
        for future in futures:
            future.cancel()


def _cores() -> int:
    """Return how many cores this process may use, which in a container are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _limit(name: str, value: float) -> float:
    """Return a positive number, or infinity for no limit."""
    forever = isinstance(value, float) and value == np.inf
    return float(value) if forever else _validate.scalar(name, value, _validate.positive)


def _empty(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(count), np.empty(count, np.int8), np.empty(count), np.empty(count, np.int64)


def _writeable(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the arrays, copied where they came read-only: a kernel would be compiled anew for such."""
    return [np.require(array, requirements=["C", "W"]) for array in arrays]


def _flow_slice(
    dynamics: Dynamics, n: int, m: int, states: np.ndarray, arrays: Sequence[np.ndarray], limits: tuple
) -> tuple:
    from ssltheory import _kernels

    states, arrays = states.copy(), _writeable(arrays)
    norm, outcome, time, steps = _empty(len(states))
    kernel = _kernels.flow_kernel(_kernels.CODES[dynamics], *_kernels.known(n, m))
    kernel(n, states, *arrays, *limits, norm, outcome, time, steps)
    return states, norm, outcome, time, steps


def _iteration_slice(
    dynamics: Dynamics, n: int, m: int, states: np.ndarray, arrays: Sequence[np.ndarray], limits: tuple
) -> tuple:
    from ssltheory import _kernels

    states, arrays = states.copy(), _writeable(arrays)
    norm, outcome, _, steps = _empty(len(states))
    kernel = _kernels.iteration_kernel(_kernels.CODES[dynamics], *_kernels.known(n, m))
    kernel(n, states, *arrays, *limits, norm, outcome, steps)
    return states, norm, outcome, steps * arrays[4], steps
