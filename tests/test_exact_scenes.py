"""What the explorer of exact dynamics draws is what the network does, and ends where the theory says."""

import numpy as np
import pytest

from ssltheory.exact_scenes import RULES, frame_scene, scene_gamma
from ssltheory.qr_game import rest_angle


def parts(scene):
    left, plane = scene.panels
    return {item.label: item for item in left.items if item.label}, plane.items


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("width", [2, 40])
def test_the_exact_step_runs_through_the_dots_of_the_network(rule, width):
    loss, plane = parts(frame_scene("moons", rule, width, 0.1, 1))
    dots = loss[f"network of width {width}"]
    assert np.allclose(loss["exact step"].y, dots.y, atol=1e-9)
    assert np.allclose(plane[3].x, plane[4].x, atol=1e-9)


@pytest.mark.parametrize("rule", ["plain", "grassmann", "canonical"])
@pytest.mark.parametrize("data", ["moons", "last"])
def test_three_rules_reach_the_least_loss(rule, data):
    loss, _ = parts(frame_scene(data, rule, 40, 0.02, 0))
    least = np.linalg.eigvalsh(scene_gamma(data))[0]
    assert loss["least loss"].y[0] == pytest.approx(least)
    assert loss["network of width 40"].y[-1] == pytest.approx(least, abs=0.02)


def test_gram_and_schmidt_reach_something_else():
    assert parts(frame_scene("last", "qr", 40, 0.02, 0))[0]["flow of this rule"].y[-1] == pytest.approx(-0.8, abs=0.01)
    plane = parts(frame_scene("moons", "qr", 2, 0.02, 0))[1]
    theta = rest_angle(scene_gamma("moons"))
    end = np.array([plane[1].x[-1], plane[1].y[-1]])
    assert abs(end @ [np.cos(theta), np.sin(theta)]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_on_the_circle_the_flow_stays_although_the_circle_repels(rule):
    path = parts(frame_scene("positive", rule, 2, 0.25, 0))[1][1]
    assert np.allclose(np.hypot(path.x, path.y), 1, atol=1e-9)


def test_the_readout_says_what_euler_does():
    assert "do not settle" in frame_scene("last", "plain", 40, 0.35, 0).readout
    assert "every bound" in frame_scene("positive", "plain", 2, 0.1, 0).readout


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("rings", "plain", 2, 0.1, 0), "data must be one of"),
        (("moons", "svd", 2, 0.1, 0), "rule must be one of"),
        (("moons", "plain", 1, 0.1, 0), "width"),
        (("moons", "plain", 2, 0.0, 0), "step"),
    ],
)
def test_bad_input_is_named(values, words):
    with pytest.raises(ValueError, match=words):
        frame_scene(*values)
