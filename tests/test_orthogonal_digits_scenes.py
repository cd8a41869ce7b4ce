"""What the explorer draws is what the functions compute."""

import numpy as np
import pytest

from ssltheory.orthogonal_digits import setting
from ssltheory.orthogonal_digits_scenes import METHODS, PAIRS, code_scene


def test_both_methods_start_from_the_same_code_and_end_with_the_same_loss():
    first, last = ([code_scene("4 and 9", method, steps) for method in METHODS] for steps in (0, 200))
    for one, two in zip(first[0].panels[0].items[:2], first[1].panels[0].items[:2], strict=True):
        np.testing.assert_allclose([one.x, one.y], [two.x, two.y], atol=1e-12)
    assert all("1.00 of the way" in scene.readout for scene in last)


def test_all_test_digits_are_shown_and_the_line_separates_as_many_as_the_words_say():
    scene = code_scene(PAIRS[0], "network", 20)
    first, second, line = scene.panels[0].items
    split, _ = setting((3, 8), 0)
    assert len(first.x) + len(second.x) == len(split.test)
    along = np.array([line.x[1] - line.x[0], line.y[1] - line.y[0]])

    def side(items):
        return np.sign(along[0] * (items.y - line.y[0]) - along[1] * (items.x - line.x[0]))

    right = (side(first) == -1).sum() + (side(second) == 1).sum()
    share = max(right, len(split.test) - right) / len(split.test)
    assert f"{share:.1%}" in scene.readout


def test_both_rows_are_drawn_as_squares_of_both_signs():
    items = code_scene("0 and 1", "euler", 200).panels[1].items
    places = np.concatenate([item.x for item in items])
    assert min((places < 8).sum(), (places > 8).sum()) > 20
    assert {item.color for item in items} == {"ink", "unfinished"}


@pytest.mark.parametrize("bad", [("2 and 3", "euler", 0), ("3 and 8", "magic", 0), ("3 and 8", "euler", 7)])
def test_what_is_not_offered_is_refused(bad):
    with pytest.raises(ValueError, match=r"pair|method|steps"):
        code_scene(*bad)
