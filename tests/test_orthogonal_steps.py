"""Forms of one step that cost differently: they are the same step, and cost what their formula says."""

import numpy as np
import pytest
import torch

from ssltheory.contrast import contrast_matrix
from ssltheory.orthogonal_flow import descend_network, euler_step, network_step, random_network
from ssltheory.orthogonal_steps import (
    activate,
    count_products,
    decay_factors,
    euler_steps,
    exact_steps,
    network_steps,
    products_per_step,
    sampled_steps,
    steps_to_end,
)


def problem(seed, m=6, n=2, h=11, N=40):
    rng = np.random.default_rng(seed)
    views = rng.standard_normal((3, N, m))
    return views, contrast_matrix(*views), *random_network(rng, h, m, n)


@pytest.mark.parametrize("tangent", [None, "grassmann", "embedded", "canonical"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_step_in_the_span_of_q_and_gamma_q_is_the_step_of_the_network(tangent, n):
    rng = np.random.default_rng(n)
    gamma = np.sort(rng.standard_normal((4, 7)))
    weights = [random_network(rng, 9, 7, n) for _ in range(4)]
    q = np.stack([W1.T @ W2 for W1, W2 in weights])
    found = exact_steps(q, gamma, 0.07, 6, tangent=tangent)
    for k in range(4):
        want = q[k]
        for _ in range(6):
            want = network_step(want, gamma[k], 0.07, tangent=tangent)
        np.testing.assert_allclose(found[k], want, atol=1e-12)
        trained = descend_network(*weights[k], np.diag(gamma[k]), step=0.07, steps=6, tangent=tangent)[0][-1]
        np.testing.assert_allclose(found[k], trained, atol=1e-12)


def test_it_stays_exact_where_q_and_gamma_q_are_dependent():
    q = np.eye(5)[:, :2]
    np.testing.assert_allclose(exact_steps(q, np.array([-2.0, -1.0, 0.0, 0.5, 1.0]), 0.1, 50), q, atol=1e-12)
    np.testing.assert_allclose(exact_steps(0 * q, np.array([-2.0, -1.0, 0.0, 0.5, 1.0]), 0.1, 3), 0 * q, atol=0)


def test_both_projections_of_the_weights_are_the_polar_factor():
    _, gamma, W1, W2 = problem(0)
    _, *want = descend_network(W1, W2, gamma, step=0.05, steps=7)
    for thin in (False, True):
        for found, true in zip(network_steps(W1, W2, gamma, 0.05, 7, thin=thin), want, strict=True):
            np.testing.assert_allclose(found, true, atol=1e-12)


def test_gradients_from_samples_are_those_of_the_contrast_matrix():
    (x, positive, negative), gamma, W1, W2 = problem(1)
    found = sampled_steps(W1, W2, x, positive, negative, 0.05, 4)
    for got, want in zip(found, network_steps(W1, W2, gamma, 0.05, 4), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("activation", ["linear", "tanh", "relu"])
def test_the_step_from_samples_is_that_of_automatic_differentiation(activation):
    (x, positive, negative), _, W1, W2 = problem(2)
    weights = [torch.tensor(W, requires_grad=True) for W in (W1, W2)]
    phi = {"linear": lambda a: a, "tanh": torch.tanh, "relu": torch.relu}[activation]
    f, minus, plus = (phi(torch.tensor(v) @ weights[0].T) @ weights[1] for v in (x, negative, positive))
    (f * (minus - plus)).sum(dim=1).mean().backward()
    found = sampled_steps(W1, W2, x, positive, negative, 0.05, 1, activation=activation)
    for got, W in zip(found, weights, strict=True):
        left, _, right = np.linalg.svd((W - 0.05 * W.grad).detach().numpy(), full_matrices=False)
        np.testing.assert_allclose(got, left @ right, atol=1e-12)
    np.testing.assert_allclose(activate(x, activation), phi(torch.tensor(x)).numpy(), rtol=1e-14)


def test_euler_steps_are_those_of_the_flow():
    _, gamma, W1, W2 = problem(3)
    values, vectors = np.linalg.eigh(gamma)
    q = want = vectors.T @ W1.T @ W2
    for _ in range(5):
        want = euler_step(want, values, 0.05)
    np.testing.assert_allclose(euler_steps(q, values, 0.05, 5), want, atol=1e-13)


@pytest.mark.parametrize("size", [(7, 2), (9, 3), (12, 1)])
@pytest.mark.parametrize("form", ["euler", "exact", "network", "network, thin", "samples", "nonlinear samples"])
def test_a_step_costs_the_products_of_its_formula(form, size):
    for h, N in ((12, 30), (20, 8)):
        assert count_products(form, *size, h, N) == products_per_step(form, *size, h, N)


@pytest.mark.parametrize("step", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("form", ["exact", "euler"])
def test_small_deviations_from_the_end_are_multiplied_by_the_factors(form, step):
    gamma, n, eps = np.array([-1.0, -0.7, -0.4, -0.1, 0.0, 0.3]), 2, 1e-6
    outside, inside = decay_factors(gamma, n, step, form)
    end, move = np.eye(6)[:, :n], exact_steps if form == "exact" else euler_steps
    for j in range(n, 6):
        for i in range(n):
            push = np.zeros((6, n))
            push[j, i] = eps
            change = (move(end + push, gamma, step, 1) - move(end - push, gamma, step, 1)) / (2 * eps)
            assert change[j, i] == pytest.approx(outside[j - n, i], abs=1e-8)
    push = np.zeros((6, n))
    push[:n] = np.array([[1.0, 0.5], [0.5, 2.0]]) * eps
    after = move(end - push, gamma, step, 1)
    np.testing.assert_allclose((np.eye(n) - after.T @ after) / (2 * push[:n]), inside, rtol=1e-4, atol=1e-4)


def test_the_network_is_stable_at_every_step_if_no_eigenvalue_is_positive():
    gamma = np.array([-1.0, -0.9, -0.2, 0.0])
    for step in np.geomspace(1e-3, 1e3, 13):
        for factors in decay_factors(gamma, 2, step, "exact"):
            assert np.abs(factors).max() < 1
    assert np.abs(decay_factors(gamma, 2, 0.26, "euler")[1]).max() > 1


def test_the_number_of_steps_follows_from_the_slowest_factor():
    gamma = np.array([-1.0, -0.6, -0.3])
    q = np.array([[np.cos(0.3)], [np.sin(0.3)], [0.0]])
    for form, step in (("exact", 0.1), ("exact", 1.0), ("euler", 0.1)):
        factor = abs(decay_factors(gamma, 1, step, form)[0][0, 0])
        assert steps_to_end(q, gamma, step, form) == pytest.approx(np.log(1e-3 / np.tan(0.3)) / np.log(factor), abs=2)
    assert steps_to_end(q, gamma, 0.6, "euler") is None
    assert steps_to_end(np.eye(3)[:, :1], gamma, 0.1, "euler") == 0


def test_only_the_forms_with_weights_know_the_width():
    for form in ("euler", "exact"):
        assert products_per_step(form, 64, 2, 64) == products_per_step(form, 64, 2, 4096)
    for form in ("network", "network, thin", "samples", "nonlinear samples"):
        costs = [products_per_step(form, 64, 2, h, 400) for h in (100, 200, 300)]
        assert costs[2] - costs[1] == costs[1] - costs[0] > 0


def test_bad_input_is_refused():
    (x, positive, negative), gamma, W1, W2 = problem(4)
    values = np.linspace(-1, 1, 6)
    q = W1.T @ W2
    for call, words in (
        (lambda: euler_steps(q, values[:5], 0.1, 1), "q has shape"),
        (lambda: euler_steps(q, values, -0.1, 1), "step must be greater than 0"),
        (lambda: exact_steps(q[None], values, 0.1, 1), "same batch"),
        (lambda: exact_steps(q, values, 0.1, 1, tangent="euclidean"), "tangent must be one of"),
        (lambda: exact_steps(q, values, 0.1, -1), "count must be an integer"),
        (lambda: network_steps(W1[:5], W2[:5], gamma, 0.1, 1), "the width is 5"),
        (lambda: network_steps(W1, W2[1:], gamma, 0.1, 1), "W2 has shape"),
        (lambda: sampled_steps(W1, W2, x, positive[1:], negative, 0.1, 1), "positive has shape"),
        (lambda: sampled_steps(W1, W2, x, positive, negative, 0.1, 1, activation="gelu"), "activation must be"),
        (lambda: products_per_step("network", 6, 2, 5), "h must be an integer"),
        (lambda: products_per_step("samples", 6, 2, 8), "samples must be an integer"),
        (lambda: decay_factors(values[::-1], 1, 0.1, "euler"), "gamma must increase"),
        (lambda: decay_factors(values, 4, 0.1, "euler"), "begin with n = 4 negative"),
        (lambda: count_products("magic", 6, 2), "form must be one of"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
