"""The largest equilibrium against networks trained by stochastic gradient steps on pairs of views of real digits.

The views are centred and projected to the m leading directions of what the two views of a pair share. The second
moments of all pairs predict S_max; the networks see minibatches of pairs only.
"""

import argparse
import time
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ssltheory.digits import digit_views
from ssltheory.equilibria import critical_weight_decay, largest_equilibrium
from ssltheory.moments import second_moments
from ssltheory.samples import train_on_samples

SIZES = (1, 2, 3, 5, 10)
SETTINGS: dict[str, Any] = {"seeds": 8, "steps": 16_000, "batch": 128, "step": 0.5, "halved_after": 3000, "spread": 0.1}
ALPHA = 0.99


@dataclass(frozen=True, eq=False)
class TrainedNetworks:
    """What one batch of networks reached, and what was predicted: Gram matrices of encoders.

    ``S`` (seeds, m, m) is A^T A after the last step, ``predicted`` (m, m) the largest equilibrium at ``lam``, half the
    threshold ``lam_star``; ``diverged`` counts networks whose state left every bound.
    """

    lam: float
    lam_star: float
    predicted: Float[np.ndarray, "m m"]
    S: Float[np.ndarray, "seeds m m"]
    diverged: int

    @property
    def errors(self) -> Float[np.ndarray, " seeds"]:
        """|S - S_max| / |S_max| of each network."""
        return np.linalg.norm(self.S - self.predicted, axis=(1, 2)) / np.linalg.norm(self.predicted)

    @property
    def along(self) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "seeds m"]]:
        """The eigenvalues of S_max, and v^T S v of each network along its eigenvectors v."""
        values, V = np.linalg.eigh(self.predicted)
        return values, np.einsum("ia,sij,ja->sa", V, self.S, V)


@cache
def leading_views(m: int) -> tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]]:
    """Pairs of centred views of the digits in the m leading eigenvectors of E[y x^T] + E[x y^T]."""
    x, y, _ = digit_views(np.random.default_rng(0), centre=True)
    V = second_moments(x, y).shared_directions(m).T
    return x @ V, y @ V


def train_digits(m: int, dynamics: Literal["sg", "ema"], seed: int = 0) -> TrainedNetworks:
    """Train networks of width n = m + 2 on minibatches, from starts near the first axes and the identity.

    Entries of A and B are those of an isometry and of the identity plus normal ones of standard deviation 0.1; the
    decay is half the threshold; the step is 0.5 / (1 + k / 3000); EMA has alpha = 0.99.
    """
    x, y = leading_views(m)
    moments = second_moments(x, y)
    lam_star = critical_weight_decay(moments.xx, moments.yx)
    found = largest_equilibrium(moments.xx, moments.yx, lam_star / 2)
    if found.S is None:
        raise RuntimeError(found.reason)
    n, seeds, steps = m + 2, SETTINGS["seeds"], SETTINGS["steps"]
    rng = np.random.default_rng([m, seed])
    A = np.eye(n, m) + SETTINGS["spread"] * rng.normal(size=(seeds, n, m))
    B = np.eye(n) + SETTINGS["spread"] * rng.normal(size=(seeds, n, n))
    run = train_on_samples(
        x,
        y,
        dynamics,
        A,
        B,
        lam=lam_star / 2,
        step=SETTINGS["step"] / (1 + np.arange(steps) / SETTINGS["halved_after"]),
        alpha=ALPHA if dynamics == "ema" else None,
        steps=steps,
        batch=SETTINGS["batch"],
        rng=rng,
        record_every=steps,
    )
    end = run.A[-1]
    S = np.swapaxes(end, 1, 2) @ end
    diverged = int((~(np.linalg.norm(end, axis=(1, 2)) < 1e3)).sum())
    return TrainedNetworks(lam_star / 2, lam_star, found.S, S, diverged)


def main() -> None:
    """Train networks for m = 1, 2, 3, 5, 10, stop-gradient and EMA, and record what they reached."""
    from ssltheory.records import progress, write_record

    argparse.ArgumentParser(prog="python -m ssltheory.digit_equilibria", description=main.__doc__).parse_args()
    began = time.perf_counter()
    rows = []
    names: list[Literal["sg", "ema"]] = ["sg", "ema"]
    for m, dynamics in progress(list(product(SIZES, names)), "settings"):
        run = train_digits(m, dynamics)
        values, along = run.along
        mean = np.linalg.norm(run.S.mean(axis=0) - run.predicted) / np.linalg.norm(run.predicted)
        rows.append(
            {
                "m": m,
                "dynamics": dynamics,
                "lam": run.lam,
                "lam_star": run.lam_star,
                "diverged": run.diverged,
                "errors": run.errors.tolist(),
                "error_of_mean": float(mean),
                "predicted": values.tolist(),
                "reached": along.tolist(),
                "first_network": run.S[0].tolist(),
            }
        )
    data = {"settings": SETTINGS | {"alpha": ALPHA}, "runs": rows}
    seconds = time.perf_counter() - began
    command = "python -m ssltheory.digit_equilibria"
    print(write_record("book/data/digit_equilibria.json", data, command=command, seconds=seconds))


if __name__ == "__main__":
    main()
