"""Figures that a reader can move, from one function of the parameters.

``explorer(draw, controls)`` takes a function that returns a :class:`Scene` for each setting of the controls. In a
published notebook every state is computed beforehand and embedded as JSON, which the site's script draws: the
controls work without a kernel. In a live kernel the same function feeds ipywidgets, and matplotlib draws the scene.

>>> import numpy as np
>>> x = np.linspace(0.0, 1.0, 50)
>>> def draw(power):
...     return Scene([Panel([Line(x, x**power, color="sg")], xlabel="x", ylabel="y")], f"p = {power}")
>>> power = Slider([1, 2, 3], label="power p")
>>> moved = explorer(draw, {"power": power}, title="Powers", alt="A curve over x that bends as p grows.")
>>> moved.state_count
3
"""

import html as markup
import itertools
import json
import math
import os
from base64 import b64encode
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float

from ssltheory.figures import color as resolve_color

Dash = Literal["solid", "dashed", "dotted"]
Marker = Literal["circle", "square", "diamond", "cross"]
Scale = Literal["linear", "log"]
Value = float | int | str
Limits = tuple[float, float]

MAX_STATES = 2_000
MAX_BYTES = 400_000

_DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (5, 3)), "dotted": (0, (1, 2))}
_MARKERS: dict[str, str] = {"circle": "o", "square": "s", "diamond": "D", "cross": "x"}
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def _numbers(name: str, value: Any) -> Float[np.ndarray, " k"]:
    array = np.asarray(value, dtype=float)
    if array.ndim == 0:
        array = array[None]
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: got shape {np.shape(value)}, need one dimension with at least one number")
    return array


def _same_length(kind: str, **arrays: Float[np.ndarray, " k"]) -> None:
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{kind}: got lengths {sizes}, need equal lengths")


def _member(name: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: got {value!r}, need one of {', '.join(allowed)}")


def _plain(name: str, text: str) -> None:
    if "$" in text:
        raise ValueError(f"{name}: got {text!r}, need plain text (the script draws no TeX; write λ, r₂, 10⁻³)")


@dataclass(frozen=True, eq=False)
class _Item:
    """What every item of a panel shares: arrays in data coordinates, and style."""

    kind: ClassVar[str] = ""
    horizontal: ClassVar[tuple[str, ...]] = ("x",)
    vertical: ClassVar[tuple[str, ...]] = ("y",)
    styles: ClassVar[tuple[str, ...]] = ()

    def _check(self) -> None:
        names = (*self.horizontal, *self.vertical)
        for name in names:
            object.__setattr__(self, name, _numbers(f"{type(self).__name__}.{name}", getattr(self, name)))
        _same_length(type(self).__name__, **{name: getattr(self, name) for name in names})
        resolve_color(getattr(self, "color", "ink"))
        _plain(f"{type(self).__name__}.label", getattr(self, "label", ""))

    def extent(self, axis: Literal["x", "y"]) -> Float[np.ndarray, " k"]:
        """Return the coordinates that the axis' limits must hold."""
        names = self.horizontal if axis == "x" else self.vertical
        return np.concatenate([getattr(self, name) for name in names])


@dataclass(frozen=True, eq=False)
class Line(_Item):
    """A curve through the points ``(x, y)``, each of shape (k,); a non-finite coordinate leaves a gap."""

    x: Any
    y: Any
    color: str = "ink"
    label: str = ""
    dash: Dash = "solid"
    width: float = 2.0

    kind: ClassVar[str] = "line"
    styles: ClassVar[tuple[str, ...]] = ("color", "label", "dash", "width")

    def __post_init__(self) -> None:
        self._check()
        _member("Line.dash", self.dash, _DASHES)


@dataclass(frozen=True, eq=False)
class Points(_Item):
    """Markers at ``(x, y)``, each of shape (k,); ``size`` is the diameter in pixels, ``hollow`` draws outlines."""

    x: Any
    y: Any
    color: str = "ink"
    label: str = ""
    size: float = 7.0
    marker: Marker = "circle"
    hollow: bool = False

    kind: ClassVar[str] = "points"
    styles: ClassVar[tuple[str, ...]] = ("color", "label", "size", "marker", "hollow")

    def __post_init__(self) -> None:
        self._check()
        _member("Points.marker", self.marker, _MARKERS)


@dataclass(frozen=True, eq=False)
class Arrows(_Item):
    """Arrows from ``(x, y)`` to ``(x + u, y + v)`` in data coordinates, all of shape (k,)."""

    x: Any
    y: Any
    u: Any
    v: Any
    color: str = "muted"
    label: str = ""
    width: float = 1.2

    kind: ClassVar[str] = "arrows"
    horizontal: ClassVar[tuple[str, ...]] = ("x", "u")
    vertical: ClassVar[tuple[str, ...]] = ("y", "v")
    styles: ClassVar[tuple[str, ...]] = ("color", "label", "width")

    def __post_init__(self) -> None:
        self._check()

    def extent(self, axis: Literal["x", "y"]) -> Float[np.ndarray, " k"]:
        """Return tails and heads."""
        tail, step = (self.x, self.u) if axis == "x" else (self.y, self.v)
        return np.concatenate([tail, tail + step])


@dataclass(frozen=True, eq=False)
class Band(_Item):
    """The region between ``low`` and ``high`` over ``x``, each of shape (k,)."""

    x: Any
    low: Any
    high: Any
    color: str = "muted"
    label: str = ""
    opacity: float = 0.2

    kind: ClassVar[str] = "band"
    vertical: ClassVar[tuple[str, ...]] = ("low", "high")
    styles: ClassVar[tuple[str, ...]] = ("color", "label", "opacity")

    def __post_init__(self) -> None:
        self._check()


@dataclass(frozen=True, eq=False)
class Circle(_Item):
    """Circles of data radius ``radius`` about ``(x, y)``, each of shape (k,); linear axes only."""

    x: Any
    y: Any
    radius: Any
    color: str = "ink"
    label: str = ""
    dash: Dash = "solid"
    width: float = 2.0
    opacity: float = 0.0

    kind: ClassVar[str] = "circle"
    vertical: ClassVar[tuple[str, ...]] = ("y", "radius")
    styles: ClassVar[tuple[str, ...]] = ("color", "label", "dash", "width", "opacity")

    def __post_init__(self) -> None:
        self._check()
        _member("Circle.dash", self.dash, _DASHES)
        if np.any(self.radius < 0):
            raise ValueError(f"Circle.radius: got {self.radius.min()}, need at least 0")

    def extent(self, axis: Literal["x", "y"]) -> Float[np.ndarray, " k"]:
        """Return both sides of each circle."""
        centre = self.x if axis == "x" else self.y
        return np.concatenate([centre - self.radius, centre + self.radius])


@dataclass(frozen=True, eq=False)
class Text(_Item):
    """A word at ``(x, y)``, two numbers."""

    x: Any
    y: Any
    text: str
    color: str = "ink"
    anchor: Literal["start", "middle", "end"] = "start"

    kind: ClassVar[str] = "text"
    styles: ClassVar[tuple[str, ...]] = ("color", "text", "anchor")

    def __post_init__(self) -> None:
        self._check()
        _plain("Text.text", self.text)
        _member("Text.anchor", self.anchor, _ANCHORS)
        if len(self.x) != 1:
            raise ValueError(f"Text: got {len(self.x)} positions, need 1")


Item = Line | Points | Arrows | Band | Circle | Text


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes and what is drawn in it, later items above earlier ones.

    Limits left out hold the data of every state, so that the picture keeps still while its content moves.
    ``equal`` gives both axes one unit length; otherwise ``aspect`` is height over width. ``xticks`` and ``yticks`` give
    places in data coordinates with what is written there, for an axis whose numbers are not those of its data.
    """

    items: Sequence[Item]
    xlabel: str = ""
    ylabel: str = ""
    xlim: Limits | None = None
    ylim: Limits | None = None
    xscale: Scale = "linear"
    yscale: Scale = "linear"
    title: str = ""
    equal: bool = False
    aspect: float = 0.72
    xticks: Mapping[float, str] | None = None
    yticks: Mapping[float, str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))
        for item in self.items:
            if not isinstance(item, _Item):
                raise ValueError(f"Panel.items: got {type(item).__name__}, need a Line, Points, Arrows, Band, ...")
        for name in ("xlabel", "ylabel", "title"):
            _plain(f"Panel.{name}", getattr(self, name))
        for name in ("xticks", "yticks"):
            for place, text in (getattr(self, name) or {}).items():
                if not math.isfinite(place):
                    raise ValueError(f"Panel.{name}: got {place}, need finite places")
                _plain(f"Panel.{name}", text)
        for axis in ("x", "y"):
            scale, limits = getattr(self, f"{axis}scale"), getattr(self, f"{axis}lim")
            _member(f"Panel.{axis}scale", scale, ("linear", "log"))
            if limits is not None:
                low, high = map(float, limits)
                if not (math.isfinite(low) and math.isfinite(high) and low < high):
                    raise ValueError(f"Panel.{axis}lim: got {limits}, need two finite numbers, the first smaller")
                if scale == "log" and low <= 0:
                    raise ValueError(f"Panel.{axis}lim: got {limits} on a log axis, need positive limits")
                object.__setattr__(self, f"{axis}lim", (low, high))
        if "log" in (self.xscale, self.yscale):
            if self.equal:
                raise ValueError("Panel.equal: got True on a log axis, need linear axes")
            if any(isinstance(item, Circle) for item in self.items):
                raise ValueError("Panel.items: got a Circle on a log axis, need linear axes")
        if not self.aspect > 0:
            raise ValueError(f"Panel.aspect: got {self.aspect}, need a positive number")


@dataclass(frozen=True, eq=False)
class Scene:
    """What one setting of the controls shows: panels side by side, and a sentence that says it in words."""

    panels: Sequence[Panel]
    readout: str = ""

    def __post_init__(self) -> None:
        panels = (self.panels,) if isinstance(self.panels, Panel) else tuple(self.panels)
        if not panels or not all(isinstance(panel, Panel) for panel in panels):
            raise ValueError(f"Scene.panels: got {self.panels!r}, need at least one Panel")
        object.__setattr__(self, "panels", panels)
        _plain("Scene.readout", self.readout)

    def figure(self, limits: Sequence[tuple[Limits, Limits]] | None = None, width: float = 7.2) -> Any:
        """Draw the scene by matplotlib and return the ``Figure``; ``width`` in inches."""
        return _matplotlib_figure(self, limits or panel_limits([self]), width)


@dataclass(frozen=True, eq=False)
class Slider:
    """An ordered list of numbers to move through; ``texts`` or the format ``spec`` says how each is written."""

    values: Sequence[float]
    label: str
    spec: str = ".4g"
    texts: Sequence[str] | None = None

    kind: ClassVar[str] = "slider"

    def __post_init__(self) -> None:
        values = np.asarray(self.values).tolist()
        if len(values) < 2 or not all(math.isfinite(v) for v in values) or len(set(values)) < len(values):
            raise ValueError(f"Slider.values: got {self.values!r}, need at least two different finite numbers")
        _fill_control(self, values, [format(v, self.spec).replace("-", "−") for v in values])


@dataclass(frozen=True, eq=False)
class Choice:
    """A few alternatives; ``texts`` are the words shown, else the values themselves."""

    values: Sequence[Value]
    label: str
    texts: Sequence[str] | None = None

    kind: ClassVar[str] = "choice"

    def __post_init__(self) -> None:
        values = list(self.values)
        if len(values) < 2 or len(set(values)) < len(values):
            raise ValueError(f"Choice.values: got {self.values!r}, need at least two different values")
        _fill_control(self, values, [str(v) for v in values])


def _fill_control(control: Slider | Choice, values: list[Any], texts: list[str]) -> None:
    name = type(control).__name__
    if control.texts is not None and len(control.texts) != len(values):
        raise ValueError(f"{name}.texts: got {len(control.texts)}, need {len(values)}, one a value")
    if not control.label.strip():
        raise ValueError(f"{name}.label: got an empty one, need words (a screen reader says it)")
    object.__setattr__(control, "values", tuple(values))
    object.__setattr__(control, "texts", tuple(control.texts or texts))
    for text in (control.label, *control.texts):  # type: ignore[misc]
        _plain(f"{name}.label", text)


def panel_limits(scenes: Sequence[Scene]) -> list[tuple[Limits, Limits]]:
    """Return the limits (x, y) of each panel that hold the data of all ``scenes``, given limits first."""
    counts = {len(scene.panels) for scene in scenes}
    if len(counts) > 1:
        raise ValueError(f"got scenes with {sorted(counts)} panels, need the same number in every state")
    return [
        (_axis_limits([scene.panels[i] for scene in scenes], "x"), _axis_limits([s.panels[i] for s in scenes], "y"))
        for i in range(counts.pop())
    ]


def _axis_limits(panels: Sequence[Panel], axis: Literal["x", "y"]) -> Limits:
    given = [getattr(panel, f"{axis}lim") for panel in panels if getattr(panel, f"{axis}lim") is not None]
    if len(given) == len(panels):
        return min(low for low, _ in given), max(high for _, high in given)
    log = getattr(panels[0], f"{axis}scale") == "log"
    parts = [item.extent(axis) for panel in panels for item in panel.items]
    data = np.concatenate([np.ravel(given), *parts])
    data = data[np.isfinite(data) & ((data > 0) | (not log))]
    if data.size == 0:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(data.min()), float(data.max())
    if log:
        room = max(0.05 * math.log10(high / low), 0.05)
        return float(f"{low * 10**-room:.3g}"), float(f"{high * 10**room:.3g}")
    room = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
    digits = 2 - math.floor(math.log10(high - low + 2 * room))
    return round(low - room, digits), round(high + room, digits)


def _rounded(values: Float[np.ndarray, " k"], limits: Limits, scale: str) -> list[float | int | None]:
    """Round to what a screen can show: 1/10,000 to 1/100,000 of a linear axis, five digits on a log axis."""
    if scale == "log":
        return [float(f"{v:.5g}") if math.isfinite(v) and v > 0 else None for v in values.tolist()]
    digits = 4 - math.floor(math.log10(limits[1] - limits[0]))
    kept: list[float | int | None] = []
    for v in values.tolist():
        if not math.isfinite(v):
            kept.append(None)
            continue
        v = float(f"{round(v, digits):.7g}")
        kept.append(int(v) if v == int(v) and abs(v) < 1e9 else v)
    return kept


class _Pool:
    """A list that gives equal entries one place."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self._place: dict[Hashable, int] = {}
        self.bytes = 0

    def add(self, entry: Any) -> int:
        key = json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
        if key not in self._place:
            self._place[key] = len(self.entries)
            self.entries.append(entry)
            self.bytes += len(key.encode())
        return self._place[key]


@dataclass(frozen=True, eq=False)
class Explorer:
    """A function of the parameters with its controls; a notebook shows it as the last value of a cell."""

    draw: Callable[..., Scene]
    controls: Mapping[str, Slider | Choice]
    start: Mapping[str, Value]
    title: str
    alt: str
    description: str = ""
    _seen: list[Scene] = field(default_factory=list, repr=False)

    @property
    def state_count(self) -> int:
        """Return the number of states, the product of the numbers of values."""
        return math.prod(len(control.values) for control in self.controls.values())

    def scene(self, **values: Value) -> Scene:
        """Return the scene at the start with ``values`` changed."""
        scene = self.draw(**{**self.start, **values})
        if not isinstance(scene, Scene):
            raise ValueError(f"draw: got {type(scene).__name__}, need a Scene")
        return scene

    def states(self) -> dict[str, Any]:
        """Compute every state and return what the site's script draws.

        ``arrays``, ``items`` and ``frames`` (axes) hold each different entry once; ``states`` lists, with the last
        control moving fastest, ``[readout, [frame, item, item, ...], ...]`` as places in them. Raises ``ValueError``
        with the count or the bytes when there is too much to embed.
        """
        names = list(self.controls)
        settings = itertools.product(*(control.values for control in self.controls.values()))
        scenes = [self.scene(**dict(zip(names, setting, strict=True))) for setting in settings]
        limits = panel_limits(scenes)
        arrays, items, frames, readouts = _Pool(), _Pool(), _Pool(), _Pool()
        states: list[list[Any]] = []
        for scene in scenes:
            state: list[Any] = [readouts.add(scene.readout)]
            for panel, bounds in zip(scene.panels, limits, strict=True):
                state.append([frames.add(_frame(panel, bounds))])
                state[-1].extend(items.add(_entry(item, panel, bounds, arrays)) for item in panel.items)
            states.append(state)
            embedded = arrays.bytes + items.bytes + frames.bytes + readouts.bytes
            if embedded > MAX_BYTES:
                raise ValueError(
                    f"explorer {self.title!r}: got {embedded} bytes after {len(states)} of {len(scenes)} states, need "
                    f"at most {MAX_BYTES}: fewer values, or fewer points in what changes"
                )
        return {
            "title": self.title,
            "alt": self.alt,
            "controls": [
                {
                    "kind": control.kind,
                    "name": name,
                    "label": control.label,
                    "texts": list(control.texts or ()),
                    "start": list(control.values).index(self.start[name]),
                }
                for name, control in self.controls.items()
            ],
            "arrays": arrays.entries,
            "items": items.entries,
            "frames": frames.entries,
            "readouts": readouts.entries,
            "states": states,
        }

    def html(self) -> str:
        """Return the explorer for the site: the states as JSON, and a static picture for readers without scripts."""
        states = json.dumps(self.states(), separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
        escape = markup.escape
        picture = b64encode(_png(self.scene().figure())).decode()
        about = f"<p>{escape(self.description)}</p>" if self.description else ""
        text = (
            f'<figure class="explorer" role="group" aria-label="{escape(self.title)}">'
            f'<figcaption class="explorer-head"><p class="explorer-title">{escape(self.title)}</p>{about}</figcaption>'
            f'<div class="explorer-static"><img alt="{escape(self.alt)}" src="data:image/png;base64,{picture}">'
            f"<p>{escape(self.scene().readout)}</p></div>"
            f'<script type="application/json" class="explorer-states">{states}</script></figure>'
        )
        if len(text.encode()) > MAX_BYTES:
            raise ValueError(
                f"explorer {self.title!r}: got {len(text.encode())} bytes for {self.state_count} states, need at most "
                f"{MAX_BYTES}: fewer values, or fewer points in what changes"
            )
        return text

    def widget(self) -> Any:
        """Return the ipywidgets version: the same controls, the same scenes, drawn by matplotlib when moved."""
        import ipywidgets as widgets

        wide = {"description_width": "12em"}
        moved: dict[str, Any] = {}
        for name, control in self.controls.items():
            options = list(zip(control.texts or (), control.values, strict=True))
            kind = widgets.SelectionSlider if control.kind == "slider" else widgets.Dropdown
            moved[name] = kind(
                options=options,
                value=self.start[name],
                description=control.label,
                style=wide,
                layout=widgets.Layout(width="36em", max_width="100%"),
            )
        picture, readout = widgets.Image(format="png"), widgets.Label()
        picture.add_class("explorer-picture")

        def show(_: object = None) -> None:
            scene = self.scene(**{name: control.value for name, control in moved.items()})
            self._seen.append(scene)
            picture.value, readout.value = _png(scene.figure(panel_limits(self._seen))), scene.readout

        for control in moved.values():
            control.observe(show, names="value")
        show()
        return widgets.VBox([widgets.HTML(f"<b>{markup.escape(self.title)}</b>"), *moved.values(), picture, readout])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        if os.environ.get("SSLTHEORY_OUTPUT") == "published":
            return {"text/html": self.html(), "text/plain": repr(self)}
        return self.widget()._repr_mimebundle_(include=include, exclude=exclude)

    def __repr__(self) -> str:
        controls = ", ".join(f"{c.label} ({len(c.values)} values)" for c in self.controls.values())
        return f"Explorer: {self.title}. Controls: {controls}. {self.alt}"


def explorer(
    draw: Callable[..., Scene],
    controls: Mapping[str, Slider | Choice],
    *,
    start: Mapping[str, Value] | None = None,
    title: str,
    alt: str,
    description: str = "",
) -> Explorer:
    """Make a figure that its reader can move, from a function of the parameters.

    ``draw`` takes one keyword argument for each key of ``controls`` and returns a :class:`Scene`; every state has the
    same number of panels. ``start`` gives the first setting (a middle one otherwise), ``title`` and ``description`` are
    shown, ``alt`` says what the picture shows at the start. With ``SSLTHEORY_OUTPUT=published`` in the environment the
    result displays as the site's explorer, otherwise as ipywidgets. Raises ``ValueError`` for no controls, a start that
    is not among the values, empty words, or more than ``MAX_STATES`` states.
    """
    if not controls:
        raise ValueError("controls: got none, need at least one Slider or Choice")
    for name, control in controls.items():
        if not isinstance(control, (Slider, Choice)):
            raise ValueError(f"controls[{name!r}]: got {type(control).__name__}, need Slider or Choice")
    for name, words in (("title", title), ("alt", alt)):
        if not words.strip():
            raise ValueError(f"{name}: got an empty one, need words")
    first: dict[str, Value] = {
        name: control.values[len(control.values) // 2 if control.kind == "slider" else 0]
        for name, control in controls.items()
    }
    for name, value in (start or {}).items():
        if name not in controls:
            raise ValueError(f"start: got {name!r}, need one of {', '.join(controls)}")
        if value not in controls[name].values:
            raise ValueError(f"start[{name!r}]: got {value!r}, need one of {list(controls[name].values)}")
        first[name] = value
    made = Explorer(draw, dict(controls), first, title, alt, description)
    if made.state_count > MAX_STATES:
        raise ValueError(f"controls: got {made.state_count} states, need at most {MAX_STATES}")
    return made


def _frame(panel: Panel, limits: tuple[Limits, Limits]) -> dict[str, Any]:
    named = {"xticks": panel.xticks, "yticks": panel.yticks}
    ticks = {name: [[float(place), text] for place, text in given.items()] for name, given in named.items() if given}
    return ticks | {
        "title": panel.title,
        "xlabel": panel.xlabel,
        "ylabel": panel.ylabel,
        "xlim": list(limits[0]),
        "ylim": list(limits[1]),
        "xscale": panel.xscale,
        "yscale": panel.yscale,
        "equal": panel.equal,
        "aspect": panel.aspect,
    }


def _entry(item: Item, panel: Panel, limits: tuple[Limits, Limits], arrays: _Pool) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": item.kind}
    for names, bounds, scale in ((item.horizontal, limits[0], panel.xscale), (item.vertical, limits[1], panel.yscale)):
        for name in names:
            entry[name] = arrays.add(_rounded(getattr(item, name), bounds, scale))
    entry.update({name: getattr(item, name) for name in item.styles})
    return entry


def _png(figure: Any) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _matplotlib_figure(scene: Scene, limits: Sequence[tuple[Limits, Limits]], width: float) -> Any:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from ssltheory.figures import STYLE

    with mpl.rc_context(dict(STYLE)):
        count = len(scene.panels)
        each = width / max(count, 1.4)
        shapes = [
            (y[1] - y[0]) / (x[1] - x[0]) if panel.equal else panel.aspect
            for panel, (x, y) in zip(scene.panels, limits, strict=True)
        ]
        figure = Figure(figsize=(width if count > 1 else each, each * min(max(shapes), 1.2) + 0.5))
        axes = figure.subplots(1, count, squeeze=False)[0]
        legend: dict[str, Any] = {}
        for panel, bounds, ax in zip(scene.panels, limits, axes, strict=True):
            for item in panel.items:
                _matplotlib_item(ax, item)
            ax.set(xscale=panel.xscale, yscale=panel.yscale)
            ax.set(xlim=bounds[0], ylim=bounds[1], xlabel=panel.xlabel, ylabel=panel.ylabel, title=panel.title)
            for axis, given in ((ax.xaxis, panel.xticks), (ax.yaxis, panel.yticks)):
                if given:
                    axis.set_ticks(list(given), labels=list(given.values()))
                    axis.set_ticks([], minor=True)
            if panel.equal:
                ax.set_aspect("equal")
            else:
                ax.set_box_aspect(panel.aspect)
            handles, labels = ax.get_legend_handles_labels()
            legend.update(zip(labels, handles, strict=True))
        if legend:
            columns = max(1, min(len(legend), int(14 * figure.get_figwidth() / max(map(len, legend)) / 1.6)))
            figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=columns, fontsize=8)
    return figure


def _matplotlib_item(ax: Any, item: Item) -> None:
    ink = resolve_color(item.color)
    label = getattr(item, "label", "") or None
    if isinstance(item, Line):
        ax.plot(item.x, item.y, color=ink, label=label, linestyle=_DASHES[item.dash], linewidth=item.width)
    elif isinstance(item, Points):
        face = "none" if item.hollow and item.marker != "cross" else ink
        style = {"color": ink, "markerfacecolor": face, "markeredgewidth": 1.5 if item.hollow else 1.0}
        ax.plot(item.x, item.y, _MARKERS[item.marker], label=label, markersize=0.75 * item.size, **style)
    elif isinstance(item, Arrows):
        units = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "units": "dots", "width": 1.4 * item.width}
        ax.quiver(item.x, item.y, item.u, item.v, color=ink, label=label, headwidth=4.5, **units)
    elif isinstance(item, Band):
        ax.fill_between(item.x, item.low, item.high, color=ink, alpha=item.opacity, label=label, linewidth=0)
    elif isinstance(item, Circle):
        from matplotlib.patches import Circle as Patch

        fill: dict[str, Any] = {"facecolor": (ink, item.opacity)} if item.opacity else {"fill": False}
        for i, (x, y, radius) in enumerate(zip(item.x, item.y, item.radius, strict=True)):
            if np.isfinite([x, y, radius]).all():
                edge: dict[str, Any] = {"edgecolor": ink, "linestyle": _DASHES[item.dash], "linewidth": item.width}
                ax.add_patch(Patch((x, y), radius, label=None if i else label, **edge, **fill))
    else:
        ax.text(item.x[0], item.y[0], item.text, color=ink, ha=_ANCHORS[item.anchor], va="center")
