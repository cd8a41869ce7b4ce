"""What the explorer of the simplest objective shows: three states that compete, and recorded training."""

import numpy as np

from ssltheory.center_penalty import BATCHES, WEIGHTS, Sweep, least_loss, rival_states
from ssltheory.explorers import Item, Line, Panel, Points, Scene, Text

__all__ = ["STATES", "penalty_scene"]

STATES = ("collapsed", "informative", "noise")
"""The states of :func:`ssltheory.center_penalty.rival_states`, in its order."""

_GRID = np.geomspace(0.001, 1000, 121)
_LENGTHS = np.linspace(0, 1, 26)


def penalty_scene(sweep: Sweep, weight: float, top: float, batch: int, power: int, data: str = "blobs") -> Scene:
    """Draw the least loss over the length of the center, and what is best at every weight, with recorded training.

    ``batch`` 0 is the population. Recorded is v of trained networks, means over seeds, for the square at the batch
    sizes of the sweep. Raises ``ValueError`` for what the bound refuses.
    """
    size = batch or None
    bound = 2 * least_loss(_LENGTHS, top, weight, power, batch=size)
    now = STATES[int(np.argmin(rival_states(weight, top, power, batch=size)))]
    best = np.argmin(rival_states(_GRID, top, power, batch=size), axis=1)
    s2, v = np.array([1.0, 0.0, 0.0])[best], np.array([0.0, 1 - top, 1.0])[best]
    over: list[Item] = [
        Line(_LENGTHS, bound / bound.max(), color="sg"),
        Points([1.0 if now == "collapsed" else 0.0], [bound.min() / bound.max()], color="ink", size=9),
    ]
    along: list[Item] = [
        Line(_GRID, s2, color="ema", label="|s|², best"),
        Line(_GRID, v, color="outer", dash="dashed", label="v, best"),
        Line([weight, weight], [0, 1], color="muted", dash="dotted"),
        Text([weight], [1.04], "λ", color="muted", anchor="middle"),
    ]
    trained = ""
    if power == 2 and batch in BATCHES:
        rows = [sweep.row("batch", data, batch=batch, weight=w, unbiased=False) for w in WEIGHTS]
        within = [row.tuned("within").mean() for row in rows]
        along.append(Points(WEIGHTS, within, color="outer", label="v, trained", marker="diamond"))
        trained = f" Diamonds are networks trained on {data}."
    edges = []
    for k in np.flatnonzero(np.diff(best)):
        fine = np.geomspace(_GRID[k], _GRID[k + 1], 101)
        state = np.argmin(rival_states(fine, top, power, batch=size), axis=1)
        edges.append(fine[np.flatnonzero(np.diff(state))[0]])
    said = " and ".join(f"{float(f'{edge:.2g}'):g}" for edge in edges)
    changes = f"The best state changes near λ = {said}." if len(edges) else "The best state never changes here."
    panels = [
        Panel(over, xlabel="length |s| of the center", ylabel="least loss, scaled", xlim=(0, 1.02), ylim=(0, 1.08)),
        Panel(along, xlabel="penalty weight λ", ylabel="|s|² and v", xscale="log", xlim=(0.001, 1100), ylim=(0, 1.1)),
    ]
    return Scene(panels, f"Best at λ = {weight:g}: {now}. {changes}{trained}")
