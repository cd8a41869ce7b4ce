"""Blobs and half moons hidden among directions that change from view to view: toys on which learning matters.

The class of a sample shows in a few coordinates, the *signal*. They are joined by *nuisance* coordinates, drawn anew
for every view, and all are turned by one random rotation. The classes are there, but the nearest neighbours of a raw
sample are largely those of its nuisance, and an encoder has to find out what two views share.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate

__all__ = ["DIMENSION", "Toy", "ToyPairs", "toy_pairs"]

Toy = Literal["blobs", "moons"]

DIMENSION = 16
"""Coordinates of a view."""

BLOBS = 8


@dataclass(frozen=True)
class ToyPairs:
    """Pairs of views to train on, and single views with known classes to probe with.

    Attributes:
        x, y: (N, 16) views; row i of both is one sample.
        train, train_labels: one view each of other samples, (M, 16) and (M,).
        test, test_labels: the same for yet other samples.
        signal: the rows of the rotation that carry the signal, (signal, 16): the best linear encoder.
    """

    x: Float[np.ndarray, "N 16"]
    y: Float[np.ndarray, "N 16"]
    train: Float[np.ndarray, "M 16"]
    train_labels: Int[np.ndarray, " M"]
    test: Float[np.ndarray, "L 16"]
    test_labels: Int[np.ndarray, " L"]
    signal: Float[np.ndarray, "signal 16"]


def toy_pairs(
    toy: Toy,
    rng: np.random.Generator,
    count: int = 4000,
    *,
    probe: int = 500,
    jitter: float = 0.05,
    nuisance: float = 1.5,
) -> ToyPairs:
    """Draw ``count`` pairs of views, and ``probe`` labelled samples each to train and to test a probe on.

    Blobs are eight normal clusters of standard deviation 0.25 about fixed centres, the corners of a cube of edge 2, in
    three coordinates; moons are scikit-learn's two half moons with noise 0.05, scaled to mean square 1, in two. A view
    adds normal ``jitter`` to the signal and has normal ``nuisance`` in the other coordinates of 16.

    Raises ``ValueError`` for another toy, ``count`` or ``probe`` < 1, or a negative amplitude.
    """
    _validate.one_of("toy", toy, get_args(Toy))
    count, probe = _validate.count("count", count), _validate.count("probe", probe)
    jitter = _validate.scalar("jitter", jitter, _validate.nonnegative)
    nuisance = _validate.scalar("nuisance", nuisance, _validate.nonnegative)
    samples = count + 2 * probe
    if toy == "blobs":
        labels = rng.integers(BLOBS, size=samples)
        signal = 2.0 * ((labels[:, None] >> np.arange(3)) & 1) - 1 + 0.25 * rng.standard_normal((samples, 3))
    else:
        from sklearn.datasets import make_moons

        signal, labels = make_moons(samples, noise=0.05, random_state=int(rng.integers(2**31)))
        order = rng.permutation(samples)
        signal, labels = (signal[order] - [0.5, 0.25]) / np.sqrt((0.75 + 0.125) / 2), labels[order]
    turn, _ = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))

    def view(rows: slice) -> np.ndarray:
        seen = signal[rows] + jitter * rng.standard_normal(signal[rows].shape)
        other = nuisance * rng.standard_normal((len(seen), DIMENSION - seen.shape[1]))
        return np.hstack([seen, other]) @ turn

    pairs, train, test = slice(count), slice(count, count + probe), slice(count + probe, None)
    labels = labels.astype(np.int64)
    return ToyPairs(
        view(pairs), view(pairs), view(train), labels[train], view(test), labels[test], turn[: signal.shape[1]]
    )
