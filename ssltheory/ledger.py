"""The ledger of claims: what was stated, what was measured, and by which cell.

A claim is an entry of ``book/claims.yml``. A notebook cell computes numbers, calls :func:`claim` with one check per
number, and thereby publishes a badge, a machine-readable record and the numbers themselves. The ledger page and the
tests read those records back; nothing on the page is typed by hand.
"""

from __future__ import annotations

import difflib
import html
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

Scalar = bool | int | float | str
Kind = Literal["theorem", "experiment", "conjecture", "ours"]
Verdict = Literal[
    "reproduced",
    "reproduced-with-caveat",
    "contradicted",
    "not-reproduced-at-this-scale",
    "proved-here",
    "open",
]

KINDS: tuple[str, ...] = get_args(Kind)
VERDICTS: tuple[str, ...] = get_args(Verdict)
CLAIM_MIME = "application/vnd.ssltheory.claim+json"
GLUE_PREFIX = "application/papermill.record/"

_WORDS = {
    "reproduced": "reproduced",
    "reproduced-with-caveat": "reproduced with a caveat",
    "contradicted": "contradicted",
    "not-reproduced-at-this-scale": "not reproduced at this scale",
    "proved-here": "proved here",
    "open": "open",
}
_ICONS = {
    "reproduced": "✓",
    "reproduced-with-caveat": "≈",
    "contradicted": "✗",
    "not-reproduced-at-this-scale": "↓",
    "proved-here": "∎",
    "open": "○",
}
_COLOURS = {
    "reproduced": "#009E73",
    "reproduced-with-caveat": "#E69F00",
    "contradicted": "#D55E00",
    "not-reproduced-at-this-scale": "#CC79A7",
    "proved-here": "#0072B2",
    "open": "#888888",
}
_ID = re.compile(r"[a-z][a-z0-9]*(?:[-.][a-z0-9]+)*")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_EVIDENCE = re.compile(r"(?P<notebook>[A-Za-z0-9_\-./]+\.ipynb)#(?P<label>[A-Za-z0-9][A-Za-z0-9_.\-]*)")
_FIELD = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9_.\-]*)(?::([^{}]*))?\}")
_MATH = re.compile(r"(\$[^$]*\$)")
_FIELDS = (
    "id",
    "paper",
    "where",
    "statement",
    "kind",
    "published",
    "depends_on",
    "verdict",
    "measured",
    "evidence",
    "note",
)
_PROSE = ("paper", "where", "statement", "measured", "note")


def slug(claim_id: str) -> str:
    """Return the claim's name in addresses: ``dual-4.11`` becomes ``dual-4-11``."""
    return re.sub(r"[^a-z0-9]+", "-", claim_id.lower()).strip("-")


def verdict_words(verdict: str) -> str:
    """Return a verdict as a reader sees it, icon included; no colour is needed to tell two apart."""
    return f"{_ICONS[verdict]} {_WORDS[verdict]}"


# --- checks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One measured value against one bound; ``name`` is given by the keyword under which :func:`claim` receives it."""

    value: Scalar
    relation: Literal["at_most", "at_least", "close_to", "inside", "equal_to"]
    bound: Any
    passed: bool
    name: str = ""

    @property
    def requirement(self) -> str:
        """The bound in words and signs, for example ``≤ 1e-09``."""
        match self.relation:
            case "at_most":
                return f"≤ {_show(self.bound)}"
            case "at_least":
                return f"≥ {_show(self.bound)}"
            case "inside":
                return f"in [{_show(self.bound[0])}, {_show(self.bound[1])}]"
            case "close_to":
                return f"= {_show(self.bound[0])} ± {_show(self.bound[1])}"
            case _:
                return f"= {_show(self.bound)}"

    def __str__(self) -> str:
        label = self.name.replace("_", " ")
        return f"{label} {_show(self.value)} {self.requirement}".strip()

    def record(self) -> dict[str, Any]:
        """The check as it is stored in a notebook: name, value, relation, bound, passed."""
        return {
            "name": self.name,
            "value": self.value,
            "relation": self.relation,
            "bound": self.bound,
            "passed": self.passed,
        }


def _show(value: Scalar) -> str:
    """A value as printed in a badge: four significant digits, and always recognisable as a float; the rest in full."""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.4g}"
    return text if any(sign in text for sign in ".en") else f"{text}.0"


def _scalar(name: str, value: Any) -> Scalar:
    """Cast numpy, torch and 0-d values to the python scalar they hold, or raise."""
    if not isinstance(value, Scalar) and hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, TypeError, RuntimeError):
            shape = tuple(getattr(value, "shape", ()))
            raise ValueError(f"{name}: got an array of shape {shape}, need one number") from None
    if not isinstance(value, Scalar):
        raise ValueError(f"{name}: got {type(value).__name__}, need one number, boolean or string")
    for kind in (bool, int, float, str):  # a subclass (np.float64 is one of float) would print with its own repr
        if isinstance(value, kind):
            return kind(value)
    raise AssertionError("unreachable")


def _number(name: str, value: Any) -> int | float:
    cast = _scalar(name, value)
    if isinstance(cast, bool | str):
        raise ValueError(f"{name}: got {cast!r}, need a number")
    return cast


def _finite(name: str, value: Any) -> int | float:
    cast = _number(name, value)
    if not math.isfinite(cast):
        raise ValueError(f"{name}: got {cast}, need a finite number, or the check could not fail")
    return cast


def at_most(value: Any, bound: Any) -> Check:
    """Check ``value <= bound``; a value that is not finite fails. Raises ValueError for a bound that is not finite."""
    v, b = _number("at_most value", value), _finite("at_most bound", bound)
    return Check(v, "at_most", b, math.isfinite(v) and v <= b)


def at_least(value: Any, bound: Any) -> Check:
    """Check ``value >= bound``; a value that is not finite fails. Raises ValueError for a bound that is not finite."""
    v, b = _number("at_least value", value), _finite("at_least bound", bound)
    return Check(v, "at_least", b, math.isfinite(v) and v >= b)


def close_to(value: Any, target: Any, *, rtol: float = 0.0, atol: float = 0.0) -> Check:
    """Check ``|value - target| <= atol + rtol |target|``; the bound recorded is ``[target, atol + rtol |target|]``.

    Raises ValueError if the tolerance is zero, negative or not finite: ``equal_to`` is the exact check.
    """
    v, t = _number("close_to value", value), _finite("close_to target", target)
    relative, absolute = _finite("close_to rtol", rtol), _finite("close_to atol", atol)
    if relative < 0 or absolute < 0:
        raise ValueError(f"close_to: got rtol={rtol}, atol={atol}, need both to be zero or more")
    tolerance = float(absolute + relative * abs(t))
    if tolerance == 0:
        raise ValueError("close_to: got a tolerance of zero, need atol above zero (or use equal_to)")
    _finite("close_to tolerance", tolerance)
    return Check(v, "close_to", [t, tolerance], math.isfinite(v) and abs(v - t) <= tolerance)


def inside(value: Any, low: Any, high: Any) -> Check:
    """Check ``low <= value <= high``, as for a number that must lie in a confidence interval."""
    v, a, b = _number("inside value", value), _finite("inside low", low), _finite("inside high", high)
    if a > b:
        raise ValueError(f"inside: got low={a} above high={b}, need low <= high")
    return Check(v, "inside", [a, b], math.isfinite(v) and a <= v <= b)


def equal_to(value: Any, expected: Any) -> Check:
    """Check ``value == expected`` exactly: counts, booleans and words.

    Raises ValueError if the two are of different sorts (a word and a number, say), since such a check says nothing.
    """
    v, e = _scalar("equal_to value", value), _scalar("equal_to expected", expected)
    if isinstance(e, float):
        _finite("equal_to expected", e)
    if _sort(v) != _sort(e):
        raise ValueError(f"equal_to: got {v!r} ({_sort(v)}) against {e!r} ({_sort(e)}), need two of one sort")
    return Check(v, "equal_to", e, v == e)


def _sort(value: Scalar) -> str:
    return "boolean" if isinstance(value, bool) else "word" if isinstance(value, str) else "number"


# --- the file -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger; ``line`` is where it stands in the file."""

    id: str
    paper: str
    where: str
    statement: str
    kind: Kind
    published: str | int | float | None
    depends_on: tuple[str, ...]
    verdict: Verdict
    measured: str | None
    evidence: str | None
    note: str | None
    line: int = field(default=0, compare=False)

    @property
    def anchor(self) -> str:
        """The HTML id of the evidence cell in its chapter, ``claim-dual-4-11`` for ``dual-4.11``."""
        return f"claim-{slug(self.id)}"

    @property
    def row(self) -> str:
        """The HTML id of the claim's row in the ledger page."""
        return f"ledger-{slug(self.id)}"

    @property
    def notebook(self) -> str | None:
        """The evidence notebook, relative to ``book/``."""
        return None if self.evidence is None else self.evidence.partition("#")[0]

    @property
    def label(self) -> str | None:
        """The evidence cell: the claim's id as the cell records it, or the cell's own id."""
        return None if self.evidence is None else self.evidence.partition("#")[2]

    @property
    def keys(self) -> tuple[str, ...]:
        """The glued keys that the ``measured`` text is filled from."""
        parts = _MATH.split(self.measured or "")[::2]
        return tuple(match[1] for part in parts for match in _FIELD.finditer(part))

    def fill(self, values: Mapping[str, Scalar]) -> str | None:
        """Return ``measured`` with each ``{key:format}`` outside ``$...$`` replaced by the glued value.

        Raises ValueError for a key that no notebook glued and for a format that does not fit its value.
        """
        if self.measured is None:
            return None

        def shown(match: re.Match[str]) -> str:
            key, spec = match[1], match[2] or ""
            if key not in values:
                raise ValueError(f"claim {self.id!r}: measured needs the glued value {key!r}{_near(key, values)}")
            try:
                return format(values[key], spec)
            except ValueError as error:
                raise ValueError(f"claim {self.id!r}: cannot format {key} = {values[key]!r}: {error}") from None

        parts = _MATH.split(self.measured)
        return "".join(part if i % 2 else _FIELD.sub(shown, part) for i, part in enumerate(parts))


@dataclass(frozen=True)
class Ledger:
    """All claims in the order of the file. Indexing by an unknown id raises a ValueError that names near ones."""

    claims: tuple[Claim, ...]
    path: Path

    def __iter__(self) -> Iterator[Claim]:
        return iter(self.claims)

    def __len__(self) -> int:
        return len(self.claims)

    def __contains__(self, claim_id: object) -> bool:
        return any(entry.id == claim_id for entry in self.claims)

    def __getitem__(self, claim_id: str) -> Claim:
        for entry in self.claims:
            if entry.id == claim_id:
                return entry
        ids = [entry.id for entry in self.claims]
        raise ValueError(f"got claim id {claim_id!r}, need one of {self.path.name}{_near(claim_id, ids)}")

    @property
    def counts(self) -> dict[str, int]:
        """The number of claims by verdict, every verdict present."""
        return {verdict: sum(entry.verdict == verdict for entry in self.claims) for verdict in VERDICTS}

    @property
    def papers(self) -> tuple[str, ...]:
        """The papers in order of first appearance."""
        return tuple(dict.fromkeys(entry.paper for entry in self.claims))

    def dependents(self, claim_id: str) -> tuple[str, ...]:
        """The claims that rest on this one, directly or through others, in the order of the file."""
        reached = {self[claim_id].id}
        while True:
            more = {entry.id for entry in self.claims if reached & set(entry.depends_on)} - reached
            if not more:
                return tuple(entry.id for entry in self.claims if entry.id in reached and entry.id != claim_id)
            reached |= more

    @property
    def shaken(self) -> dict[str, tuple[str, ...]]:
        """For each claim that rests on a contradicted one: the contradicted ones beneath it."""
        fallen = [entry.id for entry in self.claims if entry.verdict == "contradicted"]
        under = {entry.id: tuple(c for c in fallen if entry.id in self.dependents(c)) for entry in self.claims}
        return {claim_id: causes for claim_id, causes in under.items() if causes}


def _near(word: str, words: Any) -> str:
    close = difflib.get_close_matches(word, list(words), n=3, cutoff=0.5)
    return f" (near it: {', '.join(close)})" if close else ""


def _default_path() -> Path:
    package = Path(__file__).resolve().parent
    for path in (package.parent / "book" / "claims.yml", package / "claims.yml"):
        if path.is_file():
            return path
    raise ValueError(f"no ledger: need book/claims.yml beside the package or claims.yml in it ({package})")


def load_ledger(path: str | Path | None = None) -> Ledger:
    """Read and validate a ledger; without ``path``, the book's own.

    Raises ValueError, with the file and the line, for: a file that is not a list of mappings, a missing, unknown or
    repeated field, a value of the wrong type, a repeated id, an unknown kind or verdict, a ``depends_on`` that is
    unknown or goes round in a circle, an evidence not of the form ``notebook.ipynb#label``, and a verdict other than
    ``open`` without evidence.
    """
    file = Path(path) if path is not None else _default_path()
    if not file.is_file():
        raise ValueError(f"got {file}, need an existing claims file")
    return _load(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(file: Path, _modified: int) -> Ledger:
    import yaml

    def refuse(line: int, message: str) -> ValueError:
        return ValueError(f"{file.name}, line {line}: {message}")

    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise refuse(mark.line + 1 if mark else 1, f"not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(root, yaml.SequenceNode):
        raise refuse(1, "need a list of claims ('- id: ...')")

    claims: list[Claim] = []
    for node in root.value:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.MappingNode):
            raise refuse(line, f"got {node.value!r}, need a mapping with the fields {', '.join(_FIELDS)}")
        names = [key.value for key, _ in node.value]
        lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
        for name in names:
            if name not in _FIELDS:
                raise refuse(lines[name], f"got the field {name!r}, need one of {', '.join(_FIELDS)}")
            if names.count(name) > 1:
                raise refuse(lines[name], f"got the field {name!r} twice, need it once")
        missing = [name for name in _FIELDS if name not in names]
        if missing:
            raise refuse(line, f"missing {', '.join(missing)} (write null where there is none)")
        raw = {key.value: yaml.safe_load(yaml.serialize(value)) for key, value in node.value}
        claims.append(_entry(raw, lines, line, refuse))

    first: dict[str, int] = {}
    for entry in claims:
        if entry.id in first:
            raise refuse(entry.line, f"got the id {entry.id!r} again, need it once (first at line {first[entry.id]})")
        first[entry.id] = entry.line
    for entry in claims:
        for other in entry.depends_on:
            if other not in first:
                near = _near(other, first)
                raise refuse(entry.line, f"{entry.id} depends_on {other!r}, need an id of this file{near}")
    circle = _circle({entry.id: entry.depends_on for entry in claims})
    if circle:
        raise refuse(first[circle[0]], f"depends_on goes round in a circle: {' -> '.join(circle)}")
    return Ledger(tuple(claims), file)


def _entry(raw: dict[str, Any], lines: dict[str, int], line: int, refuse: Any) -> Claim:
    """Check one mapping field by field and make it a Claim."""
    for name in ("id", "paper", "where", "statement", "kind", "verdict"):
        if not isinstance(raw[name], str) or not raw[name].strip():
            raise refuse(lines[name], f"{name}: got {raw[name]!r}, need text")
    for name in ("measured", "evidence", "note"):
        if raw[name] is not None and (not isinstance(raw[name], str) or not raw[name].strip()):
            raise refuse(lines[name], f"{name}: got {raw[name]!r}, need text or null")
    if not _ID.fullmatch(raw["id"]):
        raise refuse(lines["id"], f"id: got {raw['id']!r}, need small letters and digits joined by '-' or '.'")
    if isinstance(raw["published"], bool) or not isinstance(raw["published"], str | int | float | None):
        raise refuse(lines["published"], f"published: got {raw['published']!r}, need a number, text or null")
    depends = raw["depends_on"]
    if not isinstance(depends, list) or not all(isinstance(other, str) for other in depends):
        raise refuse(lines["depends_on"], f"depends_on: got {depends!r}, need a list of ids, [] if there is none")
    for name, allowed in (("kind", KINDS), ("verdict", VERDICTS)):
        if raw[name] not in allowed:
            raise refuse(lines[name], f"{name}: got {raw[name]!r}, need one of {', '.join(allowed)}")
    if raw["evidence"] is not None and not _EVIDENCE.fullmatch(raw["evidence"]):
        raise refuse(lines["evidence"], f"evidence: got {raw['evidence']!r}, need the form notebook.ipynb#label")
    if raw["verdict"] != "open" and raw["evidence"] is None:
        raise refuse(lines["evidence"], f"{raw['id']} is {raw['verdict']!r} without evidence, need notebook.ipynb#id")
    prose = {name: raw[name] and " ".join(raw[name].split()) for name in _PROSE}
    return Claim(**{**raw, **prose, "depends_on": tuple(depends), "line": line})


def _circle(edges: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return one directed circle of the graph as a closed list of names, or an empty list."""
    state: dict[str, int] = {}

    def visit(name: str, trail: list[str]) -> list[str]:
        if state.get(name) == 2:
            return []
        if state.get(name) == 1:
            return [*trail[trail.index(name) :], name]
        state[name] = 1
        for other in edges[name]:
            found = visit(other, [*trail, name])
            if found:
                return found
        state[name] = 2
        return []

    for name in edges:
        found = visit(name, [])
        if found:
            return found
    return []


# --- publishing from a cell -----------------------------------------------------------------------------------------


def claim(claim_id: str, /, **checks: Check) -> None:
    """Assert measured values for a claim and publish its badge, its record and the values.

    Every check is evaluated before anything is raised. Each value is glued under ``<id>.<name>``.

    Raises
    ------
    AssertionError
        Names each check that failed, the value against its bound.
    ValueError
        The id is not in the ledger (near ids are named), or a check is missing or not one.
    """
    entry = load_ledger()[claim_id]
    if not checks:
        raise ValueError(f"claim {claim_id!r}: got no check, need at least one, such as gap=at_most(gap, 1e-9)")
    for name, check in checks.items():
        if not isinstance(check, Check):
            got = type(check).__name__
            raise ValueError(f"claim {claim_id!r}, {name}: got {got}, need a check such as at_most(value, bound)")
    named = tuple(replace(check, name=name) for name, check in checks.items())
    failed = [check for check in named if not check.passed]
    if failed:
        listed = "; ".join(f"{check.name} = {check.value!r}, need {check.requirement}" for check in failed)
        raise AssertionError(f"claim {claim_id!r}: {len(failed)} of {len(named)} checks failed: {listed}")
    record = {"id": entry.id, "verdict": entry.verdict, "checks": [check.record() for check in named]}
    _publish({"text/plain": _plain(entry, named), "text/html": _badge(entry, named), CLAIM_MIME: record}, {})
    for check in named:
        _publish(*glue_bundle(f"{entry.id}.{check.name}", check.value))


def glue(values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
    """Publish numbers and words by name, for ``{glue:text}`` on any page; a mapping allows keys with dots.

    Raises ValueError for a key that the role could not name and a value that is not one finite number or word.
    """
    both = {**(values or {}), **named}
    if not both:
        raise ValueError("glue: got nothing, need at least one name=value")
    bundles = {key: glue_bundle(key, value) for key, value in both.items()}
    for key, (data, metadata) in bundles.items():
        if not _publish(data, metadata):
            print(f"{key} = {both[key]}")


def glue_bundle(key: str, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the mime data and metadata by which a value is stored in a notebook's output under ``key``."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(f"glue: got the key {key!r}, need letters, digits, '_', '-' and '.'")
    cast = _scalar(f"glue {key}", value)
    if isinstance(cast, float) and not math.isfinite(cast):
        raise ValueError(f"glue {key}: got {cast}, need a finite number")
    metadata = {"scrapbook": {"name": key, "mime_prefix": GLUE_PREFIX}}
    return {f"{GLUE_PREFIX}text/plain": repr(cast)}, metadata


def _publish(data: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Show a mime bundle where there is a display, else print its plain text; return whether there was one."""
    if "IPython" in sys.modules:
        from IPython.core.getipython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display(data, metadata=metadata, raw=True)
            return True
    if "text/plain" in data:
        print(data["text/plain"])
    return False


def _plain(entry: Claim, checks: tuple[Check, ...]) -> str:
    return f"{entry.id}: {_WORDS[entry.verdict]} ({'; '.join(map(str, checks))})"


def _badge(entry: Claim, checks: tuple[Check, ...]) -> str:
    """The badge as HTML: colours come from the site's variables, and the inline fallbacks suit a plain notebook."""
    colour = f"var(--claim-{entry.verdict}, {_COLOURS[entry.verdict]})"
    frame = (
        f"border:1px solid {colour};border-left-width:.4em;border-radius:.3em;padding:.4em .8em;margin:.4em 0;"
        "max-width:46em;line-height:1.5"
    )
    title = f"Claim {entry.id}: {_WORDS[entry.verdict]}"
    origin = entry.where if entry.kind == "ours" else f"{entry.paper}, {entry.where}"
    items = "".join(
        "<li style='margin:0'>"
        f"<span>{html.escape(check.name.replace('_', ' '))}</span> "
        f"<strong>{html.escape(_show(check.value))}</strong> "
        f"<span>(needed: {html.escape(check.requirement)})</span></li>"
        for check in checks
    )
    return (
        f'<div class="claim-badge" data-claim="{entry.id}" data-verdict="{entry.verdict}" role="group" '
        f'aria-label="{html.escape(title)}" style="{frame}">'
        f'<div><strong><span aria-hidden="true" style="color:{colour}">{_ICONS[entry.verdict]}</span> '
        f"{_WORDS[entry.verdict]}</strong> · <code>{entry.id}</code> · {html.escape(_untex(origin))}</div>"
        f'<ul style="list-style:none;margin:.2em 0 0;padding:0">{items}</ul></div>'
    )


def _untex(text: str) -> str:
    return text.replace("$", "")


# --- reading back what notebooks published --------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordedClaim:
    """A claim as one cell of a notebook published it."""

    id: str
    verdict: str
    checks: tuple[Check, ...]
    notebook: str
    cell: int
    cell_id: str


@dataclass(frozen=True)
class Recorded:
    """What the stored outputs of notebooks hold: the claims, and the glued values of each notebook by key."""

    claims: tuple[RecordedClaim, ...]
    values: dict[str, dict[str, Scalar]]

    def values_for(self, entry: Claim) -> dict[str, Scalar]:
        """The glued values that ``measured`` may show: the evidence notebook's own, then those that no two dispute."""
        every: dict[str, set[Scalar]] = {}
        for values in self.values.values():
            for key, value in values.items():
                every.setdefault(key, set()).add(value)
        agreed = {key: next(iter(found)) for key, found in every.items() if len(found) == 1}
        return {**agreed, **self.values.get(entry.notebook or "", {})}

    def find(self, entry: Claim) -> RecordedClaim | None:
        """The cell that the entry names as its evidence, if it exists and published the claim."""
        cells = [r for r in self.claims if r.id == entry.id and r.notebook == entry.notebook]
        if entry.label != entry.id:
            cells = [r for r in cells if r.cell_id == entry.label]
        return cells[0] if cells else None


def read_notebooks(folder: str | Path, names: list[str] | None = None) -> Recorded:
    """Read the claims and glued values from the notebooks under ``folder`` without executing anything.

    Raises ValueError when one notebook glues a key twice with two values, since a page could then show either.
    """
    root = Path(folder)
    paths = sorted(root.rglob("*.ipynb")) if names is None else [root / name for name in names]
    claims: list[RecordedClaim] = []
    values: dict[str, dict[str, Scalar]] = {}
    for path in paths:
        if ".ipynb_checkpoints" in path.parts or "_build" in path.parts:
            continue
        name = path.relative_to(root).as_posix()
        published, values[name] = _read_notebook(path, name, path.stat().st_mtime_ns)
        claims += published
    return Recorded(tuple(claims), values)


@lru_cache(maxsize=256)
def _read_notebook(path: Path, name: str, _modified: int) -> tuple[tuple[RecordedClaim, ...], dict[str, Scalar]]:
    from ast import literal_eval

    claims: list[RecordedClaim] = []
    values: dict[str, Scalar] = {}
    for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        for output in cell.get("outputs", []):
            data, scrap = output.get("data", {}), output.get("metadata", {}).get("scrapbook")
            if scrap:
                stored = data[f"{scrap.get('mime_prefix', '')}text/plain"]
                key, value = scrap["name"], literal_eval("".join(stored))
                if values.setdefault(key, value) != value:
                    raise ValueError(f"{name}: {key} is glued as {values[key]!r} and again as {value!r}")
            if CLAIM_MIME in data:
                record = data[CLAIM_MIME]
                checks = tuple(Check(**check) for check in record["checks"])
                claims.append(RecordedClaim(record["id"], record["verdict"], checks, name, index, cell.get("id", "")))
    return tuple(claims), values


def discrepancies(ledger: Ledger, recorded: Recorded) -> list[str]:
    """List, in words, everywhere the file and the notebooks disagree; an empty list means that they agree."""
    found: list[str] = []
    for record in recorded.claims:
        place = f"{record.notebook}, cell {record.cell_id or record.cell}"
        if record.id not in ledger:
            near = _near(record.id, [entry.id for entry in ledger])
            found.append(f"{place}: claim {record.id!r} is not in {ledger.path.name}{near}")
            continue
        if record.verdict != ledger[record.id].verdict:
            now = ledger[record.id].verdict
            found.append(f"{place}: {record.id} was published as {record.verdict!r}, the file says {now!r}; execute it")
        if not record.checks:
            found.append(f"{place}: {record.id} was published without a check")
        for check in record.checks:
            key = f"{record.id}.{check.name}"
            if not check.passed or not _again(check):
                found.append(f"{place}: {key} = {check.value!r} does not satisfy {check.requirement}")
            glued = recorded.values[record.notebook].get(key)
            if glued is None:
                found.append(f"{place}: {key} was not glued")
            elif glued != check.value:
                found.append(f"{place}: {key} is {check.value!r} in the record and {glued!r} as glued")
    for entry in ledger:
        where = f"{ledger.path.name}, line {entry.line}"
        if entry.evidence is not None and recorded.find(entry) is None:
            found.append(f"{where}: {entry.id} names {entry.evidence}, where no executed cell published it")
        if entry.measured is not None and not entry.keys:
            found.append(f"{where}: {entry.id}: measured shows no glued value, need one as {{key:format}}")
        try:
            entry.fill(recorded.values_for(entry))
        except ValueError as error:
            found.append(f"{where}: {error}")
    return found


def _again(check: Check) -> bool:
    """Evaluate a stored check anew from its value and bound."""
    remade = {
        "at_most": lambda: at_most(check.value, check.bound),
        "at_least": lambda: at_least(check.value, check.bound),
        "close_to": lambda: close_to(check.value, check.bound[0], atol=check.bound[1]),
        "inside": lambda: inside(check.value, *check.bound),
        "equal_to": lambda: equal_to(check.value, check.bound),
    }
    try:
        return remade[check.relation]().passed
    except (KeyError, ValueError):
        return False
