"""DirectPred against IsoLoss on real images, many seeds at once.

    python -m ssltheory.isoloss_training sweep                              # the book's record, on digits
    python -m ssltheory.isoloss_training sweep --images DIR --out mine.json # on images, one folder for each class
    python -m ssltheory.isoloss_training sweep --cifar10 DIR --device cuda --out mine.json

An encoder codes two views of an image, z_1 = f(x) and z_2 = f(y). The predictor is set and not trained:
B = (Sigma / mu_max)^p, with Sigma a running second moment of the codes and mu_max its largest eigenvalue. Let
u = B z_1, and v = z_2 (stop-gradient) or the code of y under a moving average of the encoder (EMA). With B and v held
constant, the loss of a pair is 1 - <u, v> / (|u| |v|), and what is sent back into z_1 is, averaged over a minibatch,

    direct    B g,   g = (<u, v> u / (|u|^2 |v|) - v / |v|) / |u|      the gradient of the loss (B is symmetric)
    iso       g                                                        IsoLoss: the same without the leading B
    matched   g |B g| / |g|                                            IsoLoss at the length of the direct gradient

where the norms of the last line are over the whole minibatch. Source: Halvagal, Laborieux and Zenke (2023) for the
losses, Tian, Chen and Ganguli (2021) for the predictor; "matched" is ours. Every parameter has a leading axis of seeds,
a layer is one batched product, and seeds never interact.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssltheory import _validate
from ssltheory.diagnostics import few_label_accuracy, participation_ratio, spectrum
from ssltheory.encoders import Data, Layer, average, digit_data, encode, image_data, initialise
from ssltheory.images import load_cifar10, load_folder
from ssltheory.records import each_result, unwritable, write_record

__all__ = [
    "Config",
    "Run",
    "code_gradient",
    "code_loss",
    "pixel_accuracy",
    "predictor",
    "run_entry",
    "train",
]

Loss = Literal["direct", "iso", "matched"]
Teacher = Literal["sg", "ema"]
Similarity = Literal["cosine", "euclidean"]

RECORD_AT = (0, 5, 10, 20, 40, 60, 100, 200, 300)
LABELS = (1, 5)
DRAWS = 3
PENALTY = 0.01
SEEDS = tuple(range(100, 110))
LEAST_STEPS = 100  # early learning is judged by the first hundred
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
HIGH_RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
DECAY = 0.01
MIDDLE_RATES = (0.03, 0.1, 0.3, 1.0)
LONG_RATES = (0.01, 0.03, 0.1, 0.3)
LONG_RECORD_AT = (0, 100, 300, 600, 1000, 1500)
CONDITIONS: dict[str, dict[str, Any]] = {
    "weaker distortions": {"views": {"shift": 0.3, "angle": 5.0, "scale": 0.05, "brightness": 0.1, "noise": 0.02}},
    "stronger distortions": {"views": {"shift": 1.2, "angle": 20.0, "scale": 0.2, "brightness": 0.4, "noise": 0.15}},
    "a quarter of the batch": {"batch": 32},
    "small initial weights": {"scale": 0.3},
    "large initial weights": {"scale": 3.0},
    "no batch norm": {"norm": False},
    "two more layers": {"encoder": (64, 128, 128, 128, 128, 32)},
}


@dataclass(frozen=True)
class Config:
    """What to train and how.

    Args:
        loss: what is sent back into the code: "direct", "iso" or "matched".
        teacher: "sg" or "ema".
        step: learning rate of stochastic gradient descent.
        power: exponent p >= 0 of the predictor; 0 is no predictor.
        memory: weight in [0, 1) of the past in the running second moment Sigma.
        alpha: momentum of the EMA teacher, in [0, 1].
        momentum: of the gradient steps, in [0, 1).
        lam: weight decay, added to every gradient as lam times the parameter.
        batch: pairs in a minibatch, at least 2.
        channels: of the images and of each convolution (3 x 3, stride 2); () for none.
        encoder: widths of the dense layers; the first is the number of inputs, or the last of ``channels``.
        norm: batch norm of every hidden layer, with a shift and without a gain.
        scale: multiplies the initial weights, which are normal with variance 2 / inputs.
        similarity: "cosine", or "euclidean" for |u - v|^2 / 2.

    Raises:
        ValueError: a value outside what is said above.
    """

    loss: Loss = "direct"
    teacher: Teacher = "sg"
    step: float = 0.1
    power: float = 0.5
    memory: float = 0.5
    alpha: float = 0.99
    momentum: float = 0.9
    lam: float = 0.0
    batch: int = 128
    channels: tuple[int, ...] = ()
    encoder: tuple[int, ...] = (64, 128, 128, 32)
    norm: bool = True
    scale: float = 1.0
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        _validate.one_of("loss", self.loss, get_args(Loss))
        _validate.one_of("teacher", self.teacher, get_args(Teacher))
        _validate.one_of("similarity", self.similarity, get_args(Similarity))
        for name in ("step", "scale"):
            _validate.scalar(name, getattr(self, name), _validate.positive)
        for name in ("power", "lam"):
            _validate.scalar(name, getattr(self, name), _validate.nonnegative)
        for name in ("memory", "alpha", "momentum"):
            _validate.scalar(name, getattr(self, name), _validate.probability)
        if self.memory == 1 or self.momentum == 1:
            raise ValueError("memory and momentum must be less than 1")
        _validate.count("batch", self.batch, least=2)
        for width in (*self.channels, *self.encoder):
            _validate.count("a width", width)
        if len(self.encoder) < 2 or len(self.channels) == 1:
            raise ValueError("encoder needs at least two widths, and channels none or at least two")
        if self.channels and self.channels[-1] != self.encoder[0]:
            raise ValueError(f"got {self.channels[-1]} channels at the end and {self.encoder[0]} inputs; need the same")


def predictor(sigma: Float[Tensor, "S n n"], power: float) -> Float[Tensor, "S n n"]:
    r"""The predictor :math:`B = (\Sigma / \mu_{\max})^p` of symmetric positive semi-definite matrices; I for p = 0."""
    if power == 0:
        return torch.eye(sigma.shape[-1], dtype=sigma.dtype, device=sigma.device).expand_as(sigma)
    mu, U = torch.linalg.eigh(sigma.double())
    d = (mu.clamp_min(0) / mu[:, -1:].clamp_min(1e-300)) ** power
    return ((U * d[:, None, :]) @ U.mT).to(sigma.dtype)


def code_loss(
    B: Float[Tensor, "S n n"],
    z: Float[Tensor, "S n N"],
    v: Float[Tensor, "S n N"],
    similarity: Similarity = "cosine",
    *,
    iso: bool = False,
) -> Float[Tensor, " S"]:
    r"""Mean loss of every seed, whose gradient in z is the direct one or, with ``iso``, that of IsoLoss.

    .. math:: 1 - \frac{\langle u, v \rangle}{|u|\,|v|} \quad\text{or}\quad \tfrac12 |u - v|^2, \qquad u = B z
              \quad\text{or (iso)}\quad u = z + \operatorname{SG}(B z - z)

    Both have the same value. The second Euclidean one is :math:`\tfrac12 |z - \operatorname{SG}(v + z - Bz)|^2`.
    Training does not call this; it is what :func:`code_gradient` is checked against.
    """
    u = z + (torch.bmm(B, z) - z).detach() if iso else torch.bmm(B, z)
    if similarity == "euclidean":
        return (u - v).square().sum(dim=1).mean(dim=1) / 2
    return 1 - torch.nn.functional.cosine_similarity(u, v, dim=1, eps=0).mean(dim=1)


def code_gradient(
    loss: Loss,
    B: Float[Tensor, "S n n"],
    z: Float[Tensor, "S n N"],
    v: Float[Tensor, "S n N"],
    similarity: Similarity = "cosine",
) -> Float[Tensor, "S n N"]:
    """What is sent back into the codes z (the module's head has the formulas); codes of length zero receive nothing."""
    u = torch.bmm(B, z)
    if similarity == "cosine":
        size, goal = (w.norm(dim=1, keepdim=True) for w in (u, v))
        u, v = u / size.clamp_min(1e-30), v / goal.clamp_min(1e-30)
        cosine = (u * v).sum(dim=1, keepdim=True)
        g = torch.where(size > 1e-30, (cosine * u - v) / (z.shape[-1] * size.clamp_min(1e-30)), 0.0)
    else:
        g = (u - v) / z.shape[-1]
    if loss == "iso":
        return g
    direct = torch.bmm(B, g)
    if loss == "direct":
        return direct
    ratio = direct.flatten(1).norm(dim=1) / g.flatten(1).norm(dim=1).clamp_min(1e-30)
    return g * ratio[:, None, None]


@dataclass(frozen=True)
class Run:
    """A finished training: what was recorded at ``steps``, for each seed.

    Attributes:
        config: what was trained.
        seeds: (S,) which seeds.
        steps: (T,) the steps at which things were recorded.
        labels: (K,) labels for each class given to the probe.
        accuracy: (K, T, S) accuracy of the linear probe on test images, the mean over draws of the labelled images.
        spectrum: (T, S, n) eigenvalues of the covariance of the codes of the clean images, descending.
        size: (T, S) norm of all weights.
        diverged: (S,) whether a seed stopped being finite; its records are nan from there on.
        layers: the encoder at the end.
    """

    config: Config
    seeds: tuple[int, ...]
    steps: Int[np.ndarray, " T"]
    labels: tuple[int, ...]
    accuracy: Float[np.ndarray, "K T S"]
    spectrum: Float[np.ndarray, "T S n"]
    size: Float[np.ndarray, "T S"]
    diverged: np.ndarray
    layers: list[Layer]

    @property
    def ratio(self) -> Float[np.ndarray, "T S"]:
        """Participation ratio of the spectrum: the number of directions in use; nan where diverged."""
        known = np.isfinite(self.spectrum).all(axis=-1)
        values = participation_ratio(np.where(known[..., None], self.spectrum, 0.0))
        return np.where(known, values, np.nan)

    @property
    def reason(self) -> str:
        """Why the run stopped, in words."""
        if self.diverged.any():
            return f"{self.diverged.sum()} of {len(self.diverged)} seeds diverged: a code is no longer finite"
        return f"all {self.steps[-1]} steps were taken"


def train(
    config: Config,
    data: Data,
    seeds: Sequence[int],
    *,
    record_at: Sequence[int] = RECORD_AT,
    labels: Sequence[int] = LABELS,
    draws: int = DRAWS,
) -> Run:
    r"""Train one encoder for each seed, all at once, by stochastic gradient descent with momentum.

    .. math:: w \leftarrow \beta w + J^\top \gamma + \lambda \theta, \qquad \theta \leftarrow \theta - \eta w, \qquad
              \xi \leftarrow \alpha \xi + (1 - \alpha) \theta

    with :math:`\gamma` from :func:`code_gradient` and J the derivative of the codes of the first views in
    :math:`\theta`. A seed's start, minibatches and labelled images depend on the seed alone, so that runs that differ
    in loss, teacher or step share all three.

    Args:
        config: network, loss, teacher, step.
        data: views; a leading axis as long as ``seeds``, or 1.
        seeds: which seeds.
        record_at: the steps to record, the last of which ends the run.
        labels: how many labels for each class the probe may see; each gives an accuracy.
        draws: of the labelled images, over which an accuracy is the mean.

    Raises:
        ValueError: no seed, a leading axis that is neither, negative steps, or more labels than a class has.
    """
    seeds, labels = tuple(seeds), tuple(_validate.count("labels", k) for k in labels)
    if not seeds or len(data.x) not in (1, len(seeds)):
        raise ValueError(
            f"got {len(seeds)} seeds for data of {len(data.x)}; need at least one seed, and data of 1 or each"
        )
    record = sorted({_validate.count("record_at", t, least=0) for t in record_at})
    least = min(np.bincount(row)[np.unique(row)].min() for row in data.labels)
    if not record or (labels and max(labels) > least):
        raise ValueError(f"got labels {labels} and record_at {record}; need steps, and at most {least} labels a class")
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    layers = [(w.to(data.x.device), b.to(data.x.device)) for w, b in initialise(config, generators, dtype=data.x.dtype)]
    teacher, sigma = layers, None
    velocity = [torch.zeros_like(p) for layer in layers for p in layer][:-1]
    own, records = torch.arange(len(data.x))[:, None], []
    for t in range(record[-1] + 1):
        if t in record:
            records.append(_measure(config, layers, data, seeds, labels, draws))
        if t == record[-1]:
            break
        rows = torch.stack([torch.randint(data.x.shape[1], (config.batch,), generator=g) for g in generators])
        x, y = (v[own, rows] for v in (data.x, data.y))
        free = [p.detach().requires_grad_() for layer in layers for p in layer][:-1]  # the last shift is not used
        z = encode(list(zip(free[::2], [*free[1::2], layers[-1][1]], strict=True)), x, norm=config.norm)
        with torch.no_grad():
            v, code = encode(teacher, y, norm=config.norm), z.detach()
            moment = torch.bmm(code, code.mT) / config.batch
            sigma = moment if sigma is None else config.memory * sigma + (1 - config.memory) * moment
            back = code_gradient(config.loss, predictor(_finite(sigma), config.power), code, v, config.similarity)
        slopes = torch.autograd.grad(z, free, back)
        with torch.no_grad():
            for w, p, slope in zip(velocity, free, slopes, strict=True):
                w.mul_(config.momentum).add_(slope).add_(p, alpha=config.lam)
            moved = [p - config.step * w for p, w in zip(free, velocity, strict=True)]
            layers = list(zip(moved[::2], [*moved[1::2], layers[-1][1]], strict=True))
            teacher = layers if config.teacher == "sg" else average(config.alpha, teacher, layers)
    accuracy, eigenvalues, size = (np.stack(column) for column in zip(*records, strict=True))
    diverged = ~np.isfinite(eigenvalues[-1]).all(axis=-1)
    steps = np.array(record)
    return Run(config, seeds, steps, labels, accuracy.transpose(1, 0, 2), eigenvalues, size, diverged, layers)


def _finite(sigma: Tensor) -> Tensor:
    # A diverged seed must not stop the eigenvalue routine of the others.
    return torch.where(torch.isfinite(sigma).all(dim=(1, 2), keepdim=True), sigma, torch.eye(sigma.shape[-1]).to(sigma))


@torch.no_grad()
def _measure(
    config: Config, layers: list[Layer], data: Data, seeds: tuple[int, ...], labels: tuple[int, ...], draws: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    statistics: list[tuple[Tensor, Tensor]] = []
    known = encode(layers, data.clean, norm=config.norm, collect=statistics)
    other = encode(layers, data.test, norm=config.norm, statistics=statistics or None)
    z, z_test = (np.ascontiguousarray(v.mT.double().cpu().numpy()) for v in (known, other))
    fine = np.isfinite(z).all(axis=(1, 2)) & np.isfinite(z_test).all(axis=(1, 2))
    own = np.flatnonzero(fine)
    accuracy = np.full((len(labels), len(seeds)), np.nan)
    if len(own):
        known_labels, other_labels = (v[own] if len(v) > 1 else v for v in (data.labels, data.test_labels))
        picked = [seeds[s] for s in own]
        accuracy[:, own] = few_label_accuracy(
            z[own], known_labels, z_test[own], other_labels, picked, labels, draws=draws, penalty=PENALTY
        )
    eigenvalues = np.full((len(seeds), z.shape[-1]), np.nan)
    if fine.any():
        eigenvalues[fine] = spectrum(z[fine])
    squares = torch.stack([w.double().square().flatten(1).sum(dim=1) for w, _ in layers])
    return accuracy, eigenvalues, squares.sum(dim=0).sqrt().cpu().numpy()


def pixel_accuracy(
    data: Data, seeds: Sequence[int], labels: Sequence[int] = LABELS, draws: int = DRAWS
) -> Float[np.ndarray, "K S"]:
    """Accuracy of the same probe on the raw pixels, with the same labelled images."""
    z, z_test = (v.flatten(2).double().cpu().numpy() for v in (data.clean, data.test))
    z, z_test = (np.broadcast_to(v, (len(seeds), *v.shape[1:])) for v in (z, z_test))
    return few_label_accuracy(z, data.labels, z_test, data.test_labels, seeds, labels, draws=draws, penalty=PENALTY)


# --- the recorded sweep ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    section: str
    config: Config
    seeds: tuple[int, ...]
    record_at: tuple[int, ...]
    source: str = "digits"  # or "images", "cifar10"
    path: str = ""
    device: str = "cpu"
    pairs: int = 4000
    views: tuple[tuple[str, float], ...] = ()


def run_entry(section: str, run: Run) -> dict[str, Any]:
    """Return a run in few words, ready for a record: a row of numbers is a string, "nan" where a seed diverged.

    What differs from the default :class:`Config`; accuracies with the most labels and participation ratios, a row for
    each recorded step and a number for each seed; the accuracies with fewer labels at the end, a row for each number of
    labels; the mean over seeds of the spectrum divided by its sum, at the end.
    """

    def row(values: np.ndarray, digits: int = 4) -> str:
        return " ".join(f"{v:.{digits}g}" for v in values)

    usual = asdict(Config())
    total = run.spectrum[-1].sum(axis=-1, keepdims=True)
    shares = (run.spectrum[-1] / total)[~run.diverged]
    return {
        "section": section,
        "config": {key: value for key, value in asdict(run.config).items() if value != usual[key]},
        "seeds": list(run.seeds),
        "steps": row(run.steps, 9),
        "labels": list(run.labels),
        "accuracy": [row(values) for values in run.accuracy[-1]],
        "other_accuracy": [row(values) for values in run.accuracy[:-1, -1]],
        "ratio": [row(values) for values in run.ratio],
        "spectrum": row(shares.mean(axis=0), 3) if len(shares) else None,
        "diverged": int(run.diverged.sum()),
    }


@cache
def _data(source: str, path: str, device: str, pairs: int, views: tuple, seeds: tuple[int, ...]) -> Data:
    if source == "digits":
        data = digit_data(seeds, pairs, **dict(views))
        x, y, clean, test = (v.to(device) for v in (data.x, data.y, data.clean, data.test))
        return replace(data, x=x, y=y, clean=clean, test=test)
    rng = np.random.default_rng(0)
    if source == "images":
        images, labels, _ = load_folder(path)
        return image_data(images, labels, rng, count=pairs, device=device)
    images, labels, *other = load_cifar10(path)
    return image_data(images, labels, rng, test=(other[0], other[1]), count=pairs, device=device)


def _perform(job: _Job) -> dict[str, Any]:
    torch.set_num_threads(1)
    data = _data(job.source, job.path, job.device, job.pairs, job.views, job.seeds)
    return run_entry(job.section, train(job.config, data, job.seeds, record_at=job.record_at))


def _record_at(steps: int) -> tuple[int, ...]:
    """The usual steps, doubled from the last of them on, up to ``steps``."""
    later = (RECORD_AT[-1] * 2**k for k in range(1, steps.bit_length()))
    return (*(t for t in (*RECORD_AT, *later) if t < steps), steps)


def _refuse(options: argparse.Namespace, out: Path) -> str | None:
    """What is wrong with the options, found before any work; None if nothing is."""
    for name, least in (("seeds", 2), ("steps", LEAST_STEPS), ("pairs", 1), ("workers", 1)):
        if getattr(options, name) < least:
            return f"--{name} must be at least {least}; got {getattr(options, name)}"
    if not options.decay > 0:
        return f"--decay must be positive, since every rate is run without decay as well; got {options.decay:g}"
    if options.rates and len(set(options.rates)) < len(options.rates):
        return "--rates names a rate twice"
    if problem := unwritable(out):
        return f"--out: {problem}"
    try:
        torch.zeros(1, device=options.device).sum().item()
    except (RuntimeError, AssertionError) as wrong:
        return f"--device {options.device} cannot be used here: {str(wrong).splitlines()[0]}"
    return None


def _jobs(options: argparse.Namespace) -> list[_Job]:
    digits = not (options.images or options.cifar10)
    seeds = SEEDS[: options.seeds] if options.seeds <= len(SEEDS) else tuple(range(100, 100 + options.seeds))
    record = _record_at(options.steps)
    base = Config(batch=options.batch)
    common: dict[str, Any] = {"seeds": seeds, "device": options.device, "pairs": options.pairs}
    if not digits:
        base = replace(base, channels=(3, 32, 64, 128), encoder=(128, 128, 32))
        common |= {"source": "images" if options.images else "cifar10", "path": options.images or options.cifar10}
    kinds = list(product(get_args(Loss), get_args(Teacher)))
    jobs = [
        _Job("decay", replace(base, loss=loss, teacher=t, step=r, lam=options.decay), record_at=record, **common)
        for r in options.rates or RATES
        for loss, t in kinds
    ]
    jobs += [
        _Job("no decay", replace(base, loss=loss, teacher=t, step=r), record_at=record, **common)
        for r in options.rates or HIGH_RATES
        for loss, t in kinds
    ]
    jobs += [
        _Job("no predictor", replace(base, teacher=t, step=r, power=0.0, lam=lam), record_at=record, **common)
        for t in get_args(Teacher)
        for lam in (0.0, options.decay)
        for r in options.rates or (0.1,)
    ]
    for name, change in CONDITIONS.items() if digits and not options.rates else ():
        setting = {key: value for key, value in change.items() if key != "views"}
        views = tuple(change.get("views", {}).items())
        for r, loss, t in product(MIDDLE_RATES, get_args(Loss)[:2], get_args(Teacher)):
            config = replace(base, loss=loss, teacher=t, step=r, lam=options.decay, **setting)
            few = tuple(sorted({*record[::2], record[-1]}))
            jobs.append(_Job(name, config, record_at=few, views=views, **common))
    if digits and not options.rates:
        jobs += [
            _Job(
                "long", replace(base, loss=k, teacher=t, step=r, lam=options.decay), record_at=LONG_RECORD_AT, **common
            )
            for k, t, r in product(get_args(Loss)[:2], get_args(Teacher), LONG_RATES)
        ]
    return jobs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sweep = commands.add_parser(
        "sweep",
        help="train every loss with every teacher at every rate, with weight decay and without, and record it",
        description="Three losses, two teachers, a range of learning rates, with weight decay and without; on digits"
        " also a few changes of the setting and a longer training. About ten minutes on two idle cores for the digits.",
    )
    source = sweep.add_mutually_exclusive_group()
    source.add_argument("--images", metavar="DIR", help="a folder that holds one folder of images for each class")
    source.add_argument(
        "--cifar10", metavar="DIR", help="CIFAR-10, binary version: data_batch_1.bin, ..., test_batch.bin"
    )
    sweep.add_argument("--device", default="cpu", help="where to train: cpu (default), cuda, ...")
    sweep.add_argument("--seeds", type=int, default=10, help="how many seeds, 100, 101, ..., at least 2 (default 10)")
    sweep.add_argument("--steps", type=int, default=300, help="gradient steps of a run, at least 100 (default 300)")
    sweep.add_argument("--batch", type=int, default=128, help="pairs in a minibatch (default 128)")
    sweep.add_argument(
        "--pairs",
        type=int,
        default=4000,
        help="pairs of views drawn beforehand (default 4000; 10,000 of CIFAR-10 take about 2 GB of memory)",
    )
    sweep.add_argument("--decay", type=float, default=DECAY, help=f"weight decay of the first part (default {DECAY:g})")
    sweep.add_argument("--rates", type=float, nargs="+", help="learning rates instead of the book's")
    sweep.add_argument(
        "--workers", type=int, default=2, help="processes, one thread each (default 2; 1 with --device cuda)"
    )
    sweep.add_argument("--out", type=Path, help="where to write (default for the digits: book/data/isoloss_sweep.json)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sweep and write it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    digits = not (options.images or options.cifar10)
    if options.out is None and not digits:
        parser.error("--out is needed with --images or --cifar10")
    out = options.out or Path("book/data/isoloss_sweep.json")
    if problem := _refuse(options, out):
        parser.error(problem)
    if options.device != "cpu":
        options.workers = 1
    try:
        jobs = _jobs(options)
        data = _data(jobs[0].source, jobs[0].path, jobs[0].device, jobs[0].pairs, jobs[0].views, jobs[0].seeds)
        least = min(np.unique(row, return_counts=True)[1].min() for row in data.labels)
        if least < max(LABELS):
            raise ValueError(f"a class has {least} training images; the probe needs at least {max(LABELS)} of each")
    except ValueError as wrong:
        parser.error(str(wrong))
    start = time.perf_counter()
    found = list(each_result(_perform, jobs, options.workers, "runs"))
    pixels = [" ".join(f"{v:.4g}" for v in row) for row in pixel_accuracy(data, jobs[0].seeds)]
    made = {"classes": len(np.unique(data.labels)), "runs": found, "pixels": pixels}
    words = ["python -m ssltheory.isoloss_training sweep", *(f"--{k} {v}" for k, v in _changed(options))]
    seconds = time.perf_counter() - start
    write_record(out, made, command=" ".join(words), seconds=seconds, packages=("numpy", "torch", "scikit-learn"))


def _changed(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    plain = _parser().parse_args(["sweep"])
    for name, value in vars(options).items():
        if name not in ("out", "command", "workers") and value != getattr(plain, name):
            folder = name in ("images", "cifar10")
            yield name, "DIR" if folder else " ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    main()
