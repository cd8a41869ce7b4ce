"""What the explorer of the chapter on equilibria shows: all full-rank equilibria of a problem with m = 2."""

from functools import cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.enumeration import Solutions, all_solutions
from ssltheory.equilibria import critical_weight_decay
from ssltheory.explorers import Line, Panel, Points, Scene

Problem = Literal["symmetric", "general", "turning"]
X = np.array([[1.0, 0.2], [0.2, 0.8]])
CROSS = {
    "symmetric": np.array([[0.8, 0.25], [0.25, 0.45]]),
    "general": np.array([[0.9, 0.05], [0.3, 0.5]]),
    "turning": np.array([[0.9, 0.1], [0.3, 0.6]]),
}
"""The cross moments Y of the problems, with the same X: G has two real eigenvalues, two nearly equal ones, a pair."""


@cache
def _solve(problem: str, lam: float) -> Solutions:
    return all_solutions(X, CROSS[problem], lam)


@cache
def threshold(problem: Problem) -> float:
    """The threshold lam* of one of the three problems."""
    _validate.one_of("problem", problem, tuple(CROSS))
    return critical_weight_decay(X, CROSS[problem])


def ellipse(S: Float[np.ndarray, "2 2"], points: int = 61) -> tuple[np.ndarray, np.ndarray]:
    """The curve of S^{1/2} u over unit vectors u: what a row of A = U S^{1/2} can be when n = m = 2."""
    S = _validate.positive_semidefinite("S", _validate.shaped("S", S, (2, 2)))
    values, V = np.linalg.eigh(S)
    angle = np.linspace(0, 2 * np.pi, _validate.count("points", points, least=3))
    x, y = V @ (np.sqrt(np.clip(values, 0, None))[:, None] * (V.T @ np.stack([np.cos(angle), np.sin(angle)])))
    return x, y


@cache
def branches(problem: Problem) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The decays and traces of all full-rank equilibria on a grid of decays up to the threshold."""
    lams: list[float] = []
    traces: list[float] = []
    for ratio in 1 - np.linspace(0.99, 0.001, 50) ** 2:
        lam = float(ratio * threshold(problem))
        found = _solve(problem, lam)
        for S in found.S[found.positive_definite].real:
            lams.append(lam)
            traces.append(float(np.trace(S)))
    return tuple(lams), tuple(traces)


def decay_scene(ratio: float, problem: Problem) -> Scene:
    """Draw the full-rank equilibria at ``ratio`` times the threshold: their ellipses, and the traces over all decays.

    The largest equilibrium is solid, the others dashed. The readout says how many of the complex solutions are real.
    """
    ratio = _validate.scalar("ratio", ratio, _validate.positive)
    lam = ratio * threshold(problem)
    found = _solve(problem, lam)
    real = found.S[found.positive_definite].real
    traces = np.trace(real, axis1=1, axis2=2)
    order = np.argsort(-traces)
    items: list[Any] = []
    for rank, k in enumerate(order):
        x, y = ellipse(real[k])
        color, dash = ("outer", "solid") if rank == 0 else ("inner", "dashed")
        label = ("largest", "others", "", "")[rank]
        items.append(Line(x, y, color=color, dash=dash, label=label))  # type: ignore[arg-type]
    items.append(Points([0.0], [0.0], color="origin", size=6, label="origin"))
    plane = Panel(
        items, xlabel="first entry of a row of A", ylabel="second entry", xlim=(-1, 1), ylim=(-1, 1), equal=True
    )
    lams, all_traces = branches(problem)
    curve: list[Any] = [Points(np.array(lams) / threshold(problem), all_traces, color="muted", size=3)]
    curve.append(Line([ratio, ratio], [0, 1.8], color="ink", dash="dotted", width=1.5))
    if len(order):
        curve.append(Points([ratio], [traces[order[0]]], color="outer", size=9))
        curve.append(Points(np.full(len(order) - 1, ratio), traces[order[1:]], color="inner", size=9, hollow=True))
    diagram = Panel(curve, xlabel="λ / λ*", ylabel="trace of S", xlim=(0, 1.15), ylim=(0, 1.8))
    words = "no full-rank equilibrium" if not len(order) else f"{len(order)} full-rank equilibria"
    tail = f"; of {len(found)} complex solutions {int(found.real.sum())} are real"
    return Scene([plane, diagram], f"λ = {lam:.4f}, {ratio:.2f} of the threshold: {words}{tail}.")
