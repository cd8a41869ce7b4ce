"""Is a training field a gradient? The antisymmetric part of its Jacobian, and the work that it does round a loop.

A field V on an open set without holes is the gradient of some function exactly where its Jacobian J is symmetric
(Schwarz); equivalently, exactly when its work, the integral of <V, dz>, vanishes round every loop. V is the velocity
that training follows, (A', B') or (A', B', C') of :class:`ssltheory.LinearProblem`, in coordinates that are A row by
row, then B, then C, as in :func:`ssltheory.stability.jacobian`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.linear import Dynamics, LinearProblem, check_dynamics

Field = Callable[[Float[np.ndarray, "*batch d"]], Float[np.ndarray, "*batch d"]]
"""A vector field on flat states, which takes a batch of them."""


def flat_field(
    problem: LinearProblem,
    dynamics: Dynamics,
    kappa: float | None = None,
    teacher: Float[np.ndarray, "n m"] | None = None,
) -> Field:
    """Return the velocity of ``problem.field`` as a function of flat states (..., d).

    d = n m + n^2 for ``"gradient"`` and ``"sg"``, n m more for ``"ema"``, which needs ``kappa``. With ``"sg"`` and a
    ``teacher`` (n, m) the target is that fixed matrix instead of A: the student's field at a frozen teacher.
    """
    check_dynamics(dynamics, kappa=kappa)
    n, m = problem.n, problem.m
    ends = [n * m, n * m + n * n, 2 * n * m + n * n]
    size = ends[2 if dynamics == "ema" else 1]
    if teacher is not None:
        if dynamics != "sg":
            raise ValueError(f"teacher fixes the target of 'sg' alone; got dynamics {dynamics!r}")
        teacher = _validate.shaped("teacher", teacher, (n, m))

    def field(state: np.ndarray) -> np.ndarray:
        state = _validate.shaped("state", state, (size,), batched=True)
        lead = state.shape[:-1]
        A = state[..., : ends[0]].reshape(*lead, n, m)
        B = state[..., ends[0] : ends[1]].reshape(*lead, n, n)
        if dynamics == "ema":
            parts = problem.field("ema", A, B, state[..., ends[1] :].reshape(*lead, n, m), kappa)
        elif teacher is not None:
            parts = problem.field("ema", A, B, teacher, 0.0)[:2]
        else:
            parts = problem.field(dynamics, A, B)
        return np.concatenate([part.reshape(*lead, -1) for part in parts], axis=-1)

    return field


def antisymmetric_part(
    problem: LinearProblem,
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    kappa: float | None = None,
) -> Float[np.ndarray, "*batch d d"]:
    r"""The antisymmetric part K = (J - J^T)/2 of the Jacobian of SG, or with ``kappa`` of EMA, in closed form.

    SG, d = n m + n^2, as a map of (dA, dB):

    .. math:: K_{AA}\,dA = \tfrac12 (B^\top dA\, Y - B\, dA\, Y^\top), \quad
              K_{BA}\,dA = \tfrac12\, dA\, Y A^\top, \quad K_{BB} = 0.

    EMA, d = 2 n m + n^2: the student's own blocks vanish and

    .. math:: K_{AC}\,dC = \tfrac12 (B^\top dC\, Y - \kappa\, dC), \quad K_{BC}\,dC = \tfrac12\, dC\, Y A^\top .

    The other blocks follow from K^T = -K. Neither X, nor lam, nor the teacher enters. Raises ``ValueError`` for bad
    shapes or a negative ``kappa``.
    """
    A, B = problem.check_state(A, B)
    lead = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    n, m, Y = problem.n, problem.m, problem.Y
    A, B = np.broadcast_to(A, (*lead, n, m)), np.broadcast_to(B, (*lead, n, n))
    k, square = n * m, n * n
    turned = np.einsum("...ji,ba->...iajb", B, Y).reshape(*lead, k, k) / 2  # dA -> B^T dA Y / 2
    below = np.einsum("ij,...bk->...ikjb", np.eye(n), Y @ np.swapaxes(A, -1, -2)).reshape(*lead, square, k) / 2
    if kappa is None:
        K = np.zeros((*lead, k + square, k + square))
        K[..., :k, :k] = turned - np.swapaxes(turned, -1, -2)
        first = 0
    else:
        rate = _validate.scalar("kappa", kappa, _validate.nonnegative)
        K = np.zeros((*lead, 2 * k + square, 2 * k + square))
        first = k + square
        K[..., :k, first:] = turned - rate / 2 * np.eye(k)
        K[..., first:, :k] = -np.swapaxes(K[..., :k, first:], -1, -2)
    K[..., k : k + square, first : first + k] = below
    K[..., first : first + k, k : k + square] = -np.swapaxes(below, -1, -2)
    return K


def curl_norm_squared(
    problem: LinearProblem,
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    kappa: float | None = None,
) -> Float[np.ndarray, "*batch"]:
    r"""The squared Frobenius norm of :func:`antisymmetric_part`, without forming it.

    .. math:: |K|^2 = \tfrac12 \bigl[\, n |Y A^\top|^2 + |B|^2 |Y|^2 - \operatorname{tr}(B^2) \operatorname{tr}(Y^2)
              \,\bigr] \quad\text{(SG)}, \qquad
              \tfrac12 \bigl[\, n |Y A^\top|^2 + |B|^2 |Y|^2 - 2\kappa \operatorname{tr} B \operatorname{tr} Y
              + \kappa^2 n m \,\bigr] \quad\text{(EMA)}.
    """
    A, B = problem.check_state(A, B)
    n, m, Y = problem.n, problem.m, problem.Y
    coupling = n * np.sum((Y @ np.swapaxes(A, -1, -2)) ** 2, axis=(-1, -2))
    size = np.sum(B**2, axis=(-1, -2)) * np.sum(Y**2)
    if kappa is None:
        return (coupling + size - np.einsum("...ij,...ji->...", B, B) * np.sum(Y * Y.T)) / 2
    rate = _validate.scalar("kappa", kappa, _validate.nonnegative)
    return (coupling + size - 2 * rate * np.trace(B, axis1=-2, axis2=-1) * np.trace(Y) + rate**2 * n * m) / 2


@dataclass(frozen=True, eq=False)
class Circle:
    """The circle z = centre + radius (cos t u + sin t v), 0 <= t <= 2 pi, in a plane of parameters.

    ``u`` and ``v`` (d,) are orthonormal; the direction of travel is from u to v. Raises ``ValueError`` if they are not
    (to 1e-9), or for shapes that do not fit, or ``radius`` <= 0.
    """

    centre: Float[np.ndarray, " d"]
    u: Float[np.ndarray, " d"]
    v: Float[np.ndarray, " d"]
    radius: float

    def __post_init__(self) -> None:
        centre = _validate.shaped("centre", self.centre, ("d",))
        u, v = (_validate.shaped(name, getattr(self, name), centre.shape) for name in ("u", "v"))
        gram = np.array([[u @ u, u @ v], [v @ u, v @ v]])
        if np.abs(gram - np.eye(2)).max() > 1e-9:
            raise ValueError(f"u and v must be orthonormal; got <u, u> = {u @ u:.6g}, <u, v> = {u @ v:.6g}")
        radius = _validate.scalar("radius", self.radius, _validate.positive)
        for name, value in (("centre", centre), ("u", u), ("v", v), ("radius", radius)):
            object.__setattr__(self, name, value)

    @property
    def area(self) -> float:
        """The area of the disc."""
        return float(np.pi * self.radius**2)

    def points(self, angles: Float[np.ndarray, " k"]) -> Float[np.ndarray, "k d"]:
        """The points at these angles."""
        t = np.asarray(angles, dtype=float)[:, None]
        return self.centre + self.radius * (np.cos(t) * self.u + np.sin(t) * self.v)

    def tangents(self, angles: Float[np.ndarray, " k"]) -> Float[np.ndarray, "k d"]:
        """The derivatives of the points with respect to the angle."""
        t = np.asarray(angles, dtype=float)[:, None]
        return self.radius * (np.cos(t) * self.v - np.sin(t) * self.u)


def random_circle(rng: np.random.Generator, centre: Float[np.ndarray, " d"], radius: float) -> Circle:
    """A circle about ``centre`` in a uniformly random plane."""
    centre = _validate.shaped("centre", centre, ("d",))
    plane = np.linalg.qr(rng.standard_normal((centre.size, 2)))[0]
    return Circle(centre, plane[:, 0], plane[:, 1], radius)


def loop_integral(field: Field, loop: Circle, points: int = 32) -> float:
    """The work round a circle, the integral of <V(z), dz>, by the trapezoidal rule at ``points`` equally spaced angles.

    Exact, up to rounding, for fields that are polynomials of degree below ``points`` - 1, as those of the linear
    problem are (degree 3); spectrally accurate for smooth ones. ``field`` takes states (k, d).
    """
    count = _validate.count("points", points, 3)
    angles = 2 * np.pi * np.arange(count) / count
    power = np.sum(field(loop.points(angles)) * loop.tangents(angles), axis=-1)
    return float(2 * np.pi * power.mean())


def work_along(field: Field, loop: Circle, angles: Float[np.ndarray, " k"], points: int = 32) -> np.ndarray:
    """The work done from angle 0 to each of the angles, more than one lap allowed.

    The power <V, dz/dt> is interpolated by a trigonometric polynomial through ``points`` angles, which is exact where
    :func:`loop_integral` is, and that is integrated term by term.
    """
    count = _validate.count("points", points, 3)
    angles = _validate.shaped("angles", angles, ("k",))
    grid = 2 * np.pi * np.arange(count) / count
    power = np.sum(field(loop.points(grid)) * loop.tangents(grid), axis=-1)
    modes = np.fft.rfft(power) / count
    k = np.arange(1, (count - 1) // 2 + 1)  # a highest mode without a partner, when count is even, is left out
    turns = (np.exp(1j * np.outer(angles, k)) - 1) / (1j * k)
    return cast(np.ndarray, modes[0].real * angles + 2 * np.real(turns @ modes[1 : len(k) + 1]))


def disc_integral(
    antisymmetric: Callable[[Float[np.ndarray, " d"]], Float[np.ndarray, "d d"]],
    loop: Circle,
    rings: int = 6,
    points: int = 16,
) -> float:
    """The integral of the curl over the disc that a circle bounds: by Stokes' theorem the work round the circle.

    The curl in the plane of u and v is <v, J u> - <u, J v> = 2 <v, K u>; ``antisymmetric`` returns K at a state. Gauss
    points along the radius, ``points`` equal angles on each ring.
    """
    rings, points = _validate.count("rings", rings), _validate.count("points", points, 3)
    nodes, weights = np.polynomial.legendre.leggauss(rings)
    angles = 2 * np.pi * np.arange(points) / points
    total = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        share = (1 + node) / 2
        states = loop.centre + share * (loop.points(angles) - loop.centre)
        ring = np.mean([2 * loop.v @ antisymmetric(state) @ loop.u for state in states])
        total += weight / 2 * share * ring
    return float(2 * loop.area * total)
