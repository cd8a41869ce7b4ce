r"""Random features in place of the views: a fixed nonlinear map first, then the linear problem on what it gives.

.. math:: f(x) = A\, \varphi(x), \qquad \varphi_j(x) = \sqrt{2/k}\, \cos(w_j^\top x + b_j) \quad\text{or}\quad
          \varphi_j(x) = \sqrt{2/k}\, \max(w_j^\top x, 0)

The network is nonlinear in x and linear in what is trained, so the theory of linear encoders applies to it word for
word, with the second moments of the features in place of those of the views.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.moments import SecondMoments, second_moments

Kind = Literal["fourier", "relu"]


@dataclass(frozen=True, eq=False)
class RandomFeatures:
    """A fixed random map from views of dimension m to k features; call it on views (..., m) to get (..., k).

    ``weights`` (k, m) are the w_j, ``phases`` (k,) the b_j (zero for ``"relu"``), ``mean`` (k,) is subtracted.
    Inner products of Fourier features (without ``mean``) tend to exp(-|x - x'|^2 / (2 length^2)) as k grows.

    Sources: Rahimi and Recht (2007) for ``"fourier"``, Cho and Saul (2009) for ``"relu"``.
    """

    kind: Kind
    weights: Float[np.ndarray, "k m"]
    phases: Float[np.ndarray, " k"]
    mean: Float[np.ndarray, " k"]

    def __post_init__(self) -> None:
        _validate.one_of("kind", self.kind, get_args(Kind))
        weights = _validate.shaped("weights", self.weights, ("k", "m"))
        for name in ("phases", "mean"):
            object.__setattr__(self, name, _validate.shaped(name, getattr(self, name), (len(weights),)))
        object.__setattr__(self, "weights", weights)

    @property
    def count(self) -> int:
        """The number k of features, the m of the linear problem on them."""
        return len(self.weights)

    def __call__(self, views: Float[np.ndarray, "*batch m"]) -> Float[np.ndarray, "*batch k"]:
        """Return the features of views; ``ValueError`` for views of another dimension."""
        views = _validate.shaped("views", views, (self.weights.shape[1],), batched=True)
        z = views @ self.weights.T + self.phases
        out = np.cos(z) if self.kind == "fourier" else np.maximum(z, 0.0)
        return np.sqrt(2 / self.count) * out - self.mean

    def centred(self, x: Float[np.ndarray, "N m"], y: Float[np.ndarray, "N m"]) -> "RandomFeatures":
        """Return the map that also subtracts the features' mean over all 2 N views."""
        mean = self.mean + (self(x).mean(axis=0) + self(y).mean(axis=0)) / 2
        return RandomFeatures(self.kind, self.weights, self.phases, mean)

    def first(self, count: int) -> "RandomFeatures":
        """Return the map to the first ``count`` features, rescaled to its own number (and its mean with it)."""
        count = _validate.count("count", count)
        if count > self.count:
            raise ValueError(f"count must be at most {self.count}; got {count}")
        scale = np.sqrt(self.count / count)
        return RandomFeatures(self.kind, self.weights[:count], self.phases[:count], scale * self.mean[:count])

    def moments(self, x: Float[np.ndarray, "N m"], y: Float[np.ndarray, "N m"]) -> SecondMoments:
        """Second moments of the features of N pairs: the X, Y, Z of the linear problem on them, each (k, k)."""
        return second_moments(self(x), self(y))


def draw_features(
    rng: np.random.Generator, m: int, count: int, *, kind: Kind = "fourier", length: float = 1.0
) -> RandomFeatures:
    """Draw ``count`` features of views of dimension ``m``.

    The entries of w_j are normal with variance 1 / ``length``^2; for ``"fourier"`` b_j is uniform on [0, 2 pi).
    ``length`` > 0 is in the unit of the views: the distance over which Fourier features change. Raises ``ValueError``
    for counts below 1, an unknown kind or ``length`` <= 0.
    """
    m, count = _validate.count("m", m), _validate.count("count", count)
    length = _validate.scalar("length", length, _validate.positive)
    _validate.one_of("kind", kind, get_args(Kind))
    weights = rng.standard_normal((count, m)) / length
    phases = rng.uniform(0.0, 2 * np.pi, count) if kind == "fourier" else np.zeros(count)
    return RandomFeatures(kind, weights, phases, np.zeros(count))
