"""Encoders with batch norm, many seeds at once, and the views and images that they are trained and probed on.

Every parameter has a leading axis of seeds, a layer is one batched product, and seeds never interact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d

from ssltheory import _validate
from ssltheory.images import random_views
from ssltheory.siamese import DigitPairs, digit_pairs
from ssltheory.toy_views import Toy, ToyPairs, toy_pairs

__all__ = ["Data", "Layer", "Shape", "average", "digit_data", "encode", "image_data", "initialise", "toy_data"]

Layer = tuple[
    Tensor, Tensor
]  # weight (seeds, outputs, inputs) or (seeds, outputs, inputs, 3, 3); shift (seeds, outputs)


class Shape(Protocol):
    """What :func:`initialise` reads of a configuration."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the images and of each convolution (3 x 3, stride 2); () for none."""

    @property
    def encoder(self) -> tuple[int, ...]:
        """Widths of the dense layers; the first is the number of inputs, or the last of ``channels``."""

    @property
    def scale(self) -> float:
        """What multiplies the initial weights."""


@dataclass(frozen=True)
class Data:
    """Pairs of views to train on, and clean images to probe with; a leading axis of seeds, or of length 1 for all.

    Attributes:
        x, y: (seeds or 1, N, ...) views; entry i of both is the same image, distorted twice. The rest of the shape is
            (m,) for a dense encoder and (channels, height, width) for a convolutional one.
        clean, labels: images with known classes, (seeds or 1, M, ...) and (seeds or 1, M).
        test, test_labels: images of which no view is in x or y.
    """

    x: Tensor
    y: Tensor
    clean: Tensor
    labels: Int[np.ndarray, "s M"]
    test: Tensor
    test_labels: Int[np.ndarray, "s L"]


def digit_data(
    seeds: Sequence[int], count: int = 4000, *, dtype: torch.dtype = torch.float32, **amplitudes: float
) -> Data:
    """Draw digits for every seed by :func:`ssltheory.siamese.digit_pairs`: its own split, its own ``count`` pairs."""
    drawn = [digit_pairs(np.random.default_rng([seed, 1]), count, held_out=500, **amplitudes) for seed in seeds]
    return _stack(drawn, dtype)


def toy_data(
    toy: Toy,
    seeds: Sequence[int],
    count: int = 4000,
    *,
    probe: int = 500,
    dtype: torch.dtype = torch.float32,
    **amplitudes: float,
) -> Data:
    """Draw blobs or moons for every seed by :func:`ssltheory.toy_views.toy_pairs`: its own samples and rotation."""
    drawn = [toy_pairs(toy, np.random.default_rng([seed, 1]), count, probe=probe, **amplitudes) for seed in seeds]
    return _stack(drawn, dtype)


def _stack(drawn: Sequence[DigitPairs | ToyPairs], dtype: torch.dtype) -> Data:
    x, y, clean, test = (
        torch.from_numpy(np.stack([getattr(d, name) for d in drawn])).to(dtype) for name in ("x", "y", "train", "test")
    )
    labels, test_labels = (np.stack([getattr(d, name) for d in drawn]) for name in ("train_labels", "test_labels"))
    return Data(x, y, clean, labels, test, test_labels)


def image_data(
    images: Float[np.ndarray, "N s s c"],
    labels: Int[np.ndarray, " N"],
    rng: np.random.Generator,
    *,
    test: tuple[Float[np.ndarray, "M s s c"], Int[np.ndarray, " M"]] | None = None,
    count: int = 10_000,
    probe: int = 50,
    device: str | torch.device = "cpu",
) -> Data:
    """Draw pairs of views of images, the same for all seeds, and choose images to probe with.

    There are ``count`` pairs, up to ``probe`` clean images of each class, and up to 2,000 test images. Without
    ``test`` every fifth image, at random, is kept for testing. The mean over the views of each channel is subtracted
    and the channel divided by its standard deviation.

    Raises ``ValueError`` if a class has fewer than two training images or the labels are not those of the images.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(images),):
        raise ValueError(f"labels have shape {labels.shape}; need ({len(images)},), one for each image")
    order = rng.permutation(len(images))
    if test is None:
        held = order[: max(len(images) // 5, 1)]
        order, test = order[len(held) :], (images[held], labels[held])
    few = [c for c in np.unique(labels) if np.sum(labels[order] == c) < 2]
    if few:
        raise ValueError(f"class {few[0]} has fewer than two training images; need at least two of each class")
    chosen = np.concatenate([order[labels[order] == c][:probe] for c in np.unique(labels)])
    other = rng.permutation(len(test[0]))[:2000]
    source = images[rng.choice(order, _validate.count("count", count))]
    x, y = (random_views(source, rng) for _ in range(2))
    mean, deviation = x.mean(axis=(0, 1, 2)), np.maximum(x.std(axis=(0, 1, 2)), 1e-6)

    def ready(v: np.ndarray) -> Tensor:
        planes = np.ascontiguousarray(((v - mean) / deviation).transpose(0, 3, 1, 2), dtype=np.float32)
        return torch.from_numpy(planes)[None].to(device)

    return Data(
        ready(x), ready(y), ready(images[chosen]), labels[chosen][None], ready(test[0][other]), test[1][other][None]
    )


def initialise(config: Shape, generators: list[torch.Generator], *, dtype: torch.dtype = torch.float32) -> list[Layer]:
    """Random layers, one independent draw for each generator: weights N(0, scale^2 2/inputs), shifts zero."""
    layers: list[Layer] = []
    convolutions = max(len(config.channels) - 1, 0)
    for depth, (inputs, outputs) in enumerate([*pairwise(config.channels), *pairwise(config.encoder)]):
        shape = (outputs, inputs, 3, 3) if depth < convolutions else (outputs, inputs)
        size = config.scale * (2 / np.prod(shape[1:])) ** 0.5
        weights = [size * torch.randn(shape, generator=g, dtype=torch.float64) for g in generators]
        layers.append((torch.stack(weights).to(dtype), torch.zeros(len(generators), outputs, dtype=dtype)))
    return layers


def encode(
    layers: list[Layer],
    x: Tensor,
    *,
    norm: bool = True,
    statistics: list[tuple[Tensor, Tensor]] | None = None,
    collect: list[tuple[Tensor, Tensor]] | None = None,
) -> Tensor:
    """Codes of every seed, shape (seeds, n, N): a unit's values over the samples lie side by side.

    Hidden layers are batch norm (if ``norm``), a shift and a ReLU; the last layer is linear, and its shift is not used.

    Args:
        layers: with a leading axis of seeds.
        x: (seeds or 1, N, m) or (seeds or 1, N, channels, height, width).
        norm: whether hidden layers are normalised.
        statistics: mean and variance of the units of each hidden layer to normalise with; by default those of ``x``.
        collect: a list to which those of ``x`` are appended.
    """
    seeds, samples = len(layers[0][0]), x.shape[1]
    x = x.expand(seeds, *x.shape[1:])
    x = x.transpose(0, 1).flatten(1, 2) if x.ndim == 5 else x.mT  # (N, seeds channels, h, w) or (seeds, m, N)
    for depth, (weight, shift) in enumerate(layers):
        if weight.ndim == 5:
            x = conv2d(x, weight.flatten(0, 1), stride=2, padding=1, groups=seeds)
        else:
            x = x.mean(dim=(2, 3)).T.reshape(seeds, -1, samples) if x.ndim == 4 else x
            x = torch.bmm(weight, x)
        if depth == len(layers) - 1:
            break
        units = x if x.ndim == 4 else x.reshape(1, -1, samples)  # the units of all seeds on the second axis
        shifts = shift.reshape(-1)
        if norm:
            if collect is not None:
                variance, mean = torch.var_mean(units, dim=(0, *range(2, units.ndim)), correction=0)
                collect.append((mean, variance))
            mean, variance = (None, None) if statistics is None else statistics[depth]  # type: ignore[assignment]
            units = batch_norm(units, mean, variance, torch.ones_like(shifts), shifts, statistics is None)
        else:
            units = units + shifts.reshape(1, -1, *[1] * (units.ndim - 2))
        x = torch.relu(units).reshape(x.shape)
    return x


def average(alpha: float, teacher: list[Layer], student: list[Layer]) -> list[Layer]:
    """The moving average alpha teacher + (1 - alpha) student of every parameter."""
    return [
        (alpha * w + (1 - alpha) * v, alpha * b + (1 - alpha) * c)
        for (w, b), (v, c) in zip(teacher, student, strict=True)
    ]
