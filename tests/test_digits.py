import numpy as np
import pytest

from ssltheory.digits import augment, digit_views, load_digits
from ssltheory.moments import second_moments

STILL = {"shift": 0.0, "angle": 0.0, "scale": 0.0, "brightness": 0.0, "noise": 0.0}


def test_the_data_set_is_the_one_described():
    images, labels = load_digits()
    assert images.shape == (1797, 8, 8)
    assert images.min() == 0.0
    assert images.max() == 1.0
    assert np.array_equal(np.unique(labels), np.arange(10))
    assert np.bincount(labels).min() >= 170
    assert np.array_equal(images * 16, np.round(images * 16))


def test_no_augmentation_gives_the_images_back():
    images = load_digits()[0]
    assert np.allclose(augment(images, np.random.default_rng(0), **STILL), images, atol=1e-15)


def test_views_are_a_function_of_the_generator():
    first, again, other = (digit_views(np.random.default_rng(seed), 50) for seed in (1, 1, 2))
    for left, right in zip(first, again, strict=True):
        assert np.array_equal(left, right)
    assert not np.array_equal(first[0], other[0])
    assert first[0].shape == first[1].shape == (50, 64)


def test_without_a_count_each_digit_is_seen_once_in_order():
    x, y, labels = digit_views(np.random.default_rng(0), **STILL)
    images, expected = load_digits()
    assert np.array_equal(labels, expected)
    assert np.allclose(x, images.reshape(-1, 64), atol=1e-15)
    assert np.array_equal(x, y)


def test_bilinear_sampling_is_exact_on_a_linear_image():
    # Away from the border, a moved, turned and magnified linear image is linear with a known slope.
    rows, columns = np.meshgrid(np.arange(31) - 15.0, np.arange(31) - 15.0, indexing="ij")
    images = np.broadcast_to(0.3 * rows - 0.7 * columns + 2.0, (64, 31, 31))
    views = augment(images, np.random.default_rng(3), **(STILL | {"shift": 1.5, "angle": 20.0, "scale": 0.1}))
    inner = views[:, 9:22, 9:22]
    down, right = np.diff(inner, axis=1), np.diff(inner, axis=2)
    assert np.ptp(down, axis=(1, 2)).max() < 1e-12
    assert np.ptp(right, axis=(1, 2)).max() < 1e-12
    slope = np.hypot(down[:, 0, 0], right[:, 0, 0]) / np.hypot(0.3, 0.7)
    assert slope.min() >= 1 / 1.1 - 1e-12
    assert slope.max() <= 1 / 0.9 + 1e-12
    turn = np.rad2deg(np.arctan2(right[:, 0, 0], down[:, 0, 0]) - np.arctan2(-0.7, 0.3))
    assert np.abs(turn).max() <= 20 + 1e-9
    assert np.abs(turn).max() > 15


def test_a_displacement_moves_the_centre_of_mass_by_at_most_the_shift():
    rows, columns = np.meshgrid(np.arange(21) - 10.0, np.arange(21) - 10.0, indexing="ij")
    blob = np.exp(-(rows**2 + columns**2) / 8)
    views = augment(np.broadcast_to(blob, (500, 21, 21)), np.random.default_rng(4), **(STILL | {"shift": 1.5}))
    mass = views.sum((1, 2))
    centres = np.stack([(views * rows).sum((1, 2)) / mass, (views * columns).sum((1, 2)) / mass])
    assert np.abs(centres).max() < 1.51
    assert np.abs(centres.mean(axis=1)).max() < 4 * 1.5 / np.sqrt(3 * 500)
    assert np.allclose(centres.std(axis=1), 1.5 / np.sqrt(3), rtol=0.1)


def test_a_quarter_turn_is_an_exact_rotation():
    class Extreme:
        """A generator whose every uniform draw is the upper end."""

        def uniform(self, low, high, size):
            return np.full(size, high)

        def standard_normal(self, size):
            return np.zeros(size)

    images = load_digits()[0][:20]
    views = augment(images, Extreme(), **(STILL | {"angle": 90.0}))
    turned = np.rot90(images, k=1, axes=(1, 2)), np.rot90(images, k=-1, axes=(1, 2))
    assert min(np.abs(views - t).max() for t in turned) < 1e-12


def test_pixel_noise_adds_its_variance_to_the_second_moment_and_nothing_across_views():
    x, y, _ = digit_views(np.random.default_rng(5), 40_000, **STILL)
    noisy_x, noisy_y, _ = digit_views(np.random.default_rng(5), 40_000, **(STILL | {"noise": 0.3}))
    added = (noisy_x.T @ noisy_x - x.T @ x) / len(x)
    across = (noisy_y.T @ noisy_x - y.T @ x) / len(x)
    assert np.abs(added - 0.09 * np.eye(64)).max() < 0.012
    assert np.abs(across).max() < 0.012


def test_the_two_views_are_exchangeable_and_share_a_signal():
    moments = second_moments(*digit_views(np.random.default_rng(6), 20_000)[:2])
    size = np.linalg.norm(moments.xx)
    assert np.linalg.norm(moments.xx - moments.yy) < 0.02 * size
    assert np.linalg.norm(moments.yx - moments.yx.T) < 0.02 * size
    # Two views of one digit agree more than views of different digits do.
    x, y, _ = digit_views(np.random.default_rng(7), 2000, centre=True)
    same = np.sum((x - y) ** 2, axis=1).mean()
    other = np.sum((x - np.roll(y, 1, axis=0)) ** 2, axis=1).mean()
    assert same < 0.6 * other


def test_centring_leaves_no_mean():
    x, y, _ = digit_views(np.random.default_rng(8), 500, centre=True)
    assert np.abs(x.mean(0) + y.mean(0)).max() < 1e-13


def test_unaugmented_digits_have_a_singular_second_moment_and_say_so():
    x, y, _ = digit_views(np.random.default_rng(0), **STILL)
    with pytest.raises(ValueError, match="X must be symmetric positive definite"):
        second_moments(x, y)
    assert np.linalg.matrix_rank(x) == 61


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shift": -1.0}, "shift must be at least 0; got -1"),
        ({"noise": np.nan}, "noise must be finite"),
        ({"scale": 1.0}, "scale must be less than 1; got 1"),
        ({"angle": [1.0, 2.0]}, "angle must be a single number"),
        ({"count": 0}, "count must be an integer, at least 1; got 0"),
        ({"count": 2.5}, "count must be an integer, at least 1; got 2.5"),
    ],
)
def test_bad_amplitudes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        digit_views(np.random.default_rng(0), **change)


def test_bad_images_are_refused():
    with pytest.raises(ValueError, match=r"images has shape \(8, 8\); need \(N, h, w\)"):
        augment(np.zeros((8, 8)), np.random.default_rng(0))
    with pytest.raises(ValueError, match="images must be finite"):
        augment(np.full((1, 8, 8), np.nan), np.random.default_rng(0))
