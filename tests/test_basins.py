"""Laws of the maps of where random starts end."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ssltheory import basins
from ssltheory import rank_deficient as rd
from ssltheory.equilibria import gram_residual
from ssltheory.iteration import iterate
from ssltheory.linear import LinearProblem
from ssltheory.moments import completed_moments


def mapped(family="exchangeable", count=300, m=2, n=3, lam=0.01, dynamics="sg", seed=0, **options):
    rng = np.random.default_rng(seed)
    problems = basins.draw_problems(rng, count, m, lam, family)
    A, B = basins.draw_starts(rng, count, n, m)
    return basins.basin_map(dynamics, A, B, X=problems.X, Y=problems.Y, S=problems.S, lam=lam, **options)


@pytest.mark.parametrize("family", ["exchangeable", "whitened", "general"])
def test_every_problem_drawn_has_the_equilibrium_it_is_given(family):
    problems = basins.draw_problems(np.random.default_rng(0), 30, 2, 0.01, family)
    assert problems.drawn >= len(problems) == 30
    for X, Y, S in zip(problems.X, problems.Y, problems.S, strict=True):
        assert np.linalg.eigvalsh(S)[0] > 0
        assert np.linalg.norm(gram_residual(S, X, Y, 0.01)) < 1e-10 * np.linalg.norm(Y.T @ S @ Y)


@pytest.mark.parametrize(
    "options", [{}, {"dynamics": "ema", "kappa": 0.1}, {"step": 0.1}, {"dynamics": "ema", "step": 0.1, "alpha": 0.99}]
)
def test_counts_sum_and_limits_are_equilibria_of_their_rank(options):
    found = mapped(**options)
    assert sum(found.counts.values()) == 300
    assert np.nanmax(found.gap) < 1e-5
    assert np.isnan(found.gap[found.rank < 0]).all()
    assert (found.rank[found.largest] == 2).all()
    # A full-rank limit that is not the largest would be a stable smaller equilibrium.
    assert found.largest.sum() == found.counts["rank 2"] > 100
    for column in found.counts:
        assert found.share(column) in found.interval(column)


def test_an_executor_changes_nothing():
    with ThreadPoolExecutor(1) as pool:
        np.testing.assert_array_equal(mapped(executor=pool).rank, mapped().rank)


def test_the_order_of_trials_does_not_matter():
    rng = np.random.default_rng(1)
    problems = basins.draw_problems(rng, 100, 2, 0.01, "general")
    A, B = basins.draw_starts(rng, 100, 3, 2)
    turned = problems[np.arange(100)[::-1]]
    found = basins.basin_map("sg", A, B, X=problems.X, Y=problems.Y, lam=0.01)
    back = basins.basin_map("sg", A[::-1], B[::-1], X=turned.X, Y=turned.Y, lam=0.01)
    np.testing.assert_array_equal(found.rank, back.rank[::-1])


def test_limits_of_one_whitened_problem_are_its_stable_orbits():
    rng = np.random.default_rng(2)
    tau = np.array([0.9, 0.6])
    A, B = basins.draw_starts(rng, 400, 2, 2)
    found = basins.basin_map("sg", A, B, X=np.eye(2), Y=np.diag(tau), lam=0.01)
    orbits = found.orbits()
    stable = [e for e in rd.aligned_equilibria(np.ones(2), tau, 0.01) if e.stable]
    assert sorted(orbit.rank for orbit in orbits) == [e.rank for e in stable] == [0, 1, 2]
    assert sum(orbit.count for orbit in orbits) == 400
    for orbit in orbits:
        expected = next(e for e in stable if e.rank == orbit.rank)
        np.testing.assert_allclose(orbit.S, np.diag(np.square(expected.radii)), atol=1e-6)


def test_trials_near_a_rotating_state_are_counted_as_moving():
    rng = np.random.default_rng(3)
    for kappa in (None, 0.05):
        state = rd.rotating_state(1.0, 0.6, 0.05, 3, kappa)
        A = state.A + 0.002 * rng.standard_normal((20, 3, 2))
        B = state.B + 0.002 * rng.standard_normal((20, 3, 3))
        found = basins.basin_map(
            "sg" if kappa is None else "ema", A, B, X=np.eye(2), Y=rd.rotation_matrix(0.6), lam=0.05, kappa=kappa
        )
        assert found.counts["moving"] == 20
        assert (found.rank == -1).all()


def test_cells_repeat_and_their_beginning_is_the_beginning():
    setting = basins.settings()[20]
    first, again = basins.cell(setting, 40), basins.cell(setting, 40)
    np.testing.assert_array_equal(first.rank, again.rank)
    np.testing.assert_array_equal(basins.cell(setting, 70).rank[:40], first.rank)


def test_bad_input():
    A, B = basins.draw_starts(np.random.default_rng(0), 4, 3, 2)
    data = {"X": np.eye(2), "Y": np.eye(2), "lam": 0.01}
    with pytest.raises(ValueError, match="always collapses"):
        basins.basin_map("gradient", A, B, **data)
    with pytest.raises(ValueError, match="alpha without step"):
        basins.basin_map("ema", A, B, alpha=0.9, **data)
    with pytest.raises(ValueError, match="kappa with step"):
        basins.basin_map("ema", A, B, kappa=0.9, step=0.1, **data)
    with pytest.raises(ValueError, match="family must be one of"):
        basins.draw_problems(np.random.default_rng(0), 4, 2, 0.01, "gaussian")
    with pytest.raises(ValueError, match="draws have a full-rank equilibrium"):
        basins.draw_problems(np.random.default_rng(0), 4, 2, 30.0, "whitened")
    with pytest.raises(ValueError, match="column must be one of"):
        basins.basin_map("sg", A, B, **data).share("rank 7")


def test_views_that_are_independent_given_the_image_can_have_two_stable_orbits_of_rank_one():
    rho, tau = np.array([10, 0.1]), np.array([0.65, 0.09])
    assert (rho > tau).all()
    assert (tau > 0).all()  # a signal of covariance Y and independent noise of covariance X - Y
    stable = [e.kinds for e in rd.aligned_equilibria(rho, tau, 0.01) if e.stable]
    assert stable == [("dead", "dead"), ("dead", "outer"), ("outer", "dead"), ("outer", "outer")]
    turn = rd.rotation_matrix(0.02)
    A, B = basins.draw_starts(np.random.default_rng(0), 300, 3, 2)
    for Y in (np.diag(tau), turn @ np.diag(tau) @ turn.T):
        found = basins.basin_map("sg", A, B, X=np.diag(rho), Y=Y, lam=0.01)
        assert sorted(orbit.rank for orbit in found.orbits()) == [0, 1, 1, 2]


def test_a_sharper_stopping_rule_brings_limits_nearer_to_their_equation():
    setting = basins.settings()[0]
    gaps = [np.nanmax(basins.cell(setting, 60, field_tol=tol).gap) for tol in (1e-9, 1e-12)]
    assert gaps[1] < 0.1 * gaps[0]
    assert gaps[1] < 1e-7


def test_descent_with_small_steps_follows_the_flow_to_the_same_limit():
    rng = np.random.default_rng(4)
    X, Y = np.eye(2), np.diag([0.9, 0.6])
    A, B = basins.draw_starts(rng, 20, 4, 2)
    flow = basins.basin_map("sg", A, B, X=X, Y=Y, lam=0.05)
    problem = LinearProblem(completed_moments(X, Y), 0.05, A.shape[1])
    end = iterate(problem, "sg", A, B, step=0.02, steps=20_000, record_every=20_000).A[-1]
    same = rd.rank_of(end) == flow.rank
    assert same.sum() >= 18
    gram = [M[same].transpose(0, 2, 1) @ M[same] for M in (end, flow.rest.A)]
    np.testing.assert_allclose(*gram, atol=1e-6)
