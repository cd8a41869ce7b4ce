r"""Encoders and predictors of one or two layers as functions of one flat vector, and their mean fields.

.. math:: f(x) = W_2\, \frac{\phi(s\, W_1 x)}{s}, \qquad g(z) = B z \quad\text{or}\quad
          g(z) = V_2\, \frac{\phi(s\, V_1 z)}{s}

With :math:`\phi(0) = 0` and :math:`\phi'(0) = 1` the network at ``scale`` s = 0 is the linear one, and s turns the
nonlinearity up. The mean over given pairs is the expectation: data are arrays x, y (N, m). Vectors of parameters go in
and come out as float64 arrays; PyTorch differentiates in between.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ssltheory import _validate
from ssltheory.linear import Dynamics, check_dynamics

__all__ = [
    "Activation",
    "Loss",
    "TwoLayer",
    "field_jacobian",
    "joint_loss",
    "mean_field",
    "teacher_loss",
]

Activation = Literal["radial", "tanh", "swish", "relu"]
"""``"swish"`` is 2 z sigmoid(z), which is z + z^2/2 near zero and 2 relu(z) far away; ``"radial"`` is
z / (1 + \\|z\\|^2)^{1/2} of the whole vector z, which commutes with rotations as the others do not."""
Loss = Literal["squared", "cosine"]
"""``"squared"``: \\|u - v\\|^2 / 2; ``"cosine"``: 1 - <u, v> / (\\|u\\| \\|v\\|)."""

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "radial": lambda z: z * (1 + z.square().sum(dim=-1, keepdim=True)).rsqrt(),
    "tanh": torch.tanh,
    "swish": lambda z: 2 * z * torch.sigmoid(z),
    "relu": torch.relu,
}


@dataclass(frozen=True)
class TwoLayer:
    """Shapes of an encoder from R^m to R^n and a predictor from R^n to R^n, and how parameters lie in a flat vector.

    The vector is (theta, psi), with a teacher (theta, psi, xi); each network is its first weight, its first bias, its
    second weight, its second bias, those that it has, each in row-major order.

    Args:
        m: dimension of a view.
        n: dimension of a code.
        hidden: width of the encoder's hidden layer; None for the linear encoder A x.
        predictor_hidden: width of the predictor's hidden layer; None for the linear predictor B z.
        activation: between the two layers.
        scale: s >= 0 in the head of this module; 0 replaces the activation by the identity (not for ``"relu"``, which
            s > 0 leaves as it is).
        bias: whether layers add one.

    Raises:
        ValueError: a width below 1, an unknown activation, a negative scale, or ``"relu"`` at scale 0.
    """

    m: int
    n: int
    hidden: int | None = None
    predictor_hidden: int | None = None
    activation: Activation = "tanh"
    scale: float = 1.0
    bias: bool = False

    def __post_init__(self) -> None:
        for name in ("m", "n"):
            _validate.count(name, getattr(self, name))
        for name in ("hidden", "predictor_hidden"):
            if getattr(self, name) is not None:
                _validate.count(name, getattr(self, name))
        _validate.one_of("activation", self.activation, get_args(Activation))
        _validate.scalar("scale", self.scale, _validate.nonnegative)
        if self.activation == "relu" and self.scale == 0:
            raise ValueError("scale must be greater than 0 for 'relu', which has no linear part at zero; got 0")

    def _shapes(self, inputs: int, hidden: int | None) -> list[tuple[int, ...]]:
        widths = [inputs, self.n] if hidden is None else [inputs, hidden, self.n]
        shapes: list[tuple[int, ...]] = []
        for a, b in pairwise(widths):
            shapes += [(b, a), (b,)] if self.bias else [(b, a)]
        return shapes

    @property
    def encoder_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the encoder's arrays, in the order in which they lie in the vector."""
        return self._shapes(self.m, self.hidden)

    @property
    def predictor_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the predictor's arrays."""
        return self._shapes(self.n, self.predictor_hidden)

    @property
    def encoder_size(self) -> int:
        """Number of parameters of the encoder, and of a teacher."""
        return sum(int(np.prod(s)) for s in self.encoder_shapes)

    @property
    def size(self) -> int:
        """Number of parameters of encoder and predictor."""
        return self.encoder_size + sum(int(np.prod(s)) for s in self.predictor_shapes)

    def initial(self, rng: np.random.Generator, scale: float = 1.0) -> Float[np.ndarray, " d"]:
        """Draw (theta, psi): weights normal with variance ``scale**2`` / inputs, biases zero."""
        parts = []
        for shape in self.encoder_shapes + self.predictor_shapes:
            if len(shape) == 2:
                parts.append(scale * rng.standard_normal(shape).ravel() / shape[1] ** 0.5)
            else:
                parts.append(np.zeros(shape))
        return np.concatenate(parts)

    def arrays(self, parameters: Float[np.ndarray, " d"]) -> list[np.ndarray]:
        """Split a vector (theta, psi) or (theta, psi, xi) into its arrays."""
        vector = _vector(self, parameters)
        shapes = self.encoder_shapes + self.predictor_shapes
        if len(vector) > self.size:
            shapes = shapes + self.encoder_shapes
        ends = np.cumsum([int(np.prod(s)) for s in shapes])
        return [part.reshape(s) for part, s in zip(np.split(vector, ends[:-1]), shapes, strict=True)]

    def encode(self, parameters: Float[np.ndarray, " d"], x: Float[np.ndarray, "N m"]) -> Float[np.ndarray, "N n"]:
        """Return the codes f(x)."""
        vector, views = _vector(self, parameters), _validate.shaped("x", x, ("N", self.m))
        return self._encoder(_tensor(vector[: self.encoder_size]), _tensor(views)).numpy()

    def predict(self, parameters: Float[np.ndarray, " d"], x: Float[np.ndarray, "N m"]) -> Float[np.ndarray, "N n"]:
        """Return the predictions g(f(x))."""
        vector = _vector(self, parameters)
        codes = _tensor(self.encode(vector, x))
        return self._predictor(_tensor(vector[self.encoder_size : self.size]), codes).numpy()

    def _encoder(self, theta: Tensor, x: Tensor) -> Tensor:
        return self._network(theta, x, self.encoder_shapes)

    def _predictor(self, psi: Tensor, z: Tensor) -> Tensor:
        return self._network(psi, z, self.predictor_shapes)

    def _network(self, vector: Tensor, z: Tensor, shapes: list[tuple[int, ...]]) -> Tensor:
        act, s, at = _ACTIVATIONS[self.activation], self.scale, 0
        per_layer = 2 if self.bias else 1
        for k, shape in enumerate(shapes):
            size = int(np.prod(shape))
            part, at = vector[at : at + size].reshape(shape), at + size
            if len(shape) == 1:
                z = z + part
                continue
            if k == per_layer and s > 0:
                z = act(s * z) / s
            z = z @ part.mT
        return z


def teacher_loss(
    net: TwoLayer,
    parameters: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    *,
    lam: float,
    loss: Loss = "squared",
) -> float:
    """Return F(theta, psi, xi) = mean loss(g(f_theta(x)), f_xi(y)) + lam/2 (|theta|^2 + |psi|^2).

    ``parameters`` is (theta, psi, xi); without xi it is E, the loss with xi = theta. Source: Ponce et al., section 2.
    """
    vector, views = _checked(net, parameters, x, y, lam, loss)
    parts = _split(net, vector)
    return float(_objective(net, parts[0], parts[1], parts[-1] if len(parts) == 3 else parts[0], *views, lam, loss))


def joint_loss(
    net: TwoLayer,
    parameters: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    *,
    lam: float,
    loss: Loss = "squared",
) -> float:
    """Return E(theta, psi) = F(theta, psi, theta); a teacher in ``parameters`` is ignored."""
    return teacher_loss(net, _vector(net, parameters)[: net.size], x, y, lam=lam, loss=loss)


def mean_field(
    net: TwoLayer,
    parameters: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    *,
    lam: float,
    loss: Loss = "squared",
    dynamics: Dynamics = "sg",
    kappa: float | None = None,
) -> Float[np.ndarray, " d"]:
    """Return the time derivative of the parameters, averaged over the pairs.

    ``"gradient"``: minus the gradient of E. ``"sg"``: (theta', psi') = -(grad_theta F, grad_psi F) at xi = theta.
    ``"ema"``: the same at the teacher xi, with xi' = ``kappa`` (theta - xi); then ``parameters`` is (theta, psi, xi).

    Raises:
        ValueError: a vector of the wrong length, views not (N, m), or a teacher or ``kappa`` missing or unused.
    """
    vector, views = _checked(net, parameters, x, y, lam, loss)
    kappa = _check_teacher(net, vector, dynamics, kappa)
    return _field(net, vector, *views, lam, loss, dynamics, kappa).numpy()


def field_jacobian(
    net: TwoLayer,
    parameters: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "N m"],
    y: Float[np.ndarray, "N m"],
    *,
    lam: float,
    loss: Loss = "squared",
    dynamics: Dynamics = "sg",
    kappa: float | None = None,
) -> Float[np.ndarray, "d d"]:
    """Return the Jacobian of :func:`mean_field`, exact up to rounding, by automatic differentiation.

    The teacher's motion is in it: with ``"sg"`` the field is differentiated in theta through xi = theta too.
    """
    vector, views = _checked(net, parameters, x, y, lam, loss)
    kappa = _check_teacher(net, vector, dynamics, kappa)
    return torch.func.jacfwd(lambda p: _field(net, p, *views, lam, loss, dynamics, kappa))(vector).numpy()


def _split(net: TwoLayer, vector: Tensor) -> list[Tensor]:
    k, d = net.encoder_size, net.size
    parts = [vector[:k], vector[k:d]]
    return [*parts, vector[d:]] if len(vector) > d else parts


def _distance(u: Tensor, v: Tensor, loss: str) -> Tensor:
    if loss == "squared":
        return (u - v).square().sum(dim=-1) / 2
    return 1 - (u * v).sum(dim=-1) / (u.square().sum(dim=-1) * v.square().sum(dim=-1)).sqrt()


def _objective(
    net: TwoLayer, theta: Tensor, psi: Tensor, xi: Tensor, x: Tensor, y: Tensor, lam: float, loss: str
) -> Tensor:
    u = net._predictor(psi, net._encoder(theta, x))
    value = _distance(u, net._encoder(xi, y), loss).mean()
    return value + lam / 2 * (theta.square().sum() + psi.square().sum())


def _field(
    net: TwoLayer, vector: Tensor, x: Tensor, y: Tensor, lam: float, loss: str, dynamics: str, kappa: float
) -> Tensor:
    theta, psi, *teacher = _split(net, vector)
    if dynamics == "gradient":

        def joint(p: Tensor) -> Tensor:
            own, psi = _split(net, p)
            return _objective(net, own, psi, own, x, y, lam, loss)

        return -torch.func.grad(joint)(vector)
    xi = teacher[0] if teacher else theta
    slopes = torch.func.grad(
        lambda t, p, target: _objective(net, t, p, target, x, y, lam, loss),
        argnums=(0, 1),
    )(theta, psi, xi)
    parts = [-slopes[0], -slopes[1]]
    if teacher:
        parts.append(kappa * (theta - xi))
    return torch.cat(parts)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.tensor(np.asarray(array), dtype=torch.float64)


def _vector(net: TwoLayer, parameters: np.ndarray) -> np.ndarray:
    return _validate.shaped("parameters", parameters, (net.size,), (net.size + net.encoder_size,))


def _checked(
    net: TwoLayer, parameters: np.ndarray, x: np.ndarray, y: np.ndarray, lam: float, loss: str
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    vector = _vector(net, parameters)
    x = _validate.shaped("x", x, ("N", net.m))
    y = _validate.shaped("y", y, x.shape)
    if not len(x):
        raise ValueError("x has no pair; need at least one")
    _validate.scalar("lam", lam, _validate.nonnegative)
    _validate.one_of("loss", loss, get_args(Loss))
    return _tensor(vector), (_tensor(x), _tensor(y))


def _check_teacher(net: TwoLayer, vector: Tensor, dynamics: str, kappa: float | None) -> float:
    teacher = True if len(vector) > net.size else None
    check_dynamics(dynamics, teacher=teacher, kappa=kappa)
    return 0.0 if kappa is None else _validate.scalar("kappa", kappa, _validate.nonnegative)
