r"""The eigenvalues of the code's second moment under a predictor set in closed form, B = Sigma^p, in exact expectation.

Data whose moments X, Y, Z share their eigenvectors (isotropic views are the toy case) keep an aligned encoder aligned:
mode k has s_k = a_k^2, z1_k = a_k x_k, z2_k = a_k y_k, and Sigma = E[z1 z1^T] has the eigenvalues mu_k = rho_k s_k.
With Euclidean loss the modes decouple and most flows have closed forms. With cosine loss they are coupled by the two
lengths; for Gaussian views the expectation is a double integral, computed to twelve digits without sampling.

Losses, with B = Sigma^p held constant while differentiating, u = B z1 and v = z2: Euclidean E|u - v|^2 / 2, cosine
-E[u.v / (|u||v|)]. Gradients: ``"sg"`` lets it pass through z1 alone, ``"wrong"`` through z2 alone, ``"none"`` (no
stop-gradient) through both, ``"iso"`` is the IsoLoss, SG without the leading factor B. No predictor is p = 0.
Source: Halvagal, Laborieux and Zenke (2023, arXiv 2212.04858); the integrals and conserved quantities are this book's.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.trajectory import Outcome

Loss = Literal["euclidean", "cosine"]
Gradient = Literal["sg", "none", "wrong", "iso"]
LOSSES: tuple[Loss, ...] = ("euclidean", "cosine")
GRADIENTS: tuple[Gradient, ...] = ("sg", "none", "wrong", "iso")
Numbers = Float[np.ndarray, "*batch"] | float

_TOLERANCE = 1e-13
_CHUNK = 2_000_000
_LARGEST = 1e8
_EXTINCT = 1e-24


@dataclass(frozen=True, eq=False)
class ModeData:
    """Moments of the views in each mode: rho = E[x^2], tau = E[y x], sigma = E[y^2], each (n,) or one number.

    Raises ``ValueError`` unless rho > 0, sigma > 0 and tau^2 <= rho sigma.
    """

    rho: Float[np.ndarray, "*n"]
    tau: Float[np.ndarray, "*n"]
    sigma: Float[np.ndarray, "*n"]

    def __post_init__(self) -> None:
        rho, sigma = _validate.positive("rho", self.rho), _validate.positive("sigma", self.sigma)
        tau = _validate.finite("tau", self.tau)
        if (tau**2 > rho * sigma * (1 + 1e-12)).any():
            raise ValueError("tau^2 must not exceed rho * sigma (Cauchy-Schwarz)")
        for name, value in (("rho", rho), ("tau", tau), ("sigma", sigma)):
            object.__setattr__(self, name, value)

    def _modes(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        try:
            rho, tau, sigma = (np.broadcast_to(v, (n,)) for v in (self.rho, self.tau, self.sigma))
        except ValueError:
            raise ValueError(
                f"data are for {np.broadcast(self.rho, self.tau, self.sigma).size} modes, mu has {n}"
            ) from None
        return rho, tau, sigma


def toy_data(noise: float = 0.0, noise_first: float = 0.0) -> ModeData:
    """Isotropic views of one x ~ N(0, I): x1 = x + noise_first xi, x2 = x + noise xi', in every mode alike.

    rho = 1 + noise_first^2, tau = 1, sigma = 1 + noise^2. Source: Halvagal et al. (2023), with x1 clean.
    """
    first, second = (
        _validate.scalar(k, v, _validate.nonnegative) for k, v in (("noise_first", noise_first), ("noise", noise))
    )
    return ModeData(np.array(1 + first**2), np.array(1.0), np.array(1 + second**2))


def _spectrum(mu: Any, name: str = "mu") -> np.ndarray:
    mu = _validate.nonnegative(name, _validate.shaped(name, mu, ("n",), batched=True))
    if not mu.shape[-1]:
        raise ValueError(f"{name} has no modes")
    return mu


def _setting(loss: str, gradient: str, p: float, positive: bool = False) -> float:
    _validate.one_of("loss", loss, LOSSES)
    _validate.one_of("gradient", gradient, GRADIENTS)
    return _validate.scalar("p", p, _validate.positive if positive else _validate.nonnegative)


def predictor_spectrum(mu: Float[np.ndarray, "*batch n"], p: float) -> Float[np.ndarray, "*batch n"]:
    """The eigenvalues d_k = mu_k^p of B = Sigma^p; all 1 at p = 0, also where mu_k = 0."""
    return _spectrum(mu) ** _validate.scalar("p", p, _validate.nonnegative)


def velocity_of_modes(
    mu: Float[np.ndarray, "*batch n"],
    *,
    loss: Loss,
    gradient: Gradient,
    p: float,
    data: ModeData,
    lam: float = 0.0,
) -> Float[np.ndarray, "*batch n"]:
    r"""The velocity d mu / dt of the eigenvalues of Sigma, per unit of learning rate, in exact expectation."""
    p = _setting(loss, gradient, p)
    mu, lam = _spectrum(mu), _validate.scalar("lam", lam, _validate.nonnegative)
    data._modes(mu.shape[-1])
    if loss == "cosine" and not (mu.max(axis=-1) > 0).all():
        raise ValueError("the cosine loss is undefined for a spectrum that is identically zero")
    return _velocity(mu, loss, gradient, p, data, lam)


def _velocity(mu: np.ndarray, loss: str, gradient: str, p: float, data: ModeData, lam: float) -> np.ndarray:
    rho, tau, sigma = data._modes(mu.shape[-1])
    if loss == "cosine":
        if not mu.any():
            return np.zeros_like(mu)
        return 2 * rho * _cosine_modes(mu, gradient, p, rho, tau, sigma) - 2 * lam * mu
    d = mu**p
    first, second = d * (rho * d - tau), sigma - tau * d
    pull = {"sg": first, "wrong": second, "none": first + second, "iso": rho * d - tau}[gradient]
    return -2 * mu * (pull + lam)


def _cosine_modes(
    mu: np.ndarray, gradient: str, p: float, rho: np.ndarray, tau: np.ndarray, sigma: np.ndarray
) -> np.ndarray:
    """a_m a_m' of the cosine loss (..., n), by chunks of the batch."""
    n = mu.shape[-1]
    flat = mu.reshape(-1, n)
    scale = (flat / rho).max(axis=-1, keepdims=True)
    s = flat / rho / scale
    d = (flat / flat.max(axis=-1, keepdims=True)) ** p
    parts, start = [], 0
    tan, weight = _angles(s, d, rho, tau, sigma)
    while start < len(flat):
        tangent, density = tan[start : start + 1], weight[start : start + 1]
        count = 100 * tan.shape[-1] * n
        end = start + max(1, _CHUNK // count)
        tangent, density = tan[start:end], weight[start:end]
        parts.append(_expectation(s[start:end], d[start:end], gradient, rho, tau, sigma, tangent, density))
        start = end
    out = np.concatenate(parts) if parts else np.zeros_like(flat)
    if gradient == "iso":
        out = out / flat.max(axis=-1, keepdims=True) ** p
    return out.reshape(mu.shape)


def _angles(
    s: np.ndarray, d: np.ndarray, rho: np.ndarray, tau: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes tan(phi) and weights (b, W) for integrals over phi in (0, pi/2) of functions of |u|^2 sin^2 + |v|^2 cos^2.

    The singularities lie at tan^2 phi = -|v|^2/|u|^2; with tan(phi) = g sc(t | k) the midpoint rule in t converges
    like exp(-2 pi W K'/K) if all lie in i g [1, 1/k'].
    """
    from scipy.special import ellipk, ellipkm1

    live = s > 0
    noise = np.sqrt(np.clip(1 - tau**2 / (rho * sigma), 0.0, None)).max()
    n = live.sum(axis=-1).min()
    big, small = d * np.sqrt(rho / sigma), d * np.sqrt(rho / sigma)
    largest = np.where(live, big, 0.0).max(axis=-1)
    least = np.where(live, small, np.inf).min(axis=-1)
    if noise > 1e-7:
        margin = 1 + noise * _TOLERANCE ** (-1 / n)
        u, v = d * np.sqrt(s * rho), np.sqrt(s * sigma)
        u_low, v_low = (np.where(live, q, np.inf).min(axis=-1) for q in (u, v))
        largest = np.maximum(largest, u.max(axis=-1) / np.maximum(v_low, v.max(axis=-1) * noise / margin)) * margin
        least = np.minimum(least, np.maximum(u_low, u.max(axis=-1) * noise / margin) / v.max(axis=-1)) / margin
    ratio = np.clip(least / largest, 1e-60, 0.3)  # a longer slit than needed does no harm; the sum below is then short
    K, other = ellipkm1(ratio**2), ellipk(ratio**2)
    count = int(np.ceil((-math.log(_TOLERANCE) * K / (2 * np.pi * other)).max())) + 4
    count += count % 2
    half = (np.arange(count // 2) + 0.5) / count
    t = half * K[:, None]
    q = np.pi / (2 * other)[:, None]
    images = t[..., None] - 2 * K[:, None, None] * np.arange(-7, 8)
    sc = 1 / (q * (1 / np.sinh(np.clip(q[..., None] * images, -700, 700))).sum(axis=-1))
    sc = np.concatenate([sc, 1 / (ratio[:, None] * sc[:, ::-1])], axis=-1)
    g = 1 / largest[:, None]
    slope = np.sqrt((1 + sc**2) * (1 + (ratio[:, None] * sc) ** 2))
    tan = g * sc
    return tan, g * slope / (1 + tan**2) * (K / count)[:, None]


@lru_cache(maxsize=1024)
def _log_step(n: float) -> float:
    """The step in log r at which the trapezoidal rule integrates r^2 (1 + r)^(-n/2 - 2) dlog r to the tolerance."""
    from scipy.special import loggamma

    omega = np.linspace(4, 60, 1121)
    error = np.real(loggamma(2 + 1j * omega) + loggamma(n / 2 + 1j * omega) - loggamma(n / 2))
    return float(2 * np.pi / omega[np.argmax(error < math.log(_TOLERANCE))])


def _expectation(
    s: np.ndarray,
    d: np.ndarray,
    gradient: str,
    rho: np.ndarray,
    tau: np.ndarray,
    sigma: np.ndarray,
    tan: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """a_m a_m' (b, n) from the nodes of the angle (b, W)."""
    w, rest = (tan**2 / (1 + tan**2))[:, None, :], (1 / (1 + tan**2))[:, None, :]
    one, both, two = (s * m for m in (rho, tau, sigma))
    det = np.where(rho * sigma - tau**2 > 1e-14 * rho * sigma, s**2 * (rho * sigma - tau**2), 0.0)
    noisy = bool(det.any())
    dd = d * d
    trace = (one * dd)[..., None] * w + two[..., None] * rest  # (b, n, W)
    live = s > 0
    n = live.sum(axis=-1)
    h = _log_step(float(n.max()) * (2 if noisy else 1))
    low = -np.log(trace.sum(axis=1)) + math.log(_TOLERANCE) / 2 - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        breaks = np.sort(np.where(live[..., None], -np.log(2 * trace), np.inf), axis=1)
    high = _upper_end(breaks, n)
    count = int(np.ceil((high - low).max() / h)) + 1
    r = np.exp(low[..., None] + h * np.arange(count))  # (b, W, R)
    b, W, R = r.shape
    flat = r.reshape(b, 1, W * R)
    if noisy:
        W1 = (dd[..., None] * w)[..., None] * r[:, None]
        W2 = np.broadcast_to((rest[..., None] * r[:, None]), W1.shape)
        W1, W2 = (2 * q.reshape(b, -1, W * R) for q in (W1, W2))
        delta = 1 + one[..., None] * W1 + two[..., None] * W2 + det[..., None] * W1 * W2
    else:
        delta = 1 + (2 * trace[..., None] * r[:, None]).reshape(b, -1, W * R)
    inverse = 1 / delta
    with np.errstate(over="ignore"):
        factor = flat[:, 0] ** 2 / np.sqrt(delta.prod(axis=1)) * h * (4 / np.pi)
    P = both[..., None] * inverse
    out = np.zeros_like(s)
    if gradient != "wrong":  # pairs (m, k), whose own term m = k cancels exactly
        Q = (one[..., None] + det[..., None] * W2) * inverse if noisy else one[..., None] * inverse
        mass = factor * np.repeat(weight * w[:, 0], R, axis=-1)
        pairs = ((P * mass[:, None]) @ Q.mT) * d[:, None, :]
        pairs = pairs - pairs.mT
        out = ((pairs if gradient == "iso" else pairs * d[..., None]) @ d[..., None])[..., 0]
    if gradient in ("wrong", "none"):
        V = (two[..., None] + det[..., None] * W1) * inverse if noisy else two[..., None] * inverse
        mass = factor * np.repeat(weight * rest[:, 0], R, axis=-1)
        pairs = ((P * mass[:, None]) @ V.mT) * d[..., None]
        out = out + (pairs - pairs.mT).sum(axis=-1)
    return out


def _upper_end(breaks: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The log r (b, W) beyond which the integrand is below the tolerance of its largest value, from its slopes.

    The integrand r^2 Q prod(1 + 2 r c_k)^(-1/2) P, in log-log, has slope 1 before the first mode's 1/(2 c_k) is passed,
    loses 1/2 at each and a further 1 at the last, where P of the smallest mode bends.
    """
    depth = -math.log(_TOLERANCE)
    b, modes, W = breaks.shape
    slope = 1 - 0.5 * np.arange(1, modes + 1)[None, :] - 1.0 * (np.arange(1, modes + 1) >= n[:, None])
    with np.errstate(invalid="ignore"):
        gaps = np.diff(breaks, axis=1, append=np.inf)
    end, value, peak = np.full((b, W), np.nan), np.zeros((b, W)), np.zeros((b, W))
    for j in range(modes):
        step = gaps[:, j]
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(slope[:, j, None] < 0, (value - peak + depth + 6) / -slope[:, j, None], np.inf)
            hit = np.isnan(end) & (reach <= step)
            end = np.where(hit, breaks[:, j] + reach, end)
            value = value + slope[:, j, None] * np.where(np.isfinite(step), step, 0.0)
        peak = np.maximum(peak, value)
    return end


@dataclass(frozen=True, eq=False)
class EigenvalueTrajectory:
    """Eigenvalues of Sigma along the flow: times ``t`` (T,), ``mu`` (T, n), and why it ended.

    ``outcome`` is converged (the velocity at the end is below 1e-8 of the largest eigenvalue), diverged (an
    eigenvalue passed 1e8 times the larger of 1 and the initial largest; the trajectory ends there) or unfinished.
    """

    t: Float[np.ndarray, " T"]
    mu: Float[np.ndarray, "T n"]
    outcome: Outcome
    reason: str


def eigenvalue_flow(
    mu0: Float[np.ndarray, " n"],
    times: Float[np.ndarray, " T"],
    *,
    loss: Loss,
    gradient: Gradient,
    p: float,
    data: ModeData,
    lam: float = 0.0,
    rtol: float = 1e-10,
) -> EigenvalueTrajectory:
    """Integrate :func:`velocity_of_modes` from ``mu0`` and return the spectrum at ``times``."""
    from scipy.integrate import solve_ivp

    p = _setting(loss, gradient, p)
    mu0 = _validate.shaped("mu0", _spectrum(mu0, "mu0"), ("n",))
    times = _validate.nonnegative("times", _validate.shaped("times", times, ("T",)))
    if not len(times) or (np.diff(times) <= 0).any():
        raise ValueError("times must be increasing and not empty")
    rtol, lam = (
        _validate.scalar(k, v, c)
        for k, v, c in (("rtol", rtol, _validate.positive), ("lam", lam, _validate.nonnegative))
    )
    velocity_of_modes(mu0, loss=loss, gradient=gradient, p=p, data=data, lam=lam)
    mu, now = mu0.copy(), 0.0
    limit = math.log(_LARGEST) / max(1.0, p) + math.log(max(1.0, mu0.max()))
    # Without noise the force on a vanishing mode is like -sqrt(mu): it is gone in finite time.
    vanishing = loss == "cosine" and gradient in ("wrong", "none") and not _noisy(data._modes(len(mu0)))
    kept_t, kept = ([0.0], [mu0]) if times[0] == 0 else ([], [])
    while now < times[-1] and mu.any():
        live = mu > 0
        start = np.log(mu[live])
        floor = np.minimum(math.log(_EXTINCT), start - start.max() - 14)

        def whole(y: np.ndarray, live: np.ndarray = live) -> np.ndarray:
            full = np.zeros_like(mu0)
            full[live] = np.exp(np.clip(y, -700, limit + 5))
            return full

        def field(t: float, y: np.ndarray, live: np.ndarray = live, whole: Any = whole) -> np.ndarray:
            mu = whole(y)
            return (_velocity(mu, loss, gradient, p, data, lam)[live]) / mu[live]

        def diverged(t: float, y: np.ndarray) -> float:
            return float(limit - y.max())

        def extinct(t: float, y: np.ndarray, floor: np.ndarray = floor) -> float:
            return float((y - y.max() - floor).min()) if vanishing else 1.0

        diverged.terminal = extinct.terminal = True  # type: ignore[attr-defined]
        ahead = times[times > now]
        solution: Any = solve_ivp(
            field,
            (now, times[-1]),
            start,
            method="DOP853",
            t_eval=ahead,
            events=[diverged, extinct],
            rtol=max(rtol / 20, 3e-14),
            atol=rtol / 2,
        )
        kept_t += list(solution.t)
        kept += [whole(y) for y in np.asarray(solution.y).T]
        if solution.status < 0:
            return _ended(kept_t, kept, Outcome.UNFINISHED, f"the integrator stopped: {solution.message}")
        if solution.t_events[0].size:
            kept_t.append(float(solution.t_events[0][-1]))
            kept.append(whole(solution.y_events[0][-1]))
            reason = f"an eigenvalue reached {kept[-1].max():.3g} at time {kept_t[-1]:.6g}"
            return _ended(kept_t, kept, Outcome.DIVERGED, reason)
        now = times[-1]
        if solution.t_events[1].size:
            now, y = float(solution.t_events[1][-1]), solution.y_events[1][-1]
            mu = whole(np.where(y - y.max() - floor <= 1e-6, -np.inf, y))
            mu[live] = np.where(y - y.max() - floor <= 1e-6, 0.0, mu[live])
    for t in times[len(kept_t) :]:
        kept_t.append(float(t))
        kept.append(mu)
    speed = np.abs(_velocity(kept[-1], loss, gradient, p, data, lam)).max() / max(kept[-1].max(), 1e-300)
    outcome = Outcome.CONVERGED if speed <= 1e-8 else Outcome.UNFINISHED
    return _ended(kept_t, kept, outcome, f"relative velocity {speed:.2e} at time {kept_t[-1]:.6g}")


def _ended(t: list[float], mu: list[np.ndarray], outcome: Outcome, reason: str) -> EigenvalueTrajectory:
    return EigenvalueTrajectory(np.array(t), np.array(mu), outcome, f"{outcome.value}: {reason}")


def _noisy(modes: tuple[np.ndarray, ...]) -> bool:
    rho, tau, sigma = modes
    return bool((rho * sigma - tau**2 > 1e-14 * rho * sigma).any())


def conserved_quantity(
    mu: Float[np.ndarray, "*batch n"], *, loss: Loss, gradient: Gradient, p: float, data: ModeData
) -> Float[np.ndarray, "*batch"]:
    """What the cosine flow without weight decay keeps: |A|^2 = sum s, or with IsoLoss sum rho^p s^(1+p)."""
    p = _setting(loss, gradient, p)
    mu = _spectrum(mu)
    if loss != "cosine":
        raise ValueError("the Euclidean flows have no conserved quantity of this kind; their modes are independent")
    rho = data._modes(mu.shape[-1])[0]
    return (mu / rho * (mu**p if gradient == "iso" else 1.0)).sum(axis=-1)


def _start(mu0: Any, t: Any, p: Any) -> tuple[np.ndarray, np.ndarray, float]:
    return (
        _validate.positive("mu0", mu0),
        _validate.nonnegative("t", t),
        _validate.scalar("p", p, _validate.positive),
    )


def _log_excess(q: np.ndarray) -> np.ndarray:
    """q + log(1 - q) for q < 1 without loss of digits near 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        series = -sum(q**k / k for k in range(2, 20))
        return np.where(np.abs(q) < 0.1, series, q + np.log1p(-np.minimum(q, 0.999)))


def euclidean_sg(mu0: Numbers, t: Numbers, p: float) -> Numbers:
    """The eigenvalue at time t of mu' = 2 mu^(1+p) (1 - mu^p), the toy setting with stop-gradient."""
    from scipy.special import lambertw, wrightomega

    mu0, t, p = _start(mu0, t, p)
    w, elapsed = np.broadcast_arrays(mu0**-p - 1, 2 * p * t)
    below = w > 0
    with np.errstate(divide="ignore"):
        W = wrightomega(np.where(below, np.log(np.where(below, w, 1.0)) + w - elapsed, 0.0)).real
    inside = np.where(below, -0.5, w)
    Q = 1 + lambertw(inside * np.exp(inside - elapsed)).real
    target = _log_excess(1 + inside) - elapsed
    near = Q < 0.5  # large mu: the principal branch loses half its digits at -1/e
    for _ in range(3):
        Q = Q + np.where(near, (_log_excess(Q) - target) * (1 - Q) / np.where(near, np.maximum(Q, 1e-300), 1.0), 0.0)
    x = np.where(below, 1 / (1 + W), 1 / Q)
    return (np.where(w == 0, 1.0, x) ** (1 / p))[()]


def euclidean_iso(mu0: Numbers, t: Numbers, p: float) -> Numbers:
    """The eigenvalue at time t of mu' = 2 mu (1 - mu^p), the toy setting with IsoLoss: mu^p is a logistic curve."""
    mu0, t, p = _start(mu0, t, p)
    return ((1 + (mu0**-p - 1) * np.exp(-2 * p * t)) ** (-1 / p))[()]


def euclidean_wrong(mu0: Numbers, t: Numbers, p: float, noise: float = 0.0) -> Numbers:
    """The eigenvalue at time t of mu' = 2 mu (mu^p - c), c = 1 + noise^2; inf from the time of blow-up on."""
    mu0, t, p = _start(mu0, t, p)
    c = 1 + _validate.scalar("noise", noise, _validate.nonnegative) ** 2
    with np.errstate(over="ignore", divide="ignore"):
        y = 1 / c + (mu0**-p - 1 / c) * np.exp(2 * p * c * t)
        return np.where(y > 0, np.abs(y) ** (-1 / p), np.inf)[()]


def euclidean_none_time(mu0: Numbers, mu: Numbers, p: float, noise: float) -> Numbers:
    """The time that mu' = -2 mu [(1 - mu^p)^2 + noise^2] takes from mu0 down to mu; inf if it never gets there."""
    mu0, mu, p = _start(mu0, mu, p)
    eps = _validate.scalar("noise", noise, _validate.nonnegative)
    mu = np.where(np.abs(mu - mu0) <= 1e-12 * mu0, mu0, mu)
    if (mu > mu0).any() or (mu <= 0).any():
        raise ValueError("mu must lie in (0, mu0]: the eigenvalue only falls")
    x0, x = np.broadcast_arrays(mu0**p, mu**p)
    with np.errstate(divide="ignore", invalid="ignore"):
        if eps:
            angle = (np.arctan((x - 1) / eps) - np.arctan((x0 - 1) / eps)) / eps
            total = np.log(x / x0) - 0.5 * np.log(((1 - x) ** 2 + eps**2) / ((1 - x0) ** 2 + eps**2)) + angle
            return (-total / (2 * p * (1 + eps**2)))[()]
        total = np.log(x / x0) - np.log(np.abs((1 - x) / (1 - x0))) - 1 / (x - 1) + 1 / (x0 - 1)
    stuck = (x0 >= 1) & (x <= 1)
    return np.where(x == x0, 0.0, np.where(stuck, np.inf, -total / (2 * p)))[()]


def recruitment_time(mu0: Numbers, p: float, *, iso: bool) -> Numbers:
    """The time from mu0 until mu^p = 1/2 in the toy setting: with w = mu0^(-p) - 1, (w - 1 + ln w) / (2 p).

    With IsoLoss ln(w) / (2 p).
    """
    mu0, _, p = _start(mu0, 0.0, p)
    w = mu0**-p - 1
    if (w < 1 - 1e-12).any():
        raise ValueError("mu0^p must not exceed 1/2")
    return ((np.log(w) + (0.0 if iso else w - 1)) / (2 * p))[()]


def equalisation_rate(n: int, mu: Numbers, p: float, *, iso: bool) -> Numbers:
    """The rate at which small differences of n equal modes mu decay with the noise-free cosine loss.

    2 p / ((n + 2) mu) with stop-gradient, 2 p / ((n + 2) mu^(1+p)) with IsoLoss.
    """
    n, mu = _validate.count("n", n), _validate.positive("mu", mu)
    p = _validate.scalar("p", p, _validate.nonnegative)
    return (2 * p / ((n + 2) * mu ** (1 + p if iso else 1)))[()]
