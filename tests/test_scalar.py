import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssltheory import scalar
from ssltheory.flow import integrate
from ssltheory.iteration import iterate

SPHERES = ("outer", "inner", "origin")
PROBLEMS = st.tuples(st.floats(0.02, 3), st.floats(-1, 1), st.floats(0.01, 0.1))


def with_spheres(problem: tuple[float, float, float]) -> tuple[float, float, float]:
    assume(scalar.discriminant(*problem) > 1e-4)
    return problem


def expanded(pairs: list[tuple[float, int]]) -> np.ndarray:
    return np.sort(np.repeat([value for value, _ in pairs], [times for _, times in pairs]))


def packed(blocks: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([block.ravel() for block in blocks])


def unpacked(z: np.ndarray, n: int) -> list[np.ndarray]:
    blocks = [z[:n, None], z[n : n + n * n].reshape(n, n)]
    return [*blocks, z[n + n * n :, None]] if len(z) > n + n * n else blocks


@settings(max_examples=100, deadline=None)
@given(problem=PROBLEMS)
def test_radii_solve_the_quadratic(problem):
    rho, tau, lam = with_spheres(problem)
    r1, r2 = scalar.radii(rho, tau, lam)
    assert 0 < r1 < r2
    assert np.isclose(r1 + r2, abs(tau) / rho, rtol=1e-13)
    assert np.isclose(r1 * r2, lam / rho, rtol=1e-13)


def test_the_inner_radius_keeps_its_digits_for_small_weight_decay():
    from fractions import Fraction
    from math import isqrt

    lam = 1e-13
    r1 = scalar.radii(1.0, 1.0, lam)[0]
    delta = 1 - 4 * Fraction(lam)
    root = Fraction(isqrt(delta.numerator * delta.denominator * 10**60), delta.denominator * 10**30)
    exact = float((1 - root) / 2)
    assert abs(r1 / exact - 1) < 1e-15
    assert abs((1 - np.sqrt(1 - 4 * lam)) / 2 / exact - 1) > 1e-5  # the schoolbook formula loses eleven digits


def test_radii_broadcast_and_are_nan_where_there_are_no_spheres():
    rho = np.array([[1.0], [2.0]])
    tau = np.array([0.8, 0.0, -0.8, 0.4])
    r1, r2 = scalar.radii(rho, tau, 0.05)
    assert r1.shape == r2.shape == (2, 4)
    assert np.array_equal(np.isnan(r2), scalar.discriminant(rho, tau, 0.05) < 0)
    assert np.array_equal(r2[:, 0], r2[:, 2])
    assert scalar.radii(2.0, 1.0, 0.0) == (0.0, 0.5)
    assert scalar.radii(2.0, 0.0, 0.0) == (0.0, 0.0)
    assert isinstance(scalar.radii(1.0, 1.0, 0.1)[0], float)


@settings(max_examples=60, deadline=None)
@given(problem=PROBLEMS, n=st.integers(1, 4), sphere=st.sampled_from(SPHERES), seed=st.integers(0, 2**32 - 1))
def test_equilibria_are_at_rest_balanced_and_as_the_paper_writes_them(problem, n, sphere, seed):
    rho, tau, lam = with_spheres(problem)
    u = np.random.default_rng(seed).standard_normal(n)
    a, B = scalar.equilibrium(rho, tau, lam, n, sphere, u)
    field = scalar.scalar_problem(rho, tau, lam, n).field("ema", a, B, a, 0.3)
    r = np.linalg.norm(a)
    assert np.linalg.norm(packed(field)) < 1e-15 * (10 + 10 * abs(tau) * r**2)  # the size of the terms that cancel
    assert np.allclose(B.T @ B, a @ a.T, atol=1e-14)
    assert np.allclose(B, tau * a @ a.T / (rho * np.sum(a**2) + lam), atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(problem=PROBLEMS, n=st.integers(1, 4), sphere=st.sampled_from(SPHERES), rate=st.floats(0, 2))
def test_closed_form_spectra_are_the_eigenvalues_of_the_jacobian(problem, n, sphere, rate):
    rho, tau, lam = with_spheres(problem)
    a, B = scalar.equilibrium(rho, tau, lam, n, sphere, np.arange(1.0, n + 1))
    for dynamics, kappa, size in (("sg", None, n * n + n), ("ema", rate, n * n + 2 * n)):
        values = np.linalg.eigvals(scalar.jacobian(rho, tau, lam, a, B, kappa=kappa))
        closed = expanded(scalar.spectrum(rho, tau, lam, n, sphere, dynamics, kappa))
        assert len(closed) == size
        # Coinciding eigenvalues of a non-normal matrix are found to the square root of rounding only.
        assert np.abs(values.imag).max() < 1e-6
        assert np.allclose(np.sort(values.real), closed, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS, n=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_the_jacobian_is_the_derivative_of_the_field_anywhere(problem, n, seed):
    rho, tau, lam = problem
    rng = np.random.default_rng(seed)
    p = scalar.scalar_problem(rho, tau, lam, n)
    blocks = tuple(rng.standard_normal(shape) for shape in ((n, 1), (n, n), (n, 1)))
    cases = [("sg", blocks[:2], {}, {}), ("ema", blocks, {"c": blocks[2], "kappa": 0.6}, {"kappa": 0.6})]
    for dynamics, state, extra, rate in cases:
        z = packed(state)
        h = 1e-4 * np.eye(len(z))

        def field(z, dynamics=dynamics, rate=rate):
            return packed(p.field(dynamics, *unpacked(z, n), **rate))

        # The field is a cubic polynomial: this four-point rule is exact up to rounding.
        columns = [(8 * (field(z + e) - field(z - e)) - field(z + 2 * e) + field(z - 2 * e)) / 12e-4 for e in h]
        J = scalar.jacobian(rho, tau, lam, blocks[0], blocks[1], **extra)
        assert np.allclose(J, np.array(columns).T, atol=1e-9)


def test_the_jacobian_agrees_with_automatic_differentiation():
    torch = pytest.importorskip("torch")
    rho, tau, lam, n = 1.3, -0.7, 0.06, 3
    rng = np.random.default_rng(0)
    a, B = rng.standard_normal((n, 1)), rng.standard_normal((n, n))

    def field(z):
        v, M = z[:n], z[n:].reshape(n, n)
        R = rho * M @ v - tau * v
        return torch.cat([-(M.T @ R) - lam * v, (-torch.outer(R, v) - lam * M).ravel()])

    exact = torch.autograd.functional.jacobian(field, torch.tensor(packed((a, B)))).numpy()
    assert np.allclose(scalar.jacobian(rho, tau, lam, a, B), exact, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(problem=PROBLEMS, n=st.integers(1, 4), rate=st.floats(0.001, 2))
def test_the_outer_sphere_and_the_origin_attract_and_the_inner_sphere_is_a_saddle(problem, n, rate):
    rho, tau, lam = with_spheres(problem)
    for dynamics, kappa in (("sg", None), ("ema", rate)):
        unstable = {
            sphere: sum(k for value, k in scalar.spectrum(rho, tau, lam, n, sphere, dynamics, kappa) if value > 0)
            for sphere in SPHERES
        }
        neutral = {
            sphere: sum(k for value, k in scalar.spectrum(rho, tau, lam, n, sphere, dynamics, kappa) if value == 0)
            for sphere in SPHERES
        }
        assert unstable == {"outer": 0, "inner": 1, "origin": 0}
        assert neutral == {"outer": n - 1, "inner": n - 1, "origin": 0}


def test_a_frozen_teacher_makes_the_inner_sphere_neutral_not_unstable():
    for sphere in ("outer", "inner"):
        pairs = scalar.spectrum(1.0, 0.8, 0.05, 3, sphere, "ema", 0.0)
        assert max(value for value, _ in pairs) == 0.0
        # n - 1 motions along the sphere, and the teacher's own n coordinates.
        assert sum(k for value, k in pairs if value == 0) == 5


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS, n=st.integers(1, 3), alpha=st.sampled_from([0.0, 0.3, 0.9, 0.999, 1.0]))
def test_the_largest_stable_step_is_where_the_discrete_map_loses_stability(problem, n, alpha):
    rho, tau, lam = with_spheres(problem)
    p = scalar.scalar_problem(rho, tau, lam, n)
    a, B = scalar.equilibrium(rho, tau, lam, n, "outer", np.arange(1.0, n + 1))
    z = packed((a, B, a))

    def radius(step):
        def move(z):
            return packed(iterate(p, "ema", *unpacked(z, n), step=step, alpha=alpha, steps=1).final)

        columns = [
            (8 * (move(z + e) - move(z - e)) - move(z + 2 * e) + move(z - 2 * e)) / 12e-3 for e in 1e-3 * np.eye(len(z))
        ]
        values = np.linalg.eigvals(np.array(columns).T)
        neutral = n - 1 + (n if alpha == 1 else 0)
        return np.abs(values[np.argsort(np.abs(values - 1))[neutral:]]).max(initial=0)

    edge = scalar.largest_stable_step(rho, tau, lam, n, alpha)
    assert radius(0.99 * edge) < 1
    assert radius(1.01 * edge) > 1


@settings(max_examples=100, deadline=None)
@given(problem=PROBLEMS, alpha=st.floats(0, 1))
def test_which_term_limits_the_step(problem, alpha):
    rho, tau, lam = with_spheres(problem)
    pull = rho * scalar.radii(rho, tau, lam)[1] ** 2
    assert pull > lam
    wide, narrow = (scalar.largest_stable_step(rho, tau, lam, n, alpha) for n in (2, 1))
    assert wide <= narrow
    assert wide <= 1 / lam
    transverse = 2 / (pull + lam)
    assert wide <= transverse * (1 + 1e-12)
    if abs(alpha * pull - lam) > 1e-9:
        assert np.isclose(wide, transverse, rtol=1e-12) == (alpha * pull < lam)


def test_beyond_the_largest_step_the_iteration_leaves_the_outer_sphere():
    problem, n = (1.0, 0.8, 0.05), 2
    p = scalar.scalar_problem(*problem, n)
    for alpha in (0.0, 0.9):
        edge = float(scalar.largest_stable_step(*problem, n, alpha))
        a, B = scalar.equilibrium(*problem, n, "outer")
        rng = np.random.default_rng(0)
        kick = 1e-4 * rng.standard_normal((n, n))
        below, above = (
            iterate(p, "ema", a, B + kick, step=f * edge, alpha=alpha, steps=4000, record_every=4000)
            for f in (0.98, 1.05)
        )
        gaps = [abs(np.linalg.norm(run.final[0]) - np.linalg.norm(a)) for run in (below, above)]
        assert below.field_norm[-1] < 1e-12
        assert gaps[0] < 1e-12
        assert above.outcome == "diverged" or above.field_norm[-1] > 1e-3


@pytest.mark.parametrize("dynamics", ["sg", "ema"])
def test_flows_end_on_the_equilibria_that_the_formulas_predict(dynamics):
    problem, n = (1.0, -0.8, 0.05), 2
    p = scalar.scalar_problem(*problem, n)
    rng = np.random.default_rng(1)
    rate = {"kappa": 0.2} if dynamics == "ema" else {}
    seen = set()
    for size in (0.01, 0.05, 0.5, 2.0):
        A, B = size * rng.standard_normal((n, 1)), size * rng.standard_normal((n, n))
        run = integrate(p, dynamics, A, B, duration=5000, field_tol=1e-8, samples=2, **rate)
        assert run.outcome == "converged"
        seen.add(str(scalar.classify(np.linalg.norm(run.final[0]), *problem)))
    assert seen == {"outer", "origin"}


def test_the_linearised_rate_is_the_rate_of_the_flow():
    rho, tau, lam, n = 1.0, 0.8, 0.05, 2
    a, B = scalar.equilibrium(rho, tau, lam, n, "outer")
    p = scalar.scalar_problem(rho, tau, lam, n)
    rate = dict(enumerate(value for value, _ in scalar.spectrum(rho, tau, lam, n, "outer")))[4]
    assert rate == pytest.approx(lam - rho * scalar.radii(rho, tau, lam)[1] ** 2)
    # Balanced and aligned, so that only the last eigendirection is excited.
    run = integrate(p, "sg", a * (1 + 1e-4), B * (1 + 1e-4), duration=10, samples=np.array([0.0, 5.0]))
    gaps = [np.linalg.norm(A) - np.linalg.norm(a) for A in run.A[:2]]
    assert np.log(gaps[1] / gaps[0]) / 5 == pytest.approx(rate, rel=1e-3)


def test_limits_get_the_name_of_the_sphere_they_lie_on():
    problem = (1.0, 0.8, 0.05)
    r1, r2 = scalar.radii(*problem)
    norms = np.array(
        [r2, r2 * 1.0005, r2 * 1.002, r1, r1 * 0.9995, r1 * 0.99, 0.0, 1e-7, (r1 + r2) / 2, np.nan, np.inf]
    )
    expected = ["outer", "outer", "none", "inner", "inner", "none", "origin", "origin", "none", "none", "none"]
    assert scalar.classify(norms, *problem).tolist() == expected
    assert scalar.classify(r2, *problem) == "outer"


def test_naming_is_free_of_scale():
    # x -> s x, y -> s y multiplies rho and tau by s^2; time and lam too: the radii stay.
    norms = np.geomspace(1e-6, 3, 400)
    base = scalar.classify(norms, 1.0, 0.8, 0.05)
    assert np.array_equal(base, scalar.classify(norms, 100.0, 80.0, 5.0))
    # a -> s a, at fixed tau and lam, needs rho -> rho / s^2 and tau -> tau / s.
    assert np.array_equal(base, scalar.classify(1e-3 * norms, 1e6, 800.0, 0.05))


def test_nearly_coinciding_spheres_are_parted_at_their_midpoint():
    rho, lam = 1.0, 0.05
    tau = np.sqrt(4 * rho * lam * (1 + 1e-9))
    r1, r2 = scalar.radii(rho, tau, lam)
    assert r2 / r1 - 1 < 1e-4
    middle = (r1 + r2) / 2
    assert scalar.classify([r1, r2, middle - 1e-9, middle + 1e-9], rho, tau, lam).tolist() == [
        "inner",
        "outer",
        "inner",
        "outer",
    ]
    assert scalar.classify(np.sqrt(lam / rho), rho, np.sqrt(4 * rho * lam) * (1 - 1e-9), lam) == "none"


def test_naming_without_spheres_or_without_weight_decay():
    assert scalar.classify([0.0, 1e-6, 0.3], 1.0, 0.1, 0.05).tolist() == ["origin", "origin", "none"]
    assert scalar.classify([0.0, 0.5], 2.0, 1.0, 0.0).tolist() == ["origin", "outer"]
    assert scalar.classify([0.0, 0.5], 2.0, 0.0, 0.0).tolist() == ["origin", "none"]


def test_a_state_that_still_moves_is_no_limit():
    problem = (1.0, 0.8, 0.05)
    r2 = scalar.radii(*problem)[1]
    names = scalar.classify([r2, r2, 0.0], *problem, field_norm=[1e-10, 1e-3, np.nan], field_tol=1e-9)
    assert names.tolist() == ["outer", "none", "none"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scalar.radii(0.0, 1.0, 0.1), "rho must be greater than 0; got 0"),
        (lambda: scalar.radii([1.0, -2.0], 1.0, 0.1), "rho must be greater than 0; got -2"),
        (lambda: scalar.radii(1.0, np.nan, 0.1), "tau must be finite"),
        (lambda: scalar.radii(1.0, 1.0, -0.1), "lam must be at least 0; got -0.1"),
        (lambda: scalar.equilibrium(1.0, 0.1, 0.1, 2, "outer"), r"no outer sphere .*Delta = -0.39"),
        (lambda: scalar.equilibrium(1.0, 1.0, 0.0, 2, "inner"), "no inner sphere"),
        (lambda: scalar.equilibrium(1.0, 1.0, 0.1, 2, "middle"), "sphere must be one of"),
        (lambda: scalar.equilibrium(1.0, 1.0, 0.1, 2, "outer", np.zeros(2)), "direction must not be the zero vector"),
        (lambda: scalar.equilibrium(1.0, 1.0, 0.1, 2, "outer", np.ones(3)), r"direction has shape \(3,\); need \(2,\)"),
        (lambda: scalar.spectrum(1.0, 1.0, 0.1, 2, "outer", "gradient"), "dynamics must be one of 'sg', 'ema'"),
        (lambda: scalar.spectrum(1.0, 1.0, 0.1, 2, "outer", "ema"), "'ema' needs kappa"),
        (lambda: scalar.spectrum(1.0, 1.0, 0.1, 0, "outer"), "n must be an integer, at least 1; got 0"),
        (lambda: scalar.largest_stable_step(1.0, 1.0, 0.1, 2, 1.5), r"alpha must be in \[0, 1\]; got 1.5"),
        (lambda: scalar.classify(0.1, 1.0, 1.0, 0.1, field_norm=0.1), "field_norm and field_tol go together"),
        (lambda: scalar.classify(0.1, 1.0, 1.0, 0.1, tolerance=0), "tolerance must be greater than 0"),
        (lambda: scalar.scalar_problem(1.0, 1.0, 0.1, 2, sigma=0.5), "joint moment.*semi-definite"),
        (
            lambda: scalar.jacobian(1.0, 1.0, 0.1, np.ones((2, 1)), np.eye(2), np.ones((2, 1))),
            "c is given without kappa",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_blind_search_finds_only_the_known_equilibria(n):
    rng = np.random.default_rng(n)
    for tau, expected in ((0.8, True), (0.2, False)):
        found, _ = scalar.search_equilibria(1.0, tau, 0.05, n, rng, starts=40)
        norms = np.linalg.norm(found[:, :, 0], axis=1)
        known = [0.0, *scalar.radii(1.0, tau, 0.05)] if expected else [0.0]
        assert len(norms) > 10
        gaps = np.abs(norms[:, None] - np.array(known))
        assert gaps.min(axis=1).max() < 1e-6
        assert set(gaps.argmin(axis=1)) == set(range(len(known)))


@pytest.mark.parametrize(("n", "alpha"), [(1, 0.0), (2, 0.0), (2, 0.7), (3, 0.99)])
def test_the_step_matrix_is_the_derivative_of_the_iteration(n, alpha):
    rho, tau, lam, step = 1.3, -0.9, 0.04, 0.4
    problem = scalar.scalar_problem(rho, tau, lam, n)
    a, B = scalar.equilibrium(rho, tau, lam, n, "outer")
    rest = packed((a, B, a))
    h = 1e-6
    columns = []
    for e in np.eye(len(rest)):
        ends = []
        for sign in (1, -1):
            run = iterate(problem, "ema", *unpacked(rest + sign * h * e, n), step=step, alpha=alpha, steps=1)
            ends.append(packed(run.final))
        columns.append((ends[0] - ends[1]) / (2 * h))
    matrix = scalar.step_matrix(rho, tau, lam, n, step, alpha)
    np.testing.assert_allclose(matrix, np.column_stack(columns), atol=1e-8)
    # Motions along the sphere are kept as they are, and nothing else is.
    assert (np.abs(np.linalg.eigvals(matrix) - 1) < 1e-6).sum() == n - 1
    assert scalar.iteration_radius(rho, tau, lam, n, step, alpha) < 1
