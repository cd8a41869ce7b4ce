"""Laws of the triples of views and of their contrast matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltheory.contrast import (
    centred_triples,
    contrast_matrix,
    digit_triples,
    dot_loss,
    expected_contrast,
    linear_loss,
    moon_triples,
    sorted_eigen,
)


def triples(seed, N=7, m=4):
    return np.random.default_rng(seed).normal(size=(3, N, m))


@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans())
def test_the_loss_of_a_linear_code_is_the_trace(seed, n, negatives):
    x, positive, negative = triples(seed)
    views = (x, positive, negative) if negatives else (x, positive)
    q = np.random.default_rng(seed + 1).normal(size=(4, n))
    gamma = contrast_matrix(*views)
    assert dot_loss(*(v @ q for v in views)) == pytest.approx(linear_loss(q, gamma), rel=1e-12, abs=1e-12)
    values, vectors = sorted_eigen(gamma)
    assert linear_loss(vectors.T @ q, values) == pytest.approx(linear_loss(q, gamma), rel=1e-9, abs=1e-12)
    assert (np.diff(values) >= 0).all()


def test_only_the_symmetric_part_of_the_difference_matters():
    x, positive, negative = triples(3)
    assert np.allclose(contrast_matrix(x, positive, negative), contrast_matrix(x, positive - negative))
    assert np.allclose(contrast_matrix(x, positive), contrast_matrix(positive, x))


@pytest.mark.parametrize("negatives", [True, False])
def test_the_expectation_is_minus_the_covariance(negatives):
    rng = np.random.default_rng(0)
    root, mean, N = rng.normal(size=(3, 3)) / 2, np.array([1.0, -0.5, 0.2]), 400_000
    x, other = (rng.normal(size=(N, 3)) @ root.T + mean for _ in range(2))
    positive = x + 0.3 * rng.normal(size=x.shape)
    found = contrast_matrix(x, positive, other) if negatives else contrast_matrix(x, positive)
    told = expected_contrast(root @ root.T, mean, negatives=negatives)
    assert np.abs(found - told).max() < 6 * 3 / np.sqrt(N)
    assert np.linalg.eigvalsh(told)[-1] <= 1e-12


def test_moons_repeat_by_seed_and_negatives_are_other_draws():
    one, two = (moon_triples(np.random.default_rng(5), 50) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    x, positive, negative, labels = one
    assert set(labels) == {0, 1}
    assert 0.05 < np.std(positive - x) < 0.2
    assert not (x[:, None] == negative[None]).all(axis=2).any()


def test_digits_pair_each_with_another():
    x, positive, negative, labels = digit_triples(np.random.default_rng(0), (0, 1))
    assert set(labels) == {0, 1}
    assert len(x) == 178 + 182
    assert not (x == negative).all(axis=1).any()
    assert np.array_equal(np.unique(x, axis=0), np.unique(negative, axis=0))
    assert np.mean((positive - x) ** 2) < np.mean((negative - x) ** 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: contrast_matrix(np.ones((3, 2)), np.ones((3, 3))), "positive has shape"),
        (lambda: contrast_matrix(np.ones((0, 2)), np.ones((0, 2))), "at least one sample"),
        (lambda: dot_loss(np.ones(3), np.ones(3)), "x has shape"),
        (lambda: linear_loss(np.ones((3, 1)), np.eye(2)), "q has shape"),
        (lambda: sorted_eigen(np.array([[0.0, 1.0], [0.0, 0.0]])), "symmetric"),
        (lambda: expected_contrast(-np.eye(2)), "semi-definite"),
        (lambda: moon_triples(np.random.default_rng(0), 1), "count"),
        (lambda: moon_triples(np.random.default_rng(0), noise=-1), "noise"),
        (lambda: digit_triples(np.random.default_rng(0), (3, 10)), "classes"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_centred_triples_are_the_triples_seen_from_the_mean_of_the_anchors():
    for data, draw in (("moons", moon_triples), ("digits", digit_triples)):
        *views, labels = draw(np.random.default_rng(3))
        *centred, same = centred_triples(np.random.default_rng(3), data)
        assert np.array_equal(labels, same)
        for one, two in zip(views, centred, strict=True):
            assert np.allclose(one - views[0].mean(axis=0), two)
    *few, labels = centred_triples(np.random.default_rng(3), "digits", count=50, directions=10)
    assert [v.shape for v in few] == [(50, 10)] * 3
    assert len(labels) == 50
    assert np.allclose(few[0].mean(axis=0), 0)
    for bad in ({"directions": 3}, {"count": 201}):
        with pytest.raises(ValueError, match="at most"):
            centred_triples(np.random.default_rng(0), "moons", **bad)
