"""What the recorded sweep of DirectPred and IsoLoss says: each learning rate's course, paired by seed.

The record is made by ``python -m ssltheory.isoloss_training sweep``; reading it needs no torch. Every quantity is an
array over seeds, so that two methods can be subtracted seed by seed. A seed that diverged counts as a guess among the
classes, and as no direction in use; nothing is dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate

__all__ = ["Course", "Sweep", "at_own_rate", "early", "own_rate", "plateau_width", "read_sweep", "steps_to"]

_USUAL = {"loss": "direct", "teacher": "sg", "step": 0.1, "lam": 0.0, "encoder": (64, 128, 128, 32)}


@dataclass(frozen=True)
class Course:
    """One setting of the sweep, at ``steps`` (T,), for S seeds.

    Attributes:
        config: fields of :class:`ssltheory.isoloss_training.Config`, those that differ from the usual ones among them.
        accuracy: (T, S) of a linear probe on test images, with ``labels[-1]`` labels for each class.
        other_accuracy: (K - 1, S) at the end, with fewer labels.
        ratio: (T, S) participation ratio of the codes.
        spectrum: (n,) mean over seeds of the eigenvalues at the end, each spectrum divided by its sum; zeros if none.
        diverged: how many seeds diverged.
    """

    config: Mapping[str, Any]
    steps: Int[np.ndarray, " T"]
    labels: tuple[int, ...]
    accuracy: Float[np.ndarray, "T S"]
    other_accuracy: Float[np.ndarray, "k S"]
    ratio: Float[np.ndarray, "T S"]
    spectrum: Float[np.ndarray, " n"]
    diverged: int


@dataclass(frozen=True)
class Sweep:
    """The sweep's runs, and the accuracy of the probe on raw pixels, (K, S)."""

    runs: Mapping[tuple[str, str, str, float, float], Course]
    pixels: Float[np.ndarray, "K S"]

    def course(self, section: str, loss: str, teacher: str, step: float) -> Course:
        """One run, the first if there are several decays. Raises ``ValueError``, with the known rates, for none."""
        for (*key, rate, _), course in self.runs.items():
            if key == [section, loss, teacher] and np.isclose(rate, step):
                return course
        known = self.rates(section).tolist()
        raise ValueError(f"no run {section!r}, {loss!r}, {teacher!r} at {step:g}; its learning rates are {known}")

    def rates(self, section: str) -> Float[np.ndarray, " R"]:
        """Learning rates of a section, ascending."""
        return np.array(sorted({key[3] for key in self.runs if key[0] == section}))

    def courses(self, section: str, loss: str, teacher: str) -> list[Course]:
        """All runs of one method in a section, by learning rate."""
        return [self.course(section, loss, teacher, rate) for rate in self.rates(section)]


def read_sweep(data: Mapping[str, Any]) -> Sweep:
    """Read a record's data back; without a number of ``classes`` there are ten.

    Raises ``ValueError`` for data that are not those of a sweep, or that hold a run twice.
    """
    if not isinstance(data, Mapping) or {"runs", "pixels"} - data.keys():
        raise ValueError("data: need the keys 'runs' and 'pixels' of a recorded sweep")
    runs: dict[tuple[str, str, str, float, float], Course] = {}
    chance = 1 / data.get("classes", 10)
    for entry in data["runs"]:
        config = _USUAL | entry["config"]
        key = (entry["section"], config["loss"], config["teacher"], config["step"], config["lam"])
        if key in runs:
            raise ValueError(f"data: two runs are {key}")
        spectrum = entry["spectrum"]
        runs[key] = Course(
            config,
            _numbers(entry["steps"]).astype(int),
            tuple(entry["labels"]),
            np.nan_to_num(_table(entry["accuracy"]), nan=chance),
            np.nan_to_num(_table(entry["other_accuracy"]), nan=chance),
            np.nan_to_num(_table(entry["ratio"]), nan=0.0),
            np.zeros(config["encoder"][-1]) if spectrum is None else _numbers(spectrum),
            entry["diverged"],
        )
    return Sweep(runs, _table(data["pixels"]))


def _numbers(row: str) -> Float[np.ndarray, " k"]:
    return np.array(row.split(), dtype=float)


def _table(rows: list[str]) -> Float[np.ndarray, "r k"]:
    return np.array([row.split() for row in rows], dtype=float)


def early(course: Course, until: int = 100) -> Float[np.ndarray, " S"]:
    """Mean accuracy over the steps from 0 to ``until``, interpolated linearly between records.

    Raises ``ValueError`` unless ``until`` is a recorded step after the first.
    """
    if until not in course.steps[1:]:
        raise ValueError(f"until: got {until}, need one of the recorded steps {course.steps[1:].tolist()}")
    seen = course.steps <= until
    return np.trapezoid(course.accuracy[seen], course.steps[seen], axis=0) / until


def steps_to(course: Course, level: float) -> Float[np.ndarray, " S"]:
    """First step at which a seed's accuracy, interpolated linearly between records, reaches ``level``; inf if none."""
    level = _validate.scalar("level", level)
    found = np.full(course.accuracy.shape[1], np.inf)
    for s, curve in enumerate(course.accuracy.T):
        k = int(np.argmax(curve >= level))
        if curve[k] >= level:
            part = 0.0 if k == 0 else (level - curve[k - 1]) / (curve[k] - curve[k - 1])
            found[s] = course.steps[k] if k == 0 else course.steps[k - 1] + part * np.diff(course.steps)[k - 1]
    return found


def own_rate(values: Float[np.ndarray, "R S"]) -> Int[np.ndarray, " S"]:
    """For each seed, the number of the learning rate whose mean value over the *other* seeds is highest.

    So no seed takes part in the choice of the rate at which it is judged. Raises ``ValueError`` for fewer than two.
    """
    values = _validate.shaped("values", values, ("R", "S"))
    if values.shape[1] < 2:
        raise ValueError(f"values have shape {values.shape}; need at least two seeds")
    return np.argmax(values.sum(axis=1, keepdims=True) - values, axis=0)


def at_own_rate(values: Float[np.ndarray, "R S"]) -> Float[np.ndarray, " S"]:
    """For each seed, its value at :func:`own_rate`. Raises ``ValueError`` for fewer than two seeds."""
    chosen = own_rate(values)
    return np.asarray(values)[chosen, np.arange(len(chosen))]


def plateau_width(
    rates: Float[np.ndarray, " R"], values: Float[np.ndarray, "R S"], level: float
) -> Float[np.ndarray, " S"]:
    """Decades of learning rate over which a seed's value, linear in log10 of the rate, is at least ``level``.

    The length of the set, which need not be an interval, between the first rate and the last. Multiplying all rates by
    one number does not change it. Raises ``ValueError`` for rates that do not increase, or shapes that disagree.
    """
    rates = _validate.positive("rates", _validate.shaped("rates", rates, ("R",)))
    values, level = _validate.shaped("values", values, (len(rates), "S")), _validate.scalar("level", level)
    decades = np.diff(np.log10(rates))
    if not (decades > 0).all():
        raise ValueError(f"rates must increase; got {rates.tolist()}")
    low, high = np.sort([values[:-1], values[1:]], axis=0)
    crossing = (low < level) & (level < high)
    part = (high - level) / np.where(crossing, high - low, 1.0)
    above = np.where(crossing, part, (low >= level).astype(float))
    return decades @ above
