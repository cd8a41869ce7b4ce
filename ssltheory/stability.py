"""Stability of the equilibria of the linear problem: Jacobians by formula, spectra modulo the orbit, step bounds.

An equilibrium is never alone: (Q A, Q B Q^T, Q C) is another for every rotation Q of the code. What can be stable is
this orbit, so its tangent directions, on which the Jacobian vanishes, are divided out before eigenvalues are read.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Complex, Float

from ssltheory import _validate
from ssltheory.linear import Dynamics, LinearProblem, check_dynamics

_RANK = 1e-9
_REST = 1e-6


def jacobian(
    problem: LinearProblem,
    dynamics: Dynamics,
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    C: Float[np.ndarray, "*batch n m"] | None = None,
    kappa: float | None = None,
) -> Float[np.ndarray, "*batch d d"]:
    """The derivative of the field (A', B') or (A', B', C') in (A, B) or (A, B, C), each flattened row by row.

    d = n m + n^2, and n m more for ``"ema"``, where ``C`` is A if None. From R = B A X - C Y:
    dA' = -(B^T dR + dB^T R + lam dA), dB' = -(dR A^T + R dA^T + lam dB), dC' = kappa (dA - dC), with
    dR = B dA X + dB A X - dC Y and dC = dA for ``"sg"``; ``"gradient"`` adds what passes through the second branch.
    The entries are written one after another in compiled code; no field is evaluated. Raises ``ValueError`` for shapes,
    and for a teacher given without ``"ema"``. Source: the linearisation in Ponce et al., section 4.
    """
    if dynamics == "ema" and C is None:
        C = A
    check_dynamics(dynamics, C=C, kappa=kappa)
    rate = 0.0 if kappa is None else _validate.scalar("kappa", kappa, _validate.nonnegative)
    A, B, *teacher = problem.check_state(A, B, C)
    batch = np.broadcast_shapes(*(M.shape[:-2] for M in (A, B, *teacher)))
    n, m = problem.n, problem.m
    d = n * m * (2 if teacher else 1) + n * n
    J = np.empty((int(np.prod(batch)), d, d))

    def flat(M: np.ndarray) -> np.ndarray:
        if M.shape[:-2] != batch:
            M = np.broadcast_to(M, (*batch, *M.shape[-2:]))
        return np.ascontiguousarray(M.reshape(-1, *M.shape[-2:]))

    from ssltheory import _jacobian

    mode = {"sg": _jacobian.SG, "gradient": _jacobian.GRADIENT, "ema": _jacobian.EMA}[dynamics]
    encoder = flat(A)
    target = flat(teacher[0]) if teacher else encoder
    X, Y, Z = (np.ascontiguousarray(M) for M in (problem.X, problem.Y, problem.Z))
    _jacobian.fill(J, mode, encoder, flat(B), target, X, Y, Z, problem.lam, rate)
    return J.reshape(*batch, d, d)


def antisymmetric_basis(n: int) -> Float[np.ndarray, "K n n"]:
    """The antisymmetric n x n matrices E_ij - E_ji, i < j, in the order (0, 1), (0, 2), ...; K = n (n - 1) / 2."""
    i, j = np.triu_indices(_validate.count("n", n), 1)
    k = np.arange(len(i))
    W = np.zeros((len(i), n, n))
    W[k, i, j], W[k, j, i] = 1.0, -1.0
    return W


def orbit_tangent(
    A: Float[np.ndarray, "n m"],
    B: Float[np.ndarray, "n n"] | None = None,
    C: Float[np.ndarray, "n m"] | None = None,
) -> Float[np.ndarray, "d dim"]:
    """An orthonormal basis of the directions (W A, W B - B W, W C), W antisymmetric: the tangent of the orbit.

    Rows are the coordinates of :func:`jacobian`, without those of B or C where they are None.
    """
    A = _validate.shaped("A", A, ("n", "m"))
    n, m = A.shape
    parts = [A] if B is None else [A, _validate.shaped("B", B, (n, n))]
    if C is not None:
        parts.append(_validate.shaped("C", C, (n, m)))
    W = antisymmetric_basis(n)
    moves = [W @ M for M in parts]
    if B is not None:
        moves[1] = moves[1] - parts[1] @ W
    T = np.concatenate([move.reshape(len(W), M.size) for move, M in zip(moves, parts, strict=True)], axis=1)
    return _range(T.T, float(np.sqrt(sum(np.sum(M * M) for M in parts))))


def _range(M: np.ndarray, scale: float) -> np.ndarray:
    """An orthonormal basis of the range of M, singular values below ``_RANK * scale`` taken as zero."""
    if not M.size:
        return np.zeros((M.shape[0], 0))
    U, s, _ = np.linalg.svd(M, full_matrices=False)
    return U[:, s > _RANK * scale]


def orbit_dimension(A: Float[np.ndarray, "n m"], B: Float[np.ndarray, "n n"] | None = None) -> int:
    """The dimension of the orbit of (A, B), or of A alone: the rank of W -> (W A, W B - B W), W antisymmetric.

    n m - m (m+1)/2 where A has full rank and B acts on its range alone (an equilibrium of full rank); with k in place
    of m at such a state of rank k.
    """
    return orbit_tangent(A, B).shape[1]


@dataclass(frozen=True, eq=False)
class Stability:
    """What the linearisation says about an equilibrium and its orbit.

    ``transverse`` are the eigenvalues modulo the orbit, by decreasing real part; ``orbit`` counts the zero eigenvalues
    divided out and ``drift`` is the norm of the Jacobian on their directions (0 up to rounding). ``index`` counts
    transverse eigenvalues with real part above ``tolerance``; ``abscissa`` is the largest real part. ``stable``: all
    are below -``tolerance``. ``reason`` is the verdict as a sentence.
    """

    transverse: Complex[np.ndarray, " d_minus_orbit"]
    orbit: int
    drift: float
    index: int
    abscissa: float
    stable: bool
    tolerance: float
    reason: str

    @property
    def spectrum(self) -> Complex[np.ndarray, " d"]:
        """All eigenvalues of the Jacobian: the transverse ones and ``orbit`` zeros."""
        return np.concatenate([self.transverse, np.zeros(self.orbit)])


def _neutral(
    A: np.ndarray, B: np.ndarray, C: np.ndarray | None, kappa: float | None, J: np.ndarray
) -> tuple[np.ndarray, str]:
    """The directions to divide out: the orbit's, and for a frozen teacher those of all equilibria nearby."""
    if kappa == 0.0:  # every teacher is at rest, and (Q A, B Q^T) at the same teacher is again an equilibrium
        n, m = A.shape
        W = antisymmetric_basis(n)
        student = np.concatenate([(W @ A).reshape(len(W), -1), -(B @ W).reshape(len(W), -1)], axis=1)
        T = _range(student.T, float(np.linalg.norm(A) + np.linalg.norm(B)))
        s = n * m + n * n
        graph = np.vstack([-np.linalg.pinv(J[:s, :s], rcond=1e-10) @ J[:s, s:], np.eye(n * m)])
        T = np.vstack([T, np.zeros((n * m, T.shape[1]))])
        return np.linalg.qr(np.hstack([T, graph]))[0], "family of equilibria of a frozen teacher"
    return orbit_tangent(A, B, C), "orbit"


def quotient(J: Float[np.ndarray, "d d"], T: Float[np.ndarray, "d k"]) -> Float[np.ndarray, "e e"]:
    """The map that J induces modulo the span of the orthonormal columns T, which J must leave invariant; e = d - k.

    With N an orthonormal basis of the complement: N^T J N. In the basis (T, N) J is block triangular, so its
    eigenvalues are those of J on T and those of this matrix.
    """
    N = np.linalg.qr(T, mode="complete")[0][:, T.shape[1] :] if T.shape[1] else np.eye(len(J))
    return N.T @ J @ N


def stability(
    problem: LinearProblem,
    dynamics: Dynamics,
    A: Float[np.ndarray, "n m"],
    B: Float[np.ndarray, "n n"],
    C: Float[np.ndarray, "n m"] | None = None,
    kappa: float | None = None,
    *,
    tolerance: float = 1e-9,
) -> Stability:
    """Linearise at an equilibrium of any rank and divide out the orbit.

    ``tolerance`` is relative to the norm of the Jacobian: real parts within it of 0 decide nothing. For ``"ema"`` C is
    A if None; at ``kappa`` = 0 the teacher is frozen, its n m directions are neutral too, and what is divided out is
    the family of all equilibria nearby, one for each teacher and rotation of the student. Raises ``ValueError`` where
    the field is not zero (relative to the size of its terms, 1e-6).
    """
    if dynamics == "ema" and C is None:
        C = A
    A, B, *teacher = problem.check_state(A, B, C)
    C = teacher[0] if teacher else None
    field = problem.field(dynamics, A, B, C, kappa)
    J = jacobian(problem, dynamics, A, B, C, kappa)
    norm = float(np.linalg.norm(J, 2))
    speed = float(np.sqrt(sum(np.sum(f * f) for f in field)))
    size = float(np.sqrt(sum(np.sum(M * M) for M in (A, B))))
    if speed > _REST * max(norm, 1e-300) * max(size, 1.0):
        raise ValueError(f"the state is not an equilibrium: the norm of the field is {speed:.3g}")
    T, name = _neutral(A, B, C, kappa, J)
    values = np.linalg.eigvals(quotient(J, T)).astype(np.complex128)
    values = values[np.lexsort((values.imag, -values.real))]
    bound = _validate.scalar("tolerance", tolerance, _validate.nonnegative) * norm
    index = int((values.real > bound).sum())
    abscissa = float(values.real.max(initial=-np.inf))
    if index:
        reason = f"unstable: {index} eigenvalues modulo the {name} have positive real part, the largest {abscissa:.3g}"
    elif abscissa >= -bound:
        reason = f"undecided by linearisation: an eigenvalue modulo the {name} has real part {abscissa:.3g}"
    else:
        reason = f"the {name} is asymptotically stable: modulo it every real part is at most {abscissa:.3g}"
    return Stability(
        transverse=values,
        orbit=T.shape[1],
        drift=float(np.linalg.norm(J @ T, 2)) if T.shape[1] else 0.0,
        index=index,
        abscissa=abscissa,
        stable=abscissa < -bound,
        tolerance=bound,
        reason=reason,
    )


def step_matrix(
    problem: LinearProblem,
    A: Float[np.ndarray, "n m"],
    B: Float[np.ndarray, "n n"],
    step: float,
    alpha: float | None = None,
) -> Float[np.ndarray, "d d"]:
    """The derivative of one step of the algorithm at an equilibrium (C = A).

    ``alpha`` None is SG, I + step J. Otherwise the coordinates are (A, B, C), the rows of (A, B) those of I + step J
    at a teacher of its own, and those of C are alpha C + (1 - alpha) A with the *updated* A.
    """
    step = _validate.scalar("step", step, _validate.positive)
    if alpha is None:
        J = jacobian(problem, "sg", A, B)
        return np.eye(len(J)) + step * J
    alpha = _validate.scalar("alpha", alpha, _validate.probability)
    J = jacobian(problem, "ema", A, B, A, 0.0)
    nm = A.size
    M = np.eye(len(J)) + step * J
    M[-nm:] *= alpha
    M[-nm:] += (1 - alpha) * M[:nm]
    return M


def step_radius(
    problem: LinearProblem,
    A: Float[np.ndarray, "n m"],
    B: Float[np.ndarray, "n n"],
    step: float,
    alpha: float | None = None,
) -> float:
    """The largest modulus of an eigenvalue of :func:`step_matrix` modulo the orbit; below 1 the orbit attracts.

    ``alpha`` in [0, 1): at alpha = 1 the teacher never moves and its directions are neutral whatever the step.
    """
    M = step_matrix(problem, A, B, step, alpha)
    T = orbit_tangent(A, B, None if alpha is None else A)
    return float(np.abs(np.linalg.eigvals(quotient(M, T))).max())


def flip_step(
    problem: LinearProblem, A: Float[np.ndarray, "n m"], B: Float[np.ndarray, "n n"], alpha: float | None = None
) -> float:
    """The least step at which an eigenvalue of the algorithm passes -1, in closed form; inf if none does.

    An eigenvector of eigenvalue -1 has dC = (1 - alpha)/(1 + alpha) dA, so with J = J_student + J_teacher the SG
    Jacobian split by what it differentiates, the step is 2 / nu for the largest real nu > 0 with -nu an eigenvalue of
    J_student + (1 - alpha)/(1 + alpha) J_teacher. (alpha None or 0: of J itself.)
    """
    share = 0.0 if alpha is None else _validate.scalar("alpha", alpha, _validate.probability)
    nm = A.size
    J = jacobian(problem, "ema", A, B, A, 0.0)
    M = J[:-nm, :-nm].copy()
    M[:, :nm] += (1 - share) / (1 + share) * J[:-nm, -nm:]
    values = np.linalg.eigvals(M)
    real = -values.real[np.abs(values.imag) <= 1e-9 * np.abs(values).max()]
    return float(2 / real.max()) if (real > 0).any() else np.inf


def step_bound(
    problem: LinearProblem,
    A: Float[np.ndarray, "n m"],
    B: Float[np.ndarray, "n n"],
    alpha: float | None = None,
    *,
    grid: int = 200,
) -> float:
    """The least step at which the orbit stops attracting the algorithm; 0 where it attracts at no small step.

    SG (``alpha`` None): the least of -2 Re z / |z|^2 over the eigenvalues z of the flow modulo the orbit, exact.
    Otherwise ``alpha`` in [0, 1): the first sign change of :func:`step_radius` - 1 on ``grid`` geometric points up to
    :func:`flip_step`, refined by bisection to a relative 1e-10; :func:`flip_step` itself where there is none before.
    """
    if alpha is None or alpha == 0:
        values = stability(problem, "sg", A, B).transverse
        return max(float((-2 * values.real / np.abs(values) ** 2).min()), 0.0)
    alpha = _validate.scalar("alpha", alpha, _validate.probability)
    if alpha == 1:
        raise ValueError("alpha must be below 1: a frozen teacher has no orbit that attracts; got 1")
    _validate.count("grid", grid, 2)
    last = flip_step(problem, A, B, alpha)
    if not np.isfinite(last):
        last = 10 * step_bound(problem, A, B)
    steps = last * np.geomspace(1e-3, 1 - 1e-9, grid)
    low = 0.0
    for high in steps:
        if step_radius(problem, A, B, high, alpha) >= 1:
            break
        low = high
    else:
        return last
    if low == 0.0:
        return 0.0
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if step_radius(problem, A, B, middle, alpha) < 1 else (low, middle)
    return float(low)


def frozen_gap(
    problem: LinearProblem,
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    C: Float[np.ndarray, "*batch n m"],
) -> Float[np.ndarray, "*batch"]:
    """A bound on F(A, B, C) - min F(., ., C), by convex duality; 0 certifies a global minimum at this teacher.

    With M = B A, lam (|A|^2 + |B|^2)/2 >= lam |M|_* (nuclear norm), and equality for balanced factors, so the minimum
    over (A, B) is that of the convex f(M) = tr(M X M^T)/2 - tr(M^T C Y) + lam |M|_*, up to E|C y|^2 / 2. Its dual at
    the residual R = M X - C Y, shrunk to spectral norm at most lam by t = min(1, lam/|R|_2), is
    -tr((C Y + t R) X^{-1} (C Y + t R)^T)/2; the gap is F minus this. ``lam`` must be positive.
    """
    _validate.scalar("lam", problem.lam, _validate.positive)
    A, B, C = problem.check_state(A, B, C)
    M, K = B @ A, C @ problem.Y
    R = M @ problem.X - K
    size = np.linalg.norm(R, 2, axis=(-2, -1))
    t = problem.lam / np.maximum(size, problem.lam)
    D = K + t[..., None, None] * R
    primal = np.sum(M @ problem.X * M, axis=(-1, -2)) / 2 - np.sum(M * K, axis=(-1, -2))
    primal = primal + problem.lam / 2 * (np.sum(A * A, axis=(-1, -2)) + np.sum(B * B, axis=(-1, -2)))
    dual = -np.sum(np.linalg.solve(problem.X, np.swapaxes(D, -1, -2)) * np.swapaxes(D, -1, -2), axis=(-1, -2)) / 2
    return cast(np.ndarray, primal - dual)


def teacher_map(
    problem: LinearProblem, A: Float[np.ndarray, "n m"], B: Float[np.ndarray, "n n"]
) -> Float[np.ndarray, "nm nm"]:
    """K = E H^+ J_teacher at a full-rank equilibrium: how the student's encoder, at rest, answers a small motion dC.

    H is the Hessian of F(., ., C) in (A, B), whose kernel is the student's own orbit, and E picks dA from (dA, dB).
    With a slow teacher, kappa -> 0, n m eigenvalues of the EMA flow modulo the orbit are kappa (k - 1) + O(kappa^2) for
    simple eigenvalues k of K; the others tend to those of -H across the orbit. The k are those of the derivative of the
    best response on Gram matrices, m (m - 1)/2 :func:`rotation_factors` of modulus at most 1/2, and m (n - m) zeros.
    """
    J = jacobian(problem, "ema", A, B, A, 0.0)
    nm = np.size(A)
    H, right = -J[:-nm, :-nm], J[:-nm, -nm:]
    values, V = np.linalg.eigh((H + H.T) / 2)
    o = orbit_dimension(A)
    V = V[:, o:]
    return (V[:nm] / values[o:]) @ (V.T @ right)


def rotation_factors(A: Float[np.ndarray, "n m"], B: Float[np.ndarray, "n n"]) -> Complex[np.ndarray, " k"]:
    """The eigenvalues of W -> L, P L + L P = b^T W b, P = b^T b, on antisymmetric m x m matrices; k = m (m - 1)/2.

    b is B on the range of A. They say by how much the student's best response turns when the teacher alone is turned;
    in the eigenbasis of P the map has entries of modulus sqrt(p_i p_j)/(p_i + p_j) <= 1/2 after a rotation.
    """
    A = _validate.shaped("A", A, ("n", "m"))
    n, m = A.shape
    B = _validate.shaped("B", B, (n, n))
    V = np.linalg.svd(A, full_matrices=False)[0]
    b = V.T @ B @ V
    p, U = np.linalg.eigh(b.T @ b)
    i, j = np.triu_indices(m, 1)
    image = (U.T @ b.T @ U) @ antisymmetric_basis(m) @ (U.T @ b @ U) / (p[:, None] + p)
    return np.linalg.eigvals(image[:, i, j].T).astype(np.complex128)


def commuting_multipliers(
    x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], lam: float, r: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "m m"]:
    """The eigenvalues mu_ij of the best response's derivative at S = diag(r^2), for X = diag(x) and Y = diag(y).

    mu_ij = g_i g_j / (|g_i| r_i + |g_j| r_j), g = y / x, i <= j; each r_i > 0 is a root of x r^2 - |y| r + lam = 0.
    """
    x, y, r = (_validate.shaped(k, v, ("m",)) for k, v in (("x", x), ("y", y), ("r", r)))
    _validate.positive("x", x), _validate.positive("r", r)
    gap = np.abs(x * r * r - np.abs(y) * r + lam) / (np.abs(y) * r)
    if (gap > 1e-8).any():
        raise ValueError(f"every r must solve x r^2 - |y| r + lam = 0; the relative gap is up to {gap.max():.3g}")
    g = y / x
    reach = np.abs(g) * r
    return np.multiply.outer(g, g) / np.add.outer(reach, reach)


def commuting_spectrum(
    x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], lam: float, r: Float[np.ndarray, " m"], n: int
) -> Complex[np.ndarray, " d"]:
    """All d = n m + n^2 eigenvalues of the SG flow at the diagonal equilibrium S = diag(r^2), in closed form.

    X = diag(x), Y = diag(y), each r_i a root of x r^2 - |y| r + lam = 0. For each i: -2 lam and lam - x_i r_i^2. For
    each pair i < j, s the sign of y_i y_j: 0, -2 lam and the roots of z^2 + t z + p with
    t = (x_i + x_j)(r_i^2 - s r_i r_j + r_j^2) - s lam (r_i - s r_j)^2/(r_i r_j) and
    p = (1 - mu_ij)(r_i^2 - s r_i r_j + r_j^2)(lam (x_i + x_j) + x_i x_j (r_i^2 + r_j^2)), mu of
    :func:`commuting_multipliers`. Each of the n - m further dimensions adds m zeros, m times -2 lam and -|y_i| r_i; the
    rest, (n - m)^2, are -lam.
    """
    mu = commuting_multipliers(x, y, lam, r)
    x, y, r = (np.asarray(v, dtype=np.float64) for v in (x, y, r))
    m = len(x)
    extra = _validate.count("n", n, m) - m
    i, j = np.triu_indices(m, 1)
    s = np.sign(y[i] * y[j])
    q = r[i] ** 2 - s * r[i] * r[j] + r[j] ** 2
    t = (x[i] + x[j]) * q - s * lam * (r[i] - s * r[j]) ** 2 / (r[i] * r[j])
    p = (1 - mu[i, j]) * q * (lam * (x[i] + x[j]) + x[i] * x[j] * (r[i] ** 2 + r[j] ** 2))
    half = np.sqrt((t * t / 4 - p).astype(np.complex128))
    pairs = len(i)
    parts = [
        -2 * lam * np.ones(m + pairs + extra * m),
        lam - x * r * r,
        np.zeros(pairs + extra * m),
        -t / 2 + half,
        -t / 2 - half,
        np.tile(-np.abs(y) * r, extra),
        -lam * np.ones(extra * extra),
    ]
    return np.concatenate(parts)
