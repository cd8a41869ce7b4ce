"""Logs of runs as arrays, and the picture of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

__all__ = ["Log", "draw_runs", "read_log"]


@dataclass(frozen=True)
class Log:
    """A run's log.

    Attributes:
        config: the configuration, as plain numbers and words.
        lines: what was logged, by step.
    """

    config: dict[str, Any]
    lines: dict[int, dict[str, float]]

    def series(self, name: str) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Steps at which a quantity was logged, and its values. Raises ``ValueError``, with known names, for none."""
        steps = [t for t, line in self.lines.items() if name in line]
        if not steps:
            known = sorted({k for line in self.lines.values() for k in line} - {"step"})
            raise ValueError(f"no {name!r} in the log; there are {', '.join(known)}")
        return np.array(steps), np.array([self.lines[t][name] for t in steps])

    def increment(self, part: str) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Length of a step of "encoder" or "predictor", divided by the learning rate: decay of the rate is no rest."""
        steps, values = self.series(f"increment_{part}")
        return steps, values / np.array([self.lines[int(t)]["rate"] for t in steps])


def read_log(folder: str | Path) -> Log:
    """Read the log of a run, finished or not; a last line that is cut short is passed over.

    Raises ``ValueError`` for a folder without a log, or a log that does not begin with a configuration.
    """
    path = Path(folder) / "metrics.jsonl"
    if not path.is_file():
        raise ValueError(f"{folder} holds no run: there is no metrics.jsonl")
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    if not entries or "config" not in entries[0]:
        raise ValueError(f"{path} does not begin with a configuration")
    return Log(entries[0]["config"], {e["step"]: e for e in entries[1:] if "step" in e})


def draw_runs(folders: "Sequence[str | Path]") -> "Figure":
    """Draw loss E, loss F, increments and deviation of the features of runs, one colour for each kind of teacher."""
    import matplotlib.pyplot as plt

    from ssltheory.figures import COLORS

    logs = [read_log(f) for f in folders]
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    colours = {"ema": COLORS["ema"], "sg": COLORS["sg"], "joint": COLORS["gradient"]}
    for log in logs:
        style = {
            "color": colours[log.config["teacher"]],
            "label": f"{log.config['teacher']}, seed {log.config['seed']}",
        }
        axes[0, 0].plot(*log.series("E"), **style)
        axes[0, 1].plot(*log.series("F"), **style)
        axes[1, 0].plot(*log.increment("encoder"), **style)
        axes[1, 1].plot(*log.series("deviation_student"), **style)
    names = (
        "loss E, teacher = student",
        "loss F, teacher in use",
        "increment / learning rate",
        "deviation of features",
    )
    for axis, name in zip(axes.flat, names, strict=True):
        axis.set(xlabel="step", ylabel=name, yscale="log")
    axes[0, 0].legend()
    return figure
