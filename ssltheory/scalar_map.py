"""Record where scalar trials end, over the settings that the published table leaves open.

    python -m ssltheory.scalar_map [--trials 10000] [--out book/data/scalar_map.json]

Writes one entry a setting: the flow over n, the law and the scale of the initial entries and the teacher's rate, and
the algorithm over the step and the teacher's momentum. Every setting draws its own problems and starts; SG and EMA of
one setting share them. A few minutes on two cores.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssltheory.records import progress, write_record
from ssltheory.scalar_trials import OutcomeTable, ScalarTrials, draw_states, draw_trials, run_trials

SEED = 20260
WIDTHS = (2, 3, 5)
STARTS = {
    "normal": (0.25, 0.5, 0.6, 0.7071, 0.8, 1.0, 1.5, 2.0),
    "uniform": (0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
    "positive": (0.5, 1.0, 1.5, 2.0),
}
RATES = (1e-3, 1e-2, 2e-2, 3e-2, 1e-1, 1.0)
STEPS = (0.01, 0.03, 0.1, 0.3, 1.0)
MOMENTA = (0.9, 0.99, 0.999)
ALGORITHM_START = (2, "normal", 0.7071)
MAX_STEPS = 200_000


def draw(setting: Mapping[str, Any], trials: int) -> tuple[ScalarTrials, np.ndarray, np.ndarray]:
    """Draw a setting's problems and starts: (problems, A, B), from :data:`SEED` and the setting's start alone."""
    n, start, scale = setting["n"], setting["start"], setting["scale"]
    rng = np.random.default_rng([SEED, n, list(STARTS).index(start), STARTS[start].index(scale)])
    problems = draw_trials(rng, trials)
    return problems, *draw_states(rng, trials, n, start, scale)


def outcome(setting: Mapping[str, Any], trials: int) -> OutcomeTable:
    """Run one setting of the map."""
    options = {k: setting[k] for k in ("kappa", "step", "alpha", "max_steps") if k in setting}
    return run_trials(setting["dynamics"], *draw(setting, trials), **options)


def settings() -> list[dict[str, Any]]:
    """List every setting of the map."""
    teachers: list[dict[str, Any]] = [{"dynamics": "sg"}]
    flows = [
        {"n": n, "start": start, "scale": scale} | teacher
        for n in WIDTHS
        for start, scales in STARTS.items()
        for scale in scales
        for teacher in teachers + [{"dynamics": "ema", "kappa": kappa} for kappa in RATES]
    ]
    n, start, scale = ALGORITHM_START
    algorithms = [
        {"n": n, "start": start, "scale": scale, "step": step, "max_steps": MAX_STEPS} | teacher
        for step in STEPS
        for teacher in teachers + [{"dynamics": "ema", "alpha": alpha} for alpha in MOMENTA]
    ]
    return flows + algorithms


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("book/data/scalar_map.json"))
    options = parser.parse_args()
    start, found = time.perf_counter(), []
    for setting in progress(settings(), "settings"):
        found.append(setting | {"trials": options.trials, "counts": outcome(setting, options.trials).counts})
    command = f"python -m ssltheory.scalar_map --trials {options.trials}"
    write_record(options.out, found, command=command, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
