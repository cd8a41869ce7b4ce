"""Recorded data come back as they were, with their provenance, or not at all."""

import json

import numpy as np
import pytest

from ssltheory import data_path, read_record, write_record
from ssltheory.records import each_result, progress, unwritable


def test_round_trip_and_provenance(tmp_path):
    path = write_record(tmp_path / "deep" / "map.json", {"share": [0.5, 0.25]}, command="python x.py", seconds=1.26)
    record = read_record(path)
    assert record.data == {"share": [0.5, 0.25]}
    assert record.provenance["command"] == "python x.py"
    assert record.provenance["versions"]["numpy"] == np.__version__
    assert "python x.py" in str(record)
    assert str(tmp_path) not in path.read_text()
    raw = json.loads(path.read_text())
    raw["provenance"]["note"] = "rows 3 and 4 again"
    path.write_text(json.dumps(raw))
    assert str(read_record(path)) == f"{record}; rows 3 and 4 again"


@pytest.mark.parametrize("data", [float("nan"), [float("inf")], {"a": np.float32(1)}, object()])
def test_what_json_cannot_hold_is_refused_and_the_old_file_kept(tmp_path, data):
    path = write_record(tmp_path / "map.json", 1, command="c", seconds=0)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        write_record(path, data, command="c", seconds=0)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["map.json"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_record(tmp_path / "map.json", 1, command="c", seconds=0)
    monkeypatch.setattr("ssltheory.records.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_record(path, 2, command="c", seconds=0)
    assert read_record(path).data == 1
    assert [p.name for p in tmp_path.iterdir()] == ["map.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "is no record"),
        (json.dumps({"data": 1, "provenance": {"command": "c"}}), "lacks date, machine, seconds, versions"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, text, words):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_record(tmp_path / "r.json")
    with pytest.raises(ValueError, match="no recorded data"):
        read_record(tmp_path / "absent.json")


def test_the_books_own_records_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_record("scalar_map").data
    assert data_path("setting_robustness").is_file()
    with pytest.raises(ValueError, match=r"got 'nothing'; the book's recorded data are .*scalar_map"):
        read_record("nothing")


def test_progress_changes_nothing_and_counts_what_is_done(capsys):
    seen = []
    for item in progress("abc", "letters"):
        assert f"{len(seen) + 1}/3" not in capsys.readouterr().err  # an item counts when it is done
        seen.append(item)
    assert seen == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("\r3/3 letters, ")
    assert err.endswith(" s\n")
    assert list(progress([], "items")) == []


def test_what_cannot_be_written_is_said_before_the_work(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "x.json"):
        assert str(path) in unwritable(path)
    assert unwritable(tmp_path / "new.json") is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers, capsys):
    assert list(each_result(abs, [-3, -1, -2, -0], workers, "jobs")) == [3, 1, 2, 0]
    assert "4/4 jobs" in capsys.readouterr().err
