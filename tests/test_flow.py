import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory.flow import integrate
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


def balance(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    return A @ np.swapaxes(A, -1, -2) - np.swapaxes(B, -1, -2) @ B


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, dynamics=st.sampled_from(["sg", "ema"]))
def test_the_balance_decays_exponentially_along_the_flow(seed, dynamics):
    p, A, B, C = random_start(seed)
    extra = {"C": C, "kappa": 0.3} if dynamics == "ema" else {}
    run = integrate(p, dynamics, A, B, duration=20.0, samples=30, **extra)
    D = balance(run.A, run.B)
    assert np.abs(D - np.exp(-2 * p.lam * run.times)[:, None, None] * D[0]).max() < 1e-7


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_the_gradient_flow_never_raises_the_loss_and_shrinks_the_encoder(seed):
    p, A, B, _ = random_start(seed)
    run = integrate(p, "gradient", A, B, duration=30.0, samples=100)
    loss = p.loss(run.A, run.B)
    assert np.diff(loss).max() < 1e-9
    size = np.linalg.norm(run.A, axis=(1, 2))
    assert (size <= np.exp(-p.lam * run.times) * size[0] * (1 + 1e-8) + 1e-10).all()


def test_stop_gradient_can_raise_the_loss():
    p = scalar_problem(1.0, 0.8, 0.05, 2)
    A, B = np.array([[0.3], [0.0]]), 0.3 * np.diag([1.0, 0.0])
    run = integrate(p, "sg", A, B, duration=100.0)
    assert p.loss(run.A[-1], run.B[-1]) > p.loss(A, B) + 0.01


def test_a_frozen_teacher_stays_and_the_student_descends_its_loss():
    p, A, B, C = random_start(1)
    run = integrate(p, "ema", A, B, C, kappa=0.0, duration=30.0, samples=60)
    assert np.array_equal(run.C, np.broadcast_to(C, run.C.shape))
    assert np.diff(p.teacher_loss(run.A, run.B, C)).max() < 1e-9


def test_a_fast_teacher_is_stop_gradient():
    p, A, B, _ = random_start(2)
    target = integrate(p, "sg", A, B, duration=5.0).final[0]
    gaps = [
        np.linalg.norm(integrate(p, "ema", A, B, kappa=kappa, duration=5.0).final[0] - target) for kappa in (100, 1000)
    ]
    assert gaps[1] < 1e-2
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.1)  # first order in 1 / kappa


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
def test_running_backwards_undoes_running_forwards(dynamics):
    p, A, B, C = random_start(3)
    extra = {"C": C, "kappa": 0.3} if dynamics == "ema" else {}
    # A short time: backwards, every error of a contracting flow grows.
    run = integrate(p, dynamics, A, B, duration=0.3, **extra)
    state, h = list(run.final), -1e-3
    rate = {"kappa": 0.3} if dynamics == "ema" else {}
    for _ in range(300):
        k1 = p.field(dynamics, *state, **rate)
        k2 = p.field(dynamics, *(s + h / 2 * k for s, k in zip(state, k1, strict=True)), **rate)
        k3 = p.field(dynamics, *(s + h / 2 * k for s, k in zip(state, k2, strict=True)), **rate)
        k4 = p.field(dynamics, *(s + h * k for s, k in zip(state, k3, strict=True)), **rate)
        state = [s + h / 6 * (a + 2 * b + 2 * c + d) for s, a, b, c, d in zip(state, k1, k2, k3, k4, strict=True)]
    for back, start in zip(state, (A, B, C), strict=False):
        assert np.allclose(back, start, atol=1e-6)


def test_two_halves_are_one_whole():
    p, A, B, _ = random_start(4)
    whole = integrate(p, "sg", A, B, duration=8.0)
    half = integrate(p, "sg", *integrate(p, "sg", A, B, duration=3.0).final, duration=5.0)
    for one, other in zip(whole.final, half.final, strict=True):
        assert np.allclose(one, other, atol=1e-8)


def test_without_data_pull_the_decay_is_the_textbook_exponential():
    # Y = 0 and B = 0: A' = -lam A exactly.
    p = LinearProblem(SecondMoments(np.eye(2), np.zeros((2, 2)), np.eye(2)), 0.3, 3)
    A = np.random.default_rng(0).standard_normal((3, 2))
    run = integrate(p, "sg", A, np.zeros((3, 3)), duration=10.0, samples=20)
    assert np.allclose(run.A, np.exp(-0.3 * run.times)[:, None, None] * A, atol=1e-8)


def test_it_says_why_it_stopped():
    p = scalar_problem(1.0, 0.8, 0.05, 2)
    A, B = np.array([[0.5], [0.1]]), np.eye(2) * 0.5
    rested = integrate(p, "sg", A, B, duration=5000.0, field_tol=1e-8, samples=50)
    assert rested.outcome == "converged"
    assert rested.reason.startswith("converged: the field's norm fell to 1.00e-08 at time ")
    assert rested.field_norm[-1] == pytest.approx(1e-8, rel=1e-3)
    assert rested.times[-1] < 5000
    assert (rested.field_norm[:-1] > 1e-8).all()
    assert len(rested.times) == len(rested.A) == len(rested.B) == len(rested.field_norm)
    assert rested.C is None
    again = integrate(p, "sg", *rested.final, duration=10.0, field_tol=2e-8)
    assert again.outcome == "converged"
    assert again.times.tolist() == [0.0]
    short = integrate(p, "sg", A, B, duration=1.0, field_tol=1e-8)
    assert short.outcome == "unfinished"
    assert short.times[-1] == 1.0
    assert "at time 1" in short.reason
    untold = integrate(p, "sg", A, B, duration=5000.0)
    assert untold.outcome == "unfinished"


def test_a_growing_state_is_reported_as_diverged_never_as_converged():
    p = scalar_problem(1.0, 0.8, 0.05, 2)
    A, B = np.array([[0.3], [0.0]]), 0.3 * np.diag([1.0, 0.0])
    # The outer sphere lies beyond the limit given here.
    run = integrate(p, "sg", A, B, duration=500.0, field_tol=1e-8, norm_limit=0.8)
    assert run.outcome == "diverged"
    assert "diverged" in run.reason
    size = np.sqrt(np.sum(run.A[-1] ** 2) + np.sum(run.B[-1] ** 2))
    assert size == pytest.approx(0.8, rel=1e-6)
    assert integrate(p, "sg", 10 * A, B, duration=1.0, norm_limit=0.8).outcome == "diverged"


def test_sample_times_are_kept():
    p, A, B, _ = random_start(5)
    times = np.array([0.0, 0.3, 2.0])
    run = integrate(p, "sg", A, B, duration=4.0, samples=times)
    assert run.times.tolist() == [0.0, 0.3, 2.0, 4.0]
    assert np.array_equal(run.A[0], A)
    fine = integrate(p, "sg", A, B, duration=2.0)
    assert np.allclose(run.A[2], fine.A[-1], atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": 0.0}, "duration must be greater than 0; got 0"),
        ({"duration": np.inf}, "duration must be finite"),
        ({"rtol": -1e-9}, "rtol must be greater than 0"),
        ({"field_tol": 0.0}, "field_tol must be greater than 0"),
        ({"samples": 1}, "samples must be an integer, at least 2; got 1"),
        ({"samples": [0.0, 5.0]}, "samples must increase within"),
        ({"samples": [1.0, 0.5]}, "samples must increase within"),
        ({"dynamics": "ema"}, "dynamics 'ema' needs kappa"),
        ({"dynamics": "adam"}, "dynamics must be one of"),
        ({"kappa": 0.1}, "no separate teacher; kappa must be None"),
        ({"A": np.ones((3, 3))}, r"A has shape \(3, 3\); need \(..., 3, 2\)"),
        ({"A": np.ones((4, 3, 2))}, "one state, not a batch"),
        ({"B": np.full((3, 3), np.nan)}, "B must be finite"),
    ],
)
def test_bad_input_is_refused(change, message):
    p = LinearProblem(gaussian_moments(np.eye(2), np.eye(2)), 0.1, 3)
    arguments = {"dynamics": "sg", "A": np.ones((3, 2)), "B": np.eye(3), "duration": 1.0} | change
    with pytest.raises(ValueError, match=message):
        integrate(p, **arguments)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, rate=st.floats(0.0, 2.0), beat=st.floats(0.1, 3.0))
def test_the_balance_decays_alike_under_a_teacher_whose_rate_varies(seed, rate, beat):
    p, A, B, C = random_start(seed)
    run = integrate(p, "ema", A, B, C, kappa=lambda t: rate * (1 + np.sin(beat * t)), duration=10.0, samples=20)
    D = p.imbalance(run.A, run.B)
    assert np.abs(D - np.exp(-2 * p.lam * run.times)[:, None, None] * D[0]).max() < 1e-7
    assert (np.sum(run.A**2, axis=(1, 2)) <= p.size_bound(A, B, C) * (1 + 1e-9)).all()


def test_a_constant_function_is_its_number():
    p, A, B, C = random_start(6)
    number = integrate(p, "ema", A, B, C, kappa=0.3, duration=5.0)
    function = integrate(p, "ema", A, B, C, kappa=lambda t: 0.3, duration=5.0)
    assert np.array_equal(number.A, function.A)
    assert np.array_equal(number.field_norm, function.field_norm)


def test_a_rate_that_jumps_is_two_flows_in_a_row():
    p, A, B, C = random_start(7)
    whole = integrate(p, "ema", A, B, C, kappa=lambda t: 0.5 if t < 3 else 0.0, duration=6.0)
    half = integrate(p, "ema", A, B, C, kappa=0.5, duration=3.0)
    rest = integrate(p, "ema", *half.final, kappa=0.0, duration=3.0)
    for one, other in zip(whole.final, rest.final, strict=True):
        assert np.allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_a_rate_that_is_no_rate_is_refused_when_it_is_met(value):
    p, A, B, _ = random_start(8)
    with pytest.raises(ValueError, match="kappa must be at least 0 and finite at every time"):
        integrate(p, "ema", A, B, kappa=lambda t: value if t > 1 else 0.1, duration=3.0)
