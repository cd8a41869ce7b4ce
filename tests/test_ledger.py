"""Laws of the ledger: checks that can fail, a file that is refused when malformed, and records that agree with it."""

import html
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltheory import ledger as module
from ssltheory.ledger import (
    CLAIM_MIME,
    GLUE_PREFIX,
    VERDICTS,
    Check,
    at_least,
    at_most,
    claim,
    close_to,
    discrepancies,
    equal_to,
    glue,
    inside,
    load_ledger,
    read_notebooks,
    verdict_words,
)

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
finite = st.floats(allow_nan=False, allow_infinity=False)
broken = st.sampled_from([math.nan, math.inf, -math.inf])


# --- checks ---------------------------------------------------------------------------------------------------------


@given(finite, finite)
def test_one_sided_checks_are_the_inequalities(value, bound):
    assert at_most(value, bound).passed == (value <= bound)
    assert at_least(value, bound).passed == (value >= bound)
    assert at_most(value, bound).passed == at_least(-value, -bound).passed


@given(finite, finite, finite)
def test_inside_is_both_one_sided_checks(value, a, b):
    low, high = sorted((a, b))
    assert inside(value, low, high).passed == (at_least(value, low).passed and at_most(value, high).passed)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(1e-9, 1), st.floats(1e-9, 1))
def test_close_to_is_symmetric_about_its_target(target, shift, rtol, atol):
    tolerance = atol + rtol * abs(target)
    check = close_to(target + shift, target, rtol=rtol, atol=atol)
    assert check.passed == (abs((target + shift) - target) <= tolerance)
    assert close_to(target, target, atol=atol).passed


@given(broken, finite)
def test_a_value_that_is_not_finite_fails_every_check(value, bound):
    checks = at_most(value, bound), at_least(value, bound), inside(value, bound, bound), close_to(value, bound, atol=1)
    assert not any(check.passed for check in checks)


@given(broken)
def test_a_bound_that_is_not_finite_is_refused(bound):
    for make in (
        lambda: at_most(1.0, bound),
        lambda: at_least(1.0, bound),
        lambda: inside(1.0, bound, 2.0),
        lambda: inside(1.0, 0.0, bound),
        lambda: close_to(1.0, bound, atol=1),
        lambda: close_to(1.0, 1.0, atol=abs(bound)),
        lambda: equal_to(1.0, bound),
    ):
        with pytest.raises(ValueError, match="finite"):
            make()


def test_checks_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="tolerance of zero"):
        close_to(1.0, 1.0)
    with pytest.raises(ValueError, match="tolerance of zero"):
        close_to(1e-9, 0.0, rtol=1e-6)  # a relative tolerance about zero is none
    with pytest.raises(ValueError, match="finite"):
        close_to(1.0, 1e308, rtol=1e308)
    with pytest.raises(ValueError, match="zero or more"):
        close_to(1.0, 1.0, atol=-1.0)
    with pytest.raises(ValueError, match="low=2"):
        inside(1.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="one sort"):
        equal_to("3", 3)
    with pytest.raises(ValueError, match="one sort"):
        equal_to(1, True)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        at_most(np.zeros(3), 1)
    with pytest.raises(ValueError, match="need a number"):
        at_most(True, 1)


def test_values_become_python_scalars():
    for value, kind in ((np.float64(0.5), float), (np.int64(3), int), (np.bool_(True), bool), (np.array(2.0), float)):
        assert type(equal_to(value, kind(value)).value) is kind
    assert type(at_most(np.float32(0.25), np.float64(1)).bound) is float
    assert equal_to("outer", "outer").passed
    assert not equal_to("outer", "inner").passed


# --- the file -------------------------------------------------------------------------------------------------------

ENTRY = {
    "id": "dual-4.11",
    "paper": "A paper",
    "where": "Proposition 1",
    "statement": "It holds.",
    "kind": "theorem",
    "published": None,
    "depends_on": [],
    "verdict": "open",
    "measured": None,
    "evidence": None,
    "note": None,
}


@pytest.fixture
def written(tmp_path):
    """Write claims, each given by what differs from ENTRY, and return the file."""

    def write(*changes):
        path = tmp_path / "claims.yml"
        path.write_text(json.dumps([{**ENTRY, **change} for change in changes], indent=1))  # JSON is YAML
        return path

    return write


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "true"}, "verdict: got 'true', need one of reproduced"),
        ({"kind": "lemma"}, "kind: got 'lemma'"),
        ({"evidence": "dual/scalar.ipynb"}, "evidence: got 'dual/scalar.ipynb', need the form"),
        ({"verdict": "reproduced"}, "without evidence"),
        ({"depends_on": ["dual-4.12"]}, r"depends_on 'dual-4.12', need an id of this file \(near it: dual-4.11\)"),
        ({"depends_on": ["dual-4.11"]}, "circle: dual-4.11 -> dual-4.11"),
        ({"depends_on": "dual-4.1"}, "need a list of ids"),
        ({"id": "Dual 4"}, "id: got 'Dual 4'"),
        ({"statement": ""}, "statement: got '', need text"),
        ({"published": [1]}, "published: got"),
        ({"note": 3}, "note: got 3"),
        ({"colour": "red"}, "got the field 'colour'"),
    ],
)
def test_a_malformed_entry_is_refused_with_its_place(written, change, said):
    with pytest.raises(ValueError, match=rf"claims\.yml, line \d+: .*{said}"):
        load_ledger(written(change))


def test_a_malformed_file_is_refused(tmp_path, written):
    path = tmp_path / "claims.yml"
    for text, said in (
        ("- id: [", "not valid YAML"),
        ("id: x", "need a list"),
        ("- just words", "need a mapping"),
        ("- id: x\n", "missing paper, where"),
        ("- id: x\n  id: y\n", "'id' twice"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"line [12].*{said}"):
            load_ledger(path)
    with pytest.raises(ValueError, match=r"the id 'dual-4\.11' again"):
        load_ledger(written({}, {}))
    with pytest.raises(ValueError, match="circle: a -> b -> a"):
        load_ledger(written({"id": "a", "depends_on": ["b"]}, {"id": "b", "depends_on": ["a"]}))
    with pytest.raises(ValueError, match="need an existing claims file"):
        load_ledger(tmp_path / "none.yml")


def test_a_contradicted_claim_takes_all_that_rests_on_it(written):
    chain = [{"id": "a", "verdict": "contradicted", "evidence": "x.ipynb#a"}, {"id": "b", "depends_on": ["a"]}]
    book = load_ledger(written(*chain, {"id": "c", "depends_on": ["b"]}, {"id": "d"}))
    assert book.dependents("a") == ("b", "c")
    assert book.shaken == {"b": ("a",), "c": ("a",)}
    assert book.counts["open"] == 3
    assert sum(book.counts.values()) == len(book) == 4


def test_measured_is_filled_outside_formulas_only(written):
    text = "gap {dual-4.11.gap:.1e}, $r_{2}$, {dual-4.11.count} of {total:,d}"
    entry = load_ledger(written({"measured": text}))["dual-4.11"]
    assert entry.keys == ("dual-4.11.gap", "dual-4.11.count", "total")
    values = {"dual-4.11.gap": 3.14e-9, "dual-4.11.count": 0, "total": 10000}
    assert entry.fill(values) == "gap 3.1e-09, $r_{2}$, 0 of 10,000"
    with pytest.raises(ValueError, match=r"'dual-4.11.count' \(near it: dual-4.11.counts"):
        entry.fill({"dual-4.11.gap": 1.0, "dual-4.11.counts": 0})
    with pytest.raises(ValueError, match="cannot format"):
        entry.fill({**values, "total": "many"})


# --- publishing -----------------------------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch):
    """Collect what would be displayed."""
    bundles = []
    monkeypatch.setattr(module, "_publish", lambda data, metadata: not bundles.append((data, metadata)))
    return bundles


def cells_of(bundles):
    return [nbformat.v4.new_output("display_data", data=data, metadata=metadata) for data, metadata in bundles]


def test_an_unknown_id_names_near_ones():
    with pytest.raises(ValueError, match=r"'dual-4.1l'.*near it: .*dual-4.11"):
        claim("dual-4.1l", gap=at_most(0, 1))


def test_claim_needs_checks():
    with pytest.raises(ValueError, match="got no check"):
        claim("dual-4.11")
    with pytest.raises(ValueError, match="got float, need a check"):
        claim("dual-4.11", gap=0.5)


def test_every_failing_check_is_named_and_nothing_is_published(published):
    with pytest.raises(AssertionError, match="2 of 3 checks failed: a = 2, need ≤ 1; c = nan, need in"):
        claim("dual-4.11", a=at_most(2, 1), b=equal_to(0, 0), c=inside(math.nan, 0, 1))
    assert published == []


def test_the_record_the_badge_and_the_glued_values_agree(published):
    claim("dual-4.11", gap=at_most(2.5e-13, 1e-9), saddles=equal_to(np.int64(0), 0), sphere=equal_to("outer", "outer"))
    (data, _), *glued = published
    record = data[CLAIM_MIME]
    assert json.loads(json.dumps(record)) == record
    assert record["id"] == "dual-4.11"
    assert record["verdict"] == load_ledger()["dual-4.11"].verdict
    assert verdict_words(record["verdict"]).partition(" ")[2] in re.sub("<[^>]*>", "", data["text/html"])
    assert "2.5e-13" in data["text/html"]
    assert "2.5e-13" in data["text/plain"]
    assert [meta["scrapbook"]["name"] for _, meta in glued] == [f"dual-4.11.{c['name']}" for c in record["checks"]]
    assert [bundle[f"{GLUE_PREFIX}text/plain"] for bundle, _ in glued] == ["2.5e-13", "0", "'outer'"]


def test_a_badge_escapes_what_it_shows(published):
    claim("dual-4.11", word=equal_to("<b>", "<b>"))
    assert "<b>" not in published[0][0]["text/html"]


def test_glued_values_are_those_that_the_glue_role_reads(published):
    extract = pytest.importorskip("myst_nb.ext.glue").extract_glue_data_cell
    from myst_nb.core.variables import format_plain_text

    glue({"dual.x": 0.12345}, trials=np.int64(10000), word="outer")
    cell = nbformat.v4.new_code_cell("", outputs=cells_of(published))
    found = {key: output["data"]["text/plain"] for key, output in extract(cell)}
    assert format_plain_text(found["dual.x"], ".3f") == "0.123"
    assert format_plain_text(found["trials"], "d") == "10000"
    assert format_plain_text(found["word"], "s") == "outer"
    assert cell.outputs == []  # nothing of it is shown where it is glued


def test_what_cannot_be_glued_is_refused_before_anything_is_published(published):
    for call, said in (
        (lambda: glue(), "got nothing"),
        (lambda: glue(a=1.0, b=math.nan), "need a finite number"),
        (lambda: glue(a=1.0, b=[1]), "need one number"),
        (lambda: glue({"a:b": 1.0}), "got the key 'a:b'"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    assert published == []


def test_outside_a_notebook_the_badge_is_text():
    code = "from ssltheory.ledger import *; claim('dual-4.11', gap=at_most(0.5, 1)); glue(x=2)"
    code = code.replace("*", "claim, at_most, glue")
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    words = verdict_words(load_ledger()["dual-4.11"].verdict).partition(" ")[2]
    assert result.stdout == f"dual-4.11: {words} (gap 0.5 ≤ 1)\nx = 2\n"


# --- the file and the notebooks -------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path, written, monkeypatch, published):
    """A book of one notebook in which one claim was examined; returns its folder and its ledger file."""
    evidence = {"verdict": "reproduced", "evidence": "one.ipynb#dual-4.11", "measured": "gap {dual-4.11.gap:.1e}"}
    path = written(evidence)
    monkeypatch.setattr(module, "_default_path", lambda: path)
    claim("dual-4.11", gap=at_most(2.5e-10, 1e-9))
    cell = nbformat.v4.new_code_cell("claim(...)", outputs=cells_of(published), execution_count=1, id="dual-4-11")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "one.ipynb")
    return tmp_path, path


def replant(folder, change):
    """Change the stored outputs of the notebook's one cell."""
    book = nbformat.read(folder / "one.ipynb", as_version=4)
    change(book.cells[0])
    nbformat.write(book, folder / "one.ipynb")


def found(small):
    folder, path = small
    return discrepancies(load_ledger(path), read_notebooks(folder))


def test_agreement_is_silent(small):
    assert found(small) == []


def test_a_planted_record_is_found(small):
    def change(cell):
        cell.outputs[0].data[CLAIM_MIME]["checks"][0]["value"] = 5e-9

    replant(small[0], change)
    assert [text for text in found(small) if "does not satisfy ≤ 1e-09" in text]
    assert [text for text in found(small) if "5e-09 in the record and 2.5e-10 as glued" in text]


def test_a_record_stripped_of_its_checks_is_found(small):
    replant(small[0], lambda cell: cell.outputs[0].data[CLAIM_MIME].update(checks=[]))
    assert [text for text in found(small) if "published without a check" in text]


def test_a_measurement_typed_by_hand_is_found(small, written):
    written({"verdict": "reproduced", "evidence": "one.ipynb#dual-4.11", "measured": "gap 2.5e-10"})
    assert len(found(small)) == 1
    assert "measured shows no glued value" in found(small)[0]


def test_a_value_on_which_two_other_notebooks_disagree_is_not_shown(small):
    folder, path = small
    text = (folder / "one.ipynb").read_text(encoding="utf-8")
    recorded = read_notebooks(folder)
    entry = load_ledger(path)["dual-4.11"]
    (folder / "two.ipynb").write_text(text.replace("2.5e-10", "3.5e-10"), encoding="utf-8")
    assert read_notebooks(folder).values_for(entry) == recorded.values_for(entry)
    (folder / "one.ipynb").rename(folder / "three.ipynb")
    assert "dual-4.11.gap" not in read_notebooks(folder).values_for(entry)


def test_a_planted_glued_value_is_found(small):
    def change(cell):
        cell.outputs[1].data[f"{GLUE_PREFIX}text/plain"] = "2.4e-10"

    replant(small[0], change)
    assert len(found(small)) == 1


def test_a_cell_that_never_ran_is_found(small):
    replant(small[0], lambda cell: cell.outputs.clear())
    assert [text for text in found(small) if "no executed cell published it" in text]
    assert [text for text in found(small) if "needs the glued value" in text]


def test_a_verdict_changed_after_execution_is_found(small, written):
    written({"verdict": "contradicted", "evidence": "one.ipynb#dual-4-11"})
    assert len(found(small)) == 1
    assert "was published as 'reproduced', the file says 'contradicted'" in found(small)[0]


def test_an_id_that_is_not_in_the_file_is_found(small, written):
    written({"id": "dual-4.12"})
    assert "claim 'dual-4.11' is not in claims.yml (near it: dual-4.12)" in found(small)[0]


def test_evidence_may_name_the_cell_instead_of_the_claim(small, written):
    written({"verdict": "reproduced", "evidence": "one.ipynb#dual-4-11"})
    assert found(small) == []
    written({"verdict": "reproduced", "evidence": "one.ipynb#another-cell"})
    assert len(found(small)) == 1


def test_two_values_under_one_key_are_refused(small):
    def change(cell):
        again = nbformat.from_dict(json.loads(json.dumps(cell.outputs[1])))
        again.data[f"{GLUE_PREFIX}text/plain"] = "1.0"
        cell.outputs.append(again)

    replant(small[0], change)
    with pytest.raises(ValueError, match=r"is glued as 2\.5e-10 and again as 1\.0"):
        found(small)


# --- this book ------------------------------------------------------------------------------------------------------

LEDGER = load_ledger()
RECORDED = read_notebooks(BOOK)


def test_the_book_and_its_ledger_agree():
    assert discrepancies(LEDGER, RECORDED) == []


def test_every_claim_of_a_notebook_is_in_the_file_and_the_reverse():
    in_notebooks = {record.id for record in RECORDED.claims}
    examined = {entry.id for entry in LEDGER if entry.verdict != "open"}
    assert in_notebooks <= {entry.id for entry in LEDGER}
    assert examined <= in_notebooks


def test_every_call_of_claim_in_a_notebook_ran():
    for name in RECORDED.values:
        cells = json.loads((BOOK / name).read_text(encoding="utf-8"))["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        called = set(re.findall(r"\bclaim\(\s*['\"]([^'\"]+)['\"]", source))
        assert called == {record.id for record in RECORDED.claims if record.notebook == name}


@pytest.mark.parametrize("entry", [e for e in LEDGER if e.evidence], ids=lambda e: e.id)
def test_the_evidence_cell_exists_ran_and_calls_claim(entry):
    record = RECORDED.find(entry)
    assert record is not None
    cell = nbformat.read(BOOK / record.notebook, as_version=4).cells[record.cell]
    assert cell.execution_count is not None
    assert re.search(rf"claim\(\s*['\"]{re.escape(entry.id)}['\"]", cell.source)


@pytest.mark.parametrize("record", RECORDED.claims, ids=lambda r: f"{r.notebook}:{r.id}")
def test_a_wrong_value_planted_in_the_book_is_found(record, tmp_path):
    """Push each stored value beyond its bound: the comparison of the file and the notebooks must see it."""
    source = BOOK / record.notebook
    # The claims of this notebook alone: naming near ones for all that the copy lacks would take a second a check.
    own = replace(LEDGER, claims=tuple(e for e in LEDGER if (e.evidence or "").startswith(f"{record.notebook}#")))
    for check in record.checks:
        book = json.loads(source.read_text(encoding="utf-8"))
        for output in book["cells"][record.cell]["outputs"]:
            stored = output.get("data", {}).get(CLAIM_MIME)
            if stored and stored["id"] == record.id:
                for one in stored["checks"]:
                    if one["name"] == check.name:
                        one["value"] = beyond(check)
        copy = tmp_path / record.notebook
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(json.dumps(book), encoding="utf-8")
        said = discrepancies(own, read_notebooks(tmp_path, [record.notebook]))
        assert any(f"{record.id}.{check.name} = " in text and "does not satisfy" in text for text in said)


def beyond(check: Check):
    """Return a value of the same sort that fails the check."""
    match check.relation:
        case "at_most":
            return check.bound + 1 + abs(check.bound)
        case "at_least":
            return check.bound - 1 - abs(check.bound)
        case "inside":
            return check.bound[1] + 1 + abs(check.bound[1])
        case "close_to":
            return check.bound[0] + 2 * check.bound[1]
        case _:
            if isinstance(check.bound, bool):
                return not check.bound
            return check.bound + ("?" if isinstance(check.bound, str) else 1)


def test_methods_give_the_rule_of_every_verdict():
    text = (BOOK / "methods.md").read_text(encoding="utf-8")
    for verdict in VERDICTS:
        assert f"{{verdict}}`{verdict}` is given" in text


# --- the pages ------------------------------------------------------------------------------------------------------

CONF = """
extensions = ["myst_nb", "claims_ledger"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
html_theme = "basic"
exclude_patterns = ["_build", "jupyter_execute"]
"""
PAGES = {
    "ledger.md": "# Ledger\n\n```{claims-ledger}\n```\n\n```{claims-graph}\n```\n",
    "index.md": "# Home\n\n```{claims-counts}\n```\n\n{claim}`dual-4.11`, {verdict}`open`, "
    "{glue:text}`one.ipynb::dual-4.11.gap:.3e`\n\n```{toctree}\nledger\none\n```\n",
}


@pytest.fixture
def build(small, written):
    """Build the small book as HTML with warnings as errors; returns a function from changes of the ledger to pages."""
    pytest.importorskip("myst_nb")
    folder, _ = small
    (folder / "conf.py").write_text(CONF)
    for name, text in PAGES.items():
        (folder / name).write_text(text)
    notebook = nbformat.read(folder / "one.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# One", id="one"))
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "python3"}
    nbformat.write(notebook, folder / "one.ipynb")

    def run(*changes):
        written(*changes)
        code = f"import sys; sys.path[:0] = [{str(BOOK / 'extensions')!r}, {str(ROOT)!r}]; "
        code += "from sphinx.cmd.build import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "-q", "-W", "--keep-going", "-b", "html", ".", "_build"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        pages = {path.name: path.read_text(encoding="utf-8") for path in (folder / "_build").glob("*.html")}
        return done.returncode, done.stderr, pages

    return run


EXAMINED = {"verdict": "reproduced", "evidence": "one.ipynb#dual-4.11", "measured": "gap {dual-4.11.gap:.1e} $r_{2}$"}


def test_the_pages_show_the_computed_number_and_link_to_its_cell(build):
    change = {**EXAMINED, "statement": "The radius is $r^2$, or <more>."}
    code, said, pages = build(change, {"id": "next", "depends_on": ["dual-4.11"]})
    assert (code, said) == (0, "")
    row = re.search(r'<tr id="ledger-dual-4-11".*?</tr>', pages["ledger.html"], re.DOTALL)[0]
    assert "gap 2.5e-10" in row
    assert r"\(r^2\)" in row
    assert "&lt;more&gt;" in row
    assert 'href="one.html#claim-dual-4-11"' in row
    assert re.search(r'<div class="cell[^"]*" id="claim-dual-4-11">', pages["one.html"])
    words = re.search(r'<p class="claim-source">.*?</p>', pages["one.html"], re.DOTALL)[0]
    assert re.sub("<[^>]*>", "", words) == r"In words: gap 2.5e-10 \(r_{2}\) dual-4.11 in the ledger"
    assert 'href="ledger.html#ledger-dual-4-11"' in pages["one.html"]
    assert 'href="ledger.html#ledger-dual-4-11"' in pages["index.html"]
    assert "2.500e-10" in pages["index.html"]
    assert CLAIM_MIME not in pages["one.html"]
    svg = re.search(r"<svg.*?</svg>", pages["ledger.html"], re.DOTALL)[0]
    assert re.findall(r'href="([^"]*)"', svg) == ["#ledger-dual-4-11", "#ledger-next"]


def test_a_page_follows_the_file_without_a_clean_build(build):
    build(EXAMINED)
    fallen = {**EXAMINED, "verdict": "contradicted", "measured": "a gap of {dual-4.11.gap:.2e}"}
    _, said, pages = build(fallen, {"id": "b", "depends_on": ["dual-4.11"]}, {"id": "c", "depends_on": ["b"]})
    assert "was published as 'reproduced', the file says 'contradicted'" in said
    assert "All 3 claims" in pages["index.html"]
    assert "In words: </strong>a gap of 2.50e-10" in pages["one.html"]
    text = html.unescape(re.sub("<[^>]*>", "", pages["ledger.html"]))
    assert "takes with it b, c" in text
    assert "rests on a contradicted claim: dual-4.11" in text


def test_every_disagreement_fails_the_build(build):
    code, said, _ = build(
        {"id": "dual-4.12"},
        {**EXAMINED, "id": "gone", "evidence": "two.ipynb#gone", "measured": "{gone.gap:.1e}"},
    )
    assert code != 0
    assert "claim 'dual-4.11' is not in claims.yml (near it: dual-4.12)" in said
    assert "gone names two.ipynb#gone, where no executed cell published it" in said
    assert "needs the glued value 'gone.gap'" in said
    assert "claim role: got claim id 'dual-4.11'" in said


def test_a_malformed_ledger_stops_the_build_with_its_place(build):
    code, said, _ = build({**EXAMINED, "evidence": None})
    assert code != 0
    assert re.search(r"claims\.yml, line \d+: dual-4\.11 is 'reproduced' without evidence", said)


def test_the_built_ledger_shows_the_glued_numbers():
    page = ROOT / "_build" / "html" / "ledger.html"
    sources = [LEDGER.path, *(BOOK / name for name in RECORDED.values)]
    built = page.with_name("searchindex.js")  # written by every build; a page only when it changes
    if not built.is_file() or built.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        pytest.skip("the site is not built, or older than its sources: make book")
    text = page.read_text(encoding="utf-8")
    for entry in LEDGER:
        row = re.search(rf'<tr id="{entry.row}".*?</tr>', text, re.DOTALL)
        assert row, entry.id
        shown = html.unescape(re.sub("<[^>]*>", "", row[0]))
        measured = entry.fill(RECORDED.values_for(entry)) or ""
        assert all(part.strip() in shown for part in re.split(r"\$[^$]*\$", measured)), entry.id


def test_the_graph_runs_from_left_to_right_and_nothing_overlaps():
    """Every claim is right of those it rests on, and no two places of a layer, of a claim or a line, overlap."""
    pytest.importorskip("sphinx")
    sys.path.insert(0, str(BOOK / "extensions"))
    try:
        from claims_ledger import arrange, connected
    finally:
        sys.path.pop(0)
    layout = arrange(connected(LEDGER))
    for start, end in layout.routes:
        assert layout.places[start][0] < layout.places[end][0]
    taken = [(layer, height, 0.5) for layer, height in layout.places.values()]
    taken += [(layer, height, 0.3) for route in layout.routes.values() for layer, height in route]
    taken.sort()
    for (layer, low, half), (other, high, next_half) in pairwise(taken):
        assert layer != other or high - low >= half + next_half - 1e-9
