"""How long does the Jacobian of the SG field take at n = 20, m = 10, by formula and by automatic differentiation?

d = n m + n^2 = 600 coordinates (EMA: 800). By formula: ``ssltheory.stability.jacobian``, input checks included. By
automatic differentiation: ``torch.func.jacrev`` and ``jacfwd`` of the field written in torch, double precision, in the
same run on the same state; the better is the reference. Each method is warmed up; then five rounds of ``--repeats``
calls of each, one method after the other, so that each is timed in its own steady state; the figure is the median. One
thread and all cores are measured in processes of their own. Prints one JSON object.

    python benchmarks/jacobian.py [--n 20] [--m 10] [--repeats 20]
"""

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np


def measure(n: int, m: int, repeats: int) -> dict[str, Any]:
    """Time every method at one random state and compare the matrices."""
    import torch

    from ssltheory import LinearProblem, SecondMoments
    from ssltheory.stability import jacobian

    rng = np.random.default_rng(0)
    L = rng.standard_normal((2 * m, 4 * m))
    joint = L @ L.T / (4 * m)
    moments = SecondMoments(joint[:m, :m], joint[m:, :m], joint[m:, m:])
    problem = LinearProblem(moments, 0.05, n)
    A, B, C = rng.standard_normal((n, m)), rng.standard_normal((n, n)) / n**0.5, rng.standard_normal((n, m))
    X, Y = (torch.tensor(M) for M in (problem.X, problem.Y))
    lam, kappa = problem.lam, 0.3

    def field(z: Any) -> Any:
        a, b = z[: n * m].reshape(n, m), z[n * m : n * m + n * n].reshape(n, n)
        c = z[n * m + n * n :].reshape(n, m) if len(z) > n * m + n * n else a
        r = b @ a @ X - c @ Y
        parts = [-(b.T @ r + lam * a).ravel(), -(r @ a.T + lam * b).ravel()]
        if c is not a:
            parts.append(kappa * (a - c).ravel())
        return torch.cat(parts)

    out: dict[str, Any] = {"threads": torch.get_num_threads()}
    for dynamics in ("sg", "ema"):
        state = [A, B] if dynamics == "sg" else [A, B, C]
        z = torch.tensor(np.concatenate([M.ravel() for M in state]))
        extra = {} if dynamics == "sg" else {"C": C, "kappa": kappa}

        def formula(extra: dict[str, Any] = extra, dynamics: Any = dynamics) -> np.ndarray:
            return jacobian(problem, dynamics, A, B, **extra)

        methods: dict[str, Callable[[], Any]] = {"formula": formula}
        for size in (None, 64):
            name = "jacrev" if size is None else f"jacrev, chunks of {size}"
            reverse = torch.func.jacrev(field, chunk_size=size)
            methods[name] = functools.partial(reverse, z)
        forward = torch.func.jacfwd(field)
        methods["jacfwd"] = functools.partial(forward, z)
        gaps: dict[str, float] = {}
        seconds: dict[str, list[float]] = {name: [] for name in methods}
        reference = formula()
        for name, run in methods.items():
            for _ in range(3):
                result = np.asarray(run())
            gaps[name] = float(np.abs(result - reference).max() / np.abs(reference).max())
        for _ in range(5):
            for name, run in methods.items():
                run()
                for _ in range(repeats):
                    start = time.perf_counter()
                    run()
                    seconds[name].append(time.perf_counter() - start)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        least = {name: min(values) for name, values in seconds.items()}
        best = min((name for name in median if name != "formula"), key=lambda name: median[name])
        out[dynamics] = {
            "size": len(z),
            "median_milliseconds": {name: 1e3 * value for name, value in median.items()},
            "least_milliseconds": {name: 1e3 * value for name, value in least.items()},
            "largest_relative_gap": gaps,
            "best_of_autodiff": best,
            "ratio": median[best] / median["formula"],
            "ratio_of_least": min(v for k, v in least.items() if k != "formula") / least["formula"],
        }
    return out


def main() -> None:
    """Measure in one process for each number of threads and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--m", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(measure(options.n, options.m, options.repeats)))
        return
    runs = []
    for threads in sorted({1, os.cpu_count() or 1}):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [sys.executable, __file__, "--inner"]
        command += [f"--{k}={getattr(options, k)}" for k in ("n", "m", "repeats")]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    report = {
        "question": "milliseconds for the Jacobian of the linear SG and EMA fields, by formula and by autodiff",
        "n": options.n,
        "m": options.m,
        "repeats": options.repeats,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {p: metadata.version(p) for p in ("numpy", "torch")},
        "runs": runs,
        "least_ratio": min(run[k]["ratio"] for run in runs for k in ("sg", "ema")),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
