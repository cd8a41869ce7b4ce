"""How many full-rank equilibria are stable, over families of random problems and real digits, for SG and for EMA.

Each problem is enumerated completely (m = 2 or 3), and each equilibrium's spectrum is read modulo its orbit. The record
is made by ``python -m ssltheory.stability_census`` (about five minutes on one core).
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.digits import digit_views
from ssltheory.enumeration import all_solutions
from ssltheory.equilibria import best_response_derivative, critical_weight_decay, equilibrium_state
from ssltheory.linear import LinearProblem
from ssltheory.moments import SecondMoments, completed_moments, second_moments
from ssltheory.records import progress, write_record
from ssltheory.stability import stability

FAMILIES = ("additive noise", "joint Gaussian", "near rotation", "general cross moment", "strong shear", "digits")
RATES = (0.1, 1.0, 10.0)
"""The teacher's rates, in units of the weight decay."""


@cache
def _digits() -> SecondMoments:
    return second_moments(*digit_views(np.random.default_rng(0), centre=True)[:2])


def draw_moments(
    family: str, m: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "m m"], Float[np.ndarray, "m m"]]:
    """One problem (X, Y) of a family.

    "additive noise": y and x share a signal, X = S + N / 3 and Y = S with S, N Wishart; "joint Gaussian": moments of
    6 m normal draws of (x, y), correlated through a random matrix; "near rotation": X near I, Y a rotation with 5%
    noise; "general cross moment": X Wishart, Y with normal entries; "strong shear": Y an upper triangular matrix with
    normal entries, those above the diagonal five times larger, turned at random; "digits": two views of the digits,
    projected on m random directions in pixel space.
    """
    _validate.one_of("family", family, FAMILIES)
    m = _validate.count("m", m)

    def wishart(draws: int) -> np.ndarray:
        L = rng.standard_normal((m, draws))
        return L @ L.T / draws

    if family == "additive noise":
        shared = wishart(3 * m)
        return shared + wishart(3 * m) / 3, shared
    if family == "joint Gaussian":
        x = rng.standard_normal((6 * m, m))
        y = x @ rng.standard_normal((m, m)) / np.sqrt(m) + 0.5 * rng.standard_normal((6 * m, m))
        return x.T @ x / len(x), y.T @ x / len(x)
    turn = np.linalg.qr(rng.standard_normal((m, m)))[0]
    if family == "near rotation":
        return wishart(20 * m), turn + 0.05 * rng.standard_normal((m, m))
    if family == "general cross moment":
        return wishart(3 * m), rng.standard_normal((m, m))
    if family == "strong shear":
        N = rng.standard_normal((m, m))
        return wishart(3 * m), turn @ (np.diag(np.diag(N)) + 5 * np.triu(N, 1)) @ turn.T
    V = np.linalg.qr(rng.standard_normal((64, m)))[0].T
    moments = _digits().project(V)
    return moments.xx, moments.yx


def problems(
    family: str, m: int, count: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Draw (X, Y, lam) with lam = lam* times 10^u, u uniform in [-2, -0.02]; moments scaled to |X| = 1.

    Pairs in which X or Y has a condition number above 100 are drawn again: nothing found here is a matter of rounding.
    """
    for _ in range(count):
        X, Y = draw_moments(family, m, rng)
        while max(np.linalg.cond(X), np.linalg.cond(Y)) > 100:
            X, Y = draw_moments(family, m, rng)
        scale = np.linalg.norm(X, 2)
        X, Y = X / scale, Y / scale
        yield X, Y, critical_weight_decay(X, Y) * 10 ** rng.uniform(-2, -0.02)


def census_of(X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float) -> dict[str, Any] | None:
    """What is stable at one problem; None if the enumeration was not complete or some S is singular to rounding.

    ``equilibria`` full-rank ones; ``slow`` how many attract a slow teacher (spectral radius of the best response's
    derivative below 1); ``sg`` and ``ema`` (one for each of :data:`RATES`) how many attract; ``largest`` whether there
    is a largest one and it attracts SG; ``indices`` of SG, by trace of S.
    """
    found = all_solutions(X, Y, lam)
    if not found.complete:
        return None
    grams = sorted((S.real for S in found.S[found.positive_definite]), key=np.trace)
    problem = LinearProblem(completed_moments(X, Y), lam, len(X))
    slow, sg, ema = 0, [], np.zeros(len(RATES), int)
    for S in grams:
        S = (S + S.T) / 2
        A, B = equilibrium_state(S, X, Y, lam, len(X))
        try:
            slow += bool(np.abs(np.linalg.eigvals(best_response_derivative(S, X, Y, lam))).max() < 1)
        except ValueError:
            return None
        sg.append(stability(problem, "sg", A, B).index)
        ema += [stability(problem, "ema", A, B, kappa=rate * lam).index == 0 for rate in RATES]
    return {
        "equilibria": len(grams),
        "slow": slow,
        "sg": sg.count(0),
        "ema": ema.tolist(),
        "largest": sg[-1:] == [0],
        "indices": sg,
    }


def census(family: str, m: int, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Sum :func:`census_of` over problems: how often 0, 1, 2, ... equilibria are stable, and how often which."""
    rows = [census_of(*problem) for problem in problems(family, m, count, rng)]
    done = [row for row in rows if row is not None]

    def times(values: Any) -> dict[str, int]:
        return {str(k): v for k, v in sorted(Counter(values).items())}

    return {
        "family": family,
        "m": m,
        "problems": len(done),
        "incomplete": len(rows) - len(done),
        "equilibria": times(row["equilibria"] for row in done),
        "slow": times(row["slow"] for row in done),
        "sg": times(row["sg"] for row in done),
        "ema": [times(row["ema"][k] for row in done) for k in range(len(RATES))],
        "largest_unstable": sum(not row["largest"] for row in done),
        "second_stable": sum(row["sg"] > row["largest"] for row in done),
    }


def main() -> None:
    """Make the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--seed", type=int, default=410)
    parser.add_argument("--out", default="book/data/stability_census.json")
    options = parser.parse_args()
    start, rows = time.perf_counter(), []
    for (k, family), m in progress(list(product(enumerate(FAMILIES), (2, 3))), "families"):
        rng = np.random.default_rng([options.seed, k, m])
        rows.append(census(family, m, options.problems, rng))
    command = f"python -m ssltheory.stability_census --problems {options.problems} --seed {options.seed}"
    data = {"rates": RATES, "seed": options.seed, "families": rows}
    write_record(options.out, data, command=command, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
