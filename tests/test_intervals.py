"""Intervals cover what they promise to cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from ssltheory import mean_interval, share_interval


@settings(max_examples=50, deadline=None)
@given(trials=st.integers(1, 500), fraction=st.floats(0, 1), confidence=st.sampled_from([0.9, 0.95, 0.99]))
def test_share_interval_is_the_beta_quantiles(trials, fraction, confidence):
    k = round(fraction * trials)
    low, high = share_interval(k, trials, confidence)
    tail = (1 - confidence) / 2
    assert low == pytest.approx(beta.ppf(tail, k, trials - k + 1) if k else 0.0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(1 - tail, k + 1, trials - k) if k < trials else 1.0, abs=1e-9)
    assert k / trials in share_interval(k, trials, confidence)


@pytest.mark.parametrize("p", [0.003, 0.072, 0.5, 0.928])
def test_share_interval_covers_exactly_as_promised(p):
    # Coverage summed over the whole binomial law, no simulation.
    trials = 60
    covered = sum(binom.pmf(k, trials, p) for k in range(trials + 1) if p in share_interval(k, trials))
    assert covered >= 0.95


def test_mean_interval_covers_at_its_rate():
    rng = np.random.default_rng(0)
    hits = sum(0.3 in mean_interval(rng.normal(0.3, 2.0, 5)) for _ in range(4000))
    assert 0.95 in share_interval(hits, 4000, 0.999)


def test_bad_input():
    with pytest.raises(ValueError, match="at most as many"):
        share_interval(3, 2)
    with pytest.raises(ValueError, match="at least 2"):
        mean_interval(np.array([1.0]))
    with pytest.raises(ValueError, match="finite"):
        mean_interval(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        share_interval(1, 2, 1.0)
