"""The explorer of two eigenvalues draws what the eigenvalue equations say, and its words agree with its numbers."""

import itertools

import numpy as np
import pytest

from ssltheory.eigenmodes import eigenvalue_flow, toy_data, velocity_of_modes
from ssltheory.explorers import Line
from ssltheory.isoloss_scenes import (
    PAIRS,
    TIMES,
    cartoon_scene,
    eight_settings,
    fence_ratio,
    matrix_scene,
    pair_flow,
    random_encoder,
    random_spectrum,
)


@pytest.mark.parametrize(("gradient", "p", "noise"), [("sg", 0.5, 0.0), ("iso", 1.0, 0.3), ("none", 0.5, 0.3)])
def test_pair_flow_is_the_flow_of_the_modes(gradient, p, noise):
    option = {"loss": "cosine", "gradient": gradient, "p": p, "data": toy_data(noise), "rtol": 1e-9}
    full = eigenvalue_flow(np.array([0.9, 0.5]), TIMES, **option).mu
    np.testing.assert_allclose(pair_flow("cosine", gradient, p, noise, (0.9, 0.5), TIMES), full, atol=1e-4)


def test_pair_flow_blows_up_and_collapses_on_the_wrong_side():
    mu = pair_flow("euclidean", "wrong", 0.5, 0.3, (1.6, 0.6), TIMES)
    assert np.isinf(mu[-1, 0])
    assert mu[-1, 1] < 0.6
    with pytest.raises(ValueError, match="mu0 must fall"):
        pair_flow("euclidean", "sg", 0.5, 0.3, (0.6, 1.6), TIMES)


@pytest.mark.parametrize(
    "setting", list(itertools.product(["sg", "none", "wrong", "iso"], [0.5, 1.0, 0.0], [0.0, 0.3]))
)
def test_words_agree_with_numbers(setting):
    gradient, p, noise = setting
    for start, pair in PAIRS.items():
        scene = cartoon_scene("cosine", gradient, p, noise, start)
        mu = pair_flow("cosine", gradient, p, noise, pair, TIMES)[-1]
        if "one dimension is left" in scene.readout:
            assert mu[1] < 1e-6 * mu[0]
        elif "equalise" in scene.readout:
            assert mu[1] > 0.98 * mu[0]
        else:
            assert "nothing moves" in scene.readout
            np.testing.assert_allclose(mu, pair)
        scene = cartoon_scene("euclidean", gradient, p, noise, start)
        mu = pair_flow("euclidean", gradient, p, noise, pair, TIMES)[-1]
        if "runs to 1" in scene.readout:
            np.testing.assert_allclose(mu, 1, atol=1e-3)
        elif "every mode collapses" in scene.readout or "fade" in scene.readout:
            assert mu.max() < 1e-6
        elif "expected gradient is zero" in scene.readout:
            np.testing.assert_allclose(mu, pair)


def test_ellipses_have_the_eigenvalues_as_squared_half_axes():
    scene = cartoon_scene("cosine", "sg", 1.0, 0.0, "near")
    first, *rest = (item for item in scene.panels[0].items if isinstance(item, Line))
    np.testing.assert_allclose([first.x.max() ** 2, first.y.max() ** 2], PAIRS["near"])
    for line in rest:
        np.testing.assert_allclose(line.x.max() ** 2 + line.y.max() ** 2, sum(PAIRS["near"]), rtol=1e-6)


def test_the_fence_separates():
    for p, noise in ((0.5, 0.2), (1.0, 0.5)):
        ratio = fence_ratio(p, noise)
        below, above = (
            velocity_of_modes(np.array([ratio * f, 1.0]), loss="cosine", gradient="none", p=p, data=toy_data(noise))
            for f in (0.95, 1.05)
        )
        assert below[0] < 0 < above[0]
    assert fence_ratio(1.0, 0.0) == 1.0
    with pytest.raises(ValueError, match="p must be greater than 0"):
        fence_ratio(0.0, 0.3)


def test_eight_settings_keep_what_they_keep():
    times = np.array([0.5, 5.0])
    settings = eight_settings((3,), times, n=4, m=6)
    assert [(s.loss, s.name) for s in settings][:3] == [
        ("euclidean", "loss with stop-gradient"),
        ("cosine", "loss with stop-gradient"),
        ("euclidean", "no stop-gradient"),
    ]
    start = random_spectrum(3, 4, 6)
    np.testing.assert_allclose(start, np.linalg.svd(random_encoder(3, 4, 6))[1] ** 2)
    for s in settings:
        assert s.mu.shape == (1, 2, 4)
        if s.loss == "cosine":
            power = 1.5 if s.name == "IsoLoss" else 1.0
            np.testing.assert_allclose((s.mu[0] ** power).sum(axis=1), (start**power).sum(), rtol=1e-5)
        elif s.name == "no predictor":
            np.testing.assert_allclose(s.mu[0], [start, start])


@pytest.mark.parametrize(("tau", "lam"), [(0.1, 0.06), (0.5, 0.02), (0.8, 0.12)])
@pytest.mark.parametrize("size", [0.1, 1.0])
def test_matrix_scene_ends_where_the_theorems_say(tau, lam, size):
    def ends(gradient):
        scene = matrix_scene(gradient, tau, lam, size)
        return scene.readout, sorted(item.y[-1] for item in scene.panels[1].items if isinstance(item, Line))

    words, mu = ends("iso")
    np.testing.assert_allclose(mu, [max(tau - lam, 0) ** 2, (1 - lam) ** 2], atol=1e-4)
    assert ("both directions are kept" in words) == (tau > lam)
    words, mu = ends("sg")
    lives = [0.0] + [((t + np.sqrt(t * t - 4 * lam)) / 2) ** 2 for t in (1.0, tau) if t * t > 4 * lam]
    assert all(np.abs(np.subtract(lives, value)).min() < 1e-3 for value in mu)
    assert ("both directions are kept" in words) == (min(mu) > 0.01)
