"""What the chapter on the two losses draws: the explorer of two eigenvalues, and the data of the eight settings."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.eigenmodes import GRADIENTS, LOSSES, Gradient, Loss, eigenvalue_flow, toy_data, velocity_of_modes
from ssltheory.explorers import Dash, Line, Panel, Points, Scene

TIMES = np.geomspace(0.05, 300.0, 61)
LAST = 24.0
SHOWN = (1.0, 10.0, 100.0)
PAIRS = {"small": (0.4, 0.05), "unequal": (1.6, 0.6), "near": (0.9, 0.5)}
COLORS: dict[Gradient, str] = {"sg": "sg", "none": "gradient", "wrong": "teacher", "iso": "outer"}

_VARIANTS: tuple[tuple[str, Gradient, bool], ...] = (
    ("loss with stop-gradient", "sg", True),
    ("no stop-gradient", "none", True),
    ("no predictor", "sg", False),
    ("IsoLoss", "iso", True),
)


@dataclass(frozen=True, eq=False)
class Setting:
    """One of the eight settings: eigenvalues ``mu`` (seeds, T, n) at times ``t`` (T,), from random encoders."""

    loss: Loss
    name: str
    gradient: Gradient
    p: float
    t: Float[np.ndarray, " T"]
    mu: Float[np.ndarray, "seeds T n"]


def eight_settings(
    seeds: tuple[int, ...],
    times: Float[np.ndarray, " T"],
    *,
    p: float = 0.5,
    noise: float = 0.1,
    n: int = 10,
    m: int = 15,
    rtol: float = 1e-7,
) -> list[Setting]:
    """Return the eigenvalues in {Euclidean, cosine} x {loss, no stop-gradient, no predictor, IsoLoss}, exactly.

    The toy setting, x ~ N(0, I_m), x1 = x, x2 = x + noise xi; encoders (n x m) with independent normal entries of
    variance 1/m, one for each of ``seeds``. Eigenvalues fall along the last axis at the start. Source of the eight
    settings: Halvagal et al. (2023).
    """
    starts = [random_spectrum(seed, n, m) for seed in seeds]
    found = []
    for (name, gradient, predictor), loss in itertools.product(_VARIANTS, LOSSES):
        power = p if predictor else 0.0
        option: dict[str, Any] = {"loss": loss, "gradient": gradient, "p": power, "rtol": rtol}
        runs = [eigenvalue_flow(mu0, times, data=toy_data(noise), **option).mu for mu0 in starts]
        found.append(Setting(loss, name, gradient, power, times, np.array(runs)))
    return found


def random_spectrum(seed: int, n: int = 10, m: int = 15) -> Float[np.ndarray, " n"]:
    """Return the eigenvalues of A A^T, largest first, for the encoder A of :func:`random_encoder`."""
    A = random_encoder(seed, n, m)
    return np.linalg.eigvalsh(A @ A.T)[::-1]


def random_encoder(seed: int, n: int = 10, m: int = 15) -> Float[np.ndarray, "n m"]:
    """Return an encoder with independent normal entries of variance 1/m."""
    return np.random.default_rng(seed).normal(size=(n, m)) / np.sqrt(m)


def pair_flow(
    loss: Loss, gradient: Gradient, p: float, noise: float, mu0: tuple[float, float], times: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T 2"]:
    """Return two eigenvalues over ``times``, larger first; infinite from the time of a blow-up on.

    With the cosine loss total and scale are known, so that the ratio obeys one equation, and one table of its velocity
    serves all starts. Raises ``ValueError`` unless mu0[0] >= mu0[1] > 0.
    """
    _validate.one_of("loss", loss, LOSSES)
    _validate.one_of("gradient", gradient, GRADIENTS)
    start = _validate.positive("mu0", _validate.shaped("mu0", mu0, (2,)))
    if start[0] < start[1]:
        raise ValueError(f"mu0 must fall; got {mu0}")
    if loss == "euclidean":
        run = eigenvalue_flow(start, times, loss=loss, gradient=gradient, p=p, data=toy_data(noise))
        mu = np.full((len(times), 2), np.inf)
        kept = min(len(run.mu), len(times)) if run.outcome.value != "diverged" else len(run.mu) - 1
        mu[:kept] = run.mu[:kept]
        mu[kept:, 1] = mu[kept - 1, 1]
        return mu
    from scipy.integrate import solve_ivp

    power = 1 + p if gradient == "iso" else 1.0
    total = float((start**power).sum())
    speed = _ratio_speed(gradient, p, noise)
    L0 = float(np.log(start[0] / start[1]))
    run = solve_ivp(
        lambda t, L: speed(np.minimum(L, LAST)) / total,
        (0.0, times[-1]),
        [L0],
        t_eval=times,
        method="LSODA",
        rtol=1e-8,
        atol=1e-12,
    )
    return _from_ratio(run.y[0], power, total)


def _from_ratio(L: np.ndarray, power: float, total: float) -> np.ndarray:
    larger = (total / (1 + np.exp(-power * L))) ** (1 / power)
    return np.stack([larger, larger * np.exp(-L)], axis=-1)


@cache
def _ratio_speed(gradient: Gradient, p: float, noise: float) -> Callable[[np.ndarray], np.ndarray]:
    """The velocity of L = ln(mu_1 / mu_2) at a conserved total of 1, for the cosine loss; constant beyond LAST."""
    from scipy.interpolate import CubicSpline

    if p == 0 and noise == 0:
        return np.zeros_like
    L = np.concatenate([np.linspace(0.0, 6.0, 25)[1:], np.linspace(7.0, LAST, 18)])
    mu = _from_ratio(L, 1 + p if gradient == "iso" else 1.0, 1.0)
    v = velocity_of_modes(mu, loss="cosine", gradient=gradient, p=p, data=toy_data(noise))
    speed = v[:, 0] / mu[:, 0] - v[:, 1] / mu[:, 1]
    odd = CubicSpline(np.concatenate([-L[:3][::-1], [0.0], L]), np.concatenate([-speed[:3][::-1], [0.0], speed]))
    return lambda ratio: odd(ratio)


def cartoon_scene(loss: Loss, gradient: Gradient, p: float, noise: float, start: str) -> Scene:
    """Draw the ellipse of two-dimensional codes at four times, and its two eigenvalues over time.

    ``start`` is a key of ``PAIRS``. The readout says what happens and why.
    """
    _validate.one_of("start", start, tuple(PAIRS))
    pair = PAIRS[start]
    times = np.unique(np.concatenate([TIMES, SHOWN]))
    mu = pair_flow(loss, gradient, p, noise, pair, times)
    angle = np.linspace(0, 2 * np.pi, 37)
    ink = COLORS[gradient]
    items: list[Any] = [Line(*_ellipse(np.array(pair), angle), color="muted", dash="dotted", label="t = 0")]
    dashes: tuple[Dash, ...] = ("dotted", "dashed", "solid")
    for moment, dash, width in zip(SHOWN, dashes, (1.4, 1.6, 2.4), strict=True):
        at = mu[np.searchsorted(times, moment)]
        if at[0] > 20:
            items.append(Line([np.nan], [np.nan], color=ink, dash=dash, label=f"t = {moment:g}: out of sight"))
        else:
            items.append(Line(*_ellipse(at, angle), color=ink, dash=dash, width=width, label=f"t = {moment:g}"))
    plane = Panel(
        items, xlabel="first coordinate of the code", ylabel="second", xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), equal=True
    )
    inside = np.where(mu < 3.2, mu, np.nan)
    curves = [
        Line(times, inside[:, 0], color="student", label="larger μ"),
        Line(times, inside[:, 1], color="student", dash="dashed", label="smaller μ"),
    ]
    marks = [Points(list(SHOWN), [0.0] * 3, color=ink, size=5, marker="diamond")]
    course = Panel(
        [*curves, *marks], xlabel="time t", ylabel="eigenvalue μ", xlim=(0.05, 300.0), ylim=(0.0, 2.4), xscale="log"
    )
    return Scene([plane, course], _words(loss, gradient, p, noise, np.array(pair), mu))


def _ellipse(mu: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.sqrt(mu[0]) * np.cos(angle), np.sqrt(mu[1]) * np.sin(angle)


def _words(loss: Loss, gradient: Gradient, p: float, noise: float, mu0: np.ndarray, mu: np.ndarray) -> str:
    end = mu[-1]
    now = f"At t = 300: μ = {_number(end[0])} and {_number(end[1])}."
    if p == 0 and gradient == "iso":
        return f"{_words(loss, 'sg', p, noise, mu0, mu)} Without a predictor the IsoLoss is the loss itself."
    if loss == "euclidean":
        return f"{now} {_euclidean_words(gradient, p, noise, mu0)}"
    return f"{now} {_cosine_words(gradient, p, noise, end)}"


def _number(value: float) -> str:
    if not np.isfinite(value) or value > 1e6:
        return "infinite"
    return f"{value:.2f}" if value >= 0.005 else f"{value:.0e}" if value > 1e-12 else "0 (below 10⁻¹²)"


def _euclidean_words(gradient: Gradient, p: float, noise: float, mu0: np.ndarray) -> str:
    if p == 0 and (gradient == "sg" or not noise):
        return (
            "Without a predictor the clean code is already the best prediction of the other one: the expected gradient "
            "is zero."
        )
    if p == 0:
        return (
            "Without a predictor, and with the noisy code differentiated, only a smaller code makes a smaller error: "
            "all modes fade at the rate 2ε²."
        )
    if gradient == "sg":
        return "Each mode runs to 1 on its own, at a rate proportional to μᵖ: the small one waits."
    if gradient == "iso":
        return "Each mode runs to 1 on its own, and the small one grows at the same relative rate as the large one."
    if gradient == "none" and noise:
        return (
            "Both branches shrink the error, and a smaller code has a smaller error: every mode collapses, slowly "
            "where it passes 1."
        )
    if gradient == "none":
        return (
            "Every mode falls. Without noise one that comes from above stops at 1, and any push below 1 would let it "
            "fall on."
        )
    fates = ["runs away to infinity" if x > 1 + noise**2 else "collapses" for x in mu0**p]
    return (
        "The target chases the prediction instead of the reverse. Below μᵖ = 1 + ε² the prediction is the smaller one "
        f"and both shrink, above it both grow: the larger mode {fates[0]}, the smaller {fates[1]}."
    )


def _cosine_words(gradient: Gradient, p: float, noise: float, end: np.ndarray) -> str:
    if not noise and p == 0:
        return "Without predictor and noise the two codes are the same, the cosine is 1, and nothing moves."
    if p == 0:
        return "The noise alone equalises the modes, at a rate proportional to ε²; their total stays."
    if gradient in ("sg", "iso"):
        kept = "total μ" if gradient == "sg" else "sum of the μ to the power 1 + p"
        return (
            "The predictor stretches the larger mode further; turning its output back to the target takes from the "
            f"larger mode and gives to the smaller: they equalise, and the {kept} stays."
        )
    if gradient == "wrong":
        return (
            "The target is turned to the stretched prediction: the larger mode grows at the cost of the smaller until "
            "one dimension is left. The total stays, so this is no collapse to zero."
        )
    if end[1] > 0.9 * end[0]:
        return "The two branches cancel but for the noise, which favours many equal modes: they equalise slowly."
    despite = " in spite of the noise" if noise else ""
    return (
        "The two branches cancel where the modes are equal. From a start this unequal the larger mode wins"
        f"{despite}: one dimension is left, of the same total."
    )


def fence_ratio(p: float, noise: float) -> float:
    """Return the ratio mu_1 / mu_2 of two modes from which the larger wins: cosine loss, no stop-gradient.

    Where it is exceeded the smaller mode dies, below it the two become equal. 1 without noise; infinite if it is beyond
    exp(24). ``p`` > 0.
    """
    from scipy.optimize import brentq

    _validate.scalar("p", p, _validate.positive)
    if _validate.scalar("noise", noise, _validate.nonnegative) == 0:
        return 1.0
    speed = _ratio_speed("none", float(p), float(noise))
    grid = np.linspace(1e-3, LAST, 400)
    beyond = np.flatnonzero(speed(grid) > 0)
    if not beyond.size:
        return np.inf
    if beyond[0] == 0:
        return 1.0
    return float(np.exp(brentq(speed, grid[beyond[0] - 1], grid[beyond[0]])))


def matrix_scene(gradient: Gradient, tau: float, lam: float, size: float) -> Scene:
    """Draw a 2 x 2 encoder learning two directions, shared by 1 and by ``tau``, under weight decay ``lam``.

    White inputs, Y = diag(1, tau), DirectPred (p = 1/2), Euclidean loss, a start of size ``size`` that is not aligned.
    First panel: the curve S^{1/2} e, e on the unit circle, at four times; second: the eigenvalues of S = A^T A.
    """
    from ssltheory.directpred import directpred_flow
    from ssltheory.moments import completed_moments

    times = np.unique(np.concatenate([[0.05], np.geomspace(0.3, 400.0, 42), SHOWN]))
    A = size * np.array([[0.9, 0.5], [-0.3, 0.6]])
    data = completed_moments(np.eye(2), np.diag([1.0, tau]))
    run = directpred_flow(A, data, lam, 0.5, gradient=gradient, duration=400.0, samples=times, rtol=1e-8)
    S = run.A.mT @ run.A
    mu, V = np.linalg.eigh(S)
    angle = np.linspace(0, 2 * np.pi, 33)
    circle = np.array([np.cos(angle), np.sin(angle)])
    ink = COLORS[gradient]
    curves: list[Any] = []
    dashes: tuple[Dash, ...] = ("dotted", "dotted", "dashed", "solid")
    for moment, dash in zip((times[0], *SHOWN), dashes, strict=True):
        k = int(np.searchsorted(times, moment))
        x, y = (V[k] * np.sqrt(np.maximum(mu[k], 0.0))) @ V[k].T @ circle
        first = k == 0
        curves.append(
            Line(x, y, color="muted" if first else ink, dash=dash, label="start" if first else f"t = {moment:g}")
        )
    edge = (-1.1, 1.1)
    plane = Panel(curves, xlabel="shared by 1", ylabel="shared by τ₂", equal=True, xlim=edge, ylim=edge)
    sizes = [
        Line(times, mu[:, 1], color=ink, label="larger eigenvalue"),
        Line(times, mu[:, 0], color=ink, dash="dashed", label="smaller eigenvalue"),
    ]
    course = Panel(sizes, xlabel="time t", ylabel="eigenvalues of S", xlim=(0.05, 400.0), ylim=(0.0, 1.1), xscale="log")
    alive = [float(S[-1, j, j]) > 1e-3 for j in (0, 1)]
    return Scene([plane, course], _matrix_words(gradient, tau, lam, alive))


def _matrix_words(gradient: Gradient, tau: float, lam: float, alive: list[bool]) -> str:
    what = {2: "both directions are kept", 1: "one direction is lost", 0: "the whole code collapses"}[sum(alive)]
    if gradient == "iso":
        rule = f"IsoLoss keeps what is shared more than the decay, whatever the start: τ₂ = {tau:g}, λ = {lam:g}"
    else:
        worth = [t * t > 4 * lam for t in (1.0, tau)]
        could = {2: "both directions could live", 1: "only the first could live", 0: "none could live"}[sum(worth)]
        rule = f"Stop-gradient: by τ² > 4λ {could}, and then the start must be large enough"
    return f"{rule}; {what}."
