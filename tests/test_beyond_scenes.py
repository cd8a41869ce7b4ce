"""The clock explorer shows what the law says: sizes decay, and on the clock the decay is invisible."""

import numpy as np
import pytest

from ssltheory.beyond_scenes import clock_scene, mirrored_pairs


def test_pairs_come_with_their_mirror_images():
    x, y = mirrored_pairs(np.random.default_rng(0), 2, count=7)
    assert x.shape == y.shape == (2, 14, 3)
    np.testing.assert_array_equal(x[:, 7:], -x[:, :7])


@pytest.mark.parametrize("dynamics", ["sg", "gradient"])
def test_on_the_clock_the_run_with_decay_is_the_run_without(dynamics):
    scene = clock_scene(0.02, dynamics)
    law, size = scene.panels[0].items
    early = law.x < 15
    np.testing.assert_allclose(size.y[early], law.y[early], rtol=0.05)
    reference, run, _ = scene.panels[1].items
    assert np.abs(np.interp(run.x, reference.x, reference.y) - run.y).max() < 5e-3


def test_without_decay_both_runs_are_one():
    reference, run, _ = clock_scene(0.0, "ema").panels[1].items
    np.testing.assert_array_equal(reference.y, run.y)
