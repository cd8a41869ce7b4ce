"""The scalar case by the thousand: random problems, random starts, and a table of where they end.

This is the experiment behind the published table of Ponce et al. (rho uniform on [0, 3], tau on [-1, 1], lam on
[0.01, 0.1]; 10,000 trials). The width n, the law of the initial states, the momentum and the step are free here: our
source does not give them.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int8

from ssltheory import _validate
from ssltheory.ensemble import Rest, flow_to_rest, iterate_to_rest
from ssltheory.intervals import Interval, share_interval
from ssltheory.linear import Dynamics
from ssltheory.scalar import LABELS, NONE, classify_codes, discriminant
from ssltheory.trajectory import Outcome

Start = Literal["normal", "uniform", "positive"]
"""Laws of the entries of A and B: N(0, 1), uniform on [-1, 1], uniform on [0, 1]; each times a scale."""

RANGES = {"rho": (0.0, 3.0), "tau": (-1.0, 1.0), "lam": (0.01, 0.1)}
COLUMNS = ("outer", "origin", "inner", "diverged", "unfinished", "elsewhere")


@dataclass(frozen=True, eq=False)
class ScalarTrials:
    """``K`` scalar problems, one a trial."""

    rho: Float[np.ndarray, " K"]
    tau: Float[np.ndarray, " K"]
    lam: Float[np.ndarray, " K"]

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.rho)

    def __getitem__(self, which: slice | np.ndarray) -> "ScalarTrials":
        """Return some of the trials."""
        return ScalarTrials(self.rho[which], self.tau[which], self.lam[which])

    @property
    def viable(self) -> Bool[np.ndarray, " K"]:
        """Tell which problems have nonzero equilibria: Delta = tau^2 - 4 rho lam >= 0."""
        return discriminant(self.rho, self.tau, self.lam) >= 0


def draw_trials(rng: np.random.Generator, count: int, *, viable_only: bool = True) -> ScalarTrials:
    """Draw problems uniformly from the published ranges; by default those that have nonzero equilibria.

    Where Delta < 0 the origin is the only equilibrium and a trial can end nowhere else, so such a draw says nothing
    about which equilibrium attracts.
    """
    count = _validate.count("count", count)
    kept = ScalarTrials(*(np.empty(0) for _ in RANGES))
    while len(kept) < count:
        size = 3 * (count - len(kept)) + 100 if viable_only else count
        drawn = ScalarTrials(*(rng.uniform(low, high, size) for low, high in RANGES.values()))
        drawn = drawn[drawn.viable] if viable_only else drawn
        kept = ScalarTrials(*(np.concatenate([getattr(kept, k), getattr(drawn, k)]) for k in RANGES))
    return kept[:count]


def draw_states(
    rng: np.random.Generator, count: int, n: int, start: Start = "normal", scale: float = 1.0
) -> tuple[Float[np.ndarray, "K n 1"], Float[np.ndarray, "K n n"]]:
    """Draw the initial encoders and predictors, their entries independent: ``scale`` times a variable of the law."""
    count, n = _validate.count("count", count), _validate.count("n", n)
    _validate.one_of("start", start, get_args(Start))
    scale = _validate.scalar("scale", scale, _validate.nonnegative)

    def entries(*shape: int) -> np.ndarray:
        if start == "normal":
            return scale * rng.normal(size=shape)
        return scale * rng.uniform(-1.0 if start == "uniform" else 0.0, 1.0, size=shape)

    return entries(count, n, 1), entries(count, n, n)


@dataclass(frozen=True, eq=False)
class OutcomeTable:
    """Where ``K`` trials ended. ``codes`` are those of :mod:`ssltheory.scalar`; NONE for a trial not at rest."""

    trials: ScalarTrials
    rest: Rest
    codes: Int8[np.ndarray, " K"]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many trials ended in each of :data:`COLUMNS`; they sum to the number of trials.

        "elsewhere" counts the trials at rest on none of the known equilibria: 0 if the theory is right.
        """
        ended = {str(label): int((self.codes == code).sum()) for code, label in enumerate(LABELS) if code != NONE}
        ended |= {k: self.rest.counts[k] for k in ("diverged", "unfinished")}
        return {column: ended.get(column, len(self.codes) - sum(ended.values())) for column in COLUMNS}

    def share(self, column: str) -> float:
        """Return the share of trials in a column."""
        _validate.one_of("column", column, COLUMNS)
        return self.counts[column] / len(self.codes)

    def interval(self, column: str, confidence: float = 0.95) -> Interval:
        """Return the exact binomial interval of a column's share."""
        _validate.one_of("column", column, COLUMNS)
        return share_interval(self.counts[column], len(self.codes), confidence)


def run_trials(
    dynamics: Dynamics,
    trials: ScalarTrials,
    A: Float[np.ndarray, "K n 1"],
    B: Float[np.ndarray, "K n n"],
    *,
    kappa: float | None = None,
    step: float | None = None,
    alpha: float | None = None,
    field_tol: float = 1e-9,
    max_steps: int | None = None,
    executor: Executor | None = None,
) -> OutcomeTable:
    """Take every trial to rest and say where it is: by the flow, or by the algorithm if ``step`` is given.

    ``kappa`` (flow) or ``alpha`` (algorithm) belongs to ``"ema"`` alone, whose teacher starts as a copy of A.

    Raises ``ValueError`` for arguments that do not go together, and as :func:`ssltheory.flow_to_rest`.
    """
    if dynamics == "gradient":
        raise ValueError("got dynamics 'gradient', which depends on [y y^T] and always collapses; need 'sg' or 'ema'")
    if step is None and alpha is not None:
        raise ValueError("got alpha without step: the flow's teacher has a rate, kappa")
    if step is not None and kappa is not None:
        raise ValueError("got kappa with step: the algorithm's teacher has a momentum, alpha")
    X, Y = trials.rho[:, None, None], trials.tau[:, None, None]
    limit: dict[str, Any] = {} if max_steps is None else {"max_steps": max_steps}
    options = {"lam": trials.lam, "field_tol": field_tol, "executor": executor, **limit}
    if step is None:
        rest = flow_to_rest(dynamics, A, B, X=X, Y=Y, kappa=kappa, **options)
    else:
        rest = iterate_to_rest(dynamics, A, B, X=X, Y=Y, step=step, alpha=alpha, **options)
    codes = classify_codes(np.linalg.norm(rest.A[:, :, 0], axis=1), trials.rho, trials.tau, trials.lam)
    return OutcomeTable(trials, rest, np.where(rest.having(Outcome.CONVERGED), codes, np.int8(NONE)))


def loss_rises(
    dynamics: Dynamics,
    trials: ScalarTrials,
    A: Float[np.ndarray, "K n 1"],
    B: Float[np.ndarray, "K n n"],
    *,
    kappa: float | None = None,
    duration: float = 200.0,
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Return by how much E and F climb above their lowest value so far, at most, along each trial's flow.

    The climb is in units of the loss at the start. F is taken at the trial's own teacher (for ``"sg"`` the student,
    where F = E). E[y^2] is that of :func:`ssltheory.scalar.scalar_problem`.
    """
    from ssltheory.flow import integrate
    from ssltheory.scalar import scalar_problem

    duration = _validate.scalar("duration", duration, _validate.positive)
    A = _validate.shaped("A", A, (len(trials), "n", 1))
    B = _validate.shaped("B", B, (len(trials), A.shape[1], A.shape[1]))
    times = np.concatenate([[0.0], np.geomspace(1e-3, duration, 150)])
    climbs = np.empty((2, len(trials)))
    for k in range(len(trials)):
        problem = scalar_problem(trials.rho[k], trials.tau[k], trials.lam[k], A.shape[1])
        run = integrate(problem, dynamics, A[k], B[k], kappa=kappa, duration=duration, samples=times, rtol=1e-8)
        teacher = run.A if run.C is None else run.C
        for row, loss in enumerate((problem.loss(run.A, run.B), problem.teacher_loss(run.A, run.B, teacher))):
            climbs[row, k] = np.max(loss - np.minimum.accumulate(loss)) / loss[0]
    return climbs[0], climbs[1]
