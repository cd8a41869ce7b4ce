"""Laws of the center vector's parts: they sum, they do not turn, their estimates have no bias."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory.center import CenterParts, center_parts, center_rate, pair_parts, unit


def unit_codes(seed, shape=(7, 3, 4)):
    return unit(np.random.default_rng(seed).standard_normal(shape) + np.eye(4)[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.booleans())
def test_the_parts_of_unit_codes_sum_to_one(seed, unbiased):
    parts = center_parts(unit_codes(seed, (2, 5, 3, 4)), unbiased=unbiased)
    np.testing.assert_allclose(parts.total, 1.0, rtol=1e-13)


def test_the_parts_are_those_of_the_definition():
    z = unit_codes(0)
    s = z.mean(axis=(0, 1))
    r = z.mean(axis=1) - s
    parts = center_parts(z)
    np.testing.assert_allclose(parts.center, s @ s)
    np.testing.assert_allclose(parts.between, np.mean(np.sum(r**2, axis=1)))
    np.testing.assert_allclose(parts.within, np.mean(np.sum((z - s - r[:, None]) ** 2, axis=2)))
    np.testing.assert_allclose(parts.separation, parts.between / (parts.between + parts.within))


def test_without_bias_they_are_means_over_different_samples_and_views():
    z = unit_codes(1)
    N, V, _ = z.shape
    across = [z[i, a] @ z[j, b] for i in range(N) for j in range(N) for a in range(V) for b in range(V) if i != j]
    along = [z[i, a] @ z[i, b] for i in range(N) for a in range(V) for b in range(V) if a != b]
    parts = center_parts(z, unbiased=True)
    np.testing.assert_allclose(parts.center, np.mean(across))
    np.testing.assert_allclose(parts.center + parts.between, np.mean(along))
    np.testing.assert_allclose(parts.within, 1 - np.mean(along))


def test_the_estimates_have_no_bias_where_the_plain_ones_do():
    """Codes on a circle at angles phi_x + noise have |s| = 0, and parts that are known in closed form."""
    rng = np.random.default_rng(2)
    trials, N, V, spread = 4000, 4, 2, 0.6
    angles = rng.uniform(0, 2 * np.pi, (trials, N, 1)) + spread * rng.standard_normal((trials, N, V))
    z = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    want = {"center": 0.0, "between": np.exp(-(spread**2)), "within": 1 - np.exp(-(spread**2))}
    plain, fair = center_parts(z), center_parts(z, unbiased=True)
    for name, value in want.items():
        found = getattr(fair, name)
        assert abs(found.mean() - value) < 4 * found.std() / np.sqrt(trials)
    assert plain.center.mean() > 0.1
    assert plain.within.mean() < 0.8 * want["within"]


def test_the_within_part_of_pairs_is_the_invariance_loss():
    z1, z2 = unit_codes(3, (20, 4)), unit_codes(4, (20, 4))
    np.testing.assert_allclose(pair_parts(z1, z2).within, np.mean(1 - np.sum(z1 * z2, axis=1)))


def test_total_collapse_is_all_center_and_two_opposite_points_have_none():
    same = np.broadcast_to(unit(np.array([1.0, 2.0])), (5, 2, 2))
    for unbiased in (False, True):
        parts = center_parts(same, unbiased=unbiased)
        np.testing.assert_allclose([parts.center, parts.between, parts.within], [1, 0, 0], atol=1e-12)
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]]).repeat(2, axis=0)[:, None].repeat(2, axis=1)
    parts = center_parts(opposite)
    np.testing.assert_allclose([parts.center, parts.between, parts.within], [0, 1, 0], atol=1e-12)


def test_a_rotation_changes_nothing_and_a_factor_scales_all():
    z, Q = unit_codes(5), np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    a, b, c = center_parts(z), center_parts(z @ Q), center_parts(3 * z)
    for name in ("center", "between", "within"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-12)
        np.testing.assert_allclose(getattr(c, name), 9 * getattr(a, name), rtol=1e-12)


def test_the_length_of_a_negative_estimate_is_zero():
    parts = CenterParts(np.array([-0.01, 0.25]), np.zeros(2), np.zeros(2))
    np.testing.assert_array_equal(parts.center_length, [0.0, 0.5])
    assert np.isnan(parts.separation).all()


def test_the_rate_is_the_derivative_of_the_length():
    rng = np.random.default_rng(6)
    z, g = rng.standard_normal((2, 9, 3))
    h = 1e-6
    ahead, behind = (np.linalg.norm((z - sign * h * len(z) * g).mean(axis=0)) for sign in (1, -1))
    np.testing.assert_allclose(center_rate(z, g), (ahead - behind) / (2 * h), rtol=1e-8)


def test_bad_input_is_refused():
    z = unit_codes(0)
    for call, words in (
        (lambda: center_parts(z[:1], unbiased=True), "two samples"),
        (lambda: center_parts(z[:, :1], unbiased=True), "two samples"),
        (lambda: center_parts(z[0]), "shape"),
        (lambda: pair_parts(z[:, 0], z[:3, 1]), "z2"),
        (lambda: unit(np.zeros((2, 3))), "zero"),
        (lambda: center_rate(np.array([[1.0, 0], [-1, 0]]), np.zeros((2, 2))), "zero"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
