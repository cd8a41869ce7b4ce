"""Every method on the same data with the same network, many seeds and learning rates at once.

    python -m ssltheory.center_training table                               # the book's record: blobs, moons, digits
    python -m ssltheory.center_training table --images DIR --out mine.json  # on images, one folder for each class
    python -m ssltheory.center_training table --images DIR --device cuda --steps 5000 --out mine.json

All that differs between methods is the loss (:mod:`ssltheory.two_view_losses`) and what it is fed:

    invariance, triplet, simclr, simple, barlow    the codes of two views
    simsiam                                        a predictor on top, and the codes as targets
    byol                                           a predictor on top, and the codes of a moving average as targets
    swav                                           scores of the codes with prototypes, and their balanced assignments
    dino                                           such scores, and those of a moving average of encoder and prototypes

A model is a pair of a seed and a learning rate. Every parameter has a leading axis of models, a layer is one batched
product, and models never interact: start, minibatches and data depend on the seed alone, so that all methods and all
learning rates share them. Source: Jha, Blaschko, Asano, Tuytelaars (arXiv 2402.14957), and for each loss its own.
"""

import argparse
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssltheory import _validate
from ssltheory.center import pair_parts
from ssltheory.center_record import DIGITS
from ssltheory.diagnostics import effective_rank, knn_accuracy, linear_probe_accuracy, spectrum
from ssltheory.encoders import Data, Layer, average, digit_data, encode, image_data, initialise, toy_data
from ssltheory.images import load_folder
from ssltheory.records import each_result, unwritable, write_record
from ssltheory.two_view_losses import (
    Standardise,
    barlow_twins_loss,
    byol_loss,
    dino_loss,
    info_nce_loss,
    invariance_loss,
    simple_loss,
    simsiam_loss,
    sinkhorn,
    swav_loss,
    triplet_loss,
    unit,
)

__all__ = [
    "ROWS",
    "Config",
    "Method",
    "Run",
    "State",
    "method_loss",
    "record_steps",
    "run_entry",
    "train",
]

Method = Literal["invariance", "triplet", "simclr", "simsiam", "byol", "dino", "swav", "barlow", "simple"]

STEPS = 400
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SEEDS = (200, 201, 202, 203, 204)
FROZEN = 500  # pairs, and labelled images for each half of a probe, on which a run is measured


@dataclass(frozen=True)
class Config:
    """What to train and how. Fields that a method does not use are ignored.

    Args:
        method: which loss.
        batch: pairs in a minibatch, at least 2.
        momentum: of the gradient steps, in [0, 1).
        lam: weight decay, added to every gradient as lam times the parameter.
        channels, encoder, scale: see :class:`ssltheory.encoders.Shape`.
        norm: batch norm of every hidden layer of encoder and predictor.
        hidden: width of the hidden layer of the predictor.
        prototypes: how many (swav, dino).
        predictor: whether there is one (simsiam, byol).
        stop_gradient: whether targets are held (simsiam).
        alpha: momentum of the moving average, in [0, 1] (byol, dino).
        centring: whether the teacher's scores are centred by their moving average, of memory 0.9 (dino).
        sharpening: whether the teacher's temperature is 0.04, and not the student's 0.1 (dino).
        learned: whether prototypes are trained (swav).
        iterations: of Sinkhorn's balancing (swav); 0 for plain softmax assignments.
        decorrelation: weight of the terms off the diagonal (barlow); 0 for none.
        standardise: what is done to features before they are correlated (barlow).
        weight: of the center penalty, lambda_L (simple).
        power: of the length of the center in it, 1 or 2 (simple).
        unbiased, second: changes of it, see :func:`ssltheory.two_view_losses.simple_loss` (simple).
        temperature: of the softmax (simclr).
        margin: of the hinge (triplet).

    Raises:
        ValueError: a value outside what is said above.
    """

    method: Method = "simple"
    batch: int = 64
    momentum: float = 0.9
    lam: float = 0.0
    channels: tuple[int, ...] = ()
    encoder: tuple[int, ...] = (64, 64, 64, 16)
    scale: float = 1.0
    norm: bool = True
    hidden: int = 32
    prototypes: int = 32
    predictor: bool = True
    stop_gradient: bool = True
    alpha: float = 0.99
    centring: bool = True
    sharpening: bool = True
    learned: bool = True
    iterations: int = 3
    decorrelation: float = 0.05
    standardise: Standardise = "both"
    weight: float = 1.0
    power: int = 2
    unbiased: bool = False
    second: float = 0.0
    temperature: float = 0.5
    margin: float = 1.0

    def __post_init__(self) -> None:
        _validate.one_of("method", self.method, get_args(Method))
        _validate.one_of("standardise", self.standardise, get_args(Standardise))
        for name in ("scale", "temperature"):
            _validate.scalar(name, getattr(self, name), _validate.positive)
        for name in ("lam", "decorrelation", "weight", "second", "margin"):
            _validate.scalar(name, getattr(self, name), _validate.nonnegative)
        for name in ("momentum", "alpha"):
            _validate.scalar(name, getattr(self, name), _validate.probability)
        if self.momentum == 1:
            raise ValueError("momentum must be less than 1")
        if self.power not in (1, 2) or (self.unbiased and self.power == 1):
            raise ValueError(f"power must be 1 or 2, and 2 if unbiased; got {self.power!r}")
        _validate.count("batch", self.batch, least=2)
        _validate.count("iterations", self.iterations, least=0)
        for width in (*self.channels, *self.encoder, self.hidden, self.prototypes):
            _validate.count("a width", width)
        if len(self.encoder) < 2 or len(self.channels) == 1:
            raise ValueError("encoder needs at least two widths, and channels none or at least two")
        if self.channels and self.channels[-1] != self.encoder[0]:
            raise ValueError(f"got {self.channels[-1]} channels at the end and {self.encoder[0]} inputs; need the same")

    @property
    def head(self) -> Literal["none", "predictor", "prototypes"]:
        """What is on top of the encoder."""
        if self.method in ("dino", "swav"):
            return "prototypes"
        return "predictor" if self.method in ("simsiam", "byol") and self.predictor else "none"

    @property
    def averaged(self) -> bool:
        """Whether targets come from a moving average."""
        return self.method in ("byol", "dino")


@dataclass(frozen=True)
class _Shape:
    channels: tuple[int, ...]
    encoder: tuple[int, ...]
    scale: float


@dataclass
class State:
    """Parameters of all models: encoder, head (predictor layers, or prototypes alone), teacher, and DINO's center."""

    encoder: list[Layer]
    head: list[Layer]
    teacher: tuple[list[Layer], list[Layer]]
    center: Tensor

    @classmethod
    def start(cls, config: Config, seeds: Sequence[int], copies: int = 1, *, like: Tensor) -> "State":
        """Random parameters, from one generator for each seed; ``copies`` of all seeds, one after the other."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        n = config.encoder[-1]
        widths = {"none": (), "predictor": (n, config.hidden, n), "prototypes": (n, config.prototypes)}[config.head]

        def ready(layers: list[Layer]) -> list[Layer]:
            return [tuple(p.to(like).repeat(copies, *[1] * (p.ndim - 1)) for p in layer) for layer in layers]  # type: ignore[misc]

        encoder = ready(initialise(config, generators, dtype=torch.float64))
        head = ready(initialise(_Shape((), widths, 1.0), generators, dtype=torch.float64)) if widths else []
        models = copies * len(seeds)
        return cls(encoder, head, (encoder, head), torch.zeros(models, 1, config.prototypes).to(like))


def method_loss(
    config: Config, state: State, x: Tensor, y: Tensor
) -> tuple[Float[Tensor, " S"], Float[Tensor, "S 1 K"]]:
    """The training loss of every model on pairs of views, and DINO's center after them (else the center as it is)."""

    def code(views: Tensor, layers: list[Layer]) -> Tensor:
        return encode(layers, views, norm=config.norm).mT

    def on_top(z: Tensor, head: list[Layer]) -> Tensor:
        if config.head == "prototypes":
            directions = head[0][0] if config.learned or config.method == "dino" else head[0][0].detach()
            return unit(z) @ unit(directions).mT
        return encode(head, z, norm=config.norm).mT if head else z

    z1, z2 = code(x, state.encoder), code(y, state.encoder)
    center = state.center
    if config.method == "invariance":
        return invariance_loss(z1, z2), center
    if config.method == "triplet":
        return triplet_loss(z1, z2, z2.roll(1, dims=-2), config.margin), center
    if config.method == "simclr":
        return info_nce_loss(z1, z2, config.temperature), center
    if config.method == "simple":
        simple = partial(simple_loss, power=config.power, unbiased=config.unbiased, second=config.second)
        return simple(z1, z2, config.weight), center
    if config.method == "barlow":
        z1, z2 = (unit(z) * z.shape[-1] ** 0.5 for z in (z1, z2))
        return barlow_twins_loss(z1, z2, weight=config.decorrelation, standardise=config.standardise), center
    p1, p2 = on_top(z1, state.head), on_top(z2, state.head)
    if config.method == "simsiam":
        return simsiam_loss(p1, p2, z1, z2, stop_gradient=config.stop_gradient), center
    if config.method == "swav":
        goals = (sinkhorn(p, iterations=config.iterations) for p in (p1, p2))
        return swav_loss(p1, p2, *goals), center
    with torch.no_grad():
        t1, t2 = code(x, state.teacher[0]), code(y, state.teacher[0])
        if config.method == "dino":
            t1, t2 = on_top(t1, state.teacher[1]), on_top(t2, state.teacher[1])
            new = (t1.mean(dim=-2, keepdim=True) + t2.mean(dim=-2, keepdim=True)) / 2
            moved = 0.9 * center + 0.1 * new
    if config.method == "byol":
        return byol_loss(p1, p2, t1, t2), center
    sharp = 0.04 if config.sharpening else 0.1
    return dino_loss(p1, p2, t1, t2, center if config.centring else 0.0, target_temperature=sharp), moved


@dataclass(frozen=True)
class Run:
    """A finished training: what was recorded at ``steps``, for each of R learning rates and S seeds.

    Attributes:
        config: what was trained.
        rates, seeds: (R,) and (S,).
        steps: (T,) the steps at which things were recorded.
        loss: (T, R, S) the training loss on the frozen pairs.
        center, between, within: (T, R, S) the parts |s|^2, E|r|^2 and v of the unit codes of the frozen pairs,
            estimated without bias, and so at times slightly negative.
        rank: (T, R, S) effective rank of the covariance of the unit codes of 500 clean images (all, if fewer).
        knn, linear: (T, R, S) accuracy on 500 test images of the five nearest neighbours and of a linear probe, trained
            on the unit codes of those clean images.
        diverged: (R, S) whether a model stopped being finite; its records are nan from there on.
        state: the parameters at the end, R S of them, the seed running fastest.
    """

    config: Config
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: Int[np.ndarray, " T"]
    loss: Float[np.ndarray, "T R S"]
    center: Float[np.ndarray, "T R S"]
    between: Float[np.ndarray, "T R S"]
    within: Float[np.ndarray, "T R S"]
    rank: Float[np.ndarray, "T R S"]
    knn: Float[np.ndarray, "T R S"]
    linear: Float[np.ndarray, "T R S"]
    diverged: np.ndarray
    state: State

    @property
    def reason(self) -> str:
        """Why the run stopped, in words."""
        if self.diverged.any():
            return f"{self.diverged.sum()} of {self.diverged.size} models diverged: a code is no longer finite"
        return f"all {self.steps[-1]} steps were taken"


QUANTITIES = ("loss", "center", "between", "within", "rank", "knn", "linear")


def train(
    config: Config,
    data: Data,
    seeds: Sequence[int],
    *,
    rates: Sequence[float] = RATES,
    record_at: Sequence[int] = (0, STEPS),
) -> Run:
    r"""Train one model for each learning rate and seed, all at once, by stochastic gradient descent with momentum.

    .. math:: w \leftarrow \beta w + \nabla_\theta L + \lambda \theta, \qquad \theta \leftarrow \theta - \eta w, \qquad
              \xi \leftarrow \alpha \xi + (1 - \alpha) \theta

    Args:
        config: network and method.
        data: views; a leading axis as long as ``seeds``, or 1.
        seeds: which seeds.
        rates: learning rates.
        record_at: the steps to record, the last of which ends the run.

    Raises:
        ValueError: no seed, no rate, one that is not positive, a leading axis that does not fit, or no step.
    """
    seeds = tuple(seeds)
    rates = tuple(_validate.scalar("a learning rate", rate, _validate.positive) for rate in rates)
    if not seeds or not rates or len(data.x) not in (1, len(seeds)):
        raise ValueError(
            f"got {len(seeds)} seeds and {len(rates)} rates for data of {len(data.x)}; need one of each at least, and"
            " data of one seed or of each"
        )
    record = sorted({_validate.count("record_at", t, least=0) for t in record_at})
    if not record:
        raise ValueError("record_at: got no step; need at least one")
    state = State.start(config, seeds, len(rates), like=data.x)
    generators = [torch.Generator().manual_seed(10**6 + seed) for seed in seeds]
    rate = torch.tensor(rates).repeat_interleave(len(seeds)).to(data.x)
    velocity: list[Tensor] | None = None
    own = torch.arange(len(data.x))[:, None]
    kept: list[np.ndarray] = []
    for t in range(record[-1] + 1):
        if t in record:
            kept.append(_measure(config, state, data, len(seeds)))
        if t == record[-1]:
            break
        picked = torch.stack([torch.randint(data.x.shape[1], (config.batch,), generator=g) for g in generators])
        x, y = (v[own, picked].repeat(len(rates), *[1] * (v.ndim - 1)) for v in (data.x, data.y))
        velocity = _step(config, state, x, y, rate, velocity)
    values = np.stack(kept, axis=1).reshape(len(QUANTITIES), len(record), len(rates), len(seeds))
    diverged = ~np.isfinite(values[0, -1])
    named = dict(zip(QUANTITIES, values, strict=True))
    return Run(config, rates, seeds, np.array(record), **named, diverged=diverged, state=state)


def _step(
    config: Config, state: State, x: Tensor, y: Tensor, rate: Tensor, velocity: list[Tensor] | None
) -> list[Tensor]:
    layers = [*state.encoder, *state.head]
    free = [p.detach().requires_grad_() for layer in layers for p in layer]
    pairs = list(zip(free[::2], free[1::2], strict=True))
    cut = len(state.encoder)
    loss, center = method_loss(config, replace(state, encoder=pairs[:cut], head=pairs[cut:]), x, y)
    slopes = torch.autograd.grad(loss.sum(), free, allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        if config.lam:
            slopes = torch._foreach_add(slopes, free, alpha=config.lam)
        if velocity is None:
            velocity = list(slopes)
        else:
            torch._foreach_mul_(velocity, config.momentum)
            torch._foreach_add_(velocity, slopes)
        moved = [p - rate.view(-1, *[1] * (p.ndim - 1)) * w for p, w in zip(free, velocity, strict=True)]
        pairs = list(zip(moved[::2], moved[1::2], strict=True))
        state.encoder, state.head, state.center = pairs[:cut], pairs[cut:], center
        if config.averaged:
            teacher, top = state.teacher
            state.teacher = (average(config.alpha, teacher, state.encoder), average(config.alpha, top, state.head))
    return velocity


@torch.no_grad()
def _measure(config: Config, state: State, data: Data, seeds: int) -> np.ndarray:
    copies = len(state.encoder[0][0]) // seeds

    def each(views: Tensor) -> Tensor:
        return views.repeat(copies, *[1] * (views.ndim - 1)) if len(views) > 1 else views

    def code(views: Tensor) -> np.ndarray:
        return (
            unit(encode(state.encoder, views, norm=config.norm, statistics=statistics or None).mT)
            .double()
            .cpu()
            .numpy()
        )

    x, y = each(data.x[:, :FROZEN]), each(data.y[:, :FROZEN])
    loss = method_loss(config, state, x, y)[0].double().cpu().numpy()
    statistics: list[tuple[Tensor, Tensor]] = []
    encode(state.encoder, torch.cat([x, y], dim=1), norm=config.norm, collect=statistics)
    z1, z2, known, other = map(code, (x, y, each(data.clean[:, :FROZEN]), each(data.test[:, :FROZEN])))
    values = np.full((len(QUANTITIES), len(loss)), np.nan)
    fine = np.isfinite(loss) & np.isfinite(known).all(axis=(1, 2)) & np.isfinite(other).all(axis=(1, 2))
    for k in np.flatnonzero(fine & np.isfinite(z1).all(axis=(1, 2)) & np.isfinite(z2).all(axis=(1, 2))):
        own = k % seeds if len(data.labels) > 1 else 0
        parts = pair_parts(z1[k], z2[k])
        probe = (known[k], data.labels[own, :FROZEN], other[k], data.test_labels[own, :FROZEN])
        values[:, k] = (
            loss[k],
            parts.center,
            parts.between,
            parts.within,
            effective_rank(spectrum(known[k])),
            knn_accuracy(*probe),
            linear_probe_accuracy(*probe),
        )
    return values


# --- the recorded table ---------------------------------------------------------------------------------------------

ROWS: dict[str, dict[str, Any]] = {
    "invariance": {"method": "invariance"},
    "triplet": {"method": "triplet"},
    "SimCLR": {"method": "simclr"},
    **{
        f"SimSiam{words}": {"method": "simsiam", **change}
        for words, change in (
            ("", {}),
            (", no predictor", {"predictor": False}),
            (", no stop-gradient", {"stop_gradient": False}),
            (", neither", {"predictor": False, "stop_gradient": False}),
        )
    },
    **{
        f"BYOL {alpha:g}{'' if predictor else ', no predictor'}": {
            "method": "byol",
            "alpha": alpha,
            "predictor": predictor,
        }
        for predictor in (True, False)
        for alpha in (0.0, 0.9, 0.99, 0.999, 1.0)
    },
    **{
        f"DINO{'' if centring else ', no centring'}{'' if sharpening else ', no sharpening'}": {
            "method": "dino",
            "centring": centring,
            "sharpening": sharpening,
        }
        for centring in (True, False)
        for sharpening in (True, False)
    },
    **{
        f"SwAV{'' if learned else ', fixed prototypes'}{'' if iterations else ', no Sinkhorn'}": {
            "method": "swav",
            "learned": learned,
            "iterations": iterations,
        }
        for learned in (True, False)
        for iterations in (3, 0)
    },
    **{
        f"Barlow Twins{'' if decorrelation else ', no decorrelation'}, {words}": {
            "method": "barlow",
            "decorrelation": decorrelation,
            "standardise": standardise,
        }
        for decorrelation in (0.05, 0.0)
        for standardise, words in (
            ("both", "batch norm"),
            ("centre", "centred"),
            ("scale", "scaled"),
            ("none", "neither"),
        )
    },
    **{
        f"L_Simple {weight:g}{'' if power == 2 else ', length'}": {"method": "simple", "weight": weight, "power": power}
        for power in (2, 1)
        for weight in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    },
}
"""The rows of the table: a name, and what differs from the default configuration."""

WIDTHS = {"blobs": (16, 64, 64, 16), "moons": (16, 64, 64, 16), "digits": (64, 64, 64, 16)}
"""The encoder on each data set of the table."""

PLAIN_TOO = [name for name in ROWS if not name.startswith("L_Simple") or name in ("L_Simple 1", "L_Simple 1, length")]
"""Rows that are trained without batch norm in the hidden layers as well."""


@dataclass(frozen=True)
class _Job:
    row: str
    config: Config
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    record_at: tuple[int, ...]
    data: str = "digits"  # or "blobs", "moons", "images"
    path: str = ""
    device: str = "cpu"
    pairs: int = 4000


def record_steps(steps: int) -> tuple[int, ...]:
    """The steps at which a run of the table is recorded: the start, six on the way, the end."""
    parts = (1 / 80, 1 / 40, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
    return tuple(sorted({0, *(max(round(steps * part), 1) for part in parts), steps}))


def run_entry(row: str, data: str, run: Run) -> dict[str, Any]:
    """Return a run in few words, ready for a record: numbers in a string, "nan" where a model diverged.

    For each of five quantities, at the end, a string for each learning rate with a number for each seed; and over
    training, at the learning rate with the best mean accuracy of the linear probe, a string for each recorded step.
    """

    def words(values: np.ndarray, digits: int) -> list[str]:
        return [" ".join(f"{v:.{digits}f}" for v in row) for row in values]

    best = int(np.argmax(np.nan_to_num(run.linear[-1]).mean(axis=-1)))
    return {
        "row": row,
        "data": data,
        "norm": run.config.norm,
        "best": best,
        "end": {name: words(getattr(run, name)[-1], digits) for name, digits in DIGITS.items()},
        "course": {name: words(getattr(run, name)[:, best], digits) for name, digits in DIGITS.items()},
    }


@cache
def _data(source: str, path: str, device: str, pairs: int, seeds: tuple[int, ...]) -> Data:
    if source == "images":
        images, labels, _ = load_folder(path)
        return image_data(images, labels, np.random.default_rng(0), count=pairs, device=device)
    data = digit_data(seeds, pairs) if source == "digits" else toy_data(source, seeds, pairs)  # type: ignore[arg-type]
    x, y, clean, test = (v.to(device) for v in (data.x, data.y, data.clean, data.test))
    return replace(data, x=x, y=y, clean=clean, test=test)


def _raw(data: Data) -> dict[str, str]:
    """Accuracy of both probes on the views themselves, a number for each seed of the data."""
    found: dict[str, list[float]] = {"knn": [], "linear": []}
    for k in range(len(data.clean)):
        known, other = (v[k, :FROZEN].flatten(1).double().cpu().numpy() for v in (data.clean, data.test))
        probe = (known, data.labels[k, :FROZEN], other, data.test_labels[k, :FROZEN])
        found["knn"].append(knn_accuracy(*probe))
        found["linear"].append(linear_probe_accuracy(*probe))
    return {name: " ".join(f"{v:.3f}" for v in values) for name, values in found.items()}


def _perform(job: _Job) -> dict[str, Any]:
    torch.set_num_threads(1)
    data = _data(job.data, job.path, job.device, job.pairs, job.seeds)
    run = train(job.config, data, job.seeds, rates=job.rates, record_at=job.record_at)
    return run_entry(job.row, job.data, run)


def _jobs(options: argparse.Namespace) -> list[_Job]:
    chosen = [name for name in ROWS if not options.rows or any(name.startswith(part) for part in options.rows)]
    if not chosen:
        raise ValueError(f"--rows: none begins with {', '.join(options.rows)}; there are {', '.join(ROWS)}")
    common: dict[str, Any] = {
        "seeds": tuple(range(SEEDS[0], SEEDS[0] + options.seeds)),
        "rates": tuple(options.rates),
        "record_at": record_steps(options.steps),
        "path": options.images or "",
        "device": options.device,
        "pairs": options.pairs,
    }
    jobs = []
    for source in ("images",) if options.images else tuple(WIDTHS):
        shape: dict[str, Any] = {"encoder": WIDTHS[source]} if source in WIDTHS else {}
        if source == "images":
            shape = {"channels": (3, 32, 64, 128), "encoder": (128, 128, 16)}
        for name in chosen:
            for norm in (True, False) if name in PLAIN_TOO else (True,):
                config = Config(**ROWS[name], **shape, norm=norm, batch=options.batch)
                jobs.append(_Job(name, config, data=source, **common))
    return jobs


def _refuse(options: argparse.Namespace, out: Path) -> str | None:
    """What is wrong with the options, found before any work; None if nothing is."""
    for name, least in (("seeds", 2), ("steps", 1), ("pairs", 2), ("workers", 1), ("batch", 2)):
        if getattr(options, name) < least:
            return f"--{name} must be at least {least}; got {getattr(options, name)}"
    if len(set(options.rates)) < len(options.rates) or min(options.rates) <= 0:
        return f"--rates must be positive and different; got {' '.join(f'{r:g}' for r in options.rates)}"
    if problem := unwritable(out):
        return f"--out: {problem}"
    try:
        torch.zeros(1, device=options.device).sum().item()
    except (RuntimeError, AssertionError) as wrong:
        return f"--device {options.device} cannot be used here: {str(wrong).splitlines()[0]}"
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser(
        "table",
        help="train every method on all data, at every learning rate, and record it",
        description="Every method and ablation on blobs, moons and digits, with and without batch norm in the hidden"
        " layers, five seeds at six learning rates. About ten minutes on two idle cores.",
    )
    table.add_argument(
        "--images", metavar="DIR", help="a folder that holds one folder of images for each class, instead"
    )
    table.add_argument("--device", default="cpu", help="where to train: cpu (default), cuda, ...")
    table.add_argument(
        "--rows", nargs="+", metavar="NAME", help="only rows whose name begins so (SimSiam, 'L_Simple 1')"
    )
    table.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds, 200, 201, ... (default 5)")
    table.add_argument("--steps", type=int, default=STEPS, help=f"gradient steps of a run (default {STEPS})")
    table.add_argument("--batch", type=int, default=64, help="pairs in a minibatch (default 64)")
    table.add_argument("--pairs", type=int, default=4000, help="pairs of views drawn beforehand (default 4000)")
    table.add_argument("--rates", type=float, nargs="+", default=list(RATES), help="learning rates")
    table.add_argument(
        "--workers", type=int, default=2, help="processes, one thread each (default 2; 1 unless on a cpu)"
    )
    table.add_argument(
        "--out", type=Path, help="where to write (default without --images: book/data/center_table.json)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the table and write it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.out is None and options.images:
        parser.error("--out is needed with --images")
    out = options.out or Path("book/data/center_table.json")
    if problem := _refuse(options, out):
        parser.error(problem)
    if options.device != "cpu":
        options.workers = 1
    try:
        jobs = _jobs(options)
        raw = {
            name: _raw(_data(name, job.path, job.device, job.pairs, job.seeds))
            for name, job in {job.data: job for job in jobs}.items()
        }
    except ValueError as wrong:
        parser.error(str(wrong))
    start = time.perf_counter()
    found = list(each_result(_perform, jobs, options.workers, "runs"))
    made = {
        "seeds": list(jobs[0].seeds),
        "rates": list(jobs[0].rates),
        "steps": list(jobs[0].record_at),
        "raw": raw,
        "runs": found,
    }
    words = ["python -m ssltheory.center_training table", *(f"--{k} {v}" for k, v in _changed(options))]
    seconds = time.perf_counter() - start
    write_record(out, made, command=" ".join(words), seconds=seconds, packages=("numpy", "torch", "scikit-learn"))


def _changed(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    plain = _parser().parse_args(["table"])
    for name, value in vars(options).items():
        if name not in ("out", "command", "workers") and value != getattr(plain, name):
            values = value if isinstance(value, list) else ["DIR" if name == "images" else value]
            yield name, shlex.join(map(str, values))


if __name__ == "__main__":
    main()
