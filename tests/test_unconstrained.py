import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from ssltheory import unconstrained as un
from ssltheory.contrast import contrast_matrix, dot_loss, linear_loss
from ssltheory.trajectory import Outcome


def random_gamma(rng, m):
    M = rng.normal(size=(m, m))
    return (M + M.T) / 2


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 5), n=st.integers(1, 4), r=st.integers(1, 4))
def test_the_flow_solves_its_equation_with_and_without_a_projector(seed, m, n, r):
    rng = np.random.default_rng(seed)
    gamma, q, P = random_gamma(rng, m), rng.normal(size=(m, n)), rng.normal(size=(n, r))
    times = np.array([0.0, 0.3, 0.7])
    plain = un.naive_flow(q, gamma, times)
    assert np.allclose(plain, [expm(-2 * t * gamma) @ q for t in times], rtol=1e-9, atol=1e-9)
    projected = un.naive_flow(q, gamma, times, projector=P)
    dense = [(expm(-2 * t * np.kron(gamma, P @ P.T)) @ q.ravel()).reshape(m, n) for t in times]
    assert np.allclose(projected, dense, rtol=1e-8, atol=1e-8 * np.abs(dense).max())
    assert np.allclose(un.naive_flow(q, gamma, times, projector=3 * np.eye(n)), un.naive_flow(q, gamma, 9 * times))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_flow_never_changes_the_rank_and_can_be_run_back(seed):
    rng = np.random.default_rng(seed)
    gamma, q = random_gamma(rng, 4), rng.normal(size=(4, 3))
    later = un.naive_flow(q, gamma, np.array([0.5]))[0]
    assert np.linalg.matrix_rank(later) == np.linalg.matrix_rank(q) == 3
    assert np.allclose(un.naive_flow(later, gamma, np.array([-0.5]))[0], q, rtol=1e-9, atol=1e-9)


def test_the_ratio_of_singular_values_follows_its_law():
    rng = np.random.default_rng(1)
    gamma, q = np.array([-2.0, -1.2, 0.1, 0.4]), rng.normal(size=(4, 3))
    times = np.array([6.0, 9.0])
    sigma = np.linalg.svd(un.naive_flow(q, gamma, times), compute_uv=False)
    assert np.allclose(sigma[:, 1] / sigma[:, 0], un.ratio_law(q, gamma, times), rtol=1e-4)
    with pytest.raises(ValueError, match="simple"):
        un.ratio_law(q, np.array([-1.0, -1.0, 0.0, 1.0]), times)


@pytest.mark.parametrize("negatives", [True, False])
def test_the_pairing_matrix_gives_the_loss_and_the_kernel_flow_is_the_linear_one(negatives):
    rng = np.random.default_rng(2)
    x, plus, minus = rng.normal(size=(3, 7, 4))
    views = np.concatenate([x, plus, minus] if negatives else [x, plus])
    triple = (x, plus, minus) if negatives else (x, plus)
    new = rng.normal(size=(2, 4))
    B = un.pairing_matrix(7, negatives=negatives, extra=2)
    every, q = np.concatenate([views, new]), rng.normal(size=(4, 3))
    gamma = contrast_matrix(*triple)
    assert np.allclose(every.T @ B @ every, gamma)
    assert np.isclose(np.trace((every @ q).T @ B @ (every @ q)), dot_loss(*(v @ q for v in triple)))
    assert np.isclose(dot_loss(*(v @ q for v in triple)), linear_loss(q, gamma))
    times = np.array([0.0, 0.4, 1.5])  # the linear kernel is singular here: 4 features, 16 or 23 views
    told = every @ un.naive_flow(q, gamma, times)
    assert np.allclose(un.kernel_flow(every @ every.T, B, every @ q, times), told, rtol=1e-9, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), negatives=st.booleans())
def test_a_positive_definite_kernel_has_as_many_negative_rates_as_anchors(seed, negatives):
    rng = np.random.default_rng(seed)
    N = 6
    M = rng.normal(size=((3 if negatives else 2) * N,) * 2)
    K = M @ M.T + 0.1 * np.eye(len(M))
    rates = np.linalg.eigvals(K @ un.pairing_matrix(N, negatives=negatives)).real
    assert (rates < -1e-9).sum() == N
    assert (rates > 1e-9).sum() == N


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), h=st.integers(5, 9))
def test_the_products_of_a_linear_network_move_by_themselves(seed, h):
    rng = np.random.default_rng(seed)
    gamma, W1, W2 = random_gamma(rng, 3), rng.normal(size=(h, 3)) / 3, rng.normal(size=(h, 2)) / 3
    q = W1.T @ W2
    V1, V2 = -2 * W2 @ q.T @ gamma, -2 * W1 @ gamma @ q
    told = un.gram_velocity(W1.T @ W1, q, W2.T @ W2, gamma)
    assert np.allclose(told[0], V1.T @ W1 + W1.T @ V1)
    assert np.allclose(told[1], V1.T @ W2 + W1.T @ V2)
    assert np.allclose(told[2], V2.T @ W2 + W2.T @ V2)


def test_the_flow_of_products_is_that_of_the_weights():
    from scipy.integrate import solve_ivp

    rng = np.random.default_rng(5)
    gamma, h = random_gamma(rng, 3), 8
    W1, W2 = rng.normal(size=(h, 3)) / 3, rng.normal(size=(h, 2)) / 3

    def velocity(t, flat):
        a, b = flat[: 3 * h].reshape(h, 3), flat[3 * h :].reshape(h, 2)
        s = a.T @ b
        return np.concatenate([(-2 * b @ s.T @ gamma).ravel(), (-2 * a @ gamma @ s).ravel()])

    end = solve_ivp(velocity, (0, 0.1), np.concatenate([W1.ravel(), W2.ravel()]), rtol=1e-12, atol=1e-13).y[:, -1]
    a, b = end[: 3 * h].reshape(h, 3), end[3 * h :].reshape(h, 2)
    run = un.two_layer_flow(W1.T @ W1, W1.T @ W2, W2.T @ W2, gamma, duration=0.1, samples=3)
    assert np.allclose(run.q[-1], a.T @ b, rtol=1e-8, atol=1e-9)
    assert np.allclose(run.G1[-1], a.T @ a, rtol=1e-8, atol=1e-9)


def test_one_mode_reaches_infinity_when_told():
    gamma, q = -0.7, 0.02
    G1, start, G2 = np.eye(1), np.array([[q]]), np.eye(1)
    told = un.one_mode_blow_up(gamma, q)
    run = un.two_layer_flow(G1, start, G2, np.array([[gamma]]), duration=2 * told, norm_limit=1e7)
    assert run.outcome is Outcome.DIVERGED
    assert np.isclose(run.times[-1], told, rtol=1e-5)
    change = un.one_mode_blow_up(gamma, q, kernel_change=0.1)
    mid = un.two_layer_flow(G1, start, G2, np.array([[gamma]]), duration=change, samples=2)
    assert np.isclose(mid.G1[-1, 0, 0], 1.1, rtol=1e-8)


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_infinity_is_reached_before_the_bound(degree):
    # f(x) = (product of `degree` equal numbers a) x with gamma = -1: a' = 2 a^(2 degree - 1)
    a = 0.7
    exact = a ** (2 - 2 * degree) / (4 * (degree - 1))
    assert np.isclose(un.blow_up_bound(degree * a**2, -(a ** (2 * degree)), degree), exact)  # equal layers reach it
    with pytest.raises(ValueError, match="greater than 0"):
        un.blow_up_bound(1.0, 0.5)


def test_random_products_have_the_law_of_those_of_random_weights():
    rng = np.random.default_rng(0)
    h, m, n, many = 12, 2, 2, 4000
    drawn = np.array([np.block([[G1, q], [q.T, G2]]) for G1, q, G2 in _draws(rng, h, m, n, many)])
    W = rng.standard_normal((many, h, m + n))
    direct = W.mT @ W / h
    assert np.allclose(drawn.mean(axis=0), direct.mean(axis=0), atol=0.04)
    assert np.allclose(drawn.std(axis=0), direct.std(axis=0), atol=0.04)
    G1, q, G2 = un.draw_gram(rng, h, m, n)
    assert np.array_equal(G1, np.eye(m))
    assert np.array_equal(G2, np.eye(n))
    assert np.linalg.norm(q, 2) <= 1


def _draws(rng, h, m, n, many):
    return (un.draw_gram(rng, h, m, n, frames=False) for _ in range(many))


def test_the_norm_of_the_kernel_is_that_over_pairs_of_views():
    from ssltheory.tangent_kernel import tangent_blocks

    rng = np.random.default_rng(3)
    x, W1, W2 = rng.normal(size=(9, 3)), rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    blocks = tangent_blocks(W1, W2, x, "linear")
    told = un.two_layer_kernel_norm(W1.T @ W1, W2.T @ W2, x.T @ x / 9)
    assert np.isclose(told, np.linalg.norm(blocks) / 9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: un.naive_flow(np.ones((2, 2)), np.ones(3), np.zeros(1)), "need"),
        (lambda: un.naive_flow(np.ones((2, 2)), np.array([[0.0, 1.0], [0.0, 0.0]]), np.zeros(1)), "symmetric"),
        (lambda: un.pairing_matrix(0), "count"),
        (lambda: un.kernel_flow(-np.eye(3), un.pairing_matrix(1), np.ones((3, 1)), np.zeros(1)), "semi-definite"),
        (lambda: un.draw_gram(np.random.default_rng(0), 3, 2, 2, frames=False), "at least m"),
        (lambda: un.one_mode_blow_up(0.5, 0.1), "greater than 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
