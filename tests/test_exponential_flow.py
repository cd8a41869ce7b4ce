"""The integrator by exponentials of rows, against the other one, and its own law: the rank of the angles is kept."""

import numpy as np
import pytest

from ssltheory.exponential_flow import exponential_flow
from ssltheory.orthogonal_flow import orthogonal_flow, random_network
from ssltheory.stiefel import ROTATION

SPECTRA = {
    "negative": -5 / np.arange(1, 13.0),
    "mixed": np.linspace(-1, 2, 12),
    "positive": np.linspace(0.2, 2, 12),
    "unsorted": np.linspace(2, -1, 12),
}


def start(h, n=3):
    W1, W2 = random_network(np.random.default_rng(h), h, 12, n)
    return W1.T @ W2


@pytest.mark.parametrize("kind", ROTATION)
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("h", [12, 13, 40])
def test_it_agrees_with_the_other_integrator(kind, spectrum, h):
    q, gamma = start(h), SPECTRA[spectrum]
    other = orthogonal_flow(q, gamma, kind, duration=1.5, samples=4, rtol=1e-12, atol=1e-14)
    errors = []
    for tol in (1e-5, 1e-8):
        run = exponential_flow(q, gamma, kind, duration=1.5, samples=4, step_tol=tol)
        assert np.array_equal(run.times, other.times)
        errors.append(np.abs(run.q - other.q).max())
    assert errors[1] < 1e-7
    assert errors[0] < 1e-3


@pytest.mark.parametrize("kind", ROTATION)
@pytest.mark.parametrize(
    ("spectrum", "h", "loss"),
    [
        ("negative", 40, -5 * (1 + 1 / 2 + 1 / 3)),
        ("mixed", 40, np.linspace(-1, 2, 12)[:3].sum()),
        ("positive", 40, 0.0),
        ("positive", 12, np.linspace(0.2, 2, 12)[:3].sum()),
        ("positive", 13, np.linspace(0.2, 2, 12)[:2].sum()),
    ],
)
def test_the_width_decides_how_much_must_be_kept(kind, spectrum, h, loss):
    run = exponential_flow(start(h), SPECTRA[spectrum], kind, duration=400.0, speed_tol=1e-10, step_tol=1e-6)
    assert run.outcome == "converged"
    assert run.loss[-1] == pytest.approx(loss, abs=1e-8)
    ones = np.linalg.svd(run.q[-1], compute_uv=False) > 1 - 1e-9
    assert ones.sum() == (3 if spectrum != "positive" else 12 + 3 - h if h < 15 else 0)


def test_it_says_why_it_stopped():
    q, gamma = start(40), SPECTRA["negative"]
    assert "steps were not enough" in exponential_flow(q, gamma, "embedded", duration=9.0, max_steps=3).reason
    run = exponential_flow(q, gamma, "embedded", duration=0.1)
    assert run.outcome == "unfinished"
    assert run.times[-1] == 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: exponential_flow(2 * start(40), SPECTRA["mixed"], "canonical", duration=1), "singular values"),
        (lambda: exponential_flow(start(40), SPECTRA["mixed"], "qr", duration=1), "kind must be one of"),
        (lambda: exponential_flow(start(40), np.eye(12), "canonical", duration=1), "gamma has shape"),
        (lambda: exponential_flow(start(40), SPECTRA["mixed"], "canonical", duration=0), "duration"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("kind", ROTATION)
def test_features_that_die_do_not_stop_it(kind):
    # One negative eigenvalue, three features, and few ones forced: the cases in which columns of q go to zero.
    gamma = np.array([-1.2, 0.6, 0.8, 1.4, 1.5, 1.8, 2.3])
    for h in (8, 9, 12):
        W1, W2 = random_network(np.random.default_rng(h), h, 7, 3)
        run = exponential_flow(W1.T @ W2, gamma, kind, duration=1e3, speed_tol=1e-9, step_tol=1e-6, max_steps=3000)
        assert run.outcome == "converged"
        assert run.loss[-1] == pytest.approx(gamma[: max(7 + 3 - h, 1)].sum(), abs=1e-7)
