"""How well a number that needs no labels orders trained networks: rank correlations over the recorded table."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.center_record import QUANTITIES, Row, Table

__all__ = ["LABEL_FREE", "agreement", "combined_agreement", "row_numbers"]

LABEL_FREE = ("center", "between", "within", "separation", "rank")
"""Numbers of a trained network that need no labels: |s|^2, E|r|^2, v, E|r|^2/(E|r|^2 + v), effective rank."""


def row_numbers(row: Row, *, tuned: bool = True) -> dict[str, Float[np.ndarray, "k S"]]:
    """All numbers of a row, for each seed: at the rate that suits the other seeds (k = 1), or at every rate.

    The separation is 0 where nothing is left about the center, and estimates below 0 count as 0 in it.
    """
    found = {q: np.atleast_2d(row.tuned(q) if tuned else row.end[q]) for q in QUANTITIES}
    found["between"] = 1 - found["center"] - found["within"]
    between, spread = np.maximum(found["between"], 0), np.maximum(found["between"], 0) + found["within"]
    found["separation"] = np.where(spread > 0, between / np.where(spread > 0, spread, 1.0), 0.0)
    return found


def _columns(table: Table, data: str, tuned: bool, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    rows = [row for (name, source, _), row in table.rows.items() if source == data and (not names or name in names)]
    if len(rows) < 3:
        raise ValueError(f"got {len(rows)} rows of {data!r}; need at least three to order")
    every = [row_numbers(row, tuned=tuned) for row in rows]
    return {key: np.concatenate([numbers[key] for numbers in every]) for key in every[0]}


def agreement(
    table: Table, data: str, number: str, *, tuned: bool = True, names: Sequence[str] | None = None
) -> Float[np.ndarray, " S"]:
    """Spearman's rank correlation, for each seed, between a number and the linear probe's accuracy over all rows.

    Args:
        table: the record.
        data: which data set.
        number: one of :data:`LABEL_FREE`, or "knn".
        tuned: each row at its own rate, or all rows at all rates.
        names: rows to take; all by default.

    Raises:
        ValueError: fewer than three rows, or another word.
    """
    return combined_agreement(table, data, [number], (), tuned=tuned, names=names)


def combined_agreement(
    table: Table,
    data: str,
    numbers: Sequence[str],
    others: Sequence[str],
    *,
    tuned: bool = True,
    names: Sequence[str] | None = None,
) -> Float[np.ndarray, " S"]:
    """Rank correlation with the accuracy, for each seed, of a weighted sum of ranks fitted on *other* data sets.

    Every number is replaced by its rank among the rows of its data set and seed, over their count; the weights are the
    least squares fit of the accuracy's ranks on all ``others`` together. Without others the sum has weights one.
    Raises ``ValueError`` as :func:`agreement`.
    """
    from scipy.stats import rankdata, spearmanr

    for number in numbers:
        _validate.one_of("number", number, (*LABEL_FREE, "knn"))

    def ranks(source: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        columns = _columns(table, source, tuned, names)
        rank = lambda v: np.apply_along_axis(rankdata, 0, v) / len(v)  # noqa: E731
        return np.stack([rank(columns[k]) for k in numbers], axis=-1), rank(columns["linear"]), columns["linear"]

    inputs, _, accuracy = ranks(data)
    weights = np.ones(len(numbers))
    if others:
        known = [ranks(source) for source in others]
        X = np.concatenate([x.reshape(-1, len(numbers)) for x, _, _ in known])
        y = np.concatenate([goal.ravel() for _, goal, _ in known])
        weights = np.linalg.lstsq(X - X.mean(axis=0), y - y.mean(), rcond=None)[0]
    score = inputs @ weights
    return np.array([spearmanr(a, b).statistic for a, b in zip(score.T, accuracy.T, strict=True)])
