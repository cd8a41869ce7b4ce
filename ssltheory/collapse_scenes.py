"""What the explorer of the chapter on naive dynamics shows: a code of two numbers while nothing holds its weights."""

from functools import cache
from typing import Literal, NamedTuple, get_args

import numpy as np

from ssltheory import _validate
from ssltheory.contrast import contrast_matrix, digit_triples, moon_triples
from ssltheory.diagnostics import effective_rank, spectrum
from ssltheory.explorers import Item, Line, Panel, Points, Scene
from ssltheory.unconstrained import naive_flow

Data = Literal["moons", "digits", "white", "opposed", "silent"]
CLOCK = 12.0
"""How many e-folds of the fastest direction are shown."""


class _Case(NamedTuple):
    views: np.ndarray
    labels: np.ndarray
    gamma: np.ndarray
    q: np.ndarray


def collapse_scene(folds: float, data: Data) -> Scene:
    """Draw the size of the code and the ratio of its singular values over time, and the code itself, to a common size.

    ``folds`` is time in e-folds of the direction with the largest |gamma|, 2 |gamma| t. Raises ``ValueError`` for
    another name or a time outside 0 to ``CLOCK``.
    """
    _validate.one_of("data", data, get_args(Data))
    folds = _validate.scalar("folds", folds, _validate.nonnegative)
    if folds > CLOCK:
        raise ValueError(f"folds must be at most {CLOCK:g}; got {folds:.6g}")
    case = _case(data)
    fastest = float(np.abs(np.linalg.eigvalsh(case.gamma)).max())
    clock = np.linspace(0.0, CLOCK, 49)
    ratios, sizes, _ = _measures(case, clock, fastest)
    ratio, size, rank = (float(v[0]) for v in _measures(case, np.array([folds]), fastest))
    code = case.views @ naive_flow(case.q, case.gamma, np.array([folds / (2 * fastest)]))[0]
    code = code / np.sqrt(np.mean(np.sum(code**2, axis=1)))
    over_time: list[Item] = [
        Line(clock, sizes, color="gradient", dash="dashed", label="size of the code, from 1"),
        Line(clock, ratios, color="gradient", label="second singular value / first"),
        Points([folds, folds], [size, ratio], color="gradient", size=9),
    ]
    first, second = (code[case.labels == k].T for k in np.unique(case.labels))
    cloud: list[Item] = [
        Points(first[0], first[1], color="student", size=5, label="class 1"),
        Points(second[0], second[1], color="teacher", size=5, marker="square", hollow=True, label="class 2"),
    ]
    panels = [
        Panel(over_time, xlabel="time, e-folds", ylabel="size, ratio", yscale="log", xlim=(0, CLOCK), ylim=(1e-6, 3e5)),
        Panel(cloud, xlabel="f₁ / size", ylabel="f₂ / size", xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), equal=True),
    ]
    words = f"after {folds:g} e-folds the code is {_times(size)}; its second singular value is {ratio:.2g} of the first"
    return Scene(panels, f"{words}, effective rank {rank:.2f}.")


def _times(size: float) -> str:
    if abs(size - 1) < 0.005:
        return "as large as it was"
    return f"{size:.3g} times as large" if size > 1 else f"{1 / size:.3g} times smaller"


def _measures(case: _Case, clock: np.ndarray, fastest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratio of singular values, size relative to the start, and effective rank of the codes at some times."""
    code = case.views @ naive_flow(case.q, case.gamma, np.append(0.0, clock / (2 * fastest)))
    sigma = np.linalg.svd(code, compute_uv=False)
    size = np.linalg.norm(sigma, axis=1)
    return (sigma[:, 1] / sigma[:, 0])[1:], (size / size[0])[1:], effective_rank(spectrum(code, centred=False))[1:]


@cache
def _case(data: Data) -> _Case:
    rng = np.random.default_rng(3)
    if data == "digits":
        x, positive, negative, labels = digit_triples(rng, (0, 1))
        mean = x.mean(axis=0)
        gamma = contrast_matrix(x - mean, positive - mean, negative - mean)
        keep = rng.permutation(len(x))[:60]
        return _Case((x - mean)[keep], labels[keep], gamma, rng.standard_normal((x.shape[1], 2)))
    x, positive, negative, labels = moon_triples(rng, 200)
    mean = x.mean(axis=0)
    x, positive, negative = x - mean, positive - mean, negative - mean
    keep = rng.permutation(len(x))[:60]
    q = np.array([[0.6, -0.7], [0.8, 0.9]])
    X = x.T @ x / len(x)
    if data == "white":
        values, V = np.linalg.eigh(X)
        return _Case(((x @ V) / np.sqrt(values) @ V.T)[keep], labels[keep], -np.eye(2), q)
    if data == "opposed":
        return _Case(x[keep], labels[keep], contrast_matrix(x, -x), q)
    if data == "silent":
        third = rng.standard_normal((len(x), 1))
        views = np.hstack([x, third])
        return _Case(views[keep], labels[keep], np.diag([0.0, 0.0, 1.0]), np.vstack([q, [[0.9, -0.5]]]))
    return _Case(x[keep], labels[keep], contrast_matrix(x, positive, negative), q)
