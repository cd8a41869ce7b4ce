"""Does the puzzle of the first chapter depend on how the network is trained? One change at a time, three teachers.

Prints JSON; about five minutes on two cores:

    python benchmarks/setting_robustness.py > book/data/setting_robustness.json
"""

import argparse
import json
import platform
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from ssltheory.diagnostics import effective_rank
from ssltheory.siamese import Config, DigitPairs, Teacher, digit_pairs, train

BASE = Config(encoder=(64, 64, 32), predictor=(32, 32), lam=1e-3, step=0.04, alpha=0.99, batch=64)
STEPS = 2000
SEEDS = 5
TEACHERS: tuple[Teacher, ...] = ("none", "sg", "ema")

SETTINGS: dict[str, dict[str, Any]] = {
    "as in the text": {},
    "no weight decay": {"lam": 0.0},
    "weight decay 0.01": {"lam": 0.01},
    "weight decay 0.1": {"lam": 0.1},
    "weight decay 0.2": {"lam": 0.2},
    "a quarter of the step": {"step": 0.01},
    "five times the steps": {"steps": 10_000},
    "predictor with a hidden layer": {"predictor": (32, 64, 32)},
    "no predictor": {"predictor": ()},
    "no predictor, five times the steps": {"predictor": (), "steps": 10_000},
    "linear encoder": {"activation": "linear"},
    "cosine loss, step 0.4": {"similarity": "cosine", "step": 0.4},
    "stronger distortions": {"views": {"shift": 1.0, "angle": 15.0, "noise": 0.15, "brightness": 0.3}},
    "weaker distortions": {"views": {"shift": 0.3, "angle": 5.0, "scale": 0.05, "noise": 0.02, "brightness": 0.1}},
    "EMA momentum 0.999": {"alpha": 0.999, "teachers": ("ema",)},
    "EMA momentum 1 (a frozen random teacher)": {"alpha": 1.0, "teachers": ("ema",)},
}


def final(config: Config, digits: DigitPairs, steps: int) -> dict[str, Any]:
    """Train, and return the values at the end for each seed."""
    run = train(config, digits.x, digits.y, steps=steps, seeds=SEEDS, record_at=[steps])
    accuracy = run.probe_accuracy(digits.train, digits.train_labels, digits.test, digits.test_labels)[-1]
    spectrum = np.nan_to_num(run.spectrum[-1])
    values = {
        "loss": run.loss[-1],
        "variance": run.spectrum[-1].sum(axis=-1),
        "rank": effective_rank(spectrum),
        "unexplained": run.unexplained[-1],
        "accuracy": accuracy,
    }
    rounded = {name: [float(f"{v:.6g}") if np.isfinite(v) else None for v in row] for name, row in values.items()}
    return {**rounded, "diverged": int(run.diverged.sum())}


def main() -> None:
    """Run every setting with every teacher and print the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for setting, change in SETTINGS.items():
        change = dict(change)
        steps, teachers = change.pop("steps", STEPS), change.pop("teachers", TEACHERS)
        digits = digit_pairs(np.random.default_rng(0), **change.pop("views", {}))
        for teacher in teachers:
            config = replace(BASE, teacher=teacher, **change)
            rows.append({"setting": setting, "teacher": teacher, **final(config, digits, steps)})
            print(f"{setting}, {teacher}", file=sys.stderr)
    record = {
        "command": "python benchmarks/setting_robustness.py > book/data/setting_robustness.json",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "seeds": list(range(SEEDS)),
        "rows": rows,
    }
    json.dump(record, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
