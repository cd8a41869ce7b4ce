"""States that lost directions: equilibria of rank k < m, in closed form for commuting data, and states that rotate.

At rest, a code of rank k lives on a k-dimensional subspace of the views. With an orthonormal basis V (m, k) of it and
an invertible H (k, k), A = U H^T V^T and B = U H U^T for orthonormal columns U (n, k), and

    X V H H^T - Y^T V H + lam V = 0.

Replacing (U, V, H) by (U W, V W, W^T H W) with W orthogonal changes nothing. For k = 1, H is a number r and
(r^2 X - r Y^T + lam) v = 0 is a quadratic eigenvalue problem.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Complex, Float

from ssltheory import _validate
from ssltheory.linear import LinearProblem
from ssltheory.moments import SecondMoments, completed_moments
from ssltheory.scalar import radii
from ssltheory.stability import commuting_spectrum, jacobian

Kind = Literal["dead", "inner", "outer"]
"""What a direction of commuting data does at an aligned equilibrium: nothing, or its own scalar equilibrium."""

_REAL = 1e-8


def rank_residual(
    V: Float[np.ndarray, "*batch m k"],
    H: Float[np.ndarray, "*batch k k"],
    X: Float[np.ndarray, "m m"],
    Y: Float[np.ndarray, "m m"],
    lam: float,
) -> Float[np.ndarray, "*batch m k"]:
    """X V H H^T - Y^T V H + lam V, zero exactly at the equilibria of rank k (V with orthonormal columns).

    Raises ``ValueError`` for shapes, X not positive definite or ``lam`` <= 0.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    V = _validate.shaped("V", V, (len(X), "k"), batched=True)
    H = _validate.shaped("H", H, (V.shape[-1], V.shape[-1]), batched=True)
    return np.sum(_pair_terms(V, H, X, Y, lam), axis=0)


def _pair_terms(
    V: np.ndarray, H: np.ndarray, X: np.ndarray, Y: np.ndarray, lam: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three terms of the equation, which add up to zero at an equilibrium; all may carry batch axes."""
    return X @ V @ H @ H.mT, -(Y.mT @ V @ H), lam * V


def equilibrium_gap(
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    X: Float[np.ndarray, "*#batch m m"],
    Y: Float[np.ndarray, "*#batch m m"],
    lam: Float[np.ndarray, "*#batch"] | float,
    k: int,
) -> Float[np.ndarray, "*batch"]:
    """How far states with a code of rank k >= 1 are from an equilibrium of that rank; nothing is checked.

    With (V, H, U) as in :func:`rank_parts`, the sum of three relative errors: |:func:`rank_residual`| over the size of
    its terms, the part of B off the code's directions over |B|, and |V^T V - I|.
    """
    U = np.linalg.svd(A, full_matrices=False)[0][..., :k]
    H = U.mT @ B @ U
    V = np.linalg.solve(H.mT, U.mT @ A).mT
    terms = _pair_terms(V, H, X, Y, np.asarray(lam)[..., None, None])
    size = sum(np.linalg.norm(M, axis=(-1, -2)) for M in terms)
    outside = np.linalg.norm(B - U @ H @ U.mT, axis=(-1, -2)) / np.linalg.norm(B, axis=(-1, -2))
    skew = np.linalg.norm(V.mT @ V - np.eye(k), axis=(-1, -2))
    return np.linalg.norm(np.sum(terms, axis=0), axis=(-1, -2)) / size + outside + skew


def rank_state(
    V: Float[np.ndarray, "m k"],
    H: Float[np.ndarray, "k k"],
    n: int,
    U: Float[np.ndarray, "n k"] | None = None,
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n n"]]:
    """The state A = U H^T V^T, B = U H U^T, an equilibrium where :func:`rank_residual` vanishes.

    ``U`` (n, k) has orthonormal columns, the first k axes if None. Raises ``ValueError`` for shapes, n < m, or columns
    that are not orthonormal.
    """
    V = _validate.shaped("V", V, ("m", "k"))
    m, k = V.shape
    H = _validate.shaped("H", H, (k, k))
    n = _validate.count("n", n, least=m)
    U = np.eye(n, k) if U is None else _validate.shaped("U", U, (n, k))
    for name, M in (("U", U), ("V", V)):
        gap = float(np.abs(M.T @ M - np.eye(k)).max(initial=0.0))
        if gap > 1e-8:
            raise ValueError(f"{name} must have orthonormal columns; {name}^T {name} differs from I by up to {gap:.3g}")
    return U @ H.T @ V.T, U @ H @ U.T


def rank_parts(
    A: Float[np.ndarray, "n m"], B: Float[np.ndarray, "n n"], *, tolerance: float = 1e-6
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "k k"], Float[np.ndarray, "n k"]]:
    """Read (V, H, U) off an equilibrium: H = U^T B U and V = A^T U H^{-1}, U the code's directions.

    These are the left singular vectors of A above ``tolerance`` times the largest. Undoes :func:`rank_state` up to the
    rotation W of the basis; (m, 0), (0, 0) and (n, 0) for A = 0. Where the state is not balanced V is not orthonormal;
    where H is singular it raises ``ValueError``.
    """
    A = _validate.shaped("A", A, ("n", "m"))
    B = _validate.shaped("B", B, (A.shape[0], A.shape[0]))
    tolerance = _validate.scalar("tolerance", tolerance, _validate.positive)
    U, sigma, _ = np.linalg.svd(A, full_matrices=False)
    k = int((sigma > tolerance * sigma[0]).sum()) if sigma[0] > 0 else 0
    U = U[:, :k]
    H = U.T @ B @ U
    if k and np.linalg.cond(H) > 1e14:
        raise ValueError("B does not map the code's directions onto themselves: the state is no equilibrium")
    return np.linalg.solve(H.T, U.T @ A).T, H, U


def collapse_radius(Y: Float[np.ndarray, "m m"], lam: float, dynamics: Literal["sg", "ema"] = "sg") -> float:
    """The radius below which every start collapses: 3 sqrt(3) lam / (4 |Y|) for SG, lam / |Y| for EMA.

    Starts with a smaller sqrt(|A|^2 + |B|^2), and for EMA a teacher with |C| no larger than some number below the
    radius, tend to the origin. |Y| is the largest singular value; inf for Y = 0. Raises ``ValueError`` for
    ``lam`` <= 0 or other dynamics. Source: the chapter on partial collapse.
    """
    Y = _validate.shaped("Y", Y, ("m", "m"))
    lam = _validate.scalar("lam", lam, _validate.positive)
    _validate.one_of("dynamics", dynamics, ("sg", "ema"))
    norm = float(np.linalg.norm(Y, 2))
    return (0.75 * np.sqrt(3.0) if dynamics == "sg" else 1.0) * lam / norm if norm else float("inf")


def rank_one_equilibria(
    X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, "K m"]]:
    """All equilibria of rank one, as (r, v): real r and unit v with (r^2 X - r Y^T + lam) v = 0, by decreasing |r|.

    A = r u v^T and B = r u u^T for any unit vector u; (r, v) and (r, -v) are one orbit, listed once. The 2 m
    eigenvalues are those of [[0, I], [-lam X^{-1}, X^{-1} Y^T]]; K of them are real (up to 1e-8 of their size), and
    K = 0 is possible: X = I and Y a rotation by a right angle. Where a root has several v (X = Y = I) the equilibria
    form a continuum, and only a basis of its directions is listed.

    Raises ``ValueError`` for X not positive definite or ``lam`` <= 0.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    m = len(X)
    inverse = np.linalg.inv(X)
    companion = np.block([[np.zeros((m, m)), np.eye(m)], [-lam * inverse, inverse @ Y.T]])
    values, vectors = np.linalg.eig(companion)
    real = np.abs(values.imag) <= _REAL * np.abs(values)
    r, v = values[real].real, vectors[:m, real].real
    order = np.argsort(-np.abs(r), kind="stable")
    return r[order], (v / np.linalg.norm(v, axis=0)).T[order]


def rank_one_state(
    r: float, v: Float[np.ndarray, " m"], n: int, u: Float[np.ndarray, " n"] | None = None
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n n"]]:
    """The state A = r u v^T, B = r u u^T; ``v`` and ``u`` (the first axis if None) are scaled to unit length."""
    v = _validate.shaped("v", v, ("m",))
    n = _validate.count("n", n, least=len(v))
    r = _validate.scalar("r", r)
    u = np.eye(n)[0] if u is None else _validate.shaped("u", u, (n,))
    lengths = np.linalg.norm(v), np.linalg.norm(u)
    if not min(lengths) > 0:
        raise ValueError("u and v must not be zero vectors")
    return rank_state(v[:, None] / lengths[0], np.array([[r]]), n, u[:, None] / lengths[1])


def rank_equilibria(
    X: Float[np.ndarray, "m m"],
    Y: Float[np.ndarray, "m m"],
    lam: float,
    k: int,
    rng: np.random.Generator,
    starts: int = 40,
) -> list[tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "k k"]]]:
    """Equilibria (V, H) of rank k found by Gauss-Newton steps from random starts, each orbit once.

    A search, not an enumeration: what it misses it cannot report. k = 1 is complete but for
    repeated roots (:func:`rank_one_equilibria`).
    Two finds are one orbit if A^T A and A^T B A agree to 1e-6 of their size. Raises ``ValueError`` for 1 <= k <= m
    violated, X not positive definite or ``lam`` <= 0.
    """
    from scipy.optimize import least_squares

    X, Y, lam = _validate.problem(X, Y, lam)
    m = len(X)
    k = _validate.count("k", k)
    if k > m:
        raise ValueError(f"k must be at most m = {m}; got {k}")
    if k == 1:
        return [(v[:, None], np.array([[r]])) for r, v in zip(*rank_one_equilibria(X, Y, lam), strict=True)]

    def parts(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return z[: m * k].reshape(m, k), z[m * k :].reshape(k, k)

    def equations(z: np.ndarray) -> np.ndarray:
        V, H = parts(z)
        rest = np.sum(_pair_terms(V, H, X, Y, lam), axis=0)
        return np.concatenate([rest.ravel(), (V.T @ V - np.eye(k))[np.triu_indices(k)]])

    size = np.linalg.norm(Y, 2) / np.linalg.eigvalsh(X)[0]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    marks: list[np.ndarray] = []
    for _ in range(_validate.count("starts", starts)):
        V0 = np.linalg.qr(rng.standard_normal((m, k)))[0]
        H0 = rng.uniform(0.1, 1.0) * size * np.eye(k) + 0.2 * size * rng.standard_normal((k, k))
        z = least_squares(
            equations, np.concatenate([V0.ravel(), H0.ravel()]), method="trf", xtol=1e-15, ftol=1e-15, gtol=1e-15
        ).x
        V, H = parts(z)
        sigma = np.linalg.svd(H, compute_uv=False)
        if np.linalg.norm(equations(z)) > 1e-10 * (1 + size) or sigma[-1] < 1e-6 * sigma[0]:
            continue
        Q, R = np.linalg.qr(V)  # orthonormal to 1e-10 already, and now to rounding
        V = Q * np.sign(np.diag(R))
        A, B = rank_state(V, H, m)
        mark = np.concatenate([(A.T @ A).ravel() / sigma[0] ** 2, (A.T @ B @ A).ravel() / sigma[0] ** 3])
        if all(np.abs(mark - other).max() > 1e-6 for other in marks):
            marks.append(mark)
            found.append((V, H))
    return found


@dataclass(frozen=True)
class Aligned:
    """An aligned equilibrium of commuting data: each axis is dead or at its own scalar equilibrium.

    ``kinds`` and ``radii`` (0 where dead) have one entry an axis; ``rank`` counts the live ones. ``stable`` says
    whether the orbit is shown to attract, under SG and under EMA at every ``kappa`` > 0, and ``reason`` why.
    """

    kinds: tuple[Kind, ...]
    radii: tuple[float, ...]
    rank: int
    stable: bool
    reason: str


def _axes(rho: object, tau: object, lam: object) -> tuple[np.ndarray, np.ndarray, float]:
    rho = _validate.positive("rho", _validate.shaped("rho", rho, ("m",)))
    tau = _validate.shaped("tau", tau, rho.shape)
    return rho, tau, _validate.scalar("lam", lam, _validate.positive)


def aligned_equilibria(rho: Float[np.ndarray, " m"], tau: Float[np.ndarray, " m"], lam: float) -> list[Aligned]:
    """Every aligned equilibrium for X = diag(rho), Y = diag(tau), at most 3^m of them, by increasing rank.

    A = sum r_i u_i e_i^T, B = sum sign(tau_i) r_i u_i u_i^T over the live axes, r_i a root of
    rho_i r^2 - |tau_i| r + lam = 0. It is stable if all live axes are at their outer radius and every dead axis j has
    rho_j r^2 - |tau_j| r + lam > 0 at the radius r of each live axis whose tau has the sign of tau_j. Where this is
    zero the linearisation does not decide, ``stable`` is False and ``reason`` says so. An axis with tau^2 = 4 rho lam,
    where the radii meet, counts as "inner": it attracts from one side only.

    Raises ``ValueError`` for rho or lam not positive. Source: the chapter on partial collapse.
    """
    rho, tau, lam = _axes(rho, tau, lam)
    inner, outer = (np.atleast_1d(r) for r in radii(rho, tau, lam))
    choices: list[tuple[Kind, ...]] = []
    for r1, r2 in zip(inner, outer, strict=True):
        choices.append(("dead",) if np.isnan(r2) else ("dead", "inner") if r1 == r2 else ("dead", "inner", "outer"))
    found = []
    for kinds in product(*choices):
        size = [{"dead": 0.0, "inner": r1, "outer": r2}[k] for k, r1, r2 in zip(kinds, inner, outer, strict=True)]
        stable, reason = _verdict(rho, tau, lam, kinds, size)
        live = sum(kind != "dead" for kind in kinds)
        found.append(Aligned(kinds, tuple(float(r) for r in size), live, stable, reason))
    return sorted(found, key=lambda e: e.rank)


def _verdict(
    rho: np.ndarray, tau: np.ndarray, lam: float, kinds: Sequence[Kind], size: Sequence[float]
) -> tuple[bool, str]:
    for i, kind in enumerate(kinds):
        if kind == "inner":
            return False, f"axis {i + 1} is at its inner radius"
    for j, kind in enumerate(kinds):
        for i, other in enumerate(kinds):
            if kind == "dead" and other != "dead" and tau[i] * tau[j] > 0:
                rate = rho[j] * size[i] ** 2 - abs(tau[j]) * size[i] + lam
                if rate == 0:
                    return False, f"undecided: axis {j + 1} is neutral to first order in the code of axis {i + 1}"
                if rate < 0:
                    return False, f"axis {j + 1} grows at the rate {-rate:.3g} in the code of axis {i + 1}"
    return True, "every disturbance but a rotation of the code dies out"


def aligned_state(
    equilibrium: Aligned, tau: Float[np.ndarray, " m"], n: int
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n n"]]:
    """The state (A, B) of an aligned equilibrium whose code uses the first axes, one for each view's axis."""
    r = np.array(equilibrium.radii)
    tau = _validate.shaped("tau", tau, r.shape)
    n = _validate.count("n", n, least=len(r))
    A, B = np.zeros((n, len(r))), np.zeros((n, n))
    i = np.arange(len(r))
    A[i, i], B[i, i] = r, np.sign(tau) * r
    return A, B


def aligned_spectrum(
    equilibrium: Aligned, rho: Float[np.ndarray, " m"], tau: Float[np.ndarray, " m"], lam: float, n: int
) -> Complex[np.ndarray, " d"]:
    """The n m + n^2 eigenvalues of the SG field at an aligned equilibrium, in closed form, by real part.

    The k live axes among themselves and with the n - k unused directions of the code give the spectrum of their own
    full-rank problem (:func:`ssltheory.stability.commuting_spectrum`); a live axis i in whose code a dead axis j may
    grow gives -(rho_j r_i^2 - sign(tau_i) tau_j r_i + lam); a dead axis and an unused direction give -lam.
    """
    rho, tau, lam = _axes(rho, tau, lam)
    n = _validate.count("n", n, least=len(rho))
    r, s = np.array(equilibrium.radii), np.sign(tau)
    live = [i for i, kind in enumerate(equilibrium.kinds) if kind != "dead"]
    dead = [i for i, kind in enumerate(equilibrium.kinds) if kind == "dead"]
    values = [-lam] * ((n - len(live)) * len(dead))
    values += [-(rho[j] * r[i] ** 2 - s[i] * tau[j] * r[i] + lam) for i in live for j in dead]
    values += list(commuting_spectrum(rho[live], tau[live], lam, r[live], n)) if live else [-lam] * n * n
    ordered = np.array(values, dtype=np.complex128)
    return ordered[np.lexsort((ordered.imag, -ordered.real))]


def pair_certificate(sign: Literal[1, -1]) -> list[tuple[list[int], bool]]:
    """Prove by the signs of coefficients that two live outer axes disturb each other stably, under EMA too.

    The block of a pair of live axes i, j (``sign`` the product of the signs of tau) has the characteristic polynomial
    mu (mu + 2 lam) times a quartic in mu. All roots of the quartic have negative real part if its coefficients and the
    Routh-Hurwitz determinant a_3 a_2 a_1 - a_1^2 - a_3^2 a_0 are positive. In units of time and of the code in which
    lam = 1 and r_i = 1, with tau_i > 0 (the signs of Y and B can be changed together), outer radii mean rho_i = 1 + a
    and rho_j = 1 / r_j^2 + b with a, b > 0; and r_j = 1 + d with d >= 0, taking for i the smaller one. Returned for
    each of the five conditions: the coefficients of its numerator as a polynomial in (a, b, kappa, d), and whether some
    term has no factor d (so that it is positive at d = 0). What is certified is the block as typed in here. The
    denominators are powers of 1 + d. Needs sympy.

    Raises ``ArithmeticError`` if the block or a denominator is not of this form.
    """
    import sympy as sp

    if sign not in (1, -1):
        raise ValueError(f"sign must be 1 or -1; got {sign!r}")
    a, b, kappa, d, mu = sp.symbols("a b kappa d mu")
    rj = 1 + d
    rho_i, rho_j = 1 + a, 1 / rj**2 + b
    tau_i, tau_j = rho_i + 1, sign * (rho_j * rj + 1 / rj)
    x, y, z, w, p, q = state = sp.symbols("x y z w p q")  # dA_ij, dA_ji, dB_ij, dB_ji, dC_ij, dC_ji
    R_ij = rho_j * (rj * z + x) - tau_j * p
    R_ji = rho_i * (w + sign * rj * y) - tau_i * q
    field = [
        sign * w - R_ij - x,
        z - sign * rj * R_ji - y,
        -rj * R_ij + y - z,
        -R_ji + sign * x - w,
        kappa * (x - p),
        kappa * (y - q),
    ]
    characteristic = sp.Matrix(field).jacobian(state).charpoly(mu).as_expr()
    quartic, rest = sp.div(sp.Poly(characteristic, mu), sp.Poly(mu * (mu + 2), mu))
    if sp.simplify(rest.as_expr()) != 0:
        raise ArithmeticError("the block does not have the eigenvalues 0 and -2 lam")
    _, a3, a2, a1, a0 = quartic.all_coeffs()
    found = []
    for condition in (a3, a2, a1, a0, a3 * a2 * a1 - a1**2 - a3**2 * a0):
        fraction = sp.fraction(sp.cancel(condition))
        numerator, denominator = (sp.Poly(part, a, b, kappa, d) for part in fraction)
        if min(denominator.coeffs()) <= 0:
            raise ArithmeticError("a denominator is not positive term by term")
        found.append(([int(c) for c in numerator.coeffs()], any(powers[-1] == 0 for powers in numerator.monoms())))
    return found


@dataclass(frozen=True, eq=False)
class Rotation:
    """A state of rank one that rotates for ever, for X = I and Y = g Rot(phi): a(t) = r Rot(-omega t) e_1.

    ``A`` (n, 2), ``B`` (n, n) and, for EMA, the teacher ``C`` at time 0; ``omega`` > 0 is the angular speed (radians a
    unit of time). The teacher trails by the angle ``lag`` with the size r cos(lag); 0 for SG. ``spectrum`` holds the
    eigenvalues of the linearisation in the frame that turns along; n of them are zero, the tangents of the family of
    rotating states.
    """

    g: float
    phi: float
    lam: float
    kappa: float | None
    r: float
    omega: float
    lag: float
    A: Float[np.ndarray, "n 2"]
    B: Float[np.ndarray, "n n"]
    C: Float[np.ndarray, "n 2"] | None
    spectrum: Complex[np.ndarray, " d"]

    @property
    def transverse(self) -> Complex[np.ndarray, " d_minus_n"]:
        """The spectrum without the n eigenvalues nearest to zero."""
        n = len(self.A)
        return self.spectrum[np.argsort(np.abs(self.spectrum), kind="stable")[n:]]


def rotation_matrix(phi: float) -> Float[np.ndarray, "2 2"]:
    """Rot(phi): the rotation of the plane by ``phi`` radians, counter-clockwise."""
    phi = _validate.scalar("phi", phi)
    return np.array([[np.cos(phi), -np.sin(phi)], [np.sin(phi), np.cos(phi)]])


def rotation_problem(g: float, phi: float, lam: float, n: int) -> LinearProblem:
    """The problem X = I, Y = g Rot(phi), Z = max(1, g^2) I with two-dimensional views."""
    g = _validate.scalar("g", g, _validate.positive)
    return LinearProblem(SecondMoments(np.eye(2), g * rotation_matrix(phi), max(1.0, g * g) * np.eye(2)), lam, n)


def rotating_state(g: float, phi: float, lam: float, n: int, kappa: float | None = None) -> Rotation:
    """The outer rotating state for X = I, Y = g Rot(phi), 0 < phi < pi/2, with its spectrum.

    SG: r = (g cos(phi) + sqrt(g^2 cos^2(phi) - 4 lam)) / 2 and omega = r g sin(phi). EMA: the lag d in (0, phi) solves
    kappa tan(d) = r g cos(d) sin(phi - d) = omega with r^2 - r g cos(d) cos(phi - d) + lam = 0, the larger root.
    Needs g cos(phi) > 2 sqrt(lam) (then EMA has one for every ``kappa`` > 0).

    Raises ``ValueError`` where it does not, for phi outside (0, pi/2), or ``kappa`` <= 0. Source: the chapter on
    partial collapse.
    """
    from scipy.optimize import brentq

    lam = _validate.scalar("lam", lam, _validate.positive)
    problem = rotation_problem(g, phi, lam, n)
    g, phi = float(g), float(phi)
    if not 0 < phi < np.pi / 2:
        raise ValueError(f"phi must be between 0 and pi/2; got {phi:.6g}")
    if not g * np.cos(phi) > 2 * np.sqrt(lam):
        raise ValueError(f"no rotating state: g cos(phi) = {g * np.cos(phi):.6g} is not above 2 sqrt(lam)")

    def radius(lag: float) -> float:
        half = g * np.cos(lag) * np.cos(phi - lag) / 2
        return float(half + np.sqrt(half * half - lam))

    def torque(lag: float) -> float:  # the teacher's own turning against the student's, over cos(lag)
        return kappa * np.sin(lag) - radius(lag) * g * np.cos(lag) ** 2 * np.sin(phi - lag)

    lag = 0.0
    if kappa is not None:
        kappa = _validate.scalar("kappa", kappa, _validate.positive)
        lag = float(brentq(torque, 0.0, phi, xtol=1e-15, rtol=1e-15))
    r = radius(lag)
    omega = r * g * np.cos(lag) * np.sin(phi - lag) if kappa is None or lag < phi / 2 else kappa * np.tan(lag)
    u = np.eye(n)[0]
    A, B = np.outer(u, [r, 0.0]), r * np.outer(u, u)
    C = None if kappa is None else r * np.cos(lag) * np.outer(u, [np.cos(lag), np.sin(lag)])
    J = jacobian(problem, "sg" if kappa is None else "ema", A, B, C, kappa)
    # Rows of A turn by M -> M K with K the generator of a(t): the frame's velocity is subtracted.
    turn = np.kron(np.eye(n), omega * np.array([[0.0, 1.0], [-1.0, 0.0]]))
    J[: 2 * n, : 2 * n] -= turn
    if C is not None:
        J[-2 * n :, -2 * n :] -= turn
    values = np.linalg.eigvals(J).astype(np.complex128)
    values = values[np.lexsort((values.imag, -values.real))]
    return Rotation(g, phi, lam, kappa, r, float(omega), lag, A, B, C, values)


def rotating_spectrum(g: float, phi: float, lam: float, n: int) -> list[tuple[float, int]]:
    """The spectrum of the SG rotating state in its co-rotating frame, in closed form with multiplicities.

    0 (n), -2 lam (n), -lam (n - 1 + (n - 1)^2), -(r^2 + lam) (n - 1) and lam - r^2 (1): all real, and none depends on
    phi but through r. Raises as :func:`rotating_state`.
    """
    r = rotating_state(g, phi, lam, n).r
    pairs = [(0.0, n), (-2 * lam, n), (-lam, (n - 1) * n), (-(r * r + lam), n - 1), (lam - r * r, 1)]
    return [(float(value), times) for value, times in pairs if times]


def rank_one_velocity(
    a: Float[np.ndarray, "*batch m"], X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float
) -> Float[np.ndarray, "*batch m"]:
    """The SG flow on balanced states of rank one, A = u a^T, B = |a| u u^T: a' = -(|a|^2 X - |a| Y^T + lam) a.

    The direction u in the code stands still. The states with B = -|a| u u^T obey the same with -Y. Called at every step
    of an integrator, so nothing is checked.
    """
    size = np.sqrt((a * a).sum(axis=-1, keepdims=True))
    return -(size**2 * (a @ X) - size * (a @ Y) + lam * a)


@dataclass(frozen=True, eq=False)
class Cycle:
    """A periodic orbit of :func:`rank_one_velocity` for m = 2, or why none was found.

    ``period`` is that of a, which goes once around; ``angles`` and ``sizes`` are its polar coordinates, one row a
    sample. ``multipliers`` are the Floquet multipliers of the whole SG flow along it, by decreasing modulus: the first
    n are 1 (time, and rotations of the code). ``attracts``: all others are below 1 in modulus.
    """

    exists: bool
    reason: str
    period: float
    angles: Float[np.ndarray, " T"]
    sizes: Float[np.ndarray, " T"]
    multipliers: Complex[np.ndarray, " d"]

    @property
    def largest(self) -> float:
        """The largest modulus of a multiplier that is not forced to be 1; nan without a cycle."""
        if not self.exists:
            return float("nan")
        n = int(np.sqrt(1 + len(self.multipliers))) - 1  # d = 2 n + n^2
        modulus = np.sort(np.abs(self.multipliers[np.argsort(np.abs(self.multipliers - 1))[n:]]))
        return float(modulus[-1])

    @property
    def attracts(self) -> bool:
        """Whether the cycle is orbitally stable, up to rotations of the code."""
        return self.exists and self.largest < 1


def find_cycle(
    X: Float[np.ndarray, "2 2"], Y: Float[np.ndarray, "2 2"], lam: float, n: int, *, turns: int = 60
) -> Cycle:
    """Look for the attracting periodic orbit of the SG flow among balanced states of rank one, for m = 2.

    In polar coordinates a = s (cos t, sin t) the flow is taken with the angle t as time, ds/dt = s'/t', which is
    possible where t' keeps its sign; half turns are iterated to their fixed point (a and -a are one orbit), at most
    ``turns`` times. The variational equation of the full flow, of dimension 2 n + n^2, gives the multipliers.

    The result says in ``reason`` what was found. Raises ``ValueError`` for shapes, n < 2 or ``lam`` <= 0.
    """
    from scipy.integrate import solve_ivp

    X, Y, lam = _validate.problem(_validate.shaped("X", X, (2, 2)), _validate.shaped("Y", Y, (2, 2)), lam)
    n = _validate.count("n", n, least=2)
    turns = _validate.count("turns", turns)

    def none(reason: str) -> Cycle:
        return Cycle(False, reason, float("nan"), np.empty(0), np.empty(0), np.empty(0, dtype=np.complex128))

    if (rank_one_equilibria(X, Y, lam)[0] > 0).any():
        return none("none: there are equilibria of rank one, at which a rotation stops")

    def polar(angle: float, size: float) -> tuple[float, float]:
        e, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        moved = rank_one_velocity(size * e, X, Y, lam)
        return float(moved @ e), float(moved @ across) / size

    direction = float(np.sign(polar(0.0, 1.0)[1]))

    def field(turned: float, z: np.ndarray) -> list[float]:  # z = (log s, time)
        size = np.exp(z[0])
        out, around = polar(direction * turned, size)
        speed = max(direction * around, 1e-9)
        return [out / size / speed, 1.0 / speed]

    def lost(turned: float, z: np.ndarray) -> float:  # negative once small, or hardly turning
        return min(float(z[0]) - np.log(1e-4), direction * polar(direction * turned, np.exp(z[0]))[1] - 1e-6)

    lost.terminal = True  # type: ignore[attr-defined]

    log_size, tight = 0.5 * np.log(np.linalg.norm(Y, 2) ** 2 / np.linalg.norm(X, 2) ** 2 / 2), {"rtol": 1e-11}
    for turn in range(turns):
        half = solve_ivp(field, (0.0, np.pi), [log_size, 0.0], method="DOP853", atol=1e-12, events=lost, **tight)
        end = half.y[0, -1]
        if half.status != 0 or not np.isfinite(end):
            return none(f"none: the motion stopped turning or shrank to the origin in half turn {turn + 1}")
        if abs(end - log_size) < 1e-12:
            break
        log_size = end
    else:
        return none(f"undecided: the size still changes by {abs(end - log_size):.1e} after {turns} half turns")
    angles = np.linspace(0.0, 2 * np.pi, 181)
    whole = solve_ivp(field, (0.0, 2 * np.pi), [log_size, 0.0], method="DOP853", t_eval=angles, atol=1e-12, **tight)
    period, sizes = float(whole.y[1, -1]), np.exp(whole.y[0])

    problem = LinearProblem(completed_moments(X, Y), lam, n)
    d, u = 2 * n + n * n, np.eye(n)[0]

    def variational(_: float, z: np.ndarray) -> np.ndarray:
        a = z[:2]
        state = np.outer(u, a), np.linalg.norm(a) * np.outer(u, u)
        J = jacobian(problem, "sg", *state)
        return np.concatenate([rank_one_velocity(a, X, Y, lam), (J @ z[2:].reshape(d, d)).ravel()])

    start = np.concatenate([[sizes[0], 0.0], np.eye(d).ravel()])
    end = solve_ivp(variational, (0.0, period), start, method="DOP853", rtol=1e-9, atol=1e-12).y[2:, -1]
    values = np.linalg.eigvals(end.reshape(d, d)).astype(np.complex128)
    values = values[np.argsort(-np.abs(values), kind="stable")]
    return Cycle(True, f"a cycle of period {period:.6g}", period, direction * angles, sizes, values)


def alignment(
    A: Float[np.ndarray, "*batch n m"], B: Float[np.ndarray, "*batch n n"]
) -> Float[np.ndarray, "*batch m m"]:
    """How the predictor acts on the code's own directions: P = U^T Q, of spectral norm at most 1.

    U is the orthogonal factor of the polar decomposition of A, and Q that of B U. P = I where the predictor stretches
    the directions of the code and turns none; det P = -1 or 1 where n = m. For m = 1 and balanced states it is the
    alignment p of the scalar chapter (up to the sign of tau).
    """
    A = _validate.shaped("A", A, ("n", "m"), batched=True)
    B = _validate.shaped("B", B, (A.shape[-2], A.shape[-2]), batched=True)
    U = _polar(A)
    return U.mT @ _polar(B @ U)


def _polar(M: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd(M, full_matrices=False)
    return left @ right


def balanced_states(
    rng: np.random.Generator, count: int, n: int, m: int, scale: float = 1.0
) -> tuple[Float[np.ndarray, "K n m"], Float[np.ndarray, "K n n"]]:
    """Random states with A A^T = B^T B: normal entries of standard deviation scale / sqrt(n) in A, B = W (A A^T)^{1/2}.

    W (n, n) is a random orthogonal matrix of either determinant (Haar measure).
    """
    count, n, m = (_validate.count(name, value) for name, value in (("count", count), ("n", n), ("m", m)))
    scale = _validate.scalar("scale", scale, _validate.nonnegative)
    A = scale / np.sqrt(n) * rng.standard_normal((count, n, m))
    Q, R = np.linalg.qr(rng.standard_normal((count, n, n)))
    W = Q * np.sign(np.einsum("kii->ki", R))[:, None, :]
    left, sigma, _ = np.linalg.svd(A, full_matrices=False)
    return A, W @ (left * sigma[:, None, :]) @ left.mT


def rank_of(A: Float[np.ndarray, "*batch n m"], tolerance: float = 1e-3) -> np.ndarray:
    """The number of singular values of A above ``tolerance``, in the unit of A."""
    A = _validate.shaped("A", A, ("n", "m"), batched=True)
    tolerance = _validate.scalar("tolerance", tolerance, _validate.positive)
    return (np.linalg.svd(A, compute_uv=False) > tolerance).sum(axis=-1)


def diagonal_problem(rho: Float[np.ndarray, " m"], tau: Float[np.ndarray, " m"], lam: float, n: int) -> LinearProblem:
    """The problem X = diag(rho), Y = diag(tau), Z = diag(tau^2 / rho + 1): a variance of 1 of y is not predictable."""
    rho, tau, lam = _axes(rho, tau, lam)
    return LinearProblem(completed_moments(np.diag(rho), np.diag(tau)), lam, n)
