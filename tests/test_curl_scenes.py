"""What the explorer of loops draws is what the formula says."""

import numpy as np
import pytest

from ssltheory.curl_scenes import TAU, loop_scene


def heights(scene):
    return scene.panels[1].items[1].y


@pytest.mark.parametrize(("r", "s", "radius"), [(0.3, 0.1, 0.1), (0.6, 0.4, 0.3), (0.9, 0.7, 0.2)])
def test_each_lap_of_stop_gradient_ends_lower_by_tau_r_times_the_area(r, s, radius):
    start, once, twice = heights(loop_scene(r, s, radius, "sg"))
    assert start == pytest.approx(0, abs=1e-15)
    assert once == pytest.approx(-TAU * r * np.pi * radius**2, rel=1e-12)
    assert twice == pytest.approx(2 * once, rel=1e-12)


def test_gradients_end_each_lap_where_they_began():
    for training in ("frozen", "gradient"):
        scene = loop_scene(0.6, 0.4, 0.3, training)
        assert np.abs(heights(scene)).max() < 1e-13
        assert np.ptp(scene.panels[1].items[0].y) > 1e-3
        assert "where it began" in scene.readout


def test_unknown_training_is_refused():
    with pytest.raises(ValueError, match="training must be one of"):
        loop_scene(0.6, 0.4, 0.3, "ema")
