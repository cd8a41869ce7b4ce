import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Circle as CirclePatch

from ssltheory.explorers import (
    MAX_BYTES,
    Arrows,
    Band,
    Choice,
    Circle,
    Line,
    Panel,
    Points,
    Scene,
    Slider,
    Text,
    explorer,
    panel_limits,
)

T = np.linspace(0.0, 3.0, 40)
GRID = np.linspace(-1.0, 1.0, 5)
RATES = Slider([0.1, 0.5, 2.0], label="decay rate λ")
SIGNS = Choice(["sg", "ema"], label="dynamics", texts=["stop-gradient", "moving average"])


def draw(rate, role):
    decay = np.exp(-rate * T)
    gap = np.where(T > 2, np.nan, decay)
    return Scene(
        [
            Panel(
                [
                    Arrows(GRID, 0 * GRID, -rate * GRID / 3, 0 * GRID + 0.1),
                    Circle(0.0, 0.0, 1 / (1 + rate), color="outer", label="outer"),
                    Points([0.0], [0.0], color="origin", marker="diamond"),
                    Text(0.0, 0.5, "rest"),
                ],
                xlabel="a₁",
                ylabel="a₂",
                xlim=(-1.5, 1.5),
                ylim=(-1.5, 1.5),
                equal=True,
            ),
            Panel(
                [Band(T, 0.9 * decay, 1.1 * decay, color=role), Line(T, gap, color=role, label="|A|")],
                xlabel="t",
                ylabel="|A|",
                yscale="log",
            ),
        ],
        readout=f"λ = {rate}",
    )


@pytest.fixture
def made():
    return explorer(draw, {"rate": RATES, "role": SIGNS}, start={"rate": 0.5}, title="Decay", alt="Two panels.")


def embedded(html):
    text = re.search(r'<script type="application/json" class="explorer-states">(.*?)</script>', html, re.DOTALL)[1]
    return json.loads(text)


def unpack(data, state, panel):
    frame, *items = data["states"][state][1 + panel]
    return data["frames"][frame], [data["items"][i] for i in items]


def array(data, item, name):
    return np.array([np.nan if v is None else v for v in data["arrays"][item[name]]])


def test_the_embedded_states_are_the_scenes_to_what_a_screen_shows(made):
    data = embedded(made.html())
    assert len(data["states"]) == made.state_count == 6
    settings = [(rate, role) for rate in RATES.values for role in SIGNS.values]
    for state, setting in enumerate(settings):
        scene = draw(*setting)
        assert data["readouts"][data["states"][state][0]] == scene.readout
        for i, panel in enumerate(scene.panels):
            frame, items = unpack(data, state, i)
            assert frame["xlabel"] == panel.xlabel
            assert [item["kind"] for item in items] == [item.kind for item in panel.items]
            for item, entry in zip(panel.items, items, strict=True):
                for axis, names in (("x", item.horizontal), ("y", item.vertical)):
                    low, high = frame[f"{axis}lim"]
                    for name in names:
                        log = frame[f"{axis}scale"] == "log"
                        atol, rtol = (0, 1e-4) if log else (1e-4 * (high - low), 0)
                        kept = array(data, entry, name)
                        np.testing.assert_allclose(kept, getattr(item, name), atol=atol, rtol=rtol)
                assert {name: entry[name] for name in item.styles} == {n: getattr(item, n) for n in item.styles}


def test_the_start_is_where_it_was_put(made):
    starts = {control["name"]: control["start"] for control in made.states()["controls"]}
    assert starts == {"rate": 1, "role": 0}
    middle = explorer(draw, {"rate": RATES, "role": SIGNS}, title="t", alt="a")
    assert middle.start == {"rate": 0.5, "role": "sg"}


def test_matplotlib_draws_the_same_data(made):
    scene = made.scene(rate=2.0)
    field, curve = scene.figure().axes
    quiver = field.collections[0]
    np.testing.assert_array_equal(quiver.U, scene.panels[0].items[0].u)
    np.testing.assert_array_equal(quiver.get_offsets()[:, 0], GRID)
    (patch,) = [p for p in field.patches if isinstance(p, CirclePatch)]
    assert patch.get_radius() == scene.panels[0].items[1].radius[0]
    (line,) = curve.lines
    np.testing.assert_array_equal(line.get_ydata(), scene.panels[1].items[1].y)
    assert line.get_color() == "#0072B2"
    assert curve.get_yscale() == "log"
    band = curve.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(1.1)


def test_named_ticks_reach_both_renderers(made):
    ticks = {-1.5: "−30", 0.0: "0", 1.5: "30"}
    scene = Scene([Panel([Line([0.0, 1.0], [-2.0, 2.0])], yticks=ticks)])
    frame = explorer(lambda k: scene, {"k": Slider([0, 1], label="k")}, title="t", alt="a").states()["frames"][0]
    assert frame["yticks"] == [[-1.5, "−30"], [0.0, "0"], [1.5, "30"]]
    assert "xticks" not in frame
    (ax,) = scene.figure().axes
    assert ax.get_yticks().tolist() == list(ticks)
    assert [text.get_text() for text in ax.get_yticklabels()] == list(ticks.values())
    assert not any("ticks" in name for frame in made.states()["frames"] for name in frame)


def test_both_renderers_use_one_pair_of_limits(made):
    data = made.states()
    every = [made.scene(rate=rate, role=role) for rate in RATES.values for role in SIGNS.values]
    limits = panel_limits(every)
    assert data["frames"][data["states"][0][2][0]]["ylim"] == list(limits[1][1])
    assert every[0].figure(limits).axes[1].get_ylim() == limits[1][1]
    shown = np.concatenate([scene.panels[1].items[0].high for scene in every])
    assert limits[1][1][0] < shown.min() < shown.max() < limits[1][1][1]


def test_what_does_not_change_is_stored_once(made):
    data = made.states()
    lists = [json.dumps(values) for values in data["arrays"]]
    assert len(set(lists)) == len(lists)
    times = [json.dumps(np.round(T, 4).tolist())]
    assert sum(
        np.allclose(values, T, atol=1e-3) for values in data["arrays"] if len(values) == len(T) and None not in values
    ) == len(times)
    points = {state[1][3] for state in data["states"]}
    assert len(points) == 1
    assert len(data["frames"]) == 2


def test_a_hundred_equal_states_cost_little_more_than_one():
    x = np.random.default_rng(0).normal(size=400)
    still = Scene([Panel([Points(x, x**2)])])
    few, many = (
        len(json.dumps(explorer(lambda k: still, {"k": Slider(range(n), label="k")}, title="t", alt="a").states()))
        for n in (2, 102)
    )
    assert many - few < 4_000


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_what_is_not_finite_becomes_a_gap_and_valid_json(values):
    scene = Scene([Panel([Line(np.arange(len(values)), values)], ylim=(-1, 1))])
    data = explorer(lambda k: scene, {"k": Slider([0, 1], label="k")}, title="t", alt="a").states()
    text = json.dumps(data, allow_nan=False)
    _, (item,) = unpack(json.loads(text), 0, 0)
    gaps = [v is None for v in data["arrays"][item["y"]]]
    assert gaps == [not np.isfinite(v) for v in values]


def test_a_log_axis_leaves_out_what_is_not_positive():
    scene = Scene([Panel([Line([1, 2, 3], [0.0, -1.0, 10.0])], yscale="log")])
    data = explorer(lambda k: scene, {"k": Slider([0, 1], label="k")}, title="t", alt="a").states()
    assert data["arrays"][unpack(data, 0, 0)[1][0]["y"]] == [None, None, 10.0]


def test_published_output_needs_no_kernel_and_a_live_one_gets_widgets(made, monkeypatch):
    monkeypatch.setenv("SSLTHEORY_OUTPUT", "published")
    bundle = made._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert 'alt="Two panels."' in bundle["text/html"]
    assert "data:image/png;base64," in bundle["text/html"]
    assert not re.search(r'(?:src|href)="(?!data:)', bundle["text/html"])
    monkeypatch.delenv("SSLTHEORY_OUTPUT")
    assert "application/vnd.jupyter.widget-view+json" in made._repr_mimebundle_()


def test_the_output_repeats_itself(made):
    assert made.html() == made.html()


def test_moving_a_widget_redraws_and_says_so(made):
    box = made.widget()
    _, slider, choice, picture, readout = box.children
    before = picture.value
    slider.value = 2.0
    assert readout.value == "λ = 2.0"
    assert picture.value != before
    moved = picture.value
    choice.value = "ema"
    assert picture.value != moved


def test_markup_in_words_stays_words():
    scene = Scene([Panel([Line([0, 1], [0, 1], label="</script><b>")])], readout="a < b")
    html = explorer(lambda k: scene, {"k": Slider([0, 1], label="<k>")}, title="<i>", alt='"quoted"').html()
    assert html.count("</script>") == 1
    data = embedded(html)
    assert data["items"][0]["label"] == "</script><b>"
    assert data["controls"][0]["label"] == "<k>"
    assert "<i>" not in html


def line(**extra):
    return Line([0, 1], [0, 1], **extra)


WRONG = {
    "lengths": (lambda: Line([0, 1], [0, 1, 2]), "got lengths .*'x': 2, 'y': 3"),
    "no points": (lambda: Line([], []), "at least one number"),
    "two dimensions": (lambda: Line(np.eye(2), np.eye(2)), "need one dimension"),
    "colour": (lambda: line(color="reddish"), "need #rrggbb or one of"),
    "dash": (lambda: line(dash="wavy"), "need one of solid, dashed, dotted"),
    "TeX": (lambda: line(label=r"$\lambda$"), "need plain text"),
    "radius": (lambda: Circle(0, 0, -1), "need at least 0"),
    "limits": (lambda: Panel([line()], xlim=(1, 1)), "the first smaller"),
    "log limits": (lambda: Panel([line()], xlim=(0, 1), xscale="log"), "need positive limits"),
    "log circle": (lambda: Panel([Circle(0, 0, 1)], yscale="log"), "need linear axes"),
    "tick": (lambda: Panel([line()], xticks={np.inf: "∞"}), "need finite places"),
    "scale": (lambda: Panel([line()], xscale="cubic"), "need one of linear, log"),
    "not an item": (lambda: Panel(["line"]), "got str"),
    "no panel": (lambda: Scene([]), "need at least one Panel"),
    "one value": (lambda: Slider([1.0], label="k"), "at least two"),
    "nan value": (lambda: Slider([1.0, np.nan], label="k"), "at least two different finite"),
    "no label": (lambda: Slider([1.0, 2.0], label=" "), "a screen reader says it"),
    "texts": (lambda: Choice(["a", "b"], label="k", texts=["A"]), "got 1, need 2"),
    "start key": (
        lambda: explorer(draw, {"rate": RATES}, start={"speed": 1}, title="t", alt="a"),
        "got 'speed', need one of rate",
    ),
    "start value": (
        lambda: explorer(draw, {"rate": RATES}, start={"rate": 3.0}, title="t", alt="a"),
        r"got 3.0, need one of \[0.1, 0.5, 2.0\]",
    ),
    "no controls": (lambda: explorer(draw, {}, title="t", alt="a"), "at least one Slider or Choice"),
    "no alt": (lambda: explorer(draw, {"rate": RATES}, title="t", alt=""), "alt: got an empty one"),
    "not a control": (lambda: explorer(draw, {"rate": [1, 2]}, title="t", alt="a"), "need Slider or Choice"),
    "states": (
        lambda: explorer(draw, {k: Slider(range(50), label=k) for k in "ab"}, title="t", alt="a"),
        "got 2500 states, need at most 2000",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_refused_with_what_was_got_and_what_is_needed(case):
    build, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        build()


def test_too_many_bytes_are_refused_with_their_number():
    rng = np.random.default_rng(0)
    big = explorer(
        lambda k: Scene([Panel([Line(np.arange(2000), rng.normal(size=2000))])]),
        {"k": Slider(range(100), label="k")},
        title="Big",
        alt="a",
    )
    with pytest.raises(ValueError, match=rf"got \d+ bytes after \d+ of 100 states, need at most {MAX_BYTES}"):
        big.html()


def test_a_draw_that_returns_something_else_is_refused():
    with pytest.raises(ValueError, match="got int, need a Scene"):
        explorer(lambda k: k, {"k": Slider([0, 1], label="k")}, title="t", alt="a").states()


def test_states_with_different_numbers_of_panels_are_refused():
    with pytest.raises(ValueError, match="the same number in every state"):
        explorer(lambda k: Scene([Panel([line()])] * k), {"k": Slider([1, 2], label="k")}, title="t", alt="a").states()
