"""The scalar case m = 1: equilibria on two spheres, their spectra, the largest stable step, the name of a limit.

With one input dimension the moments are numbers, rho = E[x^2] > 0, tau = E[y x], and the encoder is a vector a in R^n.
Functions that take ``rho``, ``tau``, ``lam`` without ``n`` broadcast over arrays of problems.
"""

from typing import Literal, cast

import numpy as np
from jaxtyping import Float, Int8

from ssltheory import _validate
from ssltheory.linear import LinearProblem
from ssltheory.moments import SecondMoments

Sphere = Literal["outer", "inner", "origin"]
Numbers = Float[np.ndarray, "*batch"] | float
ORIGIN, INNER, OUTER, NONE = 0, 1, 2, 3
LABELS = np.array(["origin", "inner", "outer", "none"])
"""The name of each code that ``classify_codes`` returns."""


def _parameters(rho: object, tau: object, lam: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _validate.positive("rho", rho), _validate.finite("tau", tau), _validate.nonnegative("lam", lam)


def scalar_problem(rho: float, tau: float, lam: float, n: int, sigma: float | None = None) -> LinearProblem:
    """The linear problem with m = 1 and X = rho, Y = tau, Z = sigma.

    ``sigma`` = E[y^2] enters E and its gradient flow but not SG or EMA. If None it is rho (views of equal size), or
    the least value tau^2 / rho that Cauchy-Schwarz allows where that is larger.
    """
    rho, tau = _validate.scalar("rho", rho), _validate.scalar("tau", tau)
    _parameters(rho, tau, lam)
    sigma = max(rho, tau * tau / rho) if sigma is None else sigma
    return LinearProblem(SecondMoments(np.array([[rho]]), np.array([[tau]]), np.array([[sigma]])), lam, n)


def discriminant(rho: Numbers, tau: Numbers, lam: Numbers) -> Float[np.ndarray, "*batch"]:
    """Delta = tau^2 - 4 rho lam: nonzero equilibria exist where Delta >= 0."""
    rho, tau, lam = _parameters(rho, tau, lam)
    return tau * tau - 4 * rho * lam


def radii(rho: Numbers, tau: Numbers, lam: Numbers) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """The radii r1 <= r2 of the two spheres of equilibria, the roots of rho r^2 - |tau| r + lam = 0.

    r1 = 2 lam / (|tau| + sqrt(Delta)), which loses no digits for small lam, and r2 = (|tau| + sqrt(Delta)) / (2 rho);
    nan where Delta < 0. At lam = 0 the inner sphere is the origin. Source: Ponce et al., Proposition 4.11.
    """
    rho, tau, lam = _parameters(rho, tau, lam)
    delta = discriminant(rho, tau, lam)
    double = np.abs(tau) + np.sqrt(np.where(delta >= 0, delta, np.nan))
    inner = np.divide(2 * lam, double, out=np.where(np.isnan(double), np.nan, 0.0), where=double > 0)
    return inner[()], (double / (2 * rho))[()]


def _radius(rho: float, tau: float, lam: float, sphere: str) -> float:
    _validate.one_of("sphere", sphere, ("outer", "inner", "origin"))
    rho, tau, lam = (_validate.scalar(k, v) for k, v in (("rho", rho), ("tau", tau), ("lam", lam)))
    if sphere == "origin":
        return 0.0
    inner, outer = radii(rho, tau, lam)
    radius = float(inner if sphere == "inner" else outer)
    if not radius > 0:
        delta = float(discriminant(rho, tau, lam))
        raise ValueError(
            f"there is no {sphere} sphere at rho = {rho:.6g}, tau = {tau:.6g}, lam = {lam:.6g} (Delta = {delta:.6g})"
        )
    return radius


def equilibrium(
    rho: float, tau: float, lam: float, n: int, sphere: Sphere, direction: Float[np.ndarray, " n"] | None = None
) -> tuple[Float[np.ndarray, "n 1"], Float[np.ndarray, "n n"]]:
    """The balanced equilibrium (a, B) on a sphere, a = r u, B = tau a a^T / (rho |a|^2 + lam) = sign(tau) r u u^T.

    ``direction`` (n,) is scaled to the unit vector u; the first axis if None. Raises ``ValueError`` where the sphere
    does not exist.
    """
    n = _validate.count("n", n)
    radius = _radius(rho, tau, lam, sphere)
    u = np.eye(n)[0] if direction is None else _validate.shaped("direction", direction, (n,))
    length = np.linalg.norm(u)
    if not length > 0:
        raise ValueError("direction must not be the zero vector")
    u = u / length
    return radius * u[:, None], np.sign(tau) * radius * np.outer(u, u)


def search_equilibria(
    rho: float, tau: float, lam: float, n: int, rng: np.random.Generator, starts: int = 20, spread: float = 1.5
) -> tuple[Float[np.ndarray, "found n 1"], Float[np.ndarray, "found n n"]]:
    """Look for SG equilibria without the theory and return the states (a, B) found, one for each success.

    A root finder (Powell's hybrid method with :func:`jacobian`) runs on the field from ``starts`` states whose entries
    are normal with standard deviation ``spread``; it is drawn to saddles as readily as to stable equilibria. A root
    counts if the field's norm there is below 1e-10.
    """
    from ssltheory.equilibria import search_equilibria as general

    problem = scalar_problem(rho, tau, lam, n)
    return general(problem.X, problem.Y, problem.lam, n, rng, starts, spread)


def jacobian(
    rho: float,
    tau: float,
    lam: float,
    a: Float[np.ndarray, "n 1"],
    B: Float[np.ndarray, "n n"],
    c: Float[np.ndarray, "n 1"] | None = None,
    kappa: float | None = None,
) -> Float[np.ndarray, "d d"]:
    """The derivative of the SG field at (a, B), d = n^2 + n, or of the EMA field at (a, B, c), d = n^2 + 2 n.

    Coordinates are a, then B row by row, then c. From R = rho B a - tau c: da' = -(dB^T R + B^T dR + lam da),
    dB' = -(dR a^T + R da^T + lam dB), dc' = kappa (da - dc), dR = rho dB a + rho B da - tau dc. SG has c = a;
    for EMA give ``kappa`` (and c, which is a if None).
    """
    a = _validate.shaped("a", a, ("n", 1))
    n = a.shape[0]
    B = _validate.shaped("B", B, (n, n))
    if kappa is None and c is not None:
        raise ValueError("c is given without kappa: SG has no separate teacher")
    teacher = a if c is None else _validate.shaped("c", c, (n, 1))
    rho, tau, lam = (_validate.scalar(k, v) for k, v in (("rho", rho), ("tau", tau), ("lam", lam)))
    _parameters(rho, tau, lam)
    from ssltheory.stability import jacobian as general

    problem = scalar_problem(rho, tau, lam, n)
    return general(problem, "sg" if kappa is None else "ema", a, B, None if kappa is None else teacher, kappa)


def spectrum(
    rho: float, tau: float, lam: float, n: int, sphere: Sphere, dynamics: str = "sg", kappa: float | None = None
) -> list[tuple[float, int]]:
    """The eigenvalues of the field at an equilibrium, with multiplicities, in closed form.

    On the sphere of radius r, SG: 0 (n-1), -2 lam (n), -|tau| r (n-1), -lam ((n-1)^2), lam - rho r^2 (1); the zeros
    are the motions along the sphere. EMA replaces the last by the two real roots of
    z^2 + (2 rho r^2 + kappa) z + kappa (rho r^2 - lam) = 0 and adds -kappa (n-1). At the origin: -lam (n^2 + n), and
    -kappa (n) for EMA. Multiplicities sum to n^2 + n (SG) or n^2 + 2 n (EMA); those that are 0 are left out.
    """
    n = _validate.count("n", n)
    _validate.one_of("dynamics", dynamics, ("sg", "ema"))
    if (dynamics == "ema") != (kappa is not None):
        raise ValueError(f"dynamics {dynamics!r} {'needs kappa' if kappa is None else 'has no kappa'}; got {kappa}")
    rate = 0.0 if kappa is None else _validate.scalar("kappa", kappa, _validate.nonnegative)
    r = _radius(rho, tau, lam, sphere)
    if sphere == "origin":
        pairs = [(-lam, n * n + n)] + ([(-rate, n)] if dynamics == "ema" else [])
    else:
        pull = rho * r * r
        pairs = [(0.0, n - 1), (-2.0 * lam, n), (-abs(tau) * r, n - 1), (-lam, (n - 1) ** 2)]
        if dynamics == "sg":
            pairs.append((lam - pull, 1))
        else:
            half = -(pull + rate / 2)
            low = half - np.sqrt(half * half - rate * (pull - lam))
            pairs += [(-rate, n - 1), (float(low), 1), (float(rate * (pull - lam) / low), 1)]
    return [(float(value), times) for value, times in pairs if times]


def largest_stable_step(
    rho: Numbers,
    tau: Numbers,
    lam: Numbers,
    n: int,
    alpha: Numbers = 0.0,
) -> Float[np.ndarray, "*batch"]:
    """The step eta below which the outer sphere attracts the iteration (and above which it repels); nan without one.

    The least of 2 / (|tau| r2) (if n >= 2), 2 (1 + alpha) / [(1 + 3 alpha) rho r2^2 - (1 - alpha) lam] and 1 / lam.
    ``alpha`` is the teacher's momentum, the teacher following the *updated* student; alpha = 0 is SG, alpha = 1 a
    frozen teacher, whose own directions are neutral and left out. On the outer sphere rho r2^2 >= lam, so the bracket
    is never negative, 1 / lam never binds for n >= 2, and for n >= 2 the second term binds iff alpha rho r2^2 > lam.
    inf where nothing binds (lam = 0 = tau). Stability is that of the sphere as a set: the n - 1 unit eigenvalues along
    it are not counted. Where r1 = r2 the sphere only half attracts, whatever the step.
    """
    n = _validate.count("n", n)
    alpha = _validate.probability("alpha", alpha)
    rho, tau, lam = _parameters(rho, tau, lam)
    outer = np.asarray(radii(rho, tau, lam)[1])
    bracket = np.clip((1 + 3 * alpha) * rho * outer**2 - (1 - alpha) * lam, 0.0, None)
    with np.errstate(divide="ignore"):
        step = np.minimum(2 * (1 + alpha) / bracket, np.where(np.isnan(outer), np.nan, 1 / lam))
        if n >= 2:
            step = np.minimum(step, 2 / (np.abs(tau) * outer))
    return step[()]


def step_matrix(
    rho: float, tau: float, lam: float, n: int, step: float, alpha: float = 0.0, sphere: Sphere = "outer"
) -> Float[np.ndarray, "d d"]:
    """The derivative of one step of the algorithm at an equilibrium, d = n^2 + 2 n, coordinates (a, B, c).

    With the flow's Jacobian J of the student, the rows of (a, B) are I + step J and those of c are
    alpha I + (1 - alpha) times the new rows of a. alpha = 0 is SG, with n further eigenvalues 0 for the teacher.
    """
    from ssltheory.stability import step_matrix as general

    return general(scalar_problem(rho, tau, lam, n), *equilibrium(rho, tau, lam, n, sphere), step, alpha)


def iteration_radius(rho: float, tau: float, lam: float, n: int, step: float, alpha: float = 0.0) -> float:
    """The largest modulus of an eigenvalue of :func:`step_matrix` on the outer sphere, the sphere's own set aside.

    The n - 1 eigenvalues nearest to 1 are those of motions along the sphere, which is at rest whatever the step. The
    sphere attracts the algorithm where the result is below 1.
    """
    values = np.linalg.eigvals(step_matrix(rho, tau, lam, n, step, alpha))
    across = values[np.argsort(np.abs(values - 1))[n - 1 :]]
    return float(np.abs(across).max())


def classify_codes(
    norm: Numbers,
    rho: Numbers,
    tau: Numbers,
    lam: Numbers,
    *,
    tolerance: float = 1e-3,
    field_norm: Numbers | None = None,
    field_tol: float | None = None,
) -> Int8[np.ndarray, "*batch"]:
    """Say on which equilibrium a limit with ``|a|`` = ``norm`` lies: codes ORIGIN, INNER, OUTER, NONE.

    A limit lies on a sphere of radius r if | |a| - r | <= tolerance r and no other is nearer: the midpoint of r1 and
    r2 parts them when they nearly coincide. It lies at the origin if |a| <= tolerance s and |a| < r1 / 2, with the
    scale s = r2, or sqrt(lam / rho) where there are no spheres (the radius at which they would be born). A norm that
    is not finite, or a ``field_norm`` above ``field_tol``, gives NONE: not at rest is no limit.
    """
    rho, tau, lam = _parameters(rho, tau, lam)
    tolerance = _validate.scalar("tolerance", tolerance, _validate.positive)
    norm = np.asarray(norm, dtype=np.float64)
    if (field_norm is None) != (field_tol is None):
        raise ValueError("field_norm and field_tol go together; got only one of them")
    r1, r2 = (np.asarray(r) for r in radii(rho, tau, lam))
    spheres = r2 > 0
    middle = (r1 + r2) / 2
    with np.errstate(invalid="ignore"):
        on_outer = spheres & (np.abs(norm - r2) <= tolerance * r2) & (norm >= middle)
        on_inner = spheres & (r1 > 0) & (np.abs(norm - r1) <= tolerance * r1) & (norm < middle)
        scale = np.where(spheres, r2, np.where(lam > 0, np.sqrt(lam / rho), 1.0))
        nearest = ~(spheres & (r1 > 0)) | (norm < r1 / 2)
        at_origin = (norm <= tolerance * scale) & nearest & ~on_outer
    codes = np.select([on_outer, on_inner, at_origin], [OUTER, INNER, ORIGIN], NONE).astype(np.int8)
    if field_norm is not None:
        codes = np.where(np.asarray(field_norm) <= cast(float, field_tol), codes, np.int8(NONE))
    return codes


def classify(
    norm: Numbers,
    rho: Numbers,
    tau: Numbers,
    lam: Numbers,
    *,
    tolerance: float = 1e-3,
    field_norm: Numbers | None = None,
    field_tol: float | None = None,
) -> np.ndarray:
    """The labels "outer", "inner", "origin", "none" of :func:`classify_codes`, in the shape of ``norm``."""
    codes = classify_codes(norm, rho, tau, lam, tolerance=tolerance, field_norm=field_norm, field_tol=field_tol)
    return LABELS[codes]
