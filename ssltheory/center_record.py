"""The recorded table of Part IV read back: every method on every data set, at its own learning rate.

The record is made by ``python -m ssltheory.center_training table``; reading it needs no torch. A model that diverged
counts as a center of length one, no rank and a guess of no class; nothing is dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ssltheory.isoloss_record import own_rate

__all__ = ["DIGITS", "QUANTITIES", "Row", "Table", "read_table"]

DIGITS = {"center": 4, "within": 4, "rank": 2, "knn": 3, "linear": 3}
"""What is recorded of every row, and with how many decimals."""

QUANTITIES = tuple(DIGITS)
_LOST = {"center": 1.0, "within": 0.0, "rank": 0.0, "knn": 0.0, "linear": 0.0}


@dataclass(frozen=True)
class Row:
    """One method on one data set, for R learning rates and S seeds.

    Attributes:
        name, data, norm: which row, which data, and whether hidden layers have batch norm.
        end: for each of :data:`QUANTITIES`, (R, S) at the end: |s|^2, v, effective rank, accuracy of the five nearest
            neighbours, and of a linear probe.
        course: the same, (T, S) at the recorded steps, at the rate whose mean accuracy of the probe is best.
        best: the number of that rate.
        diverged: (R, S) which models did.
    """

    name: str
    data: str
    norm: bool
    end: Mapping[str, Float[np.ndarray, "R S"]]
    course: Mapping[str, Float[np.ndarray, "T S"]]
    best: int
    diverged: np.ndarray

    def tuned(self, quantity: str) -> Float[np.ndarray, " S"]:
        """A quantity at the end, for each seed at the rate that suits the *other* seeds' linear probe best.

        No seed takes part in the choice of the rate at which it is judged. ``"between"`` is 1 - |s|^2 - v, and
        ``"length"`` is |s|, 0 where the estimate of its square is negative. Raises ``ValueError`` for another word.
        """
        if quantity == "between":
            return 1 - self.tuned("center") - self.tuned("within")
        if quantity == "length":
            return np.sqrt(np.maximum(self.tuned("center"), 0.0))
        if quantity not in self.end:
            raise ValueError(f"quantity: got {quantity!r}, need one of between, length, {', '.join(self.end)}")
        chosen = own_rate(self.end["linear"])
        return self.end[quantity][chosen, np.arange(len(chosen))]


@dataclass(frozen=True)
class Table:
    """The whole record.

    Attributes:
        rates, seeds, steps: (R,) learning rates, (S,) seeds, (T,) recorded steps.
        rows: by name, data set, and whether hidden layers have batch norm; in the order of the record.
        raw: for each data set "knn" and "linear" of the views themselves, a number for each seed of the data.
    """

    rates: Float[np.ndarray, " R"]
    seeds: tuple[int, ...]
    steps: Int[np.ndarray, " T"]
    rows: Mapping[tuple[str, str, bool], Row]
    raw: Mapping[str, Mapping[str, Float[np.ndarray, " s"]]]

    @property
    def names(self) -> list[str]:
        """Names of the methods, in the order of the record."""
        return list(dict.fromkeys(name for name, _, _ in self.rows))

    @property
    def data(self) -> list[str]:
        """Names of the data sets."""
        return list(dict.fromkeys(data for _, data, _ in self.rows))

    def row(self, name: str, data: str, norm: bool = True) -> Row:
        """One row. Raises ``ValueError``, with what is known, for one that is not there."""
        if (name, data, norm) not in self.rows:
            known = self.names if name not in self.names else self.data
            raise ValueError(f"no row {name!r} on {data!r} with norm {norm}; there are {', '.join(known)}")
        return self.rows[name, data, norm]


def read_table(data: Mapping[str, Any]) -> Table:
    """Read a record's data back. Raises ``ValueError`` for data that are not those of a table, or a row twice."""
    if not isinstance(data, Mapping) or {"rates", "seeds", "steps", "raw", "runs"} - data.keys():
        raise ValueError("data: need the keys 'rates', 'seeds', 'steps', 'raw' and 'runs' of a recorded table")
    rows: dict[tuple[str, str, bool], Row] = {}
    for entry in data["runs"]:
        key = (entry["row"], entry["data"], entry["norm"])
        if key in rows:
            raise ValueError(f"data: two rows are {key}")
        diverged = np.isnan(_numbers(entry["end"]["center"]))
        end, course = (
            {name: np.nan_to_num(_numbers(entry[part][name]), nan=_LOST[name]) for name in QUANTITIES}
            for part in ("end", "course")
        )
        rows[key] = Row(*key, end, course, entry["best"], diverged)
    raw = {name: {k: _numbers([v])[0] for k, v in values.items()} for name, values in data["raw"].items()}
    return Table(np.array(data["rates"]), tuple(data["seeds"]), np.array(data["steps"]), rows, raw)


def _numbers(rows: list[str]) -> Float[np.ndarray, "r k"]:
    return np.array([row.split() for row in rows], dtype=float)
