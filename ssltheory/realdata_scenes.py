"""What the explorer of the chapter on real data shows: the recorded sweep, one learning rate at a time."""

from typing import Any

import numpy as np

from ssltheory.explorers import Band, Dash, Line, Panel, Scene
from ssltheory.intervals import mean_interval
from ssltheory.isoloss_record import Sweep

LOSSES: dict[str, tuple[str, str, Dash]] = {
    "direct": ("DirectPred", "sg", "solid"),
    "iso": ("IsoLoss", "outer", "dashed"),
    "matched": ("IsoLoss, matched length", "predictor", "dotted"),
}
"""The methods: name, colour, line style."""

MEASURES: dict[str, tuple[str, tuple[float, float], str]] = {
    "accuracy": ("accuracy, five labels a class", (0.0, 1.0), ".3f"),
    "ratio": ("directions in use", (0.0, 24.0), ".1f"),
}
"""Fields of a course: words, limits of the axis, format."""


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95% t interval of the mean over seeds, values (T, S), at each of T places."""
    low, high = zip(*(mean_interval(row) for row in values), strict=True)
    return np.array(low), np.array(high)


def sweep_scene(sweep: Sweep, rate: float, decay: str, teacher: str) -> Scene:
    """Draw accuracy and directions in use against the step, with 95% intervals over seeds, for all losses.

    ``decay`` is the name of a section, "decay" or "no decay". Raises ``ValueError`` for what was not recorded.
    """
    courses = {loss: sweep.course(decay, loss, teacher, rate) for loss in LOSSES}
    last = max(int(course.steps[-1]) for course in courses.values())
    ticks: dict[float, str] = {2: "0", 5: "5", 20: "20", 100: "100", last: str(last)}
    panels, said = [], []
    for measure, (words, limits, form) in MEASURES.items():
        curves: list[Any] = []
        ends = []
        for loss, (name, color, dash) in LOSSES.items():
            course = courses[loss]
            values = getattr(course, measure)
            low, high = band(values)
            place = np.maximum(course.steps, 2)  # the start, on an axis without zero
            curves.append(Band(place, low, high, color=color))
            label = name if measure == "accuracy" else ""
            curves.append(Line(place, values.mean(axis=1), color=color, dash=dash, label=label))
            ends.append(f"{name} {values[-1].mean():{form}}")
        said.append(f"{words.capitalize()}: {'; '.join(ends)}.")
        panels.append(
            Panel(curves, xlabel="step", ylabel=words, xscale="log", xlim=(2, last * 1.05), ylim=limits, xticks=ticks)
        )
    return Scene(panels, f"After {last} steps. {' '.join(said)}")
