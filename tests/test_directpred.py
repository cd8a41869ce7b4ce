import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from ssltheory import LinearProblem, SecondMoments, completed_moments, directpred, integrate, second_moments
from ssltheory.eigenmodes import ModeData, velocity_of_modes
from ssltheory.scalar import radii
from ssltheory.stability import commuting_spectrum


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), p=st.floats(0.1, 2.5), q=st.floats(0.1, 2.5))
def test_powers_of_a_second_moment_multiply_and_keep_its_eigenvectors(seed, p, q):
    W = np.random.default_rng(seed).normal(size=(3, 4, 4))
    Sigma = W @ W.mT
    B, C = (directpred.closed_form_predictor(Sigma, e) for e in (p, q))
    both = directpred.closed_form_predictor(Sigma, p + q)
    assert np.allclose(B @ C, both, rtol=1e-9, atol=1e-9 * np.abs(both).max())
    assert np.allclose(B @ Sigma, Sigma @ B, atol=1e-9 * np.abs(B).max() * np.abs(Sigma).max())


def test_the_named_members_of_the_family():
    W = np.random.default_rng(0).normal(size=(5, 3))  # singular: five code numbers from three inputs
    Sigma = W @ W.T
    half = directpred.closed_form_predictor(Sigma, 0.5)
    assert np.allclose(half @ half, Sigma)
    assert np.allclose(directpred.closed_form_predictor(Sigma, 1.0), Sigma)
    assert np.array_equal(directpred.closed_form_predictor(np.zeros((2, 2)), 0.0), np.eye(2))
    assert np.linalg.matrix_rank(half, tol=1e-6) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: directpred.closed_form_predictor(np.diag([1.0, -1.0]), 1), "positive semi-definite"),
        (lambda: directpred.closed_form_predictor(np.eye(2), -1), "p must be at least 0"),
        (lambda: directpred.closed_form_predictor(np.ones((2, 3)), 1), r"need \(\.\.\., n, n\)|need \(m, m\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def views(seed, m, symmetric=False, n=None):
    """Moments of random pairs of views, and a random encoder."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(5 * m, m)) @ rng.normal(size=(m, m))
    x, y = (signal + 0.5 * rng.normal(size=signal.shape) for _ in range(2))
    moments = second_moments(x, y)
    return moments.symmetrised if symmetric else moments, 0.6 * rng.normal(size=(n or m + 1, m))


def diagonal(rho, tau):
    rho, tau = np.asarray(rho, float), np.asarray(tau, float)
    return SecondMoments(np.diag(rho), np.diag(tau), np.diag(tau**2 / rho + 0.2))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 4), p=st.sampled_from([0.0, 0.5, 1.0, 1.7]))
def test_fields_are_what_the_code_side_says(seed, m, p):
    moments, A = views(seed, m)
    X, Y, Z, lam = moments.xx, moments.yx, moments.yy, 0.07
    B = directpred.closed_form_predictor(A @ X @ A.T, p)
    student, target = -B @ (B @ A @ X - A @ Y), B @ A @ Y.T - A @ Z
    parts = {"sg": student, "iso": -(B @ A @ X - A @ Y), "wrong": target, "none": student + target}
    for gradient, part in parts.items():
        if p == 0 and m < len(A) and gradient != "sg":
            continue  # the identity acts on the unused directions too, where nothing is
        got = directpred.encoder_velocity(A, moments, lam, p, gradient=gradient)
        assert np.allclose(got, part - lam * A, atol=1e-6 * (1 + np.abs(part).max()))
    held = directpred.encoder_velocity(A, moments, lam, p, teacher=A)
    assert np.allclose(held, student - lam * A, atol=1e-9 * (1 + np.abs(student).max()))


@pytest.mark.parametrize("p", [0.5, 1.0, 1.6])
def test_fields_are_gradients_of_the_loss_by_automatic_differentiation(p):
    torch = pytest.importorskip("torch")
    moments, A = views(3, 3, n=3)
    X, Y, Z = (torch.tensor(M) for M in (moments.xx, moments.yx, moments.yy))

    def predictor(a):
        values, vectors = torch.linalg.eigh(a @ X @ a.T)
        return (vectors * values**p) @ vectors.T

    def loss(b, student, teacher):
        u = b @ student
        return (
            torch.trace(u @ X @ u.T) - 2 * torch.trace(u @ Y.T @ teacher.T) + torch.trace(teacher @ Z @ teacher.T)
        ) / 2

    a = torch.tensor(A, requires_grad=True)
    b, held = predictor(a), a.detach()
    cases = {
        "sg": loss(b.detach(), a, held),
        "none": loss(b.detach(), a, a),
        "wrong": loss(b.detach(), held, a),
        "through": loss(b, a, a),
    }
    for gradient, value in cases.items():
        (exact,) = torch.autograd.grad(value, a, retain_graph=True)
        got = directpred.encoder_velocity(A, moments, 0.0, p, gradient=gradient)
        assert np.allclose(got, -exact.numpy(), atol=1e-9)


def test_the_best_predictor_is_at_rest():
    moments, A = views(5, 3)
    B = directpred.best_predictor(A, moments.xx, moments.yx, 0.2)
    assert np.allclose(LinearProblem(moments, 0.2, 4).field("sg", A, B)[1], 0, atol=1e-12)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), lam=st.sampled_from([0.0, 0.05]), rank=st.integers(1, 3))
def test_a_balanced_learned_predictor_is_directpred_on_white_inputs(seed, lam, rank):
    rng = np.random.default_rng(seed)
    K = rng.normal(size=(3, 3))
    moments = completed_moments(np.eye(3), (K + K.T) / 3)  # symmetric, and indefinite as often as not
    A = rng.normal(size=(4, rank)) @ rng.normal(size=(rank, 3)) / 2
    learned = integrate(
        LinearProblem(moments, lam, 4), "sg", A, directpred.closed_form_predictor(A @ A.T, 0.5), duration=12, rtol=1e-11
    )
    times = learned.times
    closed = directpred.directpred_flow(A, moments, lam, 0.5, duration=12.0, samples=times, rtol=1e-11)
    assert np.abs(learned.A - closed.A).max() < 1e-6
    assert np.abs(learned.B - closed.B).max() < 1e-4  # the square root of rounding in the unused directions


def test_it_is_not_for_asymmetric_cross_moments_nor_for_inputs_that_are_not_white():
    A = np.random.default_rng(1).normal(size=(2, 2))
    B = directpred.closed_form_predictor(A @ A.T, 0.5)
    turned = np.array([[0.8, -0.4], [0.4, 0.8]])
    for X, Y in ((np.eye(2), turned), (np.diag([1.5, 0.5]), np.array([[0.8, 0.2], [0.2, 0.3]]))):
        moments = completed_moments(X, Y)
        learned = integrate(LinearProblem(moments, 0.02, 2), "sg", A, B, duration=10)
        closed = directpred.directpred_flow(A, moments, 0.02, 0.5, duration=10.0, samples=learned.times)
        assert np.abs(learned.A - closed.A).max() > 0.05


MODES = st.tuples(st.floats(0.4, 2), st.floats(0.3, 1.5), st.floats(0.02, 0.95))


def mode(parameters):
    rho, tau, share = parameters
    return rho, tau, share * tau**2 / (4 * rho)


@settings(max_examples=40, deadline=None)
@given(problem=MODES, p=st.floats(0.3, 2.0))
def test_the_rest_points_of_a_mode_are_at_rest_and_the_outer_attracts(problem, p):
    rho, tau, lam = mode(problem)
    moments = diagonal([rho], [tau])
    for mu, r, sign in zip(directpred.mode_equilibria(rho, tau, lam, p), radii(rho, tau, lam), (1, -1), strict=True):
        a = np.sqrt(mu / rho)

        def velocity(a):
            return directpred.encoder_velocity(np.array([[a]]), moments, lam, p)[0, 0]

        assert abs(velocity(a)) < 1e-12 * max(a, 1)
        rate = (velocity(a * (1 + 1e-5)) - velocity(a * (1 - 1e-5))) / (2e-5 * a)
        told = directpred.aligned_rates([rho], [tau], lam, p, [r])[0, 0]
        assert rate == pytest.approx(told, rel=1e-5, abs=1e-8)
        assert np.sign(told) == sign
        assert directpred.ema_rates(rho, tau, lam, p, 1e9, "inner" if sign > 0 else "outer")[0] == pytest.approx(
            told, rel=1e-6
        )
    assert np.isnan(directpred.mode_equilibria(rho, -tau, lam, p)).all()


@settings(max_examples=25, deadline=None)
@given(problem=MODES, p=st.floats(0.3, 2.0), kappa=st.floats(0.01, 3))
def test_the_rates_with_a_teacher_are_those_of_the_linearised_flow(problem, p, kappa):
    rho, tau, lam = mode(problem)
    moments = diagonal([rho], [tau])
    for branch, mu in zip(("inner", "outer"), directpred.mode_equilibria(rho, tau, lam, p), strict=True):
        a = np.sqrt(mu / rho)

        def field(z):
            A, C = z[:1, None], z[1:, None]
            moved = directpred.encoder_velocity(A, moments, lam, p, teacher=C)[0, 0]
            return np.array([moved, kappa * (z[0] - z[1])])

        rest, h = np.array([a, a]), 1e-6 * a
        J = np.column_stack([(field(rest + e) - field(rest - e)) / (2 * h) for e in h * np.eye(2)])
        told = directpred.ema_rates(rho, tau, lam, p, kappa, branch)
        assert np.allclose(np.sort(np.linalg.eigvals(J).real), np.sort(told), rtol=1e-5, atol=1e-6)
        assert (told > 0).sum() == (branch == "inner")


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5])
def test_aligned_rates_are_the_spectrum_of_the_flow_of_the_gram_matrix(p):
    rho, tau, lam = np.array([1.0, 1.4, 0.7]), np.array([0.9, 0.8, 0.6]), 0.02
    moments = diagonal(rho, tau)
    r1, r2 = radii(rho, tau, lam)
    W = np.sqrt(rho)

    def velocity(S):  # of the whitened Gram matrix, written without the module
        values, V = np.linalg.eigh(S)
        S_p = (V * np.clip(values, 0, None) ** p) @ V.T
        M = (S_p @ np.diag(tau / rho) - S_p @ S_p) @ np.diag(rho) - lam * np.eye(3)
        return S @ M + M.T @ S

    for r in ([r2[0], r2[1], r2[2]], [r2[0], r1[1], r2[2]], [r2[0], 0.0, r1[2]], [0.0, r2[1], 0.0]):
        r = np.array(r)
        S, rates = np.diag(r ** (1 / p)), directpred.aligned_rates(rho, tau, lam, p, r)
        assert np.abs(velocity(S)).max() < 1e-14
        for i in range(3):
            for j in range(i, 3):
                if r[i] == 0 and r[j] == 0:
                    continue  # S^{p+1} is flat there, but a negative S_ii is outside the cone
                h = 1e-6 * np.maximum(S[i, i], S[j, j])
                E = np.zeros((3, 3))
                E[i, j] = E[j, i] = h
                slope = (velocity(S + E) - velocity(S - E)) / (2 * h)
                E = E / h
                assert np.allclose(slope, rates[i, j] * E, atol=2e-5)
    assert np.allclose(W**2, np.diag(moments.xx))


def test_at_one_half_the_rates_are_among_those_of_the_learned_predictor():
    rho, tau, lam = np.ones(3), np.array([0.9, 0.7, 0.6]), 0.02
    for branch in (0, 1):
        r = radii(rho, tau, lam)[branch]
        learned = commuting_spectrum(rho, tau, lam, r, 3)
        rates = directpred.aligned_rates(rho, tau, lam, 0.5, r)
        for i in range(3):
            for j in range(i, 3):
                assert np.abs(learned - rates[i, j]).min() < 1e-12


@settings(max_examples=40, deadline=None)
@given(problem=MODES, p=st.floats(0.3, 2), excess=st.floats(0, 0.6))
def test_differentiating_through_the_predictor(problem, p, excess):
    rho, tau, lam = mode(problem)
    sigma = tau**2 / rho * (1 + excess)
    d = directpred.through_equilibria(rho, tau, sigma, lam, p)
    moments = SecondMoments(np.array([[rho]]), np.array([[tau]]), np.array([[sigma]]))

    def velocity(value):
        a = np.sqrt(value ** (1 / p) / rho)
        return directpred.encoder_velocity(np.array([[a]]), moments, lam, p, gradient="through")[0, 0] / a

    assert np.isnan(d[1]) == ((p + 1) ** 2 * tau**2 < (2 * p + 1) * rho * (sigma + lam))
    if d[1] > d[0] * (1 + 1e-6):
        assert abs(velocity(d[0])) < 1e-12
        assert abs(velocity(d[1])) < 1e-12
        assert velocity((d[0] + d[1]) / 2) > 0 > velocity(1.1 * d[1])
        assert velocity(0.9 * d[0]) < 0


@pytest.mark.parametrize(("seed", "p"), [(0, 0.5), (1, 1.0), (2, 0.5)])
def test_in_a_turning_state_the_gram_matrix_rests_and_the_code_turns_as_told(seed, p):
    moments, _ = views(seed, 3, symmetric=True)
    lam = 0.02 * np.linalg.eigvalsh(moments.yx)[-1]
    state = directpred.survivors(moments, lam, p)[-1]
    assert len(state.mu) >= 2
    assert np.abs(state.turn).max() > 1e-6
    path = directpred.directpred_flow(state.A, moments, lam, p, duration=30.0, samples=4, rtol=1e-12)
    for t, A in zip(path.times, path.A, strict=True):
        assert np.allclose(A, expm(t * state.turn) @ state.A, atol=1e-7)


def test_for_common_eigenvectors_the_survivors_are_the_modes_in_order():
    rho, tau, lam = np.array([1.0, 1.4, 0.7, 1.0]), np.array([0.9, 0.8, 0.6, 0.1]), 0.02
    r = np.sort(radii(rho, tau, lam)[1][:3])[::-1]
    states = directpred.survivors(diagonal(rho, tau), lam, 0.5)
    assert len(states) == 3
    for k, state in enumerate(states, 1):
        assert np.allclose(np.sort(state.mu**0.5)[::-1], r[:k], atol=1e-9)
        assert np.abs(state.turn).max(initial=0) < 1e-9


def test_the_isoloss_rests_where_directpred_turns():
    moments, A = views(0, 3, symmetric=True)
    lam = 0.02 * np.linalg.eigvalsh(moments.yx)[-1]
    speed = {}
    for gradient in ("sg", "iso"):
        run = directpred.directpred_flow(A, moments, lam, 1.0, gradient=gradient, duration=2000.0, samples=2)
        speed[gradient] = run.field_norm[-1]
    assert speed["iso"] < 1e-8 < 1e-6 < speed["sg"]


def test_a_step_of_training_on_one_pair_is_a_step_of_the_field():
    A = np.array([[[0.8]], [[-0.3]]])
    moments = second_moments(np.array([[0.9]]), np.array([[0.7]]))
    rng = np.random.default_rng(0)
    end = directpred.train_directpred(
        [[0.9]], [[0.7]], A, lam=0.1, p=0.5, step=0.2, steps=1, batch=3, rng=rng, memory=0.5
    )
    assert np.allclose(end, A + 0.2 * directpred.encoder_velocity(A, moments, 0.1, 0.5))


def test_bad_calls_are_refused():
    moments, A = views(0, 2)
    for call, message in (
        (lambda: directpred.encoder_velocity(A, moments, 0.1, 0.5, gradient="both"), "gradient must be one of"),
        (lambda: directpred.encoder_velocity(A, moments, 0.1, 0.5, gradient="none", teacher=A), "no separate teacher"),
        (lambda: directpred.mode_equilibria(1.0, 1.0, 0.1, 0.0), "p must be greater than 0"),
        (lambda: directpred.ema_rates(1.0, 0.1, 0.1, 0.5, 1.0), "no outer equilibrium"),
        (lambda: directpred.survivors(moments, 0.1, 0.5), "Y must be symmetric"),
        (lambda: directpred.turning_state(moments, 5.0, 0.5, np.eye(2)), "no state of rank 2"),
        (lambda: directpred.turning_state(moments, -0.1, 0.5, np.eye(2)), "lam must be at least 0"),
        (lambda: directpred.turning_state(moments, 0.1, -0.5, np.eye(2)), "p must be at least 0"),
        (lambda: directpred.turning_state(moments, 0.1, 0.5, np.eye(2), gradient="both"), "gradient must be one of"),
        (lambda: directpred.aligned_rates([1.0], [0.9], 0.02, 0.5, [0.3]), "r must be 0 or a root"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 1.0])
def test_the_predictor_of_a_singular_second_moment_vanishes_on_its_kernel(p):
    rng = np.random.default_rng(0)
    for _ in range(20):
        W = rng.normal(size=(5, 2))
        values = np.linalg.eigvalsh(directpred.closed_form_predictor(W @ W.T, p))
        assert np.abs(values[:3]).max() < 1e-13 * values[-1]
        assert np.allclose(values[3:], np.linalg.svd(W)[1][::-1] ** (2 * p))


def test_a_flow_that_leaves_an_unstable_state_is_not_taken_for_one_at_rest():
    moments, p = completed_moments(np.eye(2), 0.9 * np.eye(2)), 1.0
    inner, outer = radii(1.0, 0.9, 0.02)
    options = {"duration": 1e4, "samples": 3, "gram_tol": 1e-12}
    for start, lam, told in (
        (np.diag([np.sqrt(inner) * (1 + 1e-13), 0.0]), 0.02, [0.0, outer]),
        (np.diag([np.sqrt(inner) * (1 - 1e-9), 0.0]), 0.02, [0.0, 0.0]),
    ):
        run = directpred.directpred_flow(start, moments, lam, p, **options)
        assert np.allclose(np.linalg.eigvalsh(run.A[-1].T @ run.A[-1]), told, atol=1e-7)
    small = directpred.directpred_flow(1e-7 * np.eye(2), moments, 0.0, p, duration=1e16, samples=3, gram_tol=1e-11)
    assert small.outcome == "converged"
    assert np.allclose(small.A[-1].T @ small.A[-1], 0.9 * np.eye(2), atol=1e-7)
    early = directpred.directpred_flow(1e-7 * np.eye(2), moments, 0.0, p, duration=1e12, samples=3, gram_tol=1e-11)
    assert early.outcome == "unfinished"


def test_a_flow_that_starts_at_rest_says_so():
    moments = completed_moments(np.eye(2), 0.9 * np.eye(2))
    outer = radii(1.0, 0.9, 0.02)[1]
    for start in (np.sqrt(outer) * np.eye(2), np.zeros((2, 2))):
        run = directpred.directpred_flow(start, moments, 0.02, 1.0, duration=100.0, samples=3, gram_tol=1e-9)
        assert run.outcome == "converged", run.reason
        assert np.allclose(run.A, start, atol=1e-9)


@pytest.mark.parametrize("p", [0.5, 2.0])
@pytest.mark.parametrize("kappa", [1e-20, 1e-17, 1e-6, 1.0])
def test_the_slow_rate_with_a_slow_teacher_does_not_cancel(p, kappa):
    rho, tau, lam = 1.0, 0.9, 0.02
    for branch, r in zip(("inner", "outer"), radii(rho, tau, lam), strict=True):
        rates = directpred.ema_rates(rho, tau, lam, p, kappa, branch)
        excess = rho * r * r - lam
        total = rho * r * r + lam + 2 * p * excess + kappa
        assert rates[0] >= rates[1]
        assert np.prod(rates) == pytest.approx(2 * p * kappa * excess, rel=1e-12)
        assert rates.sum() == pytest.approx(-total, rel=1e-12)


def test_two_states_of_one_rank_can_attract():
    rho, tau, lam = np.array([3.0, 0.05]), np.array([1.2, 0.2]), 0.1
    outer = radii(rho, tau, lam)[1]
    for k in (0, 1):
        r = np.where(np.arange(2) == k, outer, 0.0)
        assert directpred.aligned_rates(rho, tau, lam, 0.5, r).max() < 0
    assert np.allclose(directpred.survivors(diagonal(rho, tau), lam, 0.5, most=1)[0].mu, outer.max() ** 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rtol": 0.0}, "rtol must be greater than 0"),
        ({"rtol": np.nan}, "rtol"),
        ({"samples": 0}, "samples must be an integer, at least 2"),
        ({"norm_limit": -1.0}, "norm_limit must be greater than 0"),
        ({"norm_limit": 1.0}, "norm_limit must exceed"),
        ({"gram_tol": 0.0}, "gram_tol must be greater than 0"),
    ],
)
def test_a_flow_refuses_bad_options(options, message):
    moments = completed_moments(np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match=message):
        directpred.directpred_flow(np.eye(2), moments, 0.1, 0.5, duration=1.0, **options)
    assert len(directpred.directpred_flow(np.eye(2), moments, 0.1, 0.5, duration=1.0, samples=np.int64(3)).times) == 3


def test_misalignment_is_zero_for_common_eigenvectors_and_at_most_root_two():
    rng = np.random.default_rng(2)
    M, N = rng.normal(size=(2, 50, 4, 4))
    off = directpred.misalignment(M, N)
    assert off.min() > 0
    assert off.max() <= np.sqrt(2)
    Sigma = M @ M.mT
    assert directpred.misalignment(directpred.closed_form_predictor(Sigma, 0.3), Sigma).max() < 1e-13
    assert directpred.misalignment([[0, 1], [0, 0]], [[0, 0], [1, 0]]) == pytest.approx(np.sqrt(2))
    assert np.isnan(directpred.misalignment(np.zeros((2, 2)), np.eye(2)))


def test_a_flow_says_why_it_stopped():
    moments, A = views(0, 3, symmetric=True)
    lam = 0.02 * np.linalg.eigvalsh(moments.yx)[-1]
    rested = directpred.directpred_flow(A, moments, lam, 0.5, duration=5000.0, samples=3, gram_tol=1e-10)
    assert rested.outcome == "converged"
    assert rested.times[-1] < 5000
    assert rested.field_norm[-1] > 1e-6  # the code turns on
    longer = directpred.directpred_flow(A, moments, lam, 0.5, duration=float(rested.times[-1]) + 50, samples=2)
    assert longer.outcome == "unfinished"
    assert np.allclose(longer.A[-1].T @ longer.A[-1], rested.A[-1].T @ rested.A[-1], atol=1e-8)
    same = completed_moments(np.eye(2), np.eye(2), noise=0.0)
    grown = directpred.directpred_flow(1.5 * np.eye(2), same, 0.0, 1.0, gradient="wrong", duration=9.0)
    assert grown.outcome == "diverged"


@pytest.mark.parametrize("gradient", ["sg", "iso", "none", "wrong"])
def test_aligned_encoders_move_as_the_equations_of_their_eigenvalues_say(gradient):
    rho, tau, sigma = np.array([1.0, 1.4, 0.7]), np.array([0.9, 0.8, 0.6]), np.array([1.1, 0.9, 0.8])
    rng = np.random.default_rng(6)
    Q, V = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    moments = SecondMoments((V * rho) @ V.T, (V * tau) @ V.T, (V * sigma) @ V.T)
    mu = np.array([0.3, 1.2, 0.05])
    A = Q @ np.diag(np.sqrt(mu / rho)) @ V.T
    for p in (0.5, 1.0):
        moved = Q.T @ directpred.encoder_velocity(A, moments, 0.04, p, gradient=gradient) @ V
        told = velocity_of_modes(mu, loss="euclidean", gradient=gradient, p=p, data=ModeData(rho, tau, sigma), lam=0.04)
        assert np.allclose(2 * np.sqrt(mu * rho) * np.diag(moved), told, atol=1e-12)
        assert np.allclose(moved, np.diag(np.diag(moved)), atol=1e-12)
