"""What does one step of training under orthogonality constraints cost, at which width, and after how many does it pay?

Writes the record that the chapter on digits plots; about a minute on one idle core:

    OMP_NUM_THREADS=1 python benchmarks/orthogonal_steps.py --out book/data/orthogonal_steps.json

Every form of a step runs on the same arrays; rounds go through all forms one after another, and the best round of each
counts. The clock is the processor time of this one thread, so that other work on the machine does not count. Also timed
is what must be done before the first step: the contrast matrix from the samples, its eigenvectors, and q in them from
the weights at the start. Without --out it prints JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ssltheory._orthogonal import velocity
from ssltheory.contrast import contrast_matrix
from ssltheory.orthogonal_flow import random_network
from ssltheory.orthogonal_steps import euler_steps, exact_steps, network_steps, sampled_steps
from ssltheory.records import write_record

SIZES = ((64, 2), (64, 10), (784, 2), (784, 10))
"""m and n."""
WIDTHS = {64: (64, 128, 256, 512, 1024, 2048), 784: (784, 1568, 3136)}


def best(calls: dict[str, Callable[[int], Any]], rounds: int, seconds: float) -> dict[str, float]:
    """The least time of one step of each call over the rounds; each runs about ``seconds`` in a round."""
    counts = {}
    for name, call in calls.items():
        start = time.process_time()
        call(1)
        counts[name] = max(1, int(seconds / max(time.process_time() - start, 1e-6)))
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call(counts[name])
            least[name] = min(least[name], (time.process_time() - start) / counts[name])
    return least


def repeat(function: Callable[[], Any]) -> Callable[[int], Any]:
    """Do something as often as told."""

    def times(count: int) -> None:
        for _ in range(count):
            function()

    return times


def dense_steps(q: np.ndarray, gamma: np.ndarray, step: float, count: int) -> np.ndarray:
    """Euler steps in pixels, for whoever has the contrast matrix and not its eigenvectors."""
    for _ in range(count):
        q = q + step * velocity(q, gamma @ q)
    return q


def network_calls(
    rng: np.random.Generator, h: int, n: int, views: tuple[np.ndarray, np.ndarray, np.ndarray], step: float
) -> dict[str, Callable[[int], Any]]:
    """The steps of a network of one width, and what its start costs."""
    gamma = contrast_matrix(*views)
    vectors = np.linalg.eigh(gamma)[1]
    W1, W2 = random_network(rng, h, len(gamma), n)
    return {
        "network": lambda c: network_steps(W1, W2, gamma, step, c, thin=False),
        "network, thin": lambda c: network_steps(W1, W2, gamma, step, c),
        "samples": lambda c: sampled_steps(W1, W2, *views, step, c),
        "nonlinear samples": lambda c: sampled_steps(W1, W2, *views, step, c, activation="tanh"),
        "start": repeat(lambda: vectors.T @ (W1.T @ W2)),
    }


def measure(m: int, n: int, samples: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Time all forms at one size."""
    rng = np.random.default_rng([m, n])
    shared = rng.standard_normal((samples, m)) * np.geomspace(1.0, 0.1, m)
    x, positive = shared, shared + 0.1 * rng.standard_normal((samples, m))
    negative = np.roll(shared, 1, axis=0)
    gamma = contrast_matrix(x, positive, negative)
    values, vectors = np.linalg.eigh(gamma)
    step = 0.05 / abs(values[0])
    W1, W2 = random_network(rng, m, m, n)
    q = vectors.T @ (W1.T @ W2) * 0.5
    calls: dict[str, Callable[[int], Any]] = {
        "euler": lambda c: euler_steps(q, values, step, c),
        "euler, dense": lambda c: dense_steps(vectors @ q, gamma, step, c),
        "exact": lambda c: exact_steps(q, values, step, c),
        "contrast matrix": repeat(lambda: contrast_matrix(x, positive, negative)),
        "eigenvectors": repeat(lambda: np.linalg.eigh(gamma)),
    }
    for h in WIDTHS[m]:
        calls |= {f"{name} {h}": call for name, call in network_calls(rng, h, n, (x, positive, negative), step).items()}
    found = best(calls, rounds, seconds)
    print(f"m = {m}, n = {n}: Euler {found['euler']:.1e} s", file=sys.stderr, flush=True)

    def by_width(name: str) -> list[float]:
        return [float(f"{found[f'{name} {h}']:.4g}") for h in WIDTHS[m]]

    return {
        "m": m,
        "n": n,
        "samples": samples,
        "widths": list(WIDTHS[m]),
        "seconds": {k: float(f"{found[k]:.4g}") for k in list(calls)[:5]},
        "by_width": {
            name: by_width(name) for name in ("network", "network, thin", "samples", "nonlinear samples", "start")
        },
    }


def main() -> None:
    """Measure, and print or record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.05, help="time of each form in a round")
    parser.add_argument("--out")
    options = parser.parse_args()
    begin = time.perf_counter()
    data = {"sizes": [measure(m, n, options.samples, options.rounds, options.seconds) for m, n in SIZES]}
    if not options.out:
        print(json.dumps(data, indent=1))
        return
    write_record(
        options.out,
        data | {"rounds": options.rounds},
        command=f"OMP_NUM_THREADS=1 python benchmarks/orthogonal_steps.py --out {options.out}",
        seconds=time.perf_counter() - begin,
        packages=("numpy", "scipy"),
    )


if __name__ == "__main__":
    main()
