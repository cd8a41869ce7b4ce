"""Laws of the cosine loss: its field, the size of the weights, the clock, the balance of step and decay."""

import numpy as np
import pytest

from ssltheory.cosine import cosine_field, cosine_loss, train_cosine


def draw(seed=0, S=3, N=40, m=2, n=4):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, m))
    y = x + 0.5 * rng.standard_normal((N, m))
    return x, y, rng.standard_normal((S, n, m)), rng.standard_normal((S, n, n))


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
def test_the_field_is_minus_the_slope_of_the_loss_with_the_teacher_held_or_not(dynamics):
    x, y, A, B = draw()
    C = A + 0.3 * np.random.default_rng(1).standard_normal(A.shape) if dynamics == "ema" else None
    dA, dB, *dC = cosine_field(dynamics, x, y, A, B, C, kappa=0.2 if dynamics == "ema" else None)
    rng = np.random.default_rng(2)
    U, V = rng.standard_normal(A.shape), rng.standard_normal(B.shape)
    h = 1e-6

    def value(sign):
        moved = A + sign * h * U
        teacher = moved if dynamics == "gradient" else (A if C is None else C)
        return cosine_loss(x, y, moved, B + sign * h * V, teacher)

    slope = (value(1) - value(-1)) / (2 * h)
    np.testing.assert_allclose(-(dA * U + 0).sum((1, 2)) - (dB * V).sum((1, 2)), slope, rtol=1e-6, atol=1e-8)
    if dC:
        np.testing.assert_allclose(dC[0], 0.2 * (A - C))


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
def test_the_gradient_is_orthogonal_to_both_matrices_and_scales_inversely(dynamics):
    x, y, A, B = draw()
    C = 2 * A + 1 if dynamics == "ema" else None
    dA, dB = cosine_field(dynamics, x, y, A, B, C)[:2]
    np.testing.assert_allclose((dA * A).sum((1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose((dB * B).sum((1, 2)), 0, atol=1e-12)
    eA, eB = cosine_field(dynamics, x, y, 5 * A, 3 * B, C)[:2]
    np.testing.assert_allclose(5 * eA, dA, atol=1e-12)
    np.testing.assert_allclose(3 * eB, dB, atol=1e-12)


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
def test_a_step_changes_the_size_by_decay_and_the_square_of_the_step(dynamics):
    x, y, A, B = draw()
    alpha = 0.9 if dynamics == "ema" else None
    run = train_cosine(x, y, dynamics, A, B, lam=0.1, step=0.3, steps=20, alpha=alpha, record_every=1)
    before, after = run.size[:-1] ** 2, run.size[1:] ** 2
    expected = (1 - 0.03) ** 2 * before + 0.09 * run.gradient[:-1] ** 2 / before
    np.testing.assert_allclose(after, expected, rtol=1e-10)


def test_the_relative_imbalance_is_conserved_by_the_flow_whatever_the_decay():
    x, y, A, B = draw()

    def imbalance(A, B):
        t = np.swapaxes
        return (A @ t(A, 1, 2) - t(B, 1, 2) @ B) / np.sum(A**2, axis=(1, 2))[:, None, None]

    run = train_cosine(x, y, "sg", A, B, lam=0.1, step=1e-3, steps=3000, record_every=3000)
    drift = np.abs(imbalance(run.A[-1], run.B[-1]) - imbalance(A, B)).max()
    assert drift < 2e-2
    fine = train_cosine(x, y, "sg", A, B, lam=0.1, step=1e-4, steps=30_000, record_every=30_000)
    assert np.abs(imbalance(fine.A[-1], fine.B[-1]) - imbalance(A, B)).max() < drift / 5


def test_bad_input_is_named():
    x, y, A, B = draw()
    with pytest.raises(ValueError, match="rng"):
        train_cosine(x, y, "sg", A, B, lam=0.1, step=0.1, steps=2, batch=4)
    with pytest.raises(ValueError, match="alpha"):
        train_cosine(x, y, "ema", A, B, lam=0.1, step=0.1, steps=2)
    with pytest.raises(ValueError, match="B has shape"):
        train_cosine(x, y, "sg", A, B[:, :2], lam=0.1, step=0.1, steps=2)
