"""What the explorers of the scalar chapter show: the balanced plane, the iteration's step, the map of outcomes."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

from ssltheory import _validate
from ssltheory.explorers import Arrows, Band, Circle, Dash, Line, Panel, Points, Scene
from ssltheory.flow import integrate
from ssltheory.intervals import share_interval
from ssltheory.iteration import iterate
from ssltheory.linear import Dynamics
from ssltheory.scalar import discriminant, equilibrium, largest_stable_step, radii, scalar_problem

RHO, TAU, SIGMA = 1.0, 0.8, 1.0
KAPPA = 0.2
EARLY = 60
NAMES = {"gradient": "gradient of E", "sg": "stop-gradient", "ema": "EMA"}
STARTS = ((0.15, 0.9), (0.3, 0.35), (0.12, 0.3), (0.9, 0.1), (1.0, 0.9), (0.5, -0.4), (0.95, -0.5), (0.2, -0.7))


def phase_scene(lam: float, dynamics: Dynamics) -> Scene:
    r"""Draw the flow on the plane of aligned states, a = r u and B = s u u^T, at rho = 1, tau = 0.8, E[y^2] = 1.

    The plane is invariant and its flow is that of the problem with n = 1. The second panel is the diagram of radii
    over ``lam`` >= 0, with the present one marked. EMA starts its teacher at the student.
    """
    problem = scalar_problem(RHO, TAU, lam, 1, SIGMA)
    items: list[Any] = []
    if dynamics != "ema":
        r, s = (v.ravel() for v in np.meshgrid(np.linspace(0, 1.1, 12), np.linspace(-0.9, 1.1, 12)))
        u, v = (d[:, 0, 0] for d in problem.field(dynamics, r[:, None, None], s[:, None, None]))
        length = 0.075 / np.maximum(np.hypot(u, v), 1e-12)
        items.append(Arrows(r, s, u * length, v * length))
    ended = 0
    for r0, s0 in STARTS:
        path = _path(lam, dynamics, r0, s0)
        items.append(Line(path[0], path[1], color=dynamics, width=1.6))
        ended += bool(path[0][-1] > 0.05)
    r, s = np.array(STARTS).T
    items.append(Points(r, s, color="muted", size=5, hollow=True, label="starts"))
    items.append(Points([0], [0], color="origin", size=9, label="origin"))
    inner, outer = radii(RHO, TAU, lam)
    if np.isfinite(outer) and dynamics != "gradient":
        items.append(Points([inner], [inner], color="inner", size=9, hollow=True, label="inner (saddle)"))
        items.append(Points([outer], [outer], color="outer", size=9, label="outer (stable)"))
    plane = Panel(
        items, xlabel="r, size of the encoder", ylabel="s, size of the predictor", xlim=(0, 1.1), ylim=(-0.9, 1.1)
    )
    grid = np.linspace(0.0, TAU**2 / (4 * RHO), 60)
    r1, r2 = radii(RHO, TAU, grid)
    marked = [Line([lam, lam], [0, 0.85], color="muted", dash="dotted", width=1.5)]
    curve = [Line(grid, r2, color="outer", label="r₂"), Line(grid, r1, color="inner", dash="dashed", label="r₁")]
    diagram = Panel([*marked, *curve], xlabel="λ, weight decay", ylabel="radius", xlim=(0, 0.2), ylim=(0, 0.85))
    delta = discriminant(RHO, TAU, lam)
    where = f"Δ = {delta:.3f}" + (f", r₁ = {inner:.3f}, r₂ = {outer:.3f}" if np.isfinite(outer) else ", no sphere")
    end = f"{ended} of {len(STARTS)} paths end away from the origin"
    return Scene([plane, diagram], f"{NAMES[dynamics]}, λ = {lam:.2f}: {where}; {end}.")


@cache
def _path(lam: float, dynamics: Dynamics, r: float, s: float) -> tuple[np.ndarray, np.ndarray]:
    kappa = KAPPA if dynamics == "ema" else None
    times = np.concatenate([[0.0], np.geomspace(0.05, 400, 44)])
    problem = scalar_problem(RHO, TAU, lam, 1, SIGMA)
    A, B = np.array([[r]]), np.array([[s]])
    run = integrate(problem, dynamics, A, B, kappa=kappa, duration=400.0, samples=times, rtol=1e-7)
    return run.A[:, 0, 0], run.B[:, 0, 0]


def step_scene(ratio: float, algorithm: Literal["sg", "ema", "sg1"]) -> Scene:
    """Draw where the iteration goes with a step of ``ratio`` > 0 times the largest stable one, at rho = 1, tau = 0.8.

    ``"sg"`` and ``"ema"`` (alpha = 0.9) have n = 2, ``"sg1"`` is stop-gradient with n = 1; lam = 0.05. The start is a
    hundredth off the outer sphere. The first panel shows the last 40 encoders and predictions of 1,500, or iterations
    20 to 59 if it does not settle; the second the radius over the iterations.
    """
    _validate.positive("ratio", ratio)
    _validate.one_of("algorithm", algorithm, ("sg", "ema", "sg1"))
    lam, n = 0.05, 1 if algorithm == "sg1" else 2
    alpha = 0.9 if algorithm == "ema" else None
    step = ratio * float(largest_stable_step(RHO, TAU, lam, n, alpha or 0.0))
    a, B = equilibrium(RHO, TAU, lam, n, "outer", np.array([0.8, 0.6])[:n])
    rng = np.random.default_rng(0)
    noise = [0.01 * rng.normal(size=M.shape) for M in (a, B)]
    problem = scalar_problem(RHO, TAU, lam, n, SIGMA)
    dynamics: Dynamics = "ema" if alpha else "sg"
    run = iterate(problem, dynamics, a + noise[0], B + noise[1], step=step, alpha=alpha, steps=1500)
    vectors = run.A[:, :, 0]
    radius = np.linalg.norm(vectors, axis=1)
    inner, outer = radii(RHO, TAU, lam)
    spread = float(np.ptp(radius[-40:]))
    two_radii = np.abs(radius[-40:] - radius[-42:-2]).max() < 1e-3 * outer
    # Where it wanders the orbit is chaotic, and after some 70 iterations only rounding says where on it one is.
    late = slice(-40, None) if spread < 1e-3 * outer or two_radii else slice(20, EARLY)
    last, said = vectors[late], (run.B[late] @ run.A[late])[:, :, 0]

    def flat(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return points[:, 0], points[:, 1] if n == 2 else np.zeros(len(points))

    spheres: list[Any] = [
        Circle([0], [0], [outer], color="outer", label="outer sphere"),
        Circle([0], [0], [inner], color="inner", dash="dashed", label="inner sphere"),
    ]
    plane = Panel(
        [
            *spheres,
            Points(flat(said)[0], flat(said)[1], color="predictor", size=6, marker="diamond", label="prediction B a"),
            Points(flat(last)[0], flat(last)[1], color=dynamics, size=6, label="encoder a"),
        ],
        xlabel="a₁",
        ylabel="a₂" if n == 2 else "",
        xlim=(-1.1, 1.1),
        ylim=(-1.1, 1.1),
        equal=True,
    )
    shown = slice(0, EARLY)
    course = Panel(
        [
            Line([0, EARLY - 1], [outer, outer], color="outer", width=1.2, label="r₂"),
            Line(np.arange(EARLY), radius[shown], color=dynamics, width=1.4, label="|a|"),
        ],
        xlabel="iteration",
        ylabel="|a|, size of the encoder",
        xlim=(0, EARLY - 1),
        ylim=(0, 1.1),
    )
    if np.ptp(said, axis=0).max() < 1e-3 * outer and spread < 1e-3 * outer:
        words = "comes to rest on the outer sphere"
    elif spread < 1e-3 * outer:
        words = f"holds its radius, {radius[-1]:.3f}, while the prediction swings from side to side"
    elif two_radii:
        words = f"jumps between the radii {radius[-40:].min():.3f} and {radius[-40:].max():.3f}"
    else:
        low, high = radius[late].min(), radius[late].max()
        words = f"wanders, between the radii {low:.3f} and {high:.3f} from step 20 to {EARLY - 1}"
    return Scene([plane, course], f"Step {step:.2f}, {ratio:.2f} times the largest stable one: the iteration {words}.")


def map_scene(entries: Sequence[dict[str, Any]], n: int, start: str) -> Scene:
    """Draw the share of trials on the outer sphere over the scale of the start, from the recorded map's flow entries.

    Curves for SG, for the slowest teacher and for kappa = 0.02, with 95% intervals, and the published shares.
    """
    chosen = [e for e in entries if e["n"] == n and e["start"] == start and "step" not in e]
    if not chosen:
        raise ValueError(f"the map has no flow entry with n = {n!r} and start = {start!r}")
    limits = (0.25, 2.0)
    items: list[Any] = [
        Line(limits, [0.82, 0.82], color="sg", dash="dotted", width=1.4, label="published, SG"),
        Line(limits, [0.928, 0.928], color="ema", dash="dotted", width=1.4, label="published, EMA"),
    ]
    rates = sorted({e["kappa"] for e in chosen if "kappa" in e})
    shown: dict[float | None, Dash] = {None: "solid", rates[0]: "solid", 0.02: "dashed"}
    for kappa, dash in shown.items():
        row = sorted((e for e in chosen if e.get("kappa") == kappa), key=lambda e: e["scale"])
        scale = [e["scale"] for e in row]
        share = [e["counts"]["outer"] / e["trials"] for e in row]
        ends = np.array([share_interval(e["counts"]["outer"], e["trials"]) for e in row])
        name, label = ("sg", "SG") if kappa is None else ("ema", f"EMA, κ = {kappa:g}")
        items.append(Band(scale, ends[:, 0], ends[:, 1], color=name, opacity=0.25))
        items.append(Line(scale, share, color=name, label=label, dash=dash))
    panel = Panel(
        items,
        xlabel="scale of the initial entries",
        ylabel="share on the outer sphere",
        xlim=limits,
        ylim=(0.6, 1.0),
        aspect=0.62,
    )
    best = max(chosen, key=lambda e: e["counts"]["outer"])
    worst = min(chosen, key=lambda e: e["counts"]["outer"])
    low, high = (e["counts"]["outer"] / e["trials"] for e in (worst, best))
    return Scene(
        [panel], f"n = {n}, {start} entries: between {low:.1%} and {high:.1%} of trials reach the outer sphere."
    )
