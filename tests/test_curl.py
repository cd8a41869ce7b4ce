import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import curl, stability
from ssltheory.linear import LinearProblem
from ssltheory.moments import SecondMoments

SEEDS = st.integers(0, 2**32 - 1)


def random_problem(rng: np.random.Generator, m: int, n: int) -> LinearProblem:
    root = rng.standard_normal((2 * m, 2 * m + 2))
    joint = root @ root.T / (2 * m)
    return LinearProblem(SecondMoments(joint[:m, :m], joint[m:, :m], joint[m:, m:]), rng.uniform(0, 0.5), n)


def random_state(rng: np.random.Generator, n: int, m: int, *batch: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((*batch, n, m)), rng.standard_normal((*batch, n, n))


def flat(*blocks: np.ndarray) -> np.ndarray:
    return np.concatenate([block.ravel() for block in blocks])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, m=st.integers(1, 3), extra=st.integers(0, 2), rate=st.floats(0, 3))
def test_closed_forms_are_the_antisymmetric_part_of_the_jacobian(seed, m, extra, rate):
    rng = np.random.default_rng(seed)
    n = m + extra
    problem = random_problem(rng, m, n)
    A, B = random_state(rng, n, m)
    C = rng.standard_normal((n, m))
    for J, kappa in (
        (stability.jacobian(problem, "sg", A, B), None),
        (stability.jacobian(problem, "ema", A, B, C, kappa=rate), rate),
    ):
        K = curl.antisymmetric_part(problem, A, B, kappa)
        assert np.allclose(K, (J - J.T) / 2, atol=1e-12 * np.abs(J).max())
        assert np.isclose(curl.curl_norm_squared(problem, A, B, kappa), np.sum(K**2), rtol=1e-10, atol=1e-12)


def test_closed_form_agrees_with_automatic_differentiation_on_samples():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 30, 2))
    moments = SecondMoments(x.T @ x / 30, y.T @ x / 30, y.T @ y / 30)
    problem = LinearProblem(moments, 0.1, 3)
    A, B = random_state(rng, 3, 2)
    tx, ty = torch.tensor(x), torch.tensor(y)

    def velocity(z):
        def loss(own, target):
            a, b = own[:6].reshape(3, 2), own[6:].reshape(3, 3)
            gap = tx @ (b @ a).T - ty @ target[:6].reshape(3, 2).T
            return gap.square().sum(1).mean() / 2 + 0.05 * own.square().sum()

        return -torch.func.grad(loss)(z, z)

    J = torch.func.jacfwd(velocity)(torch.tensor(flat(A, B))).numpy()
    assert np.allclose(curl.antisymmetric_part(problem, A, B), (J - J.T) / 2, atol=1e-13)


def test_batches_are_their_members():
    rng = np.random.default_rng(1)
    problem = random_problem(rng, 2, 3)
    A, B = random_state(rng, 3, 2, 4)
    for kappa in (None, 0.3):
        K = curl.antisymmetric_part(problem, A, B, kappa)
        norms = curl.curl_norm_squared(problem, A, B, kappa)
        for k in range(4):
            assert np.array_equal(K[k], curl.antisymmetric_part(problem, A[k], B[k], kappa))
            assert np.isclose(norms[k], curl.curl_norm_squared(problem, A[k], B[k], kappa), rtol=1e-14)


def test_where_the_curl_vanishes():
    rng = np.random.default_rng(2)
    base = random_problem(rng, 2, 2)
    A, B = random_state(rng, 2, 2)
    still = np.zeros((2, 2))
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])

    def norm(Y, A, B, kappa=None):
        problem = LinearProblem(SecondMoments(2 * np.eye(2), Y, 2 * np.eye(2)), 0.1, 2)
        return curl.curl_norm_squared(problem, A, B, kappa)

    assert norm(still, A, B) == 0  # views that share nothing: a gradient
    assert norm(np.diag([1.0, 0.5]), still, B + B.T) < 1e-14  # pointwise zeros: A = 0 and both symmetric
    assert norm(turn, still, 3.0 * turn) < 1e-14  # or both antisymmetric
    assert norm(turn, still, B + B.T) > 1e-3
    assert norm(np.eye(2), A, B + B.T) > 1e-3
    assert norm(0.5 * np.eye(2), still, 2 * np.eye(2), kappa=1.0) < 1e-14  # EMA: B = b I and Y = (kappa / b) I
    assert norm(0.5 * np.eye(2), still, 2 * np.eye(2), kappa=0.9) > 1e-3
    assert curl.curl_norm_squared(base, A, B) > 0


def test_the_curl_has_more_than_two_dimensions_once_the_code_has():
    rng = np.random.default_rng(3)
    for n in (2, 3, 4):
        problem = random_problem(rng, 2, n)
        A, B = random_state(rng, n, 2)
        assert np.linalg.matrix_rank(curl.antisymmetric_part(problem, A, B)) >= 4 * n - 1e-9


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, radius=st.floats(0.01, 3))
def test_work_round_a_circle_is_area_times_the_curl_at_its_centre(seed, radius):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, 2, 3)
    A, B = random_state(rng, 3, 2)
    C = rng.standard_normal((3, 2))
    for dynamics, kappa, state in (("sg", None, flat(A, B)), ("ema", 0.4, flat(A, B, C))):
        loop = curl.random_circle(rng, state, radius)
        field = curl.flat_field(problem, dynamics, kappa)
        K = curl.antisymmetric_part(problem, A, B, kappa)
        size = np.linalg.norm(field(loop.points(np.arange(0, 6.0))), axis=-1).max() * radius
        work = curl.loop_integral(field, loop)
        assert np.isclose(work, loop.area * 2 * loop.v @ K @ loop.u, atol=1e-12 * (1 + size))

        def at(z, kappa=kappa, problem=problem):
            return curl.antisymmetric_part(problem, z[:6].reshape(3, 2), z[6:15].reshape(3, 3), kappa)

        assert np.isclose(work, curl.disc_integral(at, loop), atol=1e-12 * (1 + size))


def test_gradients_do_no_work_round_a_loop():
    rng = np.random.default_rng(4)
    problem = random_problem(rng, 2, 3)
    A, B = random_state(rng, 3, 2)
    loop = curl.random_circle(rng, flat(A, B), 0.7)
    frozen = curl.flat_field(problem, "sg", teacher=rng.standard_normal((3, 2)))
    for field in (curl.flat_field(problem, "gradient"), frozen):
        assert abs(curl.loop_integral(field, loop)) < 1e-12
    assert abs(curl.loop_integral(curl.flat_field(problem, "sg"), loop)) > 1e-3


def test_work_along_the_way_ends_at_the_integral_and_agrees_with_fine_sums():
    rng = np.random.default_rng(5)
    problem = random_problem(rng, 1, 2)
    loop = curl.random_circle(rng, rng.standard_normal(6), 0.5)
    field = curl.flat_field(problem, "sg")
    angles = np.linspace(0, 4 * np.pi, 20_001)
    work = curl.work_along(field, loop, angles)
    assert work[0] == pytest.approx(0, abs=1e-15)
    lap = curl.loop_integral(field, loop)
    assert work[10_000] == pytest.approx(lap, abs=1e-13)
    assert work[-1] == pytest.approx(2 * lap, abs=1e-13)
    power = np.sum(field(loop.points(angles)) * loop.tangents(angles), axis=-1)
    fine = np.concatenate([[0], np.cumsum((power[1:] + power[:-1]) / 2 * np.diff(angles))])
    assert np.allclose(work, fine, atol=1e-7)


def test_the_frozen_teacher_enters_the_field_as_the_target():
    rng = np.random.default_rng(6)
    problem = random_problem(rng, 2, 3)
    A, B = random_state(rng, 3, 2)
    C = rng.standard_normal((3, 2))
    got = curl.flat_field(problem, "sg", teacher=C)(flat(A, B))
    assert np.array_equal(got, flat(*problem.field("ema", A, B, C, 0.7)[:2]))
    assert np.array_equal(curl.flat_field(problem, "sg", teacher=A)(flat(A, B)), flat(*problem.field("sg", A, B)))


def test_both_orders_of_the_views_see_the_symmetrised_moments():
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((2, 40, 2))

    def problem(a, b):
        return LinearProblem(SecondMoments(a.T @ a / 40, b.T @ a / 40, b.T @ b / 40), 0.2, 3)

    there, back = problem(x, y), problem(y, x)
    both = LinearProblem(there.moments.symmetrised, 0.2, 3)
    A, B = random_state(rng, 3, 2)
    C = rng.standard_normal((3, 2))
    for dynamics, rest in (("sg", ()), ("gradient", ()), ("ema", (C, 0.3))):
        fields = [p.field(dynamics, A, B, *rest) for p in (there, back, both)]
        for one, other, mean in zip(*fields, strict=True):
            assert np.allclose((one + other) / 2, mean, atol=1e-13)
    Y = both.Y
    expected = (3 * np.sum((Y @ A.T) ** 2) + np.sum(Y**2) * np.sum((B - B.T) ** 2) / 2) / 2
    assert curl.curl_norm_squared(both, A, B) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, A, B: curl.flat_field(p, "ema"), "'ema' needs kappa"),
        (lambda p, A, B: curl.flat_field(p, "gradient", teacher=A), "teacher fixes the target of 'sg' alone"),
        (lambda p, A, B: curl.flat_field(p, "sg", teacher=B), "teacher has shape"),
        (lambda p, A, B: curl.flat_field(p, "sg")(np.ones(3)), "state has shape"),
        (lambda p, A, B: curl.antisymmetric_part(p, A, B, -1.0), "kappa must be at least 0"),
        (lambda p, A, B: curl.curl_norm_squared(p, A.T, B), "A has shape"),
        (lambda p, A, B: curl.Circle(np.zeros(3), np.eye(3)[0], np.eye(3)[0], 1.0), "must be orthonormal"),
        (lambda p, A, B: curl.Circle(np.zeros(3), np.eye(3)[0], np.eye(3)[1], 0.0), "radius must be greater than 0"),
        (lambda p, A, B: curl.Circle(np.zeros(3), np.eye(2)[0], np.eye(3)[1], 1.0), "u has shape"),
    ],
)
def test_bad_input_is_refused(call, message):
    rng = np.random.default_rng(8)
    with pytest.raises(ValueError, match=message):
        call(random_problem(rng, 2, 3), *random_state(rng, 3, 2))
