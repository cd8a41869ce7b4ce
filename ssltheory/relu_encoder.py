r"""A nonlinear encoder, z = max(W x, 0), with a closed-form predictor: what is left of the linear eigenvalues.

For Gaussian views the code's second moment is the arc-cosine kernel of its weights,

.. math:: \mathbb{E}[z_i z_j] = \tfrac{1}{2\pi} a_i b_j\, (\sin\theta_{ij} + (\pi - \theta_{ij}) \cos\theta_{ij}),

a_i, b_j and theta_ij the standard deviations of and the angle between w_i x and w_j y, and the expected gradient of the
squared error is made of derivatives of it, so nothing is sampled. The cosine loss has no such formula: its
expectation is an average over a large fixed sample.

``python -m ssltheory.relu_encoder`` writes the recorded cosine runs, book/data/relu_cosine.json, and with ``--squared``
those of the squared error, book/data/relu_squared.json.
"""

import argparse
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.directpred import closed_form_predictor
from ssltheory.eigenmodes import GRADIENTS, Gradient
from ssltheory.flow import follow
from ssltheory.moments import SecondMoments, gaussian_moments
from ssltheory.records import progress, write_record

__all__ = [
    "ReluPath",
    "cosine_path",
    "cosine_velocity",
    "lone_signal",
    "recorded_run",
    "recruitment_times",
    "relu_flow",
    "relu_second_moment",
    "relu_velocity",
    "simplex_spectrum",
    "squared_run",
    "start_weights",
    "toy_moments",
]

SEEDS = (0, 1, 2, 3, 4)
NOISE = 0.1
SAMPLES = 2_500
TIMES = {"sg": 240.0, "iso": 240.0, "none": 90.0, "wrong": 90.0}
MARK = 15.0
LATE = -3  # the mark at which the weights of the runs with seed 0 are recorded in full
LONGEST_STEP = 0.25
TOLERANCE = 3e-3
DRIFT = 0.01
FLOOR = 1e-3
CHUNK = 2500  # pairs whose codes fit a processor's cache
SCALES = (0.1, 0.3, 1.0)
SQUARED_EXPONENTS = (0.5, 1.0, 2.0)
SQUARED_SEEDS = tuple(range(10))
DURATION = 2e4


def toy_moments(m: int, noise: float = 0.0, noise_first: float = 0.0) -> SecondMoments:
    """Moments of x = s + noise_first xi', y = s + noise xi with s, xi, xi' independent and standard normal in R^m."""
    eye = np.eye(_validate.count("m", m))
    return gaussian_moments(eye, noise_first**2 * eye, noise**2 * eye)


def start_weights(rng: np.random.Generator, n: int, m: int, scale: float) -> Float[np.ndarray, "n m"]:
    """Draw W (n, m), normal with standard deviation ``scale`` sqrt(2/m); E[z_i^2] is then scale^2 on average."""
    return scale * np.sqrt(2 / m) * rng.standard_normal((n, m))


class _Views:
    """Square roots of the joint moment of a pair, so that angles keep their digits when units are nearly parallel."""

    def __init__(self, data: SecondMoments) -> None:
        values, vectors = np.linalg.eigh(data.joint)
        root = vectors * np.sqrt(np.clip(values, 0.0, None))
        self.moment = {"xx": data.xx, "xy": data.yx, "yx": data.yx.T, "yy": data.yy}
        self.root = {"x": root[: data.m], "y": root[data.m :]}

    def angles(self, W: np.ndarray, one: str, two: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Standard deviations of w_i . one and w_j . two, and the angles between them, (n,), (n,), (n, n)."""
        U, V = W @ self.root[one], W @ self.root[two]
        a, b = np.linalg.norm(U, axis=-1), np.linalg.norm(V, axis=-1)
        U = U / np.where(a > 0, a, 1.0)[:, None]
        V = V / np.where(b > 0, b, 1.0)[:, None]
        cosine = U @ V.T
        theta = np.arccos(np.clip(cosine, -1.0, 1.0))
        i, j = np.nonzero(np.abs(cosine) > 0.9)  # where the arc cosine would lose digits
        theta[i, j] = 2 * np.arctan2(*(np.linalg.norm(U[i] + sign * V[j], axis=-1) for sign in (-1, 1)))
        return a, b, theta

    def second(self, W: np.ndarray, one: str, two: str) -> np.ndarray:
        """E[z_i z'_j], z the code of the view ``one`` and z' that of ``two``."""
        a, b, theta = self.angles(W, one, two)
        return a[:, None] * b * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)

    def pull(self, C: np.ndarray, W: np.ndarray, one: str, two: str) -> np.ndarray:
        """Row i: sum_j C_ij E[1(w_i . one > 0) one z'_j], that is sum_j C_ij times the w_i-derivative of ``second``."""
        a, b, theta = self.angles(W, one, two)
        own = (C * np.sin(theta)) @ b / np.where(a > 0, a, 1.0)
        return (own[:, None] * (W @ self.moment[one + one]) + (C * (np.pi - theta)) @ W @ self.moment[one + two]) / (
            2 * np.pi
        )

    def predictor(self, W: np.ndarray, p: float) -> np.ndarray:
        return closed_form_predictor(self.second(W, "x", "x"), p)

    def velocity(self, W: np.ndarray, p: float, gradient: str) -> np.ndarray:
        B, eye = self.predictor(W, p), np.eye(len(W))
        if gradient == "iso":
            return self.pull(eye, W, "x", "y") - self.pull(B, W, "x", "x")
        out = np.zeros_like(W)
        if gradient in ("sg", "none"):
            out += self.pull(B, W, "x", "y") - self.pull(B @ B, W, "x", "x")
        if gradient in ("wrong", "none"):
            out += self.pull(B, W, "y", "x") - self.pull(eye, W, "y", "y")
        return out


def relu_second_moment(
    W: Float[np.ndarray, "n m"], X: Float[np.ndarray, "m m"] | None = None
) -> Float[np.ndarray, "n n"]:
    """Sigma = E[z z^T] of z = max(W x, 0) for x normal with mean 0 and covariance X (None: the identity).

    Raises ``ValueError`` for shapes or X not positive definite. Source: Cho and Saul (2009), the kernel of degree one.
    """
    W = _validate.shaped("W", W, ("n", "m"))
    X = np.eye(W.shape[1]) if X is None else _validate.shaped("X", X, (W.shape[1], W.shape[1]))
    return _Views(SecondMoments(X, X, X)).second(W, "x", "x")


def relu_velocity(
    W: Float[np.ndarray, "n m"], data: SecondMoments, p: float, *, gradient: Gradient = "sg"
) -> Float[np.ndarray, "n m"]:
    """W' = minus the exact expected gradient of 1/2 E|B z_1 - z_2|^2, z_1 = max(W x, 0), z_2 = max(W y, 0).

    x and y are jointly normal with the given moments; B = Sigma^p is the power of E[z_1 z_1^T], held (p = 0: the
    identity). Raises ``ValueError`` for shapes, p < 0 or an unknown gradient. Source: this book.
    """
    W, p = _check(W, data, p, gradient)
    return _Views(data).velocity(W, p, gradient)


class ReluPath(NamedTuple):
    """Weights along a flow: ``t`` (T,), ``W`` (T, n, m), eigenvalues ``mu`` (T, n) of Sigma, descending.

    ``speed`` is the norm of the field at the end; ``outcome`` is "at rest" (speed at most 1e-9), "diverged" (|W|
    reached 1e3, the last state), "drifted" (:func:`cosine_path` only) or "unfinished". ``drift`` is the relative change
    of |W|^2 that :func:`cosine_path` took back.
    """

    t: Float[np.ndarray, " T"]
    W: Float[np.ndarray, "T n m"]
    mu: Float[np.ndarray, "T n"]
    speed: float
    outcome: str
    drift: float = 0.0


def relu_flow(
    W: Float[np.ndarray, "n m"],
    data: SecondMoments,
    p: float,
    *,
    gradient: Gradient = "sg",
    times: Float[np.ndarray, " T"],
    rtol: float = 1e-8,
) -> ReluPath:
    """Integrate :func:`relu_velocity` from W at time 0 and keep the states at ``times``, increasing from 0 or later.

    Raises ``ValueError`` as the field does, or where the integrator gives up.
    """
    W, p = _check(W, data, p, gradient)
    times = _validate.shaped("times", times, ("T",))
    views = _Views(data)

    def rate(t: float, flat: np.ndarray) -> np.ndarray:
        return views.velocity(flat.reshape(W.shape), p, gradient).ravel()

    limits = {"rtol": rtol, "atol": 1e-4 * rtol, "norm_limit": 1e3}
    done = follow(rate, W.ravel(), times, at_rest=lambda t, flat: 1.0, method="LSODA", **limits)
    if done.end == "gave up":
        raise ValueError(f"the flow was not integrated: {done.message}")
    path = done.states.reshape(-1, *W.shape)
    speed = float(np.linalg.norm(rate(0.0, path[-1].ravel())))
    outcome = "diverged" if done.end == "diverged" else "at rest" if speed <= 1e-9 else "unfinished"
    return ReluPath(done.t, path, _spectra(path), speed, outcome)


def lone_signal(noise: float, noise_first: float = 0.0) -> float:
    """The factor t in E[1(w x > 0) x max(w y, 0)] = t w / 2 for the toy: 1 + (tan theta - theta)/pi.

    cos theta = 1/sqrt((1 + noise^2)(1 + noise_first^2)). It is what a unit can predict of its own target, and exceeds
    1: a rectified noise has a positive mean. Without predictor every w_i grows at the rate (t - 1 - noise_first^2)/2.
    """
    cos = 1 / np.sqrt((1 + float(noise) ** 2) * (1 + float(noise_first) ** 2))
    theta = float(np.arctan2(np.sqrt(1 - cos**2), cos))
    return 1 + (np.tan(theta) - theta) / np.pi


class SimplexSpectrum(NamedTuple):
    """Eigenvalues of a code of n equal units at equal angles: ``mean`` of the constant direction, else ``rest``."""

    mean: float
    rest: float


def simplex_spectrum(n: int, p: float, *, gradient: Gradient = "iso", noise: float = 0.0) -> SimplexSpectrum:
    """Where n units at the angles of a regular simplex, cos = -1/(n-1), come to rest by changing their common norm.

    For ``"iso"`` with x clean and any ``noise`` in y, and for ``"sg"`` without noise; X = I. With Sigma = s M the norm
    solves tr M ((s M)^p - t) = 0 and tr M ((s M)^{2p} - (s M)^p) = 0. For ``"iso"`` it is a global minimum of J for
    p = 1 (any norms) and, among units of equal norm, for every p; it needs m >= n - 1. Raises ``ValueError`` for n < 2,
    p <= 0, another gradient, or noise with ``"sg"``. Source: this book.
    """
    n, p = _validate.count("n", n, 2), _validate.scalar("p", p, _validate.positive)
    if gradient not in ("iso", "sg") or (gradient == "sg" and noise):
        raise ValueError(f"there is a formula for 'iso', and for 'sg' without noise; got {gradient!r}, {noise:g}")
    theta = np.arccos(-1 / (n - 1))
    off = (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / np.pi
    shape, count = np.array([1 + (n - 1) * off, 1 - off]), np.array([1, n - 1])
    if gradient == "iso":
        s = (lone_signal(noise) * count @ shape / (count @ shape ** (p + 1))) ** (1 / p)
    else:
        s = (count @ shape ** (p + 1) / (count @ shape ** (2 * p + 1))) ** (1 / p)
    return SimplexSpectrum(float(s * shape[0]), float(s * shape[1]))


def recruitment_times(t: Float[np.ndarray, " T"], mu: Float[np.ndarray, "T n"]) -> Float[np.ndarray, " n"]:
    """When each eigenvalue first reaches half of its last value, linear in its log between samples.

    Eigenvalues are compared by rank, so the k-th entry is the time at which k directions have been recruited; nan where
    the last value is below 1e-3.
    """
    t, mu = _validate.shaped("t", t, ("T",)), _validate.shaped("mu", mu, ("T", "n"))
    out = np.full(mu.shape[1], np.nan)
    for k, row in enumerate(np.log(np.maximum(mu.T, 1e-300))):
        level = row[-1] - np.log(2)
        if mu[-1, k] >= 1e-3:
            i = int(np.argmax(row >= level))
            out[k] = t[0] if i == 0 else t[i - 1] + (t[i] - t[i - 1]) * (level - row[i - 1]) / (row[i] - row[i - 1])
    return out


def cosine_velocity(
    W: Float[np.ndarray, "n m"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    B: Float[np.ndarray, "n n"],
    *,
    gradient: Gradient = "sg",
) -> Float[np.ndarray, "n m"]:
    """W' = minus the gradient of the sample's -mean <u, v>/(|u||v|), u = B z_1, v = z_2, with B symmetric and held.

    ``"iso"`` leaves the leading B out of ``"sg"``. A pair with u = 0 or v = 0, where no unit is active, adds nothing.
    Raises ``ValueError`` for shapes or an unknown gradient.
    """
    _validate.one_of("gradient", gradient, GRADIENTS)
    W = _validate.shaped("W", W, ("n", "m"))
    x = _validate.shaped("x", x, ("N", W.shape[1]))
    y, B = _validate.shaped("y", y, x.shape), _validate.shaped("B", B, (len(W), len(W)))
    return _cosine(W, x, y, B, gradient)


def _cosine(
    W: np.ndarray, x: np.ndarray, y: np.ndarray, B: np.ndarray, gradient: str, floor: float = 0.0
) -> np.ndarray:
    if len(x) > CHUNK:
        parts = range(0, len(x), CHUNK)
        sums = [_cosine(W, x[k : k + CHUNK], y[k : k + CHUNK], B, gradient, floor) for k in parts]
        sums = [part * len(x[k : k + CHUNK]) for part, k in zip(sums, parts, strict=True)]
        return np.sum(sums, axis=0) / len(x)
    one, two = x @ W.T, y @ W.T
    u, v = np.maximum(one, 0.0) @ B, np.maximum(two, 0.0)
    uu, vv, uv = (np.einsum("ij,ij->i", a, b)[:, None] for a, b in ((u, u), (v, v), (u, v)))
    live = (uu > (floor * np.linalg.norm(B @ W)) ** 2) & (vv > (floor * np.linalg.norm(W)) ** 2)
    uu, vv = np.where(live, uu, 1.0), np.where(live, vv, 1.0)
    size = np.sqrt(uu * vv)
    out = np.zeros_like(W)
    if gradient != "wrong":
        g = live * (v - u * (uv / uu)) / size
        out += ((g if gradient == "iso" else g @ B) * (one > 0)).T @ x / len(x)
    if gradient in ("wrong", "none"):
        g = live * (u - v * (uv / vv)) / size
        out += (g * (two > 0)).T @ y / len(x)
    return out


def cosine_path(
    W: Float[np.ndarray, "n m"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    p: float,
    *,
    gradient: Gradient = "sg",
    times: Float[np.ndarray, " T"],
    tol: float = TOLERANCE,
) -> ReluPath:
    """Follow :func:`cosine_velocity` with B = Sigma^p, Sigma exact for x standard normal, from W at ``times[0]``.

    Heun's method; a step is at most 1/4, and halved about until Heun's and Euler's results differ by at most ``tol``
    |W|. The loss does not see the size of W, so every flow but ``"iso"`` keeps |W|; Heun's method adds to |W|^2 the
    share (that difference / |W|)^2 in each step. It is taken back, and summed in ``drift``; once the sum exceeds 1% the
    run is given up as "drifted", with the states so far. A pair with |u| < 1e-3 |B W| or |v| < 1e-3 |W|, where the
    gradient of the cosine is nearly singular, adds nothing. ``times`` increase. Raises ``ValueError`` for shapes or
    numbers.
    """
    W = _validate.shaped("W", W, ("n", "m")).copy()
    times = _validate.shaped("times", times, ("T",))
    if len(times) < 2 or (np.diff(times) <= 0).any():
        raise ValueError("times must be two or more and increase")
    tol, p = _validate.scalar("tol", tol, _validate.positive), _validate.scalar("p", p, _validate.nonnegative)
    views = _Views(toy_moments(W.shape[1]))
    cosine_velocity(W, x, y, np.eye(len(W)), gradient=gradient)

    def field(W: np.ndarray) -> np.ndarray:
        return _cosine(W, x, y, views.predictor(W, p), gradient, FLOOR)

    path, here, size, drift = [W], field(W), float(np.linalg.norm(W)), 0.0
    for now, mark in pairwise(times):
        h = LONGEST_STEP  # anew after each mark: a run that starts at a kept state repeats the rest
        while now < mark and drift <= DRIFT:
            step = min(h, mark - now)
            ahead = field(W + step * here)
            error = step / 2 * float(np.linalg.norm(ahead - here) / np.linalg.norm(W))
            if error <= tol:
                W = W + step / 2 * (here + ahead)
                now = mark if step == mark - now else now + step
                if gradient != "iso":
                    drift += error**2
                    W *= size / np.linalg.norm(W)
                here = field(W)
            h = min(LONGEST_STEP, step * min(2.0, max(0.2, 0.9 * np.sqrt(tol / max(error, 1e-300)))))
        if drift > DRIFT:
            break
        path.append(W)
    states, speed = np.array(path), float(np.linalg.norm(here))
    outcome = "drifted" if drift > DRIFT else "at rest" if speed <= 1e-9 else "unfinished"
    return ReluPath(times[: len(states)], states, _spectra(states), speed, outcome, drift)


def _check(W: np.ndarray, data: SecondMoments, p: float, gradient: str) -> tuple[np.ndarray, float]:
    _validate.one_of("gradient", gradient, GRADIENTS)
    return _validate.shaped("W", W, ("n", data.m)), _validate.scalar("p", p, _validate.nonnegative)


def _spectra(path: np.ndarray) -> np.ndarray:
    views = _Views(toy_moments(path.shape[-1]))
    return np.array([np.linalg.eigvalsh(views.second(W, "x", "x"))[::-1] for W in path])


def recorded_run(gradient: Gradient, p: float, seed: int, *, late: Float[np.ndarray, "n m"] | None = None) -> ReluPath:
    """One cosine run of the record: W from ``seed`` alone, the sample from ``seed`` alone, 10 units of 15 inputs.

    With the recorded weights ``late`` only its last part, from the time at which they were kept.
    """
    W = start_weights(np.random.default_rng([seed, 0]), 10, 15, 0.6) if late is None else late
    times = np.arange(0.0, TIMES[gradient] + 1.0, MARK)
    rng = np.random.default_rng([seed, 1])
    x = rng.standard_normal((SAMPLES, 15))
    y = x + NOISE * rng.standard_normal(x.shape)
    return cosine_path(W, x, y, p, gradient=gradient, times=times if late is None else times[LATE:])


def squared_run(gradient: Gradient, p: float, scale: float, seed: int) -> ReluPath:
    """One run of the squared error of the record: 10 units of 15 inputs, W from ``seed`` and ``scale`` alone."""
    W = start_weights(np.random.default_rng([seed, 0]), 10, 15, scale)
    times = np.concatenate([[0.0], np.geomspace(0.05, DURATION, 300)])
    return relu_flow(W, toy_moments(15, NOISE), p, gradient=gradient, times=times, rtol=1e-7)


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squared", action="store_true", help="the squared error instead of the cosine loss")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    name = "relu_squared" if options.squared else "relu_cosine"
    begin = time.perf_counter()
    data = _squared_record() if options.squared else _cosine_record()
    write_record(
        options.out or Path(f"book/data/{name}.json"),
        data,
        command="python -m ssltheory.relu_encoder" + " --squared" * options.squared,
        seconds=time.perf_counter() - begin,
        packages=("numpy", "scipy"),
    )


def _rounded(values: Any, digits: int) -> Any:
    return [None if np.isnan(v) else float(f"{v:.{digits}g}") for v in values]


def _squared_record() -> dict[str, Any]:
    rows = []
    gradients: tuple[Gradient, ...] = ("sg", "iso")
    settings = list(product(gradients, SQUARED_EXPONENTS, SCALES, SQUARED_SEEDS))
    for gradient, p, scale, seed in progress(settings, "runs"):
        run = squared_run(gradient, p, scale, seed)
        key = {"gradient": gradient, "p": p, "scale": scale, "seed": seed, "outcome": run.outcome}
        spectrum, when = _rounded(run.mu[-1], 8), _rounded(recruitment_times(run.t, run.mu), 6)
        rows.append(key | {"speed": float(f"{run.speed:.1e}"), "mu": spectrum, "recruited": when})
    return {"noise": NOISE, "duration": DURATION, "runs": rows}


def _cosine_record() -> dict[str, Any]:
    rows = []
    gradients: tuple[Gradient, ...] = ("sg", "iso", "none", "wrong")
    settings: list[tuple[Gradient, float]] = [*product(gradients, (0.5, 1.0)), ("sg", 0.0)]
    for (gradient, p), seed in progress(list(product(settings, SEEDS)), "settings and seeds"):
        run = recorded_run(gradient, p, seed)
        size = np.sum(run.W**2, axis=(1, 2))
        row: dict[str, Any] = {"gradient": gradient, "p": p, "seed": seed, "outcome": run.outcome}
        row |= {"speed": float(f"{run.speed:.3e}"), "drift": float(f"{run.drift:.2e}")}
        row["growth"] = float(f"{size[-1] / size[0]:.6g}")
        row["mu"] = [_rounded(mu, 5) for mu in run.mu]
        rows.append(row | ({"late": run.W[LATE].tolist()} if seed == 0 and run.outcome != "drifted" else {}))
    return {"noise": NOISE, "samples": SAMPLES, "tolerance": TOLERANCE, "mark": MARK, "until": TIMES, "runs": rows}


if __name__ == "__main__":
    main()
