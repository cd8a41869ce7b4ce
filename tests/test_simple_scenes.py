"""The scene of the simplest objective says which state is best, and draws what was recorded."""

import numpy as np
import pytest

from ssltheory.center_penalty import BATCHES, WEIGHTS, read_sweep
from ssltheory.explorers import Points
from ssltheory.simple_scenes import penalty_scene


@pytest.fixture
def sweep():
    runs = [
        {
            "section": "batch",
            "data": "blobs",
            "setting": {"batch": b, "weight": w, "unbiased": False},
            "within": ["0.10 0.20"],
            "linear": ["0.5 0.5"],
        }
        for b in BATCHES
        for w in WEIGHTS
    ]
    return read_sweep({"seeds": [0, 1], "runs": runs})


@pytest.mark.parametrize(
    ("weight", "batch", "power", "state"),
    [
        (0.05, 0, 2, "collapsed"),
        (0.15, 0, 2, "informative"),
        (0.15, 0, 1, "informative"),
        (1000, 0, 2, "informative"),
        (100, 64, 2, "informative"),
        (300, 64, 2, "noise"),
        (300, 64, 1, "noise"),
        (10, 64, 1, "informative"),
    ],
)
def test_it_names_the_best_state(sweep, weight, batch, power, state):
    assert penalty_scene(sweep, weight, 0.9, batch, power).readout.startswith(f"Best at λ = {weight:g}: {state}.")


def test_it_draws_what_was_recorded(sweep):
    items = penalty_scene(sweep, 1.0, 0.9, 64, 2).panels[1].items
    drawn = [i for i in items if isinstance(i, Points)]
    np.testing.assert_allclose([p.y[0] for p in drawn], [0.15])
    assert not [i for i in penalty_scene(sweep, 1.0, 0.9, 0, 2).panels[1].items if isinstance(i, Points)]


def test_it_finds_the_edges(sweep):
    assert "near λ = 0.1." in penalty_scene(sweep, 1.0, 0.9, 0, 2).readout
    assert "near λ = 0.1 and 130." in penalty_scene(sweep, 1.0, 0.9, 64, 2).readout
