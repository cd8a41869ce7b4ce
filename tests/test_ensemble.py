"""Laws of the batched dynamics: they are the same dynamics, faster."""

import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import LinearProblem, _kernels, flow_to_rest, integrate, iterate, iterate_to_rest, second_moments
from ssltheory.trajectory import Outcome


def draw(n, m, K, seed=0, size=0.7):
    """A problem whose cross-moment is not symmetric, and K starts."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, m))
    y = x @ rng.normal(size=(m, m)) + 0.3 * rng.normal(size=(200, m))
    problem = LinearProblem(second_moments(x, y), 0.05, n)
    return problem, size * rng.normal(size=(K, n, m)), size * rng.normal(size=(K, n, n))


def moments(problem):
    return {"X": problem.X, "Y": problem.Y, "Z": problem.Z, "lam": problem.lam}


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
@pytest.mark.parametrize(("n", "m"), [(2, 1), (3, 2), (4, 4)])
def test_flow_agrees_with_scipy_at_any_time(dynamics, n, m):
    problem, A, B = draw(n, m, 3)
    rate = {"kappa": 0.3} if dynamics == "ema" else {}
    batch = flow_to_rest(dynamics, A, B, **moments(problem), **rate, rtol=1e-10, atol=1e-12, max_time=3.0)
    assert batch.counts["unfinished"] == 3
    for k in range(3):
        one = integrate(
            problem, dynamics, A[k], B[k], A[k] if rate else None, **rate, duration=3.0, rtol=1e-12, atol=1e-13
        )
        for ours, theirs in zip((batch.A, batch.B, batch.C), one.final, strict=False):
            np.testing.assert_allclose(ours[k], theirs, rtol=0, atol=2e-9)


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
def test_flow_error_follows_the_tolerance_as_an_order_three_pair_should(dynamics):
    # Local error control at order 3 in the estimate: steps grow as rtol^(-1/4), the global error falls with rtol.
    problem, A, B = draw(3, 2, 4, seed=1)
    rate = {"kappa": 0.3} if dynamics == "ema" else {}
    exact = flow_to_rest(dynamics, A, B, **moments(problem), **rate, rtol=1e-12, atol=1e-14, max_time=2.0)
    errors, steps = [], []
    for rtol in (1e-5, 1e-7, 1e-9):
        end = flow_to_rest(dynamics, A, B, **moments(problem), **rate, rtol=rtol, atol=rtol * 1e-2, max_time=2.0)
        errors.append(np.abs(end.A - exact.A).max())
        steps.append(end.steps.mean())
        assert errors[-1] < 20 * rtol
    assert errors[2] < errors[0] / 1e3
    assert steps[2] / steps[0] == pytest.approx(10.0, rel=0.5)


@pytest.mark.parametrize("alpha", [0.0, 0.9, 1.0])
def test_iteration_agrees_with_the_plain_one(alpha):
    problem, A, B = draw(3, 2, 5, size=0.4)
    batch = iterate_to_rest("ema", A, B, **moments(problem), step=0.02, alpha=alpha, max_steps=57)
    one = iterate(problem, "ema", A, B, A, step=0.02, alpha=alpha, steps=57)
    np.testing.assert_allclose(batch.A, one.A[-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(batch.C, one.C[-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(batch.field_norm, one.field_norm[-1], rtol=1e-9)


def test_alpha_zero_is_stop_gradient():
    problem, A, B = draw(3, 2, 5, size=0.4)
    ema = iterate_to_rest("ema", A, B, **moments(problem), step=0.02, alpha=0.0, max_steps=200)
    sg = iterate_to_rest("sg", A, B, **moments(problem), step=0.02, max_steps=200)
    np.testing.assert_array_equal(ema.A, sg.A)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), lam=st.floats(0.01, 0.2))
def test_at_rest_means_a_small_field_and_balanced_weights(seed, lam):
    # D = A A^T - B^T B decays as exp(-2 lam t) in the flow, so an equilibrium reached from anywhere is balanced.
    problem, A, B = draw(2, 1, 8, seed=seed, size=1.0)
    problem = LinearProblem(problem.moments, lam, 2)
    end = flow_to_rest("sg", A, B, **moments(problem))
    rest = end.having(Outcome.CONVERGED)
    assert rest.all()
    dA, dB = problem.field("sg", end.A, end.B)
    norm = np.sqrt((dA**2).sum((1, 2)) + (dB**2).sum((1, 2)))
    scale = np.sqrt((end.A**2).sum((1, 2)) + (end.B**2).sum((1, 2)))
    floor = 1e-15 * scale * (lam + scale * (scale * problem.X[0, 0] + abs(problem.Y[0, 0])))
    assert np.all(norm <= np.maximum(1.01e-9, 10 * floor))
    D = end.A @ end.A.transpose(0, 2, 1) - end.B.transpose(0, 2, 1) @ end.B
    assert np.abs(D).max() < 1e-6


def test_rotating_the_code_rotates_the_trajectory():
    problem, A, B = draw(3, 2, 4)
    Q = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    plain = flow_to_rest("ema", A, B, **moments(problem), kappa=0.2, max_time=5.0, rtol=1e-9, atol=1e-11)
    turned = flow_to_rest("ema", Q @ A, Q @ B @ Q.T, **moments(problem), kappa=0.2, max_time=5.0, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(turned.A, Q @ plain.A, atol=1e-7)


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_gives_the_same_bits(pool):
    problem, A, B = draw(2, 1, 300)
    alone = flow_to_rest("sg", A, B, **moments(problem))
    with pool(2) as executor:
        shared = flow_to_rest("sg", A, B, **moments(problem), executor=executor)
    np.testing.assert_array_equal(alone.A, shared.A)
    np.testing.assert_array_equal(alone.outcome, shared.outcome)


def test_a_trial_does_not_depend_on_its_batch():
    problem, A, B = draw(2, 1, 200)
    whole = flow_to_rest("sg", A, B, **moments(problem))
    part = flow_to_rest("sg", A[150:], B[150:], **moments(problem))
    np.testing.assert_array_equal(whole.A[150:], part.A)


def test_divergence_is_never_called_convergence():
    problem, A, B = draw(2, 1, 20, size=2.0)
    end = iterate_to_rest("sg", A, B, **moments(problem), step=5.0)
    assert end.counts["diverged"] == 20
    assert not end.having(Outcome.CONVERGED).any()


@pytest.mark.parametrize("max_steps", [1, 2, 3, 5, 8])
def test_a_rejected_last_step_leaves_no_trace(max_steps):
    # At so coarse a tolerance the steps tried are wild: what was tried and rejected must not decide the outcome.
    problem, A, B = draw(2, 1, 3000, size=10.0)
    end = flow_to_rest("sg", A, B, **moments(problem), max_steps=max_steps, rtol=1.0, atol=1e-3)
    with np.errstate(over="ignore"):
        size = np.sqrt((end.A**2).sum((1, 2)) + (end.B**2).sum((1, 2)))
    np.testing.assert_array_equal(end.having(Outcome.DIVERGED), ~(size < 1e8))
    rest = end.having(Outcome.CONVERGED)
    norm = np.sqrt(sum((d**2).sum((1, 2)) for d in problem.field("sg", end.A[rest], end.B[rest])))
    np.testing.assert_allclose(end.field_norm[rest], norm, rtol=1e-6, atol=1e-12)
    assert (norm <= np.maximum(1e-9, 1e-12 * size[rest])).all()


@pytest.mark.parametrize("size", [1e9, 1e100, 1e160])
def test_a_state_beyond_all_bounds_has_diverged_whatever_its_rounding(size):
    problem, A, B = draw(2, 1, 20, size=size)
    assert flow_to_rest("sg", A, B, **moments(problem)).counts["diverged"] == 20
    assert iterate_to_rest("sg", A, B, **moments(problem), step=0.1).counts["diverged"] == 20


def test_a_second_view_may_be_degenerate_for_the_gradient_as_for_the_problem():
    _, A, B = draw(3, 2, 3)
    end = flow_to_rest("gradient", A, B, X=np.eye(2), Y=np.zeros((2, 2)), Z=np.diag([1.0, 0.0]), lam=0.1)
    assert end.counts["converged"] == 3


RUNS = """
import json, sys
import numpy as np
from ssltheory import _kernels, flow_to_rest
found = {}
for dynamics in sys.argv[1:]:
    start = np.full((1, 1, 1), 0.7)
    end = flow_to_rest(dynamics, start, start, X=[[1]], Y=[[0.8]], Z=[[1]], lam=0.05)
    kernel = _kernels.flow_kernel(_kernels.CODES[dynamics], 1, 1)
    found[dynamics] = {"end": end.A.item(), "steps": end.steps.item(), "loaded": sum(kernel.stats.cache_hits.values())}
print(json.dumps(found))
"""


def test_kernels_kept_on_disk_are_found_again_and_never_mistaken_for_each_other(tmp_path):
    def run(*dynamics, seed):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", RUNS, *dynamics]
        return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)

    first = run("sg", seed="1")
    # Now the flow of E is compiled before the other is loaded, whose parts an earlier process numbered likewise.
    again = run("gradient", "sg", seed="2")
    assert (first["sg"]["loaded"], again["gradient"]["loaded"], again["sg"]["loaded"]) == (0, 0, 1)
    assert again["sg"] == first["sg"] | {"loaded": 1}
    assert again["gradient"]["end"] == pytest.approx(0, abs=1e-6)
    assert first["sg"]["end"] == pytest.approx(0.4 + np.sqrt(0.11), rel=1e-6)


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
@pytest.mark.parametrize(("n", "m"), [(2, 1), (5, 2)])
def test_a_kernel_for_many_sizes_gives_the_bits_of_one_for_a_size(dynamics, n, m, monkeypatch):
    problem, A, B = draw(n, m, 20)
    rate, momentum = ({"kappa": 0.3}, {"alpha": 0.9}) if dynamics == "ema" else ({}, {})
    flows, iterations = [], []
    for known in (_kernels.known(n, m), (_kernels.ANY, _kernels.ANY)):
        monkeypatch.setattr(_kernels, "known", lambda *_, known=known: known)
        flows.append(flow_to_rest(dynamics, A, B, **moments(problem), **rate))
        iterations.append(iterate_to_rest(dynamics, A, B, **moments(problem), **momentum, step=0.05, max_steps=200))
    for one, other in (flows, iterations):
        for column in ("A", "B", "field_norm", "outcome", "time", "steps"):
            np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


def test_sizes_share_kernels_so_that_a_new_one_costs_no_compilation():
    assert len({_kernels.known(n, m) for m in range(1, 11) for n in range(m, 21)}) == 6
    assert _kernels.known(2, 1) == (2, 1)
    assert _kernels.known(3, 2) == _kernels.known(17, 2)


def test_where_no_folder_can_be_written_kernels_are_compiled_all_the_same(monkeypatch):
    compiler, asked = numba.njit, []

    def nowhere_to_keep(*arguments, cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compiler(*arguments, **options)

    monkeypatch.setattr(_kernels.nb, "njit", nowhere_to_keep)
    kernel = _kernels.iteration_kernel.__wrapped__(_kernels.SG, 1, 1)
    assert asked == [True, False]
    states, one = np.array([[0.5, 0.5]]), np.ones(1)
    norms, outcome, steps = np.empty(1), np.empty(1, np.int8), np.empty(1, np.int64)
    M = np.ones((1, 1, 1))
    kernel(1, states, M, M, M, 0.1 * one, 0.1 * one, 0 * one, 1e-9, 1, norms, outcome, steps)
    problem = LinearProblem(second_moments([[1.0]], [[1.0]]), 0.1, 1)
    np.testing.assert_allclose(states[0], 0.5 + 0.1 * np.ravel(problem.field("sg", [[0.5]], [[0.5]])), rtol=1e-15)


def test_a_limit_on_time_or_steps_is_unfinished():
    problem, A, B = draw(2, 1, 4)
    assert flow_to_rest("sg", A, B, **moments(problem), max_time=0.1).counts["unfinished"] == 4
    assert flow_to_rest("sg", A, B, **moments(problem), max_steps=2).counts["unfinished"] == 4
    assert iterate_to_rest("sg", A, B, **moments(problem), step=0.01, max_steps=3).counts["unfinished"] == 4


def test_initial_states_are_left_alone():
    problem, A, B = draw(2, 1, 4)
    before = A.copy(), B.copy()
    flow_to_rest("sg", A, B, **moments(problem))
    np.testing.assert_array_equal(A, before[0])
    np.testing.assert_array_equal(B, before[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"A": np.full((2, 2, 1), np.nan)}, "A must be finite"),
        ({"A": np.zeros((2, 2))}, "A has shape"),
        ({"A": np.zeros((2, 1, 2))}, "n = 1 < m = 2"),
        ({"B": np.zeros((2, 3, 3))}, "B has shape"),
        ({"X": -np.eye(1)}, "X must be symmetric positive definite"),
        ({"X": np.eye(2)}, "X has shape"),
        ({"lam": -0.1}, "lam must be at least 0"),
        ({"lam": np.ones(3)}, "lam has shape"),
        ({"dynamics": "byol"}, "dynamics must be one of"),
        ({"dynamics": "ema"}, "needs kappa"),
        ({"kappa": 0.1}, "no separate teacher"),
        ({"C": np.zeros((2, 2, 1))}, "no separate teacher"),
        ({"dynamics": "gradient"}, "Z is missing"),
        ({"field_tol": 0.0}, "field_tol must be greater than 0"),
        ({"max_time": 0.0}, "max_time must be greater than 0"),
        ({"max_time": None}, "max_time must be finite"),
        ({"rtol": [1e-5, 1e-6]}, "rtol must be a single number"),
        ({"lam": "0.1"}, "lam must be an array of real numbers; got str"),
        ({"lam": True}, "lam must be an array of real numbers; got bool"),
        ({"X": [[10**400]]}, "X must be an array of real numbers"),
        ({"dynamics": np.zeros(2)}, "dynamics must be one of"),
        ({"max_steps": 0}, "max_steps must be an integer"),
    ],
)
def test_bad_input_is_refused_before_any_work(change, words):
    good = {
        "dynamics": "sg",
        "A": np.zeros((2, 2, 1)),
        "B": np.zeros((2, 2, 2)),
        "X": np.eye(1),
        "Y": np.eye(1),
        "lam": 0.1,
    }
    with pytest.raises(ValueError, match=words):
        flow_to_rest(**(good | change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step": 0.0}, "step must be greater than 0"),
        ({"dynamics": "ema"}, "needs alpha"),
        ({"dynamics": "ema", "alpha": 1.5}, r"alpha must be in \[0, 1\]"),
        ({"alpha": 0.5}, "no separate teacher"),
    ],
)
def test_bad_algorithm_is_refused(change, words):
    good = {"dynamics": "sg", "A": np.zeros((2, 2, 1)), "B": np.zeros((2, 2, 2)), "X": np.eye(1), "Y": np.eye(1)}
    with pytest.raises(ValueError, match=words):
        iterate_to_rest(**(good | {"lam": 0.1, "step": 0.1} | change))
