"""Laws of IsoLoss: the objective that it descends, where it ends, its closed form, and what starts keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from ssltheory.directpred import directpred_flow, encoder_velocity
from ssltheory.isoloss import code_potential, directcopy_gram, kept_modes, limit_gram, potential, resting_gram
from ssltheory.moments import SecondMoments

SEEDS = st.integers(0, 2**32 - 1)
EXPONENTS = st.sampled_from([0.5, 1.0, 1.7])


def problem(rng, m, symmetric=True, white=False):
    L = rng.standard_normal((m, m))
    X = np.eye(m) if white else L @ L.T / m + 0.3 * np.eye(m)
    Y = rng.standard_normal((m, m))
    Y = (Y + Y.T) / 2 if symmetric else Y
    Z = Y @ np.linalg.solve(X, Y.T) + np.eye(m)
    return SecondMoments(X, Y, (Z + Z.T) / 2)


def power(S, p):
    k, V = np.linalg.eigh(S)
    return (V * np.clip(k, 0, None) ** p) @ V.T


@given(seed=SEEDS, p=EXPONENTS, n=st.integers(1, 5))
def test_the_field_is_minus_the_gradient_of_the_potential_for_any_first_moment(seed, p, n):
    rng = np.random.default_rng(seed)
    data, lam = problem(rng, 3), 0.2
    A, D = rng.standard_normal((2, n, 3))
    h = 1e-4
    slopes = [
        (potential(A + k * h * D, data.xx, data.yx, lam, p) - potential(A - k * h * D, data.xx, data.yx, lam, p))
        / (2 * k * h)
        for k in (1, 2)
    ]
    exact = -np.sum(D * encoder_velocity(A, data, lam, p, gradient="iso"))
    assert (4 * slopes[0] - slopes[1]) / 3 == pytest.approx(exact, rel=1e-6, abs=1e-6 * np.linalg.norm(A) ** 3)


def test_without_symmetry_there_is_no_potential():
    rng = np.random.default_rng(0)
    data = problem(rng, 2, symmetric=False)
    A, C, D = rng.standard_normal((3, 2, 2))
    h = 1e-6

    def derivative(E):  # of the field, towards E
        ends = (encoder_velocity(A + k * E, data, 0.0, 1.0, gradient="iso") for k in (h, -h))
        return np.subtract(*ends) / (2 * h)

    skew = np.sum(C * derivative(D)) - np.sum(D * derivative(C))
    expected = np.trace(C.T @ D @ data.yx) - np.trace(D.T @ C @ data.yx)
    assert skew == pytest.approx(expected, rel=1e-6)
    assert abs(skew) > 0.1


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5])
def test_isoloss_of_any_network_is_the_gradient_of_the_potential(p):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 6), torch.nn.ReLU()).double()
    x = torch.randn(50, 5, dtype=torch.float64)
    y = x + 0.5 * torch.randn(50, 5, dtype=torch.float64)

    def root(S):
        k, V = torch.linalg.eigh(S)
        return (V * k.clamp(min=0) ** p) @ V.T

    z1, z2 = net(x), net(y)
    B = root((z1.T @ z1 + z2.T @ z2) / 100).detach()
    loss = sum(0.5 * ((a - (b + a - a @ B).detach()) ** 2).sum(1).mean() for a, b in ((z1, z2), (z2, z1))) / 2
    iso = torch.cat([g.ravel() for g in torch.autograd.grad(loss, list(net.parameters()))]).numpy()
    values = [w.detach().clone() for w in net.parameters()]
    direction = [torch.randn_like(w) for w in values]
    slope = []
    for h in (1e-5, -1e-5):
        with torch.no_grad():
            for w, v, d in zip(net.parameters(), values, direction, strict=True):
                w.copy_(v + h * d)
            slope.append(code_potential(net(x).numpy(), net(y).numpy(), p))
    flat = torch.cat([d.ravel() for d in direction]).numpy()
    assert (slope[0] - slope[1]) / 2e-5 == pytest.approx(iso @ flat, rel=1e-6)


@given(seed=SEEDS, p=EXPONENTS)
def test_the_potential_is_invariance_plus_variance_and_for_copies_the_contrastive_loss(seed, p):
    rng = np.random.default_rng(seed)
    z1, z2 = rng.standard_normal((2, 7, 3))
    both = np.concatenate([z1, z2])
    mu = np.linalg.eigvalsh(both.T @ both / 14)
    apart = np.mean(np.sum((z1 - z2) ** 2, axis=1)) / 4
    assert code_potential(z1, z2, p) == pytest.approx(apart + np.sum(mu ** (p + 1) / (p + 1) - mu) / 2, rel=1e-12)
    contrastive = np.mean((both @ both.T) ** 2) - 2 * np.mean(np.sum(z1 * z2, axis=1))
    assert 4 * code_potential(z1, z2, 1.0) == pytest.approx(contrastive, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "p", "white"), [(5, 0.5, False), (4, 1.0, False), (4, 2.0, False), (2, 1.0, True), (3, 0.5, True)]
)
def test_every_start_ends_at_the_global_minimum(n, p, white):
    rng = np.random.default_rng(n)
    data = problem(rng, 4, white=white)
    S = limit_gram(data.xx, data.yx, 0.1, p, n)
    least = np.inf
    for _ in range(3):
        A = 0.1 * rng.standard_normal((n, 4))
        end = directpred_flow(A, data, 0.1, p, gradient="iso", duration=400, samples=2).A[-1]
        np.testing.assert_allclose(end.T @ end, S, atol=1e-6)
        least = min(least, potential(A, data.xx, data.yx, 0.1, p))
        assert potential(end, data.xx, data.yx, 0.1, p) < least


@given(seed=SEEDS, n=st.integers(1, 4), symmetric=st.booleans())
def test_the_closed_form_solves_the_riccati_equation_for_any_rank(seed, n, symmetric):
    rng = np.random.default_rng(seed)
    K = rng.standard_normal((3, 3))
    K = (K + K.T) / 2 if symmetric else K
    A = rng.standard_normal((n, 3))

    def rate(t, flat):
        C = flat.reshape(n, 3)
        return (C @ (K - C.T @ C)).ravel()

    times = np.array([0.0, 0.7, 1.0, 4.0])
    run = solve_ivp(rate, (0, 4), A.ravel(), method="DOP853", t_eval=times, rtol=1e-12, atol=1e-14)
    path = run.y.T.reshape(-1, n, 3)
    closed = directcopy_gram(A, K, times)
    np.testing.assert_allclose(closed, path.mT @ path, atol=1e-9 * max(1, np.abs(closed).max()))
    np.testing.assert_allclose(
        directcopy_gram(A, K, times[-1:])[0], closed[-1], atol=1e-10 * np.abs(closed).max() + 1e-13
    )


def test_the_closed_form_lasts_and_returns_at_the_sums_of_the_rates():
    K = np.diag([1.0, 0.4, -0.2])
    A = np.array([[0.3, 0.1, 0.2], [0.0, 0.2, 0.5], [0.1, 0.0, 0.3]])
    np.testing.assert_allclose(directcopy_gram(A, K, [3000.0])[0], np.diag([1, 0.4, 0]), atol=1e-12)
    one, two = directcopy_gram(A, np.diag([1.0, 0.4, 0.7]), [14.0, 14.5]) - np.diag([1.0, 0.4, 0.7])
    rates = np.log(one / two) / 0.5
    np.testing.assert_allclose(rates, np.add.outer([1.0, 0.4, 0.7], [1.0, 0.4, 0.7]), rtol=1e-3)


@pytest.mark.parametrize("p", [0.4, 0.5, 1.0])
def test_without_symmetry_the_gram_matrix_rests_and_the_code_turns(p):
    rng = np.random.default_rng(3)
    K = rng.standard_normal((3, 3))
    K += (0.4 - np.linalg.eigvals(K).real.min()) * np.eye(3)
    S = resting_gram(K, p)
    np.testing.assert_allclose(K.T @ S + S @ K, 2 * power(S, p + 1), atol=1e-9)
    data = SecondMoments(np.eye(3), K, K @ K.T + np.eye(3))
    run = directpred_flow(rng.standard_normal((3, 3)), data, 0.0, p, gradient="iso", duration=60, samples=2)
    np.testing.assert_allclose(run.A[-1].T @ run.A[-1], S, atol=1e-6)
    assert run.field_norm[-1] > 0.1
    W = K - power(S, p)
    np.testing.assert_allclose(S @ W, -(S @ W).T, atol=1e-9)
    # The comparison theorem: between two multiples of S at the start, and ever closer afterwards.
    A = 0.3 * rng.standard_normal((3, 3))
    for t, end in zip(
        (0.0, 0.5, 2.0),
        directpred_flow(A, data, 0.0, p, gradient="iso", duration=2, samples=[0, 0.5, 2]).A,
        strict=True,
    ):
        ratios = np.linalg.eigvals(np.linalg.solve(S, end.T @ end)).real
        c = 2 * np.linalg.eigvalsh(S)[0] ** p
        if t == 0:
            first = ratios
        bounds = [(1 + (a**-p - 1) * np.exp(-c * p * t)) ** (-1 / p) for a in (first.min(), first.max())]
        assert min(bounds[0], 1) - 1e-6 <= ratios.min()
        assert ratios.max() <= max(bounds[1], 1) + 1e-6


def test_isoloss_keeps_every_mode_that_pays_for_its_decay_and_directpred_loses_small_starts():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    tau, lam = np.array([0.9, 0.7, 0.5]), 0.05
    Y = (Q * tau) @ Q.T
    r1 = (tau - np.sqrt(tau**2 - 4 * lam)) / 2
    C = rng.standard_normal((40, 3, 3))
    lost = C / np.linalg.norm(C, 2, axis=(1, 2))[:, None, None] * 0.95 * r1.min()
    kept = kept_modes(lost, Y, lam)
    assert (kept.iso == 3).all()
    assert (kept.sg == 0).all()
    assert kept_modes(3 * C, Y, lam).sg.mean() > 2
    assert (kept_modes(C, (Q * [0.9, 0.7, 0.03]) @ Q.T, lam).iso == 2).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: code_potential(np.ones((3, 2)), np.ones((2, 2)), 1.0), r"z2 has shape \(2, 2\)"),
        (lambda: code_potential(np.ones((3, 2)), np.ones((3, 2)), 0.0), "p must be greater than 0"),
        (lambda: potential(np.ones((2, 2)), -np.eye(2), np.eye(2), 0.0, 1.0), "X must be symmetric positive definite"),
        (lambda: limit_gram(np.eye(2), np.triu(np.ones((2, 2))), 0.0, 1.0), "Y must be symmetric"),
        (lambda: directcopy_gram(np.eye(2), np.eye(2), [1.0, 0.5]), "times must increase"),
        (lambda: resting_gram(-np.eye(2), 1.0), "positive real parts"),
        (lambda: resting_gram(np.eye(2), 2.0), "need p <= 1"),
        (lambda: kept_modes(np.ones((1, 2, 2)), -np.eye(2), 0.1), "Y must be symmetric positive semi-definite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
