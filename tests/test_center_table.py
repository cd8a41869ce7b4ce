"""Laws of the two-by-two tables and of the small theory behind them: each formula against losses, flows, or codes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory.center import center_parts, unit
from ssltheory.center_record import read_table
from ssltheory.center_table import (
    MAIN,
    SQUARES,
    barlow_center_bound,
    rank_agreement,
    read_course,
    score_rates,
    square,
    teacher_rates,
)
from ssltheory.intervals import mean_interval
from ssltheory.records import read_record

torch = pytest.importorskip("torch")

from ssltheory import two_view_losses as L  # noqa: E402


@pytest.fixture(scope="module")
def table():
    return read_table(read_record("center_table").data)


def test_every_row_of_the_squares_is_in_the_record(table):
    assert set(MAIN) <= set(table.names)
    for name, (_, _, rows) in SQUARES.items():
        assert set(rows) <= set(table.names), name
        assert len(set(rows)) == 4


def test_a_square_is_four_tuned_rows_and_its_changes_are_paired(table):
    found = square(table, "DINO", "moons", False, "linear")
    rows = [table.row(name, "moons", False).tuned("linear") for name in SQUARES["DINO"][2]]
    for mine, row in zip((found.both, found.first_alone, found.second_alone, found.neither), rows, strict=True):
        np.testing.assert_array_equal(mine, row)
    assert found.drop_first == mean_interval(rows[2] - rows[0])
    assert found.drop_second == mean_interval(rows[1] - rows[0])
    assert found.drop_both == mean_interval(rows[3] - rows[0])
    assert found.interaction == mean_interval(rows[3] - rows[2] - rows[1] + rows[0])
    with pytest.raises(ValueError, match="name"):
        square(table, "MoCo", "moons", False, "linear")


def test_rank_agreement_is_one_for_an_increasing_map_and_turns_with_the_order():
    values = np.random.default_rng(0).random((7, 3))
    np.testing.assert_allclose(rank_agreement(values, np.exp(values)), 1)
    np.testing.assert_allclose(rank_agreement(values, -values), -1)
    np.testing.assert_array_equal(rank_agreement(values, np.ones_like(values)), 0)
    with pytest.raises(ValueError, match="two to rank"):
        rank_agreement(values[:1], values[:1])


@pytest.mark.parametrize("method", ["dino", "swav", "plain"])
def test_small_scores_move_at_the_stated_rates(method):
    """Gradients of the losses at scores of size 1e-5, with the two views' sample part correlated exactly."""
    generator = torch.Generator().manual_seed(1)
    B, K, rho, tau, size = 40, 6, 0.7, 0.1, 1e-6
    a, b = (torch.randn(B, K, generator=generator, dtype=torch.float64) for _ in range(2))
    common = torch.randn(1, K, generator=generator, dtype=torch.float64)
    flat = torch.linalg.qr(torch.cat([torch.ones(B, 1, dtype=torch.float64), a, b], dim=1))[0]
    p, q = flat[:, 1 : K + 1], flat[:, K + 1 :]
    p, q, common = (v - v.mean(dim=1, keepdim=True) for v in (p, q, common))
    s1, s2 = size * (common + p), size * (common + rho * p + (1 - rho**2) ** 0.5 * q)
    s1.requires_grad_(), s2.requires_grad_()
    ratio = {"dino": 2.5, "swav": 2.0, "plain": 2.0}[method]
    if method == "dino":
        center = torch.cat([s1, s2]).mean(dim=0, keepdim=True).detach()
        loss = L.dino_loss(s1, s2, s1, s2, center, target_temperature=tau / ratio)
    else:
        turns = 3 if method == "swav" else 0
        loss = L.swav_loss(s1, s2, *(L.sinkhorn(s, iterations=turns) for s in (s1, s2)))
    (slope,) = torch.autograd.grad(loss, s1)
    speed = -2 * B * slope * K * tau**2 / size
    c, d = score_rates(ratio, rho, centred=method != "plain")
    np.testing.assert_allclose(speed.mean(dim=0), c * common[0], atol=2e-4)
    along = ((speed - speed.mean(dim=0)) * p).sum() / p.square().sum()
    np.testing.assert_allclose(along, d, atol=2e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 2), st.floats(0, 1))
def test_teacher_rates_are_eigenvalues(speed, rho):
    expected = np.sort(np.linalg.eigvals(np.array([[-1, rho], [speed, -speed]])).real)[::-1]
    np.testing.assert_allclose(teacher_rates(speed, rho), expected, atol=1e-12)


def test_a_slow_teacher_delays_by_its_memory():
    for speed in (1e-3, 1e-4):
        np.testing.assert_allclose(teacher_rates(speed, 0.6)[0], -0.4 * speed, rtol=2e-3)
    assert teacher_rates(0.0, 0.5)[0] == teacher_rates(0.3, 1.0)[0] == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 3), st.floats(0, 5))
def test_barlow_twins_loss_bounds_the_center(seed, weight, pull):
    """Over all pairs of views of a sample, codes anywhere between scattered and one point."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    z = unit(rng.standard_normal((5, 3, n)) + pull * rng.standard_normal(n))
    means = np.sqrt(n) * z.mean(axis=1)
    C = means.T @ means / len(means)
    diagonal = np.diag(C)
    loss = np.sum((1 - diagonal) ** 2) + weight * (np.sum(C**2) - np.sum(diagonal**2))
    assert center_parts(z).center <= barlow_center_bound(float(loss), weight, n) + 1e-12


def test_codes_of_one_sign_per_feature_meet_the_diagonal_term_with_everything_at_one_point():
    """Without decorrelation and centring the constant code is a minimum; with centring two opposite points are."""
    signs = torch.tensor([1.0, -1, 1, 1, -1, 1], dtype=torch.float64)
    constant = signs.expand(8, 6)
    opposite = torch.tensor([1.0, -1] * 4, dtype=torch.float64)[:, None] * signs
    for standardise in ("scale", "none"):
        assert L.barlow_twins_loss(constant, constant, weight=0, standardise=standardise) < 1e-8
    for standardise in ("both", "centre"):
        assert L.barlow_twins_loss(constant, constant, weight=0, standardise=standardise) == 6
        assert L.barlow_twins_loss(opposite, opposite, weight=0, standardise=standardise) < 1e-8


def test_without_balance_a_swapped_prediction_of_one_code_is_no_worse_than_of_two():
    """The loss of a pair is at least the mean of the losses of its two codes paired with themselves."""
    generator = torch.Generator().manual_seed(0)
    W, x, y = (L.unit(torch.randn(200, n, 5, generator=generator, dtype=torch.float64)) for n in (9, 1, 1))

    def loss(a, b):
        a, b = a @ W.mT, b @ W.mT
        return L.swav_loss(a, b, *(L.sinkhorn(s, iterations=0) for s in (a, b)))

    assert (loss(x, y) >= (loss(x, x) + loss(y, y)) / 2 - 1e-12).all()


def test_the_small_record_reads_back():
    record = read_record("center_ablations").data
    assert len(record["long"]) == 20
    assert len(record["easy"]) == 32
    values = read_course(record["long"][0], "center")
    assert values.shape == (len(record["long_steps"]), 5)
