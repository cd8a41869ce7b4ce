r"""The loss of a linear network of two layers, free, with a penalty, and divided by the spectral norms of its weights.

    L(W_1, W_2) = tr(q^T Gamma q),  q = W_1^T W_2,        the scaled loss:  L / (|W_1|_2^2 |W_2|_2^2)

W_1 is h x m and W_2 is h x n, and |.|_2 is the largest singular value. L is homogeneous of degree four in the weights,
the scaled loss of degree zero in each of them.

Source: Esser, Mukherjee, Ghoshdastidar (arXiv 2309.02011), Proposition 3 and Example 1. The blow-up times are ours.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.contrast import linear_loss
from ssltheory.orthogonal_flow import network_gradients
from ssltheory.unconstrained import blow_up_bound

__all__ = [
    "BlowUp",
    "ScaledDescent",
    "blow_up",
    "descend_penalised",
    "descend_scaled",
    "penalised_minimum",
    "scalar_blow_up",
    "scaled_gradients",
    "scaled_loss",
]


class BlowUp(NamedTuple):
    """The time at which weights become infinite lies between ``low`` and ``high``; ``bound`` is what the start tells.

    ``times`` (T,) and ``loss`` (T,) follow the flow to ``low``, ``norm`` (T,) is |W_1|_F^2 + |W_2|_F^2.
    """

    low: float
    high: float
    bound: float
    times: Float[np.ndarray, " T"]
    loss: Float[np.ndarray, " T"]
    norm: Float[np.ndarray, " T"]


class ScaledDescent(NamedTuple):
    """Kept states of a descent: the scaled ``loss``, ``q`` divided by the same norms, and the last weights."""

    loss: Float[np.ndarray, "T *batch"]
    q: Float[np.ndarray, "T *batch m n"]
    W1: Float[np.ndarray, "*batch h m"]
    W2: Float[np.ndarray, "*batch h n"]


def scaled_loss(
    W1: Float[np.ndarray, "*batch h m"], W2: Float[np.ndarray, "*batch h n"], gamma: Float[np.ndarray, "m m"]
) -> Float[np.ndarray, "*batch"]:
    """The loss divided by the squared spectral norms of both weights; unchanged when either is multiplied by a number.

    Raises ``ValueError`` for shapes that do not fit or a weight that is zero.
    """
    W1, W2, _ = _weights(W1, W2, gamma)
    return linear_loss(_direction(W1, W2), gamma)


def scaled_gradients(
    W1: Float[np.ndarray, "*batch h m"], W2: Float[np.ndarray, "*batch h n"], gamma: Float[np.ndarray, "m m"]
) -> tuple[Float[np.ndarray, "*batch h m"], Float[np.ndarray, "*batch h n"]]:
    r"""The gradients of the scaled loss l by the weights, where their top singular values are simple.

    .. math:: \nabla_{W_k} l = \frac{G_k}{|W_1|_2^2 |W_2|_2^2} - \frac{2\, l}{|W_k|_2}\, u_k v_k^\top

    with G_k the gradient of the loss and u_k, v_k the top singular vectors of W_k. Orthogonal to W_k. Where the top
    singular value is multiple the loss has a kink, and one element of its (Clarke) gradient is returned. Raises
    ``ValueError`` as :func:`scaled_loss`.
    """
    W1, W2, gamma = _weights(W1, W2, gamma)
    sizes, tops = [], []
    for W in (W1, W2):
        left, values, right = np.linalg.svd(W, full_matrices=False)
        sizes.append(values[..., 0])
        tops.append(left[..., :, 0, None] * right[..., None, 0, :] / values[..., 0, None, None])
    scale = (sizes[0] * sizes[1])[..., None, None] ** 2
    loss = linear_loss(W1.mT @ W2, gamma)[..., None, None] / scale
    first, second = network_gradients(W1, W2, gamma)
    return first / scale - 2 * loss * tops[0], second / scale - 2 * loss * tops[1]


def descend_scaled(
    W1: Float[np.ndarray, "*batch h m"],
    W2: Float[np.ndarray, "*batch h n"],
    gamma: Float[np.ndarray, "m m"],
    *,
    step: float,
    steps: int,
    every: int = 1,
    decay: float = 0.0,
) -> ScaledDescent:
    """Descend the scaled loss by plain gradient steps, W <- W - step_k gradient; no constraint is imposed.

    ``step_k`` = ``step`` / sqrt(1 + ``decay`` k). With ``decay`` = 0 too the steps shrink, measured on the weights,
    which they lengthen: near a kink like the root of k. Raises ``ValueError`` as :func:`scaled_loss`, for ``step``
    <= 0, ``decay`` < 0 or counts below 1.
    """
    step = _validate.scalar("step", step, _validate.positive)
    decay = _validate.scalar("decay", decay, _validate.nonnegative)
    steps, every = _validate.count("steps", steps), _validate.count("every", every)
    W1, W2, gamma = _weights(W1, W2, gamma)
    states = [_direction(W1, W2)]
    for k in range(1, steps + 1):
        first, second = scaled_gradients(W1, W2, gamma)
        eta = step / np.sqrt(1 + decay * (k - 1))
        W1, W2 = W1 - eta * first, W2 - eta * second
        if k % every == 0:
            states.append(_direction(W1, W2))
    q = np.stack(states)
    return ScaledDescent(linear_loss(q, gamma), q, W1, W2)


def blow_up(
    W1: Float[np.ndarray, "h m"],
    W2: Float[np.ndarray, "h n"],
    gamma: Float[np.ndarray, "m m"],
    *,
    growth: float = 1e12,
    samples: int = 200,
) -> BlowUp:
    r"""Follow the unconstrained gradient flow of both weights to its end in finite time.

    With N = |W_1|_F^2 + |W_2|_F^2 and a loss L(0) < 0 the weights are infinite at a time T with

    .. math:: T - t \le \frac{N(t)}{8\, |L(t)|} \quad \text{at each time } t < T .

    The flow is integrated in the time s, ds = N dt, until N has grown by the factor ``growth``; then this bound
    encloses T. Raises ``ValueError`` for a start whose loss is not negative, or shapes that do not fit. Ours.
    """
    from scipy.integrate import solve_ivp

    W1, W2, gamma = _weights(W1, W2, gamma)
    growth = _validate.scalar("growth", growth, _validate.positive)
    samples = _validate.count("samples", samples, 2)
    if W1.ndim != 2 or W2.ndim != 2:
        raise ValueError("blow_up takes one network, not a batch")
    loss = float(linear_loss(W1.mT @ W2, gamma))
    if not loss < 0:
        raise ValueError(f"the loss of the start must be negative; got {loss:.6g}")
    size, shapes = W1.size, (W1.shape, W2.shape)
    start_norm = float(np.sum(W1**2) + np.sum(W2**2))

    # State: the weights divided by their common norm, log N, and t.
    def velocity(s: float, state: np.ndarray) -> np.ndarray:
        U1, U2 = state[:size].reshape(shapes[0]), state[size:-2].reshape(shapes[1])
        G = np.concatenate([g.ravel() for g in network_gradients(U1, U2, gamma)])
        along = G @ state[:-2]
        return np.concatenate([-G + along * state[:-2], [-2 * along, np.exp(-state[-2])]])

    state = np.concatenate([W1.ravel(), W2.ravel()]) / np.sqrt(start_norm)
    state = np.concatenate([state, [np.log(start_norm), 0.0]])

    def grown(s: float, state: np.ndarray) -> float:
        return float(state[-2] - np.log(start_norm * growth))

    grown.terminal = True  # type: ignore[attr-defined]
    limit = 1.01 * np.log(growth) * start_norm**2 / (8 * -loss)
    run = solve_ivp(
        velocity, (0, limit), state, method="DOP853", rtol=1e-11, atol=1e-13, events=grown, dense_output=True
    )
    states = run.sol(np.linspace(0, run.t[-1], samples)).T
    norm = np.exp(states[:, -2])
    q = states[:, :size].reshape(-1, *shapes[0]).mT @ states[:, size:-2].reshape(-1, *shapes[1])
    losses = linear_loss(q, gamma) * norm**2
    low = float(states[-1, -1])
    high = low + blow_up_bound(norm[-1], losses[-1])
    return BlowUp(low, high, blow_up_bound(start_norm, loss), states[:, -1], losses, norm)


def scalar_blow_up(a: float, b: float, gamma: float) -> float:
    r"""The time T at which the weights a, b of one number each are infinite, for the loss gamma a^2 b^2, gamma < 0.

    .. math:: T = \frac{\operatorname{arcsinh}(|a^2 - b^2| / |2ab|)}{2\,|\gamma|\,|a^2 - b^2|}

    and 1 / (4 |gamma| a^2) if |a| = |b|. Raises ``ValueError`` for gamma >= 0 or a product that is zero. Ours.
    """
    a, b, gamma = (_validate.scalar(name, value) for name, value in (("a", a), ("b", b), ("gamma", gamma)))
    if gamma >= 0 or a * b == 0:
        raise ValueError(f"need gamma < 0 and a b != 0; got gamma = {gamma:.6g}, a b = {a * b:.6g}")
    gap, product = abs(a * a - b * b), 2 * abs(a * b)
    ratio = gap / product
    return (float(np.arcsinh(ratio)) / ratio if ratio > 1e-8 else 1.0) / (2 * -gamma * product)


def penalised_minimum(gamma: Float[np.ndarray, " m"], n: int, mu: float) -> tuple[float, Float[np.ndarray, " r"]]:
    r"""The least value of L + mu (|W_1^T W_1 - I|_F^2 + |W_2^T W_2 - I|_F^2), and the singular values of q there.

    .. math:: \sum_{i \le \min(k, n)} \frac{2\mu\, \gamma_i}{2\mu + \gamma_i}, \qquad
              s_i = \frac{2\mu}{2\mu + \gamma_i} > 1

    for k negative eigenvalues and a width of at least m + n - min(k, n). Raises ``ValueError`` for
    2 mu <= |gamma_1|, where there is no minimum if gamma_1 < 0. Ours.
    """
    gamma = np.sort(_validate.shaped("gamma", gamma, ("m",)))
    mu, n = _validate.scalar("mu", mu, _validate.positive), _validate.count("n", n)
    if 2 * mu + gamma[0] <= 0:
        raise ValueError(f"mu must exceed half of |gamma_1|, {-gamma[0] / 2:.6g}, or there is no minimum; got {mu:.6g}")
    kept = gamma[:n][gamma[:n] < 0]
    singular = np.zeros(min(n, len(gamma)))
    singular[: len(kept)] = 2 * mu / (2 * mu + kept)
    return float((singular[: len(kept)] * kept).sum()), singular


def descend_penalised(
    W1: Float[np.ndarray, "*batch h m"],
    W2: Float[np.ndarray, "*batch h n"],
    gamma: Float[np.ndarray, "m m"],
    mu: float,
    *,
    step: float,
    steps: int,
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch h m"], Float[np.ndarray, "*batch h n"]]:
    """Descend L + mu (|W_1^T W_1 - I|_F^2 + |W_2^T W_2 - I|_F^2) by gradient steps; its value, and the weights.

    Raises ``ValueError`` as :func:`scaled_loss`, for ``mu`` or ``step`` <= 0 or ``steps`` < 1.
    """
    mu = _validate.scalar("mu", mu, _validate.positive)
    step, steps = _validate.scalar("step", step, _validate.positive), _validate.count("steps", steps)
    W1, W2, gamma = _weights(W1, W2, gamma)
    one, two = np.eye(W1.shape[-1]), np.eye(W2.shape[-1])
    for _ in range(steps):
        first, second = network_gradients(W1, W2, gamma)
        first = first + 4 * mu * W1 @ (W1.mT @ W1 - one)
        second = second + 4 * mu * W2 @ (W2.mT @ W2 - two)
        W1, W2 = W1 - step * first, W2 - step * second
    penalty = sum(np.sum((W.mT @ W - eye) ** 2, axis=(-2, -1)) for W, eye in ((W1, one), (W2, two)))
    return linear_loss(W1.mT @ W2, gamma) + mu * penalty, W1, W2


def _weights(W1: np.ndarray, W2: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gamma = _validate.symmetric("gamma", _validate.shaped("gamma", gamma, ("m", "m")))
    W1 = _validate.shaped("W1", W1, ("h", len(gamma)), batched=True)
    W2 = _validate.shaped("W2", W2, (W1.shape[-2], "n"), batched=True)
    for name, W in (("W1", W1), ("W2", W2)):
        if not W.size or not np.any(W != 0, axis=(-2, -1)).all():
            raise ValueError(f"{name} must not be zero: its spectral norm divides the loss")
    return W1, W2, gamma


def _direction(W1: np.ndarray, W2: np.ndarray) -> np.ndarray:
    sizes = np.linalg.norm(W1, 2, axis=(-2, -1)) * np.linalg.norm(W2, 2, axis=(-2, -1))
    return W1.mT @ W2 / sizes[..., None, None]
