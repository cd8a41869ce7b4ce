"""What the explorer of the chapter on real data shows: the recorded sweep, one learning rate at a time."""

from typing import Any, Literal

import numpy as np

from ssltheory import _validate
from ssltheory.explorers import Band, Dash, Line, Panel, Scene
from ssltheory.intervals import mean_interval
from ssltheory.isoloss_record import Course, Sweep

LOSSES: dict[str, tuple[str, str, Dash]] = {
    "direct": ("DirectPred", "sg", "solid"),
    "iso": ("IsoLoss", "outer", "dashed"),
    "matched": ("IsoLoss, matched length", "predictor", "dotted"),
}
"""The methods: name, colour, line style."""


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95% t interval of the mean over seeds, values (T, S), at each of T places."""
    low, high = zip(*(mean_interval(row) for row in values), strict=True)
    return np.array(low), np.array(high)


def sweep_scene(
    sweep: Sweep, rate: float, decay: str, teacher: str, measure: Literal["accuracy", "directions"]
) -> Scene:
    """Draw a measure against the step, with 95% intervals over seeds, and the spectra at the end, for all losses.

    ``decay`` is the name of a section, "decay" or "no decay". Raises ``ValueError`` for what was not recorded.
    """
    _validate.one_of("measure", measure, ("accuracy", "directions"))
    curves: list[Any] = []
    spectra: list[Any] = []
    said = []
    for loss, (name, color, dash) in LOSSES.items():
        course = sweep.course(decay, loss, teacher, rate)
        values = _values(course, measure)
        low, high = band(values)
        place = np.maximum(course.steps, 2)  # the start, on an axis without zero
        curves.append(Band(place, low, high, color=color))
        curves.append(Line(place, values.mean(axis=1), color=color, dash=dash, label=name))
        shares = course.spectrum
        spectra.append(Line(np.arange(1, len(shares) + 1), np.maximum(shares, 1e-6), color=color, dash=dash))
        end = values[-1].mean()
        said.append(f"{name} {end:.3f}" if measure == "accuracy" else f"{name} {end:.1f}")
    accuracy = measure == "accuracy"
    last = int(course.steps[-1])
    left = Panel(
        curves,
        xlabel="step",
        ylabel="accuracy, five labels a class" if accuracy else "directions in use",
        xscale="log",
        xlim=(2, last * 1.05),
        ylim=(0, 1) if accuracy else (0, 24),
        xticks={2: "0", 5: "5", 20: "20", 100: "100", last: str(last)},
    )
    right = Panel(
        spectra, xlabel="direction", ylabel="share of the variance", yscale="log", xlim=(1, 32), ylim=(1e-5, 1)
    )
    words = "accuracy" if accuracy else "directions in use"
    return Scene([left, right], f"After {last} steps, {words}: {'; '.join(said)}.")


def _values(course: Course, measure: str) -> np.ndarray:
    return course.accuracy if measure == "accuracy" else course.ratio
