"""Which q frames of a width can make, and the least loss under each constraint, against independent optimisation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from ssltheory.constrained_minima import (
    constrained_minimum,
    descend_bounded,
    descend_constrained,
    forced_ones,
    frames_with_product,
    least_width,
    project,
    sphere_flow,
)
from ssltheory.contrast import linear_loss
from ssltheory.orthogonal_flow import descend_network, random_network

seeds = st.integers(0, 10**6)
INDEFINITE = np.array([-1.9, -0.9, 0.4, 1.3])


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.integers(0, 5))
def test_frames_of_a_width_have_the_forced_singular_values_and_no_more(seed, m, n, more):
    rng = np.random.default_rng(seed)
    h = max(m, n) + more
    W1, W2 = random_network(rng, h, m, n)
    s = np.linalg.svd(W1.T @ W2, compute_uv=False)
    forced = forced_ones(h, m, n)
    assert s.max() < 1 + 1e-12
    assert np.allclose(s[:forced], 1)
    assert (s[forced:] < 1 - 1e-9).all()  # almost surely


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.integers(0, 5))
def test_every_q_of_the_set_is_made_by_frames(seed, m, n, more):
    rng = np.random.default_rng(seed)
    h = max(m, n) + more
    forced = forced_ones(h, m, n)
    s = np.where(np.arange(min(m, n)) < forced, 1.0, rng.uniform(0, 1, min(m, n)))
    left, right = (np.linalg.qr(rng.normal(size=(k, k)))[0][:, : min(m, n)] for k in (m, n))
    q = (left * s) @ right.T
    W1, W2 = frames_with_product(q, h)
    assert W1.shape == (h, m)
    for W in (W1, W2):
        assert np.allclose(W.T @ W, np.eye(W.shape[1]), atol=1e-7)
    assert np.allclose(W1.T @ W2, q, atol=1e-7)
    if forced and 1 - s.max() < 1e-12:
        short = q * 0.9
        with pytest.raises(ValueError, match="singular values"):
            frames_with_product(short, h)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("h", [4, 5, 6, 7, 8])
def test_descent_of_the_weights_finds_the_closed_form_at_every_width(h, n):
    rng = np.random.default_rng(10 * h + n)
    V = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    gamma = (V * INDEFINITE) @ V.T
    W1, W2 = random_network(rng, h, 4, n, (6,))
    path, *_ = descend_network(W1, W2, gamma, step=0.08, steps=700, every=700)
    told = constrained_minimum(INDEFINITE, n, "frames", h)
    assert np.allclose(linear_loss(path[-1], gamma), told.loss, atol=1e-7)
    drawn, *_ = (W1.mT @ W2,)
    assert (linear_loss(drawn, gamma) >= told.loss - 1e-12).all()


@pytest.mark.parametrize("constraint", ["frobenius", "nuclear", "operator"])
def test_projected_descent_finds_the_closed_form(constraint):
    rng = np.random.default_rng(3)
    V = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    gamma, start = (V * INDEFINITE) @ V.T, project(rng.normal(size=(20, 4, 3)), constraint)
    end = descend_constrained(start, gamma, constraint, step=0.1, steps=400)
    told = constrained_minimum(INDEFINITE, 3, constraint)
    assert np.allclose(linear_loss(end, gamma), told.loss, atol=1e-9)
    assert np.allclose(np.linalg.svd(end, compute_uv=False), told.singular, atol=1e-6)


@pytest.mark.parametrize(("m", "n", "h"), [(4, 2, 6), (4, 3, 5), (4, 3, 1)])
def test_bounded_weights_find_the_minimum_and_tie_their_gains_if_they_keep_two(m, n, h):
    rng = np.random.default_rng(m + n + h)
    W = rng.normal(size=(8, h, m)), rng.normal(size=(8, h, n))
    W1, W2 = descend_bounded(*W, np.diag(INDEFINITE), step=0.1, steps=1500)
    sizes = [np.linalg.svdvals(W) for W in (W1, W2)]
    assert max(s.max() for s in sizes) < 1 + 1e-12
    loss = linear_loss(W1.mT @ W2, INDEFINITE)
    assert loss.min() == pytest.approx(constrained_minimum(INDEFINITE, n, "operator", h).loss, abs=1e-9)
    if h > 1:
        for s in sizes:
            assert np.allclose(s[loss < loss.min() + 1e-9, 1], 1)


@given(seeds)
def test_the_projections_are_nearest_points(seed):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(3, 2))
    for constraint in ("frobenius", "nuclear", "operator"):
        near = project(q, constraint)
        assert np.allclose(project(near, constraint), near, atol=1e-12)
        for other in project(rng.normal(size=(20, 3, 2)), constraint):  # of a convex set
            assert np.sum((q - near) * (other - near)) < 1e-9


def test_the_smallest_counterexample_and_the_width_that_cures_it():
    gamma = np.array([-1.0, 1.0])
    assert constrained_minimum(gamma, 2, "operator").loss == -1
    assert [constrained_minimum(gamma, 2, "frames", h).loss for h in (2, 3, 4)] == [0, -1, -1]
    assert least_width(gamma, 2) == 3


@given(seeds, st.integers(1, 5), st.integers(1, 6))
def test_the_least_width_is_where_the_minima_meet(seed, m, n):
    gamma = np.random.default_rng(seed).integers(-2, 3, m).astype(float)
    free = constrained_minimum(gamma, n, "operator")
    for h in range(max(m, n), m + n + 1):
        frames = constrained_minimum(gamma, n, "frames", h)
        assert frames.loss >= free.loss
        assert (frames.loss == free.loss) == (h >= least_width(gamma, n))
        assert least_width(gamma, n) >= n
        assert np.array_equal(frames.singular, free.singular) == (h >= least_width(gamma, n, minimisers=True))


def test_the_flow_on_the_sphere_is_its_equation_and_collapses_at_the_gap():
    rng = np.random.default_rng(0)
    gamma, q = np.diag([-1.0, -0.6, 0.3]), rng.normal(size=(3, 2))
    q /= np.linalg.norm(q)

    def velocity(t, flat):
        q = flat.reshape(3, 2)
        return (-2 * gamma @ q + 2 * linear_loss(q, gamma) * q).ravel()

    times = np.array([0.5, 2.0, 4.0])
    run = solve_ivp(velocity, (0, 4), q.ravel(), t_eval=times, rtol=1e-11, atol=1e-13)
    found = sphere_flow(q, gamma, times)
    assert np.allclose(found, run.y.T.reshape(3, 3, 2), atol=1e-9)
    late = np.linalg.svd(sphere_flow(q, gamma, np.array([10.0, 11.0])), compute_uv=False)
    ratio = late[:, 1] / late[:, 0]
    assert np.log(ratio[1] / ratio[0]) == pytest.approx(-2 * 0.4, abs=1e-4)
    assert np.allclose(sphere_flow(3 * q, -np.eye(3), np.array([0.0, 9.0])), q)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: forced_ones(3, 4, 2), "h must be at least"),
        (lambda: constrained_minimum(INDEFINITE, 2, "frames"), "need the width"),
        (lambda: constrained_minimum(INDEFINITE, 2, "spectral"), "constraint must be one of"),
        (lambda: project(np.ones((2, 2)), "frames"), "constraint must be one of"),
        (lambda: sphere_flow(np.zeros((2, 1)), np.eye(2), np.ones(1)), "must not be zero"),
        (lambda: frames_with_product(1.1 * np.eye(2), 4), "singular values"),
        (lambda: descend_constrained(np.ones((2, 1)), np.eye(2), "operator", step=0, steps=1), "step"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
