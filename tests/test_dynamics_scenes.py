"""The explorer of the chapter on linear dynamics draws what the theory says."""

import numpy as np
import pytest

from ssltheory.dynamics_scenes import DURATION, KAPPA, cosine_rate, overlay_scene
from ssltheory.explorers import Line, Points
from ssltheory.moments import gaussian_moments

X, Y = gaussian_moments(np.diag([0.5, 0.3]), 0.1 * np.eye(2)).sample(np.random.default_rng(0), 400)
START = {"x": X, "y": Y, "A": np.eye(3, 2), "B": 0.8 * np.eye(3), "lam": 0.02}


def test_small_steps_lie_on_the_flow_and_larger_ones_further_off():
    def gap(step):
        return float(overlay_scene(step, "ema", **START).readout.split("within ")[1].split(" ")[0])

    assert gap(0.1) < 5e-3
    assert gap(0.1) < gap(2.0)


@pytest.mark.parametrize("algorithm", ["sg", "ema", "cosine"])
def test_the_imbalance_of_small_steps_is_the_law_and_that_of_minibatches_is_not(algorithm):
    law, dots = overlay_scene(0.05, algorithm, **START).panels[1].items
    assert isinstance(law, Line)
    assert isinstance(dots, Points)
    start = 0.64 * np.diag([1, 1, 1]) - np.diag([1, 1, 0])
    assert law.y[0] == pytest.approx(np.linalg.norm(start))
    assert np.allclose(dots.y, np.maximum(law.y[0] * np.exp(-2 * 0.02 * dots.x), 1e-3), rtol=0.1)
    noisy = overlay_scene(2.0, "minibatch", **START).panels[1].items[1]
    assert noisy.y[-1] > 3 * law.y[-1]


def test_the_cosine_schedule_freezes_the_teacher_at_the_end():
    assert cosine_rate(0.0) == KAPPA
    assert cosine_rate(DURATION) == pytest.approx(0.0, abs=1e-15)
    assert cosine_rate(2 * DURATION) == pytest.approx(0.0, abs=1e-15)


def test_a_step_too_large_is_said_to_diverge_and_bad_ones_are_refused():
    assert "diverged" in overlay_scene(9.0, "sg", **(START | {"A": 3 * np.eye(3, 2)})).readout
    for change, message in (((0.0, "sg"), "step must be greater"), ((11.0, "ema"), "step must be at most 10")):
        with pytest.raises(ValueError, match=message):
            overlay_scene(*change, **START)
    with pytest.raises(ValueError, match="algorithm must be one of"):
        overlay_scene(1.0, "adam", **START)
