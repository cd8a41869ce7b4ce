"""What the explorer of the chapter on exact dynamics shows: one network, its exact step, a flow, and Euler's steps."""

from functools import cache
from typing import Any, Literal, get_args

import numpy as np

from ssltheory import _validate
from ssltheory.contrast import contrast_matrix, linear_loss, moon_triples
from ssltheory.explorers import Circle, Line, Panel, Points, Scene
from ssltheory.orthogonal_flow import (
    FOLLOWED,
    Flow,
    Retraction,
    descend_network,
    euler_path,
    orthogonal_flow,
    random_network,
    step_path,
)
from ssltheory.single_code import single_solution
from ssltheory.stiefel import ROTATION, Tangent

__all__ = ["DURATION", "Data", "Rule", "frame_scene", "scene_gamma"]

Rule = Literal["plain", "grassmann", "canonical", "qr"]
Data = Literal["moons", "last", "positive"]
RULES: dict[str, tuple[Tangent | None, Retraction]] = {
    "plain": (None, "polar"),
    "grassmann": ("grassmann", "polar"),
    "canonical": ("canonical", "polar"),
    "qr": (None, "qr"),
}
"""Part of the gradient and way back to the frames."""
DURATION = 8.0


@cache
def scene_gamma(data: Data) -> np.ndarray:
    """The contrast matrix: of half moons as they are, diag(-0.8, -1) with the wanted axis last, or diag(0.3, 1).

    Raises ``ValueError`` for another name.
    """
    _validate.one_of("data", data, get_args(Data))
    if data == "moons":
        return contrast_matrix(*moon_triples(np.random.default_rng(0))[:3])
    return np.diag([-0.8, -1.0] if data == "last" else [0.3, 1.0])


def frame_scene(data: Data, rule: Rule, width: int, step: float, seed: int) -> Scene:
    """Draw the loss over time and the path of q in the plane of the views, for m = 2 and n = 1.

    Dots: the weights of a network of this ``width``, trained by ``rule``. The line through them: the exact step, which
    does not know the width. Bold: the flow of the rule. Dashed: Euler's steps for the Grassmann flow. Raises
    ``ValueError`` for other names, a width below 2 or a step that is not positive.
    """
    _validate.one_of("rule", rule, get_args(Rule))
    step = _validate.scalar("step", step, _validate.positive)
    gamma = scene_gamma(data)
    W1, W2 = random_network(np.random.default_rng(seed), _validate.count("width", width, 2), 2, 1)
    q = W1.T @ W2
    tangent, retraction = RULES[rule]
    steps = round(DURATION / step)
    every = max(steps // 20, 1)
    steps -= steps % every
    times = step * every * np.arange(steps // every + 1)
    network = descend_network(
        W1, W2, gamma, step=step, steps=steps, every=every, tangent=tangent, retraction=retraction
    )[0]
    exact = step_path(q, gamma, step, steps, tangent=tangent, retraction=retraction)
    euler = euler_path(q, gamma, step, steps, limit=50)
    smooth = _flow(data, FOLLOWED[tangent, retraction], width, seed)
    drawn: list[tuple[Any, np.ndarray, dict[str, Any]]] = [
        (smooth[0], smooth[1], {"color": "teacher", "width": 3.0, "label": "flow of this rule"}),
        (times, euler[::every], {"color": "ema", "dash": "dashed", "label": "Euler, equation (12)"}),
        (times, exact[::every], {"color": "sg", "width": 1.0, "label": "exact step"}),
    ]
    values, vectors = np.linalg.eigh(gamma)
    best = values[0] if values[0] < 0 or width == 2 else 0.0
    left: list[Any] = [Line([0, DURATION], [best, best], color="muted", width=1.0, dash="dotted", label="least loss")]
    plane: list[Any] = [Circle([0], [0], [1], color="muted", width=1.0, dash="dotted")]
    for t, path, style in drawn:
        with np.errstate(invalid="ignore"):
            left.append(Line(t, _loss(path, gamma), **style))
        plane.append(Line(path[:, 0, 0], path[:, 1, 0], **style))
    left.append(Points(times, _loss(network, gamma), color="sg", size=5, label=f"network of width {width}"))
    plane.append(Points(network[:, 0, 0], network[:, 1, 0], color="sg", size=5))
    plane.append(Points([q[0, 0]], [q[1, 0]], color="ink", size=9, hollow=True, label="start"))
    ends = np.outer([-1, 1], vectors[:, 0]) if best else np.zeros((1, 2))
    plane.append(Points(ends[:, 0], ends[:, 1], color="outer", size=9, marker="square", label="least loss"))
    panels = [
        Panel(left, xlabel="time", ylabel="loss", xlim=(0, DURATION), ylim=(-1.15, 0.9)),
        Panel(plane, xlabel="q₁", ylabel="q₂", xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), equal=True),
    ]
    return Scene(panels, _words(best, _loss(network, gamma)[-1], _loss(euler, gamma)))


@cache
def _flow(data: Data, kind: Flow, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    W1, W2 = random_network(np.random.default_rng(seed), width, 2, 1)
    times, q, gamma = np.concatenate([[0.0], np.geomspace(0.05, DURATION, 28)]), W1.T @ W2, scene_gamma(data)
    if kind != "qr":
        values, vectors = np.linalg.eigh(gamma)
        start = (vectors.T @ q)[:, 0]
        start /= max(np.linalg.norm(start), 1.0)
        return times, (single_solution(start, values, times, ROTATION[kind]) @ vectors.T)[:, :, None]
    path = [q]
    for span in np.diff(times):  # on the circle, which may repel, rounding is removed at each time
        q = orthogonal_flow(q, gamma, kind, duration=span, samples=2).q[-1]
        path.append(q / np.linalg.norm(q) if width == 2 else q)
        q = path[-1]
    return times, np.stack(path)


def _loss(path: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    good = np.isfinite(path).all(axis=(1, 2))
    losses = np.full(len(path), np.nan)
    losses[good] = linear_loss(path[good], gamma)
    return losses


def _words(best: float, network: float, euler: np.ndarray) -> str:
    def number(value: float) -> str:
        return f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")

    told = f"at time {DURATION:.0f} the network's loss is {number(network)}, the least is {number(best)}"
    if not np.isfinite(euler[-1]) or abs(euler[-1]) > 5:
        return f"{told}; Euler's steps have left every bound"
    swing = np.ptp(euler[-8:])
    if swing > 0.02:
        return f"{told}; Euler's steps do not settle"
    return f"{told}; Euler's steps end at {number(euler[-1])}"
