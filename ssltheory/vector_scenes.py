"""Clouds of codes that have collapsed in a chosen way, what each diagnostic says of them, and the explorer of both."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate
from ssltheory.center import pair_parts, unit
from ssltheory.diagnostics import effective_rank, knn_accuracy, linear_probe_accuracy, spectrum
from ssltheory.explorers import Circle, Marker, Panel, Points, Scene

__all__ = ["KINDS", "Cloud", "Kind", "Seen", "cloud", "cloud_scene", "diagnose"]

Kind = Literal["point", "shift", "opposite", "circle", "shuffled", "noise"]

KINDS: dict[Kind, str] = {
    "point": "shrunk to a point",
    "shift": "all in one half-space",
    "opposite": "two opposite points",
    "circle": "on a circle",
    "shuffled": "classes shuffled",
    "noise": "views scattered",
}
"""The kinds of cloud, in words."""

CLASSES, DIMENSION, SAMPLES = 6, 8, 240


@dataclass(frozen=True)
class Cloud:
    """Unit codes of two views of samples with known classes, and of as many samples to test on.

    Attributes:
        first, second: (N, 8) codes of two views of the N training samples.
        test: (N, 8) codes of one view of other samples.
        labels, test_labels: their classes, 0 to 5.
        plane: (2, 8) two orthonormal directions in which the clouds show what happens to them.
    """

    first: Float[np.ndarray, "N 8"]
    second: Float[np.ndarray, "N 8"]
    test: Float[np.ndarray, "N 8"]
    labels: Int[np.ndarray, " N"]
    test_labels: Int[np.ndarray, " N"]
    plane: Float[np.ndarray, "2 8"]


@dataclass(frozen=True)
class Seen:
    """What each diagnostic says of a cloud: the three parts, separation, effective rank, and two accuracies."""

    center: float
    between: float
    within: float
    separation: float
    rank: float
    knn: float
    linear: float


def cloud(kind: Kind, strength: float, seed: int = 0, *, depth: float = 4.0) -> Cloud:
    """Draw the codes of 240 training and 240 test samples of six classes, collapsed to a degree from 0 to 1.

    At strength 0 all kinds are the same healthy cloud: the classes are the corners of a regular simplex, samples and
    views vary a little about them, and the center is nearly 0. Towards strength 1

    - "point": a direction e is added and all else is multiplied by 10^(-depth strength);
    - "shift": up to 2.5 e is added, and nothing is lost;
    - "opposite": a growing share of samples lies close to e or -e, at random, whatever their class;
    - "circle": all coordinates but two vanish;
    - "shuffled": the classes of a growing share of samples are drawn at random, and codes follow them;
    - "noise": every view is scattered about its sample more and more.

    Raises ``ValueError`` for another kind, a strength outside [0, 1], or a negative depth.
    """
    _validate.one_of("kind", kind, get_args(Kind))
    depth = _validate.scalar("depth", depth, _validate.nonnegative)
    strength = _validate.scalar("strength", strength, _validate.probability)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))
    angles = 2 * np.pi * np.arange(CLASSES) / CLASSES
    waves = [f(k * angles) for k in (1, 2) for f in (np.cos, np.sin)]
    corners = np.stack([*waves, np.cos(3 * angles) / np.sqrt(2)], axis=1) * np.sqrt(2 / 5)
    labels = np.repeat(np.arange(CLASSES), 2 * SAMPLES // CLASSES)
    labels = labels[rng.permutation(len(labels))]
    moved = rng.random(len(labels)) < (strength if kind == "shuffled" else 0.0)
    shown = np.where(moved, rng.integers(CLASSES, size=len(labels)), labels)
    x = np.pad(corners, [(0, 0), (0, DIMENSION - 5)])[shown] + 0.15 * rng.standard_normal((len(labels), DIMENSION))
    e = np.eye(DIMENSION)[0]
    if kind == "opposite":
        stray = rng.random((len(x), 1)) < strength
        side = rng.choice([-1.0, 1.0], (len(x), 1))
        x = np.where(stray, side * e + 0.05 * rng.standard_normal(x.shape), x)
    scatter = 0.05 + (1.5 * strength if kind == "noise" else 0.0)
    views = [x + scatter * rng.standard_normal(x.shape) for _ in range(2)]
    codes = []
    for z in views:
        if kind == "point":
            z = (strength > 0) * e + 10 ** (-depth * strength) * unit(z)
        elif kind == "shift":
            z = unit(z) + 2.5 * strength * e
        elif kind == "circle":
            z = unit(z) * np.where(np.arange(DIMENSION) < 2, 1.0, 1 - strength)
        codes.append(unit(z) @ turn)
    train, test = slice(SAMPLES), slice(SAMPLES, None)
    return Cloud(codes[0][train], codes[1][train], codes[0][test], labels[train], labels[test], turn[:2])


def diagnose(codes: Cloud, *, single: bool = False) -> Seen:
    """Apply every diagnostic to a cloud, with codes rounded to single precision first if ``single``.

    The parts are estimated without bias; the separation counts estimates below 0 as 0.
    """
    first, second, test = (
        z.astype(np.float32).astype(float) if single else z for z in (codes.first, codes.second, codes.test)
    )
    parts = pair_parts(first, second)
    between = max(float(parts.between), 0.0)
    spread = between + float(parts.within)
    probe = (first, codes.labels, test, codes.test_labels)
    return Seen(
        float(parts.center),
        float(parts.between),
        float(parts.within),
        between / spread if spread > 0 else 0.0,
        float(effective_rank(spectrum(first))),
        knn_accuracy(*probe),
        linear_probe_accuracy(*probe),
    )


STYLES: tuple[tuple[str, Marker], ...] = (
    ("sg", "circle"),
    ("ema", "square"),
    ("outer", "diamond"),
    ("teacher", "cross"),
    ("student", "circle"),
    ("predictor", "square"),
)


def cloud_scene(kind: Kind, strength: float) -> Scene:
    """Draw a cloud in its plane, a colour and marker for each class, beside the numbers that describe it."""
    codes = cloud(kind, strength)
    seen = diagnose(codes)
    shown = codes.first[::2] @ codes.plane.T
    s = codes.first.mean(axis=0) @ codes.plane.T
    groups = [
        Points(
            shown[codes.labels[::2] == c, 0],
            shown[codes.labels[::2] == c, 1],
            color=ink,
            marker=marker,
            size=5.0,
            hollow=c > 3,
        )
        for c, (ink, marker) in enumerate(STYLES)
    ]
    plane = Panel(
        [
            Circle([0.0], [0.0], [1.0], color="muted", width=1.0),
            *groups,
            Points([0.0, s[0]], [0.0, s[1]], color="ink", marker="cross", size=4.0),
            Points([s[0]], [s[1]], color="ink", size=13.0, hollow=True, label="center s"),
        ],
        xlabel="first direction",
        ylabel="second direction",
        xlim=(-1.1, 1.1),
        ylim=(-1.1, 1.1),
        equal=True,
    )
    values = [seen.center, seen.separation, (seen.rank - 1) / (DIMENSION - 1), seen.knn, seen.linear]
    places = {0.0: "|s|²", 1.0: "sep.", 2.0: "rank", 3.0: "kNN", 4.0: "probe"}
    bars = Panel(
        [
            Points(list(places), values, color="sg", size=11.0, label="now"),
            Points(list(places), _healthy(), color="muted", size=11.0, hollow=True, label="healthy"),
        ],
        ylabel="from 0 to 1",
        xlim=(-0.5, 4.5),
        ylim=(-0.05, 1.05),
        xticks=places,
        aspect=0.9,
    )
    said = (
        f"{KINDS[kind].capitalize()}, strength {strength:g}",
        f"|s|² {seen.center:.2f}, residual {max(seen.between, 0):.2f}, v {seen.within:.2f}",
        f"separation {seen.separation:.2f}, effective rank {seen.rank:.1f} of {DIMENSION}",
        f"kNN {seen.knn:.2f}, linear probe {seen.linear:.2f}.",
    )
    return Scene([plane, bars], f"{said[0]}: {'; '.join(said[1:])}")


def _healthy() -> list[float]:
    seen = diagnose(cloud("point", 0.0))
    return [seen.center, seen.separation, (seen.rank - 1) / (DIMENSION - 1), seen.knn, seen.linear]
