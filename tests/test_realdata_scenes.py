"""The explorer of real data draws what the record holds."""

import numpy as np
import pytest

from ssltheory.isoloss_record import Course, Sweep
from ssltheory.realdata_scenes import LOSSES, band, sweep_scene


@pytest.fixture
def sweep():
    rng = np.random.default_rng(0)
    runs = {}
    for loss in LOSSES:
        accuracy, ratio = rng.random((3, 4)), 20 * rng.random((3, 4))
        share = np.array([0.7, 0.3, 0.0])
        runs["decay", loss, "sg", 0.1, 0.01] = Course(
            {}, np.array([0, 100, 300]), (1, 5), accuracy, accuracy[-1:], ratio, share, 0
        )
    return Sweep(runs, np.zeros((2, 4)))


def test_curves_are_means_over_seeds_inside_their_bands(sweep):
    scene = sweep_scene(sweep, 0.1, "decay", "sg")
    for panel, measure in zip(scene.panels, ("accuracy", "ratio"), strict=True):
        for k, loss in enumerate(LOSSES):
            shade, line = panel.items[2 * k : 2 * k + 2]
            values = getattr(sweep.course("decay", loss, "sg", 0.1), measure)
            np.testing.assert_allclose(line.y, values.mean(axis=1))
            assert (shade.low <= line.y).all()
            assert (line.y <= shade.high).all()
    assert "After 300 steps" in scene.readout


def test_the_band_is_the_t_interval():
    low, high = band(np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose([low[0], high[0]], [2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5], rtol=1e-6)


def test_what_was_not_recorded_is_refused(sweep):
    with pytest.raises(ValueError, match="no run"):
        sweep_scene(sweep, 0.2, "decay", "sg")
