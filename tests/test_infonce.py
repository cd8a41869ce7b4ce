import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import infonce
from ssltheory.contrast import contrast_matrix
from ssltheory.trajectory import Outcome


def gaussian_views(seed, m):
    rng = np.random.default_rng(seed)
    M = rng.normal(size=(m, m))
    X = M @ M.T + 0.3 * np.eye(m)
    L = rng.normal(size=(m, m))
    return X, 0.6 * X + 0.3 * (L + L.T), rng


@pytest.mark.parametrize("loss", ["infonce", "spectral"])
def test_the_matrix_gives_the_gradient_by_automatic_differentiation(loss):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, plus, minus, q = (
        rng.normal(size=(6, 3)),
        rng.normal(size=(6, 3)),
        rng.normal(size=(8, 3)),
        rng.normal(size=(3, 2)),
    )
    value, matrix = infonce.many_negatives(q, x, plus, minus, loss=loss)
    code = torch.tensor(q, requires_grad=True)
    f, g, e = (torch.tensor(v) @ code for v in (x, plus, minus))
    scores = f @ e.T
    agree = (f * g).sum(dim=1).mean()
    partition = {"infonce": scores.exp().mean(dim=1).log().mean() - agree, "spectral": (scores**2).mean() - 2 * agree}
    told = partition[loss]
    (gradient,) = torch.autograd.grad(told, code)
    assert np.isclose(value, told.item())
    assert np.allclose(2 * matrix @ q, gradient.numpy(), rtol=1e-10, atol=1e-10)


def test_the_matrix_of_normalised_codes_gives_the_gradient_and_keeps_their_size():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    x, plus, minus, q = (
        rng.normal(size=(6, 3)),
        rng.normal(size=(6, 3)),
        rng.normal(size=(8, 3)),
        rng.normal(size=(3, 2)),
    )
    value, matrix = infonce.cosine_infonce(q, x, plus, minus, temperature=0.3)
    code = torch.tensor(q, requires_grad=True)
    f, g, e = (torch.nn.functional.normalize(torch.tensor(v) @ code, dim=1) for v in (x, plus, minus))
    told = (f @ e.T / 0.3).exp().mean(dim=1).log().mean() - (f * g).sum(dim=1).mean() / 0.3
    (gradient,) = torch.autograd.grad(told, code)
    assert np.isclose(value, told.item())
    assert np.allclose(2 * matrix @ q, gradient.numpy(), rtol=1e-10, atol=1e-10)
    assert abs(np.sum(q * (matrix @ q))) < 1e-12
    assert np.isclose(infonce.cosine_infonce(7 * q, x, plus, minus, temperature=0.3)[0], value)


@pytest.mark.parametrize("name", ["in_batch_infonce", "cosine_pairs"])
def test_losses_of_pairs_alone_have_the_gradient_of_automatic_differentiation(name):
    torch = pytest.importorskip("torch")
    x, plus, q = *np.random.default_rng(8).normal(size=(2, 6, 3)), np.random.default_rng(9).normal(size=(3, 2))
    value, matrix = getattr(infonce, name)(q, x, plus)
    code = torch.tensor(q, requires_grad=True)
    f, g = (torch.tensor(v) @ code for v in (x, plus))
    if name == "cosine_pairs":
        told = -torch.nn.functional.cosine_similarity(f, g).mean()
        assert np.isclose(infonce.cosine_pairs(7 * q, x, plus)[0], value)
    else:
        agree = (f * g).sum(dim=1)
        others = torch.where(torch.eye(6, dtype=torch.bool), agree[:, None], f @ f.T)
        told = (others.logsumexp(dim=1) - agree).mean() - np.log(6)
    (gradient,) = torch.autograd.grad(told, code)
    assert np.isclose(value, told.item())
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(2 * matrix @ q, gradient.numpy(), rtol=1e-10, atol=1e-12)


def test_a_code_of_rank_one_rests_under_cosines_and_components_reach_each_other():
    rng = np.random.default_rng(10)
    x, plus, q = *rng.normal(size=(2, 30, 3)), rng.normal(size=(3, 2))
    thin = np.outer(q[:, 0], [1.0, 2.0])
    value, matrix = infonce.cosine_pairs(thin, x, plus)
    assert np.allclose(matrix @ thin, 0, atol=1e-12)
    assert np.isclose(value, -np.mean(np.sign(x @ q[:, 0]) * np.sign(plus @ q[:, 0])))
    push, naive = rng.normal(size=3), contrast_matrix(x, plus)
    assert infonce.component_reach(lambda s: naive, q, push) == 0.0
    assert infonce.component_reach(lambda s: infonce.cosine_pairs(s, x, plus)[1], q, push) > 0.01


def test_small_codes_follow_the_dot_product_loss():
    rng = np.random.default_rng(1)
    x, plus, minus, q = *rng.normal(size=(3, 9, 3)), rng.normal(size=(3, 2))
    mean = np.broadcast_to(minus.mean(axis=0), x.shape)
    _, matrix = infonce.many_negatives(1e-6 * q, x, plus, minus)
    assert np.allclose(matrix, contrast_matrix(x, plus, mean), atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 4), n=st.integers(1, 4))
def test_gaussian_infonce_is_half_the_spectral_loss_and_its_matrix_half_the_gradient(seed, m, n):
    X, Y, rng = gaussian_views(seed, m)
    q, D = rng.normal(size=(2, m, n))
    value, matrix = infonce.gaussian_infonce(q, X, Y)
    ahead, back = (infonce.gaussian_infonce(q + s * 1e-5 * D, X, Y)[0] for s in (1, -1))
    assert np.isclose((ahead - back) / 2e-5, np.sum(2 * matrix @ q * D), rtol=1e-5, atol=1e-5 * (1 + abs(value)))
    root = np.linalg.cholesky(X)
    x = np.sqrt(m) * np.concatenate([root.T, -root.T]) / 1.0  # 2 m points with second moment X and mean 0
    plus = x @ np.linalg.solve(X, Y)
    spectral, pull = infonce.many_negatives(q, x, plus, x, loss="spectral")
    assert np.isclose(spectral, 2 * value)
    assert np.allclose(pull, 2 * matrix)


def test_gaussian_infonce_is_the_limit_of_many_samples():
    X, Y, rng = gaussian_views(4, 2)
    q = 0.3 * rng.normal(size=(2, 2))
    told = infonce.gaussian_infonce(q, X, Y)[0]
    x, minus = (rng.normal(size=(count, 2)) @ np.linalg.cholesky(X).T for count in (3000, 3000))
    plus = x @ np.linalg.solve(X, Y)
    value, _ = infonce.many_negatives(q, x, plus, minus)
    assert abs(value - told) < 0.1 * (1 + abs(told))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 4))
def test_almost_every_start_reaches_the_limit(seed, n):
    rng = np.random.default_rng(seed)
    X = np.diag(rng.uniform(0.5, 2, 3))
    root = np.sqrt(X)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    Y = root @ turn @ np.diag([0.9, 0.5, -0.3]) @ turn.T @ root
    q = 0.5 * rng.normal(size=(3, n))
    _, states, outcome = infonce.many_negatives_flow(
        lambda s: infonce.gaussian_infonce(s, X, Y)[1], q, duration=2000, samples=2, speed_tol=1e-9
    )
    assert outcome is Outcome.CONVERGED
    S = infonce.limit_gram(X, Y, n)
    assert np.allclose(states[-1] @ states[-1].T, S, atol=1e-6)
    assert np.linalg.matrix_rank(S, tol=1e-9) == min(n, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: infonce.many_negatives(np.ones((2, 1)), np.ones((3, 2)), np.ones((2, 2)), np.ones((3, 2))), "need"),
        (lambda: infonce.cosine_infonce(np.zeros((2, 1)), *np.ones((3, 3, 2))), "code is zero"),
        (lambda: infonce.limit_gram(np.zeros((2, 2)), np.eye(2), 1), "positive definite"),
        (lambda: infonce.gaussian_infonce(np.ones((3, 1)), np.eye(2), np.eye(2)), "need"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_small_second_component_changes_the_cosines_as_the_chapter_says():
    rng = np.random.default_rng(11)
    x, plus, u, v = *rng.normal(size=(2, 20, 3)), *rng.normal(size=(2, 3))
    sign = np.sign(x @ u) * np.sign(plus @ u)
    told = np.mean(sign * ((x @ v) / (x @ u) - (plus @ v) / (plus @ u)) ** 2) / 2
    eps = 1e-3 * min(np.abs(x @ u).min(), np.abs(plus @ u).min())
    moved = infonce.cosine_pairs(np.column_stack([u, eps * v]), x, plus)[0] + sign.mean()
    assert np.isclose(moved / eps**2, told, rtol=1e-3)
