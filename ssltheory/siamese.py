"""A small Siamese network in PyTorch: encoder, predictor, and one of three teachers.

    view x --> encoder f_theta --> predictor g_psi --> u
                                                         loss(u, v) + lam/2 (|theta|^2 + |psi|^2)
    view y --> teacher f_xi    ---------------------> v

teacher = "none"   xi = theta, and the gradient flows through both branches: gradient descent on E
teacher = "sg"     xi = theta, and v is treated as a constant: stop-gradient
teacher = "ema"    xi = alpha xi + (1 - alpha) theta after every step, and v is treated as a constant

Several seeds are trained at once. Every parameter has a leading axis for them, a layer is one batched product, and
the seeds never interact: each has its own random start and its own order of minibatches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssltheory import _validate
from ssltheory.diagnostics import feature_spread, linear_probe_accuracy, spectrum
from ssltheory.digits import augment, load_digits

__all__ = [
    "Config",
    "DigitPairs",
    "Layer",
    "Run",
    "Teacher",
    "digit_pairs",
    "gradients",
    "initialise",
    "loss",
    "network",
    "squared_norm",
    "train",
]

Teacher = Literal["none", "sg", "ema"]
Layer = tuple[Tensor, Tensor | None]  # weight (seeds, outputs, inputs), bias (seeds, 1, outputs)


@dataclass(frozen=True)
class Config:
    """What to train and how. Widths run from input to output; an empty ``predictor`` means none.

    Args:
        encoder: widths of the encoder, input and output included; (m, n) is the linear map A.
        predictor: widths of the predictor, from n to n; (n, n) is the linear map B, () the identity.
        activation: between layers, never after the last.
        bias: whether layers have one.
        similarity: "squared" for |u - v|^2 / 2, "cosine" for 1 - <u, v> / (|u| |v|).
        teacher: "none", "sg" or "ema".
        alpha: momentum of the EMA teacher, in [0, 1]; the others ignore it.
        lam: weight decay, added to the loss as lam/2 (|theta|^2 + |psi|^2).
        step: learning rate of plain gradient descent.
        batch: pairs in a minibatch; None for all of them.

    Raises:
        ValueError: a value outside what is said above.
    """

    encoder: tuple[int, ...] = (64, 128, 32)
    predictor: tuple[int, ...] = (32, 32)
    activation: Literal["relu", "tanh", "linear"] = "relu"
    bias: bool = True
    similarity: Literal["squared", "cosine"] = "squared"
    teacher: Teacher = "sg"
    alpha: float = 0.99
    lam: float = 1e-3
    step: float = 0.05
    batch: int | None = 128

    def __post_init__(self) -> None:
        for width in (*self.encoder, *self.predictor):
            _validate.count("a width", width)
        if len(self.encoder) < 2:
            raise ValueError(f"encoder: got widths {self.encoder}, need two or more")
        n = self.encoder[-1]
        if self.predictor and (len(self.predictor) < 2 or self.predictor[0] != n or self.predictor[-1] != n):
            raise ValueError(f"predictor: got widths {self.predictor}, need () or widths from {n} to {n}")
        _validate.one_of("activation", self.activation, ("relu", "tanh", "linear"))
        _validate.one_of("similarity", self.similarity, ("squared", "cosine"))
        _validate.one_of("teacher", self.teacher, get_args(Teacher))
        _validate.scalar("alpha", self.alpha, _validate.probability)
        _validate.scalar("lam", self.lam, _validate.nonnegative)
        _validate.scalar("step", self.step, _validate.positive)
        if self.batch is not None:
            _validate.count("batch", self.batch)


@dataclass(frozen=True)
class DigitPairs:
    """Pairs of views of some digits to train on, and clean digits to probe with.

    Attributes:
        x, y: (N, 64) views; row i of both is the same training digit, distorted twice.
        train, train_labels: the clean training digits, (M, 64) and (M,).
        test, test_labels: clean digits of which no view is in x or y.
    """

    x: Float[np.ndarray, "N 64"]
    y: Float[np.ndarray, "N 64"]
    train: Float[np.ndarray, "M 64"]
    train_labels: Int[np.ndarray, " M"]
    test: Float[np.ndarray, "L 64"]
    test_labels: Int[np.ndarray, " L"]


def digit_pairs(
    rng: np.random.Generator, count: int = 10_000, *, held_out: int = 500, **amplitudes: float
) -> DigitPairs:
    """Split the real digits at random, distort training digits into ``count`` pairs of views, and standardise all.

    The mean view is subtracted and everything is divided by one number, so that a pixel of a view has mean square 1
    on average. ``amplitudes`` go to :func:`ssltheory.digits.augment`.

    Raises:
        ValueError: ``count`` < 1, or ``held_out`` not between 1 and the number of digits less 1.
    """
    images, labels = load_digits()
    count = _validate.count("count", count)
    if _validate.count("held_out", held_out) >= len(images):
        raise ValueError(f"held_out: got {held_out}, need between 1 and {len(images) - 1} digits")
    order = rng.permutation(len(images))
    train, test = order[held_out:], order[:held_out]
    source = images[rng.choice(train, count)]
    x, y = (augment(source, rng, **amplitudes).reshape(count, -1) for _ in range(2))
    mean = (x.mean(axis=0) + y.mean(axis=0)) / 2
    size = np.sqrt((np.mean((x - mean) ** 2) + np.mean((y - mean) ** 2)) / 2)
    x, y, clean = ((v.reshape(len(v), -1) - mean) / size for v in (x, y, images))
    return DigitPairs(x, y, clean[train], labels[train], clean[test], labels[test])


def initialise(
    widths: tuple[int, ...], generators: list[torch.Generator], *, bias: bool = True, dtype: torch.dtype = torch.float64
) -> list[Layer]:
    """Random layers, one independent draw for each generator: weights N(0, 1/inputs), biases zero."""
    layers: list[Layer] = []
    for inputs, outputs in pairwise(widths):
        weights = [torch.randn(outputs, inputs, generator=g, dtype=dtype) / inputs**0.5 for g in generators]
        zeros = torch.zeros(len(generators), 1, outputs, dtype=dtype) if bias else None
        layers.append((torch.stack(weights), zeros))
    return layers


def network(layers: list[Layer], x: Tensor, activation: str = "relu") -> Tensor:
    """Apply the layers of every seed: x of shape (seeds or 1, N, inputs) to (seeds, N, outputs)."""
    act = {"relu": torch.relu, "tanh": torch.tanh, "linear": lambda z: z}[activation]
    for depth, (weight, bias) in enumerate(layers):
        x = act(x) if depth else x
        x = x.expand(len(weight), -1, -1)
        x = torch.bmm(x, weight.mT) if bias is None else torch.baddbmm(bias, x, weight.mT)
    return x


def squared_norm(*networks: list[Layer]) -> Tensor:
    """Sum of squares of all parameters, biases included, for each seed: shape (seeds,)."""
    return sum(p.square().sum(dim=(1, 2)) for layers in networks for pair in layers for p in pair if p is not None)  # type: ignore[return-value]


def loss(
    config: Config, encoder: list[Layer], predictor: list[Layer], teacher: list[Layer], x: Tensor, y: Tensor
) -> Tensor:
    r"""Loss of every seed on pairs of views, shape (seeds,).

    .. math:: \bar F(\theta, \psi, \xi) = \mathbb E\, \ell[g_\psi(f_\theta(x)), f_\xi(y)]
              + \frac\lambda2 (|\theta|^2 + |\psi|^2)

    With ``teacher`` the encoder itself this is :math:`\bar E(\theta, \psi)`. Source: Ponce et al., section 2.

    Args:
        config: which similarity, activation and weight decay.
        encoder, predictor, teacher: layers with a leading axis of seeds.
        x, y: views, shape (seeds or 1, N, m), row i of both from the same sample.
    """
    u = network(encoder, x, config.activation)
    u = network(predictor, u, config.activation) if predictor else u
    v = network(teacher, y, config.activation)
    if config.similarity == "squared":
        distance = (u - v).square().sum(dim=-1) / 2
    else:
        distance = 1 - torch.nn.functional.cosine_similarity(u, v, dim=-1)
    return distance.mean(dim=-1) + config.lam / 2 * squared_norm(encoder, predictor)


def gradients(
    config: Config, encoder: list[Layer], predictor: list[Layer], teacher: list[Layer], x: Tensor, y: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Training loss (seeds,) and its gradient in every parameter of encoder, then predictor, as the teacher asks.

    With teacher "none" the argument ``teacher`` is ignored and both branches are differentiated. Otherwise the
    teacher is a constant.
    """
    student = [
        [tuple(p if p is None else p.detach().requires_grad_() for p in pair) for pair in layers]
        for layers in (encoder, predictor)
    ]
    if config.teacher == "none":
        target = student[0]
    else:
        target = [tuple(p if p is None else p.detach() for p in pair) for pair in teacher]
    value = loss(config, student[0], student[1], target, x, y)  # type: ignore[arg-type]
    free = [p for layers in student for pair in layers for p in pair if p is not None]
    return value.detach(), list(torch.autograd.grad(value.sum(), free))


@dataclass(frozen=True)
class Run:
    """A finished training: what was recorded at ``steps``, for each seed.

    Attributes:
        config: what was trained.
        steps: (T,) the steps at which things were recorded, 0 first.
        loss: (T, S) the loss E on the frozen pairs: teacher = student.
        training_loss: (T, S) the loss F on the frozen pairs with the teacher in use; E itself unless teacher is EMA.
        spectrum: (T, S, n) eigenvalues of the covariance of f(x) on the frozen views, descending.
        spread: (T, S) feature spread of f(x) on the frozen views.
        unexplained: (T, S) the share of the variance of f(y) that the prediction g(f(x)) leaves unexplained,
            E|g(f(x)) - f(y)|^2 / E|f(y) - E f(y)|^2, on the frozen pairs: 0 for a perfect prediction, 1 for one that
            is no better than the mean. Unlike E it does not reward embeddings for being small.
        diverged: (S,) whether a seed stopped being finite; its records are nan from there on.
        encoders, predictors, teachers: the layers at each recorded step; without EMA the teacher is the encoder.
    """

    config: Config
    steps: np.ndarray
    loss: Float[np.ndarray, "T S"]
    training_loss: Float[np.ndarray, "T S"]
    spectrum: Float[np.ndarray, "T S n"]
    spread: Float[np.ndarray, "T S"]
    unexplained: Float[np.ndarray, "T S"]
    diverged: np.ndarray
    encoders: list[list[Layer]]
    predictors: list[list[Layer]]
    teachers: list[list[Layer]]

    @property
    def reason(self) -> str:
        """Why the run stopped, in words."""
        if self.diverged.any():
            return f"{self.diverged.sum()} of {len(self.diverged)} seeds diverged: a parameter is no longer finite"
        return f"all {self.steps[-1]} steps were taken"

    def embed(self, inputs: Float[np.ndarray, "N m"], at: int = -1) -> Float[np.ndarray, "S N n"]:
        """Embeddings f(x) of inputs under every seed's encoder at the recorded index ``at`` (default: the end)."""
        x = _views("inputs", inputs, self.config.encoder[0])
        with torch.no_grad():
            return network(self.encoders[at], x[None], self.config.activation).numpy()

    def probe_accuracy(
        self, inputs: np.ndarray, labels: np.ndarray, inputs_test: np.ndarray, labels_test: np.ndarray, **options
    ) -> Float[np.ndarray, "T S"]:
        """Accuracy of :func:`ssltheory.diagnostics.linear_probe_accuracy` at every recorded step and seed.

        ``options`` go to that function. A diverged seed has nan.
        """
        accuracy = np.full(self.loss.shape, np.nan)
        for at in range(len(self.steps)):
            train_z, test_z = self.embed(inputs, at), self.embed(inputs_test, at)
            for seed in np.flatnonzero(np.isfinite(self.loss[at])):
                accuracy[at, seed] = linear_probe_accuracy(train_z[seed], labels, test_z[seed], labels_test, **options)
        return accuracy


def train(
    config: Config,
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    *,
    steps: int,
    seeds: int | list[int] = 5,
    frozen: int = 500,
    record_at: list[int] | np.ndarray | None = None,
) -> Run:
    r"""Train one network for each seed on pairs of views by plain stochastic gradient descent.

    .. math:: (\theta, \psi) \leftarrow (\theta, \psi) - \eta\, \nabla_{\theta, \psi} \bar F(\theta, \psi, \xi),
              \qquad \xi \leftarrow \alpha \xi + (1 - \alpha) \theta

    (EMA; see the module's head for the two other teachers.) A seed's start and its minibatches depend on the seed
    alone, so that runs with different teachers share both.

    Args:
        config: network, loss, teacher, step.
        x, y: pairs of views, row i of both from the same sample.
        steps: how many steps to take.
        seeds: how many seeds (0, 1, ...), or which.
        frozen: how many pairs, from the first, to measure loss, spectrum and spread on.
        record_at: the steps to record, between 0 and ``steps``; by default 21 of them, evenly spaced.

    Raises:
        ValueError: shapes disagree, a non-finite entry, ``steps`` < 1, no seed, or a record outside the run.
    """
    views_x, views_y = _views("x", x, config.encoder[0]), _views("y", y, config.encoder[0])
    if views_x.shape != views_y.shape:
        raise ValueError(f"x and y: got shapes {tuple(views_x.shape)} and {tuple(views_y.shape)}, need the same")
    steps = _validate.count("steps", steps)
    seeds = list(range(_validate.count("seeds", seeds))) if isinstance(seeds, int | np.integer) else list(seeds)
    if not seeds:
        raise ValueError("seeds: got none, need at least one")
    if _validate.count("frozen", frozen) > len(views_x):
        raise ValueError(f"frozen: got {frozen}, need between 1 and the {len(views_x)} pairs")
    record = np.unique(np.linspace(0, steps, 21).astype(int) if record_at is None else np.asarray(record_at))
    if not len(record) or record[0] < 0 or record[-1] > steps:
        raise ValueError(f"record_at: got steps {record.tolist()}, need between 0 and {steps}")

    # Matrices this small gain nothing from several threads and lose much on busy cores.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(config, views_x, views_y, steps, seeds, frozen, record)
    finally:
        torch.set_num_threads(threads)


def _train(
    config: Config, views_x: Tensor, views_y: Tensor, steps: int, seeds: list[int], frozen: int, record: np.ndarray
) -> Run:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    encoder = initialise(config.encoder, generators, bias=config.bias)
    predictor = initialise(config.predictor, generators, bias=config.bias) if config.predictor else []
    teacher = encoder
    records: list[tuple] = []
    encoders, predictors, teachers = [], [], []
    batch_x, batch_y = views_x[None], views_y[None]
    for t in range(steps + 1):
        if t in record:
            records.append(_measure(config, encoder, predictor, teacher, views_x[:frozen], views_y[:frozen]))
            encoders.append(encoder)
            predictors.append(predictor)
            teachers.append(teacher)
        if t == steps:
            break
        if config.batch is not None:
            rows = torch.stack([torch.randint(len(views_x), (config.batch,), generator=g) for g in generators])
            batch_x, batch_y = views_x[rows], views_y[rows]
        _, slopes = gradients(config, encoder, predictor, teacher, batch_x, batch_y)
        remaining = iter(slopes)
        encoder = _descend(config.step, encoder, remaining)
        predictor = _descend(config.step, predictor, remaining)
        teacher = _average(config.alpha, teacher, encoder) if config.teacher == "ema" else encoder

    loss_e, loss_f, eigenvalues, spread, unexplained = (np.stack(column) for column in zip(*records, strict=True))
    diverged = ~torch.isfinite(squared_norm(encoder, predictor)).numpy()
    return Run(
        config, record, loss_e, loss_f, eigenvalues, spread, unexplained, diverged, encoders, predictors, teachers
    )


def _descend(step: float, layers: list[Layer], slopes: Iterator[Tensor]) -> list[Layer]:
    return [(w - step * next(slopes), b if b is None else b - step * next(slopes)) for w, b in layers]


def _average(alpha: float, teacher: list[Layer], student: list[Layer]) -> list[Layer]:
    return [
        (alpha * w + (1 - alpha) * v, b if b is None or c is None else alpha * b + (1 - alpha) * c)
        for (w, b), (v, c) in zip(teacher, student, strict=True)
    ]


@torch.no_grad()
def _measure(config, encoder, predictor, teacher, x: Tensor, y: Tensor) -> tuple[np.ndarray, ...]:
    finite = torch.isfinite(squared_norm(encoder, predictor, teacher)).numpy()
    losses = [loss(config, encoder, predictor, target, x[None], y[None]).numpy() for target in (encoder, teacher)]
    z, target = (network(encoder, views[None], config.activation) for views in (x, y))
    residual = (network(predictor, z, config.activation) if predictor else z) - target
    variance = target.var(dim=1, correction=0).sum(dim=-1)
    unexplained = (residual.square().sum(dim=-1).mean(dim=-1) / variance).numpy()
    embeddings = np.nan_to_num(z.numpy(), posinf=0, neginf=0)
    values = [*losses, spectrum(embeddings), feature_spread(embeddings), unexplained]
    return tuple(np.where(finite.reshape(-1, *[1] * (value.ndim - 1)), value, np.nan) for value in values)


def _views(name: str, views: np.ndarray, m: int) -> Tensor:
    checked = _validate.shaped(name, views, ("samples", m))
    if not len(checked):
        raise ValueError(f"{name} has shape {checked.shape}; need at least one sample")
    return torch.from_numpy(checked)
