"""Descent on the scaled loss with codes of one to three dimensions, recorded: near its kinks no two machines agree.

The minimum lies where top singular values tie. A descent with steps of one size goes to and fro across the tie, and
rounding decides on which side it is; what is recorded are distributions over many starts. Each step lengthens the
weights, so that measured on them the steps shrink; how fast shows only over a long time.
"""

import time
from typing import Any

import numpy as np
from jaxtyping import Float

from ssltheory.constrained_minima import constrained_minimum
from ssltheory.contrast import linear_loss
from ssltheory.orthogonal_flow import descend_network
from ssltheory.records import data_path, progress, write_record
from ssltheory.scaled_loss import descend_scaled, scaled_gradients, scaled_loss
from ssltheory.stiefel import polar_factor

__all__ = ["LONGER", "PROBLEMS", "SETTINGS", "record", "start_weights"]

PROBLEMS: dict[str, tuple[tuple[float, ...], int, int]] = {
    "one": ((-1.0, -0.4, 0.3), 1, 6),
    "two": ((-1.0, -0.4, 0.3), 2, 6),
    "close": ((-1.0, -0.9, 0.5, 0.8), 2, 4),
    "three": ((-1.0, -0.7, -0.5, 0.3), 3, 8),
}
"""Eigenvalues of the contrast matrix, dimension n of the code, width h."""
SETTINGS: dict[str, Any] = {"starts": 40, "steps": (0.1, 0.03, 0.01), "first": 7.5, "time": 120.0, "averaged": 50}
"""Kept are the moments 0, ``first``, and its doubles up to ``time``, or up to what :data:`LONGER` says; each gap after
the start is the mean over the ``averaged`` last steps, for near a kink it jumps at every step."""
LONGER: dict[str, float] = {"two 0.1": 1920, "two 0.03": 1920, "two 0.01": 480, "close 0.1": 1920, "three 0.1": 1920}
"""Descents that are followed beyond ``SETTINGS["time"]``: problem and step, and the time of the last state."""


def start_weights(
    gamma: tuple[float, ...], n: int, h: int, starts: int, seed: int = 0
) -> tuple[Float[np.ndarray, "S h m"], Float[np.ndarray, "S h n"]]:
    """Gaussian weights, each divided by its largest singular value. The same for the same seed."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((starts, h, len(gamma))), rng.standard_normal((starts, h, n))
    first, second = (W / np.linalg.norm(W, 2, axis=(1, 2))[:, None, None] for W in drawn)
    return first, second


def record(seed: int = 0) -> dict[str, Any]:
    """Descend each problem with each step; all starts' gaps to the minimum and Frobenius norms of both weights.

    ``"gradient"`` is that at the end, of the weights divided by their spectral norms. For comparison ``"frames"``
    descends with polar factors from the nearest frames, with the first step and to ``SETTINGS["time"]``.
    """
    told: dict[str, Any] = {}
    settings = [(name, step) for name in PROBLEMS for step in SETTINGS["steps"]]
    for name, step in progress(settings, "descents"):
        gamma, n, h = PROBLEMS[name]
        W = start_weights(gamma, n, h, SETTINGS["starts"], seed)
        least = constrained_minimum(np.array(gamma), n, "operator").loss
        if step == SETTINGS["steps"][0]:
            steps = round(SETTINGS["time"] / step)
            frames = polar_factor(W[0]), polar_factor(W[1])
            path, *_ = descend_network(*frames, np.diag(gamma), step=step, steps=steps, every=steps)
            told[f"{name} frames"] = {"gap": np.round(linear_loss(path[-1], np.array(gamma)) - least, 7).tolist()}
        times, gap = [0.0], [scaled_loss(*W, np.diag(gamma)) - least]
        norm = [[np.linalg.norm(w, axis=(1, 2)) for w in W]]
        while times[-1] < LONGER.get(f"{name} {step:g}", SETTINGS["time"]):
            lap = times[-1] or SETTINGS["first"]
            steps = round(lap / step)
            last = SETTINGS["averaged"]
            run = descend_scaled(*W, np.diag(gamma), step=step, steps=steps - last, every=steps - last)
            run = descend_scaled(run.W1, run.W2, np.diag(gamma), step=step, steps=last)
            W = run.W1, run.W2
            times.append(times[-1] + lap)
            gap.append(run.loss[1:].mean(axis=0) - least)
            norm.append([np.linalg.norm(w, axis=(1, 2)) for w in W])
        first, second = (w / np.linalg.norm(w, 2, axis=(1, 2))[:, None, None] for w in W)
        slope = np.sqrt(sum(np.sum(g**2, axis=(1, 2)) for g in scaled_gradients(first, second, np.diag(gamma))))
        told[f"{name} {step:g}"] = {
            "time": times,
            "gap": np.round(gap, 7).tolist(),
            "norm": np.round(norm, 5).tolist(),
            "gradient": np.round(slope, 5).tolist(),
        }
    return told


if __name__ == "__main__":
    begun = time.perf_counter()
    found = record()
    path, spent = data_path("basins").parent / "scaled_loss.json", time.perf_counter() - begun
    write_record(path, found, command="python -m ssltheory.scaled_record", seconds=spent, packages=("numpy",))
