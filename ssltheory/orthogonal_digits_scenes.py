"""What the explorer of the chapter on digits under orthogonality constraints shows: a code in training."""

from functools import cache
from typing import Any

import numpy as np

from ssltheory import _validate
from ssltheory.contrast import contrast_matrix, linear_loss
from ssltheory.digits import SIDE
from ssltheory.explorers import Line, Panel, Points, Scene
from ssltheory.orthogonal_digits import RECORD_AT, WIDTH, Split, leading_code, readout, setting, train, training_views
from ssltheory.orthogonal_flow import random_network

PAIRS = ("3 and 8", "4 and 9", "0 and 1", "1 and 7")
METHODS = {"network": "network (11)", "euler": "Euler step (12)"}
_REACH = 2.8
_LEVELS = (0.04, 0.1, 0.18, 0.3)
_SIZES = (2.0, 4.5, 7.0, 9.5)
_APART = 9.0


def code_scene(pair: str, method: str, steps: int) -> Scene:
    """Draw the codes of unseen digits with the classifier's line, and the two rows of q as images.

    First panel: test codes about the training mean, in units of the training codes' size. Second: each row of q^T as
    a picture of 8 x 8 weights, a larger square for a larger weight. Raises ``ValueError`` for another pair, method
    or number of steps.
    """
    _validate.one_of("pair", pair, PAIRS)
    _validate.one_of("method", method, tuple(METHODS))
    if steps not in RECORD_AT:
        raise ValueError(f"steps: got {steps}, need one of {', '.join(map(str, RECORD_AT))}")
    split, gamma, path = _paths(pair, method)
    q = path[RECORD_AT.index(steps)]
    code, test = split.x @ q, split.test @ q
    centre, size = code.mean(axis=0), np.sqrt(np.mean(np.sum((code - code.mean(axis=0)) ** 2, axis=1)))
    normal, offset, right = readout(split, q)
    shown = (test - centre) / size
    names = pair.split(" and ")
    first, second = shown[split.test_labels == 0], shown[split.test_labels == 1]
    items: list[Any] = [
        Points(first[:, 0], first[:, 1], color="ink", size=6, label=f"a {names[0]}"),
        Points(
            second[:, 0], second[:, 1], color="unfinished", marker="square", size=6, hollow=True, label=f"a {names[1]}"
        ),
    ]
    line = _line(normal * size, offset + normal @ centre)
    if line is not None:
        items.append(Line(*line, color="muted", dash="dashed", width=1.5, label="linear classifier"))
    limits = (-_REACH, _REACH)
    panels = [Panel(items, xlabel="first number", ylabel="second number", xlim=limits, ylim=limits, equal=True)]
    panels.append(_pictures(q))
    share = linear_loss(q, gamma) / linear_loss(leading_code(gamma, 2), gamma)
    words = (
        f"{METHODS[method]}, {steps} steps: {right:.1%} of {len(test)} unseen digits on the right side; the loss has"
        f" gone {share:.2f} of the way."
    )
    return Scene(panels, words)


@cache
def _paths(pair: str, method: str) -> tuple[Split, np.ndarray, np.ndarray]:
    split, rng = setting((int(pair[0]), int(pair[-1])), 0)
    views = training_views(split.x, rng, "noise")
    weights = random_network(rng, WIDTH, split.x.shape[1], 2)
    path = train([split], method, [weights], [views])[0]  # type: ignore[arg-type]
    return split, contrast_matrix(split.x, *views), path


def _pictures(q: np.ndarray) -> Panel:
    """Both rows of q^T side by side."""
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    scaled = q / np.linalg.norm(q, axis=0)
    x = np.concatenate([columns, columns + _APART])
    y, weights = np.tile(SIDE - 1 - rows, 2), scaled.T.ravel()
    items: list[Any] = []
    for level, size in enumerate(_SIZES):
        upper = _LEVELS[level + 1] if level + 1 < len(_LEVELS) else np.inf
        for sign, color in ((1, "ink"), (-1, "unfinished")):
            chosen = (sign * weights >= _LEVELS[level]) & (sign * weights < upper)
            if chosen.any():
                items.append(Points(x[chosen], y[chosen], color=color, marker="square", size=size))
    middle = (SIDE - 1) / 2
    return Panel(
        items,
        xlabel="rows of qᵀ, as images",
        ylabel="pixel row",
        xlim=(-0.8, SIDE - 0.2 + _APART),
        ylim=(-0.8 - _APART / 2, SIDE - 0.2 + _APART / 2),
        equal=True,
        xticks={middle: "first", middle + _APART: "second"},
        yticks={0.0: "8", SIDE - 1.0: "1"},
    )


def _line(normal: np.ndarray, offset: float) -> tuple[np.ndarray, np.ndarray] | None:
    """The part of the line normal . z + offset = 0 inside the square; None if there is none."""
    length = float(np.hypot(*normal))
    if length == 0:
        return None
    foot, along = -offset * normal / length**2, np.array([-normal[1], normal[0]]) / length
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.sort(np.array([(-_REACH - foot) / along, (_REACH - foot) / along]), axis=0)
    low, high = np.nanmax(ends[0]), np.nanmin(ends[1])
    if not low < high:
        return None
    points = foot + np.outer([low, high], along)
    return points[:, 0], points[:, 1]
