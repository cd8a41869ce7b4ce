"""Each loss against its published definition, computed another way, and the laws that the definitions imply."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from ssltheory import two_view_losses as L  # noqa: E402


def codes(seed=0, batch=(2,), samples=6, n=4, count=2):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(*batch, samples, n, generator=g, dtype=torch.float64) for _ in range(count)]


def unit_rows(z):
    z = z.numpy()
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def rows(z, k):
    """The codes of one leading index as a list of vectors of length one."""
    return [v / np.sqrt(v @ v) for v in z[k].numpy()]


def close(found, want):
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-12, atol=1e-13)


def test_the_invariance_loss_is_half_the_squared_distance_on_the_sphere():
    z1, z2 = codes()
    close(L.invariance_loss(z1, z2), ((unit_rows(z1) - unit_rows(z2)) ** 2).sum(-1).mean(-1) / 2)


def test_the_triplet_loss_is_that_of_torch_with_squared_distances():
    z1, z2, negative = codes(count=3)
    squared = torch.nn.TripletMarginWithDistanceLoss(
        distance_function=lambda a, b: (a - b).square().sum(-1), margin=0.7, reduction="none"
    )
    want = squared(*(torch.from_numpy(unit_rows(z)) for z in (z1, z2, negative))).mean(-1)
    close(L.triplet_loss(z1, z2, negative, 0.7), want.numpy())


def test_infonce_is_the_sum_over_all_codes_that_the_definition_writes():
    z1, z2 = codes(1)
    for k in range(2):
        first, second = rows(z1, k), rows(z2, k)
        z, partner = first + second, second + first
        terms = []
        for i, (own, other) in enumerate(zip(z, partner, strict=True)):
            below = sum(np.exp(own @ z[j] / 0.3) for j in range(len(z)) if j != i)
            terms.append(-np.log(np.exp(own @ other / 0.3) / below))
        close(L.info_nce_loss(z1, z2, 0.3)[k], np.mean(terms))


def test_infonce_is_a_classification_among_the_other_codes():
    z1, z2 = codes(2, batch=())
    z = torch.from_numpy(np.concatenate([unit_rows(z1), unit_rows(z2)]))
    scores = (z @ z.T / 0.5).fill_diagonal_(-torch.inf)
    close(L.info_nce_loss(z1, z2), torch.nn.functional.cross_entropy(scores, torch.arange(12).roll(6)).numpy())


def test_simsiam_and_byol_are_negative_cosines_and_squared_distances():
    p1, p2, t1, t2 = codes(3, count=4)
    cosine = [torch.nn.functional.cosine_similarity(a, b, dim=-1).mean(-1).numpy() for a, b in ((p1, t2), (p2, t1))]
    close(L.simsiam_loss(p1, p2, t1, t2), 1 - (cosine[0] + cosine[1]) / 2)
    distance = [((unit_rows(a) - unit_rows(b)) ** 2).sum(-1).mean(-1) for a, b in ((p1, t2), (p2, t1))]
    close(L.byol_loss(p1, p2, t1, t2), distance[0] + distance[1])


def test_targets_are_held_unless_asked():
    p1, p2, t1, t2 = (z.requires_grad_() for z in codes(3, count=4))
    for stop, reached in ((True, False), (False, True)):
        slopes = torch.autograd.grad(
            L.simsiam_loss(p1, p2, t1, t2, stop_gradient=stop).sum(), (p1, t1), allow_unused=True
        )
        assert slopes[0] is not None
        assert (slopes[1] is not None) == reached
    (slope,) = torch.autograd.grad(L.swav_loss(p1, p2, t1, t2).sum(), t1, allow_unused=True)
    assert slope is None
    (slope,) = torch.autograd.grad(L.dino_loss(p1, p2, t1, t2).sum(), t1, allow_unused=True)
    assert slope is None


def test_dino_is_a_cross_entropy_between_softmaxes():
    s1, s2, t1, t2 = codes(4, count=4)
    center = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)

    def softmax(a):
        a = np.exp(a - a.max(-1, keepdims=True))
        return a / a.sum(-1, keepdims=True)

    want = 0
    for s, t in ((s1, t2), (s2, t1)):
        goal = softmax((t.numpy() - center.numpy()) / 0.05)
        want = want - (goal * np.log(softmax(s.numpy() / 0.2))).sum(-1).mean(-1) / 2
    close(L.dino_loss(s1, s2, t1, t2, center, temperature=0.2, target_temperature=0.05), want)


def test_swav_is_torch_cross_entropy_with_soft_targets():
    s1, s2, t1, t2 = codes(5, count=4, batch=())
    q1, q2 = t1.softmax(-1), t2.softmax(-1)
    ce = torch.nn.functional.cross_entropy
    close(L.swav_loss(s1, s2, q1, q2), ((ce(s1 / 0.1, q2) + ce(s2 / 0.1, q1)) / 2).numpy())


def test_sinkhorn_scales_rows_and_columns_and_balances_in_the_limit():
    (scores,) = codes(6, count=1, samples=8)
    plain = np.exp(scores.numpy() / 0.5)
    for k in range(2):
        Q = plain[k] / plain[k].sum()
        for _ in range(3):
            Q = Q / Q.sum(0, keepdims=True)
            Q = Q / Q.sum(1, keepdims=True)
        close(L.sinkhorn(scores, epsilon=0.5)[k], Q)
    balanced = L.sinkhorn(scores, epsilon=0.5, iterations=200)
    close(balanced.sum(-1), np.ones((2, 8)))
    np.testing.assert_allclose(balanced.sum(-2), np.full((2, 4), 2.0), rtol=1e-9)
    close(L.sinkhorn(scores, epsilon=0.5, iterations=0), (scores / 0.5).softmax(-1).numpy())


def test_sinkhorn_survives_scores_far_beyond_the_range_of_exponentials():
    scores = 200 * torch.eye(4)
    assert torch.isfinite(L.sinkhorn(scores, epsilon=0.05)).all()


@pytest.mark.parametrize("standardise", ["both", "centre", "scale", "none"])
def test_barlow_twins_is_what_the_definition_writes(standardise):
    z1, z2 = codes(7, samples=50)
    for k in range(2):
        a, b = z1[k].numpy(), z2[k].numpy()
        if standardise in ("both", "centre"):
            a, b = a - a.mean(0), b - b.mean(0)
        if standardise in ("both", "scale"):
            a, b = (v / np.sqrt((v**2).mean(0) + 1e-5) for v in (a, b))
        C = np.array([[np.mean(a[:, i] * b[:, j]) for j in range(4)] for i in range(4)])
        want = sum((1 - C[i, i]) ** 2 for i in range(4)) + 0.1 * sum(
            C[i, j] ** 2 for i in range(4) for j in range(4) if i != j
        )
        close(L.barlow_twins_loss(z1, z2, weight=0.1, standardise=standardise)[k], want)


def test_the_correlation_is_that_of_numpy():
    z1, z2 = codes(8, batch=(), samples=40)
    want = np.corrcoef(z1.numpy().T, z2.numpy().T)[:4, 4:]
    np.testing.assert_allclose(L.cross_correlation(z1, z2), want, rtol=1e-4)  # 1e-5 under the root


def test_centring_makes_barlow_twins_blind_to_a_shift():
    z1, z2 = (z.requires_grad_() for z in codes(9, samples=20))
    value = L.barlow_twins_loss(z1, z2)
    close(L.barlow_twins_loss(z1 + 3, z2 - 1).detach(), value.detach().numpy())
    for slope in torch.autograd.grad(value.sum(), (z1, z2)):
        np.testing.assert_allclose(slope.sum(dim=-2), 0, atol=1e-14)


@pytest.mark.parametrize("power", [1, 2])
def test_the_simple_loss_is_invariance_and_the_length_of_the_mean(power):
    z1, z2 = codes(10)
    s = np.concatenate([unit_rows(z1), unit_rows(z2)], axis=-2).mean(axis=-2)
    want = L.invariance_loss(z1, z2).numpy() + 0.7 * np.linalg.norm(s, axis=-1) ** power
    close(L.simple_loss(z1, z2, 0.7, power=power), want / 2)


def test_the_squared_simple_loss_at_weight_one_is_the_contrastive_loss_over_all_pairs():
    """Mean over all pairs of samples, itself included, and of views: (<z, z^-> - <z, z^+> + 1) / 2."""
    z1, z2 = codes(11)
    a, b = unit_rows(z1), unit_rows(z2)
    every = np.concatenate([a, b], axis=-2)
    repel = (every @ np.swapaxes(every, -1, -2)).mean(axis=(-2, -1))
    close(L.simple_loss(z1, z2, 1.0, power=2), (repel - (a * b).sum(-1).mean(-1) + 1) / 2)


def test_the_changes_of_the_simple_loss_are_means_over_codes_of_different_samples():
    z1, z2 = codes(13)
    a, b = unit_rows(z1), unit_rows(z2)
    invariance = 1 - (a * b).sum(-1).mean(-1)
    views = np.stack([a, b], axis=-2)
    products = np.einsum("...ian,...jbn->...ijab", views, views)
    other = products[..., ~np.eye(a.shape[-2], dtype=bool), :, :]
    first, second = other.mean(axis=(-3, -2, -1)), (other**2).mean(axis=(-3, -2, -1))
    close(L.simple_loss(z1, z2, 0.7, power=2, unbiased=True), (invariance + 0.7 * first) / 2)
    close(L.simple_loss(z1, z2, 0.7, power=2, unbiased=True, second=3), (invariance + 0.7 * first + 3 * second) / 2)
    with pytest.raises(ValueError, match="two samples"):
        L.simple_loss(z1[..., :1, :], z2[..., :1, :], power=2, unbiased=True)
    with pytest.raises(ValueError, match="power 2"):
        L.simple_loss(z1, z2, power=1, unbiased=True)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 10), st.integers(0, 99))
def test_losses_of_cosines_ignore_length_and_a_rotation_of_all_codes(size, seed):
    z1, z2, other = codes(seed, count=3)
    g = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=torch.float64))
    for loss in (
        L.invariance_loss,
        L.info_nce_loss,
        L.simple_loss,
        lambda a, b: L.triplet_loss(a, b, other),
        lambda a, b: L.byol_loss(a, b, b, a),
    ):
        close(loss(size * z1, z2 / size), loss(z1, z2).numpy())
    for loss in (L.invariance_loss, L.info_nce_loss, L.simple_loss):
        close(loss(z1 @ Q, z2 @ Q), loss(z1, z2).numpy())


def test_gradients_agree_with_finite_differences():
    z1, z2 = (z.requires_grad_() for z in codes(12, batch=(1,), samples=5))
    for loss in (
        L.invariance_loss,
        L.info_nce_loss,
        lambda a, b: L.simple_loss(a, b, power=1),
        lambda a, b: L.simple_loss(a, b, power=2),
        lambda a, b: L.simple_loss(a, b, power=2, unbiased=True, second=2.0),
        L.barlow_twins_loss,
        lambda a, b: L.triplet_loss(a, b, b.roll(1, -2), 10.0),
    ):
        assert torch.autograd.gradcheck(loss, (z1, z2))


def test_a_code_of_length_zero_gives_numbers():
    z = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(L.simple_loss(z, z, power=1).sum(), z)
    assert torch.isfinite(slope).all()


def test_bad_input_is_refused():
    z1, z2 = codes()
    for call, words in (
        (lambda: L.invariance_loss(z1, z2[..., :3]), "one shape"),
        (lambda: L.info_nce_loss(z1, z2, 0.0), "temperature"),
        (lambda: L.barlow_twins_loss(z1, z2, standardise="all"), "standardise"),
        (lambda: L.barlow_twins_loss(z1, z2, weight=-1), "weight"),
        (lambda: L.simple_loss(z1, z2, power=3), "power"),
        (lambda: L.sinkhorn(z1, epsilon=-1), "epsilon"),
        (lambda: L.dino_loss(z1, z1, z2, z2, target_temperature=0), "target_temperature"),
        (lambda: L.swav_loss(z1[0, 0], z1[0, 0], z2[0, 0], z2[0, 0]), "one shape"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
