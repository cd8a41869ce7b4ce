"""Sphinx extension: the run time of each chapter, from the last test run.

Directive ``{run-times}`` is a table: chapter, seconds, cells, outcome. Role ``{run-time}`` gives the time of one
chapter in words: "12 seconds". Both read the test report that ``make test`` leaves in ``_build/reports``, or, where
there is none or it does not cover every notebook, the committed record ``book/data/run-times.json``. ``make times``
renews that record: this file, run as a command, does it.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
REPORT = ROOT / "_build" / "reports" / "notebooks.xml"
RECORD = ROOT / "book" / "data" / "run-times.json"


@dataclass(frozen=True)
class Chapter:
    """One executed notebook: its document name, seconds, code cells, and how many of them failed."""

    document: str
    seconds: float
    cells: int
    failed: int

    @property
    def outcome(self) -> str:
        """Say in words how the run ended."""
        return f"{self.failed} of {self.cells} cells failed" if self.failed else "every output repeats"


@dataclass(frozen=True)
class Run:
    """One run of the tests: its date, what it ran on, and its chapters."""

    date: str
    environment: dict[str, str]
    chapters: tuple[Chapter, ...]

    @property
    def seconds(self) -> float:
        """Sum the seconds over the chapters."""
        return sum(chapter.seconds for chapter in self.chapters)


def read_report(text: str) -> Run:
    """Read a run from the XML that ``pytest --junitxml`` wrote.

    Raises:
        ValueError: not such a report.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ValueError(f"got a report that is not XML ({error}), need the one that make test writes") from error
    suite = root if root.tag == "testsuite" else root.find("testsuite")
    if suite is None:
        raise ValueError(f"got a report with the root {root.tag!r}, need testsuites")
    cells: dict[str, list[tuple[float, bool]]] = {}
    for case in suite.iter("testcase"):
        name = case.get("classname", "")
        if name.startswith("book.") and name.endswith(".ipynb"):
            document = name.removeprefix("book.").removesuffix(".ipynb").replace(".", "/")
            failed = case.find("failure") is not None or case.find("error") is not None
            cells.setdefault(document, []).append((float(case.get("time", 0)), failed))
    chapters = tuple(
        Chapter(document, round(sum(seconds for seconds, _ in runs), 1), len(runs), sum(failed for _, failed in runs))
        for document, runs in sorted(cells.items())
    )
    environment = {p.get("name", ""): p.get("value", "") for p in suite.iter("property")}
    return Run(suite.get("timestamp", "")[:10], environment, chapters)


def read_record(text: str) -> Run:
    """Read a run from the committed record."""
    record = json.loads(text)
    return Run(record["date"], record["environment"], tuple(Chapter(**chapter) for chapter in record["chapters"]))


def write_record(run: Run) -> str:
    """Give the text of the committed record: what ``read_record`` reads."""
    record: dict[str, Any] = {
        "command": "make test NB_WORKERS=1 && make times",
        "date": run.date,
        "environment": run.environment,
        "chapters": [asdict(chapter) for chapter in run.chapters],
    }
    return json.dumps(record, indent=1) + "\n"


def last_run(documents: set[str], report: Path = REPORT, record: Path = RECORD) -> tuple[Run | None, str]:
    """Find the run to show for the notebooks ``documents``, and say where it comes from.

    A report counts only if it covers every notebook (a run of a part of the tests does not); else the record; where
    there is neither, nothing.
    """
    if report.is_file():
        try:
            run = read_report(report.read_text(encoding="utf-8"))
        except ValueError:
            run = None
        if run and documents <= {chapter.document for chapter in run.chapters}:
            return run, "the last run of the tests in this copy of the book"
    if record.is_file():
        return read_record(record.read_text(encoding="utf-8")), "the run recorded with the book"
    return None, "no run yet"


def notebooks(book: Path = ROOT / "book") -> set[str]:
    """List the documents that are notebooks."""
    paths = (path for path in book.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    return {path.relative_to(book).with_suffix("").as_posix() for path in paths}


def in_words(seconds: float) -> str:
    """Give a run time as a reader wants it: ``in_words(12.3)`` is "12 seconds", ``in_words(100)`` "1.7 minutes"."""
    if seconds >= 90:
        return f"{seconds / 60:.1f} minutes"
    whole = max(1, round(seconds))
    return "1 second" if whole == 1 else f"{whole} seconds"


def main() -> int:
    """Renew the committed record from the last test run."""
    if not REPORT.is_file():
        print("run_times: no test report in _build/reports, need one: make test", file=sys.stderr)
        return 1
    run = read_report(REPORT.read_text(encoding="utf-8"))
    missing = notebooks() - {chapter.document for chapter in run.chapters}
    failed = [chapter.document for chapter in run.chapters if chapter.failed]
    if missing or failed:
        what = f"{', '.join(sorted(missing))} not run" if missing else f"{', '.join(failed)} failed"
        print(f"run_times: got a test run with {what}, need a complete passing one: make test", file=sys.stderr)
        return 1
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(write_record(run), encoding="utf-8")
    print(f"{RECORD.relative_to(ROOT)}: {len(run.chapters)} notebooks, {in_words(run.seconds)}")
    return 0


def setup(app: Any) -> dict[str, Any]:
    """Register the directive and the role."""
    from docutils import nodes
    from sphinx import addnodes
    from sphinx.util.docutils import SphinxDirective, SphinxRole

    def link(document: str) -> nodes.Node:
        """Link to a chapter by its title, or name it where it is not part of the book."""
        text = nodes.literal(document, document)
        if document not in app.env.found_docs:
            return text
        options = {"refdomain": "std", "reftype": "doc", "reftarget": f"/{document}", "refexplicit": False}
        return addnodes.pending_xref("", nodes.inline("", document), refwarn=True, refdoc=app.env.docname, **options)

    def row(*entries: nodes.Node | str) -> nodes.row:
        cells = [nodes.entry("", nodes.paragraph("", "", nodes.Text(e) if isinstance(e, str) else e)) for e in entries]
        return nodes.row("", *cells)

    def renewed_with_the_run(env: Any) -> None:
        for path in (REPORT, RECORD):
            env.note_dependency(str(path))

    class RunTimes(SphinxDirective):
        """The table of run times."""

        def run(self) -> list[nodes.Node]:
            renewed_with_the_run(self.env)
            found, source = last_run(notebooks())
            if found is None:
                words = "The tests have not been run in this copy of the book: "
                return [nodes.paragraph("", "", nodes.Text(words), nodes.literal("", "make test"), nodes.Text("."))]
            versions = dict(found.environment)
            machine = versions.pop("machine", "a machine not recorded")
            listed = ", ".join(f"{name} {number}" for name, number in versions.items())
            about = nodes.paragraph("", f"Measured on {found.date} on {machine}, with {listed}: {source}.")
            head = nodes.thead("", row("Chapter", "Seconds", "Code cells", "Outcome"))
            body = nodes.tbody("")
            for chapter in found.chapters:
                body += row(link(chapter.document), f"{chapter.seconds:.1f}", str(chapter.cells), chapter.outcome)
            failed = sum(chapter.failed for chapter in found.chapters)
            total = f"{failed} cells failed" if failed else "every output repeats"
            body += row("All", f"{found.seconds:.1f}", str(sum(c.cells for c in found.chapters)), total)
            group = nodes.tgroup("", *(nodes.colspec(colwidth=w) for w in (40, 15, 15, 30)), head, body, cols=4)
            return [about, nodes.table("", group, classes=["run-times"])]

    class RunTime(SphinxRole):
        """The run time of one chapter, in words."""

        def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
            renewed_with_the_run(self.env)
            known = notebooks()
            if self.text not in known:
                need = f"got the chapter {self.text!r}, need one of {', '.join(sorted(known))}"
                return [], [self.inliner.reporter.error(need, line=self.lineno)]
            found, _ = last_run(known)
            chapters = {c.document: c for c in found.chapters} if found else {}
            words = in_words(chapters[self.text].seconds) if self.text in chapters else "a time not yet measured"
            return [nodes.Text(words)], []

    app.add_directive("run-times", RunTimes)
    app.add_role("run-time", RunTime())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    sys.exit(main())
