"""What the explorers of the chapter on partial collapse draw is what the theory says."""

import numpy as np
import pytest

from ssltheory.explorers import Circle, Line, Points
from ssltheory.partial_scenes import rank_scene, rotation_scene
from ssltheory.rank_deficient import rotating_state


def paths(scene):
    return [item for item in scene.panels[0].items if isinstance(item, Line)]


def test_paths_end_on_the_circle_or_at_the_origin_and_the_readout_says_so():
    scene = rotation_scene(30, 0.0)
    r = rotating_state(1.0, np.deg2rad(30), 0.05, 2).r
    ends = [np.hypot(path.x[-1], path.y[-1]) for path in paths(scene)]
    assert all(min(end, abs(end - r)) < 2e-2 for end in ends)
    circle = next(i for i in scene.panels[0].items if isinstance(i, Circle))
    np.testing.assert_allclose(circle.radius, r)
    assert "turn for ever" in scene.readout
    assert "come to rest" in rotation_scene(0, 0.3).readout
    assert "every path drawn ends at the origin" in rotation_scene(80, 0.0).readout


def test_equilibria_stop_the_motion_where_the_stretch_beats_the_rotation():
    still = rotation_scene(10, 0.6)
    assert "come to rest" in still.readout
    assert any(isinstance(i, Points) and i.marker == "diamond" for i in still.panels[0].items)
    with pytest.raises(ValueError, match="stretch must be less than 1"):
        rotation_scene(10, 1.0)


def test_the_rank_scene_draws_the_recorded_shares():
    base = {"m": 2, "family": "exchangeable", "lam": 0.01, "scale": 1.0, "dynamics": "sg", "starts": 100}
    entries = [
        base | {"n": n, "counts": {"rank 0": 1, "rank 1": c, "rank 2": 99 - c}} for n, c in ((3, 30), (2, 50), (6, 5))
    ]
    scene = rank_scene(entries, 0.01, 1.0, "sg")
    drawn = next(i for i in scene.panels[0].items if isinstance(i, Line) and "rank 1" in i.label)
    np.testing.assert_allclose(drawn.y, [0.5, 0.3, 0.05])
    assert "31.0% of starts lose a direction at n = 3, 6.0% at n = 6" in scene.readout
    with pytest.raises(ValueError, match="no cell"):
        rank_scene(entries, 0.02, 1.0, "sg")
