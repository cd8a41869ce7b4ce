"""What a run returns: its states in the order of time, and why it ended."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Int


class Outcome(StrEnum):
    """Why a trajectory ended."""

    CONVERGED = "converged"
    DIVERGED = "diverged"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, eq=False)
class Trajectory:
    """States along a flow or an iteration, in the order of time, and why it ended.

    ``times`` (T,) in the units of the flow (for an iteration the sum of the steps taken, whose count is ``steps``);
    ``A`` (T, ..., n, m), ``B`` (T, ..., n, n), ``C`` (T, ..., n, m) or None without a teacher; ``field_norm``
    (T, ...) is the norm of the vector field there. ``outcomes`` has the batch's shape; ``outcome`` is the worst of
    them (one diverged: diverged; else one unfinished: unfinished) and ``reason`` says it in a sentence. A member of a
    batch that has ended stays at its last state; one that diverged stays at the last state within the limit.
    """

    times: Float[np.ndarray, " T"]
    A: Float[np.ndarray, "T *batch n m"]
    B: Float[np.ndarray, "T *batch n n"]
    C: Float[np.ndarray, "T *batch n m"] | None
    field_norm: Float[np.ndarray, "T *batch"]
    outcome: Outcome
    reason: str
    outcomes: np.ndarray
    steps: Int[np.ndarray, " T"] | None = None

    @property
    def final(self) -> tuple[np.ndarray, ...]:
        """The last state, (A, B) or (A, B, C)."""
        return tuple(M[-1] for M in (self.A, self.B, self.C) if M is not None)
