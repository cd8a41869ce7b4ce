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
_CHUNK = 1_000_000
_LARGEST = 1e8
_EXTINCT = 1e-4
_LEFT, _RIGHT = -5.7, 31.0


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
        values = (self.rho, self.tau, self.sigma)
        if any(v.shape not in ((), (n,)) for v in values):
            raise ValueError(f"data have shapes {', '.join(str(v.shape) for v in values)}; mu has {n} modes")
        rho, tau, sigma = (np.full(n, v) if v.ndim == 0 else v for v in values)
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


def velocity_of_modes(
    mu: Float[np.ndarray, "*batch n"],
    *,
    loss: Loss,
    gradient: Gradient,
    p: float,
    data: ModeData,
    lam: float = 0.0,
) -> Float[np.ndarray, "*batch n"]:
    r"""The velocity d mu / dt of the eigenvalues of Sigma, per unit of learning rate, in exact expectation.

    With d = mu^p and weight decay ``lam``, which adds -2 lam mu to each of them, the Euclidean loss has

    .. math:: \mathrm{sg}: 2\mu d(\tau - \rho d), \quad \mathrm{iso}: 2\mu(\tau - \rho d), \quad
              \mathrm{wrong}: 2\mu(\tau d - \sigma), \quad \mathrm{none} = \mathrm{sg} + \mathrm{wrong},

    for any law of the views. The cosine loss has, with u = B z1, v = z2 and normal views,

    .. math:: \mathrm{sg}: 2\rho_m\,\mathbb E\Bigl[d_m z_{1m}\frac{v_m|u|^2 - (u\cdot v)u_m}{|u|^3|v|}\Bigr], \quad
              \mathrm{wrong}: 2\rho_m\,\mathbb E\Bigl[v_m\frac{u_m|v|^2 - (u\cdot v)v_m}{|u||v|^3}\Bigr],

    none their sum, and iso as sg without its first d_m. For isotropic views with tau > 0, sg and iso move variance from
    the larger to the smaller mode of every pair, whatever the noise.

    The mean is a double integral, over the direction of (|u|, |v|) and over the logarithm of their size, by two rules
    that converge geometrically. The relative error is below 1e-10 for each mode apart, for condition numbers of the
    spectrum up to 1e8 (observed: at most 5e-11), and below 1e-8 up to 1e12; where the two parts of "none" cancel, it is
    that of the parts. A batch takes the nodes of its worst member.

    ``mu`` (..., n) >= 0; a zero mode stays zero. Raises ``ValueError`` for data of another number of modes and, with
    the cosine loss, for a spectrum that is identically zero. Source: Halvagal et al. (2023) for the Euclidean toy and
    the noise-free cosine; the rest is ours.
    """
    p = _setting(loss, gradient, p)
    mu, lam = _spectrum(mu), _validate.scalar("lam", lam, _validate.nonnegative)
    if loss == "cosine" and not (mu.max(axis=-1) > 0).all():
        raise ValueError("the cosine loss is undefined for a spectrum that is identically zero")
    return _velocity(mu, loss, gradient, p, data, lam)


def _velocity(mu: np.ndarray, loss: str, gradient: str, p: float, data: ModeData, lam: float) -> np.ndarray:
    if loss == "euclidean":
        return mu * _euclidean_rate(mu, gradient, p, data, lam)
    modes = data._modes(mu.shape[-1])
    return 2 * modes[0] * _cosine_modes(mu, gradient, p, modes) - 2 * lam * mu


def _euclidean_rate(mu: np.ndarray, gradient: str, p: float, data: ModeData, lam: float) -> np.ndarray:
    """The velocity of log mu."""
    rho, tau, sigma = data._modes(mu.shape[-1])
    d = mu**p
    first, second = d * (rho * d - tau), sigma - tau * d
    pull = {"sg": first, "wrong": second, "none": first + second, "iso": rho * d - tau}[gradient]
    return -2 * (pull + lam)


def _cosine_modes(mu: np.ndarray, gradient: str, p: float, modes: tuple[np.ndarray, ...]) -> np.ndarray:
    """a_m a_m' of the cosine loss (..., n), by chunks of the batch; 0 where the spectrum is zero."""
    n, rho = mu.shape[-1], modes[0]
    if not mu.size or not mu.any():
        return np.zeros_like(mu)
    flat = mu.reshape(-1, n)
    scale = (flat / rho).max(axis=-1, keepdims=True)
    s = flat / rho / scale
    s[s < 1e-140] = 0.0  # too small to square, and without influence on the others
    d = (flat / flat.max(axis=-1, keepdims=True)) ** p
    tan, weight = _angles(s, d, modes)
    size = max(1, _CHUNK // (80 * n * tan.shape[-1]))
    out = np.empty_like(flat)
    for k in range(0, len(flat), size):
        b = slice(k, k + size)
        out[b] = _expectation(s[b], d[b], gradient, modes, tan[b], weight[b])
    if gradient == "iso":
        out = out / flat.max(axis=-1, keepdims=True) ** p
    return out.reshape(mu.shape)


def _angles(s: np.ndarray, d: np.ndarray, modes: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes tan(phi) and weights (b, W) for integrals over phi in (0, pi/2) of functions of |u|^2 sin^2 + |v|^2 cos^2.

    Their singularities lie at tan(phi) = +-i |v|/|u|: the rule is made for a range of |u|/|v|, which without noise is
    that of d. With noise it is longer by the lengths that occur with a probability above the tolerance.
    """
    rho, tau, sigma = modes
    live = s > 0
    noise = np.sqrt(np.maximum(1 - tau**2 / (rho * sigma), 0.0).max())
    scale = d * np.sqrt(rho / sigma)
    largest, least = scale.max(axis=-1), np.where(live, scale, np.inf).min(axis=-1)
    if noise > 1e-7:
        u, v = d * np.sqrt(s * rho), np.sqrt(s * sigma)
        largest = np.maximum(largest, noise * u.max(axis=-1) / _shortest(v, live)) * (1 + noise)
        least = np.minimum(least, _shortest(u, live) / (noise * v.max(axis=-1))) / (1 + noise)
    octaves = math.ceil(2 * min(max(float(np.log2(largest / least).max()), 1.5), 200.0))
    sc, slope = _angle_rule(octaves)
    tan = sc / largest[:, None]
    return tan, slope / largest[:, None] / (1 + tan * tan)


def _shortest(sizes: np.ndarray, live: np.ndarray) -> np.ndarray:
    """A length (b,) such that shorter vectors, of normal entries with these deviations (b, n), can be left out.

    A length below l has a probability of about prod (l / size_k), and the force on the smallest mode, relative to its
    own size, is at most like min(size)^-2: the product of the two is the tolerance.
    """
    with np.errstate(divide="ignore"):
        v = np.log(sizes)
    top, v = v.max(axis=-1), np.where(live, v, 0.0)
    n, bottom = live.sum(axis=-1), np.where(live, v, np.inf).min(axis=-1)
    weight = n * bottom - v.sum(axis=-1) + 2 * (top - bottom)
    return np.exp(np.maximum(bottom + np.minimum((math.log(_TOLERANCE) - weight) / n, 0.0), -300.0))


@lru_cache(maxsize=1024)
def _angle_rule(octaves: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes sc and weights for an integral over tan(phi), with all singularities in i [1, 1/k'], k' = 2^(-octaves/2).

    Jacobi's sc maps a strip of half width K' onto the plane without these segments, and the midpoint rule in its
    argument converges like exp(-2 pi W K'/K): 12 nodes for k' = 1/3, 90 for k' = 1e-13.
    """
    from scipy.special import ellipk, ellipkm1

    ratio = 2 ** (-octaves / 2)
    K, other = float(ellipkm1(ratio**2)), float(ellipk(ratio**2))
    half = math.ceil(-0.45 * math.log(_TOLERANCE) * K / (2 * math.pi * other)) + 2
    t = (np.arange(half) + 0.5) * K / (2 * half)
    images = np.pi / (2 * other) * (t[:, None] - 2 * K * np.arange(-7, 8))  # cs is a sum of 1/sinh, one for each pole
    sc = 2 * other / np.pi / (1 / np.sinh(np.clip(images, -700, 700))).sum(axis=-1)
    sc = np.concatenate([sc, 1 / (ratio * sc[::-1])])
    return sc, np.sqrt((1 + sc**2) * (1 + (ratio * sc) ** 2)) * K / (2 * half)


@lru_cache(maxsize=1024)
def _log_rule(n: int) -> tuple[float, np.ndarray]:
    """The step in log r of the trapezoidal rule for r^2 f(r) dlog r, and the first nodes' weights.

    The step is that at which r^2 (1 + r)^(-n/2 - 2) is integrated to the tolerance. The nodes to the left of the first
    are replaced by a cubic through the first four, since f is a power series there.
    """
    from scipy.special import loggamma

    omega = np.linspace(4, 60, 1121)
    error = np.real(loggamma(2 + 1j * omega) + loggamma(n / 2 + 1j * omega) - loggamma(n / 2))
    step = float(2 * np.pi / omega[np.argmax(error < math.log(_TOLERANCE))])
    powers = np.arange(2, 6)[:, None]
    extra = np.linalg.solve(np.exp(step * powers * np.arange(4)), 1 / np.expm1(step * powers[:, 0]))
    return step, step * (1 + extra)


def _expectation(
    s: np.ndarray,
    d: np.ndarray,
    gradient: str,
    modes: tuple[np.ndarray, ...],
    tan: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """a_m a_m' (b, n) by the rule over the angle (b, W) and, for each angle, over log r (b, W, R).

    Under the weight exp(-r (|u|^2 sin^2 + |v|^2 cos^2)) mode k keeps a Gaussian law. With det = s^2 (rho sigma - tau^2)
    and Delta = 1 + 2 r (sin^2 d^2 rho s + cos^2 sigma s) + (2 r)^2 sin^2 cos^2 d^2 det, its moments are
    P = E[z1 v] = tau s / Delta, Q = E[z1^2] = (rho s + 2 r cos^2 det) / Delta and
    V = E[v^2] = (sigma s + 2 r sin^2 d^2 det) / Delta; the mean of the weight is prod Delta^(-1/2).
    """
    rho, tau, sigma = modes
    sin2, cos2 = tan**2 / (1 + tan**2), 1 / (1 + tan**2)
    one, both, two, square = s * rho, s * tau, s * sigma, d * d
    det = s * s * (rho * sigma - tau * tau) if _noisy(modes) else None
    linear = (one * square)[..., None] * sin2[:, None] + two[..., None] * cos2[:, None]  # (b, n, W)
    live = (s > 0).sum(axis=-1)
    step, first = _log_rule(math.ceil(float(live.max()) * (2 - float((tau * tau / (rho * sigma)).min()))))
    low = -np.log(linear.sum(axis=1)) + _LEFT
    count = max(len(first), math.ceil(float((_upper_end(linear, live) - low).max()) / step) + 1)
    r = 2 * np.exp(low[..., None] + step * np.arange(count))  # twice the variable r, (b, W, R)
    delta = linear[..., None] * r[:, None]
    if det is not None:
        delta += (det * square)[..., None, None] * (sin2 * cos2)[:, None, :, None] * (r * r)[:, None]
    delta += 1
    with np.errstate(over="ignore"):
        mass = r * r / np.sqrt(delta.prod(axis=1)) * (weight / np.pi)[..., None]
    mass[..., : len(first)] *= first
    mass[..., len(first) :] *= step
    inverse = np.divide(1, delta, out=delta).reshape(*s.shape, -1)

    def gram(share: np.ndarray) -> np.ndarray:
        """The integral of share / (Delta_m Delta_k) as (b, m, k)."""
        return (inverse * share.reshape(len(s), 1, -1)) @ inverse.mT

    mixed = None if det is None else gram(mass * (sin2 * cos2)[..., None] * r)
    # Sums over k of pairs (m, k) that are antisymmetric: the pair (m, m) cancels exactly, and so does the total.
    out = np.zeros_like(s)
    if gradient != "wrong":
        moment = gram(mass * sin2[..., None]) * one[:, None]
        moment = moment if mixed is None or det is None else moment + mixed * det[:, None]
        moment = moment * (both[..., None] * d[:, None])
        moment = moment - moment.mT
        out = ((moment if gradient == "iso" else moment * d[..., None]) @ d[..., None])[..., 0]
    if gradient in ("wrong", "none"):
        moment = gram(mass * cos2[..., None]) * two[:, None]
        moment = moment if mixed is None or det is None else moment + mixed * (det * square)[:, None]
        moment = moment * (both * d)[..., None]
        out = out + (moment - moment.mT).sum(axis=-1)
    return out


def _upper_end(linear: np.ndarray, live: np.ndarray) -> np.ndarray:
    """The log r (b, W) beyond which the integrand is below the tolerance of its largest value, from its slopes.

    In log-log the integrand r^2 P Q prod (1 + 2 r c_k)^(-1/2), c_k = ``linear``, has slope 1 once the first mode's
    1 / (2 c_k) is passed, loses 1/2 at each further one and 1 more at the last, where P of the smallest mode bends.
    It is concave, so the end is the first at which one of the lines of negative slope has fallen far enough.
    """
    order = np.arange(linear.shape[1])[:, None]
    last = order >= live[:, None, None] - 1
    slope = 0.5 - 0.5 * order - last
    with np.errstate(divide="ignore", invalid="ignore"):
        breaks = np.sort(-np.log(2 * linear), axis=1)
        rise = np.where(last, 0.0, slope * np.diff(breaks, axis=1, append=0.0))
        height = np.cumsum(rise, axis=1) - rise
        reach = (_RIGHT + height - height.max(axis=1, keepdims=True)) / np.maximum(-slope, 0.25)
        return np.where(slope < 0, breaks + np.maximum(reach, 0.0), np.inf).min(axis=1)


@dataclass(frozen=True, eq=False)
class EigenvalueTrajectory:
    """Eigenvalues of Sigma along the flow: times ``t`` (T,), ``mu`` (T, n), and why it ended.

    ``outcome`` is converged (at the last time all velocities are at most 1e-8 of the largest eigenvalue, present or
    initial), diverged (max(mu, mu^p) passed 1e8 times the larger of 1 and the largest at the start; the trajectory ends
    there, with one more time than asked for) or unfinished.
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
    """Integrate :func:`velocity_of_modes` from ``mu0`` (n,) at time 0, and return it at increasing ``times``.

    Dormand-Prince of order 8 in log mu, with tolerances rtol / 50. Where modes vanish in finite time (cosine loss,
    noise-free, the gradient through z2) it runs in sqrt(mu) and goes on without them. With the cosine loss a mode that
    has fallen below 1e-4 ``rtol`` of the largest and 1e-6 of its own share at the start counts as zero from then on.
    Raises ``ValueError`` for a bad setting, bad times or a zero spectrum with the cosine loss.
    """
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
    if not mu.any():
        return _ended(list(times), [mu] * len(times), Outcome.CONVERGED, "all modes are zero")
    limit = math.log(_LARGEST) / max(1.0, p) + math.log(max(1.0, mu0.max()))  # where d, too, stays finite
    # Without noise the force on a vanishing mode is like -sqrt(mu): it is gone in finite time, and sqrt(mu) crosses 0.
    root = loss == "cosine" and gradient in ("wrong", "none") and not _noisy(data._modes(len(mu0)))
    least = np.minimum(_EXTINCT * rtol, 1e-6 * mu0 / mu0.max())
    accuracy = max(rtol / 50, 1e-13)
    kept_t, kept = ([0.0], [mu0]) if times[0] == 0 else ([], [])
    while now < times[-1]:
        live = mu > 0
        start, floor = (np.sqrt if root else np.log)(mu[live]), least[live]

        def whole(y: np.ndarray, live: np.ndarray = live) -> np.ndarray:
            full = np.zeros_like(mu0)
            full[live] = y * y if root else np.exp(np.minimum(y, limit + 5))
            return full

        def field(t: float, y: np.ndarray, live: np.ndarray = live, whole: Any = whole) -> np.ndarray:
            mu = whole(y)
            if loss == "euclidean":
                return _euclidean_rate(mu, gradient, p, data, lam)[live]
            velocity = _velocity(mu, loss, gradient, p, data, lam)[live]
            return velocity / (2 * y if root else np.maximum(mu[live], 1e-300))

        def diverged(t: float, y: np.ndarray) -> float:
            return 1.0 if root else float(limit - y.max())

        def above(y: np.ndarray, floor: np.ndarray = floor) -> np.ndarray:
            return y - np.sqrt(floor) * y.max() if root else y - np.log(floor) - y.max()

        def extinct(t: float, y: np.ndarray, above: Any = above) -> float:
            return float(above(y).min()) if loss == "cosine" else 1.0

        diverged.terminal = extinct.terminal = True  # type: ignore[attr-defined]
        ahead = times[times > now]
        solution: Any = solve_ivp(
            field,
            (now, times[-1]),
            start,
            method="DOP853",
            t_eval=ahead,
            events=[diverged, extinct],
            rtol=accuracy,
            atol=accuracy * (start.max() if root else 1.0),
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
            gone = above(y) <= max(0.0, float(above(y).min()))
            mu = whole(np.where(gone, 0.0 if root else -np.inf, y))
    for t in times[len(kept_t) :]:
        kept_t.append(float(t))
        kept.append(mu)
    speed = np.abs(_velocity(kept[-1], loss, gradient, p, data, lam)).max() / max(kept[-1].max(), mu0.max())
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
    """What the flow without weight decay keeps: |A|^2 = sum s, or with IsoLoss sum rho^p s^(1+p); cosine loss only.

    The cosine does not see the size of A, so its gradient is orthogonal to A: <A, A'> = 0. IsoLoss leaves out B, so
    <A, B A'> = 0 instead. With rho = 1 these are sum mu and sum mu^(1+p). Raises ``ValueError`` for the Euclidean loss,
    whose modes move independently. Ours.
    """
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
    """The eigenvalue at time t of mu' = 2 mu^(1+p) (1 - mu^p), the toy setting with stop-gradient.

    x = mu^p obeys w + ln|w| = w0 + ln|w0| - 2 p t with w = 1/x - 1, so x = 1 / (1 + W(w0 exp(w0 - 2 p t))) with
    Lambert's W: in units of 1/p all p have one curve. ``mu0`` > 0, ``t`` >= 0 broadcast, ``p`` > 0; ``ValueError``
    otherwise. Source: the implicit form for p = 1 is in Halvagal et al. (2023).
    """
    from scipy.special import lambertw, wrightomega

    mu0, t, p = _start(mu0, t, p)
    q, elapsed = np.broadcast_arrays(mu0**-p, 2 * p * t)
    w = q - 1
    below = w > 0
    with np.errstate(divide="ignore"):
        W = wrightomega(np.where(below, np.log(np.where(below, w, 1.0)) + w - elapsed, 0.0)).real
    inside = np.where(below, -0.5, w)
    Q = 1 + lambertw(inside * np.exp(inside - elapsed)).real
    # Far above 1 the principal branch loses half its digits; q = 1/x solves q + ln(1 - q) = q0 + ln(1 - q0) - 2 p t.
    near = ~below & (Q < 0.5)
    target = np.where(near, _log_excess(q) - elapsed, -1.0)
    Q = np.where(near & (Q < 0.05), np.sqrt(-2 * target), Q)
    for _ in range(4):
        Q = Q + np.where(near, (_log_excess(Q) - target) * (1 - Q) / np.where(near, Q, 1.0), 0.0)
    x = np.where(below, 1 / (1 + W), 1 / Q)
    return (np.where(w == 0, 1.0, x) ** (1 / p))[()]


def euclidean_iso(mu0: Numbers, t: Numbers, p: float) -> Numbers:
    """The eigenvalue at time t of mu' = 2 mu (1 - mu^p), the toy setting with IsoLoss: mu^p is a logistic curve.

    mu^p = 1 / (1 + (mu0^-p - 1) exp(-2 p t)). ``mu0`` > 0, ``t`` >= 0 broadcast, ``p`` > 0; ``ValueError`` otherwise.
    Source: Halvagal et al. (2023).
    """
    mu0, t, p = _start(mu0, t, p)
    return ((1 + (mu0**-p - 1) * np.exp(-2 * p * t)) ** (-1 / p))[()]


def euclidean_wrong(mu0: Numbers, t: Numbers, p: float, noise: float = 0.0) -> Numbers:
    """The eigenvalue at time t of mu' = 2 mu (mu^p - c), c = 1 + noise^2: the stop-gradient on the wrong side.

    1/mu^p = 1/c + (1/mu0^p - 1/c) exp(2 p c t): collapse from mu0^p < c, and from above blow-up at the time
    -ln(1 - c / mu0^p) / (2 p c), from which on the result is inf. Raises ``ValueError`` on bad input. Ours.
    """
    mu0, t, p = _start(mu0, t, p)
    c = 1 + _validate.scalar("noise", noise, _validate.nonnegative) ** 2
    with np.errstate(over="ignore", divide="ignore"):
        y = 1 / c + (mu0**-p - 1 / c) * np.exp(2 * p * c * t)
        return np.where(y > 0, np.abs(y) ** (-1 / p), np.inf)[()]


def euclidean_none_time(mu0: Numbers, mu: Numbers, p: float, noise: float) -> Numbers:
    """The time that mu' = -2 mu [(1 - mu^p)^2 + noise^2], no stop-gradient, takes from mu0 down to mu.

    With x = mu^p it is 1 / (2 p (1 + noise^2)) times what ln x - ln((1 - x)^2 + noise^2) / 2 + arctan((x - 1) / noise)
    / noise loses on the way. The passage of x = 1 takes about pi / (2 p noise); without noise it never ends (inf).
    Raises ``ValueError`` unless 0 < mu <= mu0, p > 0. Ours.
    """
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

    With IsoLoss ln(w) / (2 p). For small mu0 that is about mu0^(-p) / (2 p) against ln(1 / mu0) / 2: the effective
    learning rate of a small mode is mu^p. Raises ``ValueError`` if mu0^p > 1/2. Ours.
    """
    mu0, _, p = _start(mu0, 0.0, p)
    w = mu0**-p - 1
    if (w < 1 - 1e-12).any():
        raise ValueError("mu0^p must not exceed 1/2")
    return ((np.log(w) + (0.0 if iso else w - 1)) / (2 * p))[()]
