"""What the explorer of the stability chapter shows: each equilibrium's eigenvalues, as the teacher slows down."""

from functools import cache
from typing import Any, Literal

import numpy as np

from ssltheory.enumeration import all_solutions
from ssltheory.equilibria import equilibrium_state
from ssltheory.explorers import Line, Marker, Panel, Points, Scene
from ssltheory.linear import LinearProblem
from ssltheory.moments import completed_moments
from ssltheory.routh import RationalEquilibrium, equilibrium_around
from ssltheory.stability import Stability, stability

Example = Literal["commuting", "lost", "second"]
RATES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 130.0, 170.0, 220.0, 300.0, 1000.0, 10_000.0)
SG_AT = 1e5  # where an axis of rates shows stop-gradient
MARKERS: tuple[Marker, ...] = ("circle", "square", "diamond", "cross")


def example(name: Example) -> RationalEquilibrium:
    """The chapter's problems in fractions, n = m = 2, each built around one of its equilibria.

    ``"commuting"``: X = I, Y = diag(1, 4/3), lam = 4/25, at an outer and an inner root. ``"lost"``: the largest
    equilibrium, which SG loses (lam = 1/2). ``"second"``: a smaller equilibrium, which SG makes stable (lam = 1).
    """
    if name == "commuting":
        return equilibrium_around([["4/5", 0], [0, "2/15"]], [["4/25", 0], [0, "4/25"]], [[1, 0], [0, 1]], "4/25")
    if name == "lost":
        return equilibrium_around(
            [[6, 0], [0, 1]], [[1, "-1/2"], ["-1/2", "1/2"]], [["3/5", "4/5"], ["4/5", "-3/5"]], "1/2"
        )
    if name == "second":
        turn = [["12/13", "-5/13"], ["5/13", "12/13"]]
        return equilibrium_around([[3, 0], [0, "1/3"]], [["1/2", 0], [0, 2]], turn)
    raise ValueError(f"got {name!r}, need 'commuting', 'lost' or 'second'")


def problem_of(X: np.ndarray, Y: np.ndarray, lam: float, n: int) -> LinearProblem:
    """The linear problem with these X and Y and a Z that they allow (SG and EMA do not see Z)."""
    return LinearProblem(completed_moments(X, Y), lam, n)


@cache
def _states(name: Example) -> tuple[LinearProblem, list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    X, Y, lam, _ = example(name).numbers()
    found = all_solutions(X, Y, lam)
    grams = [S.real for S in found.S[found.positive_definite]]
    grams.sort(key=np.trace)
    return problem_of(X, Y, lam, 2), [equilibrium_state(S, X, Y, lam, 2) for S in grams], grams


@cache
def _stability(name: Example, k: int, rate: float) -> Stability:
    problem, states, _ = _states(name)
    A, B = states[k]
    return stability(problem, "sg", A, B) if np.isinf(rate) else stability(problem, "ema", A, B, kappa=rate)


def _squeeze(value: Any, lam: float) -> Any:
    """An axis on which signs, and sizes from lam / 100 to 1000 lam, can be seen together."""
    return np.arcsinh(np.asarray(value) / (0.01 * lam)) / np.log(10)


SQUEEZED = {float(_squeeze(v, 1.0)): f"{v:g}".replace("-", "−") for v in (-100, -1, 0, 1, 100)}
"""The ticks of such an axis: what is written is z / lam."""


def spectrum_scene(name: Example, rate: float) -> Scene:
    """Draw the eigenvalues of every full-rank equilibrium at a teacher's rate kappa > 0, inf for stop-gradient.

    Left: the plane of z / lam, both axes on an asinh scale; right of the vertical line a disturbance grows. Right: the
    largest real part of each equilibrium, over kappa.
    """
    problem, states, grams = _states(name)
    lam = problem.lam
    ordinary: list[Any] = [Line([0, 0], [-6, 6], color="muted", dash="dotted", width=1.2)]
    course: list[Any] = [Line([RATES[0], SG_AT], [0, 0], color="muted", dash="dotted", width=1.2)]
    words = []
    for k in range(len(states)):
        last = k == len(states) - 1
        role: str
        marker: Marker
        role, marker = ("outer", "circle") if last else ("inner", MARKERS[1 + k % 3])
        label = "the largest" if last else f"S{k + 1}"
        z = _stability(name, k, rate).transverse
        ordinary.append(
            Points(
                _squeeze(z.real, lam), _squeeze(z.imag, lam), color=role, marker=marker, hollow=not last, label=label
            )
        )
        values = [_squeeze(_stability(name, k, r).abscissa, lam) for r in RATES]
        values.append(_squeeze(_stability(name, k, np.inf).abscissa, lam))
        where = [*RATES, SG_AT]
        course.append(Line(where, values, color=role, dash="solid" if last else "dashed", width=1.6))
        now = SG_AT if np.isinf(rate) else rate
        course.append(
            Points(
                [now], [_squeeze(_stability(name, k, rate).abscissa, lam)], color=role, marker=marker, hollow=not last
            )
        )
        if _stability(name, k, rate).stable:
            words.append(f"{label} (trace {np.trace(grams[k]):.3g})")
    plane = Panel(
        ordinary,
        xlabel="Re z / λ (both axes: asinh scale)",
        ylabel="Im z / λ",
        xlim=(-5, 5),
        ylim=(-5, 5),
        xticks=SQUEEZED,
        yticks=SQUEEZED,
    )
    curves = Panel(
        course,
        xlabel="teacher's rate κ",
        ylabel="largest Re z / λ",
        xscale="log",
        xlim=(0.007, 1.4 * SG_AT),
        ylim=(-5, 5),
        xticks={0.01: "0.01", 1: "1", 100: "100", 1e4: "10⁴", SG_AT: "SG"},
        yticks=SQUEEZED,
    )
    who = "Stop-gradient" if np.isinf(rate) else f"EMA, κ = {rate:g}"
    stable = " and ".join(words) if words else "none"
    return Scene([plane, curves], f"{who}: {len(states)} full-rank equilibria; stable: {stable}.")
