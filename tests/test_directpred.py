import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import directpred


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), p=st.floats(0.1, 2.5), q=st.floats(0.1, 2.5))
def test_powers_of_a_second_moment_multiply_and_keep_its_eigenvectors(seed, p, q):
    W = np.random.default_rng(seed).normal(size=(3, 4, 4))
    Sigma = W @ W.mT
    B, C = (directpred.closed_form_predictor(Sigma, e) for e in (p, q))
    both = directpred.closed_form_predictor(Sigma, p + q)
    assert np.allclose(B @ C, both, rtol=1e-9, atol=1e-9 * np.abs(both).max())
    assert np.allclose(B @ Sigma, Sigma @ B, atol=1e-9 * np.abs(B).max() * np.abs(Sigma).max())


def test_the_named_members_of_the_family():
    W = np.random.default_rng(0).normal(size=(5, 3))  # singular: five code numbers from three inputs
    Sigma = W @ W.T
    half = directpred.closed_form_predictor(Sigma, 0.5)
    assert np.allclose(half @ half, Sigma)
    assert np.allclose(directpred.closed_form_predictor(Sigma, 1.0), Sigma)
    assert np.array_equal(directpred.closed_form_predictor(np.zeros((2, 2)), 0.0), np.eye(2))
    assert np.linalg.matrix_rank(half, tol=1e-6) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: directpred.closed_form_predictor(np.diag([1.0, -1.0]), 1), "positive semi-definite"),
        (lambda: directpred.closed_form_predictor(np.eye(2), -1), "p must be at least 0"),
        (lambda: directpred.closed_form_predictor(np.ones((2, 3)), 1), r"need \(\.\.\., n, n\)|need \(m, m\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
