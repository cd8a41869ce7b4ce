"""Laws of the forces in networks: rates are derivatives, and codes handed in directly give the loss of the network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ssltheory.center_force_training import FORCES, measure_forces, read_forces
from ssltheory.center_training import ROWS, Config, State, method_loss
from ssltheory.encoders import encode, toy_data
from ssltheory.two_view_losses import unit

SEEDS = (0, 1)


def start(row):
    data = toy_data("blobs", SEEDS, 40, probe=10, dtype=torch.float64)
    config = Config(**ROWS[row], encoder=(16, 12, 5), prototypes=6, hidden=7)
    return config, State.start(config, SEEDS, like=data.x), data.x, data.y


def length(config, state, x, y):
    z1, z2 = (unit(encode(state.encoder, v, norm=config.norm).mT) for v in (x, y))
    return ((z1.mean(dim=1) + z2.mean(dim=1)) / 2).norm(dim=-1)


@pytest.mark.parametrize("row", ["SimCLR", "SimSiam", "DINO", "SwAV"])
def test_the_rate_of_the_network_is_the_derivative_along_its_gradient(row):
    config, state, x, y = start(row)
    found = measure_forces(config, state, x, y)
    free = [tuple(p.clone().requires_grad_() for p in layer) for layer in state.encoder]
    parameters = [p for layer in free for p in layer]
    loss = method_loss(config, replace(state, encoder=free), x, y)[0].sum()
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    h = 1e-6

    def moved(step):
        flat = [p.detach() - step * g for p, g in zip(parameters, slopes, strict=True)]
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        return length(config, replace(state, encoder=pairs), x, y)

    np.testing.assert_allclose(found.network, (moved(h) - moved(-h)) / (2 * h), rtol=1e-5)
    np.testing.assert_allclose(found.length, length(config, state, x, y))


def test_without_predictor_the_rates_are_half_those_of_invariance():
    found = measure_forces(*start("SimSiam, no predictor"))
    np.testing.assert_allclose(found.free, found.free_invariance / 2, rtol=1e-10)
    np.testing.assert_allclose(found.network, found.network_invariance / 2, rtol=1e-10)


def test_the_simple_loss_is_invariance_and_repulsion():
    found = measure_forces(*start("L_Simple 1"))
    np.testing.assert_allclose(found.free, found.free_invariance / 2 + found.repulsion, rtol=1e-10)
    assert (found.repulsion < 0).all()


def test_a_record_is_read_back():
    run = {"row": "SimCLR", "data": "blobs", "norm": True, **{key: ["1 2", "3 4"] for key in FORCES}}
    found = read_forces({"steps": [0, 1], "seeds": [0, 1], "runs": [run]})
    np.testing.assert_array_equal(found["SimCLR", "blobs", True].free, [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="runs"):
        read_forces({})
    config, state, x, y = start("SimCLR")
    with pytest.raises(ValueError, match="same"):
        measure_forces(config, state, x, y[:, :3])
