import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssltheory.iteration import iterate  # noqa: E402
from ssltheory.linear import LinearProblem  # noqa: E402
from ssltheory.moments import SecondMoments  # noqa: E402
from ssltheory.optimizers import optimize  # noqa: E402


def random_start(seed: int, m: int = 2, n: int = 3, lam: float = 0.05):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((2 * m, 2 * m + 2))
    joint = root @ root.T / (2 * m)
    p = LinearProblem(SecondMoments(joint[:m, :m], joint[m:, :m], joint[m:, m:]), lam, n)
    return p, *(0.6 * rng.standard_normal((4, *shape)) for shape in ((n, m), (n, n), (n, m)))


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
def test_plain_gradient_steps_are_the_iteration(dynamics):
    p, A, B, C = random_start(0)
    teacher = {"C": C, "alpha": 0.8} if dynamics == "ema" else {}
    plain = optimize(p, dynamics, A, B, **teacher, optimizer=lambda q: torch.optim.SGD(q, lr=0.05), steps=200)
    known = iterate(p, dynamics, A, B, **teacher, step=0.05, steps=200)
    for one, other in zip(plain.final, known.final, strict=True):
        assert np.allclose(one, other, atol=1e-12)
    assert plain.outcome == "unfinished"


def test_momentum_obeys_its_recurrence():
    p, A, B, _ = random_start(1)
    run = optimize(p, "sg", A, B, optimizer=lambda q: torch.optim.SGD(q, lr=0.02, momentum=0.9), steps=50)
    for k in range(1, 50):
        push = p.field("sg", run.A[k], run.B[k])
        for M, V in ((run.A, push[0]), (run.B, push[1])):
            assert np.allclose(M[k + 1], M[k] + 0.02 * V + 0.9 * (M[k] - M[k - 1]), atol=1e-12)


def test_the_first_step_of_adam_is_the_sign_of_the_field():
    p, A, B, _ = random_start(2)
    run = optimize(p, "sg", A, B, optimizer=lambda q: torch.optim.Adam(q, lr=0.01), steps=1)
    assert np.allclose(run.A[1] - run.A[0], 0.01 * np.sign(p.field("sg", A, B)[0]), atol=1e-6)


def test_members_of_a_batch_do_not_see_each_other_under_adam():
    p, A, B, _ = random_start(3)

    def adam(q):
        return torch.optim.Adam(q, lr=0.01)

    whole = optimize(p, "ema", A, B, alpha=0.9, optimizer=adam, steps=60)
    for k in range(4):
        one = optimize(p, "ema", A[k], B[k], alpha=0.9, optimizer=adam, steps=60)
        assert np.allclose(whole.A[-1, k], one.A[-1], atol=1e-12)


def test_what_is_thrown_out_is_reported_and_the_callers_arrays_are_left_alone():
    p, A, B, _ = random_start(4)
    before = A.copy()
    run = optimize(p, "sg", A, B, optimizer=lambda q: torch.optim.SGD(q, lr=50.0), steps=500, norm_limit=1e6)
    assert run.outcome == "diverged"
    assert run.steps[-1] < 500
    assert np.array_equal(A, before)
    for change, message in (({"steps": 0}, "steps must be"), ({"alpha": 0.5}, "alpha must be None")):
        with pytest.raises(ValueError, match=message):
            optimize(p, "sg", A, B, **({"optimizer": torch.optim.SGD, "steps": 3} | change))
