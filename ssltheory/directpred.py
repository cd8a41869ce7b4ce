"""A predictor that is set from the code's second moment instead of being learned: B = Sigma^p, Sigma = A X A^T.

With p = 1/2 this is DirectPred (Tian, Chen and Ganguli, arXiv 2102.06810), with p = 1 DirectCopy (Wang et al.,
arXiv 2110.04947), with p = 0 there is no predictor. B is held while the loss is differentiated, unless said.

With the first view whitened, W = A X^{1/2}, S_hat = W^T W and G_hat = X^{-1/2} Y X^{-1/2}, the predictor acts on the
code as B W = W S_hat^p, so that everything can be computed from m x m matrices, whatever the width of the code.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.flow import follow, sample_times
from ssltheory.moments import SecondMoments
from ssltheory.scalar import radii
from ssltheory.trajectory import Outcome, Trajectory

Gradient = Literal["sg", "iso", "none", "wrong", "through"]
"""``"sg"``: predictor and target held; ``"iso"``: the same without the leading B; ``"none"``: B held, target
differentiated; ``"wrong"``: only the target differentiated; ``"through"``: everything, the predictor too."""
Branch = Literal["inner", "outer"]
Numbers = Float[np.ndarray, "*batch"] | float


def closed_form_predictor(Sigma: Float[np.ndarray, "*batch n n"], p: float) -> Float[np.ndarray, "*batch n n"]:
    """The predictor B = Sigma^p of a code with second moment Sigma = E[z z^T], on the eigenvectors of Sigma.

    An eigenvalue mu_k >= 0 of Sigma becomes the eigenvalue d_k = mu_k^p of B; eigenvalues that are negative by rounding
    count as 0. At p = 0 the predictor is the identity. Raises ``ValueError`` for p < 0 or for a Sigma that is not
    symmetric positive semi-definite. For p > 0, eigenvalues below n eps max mu_k are rounding and count as 0: a small
    power would make them large. Source: Tian, Chen and Ganguli (2021), Wang et al. (2021); Halvagal et al. (2023).
    """
    Sigma = _validate.positive_semidefinite("Sigma", _validate.shaped("Sigma", Sigma, ("n", "n"), batched=True))
    return _power(Sigma, _exponent(p))


def best_predictor(
    A: Float[np.ndarray, "*batch n m"], X: Float[np.ndarray, "m m"], Y: Float[np.ndarray, "m m"], decay: float
) -> Float[np.ndarray, "*batch n n"]:
    """The predictor a learner would end at if the encoder stood still, B = A Y A^T (A X A^T + decay)^{-1}.

    It minimises 1/2 E|B z_1 - z_2|^2 + decay/2 |B|^2 with z_1 = A x, z_2 = A y. For data with common eigenvectors its
    eigenvalue is (tau/rho) mu / (mu + decay). Raises ``ValueError`` for shapes or ``decay`` <= 0.
    """
    X, Y, decay = _validate.problem(X, Y, decay)
    A = _validate.shaped("A", A, ("n", len(X)), batched=True)
    return np.linalg.solve(A @ X @ A.mT + decay * np.eye(A.shape[-2]), A @ Y.T @ A.mT).mT


def misalignment(M: Float[np.ndarray, "*batch n n"], N: Float[np.ndarray, "*batch n n"]) -> Float[np.ndarray, "*batch"]:
    """How far two matrices are from commuting, |M N - N M| / (|M| |N|): 0 if they share eigenvectors, below sqrt(2).

    For symmetric M and N it is zero exactly if they have a common basis of eigenvectors. Raises ``ValueError`` for
    shapes; nan where one of the two is zero.
    """
    M = _validate.shaped("M", M, ("n", "n"), batched=True)
    N = _validate.shaped("N", N, M.shape[-2:], batched=True)
    size = np.linalg.norm(M, axis=(-2, -1)) * np.linalg.norm(N, axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.linalg.norm(M @ N - N @ M, axis=(-2, -1)) / size


def encoder_velocity(
    A: Float[np.ndarray, "*batch n m"],
    moments: SecondMoments,
    lam: float,
    p: float,
    *,
    gradient: Gradient = "sg",
    teacher: Float[np.ndarray, "*batch n m"] | None = None,
) -> Float[np.ndarray, "*batch n m"]:
    """A' for the Euclidean loss 1/2 E|B A x - C y|^2 + lam/2 |A|^2 with B = (A X A^T)^p, for any data.

    ``"sg"``: A' = -B (B A X - C Y) - lam A, C the ``teacher`` (A if None). ``"iso"``: A' = -(B A X - C Y) - lam A.
    Without a teacher, ``"wrong"``: A' = B A Y^T - A Z - lam A; ``"none"``: the sum of the data's parts of ``"sg"`` and
    ``"wrong"``, and -lam A; ``"through"``: minus the whole gradient of the loss as a function of A alone,
    A' = -A X^{1/2} [(2p+1) S_hat^{2p} - 2 L(G_s) + Z_hat] X^{1/2} - lam A, where L is the derivative of S -> S^{p+1} at
    S_hat, G_s the symmetric part of G_hat and Z_hat = X^{-1/2} Z X^{-1/2}.

    Raises ``ValueError`` for shapes, ``lam`` or p < 0, an unknown gradient, or a teacher where none is used.
    """
    lam, p = _validate.scalar("lam", lam, _validate.nonnegative), _exponent(p)
    _validate.one_of("gradient", gradient, get_args(Gradient))
    A = _validate.shaped("A", A, ("n", moments.m), batched=True)
    if teacher is not None:
        if gradient not in ("sg", "iso"):
            raise ValueError(f"gradient {gradient!r} has no separate teacher")
        teacher = _validate.shaped("teacher", teacher, A.shape[-2:], batched=True)
    return _Whitened(moments).velocity(A, lam, p, gradient, teacher)


class _Whitened:
    """The moments with the first view whitened, and the field on them."""

    def __init__(self, moments: SecondMoments) -> None:
        values, vectors = np.linalg.eigh(moments.xx)
        self.X, self.Y, self.Z = moments.xx, moments.yx, moments.yy
        self.root = (vectors * np.sqrt(values)) @ vectors.T
        self.inverse = (vectors / np.sqrt(values)) @ vectors.T
        self.G = self.inverse @ self.Y @ self.inverse
        self.Z_hat = self.inverse @ self.Z @ self.inverse

    def velocity(
        self, A: np.ndarray, lam: float, p: float, gradient: str = "sg", teacher: np.ndarray | None = None
    ) -> np.ndarray:
        if teacher is not None:
            B = _power(A @ self.X @ A.mT, p)
            R = B @ A @ self.X - teacher @ self.Y
            return -(B @ R if gradient == "sg" else R) - lam * A
        W = A @ self.root
        values, V = np.linalg.eigh(W.mT @ W)
        values = np.clip(values, 0.0, None)
        d = values**p
        if gradient == "through":
            e = values[..., None] * d[..., None]
            gap = values[..., :, None] - values[..., None, :]
            near = np.abs(gap) <= 1e-7 * (values[..., :, None] + values[..., None, :])
            middle = (values[..., :, None] + values[..., None, :]) / 2
            slopes = np.where(near, (p + 1) * middle**p, (e - e.mT) / np.where(near, 1.0, gap))
            shared = V @ (slopes * (V.mT @ ((self.G + self.G.T) / 2) @ V)) @ V.mT
            force = (2 * p + 1) * (V * (d * d)[..., None, :]) @ V.mT - 2 * shared + self.Z_hat
            return -(W @ force @ self.root) - lam * A
        S_p = (V * d[..., None, :]) @ V.mT
        out = -lam * A
        if gradient == "iso":
            return out - W @ S_p @ self.root + A @ self.Y
        if gradient in ("sg", "none"):
            out = out - W @ S_p @ (S_p @ self.root - self.inverse @ self.Y)
        if gradient in ("wrong", "none"):
            out = out + W @ S_p @ self.inverse @ self.Y.T - A @ self.Z
        return out


def directpred_flow(
    A: Float[np.ndarray, "n m"],
    moments: SecondMoments,
    lam: float,
    p: float,
    *,
    gradient: Gradient = "sg",
    kappa: float | None = None,
    duration: float,
    samples: int | Float[np.ndarray, " T"] = 200,
    gram_tol: float | None = None,
    rtol: float = 1e-9,
    norm_limit: float = 1e6,
) -> Trajectory:
    """Integrate :func:`encoder_velocity` from A; with ``kappa`` > 0 a teacher follows, C' = kappa (A - C), C(0) = A.

    ``samples`` is a number of equally spaced times, at least 2, or the times themselves; the state at which it stopped
    is kept too. ``B`` in the result is the predictor that was set. It stops as "converged" when the speed of the Gram
    matrix S = A^T A falls to |S'| = ``gram_tol`` max(|S|, |S(0)|) (None: never), though the code may go on turning. A
    start that is slower than that is followed to ``duration``, since it may be leaving an unstable state: it counts as
    "converged" if S is no faster there than at the start, up to rounding. "diverged": the norm of the state reached
    ``norm_limit``; else "unfinished" at ``duration``. Raises ``ValueError`` as the field does, for times, tolerances
    or a limit <= 0, and for a start beyond the limit.
    """
    A = _validate.shaped("A", A, ("n", moments.m))
    encoder_velocity(A, moments, lam, p, gradient=gradient, teacher=None if kappa is None else A)
    duration = _validate.scalar("duration", duration, _validate.positive)
    rate = 0.0 if kappa is None else _validate.scalar("kappa", kappa, _validate.positive)
    rtol, norm_limit = (
        _validate.scalar(k, v, _validate.positive) for k, v in (("rtol", rtol), ("norm_limit", norm_limit))
    )
    times = sample_times(samples, duration)
    field, size = _Whitened(moments), A.size

    def velocity(t: float, flat: np.ndarray) -> np.ndarray:
        now = flat[:size].reshape(A.shape)
        if kappa is None:
            return field.velocity(now, lam, p, gradient).ravel()
        C = flat[size:].reshape(A.shape)
        return np.concatenate([field.velocity(now, lam, p, gradient, C).ravel(), rate * (now - C).ravel()])

    start = A.ravel() if kappa is None else np.tile(A.ravel(), 2)
    if not np.linalg.norm(start) < norm_limit:
        raise ValueError(f"norm_limit must exceed the norm of the start, {np.linalg.norm(start):.6g}")

    tol = None if gram_tol is None else _validate.scalar("gram_tol", gram_tol, _validate.positive)
    first = float(np.linalg.norm(A.T @ A))

    def gram_speed(t: float, flat: np.ndarray) -> float:
        now, moved = (z[:size].reshape(A.shape) for z in (flat, velocity(t, flat)))
        half = now.T @ moved
        return float(np.linalg.norm(half + half.T)) / max(float(np.linalg.norm(now.T @ now)), first, 1e-300)

    def at_rest(t: float, flat: np.ndarray) -> float:
        return 1.0 if tol is None else float(np.log(max(gram_speed(t, flat), 1e-300) / tol))

    path = follow(velocity, start, times, at_rest=at_rest, rtol=rtol, atol=rtol * 1e-3, norm_limit=norm_limit)
    t, states = path.t, path.states
    norms = np.array([np.linalg.norm(velocity(when, z)) for when, z in zip(t, states, strict=True)])
    encoders = states[:, :size].reshape(-1, *A.shape)
    C = None if kappa is None else states[:, size:].reshape(-1, *A.shape)
    if path.end == "diverged":
        outcome, reason = Outcome.DIVERGED, f"diverged: the norm reached {norm_limit:.2e} at time {t[-1]:g}"
    elif path.end == "at rest":
        outcome, reason = Outcome.CONVERGED, f"converged: the Gram matrix came to rest at time {t[-1]:g}"
    elif path.end == "gave up":
        outcome, reason = Outcome.UNFINISHED, f"unfinished: the integrator gave up: {path.message}"
    elif tol is not None and gram_speed(t[-1], states[-1]) <= min(tol, max(gram_speed(0.0, start), 1e-15)):
        outcome, reason = Outcome.CONVERGED, f"converged: the Gram matrix was at rest up to time {t[-1]:g}"
    else:
        outcome, reason = Outcome.UNFINISHED, f"unfinished: the field's norm is {norms[-1]:.2e} at time {duration:g}"
    B = _power(encoders @ moments.xx @ encoders.mT, p)
    return Trajectory(t, encoders, B, C, norms, outcome, reason, np.array(outcome.value, dtype="U10"))


def mode_equilibria(rho: Numbers, tau: Numbers, lam: Numbers, p: float) -> tuple[np.ndarray, np.ndarray]:
    """Where one mode rests: the eigenvalues mu_1 <= mu_2 of Sigma with mu^p = r_1, r_2; nan where there are none.

    r_1, r_2 are the roots of rho r^2 - tau r + lam = 0, the scalar radii of Part I, and are the predictor's eigenvalues
    whatever p. They exist for tau > 0 and tau^2 >= 4 rho lam: a predictor that cannot be negative cannot serve a
    negative tau. Raises ``ValueError`` for p <= 0, rho <= 0 or lam < 0.
    """
    p = _validate.scalar("p", p, _validate.positive)
    inner, outer = radii(rho, tau, lam)
    good = np.asarray(tau) > 0
    return tuple(np.where(good, r, np.nan)[()] ** (1 / p) for r in (inner, outer))  # type: ignore[return-value]


def aligned_rates(
    rho: Float[np.ndarray, " m"], tau: Float[np.ndarray, " m"], lam: float, p: float, r: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "m m"]:
    """The rates at which the entries of S_hat return (negative) at an aligned equilibrium, X and Y diagonal.

    ``r`` holds each axis' predictor eigenvalue, 0 if dead, else a root of rho r^2 - tau r + lam = 0; mu = r^{1/p}.
    Live axis: 2 p (lam - rho r^2). Live i and dead j: tau_j r_i - rho_j r_i^2 - lam. Two live axes:
    -(r_i - r_j)/(mu_i - mu_j) [rho_j mu_i r_i + rho_i mu_j r_j - lam (mu_i r_i + mu_j r_j)/(r_i r_j)], and its limit
    where they are equal. Dead axes: -2 lam. These are all m(m+1)/2 eigenvalues of the flow of S_hat. Raises
    ``ValueError`` for shapes, p <= 0, lam < 0, or an r that is neither 0 nor a root to 1e-8.
    """
    p = _validate.scalar("p", p, _validate.positive)
    r = _validate.shaped("r", _validate.nonnegative("r", r), ("m",))
    rho = _validate.shaped("rho", _validate.positive("rho", rho), r.shape)
    tau, lam = _validate.shaped("tau", tau, r.shape), _validate.scalar("lam", lam, _validate.nonnegative)
    if np.any((r > 0) & (np.abs(rho * r * r - tau * r + lam) > 1e-8 * (rho * r * r + np.abs(tau) * r + lam))):
        raise ValueError("r must be 0 or a root of rho r^2 - tau r + lam = 0 on each axis")
    mu, live = r ** (1 / p), r > 0
    rates = np.full((len(r), len(r)), -2.0 * lam)
    for i in range(len(r)):
        for j in range(len(r)):
            if live[i] and not live[j]:
                rates[i, j] = rates[j, i] = tau[j] * r[i] - rho[j] * r[i] ** 2 - lam
            elif live[i] and live[j]:
                a, b = mu[i] * r[i], mu[j] * r[j]
                gap = mu[i] - mu[j]
                slope = (r[i] - r[j]) / gap if abs(gap) > 1e-9 * (mu[i] + mu[j]) else p * r[i] / mu[i]
                rates[i, j] = -slope * (rho[j] * a + rho[i] * b - lam * (a + b) / (r[i] * r[j]))
    return rates


def ema_rates(rho: float, tau: float, lam: float, p: float, kappa: float, branch: Branch = "outer") -> np.ndarray:
    """The two rates of one mode at rest with a moving-average teacher, the more negative one last.

    The roots of z^2 + (rho r^2 + lam + 2 p (rho r^2 - lam) + kappa) z + 2 p kappa (rho r^2 - lam) = 0, which are real;
    r = r_1 or r_2. Raises ``ValueError`` where there is no such equilibrium, or for p, kappa <= 0.
    """
    _validate.one_of("branch", branch, get_args(Branch))
    p, kappa = (_validate.scalar(k, v, _validate.positive) for k, v in (("p", p), ("kappa", kappa)))
    r = float(radii(rho, tau, lam)[0 if branch == "inner" else 1])
    if not (r > 0 and tau > 0):
        raise ValueError(f"there is no {branch} equilibrium at rho = {rho:.6g}, tau = {tau:.6g}, lam = {lam:.6g}")
    excess = rho * r * r - lam
    half = (rho * r * r + lam + 2 * p * excess + kappa) / 2
    product = 2 * p * kappa * excess
    large = -half - np.copysign(np.sqrt(half * half - product), half)  # the root without cancellation
    return np.sort([large, product / large])[::-1]


def through_equilibria(
    rho: Numbers, tau: Numbers, sigma: Numbers, lam: Numbers, p: float
) -> tuple[np.ndarray, np.ndarray]:
    """Predictor eigenvalues d_1 <= d_2 at rest when one differentiates through the predictor, no stop-gradient.

    The roots of (2p+1) rho d^2 - 2 (p+1) tau d + sigma + lam = 0; nan where there are none, that is unless tau > 0 and
    (p+1)^2 tau^2 >= (2p+1) rho (sigma + lam). The larger is a local minimum of the mode's loss
    s (rho d^2 - 2 tau d + sigma + lam)/2, d = (rho s)^p, the smaller a barrier. Raises ``ValueError`` for p <= 0.
    """
    p = _validate.scalar("p", p, _validate.positive)
    rho, sigma, lam = (
        _validate.positive("rho", rho),
        _validate.nonnegative("sigma", sigma),
        _validate.nonnegative("lam", lam),
    )
    tau = _validate.finite("tau", tau)
    square = ((p + 1) * tau) ** 2 - (2 * p + 1) * rho * (sigma + lam)
    root = np.sqrt(np.where((square >= 0) & (tau > 0), square, np.nan))
    outer = ((p + 1) * tau + root) / ((2 * p + 1) * rho)
    return ((sigma + lam) / ((2 * p + 1) * rho * outer))[()], outer[()]


class TurningState(NamedTuple):
    """A state in which the Gram matrix rests while the code may turn: W' = turn W with W = A X^{1/2}.

    ``A`` (k, m) has W W^T = diag(mu); ``turn`` (k, k) is antisymmetric, in radians per unit of time, and zero at an
    equilibrium; ``residual`` is the largest entry of W' - turn W.
    """

    A: Float[np.ndarray, "k m"]
    mu: Float[np.ndarray, " k"]
    turn: Float[np.ndarray, "k k"]
    residual: float


def turning_state(
    moments: SecondMoments, lam: float, p: float, guess: Float[np.ndarray, "k m"], *, gradient: Gradient = "sg"
) -> TurningState:
    """Solve for a state of rank k whose Gram matrix rests, from a guess (k, m) of the encoder, by Newton's method.

    The equations are W [(S_hat^p G_hat - S_hat^{2p}) X - lam] = turn W (``"sg"``) and the off-diagonal entries of W W^T
    zero: k m + k (k-1)/2 equations for as many unknowns. Nothing of the flow is used. Raises ``ValueError`` as the
    field does, or where the iteration does not come below a residual of 1e-10 of the size of A, or loses rank.
    """
    from scipy.optimize import root

    guess = _validate.shaped("guess", guess, ("k", moments.m))
    k, m = guess.shape
    encoder_velocity(guess, moments, lam, p, gradient=gradient)  # checks lam, p and the gradient
    field = _Whitened(moments)
    i, j = np.triu_indices(k, 1)

    def parts(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turn = np.zeros((k, k))
        turn[i, j] = z[k * m :]
        return z[: k * m].reshape(k, m), turn - turn.T

    def equations(z: np.ndarray) -> np.ndarray:
        A, turn = parts(z)
        return np.concatenate([(field.velocity(A, lam, p, gradient) - turn @ A).ravel(), (A @ field.X @ A.T)[i, j]])

    W = guess @ field.root
    A = np.linalg.svd(W)[0].T @ guess
    found = root(equations, np.concatenate([A.ravel(), np.zeros(len(i))]), method="hybr", options={"xtol": 1e-13})
    residual = float(np.abs(equations(found.x)).max())
    A, turn = parts(found.x)
    mu = np.diag(A @ field.X @ A.T)
    if not residual < 1e-10 * np.abs(A).max() or mu.min() < 1e-8 * mu.max():
        raise ValueError(f"no state of rank {k} was found from this guess (residual {residual:.1e}): {found.message}")
    return TurningState(A, mu, turn, residual)


def survivors(moments: SecondMoments, lam: float, p: float, most: int | None = None) -> list[TurningState]:
    """The states of rank 1, 2, ... that keep the strongest directions, each found from the one before.

    The first guess is the solution of the equation of rank one, (r^2 - r G_hat + lam X^{-1}) v = 0, with the largest r;
    the next is the largest on what is orthogonal to the directions in use, and so on while there is a positive r and
    :func:`turning_state` succeeds, up to rank ``most``. For X and Y with common eigenvectors these are equilibria.
    Other states of the same rank may attract as well: with common eigenvectors a mode whose outer root lies below the
    inner root of a stronger one can live without it. Where every outer root exceeds every inner root there is one
    attracting state of each rank, and it is in the list.
    Raises ``ValueError`` for lam <= 0, p <= 0 or Y not symmetric.
    """
    lam, p = _validate.scalar("lam", lam, _validate.positive), _validate.scalar("p", p, _validate.positive)
    _validate.symmetric("Y", moments.yx)
    field, found = _Whitened(moments), list[TurningState]()
    while len(found) < (moments.m if most is None else most):
        W = found[-1].A @ field.root if found else np.zeros((0, moments.m))
        basis = np.linalg.svd(W)[2][len(W) :].T
        pair = _largest_root(basis.T @ field.G @ basis, lam * basis.T @ field.inverse @ field.inverse @ basis)
        if pair is None:
            break
        row = np.sqrt(pair[0] ** (1 / p)) * basis @ pair[1]
        try:
            found.append(turning_state(moments, lam, p, np.vstack([W, row]) @ field.inverse))
        except ValueError:
            break
    return found


def _largest_root(G: np.ndarray, K: np.ndarray) -> tuple[float, np.ndarray] | None:
    """The largest real r > 0 with (r^2 - r G + K) v = 0, and v; None without one."""
    m = len(G)
    values, vectors = np.linalg.eig(np.block([[G, -K], [np.eye(m), np.zeros((m, m))]]))
    real = np.flatnonzero((np.abs(values.imag) < 1e-9 * np.abs(values).max()) & (values.real > 0))
    if not real.size:
        return None
    best = real[np.argmax(values[real].real)]
    v = vectors[m:, best].real
    return float(values[best].real), v / np.linalg.norm(v)


def train_directpred(
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    A: Float[np.ndarray, "S n m"],
    *,
    lam: float,
    p: float,
    step: Float[np.ndarray, " steps"] | float,
    steps: int,
    batch: int,
    rng: np.random.Generator,
    memory: float = 0.9,
) -> Float[np.ndarray, "S n m"]:
    """Train ``S`` encoders on minibatches of pairs with the predictor set from a running second moment; the last A.

    A step draws ``batch`` pairs with replacement for each network, updates Sigma <- memory Sigma + (1 - memory) times
    the batch's E[z z^T] (the first batch's own at the start), sets B = Sigma^p, and moves A against the gradient of the
    batch's 1/2 E|B A x - SG(A y)|^2 + lam/2 |A|^2. Raises ``ValueError`` for shapes or values, or if a network's norm
    exceeds 1e6. Source: the algorithm of Tian, Chen and Ganguli (2021), without their eigenvalue offset.
    """
    x = _validate.shaped("x", x, ("N", "m"))
    y = _validate.shaped("y", y, x.shape)
    A = _validate.shaped("A", A, ("S", "n", x.shape[1])).copy()
    lam, p = _validate.scalar("lam", lam, _validate.nonnegative), _exponent(p)
    memory = _validate.scalar("memory", memory, _validate.probability)
    steps, batch = _validate.count("steps", steps), _validate.count("batch", batch)
    etas = np.broadcast_to(_validate.positive("step", step), (steps,))
    Sigma: np.ndarray | None = None
    for eta in etas:
        pick = rng.integers(len(x), size=(len(A), batch))
        xs, ys = x[pick], y[pick]
        X, Y = xs.mT @ xs / batch, ys.mT @ xs / batch
        now = A @ X @ A.mT
        Sigma = now if Sigma is None else memory * Sigma + (1 - memory) * now
        B = _power(Sigma, p)
        A = A - eta * (B @ (B @ A @ X - A @ Y) + lam * A)
        if not np.linalg.norm(A, axis=(1, 2)).max() < 1e6:
            raise ValueError("a network diverged: the step is too large")
    return A


def _exponent(p: float) -> float:
    return _validate.scalar("p", p, _validate.nonnegative)


def _power(Sigma: np.ndarray, p: float) -> np.ndarray:
    mu, U = np.linalg.eigh(Sigma)
    rounding = mu.shape[-1] * np.finfo(float).eps * np.abs(mu).max(axis=-1, keepdims=True)
    d = np.where(mu > rounding, mu, 0.0) ** p
    return (U * d[..., None, :]) @ U.mT
