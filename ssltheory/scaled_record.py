"""Descent on the scaled loss with codes of two and three dimensions, recorded: near its kinks no two machines agree.

The minimum lies where top singular values tie. A descent with steps of one size goes to and fro across the tie, and
rounding decides on which side it is; what is recorded are distributions over many starts.
"""

import time
from typing import Any

import numpy as np
from jaxtyping import Float

from ssltheory.constrained_minima import constrained_minimum
from ssltheory.contrast import linear_loss
from ssltheory.orthogonal_flow import descend_network
from ssltheory.records import data_path, progress, write_record
from ssltheory.scaled_loss import descend_scaled, scaled_gradients
from ssltheory.stiefel import polar_factor

__all__ = ["PROBLEMS", "SETTINGS", "record", "start_weights"]

PROBLEMS: dict[str, tuple[tuple[float, ...], int, int]] = {
    "one": ((-1.0, -0.4, 0.3), 1, 6),
    "two": ((-1.0, -0.4, 0.3), 2, 6),
    "close": ((-1.0, -0.9, 0.5, 0.8), 2, 4),
    "three": ((-1.0, -0.7, -0.5, 0.3), 3, 8),
}
"""Eigenvalues of the contrast matrix, dimension n of the code, width h."""
SETTINGS: dict[str, Any] = {"starts": 40, "time": 120.0, "steps": (0.1, 0.03, 0.01), "kept": 12}


def start_weights(
    gamma: tuple[float, ...], n: int, h: int, starts: int, seed: int = 0
) -> tuple[Float[np.ndarray, "S h m"], Float[np.ndarray, "S h n"]]:
    """Gaussian weights, each divided by its largest singular value. The same for the same seed."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((starts, h, len(gamma))), rng.standard_normal((starts, h, n))
    first, second = (W / np.linalg.norm(W, 2, axis=(1, 2))[:, None, None] for W in drawn)
    return first, second


def record(seed: int = 0) -> dict[str, Any]:
    """Descend each problem with each step over the same time; gaps to the minimum of all starts, at ``kept`` moments.

    For comparison ``"frames"`` descends the weights with polar factors from the nearest frames, with the first step.
    """
    told: dict[str, Any] = {}
    settings = [(name, step) for name in PROBLEMS for step in SETTINGS["steps"]]
    for name, step in progress(settings, "descents"):
        gamma, n, h = PROBLEMS[name]
        W1, W2 = start_weights(gamma, n, h, SETTINGS["starts"], seed)
        least = constrained_minimum(np.array(gamma), n, "operator").loss
        steps = round(SETTINGS["time"] / step)
        run = descend_scaled(W1, W2, np.diag(gamma), step=step, steps=steps, every=steps // SETTINGS["kept"])
        slopes = scaled_gradients(run.W1, run.W2, np.diag(gamma))
        slope = np.sqrt(sum(np.sum(g**2, axis=(1, 2)) for g in slopes))
        told[f"{name} {step:g}"] = {
            "gap": np.round(run.loss - least, 7).tolist(),
            "gradient": np.round(slope, 7).tolist(),
            "norm": np.round([np.linalg.norm(W, axis=(1, 2)) for W in (W1, run.W1)], 7).tolist(),
        }
        if step == SETTINGS["steps"][0]:
            path, *_ = descend_network(
                polar_factor(W1), polar_factor(W2), np.diag(gamma), step=step, steps=steps, every=steps
            )
            told[f"{name} frames"] = {"gap": np.round(linear_loss(path[-1], np.array(gamma)) - least, 7).tolist()}
    return told


if __name__ == "__main__":
    begun = time.perf_counter()
    found = record()
    path, spent = data_path("basins").parent / "scaled_loss.json", time.perf_counter() - begun
    write_record(path, found, command="python -m ssltheory.scaled_record", seconds=spent, packages=("numpy",))
