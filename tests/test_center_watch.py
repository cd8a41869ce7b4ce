"""Laws of the rank agreements: limits, signs, and one number's agreement as a special case."""

import numpy as np
import pytest

from ssltheory.center_record import Row, Table
from ssltheory.center_watch import agreement, combined_agreement, row_numbers


def table():
    rng = np.random.default_rng(0)
    rows = {}
    for data in ("a", "b", "c"):
        for k in range(8):
            center = np.clip(k / 10 + 0.02 * rng.random((2, 3)), 0, 0.9)
            end = {
                "center": center,
                "within": np.full((2, 3), 0.05),
                "rank": 1 + rng.random((2, 3)),
                "knn": 1 - center,
                "linear": 1 - center**2,
            }
            rows[f"m{k}", data, True] = Row(f"m{k}", data, True, end, {}, 0, np.zeros((2, 3), dtype=bool))
    return Table(np.array([0.1, 0.2]), (0, 1, 2), np.array([0]), rows, {})


@pytest.mark.parametrize("tuned", [True, False])
def test_a_number_that_decides_the_accuracy_agrees_with_it(tuned):
    t = table()
    np.testing.assert_allclose(agreement(t, "a", "center", tuned=tuned), -1)
    np.testing.assert_allclose(agreement(t, "a", "between", tuned=tuned), 1)
    np.testing.assert_allclose(agreement(t, "a", "separation", tuned=tuned), 1)
    np.testing.assert_allclose(combined_agreement(t, "a", ["center"], ["b", "c"], tuned=tuned), 1)


def test_a_fitted_pair_is_judged_on_data_that_did_not_fit_it():
    found = combined_agreement(table(), "a", ["center", "rank"], ["b"])
    assert found.shape == (3,)
    assert (found > 0.8).all()


def test_separation_of_a_row_without_spread_is_zero():
    row = table().rows["m0", "a", True]
    row.end["center"][:], row.end["within"][:] = 1.0, 0.0
    np.testing.assert_array_equal(row_numbers(row)["separation"], 0)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="rows"):
        agreement(table(), "nothing", "center")
    with pytest.raises(ValueError, match="number"):
        agreement(table(), "a", "length")
