"""How much faster is the table of Part IV with its seeds in one batch than with one seed at a time?

Prints JSON; a minute or two on idle cores:

    python benchmarks/center_seeds.py > center_seeds.json

The same code on one thread, without records on the way; only the number of models in a call differs. ``seeds`` has one
learning rate and five seeds in a call or five calls; ``seeds_and_rates`` has all thirty models of a row of the table in
a call, or one call for each seed with its six learning rates, or thirty calls. Rounds alternate, and the best time of
each counts, since a busy machine can only slow it down.

Measured on 2026-12-01 on two idle cores, --steps 400 --rounds 3: all thirty models in one call against one call each
4.2 to 4.6 (2.3 s against 9.7 s for SimSiam); five seeds at one rate 2.7 (0.60 s against 1.61 s), of which the probes at
the end, one model after the other in both, take the same time; results equal to the last bit.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import replace
from importlib import metadata
from typing import Any

import numpy as np
import torch

from ssltheory.center_training import RATES, ROWS, SEEDS, Config, Run, train
from ssltheory.encoders import Data, digit_data


def alone(data: Data, s: int) -> Data:
    """The data of one seed."""
    part = {name: getattr(data, name)[s : s + 1] for name in ("x", "y", "clean", "test", "labels", "test_labels")}
    return replace(data, **part)


def timed(config: Config, data: Data, seeds: list[int], rates: list[float], steps: int) -> tuple[float, Run]:
    """Train and time one call."""
    start = time.perf_counter()
    run = train(config, data, seeds, rates=rates, record_at=(steps,))
    return time.perf_counter() - start, run


def compare(row: str, rates: list[float], steps: int, rounds: int) -> dict[str, Any]:
    """Time a row in one call, seed by seed, and model by model, and say how far the results are apart."""
    config, seeds = Config(**ROWS[row]), list(SEEDS)
    data = digit_data(seeds, 2000)
    parts = [alone(data, k) for k in range(len(seeds))]
    train(config, parts[0], seeds[:1], rates=rates[:1], record_at=(3,))  # warm up
    together, by_seed, by_model = [], [], []
    for _ in range(rounds):
        seconds, run = timed(config, data, seeds, rates, steps)
        together.append(seconds)
        calls = [timed(config, part, [seed], rates, steps) for part, seed in zip(parts, seeds, strict=True)]
        by_seed.append(sum(c[0] for c in calls))
        if len(rates) > 1:
            singles = [
                timed(config, part, [seed], [rate], steps)[0]
                for part, seed in zip(parts, seeds, strict=True)
                for rate in rates
            ]
            by_model.append(sum(singles))
        print(f"  {row}: {seconds:.2f} s, by seed {by_seed[-1]:.2f} s", file=sys.stderr, flush=True)
    gap = np.abs(np.concatenate([c[1].center for c in calls], axis=-1) - run.center)
    report = {
        "row": row,
        "models": len(rates) * len(seeds),
        "batch_seconds": min(together),
        "loop_over_seeds_seconds": min(by_seed),
        "ratio": min(by_seed) / min(together),
        "largest_gap_of_squared_centers": float(gap.max()),
    }
    if by_model:
        report |= {"loop_over_models_seconds": min(by_model), "ratio_to_models": min(by_model) / min(together)}
    return report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", default=["L_Simple 1", "SimSiam", "BYOL 0.99", "DINO", "SwAV"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        "question": "seconds for the same models, in one batch against a loop",
        "steps": options.steps,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {p: metadata.version(p) for p in ("numpy", "torch", "scikit-learn")},
        "seeds": [compare(row, [0.1], options.steps, options.rounds) for row in options.rows],
        "seeds_and_rates": [compare(row, list(RATES), options.steps, options.rounds) for row in options.rows[:2]],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
