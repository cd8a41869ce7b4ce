"""The closed forms of a code of one number, against the integrator, their own equations and their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltheory.orthogonal_flow import flow_velocity, orthogonal_flow, random_network
from ssltheory.single_code import single_clock, single_limit, single_mode, single_solution, squared_norm
from ssltheory.stiefel import ROTATION

seeds = st.integers(0, 10**6)
KINDS = tuple(ROTATION)
SPECTRA = {
    "mixed": [-1.0, -0.3, 0.5],
    "positive": [0.2, 0.5, 1.0],
    "zero": [0.0, 0.4, 1.0],
    "double": [-0.7, -0.7, 0.3],
    "unsorted": [0.5, -1.0, -0.9],
}


def start(seed, norm=0.7, m=3):
    q = np.random.default_rng(seed).normal(size=m)
    return norm * q / np.linalg.norm(q)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("norm", [0.05, 0.7, 0.999, 1.0])
def test_the_solution_is_what_the_integrator_finds(kind, spectrum, norm):
    gamma, q0 = np.array(SPECTRA[spectrum]), start(3, norm)
    run = orthogonal_flow(q0[:, None], gamma, kind, duration=6.0, samples=31, rtol=1e-13, atol=1e-15)
    found = single_solution(q0, gamma, run.times, ROTATION[kind])
    assert np.abs(found - run.q[:, :, 0]).max() < 1e-9


@given(seeds, st.floats(0, 2))
def test_the_solution_obeys_the_equation_for_every_rotation(seed, rotation):
    gamma, q0, e = np.array(SPECTRA["mixed"]), start(seed), 1e-4
    at = np.array([0.5 - e, 0.5, 0.5 + e])
    low, q, high = single_solution(q0, gamma, at, rotation)
    x, Q = q @ q, q @ (gamma * q)
    velocity = -(4 - (2 - rotation) * x) * gamma * q + (2 + rotation) * Q * q
    assert np.allclose((high - low) / (2 * e), velocity, atol=1e-6)


@given(seeds, st.sampled_from(KINDS))
def test_the_first_integral_is_kept(seed, kind):
    gamma, q0, rotation = np.array(SPECTRA["mixed"]), start(seed), ROTATION[kind]
    q = single_solution(q0, gamma, np.linspace(0, 2, 9), rotation)
    s = single_clock(q0, gamma, np.linspace(0, 2, 9), rotation)
    x, p = (q**2).sum(1), (q0**2 * np.exp(-2 * gamma * s[:, None])).sum(1)
    kept = x * (1 - x) ** (-(2 + rotation) / 4) / p
    assert np.allclose(kept, kept[0], rtol=1e-8)
    assert np.allclose(squared_norm(q0, gamma, s, rotation), x, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("norm", [0.3, 1.0])
def test_the_limit_is_where_the_solution_ends(kind, spectrum, norm):
    gamma, q0 = np.array(SPECTRA[spectrum]), start(5, norm)
    for dead in (None, 0, 1):
        q = q0.copy()
        if dead is not None:
            q[dead] = 0
            q *= norm / np.linalg.norm(q)
        limit = single_limit(q, gamma, ROTATION[kind])
        assert np.allclose(single_solution(q, gamma, [300.0], ROTATION[kind])[0], limit, atol=1e-12)
        assert np.abs(flow_velocity(limit[:, None], gamma, kind)).max() < 1e-12


def test_at_a_zero_eigenvalue_the_limit_depends_on_the_projection():
    gamma, q0 = np.array(SPECTRA["zero"]), start(1)
    norms = [np.linalg.norm(single_limit(q0, gamma, w)) for w in (0, 1, 2)]
    assert np.ptp(norms) > 1e-3
    assert max(norms) < 1


def test_one_mode_is_logistic_and_the_same_in_every_metric():
    times = np.linspace(0, 3, 13)
    for gamma in (-0.7, 0.0, 0.4):
        for rotation in (0, 1, 2):
            found = single_solution(np.array([-0.4]), np.array([gamma]), times, rotation)[:, 0]
            assert np.allclose(found, single_mode(-0.4, gamma, times), atol=1e-12)
    assert single_mode(0.0, -1.0, times).max() == 0
    assert single_mode(0.5, 1.0, np.array([1e4]))[0] == pytest.approx(0, abs=1e-100)


def test_on_the_sphere_the_three_are_one_flow_at_the_speeds_two_three_four():
    gamma, q0, times = np.array(SPECTRA["positive"]), start(2, 1.0), np.linspace(0, 4, 9)
    paths = [single_solution(q0, gamma, 12 * times / (2 + w), w) for w in (0, 1, 2)]
    assert np.allclose(paths[0], paths[1], atol=1e-12)
    assert np.allclose(paths[0], paths[2], atol=1e-12)
    assert np.allclose(np.linalg.norm(paths[0], axis=1), 1, atol=1e-12)


@given(seeds)
def test_no_sign_ever_changes_and_the_first_coordinate_grows(seed):
    rng = np.random.default_rng(seed)
    gamma, (W1, W2) = np.sort(rng.normal(size=4)) - 1, random_network(rng, 7, 4, 1)
    q0 = (W1.T @ W2)[:, 0]
    q = single_solution(q0, gamma, np.linspace(0, 5, 21), 0)
    assert (np.sign(q) * np.sign(q0) >= 0).all()
    if gamma[0] < 0:
        assert (np.diff(np.abs(q[:, 0])) >= -1e-12).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: single_solution([0.8, 0.8], [-1.0, 1.0], [1.0], 0), "norm at most 1"),
        (lambda: single_solution([0.8], [-1.0, 1.0], [1.0], 0), "q0 has shape"),
        (lambda: single_solution([0.8, 0.1], [-1.0, 1.0], [-1.0], 0), "times"),
        (lambda: single_solution([0.8, 0.1], [-1.0, 1.0], [1.0], 3), "rotation"),
        (lambda: single_mode(1.2, -1.0, [1.0]), "q0 must be between"),
        (lambda: single_limit([], [], 0), "empty"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
