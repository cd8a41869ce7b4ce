"""The record of long training: what is measured is what the training did."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from ssltheory.long_training import BASE, course, courses, entry, record_times
from ssltheory.siamese import digit_pairs, train


@pytest.fixture(scope="module")
def digits():
    return digit_pairs(np.random.default_rng(0), 600)


def test_times_are_distinct_start_at_zero_and_leave_room_for_one_step():
    times = record_times(200)
    assert times[0] == 0
    assert times[-1] == 199
    assert (np.diff(times) > 0).all()


def test_the_increments_are_those_of_the_next_step_and_the_teacher_moves_by_its_own_law(digits):
    config = replace(BASE, teacher="ema", alpha=0.75)
    found = course(config, digits, 12, seeds=2)
    run = train(config, digits.x, digits.y, steps=12, seeds=2, record_at=np.arange(13))
    assert (found.teacher[0] > 0).all()
    np.testing.assert_allclose(found.teacher[0], 0.25 * found.encoder[0], rtol=1e-9)  # it starts at the student
    for k, step in enumerate(found.steps):
        gap = run.encoders[step + 1][0][0] - run.encoders[step][0][0]
        assert (gap.square().sum(dim=(1, 2)).sqrt().numpy() <= found.encoder[k] * (1 + 1e-12)).all()
    assert found.accuracy.shape == found.E.shape == (len(found.steps), 2)


def test_without_a_separate_teacher_the_teacher_is_the_student(digits):
    found = course(BASE, digits, 6, seeds=2)
    np.testing.assert_array_equal(found.teacher, found.encoder)
    np.testing.assert_array_equal(found.E, found.F)


def test_a_record_reads_back(digits):
    found = course(BASE, digits, 6, seeds=2)
    again = courses([entry(BASE, found)])["squared", "sg", 1e-3]
    np.testing.assert_allclose(again.E, found.E, rtol=1e-5)
    np.testing.assert_array_equal(again.steps, found.steps)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_divergent_run_is_refused(digits):
    with pytest.raises(ValueError, match="diverged"):
        course(replace(BASE, step=5.0), digits, 60, seeds=2)
