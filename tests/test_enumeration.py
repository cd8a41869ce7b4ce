"""Laws of the number of solutions: exact arithmetic, loops, homotopy, families."""

import numpy as np
import pytest

from ssltheory import enumeration as en
from ssltheory import read_record, scalar
from ssltheory.equilibria import critical_weight_decay, gram_residual, largest_equilibrium
from ssltheory.scalar import discriminant


@pytest.mark.parametrize(("m", "number", "by_degree"), [(1, 2, (1, 1)), (2, 6, (1, 3, 2)), (3, 24, (1, 6, 12, 5))])
def test_the_exact_number_of_solutions_and_that_they_are_simple(m, number, by_degree):
    for seed, prime in ((0, 32003), (1, 65521), (2, 10007), (3, 524287)):
        ring = en.quotient_ring(m, seed=seed, prime=prime)
        assert (ring.dimension, ring.distinct, ring.by_degree) == (number, number, by_degree)
        assert en.count_solutions(m, seed=seed, prime=prime) == number == en.KNOWN_COUNTS[m]


def test_four_inputs_have_124_solutions():
    assert en.count_solutions(4) == 124


def test_the_ring_satisfies_its_equation():
    m, p = 2, 32003
    rng = np.random.default_rng(0)
    G, Q = rng.integers(0, p, (2, m, m))
    Q = np.triu(Q) + np.triu(Q, 1).T
    a, b, c = (M.astype(object) for M in en.quotient_ring(m, prime=p).multiplication)
    T = [[a, b], [b, c]]
    one = np.eye(6, dtype=object).astype(int).astype(object)
    for i in range(2):
        for j in range(2):
            value = sum(T[i][k] @ T[k][j] for k in range(2)) + int(Q[i, j]) * one
            for k in range(2):
                for n in range(2):
                    value = value - int(G[k, i]) * int(G[n, j]) * T[k][n]
            assert not (value % p).any()
    assert not ((a @ b - b @ a) % p).any()


def test_special_problems_have_fewer_solutions_or_a_continuum():
    p = 32003
    Q = np.array([[3, 5], [5, 7]])
    # v^T G v = 0 for an isotropic v = (1, i) when G is a rotation times a scale: a solution goes to infinity.
    turning = np.array([[3, -4], [4, 3]])
    assert en._close(2, en._quadrics(2, turning, Q), p).dimension == 4
    assert en.quotient_ring(2, seed=1, G=turning).dimension == 4
    assert max(abs(determinant) for _, determinant in en.points_at_infinity(turning)) < 1e-12
    with pytest.raises(RuntimeError, match="infinitely many"):
        en._close(2, en._quadrics(2, 5 * np.eye(2, dtype=int), 6 * np.eye(2, dtype=int)), p)


def test_the_two_points_at_infinity_are_simple_for_a_generic_problem():
    G = np.random.default_rng(0).normal(size=(2, 2))
    for v, determinant in en.points_at_infinity(G):
        assert abs(v @ v) < 1e-15
        assert determinant == pytest.approx(-2 * (v @ G @ v) ** 2)


def test_a_problem_with_two_inputs_can_have_six_equilibria():
    found = en.all_solutions([[1.4, 0.4], [0.4, 1.3]], [[1.0, 0.2], [0.2, 0.95]], 0.134)
    assert found.positive_definite.sum() == 6
    assert found.separation > 0.1


@pytest.mark.parametrize(("m", "number"), [(1, 2), (2, 6), (3, 24)])
def test_loops_of_problems_find_as_many(m, number):
    for seed in range(2):
        start = en.monodromy(m, seed=seed)
        assert len(start.T) == number
        gap = np.linalg.norm(start.T @ start.T - start.G.T @ start.T @ start.G + start.Q, axis=(1, 2))
        assert (gap / np.linalg.norm(start.T, axis=(1, 2)) ** 2).max() < 1e-12


@pytest.mark.parametrize(("family", "m"), [(f, m) for f in en.FAMILIES for m in (1, 2, 3)])
def test_all_solutions_solve_are_distinct_and_real_ones_are_positive_definite(family, m):
    X, Y = en.draw_problems(family, m, 3, np.random.default_rng(7))
    for k in range(3):
        lam = 0.4 * critical_weight_decay(X[k], Y[k])
        found = en.all_solutions(X[k], Y[k], lam)
        assert found.complete, found.message
        assert found.residuals.max() < 1e-10
        assert found.separation > 1e-6
        assert np.array_equal(found.real, found.positive_definite)
        assert np.allclose(found.S, np.swapaxes(found.S, 1, 2))
        real = found.S[found.real].real
        largest = largest_equilibrium(X[k], Y[k], lam).S
        gaps = np.linalg.norm(real - largest, axis=(1, 2))
        assert gaps.min() < 1e-9 * np.linalg.norm(largest)
        assert np.linalg.eigvalsh(largest - real)[:, 0].min() > -1e-9 * np.linalg.norm(largest)
        # Complex solutions come in conjugate pairs.
        complex_ones = found.S[~found.real]
        for S in complex_ones:
            assert np.linalg.norm(complex_ones - S.conj(), axis=(1, 2)).min() < 1e-6 * np.linalg.norm(S)


def test_one_input_gives_the_squared_radii_or_a_complex_pair():
    for tau, lam in ((0.8, 0.05), (0.2, 0.05)):
        found = en.all_solutions([[1.0]], [[tau]], lam)
        if discriminant(1.0, tau, lam) > 0:
            expected = np.sort(np.array(scalar.radii(1.0, tau, lam)) ** 2)
            assert np.allclose(np.sort(found.S[:, 0, 0].real), expected)
            assert found.positive_definite.all()
        else:
            assert not found.real.any()


def test_above_the_threshold_no_solution_is_real_and_below_some_are():
    X, Y = en.draw_problems("general Y", 2, 12, np.random.default_rng(3))
    critical = np.array([critical_weight_decay(x, y) for x, y in zip(X, Y, strict=True)])
    above, complete = en.count_equilibria(X, Y, 1.01 * critical)
    assert complete.all()
    assert not above.any()
    below, _ = en.count_equilibria(X, Y, 0.99 * critical)
    assert (below >= 2).all()
    assert (below % 2 == 0).all()


@pytest.mark.parametrize("family", en.FAMILIES)
def test_for_small_decay_the_number_is_that_of_invariant_subspaces(family):
    X, Y = en.draw_problems(family, 2, 15, np.random.default_rng(11))
    critical = np.array([critical_weight_decay(x, y) for x, y in zip(X, Y, strict=True)])
    counts, _ = en.count_equilibria(X, Y, 1e-3 * critical)
    assert counts.tolist() == [en.small_decay_count(x, y) for x, y in zip(X, Y, strict=True)]


def test_commuting_problems_choose_a_root_for_each_axis():
    x, y, lam = np.array([1.0, 2.0, 0.5]), np.array([0.9, 1.1, 0.6]), 0.05
    inner, outer = scalar.radii(x, y, lam)
    expected = {tuple(np.round(np.where(pick, outer, inner) ** 2, 8)) for pick in np.ndindex(2, 2, 2)}
    for pick in np.ndindex(2, 2, 2):
        S = np.diag(np.where(pick, outer, inner) ** 2)
        assert np.abs(gram_residual(S, np.diag(x), np.diag(y), lam)).max() < 1e-12
    found = en.all_solutions(np.diag(x), np.diag(y), lam)
    real = found.S[found.real].real
    diagonal = {tuple(np.round(np.diag(S), 8)) for S in real}
    assert expected <= diagonal


def test_a_continuum_is_reported():
    found = en.all_solutions(np.eye(2), np.eye(2), 0.1)
    assert not found.complete
    assert "continuum" in found.message


def test_the_record_says_what_the_code_says():
    data = read_record("equilibrium_count").data
    assert {(e["m"], e["count"]) for e in data["exact"]} == set(en.KNOWN_COUNTS.items())
    assert all(e["distinct"] == e["count"] == sum(e["by_degree"]) for e in data["exact"])
    assert {e["count"] for e in data["monodromy"]} == {124}
    start = en.start_system(4)
    gap = np.linalg.norm(start.T @ start.T - start.G.T @ start.T @ start.G + start.Q, axis=(1, 2))
    assert start.T.shape == (124, 4, 4)
    assert (gap / np.linalg.norm(start.T, axis=(1, 2)) ** 2).max() < 1e-12


def test_bezout():
    assert [en.bezout(m) for m in (1, 2, 3, 4)] == [2, 8, 64, 1024]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: en.count_solutions(6), "m = 6 is too large: 21 unknowns, up to 2,097,152 solutions .* days"),
        (lambda: en.count_solutions(0), "m must be an integer, at least 1"),
        (lambda: en.count_solutions(2, prime=91), "prime must be an odd prime"),
        (lambda: en.monodromy(5), "m = 5 is too large: up to 32,768"),
        (lambda: en.all_solutions(np.eye(5), np.eye(5), 0.1), "m = 5 is too large to enumerate: up to 32,768"),
        (lambda: en.count_equilibria(np.eye(5)[None], np.eye(5)[None], 0.1), "need m <= 4"),
        (lambda: en.all_solutions(np.eye(2), np.eye(2), 0.0), "lam must be greater than 0"),
        (lambda: en.draw_problems("other", 2, 1, np.random.default_rng(0)), "family must be one of"),
        (lambda: en.draw_problems("digits", 17, 1, np.random.default_rng(0)), "m must be at most 16"),
        (lambda: en.count_family("digits", 2, 0.0, 1, 0), "ratio must be greater than 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
