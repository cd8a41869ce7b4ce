"""Recorded data: numbers too long to compute while a reader waits, kept with what made them."""

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

J = TypeVar("J")
T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """Data and its provenance: the command, date, machine, package versions and seconds that made it.

    A "note" in the provenance says what the command alone does not, such as a part that was made again.
    """

    data: Any
    provenance: Mapping[str, Any]

    def __str__(self) -> str:
        """Say in one sentence where the data come from."""
        p = self.provenance
        versions = ", ".join(f"{name} {version}" for name, version in p["versions"].items())
        return (
            f"made by `{p['command']}` on {p['date']} in {p['seconds']:.0f} s"
            f" on {p['machine']['cores']} cores ({p['machine']['system']}, {versions})"
            + (f"; {p['note']}" if "note" in p else "")
        )


def write_record(
    path: str | Path,
    data: Any,
    *,
    command: str,
    seconds: float,
    packages: Sequence[str] = ("numpy", "scipy", "numba"),
    machine: Mapping[str, Any] | None = None,
) -> Path:
    """Write JSON data with its provenance, all at once: an interruption leaves the old file or the new one.

    ``machine`` adds to the number of cores and the kind of system (an accelerator's name, say). Raises ``ValueError``
    for data that JSON cannot hold, NaN and infinities among them, before the old file is touched.
    """
    path = Path(path)
    record = {
        "provenance": {
            "command": command,
            "date": datetime.now(UTC).date().isoformat(),
            "seconds": round(float(seconds), 1),
            "machine": {
                "cores": os.cpu_count(),
                "system": f"{platform.system()} {platform.machine()}",
                **(machine or {}),
            },
            "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in packages}},
        },
        "data": data,
    }
    try:
        text = json.dumps(record, allow_nan=False, indent=1)
    except (TypeError, ValueError) as problem:
        raise ValueError(f"the data for {path.name} cannot be written as JSON: {problem}") from None
    return write_whole(path, [f"{text}\n".encode()])


def write_whole(path: str | Path, parts: Iterable[bytes | memoryview]) -> Path:
    """Write bytes to a file, all at once: an interruption leaves the old file or the new one.

    They go to a file beside it, which takes its place when they are on the disk. Raises ``OSError`` if that fails, and
    the old file stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def unwritable(path: str | Path) -> str | None:
    """Say why a record could not be written to a path, before the work whose result it is to hold; None if it can."""
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        return f"cannot write {path}; need a file in a folder that exists and may be written to"
    return None


def each_result(perform: Callable[[J], T], jobs: Sequence[J], workers: int, what: str) -> Iterator[T]:
    """Perform jobs in order, in ``workers`` fresh processes or, if one, in this; progress is shown on the terminal."""
    with ExitStack() as stack:
        if workers > 1:
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
            results = pool.map(perform, jobs)
        else:
            results = map(perform, jobs)
        for _ in progress(jobs, what):
            yield next(results)


def progress(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield the items, saying on the terminal how many are done and since when: long work shows where it is."""
    start = time.perf_counter()
    for k, item in enumerate(items):
        yield item
        spent = time.perf_counter() - start
        print(f"\r{k + 1}/{len(items)} {what}, {spent:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def data_path(name: str) -> Path:
    """Return the file of one of the book's recorded data, from the checkout or from the installed package.

    Raises ``ValueError`` with the known names for one that there is not.
    """
    package = Path(__file__).resolve().parent
    folders = [folder for folder in (package.parent / "book" / "data", package / "data") if folder.is_dir()]
    for folder in folders:
        if (folder / f"{name}.json").is_file():
            return folder / f"{name}.json"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.json")})
    raise ValueError(f"got {name!r}; the book's recorded data are {', '.join(known) or 'not installed'}")


def read_record(path: str | Path) -> Record:
    """Read what :func:`write_record` wrote: a path, or the bare name of one of the book's own records.

    Raises ``ValueError`` for a file that is not such a record, saying what it lacks.
    """
    path = data_path(path) if isinstance(path, str) and path.isidentifier() else Path(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no recorded data at {path}") from None
    except ValueError as problem:
        raise ValueError(f"{path.name} is not JSON: {problem}") from None
    if not isinstance(raw, dict) or {"provenance", "data"} - raw.keys():
        raise ValueError(f"{path.name} is no record: it needs the keys 'provenance' and 'data'")
    lacking = {"command", "date", "seconds", "machine", "versions"} - set(raw["provenance"])
    if lacking:
        raise ValueError(f"the provenance of {path.name} lacks {', '.join(sorted(lacking))}")
    return Record(raw["data"], raw["provenance"])
