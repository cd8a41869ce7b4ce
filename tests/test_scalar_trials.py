"""Laws of the scalar table."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from ssltheory import draw_states, draw_trials, run_trials
from ssltheory.scalar_trials import COLUMNS, RANGES, loss_rises
from ssltheory.trajectory import Outcome


def table(dynamics="sg", count=600, n=2, seed=0, **options):
    rng = np.random.default_rng(seed)
    trials = draw_trials(rng, count)
    return run_trials(dynamics, trials, *draw_states(rng, count, n, "normal", n**-0.5), **options)


def test_trials_are_uniform_on_the_ranges_given_that_equilibria_exist():
    rng = np.random.default_rng(0)
    trials = draw_trials(rng, 4000)
    assert trials.viable.all()
    assert len(trials) == 4000
    free = draw_trials(rng, 40_000, viable_only=False)
    for name, (low, high) in RANGES.items():
        assert getattr(free, name).min() >= low
        assert getattr(free, name).max() <= high
        kept = getattr(free[free.viable], name)
        assert ks_2samp(kept, getattr(trials, name)).pvalue > 1e-3


def test_share_of_viable_draws_is_the_integral():
    # P(tau^2 >= 4 rho lam) = E[1 - min(1, 2 sqrt(rho lam))], integrated on a grid, against the draw.
    rho, lam = np.meshgrid(np.linspace(0, 3, 801)[:-1] + 3 / 1600, np.linspace(0.01, 0.1, 401)[:-1] + 0.09 / 800)
    exact = np.mean(1 - np.minimum(1, 2 * np.sqrt(rho * lam)))
    drawn = draw_trials(np.random.default_rng(1), 100_000, viable_only=False).viable.mean()
    assert drawn == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 100_000))


@pytest.mark.parametrize("options", [{}, {"step": 0.1, "max_steps": 2000}])
@pytest.mark.parametrize("dynamics", ["sg", "ema"])
def test_columns_sum_to_the_trials(dynamics, options):
    teacher = {} if dynamics == "sg" else {"alpha": 0.99} if options else {"kappa": 0.1}
    found = table(dynamics, **options, **teacher)
    assert set(found.counts) == set(COLUMNS)
    assert sum(found.counts.values()) == 600
    assert found.counts["elsewhere"] == 0
    for column in COLUMNS:
        assert found.share(column) in found.interval(column)


def test_flow_finishes_every_trial_and_never_stops_on_the_inner_sphere():
    for options in ({"dynamics": "sg"}, {"dynamics": "ema", "kappa": 0.01}):
        found = table(count=3000, **options)
        assert found.rest.having(Outcome.CONVERGED).all()
        assert found.counts["inner"] == 0


def test_the_sign_of_tau_does_not_matter():
    # (a, B, tau) -> (a, -B, -tau) maps the SG flow to itself.
    rng = np.random.default_rng(2)
    trials = draw_trials(rng, 300)
    A, B = draw_states(rng, 300, 2)
    flipped = type(trials)(trials.rho, -trials.tau, trials.lam)
    np.testing.assert_array_equal(run_trials("sg", trials, A, B).codes, run_trials("sg", flipped, A, -B).codes)


def test_small_steps_approach_the_flow():
    rng = np.random.default_rng(3)
    trials = draw_trials(rng, 800)
    trials = trials[trials.rho > 0.2]
    A, B = draw_states(rng, len(trials), 2, "normal", 0.5)
    flow = run_trials("sg", trials, A, B)
    steps = run_trials("sg", trials, A, B, step=2e-3, max_steps=4_000_000, field_tol=1e-7)
    assert steps.counts["unfinished"] == steps.counts["diverged"] == 0
    assert np.mean(flow.codes == steps.codes) > 0.995


def test_where_no_equilibrium_exists_all_collapse():
    rng = np.random.default_rng(4)
    trials = draw_trials(rng, 2000, viable_only=False)
    trials = trials[~trials.viable]
    found = run_trials("sg", trials, *draw_states(rng, len(trials), 2))
    assert found.counts["origin"] == len(trials)


def test_bad_input():
    rng = np.random.default_rng(0)
    trials = draw_trials(rng, 4)
    A, B = draw_states(rng, 4, 2)
    with pytest.raises(ValueError, match="alpha without step"):
        run_trials("ema", trials, A, B, alpha=0.9)
    with pytest.raises(ValueError, match="kappa with step"):
        run_trials("ema", trials, A, B, step=0.1, kappa=0.9)
    with pytest.raises(ValueError, match="always collapses"):
        run_trials("gradient", trials, A, B)
    with pytest.raises(ValueError, match=r"A has shape \(3, 2, 1\); need \(4, n, 1\)"):
        loss_rises("sg", trials, A[:3], B)
    with pytest.raises(ValueError, match="start must be one of"):
        draw_states(rng, 4, 2, "cauchy")
    with pytest.raises(ValueError, match="scale must be at least 0"):
        draw_states(rng, 4, 2, "normal", -1.0)
    with pytest.raises(ValueError, match="count must be an integer"):
        draw_trials(rng, 0)
    with pytest.raises(ValueError, match="column must be one of"):
        run_trials("sg", trials, A, B).share("saddle")


def test_a_gradient_flow_never_climbs_and_stop_gradient_sometimes_does():
    rng = np.random.default_rng(5)
    trials = draw_trials(rng, 25)
    A, B = draw_states(rng, 25, 2, "normal", 0.7)
    down, _ = loss_rises("gradient", trials, A, B)
    assert down.max() < 1e-7
    up, teacher = loss_rises("sg", trials, A, B)
    assert (up > 1e-3).any()
    np.testing.assert_allclose(up, teacher, atol=1e-12)
