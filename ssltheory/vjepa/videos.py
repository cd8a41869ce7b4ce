"""Clips of moving handwritten digits, made on the device as they are needed.

A clip shows one digit (the *appearance* label) that moves in one of twelve ways (the *motion* label):

    0 to 7     travels in one of eight directions, at one of several speeds
    8, 9       turns, left or right
    10, 11     grows and shrinks, or shrinks and grows, by one period of a triangular wave

Positions live on a torus, so that in no frame a place is likelier for one direction than for another, and a linear
reading of pixels cannot tell directions. Size oscillates over a whole period and brightness on its own beside it, so
that neither mean size nor mean brightness tells the last two motions apart. A second, fainter digit moves on its own,
and the background is weak and random and stands still. Everything about clip i of step t depends on (seed, t, i) alone,
and so not on how many workers or ranks share the work.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from ssltheory import _validate
from ssltheory.digits import load_digits

__all__ = ["MOTIONS", "Clips", "DigitVideos", "split_digits"]

MOTIONS = (
    *(f"towards {45 * k} degrees" for k in range(8)),
    "turns left",
    "turns right",
    "grows and shrinks",
    "shrinks and grows",
)
"""Names of the motion labels."""


@dataclass(frozen=True)
class Clips:
    """A batch of clips with their labels.

    Attributes:
        video: (B, C, T, H, W) brightness, about 0 to 1.
        digit: (B,) the digit, 0 to 9.
        motion: (B,) its motion, an index into :data:`MOTIONS`.
        image: (B,) which of the digits' images it is: what to resample over in a bootstrap.
    """

    video: Float[Tensor, "B C T H W"]
    digit: Int[Tensor, " B"]
    motion: Int[Tensor, " B"]
    image: Int[Tensor, " B"]


def split_digits(held_out: int = 400, seed: int = 0) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " L"]]:
    """Indices of the digits to train on and of those to test on: no image is in both.

    Raises ``ValueError`` unless 1 <= ``held_out`` < 1797.
    """
    count = len(load_digits()[0])
    if not 1 <= _validate.count("held_out", held_out) < count:
        raise ValueError(f"held_out: got {held_out}, need between 1 and {count - 1}")
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


class DigitVideos:
    """A source of clips.

    Args:
        indices: which of the 1797 digits may appear.
        frames, side: length and edge of a clip.
        channels: 1, or 3 with the same brightness in each.
        device: where clips are made.
        distractor: brightness of the second digit, 0 for none.
        background: standard deviation of the noise that stands still.

    Raises:
        ValueError: an index that is no digit's, a size below 1, or a negative amplitude.
    """

    def __init__(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        frames: int = 8,
        side: int = 24,
        channels: int = 1,
        device: str | torch.device = "cpu",
        distractor: float = 0.5,
        background: float = 0.1,
    ) -> None:
        images, labels = load_digits()
        indices = np.asarray(indices, dtype=np.int64)
        if not len(indices) or indices.min() < 0 or indices.max() >= len(images):
            raise ValueError(f"indices: got {len(indices)} of them, need some, between 0 and {len(images) - 1}")
        self.frames, self.side = _validate.count("frames", frames), _validate.count("side", side)
        self.channels = _validate.count("channels", channels)
        self.distractor = _validate.scalar("distractor", distractor, _validate.nonnegative)
        self.background = _validate.scalar("background", background, _validate.nonnegative)
        self.device = torch.device(device)
        self.indices = torch.from_numpy(indices).to(self.device)
        self.images = torch.from_numpy(images.astype(np.float32)).to(self.device)
        self.labels = torch.from_numpy(labels).to(self.device)

    def batch(self, seed: int, step: int, count: int, first: int = 0) -> Clips:
        """Clips ``first`` to ``first + count - 1`` of a step; each is the same whatever else is made with it."""
        numbers = np.stack([_uniform(seed, step, first + k) for k in range(_validate.count("count", count))])
        u = torch.from_numpy(numbers).to(self.device)
        motion = (u[:, 0] * len(MOTIONS)).long()
        image = self.indices[(u[:, 1] * len(self.indices)).long()]
        other = self.indices[(u[:, 2] * len(self.indices)).long()]
        video = self._draw(image, motion, u[:, 3:11], 1.0)
        if self.distractor:
            faint = self._draw(other, (u[:, 11] * len(MOTIONS)).long(), u[:, 12:20], self.distractor)
            video = torch.maximum(video, faint)
        if self.background:
            still = torch.stack([self._noise(seed, step, first + k) for k in range(count)])
            video = video + self.background * still[:, None]
        video = video[:, None].expand(-1, self.channels, -1, -1, -1)
        return Clips(video.contiguous(), self.labels[image], motion, image)

    def _noise(self, seed: int, step: int, clip: int) -> Tensor:
        drawn = np.random.default_rng([seed, step, clip, 1]).standard_normal((self.side, self.side), dtype=np.float32)
        return torch.from_numpy(drawn).to(self.device)

    def _draw(self, image: Tensor, motion: Tensor, u: Tensor, brightness: float) -> Tensor:
        """Draw digits at all times: (B, T, H, W)."""
        T, L = self.frames, self.side
        # One period without its end, so that a wave has mean zero over the frames.
        time = torch.arange(T, device=self.device)[None] / T  # (1, T)
        travels, turns, swings = motion < 8, (motion == 8) | (motion == 9), motion >= 10
        direction = motion.float() * (torch.pi / 4)
        distance = torch.where(travels, L * (0.4 + 0.6 * u[:, 0]), 0.0)
        way = distance * torch.stack([torch.cos(direction), torch.sin(direction)])
        place = [L * u[:, k][:, None] + way[k - 1][:, None] * time for k in (1, 2)]
        sign = torch.where(motion == 8, 1.0, -1.0)
        angle = (
            0.35 * (2 * u[:, 3] - 1)[:, None]
            + torch.where(turns, sign * torch.pi * (0.75 + 0.75 * u[:, 4]), 0.0)[:, None] * time
        )
        wave = _triangle(time + torch.where(motion == 10, 0.0, 0.5)[:, None])
        swing = torch.where(swings, 0.35, 0.0)[:, None] * wave
        size = 0.3 * L * (0.9 + 0.2 * u[:, 5])[:, None] * (1 + swing)  # half the edge of a glyph
        flicker = torch.where(u[:, 7] < 0.5, -0.2, 0.2)[:, None] * _triangle(time + u[:, 6:7])
        light = brightness * (0.8 + 0.2 * u[:, 6])[:, None] * (1 + flicker)
        grid = torch.arange(L, device=self.device, dtype=torch.float32)
        away = [_wrap(grid[None, None] - p[..., None], L) for p in place]  # (B, T, L) along x and along y
        x, y = away[0][:, :, None, :] / size[..., None, None], away[1][:, :, :, None] / size[..., None, None]
        c, s = torch.cos(angle)[..., None, None], torch.sin(angle)[..., None, None]
        where = torch.stack([c * x + s * y, c * y - s * x], dim=-1)  # (B, T, L, L, 2)
        glyphs = self.images[image][:, None]
        drawn = grid_sample(glyphs, where.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=False)
        return drawn.reshape(-1, T, L, L) * light[..., None, None]


def _uniform(seed: int, step: int, clip: int) -> Float[np.ndarray, " 20"]:
    return np.random.default_rng([seed, step, clip, 0]).random(20, dtype=np.float32)


def _triangle(phase: Tensor) -> Tensor:
    """A wave of period 1 between -1 and 1 with mean 0: -1 at phase 0, 1 at phase 1/2."""
    return 1 - 4 * (phase % 1 - 0.5).abs()


def _wrap(distance: Tensor, period: float) -> Tensor:
    return (distance + period / 2) % period - period / 2
