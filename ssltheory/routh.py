"""Stability decided in exact arithmetic: rational problems around an equilibrium, and Routh's count of eigenvalues.

An eigenvalue that floating point puts a little to the right of the imaginary axis proves nothing. For data that are
fractions the Jacobian is a matrix of fractions, its characteristic polynomial has rational coefficients, and the
number of its roots with positive real part is a count of sign changes.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from ssltheory import _validate

Exact = np.ndarray
"""An array of ``fractions.Fraction`` (dtype object)."""


def fractions(values: Any) -> Exact:
    """Return an array of fractions from nested lists of integers, fractions or strings such as "23/6"."""
    array = np.array(values, dtype=object)
    out = np.empty(array.shape, dtype=object)
    for k, value in np.ndenumerate(array):
        if isinstance(value, (float, np.floating)):
            raise ValueError(f"a float is no exact number; write {value!r} as a fraction")
        out[k] = Fraction(int(value)) if isinstance(value, (int, np.integer)) else Fraction(value)
    return out


def _identity(m: int) -> Exact:
    return fractions(np.eye(m, dtype=int))


def inverse(M: Exact) -> Exact:
    """The exact inverse of a square matrix of fractions; ``ValueError`` if it is singular."""
    m = len(M)
    rows = np.concatenate([M, _identity(m)], axis=1)
    for k in range(m):
        pivot = next((i for i in range(k, m) if rows[i, k] != 0), None)
        if pivot is None:
            raise ValueError("the matrix is singular")
        rows[[k, pivot]] = rows[[pivot, k]]
        rows[k] = rows[k] / rows[k, k]
        for i in range(m):
            if i != k:
                rows[i] = rows[i] - rows[i, k] * rows[k]
    return rows[:, m:]


@dataclass(frozen=True, eq=False)
class RationalEquilibrium:
    """A problem with n = m and one of its full-rank equilibria, in fractions: X, Y, lam, S = A^2, A, B."""

    X: Exact
    Y: Exact
    lam: Fraction
    S: Exact
    A: Exact
    B: Exact

    def numbers(self) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        """X, Y, lam and S in floating point."""
        X, Y, S = (np.asarray(M, dtype=np.float64) for M in (self.X, self.Y, self.S))
        return X, Y, float(self.lam), S


def _positive(M: Exact) -> bool:
    """Whether a symmetric matrix of fractions is positive definite: all pivots of Gaussian elimination are positive."""
    rest = M.copy()
    while len(rest):
        if rest[0, 0] <= 0:
            return False
        rest = rest[1:, 1:] - np.outer(rest[1:, 0], rest[0, 1:]) / rest[0, 0]
    return True


def equilibrium_around(root: Any, excess: Any, rotation: Any, lam: Any = 1) -> RationalEquilibrium:
    """Build the problem around its equilibrium: S = root^2, X = lam excess^{-1}, G = root^{-1} rotation (S + excess).

    ``root`` (symmetric, invertible), ``excess`` (symmetric positive definite) and ``rotation`` (orthogonal,
    reflections allowed) are matrices of fractions. Then T = S + lam X^{-1} satisfies T^2 = G^T S G, and every problem
    with a full-rank equilibrium arises so.
    The state is A = root, B = A Y (S X + lam)^{-1} A. Raises ``ValueError`` unless the field at it is exactly zero.
    """
    A, D, turn = fractions(root), fractions(excess), fractions(rotation)
    m = len(A)
    if (turn.T @ turn != _identity(m)).any():
        raise ValueError("rotation must be orthogonal, exactly")
    if (D != D.T).any() or not _positive(D):
        raise ValueError("excess must be symmetric positive definite")
    scale = Fraction(lam)
    if scale <= 0:
        raise ValueError(f"lam must be positive, got {lam}")
    S = A @ A
    X = scale * inverse(D)
    Y = inverse(A) @ turn @ (S + D) @ X
    B = A @ Y @ inverse(S @ X + scale * _identity(m)) @ A
    R = B @ A @ X - A @ Y
    if (B.T @ R + scale * A != 0).any() or (R @ A.T + scale * B != 0).any():
        raise ValueError("the state is not at rest: root and excess must be symmetric")
    return RationalEquilibrium(X, Y, scale, S, A, B)


def exact_jacobian(state: RationalEquilibrium, kappa: Any = None) -> Exact:
    """The Jacobian of the SG flow, or of EMA at the rate ``kappa``, at the state: a d x d matrix of fractions.

    Column by column, from the derivative of the field along each coordinate in turn, independently of the blocks of
    :func:`ssltheory.stability.jacobian`. Coordinates (A, B[, C]), row by row; n = m, so d = 2 m^2 or 3 m^2.
    """
    A, B, X, Y, lam = state.A, state.B, state.X, state.Y, state.lam
    rate = None if kappa is None else Fraction(kappa)
    m = len(A)
    R = B @ A @ X - A @ Y
    zero = fractions(np.zeros((m, m), dtype=int))
    columns = []
    for block in range(2 if rate is None else 3):
        for k in np.ndindex(m, m):
            moves = [zero.copy(), zero.copy(), zero.copy()]
            moves[block][k] = Fraction(1)
            dA, dB, dC = moves
            dR = B @ dA @ X + dB @ A @ X - (dA if rate is None else dC) @ Y
            parts = [-(B.T @ dR + dB.T @ R + lam * dA), -(dR @ A.T + R @ dA.T + lam * dB)]
            if rate is not None:
                parts.append(rate * (dA - dC))
            columns.append(np.concatenate([p.ravel() for p in parts]))
    return np.array(columns, dtype=object).T


def characteristic_polynomial(M: Exact) -> list[Fraction]:
    """The coefficients of det(z - M), leading 1 first, by Faddeev and LeVerrier's recursion in exact arithmetic."""
    d = len(M)
    coefficients = [Fraction(1)]
    N = _identity(d)
    for k in range(1, d + 1):
        P = M @ N
        c = -sum(P[i, i] for i in range(d)) / k
        coefficients.append(c)
        N = P + c * _identity(d)
    return coefficients


def roots_to_the_right(coefficients: list[Fraction]) -> int:
    """How many roots of the polynomial (leading coefficient first) have positive real part, by Routh's array.

    Roots at 0 are divided out first. Exact for exact coefficients. Raises ``ValueError`` where Routh's array breaks off
    (a zero in its first column), which roots on the imaginary axis or symmetric about it make.
    """
    rest = [Fraction(c) for c in coefficients]
    if not rest or rest[0] == 0:
        raise ValueError("the leading coefficient must not be zero")
    while rest[-1] == 0:
        rest.pop()
    upper, lower = rest[0::2], rest[1::2]
    first = [upper[0]]
    for _ in range(len(rest) - 1):
        lower = lower + [Fraction(0)] * (len(upper) - len(lower))
        if lower[0] == 0:
            raise ValueError("Routh's array breaks off: a zero in its first column")
        first.append(lower[0])
        ratio = upper[0] / lower[0]
        upper, lower = lower, [a - ratio * b for a, b in zip(upper[1:], lower[1:], strict=True)]
        while len(upper) > 1 and upper[-1] == 0:
            upper.pop()
    return sum(a * b < 0 for a, b in pairwise(first))


def unstable_count(state: RationalEquilibrium, kappa: Any = None) -> int:
    """The number of eigenvalues with positive real part at the state, SG or EMA, decided in exact arithmetic."""
    _validate.count("m", len(state.A))
    return roots_to_the_right(characteristic_polynomial(exact_jacobian(state, kappa)))
