"""The explorer of the table draws what the record holds."""

import numpy as np
import pytest

from ssltheory.center_record import read_table
from ssltheory.explorers import Line
from ssltheory.records import read_record
from ssltheory.table_scenes import QUANTITIES, ROWS, table_scene


@pytest.fixture(scope="module")
def table():
    return read_table(read_record("center_table").data)


def test_every_row_of_the_explorer_is_recorded_with_and_without_batch_norm(table):
    for name in ROWS:
        for norm in (True, False):
            assert table.row(name, "digits", norm).end["center"].shape == (6, 5)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_curves_are_means_over_seeds(table, quantity):
    scene = table_scene(table, "moons", "DINO, no centring", quantity)
    over, against = ([item for item in panel.items if isinstance(item, Line)] for panel in scene.panels)
    for k, norm in enumerate((True, False)):
        row, most = table.row("DINO, no centring", "moons", norm), QUANTITIES[quantity][1]
        np.testing.assert_allclose(over[k].y, row.course[quantity].mean(axis=1) / most, atol=6e-4)
        np.testing.assert_allclose(against[k].y, row.end[quantity].mean(axis=1) / most, atol=6e-4)
        np.testing.assert_allclose(over[k].y[-1], against[k].y[row.best], atol=2e-3)
    band = scene.panels[0].items[0]
    assert (band.low <= over[0].y + 1e-3).all()
    assert (over[0].y <= band.high + 1e-3).all()


def test_the_readout_says_both(table):
    said = table_scene(table, "blobs", "SimSiam", "center").readout
    assert "with batch norm" in said.lower()
    assert "without" in said


def test_what_was_not_recorded_is_refused(table):
    with pytest.raises(ValueError, match="quantity"):
        table_scene(table, "blobs", "SimSiam", "speed")
    with pytest.raises(ValueError, match="no row"):
        table_scene(table, "blobs", "MoCo", "center")
