"""What the explorer of the chapter on the predictor's eigenspace shows: one mode, its growth and where it rests."""

from functools import cache
from typing import Any, Literal, get_args

import numpy as np

from ssltheory import _validate
from ssltheory.directpred import Gradient, encoder_velocity, mode_equilibria, through_equilibria
from ssltheory.explorers import Arrows, Line, Panel, Points, Scene
from ssltheory.flow import integrate
from ssltheory.moments import SecondMoments
from ssltheory.scalar import radii, scalar_problem

Training = Literal["learned", "sg", "iso", "through"]
DATA = {"plain": (1.0, 0.8, 1.0), "wide": (2.0, 1.2, 2.0), "close": (1.0, 0.97, 1.0)}
"""rho, tau, sigma of the data that the explorer offers."""
STARTS = ((0.15, 0.9), (0.5, 0.1), (0.3, 0.45), (1.2, 0.3), (1.0, 1.15))
_SIDE = 1.3


def mode_scene(lam: float, p: float, training: Training, data: str) -> Scene:
    """Draw one mode: the code's growth rate over the predictor's eigenvalue, and the plane of code and predictor.

    First panel: a'/a for ``"sg"`` (and the learned predictor, for which it is the same), ``"iso"`` or ``"through"``.
    Second panel: the rule b = (rho a^2)^p as a curve along which the closed form moves; for ``"learned"`` the paths of
    (a, b) from a few starts. Raises ``ValueError`` for other names, lam <= 0 or p <= 0.
    """
    _validate.one_of("training", training, get_args(Training))
    _validate.one_of("data", data, tuple(DATA))
    lam, p = _validate.scalar("lam", lam, _validate.positive), _validate.scalar("p", p, _validate.positive)
    rho = DATA[data][0]
    b = np.linspace(0.01, _SIDE, 60)
    kind: Gradient = "sg" if training == "learned" else training
    growth = _growth(b, data, lam, p, kind)
    rests = _rests(data, lam, p, training)
    left: list[Any] = [Line([0, _SIDE], [0, 0], color="muted", width=1.0, dash="dotted")]
    left.append(Line(b, growth, color="sg", label="growth of the code"))
    plane: list[Any] = []
    a = np.linspace(0.0, 1.3, 60)
    plane.append(Line(a, (rho * a * a) ** p, color="predictor", label="rule b = (ρa²)ᵖ"))
    plane.append(Points([0], [0], color="origin", size=9, label="collapse"))
    for r, kind_of_rest in rests:
        size = r if training == "learned" else np.sqrt(r ** (1 / p) / rho)
        left.append(Points([r], [0], color=kind_of_rest, size=9, hollow=kind_of_rest == "inner"))
        words = "attracts" if kind_of_rest == "outer" else "fence"
        plane.append(Points([size], [r], color=kind_of_rest, size=9, hollow=kind_of_rest == "inner", label=words))
    if training == "learned":
        for start in STARTS:
            path = _path(data, lam, *start)
            plane.append(Line(path[0], path[1], color="sg", width=1.4))
            plane.append(Points([start[0]], [start[1]], color="muted", size=5, hollow=True))
    else:
        tails = np.array([0.12, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.12])
        tails = tails[(rho * tails**2) ** p < _SIDE]
        at = (rho * tails**2) ** p
        u = 0.09 * np.sign(_growth(at, data, lam, p, kind))
        v = (rho * (tails + u) ** 2) ** p - at
        plane.append(Arrows(tails, at + 0.04, u, v, color="sg", width=1.6))
    panels = [
        Panel(left, xlabel="b, eigenvalue of the predictor", ylabel="growth rate", xlim=(0, _SIDE), ylim=(-0.5, 0.4)),
        Panel(plane, xlabel="a, size of the code", ylabel="b, predictor", xlim=(0, _SIDE), ylim=(0, _SIDE)),
    ]
    return Scene(panels, f"λ = {lam:g}, p = {p:g}: {_words(rests, training)}.")


def _words(rests: list[tuple[float, str]], training: Training) -> str:
    if not rests:
        return "no rest but collapse"
    told = {kind: r for r, kind in rests}
    if "inner" not in told:
        return f"the code lives from every start, and the predictor rests at {told['outer']:.2f}"
    if training == "learned":
        return (
            f"code and predictor rest at {told['outer']:.2f}; the fence passes through the pair at {told['inner']:.2f}"
        )
    return f"the predictor rests at {told['outer']:.2f}; a code whose predictor is below {told['inner']:.2f} is lost"


def _growth(b: np.ndarray, data: str, lam: float, p: float, gradient: Gradient) -> np.ndarray:
    """The rate a'/a of a code whose closed-form predictor has the eigenvalue b."""
    rho, tau, sigma = DATA[data]
    a = np.sqrt(b ** (1 / p) / rho)[:, None, None]
    moments = SecondMoments(np.array([[rho]]), np.array([[tau]]), np.array([[sigma]]))
    return (encoder_velocity(a, moments, lam, p, gradient=gradient) / a)[:, 0, 0]


def _rests(data: str, lam: float, p: float, training: Training) -> list[tuple[float, str]]:
    rho, tau, sigma = DATA[data]
    if training == "iso":
        return [((tau - lam) / rho, "outer")] if tau > lam else []
    if training == "through":
        pair = through_equilibria(rho, tau, sigma, lam, p)
    elif training == "learned":
        pair = radii(rho, tau, lam)
    else:
        pair = tuple(mu**p for mu in mode_equilibria(rho, tau, lam, p))  # type: ignore[assignment]
    return [] if np.isnan(pair[1]) else [(float(pair[0]), "inner"), (float(pair[1]), "outer")]


@cache
def _path(data: str, lam: float, a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    rho, tau, _ = DATA[data]
    times = np.concatenate([[0.0], np.geomspace(0.05, 400.0, 40)])
    run = integrate(
        scalar_problem(rho, tau, lam, 1), "sg", np.array([[a]]), np.array([[b]]), duration=400, samples=times
    )
    return run.A[:, 0, 0], run.B[:, 0, 0]
