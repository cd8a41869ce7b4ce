"""Where random starts of the linear problem end, for views of any dimension, and the recorded sweep of the book.

    python -m ssltheory.basins [--starts 2000] [--out book/data/basins.json]

A limit is classified by the rank of its encoder and, at full rank, by whether it is the largest equilibrium. What is
not at rest is counted as moving (it goes on at an undiminished speed), unfinished or diverged. The sweep covers the
width n, the weight decay, the scale of the start, the teacher and the law of the data, each cell on problems that have
a full-rank equilibrium to go to; about a quarter of an hour on two cores.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from ssltheory import _validate
from ssltheory.ensemble import Rest, flow_to_rest, iterate_to_rest
from ssltheory.equilibria import largest_equilibrium
from ssltheory.intervals import Interval, share_interval
from ssltheory.linear import Dynamics, LinearProblem
from ssltheory.moments import completed_moments
from ssltheory.rank_deficient import equilibrium_gap, rank_of
from ssltheory.records import progress, write_record
from ssltheory.trajectory import Outcome

Family = Literal["exchangeable", "whitened", "general"]
"""Laws of (X, Y), with W a Wishart matrix of 3 m degrees of freedom over 3 m. ``"exchangeable"``: two noisy copies of
one signal, X = W + 0.3 W', Y = W, so independent given the signal. ``"whitened"``: X = I, Y diagonal and uniform on
[0, 1]. ``"general"``: no structure, X = W and the entries of Y normal of variance 1/m."""

NOT_AT_REST = ("moving", "unfinished", "diverged")
SPEED = 1e-4
"""A trial that is not at rest is moving if its field is at least this large."""


@dataclass(frozen=True, eq=False)
class Problems:
    """``K`` problems that have a full-rank equilibrium, and the Gram matrix S of the largest one of each."""

    X: Float[np.ndarray, "K m m"]
    Y: Float[np.ndarray, "K m m"]
    S: Float[np.ndarray, "K m m"]
    lam: float
    drawn: int

    def __len__(self) -> int:
        """Return the number of problems."""
        return len(self.X)

    def __getitem__(self, which: slice | np.ndarray) -> "Problems":
        """Return some of the problems."""
        return Problems(self.X[which], self.Y[which], self.S[which], self.lam, self.drawn)

    def linear(self, k: int, n: int) -> LinearProblem:
        """Return the k-th problem with a code of width ``n``; y has a part of variance 1 that x does not predict."""
        return LinearProblem(completed_moments(self.X[k], self.Y[k]), self.lam, n)


def draw_problems(rng: np.random.Generator, count: int, m: int, lam: float, family: Family) -> Problems:
    """Draw problems of a family until ``count`` of them have a full-rank equilibrium; ``drawn`` says how many it took.

    Raises ``ValueError`` for an unknown family, ``lam`` <= 0, or if fewer than one draw in a hundred has one.
    """
    count, m = _validate.count("count", count), _validate.count("m", m)
    lam = _validate.scalar("lam", lam, _validate.positive)
    _validate.one_of("family", family, get_args(Family))
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    drawn = 0
    while len(kept) < count:
        X, Y = _draw(rng, m, family)
        drawn += 1
        S = largest_equilibrium(X, Y, lam).S
        if S is not None:
            kept.append((X, Y, S))
        elif drawn > 100 * (len(kept) + 10):
            raise ValueError(f"only {len(kept)} of {drawn} draws have a full-rank equilibrium at lam = {lam:.6g}")
    X, Y, S = (np.stack(column) for column in zip(*kept, strict=True))
    return Problems(X, Y, S, lam, drawn)


def _draw(rng: np.random.Generator, m: int, family: Family) -> tuple[np.ndarray, np.ndarray]:
    def wishart() -> np.ndarray:
        G = rng.standard_normal((m, 3 * m))
        return G @ G.T / (3 * m)

    if family == "exchangeable":
        Y = wishart()
        return Y + 0.3 * wishart(), Y
    if family == "whitened":
        return np.eye(m), np.diag(rng.uniform(0.0, 1.0, m))
    return wishart(), rng.standard_normal((m, m)) / np.sqrt(m)


def draw_starts(
    rng: np.random.Generator, count: int, n: int, m: int, scale: float = 1.0
) -> tuple[Float[np.ndarray, "K n m"], Float[np.ndarray, "K n n"]]:
    """Draw initial encoders and predictors: independent normal entries of standard deviation scale / sqrt(n)."""
    count, n, m = (_validate.count(name, value) for name, value in (("count", count), ("n", n), ("m", m)))
    deviation = _validate.scalar("scale", scale, _validate.nonnegative) / np.sqrt(n)
    return deviation * rng.standard_normal((count, n, m)), deviation * rng.standard_normal((count, n, n))


@dataclass(frozen=True, eq=False)
class Orbit:
    """Limits that are one equilibrium up to rotations of the code: rank, S = A^T A, and how many trials ended there."""

    rank: int
    S: Float[np.ndarray, "m m"]
    count: int


@dataclass(frozen=True, eq=False)
class BasinMap:
    """Where ``K`` trials ended.

    ``rank`` is that of the limit's encoder, -1 for a trial not at rest; ``largest`` says whether it is the largest
    equilibrium (False where no S was given); ``moving`` marks trials that go on. ``gap`` is how far a limit of rank k
    is from the equation of equilibria of that rank, relative to its terms; nan for a trial not at rest.
    """

    rest: Rest
    rank: Int[np.ndarray, " K"]
    largest: Bool[np.ndarray, " K"]
    moving: Bool[np.ndarray, " K"]
    gap: Float[np.ndarray, " K"]

    @property
    def m(self) -> int:
        """The dimension of a view."""
        return self.rest.A.shape[-1]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many trials ended at each rank ("rank 0" to "rank m") or not at rest; the sum is ``K``."""
        found = {f"rank {k}": int((self.rank == k).sum()) for k in range(self.m + 1)}
        found["moving"] = int(self.moving.sum())
        found["unfinished"] = int((self.rest.having(Outcome.UNFINISHED) & ~self.moving).sum())
        found["diverged"] = int(self.rest.having(Outcome.DIVERGED).sum())
        return found

    def share(self, column: str) -> float:
        """Return the share of trials in a column of ``counts``."""
        counts = self.counts
        _validate.one_of("column", column, tuple(counts))
        return counts[column] / len(self.rank)

    def interval(self, column: str, confidence: float = 0.95) -> Interval:
        """Return the exact binomial interval of a column's share."""
        counts = self.counts
        _validate.one_of("column", column, tuple(counts))
        return share_interval(counts[column], len(self.rank), confidence)

    def orbits(self, tolerance: float = 1e-5) -> list[Orbit]:
        """Return the distinct limits by decreasing count, for trials of one problem.

        Two limits are one orbit if A^T A and A^T B A agree to ``tolerance`` of the largest entry over all limits.
        """
        tolerance = _validate.scalar("tolerance", tolerance, _validate.positive)
        A, B = (M[self.rank >= 0] for M in (self.rest.A, self.rest.B))
        rank, At = self.rank[self.rank >= 0], np.swapaxes(A, -1, -2)
        marks = np.stack([At @ A, At @ B @ A], axis=1).reshape(len(A), -1)
        scale = np.abs(marks).max(initial=0.0)
        groups: list[list[int]] = []
        for k, mark in enumerate(marks):
            for group in groups:
                if rank[group[0]] == rank[k] and np.abs(marks[group[0]] - mark).max() <= tolerance * scale:
                    group.append(k)
                    break
            else:
                groups.append([k])
        found = [Orbit(int(rank[g[0]]), (At[g[0]] @ A[g[0]]), len(g)) for g in groups]
        return sorted(found, key=lambda orbit: -orbit.count)


def basin_map(
    dynamics: Dynamics,
    A: Float[np.ndarray, "K n m"],
    B: Float[np.ndarray, "K n n"],
    *,
    X: Float[np.ndarray, "*K m m"],
    Y: Float[np.ndarray, "*K m m"],
    lam: Float[np.ndarray, " K"] | float,
    S: Float[np.ndarray, "*K m m"] | None = None,
    kappa: float | None = None,
    step: float | None = None,
    alpha: float | None = None,
    field_tol: float = 1e-9,
    rank_tol: float = 1e-3,
    max_steps: int | None = None,
    executor: Executor | None = None,
) -> BasinMap:
    """Take every trial to rest, by the flow or (if ``step`` is given) by the algorithm, and say where it is.

    ``X``, ``Y`` and ``S``, the largest equilibrium's Gram matrix, are one for all trials or one each. ``kappa`` (flow)
    or ``alpha`` (algorithm) belongs to ``"ema"``, whose teacher starts as a copy of A. The rank counts singular values
    of A above ``rank_tol``; the largest equilibrium is met where |A^T A - S| <= 1e-4 |S|. A trial that has not come to
    rest after ``max_steps`` (flow 2,000, algorithm 200,000) runs for as many again; it is moving if its speed was at
    least :data:`SPEED` at both times and did not fall below a tenth.

    Raises ``ValueError`` for arguments that do not go together, and as :func:`ssltheory.flow_to_rest`.
    """
    if dynamics == "gradient":
        raise ValueError("got dynamics 'gradient', which always collapses; need 'sg' or 'ema'")
    if step is None and alpha is not None:
        raise ValueError("got alpha without step: the flow's teacher has a rate, kappa")
    if step is not None and kappa is not None:
        raise ValueError("got kappa with step: the algorithm's teacher has a momentum, alpha")
    rank_tol = _validate.scalar("rank_tol", rank_tol, _validate.positive)
    limit = (2_000 if step is None else 200_000) if max_steps is None else _validate.count("max_steps", max_steps)
    options: dict[str, Any] = {"field_tol": field_tol, "max_steps": limit, "executor": executor}

    def run(which: np.ndarray | slice, A: np.ndarray, B: np.ndarray, C: np.ndarray | None) -> Rest:
        data: dict[str, Any] = {
            "X": X if np.ndim(X) == 2 else X[which],
            "Y": Y if np.ndim(Y) == 2 else Y[which],
            "lam": lam if np.ndim(lam) == 0 else np.asarray(lam)[which],
        }
        if step is None:
            return flow_to_rest(dynamics, A, B, C, kappa=kappa, **data, **options)
        return iterate_to_rest(dynamics, A, B, C, step=step, alpha=alpha, **data, **options)

    rest = run(slice(None), A, B, None)
    going = np.flatnonzero(rest.having(Outcome.UNFINISHED))
    moving = np.zeros(len(rest), bool)
    if len(going):
        more = run(going, rest.A[going], rest.B[going], None if rest.C is None else rest.C[going])
        speeds = np.stack([rest.field_norm[going], more.field_norm])
        moving[going] = more.having(Outcome.UNFINISHED) & (speeds.min(axis=0) >= SPEED) & (speeds[1] >= 0.1 * speeds[0])
        rest = _replace(rest, going, more)
    at_rest = rest.having(Outcome.CONVERGED)
    rank = np.where(at_rest, rank_of(np.where(at_rest[:, None, None], rest.A, 0.0), rank_tol), -1)
    gram = np.swapaxes(rest.A, -1, -2) @ rest.A
    largest = np.zeros(len(rest), bool)
    if S is not None:
        S = _validate.shaped("S", S, gram.shape[1:], gram.shape)
        near = np.linalg.norm(gram - S, axis=(-1, -2)) <= 1e-4 * np.linalg.norm(S, axis=(-1, -2))
        largest = at_rest & (rank == gram.shape[-1]) & near
    return BasinMap(rest, rank.astype(np.int8), largest, moving, _gap(rest, X, Y, lam, rank))


def _replace(rest: Rest, which: np.ndarray, more: Rest) -> Rest:
    columns: dict[str, Any] = {}
    for name in ("A", "B", "C", "field_norm", "outcome"):
        old, new = getattr(rest, name), getattr(more, name)
        if old is not None:
            old = old.copy()
            old[which] = new
        columns[name] = old
    for name in ("time", "steps"):
        old = getattr(rest, name).copy()
        old[which] += getattr(more, name)
        columns[name] = old
    return Rest(**columns)


def _gap(rest: Rest, X: np.ndarray, Y: np.ndarray, lam: np.ndarray | float, rank: np.ndarray) -> np.ndarray:
    gap = np.full(len(rank), np.nan)
    gap[rank == 0] = 0.0  # the origin
    for k in range(1, rest.A.shape[-1] + 1):
        which = np.flatnonzero(rank == k)
        if len(which):
            x, y = (M if M.ndim == 2 else M[which] for M in (np.asarray(X), np.asarray(Y)))
            decay = lam if np.ndim(lam) == 0 else np.asarray(lam)[which]
            gap[which] = equilibrium_gap(rest.A[which], rest.B[which], x, y, decay, k)
    return gap


SEED = 20261
GRID: dict[str, tuple[Any, ...]] = {
    "lam": (0.003, 0.01, 0.03),
    "scale": (0.5, 1.0, 2.0),
    "teacher": (None, 1.0, 0.1, 0.01),
}
WIDTHS = {2: (2, 3, 4, 6, 10), 3: (3, 4, 6, 8)}
ALGORITHMS: tuple[dict[str, Any], ...] = (
    {"dynamics": "sg", "step": 0.1},
    {"dynamics": "ema", "step": 0.1, "alpha": 0.99},
    {"dynamics": "ema", "step": 0.1, "alpha": 0.999},
)


def settings() -> list[dict[str, Any]]:
    """List the cells of the sweep; the weight decay varies with exchangeable views of two dimensions alone."""

    def teachers() -> Iterator[dict[str, Any]]:
        for kappa in GRID["teacher"]:
            yield {"dynamics": "sg"} if kappa is None else {"dynamics": "ema", "kappa": kappa}

    cells = [
        {"m": 2, "family": family, "lam": lam, "n": n, "scale": scale} | teacher
        for family in get_args(Family)
        for lam in (GRID["lam"] if family == "exchangeable" else (0.01,))
        for n in WIDTHS[2]
        for scale in GRID["scale"]
        for teacher in teachers()
    ]
    cells += [
        {"m": 3, "family": family, "lam": 0.01, "n": n, "scale": 1.0} | teacher
        for family in get_args(Family)
        for n in WIDTHS[3]
        for teacher in teachers()
    ]
    base = {"m": 2, "family": "exchangeable", "lam": 0.01, "scale": 1.0}
    return cells + [base | {"n": n} | algorithm for n in (2, 3, 6) for algorithm in ALGORITHMS]


@lru_cache(maxsize=4)
def _problems(m: int, family: Family, lam: float, count: int) -> Problems:
    place = [m, list(get_args(Family)).index(family), round(1e6 * lam)]
    return draw_problems(np.random.default_rng([SEED, *place]), count, m, lam, family)


def cell(
    setting: Mapping[str, Any], starts: int, executor: Executor | None = None, *, field_tol: float = 1e-9
) -> BasinMap:
    """Run one cell of the sweep on its first ``starts`` problems and starts, from :data:`SEED` and the setting alone.

    Cells that differ in the teacher alone share problems and starts. The record has the default ``field_tol``.
    """
    m, n, scale = setting["m"], setting["n"], setting["scale"]
    problems = _problems(m, setting["family"], setting["lam"], starts)
    rng = np.random.default_rng([SEED, m, n, round(100 * scale)])
    A, B = (np.stack(column) for column in zip(*(_one(rng, n, m, scale) for _ in range(starts)), strict=True))
    options: dict[str, Any] = {key: setting[key] for key in ("kappa", "step", "alpha") if key in setting}
    data: dict[str, Any] = {"X": problems.X, "Y": problems.Y, "S": problems.S, "lam": problems.lam}
    return basin_map(setting["dynamics"], A, B, executor=executor, field_tol=field_tol, **data, **options)


def _one(rng: np.random.Generator, n: int, m: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    A, B = draw_starts(rng, 1, n, m, scale)
    return A[0], B[0]


def summary(found: BasinMap) -> dict[str, Any]:
    """Say what a cell found, as the record keeps it: counts, limits at a smaller full-rank equilibrium, largest gap."""
    smaller = int(((found.rank == found.m) & ~found.largest).sum())
    gap = float(f"{np.nanmax(found.gap, initial=0.0):.2e}")
    return {"starts": len(found.rank), "counts": found.counts, "full_rank_not_largest": smaller, "largest_gap": gap}


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=2_000)
    parser.add_argument("--out", type=Path, default=Path("book/data/basins.json"))
    options = parser.parse_args()
    start = time.perf_counter()
    found = [setting | summary(cell(setting, options.starts)) for setting in progress(settings(), "cells")]
    command = f"python -m ssltheory.basins --starts {options.starts}"
    write_record(options.out, found, command=command, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
