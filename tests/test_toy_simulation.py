import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import eigenmodes as em
from ssltheory import toy_simulation as ts
from ssltheory.directpred import closed_form_predictor

SETTINGS = [(loss, gradient, p) for loss in em.LOSSES for gradient in em.GRADIENTS for p in (0.0, 0.5, 1.0)]


def encoder(rng, n=3, m=5):
    return rng.standard_normal((n, m)) / m**0.5


def autograd(A, x1, x2, B, loss, gradient):
    """-dL/dA of the loss as the brief states it, by torch: the predictor is a constant, SG is detach."""
    torch = pytest.importorskip("torch")
    a, first, second, b = (torch.tensor(q) for q in (A, x1, x2, B))

    def similarity(u, v):
        if loss == "euclidean":
            return 0.5 * (u - v).square().sum(1).mean()
        return -torch.nn.functional.cosine_similarity(u, v, dim=1, eps=0).mean()

    def value(a):
        z1, z2 = first @ a.T, second @ a.T
        if gradient == "iso":
            # Euclidean: |z1 - SG(z2 + z1 - B z1)|^2 / 2. Cosine: the gradient in u is handed to z1 as it is, without B.
            if loss == "euclidean":
                return 0.5 * (z1 - (z2 + z1 - z1 @ b).detach()).square().sum(1).mean()
            u = (z1 @ b).detach()
            g = torch.func.grad(lambda u: similarity(u, z2.detach()))(u)
            return (z1 * g).sum()
        u = z1 @ b if gradient != "wrong" else (z1 @ b).detach()
        return similarity(u, z2.detach() if gradient == "sg" else z2)

    return -torch.func.grad(value)(a).numpy()


@pytest.mark.parametrize(("loss", "gradient", "p"), SETTINGS)
def test_the_written_gradients_are_those_of_the_stated_losses_by_autograd(loss, gradient, p):
    rng = np.random.default_rng(0)
    A = encoder(rng)
    x1, x2 = ts.toy_views(rng, 200, 5, 0.4, 0.2)
    B = closed_form_predictor(1.04 * (A @ A.T), p)
    ours = ts.sampled_velocity(A, x1, x2, B, loss=loss, gradient=gradient)
    assert np.allclose(ours, autograd(A, x1, x2, B, loss, gradient), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("loss", "gradient", "p"), SETTINGS)
@pytest.mark.parametrize("first", [0.0, 0.5])
def test_the_mean_of_the_sampled_velocity_is_the_exact_field(loss, gradient, p, first):
    rng = np.random.default_rng(1)
    A, noise = encoder(rng), 0.4
    B = closed_form_predictor((1 + first**2) * (A @ A.T), p)
    batches = [ts.toy_views(rng, 2_000, 5, noise, first) for _ in range(40)]
    drawn = np.array([ts.sampled_velocity(A, *views, B, loss=loss, gradient=gradient) for views in batches])
    exact = ts.exact_field(A, loss=loss, gradient=gradient, p=p, noise=noise, noise_first=first)
    error = drawn.std(axis=0, ddof=1) / 40**0.5
    assert np.abs((drawn.mean(axis=0) - exact) / error).max() < 4.5


@settings(max_examples=30, deadline=None)
@given(setting=st.sampled_from(SETTINGS), seed=st.integers(0, 999), n=st.integers(1, 4), m=st.integers(2, 5))
def test_the_sampled_cosine_force_does_no_work_on_the_size_sample_by_sample(setting, seed, n, m):
    """<A, A'> = 0, with IsoLoss <A, B A'> = 0: on any pairs, for any B, not only in expectation."""
    _, gradient, p = setting
    rng = np.random.default_rng(seed)
    A = encoder(rng, n, m)
    x1, x2 = ts.toy_views(rng, 7, m, 0.7, 0.3)
    B = closed_form_predictor(A @ A.T, p)
    force = ts.sampled_velocity(A, x1, x2, B, loss="cosine", gradient=gradient)
    work = np.sum(A * (B @ force if gradient == "iso" else force))
    assert abs(work) < 1e-12 * (1 + np.linalg.norm(A) * np.linalg.norm(force))


@settings(max_examples=30, deadline=None)
@given(setting=st.sampled_from(SETTINGS), seed=st.integers(0, 999), n=st.integers(1, 4), m=st.integers(2, 5))
def test_the_exact_field_turns_with_the_code_and_with_the_input(setting, seed, n, m):
    loss, gradient, p = setting
    rng = np.random.default_rng(seed)
    A = encoder(rng, n, m)
    U, V = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in (n, m))
    keep = {"loss": loss, "gradient": gradient, "p": p, "noise": 0.3}
    field = ts.exact_field(A, **keep)
    assert np.allclose(ts.exact_field(U @ A @ V, **keep), U @ field @ V, atol=1e-11 * (1 + np.abs(field).max()))


@pytest.mark.parametrize(("loss", "gradient", "p"), SETTINGS)
def test_the_eigenvalue_equations_are_the_motion_of_the_matrix(loss, gradient, p):
    """d Sigma / dt = A' A^T + A A'^T has the eigenvalue equations on its diagonal, in the eigenvectors of Sigma."""
    rng = np.random.default_rng(2)
    A, noise, first, lam = encoder(rng, 4, 6), 0.5, 0.3, 0.05
    field = ts.exact_field(A, loss=loss, gradient=gradient, p=p, noise=noise, noise_first=first, lam=lam)
    mu, U = np.linalg.eigh((1 + first**2) * (A @ A.T))
    motion = (1 + first**2) * (U.T @ (field @ A.T + A @ field.T) @ U)
    data = em.toy_data(noise, first)
    velocity = em.velocity_of_modes(mu, loss=loss, gradient=gradient, p=p, data=data, lam=lam)
    assert np.allclose(motion, np.diag(velocity), atol=1e-11)
    if loss == "euclidean":  # expected gradients by hand, without singular values
        B, rho, sigma = closed_form_predictor((1 + first**2) * (A @ A.T), p), 1 + first**2, 1 + noise**2
        one, two = rho * B @ A - A, sigma * A - B @ A
        whole = {"sg": B @ one, "iso": one, "wrong": two, "none": B @ one + two}[gradient]
        assert np.allclose(field, -whole - lam * A, atol=1e-12)


@pytest.mark.parametrize(("loss", "gradient", "p"), SETTINGS)
def test_a_simulated_run_follows_the_eigenvalue_flow(loss, gradient, p):
    """Euler steps of the sampled algorithm against Euler steps of the eigenvalue equations, from the same encoder.

    The bound is four standard deviations of the sampling error, taken from the spread of six runs.
    """
    noise, step, steps = 0.3, 0.05, 20
    A = 0.4 * encoder(np.random.default_rng(3), 3, 4)
    keep = {"loss": loss, "gradient": gradient, "p": p}
    runs = [
        ts.simulate(
            A, noise=noise, step=step, steps=steps, samples=4_000, rng=np.random.default_rng(s), every=10, **keep
        )
        for s in range(6)
    ]
    E = A
    for _ in range(steps):
        E = E + step * ts.exact_field(E, noise=noise, **keep)
    drawn = np.array([run.mu[-1] for run in runs])
    exact = np.linalg.eigvalsh(E @ E.T)
    # The square of the random part of A adds a bias of the order of its variance.
    assert (np.abs(drawn.mean(axis=0) - exact) < 4 * drawn.std(axis=0, ddof=1) / 6**0.5 + 2e-4).all()
    assert np.allclose(runs[0].t, [0.0, 0.5, 1.0])
    assert np.allclose(runs[0].mu[0], np.linalg.eigvalsh(A @ A.T))


def test_views_have_the_moments_of_the_toy_data():
    x1, x2 = ts.toy_views(np.random.default_rng(4), 200_000, 2, 0.5, 0.25)
    data = em.toy_data(0.5, 0.25)
    for one, two, expected in ((x1, x1, data.rho), (x1, x2, data.tau), (x2, x2, data.sigma)):
        assert np.allclose(one.T @ two / len(x1), float(expected) * np.eye(2), atol=0.015)
    clean, _ = ts.toy_views(np.random.default_rng(0), 10, 3, 0.5)
    assert np.array_equal(clean, np.random.default_rng(0).standard_normal((10, 3)))


def test_bad_input_is_named():
    A, rng = np.ones((2, 3)), np.random.default_rng(0)
    with pytest.raises(ValueError, match="loss"):
        ts.exact_field(A, loss="hinge", gradient="sg", p=1)
    with pytest.raises(ValueError, match="step must"):
        ts.simulate(A, loss="cosine", gradient="sg", p=1, noise=0.1, step=0, steps=3, rng=rng)
    with pytest.raises(ValueError, match="samples"):
        ts.simulate(A, loss="cosine", gradient="sg", p=1, noise=0.1, step=0.1, steps=3, samples=0, rng=rng)
    with pytest.raises(ValueError, match="diverged after"):
        ts.simulate(9 * A, loss="euclidean", gradient="wrong", p=1, noise=0, step=1.0, steps=30, samples=9, rng=rng)
