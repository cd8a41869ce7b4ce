"""Laws of the summaries of a sweep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssltheory.isoloss_record import Course, at_own_rate, early, plateau_width, read_sweep, steps_to

RATES = np.array([0.01, 0.1, 1.0, 10.0])
accuracies = arrays(float, (4, 3), elements=st.floats(0, 1))


def course(accuracy, steps=(0, 10, 100, 300)):
    accuracy = np.asarray(accuracy, float)
    return Course({}, np.array(steps), (1, 5), accuracy, accuracy[-1:], accuracy, np.ones(3) / 3, 0)


@given(accuracies, st.floats(0, 1), st.floats(1e-3, 1e3))
def test_the_width_lies_between_none_and_all_falls_with_the_level_and_ignores_the_unit_of_the_rate(values, level, unit):
    width = plateau_width(RATES, values, level)
    assert (width >= 0).all()
    assert (width <= 3 + 1e-12).all()
    assert (plateau_width(RATES, values, level + 0.1) <= width + 1e-12).all()
    np.testing.assert_allclose(plateau_width(RATES * unit, values, level), width, atol=1e-9)


def test_the_width_of_a_tent_is_known():
    tent = np.array([0.0, 1.0, 0.0, 0.0])[:, None]
    np.testing.assert_allclose(plateau_width(RATES, tent, 0.75), 0.5)
    np.testing.assert_allclose(plateau_width(RATES, np.full((4, 1), 0.7), 0.7), 3.0)


@given(accuracies)
def test_at_its_own_rate_a_method_that_is_best_everywhere_is_best(values):
    better = values + 0.5
    assert (at_own_rate(np.concatenate([values, better])) >= 0.5).all()


def test_no_seed_chooses_its_own_rate():
    values = np.array([[1.0, 0.0, 0.0], [0.2, 0.4, 0.3]])
    np.testing.assert_allclose(at_own_rate(values), [0.2, 0.0, 0.0])
    with pytest.raises(ValueError, match="two seeds"):
        at_own_rate(np.zeros((3, 1)))


def test_early_accuracy_of_a_straight_line_is_its_middle():
    line = np.array([0, 10, 100, 300])[:, None] / 300 * np.array([1.0, 0.5])
    np.testing.assert_allclose(early(course(line), 100), [1 / 6, 1 / 12])
    with pytest.raises(ValueError, match="until"):
        early(course(line), 50)


def test_steps_to_a_level_are_interpolated_and_infinite_where_it_is_not_reached():
    rise = np.array([[0.2, 0.9], [0.4, 0.9], [0.8, 0.9], [0.6, 0.9]])
    np.testing.assert_allclose(steps_to(course(rise), 0.6), [55.0, 0.0])
    assert steps_to(course(rise), 0.85)[0] == np.inf


def test_a_sweep_reads_back_and_what_diverged_is_a_guess():
    entry = {
        "section": "no decay",
        "config": {"loss": "iso", "encoder": [4, 3]},
        "steps": "0 10",
        "labels": [1, 5],
        "accuracy": ["0.5 0.6", "0.7 nan"],
        "other_accuracy": ["0.3 nan"],
        "ratio": ["2 2", "1.5 nan"],
        "spectrum": "0.5 0.3 0.2",
        "diverged": 1,
    }
    sweep = read_sweep({"runs": [entry, {**entry, "section": "dead", "spectrum": None}], "pixels": ["0.5", "0.8"]})
    found = sweep.course("no decay", "iso", "sg", 0.1)
    np.testing.assert_array_equal(found.accuracy, [[0.5, 0.6], [0.7, 0.1]])
    assert found.ratio[-1, 1] == 0
    np.testing.assert_array_equal(sweep.course("dead", "iso", "sg", 0.1).spectrum, np.zeros(3))
    np.testing.assert_array_equal(sweep.rates("no decay"), [0.1])
    np.testing.assert_array_equal(sweep.pixels, [[0.5], [0.8]])
    with pytest.raises(ValueError, match="learning rates are"):
        sweep.course("no decay", "iso", "sg", 0.2)
    pair = read_sweep({"classes": 2, "runs": [entry], "pixels": ["0.5", "0.8"]})
    assert pair.course("no decay", "iso", "sg", 0.1).accuracy[-1, 1] == 0.5
    with pytest.raises(ValueError, match="keys"):
        read_sweep({"runs": []})
    with pytest.raises(ValueError, match="two runs"):
        read_sweep({"runs": [entry, entry], "pixels": ["0.5"]})


@pytest.mark.parametrize("rates", [[1.0, 0.1], [0.0, 1.0]])
def test_bad_rates_are_refused(rates):
    with pytest.raises(ValueError, match="rates"):
        plateau_width(np.array(rates), np.zeros((2, 2)), 0.5)
