"""The networks: a vision transformer over tubelets, and a narrower one that predicts hidden tokens from visible ones.

Tokens are in the order (time, row, column). Only the tokens that a network is to see are embedded. Positions are fixed:
a third of the features each for time, row and column, sines and cosines of geometric frequencies.
"""

from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from ssltheory import _validate

__all__ = ["Encoder", "ModelConfig", "Predictor", "patches", "positions", "take"]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes. Heads divide widths, the tubelet divides the frames and the patch the side.

    Args:
        frames, side, channels: of a clip.
        tubelet, patch: frames and edge of a token.
        width, depth, heads: of the encoder.
        predictor_width, predictor_depth: of the predictor, which has as many heads.
        embedding_std: standard deviation of the patch embedding's initial weights; None for 1/sqrt(inputs), since with
            the usual 0.02 few inputs to a patch drown in the positions.

    Raises:
        ValueError: a size below 1, or one that does not divide.
    """

    frames: int = 8
    side: int = 24
    channels: int = 1
    tubelet: int = 2
    patch: int = 4
    width: int = 64
    depth: int = 3
    heads: int = 2
    predictor_width: int = 32
    predictor_depth: int = 2
    embedding_std: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "embedding_std":
                _validate.count(name, value)
        if self.embedding_std is not None:
            _validate.scalar("embedding_std", self.embedding_std, _validate.positive)
        for whole, part in (
            ("frames", "tubelet"), ("side", "patch"), ("width", "heads"), ("predictor_width", "heads"),
        ):  # fmt: skip
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(f"{part} must divide {whole}; got {getattr(self, part)} and {getattr(self, whole)}")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time, rows and columns."""
        return self.frames // self.tubelet, self.side // self.patch, self.side // self.patch

    @property
    def inputs(self) -> int:
        """Numbers in a token."""
        return self.channels * self.tubelet * self.patch**2


def patches(video: Float[Tensor, "B C T H W"], tubelet: int, patch: int) -> Float[Tensor, "B N inputs"]:
    """Cut clips into tokens: N = (T/tubelet)(H/patch)(W/patch), each of C tubelet patch^2 numbers in that order."""
    B, C, T, H, W = video.shape
    cut = video.reshape(B, C, T // tubelet, tubelet, H // patch, patch, W // patch, patch)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(B, -1, C * tubelet * patch**2)


def positions(width: int, grid: tuple[int, int, int]) -> Float[Tensor, "N width"]:
    r"""Fixed features of the places of all tokens.

    .. math:: [\sin(p\,\omega_i), \cos(p\,\omega_i)]_i, \qquad \omega_i = 10000^{-2i/d}, \quad i < d/2

    for p the time, the row and the column in turn, d = 2 ceil(width/6) features each; the row of 3 d is cut to width.
    """
    d = 2 * ceil(width / 6)
    omega = 10000.0 ** (-torch.arange(d // 2, dtype=torch.float64) / (d / 2))
    places = torch.cartesian_prod(*(torch.arange(g, dtype=torch.float64) for g in grid)).reshape(-1, 3)
    phase = places[:, :, None] * omega
    return torch.cat([phase.sin(), phase.cos()], dim=-1).reshape(len(places), -1)[:, :width].float()


def take(tokens: Float[Tensor, "B N D"], index: Int[Tensor, "B K"]) -> Float[Tensor, "B K D"]:
    """Tokens of each clip by their numbers."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


class Block(nn.Module):
    """Attention and a perceptron, each after a layer norm and beside a skip."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, D))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Encoder(nn.Module):
    """From tokens of a clip to a feature for each token that is shown."""

    places: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.inputs, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.register_buffer("places", positions(config.width, config.grid), persistent=False)
        _initialise(self)
        std = config.inputs**-0.5 if config.embedding_std is None else config.embedding_std
        nn.init.trunc_normal_(self.embed.weight, std=std, a=-2 * std, b=2 * std)

    def forward(
        self, tokens: Float[Tensor, "B N inputs"], shown: Int[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """Features of the tokens ``shown``, which see one another only; of all if None."""
        places = self.places.expand(len(tokens), -1, -1)
        if shown is not None:
            tokens, places = take(tokens, shown), self.places[shown]
        x = self.embed(tokens) + places
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Predictor(nn.Module):
    """From features of visible tokens to those of hidden ones, which are asked for by their places."""

    places: Tensor

    def __init__(self, config: ModelConfig, masks: int = 2) -> None:
        super().__init__()
        width = config.predictor_width
        self.inward, self.outward = nn.Linear(config.width, width), nn.Linear(width, config.width)
        self.ask = nn.Parameter(torch.zeros(masks, width))  # a learned token for each generator of masks
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.predictor_depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.register_buffer("places", positions(width, config.grid), persistent=False)
        _initialise(self)
        nn.init.trunc_normal_(self.ask, std=0.02, a=-0.04, b=0.04)

    def forward(
        self,
        features: Float[Tensor, "B Nc D"],
        context: Int[Tensor, "B Nc"],
        target: Int[Tensor, "B Nt"],
        mask: int = 0,
    ) -> Float[Tensor, "B Nt D"]:
        """Predictions for the tokens ``target`` from the features of the tokens ``context``."""
        seen = self.inward(features) + self.places[context]
        x = torch.cat([seen, self.ask[mask] + self.places[target]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.outward(self.norm(x[:, context.shape[1] :]))


def _initialise(module: nn.Module) -> None:
    """Weights normal with standard deviation 0.02, cut at twice that; biases zero; deeper layers' outputs smaller."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)
            nn.init.zeros_(layer.bias)
    for depth, block in enumerate(module.blocks, start=1):  # type: ignore[arg-type]
        for layer in (block.out, block.down):
            layer.weight.data.div_((2 * depth) ** 0.5)


def normalised(features: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
    """Targets: features with mean 0 and variance 1 in each token."""
    return layer_norm(features, features.shape[-1:])
