"""Laws of the forces on the center: closed forms against autograd, what they conserve, where they change sign."""

import numpy as np
import pytest
import torch

from ssltheory import two_view_losses as losses
from ssltheory.center import center_parts, center_rate, unit
from ssltheory.center_forces import (
    center_repulsion,
    free_pull,
    info_nce_weights,
    invariance_pull,
    invariance_weights,
    meet,
    pair_pull,
    predictor_gradient,
    predictor_pull,
    prototype_gradient,
    tangent,
    triplet_weights,
)

N, n = 9, 4


def views(seed=0):
    rng = np.random.default_rng(seed)
    z1 = unit(rng.standard_normal((N, n)) + np.eye(n)[0])
    return z1, unit(z1 + 0.4 * rng.standard_normal((N, n)))


def autograd(loss, *z):
    free = [torch.tensor(v).requires_grad_() for v in z]
    return np.concatenate([g.numpy() for g in torch.autograd.grad(loss(*free), free)])


@pytest.mark.parametrize(
    ("loss", "weights"),
    [
        (losses.invariance_loss, lambda a, b: invariance_weights(len(a))),
        (
            lambda a, b: losses.triplet_loss(a, b, b.roll(1, dims=-2), 0.3),
            lambda a, b: triplet_weights(a, b, margin=0.3),
        ),
        (lambda a, b: losses.info_nce_loss(a, b, 0.2), lambda a, b: info_nce_weights(a, b, 0.2)),
    ],
)
def test_losses_of_cosines_pull_by_pairs(loss, weights):
    z1, z2 = views()
    z = np.concatenate([z1, z2])
    np.testing.assert_allclose(pair_pull(z, weights(z1, z2)), free_pull(z, autograd(loss, z1, z2)), atol=1e-14)


def test_equal_repulsion_of_all_pairs_is_a_push_by_minus_s_and_never_lengthens_the_center():
    for seed in range(20):
        z = np.concatenate(views(seed))
        M, s = len(z), z.mean(axis=0)
        pull = center_repulsion(z)
        np.testing.assert_allclose(pair_pull(z, -np.ones((M, M))) / M**2, pull, atol=1e-14)
        gradient = autograd(lambda a: losses.unit(a).mean(dim=0).square().sum() / 2, z)
        np.testing.assert_allclose(free_pull(z, gradient), pull, atol=1e-14)
        np.testing.assert_allclose(s @ pull, np.mean((z @ s) ** 2) - s @ s, atol=1e-14)
        assert s @ pull < 0
    axis = np.array([[1.0, 0], [1, 0], [-1, 0]])
    np.testing.assert_allclose(center_repulsion(axis), 0)


def test_info_nce_repels_by_minus_s_to_first_order_in_the_inverse_temperature():
    z1, z2 = views()
    z = np.concatenate([z1, z2])
    M, tau = len(z), 1e6
    repulsion = tau * pair_pull(z, info_nce_weights(z1, z2, tau)) - pair_pull(z, invariance_weights(N))
    np.testing.assert_allclose(repulsion, 2 * M / (M - 1) * center_repulsion(z), atol=1e-5)


def test_invariance_splits_the_growth_of_the_center():
    z1, z2 = views()
    z = np.concatenate([z1, z2])
    found = invariance_pull(z1, z2)
    s = z.mean(axis=0)
    np.testing.assert_allclose(found.rate, 2 * s @ pair_pull(z, invariance_weights(N)), rtol=1e-12)
    assert found.mean > 0
    parts = center_parts(np.stack([z1, z2], axis=1))
    np.testing.assert_allclose(found.mean, 8 * parts.within * parts.center, rtol=1e-12)  # plain v of two views is half


def test_the_closed_form_of_meeting_solves_the_flow_and_keeps_the_middle():
    z1, z2 = views()
    a, b = meet(z1, z2, 0.3)
    h = 1e-6
    ahead, behind = meet(z1, z2, 0.3 + h)[0], meet(z1, z2, 0.3 - h)[0]
    np.testing.assert_allclose((ahead - behind) / (2 * h), 2 * tangent(a, b), atol=1e-8)
    np.testing.assert_allclose(unit(a + b), unit(z1 + z2), atol=1e-14)
    np.testing.assert_allclose(meet(z1, z2, 0.0)[0], z1, atol=1e-14)
    np.testing.assert_allclose(*meet(z1, z2, np.inf), atol=1e-14)


def test_two_samples_suffice_for_invariance_to_shorten_the_center():
    half = np.sqrt(0.75)
    z1, z2 = np.array([[1.0, 0], [-0.5, half]]), np.array([[1.0, 0], [-0.5, -half]])
    np.testing.assert_allclose(invariance_pull(z1, z2).rate, 4 * 0.5 * 1.5 * (-0.5 * 0.25))
    assert np.linalg.norm(meet(z1, z2, np.inf)[0].mean(axis=0)) < 1e-15


def test_a_linear_predictor_agrees_with_autograd_and_without_one_it_is_half_the_invariance():
    z1, z2 = views()
    z, target = np.concatenate([z1, z2]), np.concatenate([z2, z1])
    B = np.random.default_rng(1).standard_normal((n, n))

    def loss(a, b):
        return losses.simsiam_loss(a @ torch.tensor(B).T, b @ torch.tensor(B).T, a, b)

    np.testing.assert_allclose(predictor_gradient(B, z, target), autograd(loss, z1, z2), atol=1e-15)
    alone = free_pull(z, predictor_gradient(np.eye(n), z, target))
    np.testing.assert_allclose(alone, pair_pull(z, invariance_weights(N)) / 2, atol=1e-15)


@pytest.mark.parametrize(
    ("along", "across", "center", "contrast"), [(1, 0.3, 1, 0.6), (1, 1, 1, 0.5), (0.7, 0.6, 0.9, 0.2)]
)
def test_the_pull_of_a_predictor_on_a_cone(along, across, center, contrast):
    sigma = 0.6
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    e, x = np.eye(3)[0], 0.8 * np.stack([0 * turn, np.cos(turn), np.sin(turn)], axis=1)
    z, target = sigma * e + x, center * sigma * e + contrast * x
    force = -len(z) * predictor_gradient(np.diag([along, across, across]), z, target)
    on_center, on_rest = predictor_pull(sigma, along, across, center, contrast)
    np.testing.assert_allclose(force, on_center * sigma * e + on_rest * x, atol=1e-15)
    assert np.sign(on_center) == np.sign(round(center * across - along * contrast, 12))


def test_prototypes_agree_with_autograd_and_repel_to_first_order():
    z1, z2 = views()
    z = np.concatenate([z1, z2])
    W = unit(np.random.default_rng(2).standard_normal((6, n)) + 0.5)
    goals = [losses.sinkhorn(torch.tensor(v @ W.T)) for v in (z1, z2)]

    def scores(v):
        return losses.unit(v) @ torch.tensor(W).T

    def loss(a, b):
        return losses.swav_loss(scores(a), scores(b), *goals)

    goal = np.concatenate([goals[1], goals[0]])
    np.testing.assert_allclose(prototype_gradient(W, z, goal, 0.1), autograd(loss, z1, z2), atol=1e-14)
    tau = 1e5
    even = prototype_gradient(W, z, np.full((len(z), 6), 1 / 6), tau)
    spread = np.cov(W.T, bias=True)
    want = -tangent(z, np.broadcast_to(z @ spread, z.shape)).mean(axis=0)
    np.testing.assert_allclose(tau**2 * free_pull(z, even), want, atol=1e-4)


@pytest.mark.parametrize("standardise", ["both", "centre"])
def test_barlow_twins_has_no_force_on_the_mean_of_raw_codes(standardise):
    rng = np.random.default_rng(3)
    z1, z2 = rng.standard_normal((2, N, n)) + 2

    def loss(a, b):
        return losses.barlow_twins_loss(a, b, standardise=standardise)

    gradient = autograd(loss, z1, z2).reshape(2, N, n)
    assert np.abs(gradient.sum(axis=1)).max() < 1e-12 * np.abs(gradient).max()
    not_centred = autograd(lambda a, b: losses.barlow_twins_loss(a, b, standardise="scale"), z1, z2)
    assert np.abs(not_centred.reshape(2, N, n).sum(axis=1)).max() > 1e-3 * np.abs(not_centred).max()


def test_free_pull_is_what_center_rate_measures():
    z = np.concatenate(views())
    g = tangent(z, np.random.default_rng(4).standard_normal(z.shape))
    np.testing.assert_allclose(unit(z.mean(axis=0)) @ free_pull(z, g), center_rate(z, g))


def test_bad_input_is_refused():
    z1, z2 = views()
    for call, words in (
        (lambda: meet(z1, -z1, 1.0), "opposite"),
        (lambda: meet(z1, z2, -1.0), "time"),
        (lambda: pair_pull(z1, np.triu(np.ones((N, N)))), "symmetric"),
        (lambda: info_nce_weights(z1, z2, 0.0), "temperature"),
        (lambda: triplet_weights(z1, z2[:3]), "z2"),
        (lambda: predictor_pull(0.0, 1, 1, 1, 1), "positive"),
        (lambda: predictor_gradient(np.eye(2), z1, z2), "B"),
        (lambda: prototype_gradient(np.eye(n), z1, np.ones((N, 3)), 0.1), "goal"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
