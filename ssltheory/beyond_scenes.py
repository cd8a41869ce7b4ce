"""What the explorers of the chapter beyond the linear case show: the clock of weight decay under the cosine loss."""

from functools import cache
from typing import Any

import numpy as np

from ssltheory.cosine import CosineRun, cosine_loss, train_cosine
from ssltheory.explorers import Line, Panel, Scene
from ssltheory.linear import Dynamics

STEP, CLOCK, ALPHA = 0.01, 60.0, 0.998
NAMES = {"gradient": "gradient of E", "sg": "stop-gradient", "ema": "EMA"}


def mirrored_pairs(
    rng: np.random.Generator, problems: int, count: int = 50, m: int = 3, noise: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``problems`` sets of pairs (problems, 2 ``count``, m), x = s + e and y = s + e' and their mirror images.

    s is normal with the covariance of (I + 0.3 M) times a standard normal vector, M standard normal for each problem.
    """
    L = np.eye(m) + 0.3 * rng.standard_normal((problems, m, m))
    s = rng.standard_normal((problems, count, m)) @ np.swapaxes(L, 1, 2)
    x, y = (s + noise * rng.standard_normal(s.shape) for _ in range(2))
    return np.concatenate([x, -x], axis=1), np.concatenate([y, -y], axis=1)


@cache
def _run(lam: float, dynamics: Dynamics) -> tuple[CosineRun, np.ndarray]:
    rng = np.random.default_rng(4)
    x, y = mirrored_pairs(rng, 1)
    A = rng.standard_normal((1, 4, 3)) / 3**0.5
    B = rng.standard_normal((1, 4, 4)) / 2
    alpha = ALPHA if dynamics == "ema" else None
    # Later the step is too long for so small an encoder: the iteration leaves the flow, and rounding decides where to.
    end = np.log1p(2 * lam * CLOCK) / (2 * lam) if lam else CLOCK
    run = train_cosine(x, y, dynamics, A, B, lam=lam, step=STEP, steps=round(end / STEP), alpha=alpha, record_every=60)
    return run, np.array([cosine_loss(x, y, a, b)[0] for a, b in zip(run.A, run.B, strict=True)])


def clock_scene(lam: float, dynamics: Dynamics) -> Scene:
    """Draw the size of A over time, and the loss over the clock tau = (e^{2 lam t} - 1) / (2 lam); ``lam`` >= 0.

    One problem, n = 4, m = 3, followed until tau = 60; the second panel also has the run without decay, and the loss
    over ordinary time.
    """
    run, E = _run(lam, dynamics)
    free, E0 = _run(0.0, dynamics)
    t, t0 = STEP * run.steps, STEP * free.steps
    tau = np.expm1(2 * lam * t) / (2 * lam) if lam else t
    law = run.size[0, 0] * np.exp(-lam * t)
    items: list[Any] = [
        Line(t, law, color="muted", dash="dashed", width=3.0, label="|A(0)| exp(−λt)"),
        Line(t, run.size[:, 0], color=dynamics, width=1.6, label=NAMES[dynamics]),
    ]
    left = Panel(items, xlabel="t, time", ylabel="|A|", yscale="log", xlim=(0, CLOCK), ylim=(0.03, 10))
    items = [
        Line(t0, E0, color="muted", width=5.0, label="the same without decay"),
        Line(tau, E, color=dynamics, width=1.6),
        Line(t, E, color=dynamics, dash="dotted", width=1.6, label="over ordinary time"),
    ]
    right = Panel(items, xlabel="clock of the direction", ylabel="data's part of E", xlim=(0, CLOCK), ylim=(0, 0.9))
    gap = np.abs(np.interp(tau, t0, E0) - E).max()
    said = f"{NAMES[dynamics]}, λ = {lam:g}: at time {t[-1]:.0f} the clock shows {tau[-1]:,.0f}, the size is "
    said += f"{run.size[-1, 0]:.2g}; on the clock the loss differs from the run without decay by at most {gap:.3f}."
    return Scene([left, right], said)
