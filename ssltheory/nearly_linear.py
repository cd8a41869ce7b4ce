r"""How far a wide two-layer network with orthonormal weights is from the linear one, at the start and after training.

    f(x) = W_2^T phi(W_1 x),      W_1^T W_1 = I_m,  W_2^T W_2 = I_n,      against      W_2^T W_1 x

The rows of a uniform frame of width h have norm about sqrt(m / h), so each hidden unit sees a small number and phi acts
there as its linear part does. The module has the exact mean square of the gap at the start, the hand-written gradients
of the nonlinear network, its projected descent, and the sweep over widths whose results the book records:

    python -m ssltheory.nearly_linear sweep

Source of the question: Esser, Mukherjee, Ghoshdastidar (arXiv 2309.02011), Theorem 1, Conjecture 1 and Figure 2. The
exact constants and the answers are ours.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.contrast import contrast_matrix, digit_triples, moon_triples, sorted_eigen
from ssltheory.orthogonal_flow import flow_velocity, network_step, random_network
from ssltheory.records import progress, write_record
from ssltheory.stiefel import Tangent, polar_factor, tangent_part

__all__ = [
    "Activation",
    "GapCourse",
    "Trained",
    "activate",
    "bound_ratios",
    "coordinate_moment",
    "exponent",
    "gap_course",
    "gap_mean_square",
    "gap_scale",
    "lead_unit",
    "leading_gap",
    "localised_network",
    "mean_difference",
    "nonlinear_gradients",
    "recorded",
    "relative_gap",
    "remainder_size",
    "root_mean_square",
    "row_bound",
    "row_size",
    "settled_share",
    "shrunk_code",
    "slope_error",
    "train_network",
]

Activation = Literal["linear", "tanh", "relu", "sigmoid", "centred", "softplus", "steepening"]
"""Names of activations; :func:`activate` gives the formulas."""

WIDTHS = (10, 20, 50, 100, 200, 500, 1000, 2000)
# Activations of one network beyond which a batch is trained one network at a time: they then stay in the cache.
_ONE_BY_ONE = 60_000
SWEPT: tuple[Activation, ...] = ("tanh", "relu", "sigmoid", "centred", "softplus")


def activate(
    name: Activation, a: Float[np.ndarray, "*any"]
) -> tuple[Float[np.ndarray, "*any"], Float[np.ndarray, "*any"]]:
    """The activation phi(a) and its derivative, entry by entry.

    ``"linear"``: a. ``"tanh"``. ``"relu"``: max(a, 0), with derivative 0 at 0. ``"sigmoid"``: 1/(1 + e^-a).
    ``"centred"``: 4 (sigmoid(a) - 1/2) = 2 tanh(a/2). ``"softplus"``: 2 log((1 + e^a)/2), shifted and scaled so that
    phi(0) = 0, phi'(0) = 1; phi''(0) = 1/2. ``"steepening"``: 2 a - sin(a), odd, with phi''' (0) = 1.

    Raises ``ValueError`` for another name.
    """
    _validate.one_of("name", name, get_args(Activation))
    if name == "linear":
        return a, np.ones_like(a)
    if name == "tanh":
        value = np.tanh(a)
        return value, 1 - value * value
    if name == "relu":
        return np.maximum(a, 0.0), (a > 0).astype(float)
    if name == "steepening":
        return 2 * a - np.sin(a), 2 - np.cos(a)
    half = np.tanh(a / 2)
    if name == "centred":
        return 2 * half, 1 - half * half
    if name == "sigmoid":
        return 0.5 + 0.5 * half, 0.25 * (1 - half * half)
    # log((1 + e^a)/2) = a/2 + log cosh(a/2), and cosh^2 = 1/(1 - tanh^2)
    return a - np.log1p(-half * half), 1 + half


def coordinate_moment(h: int, k: int) -> float:
    r"""The moment E[s^(2k)] of a coordinate s of a uniform point of the unit sphere in R^h.

    .. math:: \mathbb E\, s^{2k} = \frac{1 \cdot 3 \cdots (2k - 1)}{h (h + 2) \cdots (h + 2k - 2)}

    Raises ``ValueError`` for h < 1 or k < 0.
    """
    h, k = _validate.count("h", h), _validate.count("k", k, 0)
    return float(np.prod([(2 * j + 1) / (h + 2 * j) for j in range(k)]))


def gap_mean_square(
    name: Activation, h: int, length: float, *, squared: Callable[[np.ndarray], np.ndarray] | None = None
) -> float:
    r"""The exact mean square of a component of the gap of a random network to its linear one, at |x| = length.

    .. math:: \mathbb E\,|W_2^\top(\varphi(W_1 x) - W_1 x)|^2 = n\; \mathbb E\,(\varphi(|x| s) - |x| s)^2

    for independent uniform frames, with s a coordinate of a uniform point of the unit sphere in R^h; this is the mean
    on the right. The linear output has the mean square n |x|^2 / h. ``squared`` replaces the square of phi(a) - a by
    another function of a. Raises ``ValueError`` for h < 2, a ``length`` <= 0, or another name.
    """
    from scipy.integrate import quad
    from scipy.special import gammaln

    _validate.one_of("name", name, get_args(Activation))
    h, length = _validate.count("h", h, 2), _validate.scalar("length", length, _validate.positive)

    def square(a: np.ndarray) -> np.ndarray:
        return (activate(name, a)[0] - a) ** 2 if squared is None else squared(a)

    # With s = sin(t) the density is proportional to cos(t)^(h-2); the even part has no kink at 0.
    scale = 2 * np.exp(gammaln(h / 2) - gammaln((h - 1) / 2)) / np.sqrt(np.pi)

    def integrand(t: float) -> float:
        a = np.array([length * np.sin(t), -length * np.sin(t)])
        return float(np.cos(t) ** (h - 2) * square(a).mean())

    end = min(np.pi / 2, 14 / np.sqrt(h))
    return float(scale * quad(integrand, 0.0, end, epsabs=0.0, epsrel=1e-12, limit=200)[0])


def leading_gap(second: float, third: float, length: float, h: int) -> float:
    r"""The leading term, for wide random networks, of the root mean square gap in units of the linear output.

    .. math:: \tfrac{\sqrt 3}{2}\,|\varphi''(0)|\,|x|\,h^{-1/2}, \quad\text{or, if } \varphi''(0) = 0, \quad
              \tfrac{\sqrt{15}}{6}\,|\varphi'''(0)|\,|x|^2\,h^{-1}

    ``second`` and ``third`` are phi''(0) and phi'''(0), ``length`` is |x|. Raises ``ValueError`` for a ``length`` <= 0
    or h < 1. Ours.
    """
    second, third = _validate.scalar("second", second), _validate.scalar("third", third)
    h, length = _validate.count("h", h), _validate.scalar("length", length, _validate.positive)
    if second:
        return float(np.sqrt(3) / 2 * abs(second) * length / np.sqrt(h))
    return float(np.sqrt(15) / 6 * abs(third) * length**2 / h)


def slope_error(name: Activation, reach: float) -> float:
    r"""The largest distance of the activation's slope from one near zero, eps of the chapter.

    .. math:: \max_{|a| \le \text{reach}} |\varphi'(a) - 1|

    over 2,001 equally spaced points. Raises ``ValueError`` for a ``reach`` <= 0 or another name.
    """
    reach = _validate.scalar("reach", reach, _validate.positive)
    return float(np.abs(activate(name, np.linspace(-reach, reach, 2001))[1] - 1).max())


def gap_scale(q0: float, e0: float, eps: float, mu: float, t: float) -> float:
    r"""What the chapter's theorem bounds the gap by at time t, up to a constant.

    .. math:: |q_0|\, e^{\mu \min(t, \ell/\mu)} \Bigl( \varepsilon\,(1 + t) + \frac{e_0}{|q_0|} \Bigr), \qquad
              \ell = \max\Bigl(0, \log\frac{1}{|q_0|}\Bigr)

    for the norm ``q0`` of q at the start, the mean remainder ``e0`` there, and mu = 4 |gamma_1|. Raises ``ValueError``
    unless ``q0`` and ``mu`` are positive and the others at least 0.
    """
    q0, mu = _validate.scalar("q0", q0, _validate.positive), _validate.scalar("mu", mu, _validate.positive)
    e0, eps, t = (
        _validate.scalar(name, value, _validate.nonnegative) for name, value in (("e0", e0), ("eps", eps), ("t", t))
    )
    growth = np.exp(min(mu * t, max(0.0, -np.log(q0))))
    return float(q0 * growth * (eps * (1 + t) + e0 / q0))


def row_size(W: Float[np.ndarray, "*batch h k"]) -> Float[np.ndarray, "*batch"]:
    """The largest norm of a row: how localised a frame is. It lies between sqrt(k / h) and 1.

    Raises ``ValueError`` for an array of fewer than two dimensions.
    """
    return np.linalg.norm(_validate.shaped("W", W, ("h", "k"), batched=True), axis=-1).max(axis=-1)


def row_bound(h: int, k: int, failure: float) -> float:
    r"""A bound that all rows of uniform frames with k columns in all obey, but for a probability ``failure``.

    .. math:: \rho^2 \le \frac{2k}{h} \log \frac{2 h k}{\text{failure}}

    Raises ``ValueError`` for counts below 1 or a ``failure`` outside (0, 1).
    """
    h, k = _validate.count("h", h), _validate.count("k", k)
    failure = _validate.scalar("failure", failure, _validate.positive)
    if failure >= 1:
        raise ValueError(f"failure must be below 1; got {failure:.6g}")
    return float(np.sqrt(2 * k / h * np.log(2 * h * k / failure)))


def root_mean_square(codes: Float[np.ndarray, "*batch N n"]) -> Float[np.ndarray, "*batch"]:
    """The root of the mean over the samples of |code|^2. Raises ``ValueError`` for fewer than two dimensions."""
    codes = _validate.shaped("codes", codes, ("N", "n"), batched=True)
    return np.sqrt(np.square(codes).sum(axis=-1).mean(axis=-1))


def relative_gap(
    codes: Float[np.ndarray, "*batch N n"], linear: Float[np.ndarray, "*batch N n"]
) -> Float[np.ndarray, "*batch"]:
    """The root mean square of codes - linear in units of that of the linear codes.

    Raises ``ValueError`` for fewer than two dimensions or shapes that differ.
    """
    linear = _validate.shaped("linear", linear, ("N", "n"), batched=True)
    return root_mean_square(_validate.shaped("codes", codes, linear.shape) - linear) / root_mean_square(linear)


def mean_difference(positive: Float[np.ndarray, "N m"], negative: Float[np.ndarray, "N m"]) -> Float[np.ndarray, " m"]:
    """The mean of the negative minus that of the positive views, zero if one are the other in another order.

    Raises ``ValueError`` for shapes that differ.
    """
    positive = _validate.shaped("positive", positive, ("N", "m"))
    return _validate.shaped("negative", negative, positive.shape).mean(axis=0) - positive.mean(axis=0)


def localised_network(h: int, m: int, n: int) -> tuple[Float[np.ndarray, "h m"], Float[np.ndarray, "h n"]]:
    """The first columns of the identity for both weights: frames as far from uniform as can be.

    Raises ``ValueError`` for h < m or h < n.
    """
    h, m, n = (_validate.count(name, value) for name, value in (("h", h), ("m", m), ("n", n)))
    if h < max(m, n):
        raise ValueError(f"h must be at least m and n; got h = {h}, m = {m}, n = {n}")
    return np.eye(h)[:, :m], np.eye(h)[:, :n]


def nonlinear_gradients(
    W1: Float[np.ndarray, "*batch h m"],
    W2: Float[np.ndarray, "*batch h n"],
    views: tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]],
    activation: Activation,
) -> tuple[Float[np.ndarray, "*batch h m"], Float[np.ndarray, "*batch h n"], Float[np.ndarray, "*batch"]]:
    r"""The gradients of the contrastive loss by both weights, and the loss itself, for a batch of networks.

    .. math:: L = \operatorname{mean}_i f(x_i) \cdot \bigl(f(x_i^-) - f(x_i^+)\bigr), \quad
              G_1 = \textstyle\sum_v \bigl(\varphi'(W_1 v) \circ W_2 c_v\bigr)\, v^\top, \quad
              G_2 = \sum_v \varphi(W_1 v)\, c_v^\top

    where v runs over all views and c_v = dL/df(v) is (f(x^-) - f(x^+))/N at an anchor, f(x)/N at its negative and
    -f(x)/N at its positive view. ``views`` are x, x^+, x^-. Raises ``ValueError`` for shapes that do not fit or another
    name. Checked against automatic differentiation in the tests.
    """
    stacked, count = _stack(views)
    W1 = _validate.shaped("W1", W1, ("h", stacked.shape[-1]), batched=True)
    W2 = _validate.shaped("W2", W2, (W1.shape[-2], "n"), batched=True)
    return _gradients(W1, W2, stacked, count, activation)


@dataclass(frozen=True)
class Trained:
    """Weights after training, (*batch, h, m) and (*batch, h, n), and the ``loss`` (*batch) before the last step."""

    W1: Float[np.ndarray, "*batch h m"]
    W2: Float[np.ndarray, "*batch h n"]
    loss: Float[np.ndarray, "*batch"]
    activation: Activation

    def codes(self, x: Float[np.ndarray, "N m"]) -> Float[np.ndarray, "*batch N n"]:
        """Return the outputs f(x) for the rows of x."""
        x = _validate.shaped("x", x, ("N", self.W1.shape[-1]))
        return activate(self.activation, x @ self.W1.mT)[0] @ self.W2


def remainder_size(
    run: Trained, views: tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]]
) -> Float[np.ndarray, "*batch"]:
    """The sum over the three kinds of views of the mean of |f(x) - p^T x|, p = W_1^T W_2: what is not linear in f.

    Raises ``ValueError`` for views of another dimension than the network's.
    """
    p = run.W1.mT @ run.W2
    return sum(np.linalg.norm(run.codes(v) - v @ p, axis=-1).mean(axis=-1) for v in views)


def lead_unit(
    run: Trained, x: Float[np.ndarray, "N m"]
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch 2"]]:
    """How much of the output, n = 1, the unit with the largest weight carries, and the two largest weights.

    The first is the norm over the samples of w_i phi(u_i^T x) for the unit with the largest |w_i|, divided by that of
    the output; the second are w_i and the next weight in size, multiplied by the sign of w_i. Raises ``ValueError``
    unless there is one output, or for samples of another dimension than the network's.
    """
    x, w = _validate.shaped("x", x, ("N", run.W1.shape[-1])), run.W2
    if w.shape[-1] != 1:
        raise ValueError(f"W2 has shape {w.shape}; need one output")
    first, second = (np.argsort(-np.abs(w), axis=-2, kind="stable")[..., k : k + 1, :] for k in range(2))
    row = np.take_along_axis(run.W1, first, axis=-2)
    alone = activate(run.activation, x @ row.mT)[0] * np.take_along_axis(w, first, axis=-2)
    pair = np.concatenate([np.take_along_axis(w, k, axis=-2)[..., 0] for k in (first, second)], axis=-1)
    return root_mean_square(alone) / root_mean_square(run.codes(x)), pair * np.sign(pair[..., :1])


def settled_share(run: Trained, x: Float[np.ndarray, "N m"], limit: float) -> Float[np.ndarray, "*batch"]:
    """The share of |W_2|^2 of units whose input has one sign for more than a share ``limit`` of the samples.

    Where its input has one sign, a ReLU unit is linear. Raises ``ValueError`` for a ``limit`` outside (0, 1) or samples
    of another dimension than the network's.
    """
    x, limit = _validate.shaped("x", x, ("N", run.W1.shape[-1])), _validate.scalar("limit", limit, _validate.positive)
    if limit >= 1:
        raise ValueError(f"limit must be below 1; got {limit:.6g}")
    on = (x @ run.W1.mT > 0).mean(axis=-2)
    weight = np.square(run.W2).sum(axis=-1)
    return np.where(np.maximum(on, 1 - on) > limit, weight, 0.0).sum(axis=-1) / weight.sum(axis=-1)


def train_network(
    W1: Float[np.ndarray, "*batch h m"],
    W2: Float[np.ndarray, "*batch h n"],
    views: tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]],
    activation: Activation,
    *,
    step: float,
    steps: int,
    tangent: Tangent | None = None,
) -> Trained:
    """Projected gradient descent on the contrastive loss: a gradient step, then the polar factor, for both weights.

    Each network of the batch follows its own gradients. ``tangent`` removes a part of the gradient first, as in
    :func:`ssltheory.stiefel.tangent_part`; without it small steps follow the embedded flow. With the ``"linear"``
    activation this is :func:`ssltheory.orthogonal_flow.descend_network`. ``steps`` may be 0.

    Raises ``ValueError`` as :func:`nonlinear_gradients`, and for ``step`` <= 0. Source: equation (11).
    """
    step, steps = _validate.scalar("step", step, _validate.positive), _validate.count("steps", steps, 0)
    stacked, count = _stack(views)
    *_, loss = nonlinear_gradients(W1, W2, views, activation)
    if W1.ndim == 3 and W1.shape[-2] * len(stacked) > _ONE_BY_ONE and len(W1) > 1:
        options = {"step": step, "steps": steps, "tangent": tangent}
        runs = [train_network(a, b, views, activation, **options) for a, b in zip(W1, W2, strict=True)]  # type: ignore[arg-type]
        first, second, losses = (np.stack([getattr(run, name) for run in runs]) for name in ("W1", "W2", "loss"))
        return Trained(first, second, losses, activation)
    for _ in range(steps):
        G1, G2, loss = _gradients(W1, W2, stacked, count, activation)
        if tangent is not None:
            G1, G2 = tangent_part(W1, G1, tangent), tangent_part(W2, G2, tangent)
        W1, W2 = polar_factor(W1 - step * G1), polar_factor(W2 - step * G2)
    return Trained(W1, W2, loss, activation)


@dataclass(frozen=True)
class GapCourse:
    """The gap to the linear network at T moments of training, each (T, *batch).

    ``absolute`` and ``relative`` are root mean squares over the anchors, ``linear`` that of the linear output.
    ``share`` is |p - q| + ||e|| in units of :func:`gap_scale`, the chapter's bound without its constant.
    """

    absolute: Float[np.ndarray, "T *batch"]
    relative: Float[np.ndarray, "T *batch"]
    linear: Float[np.ndarray, "T *batch"]
    share: Float[np.ndarray, "T *batch"]


def gap_course(
    W1: Float[np.ndarray, "*batch h m"],
    W2: Float[np.ndarray, "*batch h n"],
    views: tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]],
    activation: Activation,
    moments: Sequence[int],
    *,
    step: float,
    tangent: Tangent | None = None,
) -> GapCourse:
    """Train a nonlinear network and the linear one from the same frames, and compare them after some numbers of steps.

    The linear network is followed through :func:`ssltheory.orthogonal_flow.network_step`, which is exact at every
    width. ``moments`` are numbers of steps in ascending order. Raises ``ValueError`` as :func:`train_network`, and if
    ``moments`` descend or the contrast matrix has no negative eigenvalue.
    """
    moments = [_validate.count("moments", k, 0) for k in moments]
    if not moments or np.any(np.diff(moments) < 0):
        raise ValueError(f"moments must be some numbers in ascending order; got {moments}")
    *_, loss = nonlinear_gradients(W1, W2, views, activation)
    gamma = contrast_matrix(*views)
    mu = -4 * float(sorted_eigen(gamma)[0][0])
    run, q = Trained(W1, W2, loss, activation), W1.mT @ W2
    longest = max(np.linalg.norm(v, axis=-1).max() for v in views)
    starts = [
        (float(size), float(e), slope_error(activation, float(longest * rho)))
        for size, e, rho in zip(
            np.linalg.norm(q, axis=(-2, -1)).ravel(),
            np.ravel(remainder_size(run, views)),
            np.ravel(np.maximum(row_size(W1), row_size(W2))),
            strict=True,
        )
    ]
    found: list[tuple[np.ndarray, ...]] = []
    for k, before in zip(moments, (0, *moments), strict=False):
        run = train_network(run.W1, run.W2, views, activation, step=step, steps=k - before, tangent=tangent)
        for _ in range(k - before):
            q = network_step(q, gamma, step, tangent=tangent)
        straight, codes = views[0] @ q, run.codes(views[0])
        gap = np.linalg.norm(run.W1.mT @ run.W2 - q, axis=(-2, -1)) + remainder_size(run, views)
        scale = np.reshape([gap_scale(*start, mu, k * step) for start in starts], np.shape(gap))
        size = root_mean_square(straight)
        found.append((root_mean_square(codes - straight), relative_gap(codes, straight), size, gap / scale))
    return GapCourse(*(np.stack(values) for values in zip(*found, strict=True)))


def shrunk_code(
    views: tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]],
    third: float,
    h: int,
    x: Float[np.ndarray, "M m"],
) -> Float[np.ndarray, " M"]:
    r"""The trained output, n = 1, of a wide network with an odd activation, to first order in 1/h.

    .. math:: f(x) \approx v^\top x\, \Bigl(1 + \frac{\varphi'''(0)}{2h}\, |x|^2\Bigr)

    with v the first eigenvector of the contrast matrix of views that are stretched by the same factor: a linear
    network on stretched views. ``third`` is phi'''(0), -2 for tanh. The sign of v is the one whose first nonzero entry
    is positive. Raises ``ValueError`` for shapes that do not fit.
    """
    third, h = _validate.scalar("third", third), _validate.count("h", h)

    def stretched(y: np.ndarray) -> np.ndarray:
        return y * (1 + third / (2 * h) * np.sum(y * y, axis=-1, keepdims=True))

    _, vectors = sorted_eigen(contrast_matrix(*(stretched(y) for y in views)))
    v = vectors[:, 0] * np.sign(vectors[np.flatnonzero(vectors[:, 0])[0], 0])
    return stretched(_validate.shaped("x", x, ("M", len(v)))) @ v


def bound_ratios(
    W1: Float[np.ndarray, "h m"],
    W2: Float[np.ndarray, "h n"],
    views: tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]],
    activation: Activation,
    tangent: Tangent,
) -> dict[str, float]:
    r"""How much of each of the chapter's four bounds a network uses: numbers that the lemma says are at most 1.

    And of the bound on the gradients |G_k| <= 2 (1 + eps) R ||f|| from which three of them follow.

    With p = W_1^T W_2, the remainder e(x) = f(x) - p^T x, the largest row rho of the weights, R the longest view,
    ||f|| the sum of the means of |f| over the three kinds of views, and eps the largest |phi' - 1| on [-R rho, R rho]:

    .. math:: \|f\| \le 3R|p| + \|e\|, \quad |\mathrm{row}'| \le 8 R \rho \|f\|, \quad
              |e(x)'| \le 16\, \varepsilon R |x|\, \|f\|, \quad |p' - F(p)| \le 8R\, (\varepsilon \|f\| + \|e\|)

    where the weights follow the projected gradients of ``tangent`` and F is the flow of the linear network. Keys
    ``"output"``, ``"gradient"``, ``"rows"``, ``"remainder"``, ``"drift"``. Raises ``ValueError`` as
    :func:`nonlinear_gradients`, and if eps exceeds 1, where the lemma says nothing. Ours.
    """
    G1, G2, _ = nonlinear_gradients(W1, W2, views, activation)
    longest = max(np.linalg.norm(v, axis=-1).max() for v in views)
    rho = float(max(row_size(W1), row_size(W2)))
    eps = slope_error(activation, longest * rho)
    if eps > 1:
        raise ValueError(f"the slope of the activation differs from 1 by {eps:.3g} on the inputs seen; need at most 1")
    V1, V2 = -tangent_part(W1, G1, tangent), -tangent_part(W2, G2, tangent)
    p = W1.T @ W2
    network = Trained(W1, W2, np.zeros(()), activation)

    f = float(sum(np.linalg.norm(network.codes(v), axis=-1).mean() for v in views))
    e = float(remainder_size(network, views))
    x = np.concatenate(views)
    value, slope = activate(activation, W1 @ x.T)
    rate = np.linalg.norm(V2.T @ (value - W1 @ x.T) + W2.T @ ((slope - 1) * (V1 @ x.T)), axis=0)
    drift = V1.T @ W2 + W1.T @ V2 - flow_velocity(p, contrast_matrix(*views), tangent)
    return {
        "output": f / (3 * longest * float(np.linalg.norm(p, 2)) + e),
        "gradient": float(max(np.linalg.norm(G1), np.linalg.norm(G2))) / (2 * (1 + eps) * longest * f),
        "rows": float(max(row_size(V1), row_size(V2))) / (8 * longest * rho * f),
        "remainder": float((rate / (16 * eps * longest * np.linalg.norm(x, axis=-1) * f)).max()),
        "drift": float(np.linalg.norm(drift)) / (8 * longest * (eps * f + e)),
    }


def exponent(widths: Sequence[int], gaps: Float[np.ndarray, "K S"]) -> tuple[float, tuple[float, float]]:
    """The slope of log(gap) over log(width) by least squares, with its 95% bootstrap interval over the S seeds.

    ``gaps`` has a row for each width. A resample draws seeds with replacement, the same for all widths (2,000 times).
    Raises ``ValueError`` unless there are two widths or more, two seeds or more, and all gaps are positive.
    """
    log_width = np.log(_validate.shaped("widths", widths, ("K",)))
    gaps = _validate.positive("gaps", _validate.shaped("gaps", gaps, (len(log_width), "S")))
    if gaps.shape[0] < 2 or gaps.shape[1] < 2:
        raise ValueError(f"gaps has shape {gaps.shape}; need at least two widths and two seeds")
    centred = log_width - log_width.mean()
    slopes = centred @ np.log(gaps) / (centred @ centred)
    rng = np.random.default_rng(0)
    means = slopes[rng.integers(len(slopes), size=(2000, len(slopes)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(slopes.mean()), (float(low), float(high))


def _stack(views: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, int]:
    x, positive, negative = views
    x = _validate.shaped("x", x, ("N", "m"))
    if not x.size:
        raise ValueError(f"x has shape {x.shape}; need at least one sample of at least one dimension")
    others = [_validate.shaped(name, y, x.shape) for name, y in (("positive", positive), ("negative", negative))]
    return np.concatenate([x, *others]), len(x)


def _gradients(
    W1: np.ndarray, W2: np.ndarray, stacked: np.ndarray, count: int, activation: Activation
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    value, slope = activate(activation, W1 @ stacked.T)
    f = W2.mT @ value
    anchor, positive, negative = (f[..., k * count : (k + 1) * count] for k in range(3))
    force = np.concatenate([negative - positive, -anchor, anchor], axis=-1) / count
    loss = np.sum(anchor * (negative - positive), axis=(-2, -1)) / count
    return (slope * (W2 @ force)) @ stacked, value @ force.mT, loss


@dataclass(frozen=True)
class Setting:
    """The data, by a name of :func:`setting_views`, the code's size and the training of a part of the sweep."""

    data: str = "moons"
    data_seed: int = 0
    n: int = 1
    step: float = 0.1
    steps: int = 200


MAIN = Setting()
VARIED: dict[str, Setting] = {
    "longer": Setting(steps=1000),
    "shorter": Setting(steps=60),
    "step 0.5": Setting(step=0.5, steps=40),
    "other moons": Setting(data_seed=1),
    "two numbers": Setting(n=2, steps=400),
    "equal means": Setting(data="equal means"),
}
VARIED_WIDTHS = (50, 200, 800)
VARIED_ACTIVATIONS: tuple[Activation, ...] = ("tanh", "relu", "sigmoid", "softplus")
DIGITS = Setting(data="digits", step=0.05, steps=100)
DIGITS_WIDTHS = (100, 300, 900, 2700)


def setting_views(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The views x, x^+, x^- of a setting: 100 triples of moons, or the first 150 triples of the digits 0 and 1.

    ``"equal means"`` are the same moons with the positive views, in another order, as negatives. Raises ``ValueError``
    for other data.
    """
    _validate.one_of("data", setting.data, ("moons", "equal means", "digits"))
    rng = np.random.default_rng(setting.data_seed)
    if setting.data == "digits":
        x, positive, negative, _ = digit_triples(rng, (0, 1))
        return x[:150], positive[:150], negative[:150]
    x, positive, negative, _ = moon_triples(rng, 100)
    if setting.data == "equal means":
        negative = positive[rng.permutation(len(positive))]
    return x, positive, negative


def measure(setting: Setting, h: int, seeds: Sequence[int], activations: Sequence[Activation]) -> dict[str, Any]:
    """Train networks of width h and the linear one from the same starts; each entry has one number a seed.

    For each activation ``start`` and ``end`` are the root mean square gaps over the anchors; ``own`` is the gap in the
    end between the network and the linear one with the same weights; ``rows`` is the largest row of the trained first
    weight, ``offset`` the norm of W_2^T phi(0) in the end. ``linear`` holds the root mean square of the linear output,
    at the start and in the end. Raises ``ValueError`` as :func:`train_network`.
    """
    views = setting_views(setting)
    x, m = views[0], views[0].shape[1]
    starts = [random_network(np.random.default_rng([h, seed]), h, m, setting.n) for seed in seeds]
    W1, W2 = (np.stack([start[k] for start in starts]) for k in range(2))
    options = {"step": setting.step, "steps": setting.steps}
    before = Trained(W1, W2, np.zeros(len(starts)), "linear").codes(x)
    after = train_network(W1, W2, views, "linear", **options).codes(x)  # type: ignore[arg-type]
    found: dict[str, Any] = {"linear": {"start": root_mean_square(before), "end": root_mean_square(after)}}
    for name in activations:
        start = root_mean_square(Trained(W1, W2, np.zeros(len(starts)), name).codes(x) - before)
        ended = [train_network(a, b, views, name, **options) for a, b in starts]  # type: ignore[arg-type]
        codes = np.stack([run.codes(x) for run in ended])
        origin = np.concatenate([run.codes(np.zeros((1, m))) for run in ended])
        found[name] = {
            "start": start,
            "end": root_mean_square(codes - after),
            "own": np.array([float(root_mean_square(run.codes(x) - x @ run.W1.T @ run.W2)) for run in ended]),
            "rows": np.array([row_size(run.W1) for run in ended]),
            "offset": np.linalg.norm(origin, axis=-1),
        }
    return found


def recorded(entry: dict[str, Any]) -> dict[int, dict[str, dict[str, np.ndarray]]]:
    """A part of the record of :func:`sweep` with whole numbers for widths and arrays for lists.

    A part has a key for each width, and below it what :func:`measure` returns, as lists.
    """
    return {
        int(h): {name: {key: np.array(values) for key, values in part.items()} for name, part in found.items()}
        for h, found in entry.items()
    }


def _plain(found: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, list[float]]]:
    return {
        name: {key: [float(f"{v:.8g}") for v in values] for key, values in entry.items()}
        for name, entry in found.items()
    }


def sweep(seeds: Sequence[int] = range(10)) -> dict[str, Any]:
    """All widths and activations, then the varied settings and the digits with five seeds each, as plain numbers."""
    main = {str(h): _plain(measure(MAIN, h, seeds, SWEPT)) for h in progress(WIDTHS, "widths")}
    varied = {
        label: {str(h): _plain(measure(setting, h, range(5), VARIED_ACTIVATIONS)) for h in VARIED_WIDTHS}
        for label, setting in ((label, VARIED[label]) for label in progress(tuple(VARIED), "variations"))
    }
    digits = {
        str(h): _plain(measure(DIGITS, h, range(5), ("tanh", "relu", "sigmoid")))
        for h in progress(DIGITS_WIDTHS, "widths on digits")
    }
    return {"main": main, "varied": varied, "digits": digits}


def main() -> None:
    """Run the sweep and write its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sweep"])
    parser.add_argument("--out", type=Path, default=Path("book/data/nearly_linear.json"))
    options = parser.parse_args()
    start = time.perf_counter()
    data = sweep()
    command = f"python -m ssltheory.nearly_linear {options.what}"
    seconds = time.perf_counter() - start
    write_record(options.out, data, command=command, seconds=seconds, packages=("numpy", "scikit-learn"))


if __name__ == "__main__":
    main()
