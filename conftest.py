"""How an executed notebook is compared with the published one, strictly.

nbval on its own compares little: it passes a cell that was never run and skips much. Here every output is compared:
its kind, its mime types, its words exactly, and each floating-point number within a tolerance. Pictures (PNG, JPEG)
are not compared, since they differ from one machine's fonts to another's: the data they plot are tested instead.

An error that a claim bounds (a check "at most 1e-6" or less) is what rounding leaves, and no two processors leave the
same: it may be up to ten times larger or smaller, within its bound.

A cell may loosen its tolerance, and must say why: ``nbval: {rtol: 1.0e-3, reason: "a stochastic sum in threads"}``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from _pytest.junitxml import xml_key

try:
    from nbval.kernel import RunningKernel
    from nbval.plugin import IPyNbCell, IPyNbFile
except ImportError:  # the tests of the module alone need no notebooks
    IPyNbCell = IPyNbFile = RunningKernel = None
_start_kernel = getattr(IPyNbFile, "setup", None)

KERNEL_ENVIRONMENT = {"SSLTHEORY_OUTPUT": "published", "OMP_NUM_THREADS": "1"}
PICTURES = ("image/png", "image/jpeg")
CLAIM = "application/vnd.ssltheory.claim+json"
ERROR_BOUND = 1e-6
ERROR_FACTOR = 10.0
EMBEDDED_PICTURE = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=\s]+")
# The data of an explorer are a drawing whose numbers are rounded to four digits; a rounding may fall either way.
DRAWING = re.compile(r"(<script[^>]*application/json[^>]*>)(.*?)(</script>)", re.DOTALL)
# A number with a decimal point or an exponent, or an infinity; whole numbers are compared as words, exactly.
FLOAT = re.compile(
    r"(?<![\d.])[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|(?<![\w.])[-+]?\d+[eE][-+]?\d+\b|(?<![\w.])[-+]?inf\b"
)


@dataclass(frozen=True)
class Tolerance:
    """Two floats agree if they differ by at most ``max(atol, rtol * the larger)``, or are a pair of ``errors``."""

    rtol: float = 1e-6
    atol: float = 1e-9
    errors: tuple[tuple[float, float], ...] = ()

    def agree(self, a: float, b: float) -> bool:
        """Compare two numbers; a NaN agrees with a NaN only, an infinity with the same infinity only."""
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        if math.isinf(a) or math.isinf(b):
            return a == b
        if abs(a - b) <= max(self.atol, self.rtol * max(abs(a), abs(b))):
            return True
        # A badge shows four digits of an error.
        return any(all(map(partial(math.isclose, rel_tol=1e-3), (a, b), pair)) for pair in self.errors)


DRAWN = Tolerance(rtol=2e-3, atol=1e-6)


def tolerance_of(metadata: dict[str, Any]) -> Tolerance:
    """Read the tolerance of a cell from its metadata.

    Raises:
        ValueError: an unknown key, a number that is none, or no reason.
    """
    loosened = dict(metadata.get("nbval", {}))
    if not loosened:
        return Tolerance()
    if not loosened.pop("reason", ""):
        raise ValueError("got metadata nbval without a reason, need nbval: {rtol: …, reason: …}")
    if not loosened.keys() <= {"rtol", "atol"} or not all(isinstance(v, int | float) for v in loosened.values()):
        raise ValueError(f"got metadata nbval {loosened}, need numbers rtol, atol, and a reason")
    return Tolerance(**loosened)


# --------------------------------------------------------------------------------------------- comparison


def _text_differences(where: str, old: str, new: str, tolerance: Tolerance) -> Iterator[str]:
    """Compare two texts: words exactly, floats within the tolerance."""
    if old == new:
        return
    old, new = EMBEDDED_PICTURE.sub("data:image;…", old), EMBEDDED_PICTURE.sub("data:image;…", new)
    old_drawings, new_drawings = DRAWING.findall(old), DRAWING.findall(new)
    if old_drawings and len(old_drawings) == len(new_drawings):
        for (_, was, _), (_, now, _) in zip(old_drawings, new_drawings, strict=True):
            loose = Tolerance(max(DRAWN.rtol, tolerance.rtol), max(DRAWN.atol, tolerance.atol))
            yield from _drawing_differences(f"{where}, drawing", was, now, loose)
        old, new = DRAWING.sub(r"\1\3", old), DRAWING.sub(r"\1\3", new)
    old_words, new_words = FLOAT.split(old), FLOAT.split(new)
    old_floats, new_floats = FLOAT.findall(old), FLOAT.findall(new)
    if old_words != new_words:
        yield f"{where}: the words differ\n  published: {_near(old, new)}\n  computed:  {_near(new, old)}"
        return
    for a, b in zip(old_floats, new_floats, strict=True):
        if not tolerance.agree(float(a), float(b)):
            yield f"{where}: published {a}, computed {b} (rtol {tolerance.rtol:g}, atol {tolerance.atol:g})"


def _drawing_differences(where: str, old: str, new: str, tolerance: Tolerance) -> Iterator[str]:
    """Compare two drawings as JSON, where 1 and 1.0 are the same number."""
    try:
        yield from _json_differences(where, json.loads(old), json.loads(new), tolerance, drawn=True)
    except ValueError:
        if old != new:
            yield f"{where}: the data differ and are not JSON"


def _json_differences(where: str, old: Any, new: Any, tolerance: Tolerance, drawn: bool = False) -> Iterator[str]:
    """Compare two JSON values: floats within the tolerance, everything else exactly."""
    number = int | float
    if isinstance(old, bool) or isinstance(new, bool) or not isinstance(old, number) or not isinstance(new, number):
        if type(old) is not type(new):
            yield f"{where}: published {str(old)[:200]}, computed {str(new)[:200]}"
        elif isinstance(old, dict):
            if old.keys() != new.keys():
                yield f"{where}: published the keys {sorted(old)}, computed {sorted(new)}"
            for key in sorted(old.keys() & new.keys()):
                yield from _json_differences(f"{where}.{key}", old[key], new[key], tolerance, drawn)
        elif isinstance(old, list):
            if len(old) != len(new):
                yield f"{where}: published {len(old)} items, computed {len(new)}"
            for index, (a, b) in enumerate(zip(old, new, strict=False)):
                yield from _json_differences(f"{where}[{index}]", a, b, tolerance, drawn)
        elif isinstance(old, str):
            yield from _text_differences(where, old, new, tolerance)
        elif old != new:
            yield f"{where}: published {old}, computed {new}"
        return
    exact = isinstance(old, int) and isinstance(new, int) and not drawn
    if (exact and old != new) or (not exact and not tolerance.agree(float(old), float(new))):
        yield f"{where}: published {old}, computed {new} (rtol {tolerance.rtol:g}, atol {tolerance.atol:g})"


def _near(text: str, other: str, width: int = 60) -> str:
    """Quote a text around the first place where it leaves another."""
    start = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))
    return repr(text[max(0, start - width) : start + width])


def _flat(value: Any) -> Any:
    """Join the lines of a text that nbformat split."""
    return "".join(value) if isinstance(value, list) and value and all(isinstance(v, str) for v in value) else value


def _one(number: int, old: Any, new: Any, tolerance: Tolerance) -> Iterator[str]:
    """Compare one output with its published counterpart."""
    where = f"output {number}"
    kind = old["output_type"]
    if kind != new["output_type"]:
        yield f"{where}: published {kind}, computed {new['output_type']}"
        return
    if kind == "stream":
        if old["name"] != new["name"]:
            yield f"{where}: published on {old['name']}, computed on {new['name']}"
        yield from _text_differences(f"{where}, {old['name']}", _flat(old["text"]), _flat(new["text"]), tolerance)
        return
    if kind == "error":
        was, now = (f"{output['ename']}: {output['evalue']}" for output in (old, new))
        yield from _text_differences(where, was, now, tolerance)
        return
    was, now = old["data"], new["data"]
    if was.keys() != now.keys():
        yield f"{where}: published as {sorted(was)}, computed as {sorted(now)}"
    for mime in sorted((was.keys() & now.keys()) - set(PICTURES)):
        a, b = _flat(was[mime]), _flat(now[mime])
        if isinstance(a, str) and isinstance(b, str):
            yield from _text_differences(f"{where}, {mime}", a, b, tolerance)
        else:
            yield from _json_differences(f"{where}, {mime}", a, b, tolerance)
    kept = [{k: v for k, v in o.get("metadata", {}).items() if k not in PICTURES} for o in (old, new)]
    yield from _json_differences(f"{where}, metadata", kept[0], kept[1], tolerance)


def errors_of(published: Sequence[Any], computed: Sequence[Any]) -> Iterator[tuple[float, float]]:
    """The errors that the claims of a cell bound, published and computed, where both are of one size."""
    for old, new in zip(published, computed, strict=False):
        was, now = (output.get("data", {}).get(CLAIM, {}).get("checks", ()) for output in (old, new))
        for a, b in zip(was, now, strict=False):
            same = all(a[key] == b[key] for key in ("name", "relation", "bound"))
            if not same or a["relation"] != "at_most" or not 0 < a["bound"] <= ERROR_BOUND:
                continue
            p, c = float(a["value"]), float(b["value"])
            low, high = sorted(max(value, Tolerance.atol) for value in (p, c))
            if min(p, c) >= 0 and max(p, c) <= a["bound"] and high <= ERROR_FACTOR * low:
                yield p, c


def differences(published: Sequence[Any], computed: Sequence[Any], tolerance: Tolerance | None = None) -> list[str]:
    """Say in words how the computed outputs of a cell differ from the published ones; an empty list if they agree."""
    tolerance = replace(tolerance or Tolerance(), errors=tuple(errors_of(published, computed)))
    found = []
    if len(published) != len(computed):
        kinds = [[o["output_type"] for o in outputs] for outputs in (published, computed)]
        found.append(f"published {len(published)} outputs {kinds[0]}, computed {len(computed)} {kinds[1]}")
    for number, (old, new) in enumerate(zip(published, computed, strict=False), start=1):
        found += _one(number, old, new, tolerance)
    return found


# --------------------------------------------------------------------------------------------- pytest


def _compare_outputs(self: Any, test: Sequence[Any], ref: Sequence[Any], skip_compare: Any = None) -> bool:
    """Take the place of nbval's comparison."""
    try:
        found = differences(ref, test, tolerance_of(self.cell.metadata))
    except ValueError as error:
        found = [str(error)]
    self.comparison_traceback = found[:20] + ([f"… and {len(found) - 20} more"] if len(found) > 20 else [])
    return not found


def _execute_as_a_reader(self: Any, cell_input: str, allow_stdin: bool | None = None) -> str:
    """Execute with history: without it, as nbval does, a closing ``;`` no longer silences a value."""
    return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


def _setup_in_published_form(self: Any) -> None:
    """Start the kernel so that its outputs take the form of the site."""
    before = {key: os.environ.get(key) for key in KERNEL_ENVIRONMENT}
    os.environ.update(KERNEL_ENVIRONMENT)
    try:
        _start_kernel(self)
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Fail a cell that was never run: nbval would pass it."""
    if IPyNbCell is not None and isinstance(item, IPyNbCell) and item.cell.execution_count is None:
        pytest.fail(f"cell {item.cell.get('id')!r} was never run, need an executed notebook (make notebooks)", False)


def machine() -> dict[str, str]:
    """Describe the class of machine and the versions that a run time depends on; nothing that names the machine."""
    facts = {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"}
    facts["python"] = platform.python_version()
    for package in ("numpy", "scipy", "numba", "torch", "matplotlib"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Put the strict comparison in nbval's place, and record in the test report what the run is measured on."""
    if IPyNbCell is not None:
        IPyNbCell.compare_outputs = _compare_outputs
        IPyNbFile.setup = _setup_in_published_form
        RunningKernel.execute_cell_input = _execute_as_a_reader
    report = config.stash.get(xml_key, None)
    if report is not None:
        for name, value in machine().items():
            report.add_global_property(name, value)
