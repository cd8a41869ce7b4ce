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

_DENSE = 24  # up to this m the Newton equations are solved as a dense system
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
    T H + H T - G^T H G = -residual. From T_0 = |G|^2 I + lam X^{-1} the iterates decrease to the largest solution if
    there is one, because the equation is operator convex; if there is none, an iterate appears at which the linear
    operator has no positive inverse or S is not positive, and each proves that there is none. ``tol`` is the relative
    residual accepted. The result says in ``reason`` what was found; it does not raise where there is no equilibrium.
    """
    X, Y, lam = _moments(X, Y, lam)
    tol = _validate.scalar("tol", tol, _validate.positive)
    max_iterations = _validate.count("max_iterations", max_iterations)
    problem = _Quadratic(X, Y)
    if problem.singular:
        return _none("none: Y is singular, and a full-rank equilibrium needs det Y != 0", 0)
    bounds = existence_bounds(X, Y, lam)
    if lam > bounds.upper * (1 + 8 * _EPS):
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

    lam* is the maximum over S >= 0 of lambda_min(X^{1/2} [(G^T S G)^{1/2} - S] X^{1/2}), a concave function. There the
    largest equilibrium meets another in a saddle-node, along which trace(T) is a regular parameter: Newton's method on
    d lam / d trace(T) = 0 finds it from a bracket. It is accepted if the tangent there is positive semi-definite, which
    proves that it is the threshold; otherwise the bracket is halved. Relative error about 1e-12 for well conditioned
    moments.
    """
    X, Y, _ = _moments(X, Y, 1.0)
    problem = _Quadratic(X, Y)
    if problem.singular:
        return 0.0
    bounds = existence_bounds(X, Y, 1.0)
    low, high = bounds.lower * (1 - 1e-3), bounds.upper * (1 + 8 * _EPS)
    found = problem.newton(low, 200)
    T = found.T
    while T is not None and high > low * (1 + 4e-15):
        if high < 1.2 * low:
            fold = problem.fold(T, low)
            if fold is not None and low <= fold <= high:
                return float(fold)
        lam = np.sqrt(low * high) if high > 1.2 * low else (low + high) / 2
        if not low < lam < high:
            break
        found = problem.newton(lam, 200, start=T)
        if found.T is None:
            high = lam
        else:
            low, T = lam, found.T
    return float(low)


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

    A root finder (Powell's hybrid method) runs on the field from ``starts`` states whose entries are normal with
    standard deviation ``spread``; it is drawn to saddles as readily as to stable equilibria. A root counts if the
    field's norm there is below 1e-10.
    """
    from scipy.optimize import root

    from ssltheory.linear import velocity

    X, Y, lam = _moments(X, Y, lam)
    m, n = len(X), _validate.count("n", n)
    spread = _validate.scalar("spread", spread, _validate.positive)

    def field(state: np.ndarray) -> np.ndarray:
        A, B = state[: n * m].reshape(n, m), state[n * m :].reshape(n, n)
        return np.concatenate([d.ravel() for d in velocity("sg", X, Y, Y, lam, A, B)])

    states = [np.empty((0, n * m + n * n))]
    for _ in range(_validate.count("starts", starts)):
        found = root(field, spread * rng.normal(size=n * m + n * n), tol=1e-14)
        if np.linalg.norm(field(found.x)) < 1e-10:
            states.append(found.x[None])
    roots = np.concatenate(states)
    return roots[:, : n * m].reshape(-1, n, m), roots[:, n * m :].reshape(-1, n, n)


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

    def newton(self, lam: float, max_iterations: int, start: np.ndarray | None = None) -> _Found:
        """Newton's method from above: the largest solution, or the step that proves there is none.

        ``start`` may be the largest solution at a smaller lam.
        """
        T = np.linalg.norm(self.G, 2) ** 2 * np.eye(self.m) + lam * self.inverse if start is None else start
        previous = np.inf
        for k in range(max_iterations):
            F = self.value(T, lam)
            size = float(np.linalg.norm(F) / np.linalg.norm(self.G.T @ T @ self.G))
            settled = size <= 4 * np.sqrt(self.m) * _EPS
            if settled and size >= previous / 2:
                return _Found(T, f"converged in {k} Newton steps from above", k)
            solver = _Solver(self, T)
            H = solver.plain(-F)
            # F is positive definite, so a decreasing step proves the inverse positive; ask only where it does not.
            W = -H if H is not None and np.linalg.eigvalsh(H)[-1] < 0 else solver.plain(np.eye(self.m))
            if W is None or H is None:
                return _Found(None, f"undecided: the linear equation of Newton step {k + 1} is singular to rounding", k)
            if np.linalg.eigvalsh(W)[0] < 0:
                if settled:
                    return _Found(T, f"converged in {k} Newton steps from above, at the threshold to rounding", k)
                return _Found(None, _ABOVE.format(lam=lam, step=k + 1, why="has no way down"), k)
            T = T + H
            if np.linalg.eigvalsh(T - lam * self.inverse)[0] < 0:
                return _Found(None, _ABOVE.format(lam=lam, step=k + 1, why="loses positivity"), k)
            if np.linalg.norm(H) <= 4 * _EPS * np.linalg.norm(T):
                return _Found(T, f"converged in {k + 1} Newton steps from above", k + 1)
            previous = size
        return _Found(None, f"undecided: not converged after {max_iterations} Newton steps", max_iterations)

    def fold(self, T: np.ndarray, lam: float) -> float | None:
        """The lam at which the branch through (T, lam) turns, by Newton's method in trace(T), or None."""
        zero, last = np.zeros((self.m, self.m)), np.inf
        for _ in range(40):
            solver = _Solver(self, T)
            correction = solver.bordered(-self.value(T, lam), 0.0)
            tangent = solver.bordered(zero, 1.0)
            if correction is None or tangent is None:
                return None
            curvature = solver.bordered(-2 * tangent[0] @ tangent[0], 0.0)
            if curvature is None or not curvature[1] < 0:
                return None
            move = -tangent[1] / curvature[1]
            change = correction[1] + move * tangent[1] / 2
            T = T + correction[0] + move * tangent[0] + move**2 / 2 * curvature[0]
            lam = lam + change
            if abs(change) <= 8 * _EPS * lam or last / 2 <= abs(change) <= 1e-7 * lam:
                V = np.linalg.eigvalsh(tangent[0])
                sound = np.linalg.eigvalsh(T - lam * self.inverse)[0] > 0 and V[0] > -1e-6 * V[-1]
                return lam if sound else None
            last = abs(change)
        return None


_ABOVE = "none: lam = {lam:.6g} is above the threshold (Newton step {step} {why})"


class _Solver:
    """The operator D = H -> T H + H T - G^T H G at one T, and its bordering by Q and the trace.

    D is singular at the threshold; D + c Q trace(.) is not, and systems with D are solved through it.
    """

    def __init__(self, problem: _Quadratic, T: np.ndarray) -> None:
        self.m = problem.m
        values, self.V = np.linalg.eigh(T)
        self.total = values[:, None] + values
        self.K = self.V.T @ problem.G @ self.V
        self.Q = self.V.T @ problem.Q @ self.V
        self.c = 2 * float(values.sum()) / self.m / float(np.trace(problem.Q))
        if self.m <= _DENSE:
            from scipy.linalg import lu_factor

            self.basis = problem.basis
            flat = self.basis.reshape(len(self.basis), -1)
            image = self.total * self.basis - self.K.T @ self.basis @ self.K
            M = flat @ image.reshape(len(flat), -1).T
            trace = np.trace(self.basis, axis1=1, axis2=2)
            self.factor = lu_factor(M + self.c * np.outer(flat @ self.Q.ravel(), trace), check_finite=False)
        self.column = self._regular(self.Q)

    def _regular(self, R: np.ndarray) -> np.ndarray | None:
        """The H, in the eigenbasis, with D[H] + c Q trace(H) = R."""
        if self.m <= _DENSE:
            from scipy.linalg import lu_solve

            flat = self.basis.reshape(len(self.basis), -1)
            found = (lu_solve(self.factor, flat @ R.ravel(), check_finite=False) @ flat).reshape(self.m, self.m)
            return found if np.isfinite(found).all() else None
        from scipy.sparse.linalg import LinearOperator, gmres

        shape = (self.m, self.m)
        border = self.c * self.Q / self.total

        def apply(v: np.ndarray) -> np.ndarray:
            H = v.reshape(shape)
            return (H - (self.K.T @ H @ self.K) / self.total + border * np.trace(H)).ravel()

        operator = cast(Any, LinearOperator)((self.m**2, self.m**2), matvec=apply, dtype=np.float64)
        right = (R / self.total).ravel()
        found, status = gmres(operator, right, rtol=1e-12, atol=0.0, restart=120, maxiter=5)
        if status and np.linalg.norm(apply(found) - right) > 1e-8 * np.linalg.norm(right):
            return None
        H = found.reshape(shape)
        return (H + H.T) / 2

    def bordered(self, R: np.ndarray, r: float) -> tuple[np.ndarray, float] | None:
        """The (H, l) with D[H] + l Q = R and trace(H) = r."""
        first = self._regular(self.V.T @ R @ self.V)
        if first is None or self.column is None:
            return None
        # D[H] + c Q trace(H) = R + (c r - l) Q
        gain = (r - np.trace(first)) / np.trace(self.column)
        return self.V @ (first + gain * self.column) @ self.V.T, float(self.c * r - gain)

    def plain(self, R: np.ndarray) -> np.ndarray | None:
        """The H with D[H] = R; its sign shows on which side of the threshold T lies."""
        first = self._regular(self.V.T @ R @ self.V)
        if first is None or self.column is None:
            return None
        left = 1 - self.c * float(np.trace(self.column))
        if left == 0:
            return None
        return self.V @ (first + self.c * np.trace(first) / left * self.column) @ self.V.T
