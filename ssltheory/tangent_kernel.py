r"""The tangent kernel of a network of two layers and several outputs, at the start and while a dot-product loss trains.

    f(x) = c W_2^T phi(W_1 x)
    <grad f_k(x), grad f_j(x')> = c^2 [ delta_kj phi(W_1 x).phi(W_1 x')
                                        + sum_a W_2ak W_2aj phi'(u_a) phi'(u'_a) x.x' ],    u = W_1 x

The first term is that of the last layer, the second that of the first. Components are independent if the blocks k != j
vanish. Run as a module it trains networks of many widths and records when they leave their first kernel:

    python -m ssltheory.tangent_kernel

Sources: Jacot, Gabriel, Hongler (2018); Esser, Mukherjee, Ghoshdastidar (arXiv 2309.02011), Lemma 1.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.contrast import moon_triples
from ssltheory.records import data_path, progress, write_record
from ssltheory.stiefel import random_frame
from ssltheory.unconstrained import pairing_matrix

__all__ = [
    "Activation",
    "Law",
    "Layer",
    "centred_moons",
    "departure",
    "diagonal_spread",
    "draw_weights",
    "negative_rates",
    "network_codes",
    "off_diagonal_share",
    "tangent_blocks",
    "train_regression",
]

Activation = Literal["linear", "relu", "tanh"]
Law = Literal["gaussian", "frames"]
"""How weights are drawn: independent standard normal with c = h^{-1/2}, or uniform frames with c = 1."""
Layer = Literal["first", "last", "both"]

THRESHOLDS = {"linear": (0.1, 1.0, 10.0), "relu": (0.1, 1.0, 10.0), "tanh": (0.1, 1.0)}
"""Relative changes of the kernel; under tanh hidden units saturate, and it hardly grows beyond twice its size."""
WIDTHS = (32, 64, 128, 256, 512, 1024, 2048)
SEEDS = {"relu": tuple(range(8)), "tanh": tuple(range(24))}
"""Under tanh the thinness at departure varies more from seed to seed: eight left its slope undecided."""
SETTINGS: tuple[tuple[Law, Activation], ...] = (("gaussian", "relu"), ("gaussian", "tanh"), ("frames", "relu"))


def draw_weights(
    rng: np.random.Generator, h: int, m: int, n: int, law: Law, batch: tuple[int, ...] = ()
) -> tuple[Float[np.ndarray, "*batch h m"], Float[np.ndarray, "*batch h n"], float]:
    """Draw W_1, W_2 and give the factor c. Raises ``ValueError`` for another law, counts < 1, frames wider than h."""
    _validate.one_of("law", law, get_args(Law))
    if law == "frames":
        return random_frame(rng, h, m, batch), random_frame(rng, h, n, batch), 1.0
    h, m, n = (_validate.count(k, v) for k, v in (("h", h), ("m", m), ("n", n)))
    return rng.standard_normal((*batch, h, m)), rng.standard_normal((*batch, h, n)), h**-0.5


def network_codes(
    W1: Float[np.ndarray, "*batch h m"],
    W2: Float[np.ndarray, "*batch h n"],
    x: Float[np.ndarray, "P m"],
    activation: Activation,
    scale: float = 1.0,
) -> Float[np.ndarray, "*batch P n"]:
    """The codes c W_2^T phi(W_1 x), one in a row. Raises ``ValueError`` for shapes or another activation."""
    W1, W2, x = _network(W1, W2, x, activation)
    return scale * (_phi(x @ W1.mT, activation)[0] @ W2)


def tangent_blocks(
    W1: Float[np.ndarray, "*batch h m"],
    W2: Float[np.ndarray, "*batch h n"],
    x: Float[np.ndarray, "P m"],
    activation: Activation,
    scale: float = 1.0,
    *,
    layer: Layer = "both",
) -> Float[np.ndarray, "*batch n n P P"]:
    """All inner products <grad f_k(x), grad f_j(x')>, at [k, j, x, x']; of one layer's weights alone if asked.

    Raises ``ValueError`` for shapes that do not fit, another activation or layer.
    """
    _validate.one_of("layer", layer, get_args(Layer))
    W1, W2, x = _network(W1, W2, x, activation)
    value, slope = _phi(x @ W1.mT, activation)
    n = W2.shape[-1]
    blocks = np.zeros((*W2.shape[:-2], n, n, len(x), len(x)))
    if layer != "last":
        # (..., n, P, h): the derivative of each output by each hidden unit's input
        down = slope[..., None, :, :] * W2.mT[..., :, None, :]
        blocks += np.einsum("...kph,...jqh->...kjpq", down, down, optimize=True) * (x @ x.T)
    if layer != "first":
        gram = value @ value.mT
        for k in range(n):
            blocks[..., k, k, :, :] += gram
    return scale**2 * blocks


def off_diagonal_share(blocks: Float[np.ndarray, "*batch n n P P"]) -> Float[np.ndarray, "*batch"]:
    """Root mean square of the entries of the blocks k != j, over that of the blocks k = k.

    Raises ``ValueError`` for fewer than two outputs.
    """
    blocks = _validate.shaped("blocks", blocks, ("n", "n", "P", "P"), batched=True)
    n = blocks.shape[-4]
    if n < 2 or blocks.shape[-3] != n:
        raise ValueError(f"blocks has shape {blocks.shape}; need (..., n, n, P, P) with n >= 2")
    squares = np.square(blocks).sum(axis=(-2, -1))
    own = np.trace(squares, axis1=-2, axis2=-1)
    others = (squares * (1 - np.eye(n))).sum(axis=(-2, -1))
    return np.sqrt(others / (n - 1) / own)


def diagonal_spread(blocks: Float[np.ndarray, "S n n P P"]) -> tuple[float, float]:
    """How far the blocks k = k of S networks are from being one kernel: within a network, and from one to the next.

    The first is the root mean square of a block minus the mean block of its network, the second that of a mean block
    minus the mean of all; both over the size of the mean of all. Raises ``ValueError`` for another shape.
    """
    blocks = _validate.shaped("blocks", blocks, ("S", "n", "n", "P", "P"))
    own = np.einsum("skkpq->skpq", blocks)
    each = own.mean(axis=1)
    size = np.sqrt(np.mean(np.square(each.mean(axis=0))))
    within, between = own - each[:, None], each - each.mean(axis=0)
    return float(np.sqrt(np.mean(within**2)) / size), float(np.sqrt(np.mean(between**2)) / size)


def negative_rates(K: Float[np.ndarray, "P P"], pairing: Float[np.ndarray, "P P"]) -> Float[np.ndarray, " P"]:
    """The eigenvalues of K B in ascending order: codes under the kernel K grow as exp(-2 t) to their power.

    They are those of the contrast matrix in feature space, and as many are negative as B has negative eigenvalues if K
    is positive definite (Sylvester). Raises ``ValueError`` for shapes or a K that is no kernel matrix.
    """
    K = _validate.positive_semidefinite("K", _validate.shaped("K", K, ("P", "P")))
    B = _validate.symmetric("pairing", _validate.shaped("pairing", pairing, K.shape))
    values, V = np.linalg.eigh(K)
    R = (V * np.sqrt(np.clip(values, 0, None))) @ V.T
    middle = R @ B @ R
    return np.linalg.eigvalsh((middle + middle.T) / 2)


def departure(
    W1: Float[np.ndarray, "h m"],
    W2: Float[np.ndarray, "h n"],
    views: Float[np.ndarray, "P m"],
    pairing: Float[np.ndarray, "P P"],
    activation: Activation,
    scale: float,
    *,
    thresholds: Sequence[float],
    rate: float,
    resolution: float = 0.05,
    probes: int = 12,
) -> list[dict[str, float]]:
    """Train both layers on tr(F^T B F) and say when the tangent kernel has changed by each relative amount.

    The gradient flow is followed by the classical method of Runge and Kutta, steps ``resolution`` / (2 ``rate``),
    shortened in the proportion in which the kernel grows; ``rate`` is the largest growth rate at the start. For each
    threshold: ``time`` (where the change passes it, between two steps by interpolation of its logarithm), and at the
    end of that step ``ratio``, second over first singular value of the codes of all views, ``off``, the off-diagonal
    share of the kernel, ``growth``, the size of the codes over that at the start, ``loss``, and ``weights``, the sum of
    their squares. The kernel is watched on every (P / ``probes``)-th view.

    Raises ``ValueError`` for shapes that do not fit, numbers that are not positive, or thresholds that do not ascend.
    """
    W1, W2, views = _network(W1, W2, views, activation)
    B = _validate.symmetric("pairing", _validate.shaped("pairing", pairing, (len(views), len(views))))
    rate, resolution = (
        _validate.scalar(k, v, _validate.positive) for k, v in (("rate", rate), ("resolution", resolution))
    )
    goals = list(_validate.positive("thresholds", thresholds))
    if sorted(goals) != goals:
        raise ValueError(f"thresholds must ascend; got {thresholds}")
    watched = views[:: max(1, len(views) // probes)]

    def velocity(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slope = _phi(views @ a.T, activation)
        force = 2 * scale * (B @ (scale * (value @ b)))
        return -((force @ b.T) * slope).T @ views, -value.T @ force

    first = tangent_blocks(W1, W2, watched, activation, scale)
    size = np.linalg.norm(first)
    begin = np.linalg.norm(network_codes(W1, W2, views, activation, scale))
    found: list[dict[str, float]] = []
    now, change, before = 0.0, 0.0, 0.0
    a, b = W1, W2
    while goals:
        step = resolution / (2 * rate * (1 + change))
        k1 = velocity(a, b)
        k2 = velocity(a + step / 2 * k1[0], b + step / 2 * k1[1])
        k3 = velocity(a + step / 2 * k2[0], b + step / 2 * k2[1])
        k4 = velocity(a + step * k3[0], b + step * k3[1])
        a = a + step / 6 * (k1[0] + 2 * k2[0] + 2 * k3[0] + k4[0])
        b = b + step / 6 * (k1[1] + 2 * k2[1] + 2 * k3[1] + k4[1])
        blocks = tangent_blocks(a, b, watched, activation, scale)
        before, change = change, float(np.linalg.norm(blocks - first) / size)
        while goals and change >= goals[0]:
            part = np.log(goals[0] / before) / np.log(change / before)
            codes = network_codes(a, b, views, activation, scale)
            sigma = np.linalg.svd(codes, compute_uv=False)
            found.append(
                {
                    "time": float(now + part * step),
                    "ratio": float(sigma[1] / sigma[0]),
                    "off": float(off_diagonal_share(blocks)),
                    "growth": float(np.linalg.norm(codes) / begin),
                    "loss": float(np.sum(codes * (B @ codes))),
                    "weights": float(np.sum(a * a) + np.sum(b * b)),
                }
            )
            goals.pop(0)
        now += step
    return found


def train_regression(
    W1: Float[np.ndarray, "h m"],
    W2: Float[np.ndarray, "h n"],
    x: Float[np.ndarray, "N m"],
    targets: Float[np.ndarray, "N n"],
    activation: Activation,
    scale: float,
    *,
    both: bool = True,
    steps: int = 200,
    step: float = 0.2,
) -> Float[np.ndarray, "N n"]:
    """Descend the squared error mean_i |f(x_i) - y_i|^2 by plain gradient steps, and return the outputs.

    ``both``: of both layers; else of W_2 alone, a kernel machine with the hidden units as its features. Raises
    ``ValueError`` for shapes that do not fit, another activation, counts below 1 or a step <= 0.
    """
    W1, W2, x = _network(W1, W2, x, activation)
    targets = _validate.shaped("targets", targets, (len(x), W2.shape[-1]))
    steps, step = _validate.count("steps", steps), _validate.scalar("step", step, _validate.positive)
    for _ in range(steps):
        value, slope = _phi(x @ W1.T, activation)
        error = (scale * (value @ W2) - targets) * (2 * scale / len(x))
        change = ((error @ W2.T) * slope).T @ x if both else 0.0
        W1, W2 = W1 - step * change, W2 - step * value.T @ error
    return network_codes(W1, W2, x, activation, scale)


def centred_moons(seed: int, count: int = 20) -> Float[np.ndarray, "P 2"]:
    """Half moons about their mean: anchors, positives and negatives below each other, for :func:`pairing_matrix`."""
    x, positive, negative, _ = moon_triples(np.random.default_rng(seed), count)
    return np.concatenate([x, positive, negative]) - x.mean(axis=0)


def train_one(law: Law, activation: Activation, h: int, seed: int, n: int = 3) -> dict[str, Any]:
    """Train one network of the record and return its row: two of its growth rates, and :func:`departure`."""
    views = centred_moons(0)
    B = pairing_matrix(len(views) // 3)
    W1, W2, scale = draw_weights(np.random.default_rng([seed, h]), h, views.shape[1], n, law)
    K = tangent_blocks(W1, W2, views, activation, scale)
    mean = np.trace(K, axis1=0, axis2=1) / n
    rates = negative_rates(mean, B)
    events = departure(W1, W2, views, B, activation, scale, thresholds=THRESHOLDS[activation], rate=-2 * rates[0])
    start: dict[str, Any] = {"off": float(off_diagonal_share(K)), "rates": [float(-2 * r) for r in rates[:2]]}
    sigma = np.linalg.svd(network_codes(W1, W2, views, activation, scale), compute_uv=False)
    start["ratio"] = float(sigma[1] / sigma[0])
    return {"law": law, "activation": activation, "h": h, "seed": seed, **start, "events": events}


def _phi(u: np.ndarray, activation: Activation) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of the activation."""
    if activation == "linear":
        return u, np.ones_like(u)
    if activation == "relu":
        return np.maximum(u, 0.0), (u > 0).astype(float)
    value = np.tanh(u)
    return value, 1 - value**2


def _network(
    W1: np.ndarray, W2: np.ndarray, x: np.ndarray, activation: Activation
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _validate.one_of("activation", activation, get_args(Activation))
    W1 = _validate.shaped("W1", W1, ("h", "m"), batched=True)
    W2 = _validate.shaped("W2", W2, (W1.shape[-2], "n"), batched=True)
    return W1, W2, _validate.shaped("x", x, ("P", W1.shape[-1]))


def main() -> None:
    """Train the networks of the record, and write it."""
    begin = time.perf_counter()
    jobs = [(law, phi, h, seed) for law, phi in SETTINGS for h in WIDTHS for seed in SEEDS[phi]]
    rows = [train_one(*job) for job in progress(jobs, "networks")]
    path = data_path("run-times").with_name("tangent_kernel.json")
    command = "python -m ssltheory.tangent_kernel"
    write_record(path, rows, command=command, seconds=time.perf_counter() - begin, packages=("numpy", "scipy"))
    print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
