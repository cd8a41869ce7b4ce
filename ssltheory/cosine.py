r"""The linear problem with the cosine loss, on given pairs: fields, and training step by step.

.. math:: F(A, B, C) = \mathbb E\Bigl[1 - \frac{\langle BAx, Cy\rangle}{|BAx|\,|Cy|}\Bigr]
          + \frac\lambda2 (|A|^2 + |B|^2)

The cosine sees neither the size of A nor that of B, so its gradient is orthogonal to both: sizes move by weight decay
alone in the flow, and by weight decay and the square of the step in the algorithm.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ssltheory import _validate
from ssltheory.iteration import schedule
from ssltheory.linear import Dynamics, check_dynamics


def _unit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / size, size


def cosine_loss(
    x: Float[np.ndarray, "*#batch N m"],
    y: Float[np.ndarray, "*#batch N m"],
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    C: Float[np.ndarray, "*batch n m"] | None = None,
) -> Float[np.ndarray, "*batch"]:
    """The mean of 1 - cos(B A x, C y) over the pairs, without weight decay; C is A if None."""
    u, v = x @ (B @ A).mT, y @ (A if C is None else C).mT
    return 1 - np.mean(np.sum(_unit(u)[0] * _unit(v)[0], axis=-1), axis=-1)


def cosine_field(
    dynamics: Dynamics,
    x: Float[np.ndarray, "*#batch N m"],
    y: Float[np.ndarray, "*#batch N m"],
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    C: Float[np.ndarray, "*batch n m"] | None = None,
    *,
    lam: float = 0.0,
    kappa: float | None = None,
) -> tuple[np.ndarray, ...]:
    """The time derivatives (A', B') or, with a teacher, (A', B', C'), averaged over the pairs; nothing is checked.

    With unit vectors p along B A x and t along C y the loss has the gradient d = (<p, t> p - t) / |B A x| in B A x:
    A' = -B^T E[d x^T] - lam A, B' = -E[d (A x)^T] - lam B, C' = ``kappa`` (A - C). ``"gradient"`` adds to A' what
    passes through the second branch. Leading axes are a batch.
    """
    teacher = A if C is None else C
    N = x.shape[-2]
    code = x @ A.mT
    (p, size), (t, far) = _unit(code @ B.mT), _unit(y @ teacher.mT)
    cosine = np.sum(p * t, axis=-1, keepdims=True)
    d = (cosine * p - t) / size
    dA = -(B.mT @ (d.mT @ x)) / N - lam * A
    dB = -(d.mT @ code) / N - lam * B
    if dynamics == "gradient":
        return dA - ((cosine * t - p) / far).mT @ y / N, dB
    if dynamics == "sg" or kappa is None:
        return dA, dB
    return dA, dB, kappa * (A - teacher)


@dataclass(frozen=True, eq=False)
class CosineRun:
    """Training under the cosine loss, recorded at ``steps`` (T,), for each of S networks.

    ``A`` (T, S, n, m) and ``B`` (T, S, n, n); ``gradient`` (T, S) is |grad_A| |A| of the loss without decay at the
    step that followed: the gradient of the direction A / |A|.
    """

    steps: Int[np.ndarray, " T"]
    A: Float[np.ndarray, "T S n m"]
    B: Float[np.ndarray, "T S n n"]
    gradient: Float[np.ndarray, "T S"]

    @property
    def size(self) -> Float[np.ndarray, "T S"]:
        """The norm of A."""
        return np.linalg.norm(self.A, axis=(-2, -1))

    @property
    def relative_rank(self) -> Float[np.ndarray, "T S"]:
        """The smallest singular value of A over the largest: zero where a direction is lost."""
        values = np.linalg.svd(self.A, compute_uv=False)
        return values[..., -1] / values[..., 0]


def train_cosine(
    x: Float[np.ndarray, "*S N m"],
    y: Float[np.ndarray, "*S N m"],
    dynamics: Dynamics,
    A: Float[np.ndarray, "S n m"],
    B: Float[np.ndarray, "S n n"],
    *,
    lam: float,
    step: Float[np.ndarray, " steps"] | float,
    steps: int,
    alpha: float | None = None,
    batch: int | None = None,
    rng: np.random.Generator | None = None,
    record_every: int = 100,
) -> CosineRun:
    """Train S networks by gradient steps (A, B) <- (A, B) + step (A', B'), C <- alpha C + (1 - alpha) A.

    Pairs are the same for all networks (N, m) or each its own (S, N, m); ``batch`` pairs are drawn with replacement
    from ``rng`` at each step, the same rows for all, or None for all pairs. Raises ``ValueError`` for bad shapes or
    values.
    """
    A = _validate.shaped("A", A, ("S", "n", "m"))
    S, n, m = A.shape
    B = _validate.shaped("B", B, (S, n, n))
    x = _validate.shaped("x", x, ("N", m), (S, "N", m))
    y = _validate.shaped("y", y, x.shape)
    lam = _validate.scalar("lam", lam, _validate.nonnegative)
    check_dynamics(dynamics, alpha=alpha)
    momentum = 0.0 if alpha is None else _validate.scalar("alpha", alpha, _validate.probability)
    steps, record_every = _validate.count("steps", steps), _validate.count("record_every", record_every)
    etas = schedule("step", _validate.positive("step", step), steps)
    if batch is not None and rng is None:
        raise ValueError(f"batch = {batch} needs rng; got None")
    A, B, C = A.copy(), B.copy(), A.copy()
    kept: list[tuple[np.ndarray, ...]] = []
    counts: list[int] = []
    xs, ys = x, y
    for k in range(steps + 1):
        if batch is not None and rng is not None:
            rows = rng.integers(x.shape[-2], size=_validate.count("batch", batch))
            xs, ys = x[..., rows, :], y[..., rows, :]
        dA, dB = cosine_field(dynamics, xs, ys, A, B, C if dynamics == "ema" else None)[:2]
        if k % record_every == 0 or k == steps:
            slope = np.linalg.norm(dA, axis=(-2, -1)) * np.linalg.norm(A, axis=(-2, -1))
            kept.append((A.copy(), B.copy(), slope))
            counts.append(k)
        if k < steps:
            A, B = A + etas[k] * (dA - lam * A), B + etas[k] * (dB - lam * B)
            C = momentum * C + (1 - momentum) * A
    return CosineRun(np.array(counts), *(np.stack(column) for column in zip(*kept, strict=True)))
