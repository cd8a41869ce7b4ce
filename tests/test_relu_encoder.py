"""Laws of the rectified encoder: its exact gradients, its symmetries, and where it comes to rest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltheory.isoloss import code_potential
from ssltheory.moments import SecondMoments
from ssltheory.relu_encoder import (
    cosine_path,
    cosine_velocity,
    lone_signal,
    recruitment_times,
    relu_flow,
    relu_second_moment,
    relu_velocity,
    simplex_spectrum,
    start_weights,
    toy_moments,
)

GRADIENTS = ("sg", "iso", "none", "wrong")
SEEDS = st.integers(0, 2**32 - 1)


def general_moments(rng, m):
    L = rng.standard_normal((2 * m, 2 * m))
    joint = L @ L.T / m
    return SecondMoments(joint[:m, :m], joint[m:, :m], joint[m:, m:])


def power(S, p):
    k, V = np.linalg.eigh(S)
    return (V * np.clip(k, 0, None) ** p) @ V.T


def sampled_gradient(W, x, y, B, gradient, cosine=False):
    """Minus the gradient by autograd of the stated loss, per pair and averaged, with its standard error."""
    torch = pytest.importorskip("torch")
    weights = torch.tensor(W).expand(len(x), *W.shape).clone().requires_grad_(True)
    x, y, B = (torch.tensor(v) for v in (x, y, B))
    z1 = torch.relu(torch.einsum("sij,sj->si", weights, x))
    z2 = torch.relu(torch.einsum("sij,sj->si", weights, y))
    u, v = z1 @ B, z2
    if gradient == "sg":
        v = v.detach()
    elif gradient == "wrong":
        u = u.detach()
    if gradient == "iso" and not cosine:
        loss = 0.5 * (z1 - (v + z1 - u).detach()) ** 2
    elif gradient == "iso":
        held = u.detach().clone().requires_grad_(True)
        pulled = torch.autograd.grad((held * v).sum(1).div(held.norm(dim=1) * v.norm(dim=1)).sum(), held)[0]
        loss = -(z1 * pulled.detach())
    elif cosine:
        loss = -(u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    else:
        loss = 0.5 * (u - v) ** 2
    (each,) = torch.autograd.grad(loss.sum(), weights)
    each = -each.numpy()
    return each.mean(axis=0), each.std(axis=0) / np.sqrt(len(each))


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_the_expected_gradient_is_that_of_the_stated_loss(gradient, p):
    rng = np.random.default_rng(1)
    data = general_moments(rng, 3)
    W = rng.standard_normal((4, 3))
    x, y = data.sample(rng, 200_000)
    B = power(relu_second_moment(W, data.xx), p) if p else np.eye(4)
    mean, error = sampled_gradient(W, x, y, B, gradient)
    assert (np.abs(relu_velocity(W, data, p, gradient=gradient) - mean) < 4.5 * error).all()


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_cosine_gradient_is_that_of_the_stated_loss_on_its_sample(gradient):
    rng = np.random.default_rng(2)
    W = rng.standard_normal((4, 3))
    x, y = general_moments(rng, 3).sample(rng, 6000)
    alive = ((x @ W.T > 0).any(axis=1)) & ((y @ W.T > 0).any(axis=1))
    B = power(relu_second_moment(W), 0.5)
    mean, _ = sampled_gradient(W, x[alive], y[alive], B, gradient, cosine=True)
    found = cosine_velocity(W, x, y, B, gradient=gradient)
    np.testing.assert_allclose(found, mean * alive.mean(), atol=1e-12)


@given(seed=SEEDS, p=st.sampled_from([0.5, 1.0, 2.0]))
def test_isoloss_descends_the_objective_without_predictor(seed, p):
    rng = np.random.default_rng(seed)
    data = general_moments(rng, 3).symmetrised
    W, D = rng.standard_normal((2, 4, 3))

    def objective(W):
        # For exchangeable views E<z_1, z_2> comes from the same kernel: a path of the two views' moments.
        mu = np.linalg.eigvalsh(relu_second_moment(W, data.xx))
        both = np.kron(np.eye(2), W) @ np.block([[data.xx, data.yx], [data.yx, data.xx]])
        covariance = both @ np.kron(np.eye(2), W).T
        a = np.sqrt(np.diag(covariance)[:4])
        theta = np.arccos(np.clip(np.diag(covariance[4:, :4]) / a**2, -1, 1))
        cross = a**2 * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)
        return np.sum(np.clip(mu, 0, None) ** (p + 1)) / (2 * (p + 1)) - cross.sum() / 2

    h = 1e-5
    slope = (objective(W + h * D) - objective(W - h * D)) / (2 * h)
    exact = -np.sum(D * relu_velocity(W, data, p, gradient="iso"))
    assert slope == pytest.approx(exact, rel=1e-5, abs=1e-6 * np.linalg.norm(W) ** (2 * p + 2))


def test_the_objective_of_a_sample_is_the_expected_one():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((3, 4))
    x = rng.standard_normal((400_000, 4))
    z = np.maximum(x @ W.T, 0)
    np.testing.assert_allclose(relu_second_moment(W), z.T @ z / len(z), rtol=0.02)
    S = relu_second_moment(W)
    assert code_potential(z, z, 1.0) == pytest.approx(np.sum(S * S) / 4 - np.trace(S) / 2, rel=0.02)


@given(seed=SEEDS, gradient=st.sampled_from(GRADIENTS))
def test_two_units_back_to_back_make_a_linear_one(seed, gradient):
    # relu(w x) - relu(-w x) = w x; the two never fire together, so Sigma = s I with s = w X w / 2.
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((3, 3))
    X = L @ L.T + 0.1 * np.eye(3)
    w = rng.standard_normal((1, 3))
    pair = relu_velocity(np.concatenate([w, -w]), SecondMoments(X, X, X), 1.0, gradient=gradient)
    s = float((w @ X @ w.T)[0, 0]) / 2
    factor = {"iso": 1 - s, "sg": s - s**2, "wrong": s - 1, "none": -((1 - s) ** 2)}[gradient]
    expected = factor * w @ X
    np.testing.assert_allclose(pair[:1] - pair[1:], expected, atol=1e-11 * (1 + s**2) * np.abs(w @ X).max())


@given(seed=SEEDS, c=st.floats(0.1, 10))
def test_the_second_moment_is_homogeneous_and_turns_with_nothing(seed, c):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((4, 3))
    Q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    S = relu_second_moment(W)
    np.testing.assert_allclose(relu_second_moment(c * W @ Q), c * c * S, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.diag(S), np.sum(W * W, axis=1) / 2, rtol=1e-12)
    # Euler: a unit's share of the growth of |W|^2 is what a homogeneous function gives.
    V = relu_velocity(W, toy_moments(3), 1.0, gradient="iso")
    np.testing.assert_allclose(np.sum(W * V, axis=1), np.diag(S - S @ S), atol=1e-11)


def test_nearly_parallel_units_keep_their_digits():
    d = 1e-5
    W = np.array([[np.cos(d / 2), np.sin(d / 2)], [np.cos(d / 2), -np.sin(d / 2)]])
    assert np.linalg.eigvalsh(relu_second_moment(W))[0] == pytest.approx(d * d / 4, rel=1e-3)
    V = relu_velocity(W, toy_moments(2), 1.0, gradient="iso")
    # Sigma has the rows (1/2, 1/2): the pull on both is 1/2 w_i - 1/2 (w_1 + w_2)/2, and opens the angle.
    np.testing.assert_allclose(V[:, 1], np.array([1, -1]) * d / 4, rtol=1e-4)


def test_a_dead_unit_stays_dead_and_harms_nobody():
    W = np.array([[0.0, 0.0], [1.0, 0.5]])
    for gradient in GRADIENTS:
        V = relu_velocity(W, toy_moments(2, 0.2), 1.0, gradient=gradient)
        alone = relu_velocity(W[1:], toy_moments(2, 0.2), 1.0, gradient=gradient)
        assert (V[0] == 0).all()
        np.testing.assert_allclose(V[1:], alone, atol=1e-14)


@pytest.mark.parametrize(("noise", "first"), [(0.1, 0.0), (0.7, 0.0), (0.3, 0.3)])
def test_without_a_predictor_all_units_grow_or_shrink_at_one_rate(noise, first):
    W = np.random.default_rng(0).standard_normal((3, 4))
    V = relu_velocity(W, toy_moments(4, noise, first), 0.0)
    rate = (lone_signal(noise, first) - 1 - first**2) / 2
    np.testing.assert_allclose(V, rate * W, atol=1e-13)
    assert (rate > 0) == (first == 0)


@pytest.mark.parametrize(("p", "noise"), [(0.5, 0.0), (0.5, 0.4), (1.0, 0.0), (1.0, 0.4)])
def test_isoloss_ends_on_the_simplex(p, noise):
    for seed in range(2):
        W = start_weights(np.random.default_rng(seed), 6, 8, 0.2)
        run = relu_flow(W, toy_moments(8, noise), p, gradient="iso", times=[400.0])
        mean, rest = simplex_spectrum(6, p, noise=noise)
        np.testing.assert_allclose(run.mu[-1], [mean] + 5 * [rest], atol=1e-6)
        assert run.outcome == "at rest"


def test_the_simplex_rests_under_stop_gradient_too_and_the_loss_prefers_fewer_units_for_larger_p():
    for p in (0.5, 1.0):
        mean, rest = simplex_spectrum(4, p, gradient="sg")
        e = np.eye(4) - 0.25
        W = e * np.sqrt(2 * (mean + 3 * rest) / 4) / np.linalg.norm(e[0])
        assert np.abs(relu_velocity(W, toy_moments(4), p)).max() < 1e-12
        np.testing.assert_allclose(np.linalg.eigvalsh(relu_second_moment(W))[::-1], [mean] + 3 * [rest], rtol=1e-12)
    W = start_weights(np.random.default_rng(0), 10, 15, 0.3)
    times = np.geomspace(1, 3000, 5)
    kept = {p: (relu_flow(W, toy_moments(15, 0.1), p, times=times).mu[-1] > 1e-3).sum() for p in (0.5, 1.0)}
    assert kept[0.5] == 10
    assert kept[1.0] <= 6


def test_the_simplex_is_the_global_minimum_for_p_1():
    rng = np.random.default_rng(0)
    n = 5
    mu = np.array([simplex_spectrum(n, 1.0).mean] + (n - 1) * [simplex_spectrum(n, 1.0).rest])
    least = np.sum(mu**2 / 4 - mu / 2)
    for _ in range(300):
        S = relu_second_moment(rng.standard_normal((n, 6)) * np.exp(rng.standard_normal((n, 1))))
        s = np.trace(S) / np.sum(S * S)
        assert np.sum((s * S) ** 2) / 4 - s * np.trace(S) / 2 >= least


def test_failures_of_the_squared_error():
    W = start_weights(np.random.default_rng(0), 5, 6, 0.5)
    data = toy_moments(6, 0.2)
    for gradient in ("none", "wrong"):
        run = relu_flow(W, data, 1.0, gradient=gradient, times=[1.0, 300.0])
        assert run.mu[-1].max() < 1e-8
    run = relu_flow(4 * W, data, 1.0, gradient="wrong", times=[1.0, 300.0])
    assert run.outcome == "diverged"


def test_the_cosine_flow_keeps_its_size_with_stop_gradient_and_grows_with_isoloss():
    rng = np.random.default_rng(0)
    W = start_weights(rng, 4, 5, 0.6)
    x = rng.standard_normal((3000, 5))
    for gradient, grows in (("sg", False), ("iso", True)):
        run = cosine_path(W, x, x, 1.0, gradient=gradient, times=[0, 5, 10])
        size = np.sum(run.W**2, axis=(1, 2))
        assert (size[-1] > 1.2 * size[0]) == grows
        assert run.drift < 1e-3
        if not grows:
            np.testing.assert_allclose(size, size[0], rtol=1e-12)


def test_the_cosine_path_converges_with_its_tolerance_and_goes_on_from_a_kept_state():
    rng = np.random.default_rng(1)
    W = start_weights(rng, 4, 5, 0.6)
    x = rng.standard_normal((2000, 5))
    y = x + 0.1 * rng.standard_normal(x.shape)
    runs = [cosine_path(W, x, y, 0.5, times=[0, 4, 8], tol=tol) for tol in (1e-3, 1e-4)]
    np.testing.assert_allclose(runs[0].mu[:2], runs[1].mu[:2], atol=1e-3)
    again = cosine_path(runs[0].W[1], x, y, 0.5, times=[4, 8], tol=1e-3)
    np.testing.assert_allclose(again.W[1], runs[0].W[2], atol=1e-10)


def test_a_cosine_run_that_does_not_keep_its_size_is_given_up():
    rng = np.random.default_rng(2)
    W = start_weights(rng, 4, 5, 0.3)
    x = rng.standard_normal((200, 5))
    run = cosine_path(W, x, x, 1.0, gradient="wrong", times=[0, 0.01, 60], tol=0.5)
    assert run.outcome == "drifted"
    assert len(run.t) == len(run.W) < 3


def test_recruitment_is_read_off_an_exponential():
    t = np.linspace(0, 10, 101)
    mu = np.stack([1 / (1 + np.exp(-2 * (t - a))) for a in (2.0, 4.0)] + [0 * t], axis=1)
    np.testing.assert_allclose(recruitment_times(t, mu)[:2], [2, 4], atol=0.01)
    assert np.isnan(recruitment_times(t, mu)[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relu_velocity(np.ones((2, 3)), toy_moments(2), 1.0), r"W has shape \(2, 3\)"),
        (lambda: relu_velocity(np.ones((2, 2)), toy_moments(2), -1.0), "p must be at least 0"),
        (lambda: relu_velocity(np.ones((2, 2)), toy_moments(2), 1.0, gradient="both"), "gradient must be one of"),
        (lambda: simplex_spectrum(1, 1.0), "n must be an integer, at least 2"),
        (lambda: simplex_spectrum(3, 1.0, gradient="sg", noise=0.1), "'sg' without noise"),
        (lambda: cosine_velocity(np.ones((2, 2)), np.ones((3, 2)), np.ones((4, 2)), np.eye(2)), "y has shape"),
        (lambda: cosine_path(np.ones((2, 2)), np.ones((3, 2)), np.ones((3, 2)), 1.0, times=[1, 1]), "times must be"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
