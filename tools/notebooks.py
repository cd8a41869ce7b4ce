"""Edit, execute and check the book's notebooks.

``text``   writes each notebook as MyST Markdown under ``_build/text``, where it is pleasant to edit and to review.
``apply``  brings edited text back: unchanged cells keep their id and outputs, new cells get a stable, readable id.
``run``    executes notebooks in place and normalises them; a notebook with a failing cell is left as it was.
``check``  says what a published notebook must not be (the same list that ``make test`` enforces).

Without file names, ``text``, ``run`` and ``check`` take every notebook of the book.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
TEXT = ROOT / "_build" / "text"

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"}
MAX_BYTES = 1_500_000
MAX_LINES = 25
UNCHECKED = {"nbval-skip", "nbval-ignore-output", "raises-exception", "nbval-raises-exception"}
UNCHECKED_COMMENT = re.compile(r"^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)", re.MULTILINE)
CELL_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Ids that editors invent: eight hexadecimal digits, or a UUID.
RANDOM_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?")


def notebooks() -> list[Path]:
    """List the book's notebooks."""
    return sorted(path for path in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def shown(path: Path) -> str:
    """Give a path as a reader would type it: relative to the repository where possible."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def read(path: Path) -> NotebookNode:
    """Read a notebook as nbformat 4."""
    return nbformat.read(path, as_version=4)


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook with sorted keys, all at once: an interruption leaves the old file or the new one."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook, version=4).rstrip("\n") + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False) as part:
        part.write(text)
    try:
        os.chmod(part.name, 0o644)
        os.replace(part.name, path)
    except BaseException:
        os.unlink(part.name)
        raise


# --------------------------------------------------------------------------------------------- stable ids


def slug(words: str) -> str:
    """Lower-case words joined by hyphens, at most 48 characters: ``slug("Where it breaks")`` is ``where-it-breaks``."""
    plain = re.sub(r"\{[^}]*\}`([^`]*)`", r"\1", words)
    plain = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    return plain[:48].rstrip("-")


def _own_name(cell: NotebookNode) -> str:
    """Name a cell by what it says of itself: its label, its claim, its figure, its heading; '' where it says none."""
    metadata = cell.metadata
    if cell.cell_type == "code":
        if "google.colab" in cell.source:
            return "setup"
        figure = metadata.get("mystnb", {}).get("figure", {}).get("name", "")
        claim = metadata.get("claim", "")
        return slug(metadata.get("label", "") or (f"claim-{claim}" if claim else "") or figure)
    label = re.match(r"\s*\(([^)]+)\)=\s*$", cell.source, re.MULTILINE)
    heading = re.search(r"^#+ +(.+)$", cell.source, re.MULTILINE)
    return slug(label[1] if label else heading[1] if heading else "")


def _name_cells(cells: Sequence[NotebookNode]) -> None:
    """Give an id to each cell whose id is empty: its own name, else the section's name and an ordinal."""
    taken = {cell.id for cell in cells if cell.get("id")}
    section, ordinal = "start", 0
    for cell in cells:
        own = _own_name(cell)
        if cell.cell_type == "markdown" and own:
            section, ordinal = own, 0
        if cell.get("id"):
            continue
        if cell.cell_type == "code" and own and own in taken:
            own = f"{own}-code"
        name = own
        number = 1
        while not name or name in taken:
            if own:
                number += 1
                name = f"{own}-{number}"
            else:
                ordinal += 1
                name = f"{section}-{ordinal}"
        cell["id"] = name
        taken.add(name)


# --------------------------------------------------------------------------------------------- text and back


def to_text(notebook: NotebookNode) -> str:
    """Give a notebook as MyST Markdown, without outputs; each cell's id is written so that it survives editing."""
    import jupytext

    copy = nbformat.from_dict({**notebook, "metadata": {"kernelspec": KERNELSPEC}, "cells": []})
    for cell in notebook.cells:
        metadata = {**cell.metadata, "id": cell.id}
        plain = {"cell_type": cell.cell_type, "id": cell.id, "metadata": metadata, "source": cell.source}
        if cell.cell_type == "code":
            plain |= {"outputs": [], "execution_count": None}
        copy.cells.append(nbformat.from_dict(plain))
    return jupytext.writes(copy, fmt="md:myst")


def from_text(text: str, old: NotebookNode | None) -> NotebookNode:
    """Give the notebook that a MyST text describes; cells unchanged since ``old`` keep their id and outputs.

    A cell carries its id in its metadata. Where it has none (a cell written by hand), it takes the id of an old cell
    with the same source, or else a new one made from its label, claim, figure or heading.

    Raises:
        ValueError: two cells carry the same id.
    """
    import jupytext

    parsed = jupytext.reads(text, fmt="md:myst")
    before = list(old.cells) if old else []
    by_id = {cell.id: cell for cell in before}
    cells = [nbformat.from_dict({**cell}) for cell in parsed.cells]
    for cell in cells:
        cell["id"] = cell.metadata.pop("id", "")
    given = [cell.id for cell in cells if cell.id]
    repeated = sorted({name for name in given if given.count(name) > 1})
    if repeated:
        raise ValueError(f"got two cells with the id {', '.join(repeated)}, need each id once (drop it from the copy)")
    free = [cell for cell in before if cell.id not in given]
    for cell in cells:
        if not cell.id:
            same = next((c for c in free if (c.cell_type, c.source) == (cell.cell_type, cell.source)), None)
            if same is not None:
                cell["id"] = same.id
                free.remove(same)
    _name_cells(cells)
    for cell in cells:
        if cell.cell_type != "code":
            continue
        was = by_id.get(cell.id)
        kept = was is not None and was.cell_type == "code" and was.source == cell.source
        cell["outputs"] = was.outputs if was is not None and kept else []
        cell["execution_count"] = was.execution_count if was is not None and kept else None
    notebook = nbformat.v4.new_notebook(cells=cells)
    normalise(notebook)
    return notebook


def text_path(path: Path) -> Path:
    """Say where the text of a notebook lies."""
    path = path.resolve()
    relative = path.relative_to(BOOK) if path.is_relative_to(BOOK) else Path(path.name)
    return (TEXT / relative).with_suffix(".md")


def notebook_path(path: Path) -> Path:
    """Say which notebook a text under ``_build/text`` belongs to.

    Raises:
        ValueError: the text lies elsewhere.
    """
    path = path.resolve()
    if not path.is_relative_to(TEXT):
        raise ValueError(f"got the text {shown(path)}, need one under {shown(TEXT)}, or name the notebook with --to")
    return (BOOK / path.relative_to(TEXT)).with_suffix(".ipynb")


# --------------------------------------------------------------------------------------------- execution


def normalise(notebook: NotebookNode) -> None:
    """Remove what differs from machine to machine, and number the executed cells 1..n."""
    notebook["metadata"] = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE})
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    count = 0
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "collapsed", "scrolled", "jupyter", "editable"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code" or cell.execution_count is None:
            continue
        count += 1
        cell["execution_count"] = count
        merged: list[NotebookNode] = []
        for output in cell.outputs:
            if output.output_type == "stream" and merged and merged[-1].get("name") == output.name:
                merged[-1]["text"] += output.text
                continue
            if output.output_type == "execute_result":
                output["execution_count"] = count
            merged.append(output)
        cell["outputs"] = merged


class CellFailed(Exception):
    """A cell raised an exception; the message shows the cell and the exception."""


def execute(notebook: NotebookNode, folder: Path, timeout: float = 600, name: str = "notebook") -> float:
    """Execute all cells in order, by this environment's own interpreter; return the seconds it took.

    Raises:
        CellFailed: a cell raised, ran out of time, or the kernel died.
    """
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from traitlets import default

    class OwnSpec(KernelSpecManager):
        """Whatever kernel is asked for, the interpreter that runs this file answers."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict(["--IPKernelApp.log_level=40"]))

    class OwnKernel(AsyncKernelManager):
        """A kernel manager that knows no other interpreter than this one."""

        @default("kernel_spec_manager")
        def _own_spec(self) -> KernelSpecManager:
            return OwnSpec(parent=self)

    environment = {"SSLTHEORY_OUTPUT": "published", "OMP_NUM_THREADS": "1"}
    before = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    done = 0
    began = time.perf_counter()

    def started(cell: NotebookNode, **_: Any) -> None:
        nonlocal done
        if cell.cell_type == "code":
            done += 1
            print(f"  {name}: {done:>3}/{total} {cell.id:<40}", end="", file=sys.stderr, flush=True)

    def finished(cell: NotebookNode, **_: Any) -> None:
        print(f" {time.perf_counter() - began:7.1f} s", file=sys.stderr, flush=True)

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell["outputs"], cell["execution_count"] = [], None
    client = NotebookClient(
        notebook,
        kernel_manager_class=OwnKernel,
        kernel_name="python3",
        timeout=timeout,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=started,
        on_cell_executed=finished,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(file=sys.stderr)
        codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
        where = f"cell {done} '{codes[done - 1].id}'" if done else "the kernel"
        raise CellFailed(f"{name}: {where} failed\n{error}") from error
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
    return time.perf_counter() - began


# --------------------------------------------------------------------------------------------- the rules


def repository() -> str:
    """Read the repository's address from its one place of truth, ``pyproject.toml``."""
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]


def _cell_problems(cell: NotebookNode) -> Iterable[str]:
    """What is wrong with one code cell."""
    lines = len(cell.source.splitlines())
    if lines > MAX_LINES:
        yield f"has {lines} lines, need at most {MAX_LINES}: move the computation into the module"
    if cell.execution_count is None:
        yield "was never run, need an executed notebook (make notebooks)"
    silenced = UNCHECKED & set(cell.metadata.get("tags", []))
    comment = UNCHECKED_COMMENT.search(cell.source)
    if silenced or comment:
        yield f"is kept from comparison by {comment[1] if comment else ', '.join(sorted(silenced))}, need it compared"
    loosened = cell.metadata.get("nbval", {})
    if loosened and not loosened.get("reason"):
        yield "loosens the comparison (metadata nbval) without a reason, need nbval: {rtol: …, reason: …}"
    pictures = 0
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"published the error {output.get('ename')}: {output.get('evalue')}"
        if output.output_type == "stream" and output.get("name") == "stderr":
            yield f"wrote to stderr: {output.text.strip()[:100]!r}"
        data = output.get("data", {})
        if any("widget" in mime for mime in data):
            yield "published a kernel widget, need an explorer, which works without a kernel"
        pictures += any(mime.startswith("image/") for mime in data)
    if not pictures:
        return
    mystnb = cell.metadata.get("mystnb", {})
    if len(str(mystnb.get("image", {}).get("alt", "")).strip()) < 20:
        yield "shows a picture without alt text, need mystnb: {image: {alt: what is seen}} (20 characters or more)"
    for part in ("name", "caption"):
        if not str(mystnb.get("figure", {}).get(part, "")).strip():
            yield f"shows a picture without a figure {part}, need mystnb: {{figure: {{{part}: …}}}}"
    if pictures > 1:
        yield f"shows {pictures} pictures, need one message and one figure a cell"


def problems(notebook: NotebookNode, size: int = 0) -> list[str]:
    """List what keeps a notebook from being published; ``size`` is its length in bytes."""
    found = []
    if size > MAX_BYTES:
        found.append(f"is {size:,} bytes, need at most {MAX_BYTES:,}: fewer or lighter figures")
    kernel = dict(notebook.metadata.get("kernelspec", {}))
    if kernel != KERNELSPEC:
        found.append(f"has the kernelspec {kernel}, need {KERNELSPEC}")
    if "widgets" in notebook.metadata:
        found.append("keeps widget state, need none")
    ids = [cell.get("id", "") for cell in notebook.cells]
    for name in sorted({name for name in ids if ids.count(name) > 1}):
        found.append(f"has the cell id {name!r} {ids.count(name)} times, need each once")
    for name in ids:
        if not CELL_ID.fullmatch(name) or RANDOM_ID.fullmatch(name):
            found.append(f"has the cell id {name!r}, need readable words such as 'phase-portraits-2'")
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if codes:
        setup = codes[0]
        wanted = {"'google.colab'": "google.colab", "%pip install": "%pip install", "git+": f"git+{repository()}"}
        missing = [what for what, text in wanted.items() if text not in setup.source]
        if setup.get("id") != "setup" or missing or "hide-cell" not in setup.metadata.get("tags", []):
            found.append(
                "must start its code with a cell 'setup', tagged hide-cell, that installs the package on Colab: "
                f"if 'google.colab' in sys.modules: %pip install -q git+{repository()}"
            )
    else:
        found.append("has no code cell")
    counts = [cell.execution_count for cell in codes if cell.execution_count is not None]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"has execution counts {counts}, need 1..{len(counts)} in order (make notebooks)")
    for cell in codes:
        found += [f"cell {cell.get('id')!r} {problem}" for problem in _cell_problems(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            if cell.get("attachments"):
                found.append(f"cell {cell.get('id')!r} carries an attached picture, need a figure made by code")
            if re.search(r"!\[\s*\]\(", cell.source):
                found.append(f"cell {cell.get('id')!r} shows a picture without alt text")
    return found


# --------------------------------------------------------------------------------------------- commands


def _check(paths: Sequence[Path]) -> int:
    bad = 0
    for path in paths:
        found = problems(read(path), path.stat().st_size)
        for problem in found:
            print(f"{shown(path)}: {problem}")
        bad += bool(found)
    print(f"{len(paths)} notebooks, {bad} with problems")
    return min(bad, 1)


def _run(paths: Sequence[Path], timeout: float) -> int:
    failed = []
    for path in paths:
        notebook = read(path)
        try:
            seconds = execute(notebook, path.parent, timeout, shown(path))
        except CellFailed as failure:
            print(f"{failure}\n{shown(path)} is left as it was.", file=sys.stderr)
            failed.append(path)
            continue
        normalise(notebook)
        write(notebook, path)
        found = problems(notebook, path.stat().st_size)
        print(f"{shown(path)}: executed in {seconds:.1f} s" + "".join(f"\n  to mend: {problem}" for problem in found))
        if found:
            failed.append(path)
    return min(len(failed), 1)


def _text(paths: Sequence[Path]) -> int:
    for path in paths:
        to = text_path(path)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(to_text(read(path)), encoding="utf-8")
        print(f"{shown(path)} -> {shown(to)}")
    return 0


def _apply(paths: Sequence[Path], to: Path | None) -> int:
    if to is not None and len(paths) != 1:
        raise ValueError(f"got {len(paths)} texts with --to, need one")
    for path in paths:
        target = to or notebook_path(path)
        old = read(target) if target.exists() else None
        notebook = from_text(path.read_text(encoding="utf-8"), old)
        write(notebook, target)
        unrun = sum(cell.cell_type == "code" and cell.execution_count is None for cell in notebook.cells)
        print(f"{shown(path)} -> {shown(target)}; {unrun} code cells to run")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("text", "write notebooks as MyST text under _build/text"),
        ("run", "execute in place and normalise"),
        ("check", "say what keeps a notebook from being published"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("paths", nargs="*", type=Path, metavar="NB", help="default: every notebook of the book")
        if name == "run":
            command.add_argument("--timeout", type=float, default=600, help="seconds a cell may take (default 600)")
    command = commands.add_parser("apply", help="bring edited MyST text back into notebooks")
    command.add_argument("paths", nargs="+", type=Path, metavar="MD")
    command.add_argument("--to", type=Path, help="the notebook to write, for a text that lies elsewhere")
    options = parser.parse_args(arguments)
    paths = options.paths or notebooks()
    try:
        for path in paths:
            if not path.is_file():
                raise ValueError(f"got {path}, need an existing file")
        if options.command == "text":
            return _text(paths)
        if options.command == "apply":
            return _apply(paths, options.to)
        if options.command == "run":
            return _run(paths, options.timeout)
        return _check(paths)
    except (ValueError, json.JSONDecodeError, nbformat.reader.NotJSONError) as error:
        print(f"notebooks: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
