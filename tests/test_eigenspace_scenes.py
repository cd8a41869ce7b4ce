import numpy as np
import pytest

from ssltheory.eigenspace_scenes import DATA, mode_scene
from ssltheory.explorers import Line, Points
from ssltheory.scalar import radii


def marked(scene, panel, color):
    return [item for item in scene.panels[panel].items if isinstance(item, Points) and item.color == color]


@pytest.mark.parametrize("data", list(DATA))
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_the_predictor_rests_at_the_same_radii_whatever_the_rule(p, data):
    rho, tau, _ = DATA[data]
    r1, r2 = radii(rho, tau, 0.06)
    for training in ("sg", "learned"):
        scene = mode_scene(0.06, p, training, data)
        assert [float(item.x[0]) for item in marked(scene, 0, "outer")] == pytest.approx([r2])
        assert [float(item.x[0]) for item in marked(scene, 0, "inner")] == pytest.approx([r1])
        (curve,) = [item for item in scene.panels[0].items if isinstance(item, Line) and item.label]
        assert np.allclose(curve.y, tau * curve.x - rho * curve.x**2 - 0.06)


def test_the_isoloss_has_no_fence_and_differentiating_through_needs_close_views():
    assert not marked(mode_scene(0.06, 0.5, "iso", "plain"), 0, "inner")
    assert marked(mode_scene(0.06, 0.5, "iso", "plain"), 0, "outer")[0].x[0] == pytest.approx(0.74)
    assert not marked(mode_scene(0.01, 0.5, "through", "plain"), 0, "outer")
    assert marked(mode_scene(0.01, 0.5, "through", "close"), 0, "outer")


def test_learned_paths_end_at_rest_points():
    scene = mode_scene(0.06, 0.5, "learned", "plain")
    ends = [item for item in scene.panels[1].items if isinstance(item, Line) and item.color == "sg"]
    r2 = radii(1.0, 0.8, 0.06)[1]
    for path in ends:
        end = np.array([path.x[-1], path.y[-1]])
        assert min(np.linalg.norm(end), np.linalg.norm(end - r2)) < 1e-3


def test_above_the_critical_decay_only_collapse_is_left():
    assert "no rest but collapse" in mode_scene(0.2, 0.5, "sg", "plain").readout
    with pytest.raises(ValueError, match="training must be one of"):
        mode_scene(0.1, 0.5, "none", "plain")
