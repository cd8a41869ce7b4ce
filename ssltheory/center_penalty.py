r"""What a penalty on the center vector asks of unit codes: how large it must be, how large it may be, what it leaves.

    python -m ssltheory.center_penalty sweep        # trained networks: batch sizes, weights, floors, added terms

Two views of one sample have a joint distribution P, symmetric, with the marginal pi. The correlations of the views are
the eigenvalues 1 = rho_0 >= rho_1 >= ... of

    K  =  D^(-1/2) P D^(-1/2),       D = diag(pi),

and rho_1 is the largest correlation between a function of one view and the same function of the other. For the penalty
lambda_L |s|^2 twice the loss is 1 - tr W^T (K - lambda_L u u^T) W, u the root of pi and W the codes with rows scaled by
it: the penalty lowers one eigenvalue, that of the constants, from 1 to 1 - lambda_L.

Source: the objective is that of Jha, Blaschko, Asano, Tuytelaars (arXiv 2402.14957); everything here is ours.
"""

import argparse
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.center import CenterParts, unit
from ssltheory.center_record import Row
from ssltheory.records import each_result, unwritable, write_record

__all__ = [
    "Minimum",
    "Sweep",
    "ViewPairs",
    "batch_center",
    "blob_bit_views",
    "circle_views",
    "collapse_threshold",
    "effective_weight",
    "least_loss",
    "minimise",
    "penalty_gradient",
    "penalty_loss",
    "penalty_parts",
    "read_sweep",
    "rival_states",
    "sampled_views",
    "two_valued_views",
    "water_filling",
]


@dataclass(frozen=True)
class ViewPairs:
    """The joint distribution of two views of a sample, on k possible views.

    Attributes:
        joint: (k, k), symmetric, non-negative, sum 1.
    """

    joint: Float[np.ndarray, "k k"]

    def __post_init__(self) -> None:
        joint = _validate.nonnegative("joint", _validate.symmetric("joint", self.joint))
        if joint.ndim != 2 or abs(joint.sum() - 1) > 1e-9 or not (joint.sum(axis=0) > 0).all():
            raise ValueError(
                f"joint has shape {joint.shape} and sum {joint.sum():.9g}; need (k, k), sum 1, no row of zeros"
            )
        object.__setattr__(self, "joint", joint)

    @property
    def marginal(self) -> Float[np.ndarray, " k"]:
        """Probability of each view."""
        return self.joint.sum(axis=1)

    @property
    def kernel(self) -> Float[np.ndarray, "k k"]:
        """The matrix K, whose eigenvalues are the correlations; the first is 1."""
        root = np.sqrt(self.marginal)
        return self.joint / np.outer(root, root)

    @cached_property
    def _spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        root = np.sqrt(self.marginal)
        values, vectors = np.linalg.eigh(self.kernel - np.outer(root, root))  # the constants go to eigenvalue 0
        aside = vectors.T @ root
        drop = int(np.argmax(np.abs(aside)))
        keep = np.delete(np.arange(len(root)), drop)[::-1]
        vectors = vectors - np.outer(root, aside)
        return values[keep], vectors[:, keep] / root[:, None]

    @property
    def correlations(self) -> Float[np.ndarray, " k-1"]:
        """rho_1 >= rho_2 >= ...: correlations of functions of one view with themselves on the other."""
        return self._spectrum[0]

    @property
    def functions(self) -> Float[np.ndarray, "k k-1"]:
        """The functions that have them, as columns, of mean 0; of mean square 1 unless 0 is a correlation."""
        return self._spectrum[1]

    @property
    def top(self) -> float:
        """The largest correlation rho_1."""
        return float(self.correlations[0])


def sampled_views(given: Float[np.ndarray, "k N"], prior: Float[np.ndarray, " N"]) -> ViewPairs:
    r"""Two views drawn independently from one sample: :math:`P = A \operatorname{diag}(p) A^\top`.

    A column of A holds the probabilities of the views of one sample. All correlations are then at least 0. Raises
    ``ValueError`` for what are not probabilities.
    """
    A = _validate.nonnegative("given", _validate.shaped("given", given, ("k", "N")))
    prior = _validate.nonnegative("prior", _validate.shaped("prior", prior, (A.shape[1],)))
    if abs(prior.sum() - 1) > 1e-9 or np.abs(A.sum(axis=0) - 1).max() > 1e-9:
        raise ValueError("prior and each column of given must sum to 1")
    return ViewPairs((A * prior) @ A.T)


def two_valued_views(rho: float, share: float = 0.5) -> ViewPairs:
    """The smallest case: a view is one of two, with probability ``share`` the first, and their correlation is ``rho``.

    Raises ``ValueError`` for a share not in (0, 1), or a correlation that no joint distribution has.
    """
    p, rho = _validate.scalar("share", share, _validate.positive), _validate.scalar("rho", rho)
    if not p < 1 or not -min(p, 1 - p) / max(p, 1 - p) <= rho <= 1:
        raise ValueError(f"no two views have share {p:g} and correlation {rho:g}")
    cross = p * (1 - p)
    apart = (1 - rho) * cross
    return ViewPairs(np.array([[p - apart, apart], [apart, 1 - p - apart]]))


def circle_views(spread: float, points: int = 24) -> ViewPairs:
    r"""Samples on a circle, views turned by normal noise of standard deviation ``spread``, on a grid of ``points``.

    The correlations are :math:`e^{-m^2 \text{spread}^2}`, m = 1, 2, ..., twice each, of the cosine and sine of m times
    the angle. Raises ``ValueError`` unless the spread is positive and the grid resolves it: points * spread >= 9.
    """
    spread, points = _validate.scalar("spread", spread, _validate.positive), _validate.count("points", points, 3)
    if points * spread < 9:
        raise ValueError(f"{points} points do not resolve a spread of {spread:g}; need points * spread >= 9")
    gaps = 2 * np.pi * (np.arange(points)[:, None] - np.arange(points)) / points
    turns = 2 * np.pi * np.arange(-8, 9)[:, None, None]
    density = np.exp(-((gaps + turns) ** 2) / (4 * spread**2)).sum(axis=0)
    return ViewPairs(density / density.sum())


def blob_bit_views(jitter: float, *, deviation: float = 0.25, points: int = 240) -> ViewPairs:
    """One signal coordinate of the blobs of :mod:`ssltheory.toy_views`, on a grid: +-1 + deviation, and jitter a view.

    The three coordinates are independent and alike, so that this rho_1 is that of all functions of the signal. Raises
    ``ValueError`` for amplitudes that are not positive.
    """
    jitter = _validate.scalar("jitter", jitter, _validate.positive)
    deviation = _validate.scalar("deviation", deviation, _validate.positive)
    u = 1 + deviation * np.linspace(-5, 5, points)
    prior = np.tile(np.exp(-(((u - 1) / deviation) ** 2) / 2), 2)
    u = np.concatenate([u, -u])
    edge = 1 + 5 * deviation + 5 * jitter
    x = np.linspace(-edge, edge, points)
    A = np.exp(-(((x[:, None] - u) / jitter) ** 2) / 2) + 1e-300
    return sampled_views(A / A.sum(axis=0), prior / prior.sum())


# --- the objective on free codes --------------------------------------------------------------------------------------


def penalty_parts(z: Float[np.ndarray, "*batch k n"], views: ViewPairs) -> CenterParts:
    """The parts |s|^2, E|r|^2 and v of the population, for the unit codes z of the k views, exactly.

    v is 1 - E<z, z'>; the residual is what is left, E<z, z'> - |s|^2. Raises ``ValueError`` for codes that do not fit
    or are zero.
    """
    z = unit(_validate.shaped("z", z, (len(views.joint), "n"), batched=True))
    s = np.einsum("i,...in->...n", views.marginal, z)
    same = np.einsum("...in,ij,...jn->...", z, views.joint, z)
    center = np.sum(s**2, axis=-1)
    return CenterParts(center, same - center, 1 - same)


def penalty_loss(
    z: Float[np.ndarray, "*batch k n"], views: ViewPairs, weight: float, power: int = 2
) -> Float[np.ndarray, "*batch"]:
    r"""L_Simple of the population, :math:`\tfrac12 (v + \lambda_L |s|^p)`. Raises ``ValueError`` as its parts do."""
    weight, power = _weight(weight, power)
    parts = penalty_parts(z, views)
    return (parts.within + weight * parts.center_length**power) / 2


def penalty_gradient(
    z: Float[np.ndarray, "*batch k n"], views: ViewPairs, weight: float, power: int = 2
) -> Float[np.ndarray, "*batch k n"]:
    r"""Gradient of :func:`penalty_loss` in the codes, for z of length one.

    .. math:: g_i = (I - z_i z_i^\top)\Bigl(-\sum_j P_{ij} z_j
              + \lambda_L \pi_i\, \tfrac p2 |s|^{p-2} s\Bigr)

    Where s = 0 its length contributes nothing. Raises ``ValueError`` as the loss does.
    """
    weight, power = _weight(weight, power)
    z = unit(_validate.shaped("z", z, (len(views.joint), "n"), batched=True))
    s = np.einsum("i,...in->...n", views.marginal, z)[..., None, :]
    length = np.linalg.norm(s, axis=-1, keepdims=True)
    push = s if power == 2 else s / np.where(length > 0, 2 * length, 1.0)
    g = -views.joint @ z + weight * views.marginal[:, None] * push
    return g - np.sum(g * z, axis=-1, keepdims=True) * z


@dataclass(frozen=True)
class Minimum:
    """Where a descent on free codes ended.

    Attributes:
        codes: (starts, k, n) unit codes.
        loss: (starts,) L_Simple.
        parts: of the codes, (starts,) each.
        gap: (starts,) how far at most the loss is above the global minimum, by the dual certificate; nan for power 1.
        steps: how many were taken.
        reason: why it stopped, in words.
    """

    codes: Float[np.ndarray, "starts k n"]
    loss: Float[np.ndarray, " starts"]
    parts: CenterParts
    gap: Float[np.ndarray, " starts"]
    steps: int
    reason: str


def minimise(
    start: Float[np.ndarray, "starts k n"],
    views: ViewPairs,
    weight: float,
    power: int = 2,
    *,
    steps: int = 5000,
    tolerance: float = 1e-12,
) -> Minimum:
    r"""Descend L_Simple on free unit codes by a generalised power iteration, which never raises the loss.

    .. math:: z_i \leftarrow \operatorname{unit}\Bigl(c z_i + \tfrac{1}{\pi_i} \sum_j P_{ij} z_j - \lambda' s\Bigr)

    with :math:`\lambda' = \lambda_L` for the square. The length is bounded by squares,
    :math:`|s| \le |s|^2 / (2|s_t|) + |s_t|/2`, which gives :math:`\lambda' = \lambda_L / (2|s_t|)`; there |s_t| counts
    as 1e-3 if it is less. c = lambda' + 1 makes what is maximised convex, hence monotone. It stops when no code moves
    by more than ``tolerance``.

    The certificate of the square: with the multipliers :math:`y_i = \langle (M W)_i, W_i\rangle / \pi_i` of
    M = K - lambda_L u u^T, no codes have a loss lower by more than the negative part of the least eigenvalue of
    diag(y) - M, halved. Raises ``ValueError`` as the loss does.
    """
    weight, power = _weight(weight, power)
    z = unit(_validate.shaped("start", start, ("starts", len(views.joint), "n")))
    steps = _validate.count("steps", steps)
    pi, given = views.marginal, views.joint / views.marginal[:, None]
    reason = f"{steps} steps were taken"
    for t in range(steps):  # noqa: B007
        s = (pi[:, None] * z).sum(axis=1, keepdims=True)
        w = np.full((len(z), 1, 1), weight)
        if power == 1:
            w = weight / (2 * np.maximum(np.linalg.norm(s, axis=-1, keepdims=True), 1e-3))
        new = unit((w + 1) * z + given @ z - w * s)
        moved = np.abs(new - z).max()
        z = new
        if moved < tolerance:
            reason = f"no code moves by more than {tolerance:g}"
            break
    parts = penalty_parts(z, views)
    loss = (parts.within + weight * parts.center_length**power) / 2
    gap = np.full(len(z), np.nan)
    if power == 2:
        root = np.sqrt(pi)
        M = views.kernel - weight * np.outer(root, root)
        W = root[:, None] * z
        y = np.sum((M @ W) * W, axis=-1) / pi
        S = y[:, :, None] * np.eye(len(pi)) - M
        gap = np.maximum(-np.linalg.eigvalsh(S)[:, 0], 0.0) / 2
    return Minimum(z, loss, parts, gap, t + 1, reason)


def collapse_threshold(
    views: ViewPairs, rng: np.random.Generator, power: int = 2, *, n: int = 4, rounds: int = 12, steps: int = 300
) -> float:
    """The weight at which codes near total collapse begin to leave it, by bisection between 0 and 4.

    Codes start within 0.01 of one vector and take twice ``steps`` steps of :func:`minimise`. They are leaving if their
    center is shorter at the end than at the start, or than half-way, when faster transients have died. Raises
    ``ValueError`` as :func:`minimise` does.
    """
    start = unit(np.eye(n)[0] + 0.01 * rng.standard_normal((1, len(views.joint), n)))
    begin = penalty_parts(start, views).center[0]
    low, high = 0.0, 4.0
    for _ in range(_validate.count("rounds", rounds)):
        middle = (low + high) / 2
        half = minimise(start, views, middle, power, steps=steps)
        end = minimise(half.codes, views, middle, power, steps=steps).parts.center[0]
        leaving = end < begin or end < half.parts.center[0] - 1e-13
        low, high = (low, middle) if leaving else (middle, high)
    return (low + high) / 2


# --- bounds, batches, and what an added term shares out ---------------------------------------------------------------


def least_loss(
    length: Float[np.ndarray, "*s"] | float, top: float, weight: float, power: int = 2, *, batch: int | None = None
) -> Float[np.ndarray, "*s"]:
    r"""The least value that L_Simple can have at a center of given length, for any encoder.

    .. math:: \tfrac12 \min_{v} \bigl[ v + \lambda_L Q^{p/2} \bigr], \qquad
              (1 - \rho_1)(1 - |s|^2) \le v \le 1 - |s|^2

    with :math:`Q = |s|^2` for the population. On minibatches of N_B samples
    :math:`Q = \mathbb E|s_B|^2 = |s|^2 + (1 - v/2 - |s|^2)/N_B`: exact for the square, and for the length with its mean
    replaced by the root of the mean square, a few per cent too large. Concave in v, so that one of the ends is least.
    The upper end is for views drawn independently from one sample.

    Raises ``ValueError`` for a length or correlation outside [0, 1], or as the loss does.
    """
    weight, power = _weight(weight, power)
    s2 = _validate.probability("length", length) ** 2
    top = _validate.scalar("top", top, _validate.probability)

    def value(v: np.ndarray) -> np.ndarray:
        q = s2 if batch is None else s2 + (1 - v / 2 - s2) / _validate.count("batch", batch)
        return (v + weight * q ** (power / 2)) / 2

    return np.minimum(value((1 - top) * (1 - s2)), value(1 - s2))


def rival_states(
    weight: Float[np.ndarray, "*w"] | float, top: float, power: int = 2, *, batch: int | None = None
) -> Float[np.ndarray, "*w 3"]:
    """Least values of L_Simple in the three states one of which is always best: collapsed, informative, and noise.

    (|s|^2, v) is (1, 0), (0, 1 - rho_1) or (0, 1). The bound :func:`least_loss` is concave in |s|^2 and in v, so that
    its minimum is at such a corner. Raises ``ValueError`` as it does.
    """
    weights, top = _validate.nonnegative("weight", weight), _validate.scalar("top", top, _validate.probability)
    _, power = _weight(0.0, power)
    v = np.array([0.0, 1 - top, 1.0])
    s2 = np.array([1.0, 0.0, 0.0])
    q = s2 if batch is None else s2 + (1 - v / 2 - s2) / _validate.count("batch", batch)
    return (v + weights[..., None] * q ** (power / 2)) / 2


def batch_center(parts: CenterParts, batch: int) -> Float[np.ndarray, "*batch"]:
    r"""Mean squared length of the center of a minibatch: :math:`|s|^2 + (E|r|^2 + v/2)/N_B`, two views a sample."""
    return parts.center + (parts.between + parts.within / 2) / _validate.count("batch", batch)


def effective_weight(weight: float, batch: int) -> float:
    r"""The weight in the population that minibatches act with: :math:`\lambda_L (1 - 1/N_B) / (1 - \lambda_L/(2 N_B))`.

    Negative beyond lambda_L = 2 N_B, where the mean loss rewards v. Raises ``ValueError`` at it.
    """
    weight, batch = _weight(weight)[0], _validate.count("batch", batch)
    if weight == 2 * batch:
        raise ValueError(f"at weight 2 N_B = {2 * batch} the loss does not see v")
    return weight * (1 - 1 / batch) / (1 - weight / (2 * batch))


def water_filling(values: Float[np.ndarray, " K"], second: float) -> tuple[Float[np.ndarray, " K"], float]:
    r"""Shares mu of a unit of length that maximise :math:`\sum_k \rho_k \mu_k - w \sum_k \mu_k^2`, and the maximum.

    The solution is :math:`\mu_k = (\rho_k - \theta)_+ / (2 w)`, the level theta such that they sum to 1. Raises
    ``ValueError`` unless w > 0.
    """
    rho = _validate.shaped("values", values, ("K",))
    w = _validate.scalar("second", second, _validate.positive)
    down = np.sort(rho)[::-1]
    levels = (np.cumsum(down) - 2 * w) / np.arange(1, len(rho) + 1)
    theta = levels[np.flatnonzero(down > levels)[-1]]
    mu = np.maximum(rho - theta, 0) / (2 * w)
    return mu, float(rho @ mu - w * mu @ mu)


def _weight(weight: float, power: int = 2) -> tuple[float, int]:
    weight = _validate.scalar("weight", weight, _validate.nonnegative)
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2; got {power!r}")
    return weight, power


# --- the recorded sweep -----------------------------------------------------------------------------------------------

SEEDS = (200, 201, 202, 203, 204)
BATCHES = (16, 64, 256)
WEIGHTS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
JITTERS = (0.5, 1.0, 2.0)
FLOORS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.6, 2.0)
TIMES = (100, 400, 1600)
LONG = (400, 2000)
SECONDS = ((1.0, 0.0), (1.0, 0.3), (1.0, 1.0), (1.0, 3.0), (1.0, 10.0), (0.0, 1.0), (0.0, 3.0))

RATES: dict[str, tuple[float, ...]] = {
    "batch": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "long": (0.001, 0.003, 0.01),
    "floor": (0.03, 0.1, 0.3),
    "time": (0.03, 0.1, 0.3),
    "second": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
}
_KEPT = {
    "batch": ("within", "linear"),
    "long": ("within", "linear"),
    "floor": ("center",),
    "time": ("center", "within", "linear"),
    "second": ("center", "within", "rank", "knn", "linear"),
}
_DIGITS = {"center": 4, "within": 4, "rank": 2, "knn": 3, "linear": 3}
_LOST = {"center": 1.0, "within": 0.0, "rank": 0.0, "knn": 0.0, "linear": 0.0}
_STEPS = 400


@dataclass(frozen=True)
class Sweep:
    """The recorded sweep of L_Simple: rows by section, data set and setting.

    Attributes:
        seeds: which.
        rows: keys are (section, data, (name, value), ...), see :meth:`row`.
    """

    seeds: tuple[int, ...]
    rows: Mapping[tuple[Any, ...], Row]

    def row(self, section: str, data: str, **setting: Any) -> Row:
        """One row; a model that diverged counts as collapsed. Raises ``ValueError`` for one that is not there."""
        key = (section, data, *sorted(setting.items()))
        if key not in self.rows:
            raise ValueError(f"no row {key}; sections are {', '.join(RATES)}, settings as in {next(iter(self.rows))}")
        return self.rows[key]


def read_sweep(data: Mapping[str, Any]) -> Sweep:
    """Read a record's data back. Raises ``ValueError`` for data that are not those of the sweep."""
    if not isinstance(data, Mapping) or {"seeds", "runs"} - data.keys():
        raise ValueError("data: need the keys 'seeds' and 'runs' of a recorded sweep")
    rows = {}
    for entry in data["runs"]:
        section, source, setting = entry["section"], entry["data"], entry["setting"]
        found = {k: np.array([v.split() for v in entry[k]], dtype=float) for k in _KEPT[section]}
        lost = np.isnan(found[_KEPT[section][0]])
        end = {k: np.nan_to_num(v, nan=_LOST[k]) for k, v in found.items()}
        key = (section, source, *sorted(setting.items()))
        rows[key] = Row(str(setting), source, True, end, {}, 0, lost)
    return Sweep(tuple(data["seeds"]), rows)


@dataclass(frozen=True)
class _Job:
    section: str
    data: str
    setting: Mapping[str, Any]
    seeds: tuple[int, ...]


def _jobs(sections: Sequence[str], seeds: tuple[int, ...]) -> list[_Job]:
    settings: list[tuple[str, str, dict[str, Any]]] = [
        *(
            ("batch", data, {"batch": batch, "weight": weight, "unbiased": unbiased})
            for data in ("blobs", "digits")
            for batch in BATCHES
            for weight in WEIGHTS
            for unbiased in (False, True)
        ),
        *(
            ("long", "blobs", {"batch": batch, "weight": share * batch, "unbiased": unbiased, "norm": norm})
            for norm in (True, False)
            for batch in BATCHES
            for share in (1.0, 4.0)
            for unbiased in (False, True)
        ),
        *(
            ("floor", "blobs", {"jitter": jitter, "weight": weight, "power": power})
            for jitter in JITTERS
            for power in (2, 1)
            for weight in FLOORS
        ),
        *(("time", "blobs", {"weight": weight}) for weight in (0.03, 0.1, 0.2, 0.3, 0.5, 1.0)),
        *(
            ("second", data, {"weight": weight, "second": second})
            for data in ("blobs", "moons", "digits")
            for weight, second in SECONDS
        ),
    ]
    return [_Job(*setting, seeds) for setting in settings if setting[0] in sections]


def _perform(job: _Job) -> list[dict[str, Any]]:
    import torch

    from ssltheory.center_training import WIDTHS, Config, train
    from ssltheory.encoders import digit_data, toy_data

    torch.set_num_threads(1)
    change = dict(job.setting)
    views = {"jitter": change.pop("jitter"), "nuisance": 0.0} if job.section == "floor" else {}
    data = digit_data(job.seeds) if job.data == "digits" else toy_data(job.data, job.seeds, **views)  # type: ignore[arg-type]
    change |= {"unbiased": True} if job.section == "second" else {}
    config = Config(encoder=WIDTHS[job.data], **change)
    times = {"time": TIMES, "long": LONG}.get(job.section, (_STEPS,))
    run = train(config, data, job.seeds, rates=RATES[job.section], record_at=times)
    entries = []
    for k, t in enumerate(times):
        setting = {**job.setting, "steps": t} if len(times) > 1 else dict(job.setting)
        words = {
            name: [" ".join(f"{v:.{_DIGITS[name]}f}" for v in row) for row in getattr(run, name)[k]]
            for name in _KEPT[job.section]
        }
        entries.append({"section": job.section, "data": job.data, "setting": setting, **words})
    return entries


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the sweep and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sweep = commands.add_parser("sweep", help="train L_Simple at many batch sizes and weights, and record it")
    sweep.add_argument("--sections", nargs="+", choices=tuple(RATES), default=list(RATES), help="only these parts")
    sweep.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds, 200, 201, ... (default 5)")
    sweep.add_argument("--workers", type=int, default=2, help="processes, one thread each (default 2)")
    sweep.add_argument("--out", type=Path, default=Path("book/data/center_penalty.json"), help="where to write")
    options = parser.parse_args(arguments)
    if options.seeds < 2 or options.workers < 1:
        parser.error("--seeds must be at least 2, --workers at least 1")
    if problem := unwritable(options.out):
        parser.error(f"--out: {problem}")
    seeds = tuple(range(SEEDS[0], SEEDS[0] + options.seeds))
    jobs = _jobs(options.sections, seeds)
    start = time.perf_counter()
    found = [entry for entries in each_result(_perform, jobs, options.workers, "runs") for entry in entries]
    changed = [*(["--sections", *options.sections] if len(options.sections) < len(RATES) else [])]
    changed += [] if options.seeds == len(SEEDS) else ["--seeds", str(options.seeds)]
    command = shlex.join(["python", "-m", "ssltheory.center_penalty", "sweep", *changed])
    seconds = time.perf_counter() - start
    made = {"seeds": list(seeds), "runs": found}
    write_record(options.out, made, command=command, seconds=seconds, packages=("numpy", "torch", "scikit-learn"))


if __name__ == "__main__":
    main()
