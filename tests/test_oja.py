"""The second moment of Oja's flow, against the integrator, its Riccati equation and the determinant of the angles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltheory.oja import isometry_moment, oja_loss, oja_moment
from ssltheory.orthogonal_flow import orthogonal_flow, random_network
from ssltheory.single_code import single_solution
from ssltheory.stiefel import ROTATION

seeds = st.integers(0, 10**6)


def problem(seed, m=4, n=2, h=9):
    rng = np.random.default_rng(seed)
    W1, W2 = random_network(rng, h, m, n)
    return W1.T @ W2, np.sort(rng.normal(size=m)) - 0.5


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("h", [4, 5, 12])
def test_the_moment_is_what_the_integrator_finds(n, h):
    q0, gamma = problem(n, n=n, h=h)
    run = orthogonal_flow(q0, gamma, "canonical", duration=2.0, samples=21, rtol=1e-13, atol=1e-15)
    assert np.abs(oja_moment(q0, gamma, run.times) - run.q @ run.q.mT).max() < 1e-9
    assert np.abs(oja_loss(q0, gamma, run.times) - run.loss).max() < 1e-9


@given(seeds)
def test_it_obeys_its_riccati_equation(seed):
    q0, gamma = problem(seed)
    e = 1e-4
    low, S, high = oja_moment(q0, gamma, np.array([0.3 - e, 0.3, 0.3 + e]))
    right = -4 * (gamma[:, None] * S + S * gamma - 2 * (S * gamma) @ S)
    assert np.allclose((high - low) / (2 * e), right, atol=1e-5)


@pytest.mark.parametrize("kind", ROTATION)
def test_frames_move_by_power_iteration_in_every_metric(kind):
    q0, gamma = problem(3, h=4)
    q0 = np.linalg.qr(q0)[0]
    run = orthogonal_flow(q0, gamma, kind, duration=1.0, samples=11, rtol=1e-13, atol=1e-15)
    found = isometry_moment(q0, gamma, run.times, ROTATION[kind])
    assert np.abs(found - run.q @ run.q.mT).max() < 1e-9


def test_one_column_is_the_single_code_and_late_times_are_the_limit():
    q0, gamma = problem(4, n=1)
    q = single_solution(q0[:, 0], gamma, [0.7], 2)[0]
    assert np.allclose(oja_moment(q0, gamma, [0.7])[0], np.outer(q, q), atol=1e-13)
    q0, gamma = problem(5, n=2)[0], np.array([-2.0, -1.0, 0.3, 0.7])
    assert np.allclose(oja_moment(q0, gamma, [80.0])[0], np.diag([1.0, 1.0, 0.0, 0.0]), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: oja_moment(np.eye(3) * 1.1, np.ones(3), [1.0]), "singular values"),
        (lambda: oja_moment(np.eye(3), np.ones(2), [1.0]), "q0 has shape"),
        (lambda: isometry_moment(np.eye(3) / 2, np.ones(3), [1.0], 0), "orthonormal columns"),
        (lambda: isometry_moment(np.eye(3), np.ones(3), [1.0], -1), "rotation"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
