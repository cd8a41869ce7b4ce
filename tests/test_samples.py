"""Stochastic training: the laws that tie it to the deterministic algorithm and to the loss."""

import numpy as np
import pytest

from ssltheory import LinearProblem, iterate, second_moments, train_on_samples


def pairs(seed=0, N=40, m=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, m))
    return x, x @ rng.normal(size=(m, m)) + 0.2 * rng.normal(size=(N, m)), rng


def states(rng, S=3, n=3, m=2):
    return 0.5 * rng.normal(size=(S, n, m)), 0.5 * rng.normal(size=(S, n, n))


class EveryPairOnce:
    """Stands in for a generator: each minibatch is the whole data set."""

    def integers(self, high, size):
        return np.broadcast_to(np.arange(high), size)


@pytest.mark.parametrize(("dynamics", "alpha"), [("gradient", None), ("sg", None), ("ema", 0.9)])
def test_full_batches_are_the_iteration_on_the_second_moments(dynamics, alpha):
    x, y, rng = pairs()
    A, B = states(rng)
    schedule = 0.05 / (1 + np.arange(30) / 10)
    options = {"step": schedule, "alpha": alpha, "steps": 30}
    ours = train_on_samples(x, y, dynamics, A, B, lam=0.1, batch=len(x), rng=EveryPairOnce(), **options)
    plain = iterate(LinearProblem(second_moments(x, y), 0.1, 3), dynamics, A, B, **options)
    np.testing.assert_allclose(ours.A[-1], plain.A[-1], atol=1e-12)
    np.testing.assert_allclose(ours.B[-1], plain.B[-1], atol=1e-12)
    assert ours.times[-1] == pytest.approx(schedule.sum())


@pytest.mark.parametrize("dynamics", ["gradient", "sg"])
def test_one_step_is_the_autodiff_gradient_of_the_minibatch_loss(dynamics):
    torch = pytest.importorskip("torch")
    x, y, rng = pairs()
    A, B = states(rng, S=1)
    pick = np.random.default_rng(5).integers(len(x), size=(1, 8))[0]
    run = train_on_samples(
        x, y, dynamics, A, B, lam=0.1, step=0.01, steps=1, batch=8, rng=np.random.default_rng(5), record_every=1
    )
    a, b = (torch.tensor(M[0], requires_grad=True) for M in (A, B))
    xs, ys = torch.tensor(x[pick]), torch.tensor(y[pick])
    target = ys @ a.T if dynamics == "gradient" else (ys @ a.T).detach()
    loss = ((xs @ a.T @ b.T - target) ** 2).sum() / 16 + 0.05 * ((a**2).sum() + (b**2).sum())
    loss.backward()
    np.testing.assert_allclose(run.A[1, 0], A[0] - 0.01 * a.grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(run.B[1, 0], B[0] - 0.01 * b.grad.numpy(), atol=1e-12)


def test_the_mean_of_many_first_steps_is_the_full_step():
    x, y, rng = pairs()
    A, B = states(rng, S=1)
    S = 4000
    run = train_on_samples(
        x, y, "sg", np.repeat(A, S, 0), np.repeat(B, S, 0), lam=0.1, step=0.1, steps=1, batch=4, rng=rng, record_every=1
    )
    full = LinearProblem(second_moments(x, y), 0.1, 3).field("sg", A[0], B[0])[0]
    moves = (run.A[1] - A[0]) / 0.1
    error = moves.std(0, ddof=1) / np.sqrt(S)
    assert np.all(np.abs(moves.mean(0) - full) < 5 * error)


def test_same_generator_same_run_and_divergence_is_said():
    x, y, rng = pairs()
    A, B = states(rng)
    runs = [
        train_on_samples(
            x, y, "ema", A, B, lam=0.1, step=0.05, alpha=0.9, steps=20, batch=4, rng=np.random.default_rng(1)
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(runs[0].A, runs[1].A)
    wild = train_on_samples(x, y, "sg", A, B, lam=0.1, step=50.0, steps=50, batch=4, rng=rng)
    assert wild.outcome == "diverged"
    assert np.isfinite(wild.A).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": np.full((4, 2), np.nan)}, "x must be finite"),
        ({"y": np.zeros((3, 2))}, "y has shape"),
        ({"A": np.zeros((1, 1, 2))}, "n must be at least m"),
        ({"lam": -1.0}, "lam must be at least 0"),
        ({"step": np.ones(3)}, "step has shape"),
        ({"batch": 0}, "batch must be an integer"),
        ({"norm_limit": np.nan}, "norm_limit must be finite"),
        ({"x": np.ones((0, 2)), "y": np.ones((0, 2))}, "at least one pair"),
        ({"A": np.zeros((0, 3, 2))}, "one network"),
        ({"dynamics": "ema"}, "needs alpha"),
        ({"alpha": 0.5}, "no separate teacher"),
        ({"dynamics": "byol"}, "dynamics must be one of"),
    ],
)
def test_bad_input(change, words):
    good = {"x": np.ones((4, 2)), "y": np.ones((4, 2)), "dynamics": "sg", "A": np.zeros((1, 3, 2))}
    good |= {"B": np.zeros((1, 3, 3)), "lam": 0.1, "step": 0.1, "steps": 2, "batch": 2}
    with pytest.raises(ValueError, match=words):
        train_on_samples(**(good | {"rng": np.random.default_rng(0)} | change))
