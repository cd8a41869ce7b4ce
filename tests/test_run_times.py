"""Run times by chapter: what the status page shows is what the last test run measured."""

import json
import re

import pytest

import run_times

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" tests="4" timestamp="2026-02-03T04:05:06+00:00" hostname="a-name">
<properties><property name="machine" value="Linux x86_64, 2 cores"/><property name="numpy" value="2.4.6"/></properties>
<testcase classname="book.dual.one.ipynb" name="Cell 0" time="4.25"/>
<testcase classname="book.dual.one.ipynb" name="Cell 1" time="0.5"/>
<testcase classname="book.two.ipynb" name="Cell 0" time="1.0"><failure message="no"/></testcase>
<testcase classname="tests.test_one" name="test_it" time="100"/>
</testsuite></testsuites>
"""


def test_report_is_summed_by_chapter():
    run = run_times.read_report(REPORT)
    assert run.date == "2026-02-03"
    assert [(c.document, c.seconds, c.cells, c.failed) for c in run.chapters] == [
        ("dual/one", 4.8, 2, 0),
        ("two", 1.0, 1, 1),
    ]
    assert run.seconds == pytest.approx(5.8)
    assert run.chapters[0].outcome == "every output repeats"
    assert run.chapters[1].outcome == "1 of 1 cells failed"


def test_record_is_the_run_and_names_no_machine():
    run = run_times.read_report(REPORT)
    text = run_times.write_record(run)
    assert run_times.read_record(text) == run
    assert "a-name" not in text


def test_partial_report_gives_way_to_the_record(tmp_path):
    report, record = tmp_path / "tests.xml", tmp_path / "run-times.json"
    documents = {"dual/one", "two", "three"}
    assert run_times.last_run(documents, report, record) == (None, "no run yet")
    report.write_text(REPORT)
    assert run_times.last_run(documents, report, record)[0] is None
    record.write_text(json.dumps({"date": "2026-01-01", "environment": {}, "chapters": []}))
    assert run_times.last_run(documents, report, record)[0].date == "2026-01-01"
    assert run_times.last_run(documents - {"three"}, report, record)[0].date == "2026-02-03"
    report.write_text("not XML")
    assert run_times.last_run(documents - {"three"}, report, record)[0].date == "2026-01-01"


@pytest.mark.parametrize("text", ["", "<html/>"])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(ValueError, match="got a report"):
        run_times.read_report(text)


def test_seconds_in_words():
    words = {0.2: "1 second", 1.4: "1 second", 12.3: "12 seconds", 100: "1.7 minutes"}
    assert {seconds: run_times.in_words(seconds) for seconds in words} == words


def test_committed_record_covers_every_notebook():
    if not run_times.notebooks():
        pytest.skip("no notebooks yet")
    assert run_times.RECORD.is_file(), "make it: make test NB_WORKERS=1 && make times"
    run = run_times.read_record(run_times.RECORD.read_text(encoding="utf-8"))
    assert {c.document for c in run.chapters} == run_times.notebooks(), "renew it: make test NB_WORKERS=1 && make times"
    assert not any(c.failed for c in run.chapters)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", run.date)
    assert {"machine", "python", "numpy"} <= run.environment.keys()


def test_status_page_lists_every_notebook():
    page = run_times.ROOT / "_build" / "html" / "status.html"
    if not page.is_file():
        pytest.skip("the site is not built: make book")
    table = page.read_text(encoding="utf-8").split('class="run-times', 1)[-1]
    for document in run_times.notebooks():
        assert f"{document}.html" in table, document
