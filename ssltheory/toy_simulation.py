r"""The toy setting by sampling, as one would write it from the losses, and its exact field on the full matrix.

x ~ N(0, I_m), x1 = x + noise_first xi, x2 = x + noise xi', encoder A (n x m), codes z = A x, predictor
B = Sigma^p with Sigma = E[z1 z1^T] = (1 + noise_first^2) A A^T, held constant while differentiating. The losses and the
gradients are those of :mod:`ssltheory.eigenmodes`. Source: the setting of Halvagal, Laborieux and Zenke (2023), whose
simulations draw 50,000 samples a step with m = 15, n = 10; the code is ours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ssltheory import _validate
from ssltheory.directpred import closed_form_predictor
from ssltheory.eigenmodes import Gradient, Loss, _setting, toy_data, velocity_of_modes

_LARGEST = 1e20


@dataclass(frozen=True, eq=False)
class Simulation:
    """A run of the sampled algorithm: times ``t`` (T,) = steps x learning rate, encoders ``A`` (T, n, m), spectra.

    ``mu`` (T, n) are the eigenvalues of Sigma, in increasing order.
    """

    t: Float[np.ndarray, " T"]
    A: Float[np.ndarray, "T n m"]
    mu: Float[np.ndarray, "T n"]


def toy_views(
    rng: np.random.Generator, samples: int, m: int, noise: float, noise_first: float = 0.0
) -> tuple[Float[np.ndarray, "samples m"], Float[np.ndarray, "samples m"]]:
    """Draw pairs x1 = x + noise_first xi, x2 = x + noise xi' of x ~ N(0, I_m); for noise 0 no noise is drawn."""
    x = rng.standard_normal((_validate.count("samples", samples), _validate.count("m", m)))
    first, second = (
        x + amplitude * rng.standard_normal(x.shape) if amplitude else x for amplitude in (noise_first, noise)
    )
    return first, second


def sampled_velocity(
    A: Float[np.ndarray, "n m"],
    x1: Float[np.ndarray, "samples m"],
    x2: Float[np.ndarray, "samples m"],
    B: Float[np.ndarray, "n n"],
    *,
    loss: Loss,
    gradient: Gradient,
) -> Float[np.ndarray, "n m"]:
    r"""Return -dL/dA of the mean loss over given pairs, with the predictor B symmetric and held constant.

    With u = B z1, v = z2 and g, h the mean loss's derivatives in u and v, z1 moves A by -B g x1^T and z2 by -h x2^T:
    ``"sg"`` the first, ``"wrong"`` the second, ``"none"`` their sum, ``"iso"`` -g x1^T. Euclidean: g = u - v = -h.
    Cosine: g = (cos u/|u| - v/|v|) / |u|, h = (cos v/|v| - u/|u|) / |v|.
    """
    _setting(loss, gradient, 0.0)
    z1, v = x1 @ A.T, x2 @ A.T
    u = z1 @ B
    if loss == "euclidean":
        g = u - v
        h = -g
    else:
        size_u, size_v = np.linalg.norm(u, axis=1, keepdims=True), np.linalg.norm(v, axis=1, keepdims=True)
        p, q = u / size_u, v / size_v
        cosine = np.sum(p * q, axis=1, keepdims=True)
        g, h = (cosine * p - q) / size_u, (cosine * q - p) / size_v
    force = np.zeros_like(A)
    if gradient in ("sg", "none"):
        force -= B @ (g.T @ x1)
    if gradient == "iso":
        force -= g.T @ x1
    if gradient in ("wrong", "none"):
        force -= h.T @ x2
    return force / len(x1)


def simulate(
    A: Float[np.ndarray, "n m"],
    *,
    loss: Loss,
    gradient: Gradient,
    p: float,
    noise: float,
    noise_first: float = 0.0,
    step: float,
    steps: int,
    samples: int = 50_000,
    rng: np.random.Generator,
    every: int = 1,
    lam: float = 0.0,
) -> Simulation:
    """Train the encoder by gradient steps, each on ``samples`` fresh pairs, and keep every ``every``-th state.

    A moves by ``step`` times (:func:`sampled_velocity` - lam A); B is set from the present A before each step. Raises
    ``ValueError`` for a bad setting, and when the norm of A has passed 1e20.
    """
    A = _validate.shaped("A", A, ("n", "m")).copy()
    p = _setting(loss, gradient, p)
    step = _validate.scalar("step", step, _validate.positive)
    steps, every = _validate.count("steps", steps), _validate.count("every", every)
    first = float(toy_data(noise, noise_first).rho)
    kept, times = [A.copy()], [0.0]
    for k in range(1, steps + 1):
        x1, x2 = toy_views(rng, samples, A.shape[1], noise, noise_first)
        B = closed_form_predictor(first * (A @ A.T), p)
        A = A + step * (sampled_velocity(A, x1, x2, B, loss=loss, gradient=gradient) - lam * A)
        if not np.linalg.norm(A) < _LARGEST:
            raise ValueError(f"the encoder has diverged after {k} steps")
        if k % every == 0:
            kept.append(A.copy())
            times.append(k * step)
    states = np.array(kept)
    return Simulation(np.array(times), states, np.linalg.eigvalsh(first * (states @ states.mT)))


def exact_field(
    A: Float[np.ndarray, "n m"],
    *,
    loss: Loss,
    gradient: Gradient,
    p: float,
    noise: float = 0.0,
    noise_first: float = 0.0,
    lam: float = 0.0,
) -> Float[np.ndarray, "n m"]:
    """The exact expectation of the velocity A' = -dE[L]/dA - lam A, through the singular values of A.

    Isotropic views look the same in every basis, so with A = U diag(a) V^T the velocity is U diag(a') V^T, where a'
    follows from :func:`ssltheory.eigenmodes.velocity_of_modes`.
    """
    A = _validate.shaped("A", A, ("n", "m"))
    data = toy_data(noise, noise_first)
    U, a, Vt = np.linalg.svd(A, full_matrices=False)
    mu = float(data.rho) * a * a
    velocity = velocity_of_modes(mu, loss=loss, gradient=gradient, p=p, data=data, lam=lam)
    rate = np.divide(velocity, 2 * mu, out=np.zeros_like(mu), where=mu > 0)
    return (U * (a * rate)) @ Vt
