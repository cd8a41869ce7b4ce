"""How long does it take to follow the constrained flow to its limit at the size of MNIST, m = 784 and n = 10?

Prints JSON; a minute or two on idle cores, most of it for the reference:

    python benchmarks/orthogonal_flow_limit.py > orthogonal_flow_limit.json

The start is a random network of width 2000; the flow is the Grassmann one, the slowest, and it runs until the norm of
its velocity is 1e-6. Two spectra: gamma_k = -5/k, and a hard one, ten wanted eigenvalues from -5 to -0.5 with the next
only one per cent above the last, at -0.495, so that the fastest rate is four thousand times the slowest. The state at
time 20, when the descent is done and the tail is not, is compared with DOP853 at a relative tolerance of 1e-12; the
limit with the span of the ten eigenvectors. ``orthogonal_flow`` (DOP853) runs to the same limit beside it, unless
``--quick``.

Measured on 2026-11-30, two threads on two cores shared with other work, at step tolerances of 1e-5, 1e-6, 1e-7: power
law 0.23, 0.39 and 0.72 s, close pair 0.82, 0.96 and 1.3 s. The state at time 20 is then 7e-6, 6e-7 and 5e-8 from the
reference, for the close pair 6e-6, 9e-7 and 1e-7, and the loss at the end is within 5e-11 of its least value. DOP853 at
its defaults takes 0.76 and 5.7 s and ends 2e-7 below the least loss, outside the set of networks: its own noise hides
the limit.
"""

import argparse
import json
import os
import platform
import time
from importlib import metadata
from typing import Any

import numpy as np

from ssltheory.exponential_flow import exponential_flow
from ssltheory.orthogonal_flow import orthogonal_flow, random_network

M, N, WIDTH, SPEED = 784, 10, 2000, 1e-6


def spectra() -> dict[str, np.ndarray]:
    """Return the two spectra, the most negative eigenvalue first."""
    wanted, rest = np.linspace(5, 0.5, N), 0.495 / np.arange(1, M - N + 1)
    return {"power law": -5 / np.arange(1, M + 1.0), "close pair": -np.concatenate([wanted, rest])}


def measure(gamma: np.ndarray, tolerances: list[float], quick: bool) -> dict[str, Any]:
    """Time the run to the limit at each tolerance, and say how far its states are from a reference."""
    W1, W2 = random_network(np.random.default_rng(0), WIDTH, M, N)
    q = W1.T @ W2
    strict: Any = {"duration": 20.0, "samples": 2}
    reference = orthogonal_flow(q, gamma, "grassmann", rtol=1e-12, atol=1e-14, **strict).q[-1]
    runs = []
    for tol in tolerances:
        start = time.perf_counter()
        run = exponential_flow(q, gamma, "grassmann", duration=1e5, speed_tol=SPEED, step_tol=tol)
        seconds = time.perf_counter() - start
        amid = exponential_flow(q, gamma, "grassmann", step_tol=tol, **strict).q[-1]
        runs.append(
            {
                "step_tol": tol,
                "seconds": seconds,
                "outcome": run.outcome.value,
                "flow_time": float(run.times[-1]),
                "state_error_at_time_20": float(np.linalg.norm(amid - reference)),
                "outside_the_span_at_the_end": float(np.linalg.norm(run.q[-1][N:])),
                "excess_loss": float(run.loss[-1] - gamma[:N].sum()),
            }
        )
    out: dict[str, Any] = {"exponential": runs}
    if not quick:
        start = time.perf_counter()
        run = orthogonal_flow(q, gamma, "grassmann", duration=1e5, samples=2, speed_tol=SPEED)
        out["dop853"] = {
            "seconds": time.perf_counter() - start,
            "outcome": run.outcome.value,
            "flow_time": float(run.times[-1]),
            "excess_loss": float(run.loss[-1] - gamma[:N].sum()),
        }
    return out


def main() -> None:
    """Measure both spectra and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-5, 1e-6, 1e-7])
    parser.add_argument("--quick", action="store_true", help="leave out the run to the limit by DOP853")
    options = parser.parse_args()
    report = {
        "question": "seconds to the limit of the Grassmann flow, m = 784, n = 10",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "versions": {p: metadata.version(p) for p in ("numpy", "scipy")},
        "spectra": {name: measure(gamma, options.tolerances, options.quick) for name, gamma in spectra().items()},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
