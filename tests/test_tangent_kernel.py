import numpy as np
import pytest

from ssltheory import read_record
from ssltheory import tangent_kernel as tk
from ssltheory.unconstrained import kernel_flow, pairing_matrix


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("law", ["gaussian", "frames"])
def test_blocks_are_inner_products_of_gradients(activation, law):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2))
    W1, W2, c = tk.draw_weights(rng, 7, 2, 3, law)
    phi = {"linear": lambda u: u, "relu": torch.relu, "tanh": torch.tanh}[activation]

    def codes(a, b):
        return c * phi(torch.tensor(x) @ a.T) @ b

    jacobians = torch.autograd.functional.jacobian(codes, (torch.tensor(W1), torch.tensor(W2)))
    for layer, used in (("both", jacobians), ("first", jacobians[:1]), ("last", jacobians[1:])):
        J = np.concatenate([j.numpy().reshape(5, 3, -1) for j in used], axis=2)
        told = tk.tangent_blocks(W1, W2, x, activation, c, layer=layer)
        assert np.allclose(told, np.einsum("pkd,qjd->kjpq", J, J), atol=1e-12)


def test_under_frames_a_linear_network_has_independent_components_at_every_width():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 3))
    for h in (3, 5, 40):
        W1, W2, c = tk.draw_weights(rng, h, 3, 2, "frames", (4,))
        blocks = tk.tangent_blocks(W1, W2, x, "linear", c)
        assert np.allclose(blocks, 2 * np.eye(2)[:, :, None, None] * (x @ x.T), atol=1e-12)


def test_the_last_layer_alone_never_couples_components():
    W1, W2, c = tk.draw_weights(np.random.default_rng(2), 9, 2, 3, "gaussian", (5,))
    blocks = tk.tangent_blocks(W1, W2, np.random.default_rng(3).normal(size=(4, 2)), "relu", c, layer="last")
    assert np.array_equal(tk.off_diagonal_share(blocks), np.zeros(5))


def test_a_very_wide_network_trains_as_its_first_kernel_says():
    views = tk.centred_moons(0, 6)
    B = pairing_matrix(6)
    W1, W2, c = tk.draw_weights(np.random.default_rng(4), 4000, 2, 2, "gaussian")
    K = tk.tangent_blocks(W1, W2, views, "tanh", c)
    mean = np.trace(K, axis1=0, axis2=1) / 2
    rate = -2 * tk.negative_rates(mean, B)[0]
    (event,) = tk.departure(W1, W2, views, B, "tanh", c, thresholds=[0.03], rate=rate)
    F = tk.network_codes(W1, W2, views, "tanh", c)
    later = kernel_flow(mean, B, F, np.array([event["time"]]))[0]
    assert np.isclose(np.linalg.norm(later) / np.linalg.norm(F), event["growth"], rtol=0.1)


def test_the_spread_of_diagonal_blocks_tells_outputs_from_networks():
    one = np.array([[2.0, 1.0], [1.0, 3.0]])
    scale = np.array([[1.0, 1.2], [0.6, 0.8]])  # network, output
    blocks = np.einsum("sk,kj,pq->skjpq", scale, np.eye(2), one)
    within, between = tk.diagonal_spread(blocks)
    assert np.isclose(within, 0.1 / 0.9)
    assert np.isclose(between, 0.2 / 0.9)


def test_with_fixed_features_three_regressions_are_one():
    rng = np.random.default_rng(6)
    x, Y = rng.normal(size=(12, 2)), rng.normal(size=(12, 3))
    W1, W2, c = tk.draw_weights(rng, 20, 2, 3, "gaussian")
    for both in (False, True):
        joint = tk.train_regression(W1, W2, x, Y, "relu", c, both=both)
        alone = [tk.train_regression(W1, W2[:, [k]], x, Y[:, [k]], "relu", c, both=both) for k in range(3)]
        assert np.allclose(joint, np.hstack(alone), rtol=0, atol=1e-12) is not both
    longer = tk.train_regression(W1, W2, x, Y, "relu", c, steps=2000)
    assert np.square(longer - Y).sum() < np.square(joint - Y).sum()


def test_rates_are_the_eigenvalues_of_kernel_times_pairing():
    M = np.random.default_rng(5).normal(size=(9, 9))
    K, B = M @ M.T, pairing_matrix(3)
    told = np.sort(np.linalg.eigvals(K @ B).real)
    assert np.allclose(tk.negative_rates(K, B), told, atol=1e-8 * np.abs(told).max())


def test_the_record_can_be_made_again():
    rows = read_record("tangent_kernel").data
    assert len(rows) == len(tk.WIDTHS) * sum(len(tk.SEEDS[phi]) for _, phi in tk.SETTINGS)
    row = next(r for r in rows if (r["law"], r["activation"], r["h"], r["seed"]) == ("frames", "relu", 64, 3))
    again = tk.train_one("frames", "relu", 64, 3)
    assert np.isclose(again["off"], row["off"], rtol=1e-9)
    for one, two in zip(again["events"], row["events"], strict=True):
        assert np.allclose(list(one.values()), list(two.values()), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tk.draw_weights(np.random.default_rng(0), 3, 2, 2, "uniform"), "law"),  # type: ignore[arg-type]
        (lambda: tk.network_codes(np.ones((3, 2)), np.ones((4, 2)), np.ones((1, 2)), "relu"), "need"),
        (lambda: tk.off_diagonal_share(np.ones((1, 1, 2, 2))), "n >= 2"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_of_a_homogeneous_network_loss_over_squared_weights_only_falls():
    # <W, grad L> = 4 L, so d/dt (-L / |W|^4) >= 0 once the loss is negative: infinity is reached in finite time.
    for row in read_record("tangent_kernel").data:
        if row["activation"] == "relu":
            quotients = [e["loss"] / e["weights"] ** 2 for e in row["events"]]
            assert quotients[-1] < 0
            assert quotients == sorted(quotients, reverse=True)
