"""Record long training of Siamese networks on digits at a constant step: losses, increments, accuracy over time.

    python -m ssltheory.long_training [--steps 15000] [--out book/data/long_training.json]

A small counterpart of a published run on video (Ponce et al., Figure 2): does the loss E go to its minimum, do the
increments of the parameters vanish, how does the accuracy of a linear probe move. Squared loss at two weight decays,
cosine loss at one; five seeds each. About half an hour on two busy cores.
"""

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate
from ssltheory.diagnostics import effective_rank
from ssltheory.records import progress, write_record
from ssltheory.siamese import Config, DigitPairs, Layer, digit_pairs, squared_norm, train

SEEDS = 5
BASE = Config(encoder=(64, 64, 32), predictor=(32, 32), lam=1e-3, step=0.04, alpha=0.99, batch=64)
SETTINGS = (
    BASE,
    replace(BASE, teacher="ema"),
    replace(BASE, lam=1e-2),
    replace(BASE, lam=1e-2, teacher="ema"),
    replace(BASE, lam=1e-2, similarity="cosine"),
    replace(BASE, lam=1e-2, similarity="cosine", teacher="ema"),
    replace(BASE, lam=1e-2, similarity="cosine", teacher="none"),
)


@dataclass(frozen=True)
class Course:
    """What was seen along training, at ``steps`` (T,), for each of S seeds; every array is (T, S).

    ``E`` and ``F`` are the losses on frozen pairs, ``unexplained`` the share of the target's variance that the
    prediction misses, ``rank`` the effective rank of the codes, ``accuracy`` that of a linear probe on held-out
    digits. ``encoder``, ``predictor``, ``teacher`` are the norms of the increments of the next step, ``size`` that of
    the encoder's last layer.
    """

    steps: Int[np.ndarray, " T"]
    E: Float[np.ndarray, "T S"]
    F: Float[np.ndarray, "T S"]
    unexplained: Float[np.ndarray, "T S"]
    rank: Float[np.ndarray, "T S"]
    accuracy: Float[np.ndarray, "T S"]
    encoder: Float[np.ndarray, "T S"]
    predictor: Float[np.ndarray, "T S"]
    teacher: Float[np.ndarray, "T S"]
    size: Float[np.ndarray, "T S"]


def record_times(steps: int, count: int = 30) -> Int[np.ndarray, " T"]:
    """Return about ``count`` numbers of steps from 0 to ``steps`` - 1, the first few evenly and then geometrically."""
    steps = _validate.count("steps", steps, least=2)
    return np.unique(np.append(0, np.geomspace(1, steps - 1, count).round().astype(int)))


def course(config: Config, pairs: DigitPairs, steps: int, seeds: int | list[int] = SEEDS) -> Course:
    """Train and measure: the state at each of :func:`record_times` and the increments of the step after it.

    Raises ``ValueError`` if a seed diverges: its records would not be numbers.
    """
    times = record_times(steps)
    run = train(config, pairs.x, pairs.y, steps=steps, seeds=seeds, record_at=np.union1d(times, times + 1))
    if run.diverged.any():
        raise ValueError(f"{run.reason}; need a smaller step than {config.step:g}")
    here = np.searchsorted(run.steps, times)
    grow = {
        name: np.array([_distance(layers[k + 1], layers[k]) for k in here])
        for name, layers in (("encoder", run.encoders), ("predictor", run.predictors), ("teacher", run.teachers))
    }
    accuracy = run.probe_accuracy(pairs.train, pairs.train_labels, pairs.test, pairs.test_labels)
    return Course(
        times,
        run.loss[here],
        run.training_loss[here],
        run.unexplained[here],
        effective_rank(run.spectrum[here]),
        accuracy[here],
        size=np.array([squared_norm(run.encoders[k][-1:]).sqrt().numpy() for k in here]),
        **grow,
    )


def _distance(new: list[Layer], old: list[Layer]) -> np.ndarray:
    moved = [(w - v, None if b is None or c is None else b - c) for (w, b), (v, c) in zip(new, old, strict=True)]
    return squared_norm(moved).sqrt().numpy()


def entry(config: Config, found: Course) -> dict[str, Any]:
    """Return the setting and what was seen as plain numbers of six digits."""
    numbers = {name: np.vectorize(lambda v: float(f"{v:.6g}"))(value).tolist() for name, value in vars(found).items()}
    return {"config": asdict(config), **numbers, "steps": found.steps.tolist()}


def courses(data: list[dict[str, Any]]) -> dict[tuple[str, str, float], Course]:
    """Read a record's data back: a :class:`Course` for each (similarity, teacher, weight decay)."""
    return {
        (e["config"]["similarity"], e["config"]["teacher"], e["config"]["lam"]): Course(
            **{name: np.array(value) for name, value in e.items() if name != "config"}
        )
        for e in data
    }


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--out", type=Path, default=Path("book/data/long_training.json"))
    options = parser.parse_args()
    start, found, pairs = time.perf_counter(), [], digit_pairs(np.random.default_rng(0))
    for config in progress(SETTINGS, "settings"):
        found.append(entry(config, course(config, pairs, options.steps)))
    command = f"python -m ssltheory.long_training --steps {options.steps}"
    seconds = time.perf_counter() - start
    write_record(options.out, found, command=command, seconds=seconds, packages=("numpy", "torch", "scikit-learn"))


if __name__ == "__main__":
    main()
