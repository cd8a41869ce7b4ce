"""Make the book's environment and keep its locks, with nothing but the standard library.

``make``   creates a virtual environment with the exact versions of ``requirements.lock`` and a CPU build of torch;
           ``make --check`` only says whether the one that runs it is of these locks and this folder.
``lock``   resolves ``requirements.lock`` anew from ``pyproject.toml`` (with uv, installed for the moment).
``conda``  writes ``environment.yml``, for conda and Binder, from the locks; ``conda --check`` only compares.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
TORCH_LOCK = ROOT / "requirements-torch.lock"
CONDA = ROOT / "environment.yml"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
OLDEST = (3, 11)
CONDA_PYTHON = "3.12"
# torch is locked apart, since its CPU build has an index of its own; what it needs besides is in the lock.
TORCH_NEEDS = ["filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "typing-extensions"]


class CannotMake(Exception):
    """The environment cannot be made; the message says what is missing and what to do."""


def pins(lock: Path) -> list[str]:
    """Read the requirement lines of a lock."""
    lines = (line.strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


# --------------------------------------------------------------------------------------------- make


def _interpreter(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _call(*command: str | Path, quiet: bool = False) -> int:
    """Run a command; its output is shown unless it is ``quiet``."""
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.run(
        [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
    ).returncode


def _has_moved(venv: Path) -> bool:
    """Say whether the environment was made under another path: its commands would still name that one."""
    settings = venv / "pyvenv.cfg"
    text = settings.read_text(encoding="utf-8") if settings.exists() else ""
    made = next((line for line in text.splitlines() if line.startswith("command = ")), str(venv))
    return not made.endswith(str(venv))


def _create(venv: Path) -> None:
    """Create the virtual environment, unless a working one of this Python is there."""
    version = ".".join(map(str, sys.version_info[:2]))
    probe = f"import sys, pip; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    works = _interpreter(venv).exists() and _call(_interpreter(venv), "-c", probe, quiet=True) == 0
    if works and not _has_moved(venv):
        return
    print(f"Creating {venv} with Python {version} …", flush=True)
    if _call(sys.executable, "-m", "venv", "--clear", venv) != 0:
        raise CannotMake(
            f"{sys.executable} -m venv failed. On Debian and Ubuntu: apt-get install python3-venv; or name another "
            "Python: make PYTHON=/path/to/python3 …"
        )


def _install_torch(python: Path, pip: list[str | Path]) -> None:
    """Install the locked torch: its CPU build where its index answers, else from the default index."""
    pinned = pins(TORCH_LOCK)[0]
    wanted = pinned.partition("==")[2]
    probe = f"import importlib.metadata as m, sys; sys.exit(m.version('torch').partition('+')[0] != '{wanted}')"
    if _call(python, "-c", probe, quiet=True) == 0:
        return
    index = os.environ.get("TORCH_INDEX", TORCH_INDEX)
    print(f"Installing {pinned} (CPU build) …", flush=True)
    only = ["--retries", "0", "--timeout", "20", "--index-url", index]
    if index and _call(*pip, *only, "--constraint", LOCK, pinned, quiet=True) == 0:
        return
    if index:
        print(f"No CPU build of torch from {index}; taking {pinned} from the default index.", flush=True)
    if _call(*pip, "--constraint", LOCK, pinned) != 0:
        raise CannotMake(f"{pinned} could not be installed: no connection? TORCH_INDEX=<url> names another index")


def _content() -> str:
    """Give the fingerprint of what an environment is made from: the locks, this folder and this Python."""
    parts = [LOCK.read_bytes(), TORCH_LOCK.read_bytes(), str(ROOT).encode(), str(sys.version_info[:2]).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_current(venv: Path) -> bool:
    """Say whether the environment in ``venv`` was completed from these locks, in this folder, for this Python."""
    stamp = venv.resolve() / "installed"
    return stamp.exists() and stamp.read_text().strip() == _content() and _interpreter(venv.resolve()).exists()


def make(venv: Path) -> None:
    """Create or complete the environment in ``venv``; a second call with the same locks returns at once.

    Raises:
        CannotMake: this Python is too old, has no ``venv``, or a package cannot be installed.
    """
    if sys.version_info < OLDEST:
        raise CannotMake(f"got Python {sys.version.split()[0]}, need 3.11 or newer: make PYTHON=/path/to/python3.11")
    venv = venv.resolve()
    stamp = venv / "installed"
    if is_current(venv):
        return
    _create(venv)
    stamp.unlink(missing_ok=True)
    python = _interpreter(venv)
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar=off",
    ]
    print(f"Installing {len(pins(LOCK))} locked packages …", flush=True)
    if _call(*pip, "--requirement", LOCK) != 0:
        raise CannotMake("the locked packages could not be installed (see above): is there a connection?")
    _install_torch(python, pip)
    if _call(*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT) != 0:
        raise CannotMake("ssltheory itself could not be installed (see above)")
    if _call(python, "-m", "ipykernel", "install", "--sys-prefix", "--name", "python3", quiet=True) != 0:
        raise CannotMake("the notebook kernel could not be registered: python -m ipykernel install --sys-prefix")
    stamp.write_text(_content() + "\n")
    print(f"The environment is ready in {os.path.relpath(venv)}", flush=True)


# --------------------------------------------------------------------------------------------- locks


def lock() -> None:
    """Resolve ``requirements.lock`` for every Python from 3.11 on and every system, then write ``environment.yml``.

    Raises:
        CannotMake: uv cannot be installed, or finds no resolution.
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if _call(sys.executable, "-m", "venv", home / "venv"):
            raise CannotMake("a passing environment for uv could not be created")
        python = _interpreter(home / "venv")
        if _call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"):
            raise CannotMake("uv could not be installed: is there a connection?")
        needs = home / "torch-needs.in"
        needs.write_text("\n".join(TORCH_NEEDS) + "\n")
        extras = [part for extra in ("dask", "book", "test", "build") for part in ("--extra", extra)]
        inputs: list[str | Path] = ["pyproject.toml", *extras, needs]
        form = ["--universal", "--python-version", "3.11", "--no-annotate", "--no-header", "--quiet"]
        out = home / "requirements.lock"
        if _call(python, "-m", "uv", "pip", "compile", *inputs, *form, "--output-file", out):
            raise CannotMake("no resolution was found (see above)")
        header = "# Made by `make lock` from pyproject.toml; do not edit. torch is in requirements-torch.lock.\n"
        LOCK.write_text(header + out.read_text())
    CONDA.write_text(conda_text())
    print(f"wrote {LOCK.name}: {len(pins(LOCK))} packages; wrote {CONDA.name}")


def conda_text() -> str:
    """Give the text of ``environment.yml`` that says the same as the locks."""
    lines = [
        "# Made by `make lock` from requirements.lock and requirements-torch.lock; do not edit.",
        "# For conda (conda env create --file environment.yml) and Binder.",
        "name: ssltheory",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        f"  - python={CONDA_PYTHON}",
        "  - pip",
        "  - pip:",
        f"      - --extra-index-url {TORCH_INDEX}",
    ]
    lines += [f'      - "{pin}"' for pin in [*pins(LOCK), *pins(TORCH_LOCK)]]
    return "\n".join([*lines, "      - -e .", ""])


def check_conda() -> None:
    """Compare ``environment.yml`` with the locks.

    Raises:
        CannotMake: they differ.
    """
    if CONDA.read_text(encoding="utf-8") != conda_text():
        raise CannotMake("environment.yml is not in step with the locks: python tools/environment.py conda")


def main() -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("make")
    command.add_argument("venv", nargs="?", type=Path, default=ROOT / ".venv")
    command.add_argument("--check", action="store_true")
    commands.add_parser("lock")
    commands.add_parser("conda").add_argument("--check", action="store_true")
    options = parser.parse_args()
    try:
        if options.command == "make" and options.check:
            return 0 if is_current(options.venv) else 1
        if options.command == "make":
            make(options.venv)
        elif options.command == "lock":
            lock()
        elif options.check:
            check_conda()
        else:
            CONDA.write_text(conda_text(), encoding="utf-8")
    except CannotMake as problem:
        print(f"environment: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
