import numpy as np
import pytest

from ssltheory import collapse_scenes as scenes


@pytest.mark.parametrize("data", ["moons", "digits", "white", "opposed", "silent"])
def test_the_drawing_shows_what_the_flow_does(data):
    start, end = scenes.collapse_scene(0.0, data), scenes.collapse_scene(scenes.CLOCK, data)
    size, ratio = end.panels[0].items[2].y
    assert start.panels[0].items[2].y[0] == pytest.approx(1)
    first = start.panels[0].items[2].y[1]
    if data == "white":
        assert ratio == pytest.approx(first)
        assert size == pytest.approx(np.exp(scenes.CLOCK))
    elif data == "silent":
        assert ratio > 0.1
        assert size < 1
    else:
        assert ratio < first / 100 or data == "digits"
        assert (size > 1) == (data != "opposed")
    for item in end.panels[1].items:
        assert np.abs(item.x).max() < 2.7
        assert np.abs(item.y).max() < 2.7


def test_what_is_not_drawn_is_refused():
    with pytest.raises(ValueError, match="data"):
        scenes.collapse_scene(1.0, "noise")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most"):
        scenes.collapse_scene(99.0, "moons")
