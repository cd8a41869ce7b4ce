"""The continuous dynamics: one trajectory of gradient flow, SG or EMA by a stiff integrator."""

import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.linear import Dynamics, LinearProblem, check_dynamics
from ssltheory.trajectory import Outcome, Trajectory


def integrate(
    problem: LinearProblem,
    dynamics: Dynamics,
    A: Float[np.ndarray, "n m"],
    B: Float[np.ndarray, "n n"],
    C: Float[np.ndarray, "n m"] | None = None,
    *,
    kappa: float | Callable[[float], float] | None = None,
    duration: float,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    field_tol: float | None = None,
    samples: int | Float[np.ndarray, " T"] = 200,
    norm_limit: float = 1e8,
) -> Trajectory:
    """Integrate the flow A' = -P, B' = -Q (``"ema"``: and C' = kappa (A - C)) from a state over ``duration``.

    ``kappa`` >= 0, in inverse units of time, is a number or a function of time, for a teacher whose momentum or step
    has a schedule: step eta_k and momentum alpha_k at time t = eta_0 + ... + eta_(k-1) have kappa(t) = (1 - alpha_k) /
    eta_k. Where kappa(t) jumps, the integrator shortens its steps; a field that is small at one moment counts as
    converged even if kappa grows later.

    The integrator is LSODA, which switches between Adams and backward differences as the problem stiffens. ``samples``
    is the number of equally spaced times to keep, or the increasing times themselves in [0, duration]; the state at
    which it stopped is always kept too. C is A if None (``"ema"``). It stops as converged once the norm of the field
    has fallen to ``field_tol`` (None: never; below about 10 ``rtol`` times the state's size the integrator's own error
    hides it), as diverged once the state's norm has reached ``norm_limit``, else as unfinished at ``duration``.

    Raises ``ValueError`` for bad shapes, a missing ``kappa``, or times, tolerances, limits that are not positive.
    Source: Ponce et al. (arXiv 2507.01028), section 4.
    """
    C = A if dynamics == "ema" and C is None else C
    check_dynamics(dynamics, C=C, kappa=kappa)
    rate = _rate(kappa)
    state = problem.check_state(A, B, C)
    if any(M.ndim != 2 for M in state):
        raise ValueError("integrate takes one state, not a batch; ensemble.flow_to_rest takes a batch")
    duration, rtol, atol, norm_limit = (
        _validate.scalar(name, value, _validate.positive)
        for name, value in (("duration", duration), ("rtol", rtol), ("atol", atol), ("norm_limit", norm_limit))
    )
    if field_tol is not None:
        field_tol = _validate.scalar("field_tol", field_tol, _validate.positive)
    times = sample_times(samples, duration)

    shapes = [M.shape for M in state]
    cuts = np.cumsum([M.size for M in state])[:-1]
    start = np.concatenate([M.ravel() for M in state])

    def split(flat: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True)]

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        moved = problem._velocity(dynamics, *split(flat), kappa=rate(t))  # type: ignore[misc, arg-type]
        return np.concatenate([M.ravel() for M in moved])

    def field_norm(t: float, flat: np.ndarray) -> float:
        return float(np.linalg.norm(velocity(t, flat)))

    def finish(t: np.ndarray, states: np.ndarray, outcome: Outcome, reason: str) -> Trajectory:
        columns = [np.stack(column) for column in zip(*(split(flat) for flat in states), strict=True)]
        norms = np.array([field_norm(*pair) for pair in zip(t, states, strict=True)])
        teacher = columns[2] if len(columns) == 3 else None
        verdicts = np.array(outcome.value, dtype="U10")
        return Trajectory(t, columns[0], columns[1], teacher, norms, outcome, reason, verdicts)

    if field_tol is not None and field_norm(0.0, start) <= field_tol:
        reason = f"converged: the field's norm {field_norm(0.0, start):.2e} is at most {field_tol:.2e} at the start"
        return finish(np.zeros(1), start[None], Outcome.CONVERGED, reason)
    if np.linalg.norm(start) >= norm_limit:
        reason = f"diverged: the state's norm {np.linalg.norm(start):.2e} exceeds {norm_limit:.2e} at the start"
        return finish(np.zeros(1), start[None], Outcome.DIVERGED, reason)

    def at_rest(t: float, flat: np.ndarray) -> float:
        # The logarithm makes the event's root finding as easy at 1e-9 as at 1.
        return float(np.log(max(field_norm(t, flat), 1e-300) / field_tol)) if field_tol is not None else 1.0

    path = follow(velocity, start, times, at_rest=at_rest, rtol=rtol, atol=atol, norm_limit=norm_limit)
    t, states = path.t, path.states
    if path.end == "diverged":
        reason = f"diverged: the state's norm reached {norm_limit:.2e} at time {t[-1]:.6g}"
        return finish(t, states, Outcome.DIVERGED, reason)
    if path.end == "at rest":
        reason = f"converged: the field's norm fell to {field_tol:.2e} at time {t[-1]:.6g}"
        return finish(t, states, Outcome.CONVERGED, reason)
    if path.end == "gave up":
        reason = f"unfinished: the integrator gave up after time {t[-1]:.6g}: {path.message}"
        return finish(t, states, Outcome.UNFINISHED, reason)
    norm = field_norm(t[-1], states[-1])
    return finish(t, states, Outcome.UNFINISHED, f"unfinished: the field's norm is {norm:.2e} at time {t[-1]:.6g}")


class Path(NamedTuple):
    """What the integrator returned: ``t`` (T,), ``states`` (T, d), and how it ended; ``message`` if it gave up."""

    t: Float[np.ndarray, " T"]
    states: Float[np.ndarray, "T d"]
    end: Literal["diverged", "at rest", "gave up", "time"]
    message: str


def follow(
    velocity: Callable[[float, np.ndarray], np.ndarray],
    start: Float[np.ndarray, " d"],
    times: Float[np.ndarray, " T"],
    *,
    at_rest: Callable[[float, np.ndarray], float],
    rtol: float,
    atol: float,
    norm_limit: float,
    method: Literal["LSODA", "DOP853"] = "LSODA",
) -> Path:
    """Integrate a flat state from time 0 to ``times[-1]``, and stop where it leaves a ball or comes to rest.

    The states at ``times`` are kept, and the one at which it stopped: where the norm has reached ``norm_limit``, or
    where ``at_rest`` falls through zero (rising, it does not count: the state may be leaving a saddle). A start beyond
    the limit is the caller's to refuse. ``"LSODA"`` takes stiff problems; ``"DOP853"`` stores no Jacobian, for states
    of many numbers.
    """
    from scipy.integrate import solve_ivp

    def diverged(t: float, flat: np.ndarray) -> float:
        return float(np.linalg.norm(flat)) - norm_limit

    def rest(t: float, flat: np.ndarray) -> float:
        return at_rest(t, flat)

    diverged.terminal = rest.terminal = True  # type: ignore[attr-defined]
    rest.direction = -1  # type: ignore[attr-defined]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solution: Any = solve_ivp(
            velocity,
            (0.0, times[-1]),
            start,
            method=method,
            t_eval=times,
            events=[diverged, rest],
            rtol=rtol,
            atol=atol,
        )
    t, states = np.asarray(solution.t), np.asarray(solution.y).T.reshape(-1, start.size)  # lists if they are empty
    for when, where in zip(solution.t_events, solution.y_events, strict=True):
        if when.size:
            before = t < when[-1]
            t, states = np.append(t[before], when[-1]), np.vstack([states[before], where[-1:]])
    if solution.t_events[0].size:
        return Path(t, states, "diverged", "")
    if solution.t_events[1].size:
        return Path(t, states, "at rest", "")
    good = np.isfinite(states).all(axis=1)
    if not good.all() or not t.size:
        t, states = (t[good], states[good]) if good.any() else (np.zeros(1), start[None])
    if solution.status < 0:
        return Path(t, states, "gave up", "; ".join(str(w.message) for w in caught) or solution.message)
    return Path(t, states, "time", "")


def _rate(kappa: float | Callable[[float], float] | None) -> Callable[[float], float | None]:
    if kappa is None:
        return lambda t: None
    if not callable(kappa):
        number = _validate.scalar("kappa", kappa, _validate.nonnegative)
        return lambda t: number

    def at(t: float) -> float:
        value = float(kappa(t))
        if not 0 <= value < np.inf:
            raise ValueError(f"kappa must be at least 0 and finite at every time; kappa({t:.6g}) is {value:.6g}")
        return value

    return at


def sample_times(samples: int | np.ndarray, duration: float) -> Float[np.ndarray, " T"]:
    """The times to keep: a number of equal steps, or the given ones and ``duration``, in [0, duration].

    Raises ``ValueError`` for fewer than two, or times that do not increase in the interval.
    """
    if isinstance(samples, (int, np.integer)):
        return np.linspace(0.0, duration, _validate.count("samples", samples, 2))
    times = _validate.shaped("samples", samples, ("T",))
    if not times.size or (np.diff(times) <= 0).any() or times[0] < 0 or times[-1] > duration:
        raise ValueError(f"samples must increase within [0, duration = {duration:g}]; got {samples!r}")
    return times if times[-1] == duration else np.append(times, duration)
