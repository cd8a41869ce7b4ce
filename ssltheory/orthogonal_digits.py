"""Two classes of digits, learned without labels under orthogonality constraints, and a linear classifier on the codes.

``python -m ssltheory.orthogonal_digits`` makes the record of the chapter from the digits of scikit-learn (a few minutes
on one core). ``python -m ssltheory.orthogonal_digits --mnist FOLDER --classes 0 1`` does the published experiment, 200
images a class and 784 pixels, with the files of MNIST for those who have them. Source: Esser, Mukherjee, Ghoshdastidar
(arXiv 2309.02011), Figure 4.
"""

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate
from ssltheory.contrast import contrast_matrix, sorted_eigen
from ssltheory.digits import SIDE, augment, load_digits
from ssltheory.images import load_mnist
from ssltheory.orthogonal_flow import random_network
from ssltheory.orthogonal_steps import Activation, activate, euler_steps, exact_steps, sampled_steps
from ssltheory.records import progress, read_record, write_record

__all__ = [
    "Split",
    "Views",
    "classifier_errors",
    "code_errors",
    "digit_split",
    "expected_views",
    "leading_code",
    "mean_views",
    "mnist_report",
    "nonlinear_errors",
    "principal_code",
    "read_sweep",
    "readout",
    "sweep_of",
    "train",
    "training_views",
]

Views = Literal["noise", "augmented", "both augmented"]
"""How views are made; :func:`training_views` gives the three ways."""
Method = Literal["network", "tangent", "euler"]

PAIRS = tuple(combinations(range(10), 2))
NEIGHBOURS = tuple((k, (k + 1) % 10) if k < 9 else (0, 9) for k in range(10))
"""The ten pairs on which nonlinear networks are trained too, from the first :data:`NONLINEAR_SEEDS` starts."""
NONLINEAR_SEEDS = 5
NONLINEAR: tuple[Activation, ...] = ("tanh", "relu")
SEEDS, SIZES, RECORD_AT = 10, (1, 2, 5, 10), (0, 2, 5, 10, 20, 50, 100, 200)
PER_CLASS, WIDTH, STEP, PENALTY = 100, 128, 0.1, 1.0
"""Training images a class, width, step in units of 1 / |gamma_1|, and the classifier's C."""


@dataclass(frozen=True)
class Split:
    """Images of two classes, pixels in [0, 1], to learn from and to be tested on, with labels 0 and 1."""

    x: Float[np.ndarray, "N m"]
    labels: Int[np.ndarray, " N"]
    test: Float[np.ndarray, "M m"]
    test_labels: Int[np.ndarray, " M"]


def digit_split(pair: tuple[int, int], rng: np.random.Generator, per_class: int = PER_CLASS) -> Split:
    """Draw ``per_class`` images of each of two digits to learn from; all others, 74 to 83 a class, are for the test.

    scikit-learn has 174 to 183 images of a digit. Raises ``ValueError`` for equal digits, or too few images.
    """
    images, labels = load_digits()
    return _split(images.reshape(len(images), -1), labels, pair, rng, per_class)


def training_views(
    x: Float[np.ndarray, "N m"], rng: np.random.Generator, kind: Views, *, noise: float = 0.1
) -> tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]]:
    """A positive and a negative view of each image; the negative is of another one, by a random cyclic order.

    ``"noise"``: the positive is x plus normal noise, the negative an image as it is. ``"augmented"``: the positive is
    moved, turned, scaled and lightened as :func:`ssltheory.digits.augment` does it. ``"both augmented"``: the negative
    too. Raises ``ValueError`` for another kind, fewer than two images, a negative ``noise``, or images that are no
    squares where they are augmented.
    """
    _validate.one_of("kind", kind, get_args(Views))
    x = _validate.shaped("x", x, ("N", "m"))
    count, m = x.shape
    if count < 2:
        raise ValueError(f"x has shape {x.shape}; need at least two images")
    order = rng.permutation(count)
    negative = np.empty_like(x)
    negative[order] = x[np.roll(order, 1)]
    if kind == "noise":
        return x + _validate.scalar("noise", noise, _validate.nonnegative) * rng.standard_normal(x.shape), negative
    side = round(np.sqrt(m))
    if side * side != m:
        raise ValueError(f"x has {m} pixels; need a square to augment")

    def turned(images: np.ndarray) -> np.ndarray:
        return augment(images.reshape(-1, side, side), rng).reshape(len(images), m)

    return turned(x), turned(negative) if kind == "both augmented" else negative


def mean_views(rng: np.random.Generator, draws: int = 4000) -> Float[np.ndarray, "64 64"]:
    """The matrix M of the mean view, E[x^+ | x] = M x, of :func:`ssltheory.digits.augment` on 8 x 8 pixels.

    Augmentation is linear in the image, with a random matrix: column j is the mean of ``draws`` views of pixel j alone.
    Raises ``ValueError`` for ``draws`` < 1.
    """
    draws = _validate.count("draws", draws)
    pixels = np.eye(SIDE * SIDE).reshape(-1, SIDE, SIDE)
    return np.stack([augment(np.tile(p, (draws, 1, 1)), rng, noise=0.0).mean(axis=0).ravel() for p in pixels], axis=1)


def expected_views(
    x: Float[np.ndarray, "N m"], mean: Float[np.ndarray, "m m"], kind: Views
) -> Float[np.ndarray, "m m"]:
    r"""The expected contrast matrix of the images x under views with E[x^+ | x] = M x and independent negatives.

    .. math::
        \mathbb E\,\Gamma = -\operatorname{sym}(\mathrm{Cov}\, M^\top) + \operatorname{sym}(\mu\, (\mu - M\mu)^\top)

    for plain negatives, with the mean mu and covariance Cov of the images; without the second term for augmented ones.
    ``"noise"`` is M = I. Raises ``ValueError`` for shapes that do not fit or another kind. Ours.
    """
    _validate.one_of("kind", kind, get_args(Views))
    x = _validate.shaped("x", x, ("N", "m"))
    mean = np.eye(x.shape[1]) if kind == "noise" else _validate.shaped("mean", mean, (x.shape[1],) * 2)
    centre = x.mean(axis=0)
    product = -(x - centre).T @ (x - centre) / len(x) @ mean.T
    if kind == "augmented":
        product = product + np.outer(centre, centre - mean @ centre)
    return (product + product.T) / 2


def principal_code(x: Float[np.ndarray, "N m"], n: int) -> Float[np.ndarray, "m n"]:
    """The n leading principal directions of the images. Raises ``ValueError`` for n above their number."""
    x = _validate.shaped("x", x, ("N", "m"))
    return leading_code(-np.cov(x.T, bias=True).reshape(x.shape[1], -1), n)


def leading_code(gamma: Float[np.ndarray, "m m"], n: int) -> Float[np.ndarray, "m n"]:
    """The end of training: the eigenvectors of the n most negative eigenvalues. Raises ``ValueError`` for n > m."""
    vectors = sorted_eigen(gamma)[1]
    if _validate.count("n", n) > len(vectors):
        raise ValueError(f"n must be at most m = {len(vectors)}; got {n}")
    return vectors[:, :n]


def classifier_errors(
    code: Float[np.ndarray, "N n"], labels: Int[np.ndarray, " N"], test: Float[np.ndarray, "M n"], truth: np.ndarray
) -> int:
    """How many test codes a linear SVM (C = 1) puts in the wrong class, all codes divided by the training codes' size.

    The size is the root mean square length, so that a code cannot win by being large. The solver's tolerance is small,
    so that the answer is the same on every machine. Raises ``ValueError`` for codes that are not finite or all zero.
    """
    test = _validate.shaped("test", test, ("M", np.shape(code)[-1]))
    normal, offset = _classifier(code, labels)
    return int(((test @ normal + offset > 0) != truth).sum())


def code_errors(split: Split, q: Float[np.ndarray, "m n"]) -> int:
    """:func:`classifier_errors` of the code q^T x."""
    return classifier_errors(split.x @ q, split.labels, split.test @ q, split.test_labels)


def readout(split: Split, q: Float[np.ndarray, "m n"]) -> tuple[Float[np.ndarray, " n"], float, float]:
    """The classifier of the code q^T x, class 1 where normal . code + offset > 0, and its share of right answers."""
    normal, offset = _classifier(split.x @ q, split.labels)
    return normal, offset, 1 - code_errors(split, q) / len(split.test)


def train(
    splits: Sequence[Split],
    method: Method,
    weights: Sequence[tuple[Float[np.ndarray, "h m"], Float[np.ndarray, "h n"]]],
    views: Sequence[tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]]],
    *,
    record_at: Sequence[int] = RECORD_AT,
    step: float = STEP,
) -> Float[np.ndarray, "S T m n"]:
    """Train linear networks, S problems at once, from their weights at the start; return q after the recorded steps.

    ``"network"``: equation (11), plain gradient and polar factor. ``"tangent"``: the same after the projection of the
    gradient that our source's derivation uses. Both are computed from q, which is exact. ``"euler"``: equation (12).
    ``step`` is in units of 1 / |gamma_1|. Raises ``ValueError`` for another method, problems of different shapes, or
    steps that do not increase.
    """
    _validate.one_of("method", method, get_args(Method))
    if list(record_at) != sorted(set(record_at)) or not record_at or record_at[0] < 0:
        raise ValueError(f"record_at must be increasing numbers of steps from 0 on; got {tuple(record_at)}")
    eigen = [sorted_eigen(contrast_matrix(s.x, *v)) for s, v in zip(splits, views, strict=True)]
    values, vectors = np.stack([e[0] for e in eigen]), np.stack([e[1] for e in eigen])
    size = _validate.scalar("step", step, _validate.positive) / np.abs(values[:, 0])
    q = vectors.mT @ np.stack([W1.T @ W2 for W1, W2 in weights])
    path, done = [], 0
    for goal in record_at:
        todo, done = goal - done, goal
        if method == "euler":
            q = euler_steps(q, values, size, todo)
        else:
            q = exact_steps(q, values, size, todo, tangent="grassmann" if method == "tangent" else None)
        path.append(vectors @ q)
    return np.stack(path, axis=1)


def nonlinear_errors(
    split: Split,
    activation: Activation,
    weights: tuple[Float[np.ndarray, "h m"], Float[np.ndarray, "h n"]],
    views: tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]],
    *,
    record_at: Sequence[int] = RECORD_AT,
    step: float = STEP,
) -> list[int]:
    """Train a nonlinear network by (11) with gradients from the triples; the classifier's errors at recorded steps.

    ``step`` is in units of 1 / |gamma_1|, the scale of the linear network. Raises ``ValueError`` as
    :func:`ssltheory.orthogonal_steps.sampled_steps`.
    """
    size = step / abs(sorted_eigen(contrast_matrix(split.x, *views))[0][0])
    W1, W2 = weights
    errors, done = [], 0
    for goal in record_at:
        W1, W2 = sampled_steps(W1, W2, split.x, *views, size, goal - done, activation=activation)
        done = goal
        code, test = (activate(x @ W1.T, activation) @ W2 for x in (split.x, split.test))
        errors.append(classifier_errors(code, split.labels, test, split.test_labels))
    return errors


def setting(pair: tuple[int, int], seed: int) -> tuple[Split, np.random.Generator]:
    """The split of a pair and seed of the record, and the generator from which views and then weights are drawn."""
    rng = np.random.default_rng([seed, *pair])
    return digit_split(pair, rng), rng


def sweep_of(pair: tuple[int, int], seeds: int = SEEDS) -> dict[str, list[list[int]]]:
    """The errors of a pair by name of method, views and size of the code: a list over recorded steps for each seed."""
    splits, rngs = zip(*(setting(pair, seed) for seed in range(seeds)), strict=True)
    found = {"pixels": [[classifier_errors(s.x, s.labels, s.test, s.test_labels)] for s in splits]}
    views = {
        kind: [training_views(s.x, rng, kind) for s, rng in zip(splits, rngs, strict=True)] for kind in get_args(Views)
    }
    for n in SIZES:
        weights = [random_network(rng, WIDTH, splits[0].x.shape[1], n) for rng in rngs]
        methods: tuple[Method, ...] = ("network", "euler", "tangent") if n == 2 else ("network", "euler")
        for method in methods:
            paths = train(splits, method, weights, views["noise"])
            found[f"{method} {n}"] = [[code_errors(s, q) for q in path] for s, path in zip(splits, paths, strict=True)]
        found[f"principal {n}"] = [[code_errors(s, principal_code(s.x, n))] for s in splits]
        for kind, made in views.items():
            found[f"end, {kind} {n}"] = [
                [code_errors(s, leading_code(contrast_matrix(s.x, *v), n))] for s, v in zip(splits, made, strict=True)
            ]
        if n == 2 and pair in NEIGHBOURS:
            first = list(zip(splits, weights, views["noise"], strict=True))[:NONLINEAR_SEEDS]
            for activation in NONLINEAR:
                found[f"{activation} {n}"] = [nonlinear_errors(s, activation, w, v) for s, w, v in first]
    return found


@dataclass(frozen=True)
class Sweep:
    """The record: error rates by name, (P pairs, S seeds, T recorded steps), of the P pairs in ``pairs``."""

    steps: tuple[int, ...]
    errors: dict[str, Float[np.ndarray, "P S T"]]
    pairs: dict[str, tuple[tuple[int, int], ...]]

    def accuracy(self, name: str, pairs: Iterable[tuple[int, int]] | None = None) -> Float[np.ndarray, "P S T"]:
        """Shares of right answers, of the given pairs or all of the record. Raises ``ValueError`` for others."""
        if name not in self.errors:
            raise ValueError(f"got {name!r}; the record has {', '.join(self.errors)}")
        chosen = self.pairs[name] if pairs is None else tuple(pairs)
        if not set(chosen) <= set(self.pairs[name]):
            raise ValueError(f"{name!r} was not recorded for all of these pairs")
        return 1 - self.errors[name][[self.pairs[name].index(p) for p in chosen]]


def read_sweep(data: Any | None = None) -> Sweep:
    """Read the book's record, or data in its form: counts of errors become rates."""
    data = read_record("orthogonal_digits").data if data is None else data
    pairs, errors = {}, {}
    for name, rows in data["errors"].items():
        pairs[name] = tuple((int(key[0]), int(key[1])) for key in rows)
        counts = np.array([[[int(v) for v in run.split()] for run in runs.split(",")] for runs in rows.values()], float)
        errors[name] = counts / np.array([data["tests"][key] for key in rows])[:, None, None]
    return Sweep(tuple(data["steps"]), errors, pairs)


def make_sweep(pairs: Sequence[tuple[int, int]] = PAIRS, seeds: int = SEEDS) -> dict[str, Any]:
    """Train all pairs and seeds; the errors of a pair are one string, seeds separated by commas."""
    errors: dict[str, dict[str, str]] = {}
    tests = {}
    for pair in progress(pairs, "pairs of digits"):
        key = f"{pair[0]}{pair[1]}"
        tests[key] = len(setting(pair, 0)[0].test)
        for name, runs in sweep_of(pair, seeds).items():
            errors.setdefault(name, {})[key] = ",".join(" ".join(map(str, run)) for run in runs)
    return {"steps": list(RECORD_AT), "tests": tests, "errors": errors}


def mnist_report(
    folder: str, pair: tuple[int, int], n: int, *, per_class: int = 200, width: int = 1024, seeds: int = 5
) -> dict[str, Any]:
    """The published experiment on MNIST's files: ``per_class`` images a class to learn from, all test images to judge.

    Shares of right answers, a list over the recorded steps for each seed. Raises ``ValueError`` as
    :func:`ssltheory.images.load_mnist`, for equal digits, too few images, or a width below the number of pixels.
    """
    images, labels, test, test_labels = load_mnist(folder)
    known, kept = np.isin(labels, pair), np.isin(test_labels, pair)
    if not kept.any() or not known.any():
        raise ValueError(f"classes: the files hold no image of {pair[0]} or {pair[1]}")
    x, test = (a.reshape(len(a), -1).astype(float) for a in (images[known], test[kept]))
    labels, test_labels = labels[known], test_labels[kept]
    report: dict[str, Any] = {name: [] for name in ("pixels", "principal", "network", "euler")}
    for seed in range(_validate.count("seeds", seeds)):
        rng = np.random.default_rng([seed, *pair])
        first = _split(x, labels, pair, rng, per_class)
        split = Split(first.x, first.labels, test, (test_labels == pair[1]).astype(np.int64))
        views = training_views(split.x, rng, "noise")
        weights = random_network(rng, width, x.shape[1], n)
        total = len(split.test)
        pixels = classifier_errors(split.x, split.labels, split.test, split.test_labels)
        report["pixels"].append(1 - pixels / total)
        report["principal"].append(1 - code_errors(split, principal_code(split.x, n)) / total)
        for method in ("network", "euler"):
            path = train([split], method, [weights], [views])[0]
            report[method].append([1 - code_errors(split, q) / total for q in path])
    gap = np.array(report["network"]) - np.array(report["euler"])
    report["largest_gap_of_means"] = float(np.abs(gap.mean(axis=0)).max())
    return {"classes": list(pair), "n": n, "per_class": per_class, "width": width, "steps": list(RECORD_AT)} | report


def _classifier(code: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.svm import SVC

    code = _validate.shaped("code", code, ("N", "n"))
    size = np.sqrt(np.mean(np.sum(code**2, axis=1)))
    if not size > 0:
        raise ValueError("code is zero at every image; nothing can be read from it")
    machine = SVC(kernel="linear", C=PENALTY, tol=1e-6).fit(code / size, labels)
    return machine.coef_[0] / size, float(machine.intercept_[0])


def _split(x: np.ndarray, labels: np.ndarray, pair: tuple[int, int], rng: np.random.Generator, per_class: int) -> Split:
    per_class = _validate.count("per_class", per_class)
    if len(set(pair)) != 2:
        raise ValueError(f"pair: got {pair}, need two different classes")
    learn, test = [], []
    for digit in pair:
        rows = rng.permutation(np.flatnonzero(labels == digit))
        if len(rows) <= per_class:
            raise ValueError(f"there are {len(rows)} images of {digit}; need more than {per_class}")
        learn.append(rows[:per_class])
        test.append(rows[per_class:])
    first, second = np.concatenate(learn), np.concatenate(test)

    def which(rows: np.ndarray) -> np.ndarray:
        return (labels[rows] == pair[1]).astype(np.int64)

    return Split(x[first], which(first), x[second], which(second))


def main() -> None:
    """Make the record, or do the experiment on MNIST and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="book/data/orthogonal_digits.json")
    parser.add_argument("--mnist", metavar="FOLDER", help="a folder with MNIST's four files; prints, writes nothing")
    parser.add_argument("--classes", type=int, nargs=2, default=(0, 1))
    parser.add_argument("--size", type=int, default=2, help="dimensions n of the code")
    parser.add_argument("--per-class", type=int, default=200)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if options.mnist:
        try:
            report = mnist_report(
                options.mnist,
                tuple(options.classes),
                options.size,
                per_class=options.per_class,
                width=options.width,
                seeds=options.seeds,
            )
        except ValueError as problem:
            parser.error(str(problem))
        print(json.dumps(report, indent=1))
        return
    begin = time.perf_counter()
    data = make_sweep()
    write_record(
        options.out,
        data,
        command="python -m ssltheory.orthogonal_digits",
        seconds=time.perf_counter() - begin,
        packages=("numpy", "scipy", "scikit-learn"),
    )


if __name__ == "__main__":
    main()
