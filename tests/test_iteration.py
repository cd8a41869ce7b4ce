import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory.flow import integrate
from ssltheory.iteration import Outcome, iterate
from ssltheory.linear import LinearProblem
from ssltheory.moments import SecondMoments, gaussian_moments
from ssltheory.scalar import scalar_problem

SEEDS = st.integers(0, 2**32 - 1)


def random_start(seed: int, m: int = 2, n: int = 3, lam: float = 0.05):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((2 * m, 2 * m + 2))
    joint = root @ root.T / (2 * m)
    p = LinearProblem(SecondMoments(joint[:m, :m], joint[m:, :m], joint[m:, m:]), lam, n)
    return p, *(0.6 * rng.standard_normal(shape) for shape in ((n, m), (n, n), (n, m)))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, step=st.floats(0.001, 0.2))
def test_a_teacher_without_memory_is_stop_gradient_bit_for_bit(seed, step):
    p, A, B, _ = random_start(seed)
    stopped = iterate(p, "sg", A, B, step=step, steps=50)
    taught = iterate(p, "ema", A, B, step=step, alpha=0.0, steps=50)
    assert np.array_equal(stopped.A, taught.A)
    assert np.array_equal(stopped.B, taught.B)
    assert np.array_equal(taught.A, taught.C)


def test_a_teacher_with_full_memory_is_frozen():
    p, A, B, C = random_start(0)
    run = iterate(p, "ema", A, B, C, step=0.05, alpha=1.0, steps=200)
    assert np.array_equal(run.C, np.broadcast_to(C, run.C.shape))
    assert np.diff(p.teacher_loss(run.A, run.B, C)).max() < 0


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, step=st.floats(0.01, 0.3), alpha=st.floats(0, 1))
def test_one_step_is_the_definition(seed, step, alpha):
    p, A, B, C = random_start(seed)
    run = iterate(p, "ema", A, B, C, step=step, alpha=alpha, steps=1)
    R = B @ A @ p.X - C @ p.Y
    A1, B1 = A - step * (B.T @ R + p.lam * A), B - step * (R @ A.T + p.lam * B)
    for got, want in zip(run.final, (A1, B1, alpha * C + (1 - alpha) * A1), strict=True):
        assert np.allclose(got, want, atol=1e-13)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, step=st.floats(0.001, 0.5), dynamics=st.sampled_from(["sg", "ema"]))
def test_the_discrete_balance_law(seed, step, dynamics):
    p, A, B, C = random_start(seed, lam=0.1)
    extra = {"C": C, "alpha": 0.7} if dynamics == "ema" else {}
    run = iterate(p, dynamics, A, B, step=step, steps=1, **extra)
    R = p.residual(A, B, C if dynamics == "ema" else A)
    P0, Q0 = B.T @ R, R @ A.T
    D = [a @ a.T - b.T @ b for a, b in zip(run.A, run.B, strict=True)]
    assert np.allclose(D[1], (1 - step * p.lam) ** 2 * D[0] + step**2 * (P0 @ P0.T - Q0.T @ Q0), atol=1e-10)


def test_gradient_steps_descend_the_loss():
    p, A, B, _ = random_start(1)
    run = iterate(p, "gradient", A, B, step=0.02, steps=500)
    assert np.diff(p.loss(run.A, run.B)).max() < 0


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
def test_small_steps_follow_the_flow_to_first_order(dynamics):
    p, A, B, C = random_start(2)
    kappa = 0.5
    flow = integrate(p, dynamics, A, B, duration=2.0, **({"C": C, "kappa": kappa} if dynamics == "ema" else {}))
    gaps = []
    for steps in (200, 400):
        step = 2.0 / steps
        extra = {"C": C, "alpha": 1 - kappa * step} if dynamics == "ema" else {}
        run = iterate(p, dynamics, A, B, step=step, steps=steps, **extra)
        assert run.times[-1] == pytest.approx(2.0)
        gaps.append(np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(run.final, flow.final, strict=True))))
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.1)


def test_a_batch_is_its_members():
    rng = np.random.default_rng(3)
    p = scalar_problem(1.0, 0.8, 0.05, 2)
    size = np.array([0.01, 0.5, 1.0, 2.0, 6.0, 40.0])[:, None, None]  # from the origin to overflow
    A, B = size * rng.standard_normal((6, 2, 1)), size * rng.standard_normal((6, 2, 2))
    settings_ = {"step": 0.1, "alpha": 0.9, "steps": 3000, "record_every": 3000, "field_tol": 1e-8}
    batch = iterate(p, "ema", A, B, **settings_)
    assert batch.A.shape[1:] == (6, 2, 1)
    for k in range(6):
        one = iterate(p, "ema", A[k], B[k], **settings_)
        for whole, single in zip(batch.final, one.final, strict=True):
            assert np.allclose(whole[k], single, rtol=1e-9, atol=1e-13)
        assert batch.outcomes[k] == one.outcome
        assert np.isclose(batch.field_norm[-1, k], one.field_norm[-1], rtol=1e-6)
    assert set(batch.outcomes) == set(Outcome)
    assert batch.outcome is Outcome.DIVERGED
    assert batch.reason.startswith("of 6 trajectories: ")


def test_a_diverging_step_is_reported_as_such_and_never_as_converged():
    p = scalar_problem(1.0, 0.8, 0.05, 2)
    A, B = np.full((2, 1), 5.0), 5.0 * np.eye(2)
    run = iterate(p, "sg", A, B, step=1.0, steps=1000, field_tol=1e-6)
    assert run.outcome is Outcome.DIVERGED
    assert run.reason.startswith("diverged: ")
    assert np.isfinite(run.A).all()
    assert np.isfinite(run.B).all()
    assert run.steps[-1] < 1000


def test_it_says_why_it_stopped():
    p = scalar_problem(1.0, 0.8, 0.05, 2)
    A, B = np.array([[0.5], [0.1]]), np.eye(2) * 0.5
    rested = iterate(p, "sg", A, B, step=0.3, steps=10_000, field_tol=1e-9)
    assert rested.outcome is Outcome.CONVERGED
    assert rested.field_norm[-1] <= 1e-9 < rested.field_norm[-2]
    assert f"after {rested.steps[-1]} steps" in rested.reason
    short = iterate(p, "sg", A, B, step=0.3, steps=10, field_tol=1e-9)
    assert short.outcome is Outcome.UNFINISHED
    assert "unfinished" in short.reason
    assert iterate(p, "sg", A, B, step=0.3, steps=10_000, record_every=10_000).outcome is Outcome.UNFINISHED
    done = iterate(p, "sg", *rested.final, step=0.3, steps=10, field_tol=1e-8)
    assert done.outcome is Outcome.CONVERGED
    assert done.steps.tolist() == [0]


def test_a_lagging_teacher_is_not_at_rest():
    # The student sits where its own field vanishes, the teacher does not: the field counts both.
    p, A, B, _ = random_start(4)
    frozen = iterate(p, "ema", A, B, step=0.1, alpha=1.0, steps=50_000, record_every=50_000, field_tol=1e-10)
    assert frozen.outcome is Outcome.CONVERGED
    freed = iterate(p, "ema", *frozen.final, step=0.1, alpha=0.9, steps=1, field_tol=1e-10)
    assert freed.outcome is Outcome.UNFINISHED


def test_records_are_a_thinning_of_the_whole_run():
    p, A, B, _ = random_start(5)
    whole = iterate(p, "sg", A, B, step=0.1, steps=25)
    thin = iterate(p, "sg", A, B, step=0.1, steps=25, record_every=10)
    assert thin.steps.tolist() == [0, 10, 20, 25]
    assert np.array_equal(thin.A, whole.A[thin.steps])
    assert np.allclose(thin.times, 0.1 * thin.steps)


def test_schedules_are_used_step_by_step():
    p, A, B, C = random_start(6)
    rng = np.random.default_rng(7)
    etas, alphas = rng.uniform(0.01, 0.1, 6), rng.uniform(0, 1, 6)
    run = iterate(p, "ema", A, B, C, step=etas, alpha=alphas, steps=6)
    state = (A, B, C)
    for eta, alpha in zip(etas, alphas, strict=True):
        state = iterate(p, "ema", *state, step=eta, alpha=alpha, steps=1).final
    for got, want in zip(run.final, state, strict=True):
        assert np.allclose(got, want, atol=1e-14)
    assert np.allclose(run.times, np.concatenate([[0], np.cumsum(etas)]))
    constant = iterate(p, "ema", A, B, C, step=np.full(6, 0.1), alpha=np.full(6, 0.5), steps=6)
    assert np.array_equal(constant.A, iterate(p, "ema", A, B, C, step=0.1, alpha=0.5, steps=6).A)


def test_the_callers_arrays_are_left_alone():
    p, A, B, C = random_start(8)
    copies = A.copy(), B.copy(), C.copy()
    iterate(p, "ema", A, B, C, step=0.1, alpha=0.5, steps=20)
    for now, before in zip((A, B, C), copies, strict=True):
        assert np.array_equal(now, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 0.0}, "step must be greater than 0; got 0"),
        ({"step": np.nan}, "step must be finite"),
        ({"step": np.ones(4)}, r"step has shape \(4,\); need a number or one value a step, \(5,\)"),
        ({"steps": 0}, "steps must be an integer, at least 1; got 0"),
        ({"record_every": 0}, "record_every must be an integer, at least 1"),
        ({"alpha": 0.5}, "no separate teacher; alpha must be None"),
        ({"dynamics": "ema"}, "dynamics 'ema' needs alpha"),
        ({"dynamics": "ema", "alpha": 1.1}, r"alpha must be in \[0, 1\]; got 1.1"),
        ({"dynamics": "ema", "alpha": -0.1}, r"alpha must be in \[0, 1\]; got -0.1"),
        ({"dynamics": "ema", "alpha": np.ones(3)}, r"alpha has shape \(3,\)"),
        ({"dynamics": "momentum"}, "dynamics must be one of"),
        ({"C": np.ones((3, 2))}, "no separate teacher; C must be None"),
        ({"field_tol": -1.0}, "field_tol must be at least 0"),
        ({"norm_limit": 0.0}, "norm_limit must be greater than 0"),
        ({"A": np.ones((2, 3))}, r"A has shape \(2, 3\); need \(..., 3, 2\)"),
        ({"B": np.full((3, 3), np.inf)}, "B must be finite; 9 of its 9"),
    ],
)
def test_bad_input_is_refused(change, message):
    p = LinearProblem(gaussian_moments(np.eye(2), np.eye(2)), 0.1, 3)
    arguments = {"dynamics": "sg", "A": np.ones((3, 2)), "B": np.eye(3), "step": 0.1, "steps": 5} | change
    with pytest.raises(ValueError, match=message):
        iterate(p, **arguments)
