"""Checks of input at the boundary: each returns the value as float64 or raises ``ValueError`` saying what it got."""

from typing import Any

import numpy as np

_ROUNDING = 1e-10


def finite(name: str, value: Any) -> np.ndarray:
    """Return ``value`` as a float64 array, all of whose entries are finite."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of real numbers; got {type(value).__name__}") from None
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{name} must be finite; {bad} of its {array.size} entries are not")
    return array


def shaped(name: str, value: Any, shape: tuple[int | str, ...], *, batched: bool = False) -> np.ndarray:
    """Return a finite array of the given shape; a string stands for any length, ``batched`` allows leading axes."""
    array = finite(name, value)
    tail = array.shape[array.ndim - len(shape) :] if batched and array.ndim >= len(shape) else array.shape
    wrong = len(tail) != len(shape) or any(
        isinstance(want, int) and got != want for got, want in zip(tail, shape, strict=True)
    )
    if wrong:
        need = ", ".join(["...", *map(str, shape)] if batched else map(str, shape))
        raise ValueError(f"{name} has shape {array.shape}; need ({need})")
    return array


def scalar(name: str, value: Any) -> float:
    """Return a finite number."""
    array = finite(name, value)
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
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")
    return value


def symmetric(name: str, value: Any) -> np.ndarray:
    """Return a finite square matrix that is symmetric up to rounding, made exactly symmetric."""
    array = finite(name, value)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; need (m, m)")
    gap = np.abs(array - array.T).max()
    if gap > _ROUNDING * np.abs(array).max():
        raise ValueError(f"{name} must be symmetric; its entries differ from the transposed ones by up to {gap:.3g}")
    return (array + array.T) / 2


def positive_definite(name: str, value: Any) -> np.ndarray:
    """Return a symmetric positive definite matrix."""
    array = symmetric(name, value)
    eigenvalues = np.linalg.eigvalsh(array)
    if eigenvalues[0] <= 1e-14 * max(eigenvalues[-1], 0.0):
        raise ValueError(
            f"{name} must be symmetric positive definite; its smallest eigenvalue is {eigenvalues[0]:.6g}"
            f" (its largest is {eigenvalues[-1]:.6g})"
        )
    return array


def positive_semidefinite(name: str, value: Any) -> np.ndarray:
    """Return a symmetric matrix without negative eigenvalues, up to rounding."""
    array = symmetric(name, value)
    eigenvalues = np.linalg.eigvalsh(array)
    if eigenvalues[0] < -_ROUNDING * np.abs(eigenvalues).max():
        raise ValueError(
            f"{name} must be symmetric positive semi-definite; its smallest eigenvalue is {eigenvalues[0]:.6g}"
        )
    return array
