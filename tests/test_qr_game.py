"""The game that a plain gradient step with Gram and Schmidt plays, against the flow itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltheory.orthogonal_flow import flow_velocity, network_step, orthogonal_flow
from ssltheory.qr_game import game_order, game_payoffs, game_rest, rest_angle

seeds = st.integers(0, 10**6)


@given(seeds, st.integers(2, 6))
def test_the_flow_on_the_sphere_is_the_game(seed, m):
    rng = np.random.default_rng(seed)
    gamma, q = rng.normal(size=m), rng.normal(size=m)
    q /= np.linalg.norm(q)
    B, y = game_payoffs(gamma), q**2
    velocity = flow_velocity(q[:, None], gamma, "qr")[:, 0]
    assert np.allclose(2 * q * velocity, 4 * y * (B @ y), atol=1e-9)
    assert np.array_equal(B, -B.T)


def test_who_beats_whom():
    assert game_order(np.array([0.5, -0.3, -1.0, -3.0])) == (3, 2, 1, 0)
    assert game_order(np.array([0.5, -1.0, -1.4, -1.7])) == (1, 2, 3, 0)
    assert game_order(np.array([-1.0, -1.5, -2.5])) is None  # in a circle
    assert game_order(np.array([-1.0, -2.0])) is None  # equally strong


@given(seeds, st.integers(2, 6))
def test_an_order_agrees_with_every_pair(seed, m):
    gamma = np.random.default_rng(seed).normal(size=m)
    order, B = game_order(gamma), game_payoffs(gamma)
    if order is None:
        assert m > 2
    else:
        assert (np.triu(B[np.ix_(order, order)], 1)[np.triu_indices(m, 1)] > 0).all()


def test_three_that_beat_one_another_go_round_and_keep_their_product():
    gamma, q = np.array([-1.0, -1.5, -2.5]), np.array([0.6, 0.48, 0.64])
    rest = game_rest(gamma)
    assert np.allclose(rest, 1 / 3)
    run = orthogonal_flow(q[:, None], gamma, "qr", duration=40.0, samples=401, rtol=1e-12, atol=1e-14)
    product = np.prod(run.q[:, :, 0] ** 2, axis=1)
    assert np.allclose(product, product[0], rtol=1e-8)
    assert np.ptp(run.loss[-150:]) > 0.1
    assert game_rest([-1.0, -1.2, -1.4]) is None


@given(seeds)
def test_two_coordinates_rest_where_the_angle_says(seed):
    gamma = np.random.default_rng(seed).normal(size=(2, 2))
    gamma = gamma + gamma.T
    theta = rest_angle(gamma)

    def speed(angle):
        q = np.array([np.cos(angle), np.sin(angle)])
        return np.array([-q[1], q[0]]) @ flow_velocity(q[:, None], gamma, "qr")[:, 0]

    assert abs(speed(theta)) < 1e-9
    assert speed(theta - 1e-3) > 0 > speed(theta + 1e-3)


def test_small_steps_of_the_network_lose_the_true_optimum():
    q, gamma = np.array([[0.01], [np.sqrt(1 - 1e-4)]]), np.array([-0.8, -1.0])
    losses = []
    for _ in range(3000):
        q = network_step(q, gamma, 0.01, retraction="qr")
        losses.append(float((gamma * q[:, 0] ** 2).sum()))
    assert losses[0] < -0.99
    assert losses[-1] == pytest.approx(-0.8, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: game_payoffs(np.eye(2)), "gamma has shape"),
        (lambda: game_rest([1.0, 2.0]), "gamma has shape"),
        (lambda: rest_angle(np.diag([1.0, 2.0])), "every angle at rest"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
