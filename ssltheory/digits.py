"""Real digits and augmented pairs of views of them.

The images are the 1797 handwritten digits (8 x 8 pixels, ten classes) that ship with scikit-learn, a copy of the test
set of the UCI repository's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998).
"""

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate

SIDE = 8
"""Pixels along an edge of an image."""


def load_digits() -> tuple[Float[np.ndarray, "1797 8 8"], Int[np.ndarray, " 1797"]]:
    """Return the images, brightness in [0, 1], and their labels 0 to 9. No download."""
    from sklearn.datasets import load_digits as bundled

    images, labels = bundled(return_X_y=True)
    return images.reshape(-1, SIDE, SIDE) / 16.0, labels.astype(np.int64)


def augment(
    images: Float[np.ndarray, "N h w"],
    rng: np.random.Generator,
    *,
    shift: float = 0.7,
    angle: float = 10.0,
    scale: float = 0.1,
    brightness: float = 0.2,
    noise: float = 0.05,
) -> Float[np.ndarray, "N h w"]:
    """Return one random view of each image: moved, rotated, scaled, lightened, with pixel noise.

    For each image on its own and uniformly: a displacement within +/- ``shift`` pixels along each axis, an angle within
    +/- ``angle`` degrees, a magnification within 1 +/- ``scale``, a brightness factor within 1 +/- ``brightness``; then
    Gaussian noise of standard deviation ``noise`` on each pixel (not clipped, so that its second moment is exactly
    noise^2 I). Sampling is bilinear about the image's centre, zero outside. All amplitudes 0 give the images back.

    Raises ``ValueError`` for images that are not (N, h, w) and finite, negative amplitudes, ``scale`` >= 1.
    """
    images = _validate.shaped("images", images, ("N", "h", "w"))
    amplitudes = {"shift": shift, "angle": angle, "scale": scale, "brightness": brightness, "noise": noise}
    for name, value in amplitudes.items():
        _validate.scalar(name, value, _validate.nonnegative)
    if scale >= 1:
        raise ValueError(f"scale must be less than 1; got {scale:g}")
    count, height, width = images.shape
    uniform = rng.uniform(-1.0, 1.0, (5, count, 1, 1))
    turn = np.deg2rad(angle) * uniform[2]
    cosine, sine = np.cos(turn), np.sin(turn)
    zoom = 1.0 + scale * uniform[3]
    rows = np.arange(height)[:, None] - (height - 1) / 2 - shift * uniform[0]
    columns = np.arange(width)[None, :] - (width - 1) / 2 - shift * uniform[1]
    source_rows = (cosine * rows - sine * columns) / zoom + (height - 1) / 2
    source_columns = (sine * rows + cosine * columns) / zoom + (width - 1) / 2
    views = _bilinear(images, source_rows, source_columns) * (1.0 + brightness * uniform[4])
    return views + noise * rng.standard_normal(images.shape)


def _bilinear(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    count, height, width = images.shape
    # A border of one zero pixel on the near side, two on the far side: neighbours of a clipped position exist.
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2)))
    rows = np.clip(rows, -1.0, height) + 1.0
    columns = np.clip(columns, -1.0, width) + 1.0
    top, left = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
    down, right = rows - top, columns - left
    flat = padded.reshape(count, -1)
    corner = (top * (width + 3) + left).reshape(count, -1)

    def pixel(offset: int) -> np.ndarray:
        return np.take_along_axis(flat, corner + offset, axis=1).reshape(rows.shape)

    upper = (1 - right) * pixel(0) + right * pixel(1)
    lower = (1 - right) * pixel(width + 3) + right * pixel(width + 4)
    return (1 - down) * upper + down * lower


def digit_views(
    rng: np.random.Generator,
    count: int | None = None,
    *,
    centre: bool = False,
    shift: float = 0.7,
    angle: float = 10.0,
    scale: float = 0.1,
    brightness: float = 0.2,
    noise: float = 0.05,
) -> tuple[Float[np.ndarray, "N 64"], Float[np.ndarray, "N 64"], Int[np.ndarray, " N"]]:
    """Return N pairs of views (x, y), each pair two independent augmentations of one real digit, and the labels.

    ``count`` pairs are made of digits drawn with replacement; None takes each of the 1797 digits once, in order.
    ``centre`` subtracts each pixel's mean over all 2 N views. The amplitudes are those of :func:`augment`. Three pixels
    are zero in every digit: with all amplitudes 0, X = E[x x^T] is singular until the views are projected.
    """
    images, labels = load_digits()
    if count is not None:
        chosen = rng.integers(len(images), size=_validate.count("count", count))
        images, labels = images[chosen], labels[chosen]
    x, y = (
        augment(images, rng, shift=shift, angle=angle, scale=scale, brightness=brightness, noise=noise).reshape(
            len(images), -1
        )
        for _ in range(2)
    )
    if centre:
        mean = (x.mean(axis=0) + y.mean(axis=0)) / 2
        x, y = x - mean, y - mean
    return x, y, labels
