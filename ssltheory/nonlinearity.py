"""How far the local picture of the linear case reaches when the nonlinearity of a two-layer encoder is turned up.

    python -m ssltheory.nonlinearity [--out book/data/nonlinearity.json]

From an equilibrium of the linear network (``scale`` 0) follow the rest states of SG as the scale grows: let the
trajectory settle, read the spectrum modulo the symmetries, kick the state and see whether it comes back. About twenty
minutes on two busy cores.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex, Float

from ssltheory import _validate
from ssltheory.linear import Dynamics
from ssltheory.records import progress, write_record
from ssltheory.stability import antisymmetric_basis, quotient
from ssltheory.two_layer import Activation, TwoLayer, field_jacobian, mean_field

__all__ = [
    "Followed",
    "code_directions",
    "distance",
    "draw_pairs",
    "flow",
    "follow",
    "kick",
    "ray",
    "settle",
    "smallest_survivor",
    "start",
    "survives",
    "symmetry_tangent",
    "transverse_spectrum",
]

LAM = 0.005
SHAPE = TwoLayer(2, 3, hidden=4, scale=0.0)
SCALES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
PROBLEMS = 6
KICKED_AT = (0.0, 0.4, 1.6)
KICKS = (0.1, 0.5)
RATES = (0.02, 0.2)


def draw_pairs(
    rng: np.random.Generator, count: int = 200, m: int = 2, noise: float = 0.3
) -> tuple[Float[np.ndarray, "count m"], Float[np.ndarray, "count m"]]:
    """Draw pairs x = s + e, y = s + e' with s normal about a random covariance, each with its mirror image (-x, -y).

    The covariance is that of (I + 0.3 M) applied to a standard normal vector, M standard normal; ``count`` is even.
    """
    L = np.eye(m) + 0.3 * rng.standard_normal((m, m))
    signal = rng.standard_normal((count // 2, m)) @ L.T
    x, y = (signal + noise * rng.standard_normal(signal.shape) for _ in range(2))
    return np.concatenate([x, -x]), np.concatenate([y, -y])


def start(net: TwoLayer, rng: np.random.Generator) -> Float[np.ndarray, " d"]:
    """Draw encoder matrices near 0.9 times isometries that compose to an embedding of R^m, and a predictor near 0.9 I.

    Raises ``ValueError`` for a net with biases, without a hidden layer, or with one in the predictor.
    """
    _plain(net)
    hidden, n, m = net.hidden or 0, net.n, net.m
    first = np.linalg.qr(rng.standard_normal((hidden, m)))[0]
    second = np.linalg.qr(rng.standard_normal((n, m)))[0] @ first.T
    p = np.concatenate([M.ravel() for M in (first, second, np.eye(n))])
    return 0.9 * p + 0.1 * rng.standard_normal(len(p))


def symmetry_tangent(net: TwoLayer, parameters: Float[np.ndarray, " d"]) -> Float[np.ndarray, "d k"]:
    """An orthonormal basis of the directions in which the network's symmetries move (theta, psi) or (theta, psi, xi).

    Rotations of the code, (W_2, B) -> (Q W_2, Q B Q^T), and, where the activation commutes with them (scale 0 and
    ``"radial"``), rotations of the hidden layer, (W_1, W_2) -> (Q W_1, W_2 Q^T); the teacher turns along.
    """
    _plain(net)
    W1, W2, B, *teacher = net.arrays(parameters)
    moves = []
    for W in antisymmetric_basis(net.n):
        moves.append([0 * W1, W @ W2, W @ B - B @ W] + ([0 * W1, W @ teacher[1]] if teacher else []))
    if net.scale == 0 or net.activation == "radial":
        for W in antisymmetric_basis(W1.shape[0]):
            moves.append([W @ W1, -W2 @ W, 0 * B] + ([W @ teacher[0], -teacher[1] @ W] if teacher else []))
    T = np.array([np.concatenate([M.ravel() for M in move]) for move in moves]).T
    U, s, _ = np.linalg.svd(T, full_matrices=False)
    return U[:, s > 1e-6 * np.linalg.norm(parameters)]


def transverse_spectrum(
    net: TwoLayer,
    parameters: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    *,
    lam: float = LAM,
    dynamics: Dynamics = "sg",
    kappa: float | None = None,
) -> Complex[np.ndarray, " e"]:
    """Eigenvalues of the Jacobian modulo the symmetries, by decreasing real part; for ``"ema"`` at xi = theta."""
    if dynamics == "ema":
        parameters = np.concatenate([parameters, parameters[: net.encoder_size]])
    J = field_jacobian(net, parameters, x, y, lam=lam, dynamics=dynamics, kappa=kappa)
    T = symmetry_tangent(net, parameters)
    values = np.linalg.eigvals(quotient(J, T))
    return values[np.argsort(-values.real)]


def settle(
    net: TwoLayer,
    parameters: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    *,
    lam: float = LAM,
    tol: float = 1e-10,
    steps: int = 1500,
) -> tuple[Float[np.ndarray, " d"], float, str]:
    """Follow the SG flow to rest by linearly implicit Euler steps: (parameters, norm of the field, reason).

    A step moves the state by at most 5% of its size, and is at most half the time in which the fastest growing
    direction grows by a factor e, so that a saddle is left as the flow leaves it and not approached by Newton's method.
    """
    p, dt = _validate.shaped("parameters", parameters, (net.size,)), 1.0
    f = mean_field(net, p, x, y, lam=lam)
    for _ in range(steps):
        if np.linalg.norm(f) < tol:
            return p, float(np.linalg.norm(f)), "at rest"
        J = field_jacobian(net, p, x, y, lam=lam)
        growth = np.linalg.eigvals(J).real.max()
        dt = min(dt, 0.5 / growth) if growth > 1e-7 else dt
        move = np.linalg.solve(np.eye(len(p)) / dt - J, f)
        if np.linalg.norm(move) > 0.05 * np.linalg.norm(p):
            dt /= 2
            continue
        p = p + move
        f, dt = mean_field(net, p, x, y, lam=lam), min(1.5 * dt, 1e8)
    size = float(np.linalg.norm(f))
    return p, size, "tends to the origin" if np.linalg.norm(p) < 1e-4 else f"not at rest after {steps} steps"


def code_directions(
    net: TwoLayer, parameters: Float[np.ndarray, " d"], x: Float[np.ndarray, "N m"]
) -> Float[np.ndarray, " n"]:
    """Singular values of the codes over root N, descending: their size along each principal direction."""
    return np.linalg.svd(net.encode(parameters, x) / np.sqrt(len(x)), compute_uv=False)


def distance(
    net: TwoLayer, one: Float[np.ndarray, " d"], two: Float[np.ndarray, " d"], x: Float[np.ndarray, "N m"]
) -> float:
    """Relative distance of two networks as maps, blind to rotations of the code.

    Codes and predictions of x, stacked in Z (2 N, n), enter by their inner products: |Z Z^T - W W^T| / |W W^T|.
    """
    Z, W = (np.concatenate([net.encode(p, x), net.predict(p, x)]) for p in (one, two))
    gap = np.sum((Z.T @ Z) ** 2) - 2 * np.sum((Z.T @ W) ** 2) + np.sum((W.T @ W) ** 2)
    return float(np.sqrt(max(gap, 0.0) / np.sum((W.T @ W) ** 2)))


def flow(
    net: TwoLayer,
    parameters: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    times: Float[np.ndarray, " T"],
    *,
    lam: float = LAM,
) -> Float[np.ndarray, "T d"]:
    """Integrate the SG flow from time 0 by a stiff method; return the states at ``times``, increasing from 0 on.

    Raises ``ValueError`` where the integrator gives up.
    """
    from scipy.integrate import solve_ivp

    run = solve_ivp(
        lambda t, p: mean_field(net, p, x, y, lam=lam),
        (0.0, float(times[-1])),
        _validate.shaped("parameters", parameters, (net.size,)),
        method="LSODA",
        jac=lambda t, p: field_jacobian(net, p, x, y, lam=lam),
        t_eval=times,
        rtol=1e-6,
        atol=1e-9,
    )
    if not run.success:
        raise ValueError(f"the flow was not integrated: {run.message}")
    return run.y.T


def kick(
    net: TwoLayer,
    parameters: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    rng: np.random.Generator,
    *,
    size: float,
    lam: float = LAM,
    duration: float = 4000.0,
) -> tuple[float, float, Float[np.ndarray, " n"]]:
    """Move a state by ``size`` times its norm in a random direction and follow the SG flow for ``duration``.

    Returns the :func:`distance` right after the kick and at the end, and :func:`code_directions` at the end.
    """
    direction = rng.standard_normal(len(parameters))
    kicked = parameters + size * np.linalg.norm(parameters) / np.linalg.norm(direction) * direction
    end = flow(net, kicked, x, y, np.array([0.0, duration]), lam=lam)[-1]
    return distance(net, kicked, parameters, x), distance(net, end, parameters, x), code_directions(net, end, x)


def ray(net: TwoLayer) -> Float[np.ndarray, " d"]:
    """Return a unit vector in which each weight matrix is the same number at its first entry, the rest zero.

    Along it a network of one input is a chain of numbers, and a start on it is balanced.
    """
    shapes = net.encoder_shapes + net.predictor_shapes
    parts = []
    for shape in shapes:
        part = np.zeros(shape)
        part.flat[0] = 1.0 if len(shape) == 2 else 0.0
        parts.append(part.ravel())
    p = np.concatenate(parts)
    return p / np.linalg.norm(p)


def survives(
    net: TwoLayer,
    parameters: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    *,
    lam: float,
) -> bool:
    """Follow the SG flow until the parameters have halved or grown by a quarter; tell whether they grew.

    Raises ``ValueError`` if neither has happened after a time 100 / ``lam``.
    """
    from scipy.integrate import solve_ivp

    first = float(np.linalg.norm(parameters))

    def halved(t: float, p: np.ndarray) -> float:
        return float(np.linalg.norm(p)) - 0.5 * first

    def grown(t: float, p: np.ndarray) -> float:
        return float(np.linalg.norm(p)) - 1.25 * first

    halved.terminal = grown.terminal = True  # type: ignore[attr-defined]
    run = solve_ivp(
        lambda t, p: mean_field(net, p, x, y, lam=lam),
        (0.0, 100 / _validate.scalar("lam", lam, _validate.positive)),
        parameters,
        method="LSODA",
        events=(halved, grown),
        rtol=1e-6,
        atol=1e-9,
    )
    if run.status != 1:
        raise ValueError(f"the start of size {first:.3g} has neither halved nor grown by a quarter")
    return bool(len(run.t_events[1]))


def smallest_survivor(
    net: TwoLayer, x: Float[np.ndarray, "N m"], y: Float[np.ndarray, "N m"], *, lam: float, bisections: int = 10
) -> float:
    """Return, to a factor 10^(5/2^``bisections``), the least r in [1e-5, 1] with which r times :func:`ray` survives.

    Raises ``ValueError`` if r = 1 does not: the decay is too large for this network.
    """
    low, high = 1e-5, 1.0
    if not survives(net, high * ray(net), x, y, lam=lam):
        raise ValueError(f"at lam = {lam:g} even the start of size {high:g} decays")
    for _ in range(bisections):
        middle = float(np.sqrt(low * high))
        if survives(net, middle * ray(net), x, y, lam=lam):
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True)
class Followed:
    """A rest state at one scale: what :func:`follow` saw.

    ``strength`` is scale times the root mean square of the hidden layer's input; ``codes`` its singular values;
    ``rank`` how many of them exceed 1% of the first (0 at collapse); ``index`` the transverse eigenvalues with real
    part above 1e-7, ``rates`` the four slowest real parts; ``index_ema`` the index under EMA at each of ``RATES``;
    ``moved`` the distance to the state at the scale before.
    """

    scale: float
    strength: float
    field_norm: float
    reason: str
    codes: list[float]
    rank: int
    index: int
    rates: list[float]
    index_ema: list[int]
    moved: float


def follow(
    activation: Activation, seed: int, scales: tuple[float, ...] = SCALES, lam: float = LAM
) -> Iterator[tuple[Followed, TwoLayer, Float[np.ndarray, " d"]]]:
    """Settle at scale after scale, each from the state before with noise of size 1e-3: (what was seen, net, state).

    Pairs, start and noise depend on ``seed`` alone, so that activations share them.
    """
    rng = np.random.default_rng(seed)
    x, y = draw_pairs(rng)
    p = before = start(SHAPE, rng)
    for scale in scales:
        net = replace(SHAPE, activation=activation, scale=scale)
        p, size, reason = settle(net, p + (1e-3 * rng.standard_normal(len(p)) if scale else 0), x, y, lam=lam)
        codes = code_directions(net, p, x)
        alive = codes[0] > 1e-3
        values = transverse_spectrum(net, p, x, y, lam=lam).real
        ema = [transverse_spectrum(net, p, x, y, lam=lam, dynamics="ema", kappa=k).real for k in RATES]
        W1 = net.arrays(p)[0]
        seen = Followed(
            scale=scale,
            strength=scale * float(np.sqrt(np.mean((x @ W1.T) ** 2))),
            field_norm=size,
            reason=reason,
            codes=codes.tolist(),
            rank=int((codes > 1e-2 * codes[0]).sum()) if alive else 0,
            index=int((values > 1e-7).sum()),
            rates=values[:4].tolist(),
            index_ema=[int((v > 1e-7).sum()) for v in ema],
            moved=distance(net, p, before, x) if alive else 1.0,
        )
        yield seen, net, p
        before = p


def _plain(net: TwoLayer) -> None:
    if net.hidden is None or net.predictor_hidden is not None or net.bias:
        raise ValueError(f"need a hidden layer in the encoder, a linear predictor and no biases; got {net}")


def _plain_numbers(seen: Followed) -> dict[str, Any]:
    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(v) for v in value]
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return {name: short(value) for name, value in asdict(seen).items()}


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    parser.add_argument("--out", type=Path, default=Path("book/data/nonlinearity.json"))
    options = parser.parse_args()
    begin, followed, kicks = time.perf_counter(), [], []
    activations: tuple[Activation, ...] = ("radial", "tanh", "swish")
    for seed, activation in progress(list(product(range(options.problems), activations)), "problems and activations"):
        x, y = draw_pairs(np.random.default_rng(seed))
        for seen, net, p in follow(activation, seed):
            followed.append({"activation": activation, "seed": seed, **_plain_numbers(seen)})
            if seen.scale not in KICKED_AT or seen.rank < 2 or (seen.scale == 0 and activation != "tanh"):
                continue
            rng = np.random.default_rng([seed, 1])
            for size in np.repeat(KICKS, 2).tolist():
                first, last, codes = kick(net, p, x, y, rng, size=size)
                key = {"activation": activation, "seed": seed, "scale": seen.scale, "size": size}
                kicks.append(key | {"first": first, "last": last, "codes": codes.tolist()})
    command = f"python -m ssltheory.nonlinearity --problems {options.problems}"
    data = {"followed": followed, "kicks": kicks}
    seconds = time.perf_counter() - begin
    write_record(options.out, data, command=command, seconds=seconds, packages=("numpy", "scipy", "torch"))


if __name__ == "__main__":
    main()
