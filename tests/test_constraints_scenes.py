"""The scenes of the chapter on constraints say what the closed forms say."""

import numpy as np
import pytest

from ssltheory.constrained_minima import constrained_minimum
from ssltheory.constraints_scenes import PAIRS, SETS, SPECTRA, minima_scene, region_scene


@pytest.mark.parametrize("allowed", SETS)
@pytest.mark.parametrize("spectrum", PAIRS)
def test_the_marked_points_have_the_least_loss(allowed, spectrum):
    kind, _, h = allowed.partition(" ")
    least = constrained_minimum(np.array(PAIRS[spectrum]), 2, kind, int(h) if h else None).loss
    marks = region_scene(allowed, spectrum).panels[0].items[-1]
    loss = PAIRS[spectrum][0] * marks.x**2 + PAIRS[spectrum][1] * marks.y**2
    assert np.allclose(loss, least, atol=1e-9)
    assert f"least loss {least + 0.0:.2f}".replace("-", "−") in region_scene(allowed, spectrum).readout


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_curves_meet_where_the_readout_says_nothing_is_forced(spectrum):
    for h in range(4, 9):
        for n in range(1, 5):
            scene = minima_scene(h, n, spectrum)
            gamma = np.array(SPECTRA[spectrum])
            frames, free = (constrained_minimum(gamma, n, kind, h).loss for kind in ("frames", "operator"))
            assert ("must keep" in scene.readout) == (frames > free)
    with pytest.raises(ValueError, match="spectrum"):
        minima_scene(4, 1, "flat")
