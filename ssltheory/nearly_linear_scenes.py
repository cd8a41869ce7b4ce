"""What the explorer of the chapter on nearly linear networks shows: outputs of two networks, and their gap."""

from functools import cache
from typing import Literal, get_args

import numpy as np

from ssltheory import _validate
from ssltheory.explorers import Line, Panel, Points, Scene
from ssltheory.nearly_linear import MAIN, Activation, Trained, root_mean_square, setting_views, train_network
from ssltheory.orthogonal_flow import random_network

Stage = Literal["start", "trained"]
WIDTHS = (10, 40, 160, 640)
SEEDS = (0, 1, 2)
_STEPS = 80
_SHOWN = 40
_SIDE = 2.6


def outputs_scene(activation: Activation, h: int, stage: Stage, seed: int) -> Scene:
    """Draw the outputs of a nonlinear network over those of a linear one from the same start, and the gap over widths.

    Both networks have one output and see the half moons; ``"trained"`` means after 80 steps of 0.1 of projected
    descent, each by its own gradients. Outputs are in units of the root mean square of the linear output, and the
    nonlinear network's value at the origin, which only the sigmoid has, is subtracted in the first panel.

    Raises ``ValueError`` for another activation, width, stage or seed.
    """
    _validate.one_of("stage", stage, get_args(Stage))
    if h not in WIDTHS or seed not in SEEDS:
        raise ValueError(f"got width {h} and seed {seed}; need a width of {WIDTHS} and a seed of {SEEDS}")
    linear, other, offset = _outputs(activation, h, seed)[stage]
    size = float(root_mean_square(linear[:, None]))
    outputs = Panel(
        [
            Line([-_SIDE, _SIDE], [-_SIDE, _SIDE], color="muted", dash="dashed", width=1.2, label="equal"),
            Points(linear[:_SHOWN] / size, (other[:_SHOWN] - offset) / size, color="student", size=6, label="views"),
        ],
        xlabel="linear network",
        ylabel="nonlinear network, less f(0)",
        xlim=(-_SIDE, _SIDE),
        ylim=(-_SIDE, _SIDE),
        equal=True,
    )
    items = []
    for s in SEEDS:
        gaps = [_relative(activation, width, s, stage) for width in WIDTHS]
        chosen = s == seed
        items.append(Line(list(WIDTHS), gaps, color="teacher" if chosen else "muted", width=2.0 if chosen else 1.0))
    gap = _relative(activation, h, seed, stage)
    items.append(Points([h], [gap], color="teacher", size=10))  # type: ignore[arg-type]
    course = Panel(
        items,
        xlabel="width h",
        ylabel="relative gap",
        xscale="log",
        yscale="log",
        xlim=(8, 800),
        ylim=(1e-3, 30),
        xticks={10: "10", 100: "100"},
        yticks={1e-3: "0.001", 1e-2: "0.01", 0.1: "0.1", 1: "1", 10: "10"},
    )
    words = "at the start" if stage == "start" else "after training"
    told = f"{activation}, width {h}, {words}: the gap is {gap:.2g} of the linear output"
    if offset:
        told += f", the offset f(0) alone {abs(offset) / size:.2g} of it"
    return Scene([outputs, course], f"{told}.")


def _relative(activation: Activation, h: int, seed: int, stage: Stage) -> float:
    linear, other, _ = _outputs(activation, h, seed)[stage]
    return float(root_mean_square((other - linear)[:, None]) / root_mean_square(linear[:, None]))


@cache
def _outputs(activation: Activation, h: int, seed: int) -> dict[Stage, tuple[np.ndarray, np.ndarray, float]]:
    """The outputs of the linear and of the nonlinear network on the anchors, and the latter's at the origin."""
    linear, other = _codes("linear", h, seed), _codes(activation, h, seed)
    return {
        "start": (linear[0][:-1], other[0][:-1], float(other[0][-1])),
        "trained": (linear[1][:-1], other[1][:-1], float(other[1][-1])),
    }


@cache
def _codes(activation: Activation, h: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    views = setting_views(MAIN)
    W1, W2 = random_network(np.random.default_rng([h, seed]), h, 2, 1)
    places = np.concatenate([views[0], np.zeros((1, 2))])
    before = Trained(W1, W2, np.zeros(()), activation).codes(places)
    after = train_network(W1, W2, views, activation, step=0.1, steps=_STEPS).codes(places)
    return before[:, 0], after[:, 0]
