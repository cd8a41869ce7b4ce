"""Checks of input at the boundary: each returns the value as float64 or raises ``ValueError`` saying what it got."""

from collections.abc import Callable
from typing import Any

import numpy as np

_ROUNDING = 1e-10


def finite(name: str, value: Any) -> np.ndarray:
    """Return ``value`` as a float64 array, all of whose entries are finite; truth values and words are no numbers."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iufO":
            raise TypeError
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError):
        got = f"dtype {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ValueError(f"{name} must be an array of real numbers; got {got}") from None
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{name} must be finite; {bad} of its {array.size} entries are not")
    return array


def shaped(name: str, value: Any, *shapes: tuple[int | str, ...], batched: bool = False) -> np.ndarray:
    """Return a finite array of one of the shapes; a string stands for any length, ``batched`` allows leading axes."""
    array = finite(name, value)

    def fits(shape: tuple[int | str, ...]) -> bool:
        tail = array.shape[max(array.ndim - len(shape), 0) :] if batched else array.shape
        return len(tail) == len(shape) and all(
            isinstance(want, str) or got == want for got, want in zip(tail, shape, strict=True)
        )

    if not any(map(fits, shapes)):
        lead = "..., " if batched else ""
        need = " or ".join(f"({lead}{', '.join(map(str, shape))}{',' * (len(shape) == 1)})" for shape in shapes)
        raise ValueError(f"{name} has shape {array.shape}; need {need}")
    return array


def scalar(name: str, value: Any, check: Callable[[str, Any], np.ndarray] = finite) -> float:
    """Return a single number that passes one of the checks of numbers."""
    array = check(name, value)
    if array.ndim:
        raise ValueError(f"{name} must be a single number; got shape {array.shape}")
    return float(array)


def _require(name: str, array: np.ndarray, good: np.ndarray, need: str) -> np.ndarray:
    if not np.all(good):
        raise ValueError(f"{name} must be {need}; got {array[~np.asarray(good)].flat[0]:.6g}")
    return array


def nonnegative(name: str, value: Any) -> np.ndarray:
    """Return finite numbers that are >= 0."""
    array = finite(name, value)
    return _require(name, array, array >= 0, "at least 0")


def positive(name: str, value: Any) -> np.ndarray:
    """Return finite numbers that are > 0."""
    array = finite(name, value)
    return _require(name, array, array > 0, "greater than 0")


def probability(name: str, value: Any) -> np.ndarray:
    """Return finite numbers in [0, 1]."""
    array = finite(name, value)
    return _require(name, array, (array >= 0) & (array <= 1), "in [0, 1]")


def count(name: str, value: Any, least: int = 1) -> int:
    """Return an integer that is at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer, at least {least}; got {value!r}")
    return int(value)


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")
    return value


def symmetric(name: str, value: Any) -> np.ndarray:
    """Return finite square matrices (..., m, m), symmetric up to rounding, made exactly symmetric."""
    array = finite(name, value)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; need (m, m)")
    transposed = np.swapaxes(array, -1, -2)
    gap = np.abs(array - transposed).max(axis=(-1, -2))
    bad = gap > _ROUNDING * np.abs(array).max(axis=(-1, -2))
    if bad.any():
        worst = np.unravel_index(np.argmax(bad), bad.shape)
        where = name + "".join(f"[{k}]" for k in worst)
        raise ValueError(f"{where} must be symmetric; it differs from its transpose by up to {gap[worst]:.3g}")
    return (array + transposed) / 2


def _extremes(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if array.shape[-1] == 1:  # a million 1 x 1 matrices should not each cost a call to LAPACK
        return array[..., 0, 0], array[..., 0, 0]
    eigenvalues = np.linalg.eigvalsh(array)
    return eigenvalues[..., 0], eigenvalues[..., -1]


def positive_definite(name: str, value: Any) -> np.ndarray:
    """Return symmetric positive definite matrices (..., m, m)."""
    array = symmetric(name, value)
    least, largest = _extremes(array)
    bad = least <= 1e-14 * np.maximum(largest, 0.0)
    if bad.any():
        worst = np.unravel_index(np.argmax(bad), bad.shape)
        where = name + "".join(f"[{k}]" for k in worst)
        raise ValueError(
            f"{where} must be symmetric positive definite; its smallest eigenvalue is {least[worst]:.6g}"
            f" (its largest is {largest[worst]:.6g})"
        )
    return array


def positive_semidefinite(name: str, value: Any) -> np.ndarray:
    """Return a symmetric matrix without negative eigenvalues, up to rounding."""
    array = symmetric(name, value)
    least, largest = _extremes(array)
    if (least < -_ROUNDING * np.maximum(np.abs(largest), np.abs(least))).any():
        raise ValueError(
            f"{name} must be symmetric positive semi-definite; its smallest eigenvalue is {least.min():.6g}"
        )
    return array


def problem(X: Any, Y: Any, lam: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the data of a linear problem that SG and EMA see: X positive definite, Y as large, ``lam`` > 0."""
    X = positive_definite("X", shaped("X", X, ("m", "m")))
    return X, shaped("Y", Y, X.shape), scalar("lam", lam, positive)
