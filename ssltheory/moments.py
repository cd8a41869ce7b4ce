"""Second moments of pairs of views: all that the linear problem ever sees of the data."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ssltheory import _validate


@dataclass(frozen=True, eq=False)
class SecondMoments:
    """Uncentred second moments of a pair of views x, y in R^m.

    ``xx`` = X = E[x x^T], ``yx`` = Y = E[y x^T], ``yy`` = Z = E[y y^T], in the squared unit of the views; ``count``
    is the number of pairs they were averaged over, or None for exact moments.

    Raises ``ValueError`` unless X is symmetric positive definite, Z symmetric positive semi-definite and the joint
    matrix [[X, Y^T], [Y, Z]] positive semi-definite up to rounding.
    """

    xx: Float[np.ndarray, "m m"]
    yx: Float[np.ndarray, "m m"]
    yy: Float[np.ndarray, "m m"]
    count: int | None = None

    def __post_init__(self) -> None:
        xx = _validate.positive_definite("X", _validate.shaped("X", self.xx, ("m", "m")))
        m = xx.shape[0]
        yx = _validate.shaped("Y", self.yx, (m, m))
        yy = _validate.shaped("Z", self.yy, (m, m))
        yy = _validate.positive_semidefinite("Z", yy)
        _validate.positive_semidefinite("the joint moment [[X, Y^T], [Y, Z]]", np.block([[xx, yx.T], [yx, yy]]))
        if self.count is not None:
            _validate.count("count", self.count)
        for name, matrix in (("xx", xx), ("yx", yx), ("yy", yy)):
            matrix.flags.writeable = False
            object.__setattr__(self, name, matrix)

    @property
    def m(self) -> int:
        """The dimension of a view."""
        return self.xx.shape[0]

    @property
    def joint(self) -> Float[np.ndarray, "2m 2m"]:
        """The second moment of the stacked pair (x, y): [[X, Y^T], [Y, Z]]."""
        return np.block([[self.xx, self.yx.T], [self.yx, self.yy]])

    @property
    def symmetrised(self) -> "SecondMoments":
        """Moments of the pair taken in either order with equal chance: ((X + Z)/2, (Y + Y^T)/2, (X + Z)/2).

        A loss that is averaged over both orders, l(x, y)/2 + l(y, x)/2, sees these. Source: Chen and He (2021).
        """
        both, cross = (self.xx + self.yy) / 2, (self.yx + self.yx.T) / 2
        return SecondMoments(both, cross, both, self.count)

    def shared_directions(self, count: int) -> Float[np.ndarray, "count m"]:
        """The ``count`` directions, one a row, in which the two views of a pair have most in common.

        They are the leading eigenvectors of Y + Y^T, and fit :meth:`project`. Raises ``ValueError`` for more than m.
        """
        count = _validate.count("count", count)
        if count > self.m:
            raise ValueError(f"count must be at most m = {self.m}; got {count}")
        return np.linalg.eigh(self.yx + self.yx.T)[1][:, ::-1][:, :count].T

    def project(self, V: Float[np.ndarray, "k m"]) -> "SecondMoments":
        """Moments of the projected views V x, V y: (V X V^T, V Y V^T, V Z V^T).

        ``V`` has one direction a row; a rank-deficient one raises ``ValueError`` (V X V^T is not positive definite).
        """
        V = _validate.shaped("V", V, ("k", self.m))
        return SecondMoments(V @ self.xx @ V.T, V @ self.yx @ V.T, V @ self.yy @ V.T, self.count)

    def sample(
        self, rng: np.random.Generator, count: int
    ) -> tuple[Float[np.ndarray, "count m"], Float[np.ndarray, "count m"]]:
        """Draw ``count`` pairs of centred Gaussian views (x, y) with these second moments."""
        count = _validate.count("count", count)
        values, vectors = np.linalg.eigh(self.joint)
        root = vectors * np.sqrt(np.clip(values, 0.0, None))
        pairs = rng.standard_normal((count, 2 * self.m)) @ root.T
        return pairs[:, : self.m], pairs[:, self.m :]


def second_moments(x: Float[np.ndarray, "N m"], y: Float[np.ndarray, "N m"]) -> SecondMoments:
    """Average the second moments of N pairs of views.

    X = sum_i x_i x_i^T / N, Y = sum_i y_i x_i^T / N, Z = sum_i y_i y_i^T / N: no mean is subtracted, so that the
    linear problem on these moments is exactly the least-squares problem on the samples.

    Raises ``ValueError`` for arrays that are not finite or not of equal shape (N, m), or whose X is singular (N < m,
    or a direction in which no x varies).
    """
    x = _validate.shaped("x", x, ("N", "m"))
    y = _validate.shaped("y", y, x.shape)
    if not x.size:
        raise ValueError(f"x has shape {x.shape}; need at least one pair of at least one dimension")
    N = x.shape[0]
    return SecondMoments(x.T @ x / N, y.T @ x / N, y.T @ y / N, N)


def completed_moments(xx: Float[np.ndarray, "m m"], yx: Float[np.ndarray, "m m"], noise: float = 1.0) -> SecondMoments:
    """Moments with a given X and Y, for dynamics that do not see Z: Z = Y X^{-1} Y^T + ``noise`` I.

    The first term is the least Z that X and Y allow, the second what of y no linear function of x predicts. Raises
    ``ValueError`` for X not positive definite, Y of another shape or ``noise`` < 0.
    """
    xx, yx, _ = _validate.problem(xx, yx, 1.0)
    noise = _validate.scalar("noise", noise, _validate.nonnegative)
    explained = yx @ np.linalg.solve(xx, yx.T)
    return SecondMoments(xx, yx, (explained + explained.T) / 2 + noise * np.eye(len(xx)))


def gaussian_moments(
    signal: Float[np.ndarray, "m m"],
    noise_x: Float[np.ndarray, "m m"],
    noise_y: Float[np.ndarray, "m m"] | None = None,
) -> SecondMoments:
    """Exact moments of two noisy copies of one signal, x = s + e and y = s + e'.

    s, e, e' are independent and centred with covariances ``signal``, ``noise_x``, ``noise_y`` (the last equal to
    ``noise_x`` if None), so X = signal + noise_x, Y = signal, Z = signal + noise_y.

    Raises ``ValueError`` if a covariance is not symmetric positive semi-definite or if X is singular.
    """
    signal = _validate.positive_semidefinite("signal", _validate.shaped("signal", signal, ("m", "m")))
    noise_x = _validate.positive_semidefinite("noise_x", _validate.shaped("noise_x", noise_x, signal.shape))
    noise_y = noise_x if noise_y is None else _validate.shaped("noise_y", noise_y, signal.shape)
    noise_y = _validate.positive_semidefinite("noise_y", noise_y)
    return SecondMoments(signal + noise_x, signal, signal + noise_y)
