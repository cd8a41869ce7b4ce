r"""A code of one number, n = 1: the constrained flows in closed form, for every Gamma and every start of a network.

q is a vector in the eigenvectors of Gamma. With x = |q|^2, L = q^T Gamma q and omega = 0, 1, 2 for three projections,

    q_j' = [-(4 - (2 - omega) x) gamma_j + (2 + omega) L] q_j,        x' = -8 L (1 - x).

In the clock s with ds = (4 - (2 - omega) x) dt the direction of q is that of exp(-Gamma s) q(0), and the length follows
from the first integral x (1 - x)^{-a} / |exp(-Gamma s) q(0)|^2 with a = (2 + omega) / 4. Ours, except for the flow at
omega = 0 and its single mode: Esser, Mukherjee, Ghoshdastidar (arXiv 2309.02011), equation (10).
"""

import numpy as np
from jaxtyping import Float

from ssltheory import _validate

__all__ = ["single_clock", "single_limit", "single_mode", "single_solution", "squared_norm"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_SPHERE = 1e-12


def single_mode(q0: float, gamma: float, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    r"""One mode alone, m = n = 1, where the projections agree: a logistic curve in q^2.

    .. math:: q(t)^2 = \frac{1}{1 + (1/q_0^2 - 1)\, e^{8\gamma t}}

    Raises ``ValueError`` for |q0| > 1, which is no network, or times that are negative. Source: equation (10).
    """
    q0, gamma = _validate.scalar("q0", q0), _validate.scalar("gamma", gamma)
    if abs(q0) > 1:
        raise ValueError(f"q0 must be between -1 and 1; got {q0:.6g}")
    times = _validate.nonnegative("times", times)
    if q0 == 0:
        return np.zeros_like(times)
    exponent = np.minimum(8 * gamma * times, 1400.0)
    return np.sign(q0) / np.sqrt(1 + (1 / q0**2 - 1) * np.exp(np.minimum(exponent, 700.0)))


def squared_norm(
    q0: Float[np.ndarray, " m"], gamma: Float[np.ndarray, " m"], clock: Float[np.ndarray, "*batch"], rotation: float
) -> Float[np.ndarray, "*batch"]:
    r"""x = |q|^2 when the clock shows s: the root in [0, 1) of the first integral.

    .. math:: \frac{x}{(1 - x)^a} = \frac{\sum_j q_j(0)^2 e^{-2 \gamma_j s}}{(1 - |q(0)|^2)^a}

    with a = (2 + omega) / 4, and x = 1 for a start on the unit sphere, which we take to be |1 - |q(0)|^2| <= 1e-12.
    Raises ``ValueError`` as :func:`single_solution`.
    """
    q0, gamma, rotation = _checked(q0, gamma, rotation)
    clock = _validate.finite("clock", clock)
    return _norm(q0, gamma, clock, rotation)[0]


def single_clock(
    q0: Float[np.ndarray, " m"], gamma: Float[np.ndarray, " m"], times: Float[np.ndarray, " T"], rotation: float
) -> Float[np.ndarray, " T"]:
    r"""The clock s(t), from t = \int_0^s d\sigma / (4 - (2 - \omega) x(\sigma)).

    It is 4 t for omega = 2 and (2 + omega) t on the sphere; otherwise the integral is taken by Gauss and Legendre on
    short pieces, and inverted by Newton, both to rounding. Raises ``ValueError`` as :func:`single_solution`.
    """
    q0, gamma, rotation = _checked(q0, gamma, rotation)
    times = np.atleast_1d(_validate.nonnegative("times", times))
    if times.ndim != 1 or not times.size:
        raise ValueError(f"times has shape {times.shape}; need (T,)")
    if rotation == 2:
        return 4 * times
    if abs(1 - q0 @ q0) <= _SPHERE:
        return (2 + rotation) * times

    def pace(s: np.ndarray) -> np.ndarray:
        return 4 - (2 - rotation) * _norm(q0, gamma, s, rotation)[0]

    end, scale = 4 * times.max() or 1.0, max(np.abs(gamma).max(), 1e-300)
    pieces = max(int(np.ceil(2 * scale * end)), 1)
    edges = np.linspace(0.0, end, pieces + 1)
    width = edges[1]
    nodes = edges[:-1, None] + width * (1 + _NODES) / 2
    spent = np.concatenate([[0.0], np.cumsum((_WEIGHTS / pace(nodes)).sum(axis=1) * width / 2)])
    place = np.clip(np.searchsorted(spent, times, side="right") - 1, 0, pieces - 1)
    base, rest = edges[place], times - spent[place]
    reach = rest * pace(base)
    for _ in range(50):
        inside = base[:, None] + reach[:, None] * (1 + _NODES) / 2
        step = ((_WEIGHTS / pace(inside)).sum(axis=1) * reach / 2 - rest) * pace(base + reach)
        reach = reach - step
        if np.abs(step).max() <= 1e-15 * max(width, 1.0):
            break
    return base + reach


def single_solution(
    q0: Float[np.ndarray, " m"], gamma: Float[np.ndarray, " m"], times: Float[np.ndarray, " T"], rotation: float
) -> Float[np.ndarray, "T m"]:
    r"""The solution q(t) of the flow with n = 1.

    .. math:: q = \sqrt{x(s)}\; \frac{e^{-\Gamma s} q(0)}{|e^{-\Gamma s} q(0)|}, \qquad s = s(t)

    For omega = 2, q(t) = e^{-4 Gamma t} q(0) / (1 - |q(0)|^2 + |e^{-4 Gamma t} q(0)|^2)^{1/2}.

    Args:
        q0: start, in the eigenvectors of Gamma, |q0| <= 1.
        gamma: eigenvalues, in any order.
        times: t >= 0.
        rotation: omega in [0, 2]; ``stiefel.ROTATION`` names 0, 1 and 2.

    Raises ``ValueError`` for shapes that do not fit, |q0| > 1 (no network), negative times or another rotation. Ours.
    """
    q0, gamma, rotation = _checked(q0, gamma, rotation)
    clock = single_clock(q0, gamma, times, rotation)
    x, logs = _norm(q0, gamma, clock, rotation)
    if not q0.any():
        return np.zeros((len(clock), len(q0)))
    shape = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.sqrt(x)[:, None] * np.sign(q0) * shape / np.linalg.norm(shape, axis=-1, keepdims=True)


def single_limit(
    q0: Float[np.ndarray, " m"], gamma: Float[np.ndarray, " m"], rotation: float
) -> Float[np.ndarray, " m"]:
    r"""Where the flow with n = 1 ends: Theorem 3 in all its cases.

    Let g be the smallest eigenvalue in whose eigenspace q(0) has a component, and p that component. Then q tends to
    p / |p| if g < 0 or |q(0)| = 1; to 0 if g > 0 and |q(0)| < 1; and if g = 0 to p / |p| times the root of
    x (1 - x)^{-a} = |p|^2 (1 - |q(0)|^2)^{-a}. Eigenvalues within 1e-12 of the largest count as equal.

    Raises ``ValueError`` as :func:`single_solution`. Source: Theorem 3 for the first two cases; the rest is ours.
    """
    q0, gamma, rotation = _checked(q0, gamma, rotation)
    if not q0.any():
        return np.zeros_like(q0)
    tiny = 1e-12 * np.abs(gamma).max()
    least = gamma[q0 != 0].min()
    part = np.where(np.abs(gamma - least) <= tiny, q0, 0.0)
    length = np.linalg.norm(part)
    if least < -tiny or abs(1 - q0 @ q0) <= _SPHERE:
        return part / length
    if least > tiny:
        return np.zeros_like(q0)
    x = _norm(part, np.zeros_like(gamma), np.zeros(()), rotation, room=1 - q0 @ q0)[0]
    return part / length * np.sqrt(float(x))


def _norm(
    q0: np.ndarray, gamma: np.ndarray, clock: np.ndarray, rotation: float, room: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """x and the logarithms of the entries of exp(-Gamma s) |q0|; ``room`` is 1 - |q(0)|^2."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(q0)) - gamma * np.asarray(clock)[..., None]
    if not q0.any():
        return np.zeros(np.shape(clock)), logs
    room = 1 - float(q0 @ q0) if room is None else room
    if abs(room) <= _SPHERE:
        return np.ones(np.shape(clock)), logs
    a = (2 + rotation) / 4
    goal = np.logaddexp.reduce(2 * logs, axis=-1) - a * np.log(room)
    # y = log(x / (1 - x)) makes the left side a concave increasing function with slopes between a and 1.
    y = np.minimum(goal, goal / a)
    for _ in range(100):
        low, high = np.logaddexp(0, -y), np.logaddexp(0, y)
        step = (goal + low - a * high) / (np.exp(-high) + a * np.exp(-low))
        y = y + step
        if (np.abs(step) <= 1e-15 * (1 + np.abs(y))).all():
            break
    return np.exp(-np.logaddexp(0, -y)), logs


def _checked(q0: np.ndarray, gamma: np.ndarray, rotation: float) -> tuple[np.ndarray, np.ndarray, float]:
    gamma = _validate.shaped("gamma", gamma, ("m",))
    if not gamma.size:
        raise ValueError("gamma is empty; need at least one eigenvalue")
    q0 = _validate.shaped("q0", q0, gamma.shape)
    if q0 @ q0 > 1 + _SPHERE:
        raise ValueError(f"q0 must have norm at most 1, or no network has it; got {np.linalg.norm(q0):.6g}")
    rotation = _validate.scalar("rotation", rotation)
    if not 0 <= rotation <= 2:
        raise ValueError(f"rotation must be between 0 and 2; got {rotation:.6g}")
    return q0, gamma, rotation
