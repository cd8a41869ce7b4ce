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

_DENSE = 12  # up to this m the Newton equations are solved as a dense system
_EPS = float(np.finfo(np.float64).eps)


def _t(M: np.ndarray) -> np.ndarray:
    return np.swapaxes(M, -1, -2)


def _moments(X: Any, Y: Any, lam: Any) -> tuple[np.ndarray, np.ndarray, float]:
    X = _validate.shaped("X", X, ("m", "m"))
    X = _validate.positive_definite("X", X)
    Y = _validate.shaped("Y", Y, X.shape)
    return X, Y, _validate.scalar("lam", lam, _validate.positive)


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
    return (vectors * np.sqrt(np.clip(values, 0.0, None))[..., None, :]) @ _t(vectors)


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
    X, Y, lam = _moments(X, Y, lam)
    S = _gram(S, len(X))
    shift = lam * np.eye(len(X))
    return (X @ S + shift) @ (S @ X + shift) - Y.T @ S @ Y


def best_response(
    S: Float[np.ndarray, "*batch m m"], X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float
) -> Float[np.ndarray, "*batch m m"]:
    """The map Phi(S) = (G^T S G)^{1/2} - lam X^{-1}, G = Y X^{-1}, whose fixed points are the equilibria.

    Where Phi(S) is positive definite it is the Gram matrix of the student that minimises F against a frozen teacher
    with Gram matrix S: the best response. Phi is operator monotone and operator concave. Raises ``ValueError`` if S
    (..., m, m) is not symmetric positive semi-definite.
    """
    X, Y, lam = _moments(X, Y, lam)
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
    X, Y, lam = _moments(X, Y, lam)
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
    """Two bounds on the weight decay, in closed form: below ``lower`` a full-rank equilibrium exists, above ``upper`` none.

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
            return f"none: the necessary bound fails, lam = {self.lam:.6g} > sigma_max(G)^2 lambda_max(X) / 4 = {self.upper:.6g}"
        return (
            f"undecided by the bounds: the sufficient one fails, {self.lower:.6g} < lam = {self.lam:.6g},"
            f" the necessary one holds, lam <= {self.upper:.6g}"
        )


def existence_bounds(X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float) -> ExistenceBounds:
    """The sufficient bound sigma_min(G)^2 lambda_min(X) >= 4 lam and the necessary one with the maxima; G = Y X^{-1}.

    For m = 1 both are the discriminant's tau^2 >= 4 rho lam. Raises as :func:`gram_residual`.
    """
    X, Y, lam = _moments(X, Y, lam)
    sigma = np.linalg.svd(np.linalg.solve(X, Y.T), compute_uv=False)
    values = np.linalg.eigvalsh(X)
    return ExistenceBounds(lam, float(sigma[-1] ** 2 * values[0] / 4), float(sigma[0] ** 2 * values[-1] / 4))


def monotone_iteration(
    X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], lam: float, steps: int
) -> Float[np.ndarray, "K m m"]:
    """The iterates S_0 = |G|^2 I, S_{k+1} = Phi(S_k), which decrease in the Loewner order: K <= steps + 1 of them.

    They tend to the largest equilibrium if there is one. If there is none an iterate fails to be positive semi-definite
    after finitely many steps; it is the last one returned. |G| is the largest singular value of G = Y X^{-1}.
    """
    X, Y, lam = _moments(X, Y, lam)
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

    ``exists`` is None where the question is undecided: ``lam`` within rounding of the threshold, or too few iterations.
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
    """The largest solution S of the equilibrium equation, by Newton's method from above, which cannot miss it.

    On T^2 - G^T T G + lam G^T X^{-1} G = 0, T = S + lam X^{-1}, a Newton step solves the generalised Lyapunov equation
    T H + H T - G^T H G = -residual. From T_0 = |G|^2 I + lam X^{-1} the iterates decrease to the largest solution if there
    is one, because the equation is operator convex; if there is none, an iterate appears at which the linear operator
    has no positive inverse or S is not positive, and each proves that there is none. ``tol`` is the relative residual
    accepted. The result says in ``reason`` what was found; it does not raise where there is no equilibrium.
    """
    X, Y, lam = _moments(X, Y, lam)
    tol = _validate.scalar("tol", tol, _validate.positive)
    max_iterations = _validate.count("max_iterations", max_iterations)
    problem = _Quadratic(X, Y)
    if problem.singular:
        return _none("none: Y is singular, and a full-rank equilibrium needs det Y != 0", 0)
    bounds = existence_bounds(X, Y, lam)
    if not bounds.necessary:
        return _none(bounds.message, 0)
    found = problem.newton(lam, max_iterations)
    if found.T is None:
        return _none(found.reason, found.iterations, None if found.reason.startswith("undecided") else False)
    S = found.T - lam * problem.inverse
    residual = float(np.linalg.norm(gram_residual(S, X, Y, lam)) / np.linalg.norm(Y.T @ S @ Y))
    if not residual <= tol:
        reason = f"undecided: the relative residual stays at {residual:.1e}, above tol = {tol:.1e}"
        return _none(reason, found.iterations, None)
    return LargestEquilibrium(S, True, found.reason, found.iterations, residual)


def _none(reason: str, iterations: int, exists: bool | None = False) -> LargestEquilibrium:
    return LargestEquilibrium(None, exists, reason, iterations, float("nan"))


def critical_weight_decay(X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"]) -> float:
    """The threshold lam*: a full-rank equilibrium exists exactly for 0 < lam <= lam* (0 where Y is singular).

    lam* is the maximum over S >= 0 of lambda_min(X^{1/2} [(G^T S G)^{1/2} - S] X^{1/2}), a concave function. At lam*
    the largest equilibrium meets another in a saddle-node, so its slope grows as (lam* - lam)^{-1/2}: the inverse square of
    the slope is nearly linear in lam, and a secant on it converges in a few steps. Relative error about 1e-12 for well
    conditioned moments.
    """
    X, Y, _ = _moments(X, Y, 1.0)
    problem = _Quadratic(X, Y)
    if problem.singular:
        return 0.0
    bounds = existence_bounds(X, Y, 1.0)
    low, high = bounds.lower, bounds.upper * (1 + 4 * _EPS)
    points: list[tuple[float, float]] = []
    lam = low * 0.999
    for _ in range(200):
        found = problem.newton(lam, 200)
        slope = None if found.T is None else problem.slope(found.T)
        if slope is None or slope >= 0:
            high = min(high, lam)
        else:
            low = max(low, lam)
            points = [*points, (lam, slope**-2)][-2:]
        if high - low <= 4e-14 * high:
            break
        lam = _next_guess(points, low, high, failed=slope is None or slope >= 0)
        if not low < lam < high:
            break
    return float(low)


def _next_guess(points: list[tuple[float, float]], low: float, high: float, failed: bool) -> float:
    if failed or len(points) < 2 or points[0][1] <= points[1][1] or points[1][1] <= 0:
        return (low + high) / 2
    (a, u), (b, v) = points
    guess = b + v * (b - a) / (u - v)
    # A step slightly short of the zero stays on the side where the equilibrium exists.
    guess = b + (guess - b) * (1 - 1e-3)
    return guess if low < guess < high else (low + high) / 2


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
    X, Y, lam = _moments(X, Y, lam)
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


@dataclass(frozen=True)
class _Found:
    T: np.ndarray | None
    reason: str
    iterations: int


class _Quadratic:
    """The equation T^2 - G^T T G + lam Q = 0, Q = G^T X^{-1} G, and its Newton steps."""

    def __init__(self, X: np.ndarray, Y: np.ndarray) -> None:
        self.inverse = np.linalg.inv(X)
        self.inverse = (self.inverse + self.inverse.T) / 2
        self.G = Y @ self.inverse
        self.Q = self.G.T @ self.inverse @ self.G
        self.m = len(X)
        sigma = np.linalg.svd(Y, compute_uv=False)
        self.singular = bool(sigma[-1] <= self.m * _EPS * sigma[0])
        if self.m <= _DENSE:
            self.basis = symmetric_basis(self.m)

    def value(self, T: np.ndarray, lam: float) -> np.ndarray:
        F = T @ T - self.G.T @ T @ self.G + lam * self.Q
        return (F + F.T) / 2

    def solve(self, T: np.ndarray, right: list[np.ndarray]) -> list[np.ndarray] | None:
        """The symmetric H with T H + H T - G^T H G = each right side; None where the linear solver gives up."""
        values, V = np.linalg.eigh(T)
        total = values[:, None] + values
        K = V.T @ self.G @ V
        sides = [V.T @ R @ V for R in right]
        if self.m <= _DENSE:
            basis = self.basis.reshape(len(self.basis), -1)
            image = total * self.basis - K.T @ self.basis @ K
            M = basis @ image.reshape(len(basis), -1).T
            try:
                found = np.linalg.solve(M, np.stack([basis @ R.ravel() for R in sides], axis=1))
            except np.linalg.LinAlgError:
                return None
            inner = [(column @ basis).reshape(self.m, self.m) for column in found.T]
        else:
            inner = []
            for R in sides:
                H = self._krylov(K, total, R)
                if H is None:
                    return None
                inner.append(H)
        return [V @ (H + H.T) @ V.T / 2 for H in inner]

    def _krylov(self, K: np.ndarray, total: np.ndarray, R: np.ndarray) -> np.ndarray | None:
        from scipy.sparse.linalg import LinearOperator, gmres

        m = self.m

        def apply(v: np.ndarray) -> np.ndarray:
            H = v.reshape(m, m)
            return (H - (K.T @ H @ K) / total).ravel()

        operator = cast(Any, LinearOperator)((m * m, m * m), matvec=apply, dtype=np.float64)
        found, status = gmres(operator, (R / total).ravel(), rtol=1e-11, atol=0.0, restart=80, maxiter=20)
        return found.reshape(m, m) if status == 0 else None

    def newton(self, lam: float, max_iterations: int) -> _Found:
        """Newton's method from above: the largest solution, or the step that proves there is none."""
        T = np.linalg.norm(self.G, 2) ** 2 * np.eye(self.m) + lam * self.inverse
        identity = np.eye(self.m)
        previous = np.inf
        for k in range(max_iterations):
            F = self.value(T, lam)
            size = float(np.linalg.norm(F) / np.linalg.norm(self.G.T @ T @ self.G))
            settled = size <= 50 * self.m * _EPS
            parts = self.solve(T, [-F, identity])
            if settled and (parts is None or size >= previous / 2):
                return _Found(T, f"converged in {k} Newton steps from above", k)
            if parts is None:
                return _Found(None, f"undecided: the linear equation of Newton step {k + 1} is singular to rounding", k)
            H, W = parts
            if np.linalg.eigvalsh(W)[0] < 0:
                if settled:
                    return _Found(T, f"converged in {k} Newton steps from above, at the threshold to rounding", k)
                return _Found(None, f"none: lam = {lam:.6g} is above the threshold (Newton step {k + 1} has no way down)", k)
            T = T + H
            if np.linalg.eigvalsh(T - lam * self.inverse)[0] < 0:
                return _Found(None, f"none: lam = {lam:.6g} is above the threshold (S loses positivity at Newton step {k + 1})", k)
            if np.linalg.norm(H) <= 4 * _EPS * np.linalg.norm(T):
                return _Found(T, f"converged in {k + 1} Newton steps from above", k + 1)
            previous = size
        return _Found(None, f"undecided: not converged after {max_iterations} Newton steps", max_iterations)

    def slope(self, T: np.ndarray) -> float | None:
        """d trace(T) / d lam along the branch of the largest solution; negative, unbounded at the threshold."""
        parts = self.solve(T, [-self.Q])
        return None if parts is None else float(np.trace(parts[0]))
