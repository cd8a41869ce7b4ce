"""The linear networks under optimisers other than plain gradient steps: momentum, Adam and their kin, from PyTorch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.iteration import _norm, describe_outcomes
from ssltheory.linear import Dynamics, LinearProblem, check_dynamics
from ssltheory.trajectory import Outcome, Trajectory

if TYPE_CHECKING:
    import torch


def optimize(
    problem: LinearProblem,
    dynamics: Dynamics,
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    C: Float[np.ndarray, "*batch n m"] | None = None,
    *,
    optimizer: Callable[[Sequence["torch.Tensor"]], "torch.optim.Optimizer"],
    alpha: float | None = None,
    steps: int,
    record_every: int = 1,
    norm_limit: float = 1e8,
) -> Trajectory:
    """Run the training iteration with any optimiser of PyTorch in place of the plain gradient step.

    ``optimizer`` takes the list [A, B] of tensors and returns the optimiser, for example
    ``lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)``; it is handed (P, Q) as the gradients, or the gradient of E
    for ``"gradient"``. The teacher, C = A at first if None, follows after each step as in :func:`ssltheory.iterate`.
    A batch shares one optimiser, which is the same as one each for rules that act entry by entry, as momentum and
    Adam do, and not for rules that use a norm. ``times`` in the result counts steps, ``field_norm`` is that of (P, Q).

    Runs all ``steps`` unless a state exceeds ``norm_limit``, after which the whole batch stops as diverged. Raises
    ``ValueError`` for bad shapes or values.
    """
    import torch

    C = A if dynamics == "ema" and C is None else C
    check_dynamics(dynamics, C=C, alpha=alpha)
    momentum = 0.0 if alpha is None else _validate.scalar("alpha", alpha, _validate.probability)
    steps = _validate.count("steps", steps)
    record_every = _validate.count("record_every", record_every)
    norm_limit = _validate.scalar("norm_limit", norm_limit, _validate.positive)
    state = list(problem.check_state(A, B, C))
    batch = np.broadcast_shapes(*(M.shape[:-2] for M in state))
    state = [np.array(np.broadcast_to(M, batch + M.shape[-2:])) for M in state]
    # The tensors share the arrays' memory: the optimiser's step is seen by the field at once.
    student = [torch.from_numpy(M) for M in state[:2]]
    rule = optimizer(student)

    kept: list[list[np.ndarray]] = []
    norms: list[np.ndarray] = []
    counts: list[int] = []
    lost = False
    for k in range(steps + 1):
        velocity = problem._velocity(dynamics, *state, kappa=0.0 if dynamics == "ema" else None)  # type: ignore[arg-type, misc]
        size = _norm(state)
        lost = not (size <= norm_limit).all()
        if k % record_every == 0 or k == steps or lost:
            kept.append([M.copy() for M in state])
            norms.append(_norm(velocity[:2]))
            counts.append(k)
        if k == steps or lost:
            break
        for tensor, V in zip(student, velocity[:2], strict=True):
            tensor.grad = torch.from_numpy(-V)
        rule.step()
        if len(state) == 3:
            state[2] = momentum * state[2] + (1 - momentum) * state[0]
    outcomes = np.where(size <= norm_limit, Outcome.UNFINISHED.value, Outcome.DIVERGED.value)
    outcome, reason = describe_outcomes(outcomes, np.full(batch, counts[-1]), norms[-1], None, norm_limit)
    columns = [np.stack(column) for column in zip(*kept, strict=True)]
    taken = np.array(counts)
    teacher = columns[2] if len(columns) == 3 else None
    return Trajectory(
        taken.astype(float), columns[0], columns[1], teacher, np.stack(norms), outcome, reason, outcomes, taken
    )
