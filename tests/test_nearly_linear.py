import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssltheory import nearly_linear as nl
from ssltheory.contrast import contrast_matrix
from ssltheory.nearly_linear import (
    Trained,
    activate,
    bound_ratios,
    coordinate_moment,
    exponent,
    gap_course,
    gap_mean_square,
    gap_scale,
    lead_unit,
    leading_gap,
    nonlinear_gradients,
    recorded,
    relative_gap,
    remainder_size,
    root_mean_square,
    row_bound,
    row_size,
    settled_share,
    shrunk_code,
    slope_error,
    train_network,
)
from ssltheory.nearly_linear_scenes import outputs_scene
from ssltheory.orthogonal_flow import descend_network, flow_velocity, network_gradients, random_network
from ssltheory.stiefel import tangent_part

NAMES = ("linear", "tanh", "relu", "sigmoid", "centred", "softplus", "steepening")
TORCH = {
    "linear": lambda a: a,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "centred": lambda a: 4 * (torch.sigmoid(a) - 0.5),
    "softplus": lambda a: 2 * (torch.nn.functional.softplus(a) - np.log(2)),
    "steepening": lambda a: 2 * a - torch.sin(a),
}


def triples(seed, count=7, m=3):
    return tuple(np.random.default_rng(seed).normal(size=(3, count, m)))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_loss_agree_with_automatic_differentiation(name):
    views = triples(1)
    W1, W2 = random_network(np.random.default_rng(2), 6, 3, 2, (4,))
    G1, G2, loss = nonlinear_gradients(W1, W2, views, name)
    T1, T2 = (torch.tensor(W, requires_grad=True) for W in (W1, W2))
    x, plus, minus = (TORCH[name](torch.tensor(v) @ T1.mT) @ T2 for v in views)
    losses = (x * (minus - plus)).sum(-1).mean(-1)
    losses.sum().backward()
    np.testing.assert_allclose(loss, losses.detach(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(G1, T1.grad, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(G2, T2.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_is_the_slope_of_the_activation(name):
    a = np.linspace(-4, 4, 40)
    slope = (activate(name, a + 1e-6)[0] - activate(name, a - 1e-6)[0]) / 2e-6
    np.testing.assert_allclose(activate(name, a)[1], slope, atol=1e-8)
    if name not in ("relu", "sigmoid"):
        assert activate(name, np.zeros(1))[0] == 0
        assert activate(name, np.zeros(1))[1] == 1


def test_a_linear_activation_gives_the_linear_networks_gradients_and_path():
    views = triples(3)
    gamma = contrast_matrix(*views)
    W1, W2 = random_network(np.random.default_rng(4), 8, 3, 2)
    for mine, theirs in zip(
        nonlinear_gradients(W1, W2, views, "linear"), network_gradients(W1, W2, gamma), strict=False
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    run = train_network(W1, W2, views, "linear", step=0.03, steps=20)
    path, V1, _ = descend_network(W1, W2, gamma, step=0.03, steps=20)
    np.testing.assert_allclose(run.W1, V1, atol=1e-11)
    np.testing.assert_allclose(run.codes(views[0]), views[0] @ path[-1], atol=1e-11)


@pytest.mark.parametrize("tangent", [None, "grassmann", "canonical"])
def test_training_keeps_frames_and_a_batch_is_its_networks_one_by_one(tangent):
    views = triples(5)
    W1, W2 = random_network(np.random.default_rng(6), 9, 3, 2, (3,))
    run = train_network(W1, W2, views, "tanh", step=0.1, steps=15, tangent=tangent)
    np.testing.assert_allclose(run.W1.mT @ run.W1, np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-12)
    alone = train_network(W1[1], W2[1], views, "tanh", step=0.1, steps=15, tangent=tangent)
    np.testing.assert_allclose(alone.W2, run.W2[1], atol=1e-12)


@pytest.mark.parametrize("h", [2, 3, 10, 1000])
def test_moments_of_a_coordinate_agree_with_quadrature(h):
    for k in (1, 2, 3):
        found = gap_mean_square("tanh", h, 1.0, squared=lambda a, k=k: a ** (2 * k))
        assert found == pytest.approx(coordinate_moment(h, k), rel=1e-10)
    assert gap_mean_square("relu", h, 1.7) == pytest.approx(1.7**2 / (2 * h), rel=1e-10)


@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid", "softplus"])
def test_the_mean_square_of_the_gap_is_the_one_of_drawn_networks(name):
    W1, W2 = random_network(np.random.default_rng(7), 12, 2, 2, (20_000,))
    x = np.array([[1.2, -0.5]])
    gap = Trained(W1, W2, np.zeros(1), name).codes(x) - x @ W1.mT @ W2
    squares = np.square(gap).sum(axis=(1, 2))
    assert abs(squares.mean() - 2 * gap_mean_square(name, 12, 1.3)) < 4 * squares.std() / np.sqrt(len(squares))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), h=st.integers(4, 60), omega=st.sampled_from(["grassmann", "embedded", "canonical"])
)
def test_the_inequalities_behind_the_theorem(seed, h, omega):
    """Rows, remainder and q of a tanh network change as the chapter's lemma bounds them, at any frames."""
    rng = np.random.default_rng(seed)
    views = triples(seed)
    x = views[0]
    m, n = 3, 2
    W1, W2 = random_network(rng, h, m, n)
    R = max(np.linalg.norm(v, axis=1).max() for v in views)
    rho = max(row_size(W1), row_size(W2))
    eps = 1 - activate("tanh", np.array(R * rho))[1]
    run = Trained(W1, W2, np.zeros(1), "tanh")
    p = W1.T @ W2

    def size(code):
        return sum(np.linalg.norm(code(v), axis=1).mean() for v in views)

    b, e = size(run.codes), size(lambda v: run.codes(v) - v @ p)
    assert b <= 3 * R * np.linalg.norm(p, 2) + e + 1e-12
    G1, G2, _ = nonlinear_gradients(W1, W2, views, "tanh")
    L1, L2 = network_gradients(W1, W2, contrast_matrix(*views))
    for G, L in ((G1, L1), (G2, L2)):
        assert np.linalg.norm(G) <= 2 * (1 + eps) * R * b
        assert np.linalg.norm(G - L) <= 2 * R * (eps * b + e)
    V1, V2 = -tangent_part(W1, G1, omega), -tangent_part(W2, G2, omega)
    for V in (V1, V2):
        assert row_size(V) <= 8 * R * rho * b
    pushed = V1.T @ W2 + W1.T @ V2 - flow_velocity(p, contrast_matrix(*views), omega)
    assert np.linalg.norm(pushed) <= 8 * R * (eps * b + e)
    value, slope = activate("tanh", W1 @ x.T)
    rate = V2.T @ (value - W1 @ x.T) + W2.T @ ((slope - 1) * (V1 @ x.T))
    assert (np.linalg.norm(rate, axis=0) <= 16 * eps * R * b * np.linalg.norm(x, axis=1) + 1e-12).all()


@pytest.mark.parametrize("name", ["tanh", "softplus", "centred"])
@pytest.mark.parametrize("tangent", ["grassmann", "embedded", "canonical"])
def test_no_network_exceeds_the_bounds_of_the_lemma(name, tangent):
    views = triples(9, m=2)
    W1, W2 = random_network(np.random.default_rng(1), 200, 2, 2)
    for steps in (0, 3, 10, 60):
        run = train_network(W1, W2, views, name, step=0.05, steps=steps)
        ratios = bound_ratios(run.W1, run.W2, views, name, tangent)
        assert all(0 <= r <= 1 for r in ratios.values()), ratios
    with pytest.raises(ValueError, match="need at most 1"):
        bound_ratios(*nl.localised_network(3, 2, 1), triples(0, m=2), "steepening", tangent)


@pytest.mark.parametrize(("name", "second", "third"), [("tanh", 0, -2), ("softplus", 0.5, 0), ("steepening", 0, 1)])
def test_the_relative_gap_of_wide_networks_tends_to_its_leading_term(name, second, third):
    h = 20_000
    exact = np.sqrt(h * gap_mean_square(name, h, 1.3)) / 1.3
    assert leading_gap(second, third, 1.3, h) == pytest.approx(exact, rel=2e-3)


def test_the_error_of_the_slope_is_the_one_at_the_end_of_the_range():
    assert slope_error("tanh", 0.7) == pytest.approx(np.tanh(0.7) ** 2, rel=1e-12)
    assert slope_error("softplus", 0.7) == pytest.approx(np.tanh(0.35), rel=1e-12)
    assert slope_error("relu", 0.1) == 1


def test_the_scale_of_the_gap_grows_until_the_linear_network_has_left_zero():
    mu, q0 = 2.0, 0.01
    leave = np.log(1 / q0) / mu
    assert gap_scale(q0, 0.0, 0.1, mu, 0.0) == pytest.approx(0.1 * q0)
    assert gap_scale(q0, 0.003, 0.0, mu, 5 * leave) == pytest.approx(0.3)
    assert gap_scale(1.2, 0.0, 0.1, mu, 3.0) == pytest.approx(1.2 * 0.4)


@pytest.mark.parametrize("tangent", [None, "grassmann", "canonical"])
def test_the_course_of_the_gap_is_that_of_two_trainings(tangent):
    views = nl.setting_views(nl.MAIN)
    W1, W2 = random_network(np.random.default_rng(3), 30, 2, 1, (4,))
    course = gap_course(W1, W2, views, "tanh", (0, 4, 9), step=0.1, tangent=tangent)
    ends = [train_network(W1, W2, views, a, step=0.1, steps=9, tangent=tangent) for a in ("linear", "tanh")]
    codes = [run.codes(views[0]) for run in ends]
    np.testing.assert_allclose(course.relative[2], relative_gap(codes[1], codes[0]), rtol=1e-9)
    np.testing.assert_allclose(course.absolute[2], course.relative[2] * course.linear[2], rtol=1e-12)
    assert course.share.shape == (3, 4)
    p, q = (run.W1.mT @ run.W2 for run in ends[::-1])
    gap = np.linalg.norm(p - q, axis=(-2, -1)) + remainder_size(ends[1], views)
    first = Trained(W1, W2, np.zeros(4), "tanh")
    longest = max(np.linalg.norm(v, axis=1).max() for v in views)
    eps = slope_error("tanh", float(longest * max(row_size(W1[0]), row_size(W2[0]))))
    mu = -4 * np.linalg.eigvalsh(contrast_matrix(*views))[0]
    q0 = np.linalg.norm(W1[0].T @ W2[0])
    assert course.share[2, 0] == pytest.approx(gap[0] / gap_scale(q0, remainder_size(first, views)[0], eps, mu, 0.9))
    straight = gap_course(W1, W2, views, "linear", (9,), step=0.1, tangent=tangent)
    assert straight.absolute.max() < 1e-12


def test_one_unit_carries_all_of_a_localised_network_and_settled_units_are_linear():
    x = np.array([[0.5], [1.0], [2.0]])
    run = Trained(*nl.localised_network(5, 1, 1), np.zeros(()), "softplus")
    share, weights = lead_unit(run, x)
    assert share == pytest.approx(1)
    np.testing.assert_array_equal(weights, [1, 0])
    W1 = np.array([[0.6], [-0.8], [0.0]])
    W2 = np.array([[0.6], [-0.8], [0.0]])
    assert settled_share(Trained(W1, W2, np.zeros(()), "relu"), x, 0.9) == pytest.approx(1)
    assert settled_share(Trained(W1, W2, np.zeros(()), "relu"), np.array([[1.0], [-1.0]]), 0.9) == pytest.approx(0)
    with pytest.raises(ValueError, match="need one output"):
        lead_unit(Trained(*nl.localised_network(5, 1, 2), np.zeros(()), "tanh"), x)


def test_a_record_is_read_back_as_it_was_measured():
    found = nl.measure(nl.MAIN, 10, range(2), ("tanh",))
    again = recorded({"10": {name: {k: v.tolist() for k, v in part.items()} for name, part in found.items()}})
    for name, part in found.items():
        for key, values in part.items():
            np.testing.assert_array_equal(again[10][name][key], values)


def test_rows_of_uniform_frames_obey_their_bound():
    for h in (10, 100, 1000):
        W1, W2 = random_network(np.random.default_rng(h), h, 3, 2, (300,))
        rows = np.maximum(row_size(W1), row_size(W2))
        assert (rows > row_bound(h, 5, 0.05)).mean() <= 0.05


def test_the_stretched_code_is_an_eigenvector_without_stretching_and_foretells_the_gap():
    views = nl.setting_views(nl.MAIN)
    plain = shrunk_code(views, 0.0, 100, views[0])
    far = [shrunk_code(views, -2.0, h, views[0]) - plain for h in (1000, 4000)]
    np.testing.assert_allclose(far[0], 4 * far[1], rtol=0.02, atol=1e-5)
    h = 1000
    starts = [random_network(np.random.default_rng(seed), h, 2, 1) for seed in range(8)]
    W1, W2 = (np.stack([start[k] for start in starts]) for k in range(2))
    ends = [train_network(W1, W2, views, a, step=0.1, steps=40).codes(views[0]) for a in ("linear", "tanh")]
    told = np.linalg.norm(shrunk_code(views, -2.0, h, views[0]) - plain) / np.sqrt(len(plain))
    assert root_mean_square(ends[1] - ends[0]).mean() == pytest.approx(told, rel=0.15)


def test_an_exponent_is_found_and_its_interval_covers_it():
    rng = np.random.default_rng(0)
    widths = (10, 100, 1000)
    gaps = 3 * np.array(widths)[:, None] ** -1.5 * np.exp(0.2 * rng.normal(size=(3, 40)))
    slope, (low, high) = exponent(widths, gaps)
    assert low < -1.5 < high
    assert slope == pytest.approx(-1.5, abs=0.05)


def test_equal_means_leave_the_offset_no_force():
    views = nl.setting_views(nl.Setting(data="equal means"))
    np.testing.assert_allclose(nl.mean_difference(*views[1:]), 0, atol=1e-15)
    W1, W2 = random_network(np.random.default_rng(0), 20, 2, 1)
    whole = nonlinear_gradients(W1, W2, views, "sigmoid")
    centred = nonlinear_gradients(W1, W2, views, "centred")
    np.testing.assert_allclose(16 * whole[1], centred[1], atol=1e-12)
    np.testing.assert_allclose(16 * whole[0], centred[0], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: activate("gelu", np.zeros(1)), "name must be one of"),
        (lambda: gap_mean_square("tanh", 1, 1.0), "h must be an integer, at least 2"),
        (lambda: row_bound(10, 2, 1.0), "failure must be below 1"),
        (lambda: gap_scale(0.1, -1.0, 0.1, 1.0, 1.0), "e0 must be"),
        (lambda: gap_course(np.eye(4)[:, :3], np.eye(4)[:, :1], triples(0), "tanh", (3, 1), step=0.1), "ascending"),
        (lambda: nl.localised_network(2, 3, 1), "h must be at least m and n"),
        (lambda: exponent((10, 20), np.ones((2, 1))), "at least two widths and two seeds"),
        (lambda: nl.setting_views(nl.Setting(data="cats")), "data must be one of"),
        (lambda: nonlinear_gradients(np.eye(3), np.eye(4), triples(0), "tanh"), "W2 has shape"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_explorer_shows_the_gap_that_training_gives():
    scene = outputs_scene("tanh", 40, "trained", 1)
    views = nl.setting_views(nl.MAIN)
    W1, W2 = random_network(np.random.default_rng([40, 1]), 40, 2, 1)
    ends = [train_network(W1, W2, views, a, step=0.1, steps=80).codes(views[0]) for a in ("linear", "tanh")]
    gap = root_mean_square(ends[1] - ends[0]) / root_mean_square(ends[0])
    assert scene.panels[1].items[-1].y[0] == pytest.approx(gap, rel=1e-9)
    with pytest.raises(ValueError, match="need a width of"):
        outputs_scene("tanh", 41, "trained", 1)
