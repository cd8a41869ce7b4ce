"""Laws of the penalty on the center: bounds that hold and are attained, thresholds, batches, an added term."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import center_penalty as P
from ssltheory.center import center_parts, unit
from ssltheory.two_view_losses import simple_loss


def random_views(seed, k=7, samples=5):
    rng = np.random.default_rng(seed)
    A = rng.dirichlet(np.full(k, 0.5), samples).T + 1e-3
    return P.sampled_views(A / A.sum(axis=0), rng.dirichlet(np.full(samples, 2.0)))


def random_codes(seed, k=7, n=3, starts=4):
    return unit(np.random.default_rng([seed, 1]).standard_normal((starts, k, n)) + np.eye(n)[0])


def test_correlations_are_those_of_the_functions():
    views = random_views(0)
    pi, f = views.marginal, views.functions
    np.testing.assert_allclose(pi @ f, 0, atol=1e-12)
    large = views.correlations > 1e-3
    assert large.any()
    np.testing.assert_allclose((f.T @ (pi[:, None] * f))[np.ix_(large, large)], np.eye(large.sum()), atol=1e-9)
    np.testing.assert_allclose(np.diag(f.T @ views.joint @ f)[large], views.correlations[large], rtol=1e-9)
    assert np.all(np.diff(views.correlations) <= 1e-12)
    svd = np.linalg.svd(views.kernel, compute_uv=False)
    np.testing.assert_allclose(svd[:2], [1, views.top], rtol=1e-10)


def test_known_correlations():
    assert P.two_valued_views(0.37, 0.3).top == pytest.approx(0.37)
    views = P.circle_views(0.6, 24)
    np.testing.assert_allclose(views.correlations[:6], np.exp(-0.36 * np.array([1, 1, 4, 4, 9, 9])), rtol=1e-9)
    # A smooth, nearly normal signal: the linear correlation is close, and never above the top one.
    for jitter in (0.5, 1.0, 2.0):
        linear = 1.0625 / (1.0625 + jitter**2)
        assert linear - 1e-4 <= P.blob_bit_views(jitter).top <= linear + 0.1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0, 3), st.sampled_from([1, 2]))
def test_no_code_is_below_the_bound(seed, weight, power):
    views, z = random_views(seed), random_codes(seed)
    parts = P.penalty_parts(z, views)
    np.testing.assert_allclose(parts.total, 1, rtol=1e-12)
    assert np.all(parts.within >= (1 - views.top) * (1 - parts.center) - 1e-12)
    bound = P.least_loss(np.minimum(parts.center_length, 1), views.top, weight, power)
    assert np.all(P.penalty_loss(z, views, weight, power) >= bound - 1e-12)


@pytest.mark.parametrize("power", [1, 2])
def test_value_and_gradient_agree_with_automatic_differentiation(power):
    views, z = random_views(3), random_codes(3)
    free = torch.tensor(z, requires_grad=True)
    codes = free / free.norm(dim=-1, keepdim=True)
    pi, joint = torch.tensor(views.marginal), torch.tensor(views.joint)
    s = torch.einsum("i,bin->bn", pi, codes)
    loss = (1 - torch.einsum("bin,ij,bjn->b", codes, joint, codes) + 0.7 * s.norm(dim=-1) ** power) / 2
    loss.sum().backward()
    np.testing.assert_allclose(P.penalty_loss(z, views, 0.7, power), loss.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(P.penalty_gradient(z, views, 0.7, power), free.grad.numpy(), atol=1e-12)


def test_the_bound_is_attained_on_the_circle_and_with_two_values():
    views = P.circle_views(0.6, 24)
    angle = 2 * np.pi * np.arange(24) / 24
    two, p = P.two_valued_views(0.4, 0.5), np.linspace(0, np.pi, 9)
    for length in (0.0, 0.4, 1.0):
        flat = np.sqrt(1 - length**2)
        z = np.stack([np.full(24, length), flat * np.cos(angle), flat * np.sin(angle)], axis=-1)
        for power in (1, 2):
            want = P.least_loss(length, views.top, 0.8, power)
            np.testing.assert_allclose(P.penalty_loss(z, views, 0.8, power), want, atol=1e-9)
    z = np.stack([np.stack([np.ones(9), np.zeros(9)], -1), np.stack([np.cos(p), np.sin(p)], -1)], axis=1)
    parts = P.penalty_parts(z, two)
    np.testing.assert_allclose(parts.within, 0.6 * (1 - parts.center), atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99), st.floats(0.05, 1.5))
def test_descent_never_rises_and_its_certificate_is_sound(seed, weight):
    views = random_views(seed)
    start = random_codes(seed, n=4)
    early, late = (P.minimise(start, views, weight, steps=steps) for steps in (5, 1500))
    assert np.all(early.loss <= P.penalty_loss(start, views, weight) + 1e-12)
    assert np.all(late.loss <= early.loss + 1e-12)
    for found in (early, late):
        assert np.all(found.loss - found.gap <= late.loss.min() + 1e-12)
    assert np.all(late.loss >= min(weight, 1 - views.top) / 2 - 1e-12)


@pytest.mark.parametrize("share", [0.5, 0.9, 2.0])
def test_local_minima_with_an_empty_direction_are_global_and_in_the_plane_need_not_be(share):
    rng = np.random.default_rng(4)
    views = P.circle_views(0.7, 16)
    angle = 2 * np.pi * np.arange(16) / 16
    floor = 1 - views.top
    assert P.minimise(rng.standard_normal((4, 16, 17)), views, share * floor).gap.max() < 1e-8
    once_around = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    plane = P.minimise(unit(once_around + 0.02 * rng.standard_normal((1, 16, 2))), views, share * floor)
    assert plane.parts.center[0] < 1e-9
    assert (plane.gap[0] > 0.01) == (share < 1)


def test_thresholds():
    for seed in range(4):
        views = random_views(seed)
        assert P.collapse_threshold(views, np.random.default_rng(0)) == pytest.approx(1 - views.top, abs=2e-3)
        assert P.collapse_threshold(views, np.random.default_rng(0), 1) == pytest.approx(2 - 2 * views.top, abs=5e-3)


def test_a_minibatch_in_expectation():
    """Exhaustively, over all batches of two samples of two views, against the formula; and the weight it acts with."""
    rng = np.random.default_rng(5)
    views = random_views(5, k=3, samples=2)
    z = unit(rng.standard_normal((3, 2)) + 0.5)
    parts, J = P.penalty_parts(z, views), views.joint
    pairs = [(i, j) for i in range(3) for j in range(3)]
    mean = plain = fair = 0.0
    for a in pairs:
        for b in pairs:
            chance = J[a] * J[b]
            first, second = (torch.tensor(z[[a[k], b[k]]]) for k in (0, 1))
            mean += chance * np.sum((z[list(a)].sum(axis=0) + z[list(b)].sum(axis=0)) ** 2) / 16
            plain += chance * float(simple_loss(first, second, 0.9, power=2))
            fair += chance * float(simple_loss(first, second, 0.9, power=2, unbiased=True))
    assert mean == pytest.approx(P.batch_center(parts, 2), rel=1e-12)
    within = 1 - 0.9 / 4
    want = (0.9 / 2 + within * (parts.within + P.effective_weight(0.9, 2) * parts.center)) / 2
    assert plain == pytest.approx(want, rel=1e-12)
    assert fair == pytest.approx(P.penalty_loss(z, views, 0.9), rel=1e-12)
    assert P.effective_weight(4.5, 2) < 0
    with pytest.raises(ValueError, match="does not see"):
        P.effective_weight(4.0, 2)


def test_the_bound_of_a_minibatch_changes_its_mind_at_twice_the_batch():
    lengths = np.linspace(0, 1, 21)
    for weight, rewarded in ((30.0, False), (34.0, True)):
        bound = P.least_loss(lengths, 0.9, weight, batch=16)
        v = (1 - lengths**2) * (1.0 if rewarded else 0.1)
        q = lengths**2 + (1 - v / 2 - lengths**2) / 16
        np.testing.assert_allclose(bound, (v + weight * q) / 2, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 200), st.floats(0, 1), st.sampled_from([1, 2]), st.sampled_from([None, 16, 64]))
def test_one_of_three_states_is_best(weight, top, power, batch):
    bound = P.least_loss(np.linspace(0, 1, 101), top, weight, power, batch=batch)
    np.testing.assert_allclose(P.rival_states(weight, top, power, batch=batch).min(), bound.min(), rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.floats(0.1, 5))
def test_water_filling_is_optimal(seed, second):
    rng = np.random.default_rng(seed)
    rho = rng.uniform(-1, 1, 6)
    mu, best = P.water_filling(rho, second)
    assert mu.min() >= 0
    assert mu.sum() == pytest.approx(1)
    others = rng.dirichlet(np.ones(6), 200)
    assert np.all(others @ rho - second * np.sum(others**2, axis=1) <= best + 1e-12)


def test_the_population_of_the_loss_is_that_of_its_parts():
    """Codes drawn by the joint distribution: the estimate without bias agrees with the exact parts."""
    views, rng = random_views(8), np.random.default_rng(8)
    z = random_codes(8, starts=1)[0]
    pairs = np.array(np.unravel_index(rng.choice(49, 20000, p=views.joint.ravel()), (7, 7)))
    got = center_parts(np.stack([z[pairs[0]], z[pairs[1]]], axis=1), unbiased=True)
    want = P.penalty_parts(z, views)
    for name in ("center", "between", "within"):
        assert getattr(got, name) == pytest.approx(getattr(want, name), abs=0.02)


def test_a_sweep_is_read_back():
    entry = {"section": "floor", "data": "blobs", "setting": {"weight": 1.0, "power": 2}, "center": ["0.1 nan", "0 1"]}
    sweep = P.read_sweep({"seeds": [1, 2], "runs": [entry]})
    row = sweep.row("floor", "blobs", power=2, weight=1.0)
    np.testing.assert_array_equal(row.end["center"], [[0.1, 1.0], [0, 1]])
    assert row.diverged.tolist() == [[False, True], [False, False]]
    with pytest.raises(ValueError, match="no row"):
        sweep.row("floor", "moons", power=2, weight=1.0)
    with pytest.raises(ValueError, match="need the keys"):
        P.read_sweep({})


def test_bad_input_is_refused():
    views = P.two_valued_views(0.5)
    z = np.ones((2, 2))
    for call, words in (
        (lambda: P.ViewPairs(np.eye(2)), "sum"),
        (lambda: P.two_valued_views(0.5, 1.0), "no two views"),
        (lambda: P.circle_views(0.1, 24), "resolve"),
        (lambda: P.penalty_loss(z, views, -1.0), "weight"),
        (lambda: P.penalty_loss(z, views, 1.0, 3), "power"),
        (lambda: P.penalty_parts(np.ones((3, 2)), views), "shape"),
        (lambda: P.least_loss(1.5, 0.5, 1.0), "length"),
        (lambda: P.water_filling([0.5], 0.0), "second"),
        (lambda: P.sampled_views(np.ones((2, 2)), np.array([0.5, 0.5])), "sum to 1"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
