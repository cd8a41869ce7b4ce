import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory.linear import LinearProblem
from ssltheory.moments import SecondMoments, gaussian_moments, second_moments

SEEDS = st.integers(0, 2**32 - 1)


def random_problem(rng: np.random.Generator, m: int = 2, n: int = 3, lam: float | None = None) -> LinearProblem:
    root = rng.standard_normal((2 * m, 2 * m + 2))
    joint = root @ root.T / (2 * m)
    lam = rng.uniform(0, 0.5) if lam is None else lam
    return LinearProblem(SecondMoments(joint[:m, :m], joint[m:, :m], joint[m:, m:]), lam, n)


def random_state(rng: np.random.Generator, p: LinearProblem, *batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, m = p.n, p.m
    A, B, C = (rng.standard_normal((*batch, *shape)) for shape in ((n, m), (n, n), (n, m)))
    return A, B, C


def test_losses_are_the_averages_over_samples():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 40, 2))
    p = LinearProblem(second_moments(x, y), 0.3, 4)
    A, B, C = random_state(rng, p)
    decay = 0.15 * (np.sum(A**2) + np.sum(B**2))
    F = 0.5 * np.mean(np.sum((x @ (B @ A).T - y @ C.T) ** 2, axis=1)) + decay
    E = 0.5 * np.mean(np.sum((x @ (B @ A).T - y @ A.T) ** 2, axis=1)) + decay
    assert np.isclose(p.teacher_loss(A, B, C), F, rtol=1e-13)
    assert np.isclose(p.loss(A, B), E, rtol=1e-13)
    residual = np.mean([np.outer(B @ A @ a - C @ b, a) for a, b in zip(x, y, strict=True)], axis=0)
    assert np.allclose(p.residual(A, B, C), residual, atol=1e-13)


def test_loss_is_the_monte_carlo_limit_of_its_definition():
    rng = np.random.default_rng(1)
    p = LinearProblem(gaussian_moments(np.array([[1.0, 0.3], [0.3, 0.5]]), 0.2 * np.eye(2)), 0.1, 3)
    A, B, _ = random_state(rng, p)
    x, y = p.moments.sample(rng, 200_000)
    values = 0.5 * np.sum((x @ (B @ A).T - y @ A.T) ** 2, axis=1)
    decay = 0.05 * (np.sum(A**2) + np.sum(B**2))
    assert abs(values.mean() + decay - p.loss(A, B)) < 5 * values.std() / np.sqrt(len(values))


def test_fields_are_the_gradients_that_automatic_differentiation_finds():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 25, 2))
    p = LinearProblem(second_moments(x, y), 0.2, 3)
    A, B, C = random_state(rng, p)
    tx, ty = torch.tensor(x), torch.tensor(y)

    def gradient(target):
        a, b = torch.tensor(A, requires_grad=True), torch.tensor(B, requires_grad=True)
        loss = 0.5 * ((tx @ (b @ a).T - target(a)) ** 2).sum(1).mean() + 0.1 * ((a**2).sum() + (b**2).sum())
        return [g.numpy() for g in torch.autograd.grad(loss, (a, b))]

    E = gradient(lambda a: ty @ a.T)
    stopped = gradient(lambda a: ty @ a.detach().T)
    teacher = gradient(lambda a: ty @ torch.tensor(C).T)
    for got, want in zip(p.loss_gradient(A, B), E, strict=True):
        assert np.allclose(got, want, atol=1e-12)
    for got, want in zip(p.field("gradient", A, B), E, strict=True):
        assert np.allclose(got, -want, atol=1e-12)
    for got, want in zip(p.field("sg", A, B), stopped, strict=True):
        assert np.allclose(got, -want, atol=1e-12)
    field = p.field("ema", A, B, C, 0.7)
    for got, want in zip(field[:2], teacher, strict=True):
        assert np.allclose(got, -want, atol=1e-12)
    assert np.allclose(field[2], 0.7 * (A - C))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 3), extra=st.integers(0, 2))
def test_gradient_of_the_loss_agrees_with_differences(seed, m, extra):
    rng = np.random.default_rng(seed)
    p = random_problem(rng, m, m + extra)
    A, B, _ = random_state(rng, p)
    dA, dB, _ = random_state(rng, p)
    gA, gB = p.loss_gradient(A, B)
    h = 1e-4
    slope = (p.loss(A + h * dA, B + h * dB) - p.loss(A - h * dA, B - h * dB)) / (2 * h)
    assert np.isclose(slope, np.sum(gA * dA) + np.sum(gB * dB), rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 3), extra=st.integers(0, 2), dynamics=st.sampled_from(["gradient", "sg", "ema"]))
def test_rotating_the_code_rotates_the_field(seed, m, extra, dynamics):
    rng = np.random.default_rng(seed)
    p = random_problem(rng, m, m + extra)
    A, B, C = random_state(rng, p)
    Q = np.linalg.qr(rng.standard_normal((p.n, p.n)))[0]
    teacher = {"C": C, "kappa": 0.4} if dynamics == "ema" else {}
    turned = {"C": Q @ C, "kappa": 0.4} if dynamics == "ema" else {}
    plain = p.field(dynamics, A, B, **teacher)
    rotated = p.field(dynamics, Q @ A, Q @ B @ Q.T, **turned)
    for got, want in zip(rotated, [Q @ plain[0], Q @ plain[1] @ Q.T, *(Q @ M for M in plain[2:])], strict=True):
        assert np.allclose(got, want, atol=1e-10)
    assert np.isclose(p.teacher_loss(Q @ A, Q @ B @ Q.T, Q @ C), p.teacher_loss(A, B, C), rtol=1e-10)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 3), extra=st.integers(0, 2))
def test_the_balance_decays_at_the_rate_of_weight_decay_whatever_the_teacher(seed, m, extra):
    rng = np.random.default_rng(seed)
    p = random_problem(rng, m, m + extra)
    A, B, C = random_state(rng, p)
    for dA, dB in (p.field("sg", A, B), p.field("ema", A, B, C, 0.3)[:2]):
        change = dA @ A.T + A @ dA.T - dB.T @ B - B.T @ dB
        assert np.allclose(change, -2 * p.lam * (A @ A.T - B.T @ B), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 3), extra=st.integers(0, 2))
def test_the_flow_of_the_loss_shrinks_the_encoder_by_twice_the_prediction_error(seed, m, extra):
    rng = np.random.default_rng(seed)
    p = random_problem(rng, m, m + extra)
    A, B, _ = random_state(rng, p)
    error = 2 * p.loss(A, B) - p.lam * (np.sum(A**2) + np.sum(B**2))
    assert error >= -1e-9
    rate = 2 * np.sum(A * p.field("gradient", A, B)[0])
    assert np.isclose(rate, -2 * error - 2 * p.lam * np.sum(A**2), rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_stop_gradient_is_a_teacher_equal_to_the_student(seed):
    rng = np.random.default_rng(seed)
    p = random_problem(rng)
    A, B, _ = random_state(rng, p)
    assert np.array_equal(p.loss(A, B), p.teacher_loss(A, B, A))
    stopped, taught = p.field("sg", A, B), p.field("ema", A, B, A, 0.9)
    assert np.array_equal(stopped[0], taught[0])
    assert np.array_equal(stopped[1], taught[1])
    assert not taught[2].any()


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_the_predictor_feels_no_stop_gradient(seed):
    rng = np.random.default_rng(seed)
    p = random_problem(rng)
    A, B, _ = random_state(rng, p)
    whole, stopped = p.field("gradient", A, B), p.field("sg", A, B)
    assert np.allclose(whole[1], stopped[1], atol=1e-14)
    assert np.allclose(whole[0] - stopped[0], B @ A @ p.Y.T - A @ p.Z, atol=1e-12)


def test_a_batch_is_its_members():
    rng = np.random.default_rng(3)
    p = random_problem(rng)
    A, B, C = random_state(rng, p, 2, 5)
    single_B = B[0, 0]
    field, loss = p.field("ema", A, single_B, C, 0.2), p.teacher_loss(A, single_B, C)
    for i in np.ndindex(2, 5):
        for whole, one in zip(field, p.field("ema", A[i], single_B, C[i], 0.2), strict=True):
            assert np.allclose(whole[i], one, atol=1e-13)
        assert np.isclose(loss[i], p.teacher_loss(A[i], single_B, C[i]), rtol=1e-13)
    assert p.loss(A, B).shape == (2, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": -0.1}, "lam must be at least 0; got -0.1"),
        ({"lam": np.nan}, "lam must be finite"),
        ({"lam": np.ones(2)}, "lam must be a single number"),
        ({"n": 1}, "n must be at least m = 2; got 1"),
        ({"n": 2.5}, "n must be an integer, at least 1; got 2.5"),
        ({"moments": np.eye(2)}, "moments must be SecondMoments; got ndarray"),
    ],
)
def test_impossible_problems_are_refused(change, message):
    arguments = {"moments": gaussian_moments(np.eye(2), np.eye(2)), "lam": 0.1, "n": 3} | change
    with pytest.raises(ValueError, match=message):
        LinearProblem(**arguments)


def test_weight_decay_may_be_zero():
    assert LinearProblem(gaussian_moments(np.eye(2), np.eye(2)), 0, 2).lam == 0.0


def test_bad_states_are_refused():
    p = random_problem(np.random.default_rng(4))
    A, B, C = random_state(np.random.default_rng(5), p)
    for call, message in [
        (lambda: p.loss(A.T, B), r"A has shape \(2, 3\); need \(..., 3, 2\)"),
        (lambda: p.residual(A, B[:2], C), r"B has shape \(2, 3\); need \(..., 3, 3\)"),
        (lambda: p.loss(A * np.inf, B), "A must be finite; 6 of its 6"),
        (lambda: p.loss(np.ones((2, 3, 2)), np.ones((4, 3, 3))), "batch axes .* do not broadcast"),
        (lambda: p.field("byol", A, B), "dynamics must be one of 'gradient', 'sg', 'ema'; got 'byol'"),
        (lambda: p.field("sg", A, B, C), "dynamics 'sg' has no separate teacher; C must be None"),
        (lambda: p.field("ema", A, B, kappa=0.1), "dynamics 'ema' needs C"),
        (lambda: p.field("ema", A, B, C), "dynamics 'ema' needs kappa"),
        (lambda: p.field("ema", A, B, C, -0.1), "kappa must be at least 0; got -0.1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    m=st.integers(1, 3),
    extra=st.integers(0, 2),
    step=st.floats(1e-3, 2.0),
    dynamics=st.sampled_from(["sg", "ema"]),
)
def test_the_imbalance_after_a_step_is_foretold_exactly(seed, m, extra, step, dynamics):
    rng = np.random.default_rng(seed)
    p = random_problem(rng, m, m + extra)
    A, B, C = random_state(rng, p, 4)
    teacher = C if dynamics == "ema" else None
    dA, dB = p.field(dynamics, A, B, teacher, None if teacher is None else 0.3)[:2]
    taken = p.imbalance(A + step * dA, B + step * dB)
    foretold = p.imbalance_after_step(step, A, B, teacher)
    assert np.abs(taken - foretold).max() <= 1e-12 * max(1.0, np.abs(taken).max(), (step * np.abs(dA).max()) ** 2)


def test_the_imbalance_is_what_its_name_says():
    p = random_problem(np.random.default_rng(6))
    A, B, _ = random_state(np.random.default_rng(7), p, 3)
    D = p.imbalance(A, B)
    assert np.allclose(D, np.swapaxes(D, -1, -2))
    assert np.allclose(np.trace(D, axis1=1, axis2=2), np.sum(A**2, (1, 2)) - np.sum(B**2, (1, 2)))
    U, S, _ = np.linalg.svd(A[0])
    assert np.allclose(p.imbalance(A[0], U[:, :2] @ np.diag(S) @ U[:, :2].T), 0, atol=1e-12)
    with pytest.raises(ValueError, match="step must be greater than 0"):
        p.imbalance_after_step(0.0, A, B)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 3), extra=st.integers(0, 2), scale=st.floats(0.5, 20.0))
def test_on_the_bound_of_size_the_flow_points_inwards(seed, m, extra, scale):
    rng = np.random.default_rng(seed)
    p = random_problem(rng, m, m + extra)
    A, B, C = random_state(rng, p)
    A, B, C = scale * A, scale * B, scale * C
    bound = float(p.size_bound(A, B, C))
    assert bound >= max(np.sum(A**2), np.sum(C**2))
    # Any encoder of that size whose imbalance is no larger, with any teacher no larger, must shrink.
    D = np.linalg.norm(p.imbalance(A, B), 2)
    grown = rng.standard_normal(A.shape)
    grown *= np.sqrt(bound) / np.linalg.norm(grown)
    S = grown @ grown.T + D * np.diag(rng.uniform(-1, 1, p.n))
    values, vectors = np.linalg.eigh(S)
    root = np.linalg.qr(rng.standard_normal(B.shape))[0] @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T
    teacher = C * np.sqrt(bound) / max(np.linalg.norm(C), 1e-9)
    if np.linalg.norm(p.imbalance(grown, root), 2) <= D:
        assert np.sum(grown * p.field("ema", grown, root, teacher, 0.0)[0]) <= 1e-9 * bound**2


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 3), extra=st.integers(0, 2))
def test_the_gradient_of_the_loss_shrinks_the_encoder_at_the_guaranteed_rate_at_least(seed, m, extra):
    rng = np.random.default_rng(seed)
    p = random_problem(rng, m, m + extra)
    A, B, _ = random_state(rng, p)
    guaranteed, final = p.collapse_rates
    assert p.lam <= guaranteed <= final + 1e-12
    assert np.sum(A * p.field("gradient", A, B)[0]) <= -guaranteed * np.sum(A**2) + 1e-9
    # Without a predictor the field is linear: A' = -A (lam + Z).
    slowest = np.outer(rng.standard_normal(p.n), np.linalg.eigh(p.Z)[1][:, 0])
    assert np.allclose(p.field("gradient", slowest, np.zeros_like(B))[0], -final * slowest, atol=1e-9)
