"""Images from a folder or from the files of CIFAR-10 or MNIST, and random views of them. Nothing is downloaded."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate

__all__ = ["SUFFIXES", "load_cifar10", "load_folder", "load_mnist", "random_views"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Names of files that are read as images end in one of these, in small or capital letters."""

_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue plane
_MNIST = (("train-images", "idx3"), ("train-labels", "idx1"), ("t10k-images", "idx3"), ("t10k-labels", "idx1"))
_MAGIC = {"idx3": 2051, "idx1": 2049}


def load_folder(
    path: str | Path, size: int = 32
) -> tuple[Float[np.ndarray, "N s s 3"], Int[np.ndarray, " N"], list[str]]:
    """Read a folder that holds one folder of images for each class: (images in [0, 1], labels, names of the classes).

    Classes are numbered in the order of their names. An image is cut to its central square and resized to ``size``
    pixels along an edge. Files with other endings and hidden ones are passed over.

    Raises ``ValueError`` for a path that is no folder, fewer than two classes, a class without an image, a file that is
    not the image that its ending says, or ``size`` < 1.
    """
    from PIL import Image  # comes with matplotlib

    root, size = Path(path), _validate.count("size", size)
    if not root.is_dir():
        raise ValueError(f"path: there is no folder {root}")
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    if len(folders) < 2:
        raise ValueError(f"{root} holds {len(folders)} folder(s); need at least two, one for each class")
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        if not files:
            raise ValueError(f"{folder} holds no image; need files that end in {', '.join(SUFFIXES)}")
        for file in files:
            try:
                with Image.open(file) as opened:
                    picture = opened.convert("RGB")
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
                raise ValueError(f"{file} is not a readable image: {problem}") from None
            edge = min(picture.size)
            left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
            square = picture.crop((left, top, left + edge, top + edge)).resize((size, size), Image.Resampling.BILINEAR)
            images.append(np.asarray(square, dtype=np.float32) / 255)
            labels.append(label)
    return np.stack(images), np.array(labels, dtype=np.int64), [folder.name for folder in folders]


def load_cifar10(
    path: str | Path,
) -> tuple[
    Float[np.ndarray, "N 32 32 3"], Int[np.ndarray, " N"], Float[np.ndarray, "M 32 32 3"], Int[np.ndarray, " M"]
]:
    """Read CIFAR-10's *binary* version: training images in [0, 1] and labels, then the same for the test images.

    The folder holds data_batch_1.bin, ... and test_batch.bin, whose records are one byte of label and 3 x 1024 bytes of
    pixels. The version for Python is not read, since its files are pickles, and a pickle runs what it pleases.

    Raises ``ValueError`` for a missing file, a length that is no multiple of a record, or a label above 9.
    """
    root = Path(path)
    training = sorted(root.glob("data_batch_*.bin")) if root.is_dir() else []
    test = root / "test_batch.bin"
    if not training or not test.is_file():
        hint = "; its files without .bin are pickles, which are not read" if (root / "data_batch_1").exists() else ""
        raise ValueError(f"{root} does not hold data_batch_1.bin, ... and test_batch.bin (the binary version){hint}")
    images, labels = zip(*map(_read_batch, training), strict=True)
    return np.concatenate(images), np.concatenate(labels), *_read_batch(test)


def load_mnist(
    path: str | Path,
) -> tuple[Float[np.ndarray, "N 28 28"], Int[np.ndarray, " N"], Float[np.ndarray, "M 28 28"], Int[np.ndarray, " M"]]:
    """Read MNIST's four files: training images in [0, 1] and labels, then the same for the test images.

    The folder holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the two that begin with t10k, each as it is or
    compressed, with .gz behind its name. Copies that write a dot for the hyphen before idx are read too.

    Raises ``ValueError`` for a path that is no folder, missing files, which it names, a file that is not what its name
    says (magic number, sizes, length, damaged compression), or labels above 9 or of another number than the images.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"path: there is no folder {root}")
    found, missing = [], []
    for stem, kind in _MNIST:
        names = [f"{stem}{mark}{kind}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
        here = [root / name for name in names if (root / name).is_file()]
        found.extend(here[:1])
        missing.extend([] if here else [names[0]])
    if missing:
        raise ValueError(f"{root} lacks {', '.join(missing)} (or the same with .gz)")
    images, labels, test, test_labels = (
        _read_idx(file, _MAGIC[kind]) for file, (_, kind) in zip(found, _MNIST, strict=True)
    )
    for pictures, numbers, file in ((images, labels, found[1]), (test, test_labels, found[3])):
        if len(pictures) != len(numbers):
            raise ValueError(f"{file} has {len(numbers)} labels for {len(pictures)} images")
        if numbers.max() > 9:
            raise ValueError(f"{file} has a label {numbers.max()}; need 0 to 9")
    pixels = [np.ascontiguousarray(a, dtype=np.float32) / 255 for a in (images, test)]
    return pixels[0], labels.astype(np.int64), pixels[1], test_labels.astype(np.int64)


def _read_idx(file: Path, magic: int) -> np.ndarray:
    """The bytes of a file of MNIST: a magic number whose last byte counts the dimensions, their sizes, the entries."""
    try:
        raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as problem:
        raise ValueError(f"{file} is not a whole gzip file: {problem}") from None
    head = 4 * (1 + magic % 256)
    if len(raw) < head:
        raise ValueError(f"{file} has {len(raw)} bytes; need a head of {head}")
    first, *sizes = (int(v) for v in np.frombuffer(raw, dtype=">u4", count=head // 4))
    if first != magic:
        raise ValueError(f"{file} begins with {first}; need the magic number {magic}")
    if sizes[1:] not in ([], [28, 28]) or not sizes[0]:
        raise ValueError(f"{file} says it holds {' x '.join(map(str, sizes))} entries; need N >= 1 and 28 x 28 pixels")
    entries = np.frombuffer(raw, dtype=np.uint8, offset=head)
    if entries.size != np.prod(sizes, dtype=object):
        raise ValueError(f"{file} has {entries.size} bytes after its head; need {' x '.join(map(str, sizes))}")
    return entries.reshape(sizes)


def _read_batch(file: Path) -> tuple[np.ndarray, np.ndarray]:
    raw = np.fromfile(file, dtype=np.uint8)
    if not raw.size or raw.size % _RECORD:
        raise ValueError(f"{file} has {raw.size} bytes; need a positive multiple of {_RECORD}")
    rows = raw.reshape(-1, _RECORD)
    if rows[:, 0].max() > 9:
        raise ValueError(f"{file} has a label {rows[:, 0].max()}; need 0 to 9")
    pixels = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels, dtype=np.float32) / 255, rows[:, 0].astype(np.int64)


def random_views(
    images: Float[np.ndarray, "N s s c"],
    rng: np.random.Generator,
    *,
    crop: float = 0.6,
    flip: bool = True,
    colour: float = 0.3,
    noise: float = 0.02,
) -> Float[np.ndarray, "N s s c"]:
    """Return one random view of each image: a part of it enlarged, perhaps mirrored, its colours changed, with noise.

    For each image on its own: a square of edge uniform in [``crop``, 1] times the image's, at a uniform place, is
    resampled bilinearly to the full size and mirrored left to right with probability 1/2; brightness, contrast about
    the image's mean, and each channel are multiplied by factors uniform in 1 +/- ``colour``; then normal noise of
    standard deviation ``noise``. All amplitudes 0, ``crop`` 1 and ``flip`` False give the images back.

    Raises ``ValueError`` for images that are not (N, s, s, c) and finite, ``crop`` outside (0, 1], ``colour`` outside
    [0, 1], or a negative ``noise``.
    """
    images = _validate.shaped("images", images, ("N", "s", "s", "c"))
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"images have shape {images.shape}; need square ones, (N, s, s, c)")
    crop = _validate.scalar("crop", _validate.scalar("crop", crop, _validate.positive), _validate.probability)
    colour = _validate.scalar("colour", colour, _validate.probability)
    noise = _validate.scalar("noise", noise, _validate.nonnegative)
    count, edge = images.shape[:2]
    size = rng.uniform(crop, 1.0, (count, 1))
    corner = rng.uniform(0.0, 1.0, (2, count, 1)) * (1 - size) * (edge - 1)
    rows, columns = corner[0] + size * np.arange(edge), corner[1] + size * np.arange(edge)
    mirrored = (rng.random((count, 1)) < 0.5) & flip
    columns = np.where(mirrored, columns[:, ::-1], columns)
    views = _resample(_resample(images, rows, axis=1), columns, axis=2)
    brightness, contrast = rng.uniform(1 - colour, 1 + colour, (2, count, 1, 1, 1))
    tint = rng.uniform(1 - colour, 1 + colour, (count, 1, 1, images.shape[-1]))
    mean = views.mean(axis=(1, 2, 3), keepdims=True)
    views = ((views - mean) * contrast + mean) * brightness * tint
    return views + noise * rng.standard_normal(views.shape)


def _resample(images: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Interpolate linearly along one axis at ``places`` (N, s), which lie inside it."""
    low = np.minimum(np.floor(places).astype(np.intp), images.shape[axis] - 2) if images.shape[axis] > 1 else 0
    shape = [len(images), 1, 1, 1]
    shape[axis] = -1
    index = np.asarray(low + np.zeros(places.shape, np.intp)).reshape(shape)
    weight = (places - low).reshape(shape)
    upper = np.minimum(index + 1, images.shape[axis] - 1)
    return (1 - weight) * np.take_along_axis(images, index, axis) + weight * np.take_along_axis(images, upper, axis)
