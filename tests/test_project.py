"""What the repository promises: one set of versions, a fast import, commands that say what is missing, true links."""

import importlib.metadata
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import environment
import ssltheory

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
LOCKED = [
    Requirement(line) for line in [*environment.pins(environment.LOCK), *environment.pins(environment.TORCH_LOCK)]
]


# ------------------------------------------------------------------------------------------- one set of versions


def test_every_locked_version_is_exact():
    for requirement in LOCKED:
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement


def test_lock_fulfils_every_requirement_of_the_project():
    wanted = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, wanted):
        found = [r for r in LOCKED if canonicalize_name(r.name) == canonicalize_name(requirement.name)]
        assert found, f"{requirement} is not locked: make lock"
        for locked in found:
            assert requirement.specifier.contains(str(locked.specifier).removeprefix("==")), (requirement, locked)


def test_conda_environment_has_the_locked_versions():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(entry["pip"] for entry in listed["dependencies"] if isinstance(entry, dict))
    pins = [line for line in pip if not line.startswith("-")]
    assert sorted(map(str, map(Requirement, pins))) == sorted(map(str, LOCKED))
    assert pip[-1] == "-e ."
    assert f"--extra-index-url {environment.TORCH_INDEX}" in pip
    python = next(entry for entry in listed["dependencies"] if str(entry).startswith("python="))
    assert tuple(map(int, python.removeprefix("python=").split("."))) >= environment.OLDEST
    environment.check_conda()


def test_conda_environment_out_of_step_is_found(tmp_path, monkeypatch):
    stale = tmp_path / "environment.yml"
    stale.write_text((ROOT / "environment.yml").read_text(encoding="utf-8").replace("numpy==", "numpy==1."))
    monkeypatch.setattr(environment, "CONDA", stale)
    with pytest.raises(environment.CannotMake, match="not in step"):
        environment.check_conda()


def test_this_environment_has_the_locked_versions():
    different = []
    for requirement in LOCKED:
        if requirement.marker is None or requirement.marker.evaluate():
            try:
                installed = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                installed = "none"
            if not requirement.specifier.contains(installed, prereleases=True):
                different.append(f"{requirement} (here: {installed})")
    assert not different, "the environment is not the locked one; mend: rm .venv/installed; make environment"


def test_version_is_the_same_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert ssltheory.__version__ == PROJECT["version"] == cited["version"]


# ------------------------------------------------------------------------------------------- the module


def test_import_is_fast_and_brings_nothing_heavy():
    heavy = {"torch", "scipy", "numba", "sklearn", "matplotlib", "yaml", "IPython", "dask", "distributed"}
    show = f"import sys, ssltheory; print(*({heavy!r} & set(sys.modules)))"
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - began)
    assert done.stdout.split() == []
    empty = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True)
    empty = time.perf_counter() - empty
    assert statistics.median(seconds) - empty < 0.5


@pytest.mark.parametrize("name", ssltheory.__all__)
def test_every_public_name_leads_somewhere(name):
    assert getattr(ssltheory, name) is not None


# ------------------------------------------------------------------------------------------- commands


def make(*arguments, **variables):
    if shutil.which("make") is None:
        pytest.skip("needs make")
    path = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "PYTHON", "VENV"}}
    command = ["make", *arguments, *(f"{k}={v}" for k, v in variables.items())]
    return subprocess.run(
        command, cwd=ROOT, env=path, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )


def test_help_names_every_command():
    said = make().stdout
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()) - {"help", "environment"}
    assert targets == set(re.findall(r"^make (\w+)", said, re.MULTILINE))


def test_a_missing_python_is_named(tmp_path):
    done = make("environment", PYTHON="no-such-python", VENV=tmp_path / "venv")
    assert done.returncode != 0
    assert "no usable Python among: no-such-python" in done.stderr
    assert "Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "OLDEST", (99, 0))
    with pytest.raises(environment.CannotMake, match="or newer: make PYTHON="):
        environment.make(tmp_path / "venv")
    assert not (tmp_path / "venv").exists()


def test_an_environment_that_moved_is_not_taken_for_current(tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\ncommand = /usr/bin/python3 -m venv --clear {venv}\n")
    assert not environment.is_current(venv)
    (venv / "installed").write_text(environment._content() + "\n")
    assert environment.is_current(venv)
    assert not environment._has_moved(venv)
    assert environment._has_moved(venv.rename(tmp_path / "elsewhere"))
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert not environment.is_current(tmp_path / "elsewhere")


# ------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_local_links_lead_to_files(name):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
    for link in links:
        if "://" not in link:
            assert (ROOT / link).exists(), link


def test_repository_has_one_address():
    names = ["README.md", "CONTRIBUTING.md", "CITATION.cff", "_config.yml", "Makefile", ".github/workflows/book.yml"]
    pages = [*(ROOT / name for name in names), *(ROOT / "book").rglob("*.md"), *(ROOT / "book").rglob("*.ipynb")]
    project = REPOSITORY.rsplit("/", 1)[-1]
    for page in pages:
        if page.exists():
            found = re.findall(rf"https://github\.com/[\w.-]+/{project}\b", page.read_text(encoding="utf-8"))
            assert set(found) <= {REPOSITORY}, page.relative_to(ROOT)
