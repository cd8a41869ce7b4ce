"""Near the equal spectrum the cosine loss is two averages over an angle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltheory.eigenmodes import toy_data, velocity_of_modes
from ssltheory.equal_spectrum import angle_moments, deviation_rate


@pytest.mark.parametrize(("n", "r"), [(1, 0.4), (2, 0.95), (3, 0.5), (10, -0.9)])
def test_moments_against_a_sample(n, r):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((400_000, n))
    y = r * x + np.sqrt(1 - r**2) * rng.standard_normal(x.shape)
    cos = np.sum(x * y, axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    exact = angle_moments(n, r)
    for sample, value in ((cos, exact.cos), (cos * (1 - cos**2), exact.cos_sin2)):
        assert abs(sample.mean() - value) < 4.5 * sample.std() / len(sample) ** 0.5 + 1e-15


def test_one_dimension_and_full_correlation():
    r = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(angle_moments(1, r).cos, 2 / np.pi * np.arcsin(r), atol=1e-12)
    np.testing.assert_allclose(angle_moments(1, r).cos_sin2, 0, atol=1e-15)
    ends = np.array([-1.0, 0.0, 1.0])
    for n in (2, 3, 10):
        np.testing.assert_allclose(angle_moments(n, ends).cos, ends, atol=1e-12)
        np.testing.assert_allclose(angle_moments(n, ends).cos_sin2, 0, atol=1e-12)


@given(st.integers(3, 30), st.floats(1e-4, 1e-2))
def test_small_noise(n, noise):
    tail = angle_moments(n, 1 / np.sqrt(1 + noise**2)).cos_sin2
    expected = noise**2 * (n - 1) / (n - 2)
    assert abs(tail / expected - 1) < (0.3 if n < 5 else 30 * noise)


@given(
    n=st.integers(2, 30),
    mu=st.floats(0.01, 10),
    p=st.floats(0, 3),
    noise=st.floats(0, 3),
    first=st.floats(0, 1),
)
def test_branches_add_up_and_signs(n, mu, p, noise, first):
    rate = {
        g: float(deviation_rate(n, mu, p, gradient=g, noise=noise, noise_first=first))
        for g in ("sg", "none", "wrong", "iso")
    }
    size = sum(map(abs, rate.values())) + 1e-300
    assert abs(rate["sg"] + rate["wrong"] - rate["none"]) < 1e-12 * size
    assert abs(rate["iso"] * mu**p - rate["sg"]) < 1e-12 * size * max(1, mu**p)
    assert max(rate["sg"], rate["none"]) <= 0
    if p * n > 1.001:
        assert rate["wrong"] > 0


@given(st.integers(2, 30), st.floats(0.01, 0.999))
def test_the_noisy_part_of_the_rate_is_bounded(n, r):
    moments = angle_moments(n, r)
    assert 0 < moments.cos_sin2 < moments.cos * (n - 1) / (n + 2) * (1 + 1e-12)


@pytest.mark.parametrize(("p", "noise", "first"), [(0.0, 0.5, 0.0), (0.05, 2.0, 0.3), (0.5, 0.0, 0.0), (2.0, 1.0, 0.5)])
@pytest.mark.parametrize("gradient", ["sg", "iso"])
def test_with_any_noise_the_largest_falls_and_the_smallest_grows(p, noise, first, gradient):
    mu = np.sort(np.random.default_rng(3).uniform(0.01, 3, (40, 5)), axis=1)
    v = velocity_of_modes(mu, loss="cosine", gradient=gradient, p=p, data=toy_data(noise, first))
    assert v[:, -1].max() < 0 < v[:, 0].min()


@pytest.mark.parametrize("p", [0.5, 1.5])
def test_wrong_side_without_noise_has_the_opposite_signs(p):
    mu = np.sort(np.random.default_rng(4).uniform(0.01, 3, (40, 5)), axis=1)
    v = velocity_of_modes(mu, loss="cosine", gradient="wrong", p=p, data=toy_data())
    assert v[:, 0].max() < 0 < v[:, -1].min()


def test_rejects():
    with pytest.raises(ValueError, match="correlation must be in"):
        angle_moments(3, 1.1)
    with pytest.raises(ValueError, match="n must be an integer, at least 2"):
        deviation_rate(1, 1.0, 1.0, gradient="sg")
    with pytest.raises(ValueError, match="gradient must be one of"):
        deviation_rate(3, 1.0, 1.0, gradient="both")  # type: ignore[arg-type]
