"""What the explorers of the chapter on constraints show: the sets of singular values, and the minima in them."""

from typing import Any

import numpy as np

from ssltheory import _validate
from ssltheory.constrained_minima import constrained_minimum
from ssltheory.explorers import Band, Line, Panel, Points, Scene

PAIRS = {
    "both": (-1.0, -0.5),
    "equal": (-1.0, -1.0),
    "mixed": (-1.0, 0.5),
    "zero": (-1.0, 0.0),
    "none": (0.4, 1.0),
}
"""Eigenvalues gamma_1, gamma_2 that the first explorer offers."""
SPECTRA = {
    "negative": (-1.0, -0.7, -0.4, -0.2),
    "mixed": (-1.0, -0.6, 0.3, 0.8),
    "one": (-1.0, 0.2, 0.5, 0.9),
    "none": (0.1, 0.3, 0.6, 1.0),
}
"""Eigenvalues that the second explorer offers, m = 4."""
SETS = {
    "frobenius": "|q|_F at most 1",
    "nuclear": "s₁ + s₂ at most 1",
    "operator": "|q|₂ at most 1",
    "frames 2": "frames, h = 2",
    "frames 3": "frames, h = 3",
    "frames 4": "frames, h = 4",
}
"""Sets of q = diag(s_1, s_2), for m = n = 2, that the first explorer offers."""


def region_scene(allowed: str, spectrum: str) -> Scene:
    """Draw the singular values (s_1, s_2) that a constraint allows, level lines of the loss, and where it is least.

    q = s_1 v_1 v_1^T + s_2 v_2 v_2^T, m = n = 2. Raises ``ValueError`` for another set or spectrum.
    """
    _validate.one_of("allowed", allowed, tuple(SETS))
    _validate.one_of("spectrum", spectrum, tuple(PAIRS))
    gamma = np.array(PAIRS[spectrum])
    grid = np.linspace(0, 1, 41)
    items: list[Any] = []
    for level in np.arange(-1.35, 1.4, 0.15):
        x, y = _level(gamma, level)
        if len(x) > 1:
            items.append(Line(x, y, color="muted", width=0.8, dash="dotted"))
    if allowed in ("frobenius", "nuclear", "operator", "frames 4"):
        top = {"frobenius": np.sqrt(1 - grid**2), "nuclear": 1 - grid}.get(allowed, np.ones_like(grid))
        items.append(Band(grid, 0 * grid, top, color="student", opacity=0.18, label="allowed"))
    elif allowed == "frames 3":
        edge = np.r_[grid, np.ones_like(grid)], np.r_[np.ones_like(grid), grid[::-1]]
        items.append(Line(*edge, color="student", width=4.0, label="allowed"))
    else:
        items.append(Points([1], [1], color="student", size=15, hollow=True, label="allowed"))
    s1, s2 = np.unique(np.round(_candidates(allowed), 12), axis=1)
    loss = gamma[0] * s1**2 + gamma[1] * s2**2
    best = loss < loss.min() + 1e-9
    items.append(Points(s1[best], s2[best], color="outer", size=9, label="least loss"))
    rank = (s1[best] > 0).astype(int) + (s2[best] > 0)
    if best.sum() > 1:
        words = "a whole family of best codes, of " + ("ranks one and two" if len(set(rank)) > 1 else "one rank")
    else:
        words = ("the best code is zero", "the best code has rank one", "the best code has rank two")[rank[0]]
    text = f"γ = ({gamma[0]:g}, {gamma[1]:g}), {SETS[allowed]}: least loss {loss.min() + 0.0:.2f}; {words}."
    panel = Panel(items, xlabel="s₁, along v₁", ylabel="s₂, along v₂", xlim=(-0.04, 1.3), ylim=(-0.04, 1.3), equal=True)
    return Scene([panel], text.replace("-", "−"))


def minima_scene(h: int, n: int, spectrum: str) -> Scene:
    """Draw the best singular values under four constraints, and the least losses over the width; m = 4.

    Raises ``ValueError`` for another spectrum, a width below 4 or n above 4.
    """
    _validate.one_of("spectrum", spectrum, tuple(SPECTRA))
    gamma = np.array(SPECTRA[spectrum])
    kinds = {"frames": ("outer", "circle"), "operator": ("student", "square"), "frobenius": ("ema", "diamond")}
    bars: list[Any] = []
    for shift, (kind, (color, marker)) in zip((-0.18, 0.0, 0.18), kinds.items(), strict=True):
        s = constrained_minimum(gamma, n, kind, h).singular  # type: ignore[arg-type]
        place = np.arange(1, n + 1) + shift
        x = np.column_stack([place, place, np.full(n, np.nan)]).ravel()
        y = np.column_stack([np.zeros(n), s, np.full(n, np.nan)]).ravel()
        bars.append(Line(x, y, color=color, width=3.0))
        name = {"frames": "frames", "operator": "|q|₂ ≤ 1", "frobenius": "|q|_F ≤ 1"}[kind]
        bars.append(Points(place, s, color=color, size=8, marker=marker, label=name))  # type: ignore[arg-type]
    widths = np.arange(4, 9)
    lines: list[Any] = []
    for kind, (color, marker) in kinds.items():
        loss = [constrained_minimum(gamma, n, kind, int(w)).loss for w in widths]  # type: ignore[arg-type]
        dash = {"frames": "solid", "operator": "dashed", "frobenius": "dotted"}[kind]
        lines.append(Line(widths, loss, color=color, dash=dash))  # type: ignore[arg-type]
        now = constrained_minimum(gamma, n, kind, h).loss  # type: ignore[arg-type]
        lines.append(Points([h], [now], color=color, size=9, marker=marker))  # type: ignore[arg-type]
    frames, free = (constrained_minimum(gamma, n, kind, h) for kind in ("frames", "operator"))
    forced = round(float((frames.singular - free.singular).sum()))
    negative = int((gamma < 0).sum())
    if forced:
        tail = f"frames must keep {forced} direction{'s' * (forced > 1)} of positive contrast"
    elif negative < n:
        tail = f"only {negative} of {n} dimensions are used" if negative else "nothing is worth keeping"
    else:
        tail = "all dimensions are used"
    text = f"h = {h}, n = {n}: least loss {frames.loss:.2f} on frames, {free.loss:.2f} with |q|₂ ≤ 1; {tail}."
    panels = [
        Panel(
            bars,
            xlabel="i",
            ylabel="singular value",
            xlim=(0.5, 4.5),
            ylim=(-0.05, 1.35),
            xticks={i: str(i) for i in range(1, 5)},
        ),
        Panel(lines, xlabel="width h", ylabel="least loss", xlim=(3.7, 8.3), xticks={int(w): str(w) for w in widths}),
    ]
    return Scene(panels, text.replace("-", "−"))


def _candidates(allowed: str) -> tuple[np.ndarray, np.ndarray]:
    """Points among which the loss is least: it is a quadratic form without mixed term, least on corners and edges."""
    t = np.linspace(0, 1, 21)
    if allowed == "frames 2":
        return np.ones(1), np.ones(1)
    if allowed == "frames 3":
        return np.r_[t, np.ones(20)], np.r_[np.ones(21), t[:-1]]
    if allowed == "frobenius":
        edge = np.cos(t * np.pi / 2), np.sin(t * np.pi / 2)
    elif allowed == "nuclear":
        edge = t, 1 - t
    else:
        edge = np.r_[t, np.ones(20)], np.r_[np.ones(21), t[:-1]]
    return np.r_[0, t, 0 * t, edge[0]], np.r_[0, 0 * t, t, edge[1]]


def _level(gamma: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The line gamma_1 s_1^2 + gamma_2 s_2^2 = level in the square of side 1.3."""
    side = 1.3
    if gamma[1] == 0:
        square = level / gamma[0]
        if not 0 < square < side**2:
            return np.zeros(0), np.zeros(0)
        return np.full(2, np.sqrt(square)), np.array([0, side])
    x = np.linspace(0, side, 131)
    if gamma[0] * gamma[1] > 0 and level / gamma[0] > 0:  # a quarter of an ellipse, from axis to axis
        angle = np.linspace(0, np.pi / 2, 60)
        x = np.sqrt(level / gamma[0]) * np.sin(angle)
    square = (level - gamma[0] * x**2) / gamma[1]
    keep = (square >= -1e-12) & (square <= side**2) & (x <= side)
    return x[keep], np.sqrt(square[keep].clip(0))
