"""Laws of the continuation: symmetries that the Jacobian does not see, rest states, starts that die."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from ssltheory import nonlinearity as nl
from ssltheory.two_layer import TwoLayer, field_jacobian, mean_field


@pytest.fixture(scope="module")
def settled():
    found = {}
    for activation in ("radial", "tanh"):
        for seen, net, p in nl.follow(activation, 1, scales=(0.0, 0.1, 0.4)):
            found[activation, seen.scale] = seen, net, p
    return found


def test_states_are_at_rest_with_full_rank_and_nothing_growing(settled):
    for seen, net, p in settled.values():
        x, y = nl.draw_pairs(np.random.default_rng(1))
        assert np.linalg.norm(mean_field(net, p, x, y, lam=nl.LAM)) < 1e-9
        assert (seen.rank, seen.index, seen.index_ema) == (2, 0, [0, 0])


def test_the_jacobian_vanishes_along_the_symmetries_and_only_the_code_turns_for_tanh(settled):
    x, y = nl.draw_pairs(np.random.default_rng(1))
    dimensions = {}
    for key, (_, net, p) in settled.items():
        T = nl.symmetry_tangent(net, p)
        J = field_jacobian(net, p, x, y, lam=nl.LAM)
        np.testing.assert_allclose(J @ T, 0, atol=1e-8)
        dimensions[key] = T.shape[1]
    assert dimensions == {
        ("radial", 0.0): 8,
        ("radial", 0.1): 8,
        ("radial", 0.4): 8,
        ("tanh", 0.0): 8,
        ("tanh", 0.1): 3,
        ("tanh", 0.4): 3,
    }


def test_the_slow_rates_of_broken_symmetry_grow_with_the_square_of_the_scale(settled):
    _, net, p = settled["tanh", 0.1]
    x, y = nl.draw_pairs(np.random.default_rng(1))
    slow = []
    for scale in (0.05, 0.1):
        finer = replace(net, scale=scale)
        q = nl.settle(finer, p, x, y)[0]
        slow.append(nl.transverse_spectrum(finer, q, x, y).real[0])
    assert np.log2(slow[1] / slow[0]) == pytest.approx(2, abs=0.3)


def test_the_distance_is_blind_to_rotations_of_the_code_and_to_nothing_else(settled):
    _, net, p = settled["tanh", 0.4]
    x, _ = nl.draw_pairs(np.random.default_rng(1))
    W1, W2, B = net.arrays(p)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turned = np.concatenate([M.ravel() for M in (W1, Q @ W2, Q @ B @ Q.T)])
    assert nl.distance(net, turned, p, x) < 1e-6
    assert nl.distance(net, 1.1 * p, p, x) > 0.1


def test_a_small_kick_comes_back(settled):
    _, net, p = settled["radial", 0.4]
    x, y = nl.draw_pairs(np.random.default_rng(1))
    first, last, codes = nl.kick(net, p, x, y, np.random.default_rng(0), size=0.05, duration=2000)
    assert first > 0.02
    assert last < 1e-3
    assert codes[1] > 0.1


@pytest.mark.parametrize(
    ("net", "order"),
    [(TwoLayer(1, 2), 1), (TwoLayer(1, 2, hidden=2, activation="relu"), 3)],
)
def test_the_least_start_that_survives_is_a_power_of_the_decay(net, order):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 1))
    x, noise = np.concatenate([x, -x]), 0.3 * rng.standard_normal((20, 1))
    y = x + np.concatenate([noise, -noise])
    r = [nl.smallest_survivor(net, x, y, lam=lam) for lam in (1e-3, 1e-4)]
    assert np.log10(r[0] / r[1]) == pytest.approx(1 / order, abs=0.03)


@pytest.mark.parametrize("activation", ["tanh", "swish"])
@pytest.mark.parametrize("predictor", [None, 3])
def test_zero_attracts_in_networks_with_biases(activation, predictor):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 2)) + 0.5
    y = x + 0.3 * rng.standard_normal(x.shape)
    net = TwoLayer(2, 3, hidden=4, predictor_hidden=predictor, activation=activation, bias=True)
    values = np.linalg.eigvals(field_jacobian(net, np.zeros(net.size), x, y, lam=0.01))
    expected = np.full(net.size, -0.01)
    expected[:3] = -1.01  # the predictor's last bias follows the target; everything else only decays
    np.testing.assert_allclose(np.sort(values.real), np.sort(expected), atol=1e-9)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="hidden"):
        nl.symmetry_tangent(TwoLayer(2, 3), np.zeros(15))
