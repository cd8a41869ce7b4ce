"""Full-rank equilibria of linear SG and EMA: the equation of the Gram matrix, its largest solution, the threshold.

At a full-rank equilibrium the Gram matrix S = A^T A of the encoder solves (X S + lam)(S X + lam) = Y^T S Y. With
G = Y X^{-1} and T = S + lam X^{-1} this is T^2 = G^T S G, or S = Phi(S) = (G^T S G)^{1/2} - lam X^{-1}. Every real
solution is positive definite, and where there is one there is one above all others in the Loewner order.
Source: Ponce et al. (arXiv 2507.01028), Propositions 4.5 to 4.7; the fixed-point form is this book's.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Complex, Float

from ssltheory import _validate
from ssltheory.linear import LinearProblem
from ssltheory.moments import completed_moments

_DENSE = 24  # up to this m the Newton equations are solved as a dense system
_EPS = float(np.finfo(np.float64).eps)


def _gram(S: Any, m: int) -> np.ndarray:
    S = np.asarray(S)
    if S.dtype.kind == "c":
        for part in (S.real, S.imag):
            _validate.shaped("S", part, (m, m), batched=True)
        return S
    return _validate.shaped("S", S, (m, m), batched=True)


def _psd(name: str, S: Any, m: int) -> np.ndarray:
    S = _validate.shaped(name, S, (m, m), batched=True)
    return S if not S.size else _validate.positive_semidefinite(name, S)


def _root(Q: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(Q)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))[..., None, :]) @ vectors.mT


def gram_residual(
    S: Float[np.ndarray, "*batch m m"] | Complex[np.ndarray, "*batch m m"],
    X: Float[np.ndarray, "m m"],
    Y: Float[np.ndarray, "m m"],
    lam: float,
) -> Float[np.ndarray, "*batch m m"] | Complex[np.ndarray, "*batch m m"]:
    """What is missing to the equation of full-rank equilibria, (X S + lam)(S X + lam) - Y^T S Y.

    ``S`` may be complex and may have leading batch axes. Raises ``ValueError`` for shapes that do not fit, X not
    positive definite, ``lam`` <= 0. Source: Ponce et al., Proposition 4.5.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    S = _gram(S, len(X))
    shift = lam * np.eye(len(X))
    return (X @ S + shift) @ (S @ X + shift) - Y.T @ S @ Y


def best_response(
    S: Float[np.ndarray, "*batch m m"], X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float
) -> Float[np.ndarray, "*batch m m"]:
    """The map Phi(S) = (G^T S G)^{1/2} - lam X^{-1}, G = Y X^{-1}, whose fixed points are the equilibria.

    Where Phi(S) is positive definite it is the Gram matrix of the student that minimises F against a frozen teacher
    with Gram matrix S: the best response. Phi is operator monotone and operator concave. The root is good to
    about 1e-8 |G| |S|^{1/2} at worst: a weaker direction is lost. Raises ``ValueError`` if S (..., m, m) is not
    symmetric positive semi-definite.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    S = _psd("S", S, len(X))
    inverse = np.linalg.inv(X)
    G = Y @ inverse
    return _root(G.T @ S @ G) - lam * (inverse + inverse.T) / 2


def symmetric_basis(m: int) -> Float[np.ndarray, "N m m"]:
    """The orthonormal basis (Frobenius) of symmetric m x m matrices, N = m (m + 1) / 2.

    E_ii, and (E_ij + E_ji) / sqrt 2 for i < j, in the order (0, 0), (0, 1), ..., (1, 1), (1, 2), ...
    """
    m = _validate.count("m", m)
    rows, columns = np.triu_indices(m)
    basis = np.zeros((len(rows), m, m))
    weight = np.where(rows == columns, 1.0, np.sqrt(0.5))
    k = np.arange(len(rows))
    basis[k, rows, columns] = weight
    basis[k, columns, rows] = weight
    return basis


def best_response_derivative(
    S: Float[np.ndarray, "m m"], X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float
) -> Float[np.ndarray, "N N"]:
    """The matrix of D Phi(S) in :func:`symmetric_basis`, N = m (m + 1) / 2.

    D Phi(S)[H] = L solves the Lyapunov equation K L + L K = G^T H G with K = (G^T S G)^{1/2}. It maps positive
    semi-definite matrices to such. Raises ``ValueError`` where K is singular (S or Y is), since Phi has no derivative
    there.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    S = _psd("S", _validate.shaped("S", S, X.shape), len(X))
    G = np.linalg.solve(X, Y.T).T
    values, V = np.linalg.eigh(G.T @ S @ G)
    if values[0] <= 1e-15 * max(values[-1], 0.0) or values[-1] <= 0:
        raise ValueError("the best response has no derivative here: G^T S G is singular")
    k = np.sqrt(values)
    basis = symmetric_basis(len(X))
    image = V.T @ (G.T @ basis @ G) @ V / (k[:, None] + k)
    image = V @ image @ V.T
    return np.einsum("aij,bij->ab", basis, image)


@dataclass(frozen=True)
class ExistenceBounds:
    """Two bounds on the weight decay: up to ``lower`` a full-rank equilibrium exists, above ``upper`` none does.

    ``lower`` = sigma_min(G)^2 lambda_min(X) / 4 and ``upper`` = sigma_max(G)^2 lambda_max(X) / 4; in between
    :func:`critical_weight_decay` decides.
    """

    lam: float
    lower: float
    upper: float

    @property
    def sufficient(self) -> bool:
        """Whether lam <= lower, so that an equilibrium exists."""
        return 0 < self.lam <= self.lower

    @property
    def necessary(self) -> bool:
        """Whether 0 < lam <= upper, without which none exists."""
        return 0 < self.lam <= self.upper

    @property
    def sufficient_margin(self) -> float:
        """lower - lam, negative where the sufficient bound fails."""
        return self.lower - self.lam

    @property
    def necessary_margin(self) -> float:
        """upper - lam, negative where the necessary bound fails."""
        return self.upper - self.lam

    @property
    def message(self) -> str:
        """A sentence that says what the two bounds decide, and which fails."""
        if self.sufficient:
            return f"exists: lam = {self.lam:.6g} <= sigma_min(G)^2 lambda_min(X) / 4 = {self.lower:.6g}"
        if not self.necessary:
            return (
                f"none: the necessary bound fails, lam = {self.lam:.6g} > sigma_max(G)^2 lambda_max(X) / 4 ="
                f" {self.upper:.6g}"
            )
        return (
            f"undecided by the bounds: the sufficient one fails, {self.lower:.6g} < lam = {self.lam:.6g},"
            f" the necessary one holds, lam <= {self.upper:.6g}"
        )


def existence_bounds(X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float) -> ExistenceBounds:
    """The sufficient bound sigma_min(G)^2 lambda_min(X) >= 4 lam and the necessary one with the maxima; G = Y X^{-1}.

    For m = 1 both are the discriminant's tau^2 >= 4 rho lam. Raises as :func:`gram_residual`.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    sigma = np.linalg.svd(np.linalg.solve(X, Y.T), compute_uv=False)
    values = np.linalg.eigvalsh(X)
    return ExistenceBounds(lam, float(sigma[-1] ** 2 * values[0] / 4), float(sigma[0] ** 2 * values[-1] / 4))


def monotone_iteration(
    X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float, steps: int
) -> Float[np.ndarray, "K m m"]:
    """The iterates S_0 = |G|^2 I, S_{k+1} = Phi(S_k), which decrease in the Loewner order: K <= steps + 1 of them.

    They tend to the largest equilibrium if there is one. If there is none an iterate fails to be positive semi-definite
    after finitely many steps; it is the last one returned. |G| is the largest singular value of G = Y X^{-1}. Rounding
    is as in :func:`best_response`.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    inverse = np.linalg.inv(X)
    G = Y @ inverse
    iterates = [np.linalg.norm(G, 2) ** 2 * np.eye(len(X))]
    for _ in range(_validate.count("steps", steps)):
        if np.linalg.eigvalsh(iterates[-1])[0] < 0:
            break
        image = _root(G.T @ iterates[-1] @ G) - lam * inverse
        iterates.append((image + image.T) / 2)
    return np.array(iterates)


@dataclass(frozen=True, eq=False)
class LargestEquilibrium:
    """The Loewner-largest full-rank equilibrium, or why there is none.

    ``exists`` is None where the question is undecided: ``lam`` within rounding of the threshold, data too ill
    conditioned for double precision, or too few iterations.
    ``residual`` is |gram_residual| / |Y^T S Y| (nan without S); ``iterations`` counts Newton steps.
    """

    S: Float[np.ndarray, "m m"] | None
    exists: bool | None
    reason: str
    iterations: int
    residual: float


def largest_equilibrium(
    X: Float[np.ndarray, "m m"],
    Y: Float[np.ndarray, "m m"],
    lam: float,
    *,
    tol: float = 1e-12,
    max_iterations: int = 200,
) -> LargestEquilibrium:
    """The largest solution S of the equilibrium equation, by Newton's method from above.

    On T^2 - G^T T G + lam G^T X^{-1} G = 0, T = S + lam X^{-1}, a Newton step solves the generalised Lyapunov equation
    T H + H T - G^T H G = -residual. From T_0 = |G|^2 I + lam X^{-1} the iterates decrease to the largest solution if
    there is one, because the equation is operator convex; if there is none, an iterate appears at which the linear
    operator has no positive inverse or S is not positive, and each proves that there is none. All is computed in units
    of T itself, in which a weak direction of the data weighs as much as a strong one. The effect of the data's last
    digit is estimated along the way, and where it could turn the answer the result is undecided. ``tol`` is the
    relative residual accepted. The result says in ``reason`` what was found; it does not raise where there is no
    equilibrium.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    tol = _validate.scalar("tol", tol, _validate.positive)
    max_iterations = _validate.count("max_iterations", max_iterations)
    problem = _Quadratic(X, Y)
    if problem.singular:
        return _none("none: Y is singular to rounding, and a full-rank equilibrium needs det Y != 0", 0)
    bounds = existence_bounds(X, Y, lam)
    if lam > bounds.upper * (1 + 8 * _EPS):
        return _none(bounds.message, 0)
    found = problem.newton(lam, max_iterations)
    if not found.sure:
        return _none(found.reason, found.iterations, None)
    if found.at is None:
        return _none(found.reason, found.iterations)
    S = found.at.gram(lam)
    residual = float(np.linalg.norm(gram_residual(S, X, Y, lam)) / np.linalg.norm(Y.T @ S @ Y))
    if not residual <= tol:
        reason = f"undecided: the relative residual stays at {residual:.1e}, above tol = {tol:.1e}"
        return _none(reason, found.iterations, None)
    return LargestEquilibrium(S, True, found.reason, found.iterations, residual)


def _none(reason: str, iterations: int, exists: bool | None = False) -> LargestEquilibrium:
    return LargestEquilibrium(None, exists, reason, iterations, float("nan"))


def critical_weight_decay(X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"]) -> float:
    """The threshold lam*: a full-rank equilibrium exists exactly for 0 < lam <= lam* (0 where Y is singular).

    lam* is the maximum over S >= 0 of lambda_min(X^{1/2} [(G^T S G)^{1/2} - S] X^{1/2}), a concave function. There,
    for generic data, the largest equilibrium meets one other in a saddle-node, along which trace(T) is a regular
    parameter: Newton's method on d lam / d trace(T) = 0 finds it from a bracket. It is accepted if the tangent there is
    positive semi-definite, which proves that it is the threshold; otherwise the bracket is halved. Relative error about
    1e-12 for well conditioned moments; nan where they are too ill conditioned for double precision to place it.
    """
    X, Y, _ = _validate.problem(X, Y, 1.0)
    problem = _Quadratic(X, Y)
    if problem.singular:
        return 0.0
    bounds = existence_bounds(X, Y, 1.0)
    low, high = bounds.lower * (1 - 1e-3), bounds.upper * (1 + 8 * _EPS)
    at = problem.newton(low, 200).at
    while at is not None and high > low * (1 + 4e-15):
        if high < 1.2 * low:
            turn = problem.fold(at, low)
            if turn is not None and low <= turn[0] <= high * (1 + 4 * turn[1].noise(low)):
                low, at = turn
                break
        lam = np.sqrt(low * high) if high > 1.2 * low else (low + high) / 2
        if not low < lam < high:
            break
        found = problem.newton(lam, 200, start=at)
        if found.at is None:
            high = lam
        else:
            low, at = lam, found.at
    return float(low) if at is not None and at.noise(low) < _HOPELESS else float("nan")


def equilibrium_state(
    S: Float[np.ndarray, "m m"],
    X: Float[np.ndarray, "m m"],
    Y: Float[np.ndarray, "m m"],
    lam: float,
    n: int,
    U: Float[np.ndarray, "n m"] | None = None,
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n n"]]:
    """The equilibrium (A, B) with Gram matrix S: A = U S^{1/2}, B = A Y (S X + lam)^{-1} A^T.

    ``U`` (n, m) has orthonormal columns, the first m axes if None. Every full-rank equilibrium with this S is of this
    form. Raises ``ValueError`` if n < m, S is not positive definite or U^T U is not the identity; whether S solves the
    equation is for the caller (:func:`gram_residual`). Source: Ponce et al., Proposition 4.5 and Corollary 4.6.
    """
    X, Y, lam = _validate.problem(X, Y, lam)
    m = len(X)
    S = _validate.positive_definite("S", _validate.shaped("S", S, (m, m)))
    n = _validate.count("n", n)
    if n < m:
        raise ValueError(f"n must be at least m = {m}; got {n}")
    U = np.eye(n, m) if U is None else _validate.shaped("U", U, (n, m))
    gap = float(np.abs(U.T @ U - np.eye(m)).max())
    if gap > 1e-8:
        raise ValueError(f"U must have orthonormal columns; U^T U differs from the identity by up to {gap:.3g}")
    A = U @ _root(S)
    return A, A @ Y @ np.linalg.solve(S @ X + lam * np.eye(m), A.T)


def search_equilibria(
    X: Float[np.ndarray, "m m"],
    Y: Float[np.ndarray, "m m"],
    lam: float,
    n: int,
    rng: np.random.Generator,
    starts: int = 20,
    spread: float = 0.7,
) -> tuple[Float[np.ndarray, "found n m"], Float[np.ndarray, "found n n"]]:
    """Look for SG equilibria of any rank without the theory and return the states (A, B) found, one for each success.

    A root finder (Powell's hybrid method, with the Jacobian of :mod:`ssltheory.stability`) runs on the field from
    ``starts`` states whose entries are normal with standard deviation ``spread``; it is drawn to saddles as readily as
    to stable equilibria. A root counts if the field's norm there is below 1e-10. ``lam`` may be 0.
    """
    from scipy.optimize import root

    from ssltheory.stability import jacobian

    problem = LinearProblem(completed_moments(X, Y), lam, n)
    m = problem.m
    spread = _validate.scalar("spread", spread, _validate.positive)

    def parts(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return state[: n * m].reshape(n, m), state[n * m :].reshape(n, n)

    def field(state: np.ndarray) -> np.ndarray:
        return np.concatenate([d.ravel() for d in problem.field("sg", *parts(state))])

    def slope(state: np.ndarray) -> np.ndarray:
        return jacobian(problem, "sg", *parts(state))

    states = [np.empty((0, n * m + n * n))]
    for _ in range(_validate.count("starts", starts)):
        found = root(field, spread * rng.normal(size=n * m + n * n), jac=slope, tol=1e-14)
        if np.linalg.norm(field(found.x)) < 1e-10:
            states.append(found.x[None])
    roots = np.concatenate(states)
    return roots[:, : n * m].reshape(-1, n, m), roots[:, n * m :].reshape(-1, n, n)


@dataclass(frozen=True)
class _Found:
    at: "_Solver | None"  # at the solution, None if none was found
    reason: str
    iterations: int
    sure: bool = True  # False where rounding could have made the answer


class _Quadratic:
    """The equation T^2 - G^T T G + lam G^T X^{-1} G = 0 and Newton's method on it, in units of T itself.

    A matrix T = V diag(d)^2 V^T is held by its orthogonal V and its d > 0, and a change of T by the H with
    T + V diag(d) H diag(d) V^T. So a direction in which T is small counts as much as one in which it is large.
    """

    def __init__(self, X: np.ndarray, Y: np.ndarray) -> None:
        self.inverse = np.linalg.inv(X)
        self.inverse = (self.inverse + self.inverse.T) / 2
        self.G = np.linalg.solve(X, Y.T).T
        self.m = len(X)
        growth = np.abs(X) @ np.abs(self.inverse)
        self.error_G = self.m * _EPS * float(np.linalg.norm(np.abs(self.G) @ growth, 2))
        self.error_inverse = self.m * _EPS * float(np.linalg.norm(np.abs(self.inverse) @ growth, 2))
        sigma = np.linalg.svd(Y, compute_uv=False)
        self.singular = bool(sigma[-1] <= self.m * _EPS * sigma[0])
        if self.m <= _DENSE:
            self.basis = symmetric_basis(self.m)

    def above(self, lam: float) -> "_Solver":
        """The start |G|^2 I + lam X^{-1}, above all solutions."""
        values, V = np.linalg.eigh(np.linalg.norm(self.G, 2) ** 2 * np.eye(self.m) + lam * self.inverse)
        return _Solver(self, V, np.sqrt(values))

    def newton(self, lam: float, max_iterations: int, start: "_Solver | None" = None) -> _Found:
        """Newton's method from above: the largest solution, or the step that proves there is none.

        ``start`` may be the largest solution at a smaller lam.
        """
        at, previous = self.above(lam) if start is None else start, np.inf
        for k in range(max_iterations):
            F, noise = at.value(lam), at.noise(lam)
            if not noise < _HOPELESS:
                return _Found(None, _ILL.format(noise=noise), k, False)
            size = 2 * float(np.abs(F / at.omega).max())
            settled = size <= 4 * noise
            if settled and size >= previous / 2:
                return self._settle(at, k, noise)
            H = at.plain(-F)
            # F is positive definite, so a decreasing step proves the inverse positive; ask only where it does not.
            W = -H if H is not None and np.linalg.eigvalsh(H)[-1] < 0 else at.plain(np.eye(self.m))
            if W is None or H is None:
                reason = f"undecided: the linear equation of Newton step {k + 1} is singular to rounding"
                return _Found(None, reason, k, False)
            if np.linalg.eigvalsh(W)[0] < 0:
                if settled:
                    return _Found(at, _NEAR.format(noise=noise), k, False)
                sure = size > 1024 * noise
                reason = (
                    _ABOVE.format(lam=lam, step=k + 1, why="has no way down") if sure else _NEAR.format(noise=noise)
                )
                return _Found(None, reason, k, sure)
            if np.linalg.eigvalsh(np.eye(self.m) + H - lam * at.inverse)[0] < -noise:
                if settled:
                    return _Found(at, _NEAR.format(noise=noise), k, False)
                return _Found(None, _ABOVE.format(lam=lam, step=k + 1, why="loses positivity"), k)
            moved = at.move(H)
            if moved is None:
                return _Found(None, _ILL.format(noise=noise), k, False)
            at, previous = moved, size
            if np.linalg.norm(H) <= 4 * _EPS:
                return self._settle(at, k + 1, noise)
        return _Found(None, f"undecided: not converged after {max_iterations} Newton steps", max_iterations, False)

    def _settle(self, at: "_Solver", k: int, noise: float) -> _Found:
        # The inverse of the operator is positive, so its size is that of its image of I. At a relative distance e below
        # the threshold it is of the order e^{-1/2}.
        W = at.plain(np.eye(self.m))
        if W is None or np.linalg.eigvalsh(W)[0] < 0 or 64 * np.linalg.norm(W, 2) ** 2 * noise > 1:
            return _Found(at, _NEAR.format(noise=noise), k, False)
        return _Found(at, f"converged in {k} Newton steps from above", k)

    def fold(self, at: "_Solver", lam: float) -> "tuple[float, _Solver] | None":
        """The lam at which the branch through (T, lam) turns, by Newton's method in trace(T), and T there; or None.

        The trace is taken in the units of the step.
        """
        zero, last = np.zeros((self.m, self.m)), np.inf
        for _ in range(40):
            correction = at.bordered(-at.value(lam), 0.0)
            tangent = at.bordered(zero, 1.0)
            if correction is None or tangent is None:
                return None
            curvature = at.bordered(-2 * at.square(tangent[0]), 0.0)
            if curvature is None or not curvature[1] < 0:
                return None
            step = -tangent[1] / curvature[1]
            change = correction[1] + step * tangent[1] / 2
            moved = at.move(correction[0] + step * tangent[0] + step**2 / 2 * curvature[0])
            if moved is None:
                return None
            at, lam = moved, lam + change
            if abs(change) <= 8 * _EPS * lam or last / 2 <= abs(change) <= max(1e-7, 4 * at.noise(lam)) * lam:
                V = np.linalg.eigvalsh(tangent[0])
                sound = np.linalg.eigvalsh(np.eye(self.m) - lam * at.inverse)[0] > 0 and V[0] > -1e-6 * V[-1]
                return (lam, at) if sound else None
            last = abs(change)
        return None


_HOPELESS = 1e-2
_ABOVE = "none: lam = {lam:.6g} is above the threshold (Newton step {step} {why})"
_NEAR = (
    "undecided: lam is within rounding of the threshold (the last digit of the data moves the equation in its"
    " weakest direction by up to {noise:.0e})"
)
_ILL = (
    "undecided: the data are too ill conditioned for double precision (their last digit moves the equation in its"
    " weakest direction by up to {noise:.0e})"
)


class _Solver:
    """One T = V diag(d)^2 V^T: the equation, its derivative D and the bordering of D by Q and the trace, in its units.

    Divided by V diag(d)^2 from both sides the equation is I - L^T (I - lam V^T X^{-1} V / d d^T) L = 0 with
    L = diag(d) V^T G V diag(d)^-2, all of size 1 near a solution, and D[H] = omega * H - L^T H L with
    omega_ij = d_i / d_j + d_j / d_i. D is singular at the threshold; D + c Q trace(.) is not, and systems with D are
    solved through it.
    """

    def __init__(self, problem: _Quadratic, V: np.ndarray, d: np.ndarray) -> None:
        self.problem, self.m, self.V, self.d = problem, problem.m, V, d
        self.omega = d[:, None] / d + d / d[:, None]
        self.L = d[:, None] * (V.T @ problem.G @ V) / d**2
        self.inverse = (V.T @ problem.inverse @ V) / d[:, None] / d
        Q = self.L.T @ self.inverse @ self.L
        self.Q = (Q + Q.T) / 2
        self.c = 2 / float(np.trace(self.Q))
        self.factor: Any = None
        self.column: np.ndarray | None = None

    def value(self, lam: float) -> np.ndarray:
        F = np.eye(self.m) - self.L.T @ (np.eye(self.m) - lam * self.inverse) @ self.L
        return np.asarray((F + F.T) / 2)

    def noise(self, lam: float) -> float:
        """How far the last digit of G and X^{-1} moves the equation, as a relative change of T, to first order."""
        rows = np.abs(self.L.T @ (np.eye(self.m) - lam * self.inverse)) @ self.d
        by_G = 2 * self.problem.error_G * rows[:, None] / self.d**2
        reach = np.abs(self.L).T @ (1 / self.d)
        by_inverse = lam * self.problem.error_inverse * np.outer(reach, reach)
        base = self.m * _EPS * (1 + float(np.linalg.norm(self.L, 2)) ** 2)
        return base + float((((by_G + by_G.T) / 2 + by_inverse) / self.omega).max())

    def square(self, H: np.ndarray) -> np.ndarray:
        """The second-order term of the equation, H^2 in these units."""
        K = H * self.d / self.d[:, None]
        return np.asarray(K @ K.T)

    def gram(self, lam: float) -> np.ndarray:
        """S = T - lam X^{-1}."""
        B = self.V * self.d
        S = B @ (np.eye(self.m) - lam * self.inverse) @ B.T
        return np.asarray((S + S.T) / 2)

    def move(self, H: np.ndarray) -> "_Solver | None":
        """T + H in units of its own, or None if that is not positive definite."""
        from scipy.linalg.lapack import dgejsv

        if not np.isfinite(H).all():
            return None
        try:
            C = np.linalg.cholesky(np.eye(self.m) + H)
        except np.linalg.LinAlgError:
            return None
        # A Jacobi method keeps the small singular values of a graded matrix, which others lose.
        values, _, Z, work, _, info = dgejsv(C.T * self.d, joba=0, jobu=3, jobv=0, jobr=0, jobt=0, jobp=0)
        values = values * (work[0] / work[1])
        if info or not (values > 0).all():
            return None
        V = self.V @ Z
        return _Solver(self.problem, V @ (1.5 * np.eye(self.m) - V.T @ V / 2), values)  # stays orthogonal

    def _regular(self, R: np.ndarray) -> np.ndarray | None:
        """The H with D[H] + c Q trace(H) = R; the unknown is omega * H."""
        if self.m <= _DENSE:
            from scipy.linalg import lu_factor, lu_solve

            basis = self.problem.basis
            flat = basis.reshape(len(basis), -1)
            if self.factor is None:
                image = basis - self.L.T @ (basis / self.omega) @ self.L
                M = flat @ image.reshape(len(flat), -1).T
                trace = np.trace(basis, axis1=1, axis2=2) / 2
                self.factor = lu_factor(M + self.c * np.outer(flat @ self.Q.ravel(), trace), check_finite=False)
            found = (lu_solve(self.factor, flat @ R.ravel(), check_finite=False) @ flat).reshape(self.m, self.m)
            return found / self.omega if np.isfinite(found).all() else None
        from scipy.sparse.linalg import LinearOperator, gmres

        shape = (self.m, self.m)

        def apply(v: np.ndarray) -> np.ndarray:
            H = v.reshape(shape)
            return (H - self.L.T @ (H / self.omega) @ self.L + self.c * np.trace(H) / 2 * self.Q).ravel()

        operator = cast(Any, LinearOperator)((self.m**2, self.m**2), matvec=apply, dtype=np.float64)
        found, status = gmres(operator, R.ravel(), rtol=1e-12, atol=0.0, restart=120, maxiter=5)
        if status and np.linalg.norm(apply(found) - R.ravel()) > 1e-8 * np.linalg.norm(R):
            return None
        H = found.reshape(shape) / self.omega
        return np.asarray((H + H.T) / 2)

    def _column(self) -> np.ndarray | None:
        if self.column is None:
            self.column = self._regular(self.Q)
        return self.column

    def bordered(self, R: np.ndarray, r: float) -> tuple[np.ndarray, float] | None:
        """The (H, l) with D[H] + l Q = R and trace(H) = r."""
        first, column = self._regular(R) if R.any() else R, self._column()
        if first is None or column is None:
            return None
        # D[H] + c Q trace(H) = R + (c r - l) Q
        gain = (r - np.trace(first)) / np.trace(column)
        return first + gain * column, float(self.c * r - gain)

    def plain(self, R: np.ndarray) -> np.ndarray | None:
        """The H with D[H] = R; its sign shows on which side of the threshold T lies."""
        first, column = self._regular(R), self._column()
        if first is None or column is None:
            return None
        left = 1 - self.c * float(np.trace(column))
        if left == 0:
            return None
        return first + self.c * np.trace(first) / left * column
