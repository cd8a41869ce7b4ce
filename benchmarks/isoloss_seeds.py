"""How much faster is the experiment on digits with its seeds in one batch than with one seed at a time?

Prints JSON; a minute or two on idle cores:

    python benchmarks/isoloss_seeds.py > isoloss_seeds.json

Both run the same code on the same threads, with the same records and probes; only the number of seeds in a call
differs. Rounds alternate, and the best time of each call counts, since a busy machine can only slow it down; the loop's
time is the sum over its calls. The agreement is over all seeds and records.

Measured on 2026-11-21 on two idle cores, ten seeds, --steps 60: with two threads 3.8 in float32 and 4.3 in float64
(1.05 s against 4.0 s; 1.28 s against 5.5 s), all results equal to the last bit. But there the loop is slower than on
one thread, since products this small lose by being shared; with one thread the ratio is 1.5 and 1.2 (0.76 s against
1.15 s), for at these sizes both are bound by arithmetic.
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
import torch

from ssltheory.encoders import Data, digit_data
from ssltheory.isoloss_training import RECORD_AT, Config, Run, train


def alone(data: Data, s: int) -> Data:
    """The data of one seed."""
    x, y, clean, test = (v[s : s + 1] for v in (data.x, data.y, data.clean, data.test))
    return Data(x, y, clean, data.labels[s : s + 1], test, data.test_labels[s : s + 1])


def timed(config: Config, data: Data, seeds: list[int], record_at: list[int]) -> tuple[float, Run]:
    """Train and time one call."""
    start = time.perf_counter()
    run = train(config, data, seeds, record_at=record_at)
    return time.perf_counter() - start, run


def compare(config: Config, seeds: list[int], record_at: list[int], rounds: int, dtype: torch.dtype) -> dict[str, Any]:
    """Time the batch and the loop, and say how far their results are apart."""
    data = digit_data(seeds, 4000, dtype=dtype)
    parts = [alone(data, s) for s in range(len(seeds))]
    for part, seed in zip(parts[:1], seeds[:1], strict=True):
        train(config, part, [seed], record_at=[3])  # warm up
    batch, loop = [], []
    for _ in range(rounds):
        seconds, together = timed(config, data, seeds, record_at)
        batch.append(seconds)
        results = [timed(config, part, [seed], record_at) for part, seed in zip(parts, seeds, strict=True)]
        loop.append([r[0] for r in results])
        print(f"  {str(dtype)[6:]}: batch {seconds:.2f} s, loop {sum(loop[-1]):.2f} s", file=sys.stderr, flush=True)
    loop_seconds = float(np.min(loop, axis=0).sum())
    separate = np.concatenate([r[1].spectrum for r in results], axis=1)
    accuracy = np.concatenate([r[1].accuracy for r in results], axis=2)
    gap = np.abs(together.spectrum - separate).max(axis=-1) / separate.max(axis=-1)
    return {
        "batch_seconds": min(batch),
        "loop_seconds": loop_seconds,
        "ratio": loop_seconds / min(batch),
        "median_ratio_of_rounds": float(np.median(np.sum(loop, axis=1) / batch)),
        "all_batch_seconds": batch,
        "all_loop_seconds": np.sum(loop, axis=1).tolist(),
        "largest_relative_gap_of_spectra": float(gap.max()),
        "largest_gap_of_accuracies": float(np.abs(together.accuracy - accuracy).max()),
        "largest_gap_of_mean_accuracies": float(np.abs((together.accuracy - accuracy).mean(axis=-1)).max()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = Config(loss="iso", step=0.1, lam=0.01, batch=options.batch)
    seeds = list(range(100, 100 + options.seeds))
    record_at = [*(t for t in RECORD_AT if t < options.steps), options.steps]
    report = {
        "question": "seconds for the same runs, seeds in one batch against one seed at a time",
        "seeds": options.seeds,
        "steps": options.steps,
        "batch": options.batch,
        "threads": options.threads,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {p: metadata.version(p) for p in ("numpy", "torch", "scikit-learn")},
        "float32": compare(config, seeds, record_at, options.rounds, torch.float32),
        "float64": compare(config, seeds, record_at, options.rounds, torch.float64),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
