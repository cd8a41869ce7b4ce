"""The scaled loss, the blow-up of the free one, and the penalty, against autograd, integration and invariance."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from ssltheory.constrained_minima import constrained_minimum
from ssltheory.scaled_loss import (
    blow_up,
    descend_penalised,
    descend_scaled,
    penalised_minimum,
    scalar_blow_up,
    scaled_gradients,
    scaled_loss,
)
from ssltheory.scaled_record import PROBLEMS, start_weights

seeds = st.integers(0, 10**6)


def problem(seed, m=3, n=2, h=5, batch=()):
    rng = np.random.default_rng(seed)
    M = rng.normal(size=(m, m))
    return rng.normal(size=(*batch, h, m)), rng.normal(size=(*batch, h, n)), (M + M.T) / 2


def test_the_gradients_are_those_of_autograd():
    W1, W2, gamma = problem(0)
    weights = [torch.tensor(W, requires_grad=True) for W in (W1, W2)]
    q = weights[0].T @ weights[1]
    sizes = [torch.linalg.matrix_norm(W, 2) for W in weights]
    loss = torch.trace(q.T @ torch.tensor(gamma) @ q) / (sizes[0] * sizes[1]) ** 2
    loss.backward()
    assert scaled_loss(W1, W2, gamma) == pytest.approx(loss.item())
    for found, weight in zip(scaled_gradients(W1, W2, gamma), weights, strict=True):
        assert np.allclose(found, weight.grad.numpy(), atol=1e-12)


@given(seeds, st.floats(0.1, 10), st.floats(0.1, 10))
def test_scale_does_not_matter_and_a_step_makes_the_weights_longer(seed, a, b):
    W1, W2, gamma = problem(seed)
    assert scaled_loss(a * W1, b * W2, gamma) == pytest.approx(scaled_loss(W1, W2, gamma), rel=1e-9)
    grads = scaled_gradients(W1, W2, gamma)
    run = descend_scaled(W1, W2, gamma, step=0.3, steps=1)
    for W, G, moved in zip((W1, W2), grads, (run.W1, run.W2), strict=True):
        assert abs(np.sum(W * G)) < 1e-9 * np.linalg.norm(W) * max(np.linalg.norm(G), 1)
        assert np.sum(moved**2) == pytest.approx(np.sum(W**2) + 0.09 * np.sum(G**2), rel=1e-9)


@given(seeds)
def test_no_weights_are_below_the_constrained_minimum(seed):
    W1, W2, gamma = problem(seed, m=4, n=3, h=6, batch=(10,))
    least = constrained_minimum(np.linalg.eigvalsh(gamma), 3, "operator").loss
    assert (scaled_loss(W1, W2, gamma) >= least - 1e-9).all()


def test_with_one_dimension_descent_comes_to_rest_at_the_smallest_eigenvalue():
    gamma, n, h = PROBLEMS["one"]
    run = descend_scaled(*start_weights(gamma, n, h, 20), np.diag(gamma), step=0.2, steps=800, every=800)
    assert np.allclose(run.loss[-1], -1, atol=1e-9)
    assert max(np.abs(g).max() for g in scaled_gradients(run.W1, run.W2, np.diag(gamma))) < 1e-6


def test_with_two_the_gradient_does_not_vanish_near_the_minimum():
    gamma, n, h = PROBLEMS["two"]
    run = descend_scaled(*start_weights(gamma, n, h, 10), np.diag(gamma), step=0.03, steps=3000, every=3000)
    assert run.loss[-1].max() < -1.2
    slope = sum(np.sum(g**2, axis=(1, 2)) for g in scaled_gradients(run.W1, run.W2, np.diag(gamma)))
    assert slope.min() > 0.1


def test_near_a_kink_the_weights_grow_like_the_fourth_root_of_time():
    gamma, n, h = PROBLEMS["two"]
    early = descend_scaled(*start_weights(gamma, n, h, 10), np.diag(gamma), step=0.2, steps=600, every=600)
    late = descend_scaled(early.W1, early.W2, np.diag(gamma), step=0.2, steps=1800, every=1800)
    for before, after in ((early.W1, late.W1), (early.W2, late.W2)):
        growth = np.linalg.norm(after, axis=(1, 2)) / np.linalg.norm(before, axis=(1, 2))
        assert np.log(growth).mean() / np.log(4) == pytest.approx(0.25, abs=0.05)
    least = constrained_minimum(np.array(gamma), n, "operator").loss
    assert np.log((late.loss[-1] - least) / (early.loss[-1] - least)).mean() < -0.4


@given(seeds)
def test_the_weights_blow_up_before_the_bound(seed):
    W1, W2, gamma = problem(seed)
    gamma = -gamma @ gamma - 0.1 * np.eye(3)
    found = blow_up(W1, W2, gamma, growth=1e8)
    assert 0 < found.low <= found.high <= found.bound * (1 + 1e-9)
    assert found.high - found.low < 1e-6 * found.high
    ratio = -found.loss / found.norm**2
    assert (np.diff(ratio) >= -1e-9 * ratio[:-1]).all()


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.3), (1.0, 1.0), (0.01, 2.0), (-0.4, 0.7)])
def test_two_numbers_blow_up_when_the_formula_says(a, b):
    gap = abs(a * a - b * b)
    exact = quad(lambda u: 1 / (1.4 * u * np.hypot(gap, 2 * u)), abs(a * b), np.inf)[0]
    assert scalar_blow_up(a, b, -0.7) == pytest.approx(exact, rel=1e-7)
    found = blow_up(np.array([[a]]), np.array([[b]]), np.array([[-0.7]]))
    assert scalar_blow_up(a, b, -0.7) == pytest.approx(found.low, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_penalised_minimum_is_found_by_descent_and_tends_to_the_constrained_one(n):
    gamma, mu = np.array([-1.0, -0.5, 0.2, 0.6]), 0.8
    rng = np.random.default_rng(n)
    h = 4 + n - min(2, n)
    W1, W2 = rng.normal(size=(5, h, 4)) / 2, rng.normal(size=(5, h, n)) / 2
    value, W1, W2 = descend_penalised(W1, W2, np.diag(gamma), mu, step=0.02, steps=6000)
    least, singular = penalised_minimum(gamma, n, mu)
    assert np.allclose(value, least, atol=1e-9)
    assert np.allclose(np.linalg.svd(W1.mT @ W2, compute_uv=False), singular, atol=1e-6)
    assert penalised_minimum(gamma, n, 1e9)[0] == pytest.approx(constrained_minimum(gamma, n, "operator").loss)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: scaled_loss(np.zeros((2, 2)), np.eye(2), np.eye(2)), "W1 must not be zero"),
        (lambda: blow_up(np.eye(2), np.eye(2), np.eye(2)), "must be negative"),
        (lambda: scalar_blow_up(1, 1, 1), "need gamma < 0"),
        (lambda: penalised_minimum(np.array([-1.0, 1]), 1, 0.5), "mu must exceed"),
        (lambda: descend_scaled(np.eye(2), np.eye(2), np.eye(2), step=0, steps=1), "step"),
        (lambda: descend_scaled(np.eye(2), np.eye(3), np.eye(2), step=1, steps=1), "W2 has shape"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
