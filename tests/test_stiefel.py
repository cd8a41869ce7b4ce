"""Laws of frames: what a projection keeps, what is nearest, what is uniform."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.linalg import polar

from ssltheory.stiefel import ROTATION, polar_factor, qr_factor, random_frame, tangent_part

seeds = st.integers(0, 10**6)


def skew(M):
    return (M - M.T) / 2


@given(seeds, st.integers(1, 4), st.integers(0, 4))
def test_factors_are_frames_and_leave_frames_alone(seed, k, extra):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(k + extra, k)) + np.eye(k + extra, k) * 3
    assume(np.linalg.cond(W) < 100)
    for factor in (polar_factor, qr_factor):
        frame = factor(W)
        assert np.allclose(frame.T @ frame, np.eye(k), atol=1e-12)
        assert np.allclose(factor(frame), frame, atol=1e-12)
    assert np.allclose(polar_factor(W), polar(W)[0], atol=1e-10)
    upper = qr_factor(W).T @ W
    assert np.allclose(upper, np.triu(upper), atol=1e-12)
    assert (np.diag(upper) > 0).all()


@given(seeds)
def test_the_polar_factor_is_the_nearest_frame(seed):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(5, 3))
    best = np.linalg.norm(W - polar_factor(W))
    for other in (qr_factor(W), random_frame(rng, 5, 3), qr_factor(W + 0.1 * rng.normal(size=W.shape))):
        assert best <= np.linalg.norm(W - other) + 1e-12


@given(seeds, st.sampled_from(sorted(ROTATION)))
def test_tangent_parts(seed, kind):
    rng = np.random.default_rng(seed)
    W, G = random_frame(rng, 6, 3), rng.normal(size=(6, 3))
    T = tangent_part(W, G, kind)
    assert np.allclose(W.T @ T + T.T @ W, 0, atol=1e-12)  # tangent
    assert np.sum(G * T) >= -1e-12  # a step against it descends
    assert np.allclose(W.T @ T, ROTATION[kind] * skew(W.T @ G), atol=1e-12)
    once = {"grassmann": T, "embedded": T, "canonical": T + W @ (W.T @ T)}[kind]
    assert np.allclose(tangent_part(W, T, kind), once, atol=1e-12)


@given(seeds)
def test_the_parts_agree_for_a_loss_of_the_space_of_columns(seed):
    rng = np.random.default_rng(seed)
    W, M = random_frame(rng, 6, 3), rng.normal(size=(6, 6))
    G = (M + M.T) @ W  # the gradient of tr(W^T M W)
    parts = [tangent_part(W, G, kind) for kind in ROTATION]
    assert np.allclose(parts[0], parts[1], atol=1e-12)
    assert np.allclose(parts[0], parts[2], atol=1e-12)


@pytest.mark.parametrize("kind", sorted(ROTATION))
def test_each_part_is_the_gradient_in_its_own_metric(kind):
    # <T, xi>_W = d loss(xi) for the tangent vectors xi of that space, with the metric's own inner product.
    rng = np.random.default_rng(1)
    W, G = random_frame(rng, 6, 3), rng.normal(size=(6, 3))
    T = tangent_part(W, G, kind)
    for _ in range(5):
        A, Z = rng.normal(size=(3, 3)), rng.normal(size=(6, 3))
        xi = Z - W @ (W.T @ Z) + (0 if kind == "grassmann" else W @ skew(A))
        metric = np.eye(6) - W @ W.T / 2 if kind == "canonical" else np.eye(6)
        assert np.sum(T * (metric @ xi)) == pytest.approx(np.sum(G * xi), abs=1e-12)


def test_the_draw_is_uniform():
    rng = np.random.default_rng(0)
    frames = random_frame(rng, 4, 2, (40_000,))
    second = np.einsum("bik,bjk->ij", frames, frames) / len(frames)
    assert np.abs(frames.mean(axis=0)).max() < 5 * 0.5 / 200
    assert np.abs(second - np.eye(4) * 2 / 4).max() < 5 * 0.5 / 200
    # An entry is a coordinate of a uniform point of the sphere: E w^4 = 3 / (h (h + 2)), all entries alike.
    assert np.abs((frames**4).mean(axis=0) - 3 / 24).max() < 5 * 0.2 / 200


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: random_frame(np.random.default_rng(0), 2, 3), "k must be at most h"),
        (lambda: polar_factor(np.ones((3, 2))), "independent columns"),
        (lambda: qr_factor(np.ones((3, 2))), "independent columns"),
        (lambda: polar_factor(np.ones((2, 3))), "1 <= k <= h"),
        (lambda: tangent_part(np.eye(3, 2), np.ones((3, 2)), "stiefel"), "kind must be one of"),
        (lambda: tangent_part(np.eye(3, 2), np.ones((3, 3)), "embedded"), "G has shape"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
