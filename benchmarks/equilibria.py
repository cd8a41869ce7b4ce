"""How long do the equilibria take: the largest one for fifty inputs, and all complex ones for three?

The largest: Newton's method from above, on random problems with m = 50 at half and at 0.9999 of their threshold, which
is found first and timed apart. The peer is scipy, on the same equation in the same unknowns from the same start: its
Newton-Krylov at m = 50, which certifies nothing, and ``fsolve`` (Jacobian by differences) at m = 12. The report gives
the peer's residual and says whether what it found is the largest solution.

All: the homotopy on problems with m = 3, against a multi-start of ``scipy.optimize.root`` that stops when it has found
as many as the homotopy, or after a given number of starts. The exact count: the quotient ring modulo a prime, against
sympy's Groebner basis over the same field at m = 2 (at m = 3 with --groebner). Compilation is timed apart. Prints one
JSON object.

    python benchmarks/equilibria.py [--starts 2000] [--repeats 3] [--groebner]
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from ssltheory import enumeration as en
from ssltheory.equilibria import (
    LargestEquilibrium,
    critical_weight_decay,
    gram_residual,
    largest_equilibrium,
    symmetric_basis,
)


def log(text: str) -> None:
    """Say on the terminal what is under way."""
    print(text, file=sys.stderr, flush=True)


def best(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the least of several times, and the result."""
    times, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def relative_residual(S: np.ndarray, X: np.ndarray, Y: np.ndarray, lam: float) -> float:
    """|residual| / |Y^T S Y|."""
    return float(np.linalg.norm(gram_residual(S, X, Y, lam)) / np.linalg.norm(Y.T @ S @ Y))


def scipy_largest(X: np.ndarray, Y: np.ndarray, lam: float, method: str) -> tuple[float, np.ndarray]:
    """Solve T^2 - G^T T G + lam Q = 0 by scipy from T = |G|^2 I + lam X^{-1}; return the seconds and S."""
    from scipy import optimize

    inverse = np.linalg.inv(X)
    G = Y @ inverse
    Q = lam * G.T @ inverse @ G
    basis = symmetric_basis(len(X))
    flat = basis.reshape(len(basis), -1)
    rows, columns = np.triu_indices(len(X))
    weight = np.where(rows == columns, 1.0, np.sqrt(2.0))

    def unpack(t: np.ndarray) -> np.ndarray:
        T = np.zeros_like(X)
        T[rows, columns] = t / weight
        T[columns, rows] = t / weight
        return T

    def equation(t: np.ndarray) -> np.ndarray:
        T = unpack(t)
        F = T @ T - G.T @ T @ G + Q
        return np.asarray(weight * F[rows, columns])

    start_point = flat @ (np.linalg.norm(G, 2) ** 2 * np.eye(len(X)) + lam * inverse).ravel()
    start = time.perf_counter()
    if method == "fsolve":
        t = optimize.fsolve(equation, start_point, xtol=1e-13)
    else:
        try:
            t = optimize.newton_krylov(equation, start_point, f_tol=1e-11, maxiter=200)
        except optimize.NoConvergence as problem:
            t = np.asarray(problem.args[0])
    return time.perf_counter() - start, unpack(t) - lam * inverse


def measure_largest(m: int, method: str, repeats: int) -> list[dict[str, Any]]:
    """Time the largest equilibrium and its peer on several problems."""
    rows = []
    for family, seed in (("signal and noise", 0), ("signal and noise", 1), ("general Y", 2)):
        X, Y = (M[0] for M in en.draw_problems(family, m, 1, np.random.default_rng(seed)))
        start = time.perf_counter()
        star = critical_weight_decay(X, Y)
        spent = time.perf_counter() - start
        for ratio in (0.5, 0.9999):
            log(f"largest, m = {m}, {family}, {ratio}")
            lam = ratio * star

            def call(X: np.ndarray = X, Y: np.ndarray = Y, lam: float = lam) -> LargestEquilibrium:
                return largest_equilibrium(X, Y, lam)

            seconds, found = best(call, repeats)
            peer_seconds, S = scipy_largest(X, Y, lam, method)
            residual = relative_residual(S, X, Y, lam)
            rows.append(
                {
                    "m": m,
                    "family": family,
                    "ratio_to_threshold": ratio,
                    "seconds": seconds,
                    "residual": found.residual,
                    "steps": found.iterations,
                    "seconds_for_the_threshold": spent,
                    "peer": f"scipy.optimize.{method}",
                    "peer_seconds": peer_seconds,
                    "peer_residual": residual,
                    "peer_found_the_largest": bool(np.linalg.norm(S - found.S) < 1e-4 * np.linalg.norm(found.S)),
                    "ratio": peer_seconds / seconds,
                }
            )
    return rows


def multi_start(X: np.ndarray, Y: np.ndarray, lam: float, want: int, starts: int) -> dict[str, Any]:
    """Find complex solutions by scipy's root from random starts in the unknowns' real and imaginary parts."""
    from scipy import optimize

    inverse = np.linalg.inv(X)
    G = Y @ inverse
    Q = lam * G.T @ inverse @ G
    m = len(X)
    N = m * (m + 1) // 2
    rng = np.random.default_rng(0)
    scale = np.linalg.norm(G, 2) ** 2

    def equation(t: np.ndarray) -> np.ndarray:
        T = en._unpack(t[:N] + 1j * t[N:], m)
        F = en._pack(T @ T - G.T @ T @ G + Q)
        return np.concatenate([F.real, F.imag])

    known: list[np.ndarray] = []
    begin, used = time.perf_counter(), 0
    for used in range(1, starts + 1):  # noqa: B007
        found = optimize.root(equation, scale * rng.normal(size=2 * N), tol=1e-13)
        if np.linalg.norm(equation(found.x)) > 1e-10 * scale**2:
            continue
        if all(np.linalg.norm(found.x - t) > 1e-6 * (1 + np.linalg.norm(t)) for t in known):
            known.append(found.x)
        if len(known) == want:
            break
    return {"seconds": time.perf_counter() - begin, "found": len(known), "starts": used}


def measure_all(starts: int, repeats: int) -> list[dict[str, Any]]:
    """Time all complex solutions at m = 3 and the multi-start."""
    rows = []
    for family in en.FAMILIES:
        X, Y = (M[0] for M in en.draw_problems(family, 3, 1, np.random.default_rng(5)))
        lam = 0.3 * critical_weight_decay(X, Y)
        log(f"all, m = 3, {family}")

        def call(X: np.ndarray = X, Y: np.ndarray = Y, lam: float = lam) -> en.Solutions:
            return en.all_solutions(X, Y, lam)

        seconds, found = best(call, repeats)
        peer = multi_start(X, Y, lam, len(found), starts)
        row = {"family": family, "seconds": seconds, "found": len(found), "residual": float(found.residuals.max())}
        row |= {"real": int(found.real.sum()), "multi_start": peer}
        rows.append(row | {"ratio": peer["seconds"] / seconds, "peer_complete": peer["found"] == len(found)})
    return rows


def groebner_dimension(m: int, seed: int) -> tuple[float, int]:
    """Count the standard monomials of sympy's Groebner basis modulo the same prime, on the same problem."""
    import sympy

    rng = np.random.default_rng(seed)
    G, Q = rng.integers(0, en.PRIME, (2, m, m))
    unknowns = sympy.symbols(f"t0:{m * (m + 1) // 2}")
    quadrics = [
        sum(int(c) * sympy.prod([unknowns[k] for k in e]) for e, c in polynomial.items())
        for polynomial in en._quadrics(m, G, np.triu(Q) + np.triu(Q, 1).T)
    ]
    start = time.perf_counter()
    basis = sympy.groebner(quadrics, *unknowns, modulus=en.PRIME, order="grevlex")
    leads = [sympy.Poly(g, *unknowns, modulus=en.PRIME).monoms(order="grevlex")[0] for g in basis.exprs]
    count, layer = 0, [(0,) * len(unknowns)]
    while layer:
        layer = [e for e in layer if not any(all(a >= b for a, b in zip(e, lead, strict=True)) for lead in leads)]
        count += len(layer)
        layer = list({(*e[:k], e[k] + 1, *e[k + 1 :]) for e in layer for k in range(len(e))})
    return time.perf_counter() - start, count


def measure_count(groebner: bool, repeats: int) -> list[dict[str, Any]]:
    """Time the exact count, and sympy's."""
    rows = []
    for m in (1, 2, 3, 4):
        seconds, count = best(lambda m=m: en.count_solutions(m), repeats)  # type: ignore[misc]
        row: dict[str, Any] = {"m": m, "seconds": seconds, "count": count}
        if m <= (3 if groebner else 2):
            log(f"sympy, m = {m}")
            spent, other = groebner_dimension(m, 0)
            row |= {"sympy_seconds": spent, "sympy_count": other, "ratio": spent / seconds}
        rows.append(row)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--groebner", action="store_true")
    options = parser.parse_args()
    start = time.perf_counter()
    en.start_system(3)
    compiled = time.perf_counter() - start
    largest = measure_largest(50, "newton_krylov", options.repeats) + measure_largest(12, "fsolve", options.repeats)
    fifty = [row for row in largest if row["m"] == 50]
    report = {
        "question": "seconds for the largest equilibrium at m = 50, and for all complex solutions at m = 3",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {p: metadata.version(p) for p in ("numpy", "scipy", "numba")},
        "seconds_to_compile_and_start": compiled,
        "largest_seconds_m50": max(row["seconds"] for row in fifty),
        "largest_residual_m50": max(row["residual"] for row in fifty),
        "largest": largest,
        "all": measure_all(options.starts, options.repeats),
        "count": measure_count(options.groebner, options.repeats),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
