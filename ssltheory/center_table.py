r"""The table of Part IV subtracted, crossed and ranked, and the small theory that explains its two-by-two tables.

    python -m ssltheory.center_table         # two minutes: longer runs of BYOL, and toys with less nuisance

A mechanism is isolated by the four rows in which it and another are present or absent (:class:`Square`). Three short
calculations say what to expect of them, each in a limit that is stated: speeds of small scores (:func:`score_rates`:
DINO, SwAV), of codes behind a slow teacher (:func:`teacher_rates`: BYOL), and how long a center Barlow Twins' loss
admits (:func:`barlow_center_bound`).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.center_record import DIGITS, Table
from ssltheory.intervals import Interval, mean_interval
from ssltheory.records import progress, write_record

__all__ = [
    "MAIN",
    "SQUARES",
    "Square",
    "barlow_center_bound",
    "rank_agreement",
    "read_course",
    "score_rates",
    "square",
    "teacher_rates",
]

MAIN = (
    "invariance",
    "triplet",
    "SimCLR",
    "SimSiam",
    "BYOL 0.99",
    "DINO",
    "SwAV",
    "Barlow Twins, batch norm",
    "L_Simple 1",
    "L_Simple 1, length",
)
"""The rows in which every method is complete."""

SQUARES: dict[str, tuple[str, str, tuple[str, str, str, str]]] = {
    "SimSiam": (
        "predictor",
        "stop-gradient",
        ("SimSiam", "SimSiam, no stop-gradient", "SimSiam, no predictor", "SimSiam, neither"),
    ),
    "BYOL": (
        "predictor",
        "momentum 0.99",
        ("BYOL 0.99", "BYOL 0", "BYOL 0.99, no predictor", "BYOL 0, no predictor"),
    ),
    "DINO": (
        "centring",
        "sharpening",
        ("DINO", "DINO, no sharpening", "DINO, no centring", "DINO, no centring, no sharpening"),
    ),
    "SwAV": (
        "Sinkhorn",
        "learned prototypes",
        ("SwAV", "SwAV, fixed prototypes", "SwAV, no Sinkhorn", "SwAV, fixed prototypes, no Sinkhorn"),
    ),
    "Barlow Twins": (
        "decorrelation",
        "centring",
        (
            "Barlow Twins, batch norm",
            "Barlow Twins, scaled",
            "Barlow Twins, no decorrelation, batch norm",
            "Barlow Twins, no decorrelation, scaled",
        ),
    ),
}
"""Two mechanisms, and the rows with both, the first alone, the second alone, and neither."""


@dataclass(frozen=True)
class Square:
    """A quantity where two mechanisms are present or absent, for each of S seeds.

    Attributes:
        first, second: their names.
        both, first_alone, second_alone, neither: (S,).
    """

    first: str
    second: str
    both: Float[np.ndarray, " S"]
    first_alone: Float[np.ndarray, " S"]
    second_alone: Float[np.ndarray, " S"]
    neither: Float[np.ndarray, " S"]

    @property
    def drop_first(self) -> Interval:
        """What dropping the first changes while the second stays: 95% t interval of differences paired by seed."""
        return mean_interval(self.second_alone - self.both)

    @property
    def drop_second(self) -> Interval:
        """What dropping the second changes while the first stays, likewise."""
        return mean_interval(self.first_alone - self.both)

    @property
    def drop_both(self) -> Interval:
        """What dropping both changes, likewise."""
        return mean_interval(self.neither - self.both)

    @property
    def interaction(self) -> Interval:
        """What dropping both changes beyond the sum of the two changes, likewise; 0 if the two act apart."""
        return mean_interval(self.neither - self.first_alone - self.second_alone + self.both)


def square(table: Table, name: str, data: str, norm: bool, quantity: str) -> Square:
    """Read the two-by-two table ``name`` of :data:`SQUARES`, each row at its own tuned rate.

    Raises ``ValueError`` for a table, row or quantity that is not there.
    """
    _validate.one_of("name", name, tuple(SQUARES))
    first, second, rows = SQUARES[name]
    return Square(first, second, *(table.row(row, data, norm).tuned(quantity) for row in rows))


def rank_agreement(first: Float[np.ndarray, "M S"], second: Float[np.ndarray, "M S"]) -> Float[np.ndarray, " S"]:
    """Kendall's tau-b between two ways of ranking M methods, for each seed; 0 where one of them is constant.

    Raises ``ValueError`` for shapes that differ, a non-finite entry, or fewer than two methods. Source: Kendall (1945).
    """
    from scipy.stats import kendalltau

    first = _validate.shaped("first", first, ("M", "S"))
    second = _validate.shaped("second", second, first.shape)
    if len(first) < 2:
        raise ValueError(f"got {len(first)} method(s); need at least two to rank")
    return np.array([np.nan_to_num(kendalltau(a, b).statistic) for a, b in zip(first.T, second.T, strict=True)])


def score_rates(ratio: float, correlation: float, *, centred: bool) -> tuple[float, float]:
    r"""Speeds of small scores that move freely against a softmax target made of the other view's scores.

    A part of the scores that is common to all samples, and one that differs between samples and has ``correlation``
    :math:`\rho` between two views, grow or shrink at

    .. math:: c = \begin{cases} -1 & \text{centred} \\ \tau/\tau_t - 1 & \text{not} \end{cases},
              \qquad d = \rho\, \tau/\tau_t - 1,

    in units of :math:`1/(K\tau^2)`, with ``ratio`` :math:`\tau/\tau_t` of the temperatures of scores and target. The
    target is centred by subtracting from the scores their mean over samples; to first order Sinkhorn's balancing does
    the same. Raises ``ValueError`` for a ratio that is not positive or a correlation outside [-1, 1].
    """
    ratio = _validate.scalar("ratio", ratio, _validate.positive)
    correlation = _validate.scalar("correlation", correlation)
    if abs(correlation) > 1:
        raise ValueError(f"correlation must lie between -1 and 1; got {correlation:.6g}")
    return (0.0 if centred else ratio) - 1, correlation * ratio - 1


def teacher_rates(speed: float, correlation: float) -> tuple[float, float]:
    r"""Rates of free codes that follow a teacher which follows them, slow one first.

    With ``speed`` :math:`\varepsilon` and ``correlation`` :math:`\rho` of the two views, the eigenvalues of

    .. math:: \dot z = \rho\, t - z, \qquad \dot t = \varepsilon (z - t),

    .. math:: -\tfrac12 \Bigl( 1 + \varepsilon \mp \sqrt{(1 + \varepsilon)^2 - 4 \varepsilon (1 - \rho)} \Bigr).

    The slow one is 0 if rho = 1 or epsilon = 0, and about :math:`-\varepsilon(1-\rho)` for a slow teacher. Raises
    ``ValueError`` for a negative speed or a correlation outside [0, 1].
    """
    speed = _validate.scalar("speed", speed, _validate.nonnegative)
    correlation = _validate.scalar("correlation", correlation, _validate.probability)
    trace, product = -(1 + speed), speed * (1 - correlation)
    fast = (trace - float(np.sqrt(trace**2 - 4 * product))) / 2
    return (product / fast if product else 0.0), fast


def barlow_center_bound(loss: float, weight: float, n: int) -> float:
    r"""The largest :math:`|s|^2` of unit codes at a value of Barlow Twins' loss without batch statistics.

    .. math:: |s|^2 \le \frac1n \Bigl(1 + \sqrt{L / \min(1, w)}\Bigr)

    for n features, the codes scaled to length :math:`\sqrt n`, and the correlation taken over all pairs of views of a
    sample drawn independently. Raises ``ValueError`` for a negative loss or a weight that is not positive.
    """
    loss = _validate.scalar("loss", loss, _validate.nonnegative)
    weight = _validate.scalar("weight", weight, _validate.positive)
    return (1 + float(np.sqrt(loss / min(1.0, weight)))) / _validate.count("n", n)


# --- two small records beside the table -----------------------------------------------------------------------------

LONG_STEPS = (0, 400, 1000, 2000, 4000)
LONG_RATE = 0.1
NUISANCES = (0.0, 0.5, 1.0, 1.5)
EASY_ROWS = ("invariance", "SimSiam, no predictor", "SimSiam", "SimCLR")


def _entries(run: Any) -> dict[str, list[str]]:
    return {
        name: [" ".join(f"{v:.{digits}f}" for v in row) for row in getattr(run, name)[:, 0]]
        for name, digits in DIGITS.items()
    }


def long_runs(steps: Sequence[int] = LONG_STEPS, rate: float = LONG_RATE) -> list[dict[str, Any]]:
    """Train BYOL at every momentum, with and without predictor, ten times as long as the table, at one rate."""
    from ssltheory.center_training import ROWS, SEEDS, WIDTHS, Config, train
    from ssltheory.encoders import digit_data, toy_data

    found = []
    sources = {"blobs": toy_data("blobs", SEEDS), "digits": digit_data(SEEDS)}
    jobs = [(name, data) for data in sources for name in ROWS if name.startswith("BYOL")]
    for name, source in progress(jobs, "long runs"):
        run = train(Config(**ROWS[name], encoder=WIDTHS[source]), sources[source], SEEDS, rates=[rate], record_at=steps)
        found.append({"row": name, "data": source, "course": _entries(run)})
    return found


def easy_runs(nuisances: Sequence[float] = NUISANCES, rate: float = LONG_RATE) -> list[dict[str, Any]]:
    """Train four rows on toys with less nuisance than the table's, 400 steps at one rate."""
    from ssltheory.center_training import ROWS, SEEDS, STEPS, WIDTHS, Config, train
    from ssltheory.encoders import toy_data

    found = []
    for toy, nuisance in progress([(t, v) for t in ("blobs", "moons") for v in nuisances], "toys"):
        data = toy_data(toy, SEEDS, nuisance=nuisance)  # type: ignore[arg-type]
        for name in EASY_ROWS:
            run = train(Config(**ROWS[name], encoder=WIDTHS[toy]), data, SEEDS, rates=[rate], record_at=[0, STEPS])
            found.append({"row": name, "data": toy, "nuisance": nuisance, "course": _entries(run)})
    return found


def read_course(entry: Mapping[str, Any], quantity: str) -> Float[np.ndarray, "T S"]:
    """Read a quantity of one entry of the small records back, for each recorded step and seed."""
    return np.array([row.split() for row in entry["course"][quantity]], dtype=float)


def main() -> None:
    """Train and write ``book/data/center_ablations.json``."""
    import torch

    torch.set_num_threads(1)
    start = time.perf_counter()
    made = {
        "rate": LONG_RATE,
        "long_steps": list(LONG_STEPS),
        "long": long_runs(),
        "nuisances": list(NUISANCES),
        "easy": easy_runs(),
    }
    write_record(
        Path("book/data/center_ablations.json"),
        made,
        command="python -m ssltheory.center_table",
        seconds=time.perf_counter() - start,
        packages=("numpy", "torch", "scikit-learn"),
    )


if __name__ == "__main__":
    main()
