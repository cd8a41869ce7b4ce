"""What the explorer of the chapter on objectives shows: the work that a training field does round a loop."""

from functools import cache
from typing import Any, Literal

import numpy as np

from ssltheory import _validate
from ssltheory.curl import Circle, Field, flat_field, loop_integral, work_along
from ssltheory.explorers import Arrows, Line, Panel, Points, Scene
from ssltheory.scalar import scalar_problem

RHO, TAU, SIGMA, LAM = 1.0, 0.8, 1.0, 0.05
FROZEN = 0.6
NAMES = {"sg": "stop-gradient", "frozen": "frozen teacher", "gradient": "gradient of E"}
_ROLES = {"sg": "sg", "frozen": "teacher", "gradient": "gradient"}
_VIEW = ((0.0, 1.2), (-0.4, 1.2))


@cache
def _field(training: str) -> Field:
    problem = scalar_problem(RHO, TAU, LAM, 1, SIGMA)
    if training == "frozen":
        return flat_field(problem, "sg", teacher=np.array([[FROZEN]]))
    return flat_field(problem, "sg" if training == "sg" else "gradient")


def loop_scene(r: float, s: float, radius: float, training: Literal["sg", "frozen", "gradient"]) -> Scene:
    r"""Draw a loop in the plane of aligned states, a = r u and B = s u u^T, and the height along it.

    The loop is the circle of ``radius`` > 0 about (``r``, ``s``), gone round twice from r towards s; the height is
    minus the work done so far, which would be a potential's value if the field had one. rho = 1, tau = 0.8, lam = 0.05;
    the frozen teacher is c = 0.6 u. For stop-gradient a lap changes the height by - tau r (pi radius^2).
    """
    _validate.one_of("training", training, tuple(NAMES))
    field, role = _field(training), _ROLES[training]
    loop = Circle(np.array([r, s]), np.array([1.0, 0.0]), np.array([0.0, 1.0]), radius)
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0.0, 1.2, 11), np.linspace(-0.4, 1.2, 11)))
    u, v = field(np.column_stack([x, y])).T
    length = 0.1 / np.maximum(np.hypot(u, v), 1e-12)
    lap = loop.points(np.linspace(0, 2 * np.pi, 33))
    quarter = loop.points(np.array([np.pi / 4, np.pi / 4 + 0.6]))
    ahead = quarter[1] - quarter[0]
    items: list[Any] = [
        Arrows(x, y, u * length, v * length, label="direction of training"),
        Line(lap[:, 0], lap[:, 1], color=role, width=2.4, label="the loop"),
        Arrows(quarter[:1, 0], quarter[:1, 1], ahead[:1], ahead[1:], color=role, width=2.4),
        Points(lap[:1, 0], lap[:1, 1], color="ink", size=8, label="start of each lap"),
    ]
    plane = Panel(
        items,
        xlabel="r, size of the encoder",
        ylabel="s, size of the predictor",
        xlim=_VIEW[0],
        ylim=_VIEW[1],
        equal=True,
    )
    angles = np.linspace(0, 4 * np.pi, 65)
    height = -work_along(field, loop, angles)
    marks = height[[0, 32, 64]]
    climb = Panel(
        [
            Line(angles / (2 * np.pi), height, color=role),
            Points([0, 1, 2], marks, color="ink", size=8),
        ],
        xlabel="laps",
        ylabel="height (= −work)",
        xlim=(-0.05, 2.05),
        ylim=(-0.55, 0.2),
        aspect=0.9,
    )
    drop = loop_integral(field, loop)
    if training == "sg":
        words = f"each lap ends {drop:.4f} lower: τ r = {TAU * r:.2f} times the loop's area {loop.area:.4f}"
    else:
        words = "each lap ends where it began"
    return Scene([plane, climb], f"{NAMES[training]}, loop about ({r:.1f}, {s:.1f}): {words}.")
