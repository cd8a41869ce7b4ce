"""What the toys promise: hidden classes, nuisance drawn anew, nothing that depends on anything but the generator."""

import numpy as np
import pytest

from ssltheory.diagnostics import knn_accuracy
from ssltheory.toy_views import DIMENSION, toy_pairs


@pytest.mark.parametrize("toy", ["blobs", "moons"])
def test_two_views_share_the_signal_and_nothing_else(toy):
    pairs = toy_pairs(toy, np.random.default_rng(0), 20_000, jitter=0.0)
    keep = pairs.signal.T
    np.testing.assert_allclose(pairs.x @ keep, pairs.y @ keep, atol=1e-12)
    rest = np.linalg.svd(pairs.signal)[2][len(pairs.signal) :].T
    a, b = pairs.x @ rest, pairs.y @ rest
    np.testing.assert_allclose(a.T @ a / len(a), 1.5**2 * np.eye(rest.shape[1]), atol=0.1)
    np.testing.assert_allclose(a.T @ b / len(a), 0.0, atol=0.1)
    assert pairs.x.shape == (20_000, DIMENSION)


@pytest.mark.parametrize("toy", ["blobs", "moons"])
def test_neighbours_are_useless_on_views_and_right_on_the_signal(toy):
    p = toy_pairs(toy, np.random.default_rng(1), 10)
    raw = knn_accuracy(p.train, p.train_labels, p.test, p.test_labels)
    found = knn_accuracy(p.train @ p.signal.T, p.train_labels, p.test @ p.signal.T, p.test_labels)
    assert raw < 0.85
    assert found > 0.99
    alone = toy_pairs(toy, np.random.default_rng(1), 10, nuisance=0.0)
    assert knn_accuracy(alone.train, alone.train_labels, alone.test, alone.test_labels) > 0.99


def test_the_generator_alone_decides():
    first, again, other = (toy_pairs("moons", np.random.default_rng(k), 5) for k in (2, 2, 3))
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.test_labels, again.test_labels)
    assert not np.allclose(first.x, other.x)


def test_bad_input_is_refused():
    rng = np.random.default_rng(0)
    for call, words in (
        (lambda: toy_pairs("rings", rng), "toy"),
        (lambda: toy_pairs("blobs", rng, 0), "count"),
        (lambda: toy_pairs("blobs", rng, jitter=-1), "jitter"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
