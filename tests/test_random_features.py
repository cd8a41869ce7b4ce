"""Laws of random features: the kernels that they approximate, and the linear problem on their moments."""

import numpy as np
import pytest

from ssltheory.linear import LinearProblem
from ssltheory.random_features import RandomFeatures, draw_features


def pairs(seed=0, count=400, m=3):
    rng = np.random.default_rng(seed)
    s = rng.standard_normal((count, m))
    return s + 0.3 * rng.standard_normal(s.shape), s + 0.3 * rng.standard_normal(s.shape)


def test_fourier_features_approach_the_gaussian_kernel():
    x, y = pairs(count=20)
    phi = draw_features(np.random.default_rng(1), 3, 60_000, length=1.7)
    squared = ((x[:, None] - y[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(phi(x) @ phi(y).T, np.exp(-squared / (2 * 1.7**2)), atol=0.02)


def test_relu_features_approach_the_arc_cosine_kernel():
    x, y = pairs(count=20)
    phi = draw_features(np.random.default_rng(1), 3, 60_000, kind="relu")
    size = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    angle = np.arccos(np.clip(x @ y.T / size, -1, 1))
    np.testing.assert_allclose(
        phi(x) @ phi(y).T, size * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi, atol=0.15
    )


@pytest.mark.parametrize("kind", ["fourier", "relu"])
def test_the_field_on_the_moments_is_the_mean_gradient_over_the_features(kind):
    x, y = pairs()
    phi = draw_features(np.random.default_rng(2), 3, 6, kind=kind)
    rng = np.random.default_rng(3)
    A, B = rng.standard_normal((8, 6)), rng.standard_normal((8, 8))
    dA, dB = LinearProblem(phi.moments(x, y), 0.1, 8).field("sg", A, B)
    u, v = phi(x) @ A.T @ B.T, phi(y) @ A.T
    residual = u - v
    np.testing.assert_allclose(dA, -(B.T @ residual.T @ phi(x) / len(x) + 0.1 * A), rtol=1e-10)
    np.testing.assert_allclose(dB, -(residual.T @ phi(x) @ A.T / len(x) + 0.1 * B), rtol=1e-10)


@pytest.mark.parametrize("kind", ["fourier", "relu"])
def test_centred_features_have_mean_zero_and_first_keeps_it(kind):
    x, y = pairs()
    phi = draw_features(np.random.default_rng(4), 3, 12, kind=kind).centred(x, y)
    for psi in (phi, phi.first(5)):
        np.testing.assert_allclose(psi(x).mean(axis=0) + psi(y).mean(axis=0), 0, atol=1e-12)
    plain = draw_features(np.random.default_rng(4), 3, 12, kind=kind)
    np.testing.assert_allclose(plain.first(5)(x), np.sqrt(12 / 5) * plain(x)[:, :5], rtol=1e-12)


def test_the_map_depends_on_the_generator_alone_and_takes_batches():
    x, _ = pairs()
    one, two = (draw_features(np.random.default_rng(5), 3, 4) for _ in range(2))
    np.testing.assert_array_equal(one(x), two(x))
    np.testing.assert_array_equal(one(x.reshape(4, 100, 3)), one(x).reshape(4, 100, 4))


def test_bad_input_is_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="length"):
        draw_features(rng, 3, 4, length=0.0)
    with pytest.raises(ValueError, match="kind"):
        draw_features(rng, 3, 4, kind="tanh")
    phi = draw_features(rng, 3, 4)
    with pytest.raises(ValueError, match="views"):
        phi(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="at most"):
        phi.first(5)
    with pytest.raises(ValueError, match="phases"):
        RandomFeatures("relu", np.ones((2, 3)), np.zeros(3), np.zeros(2))
