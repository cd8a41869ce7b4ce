"""What the scalar chapter's explorers draw is what the theory says."""

import numpy as np
import pytest

from ssltheory.explorers import Circle, Line, Points
from ssltheory.scalar import radii
from ssltheory.scalar_scenes import map_scene, phase_scene, step_scene


def paths(scene):
    return [item for item in scene.panels[0].items if isinstance(item, Line)]


@pytest.mark.parametrize("lam", [0.02, 0.1, 0.18])
def test_paths_end_on_equilibria_and_gradient_paths_at_the_origin(lam):
    known = np.array([0.0, *(r for r in radii(1.0, 0.8, lam) if np.isfinite(r))])
    for dynamics in ("sg", "ema"):
        for path in paths(phase_scene(lam, dynamics)):
            assert np.abs(abs(path.x[-1]) - known).min() < 0.02
    for path in paths(phase_scene(lam, "gradient")):
        assert abs(path.x[-1]) < 0.02


def test_the_step_scene_agrees_with_the_bound():
    for algorithm in ("sg", "ema", "sg1"):
        assert "comes to rest" in step_scene(0.95, algorithm).readout
        assert "comes to rest" not in step_scene(1.05, algorithm).readout
    circles = [item for item in step_scene(0.95, "sg").panels[0].items if isinstance(item, Circle)]
    np.testing.assert_allclose([c.radius[0] for c in circles], radii(1.0, 0.8, 0.05)[::-1])
    rest = next(i for i in step_scene(0.95, "sg").panels[0].items if isinstance(i, Points) and "encoder" in i.label)
    np.testing.assert_allclose(np.hypot(rest.x, rest.y), radii(1.0, 0.8, 0.05)[1], rtol=1e-6)


def test_the_map_scene_draws_the_recorded_shares():
    entries = [
        {"n": 2, "start": "normal", "scale": s, "dynamics": d, "trials": 100, "counts": {"outer": c}} | extra
        for s, c in ((0.5, 80), (1.0, 70))
        for d, extra in (("sg", {}), *(("ema", {"kappa": k}) for k in (0.001, 0.01, 0.02, 0.1, 1.0)))
    ]
    scene = map_scene(entries, 2, "normal")
    drawn = next(i for i in scene.panels[0].items if isinstance(i, Line) and i.label == "SG")
    np.testing.assert_allclose(drawn.y, [0.8, 0.7])
    assert "between 70.0% and 80.0%" in scene.readout
    with pytest.raises(ValueError, match="no flow entry"):
        map_scene(entries, 3, "normal")
    with pytest.raises(ValueError, match="ratio must be greater than 0"):
        step_scene(0.0, "sg")
    with pytest.raises(ValueError, match="algorithm must be one of"):
        step_scene(1.0, "byol")
