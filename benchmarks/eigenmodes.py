"""How much faster than sampling is the exact expectation, and do they agree?

The toy setting: N = 15 inputs, a code of M = 10, x1 clean, x2 with noise; {Euclidean, cosine} x {loss, no
stop-gradient, no predictor, IsoLoss}. By sampling: ``ssltheory.toy_simulation.simulate``, 50,000 fresh pairs a step. In
exact expectation: the same Euler steps from the same encoder, on the singular values, with
``ssltheory.eigenmodes.velocity_of_modes``. Both return the spectrum after every step. The exact run is repeated before
and after the sampled one (median), which is long enough to be timed once; processor time is counted too, since it
depends less on what else the machine does. The difference of the trajectories is compared with the error
that sampling is expected to make: the root mean square over eight runs with a twenty-fifth of the samples, scaled by
1/5, the largest along the run. The adaptive integrator (relative tolerance 1e-10) is timed too. One thread and all
cores are measured in processes of their own. Prints one JSON object.

    python benchmarks/eigenmodes.py [--steps 100] [--samples 50000] [--repeats 5]
"""

import argparse
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

INPUTS, CODE, NOISE, POWER, STEP, SIZE = 15, 10, 0.1, 0.5, 0.1, 0.5
SEEDS, FEWER = range(1, 9), 25
SETTINGS = {
    "Euclidean": ("euclidean", "sg", POWER),
    "Euclidean, no stop-gradient": ("euclidean", "none", POWER),
    "Euclidean, no predictor": ("euclidean", "sg", 0.0),
    "Euclidean, IsoLoss": ("euclidean", "iso", POWER),
    "cosine": ("cosine", "sg", POWER),
    "cosine, no stop-gradient": ("cosine", "none", POWER),
    "cosine, no predictor": ("cosine", "sg", 0.0),
    "cosine, IsoLoss": ("cosine", "iso", POWER),
}


def exact(A: np.ndarray, steps: int, loss: Any, gradient: Any, p: float) -> np.ndarray:
    """The spectrum (steps + 1, M) of the same Euler steps in exact expectation."""
    from ssltheory.eigenmodes import toy_data, velocity_of_modes

    data = toy_data(NOISE)
    a = np.linalg.svd(A, compute_uv=False)[::-1]
    spectra = [a * a]
    for _ in range(steps):
        mu = a * a
        a = a + STEP * velocity_of_modes(mu, loss=loss, gradient=gradient, p=p, data=data) / (2 * a)
        spectra.append(np.sort(a * a))
    return np.array(spectra)


def timed(run: Callable[..., Any], *arguments: Any, **more: Any) -> tuple[float, float, Any]:
    """Seconds, seconds of processor time, and result of one call."""
    start, work = time.perf_counter(), time.process_time()
    result = run(*arguments, **more)
    return time.perf_counter() - start, time.process_time() - work, result


def measure(steps: int, samples: int, repeats: int) -> dict[str, Any]:
    """Time and compare all settings in this process."""
    from ssltheory.eigenmodes import eigenvalue_flow, toy_data
    from ssltheory.toy_simulation import simulate

    A = SIZE * np.random.default_rng(0).standard_normal((CODE, INPUTS)) / INPUTS**0.5
    times = STEP * np.arange(steps + 1)
    out: dict[str, Any] = {}
    data = toy_data(NOISE)
    for name, (loss, gradient, p) in SETTINGS.items():
        keep: dict[str, Any] = {"loss": loss, "gradient": gradient, "p": p}

        def sampled(seed: int, count: int, keep: dict[str, Any] = keep) -> np.ndarray:
            rng = np.random.default_rng(seed)
            return simulate(A, **keep, noise=NOISE, step=STEP, steps=steps, samples=count, rng=rng).mu

        exact(A, 3, **keep)  # the first call imports scipy and makes tables
        eigenvalue_flow(np.ones(2), times[:2], **keep, data=data)
        before = [timed(exact, A, steps, **keep) for _ in range(repeats)]
        by_sampling, sampling_work, drawn = timed(sampled, 0, samples)
        runs = before + [timed(exact, A, steps, **keep) for _ in range(repeats)]
        by_formula, work = (statistics.median(run[k] for run in runs) for k in (0, 1))
        spectra = runs[0][2]
        adaptive, _, _ = timed(eigenvalue_flow, spectra[0], times, **keep, data=data)
        error = np.sqrt(np.mean([(sampled(s, samples // FEWER) - spectra) ** 2 for s in SEEDS], axis=0)) / FEWER**0.5
        out[name] = {
            "milliseconds_a_step": {"exact": 1e3 * by_formula / steps, "sampled": 1e3 * by_sampling / steps},
            "ratio": by_sampling / by_formula,
            "ratio_of_processor_time": sampling_work / work,
            "adaptive_seconds": adaptive,
            "largest_difference": float(np.abs(drawn - spectra).max()),
            "expected_sampling_error": float(error.max()),
            "spectrum_at_the_end": {"exact": spectra[-1].tolist(), "sampled": drawn[-1].tolist()},
        }
    return {"threads": int(os.environ["OMP_NUM_THREADS"]), "settings": out}


def main() -> None:
    """Measure in one process for each number of threads and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(measure(options.steps, options.samples, options.repeats)))
        return
    runs = []
    for threads in sorted({1, os.cpu_count() or 1}):
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        command = [sys.executable, __file__, "--inner"]
        command += [f"--{k}={getattr(options, k)}" for k in ("steps", "samples", "repeats")]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    report = {
        "question": "milliseconds for a step of the toy dynamics, in exact expectation and with fresh samples",
        "inputs": INPUTS,
        "code": CODE,
        "noise": NOISE,
        "p": POWER,
        "step": STEP,
        "steps": options.steps,
        "samples": options.samples,
        "repeats": options.repeats,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {p: metadata.version(p) for p in ("numpy", "scipy")},
        "runs": runs,
        "least_ratio": min(row["ratio"] for run in runs for row in run["settings"].values()),
        "least_ratio_of_processor_time": min(
            row["ratio_of_processor_time"] for run in runs for row in run["settings"].values()
        ),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
