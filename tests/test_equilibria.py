"""Laws of the full-rank equilibria: the equation, the best response, the largest solution, the threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import equilibria as eq
from ssltheory import flow_to_rest, scalar
from ssltheory.enumeration import all_solutions
from ssltheory.equilibria_scenes import CROSS, X, branches, decay_scene, ellipse, threshold
from ssltheory.linear import LinearProblem
from ssltheory.moments import SecondMoments

SEEDS = st.integers(0, 2**32 - 1)


def draw(m, seed, symmetric=False):
    rng = np.random.default_rng(seed)
    W, V = rng.normal(size=(2, m, 3 * m))
    signal, noise = W @ W.T / (3 * m), V @ V.T / (3 * m)
    return signal + 0.3 * noise, signal if symmetric else signal + 0.3 * rng.normal(size=(m, m))


def problem(X, Y, lam, n):
    Z = Y @ np.linalg.solve(X, Y.T) + np.eye(len(X))
    return LinearProblem(SecondMoments(X, Y, (Z + Z.T) / 2), lam, n)


def smallest(S):
    return np.linalg.eigvalsh((S + S.T) / 2)[0]


@settings(max_examples=30, deadline=None)
@given(m=st.integers(1, 6), extra=st.integers(0, 2), ratio=st.floats(0.02, 0.98), seed=SEEDS)
def test_the_largest_equilibrium_is_at_rest_balanced_and_residual_free(m, extra, ratio, seed):
    X, Y = draw(m, seed)
    lam = ratio * eq.critical_weight_decay(X, Y)
    found = eq.largest_equilibrium(X, Y, lam)
    assert found.exists, found.reason
    assert found.residual < 1e-12
    assert smallest(found.S) > 0
    U = np.linalg.qr(np.random.default_rng(seed).normal(size=(m + extra, m)))[0]
    A, B = eq.equilibrium_state(found.S, X, Y, lam, m + extra, U)
    size = np.linalg.norm(A) * np.linalg.norm(X) * np.linalg.norm(B) ** 2 + np.linalg.norm(Y) * np.linalg.norm(B)
    assert max(np.linalg.norm(d) for d in problem(X, Y, lam, m + extra).field("sg", A, B)) < 1e-11 * size
    assert np.allclose(B.T @ B, A @ A.T, atol=1e-10 * np.linalg.norm(A @ A.T))
    assert np.allclose(A @ Y @ A.T, B @ (A @ X @ A.T + lam * np.eye(m + extra)), atol=1e-11 * size)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_states_at_rest_of_full_rank_solve_the_equation(seed):
    X, Y = draw(2, seed, symmetric=True)
    lam = 0.4 * eq.critical_weight_decay(X, Y)
    rng = np.random.default_rng(seed)
    A, B = np.eye(3, 2) + 0.1 * rng.normal(size=(6, 3, 2)), np.eye(3) + 0.1 * rng.normal(size=(6, 3, 3))
    end = flow_to_rest("sg", A, B, X=X, Y=Y, lam=lam, field_tol=1e-11)
    S = np.swapaxes(end.A, 1, 2) @ end.A
    full = np.linalg.eigvalsh(S)[:, 0] > 1e-4
    assert np.abs(eq.gram_residual(S[full], X, Y, lam)).max(initial=0) < 1e-7
    formula = [eq.equilibrium_state(s, X, Y, lam, 2)[1] for s in S[full]]
    for s, b, A_end, B_end in zip(S[full], formula, end.A[full], end.B[full], strict=True):
        U = A_end @ np.linalg.inv(eq.equilibrium_state(s, X, Y, lam, 2)[0])
        assert np.allclose(B_end, U @ b @ U.T, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(rho=st.floats(0.1, 3), tau=st.floats(-1, 1).filter(lambda t: abs(t) > 0.05), ratio=st.floats(0.01, 0.999))
def test_one_input_gives_the_two_spheres(rho, tau, ratio):
    critical = eq.critical_weight_decay([[rho]], [[tau]])
    assert critical == pytest.approx(tau**2 / (4 * rho), rel=1e-12)
    lam = ratio * critical
    inner, outer = scalar.radii(rho, tau, lam)
    assert eq.largest_equilibrium([[rho]], [[tau]], lam).S[0, 0] == pytest.approx(outer**2, rel=1e-9)
    assert abs(eq.gram_residual([[inner**2]], [[rho]], [[tau]], lam)[0, 0]) < 1e-12
    bounds = eq.existence_bounds([[rho]], [[tau]], lam)
    assert bounds.sufficient
    assert bounds.lower == pytest.approx(bounds.upper) == pytest.approx(critical)


@settings(max_examples=30, deadline=None)
@given(m=st.integers(1, 4), seed=SEEDS)
def test_the_best_response_is_monotone_concave_and_minimises_the_student(m, seed):
    X, Y = draw(m, seed)
    rng = np.random.default_rng(seed)
    W, V = rng.normal(size=(2, m, m))
    S, D = W @ W.T + 0.1 * np.eye(m), V @ V.T
    low, high, middle = (eq.best_response(s, X, Y, 0.01) for s in (S, S + D, S + D / 2))
    size = np.linalg.norm(high)
    assert smallest(high - low) > -1e-10 * size
    assert smallest(middle - (low + high) / 2) > -1e-10 * size
    if smallest(low) <= 0:
        return
    # The student at the polar factor of its own Gram matrix is at rest against the frozen teacher.
    teacher, gram = (eq.equilibrium_state(s, X, Y, 0.01, m)[0] for s in (S, low))
    T = low + 0.01 * np.linalg.inv(X)
    polar = teacher @ Y @ np.linalg.inv(X) @ np.linalg.inv(T)  # orthogonal, since T^2 = G^T S G
    assert np.allclose(polar.T @ polar, np.eye(m), atol=1e-8)
    A, B = gram, polar @ np.linalg.inv(gram) @ low
    assert np.allclose(B, polar @ gram, atol=1e-8)
    velocity = problem(X, Y, 0.01, m).field("ema", A, B, teacher, 0.0)
    assert max(np.abs(d).max() for d in velocity[:2]) < 1e-8 * (1 + size**2)


@settings(max_examples=30, deadline=None)
@given(m=st.integers(1, 4), seed=SEEDS)
def test_the_derivative_of_the_best_response(m, seed):
    X, Y = draw(m, seed)
    W, H = np.random.default_rng(seed).normal(size=(2, m, m))
    S, H = W @ W.T + 0.3 * np.eye(m), (H + H.T) / 2
    basis = eq.symmetric_basis(m)
    assert np.allclose(np.einsum("aij,bij->ab", basis, basis), np.eye(len(basis)))
    h = 1e-5
    numeric = (eq.best_response(S + h * H, X, Y, 0.1) - eq.best_response(S - h * H, X, Y, 0.1)) / (2 * h)
    matrix = eq.best_response_derivative(S, X, Y, 0.1)
    formula = np.einsum("a,aij->ij", matrix @ np.einsum("aij,ij->a", basis, H), basis)
    assert np.allclose(formula, numeric, atol=1e-6 * (1 + np.abs(formula).max()))


@settings(max_examples=20, deadline=None)
@given(m=st.integers(1, 5), ratio=st.floats(0.05, 0.9), seed=SEEDS)
def test_the_monotone_iteration_falls_to_the_largest_equilibrium(m, ratio, seed):
    X, Y = draw(m, seed, symmetric=True)
    lam = ratio * eq.critical_weight_decay(X, Y)
    iterates = eq.monotone_iteration(X, Y, lam, 3000)
    drops = np.linalg.eigvalsh(iterates[:-1] - iterates[1:])[:, 0]
    assert drops.min() > -1e-11 * np.linalg.norm(iterates[0])
    S = eq.largest_equilibrium(X, Y, lam).S
    assert np.allclose(iterates[-1], S, atol=1e-6 * np.linalg.norm(S))


def test_above_the_threshold_the_iteration_loses_positivity():
    X, Y = draw(3, 0)
    iterates = eq.monotone_iteration(X, Y, 1.01 * eq.critical_weight_decay(X, Y), 5000)
    assert len(iterates) < 5001
    assert smallest(iterates[-1]) < 0 < smallest(iterates[-2])


@settings(max_examples=30, deadline=None)
@given(m=st.integers(1, 8), seed=SEEDS, symmetric=st.booleans())
def test_an_equilibrium_exists_exactly_up_to_the_threshold_and_the_bounds_enclose_it(m, seed, symmetric):
    X, Y = draw(m, seed, symmetric)
    critical = eq.critical_weight_decay(X, Y)
    bounds = eq.existence_bounds(X, Y, critical)
    assert bounds.lower <= critical * (1 + 1e-12)
    assert critical <= bounds.upper * (1 + 1e-12)
    below, above = (eq.largest_equilibrium(X, Y, critical * (1 + sign * 1e-4)) for sign in (-1, 1))
    assert below.exists is True
    assert above.exists is False
    assert above.S is None
    assert above.reason.startswith("none:")


@settings(max_examples=20, deadline=None)
@given(m=st.integers(1, 4), seed=SEEDS)
def test_the_threshold_is_the_maximum_of_a_concave_function(m, seed):
    X, Y = draw(m, seed)
    critical = eq.critical_weight_decay(X, Y)
    values, V = np.linalg.eigh(X)
    half = (V * np.sqrt(values)) @ V.T

    def height(S):  # the largest lam for which Phi(S) >= S
        return smallest(half @ (eq.best_response(S, X, Y, 1.0) + np.linalg.inv(X) - S) @ half)

    top = eq.largest_equilibrium(X, Y, critical * (1 - 1e-9)).S
    assert height(top) == pytest.approx(critical, rel=1e-6)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        W = rng.normal(size=(m, m)) * np.linalg.norm(top)
        assert height(top + 0.1 * (W @ W.T)) <= critical * (1 + 1e-9)


@settings(max_examples=20, deadline=None)
@given(m=st.integers(2, 4), ratio=st.floats(0.05, 0.8), seed=SEEDS)
def test_the_largest_equilibrium_grows_when_the_decay_falls(m, ratio, seed):
    X, Y = draw(m, seed)
    critical = eq.critical_weight_decay(X, Y)
    more, less = (eq.largest_equilibrium(X, Y, f * ratio * critical).S for f in (1, 1.2))
    assert smallest(more - less) > 0


def test_dense_and_matrix_free_newton_agree(monkeypatch):
    X, Y = draw(6, 1, symmetric=True)
    lam = 0.9 * eq.critical_weight_decay(X, Y)
    dense = eq.largest_equilibrium(X, Y, lam).S
    monkeypatch.setattr(eq, "_DENSE", 2)
    assert np.allclose(eq.largest_equilibrium(X, Y, lam).S, dense, atol=1e-11)
    assert eq.critical_weight_decay(X, Y) == pytest.approx(lam / 0.9, rel=1e-10)


def test_a_large_problem_near_its_threshold():
    X, Y = draw(30, 2, symmetric=True)
    critical = eq.critical_weight_decay(X, Y)
    found = eq.largest_equilibrium(X, Y, 0.9999 * critical)
    assert found.exists
    assert found.residual < 1e-12
    assert eq.largest_equilibrium(X, Y, 1.0001 * critical).exists is False


def test_extreme_scales_do_not_matter():
    X, Y = draw(3, 5)
    lam = 0.5 * eq.critical_weight_decay(X, Y)
    S = eq.largest_equilibrium(X, Y, lam).S
    for s in (1e-8, 1e8):  # X, Y, lam -> s X, s Y, s lam leaves S as it is
        assert eq.critical_weight_decay(s * X, s * Y) == pytest.approx(2 * lam * s, rel=1e-9)
        assert np.allclose(eq.largest_equilibrium(s * X, s * Y, s * lam).S, S, atol=1e-9 * np.linalg.norm(S))


@pytest.mark.parametrize("eps", [1e-3, 1e-4, 1e-5, 1e-6])
def test_a_weak_direction_counts_as_much_as_a_strong_one(eps):
    # X = I and Y symmetric: lam* = lambda_min(Y)^2 / 4, whatever the other eigenvalues
    c, s = np.cos(1.0), np.sin(1.0)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for Q, values in ((np.array([[c, -s], [s, c]]), [1, eps]), (turn, [1, 0.7, eps])):
        X, Y = np.eye(len(Q)), Q @ np.diag(values) @ Q.T
        critical = eq.critical_weight_decay(X, Y)
        assert critical == pytest.approx(eps**2 / 4, rel=1e-5)
        answers = [eq.largest_equilibrium(X, Y, f * eps**2 / 4).exists for f in (0.5, 0.999, 1.001, 1.5, 3)]
        assert answers == [True, True, False, False, False]
        S = eq.largest_equilibrium(X, Y, eps**2 / 8).S
        assert Q[:, -1] @ S @ Q[:, -1] == pytest.approx(scalar.radii(1, eps, eps**2 / 8)[1] ** 2, rel=1e-2)


def test_what_double_precision_cannot_decide_is_undecided():
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    Y = Q @ np.diag([1, 0.7, 1e-9]) @ Q.T
    found = eq.largest_equilibrium(np.eye(3), Y, 1e-19)
    assert (found.exists, found.S) == (None, None)
    assert "too ill conditioned for double precision" in found.reason
    assert np.isnan(eq.critical_weight_decay(np.eye(3), Y))
    X, Y = draw(3, 0)
    critical = eq.critical_weight_decay(X, Y)
    for gap in (-1e-14, 0, 1e-14):
        found = eq.largest_equilibrium(X, Y, (1 + gap) * critical)
        assert found.exists is None
        assert "within rounding of the threshold" in found.reason
    assert [eq.largest_equilibrium(X, Y, (1 + gap) * critical).exists for gap in (-1e-9, 1e-9)] == [True, False]


@pytest.mark.parametrize("eps", [0.1, 0.01])
def test_the_threshold_of_an_ill_conditioned_problem_without_symmetry(eps):
    # General Y: at the threshold the height of the concave function is lam*, and random S do not exceed it.
    rng = np.random.default_rng(8)
    U, V = (np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(2))
    Y = U @ np.diag([1, eps]) @ V.T
    critical = eq.critical_weight_decay(np.eye(2), Y)
    S = eq.largest_equilibrium(np.eye(2), Y, critical * (1 - 1e-5)).S
    assert smallest(eq.best_response(S, np.eye(2), Y, 1e-30) - S) == pytest.approx(critical, rel=1e-3)
    assert len(eq.monotone_iteration(np.eye(2), Y, 1.1 * critical, 20000)) < 20001


def test_a_problem_without_an_equilibrium_says_why():
    X, Y = draw(3, 0)
    singular = Y @ np.diag([1.0, 1.0, 0.0])
    found = eq.largest_equilibrium(X, singular, 1e-6)
    assert (found.exists, found.S) == (False, None)
    assert "Y is singular" in found.reason
    assert np.isnan(found.residual)
    assert eq.critical_weight_decay(X, singular) == 0.0
    assert eq.critical_weight_decay(X, 0 * Y) == 0.0
    hopeless = eq.largest_equilibrium(X, Y, 100.0)
    assert hopeless.exists is False
    assert "necessary bound fails" in hopeless.reason
    middle = 1.02 * eq.critical_weight_decay(X, Y)
    assert "above the threshold" in eq.largest_equilibrium(X, Y, middle).reason
    early = eq.largest_equilibrium(X, Y, 0.5 * middle, max_iterations=2)
    assert early.exists is None
    assert "not converged after 2" in early.reason


def test_the_bounds_say_which_of_them_decides():
    X, Y = np.diag([1.0, 2.0]), np.diag([1.0, 1.0])  # G = diag(1, 1/2): lower 1/16, upper 1/2
    messages = [eq.existence_bounds(X, Y, lam).message for lam in (0.05, 0.1, 0.6)]
    assert [m.split(":")[0] for m in messages] == ["exists", "undecided by the bounds", "none"]
    assert eq.existence_bounds(X, Y, 0.05).sufficient_margin == pytest.approx(0.0125)
    assert eq.existence_bounds(X, Y, 0.6).necessary_margin == pytest.approx(-0.1)
    assert eq.critical_weight_decay(X, Y) == pytest.approx(0.125)  # the weaker of y^2 / 4 x = 1/4, 1/8


def test_singular_gram_matrices_never_solve_the_equation():
    X, Y = draw(3, 4)
    rng = np.random.default_rng(0)
    W = rng.normal(size=(200, 3, 2))
    residual = eq.gram_residual(W @ np.swapaxes(W, 1, 2), X, Y, 0.02)
    assert np.linalg.norm(residual, axis=(1, 2)).min() > 1e-4


def test_a_blind_search_finds_full_and_lower_ranks_and_nothing_else():
    rng = np.random.default_rng(0)
    lam = 0.3 * threshold("symmetric")
    A, B = eq.search_equilibria(X, CROSS["symmetric"], lam, 2, rng, starts=80)
    S = np.swapaxes(A, 1, 2) @ A
    known = all_solutions(X, CROSS["symmetric"], lam)
    known = known.S[known.real].real
    rank = (np.linalg.eigvalsh(S) > 1e-6).sum(axis=1)
    assert set(rank) == {0, 1, 2}
    gaps = np.linalg.norm(S[rank == 2][:, None] - known, axis=(2, 3)).min(axis=1)
    assert gaps.max() < 1e-6
    residual = eq.gram_residual(S[rank < 2], X, CROSS["symmetric"], lam)
    assert np.linalg.norm(residual, axis=(1, 2)).min() > 0.5 * lam**2
    assert np.abs(S[rank < 2] @ residual @ S[rank < 2]).max() < 1e-8
    assert np.allclose(np.swapaxes(B, 1, 2) @ B, A @ np.swapaxes(A, 1, 2), atol=1e-7)


def test_batches_and_complex_matrices():
    X, Y = draw(2, 0)
    S = np.random.default_rng(0).normal(size=(4, 3, 2, 2))
    S = S + np.swapaxes(S, -1, -2)
    whole = eq.gram_residual(S + 1j * S[::-1], X, Y, 0.1)
    assert whole.shape == (4, 3, 2, 2)
    assert np.allclose(whole[1, 2], eq.gram_residual(S[1, 2] + 1j * S[2, 2], X, Y, 0.1))
    square = S @ S
    assert np.allclose(eq.best_response(square, X, Y, 0.1)[2, 1], eq.best_response(square[2, 1], X, Y, 0.1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eq.largest_equilibrium(-np.eye(2), np.eye(2), 0.1), "X must be symmetric positive definite"),
        (lambda: eq.largest_equilibrium(np.eye(2), np.eye(3), 0.1), r"Y has shape \(3, 3\)"),
        (lambda: eq.largest_equilibrium(np.eye(2), np.eye(2), 0.0), "lam must be greater than 0"),
        (lambda: eq.largest_equilibrium(np.eye(2), np.eye(2), 0.1, tol=0), "tol must be greater than 0"),
        (lambda: eq.largest_equilibrium(np.eye(2), [[1, np.nan], [0, 1]], 0.1), "Y must be finite"),
        (lambda: eq.gram_residual(np.eye(3), np.eye(2), np.eye(2), 0.1), r"S has shape \(3, 3\)"),
        (lambda: eq.best_response(-np.eye(2), np.eye(2), np.eye(2), 0.1), "S must be symmetric positive semi-definite"),
        (lambda: eq.best_response_derivative(np.diag([1.0, 0.0]), np.eye(2), np.eye(2), 0.1), "no derivative here"),
        (lambda: eq.equilibrium_state(np.eye(2), np.eye(2), np.eye(2), 0.1, 1), "n must be at least m = 2; got 1"),
        (lambda: eq.equilibrium_state(np.zeros((2, 2)), np.eye(2), np.eye(2), 0.1, 2), "S must be symmetric positive"),
        (
            lambda: eq.equilibrium_state(np.eye(2), np.eye(2), np.eye(2), 0.1, 2, 2 * np.eye(2)),
            "U must have orthonormal",
        ),
        (lambda: eq.monotone_iteration(np.eye(2), np.eye(2), 0.1, 0), "steps must be an integer, at least 1"),
        (lambda: decay_scene(0.0, "general"), "ratio must be greater than 0"),
        (lambda: threshold("other"), "problem must be one of"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_explorer_draws_what_the_equilibria_are():
    for problem_name, numbers in (("symmetric", [4, 4, 0]), ("general", [4, 2, 0]), ("turning", [2, 4, 0])):
        for ratio, number in zip((0.1, {"turning": 0.7}.get(problem_name, 0.95), 1.1), numbers, strict=True):
            scene = decay_scene(ratio, problem_name)
            closed = [item for item in scene.panels[0].items if item.kind == "line"]
            assert len(closed) == number
            assert (f"{number} full-rank" if number else "no full-rank") in scene.readout
    lam = 0.5 * threshold("symmetric")
    S = eq.largest_equilibrium(X, CROSS["symmetric"], lam).S
    x, y = ellipse(S)
    drawn = decay_scene(0.5, "symmetric").panels[0].items[0]
    assert np.allclose(drawn.x, x)
    points = np.stack([x, y])
    assert np.allclose(np.einsum("ik,ij,jk->k", points, np.linalg.inv(S), points), 1)
    lams, traces = branches("symmetric")
    assert max(lams) < threshold("symmetric")
    assert max(traces) <= np.trace(eq.largest_equilibrium(X, CROSS["symmetric"], min(lams)).S) + 1e-9
