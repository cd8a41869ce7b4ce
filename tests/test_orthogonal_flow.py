"""The exact step and the four flows of a constrained network, against the network itself and against their laws."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltheory.contrast import linear_loss
from ssltheory.orthogonal_flow import (
    FOLLOWED,
    descend_network,
    euler_path,
    euler_step,
    flow_velocity,
    network_gradients,
    network_step,
    orthogonal_flow,
    random_network,
    step_path,
)
from ssltheory.stiefel import ROTATION

seeds = st.integers(0, 10**6)
KINDS = ("grassmann", "embedded", "canonical", "qr")
RULES = [(tangent, retraction) for tangent in (None, *ROTATION) for retraction in ("polar", "qr")]


def problem(seed, m=4, n=2, h=9):
    rng = np.random.default_rng(seed)
    M = rng.normal(size=(m, m))
    return (M + M.T) / 2, *random_network(rng, h, m, n)


def test_the_gradients_are_those_of_autograd():
    gamma, W1, W2 = problem(0)
    weights = [torch.tensor(W, requires_grad=True) for W in (W1, W2)]
    product = weights[0].T @ weights[1]
    torch.trace(product.T @ torch.tensor(gamma) @ product).backward()
    for found, weight in zip(network_gradients(W1, W2, gamma), weights, strict=True):
        assert np.allclose(found, weight.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize(("tangent", "retraction"), RULES)
@pytest.mark.parametrize("h", [4, 5, 6, 40])
def test_the_step_in_coordinates_is_the_step_of_the_network(h, tangent, retraction):
    gamma, W1, W2 = problem(h, h=h)
    path, *_ = descend_network(W1, W2, gamma, step=0.04, steps=40, tangent=tangent, retraction=retraction)
    assert np.abs(step_path(path[0], gamma, 0.04, 40, tangent=tangent, retraction=retraction) - path).max() < 1e-9
    values, V = np.linalg.eigh(gamma)
    if retraction == "polar":  # in the eigenvectors: the same step
        turned = network_step(V.T @ path[0], values, 0.04, tangent=tangent)
        assert np.allclose(V @ turned, path[1], atol=1e-10)


@pytest.mark.parametrize(("tangent", "retraction"), RULES)
def test_small_steps_follow_the_flow_named(tangent, retraction):
    gamma, W1, W2 = problem(2)
    q, kind = W1.T @ W2, FOLLOWED[tangent, retraction]
    errors = []
    for step in (1e-3, 1e-4):
        rate = (network_step(q, gamma, step, tangent=tangent, retraction=retraction) - q) / step
        errors.append(np.abs(rate - flow_velocity(q, gamma, kind)).max())
    assert errors[1] < 1e-2
    assert errors[1] < errors[0] / 5


@given(seeds, st.sampled_from(KINDS[:3]))
def test_the_first_three_are_the_same_in_every_basis_and_descend(seed, kind):
    gamma, W1, W2 = problem(seed)
    q, V = W1.T @ W2, np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    velocity = flow_velocity(q, gamma, kind)
    assert np.allclose(V.T @ velocity, flow_velocity(V.T @ q, V.T @ gamma @ V, kind), atol=1e-9)
    assert 2 * np.sum(velocity * (gamma @ q)) <= 1e-9  # of the loss


@given(seeds, st.sampled_from(KINDS))
def test_what_every_flow_does_to_the_angles(seed, kind):
    # K = I - q^T q obeys K' = 4 (M K + K M), M = q^T Gamma q, up to the rotation of the columns that only qr makes.
    gamma, W1, W2 = problem(seed)
    q = W1.T @ W2
    velocity, M, K = flow_velocity(q, gamma, kind), q.T @ gamma @ q, np.eye(2) - q.T @ q
    change = -velocity.T @ q - q.T @ velocity
    if kind == "qr":
        turn = np.array([[0.0, -1.0], [1.0, 0.0]]) * 2 * M[1, 0]
        change = change + K @ turn - turn @ K
    assert np.allclose(change, 4 * (M @ K + K @ M), atol=1e-9)


def test_the_integral_of_the_loss_is_a_determinant():
    gamma, W1, W2 = problem(5)
    run = orthogonal_flow(W1.T @ W2, gamma, "embedded", duration=0.5, samples=4001, rtol=1e-12, atol=1e-14)
    K = np.eye(2) - run.q.mT @ run.q
    grown = np.linalg.slogdet(K[-1])[1] - np.linalg.slogdet(K[0])[1]
    assert grown == pytest.approx(8 * np.trapezoid(run.loss, run.times), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_flow_ends_at_the_most_negative_eigenvectors_and_says_so(kind):
    gamma = np.diag([-2.0, -1.0, -0.3, 0.7])
    rng = np.random.default_rng(3)
    W1, W2 = random_network(rng, 9, 4, 2)
    run = orthogonal_flow(W1.T @ W2, gamma, kind, duration=500.0, speed_tol=1e-9)
    assert run.outcome == "converged"
    assert run.loss[-1] == pytest.approx(-3.0, abs=1e-7)
    assert np.allclose(run.q[-1] @ run.q[-1].T, np.diag([1.0, 1.0, 0.0, 0.0]), atol=1e-6)
    assert run.times[-1] < 60
    assert (np.diff(run.loss) <= 1e-8).all()


def test_an_euler_step_is_the_grassmann_flow_and_may_leave_the_networks():
    gamma, W1, W2 = problem(6)
    q = W1.T @ W2
    assert np.allclose((euler_step(q, gamma, 1e-6) - q) / 1e-6, flow_velocity(q, gamma, "grassmann"), atol=1e-8)
    state = np.array([[0.9], [0.0]])
    assert np.abs(euler_step(state, np.array([-1.0, 0.5]), 1.0)).max() > 1
    # From there the flow leaves every ball where the eigenvalue is positive: it is no state of a network.
    run = orthogonal_flow(np.array([[1.1]]), np.array([1.0]), "grassmann", duration=10.0)
    assert run.outcome == "diverged"


def test_a_path_of_euler_steps_ends_in_nan_outside_its_limit():
    q, gamma = np.array([[1.2], [0.1]]), np.array([1.0, -0.5])
    path = euler_path(q, gamma, 0.2, 30, limit=5.0)
    assert np.array_equal(path[0], q)
    assert np.array_equal(path[2], euler_step(euler_step(q, gamma, 0.2), gamma, 0.2))
    size = np.abs(path).max(axis=(1, 2))
    left = int(np.argmax(size > 5))
    assert 0 < left < 30
    assert np.isnan(path[left + 1 :]).all()
    assert np.isfinite(path[: left + 1]).all()


@pytest.mark.parametrize("kind", KINDS[:3])
def test_columns_in_orthogonal_invariant_subspaces_do_not_feel_one_another(kind):
    gamma, q = np.array([-1.0, -0.6, 0.3, 0.5]), np.zeros((4, 2))
    q[[0, 2], 0], q[[1, 3], 1] = [0.2, 0.4], [-0.3, 0.5]
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    together, *alone = (
        orthogonal_flow(start, gamma, kind, duration=1.3, samples=2, rtol=1e-12, atol=1e-14).q[-1]
        for start in (q @ turn, q[:, :1], q[:, 1:])
    )
    assert np.allclose(together, np.hstack(alone) @ turn, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS[1:3])
def test_several_features_end_in_the_same_space_and_not_at_the_same_code(kind):
    gamma = np.array([-1.0, -0.6, 0.3, 0.5])
    W1, W2 = random_network(np.random.default_rng(0), 12, 4, 2)
    first, other = (orthogonal_flow(W1.T @ W2, gamma, k, duration=60, samples=2).q[-1] for k in ("grassmann", kind))
    assert np.allclose(first @ first.T, other @ other.T, atol=1e-9)
    assert np.abs(first - other).max() > 0.03


def test_the_loss_is_that_of_the_samples():
    gamma, W1, W2 = problem(7)
    assert linear_loss(W1.T @ W2, gamma) == pytest.approx(np.trace(W2.T @ W1 @ gamma @ W1.T @ W2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: flow_velocity(np.ones((3, 1)), np.eye(2), "qr"), "q has shape"),
        (lambda: flow_velocity(np.ones((2, 1)), np.eye(2), "stiefel"), "kind must be one of"),
        (lambda: flow_velocity(np.ones((2, 1)), np.array([[0.0, 1], [0, 0]]), "qr"), "symmetric"),
        (lambda: network_step(np.ones((2, 1)) / 2, np.eye(2), 0.0), "step"),
        (lambda: network_step(np.ones((2, 1)) / 2, np.eye(2), 0.1, retraction="svd"), "retraction"),
        (lambda: step_path(np.ones((2, 1)) / 2, np.eye(2), 0.1, 0), "steps"),
        (lambda: euler_path(np.ones((2, 1)) / 2, np.eye(2), 0.1, 0), "steps"),
        (lambda: euler_path(np.ones((2, 1)) / 2, np.eye(2), 0.1, 1, limit=0.0), "limit"),
        (lambda: orthogonal_flow(np.ones((2, 1)), np.eye(2), "qr", duration=0), "duration"),
        (lambda: orthogonal_flow(np.ones((2, 1)), np.eye(2), "qr", duration=1, norm_limit=1), "norm_limit"),
        (lambda: network_gradients(np.ones((5, 3)), np.ones((4, 1)), np.eye(3)), "W2 has shape"),
        (lambda: descend_network(np.eye(3), np.eye(3), np.eye(3), step=0.1, steps=0), "steps"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
