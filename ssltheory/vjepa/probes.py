"""What can be read from frozen features, and the baselines without which a probe's accuracy says nothing.

An attentive probe has one learned query that looks at all tokens of a clip, then a perceptron and a linear map to the
classes. The same probe is put on the features of a trained encoder, of an encoder with its random start, and on raw
tokens; a ridge classifier on the pixels of the clip is the fourth reading. Labelled clips are few, as probes should be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from ssltheory import _validate
from ssltheory.diagnostics import linear_probe_accuracy
from ssltheory.vjepa.model import Encoder, patches
from ssltheory.vjepa.videos import Clips

__all__ = ["AttentiveProbe", "Reading", "attentive_probe", "bootstrap_interval", "features_of", "pixel_probe"]


class AttentiveProbe(nn.Module):
    """One query, cross-attention, a perceptron with a skip, and a linear map; features are standardised beforehand."""

    def __init__(self, inputs: int, classes: int, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(inputs, width)
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.keys, self.values, self.out = (nn.Linear(width, width) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.last = nn.Linear(width, classes)

    def forward(self, features: Float[Tensor, "B N D"]) -> Float[Tensor, "B classes"]:
        """Scores of the classes."""
        x = self.inward(features)
        B, _, D = x.shape
        parts = (self.query.expand(B, 1, D), self.keys(x), self.values(x))
        q, k, v = (t.reshape(B, -1, self.heads, D // self.heads).transpose(1, 2) for t in parts)
        z = self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, D))
        return self.last(z + self.down(torch.nn.functional.gelu(self.up(self.norm(z)))))


@dataclass(frozen=True)
class Reading:
    """Which test clips a probe got right.

    Attributes:
        correct: (L,) for each test clip, the mean over probe seeds of whether it was right.
        image: (L,) the image that each clip shows: clips of one image are not independent.
    """

    correct: Float[np.ndarray, " L"]
    image: Int[np.ndarray, " L"]

    @property
    def accuracy(self) -> float:
        """Share of clips put in the right class."""
        return float(self.correct.mean())

    def interval(self, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
        """The middle 95% of the accuracy over a bootstrap of images."""
        return bootstrap_interval(self.correct, self.image, draws, seed)


def bootstrap_interval(
    correct: Float[np.ndarray, " L"], image: Int[np.ndarray, " L"], draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The middle 95% of the mean of ``correct`` when whole images are drawn with replacement.

    Raises ``ValueError`` for arrays of different length, or none.
    """
    correct = _validate.shaped("correct", correct, ("L",))
    image = np.asarray(image)
    if image.shape != correct.shape or not len(image):
        raise ValueError(f"image has shape {image.shape}; need {correct.shape}, and at least one clip")
    _, group = np.unique(image, return_inverse=True)
    total, number = np.bincount(group, correct), np.bincount(group)
    chosen = np.random.default_rng(seed).integers(len(total), size=(_validate.count("draws", draws), len(total)))
    means = total[chosen].sum(axis=1) / number[chosen].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@torch.no_grad()
def features_of(encoder: Encoder, video: Float[Tensor, "B C T H W"], batch: int = 64) -> Float[Tensor, "B N D"]:
    """Features of all tokens of clips, in single precision."""
    config = encoder.config
    parts = [
        encoder(patches(v, config.tubelet, config.patch)).float() for v in video.split(_validate.count("batch", batch))
    ]
    return torch.cat(parts)


def attentive_probe(
    known: Float[Tensor, "B N D"],
    labels: Int[Tensor, " B"],
    other: Float[Tensor, "L N D"],
    labels_other: Int[Tensor, " L"],
    image: Int[np.ndarray, " L"],
    *,
    classes: int,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 300,
    rate: float = 1e-3,
    decay: float = 0.05,
    batch: int = 64,
) -> Reading:
    """Train an attentive probe for each seed by AdamW with a cosine, and try it on other clips.

    Features are standardised by the mean and deviation of the known ones, over clips and tokens: a probe must not fail
    because features are small. Raises ``ValueError`` for shapes that disagree or no seed.
    """
    if known.shape[1:] != other.shape[1:] or len(known) != len(labels) or len(other) != len(labels_other):
        raise ValueError(
            f"got features {tuple(known.shape)}, {tuple(other.shape)} for {len(labels)}, {len(labels_other)} labels"
        )
    if not seeds:
        raise ValueError("seeds: got none, need at least one")
    mean, deviation = known.mean(dim=(0, 1)), known.std(dim=(0, 1)).clamp_min(1e-12)
    known, other = (known - mean) / deviation, (other - mean) / deviation
    correct = torch.zeros(len(other), dtype=torch.float64)
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            probe = AttentiveProbe(known.shape[-1], classes).to(known.device)
        optimizer = torch.optim.AdamW(probe.parameters(), lr=rate, weight_decay=decay)
        plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(_validate.count("steps", steps)):
            rows = torch.randint(len(known), (min(batch, len(known)),), generator=generator).to(known.device)
            loss = cross_entropy(probe(known[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            plan.step()
        with torch.no_grad():
            correct += (probe(other).argmax(dim=-1) == labels_other).double().cpu() / len(seeds)
    return Reading(correct.numpy(), np.asarray(image))


def pixel_probe(train: Clips, test: Clips, label: str, penalty: float = 1e-2) -> float:
    """Accuracy of a ridge classifier on all pixels of the clips, for the labels "digit" or "motion"."""
    _validate.one_of("label", label, ("digit", "motion"))
    z, z_test = (c.video.flatten(1).double().cpu().numpy() for c in (train, test))
    return linear_probe_accuracy(
        z, getattr(train, label).cpu().numpy(), z_test, getattr(test, label).cpu().numpy(), penalty=penalty
    )
