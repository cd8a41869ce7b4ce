"""What the explorer of the chapter with the table shows: a method of the record, over training and learning rates."""

import numpy as np

from ssltheory.center_record import Table
from ssltheory.explorers import Band, Dash, Item, Line, Panel, Scene

ROWS: dict[str, str] = {
    "invariance": "invariance",
    "triplet": "triplet",
    "SimCLR": "SimCLR",
    "SimSiam": "SimSiam",
    "SimSiam, no predictor": "SimSiam, no predictor",
    "SimSiam, no stop-gradient": "SimSiam, no stop-gradient",
    "BYOL 0.99": "BYOL, α = 0.99",
    "BYOL 0.99, no predictor": "BYOL, α = 0.99, no predictor",
    "DINO": "DINO",
    "DINO, no sharpening": "DINO, no sharpening",
    "DINO, no centring": "DINO, no centring",
    "SwAV": "SwAV",
    "SwAV, fixed prototypes": "SwAV, fixed prototypes",
    "SwAV, no Sinkhorn": "SwAV, no Sinkhorn",
    "Barlow Twins, batch norm": "Barlow Twins",
    "Barlow Twins, scaled": "Barlow Twins, not centred",
    "Barlow Twins, no decorrelation, batch norm": "Barlow Twins, no decorrelation",
    "Barlow Twins, no decorrelation, scaled": "Barlow Twins, neither",
    "L_Simple 1": "L_Simple, |s|²",
}
"""Rows of the explorer, and what they are called there."""

QUANTITIES: dict[str, tuple[str, float, str]] = {
    "center": ("|s|², shared by all codes", 1.0, ".2f"),
    "within": ("v, within samples", 1.0, ".2f"),
    "rank": ("effective rank / 16", 16.0, ".2f"),
    "knn": ("accuracy, nearest neighbours", 1.0, ".2f"),
    "linear": ("accuracy, linear probe", 1.0, ".2f"),
}
"""Recorded quantities: words, what they are divided by (one axis serves all), format."""

NORMS: tuple[tuple[bool, str, Dash, str], ...] = (
    (True, "student", "solid", "with batch norm"),
    (False, "teacher", "dashed", "without"),
)
"""With and without batch norm in the hidden layers: colour, line style, words."""

STEPS: dict[float, str] = {3: "0", 10: "10", 50: "50", 200: "200"}
RATES: dict[float, str] = {0.003: "0.003", 0.03: "0.03", 0.3: "0.3"}


def table_scene(table: Table, data: str, name: str, quantity: str) -> Scene:
    """Draw one quantity of one method, with and without hidden batch norm: over training, and against the rate.

    Over training, at the rate of the best probe; at the end, at every rate. Lines are means over the seeds; the band,
    with batch norm, reaches from the least to the greatest. Raises ``ValueError`` for what is not in the record.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity: got {quantity!r}, need one of {', '.join(QUANTITIES)}")
    words, most, form = QUANTITIES[quantity]
    place = np.maximum(table.steps, 3)  # the start, on an axis without zero
    over: list[Item] = []
    against: list[Item] = []
    said = []
    for norm, color, dash, label in NORMS:
        row = table.row(name, data, norm)
        course, end = ((values[quantity] / most).round(3) for values in (row.course, row.end))
        if norm:
            over.append(Band(place, course.min(axis=1), course.max(axis=1), color=color))
        over.append(Line(place, course.mean(axis=1).round(3), color=color, dash=dash, label=label))
        against.append(Line(table.rates, end.mean(axis=1).round(3), color=color, dash=dash))
        low, high = end[row.best].min(), end[row.best].max()
        said.append(f"{label} {course[0].mean():{form}} → {course[-1].mean():{form}} ({low:{form}} to {high:{form}})")
    panels = [
        Panel(over, "step", words, (2.7, 1.1 * table.steps[-1]), (-0.02, 1.02), "log", xticks=STEPS),
        Panel(against, "learning rate η", words, (0.0025, 1.2), (-0.02, 1.02), "log", xticks=RATES),
    ]
    return Scene(panels, f"{'; '.join(said)}.".capitalize())
