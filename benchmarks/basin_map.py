"""How long does a basin map take: 10,000 starts of SG and of EMA with views of two dimensions, each taken to rest?

The problems are the sweep's exchangeable views, m = 2, conditional on a full-rank equilibrium, lambda = 0.01; n = 3;
entries of A and B normal with variance 1/n; the teacher at kappa = 0.01. Both ways integrate the same flow, with a
relative tolerance of 1e-5 a step, until the norm of its field is 1e-9: this package (threads on all cores; the whole
map, classification included) and a loop over starts of scipy's ``solve_ivp`` with LSODA (a subsample, scaled up).
Drawing the problems and compiling are timed apart. Prints one JSON object.

    python benchmarks/basin_map.py [--trials 10000] [--scipy-trials 60]
"""

import argparse
import json
import os
import platform
import sys
import time
from importlib import metadata
from typing import Any

import numpy as np

from ssltheory.basins import BasinMap, Problems, basin_map, draw_problems, draw_starts
from ssltheory.rank_deficient import rank_of

FIELD_TOL, KAPPA, LAM, LIMIT = 1e-9, 0.01, 0.01, 1e7


def log(text: str) -> None:
    """Say on the terminal what is under way."""
    print(text, file=sys.stderr, flush=True)


def ours(dynamics: str, problems: Problems, A: np.ndarray, B: np.ndarray) -> BasinMap:
    """Make the map with this package."""
    kappa = KAPPA if dynamics == "ema" else None
    data: dict[str, Any] = {"X": problems.X, "Y": problems.Y, "S": problems.S, "lam": LAM}
    return basin_map(dynamics, A, B, kappa=kappa, field_tol=FIELD_TOL, **data)  # type: ignore[arg-type]


def scipy_loop(
    dynamics: str, problems: Problems, A: np.ndarray, B: np.ndarray, count: int
) -> tuple[float, np.ndarray, int]:
    """Run LSODA start by start; return the seconds, the ranks reached, and how many did not come to rest."""
    from scipy.integrate import solve_ivp

    n, m = A.shape[1:]
    nm, nn, ema = n * m, n * n, dynamics == "ema"

    def field(t: float, y: np.ndarray, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
        a, b = y[:nm].reshape(n, m), y[nm : nm + nn].reshape(n, n)
        c = y[nm + nn :].reshape(n, m) if ema else a
        r = b @ a @ X - c @ Y
        parts = [(-(b.T @ r) - LAM * a).ravel(), (-(r @ a.T) - LAM * b).ravel()]
        if ema:
            parts.append((KAPPA * (a - c)).ravel())
        return np.concatenate(parts)

    def at_rest(t: float, y: np.ndarray, *args: np.ndarray) -> float:
        return float(np.linalg.norm(field(t, y, *args))) - FIELD_TOL

    at_rest.terminal = True  # type: ignore[attr-defined]
    ends, unfinished = np.empty((count, n, m)), 0
    start = time.perf_counter()
    for k in range(count):
        y0 = np.concatenate([A[k].ravel(), B[k].ravel()] + ([A[k].ravel()] if ema else []))
        data = (problems.X[k], problems.Y[k])
        out = solve_ivp(field, (0, LIMIT), y0, method="LSODA", rtol=1e-5, atol=1e-11, events=at_rest, args=data)
        ends[k] = out.y[:nm, -1].reshape(n, m)
        unfinished += out.status != 1
    return time.perf_counter() - start, rank_of(ends), unfinished


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--scipy-trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    start = time.perf_counter()
    problems = draw_problems(rng, options.trials, 2, LAM, "exchangeable")
    drawing = time.perf_counter() - start
    A, B = draw_starts(rng, options.trials, 3, 2)
    report: dict[str, Any] = {
        "question": "seconds for a basin map of 10,000 starts each of SG and EMA, m = 2, n = 3",
        "trials": options.trials,
        "field_tol": FIELD_TOL,
        "kappa": KAPPA,
        "seconds_to_draw_problems_that_have_an_equilibrium": drawing,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {p: metadata.version(p) for p in ("numpy", "scipy", "numba")},
    }
    maps: dict[str, Any] = {}
    for dynamics in ("sg", "ema"):
        log(f"{dynamics}: this package")
        start = time.perf_counter()
        ours(dynamics, problems[:1], A[:1], B[:1])
        compiled = time.perf_counter() - start
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            found = ours(dynamics, problems, A, B)
            seconds.append(time.perf_counter() - start)
        count = min(options.scipy_trials, options.trials)
        log(f"{dynamics}: scipy, {count} starts")
        spent, ranks, unfinished = scipy_loop(dynamics, problems, A, B, count)
        maps[dynamics] = {
            "seconds": min(seconds),
            "seconds_all_runs": seconds,
            "compile_seconds": compiled,
            "counts": found.counts,
            "largest_gap_from_the_equation": float(np.nanmax(found.gap)),
            "full_rank_limits_that_are_not_the_largest": int(((found.rank == 2) & ~found.largest).sum()),
            "scipy": {
                "starts": count,
                "seconds": spent,
                "seconds_scaled": spent * options.trials / count,
                "ratio": spent * options.trials / count / min(seconds),
                "unfinished": unfinished,
                "agreement_of_ranks": float(np.mean(ranks == found.rank[:count])),
            },
        }
    report["maps"] = maps
    report["seconds_both_maps"] = sum(row["seconds"] for row in maps.values())
    scaled = sum(row["scipy"]["seconds_scaled"] for row in maps.values())
    report["ratio_scipy"] = scaled / report["seconds_both_maps"]
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
