"""The linear problem: encoder A, predictor B and teacher C on the second moments of pairs of views."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.moments import SecondMoments

Dynamics = Literal["gradient", "sg", "ema"]
"""``"gradient"``: the flow of E itself; ``"sg"``: stop-gradient; ``"ema"``: moving-average teacher."""


def _dot(M: np.ndarray, N: np.ndarray) -> np.ndarray:
    return np.einsum("...ij,...ij->...", M, N)


class CollapseRates(NamedTuple):
    """Rates, in inverse units of time, at which the gradient flow of E takes the encoder to zero.

    ``guaranteed``: |A(t)| <= exp(-guaranteed t) |A(0)| from every start. ``final``: the rate of decay in the end, for
    positive weight decay and almost every start.
    """

    guaranteed: float
    final: float


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """The non-contrastive problem with encoder f(x) = A x and predictor g(z) = B z.

    ``moments`` holds X, Y, Z (m, m); ``lam`` >= 0 is the weight decay; ``n`` >= m is the width of the code. States
    are A (..., n, m), B (..., n, n) and the teacher C (..., n, m); leading axes are a batch and are broadcast.
    Raises ``ValueError`` for a negative ``lam`` or n < m. Source: Ponce et al. (arXiv 2507.01028), section 4.
    """

    moments: SecondMoments
    lam: float
    n: int

    def __post_init__(self) -> None:
        if not isinstance(self.moments, SecondMoments):
            raise ValueError(f"moments must be SecondMoments; got {type(self.moments).__name__}")
        object.__setattr__(self, "lam", _validate.scalar("lam", self.lam, _validate.nonnegative))
        n = _validate.count("n", self.n)
        if n < self.m:
            raise ValueError(f"n must be at least m = {self.m}; got {n}")
        object.__setattr__(self, "n", n)

    @property
    def m(self) -> int:
        """The dimension of a view."""
        return self.moments.m

    @property
    def X(self) -> Float[np.ndarray, "m m"]:
        """E[x x^T]."""
        return self.moments.xx

    @property
    def Y(self) -> Float[np.ndarray, "m m"]:
        """E[y x^T]."""
        return self.moments.yx

    @property
    def Z(self) -> Float[np.ndarray, "m m"]:
        """E[y y^T]."""
        return self.moments.yy

    def check_state(self, A: np.ndarray, B: np.ndarray, C: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """Return (A, B) or (A, B, C) as float64 arrays; ``ValueError`` unless finite, of the right shapes."""
        n, m = self.n, self.m
        state = [_validate.shaped("A", A, (n, m), batched=True), _validate.shaped("B", B, (n, n), batched=True)]
        if C is not None:
            state.append(_validate.shaped("C", C, (n, m), batched=True))
        try:
            np.broadcast_shapes(*(M.shape[:-2] for M in state))
        except ValueError:
            raise ValueError(f"the batch axes of {', '.join(str(M.shape) for M in state)} do not broadcast") from None
        return tuple(state)

    def loss(
        self, A: Float[np.ndarray, "*batch n m"], B: Float[np.ndarray, "*batch n n"]
    ) -> Float[np.ndarray, "*batch"]:
        """The joint objective E(A, B) = 1/2 E|B A x - A y|^2 + lam/2 (|A|^2 + |B|^2)."""
        return self.teacher_loss(A, B, A)

    def teacher_loss(
        self,
        A: Float[np.ndarray, "*batch n m"],
        B: Float[np.ndarray, "*batch n n"],
        C: Float[np.ndarray, "*batch n m"],
    ) -> Float[np.ndarray, "*batch"]:
        """The objective with a separate teacher, F(A, B, C) = 1/2 E|B A x - C y|^2 + lam/2 (|A|^2 + |B|^2)."""
        A, B, C = self.check_state(A, B, C)
        U = B @ A
        square = _dot(U @ self.X, U) - 2 * _dot(U @ self.Y.T, C) + _dot(C @ self.Z, C)
        return square / 2 + self.lam / 2 * (_dot(A, A) + _dot(B, B))

    def residual(
        self,
        A: Float[np.ndarray, "*batch n m"],
        B: Float[np.ndarray, "*batch n n"],
        C: Float[np.ndarray, "*batch n m"],
    ) -> Float[np.ndarray, "*batch n m"]:
        """The residual against the input, R(A, B, C) = E[(B A x - C y) x^T] = B A X - C Y."""
        A, B, C = self.check_state(A, B, C)
        return B @ A @ self.X - C @ self.Y

    def loss_gradient(
        self, A: Float[np.ndarray, "*batch n m"], B: Float[np.ndarray, "*batch n n"]
    ) -> tuple[Float[np.ndarray, "*batch n m"], Float[np.ndarray, "*batch n n"]]:
        """The gradient of E, through both branches.

        With R = B A X - A Y: grad_A E = B^T R - (B A Y^T - A Z) + lam A, grad_B E = R A^T + lam B. The bracket is what
        stop-gradient leaves out.
        """
        A, B = self.check_state(A, B)
        dA, dB = self._velocity("gradient", A, B)
        return -dA, -dB

    def imbalance(
        self, A: Float[np.ndarray, "*batch n m"], B: Float[np.ndarray, "*batch n n"]
    ) -> Float[np.ndarray, "*batch n n"]:
        """The imbalance of encoder and predictor, D = A A^T - B^T B.

        In the flows of SG and EMA, D' = -2 lam D whatever the teacher does. Source: Ponce et al., Lemma 4.2.
        """
        A, B = self.check_state(A, B)
        return A @ A.mT - B.mT @ B

    def imbalance_after_step(
        self,
        step: float,
        A: Float[np.ndarray, "*batch n m"],
        B: Float[np.ndarray, "*batch n n"],
        C: Float[np.ndarray, "*batch n m"] | None = None,
    ) -> Float[np.ndarray, "*batch n n"]:
        """The imbalance after one step of size ``step`` > 0 of SG (C None) or EMA, without taking the step.

        D+ = (1 - step lam)^2 D + step^2 (P0 P0^T - Q0^T Q0), with the data's parts P0 = B^T R and Q0 = R A^T of the
        fields at the teacher C. An identity, for every step. Raises ``ValueError`` for ``step`` <= 0 or bad shapes.
        """
        step = _validate.scalar("step", step, _validate.positive)
        R = self.residual(A, B, A if C is None else C)
        P0, Q0 = B.mT @ R, R @ A.mT
        return (1 - step * self.lam) ** 2 * self.imbalance(A, B) + step**2 * (P0 @ P0.mT - Q0.mT @ Q0)

    def size_bound(
        self,
        A: Float[np.ndarray, "*batch n m"],
        B: Float[np.ndarray, "*batch n n"],
        C: Float[np.ndarray, "*batch n m"] | None = None,
    ) -> Float[np.ndarray, "*batch"]:
        """A bound on |A|^2 that the flow of SG or EMA never exceeds from this start (C None: C = A).

        max(|A|^2, |C|^2, m (|D| + |Y|^2 / lam_min(X)^2)), with spectral norms of D = A A^T - B^T B and of Y: valid for
        every lam >= 0 and every path of the teacher's rate.
        """
        A, B, C = self.check_state(A, B, A if C is None else C)
        ratio = np.linalg.norm(self.Y, 2) / np.linalg.eigvalsh(self.X)[0]
        attracting = self.m * (np.linalg.norm(self.imbalance(A, B), 2, axis=(-2, -1)) + ratio**2)
        return np.maximum(np.maximum(_dot(A, A), _dot(C, C)), attracting)

    @property
    def collapse_rates(self) -> CollapseRates:
        """How fast the gradient flow of E collapses.

        ``guaranteed`` = lam + lam_min(Z - Y X^{-1} Y^T), the decay plus what no linear prediction of y from x explains;
        ``final`` = lam + lam_min(Z). The first is never larger.
        """
        unexplained = self.Z - self.Y @ np.linalg.solve(self.X, self.Y.T)
        least = max(float(np.linalg.eigvalsh((unexplained + unexplained.T) / 2)[0]), 0.0)
        return CollapseRates(self.lam + least, self.lam + float(np.linalg.eigvalsh(self.Z)[0]))

    def field(
        self,
        dynamics: Dynamics,
        A: Float[np.ndarray, "*batch n m"],
        B: Float[np.ndarray, "*batch n n"],
        C: Float[np.ndarray, "*batch n m"] | None = None,
        kappa: float | None = None,
    ) -> tuple[np.ndarray, ...]:
        """The time derivatives (A', B') or, with a teacher, (A', B', C') of the continuous dynamics.

        With P = B^T R + lam A and Q = R A^T + lam B: ``"gradient"`` is minus the gradient of E; ``"sg"`` is
        A' = -P, B' = -Q at C = A; ``"ema"`` is the same at the teacher C, with C' = kappa (A - C), ``kappa`` >= 0 in
        inverse units of time (0: a frozen teacher). Raises ``ValueError`` where C or ``kappa`` is missing or unused.
        """
        check_dynamics(dynamics, C=C, kappa=kappa)
        kappa = None if kappa is None else _validate.scalar("kappa", kappa, _validate.nonnegative)
        A, B, *teacher = self.check_state(A, B, C)
        return self._velocity(dynamics, A, B, teacher[0] if teacher else None, kappa)

    def _velocity(
        self, dynamics: Dynamics, A: np.ndarray, B: np.ndarray, C: np.ndarray | None = None, kappa: float | None = None
    ) -> tuple[np.ndarray, ...]:
        # Called at every step of the integrators: the state is already checked.
        return velocity(dynamics, self.X, self.Y, self.Z, self.lam, A, B, C, kappa)


def velocity(
    dynamics: Dynamics,
    X: Float[np.ndarray, "*#batch m m"],
    Y: Float[np.ndarray, "*#batch m m"],
    Z: Float[np.ndarray, "*#batch m m"],
    lam: float,
    A: Float[np.ndarray, "*batch n m"],
    B: Float[np.ndarray, "*batch n n"],
    C: Float[np.ndarray, "*batch n m"] | None = None,
    kappa: float | None = None,
) -> tuple[np.ndarray, ...]:
    """The field of :meth:`LinearProblem.field` on given moments, which may differ along the batch; nothing is checked.

    ``Z`` is read by ``"gradient"`` alone.
    """
    teacher = A if C is None else C
    R = B @ A @ X - teacher @ Y
    dA = -(B.mT @ R) - lam * A
    dB = -(R @ A.mT) - lam * B
    if dynamics == "gradient":
        return dA + B @ A @ Y.mT - A @ Z, dB
    if dynamics == "sg":
        return dA, dB
    return dA, dB, cast(float, kappa) * (A - teacher)


def check_dynamics(dynamics: str, **teacher: object) -> None:
    """Raise ``ValueError`` unless ``dynamics`` is known and what a teacher needs is there for ``"ema"`` alone."""
    _validate.one_of("dynamics", dynamics, get_args(Dynamics))
    for name, value in teacher.items():
        if dynamics == "ema" and value is None:
            raise ValueError(f"dynamics 'ema' needs {name}; got None")
        if dynamics != "ema" and value is not None:
            raise ValueError(f"dynamics {dynamics!r} has no separate teacher; {name} must be None")
