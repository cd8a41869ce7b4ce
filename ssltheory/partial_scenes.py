"""What the explorers of the chapter on partial collapse show: the shares of each rank, and the plane of rank one."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ssltheory import _validate
from ssltheory.explorers import Arrows, Band, Circle, Dash, Line, Panel, Points, Scene
from ssltheory.intervals import share_interval
from ssltheory.rank_deficient import rank_one_equilibria, rank_one_velocity, rotation_matrix

G, LAM = 1.0, 0.05
STARTS = ((1.05, 0.0), (0.05, 0.0), (-0.15, 0.1), (-0.7, 0.7), (0.5, -0.85))
RANK_COLORS = ("origin", "inner", "outer", "converged")


def rank_scene(entries: Sequence[dict[str, Any]], lam: float, scale: float, kappa: float | str) -> Scene:
    """Draw the share of each limiting rank over the width n, from the sweep's cells of exchangeable views, m = 2.

    ``kappa`` is the teacher's rate, or "sg". Bands are 95% intervals. Raises ``ValueError`` for a cell that the record
    does not have.
    """
    chosen = [
        e
        for e in entries
        if (e["m"], e["family"], e["lam"], e["scale"]) == (2, "exchangeable", lam, scale)
        and "step" not in e
        and e.get("kappa", "sg") == kappa
    ]
    if not chosen:
        raise ValueError(f"the sweep has no cell with lam = {lam!r}, scale = {scale!r}, kappa = {kappa!r}")
    chosen = sorted(chosen, key=lambda e: e["n"])
    n = [e["n"] for e in chosen]
    items: list[Any] = []
    styles: tuple[Dash, ...] = ("dotted", "dashed", "solid")
    words = ("rank 0, collapse", "rank 1, partial collapse", "rank 2, full")
    for k in range(3):
        found = [(e["counts"][f"rank {k}"], e["starts"]) for e in chosen]
        ends = np.array([share_interval(*f) for f in found])
        items.append(Band(n, ends[:, 0], ends[:, 1], color=RANK_COLORS[k], opacity=0.2))
        share = [count / starts for count, starts in found]
        items.append(Line(n, share, color=RANK_COLORS[k], dash=styles[k], label=words[k]))
        items.append(Points(n, share, color=RANK_COLORS[k], size=6))
    panel = Panel(items, xlabel="n, width of the code", ylabel="share of starts", ylim=(0, 1), aspect=0.6)
    first, last = (1 - e["counts"]["rank 2"] / e["starts"] for e in (chosen[1], chosen[-1]))
    teacher = "stop-gradient" if kappa == "sg" else f"EMA with κ = {kappa:g}"
    return Scene(
        [panel],
        f"{teacher}, λ = {lam:g}, scale {scale:g}: {first:.1%} of starts lose a direction at n = 3, "
        f"{last:.1%} at n = {n[-1]}.",
    )


def rotation_scene(phi: float, stretch: float) -> Scene:
    """Draw the balanced states of rank one for X = diag(1 + stretch, 1 - stretch) and Y = Rot(phi), lam = 0.05.

    The first panel is the plane of a, A = u a^T, with the flow's direction, paths from five starts and the equilibria;
    the second the size of the code over time. ``phi`` in degrees, ``stretch`` in [0, 1).
    """
    phi = _validate.scalar("phi", phi)
    stretch = _validate.scalar("stretch", stretch, _validate.nonnegative)
    if stretch >= 1:
        raise ValueError(f"stretch must be less than 1; got {stretch:.6g}")
    X, Y = np.diag([1 + stretch, 1 - stretch]), G * rotation_matrix(np.deg2rad(phi))
    grid = np.linspace(-1.25, 1.25, 11)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    points = points[np.hypot(*points.T) > 0.05]
    moved = rank_one_velocity(points, X, Y, LAM)
    arrows = 0.15 * moved / np.maximum(np.hypot(*moved.T), 1e-12)[:, None]
    items: list[Any] = [Arrows(points[:, 0], points[:, 1], arrows[:, 0], arrows[:, 1], width=1.0)]
    ended, turning = 0, False
    for k, start in enumerate(STARTS):
        _, path, size, turns = _path(phi, stretch, *start)
        items.append(Line(path[0], path[1], color="sg", width=1.5, label="" if k else "paths"))
        ended += size < 0.02
        turning |= size >= 0.02 and turns > 0.5
    first, second = np.array(STARTS).T
    items.append(Points(first, second, color="muted", size=5, hollow=True, label="starts"))
    items.append(Points([0], [0], color="origin", size=9, label="origin"))
    r, v = rank_one_equilibria(X, Y, LAM)
    for root, direction in zip(r, v, strict=True):
        if root > 0:
            x, y = root * direction
            items.append(Points([x, -x], [y, -y], color="outer", size=9, marker="diamond"))
    half = np.cos(np.deg2rad(phi)) * G / 2
    if stretch == 0 and half**2 > LAM:
        items.append(
            Circle(
                [0],
                [0],
                [half + np.sqrt(half**2 - LAM)],
                color="outer",
                dash="dashed",
                width=1.5,
                label="circle of the rotating state",
            )
        )
    plane = Panel(items, xlabel="a₁", ylabel="a₂", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), equal=True)
    t, path, _, _ = _path(phi, stretch, *STARTS[0])
    course = Panel(
        [
            Line(t, path[0], color="student", width=1.4, label="a₁"),
            Line(t, np.hypot(*path), color="student", dash="dashed", width=1.4, label="|a|"),
        ],
        xlabel=f"time, from the start ({STARTS[0][0]:g}, {STARTS[0][1]:g})",
        ylabel="a₁ and the size |a|",
        xlim=(0, 50),
        ylim=(-1.4, 1.4),
    )
    if ended == len(STARTS):
        words = "every path drawn ends at the origin"
    elif turning:
        words = f"the paths that live turn for ever; {ended} of {len(STARTS)} collapse"
    else:
        words = f"the paths that live come to rest; {ended} of {len(STARTS)} collapse"
    data = "X = I" if stretch == 0 else f"X = diag({1 + stretch:.1f}, {1 - stretch:.1f})"
    return Scene([plane, course], f"φ = {phi:.0f}°, {data}: {words}.")


@cache
def _path(phi: float, stretch: float, a1: float, a2: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Times and path until time 50; the size at time 150, and the number of turns between the times 100 and 150."""
    from scipy.integrate import solve_ivp

    X, Y = np.diag([1 + stretch, 1 - stretch]), G * rotation_matrix(np.deg2rad(phi))
    times = np.concatenate([np.linspace(0.0, 50.0, 111), np.linspace(100.0, 150.0, 201)])
    run = solve_ivp(
        lambda _, a: rank_one_velocity(a, X, Y, LAM), (0, 150), [a1, a2], method="LSODA", t_eval=times, rtol=1e-7
    )
    late = run.y[:, 111:]
    angle = np.unwrap(np.arctan2(late[1], late[0]))
    return run.t[:111], run.y[:, :111], float(np.hypot(*late[:, -1])), float(abs(angle[-1] - angle[0]) / (2 * np.pi))
