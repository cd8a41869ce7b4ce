"""Laws of the equilibria that lost directions and of the states that rotate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from ssltheory import rank_deficient as rd
from ssltheory.ensemble import flow_to_rest
from ssltheory.flow import integrate
from ssltheory.linear import LinearProblem
from ssltheory.moments import SecondMoments, completed_moments
from ssltheory.stability import jacobian, orbit_dimension, stability

SEEDS = st.integers(0, 2**32 - 1)


def random_problem(rng, m, n, lam, symmetric=False):
    G = rng.standard_normal((m, 3 * m))
    X, Y = G @ G.T / (3 * m), rng.standard_normal((m, m)) / np.sqrt(m)
    Y = (Y + Y.T) / 2 if symmetric else Y
    return LinearProblem(completed_moments(X, Y), lam, n)


def speed(problem, A, B):
    return max(np.abs(M).max() for M in problem.field("sg", A, B))


def matched(a, b):
    gaps = np.abs(np.asarray(a)[:, None] - np.asarray(b)[None, :])
    return gaps[linear_sum_assignment(gaps)].max()


@settings(max_examples=60)
@given(seed=SEEDS, m=st.integers(1, 4), extra=st.integers(0, 3))
def test_rank_one_states_are_equilibria_and_all_eigenvalues_are_accounted_for(seed, m, extra):
    rng = np.random.default_rng(seed)
    lam = 10 ** rng.uniform(-3, -1)
    problem = random_problem(rng, m, m + extra, lam)
    r, v = rd.rank_one_equilibria(problem.X, problem.Y, lam)
    u = rng.standard_normal(m + extra)
    for root, direction in zip(r, v, strict=True):
        A, B = rd.rank_one_state(root, direction, m + extra, u)
        assert speed(problem, A, B) < 1e-9 * (1 + np.linalg.norm(problem.Y)) * (1 + abs(root)) ** 3
        assert np.allclose(A @ A.T, B.T @ B)
    # The number of real roots of the even-degree polynomial det(r^2 X - r Y^T + lam) is even.
    assert len(r) % 2 == 0


@settings(max_examples=30)
@given(seed=SEEDS, k=st.integers(1, 3))
def test_any_invertible_h_gives_a_balanced_state_that_is_read_back(seed, k):
    rng = np.random.default_rng(seed)
    V, U = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (3, 5))
    H = rng.standard_normal((k, k)) + 2 * np.eye(k)
    A, B = rd.rank_state(V, H, 5, U)
    assert np.allclose(A @ A.T, B.T @ B)
    V2, H2, U2 = rd.rank_parts(A, B)
    W = U.T @ U2
    assert np.allclose(W @ W.T, np.eye(k))
    assert np.allclose(V2, V @ W)
    assert np.allclose(H2, W.T @ H @ W)


@settings(max_examples=30)
@given(seed=SEEDS, m=st.integers(1, 3), extra=st.integers(0, 2), data=st.data())
def test_the_equilibrium_gap_is_the_residual_of_the_pair_and_what_the_pair_leaves_out(seed, m, extra, data):
    rng = np.random.default_rng(seed)
    k, n = data.draw(st.integers(1, m)), m + extra
    problem = random_problem(rng, m, n, 0.05)
    X, Y, lam = problem.X, problem.Y, problem.lam
    V, U = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (m, n))
    H = rng.standard_normal((k, k)) + 2 * np.eye(k)
    A, B = rd.rank_state(V, H, n, U)
    terms = X @ V @ H @ H.T, Y.T @ V @ H, lam * V
    gap = np.linalg.norm(rd.rank_residual(V, H, X, Y, lam)) / sum(map(np.linalg.norm, terms))
    assert np.isclose(rd.equilibrium_gap(A, B, X, Y, lam, k), gap, rtol=1e-7, atol=1e-9)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    assert np.isclose(rd.equilibrium_gap(Q @ A, Q @ B @ Q.T, X, Y, lam, k), gap, rtol=1e-7, atol=1e-9)
    # Twice the predictor leaves the pair (V, H) unbalanced: V is halved, |V^T V - I| is 3/4 |I|.
    assert rd.equilibrium_gap(A, 2 * B, X, Y, lam, k) > 0.75 * np.sqrt(k)
    if n > k:  # a part of B off the code's directions counts, relative to |B|
        off = np.linalg.svd(U)[0][:, k]
        more = B + np.linalg.norm(B) * np.outer(off, off)
        assert np.isclose(rd.equilibrium_gap(A, more, X, Y, lam, k), gap + np.sqrt(0.5), rtol=1e-7)
    both = rd.equilibrium_gap(np.stack([A, A]), np.stack([B, 2 * B]), X, Y, np.array([lam, lam]), k)
    assert np.allclose(both, [rd.equilibrium_gap(A, M, X, Y, lam, k) for M in (B, 2 * B)], rtol=1e-12)


def test_the_equilibrium_gap_vanishes_at_equilibria():
    problem = random_problem(np.random.default_rng(0), 3, 4, 0.01)
    r, v = rd.rank_one_equilibria(problem.X, problem.Y, problem.lam)
    assert len(r) > 0
    for root, direction in zip(r, v, strict=True):
        A, B = rd.rank_one_state(root, direction, 4)
        assert rd.equilibrium_gap(A, B, problem.X, problem.Y, problem.lam, 1) < 1e-12


@settings(max_examples=20)
@given(seed=SEEDS, m=st.integers(1, 3), shape=st.floats(0.05, 0.95))
def test_starts_inside_the_collapse_radius_lose_size_from_the_first(seed, m, shape):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, m, m + 1, 0.02)
    A, B = rng.standard_normal((m + 1, m)), rng.standard_normal((m + 1, m + 1))
    radius = rd.collapse_radius(problem.Y, 0.02)
    A *= shape**0.5 * radius / np.linalg.norm(A)
    B *= (1 - shape) ** 0.5 * radius / np.linalg.norm(B)
    dA, dB = problem.field("sg", A, B)
    assert np.sum(A * dA) + np.sum(B * dB) < 0
    # The radius is sharp for scalar views with vanishing rho: |A|^2 = 2 |B|^2, B = |B| u u^T.
    a, b = np.sqrt(2 / 3) * 0.04 * np.eye(2)[:, :1], np.sqrt(1 / 3) * 0.04 * np.diag([1.0, 0.0])
    lam = 0.04 / rd.collapse_radius(np.eye(1), 1.0)
    edge = LinearProblem(SecondMoments(1e-9 * np.eye(1), np.eye(1), 2e9 * np.eye(1)), lam, 2).field("sg", a, b)
    assert abs(np.sum(a * edge[0]) + np.sum(b * edge[1])) < 1e-9


@settings(max_examples=20)
@given(seed=SEEDS, m=st.integers(1, 3), kappa=st.floats(0.01, 10))
def test_ema_starts_inside_its_ball_lose_size_and_keep_their_teacher_in_it(seed, m, kappa):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, m, m + 1, 0.02)
    A, B, C = (rng.standard_normal((m + 1, k)) for k in (m, m + 1, m))
    radius = rd.collapse_radius(problem.Y, 0.02, "ema")
    size = np.hypot(np.linalg.norm(A), np.linalg.norm(B)) / (0.999 * radius)
    A, B, C = A / size, B / size, 0.999 * radius * C / np.linalg.norm(C)
    dA, dB, dC = problem.field("ema", A, B, C, kappa)
    assert np.sum(A * dA) + np.sum(B * dB) < 0
    assert np.sum(C * dC) <= 0


def test_an_axis_that_is_neutral_in_the_code_of_another_is_left_undecided():
    # Axis 1 rests at r = 2, where axis 2 neither grows nor decays: tau_2 = rho_2 r + lam / r.
    found = rd.aligned_equilibria(np.array([1.0, 0.5]), np.array([2.25, 1.25]), 0.5)
    (e,) = (e for e in found if e.kinds == ("outer", "dead"))
    assert e.radii[0] == 2.0
    assert not e.stable
    assert "neutral" in e.reason


@pytest.mark.parametrize("seed", range(4))
def test_limits_of_the_flow_satisfy_the_equation_of_their_rank(seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, 3, 4, 0.01, symmetric=True)
    A, B = rng.standard_normal((40, 4, 3)) / 2, rng.standard_normal((40, 4, 4)) / 2
    rest = flow_to_rest("sg", A, B, X=problem.X, Y=problem.Y, lam=0.01, field_tol=1e-11)
    ranks = rd.rank_of(rest.A)
    assert set(ranks) <= {0, 1, 2, 3}
    for k, A, B in zip(ranks, rest.A, rest.B, strict=True):
        if k:
            V, H, _ = rd.rank_parts(A, B, tolerance=1e-3)
            assert V.shape == (3, k)
            assert np.linalg.norm(rd.rank_residual(V, H, problem.X, problem.Y, 0.01)) < 1e-6


def test_the_search_finds_the_aligned_equilibria_of_rank_two_and_nothing_else():
    tau = np.array([1.0, 0.8, 0.6])
    found = rd.rank_equilibria(np.eye(3), np.diag(tau), 0.01, 2, np.random.default_rng(0), starts=60)
    known = [np.diag(np.square(e.radii)) for e in rd.aligned_equilibria(np.ones(3), tau, 0.01) if e.rank == 2]
    grams = [V @ H @ H.T @ V.T for V, H in found]
    assert len(known) == 12
    assert len({min(range(12), key=lambda i: np.abs(S - known[i]).max()) for S in grams}) >= 8
    assert max(min(np.abs(S - other).max() for other in known) for S in grams) < 1e-6


@settings(max_examples=60)
@given(seed=SEEDS, m=st.integers(1, 3), extra=st.integers(0, 2))
def test_spectra_and_verdicts_at_aligned_equilibria(seed, m, extra):
    rng = np.random.default_rng(seed)
    n, lam = m + extra, 10 ** rng.uniform(-3, -1)
    rho, tau = rng.uniform(0.3, 2, m), rng.uniform(-1.5, 1.5, m)
    problem = rd.diagonal_problem(rho, tau, lam, n)
    for e in rd.aligned_equilibria(rho, tau, lam):
        A, B = rd.aligned_state(e, tau, n)
        assert speed(problem, A, B) < 1e-12
        values = rd.aligned_spectrum(e, rho, tau, lam, n)
        dense = np.linalg.eigvals(jacobian(problem, "sg", A, B))
        assert matched(values, dense) < 1e-7 * np.abs(dense).max()  # eigenvalues may be defective
        assert e.rank == rd.rank_of(A, 1e-9)
        margin = np.abs(values.real[np.argsort(np.abs(values))[orbit_dimension(A, B) :]]).min(initial=1.0)
        if margin > 1e-6:
            for dynamics, kappa in (("sg", None), ("ema", 10 ** rng.uniform(-2, 1))):
                assert stability(problem, dynamics, A, B, kappa=kappa).stable == e.stable


def test_whitened_commuting_data_have_one_stable_orbit_for_each_rank():
    tau = np.array([0.9, 0.7, 0.5, 0.3])
    stable = [e for e in rd.aligned_equilibria(np.ones(4), tau, 0.01) if e.stable]
    assert [e.rank for e in stable] == [0, 1, 2, 3, 4]
    for e in stable:
        assert all(kind == "outer" for kind in e.kinds[: e.rank])
        assert all(kind == "dead" for kind in e.kinds[e.rank :])
    # Axes of opposite sign do not compete: (m_+ + 1)(m_- + 1) stable orbits.
    mixed = [e for e in rd.aligned_equilibria(np.ones(4), np.array([0.9, 0.7, -0.5, -0.3]), 0.01) if e.stable]
    assert len(mixed) == 9


def test_the_pair_block_is_stable_under_ema_by_signs_of_coefficients():
    # Routh-Hurwitz for the quartic left of the 6 x 6 block after 0 and -2 lam: each condition is a polynomial with
    # positive coefficients in variables that are positive at outer radii.
    pytest.importorskip("sympy")
    for sign in (1, -1):
        for numerator, constant in rd.pair_certificate(sign):
            assert min(numerator) > 0
            assert constant
    with pytest.raises(ValueError, match="sign must be 1 or -1"):
        rd.pair_certificate(0)


@pytest.mark.parametrize("kappa", [None, 0.003, 0.1, 2.0])
@pytest.mark.parametrize("phi", [0.1, 0.6, 1.2])
def test_the_rotating_state_rotates_and_attracts(phi, kappa):
    lam, n = 0.01, 3
    state = rd.rotating_state(1.0, phi, lam, n, kappa)
    assert state.transverse.real.max() < 0
    assert np.abs(np.sort(np.abs(state.spectrum))[:n]).max() < 1e-9
    if kappa is None:
        pairs = rd.rotating_spectrum(1.0, phi, lam, n)
        assert matched(state.spectrum, np.repeat(*map(np.array, zip(*pairs, strict=True)))) < 1e-9
    quarter = np.pi / 2 / state.omega
    problem, dynamics = rd.rotation_problem(1.0, phi, lam, n), "sg" if kappa is None else "ema"
    run = integrate(problem, dynamics, state.A, state.B, state.C, kappa=kappa, duration=quarter, rtol=1e-11)
    np.testing.assert_allclose(run.A[-1], state.A @ rd.rotation_matrix(np.pi / 2), atol=1e-8)
    if state.C is not None:
        np.testing.assert_allclose(run.C[-1], state.C @ rd.rotation_matrix(np.pi / 2), atol=1e-8)


def test_a_cycle_has_the_closed_form_and_survives_perturbation():
    state = rd.rotating_state(1.0, 0.6, 0.01, 2)
    cycle = rd.find_cycle(np.eye(2), rd.rotation_matrix(0.6), 0.01, 2)
    assert cycle.exists
    np.testing.assert_allclose(cycle.period, 2 * np.pi / state.omega, rtol=1e-9)
    np.testing.assert_allclose(cycle.sizes, state.r, rtol=1e-9)
    known = np.exp(cycle.period * state.spectrum)
    assert matched(cycle.multipliers, known) < 1e-6
    rng = np.random.default_rng(0)
    for _ in range(2):
        E, F = rng.uniform(-0.1, 0.1, (2, 2, 2))
        moved = rd.find_cycle(np.eye(2) + (E + E.T) / 2, rd.rotation_matrix(0.6) + F, 0.01, 2)
        assert moved.attracts
        assert np.ptp(moved.sizes) > 1e-3


def test_no_cycle_where_an_equilibrium_of_rank_one_stops_it():
    assert not rd.find_cycle(np.eye(2), np.diag([1.0, 0.8]), 0.01, 2).exists
    assert "equilibria of rank one" in rd.find_cycle(np.eye(2), np.diag([1.0, 0.8]), 0.01, 2).reason
    lost = rd.find_cycle(np.eye(2), rd.rotation_matrix(1.5), 0.01, 2)
    assert not lost.exists
    assert "shrank" in lost.reason


@settings(max_examples=30)
@given(seed=SEEDS, m=st.integers(2, 4))
def test_balanced_rank_one_states_stay_so_and_obey_the_reduced_flow(seed, m):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, m, m + 1, 0.02)
    a, u = rng.standard_normal(m), rng.standard_normal(m + 1)
    u /= np.linalg.norm(u)
    size = np.linalg.norm(a)
    dA, dB = problem.field("sg", np.outer(u, a), size * np.outer(u, u))
    moved = rd.rank_one_velocity(a, problem.X, problem.Y, 0.02)
    np.testing.assert_allclose(dA, np.outer(u, moved), atol=1e-12 * (1 + size) ** 3)
    np.testing.assert_allclose(dB, (a @ moved) / size * np.outer(u, u), atol=1e-12 * (1 + size) ** 3)


@settings(max_examples=20)
@given(seed=SEEDS, m=st.integers(2, 4))
def test_a_symmetric_y_lets_the_size_of_a_rank_one_code_turn_at_most_once(seed, m):
    from scipy.integrate import solve_ivp

    rng = np.random.default_rng(seed)
    problem = random_problem(rng, m, m, 0.02, symmetric=True)
    start = rng.standard_normal(m)
    run = solve_ivp(
        lambda _, a: rd.rank_one_velocity(a, problem.X, problem.Y, 0.02), (0, 100), start, rtol=1e-9, atol=1e-12
    )
    size = np.linalg.norm(run.y, axis=0)
    turns = np.diff(np.sign(np.diff(size))[np.abs(np.diff(size)) > 1e-8 * size[1:]])
    assert (turns >= 0).all()  # falls, then rises: never a rise followed by a fall


def test_with_n_equal_m_the_sign_of_the_determinant_of_the_alignment_is_kept():
    rng = np.random.default_rng(1)
    A, B = rd.balanced_states(rng, 200, 2, 2)
    np.testing.assert_allclose(A @ A.transpose(0, 2, 1), B.transpose(0, 2, 1) @ B, atol=1e-12)
    sign = np.sign(np.linalg.det(rd.alignment(A, B)))
    np.testing.assert_allclose(np.abs(np.linalg.det(rd.alignment(A, B))), 1, atol=1e-9)
    rest = flow_to_rest("sg", A, B, X=np.eye(2), Y=np.diag([0.9, 0.6]), lam=0.01)
    full = rd.rank_of(rest.A) == 2
    assert (sign[full] > 0).all()
    assert full[sign > 0].mean() > 0.8


def test_bad_input():
    with pytest.raises(ValueError, match="lam must be greater than 0"):
        rd.rank_one_equilibria(np.eye(2), np.eye(2), 0.0)
    with pytest.raises(ValueError, match="no rotating state"):
        rd.rotating_state(0.1, 0.5, 0.01, 2)
    with pytest.raises(ValueError, match="phi must be between"):
        rd.rotating_state(1.0, 2.0, 0.01, 2)
    with pytest.raises(ValueError, match="kappa must be greater than 0"):
        rd.rotating_state(1.0, 0.5, 0.01, 2, kappa=0.0)
    with pytest.raises(ValueError, match="k must be at most m"):
        rd.rank_equilibria(np.eye(2), np.eye(2), 0.1, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="V must have orthonormal columns"):
        rd.rank_state(np.ones((2, 1)), np.eye(1), 3)
    with pytest.raises(ValueError, match="must not be zero"):
        rd.rank_one_state(1.0, np.zeros(2), 3)
    with pytest.raises(ValueError, match="lam must be greater than 0"):
        rd.collapse_radius(np.eye(2), 0.0)
    with pytest.raises(ValueError, match=r"V has shape \(3, 1\)"):
        rd.rank_residual(np.ones((3, 1)), np.eye(1), np.eye(2), np.eye(2), 0.1)
