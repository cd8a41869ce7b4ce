"""What a published notebook must be, and that a change of any output is seen."""

import base64
import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import notebooks as tool

ROOT = Path(__file__).resolve().parent.parent
GUARD = f'import sys\nif "google.colab" in sys.modules:\n    %pip install -q git+{tool.repository()}'
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
).decode()
PICTURE = {"image/png": PIXEL, "text/plain": "<Figure>"}
DESCRIBED = {
    "mystnb": {
        "figure": {"name": "fig-line", "caption": "A line."},
        "image": {"alt": "A straight line that rises from zero to one."},
    }
}


def code(source, *outputs, count=None, **extra):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), execution_count=count, **extra)


def shown(**data):
    return nbformat.v4.new_output("display_data", data={k.replace("__", "/"): v for k, v in data.items()})


def printed(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def sample():
    """Make a notebook without a fault."""
    cells = [
        nbformat.v4.new_markdown_cell("# Sample", id="sample"),
        code(GUARD, count=1, id="setup", metadata={"tags": ["hide-cell"]}),
        code("print(0.5)", printed("0.5\n"), count=2, id="sample-1"),
        code(
            "plot()", nbformat.v4.new_output("display_data", data=PICTURE), count=3, id="fig-line", metadata=DESCRIBED
        ),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    tool.normalise(notebook)
    return notebook


# ------------------------------------------------------------------------------------------- the book's notebooks


@pytest.mark.parametrize("path", tool.notebooks(), ids=tool.shown)
def test_published_notebook_has_no_fault(path):
    assert not tool.problems(tool.read(path), path.stat().st_size)


@pytest.mark.parametrize("path", tool.notebooks(), ids=tool.shown)
def test_published_notebook_is_written_in_normal_form(path, tmp_path):
    notebook = tool.read(path)
    tool.normalise(notebook)
    tool.write(notebook, tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes(), "need the normal form: make notebooks"


@pytest.mark.parametrize("path", tool.notebooks(), ids=tool.shown)
def test_text_and_back_is_the_same_notebook(path):
    notebook = tool.read(path)
    again = tool.from_text(tool.to_text(notebook), notebook)
    assert nbformat.writes(again) == nbformat.writes(notebook)


def test_every_notebook_is_in_the_table_of_contents():
    listed = set(re.findall(r"\bfile: (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8")))
    written = {str(path.relative_to(tool.BOOK).with_suffix("")) for path in tool.notebooks()}
    assert written <= listed, "not on the site: add the file to _toc.yml"


# ------------------------------------------------------------------------------------------- each fault is found

FAULTS = {
    "execution counts": lambda nb: nb.cells[2].update(execution_count=7),
    "never run": lambda nb: nb.cells[2].update(execution_count=None),
    "published the error": lambda nb: nb.cells[2].outputs.append(
        nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    ),
    "wrote to stderr": lambda nb: nb.cells[2].outputs.append(printed("careful", "stderr")),
    "widget state": lambda nb: nb.metadata.update(widgets={"state": {}}),
    "kernel widget": lambda nb: nb.cells[2].outputs.append(
        nbformat.v4.new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
    ),
    "without alt text": lambda nb: nb.cells[3].metadata["mystnb"].pop("image"),
    "without a figure caption": lambda nb: nb.cells[3].metadata["mystnb"]["figure"].pop("caption"),
    "without a figure name": lambda nb: nb.cells[3].metadata["mystnb"]["figure"].pop("name"),
    "shows 2 pictures": lambda nb: nb.cells[3].outputs.append(copy.deepcopy(nb.cells[3].outputs[0])),
    "has 26 lines": lambda nb: nb.cells[2].update(source="\n".join(["x = 1"] * 26)),
    "has the cell id 'setup' 2 times": lambda nb: nb.cells[2].update(id="setup"),
    "has the cell id '0a1b2c3d'": lambda nb: nb.cells[2].update(id="0a1b2c3d"),
    "has the cell id 'Sample_1'": lambda nb: nb.cells[2].update(id="Sample_1"),
    "must start its code": lambda nb: nb.cells[1].update(source="import sys"),
    "kernelspec": lambda nb: nb.metadata.kernelspec.update(name="mine"),
    "kept from comparison by NBVAL_IGNORE_OUTPUT": lambda nb: nb.cells[2].update(source="# NBVAL_IGNORE_OUTPUT\n1"),
    "kept from comparison by nbval-skip": lambda nb: nb.cells[2].metadata.update(tags=["nbval-skip"]),
    "without a reason": lambda nb: nb.cells[2].metadata.update(nbval={"rtol": 0.1}),
    "picture without alt text": lambda nb: nb.cells[0].update(source="# Sample\n![](picture.png)"),
}


def test_sample_has_no_fault():
    assert tool.problems(sample(), 1000) == []


@pytest.mark.parametrize("message", FAULTS)
def test_planted_fault_is_found(message):
    notebook = sample()
    FAULTS[message](notebook)
    assert any(message in problem for problem in tool.problems(notebook))


def test_heavy_notebook_is_found():
    assert "need at most" in tool.problems(sample(), tool.MAX_BYTES + 1)[0]


# ------------------------------------------------------------------------------------------- text and back


def test_edited_text_keeps_ids_and_the_outputs_of_unchanged_cells():
    notebook = sample()
    text = tool.to_text(notebook).replace("print(0.5)", "print(0.25)").replace("# Sample", "# Example")
    edited = tool.from_text(text + "\n```{code-cell}\n1 + 1\n```\n", notebook)
    assert [cell.id for cell in edited.cells] == ["sample", "setup", "sample-1", "fig-line", "example-1"]
    assert edited.cells[3].outputs == notebook.cells[3].outputs
    assert edited.cells[2].outputs == []
    assert edited.cells[2].execution_count is None
    assert "was never run" in " ".join(tool.problems(edited))


def test_new_ids_come_from_what_the_cell_is():
    text = """
(the-label)=
# A Title
```{code-cell}
:claim: dual-4.11
1
```
## Where *it* breaks
```{code-cell}
2
```
```{code-cell}
3
```
"""
    cells = tool.from_text(text, None).cells
    names = ["the-label", "claim-dual-4-11", "where-it-breaks", "where-it-breaks-1", "where-it-breaks-2"]
    assert [cell.id for cell in cells] == names


def test_repeated_id_in_a_text_is_refused():
    text = '+++ {"id": "one"}\n\nA\n\n+++ {"id": "one"}\n\nB\n'
    with pytest.raises(ValueError, match="two cells with the id one"):
        tool.from_text(text, None)


# ------------------------------------------------------------------------------------------- execution


def test_run_executes_normalises_and_writes_nothing_else(tmp_path):
    path = tmp_path / "sample.ipynb"
    notebook = sample()
    notebook.cells[3] = code(
        "import os\nprint(os.environ['SSLTHEORY_OUTPUT'], os.environ['OMP_NUM_THREADS'])", id="env"
    )
    notebook.cells.append(code("import sys\nprint(sys.prefix)\n2", id="own"))
    notebook.metadata["kernelspec"]["name"] = "elsewhere"
    tool.write(notebook, path)
    assert tool.main(["run", str(path)]) == 0
    ran = tool.read(path)
    assert ran.cells[3].outputs[0].text == "published 1\n"
    assert ran.cells[4].outputs[0].text.strip() == sys.prefix
    assert [cell.get("execution_count") for cell in ran.cells] == [None, 1, 2, 3, 4]
    assert all("execution" not in cell.metadata for cell in ran.cells)
    assert list(tmp_path.iterdir()) == [path]


def test_failing_cell_leaves_the_file_and_is_shown(tmp_path, capsys):
    path = tmp_path / "sample.ipynb"
    notebook = sample()
    notebook.cells[2]["source"] = "1 / 0"
    tool.write(notebook, path)
    before = path.read_bytes()
    assert tool.main(["run", str(path)]) == 1
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    said = capsys.readouterr().err
    assert "'sample-1' failed" in said
    assert "ZeroDivisionError" in said


# ------------------------------------------------------------------------------------------- strict comparison


def found(old, new, **tolerance):
    comparison = sys.modules["conftest_of_notebooks"]
    return comparison.differences([old], [new], comparison.Tolerance(**tolerance))


@pytest.fixture(autouse=True, scope="module")
def _comparison():
    """Load the comparison from the root ``conftest.py``, under a name that no other conftest has."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("conftest_of_notebooks", ROOT / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield
    del sys.modules[spec.name]


SAME = [
    (printed("gap 0.250000001\n"), printed("gap 0.250000000\n")),
    (printed("gap 3e-13, -0.000\n"), printed("gap 1e-12, 0.000\n")),
    (shown(text__html="<b>1.5px</b>"), shown(text__html="<b>1.5000001px</b>")),
    (
        shown(text__html=f"<img src='data:image/png;base64,{PIXEL}'>"),
        shown(text__html="<img src='data:image/png;base64,AA=='>"),
    ),
    (shown(image__png=PIXEL), shown(image__png="AAAA")),
    (shown(application__json={"x": [0.1, 2]}), shown(application__json={"x": [0.10000001, 2]})),
    (
        shown(text__html='<script type="application/json">{"x": [1.234, 1]}</script>'),
        shown(text__html='<script type="application/json">{"x": [1.235, 1.0]}</script>'),
    ),
]
DIFFERENT = [
    (printed("gap 0.2501\n"), printed("gap 0.2500\n")),
    (printed("inf\n"), printed("1.0\n")),
    (printed("nan\n"), printed("1.0\n")),
    (printed("12 of 40 trials\n"), printed("13 of 40 trials\n")),
    (printed("converged\n"), printed("diverged\n")),
    (printed("version 1.2.3\n"), printed("version 1.2.4\n")),
    (printed("same\n"), printed("same\n", "stderr")),
    (printed("same\n"), shown(text__plain="same\n")),
    (shown(text__html="<b>fine</b>"), shown(text__html="<i>fine</i>")),
    (shown(text__html="a", text__plain="a"), shown(text__plain="a")),
    (shown(image__png=PIXEL, text__plain="a"), shown(text__plain="a")),
    (shown(image__svg__xml="x"), shown(image__svg__xml="y")),
    (shown(text__latex="$1.5$"), shown(text__latex="$1.6$")),
    (shown(application__json={"x": 1}), shown(application__json={"x": 2})),
    (shown(application__json={"x": 0.1}), shown(application__json={"x": 0.2})),
    (shown(application__json={"x": True}), shown(application__json={"x": 1})),
    (shown(application__json={"x": 1}), shown(application__json={"y": 1})),
    (shown(application__json=[1]), shown(application__json=[1, 2])),
    (
        {
            "output_type": "display_data",
            "data": {"application/papermill.record/text/plain": "0.5"},
            "metadata": {"scrapbook": {"name": "a"}},
        },
        {
            "output_type": "display_data",
            "data": {"application/papermill.record/text/plain": "0.6"},
            "metadata": {"scrapbook": {"name": "a"}},
        },
    ),
    (
        {"output_type": "display_data", "data": {"text/plain": "0.5"}, "metadata": {"scrapbook": {"name": "a"}}},
        {"output_type": "display_data", "data": {"text/plain": "0.5"}, "metadata": {"scrapbook": {"name": "b"}}},
    ),
    (
        shown(text__html='<script type="application/json">{"x": [1.23]}</script>'),
        shown(text__html='<script type="application/json">{"x": [1.25]}</script>'),
    ),
    (
        shown(text__html='<script type="application/json">{"readout": "radius 0.5"}</script>'),
        shown(text__html='<script type="application/json">{"readout": "radius 0.6"}</script>'),
    ),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_rounding_and_pictures_are_no_difference(old, new):
    assert found(old, new) == []


@pytest.mark.parametrize(("old", "new"), DIFFERENT)
def test_every_other_change_is_a_difference(old, new):
    assert found(old, new)


def test_missing_and_extra_outputs_are_differences():
    comparison = sys.modules["conftest_of_notebooks"]
    one = printed("a")
    assert comparison.differences([one], [])
    assert comparison.differences([], [one])


def test_a_cell_may_loosen_its_tolerance_with_a_reason():
    comparison = sys.modules["conftest_of_notebooks"]
    old, new = printed("0.500\n"), printed("0.501\n")
    assert found(old, new)
    assert found(old, new, rtol=1e-2) == []
    assert comparison.tolerance_of({"nbval": {"rtol": 1e-2, "reason": "why"}}).rtol == 1e-2
    for bad in ({"rtol": 1e-2}, {"rtol": "1", "reason": "why"}, {"tolerance": 1, "reason": "why"}):
        with pytest.raises(ValueError, match="metadata nbval"):
            comparison.tolerance_of({"nbval": bad})


def measured(value, bound=1e-6, relation="at_most"):
    """Make the outputs of a claim's cell: its record and badge, and the value as it is glued."""
    check = {"name": "gap", "value": value, "relation": relation, "bound": bound, "passed": value <= bound}
    record = {"application/vnd.ssltheory.claim+json": {"id": "sample", "checks": [check]}}
    badge = {"text/plain": f"sample: reproduced (gap {value:.3e} ≤ 1e-06)", "text/html": f"<b>{value:.3e}</b>"}
    glued = {"application/papermill.record/text/plain": repr(value)}
    return [nbformat.v4.new_output("display_data", data=data) for data in (record | badge, glued)]


@pytest.mark.parametrize(("old", "new"), [(3.386e-9, 1.3481e-8), (9.69381e-8, 1.00239e-7), (1e-12, 8e-9), (0.0, 5e-9)])
def test_an_error_that_a_claim_bounds_may_change_within_its_size(old, new):
    differences = sys.modules["conftest_of_notebooks"].differences
    assert differences(measured(old), measured(new)) == []
    assert differences(measured(new), measured(old)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (measured(2e-8), measured(3e-7)),  # more than ten times larger
        (measured(1e-12), measured(2e-8)),
        (measured(4e-7), measured(2e-6)),  # beyond its bound
        (measured(4e-7), measured(-4e-7)),
        (measured(1e-7), measured(2e-7, bound=1e-7)),
        (measured(1e-7, relation="at_least"), measured(2e-7, relation="at_least")),
        (measured(2e-5, bound=1e-4), measured(3e-5, bound=1e-4)),  # a quantity, not an error
        (measured(1e-7), [measured(2e-7)[0], measured(3e-7)[1]]),  # glued is another number than the claim's
        (measured(1e-7), [measured(2e-7)[0], measured(1.5e-7)[1]]),
        ([*measured(1e-7), printed("slope 0.51")], [*measured(2e-7), printed("slope 0.52")]),
    ],
)
def test_any_other_change_of_a_claim_is_a_difference(old, new):
    assert sys.modules["conftest_of_notebooks"].differences(old, new)


def judge(folder, notebook):
    """Let nbval, with the book's comparison, judge a notebook in a process of its own."""
    path = folder / "sample.ipynb"
    tool.write(notebook, path)
    shutil.copy(ROOT / "conftest.py", folder / "conftest.py")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        "-q",
        path.name,
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_nbval_passes_what_repeats_and_fails_each_planted_change(tmp_path):
    notebook = sample()
    notebook.cells[2:] = [
        code("print(f'{1/3:.9f} in words')", id="number"),
        code("import os; print(os.environ['SSLTHEORY_OUTPUT'])", id="form"),
        code("from IPython.display import HTML\nHTML('<b>0.5</b>')", id="html"),
        code("'a', 2", id="value"),
        code("print('loose 0.500')", id="loose", metadata={"nbval": {"rtol": 0.1, "reason": "a test"}}),
        code("print('unrun')", id="unrun"),
        code("1 + 1", id="record"),
        code("print('shown')\n'silenced';", id="silenced"),
    ]
    mime = "application/papermill.record/text/plain"
    notebook.cells[8]["source"] = f"from IPython.display import display\ndisplay({{'{mime}': '0.5'}}, raw=True)"
    tool.execute(notebook, tmp_path)
    tool.normalise(notebook)
    status, said = judge(tmp_path, notebook)
    assert status == 0, said
    assert "9 passed" in said

    cells = notebook.cells
    cells[2].outputs[0]["text"] = cells[2].outputs[0].text.replace("0.333333333", "0.333334333")
    cells[3].outputs[0]["text"] = "live\n"
    cells[4].outputs[0]["data"]["text/html"] = "<b>0.6</b>"
    cells[5]["outputs"] = []
    cells[6].outputs[0]["text"] = "loose 0.501\n"
    cells[7]["execution_count"], cells[7]["outputs"] = None, []
    cells[8].outputs[0]["data"] = {mime: "0.7"}
    status, said = judge(tmp_path, notebook)
    assert status == 1, said
    assert "6 failed, 3 passed" in said
    for words in (
        "published 0.333334333",
        "'live",
        "published 0.6",
        "published 0 outputs",
        "never run",
        "published 0.7",
    ):
        assert words in said, words
