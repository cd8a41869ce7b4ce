r"""What a gradient step on frames follows if Gram and Schmidt restore the frame and nothing was projected before.

For n = 1 and a diagonal Gamma the shares y_j = q_j^2 of the unit sphere obey

    y_j' = 4 y_j (B y)_j,        B_jk = 2 g_j - g_k for j < k,   B_kj = -B_jk,        g = -gamma,

the replicator equation of a game of two players in which one's gain is the other's loss: coordinate j against k. A loss
that falls, as in a descent, is absent; what such games have, cycles and a conserved product, is there. Ours.
"""

import numpy as np
from jaxtyping import Float

from ssltheory import _validate

__all__ = ["game_order", "game_payoffs", "game_rest", "rest_angle"]


def game_payoffs(gamma: Float[np.ndarray, " m"]) -> Float[np.ndarray, "m m"]:
    """The antisymmetric matrix B of the game: B_jk = gamma_k - 2 gamma_j for j before k.

    The order is that of the coordinates. On the sphere near the axis k the coordinate j grows at the rate 2 B_jk, so k
    attracts if all others in its column are negative. Raises ``ValueError`` unless ``gamma`` is a vector.
    """
    gamma = _validate.shaped("gamma", gamma, ("m",))
    upper = np.triu(gamma[None, :] - 2 * gamma[:, None], 1)
    return upper - upper.T


def game_order(gamma: Float[np.ndarray, " m"]) -> tuple[int, ...] | None:
    """The coordinates (counted from 0) so that each beats all that follow it; None if there is no such order.

    There is none if three coordinates beat one another in a circle, or if two are equally strong, gamma_k = 2 gamma_j
    for j before k. Raises ``ValueError`` unless ``gamma`` is a vector.
    """
    B = game_payoffs(gamma)
    wins = (B > 0).sum(axis=1)
    order = np.argsort(-wins, kind="stable")
    return tuple(int(j) for j in order) if sorted(wins) == list(range(len(B))) else None


def game_rest(gamma: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"] | None:
    """The mixed rest point y of three coordinates, B y = 0 with all y_j > 0; None unless each beats one other.

    There is one exactly if the three beat one another in a circle. Then sum_j y_j log q_j^2 is conserved on the sphere,
    every orbit is closed, and y is the mean of the shares over a period. Raises ``ValueError`` for another length.
    """
    B = game_payoffs(_validate.shaped("gamma", gamma, (3,)))
    y = np.array([B[1, 2], B[2, 0], B[0, 1]])
    return y / y.sum() if (y > 0).all() or (y < 0).all() else None


def rest_angle(gamma: Float[np.ndarray, "2 2"]) -> float:
    r"""Where the flow rests for m = 2, n = 1 and any Gamma: q = (cos theta, sin theta), theta in [0, pi), attracting.

    .. math:: \theta' = (2\gamma_{11} - \gamma_{22}) \sin 2\theta - 3 \gamma_{12} \cos 2\theta + \gamma_{12}

    It is an eigenvector only if gamma_12 = 0. Raises ``ValueError`` unless Gamma is symmetric and not of the form that
    leaves every angle at rest.
    """
    gamma = _validate.symmetric("gamma", _validate.shaped("gamma", gamma, (2, 2)))
    a, b = 2 * gamma[0, 0] - gamma[1, 1], gamma[0, 1]
    size = float(np.hypot(a, 3 * b))
    if size == 0:
        raise ValueError("gamma leaves every angle at rest: 2 gamma_11 = gamma_22 and gamma_12 = 0")
    # theta' = size sin(2 theta - shift) + b; the falling zero is the one that attracts.
    shift = np.arctan2(3 * b, a)
    return float(((np.pi + np.arcsin(b / size) + shift) / 2) % np.pi)
