"""Laws of the collapse diagnostics: invariances, bounds, limits, agreement with direct computation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssltheory.diagnostics import (
    center_norm,
    effective_rank,
    feature_spread,
    few_label_accuracy,
    knn_accuracy,
    linear_probe_accuracy,
    participation_ratio,
    principal_coordinates,
    spectrum,
    whitened,
)

# Zero or well above the smallest normal number: a rescaled spectrum must not underflow.
eigenvalues = arrays(float, st.integers(1, 8), elements=st.just(0.0) | st.floats(1e-200, 1e6)).filter(
    lambda s: s.max() > 0
)


def cloud(seed, count=40, n=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, n)) @ rng.standard_normal((n, n)) + rng.standard_normal(n)


def rotation(seed, n=5):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


def blobs(seed, spread=0.1):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 120)
    return np.eye(3, 5)[labels] + spread * rng.standard_normal((120, 5)), labels


@given(eigenvalues, st.floats(1e-6, 1e6))
@settings(deadline=None)
def test_ranks_are_ordered_bounded_and_scale_free(s, factor):
    rank, ratio = effective_rank(s), participation_ratio(s)
    assert 1 - 1e-9 <= ratio <= rank + 1e-9 <= len(s) + 2e-9
    assert effective_rank(factor * s) == pytest.approx(rank)
    assert participation_ratio(factor * s) == pytest.approx(ratio)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_equal_eigenvalues_are_counted_exactly(k):
    s = np.r_[np.full(k, 0.3), np.zeros(4)]
    assert effective_rank(s) == pytest.approx(k)
    assert participation_ratio(s) == pytest.approx(k)


def test_no_spectrum_has_rank_zero_and_tiny_ones_keep_theirs():
    assert effective_rank(np.zeros(3)) == participation_ratio(np.zeros(3)) == 0
    assert effective_rank(np.full(3, 1e-300)) == pytest.approx(3)


@pytest.mark.parametrize("centred", [True, False])
def test_spectrum_agrees_with_eigenvalues_of_the_moments(centred):
    z = cloud(0)
    moments = np.cov(z.T, bias=True) if centred else z.T @ z / len(z)
    np.testing.assert_allclose(spectrum(z, centred=centred), np.linalg.eigvalsh(moments)[::-1], rtol=1e-10)


@pytest.mark.parametrize("measure", [spectrum, lambda z: spectrum(z, centred=False), center_norm])
def test_rotating_the_embeddings_changes_nothing(measure):
    z = cloud(1)
    np.testing.assert_allclose(measure(z @ rotation(2)), measure(z), rtol=1e-10)


@pytest.mark.parametrize("measure", [feature_spread, center_norm, lambda z: effective_rank(spectrum(z))])
@pytest.mark.parametrize("factor", [-3.0, 1e-8, 1e8])
def test_rescaling_the_embeddings_changes_nothing(measure, factor):
    z = cloud(3)
    np.testing.assert_allclose(measure(factor * z), measure(z), rtol=1e-10)


def test_the_trace_of_the_spectrum_and_the_center_share_the_length():
    z = cloud(4)
    length = np.mean(np.sum(z**2, axis=1))
    assert spectrum(z).sum() / length + center_norm(z) ** 2 == pytest.approx(1)
    assert spectrum(z, centred=False).sum() == pytest.approx(length)


def test_spread_is_at_most_what_the_center_leaves():
    z = cloud(5)
    assert 0 < feature_spread(z) <= np.sqrt(1 - center_norm(z) ** 2) + 1e-12


def test_isotropic_centred_embeddings_have_spread_one():
    z = np.vstack([np.eye(4), -np.eye(4)])
    assert feature_spread(z) == pytest.approx(1)
    assert center_norm(z) == 0
    assert effective_rank(spectrum(z)) == pytest.approx(4)


def test_total_collapse_is_seen_by_spread_and_center():
    z = np.tile([1.0, -2.0, 0.5], (7, 1))
    assert feature_spread(z) == pytest.approx(0, abs=1e-12)
    assert center_norm(z) == pytest.approx(1)
    np.testing.assert_allclose(spectrum(z), 0, atol=1e-28)
    assert (feature_spread(0 * z), center_norm(0 * z)) == (0, 1)


def test_total_collapse_is_not_seen_by_scale_free_rank():
    z = cloud(6)
    shrunk = z.mean(0) + 1e-6 * (z - z.mean(0))
    assert effective_rank(spectrum(shrunk)) == pytest.approx(effective_rank(spectrum(z)), rel=1e-6)
    assert feature_spread(shrunk) < 1e-5


def test_dimensional_collapse_is_seen_by_rank():
    z = cloud(7)
    flat = z @ np.diag([1, 1, 0, 0, 0])
    assert effective_rank(spectrum(flat)) <= 2 + 1e-9


def test_fewer_samples_than_features_pads_with_zeros():
    s = spectrum(cloud(8)[:3])
    assert s.shape == (5,)
    np.testing.assert_allclose(s[2:], 0, atol=1e-25)


def test_a_batch_is_a_loop():
    z = np.stack([cloud(s) for s in range(6)]).reshape(2, 3, 40, 5)
    for measure in (spectrum, feature_spread, center_norm, lambda z: participation_ratio(spectrum(z))):
        np.testing.assert_allclose(measure(z)[1, 2], measure(z[1, 2]), rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_principal_coordinates_carry_the_leading_variance(count):
    z = cloud(9)
    coordinates = principal_coordinates(z, count)
    np.testing.assert_allclose(spectrum(coordinates), spectrum(z)[:count], rtol=1e-10)
    distances = np.linalg.norm(coordinates[:, None] - coordinates, axis=-1)
    assert (distances <= np.linalg.norm(z[:, None] - z, axis=-1) + 1e-9).all()


def test_principal_coordinates_turn_back_to_the_ones_they_should_be_like():
    z = cloud(10)
    first = principal_coordinates(z)
    turned = principal_coordinates(1e-9 * z @ rotation(3) + 4, like=first)
    np.testing.assert_allclose(1e9 * turned, first, atol=1e-4)


@pytest.mark.parametrize("accuracy", [knn_accuracy, linear_probe_accuracy])
def test_accuracy_is_perfect_on_separated_classes_and_chance_on_constants(accuracy):
    z, labels = blobs(0)
    z_test, labels_test = blobs(1)
    assert accuracy(z, labels, z_test, labels_test) == 1
    constant = accuracy(0 * z + 1, labels, 0 * z_test + 1, labels_test)
    assert constant <= np.bincount(labels_test).max() / len(labels_test)


@pytest.mark.parametrize("accuracy", [knn_accuracy, linear_probe_accuracy])
def test_accuracy_is_invariant_to_rotation_and_common_scale(accuracy):
    z, labels = blobs(2, spread=0.6)
    z_test, labels_test = blobs(3, spread=0.6)
    turned = accuracy(7 * z @ rotation(0), labels, 7 * z_test @ rotation(0), labels_test)
    assert turned == pytest.approx(accuracy(z, labels, z_test, labels_test), abs=1 / 119)


def test_the_probe_is_the_ridge_solution():
    z, labels = blobs(4, spread=0.6)
    penalty = 0.05
    centred = z - z.mean(0)
    onehot = 2 * np.eye(3)[labels] - 1
    gram = centred.T @ centred / len(z) + penalty * np.eye(5)
    weights = np.linalg.solve(gram, centred.T @ (onehot - onehot.mean(0)) / len(z))
    direct = np.mean(np.argmax(centred @ weights + onehot.mean(0), axis=1) == labels)
    assert linear_probe_accuracy(z, labels, z, labels, scale="none", penalty=penalty) == pytest.approx(direct)


def test_only_standardising_features_rescues_a_vanishing_direction():
    z, labels = blobs(5)
    squeezed = z * np.array([1e-6, 1e-6, 1, 1, 1])
    noisy = squeezed + np.array([0, 0, 0, 0, 5.0])
    assert linear_probe_accuracy(noisy, labels, noisy, labels, scale="feature") == 1
    assert linear_probe_accuracy(noisy, labels, noisy, labels, scale="total") < 0.9


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: spectrum(np.ones(3)), "samples, features"),
        (lambda: spectrum(np.full((2, 2), np.nan)), "z must be finite"),
        (lambda: feature_spread(np.ones((0, 3))), "at least one sample"),
        (lambda: effective_rank(np.array([1.0, -1.0])), "eigenvalues must be at least 0; got -1"),
        (lambda: participation_ratio(np.array([np.inf])), "eigenvalues must be finite"),
        (lambda: effective_rank(np.zeros(0)), "n >= 1"),
        (lambda: principal_coordinates(cloud(0), 6), "count: got 6"),
        (lambda: principal_coordinates(cloud(0), 2, like=cloud(0)), "like: got shape"),
        (lambda: knn_accuracy(*blobs(0), *blobs(1), neighbours=121), "between 1 and"),
        (lambda: knn_accuracy(blobs(0)[0], np.zeros(120, int), *blobs(1)), "at least two"),
        (lambda: linear_probe_accuracy(*blobs(0), *blobs(1), scale="std"), "scale"),
        (lambda: linear_probe_accuracy(*blobs(0), *blobs(1), penalty=-1.0), "penalty"),
        (lambda: linear_probe_accuracy(blobs(0)[0], blobs(0)[1][:5], *blobs(1)), "one class for each"),
        (lambda: linear_probe_accuracy(blobs(0)[0][:, :4], blobs(0)[1], *blobs(1)), "got shapes"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shared", [True, False])
def test_the_probe_of_many_seeds_is_the_probe_of_each(classes, shared):
    rng = np.random.default_rng(classes)
    rows = 1 if shared else 3
    labels, labels_test = np.arange(classes * 9) % classes + 5, rng.integers(5, 5 + classes, 50)
    labels, labels_test = np.tile(labels, (rows, 1)), np.tile(labels_test, (rows, 1))
    z, z_test = 7 + rng.standard_normal((3, labels.shape[1], 6)), 7 + rng.standard_normal((3, 50, 6))
    z += 0.5 * labels[..., None]
    found = few_label_accuracy(z, labels, z_test, labels_test, [4, 5, 6], (1, 3), draws=2, penalty=0.01)
    for s, seed in enumerate((4, 5, 6)):
        own = 0 if shared else s
        for j, k in enumerate((1, 3)):
            scores = []
            for draw in range(2):
                g = np.random.default_rng([seed, draw])
                chosen = [g.choice(np.flatnonzero(labels[own] == c), k, replace=False) for c in np.unique(labels)]
                few = np.concatenate(chosen)
                args = (z[s][few], labels[own][few], z_test[s], labels_test[own])
                scores.append(linear_probe_accuracy(*args, penalty=0.01))
            assert found[j, s] == pytest.approx(np.mean(scores), abs=1e-12)


def test_codes_that_all_coincide_are_a_guess():
    labels = np.arange(20)[None] % 4
    z = np.ones((1, 20, 3))
    found = few_label_accuracy(z, labels, z, labels, [0], (2,), draws=2, penalty=0.01)
    assert found[0, 0] == 0.25


def test_few_labels_are_refused_where_there_are_fewer():
    z, labels = np.random.default_rng(0).standard_normal((2, 12, 3)), np.arange(12)[None] % 4
    good = {"draws": 1, "penalty": 0.1}
    for seeds, counts, options in (([0, 1], (4,), good), ([0], (1,), good), ([0, 1], (1,), good | {"penalty": -1})):
        with pytest.raises(ValueError, match=r"class has only|seeds for|penalty"):
            few_label_accuracy(z, labels, z, labels, seeds, counts, **options)


def test_whitening_undoes_every_invertible_map_up_to_a_rotation():
    z, test, rng = cloud(0), cloud(1, count=9), np.random.default_rng(2)
    a, b = whitened(z, test)
    assert np.allclose(a.mean(axis=0), 0, atol=1e-12)
    assert np.allclose(a.T @ a / len(a), np.eye(5))
    M = rng.normal(size=(5, 5))
    c, d = whitened(z @ M + 3, test @ M + 3)
    assert np.allclose(a @ b.T, c @ d.T)
    for bad in (z[:, [0, 0, 1, 2, 3]] * [1, 0, 1, 1, 1], z[:3]):
        with pytest.raises(ValueError, match="cannot be whitened"):
            whitened(bad, test)
    with pytest.raises(ValueError, match="need"):
        whitened(z, test[:, :2])
