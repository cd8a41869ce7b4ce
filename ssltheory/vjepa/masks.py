"""Which tokens of a clip are hidden: blocks that are all frames deep, with the same number hidden in every clip.

The reference draws blocks, hides their union, and cuts every clip of a batch to the fewest visible tokens, which always
drops late frames. Here blocks are drawn in turn and their cells hidden until a fixed number is, the last block in part:
no token is lost and all shapes are static. The number is the mean over many draws of the reference's union.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Int

from ssltheory import _validate

__all__ = ["LONG_RANGE", "SHORT_RANGE", "MaskConfig", "Masks", "draw_masks", "hidden_cells", "union_masks"]


@dataclass(frozen=True)
class MaskConfig:
    """A generator of masks: how many blocks, their share of the frame, the range of their aspect (height by width).

    Raises:
        ValueError: no block, a share outside (0, 1], or aspects that are not 0 < low <= high.
    """

    blocks: int
    share: float
    aspect: tuple[float, float] = (0.75, 1.5)

    def __post_init__(self) -> None:
        _validate.count("blocks", self.blocks)
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1]; got {self.share}")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect must be two positive numbers, ascending; got {self.aspect}")


SHORT_RANGE = MaskConfig(8, 0.15)
LONG_RANGE = MaskConfig(2, 0.7)


@dataclass(frozen=True)
class Masks:
    """Tokens of each clip, in the order (time, row, column): those seen by the encoder and those to predict."""

    context: Int[np.ndarray, "B Nc"]
    target: Int[np.ndarray, "B Nt"]


def draw_masks(config: MaskConfig, rng: np.random.Generator, count: int, grid: tuple[int, int, int]) -> Masks:
    """Masks for ``count`` clips of ``grid`` = (times, rows, columns) tokens; every clip has as many of both kinds.

    The size of a block is drawn once, places for each clip. Raises ``ValueError`` for an empty grid.
    """
    times, rows, columns = (_validate.count("grid", g) for g in grid)
    hidden = hidden_cells(config, rows, columns)
    height, width = _block(config, rng, rows, columns)
    rank = np.full((count, rows, columns), np.inf)
    down = np.arange(rows * columns).reshape(rows, columns)
    across = np.arange(rows * columns).reshape(columns, rows).T
    # Twice the blocks: their union seldom falls short, and then the cells next in a random order are hidden.
    for k in range(2 * config.blocks):
        cover = _cover(rng, count, rows, columns, height, width)
        # Where the last block is cut: from any of its four sides, or the lower rows would be seen too often.
        sweep = np.stack([down, down[::-1], across, across[:, ::-1]])[rng.integers(4, size=count)]
        order = k + 0.5 * sweep / (rows * columns)
        rank = np.where(cover & np.isinf(rank), order, rank)
    rank = np.where(np.isinf(rank), 4 * config.blocks + rng.random(rank.shape), rank)
    cells = np.argsort(rank.reshape(count, -1), axis=1, kind="stable")
    deep = (np.arange(times)[:, None] * (rows * columns)).reshape(1, -1, 1)

    def tokens(chosen: np.ndarray) -> np.ndarray:
        return (np.sort(chosen, axis=1)[:, None] + deep).reshape(count, -1)

    return Masks(tokens(cells[:, hidden:]), tokens(cells[:, :hidden]))


@cache
def hidden_cells(config: MaskConfig, rows: int, columns: int) -> int:
    """Cells of a frame that are hidden: the mean union of the blocks over 2,000 draws, between 1 and all but 1."""
    rng = np.random.default_rng(0)
    found = [union_masks(config, rng, 20, rows, columns).sum(axis=(1, 2)).mean() for _ in range(100)]
    return int(np.clip(round(float(np.mean(found))), 1, rows * columns - 1))


def union_masks(
    config: MaskConfig, rng: np.random.Generator, count: int, rows: int, columns: int
) -> Bool[np.ndarray, "B rows columns"]:
    """The reference's masks, before it cuts them: the union of the blocks, of different size in every clip."""
    height, width = _block(config, rng, rows, columns)
    covers = [_cover(rng, count, rows, columns, height, width) for _ in range(config.blocks)]
    return np.any(covers, axis=0)


def _block(config: MaskConfig, rng: np.random.Generator, rows: int, columns: int) -> tuple[int, int]:
    aspect = np.exp(rng.uniform(*np.log(config.aspect)))
    cells = config.share * rows * columns
    height, width = (
        int(np.clip(round(v), 1, most))
        for v, most in ((np.sqrt(cells * aspect), rows), (np.sqrt(cells / aspect), columns))
    )
    return height, width


def _cover(
    rng: np.random.Generator, count: int, rows: int, columns: int, height: int, width: int
) -> Bool[np.ndarray, "B rows columns"]:
    top = rng.integers(rows - height + 1, size=(count, 1))
    left = rng.integers(columns - width + 1, size=(count, 1))
    down = (np.arange(rows) >= top) & (np.arange(rows) < top + height)
    across = (np.arange(columns) >= left) & (np.arange(columns) < left + width)
    return down[:, :, None] & across[:, None, :]
