from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import LinearProblem, SecondMoments, integrate, iterate, routh, scalar
from ssltheory import stability as stab
from ssltheory.enumeration import all_solutions
from ssltheory.equilibria import (
    best_response,
    best_response_derivative,
    critical_weight_decay,
    equilibrium_state,
    gram_residual,
    largest_equilibrium,
)
from ssltheory.rank_deficient import rank_one_equilibria, rank_state
from ssltheory.stability_census import FAMILIES, census_of, draw_moments, problems
from ssltheory.stability_scenes import RATES, example, problem_of, spectrum_scene

SIZES = [(1, 1), (1, 3), (2, 2), (2, 4), (3, 4)]


def drawn(m: int, n: int, seed: int, share: float = 0.3) -> tuple[LinearProblem, np.ndarray]:
    """A problem with a full-rank equilibrium, lam = share lam*, and its largest Gram matrix."""
    rng = np.random.default_rng(seed)
    while True:
        L = rng.standard_normal((m, 3 * m))
        X, Y = L @ L.T / (3 * m), rng.standard_normal((m, m))
        if np.linalg.cond(Y) < 30:
            break
    lam = share * critical_weight_decay(X, Y)
    S = largest_equilibrium(X, Y, lam).S
    assert S is not None
    return problem_of(X, Y, lam, n), S


def flat(blocks) -> np.ndarray:
    return np.concatenate([M.ravel() for M in blocks])


def close(a: np.ndarray, b: np.ndarray, tol: float = 1e-7) -> bool:
    """Whether two multisets of complex numbers agree: the greedy matching of sorted lists is unsafe near ties."""
    from scipy.optimize import linear_sum_assignment

    cost = np.abs(np.subtract.outer(a, b))
    return len(a) == len(b) and cost[linear_sum_assignment(cost)].max() < tol * (1 + np.abs(b).max())


@pytest.mark.parametrize(("m", "n"), SIZES)
@pytest.mark.parametrize("dynamics", ["sg", "ema", "gradient"])
def test_the_jacobian_is_the_derivative_of_the_field(m, n, dynamics):
    # The field is written again here, for torch, and differentiated automatically.
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng([m, n])
    joint = (lambda L: L @ L.T)(rng.standard_normal((2 * m, 3 * m)))
    problem = LinearProblem(SecondMoments(joint[:m, :m], joint[m:, :m], joint[m:, m:]), 0.3, n)
    shapes = [(n, m), (n, n)] + [(n, m)] * (dynamics == "ema")
    state = [rng.standard_normal(s) for s in shapes]
    X, Y, Z = (torch.tensor(M) for M in (problem.X, problem.Y, problem.Z))

    def field(z):
        a, b, *c = (
            p.reshape(s) for p, s in zip(torch.split(z, [int(np.prod(s)) for s in shapes]), shapes, strict=True)
        )
        teacher = c[0] if c else a
        r = b @ a @ X - teacher @ Y
        da, db = -(b.T @ r + 0.3 * a), -(r @ a.T + 0.3 * b)
        if dynamics == "gradient":
            da = da + b @ a @ Y.T - a @ Z
        return torch.cat([p.ravel() for p in [da, db] + ([0.7 * (a - teacher)] if c else [])])

    z = torch.tensor(flat(state))
    extra = {"kappa": 0.7} if dynamics == "ema" else {}
    assert np.allclose(field(z), flat(problem.field(dynamics, *state, **extra)), rtol=1e-13)
    reference = torch.func.jacrev(field)(z).numpy()
    assert np.abs(stab.jacobian(problem, dynamics, *state, **extra) - reference).max() < 1e-12 * np.abs(reference).max()


def test_the_jacobian_takes_batches_and_checks_its_input():
    problem, _ = drawn(2, 3, 0)
    rng = np.random.default_rng(1)
    A, B = rng.standard_normal((4, 1, 3, 2)), rng.standard_normal((5, 3, 3))
    J = stab.jacobian(problem, "ema", A, B, kappa=0.2)
    assert J.shape == (4, 5, 21, 21)
    assert np.array_equal(J[2, 3], stab.jacobian(problem, "ema", A[2, 0], B[3], kappa=0.2))
    with pytest.raises(ValueError, match="kappa"):
        stab.jacobian(problem, "ema", A, B)
    with pytest.raises(ValueError, match="must be None"):
        stab.jacobian(problem, "sg", A, B, A)
    with pytest.raises(ValueError, match="not an equilibrium"):
        stab.stability(problem, "sg", A[0, 0], B[0])


@pytest.mark.parametrize("sphere", ["outer", "inner", "origin"])
@pytest.mark.parametrize("kappa", [None, 0.3])
def test_the_scalar_case_is_recovered(sphere, kappa):
    a, B = scalar.equilibrium(1.0, 0.8, 0.05, 3, sphere)
    problem = scalar.scalar_problem(1.0, 0.8, 0.05, 3)
    dynamics = "sg" if kappa is None else "ema"
    closed = np.repeat(*map(np.array, zip(*scalar.spectrum(1.0, 0.8, 0.05, 3, sphere, dynamics, kappa), strict=True)))
    found = stab.stability(problem, dynamics, a, B, kappa=kappa)
    assert close(found.spectrum, closed)
    assert (found.index, found.stable) == ((1, False) if sphere == "inner" else (0, True))
    assert found.orbit == (0 if sphere == "origin" else 2)


@settings(max_examples=40, deadline=None)
@given(rho=st.floats(0.1, 3), tau=st.floats(0.3, 2), sign=st.sampled_from([-1, 1]), n=st.integers(1, 4))
def test_with_one_input_the_two_closed_forms_agree(rho, tau, sign, n):
    lam = 0.8 * tau**2 / (4 * rho)
    for sphere, r in zip(("inner", "outer"), scalar.radii(rho, tau, lam), strict=True):
        pairs = scalar.spectrum(rho, sign * tau, lam, n, sphere)
        closed = np.repeat(*map(np.array, zip(*pairs, strict=True)))
        values = stab.commuting_spectrum(np.array([rho]), np.array([sign * tau]), lam, np.array([r]), n)
        assert np.allclose(np.sort(values.real), np.sort(closed), rtol=1e-12, atol=1e-13)
        assert not values.imag.any()


def test_antisymmetric_basis():
    for n in (1, 2, 3, 5):
        W = stab.antisymmetric_basis(n)
        assert W.shape == (n * (n - 1) // 2, n, n)
        assert np.array_equal(W.mT, -W)
        # Orthogonal, of norm sqrt 2, in the order of the entries above the diagonal: it spans and names coordinates.
        assert np.array_equal(np.einsum("aij,bij->ab", W, W), 2 * np.eye(len(W)))
        assert np.array_equal(W[:, *np.triu_indices(n, 1)], np.eye(len(W)))


@pytest.mark.parametrize("alpha", [None, 0.0, 0.5, 0.99])
def test_the_scalar_step_bound_is_recovered(alpha):
    a, B = scalar.equilibrium(1.0, 0.8, 0.05, 3, "outer")
    bound = stab.step_bound(scalar.scalar_problem(1.0, 0.8, 0.05, 3), a, B, alpha)
    assert np.isclose(bound, scalar.largest_stable_step(1.0, 0.8, 0.05, 3, alpha or 0.0), rtol=1e-8)


@pytest.mark.parametrize(("m", "n"), SIZES)
def test_the_orbit_has_its_dimension_and_the_jacobian_vanishes_on_it(m, n):
    problem, S = drawn(m, n, 5)
    A, B = equilibrium_state(S, problem.X, problem.Y, problem.lam, n)
    for dynamics, kappa in (("sg", None), ("ema", 0.4)):
        found = stab.stability(problem, dynamics, A, B, kappa=kappa)
        assert found.orbit == stab.orbit_dimension(A, B) == n * m - m * (m + 1) // 2
        assert found.drift < 1e-9 * np.abs(found.transverse).max()
        values = np.linalg.eigvals(stab.jacobian(problem, dynamics, A, B, kappa=kappa))
        assert close(found.spectrum, values, 1e-6)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    turned = stab.stability(problem, "sg", Q @ A, Q @ B @ Q.T)
    assert close(turned.transverse, stab.stability(problem, "sg", A, B).transverse, 1e-7)


def test_at_lower_rank_the_orbit_is_smaller():
    rng = np.random.default_rng(0)
    u, v = np.array([1.0, 0, 0]), rng.standard_normal(2)
    A, B = np.outer(u, v), np.outer(u, u)
    assert stab.orbit_dimension(A, B) == 2
    assert stab.orbit_dimension(A) == 2
    assert stab.orbit_dimension(np.zeros((3, 2)), np.zeros((3, 3))) == 0
    assert stab.orbit_dimension(A, np.diag([1.0, 2.0, 3.0])) == 3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(2, 3), share=st.floats(0.05, 0.9))
def test_extra_width_adds_only_what_the_lemma_says(seed, m, share):
    problem, S = drawn(m, m, seed, share)
    lam, X = problem.lam, problem.X
    narrow = stab.stability(problem, "sg", *equilibrium_state(S, X, problem.Y, lam, m)).transverse
    wide_problem = problem_of(X, problem.Y, lam, m + 2)
    wide = stab.stability(wide_problem, "sg", *equilibrium_state(S, X, problem.Y, lam, m + 2)).transverse
    root = np.linalg.eigvalsh(S @ X if m == 1 else np.linalg.cholesky(S).T @ X @ np.linalg.cholesky(S))
    more = np.concatenate([np.tile(-2 * lam * np.ones(m), 2), np.tile(-root - lam, 2), -lam * np.ones(4)])
    assert close(wide, np.concatenate([narrow, more]), 1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(2, 4), extra=st.integers(0, 2))
def test_commuting_data_have_the_closed_form_spectrum(seed, m, extra):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.5, 2, m), rng.uniform(0.7, 2, m) * rng.choice([-1, 1], m)
    lam = 0.9 * (y**2 / x / 4).min()
    r = (np.abs(y) + rng.choice([-1, 1], m) * np.sqrt(y * y - 4 * x * lam)) / (2 * x)
    S, X, Y = np.diag(r * r), np.diag(x), np.diag(y)
    problem = problem_of(X, Y, lam, m + extra)
    dense = np.linalg.eigvals(stab.jacobian(problem, "sg", *equilibrium_state(S, X, Y, lam, m + extra)))
    assert close(stab.commuting_spectrum(x, y, lam, r, m + extra), dense, 1e-6)
    mu = stab.commuting_multipliers(x, y, lam, r)[np.triu_indices(m)]
    assert close(mu.astype(complex), np.linalg.eigvals(best_response_derivative(S, X, Y, lam)).astype(complex))
    with pytest.raises(ValueError, match="must solve"):
        stab.commuting_multipliers(x, y, lam, r * 1.01)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(1, 3), extra=st.integers(0, 2))
def test_the_teacher_map_and_the_determinant(seed, m, extra):
    n = m + extra
    problem, S = drawn(m, n, seed, 0.5)
    A, B = equilibrium_state(S, problem.X, problem.Y, problem.lam, n)
    mu = np.linalg.eigvals(best_response_derivative(S, problem.X, problem.Y, problem.lam))
    turn = stab.rotation_factors(A, B)
    assert (np.abs(turn) <= 0.5 + 1e-12).all()
    k = np.concatenate([mu, turn, np.zeros(m * extra)])
    assert close(np.linalg.eigvals(stab.teacher_map(problem, A, B)), k, 1e-6)
    H = -stab.jacobian(problem, "ema", A, B, kappa=0.0)[: -n * m, : -n * m]
    values = np.linalg.eigvalsh(H)[stab.orbit_dimension(A) :]
    assert values[0] > 0
    sg = stab.stability(problem, "sg", A, B).transverse
    assert np.isclose(np.prod(-sg), np.prod(values) * np.prod(1 - k), rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(2, 4), share=st.floats(0.01, 0.95))
def test_a_slow_teacher_makes_the_largest_equilibrium_stable(seed, m, share):
    problem, S = drawn(m, m, seed, share)
    mu = np.linalg.eigvals(best_response_derivative(S, problem.X, problem.Y, problem.lam))
    assert np.abs(mu).max() < 1
    A, B = equilibrium_state(S, problem.X, problem.Y, problem.lam, m)
    J = stab.jacobian(problem, "ema", A, B, kappa=0.0)
    slow = np.linalg.eigvalsh(-J[: -m * m, : -m * m])[stab.orbit_dimension(A)] * 1e-3
    assert stab.stability(problem, "ema", A, B, kappa=slow).stable


def test_a_frozen_teacher_leaves_its_own_directions_and_holds_the_others():
    for name in ("commuting", "lost", "second"):
        state = example(name)
        X, Y, lam, S = state.numbers()
        for n in (2, 4):
            problem = problem_of(X, Y, lam, n)
            A, B = equilibrium_state(S, X, Y, lam, n)
            found = stab.stability(problem, "ema", A, B, kappa=0.0)
            assert found.stable, found.reason
            assert found.orbit == 2 * (2 * n) - 3


@pytest.mark.parametrize("alpha", [None, 0.5, 0.9, 0.99])
def test_the_step_bound_parts_return_from_departure(alpha):
    problem, S = drawn(2, 3, 11)
    A, B = equilibrium_state(S, problem.X, problem.Y, problem.lam, 3)
    bound = stab.step_bound(problem, A, B, alpha)
    assert (
        stab.step_radius(problem, A, B, 0.999 * bound, alpha)
        < 1
        < stab.step_radius(problem, A, B, 1.001 * bound, alpha)
    )
    rng = np.random.default_rng(0)
    start = [M + 1e-5 * rng.standard_normal(M.shape) for M in (A, B)]
    ends = []
    for factor in (0.97, 1.03):
        dynamics = "sg" if alpha is None else "ema"
        run = iterate(problem, dynamics, *start, step=factor * bound, alpha=alpha, steps=4000, record_every=4000)
        ends.append(np.abs(run.A[-1].T @ run.A[-1] - S).max())
    assert ends[0] < 1e-7
    assert not ends[1] < 1e-3


def test_an_unstable_orbit_has_no_step():
    X, Y, lam, S = example("lost").numbers()
    problem = problem_of(X, Y, lam, 2)
    assert stab.step_bound(problem, *equilibrium_state(S, X, Y, lam, 2)) == 0
    with pytest.raises(ValueError, match="below 1"):
        stab.step_bound(problem, *equilibrium_state(S, X, Y, lam, 2), 1.0)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_gap_vanishes_at_equilibria_of_every_rank_and_nowhere_else(rank):
    problem, S = drawn(2, 3, 7, 0.1)
    X, Y, lam = problem.X, problem.Y, problem.lam
    if rank == 2:
        states = [equilibrium_state(S, X, Y, lam, 3)]
    elif rank == 1:
        states = [
            rank_state(v[:, None], np.array([[r]]), 3) for r, v in zip(*rank_one_equilibria(X, Y, lam), strict=True)
        ]
    else:
        states = [(np.zeros((3, 2)), np.zeros((3, 3)))]
    assert states
    rng = np.random.default_rng(0)
    for A, B in states:
        scale = 1 + abs(float(problem.teacher_loss(A, B, A)))
        assert abs(stab.frozen_gap(problem, A, B, A)) < 1e-10 * scale
        others = [M + 0.1 * rng.standard_normal((50, *M.shape)) for M in (A, B)]
        better = problem.teacher_loss(*others, A) - problem.teacher_loss(A, B, A)
        assert (better > 0).all()
        assert (stab.frozen_gap(problem, *others, A) >= better * (1 - 1e-12)).all()


def test_the_frozen_student_answers_with_the_best_response():
    problem, S = drawn(2, 3, 3, 0.2)
    A, B = equilibrium_state(S, problem.X, problem.Y, problem.lam, 3)
    C = A + 0.05 * np.random.default_rng(0).standard_normal(A.shape)
    run = integrate(problem, "ema", A, B, C, kappa=0.0, duration=400 / problem.lam, field_tol=1e-11)
    answer = best_response(C.T @ C, problem.X, problem.Y, problem.lam)
    assert np.allclose(run.A[-1].T @ run.A[-1], answer, atol=1e-7)
    assert stab.frozen_gap(problem, run.A[-1], run.B[-1], C) < 1e-9


@pytest.mark.parametrize("name", ["commuting", "lost", "second"])
def test_the_rational_jacobian_is_the_dense_one(name):
    state = example(name)
    X, Y, lam, S = state.numbers()
    assert np.abs(gram_residual(S, X, Y, lam)).max() < 1e-12
    A, B = (np.asarray(M, float) for M in (state.A, state.B))
    for kappa in (None, Fraction(3, 10)):
        exact = np.asarray(routh.exact_jacobian(state, kappa), float)
        dynamics, rate = ("sg", None) if kappa is None else ("ema", float(kappa))
        dense = stab.jacobian(problem_of(X, Y, lam, 2), dynamics, A, B, kappa=rate)
        assert np.allclose(exact, dense, rtol=1e-13, atol=1e-13)
        coefficients = [float(c) for c in routh.characteristic_polynomial(routh.exact_jacobian(state, kappa))]
        assert np.allclose(coefficients, np.poly(dense), rtol=1e-8, atol=1e-8 * np.abs(coefficients).max())


def test_exact_counts_of_the_three_problems():
    counts = {
        name: [routh.unstable_count(example(name), k) for k in (None, "1/100", 1)]
        for name in ("commuting", "lost", "second")
    }
    assert counts == {"commuting": [2, 2, 2], "lost": [2, 0, 0], "second": [0, 2, 2]}


@settings(max_examples=60, deadline=None)
@given(
    roots=st.lists(st.integers(-9, 9).filter(bool), min_size=1, max_size=4),
    pairs=st.lists(st.tuples(st.integers(-5, 5).filter(bool), st.integers(1, 5)), max_size=3),
)
def test_routh_counts_roots_to_the_right(roots, pairs):
    polynomial = [Fraction(1)]

    def times(p, q):
        out = [Fraction(0)] * (len(p) + len(q) - 1)
        for i, a in enumerate(p):
            for j, b in enumerate(q):
                out[i + j] += a * b
        return out

    for r in roots:
        polynomial = times(polynomial, [Fraction(1), Fraction(-r)])
    for re, im in pairs:
        polynomial = times(polynomial, [Fraction(1), Fraction(-2 * re), Fraction(re * re + im * im)])
    right = sum(r > 0 for r in roots) + 2 * sum(re > 0 for re, _ in pairs)
    try:
        counted = routh.roots_to_the_right([*polynomial, Fraction(0), Fraction(0)])
    except ValueError:
        return  # the array may break off where roots are symmetric about the axis
    assert counted == right


def test_exact_input_is_checked():
    with pytest.raises(ValueError, match="float"):
        routh.fractions([0.5])
    with pytest.raises(ValueError, match="orthogonal"):
        routh.equilibrium_around([[1, 0], [0, 1]], [[1, 0], [0, 1]], [[1, 1], [0, 1]])
    with pytest.raises(ValueError, match="positive definite"):
        routh.equilibrium_around([[1, 0], [0, 1]], [[1, 2], [2, 1]], [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="positive definite"):
        routh.equilibrium_around([[1, 0], [0, 1]], [[1, 1], [0, 1]], [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="lam must be positive"):
        routh.equilibrium_around([[1, 0], [0, 1]], [[1, 0], [0, 1]], [[1, 0], [0, 1]], -1)
    with pytest.raises(ValueError, match="singular"):
        routh.inverse(routh.fractions([[1, 2], [2, 4]]))
    with pytest.raises(ValueError, match="breaks off"):
        routh.roots_to_the_right([Fraction(1), Fraction(0), Fraction(1)])


@pytest.mark.parametrize("family", FAMILIES)
def test_families_draw_moments_and_the_census_counts(family):
    rng = np.random.default_rng(3)
    X, Y = draw_moments(family, 2, rng)
    assert X.shape == Y.shape == (2, 2)
    assert np.linalg.eigvalsh(X)[0] > 0
    X, Y, lam = next(problems(family, 2, 1, rng))
    row = census_of(X, Y, lam)
    if row is not None:
        assert row["slow"] == 1
        assert row["sg"] == row["indices"].count(0)
        assert len(row["indices"]) == row["equilibria"]
        assert row["equilibria"] % 2 == 0


@pytest.mark.parametrize(("m", "family"), [(2, "near rotation"), (2, "strong shear"), (3, "general cross moment")])
def test_exactly_half_of_the_equilibria_have_an_odd_number_of_multipliers_above_one(m, family):
    for X, Y, lam in problems(family, m, 6, np.random.default_rng(15)):
        found = all_solutions(X, Y, lam)
        if not found.complete:
            continue
        grams = found.S[found.positive_definite].real
        signs = [
            np.sign(np.linalg.det(np.eye(m * (m + 1) // 2) - best_response_derivative(S, X, Y, lam))) for S in grams
        ]
        assert len(grams) >= 2
        assert sum(signs) == 0


def test_the_scene_shows_the_crossing_and_true_numbers_on_its_axes():
    stable = {rate: "stable: the largest" in spectrum_scene("lost", rate).readout for rate in RATES}
    assert [low for low, high in pairwise(RATES) if stable[low] != stable[high]] == [170.0]
    ticks = {text: place for place, text in spectrum_scene("lost", 1.0).panels[0].xticks.items()}
    assert ticks["0"] == 0
    assert ticks["−100"] == -ticks["100"]
    # Far out a power of ten has one length, as on a logarithmic axis.
    assert np.isclose(ticks["100"] - ticks["1"], 2, atol=1e-4)


def test_the_scene_says_which_are_stable():
    assert "stable: none" in spectrum_scene("lost", np.inf).readout
    assert "stable: the largest" in spectrum_scene("lost", 1.0).readout
    assert "S2" in spectrum_scene("second", np.inf).readout
    with pytest.raises(ValueError, match="need 'commuting'"):
        example("other")
