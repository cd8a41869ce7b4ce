import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory.moments import SecondMoments, completed_moments, gaussian_moments, second_moments

SEEDS = st.integers(0, 2**32 - 1)


def random_moments(rng: np.random.Generator, m: int) -> SecondMoments:
    root = rng.standard_normal((2 * m, 2 * m + 1))
    joint = root @ root.T / (2 * m)
    return SecondMoments(joint[:m, :m], joint[m:, :m], joint[m:, m:])


def test_moments_are_averages_of_outer_products():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 30, 3))
    moments = second_moments(x, y)
    assert np.allclose(moments.xx, np.mean([np.outer(a, a) for a in x], axis=0), atol=1e-14)
    assert np.allclose(moments.yx, np.mean([np.outer(b, a) for a, b in zip(x, y, strict=True)], axis=0), atol=1e-14)
    assert np.allclose(moments.yy, np.mean([np.outer(b, b) for b in y], axis=0), atol=1e-14)
    assert moments.count == 30
    assert moments.m == 3


def test_no_mean_is_subtracted():
    x = np.random.default_rng(0).standard_normal((1000, 2))
    shift = np.array([3.0, -1.0])
    gained = second_moments(x + shift, x).xx - second_moments(x, x).xx
    drift = np.outer(x.mean(0), shift)
    assert np.allclose(gained, np.outer(shift, shift) + drift + drift.T, atol=1e-12)


def test_projection_commutes_with_averaging():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 50, 4))
    V = rng.standard_normal((2, 4))
    first, second = second_moments(x, y).project(V), second_moments(x @ V.T, y @ V.T)
    assert np.allclose(first.joint, second.joint, atol=1e-13)
    assert first.count == second.count == 50


def test_swapping_the_views_transposes_the_cross_moment():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 20, 3))
    there, back = second_moments(x, y), second_moments(y, x)
    assert np.allclose(there.yx, back.yx.T, atol=1e-15)
    assert np.allclose(there.xx, back.yy, atol=1e-15)


def test_gaussian_model_is_signal_plus_independent_noise():
    signal, noise = np.array([[2.0, 0.5], [0.5, 1.0]]), np.diag([0.3, 0.1])
    same = gaussian_moments(signal, noise)
    assert np.array_equal(same.xx, same.yy)
    assert np.array_equal(same.yx, signal)
    clean = gaussian_moments(signal, noise, np.zeros((2, 2)))
    assert np.array_equal(clean.yy, signal)
    rng = np.random.default_rng(3)
    N = 400_000
    s = rng.standard_normal((N, 2)) @ np.linalg.cholesky(signal).T
    x, y = (s + rng.standard_normal((N, 2)) @ np.sqrt(noise) for _ in range(2))
    assert np.abs(second_moments(x, y).joint - same.joint).max() < 5 * 2.0 * np.sqrt(2 / N)


def test_sample_moments_converge_at_the_monte_carlo_rate():
    moments = random_moments(np.random.default_rng(4), 3)
    rng = np.random.default_rng(5)
    sizes = np.array([100, 1000, 10_000])
    errors = [
        np.sqrt(
            np.mean([np.sum((second_moments(*moments.sample(rng, N)).joint - moments.joint) ** 2) for _ in range(40)])
        )
        for N in sizes
    ]
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.08
    # For Gaussian pairs E|S - J|^2 = (|J|^2 + tr(J)^2) / N exactly.
    expected = np.sqrt((np.sum(moments.joint**2) + np.trace(moments.joint) ** 2) / sizes)
    assert np.allclose(errors, expected, rtol=0.25)


def test_sampling_is_a_function_of_the_generator():
    moments = random_moments(np.random.default_rng(6), 2)
    first, again = (moments.sample(np.random.default_rng(7), 5) for _ in range(2))
    assert np.array_equal(first, again)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 5))
def test_cauchy_schwarz_holds_along_every_direction(seed, m):
    rng = np.random.default_rng(seed)
    moments = random_moments(rng, m)
    V = rng.standard_normal((1, m))
    narrow = moments.project(V)
    assert narrow.yx[0, 0] ** 2 <= narrow.xx[0, 0] * narrow.yy[0, 0] * (1 + 1e-9)


def test_moments_cannot_be_changed_in_place():
    moments = gaussian_moments(np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="read-only"):
        moments.xx[0, 0] = -1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.diag([1.0, -0.3]), np.eye(2), np.eye(2)), "X must be symmetric positive definite; its smallest.*-0.3"),
        ((np.diag([1.0, 0.0]), np.zeros((2, 2)), np.eye(2)), "X must be symmetric positive definite"),
        ((np.array([[1.0, 0.5], [0.0, 1.0]]), np.zeros((2, 2)), np.eye(2)), "X must be symmetric; .* 0.5"),
        ((np.eye(2), np.eye(3), np.eye(2)), r"Y has shape \(3, 3\); need \(2, 2\)"),
        ((np.eye(2), np.zeros((2, 2)), -np.eye(2)), "Z must be symmetric positive semi-definite"),
        ((np.eye(2), 2 * np.eye(2), np.eye(2)), "joint moment.*semi-definite; its smallest eigenvalue is -1"),
        ((np.array([[np.nan]]), np.eye(1), np.eye(1)), "X must be finite; 1 of its 1 entries"),
        ((np.ones(2), np.eye(2), np.eye(2)), r"X has shape \(2,\); need \(m, m\)"),
        (("white", np.eye(2), np.eye(2)), "X must be an array of real numbers; got str"),
    ],
)
def test_impossible_moments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SecondMoments(*arguments)


def test_bad_samples_are_refused():
    x = np.random.default_rng(0).standard_normal((10, 3))
    with pytest.raises(ValueError, match=r"y has shape \(9, 3\); need \(10, 3\)"):
        second_moments(x, x[:9])
    with pytest.raises(ValueError, match="y must be finite; 1 of its 30"):
        second_moments(x, np.where(np.arange(30).reshape(10, 3) == 4, np.inf, x))
    with pytest.raises(ValueError, match="X must be symmetric positive definite"):
        second_moments(x[:2], x[:2])
    with pytest.raises(ValueError, match="at least one pair"):
        second_moments(x[:0], x[:0])
    with pytest.raises(ValueError, match=r"V has shape \(2, 4\); need \(k, 3\)"):
        second_moments(x, x).project(np.ones((2, 4)))
    with pytest.raises(ValueError, match="X must be symmetric positive definite"):
        second_moments(x, x).project(np.ones((2, 3)))
    with pytest.raises(ValueError, match="count must be an integer, at least 1; got 0"):
        second_moments(x, x).sample(np.random.default_rng(0), 0)
    with pytest.raises(ValueError, match="noise_x must be symmetric positive semi-definite"):
        gaussian_moments(np.eye(2), -np.eye(2) / 2)


def test_symmetrised_moments_are_those_of_the_pairs_in_both_orders():
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((2, 20, 3))
    once = second_moments(x, y).symmetrised
    assert np.allclose(once.joint, second_moments(np.r_[x, y], np.r_[y, x]).joint, atol=1e-14)
    assert np.array_equal(once.symmetrised.joint, once.joint)
    assert once.count == 20


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 5))
def test_completed_moments_add_the_least_second_view_and_noise(seed, m):
    given_moments = random_moments(np.random.default_rng(seed), m)
    X, Y = given_moments.xx, given_moments.yx
    full = completed_moments(X, Y, noise=0.3)
    assert np.array_equal(full.xx, X)
    assert np.array_equal(full.yx, Y)
    # What of y no linear function of x predicts is the Schur complement of the joint moment.
    joint = np.linalg.inv(full.joint)[m:, m:]
    assert np.allclose(np.linalg.inv(joint), 0.3 * np.eye(m), rtol=1e-6, atol=1e-7)
    least = completed_moments(X, Y, noise=0.0)
    assert abs(np.linalg.eigvalsh(least.joint)[:m]).max() < 1e-9 * np.trace(least.joint)
    # It is the least: the moments that X and Y were taken from have a larger Z.
    assert np.linalg.eigvalsh(given_moments.yy - least.yy)[0] > -1e-9 * np.trace(given_moments.yy)


def test_completed_moments_refuse_what_no_data_have():
    with pytest.raises(ValueError, match="X must be symmetric positive definite"):
        completed_moments(np.zeros((2, 2)), np.eye(2))
    with pytest.raises(ValueError, match="Y has shape"):
        completed_moments(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="noise"):
        completed_moments(np.eye(2), np.eye(2), noise=-0.1)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 5), data=st.data())
def test_shared_directions_have_the_most_in_common(seed, m, data):
    rng = np.random.default_rng(seed)
    moments = random_moments(rng, m)
    count = data.draw(st.integers(1, m))
    V = moments.shared_directions(count)
    assert V.shape == (count, m)
    assert np.allclose(V @ V.T, np.eye(count), atol=1e-12)
    shared = np.diag(moments.project(V).yx)
    assert (np.diff(shared) <= 1e-12).all()
    other = np.linalg.qr(rng.standard_normal((m, count)))[0].T  # Ky Fan: no other frame shares more
    assert np.trace(moments.project(other).yx) <= shared.sum() + 1e-12
    assert np.array_equal(V, moments.shared_directions(m)[:count])
    swapped = SecondMoments(moments.yy, moments.yx.T, moments.xx).shared_directions(count)
    assert np.array_equal(V, swapped)
    with pytest.raises(ValueError, match=f"count must be at most m = {m}; got {m + 1}"):
        moments.shared_directions(m + 1)
