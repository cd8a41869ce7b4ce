"""Laws of the training of every method: models never interact, ablations do what they say, the record reads back."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_images import make_folder

torch = pytest.importorskip("torch")

from ssltheory import center_training as ct  # noqa: E402
from ssltheory import two_view_losses as L  # noqa: E402
from ssltheory.center_record import QUANTITIES, read_table  # noqa: E402
from ssltheory.center_training import ROWS, Config, State, method_loss, run_entry, train  # noqa: E402
from ssltheory.encoders import encode, toy_data  # noqa: E402
from ssltheory.records import read_record  # noqa: E402

SMALL = {"encoder": (16, 12, 5), "batch": 16, "hidden": 7, "prototypes": 6}
SEEDS = [3, 8]


@pytest.fixture(scope="module")
def blobs():
    return toy_data("blobs", SEEDS, 60, dtype=torch.float64, probe=40)


def config(name, **change):
    return Config(**{**ROWS[name], **SMALL, **change})


def one_of_each():
    return [name for k, name in enumerate(ROWS) if not name.startswith("L_Simple") or name.startswith("L_Simple 1")]


@pytest.mark.parametrize("name", one_of_each())
def test_seeds_and_rates_never_interact(name, blobs):
    """A model alone ends where it ends among others, for every row of the table."""
    together = train(config(name), blobs, SEEDS, rates=[0.05, 0.4], record_at=[0, 4])
    part = {f: getattr(blobs, f)[1:] for f in ("x", "y", "clean", "test", "labels", "test_labels")}
    alone = train(config(name), replace(blobs, **part), SEEDS[1:], rates=[0.4], record_at=[0, 4])
    for quantity in ct.QUANTITIES:
        np.testing.assert_allclose(
            getattr(together, quantity)[:, 1:, 1:], getattr(alone, quantity), rtol=1e-9, atol=1e-12
        )
    assert together.reason == "all 4 steps were taken"


def test_all_rows_share_start_and_minibatches(blobs):
    starts = [train(config(name), blobs, SEEDS, rates=[0.1], record_at=[0]) for name in ("triplet", "BYOL 0.9", "SwAV")]
    for run in starts[1:]:
        np.testing.assert_array_equal(run.center, starts[0].center)
        np.testing.assert_array_equal(run.linear, starts[0].linear)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("SimSiam, neither", "invariance"),
        ("BYOL 0", "SimSiam"),
        ("BYOL 0, no predictor", "SimSiam, no predictor"),
        ("L_Simple 0", "invariance"),
        ("L_Simple 0", "L_Simple 0, length"),
    ],
)
def test_ablations_that_are_one_method_give_one_path(first, second, blobs):
    """Up to the factor between the two losses, which the learning rate absorbs."""
    factor = {"BYOL 0": 4, "BYOL 0, no predictor": 4, "L_Simple 0": 0.5, "L_Simple 0, length": 0.5}
    rates = [0.1 / factor.get(name, 1) for name in (first, second)]
    runs = [
        train(config(name), blobs, SEEDS, rates=[rate], record_at=[5])
        for name, rate in zip((first, second), rates, strict=True)
    ]
    np.testing.assert_allclose(runs[0].center, runs[1].center, rtol=1e-9)
    np.testing.assert_allclose(runs[0].rank, runs[1].rank, rtol=1e-9)


def test_a_frozen_teacher_stays_and_a_free_one_follows(blobs):
    still, moved = (
        train(config("BYOL 1", alpha=alpha), blobs, SEEDS, rates=[0.1], record_at=[3]) for alpha in (1.0, 0.0)
    )
    start = State.start(config("BYOL 1"), SEEDS, like=blobs.x)
    np.testing.assert_array_equal(still.state.teacher[0][0][0], start.encoder[0][0])
    np.testing.assert_array_equal(moved.state.teacher[0][0][0], moved.state.encoder[0][0])


def test_fixed_prototypes_stay_and_learned_ones_move(blobs):
    start = State.start(config("SwAV"), SEEDS, like=blobs.x)
    runs = [train(config(n), blobs, SEEDS, rates=[0.1], record_at=[3]) for n in ("SwAV, fixed prototypes", "SwAV")]
    assert torch.equal(runs[0].state.head[0][0], start.head[0][0])
    assert not torch.equal(runs[1].state.head[0][0], start.head[0][0])


def test_dino_keeps_an_average_of_the_teachers_scores(blobs):
    c = config("DINO")
    state = State.start(c, SEEDS, like=blobs.x)
    _, center = method_loss(c, state, blobs.x, blobs.y)
    scores = [L.unit(encode(state.encoder, v).mT) @ L.unit(state.head[0][0]).mT for v in (blobs.x, blobs.y)]
    np.testing.assert_allclose(center, 0.1 * torch.cat(scores, dim=1).mean(dim=1, keepdim=True), rtol=1e-12)


def test_a_step_is_gradient_descent_with_momentum_on_the_loss(blobs):
    """The first step, by finite differences in one weight of one model."""
    c = config("L_Simple 1", batch=60)
    state = State.start(c, SEEDS, like=blobs.x)

    def shifted(h):
        weight = state.encoder[0][0].clone()
        weight[1, 2, 3] += h
        moved = replace(state, encoder=[(weight, state.encoder[0][1]), *state.encoder[1:]])
        return method_loss(c, moved, blobs.x, blobs.y)[0][1].item()

    slope = (shifted(1e-6) - shifted(-1e-6)) / 2e-6
    new = replace(state)
    ct._step(c, new, blobs.x, blobs.y, torch.tensor([0.1, 0.1], dtype=torch.float64), None)
    np.testing.assert_allclose(state.encoder[0][0][1, 2, 3] - new.encoder[0][0][1, 2, 3], 0.1 * slope, rtol=1e-6)


def test_invariance_alone_collapses_and_a_penalty_holds(blobs):
    rates = {"rates": [0.3], "record_at": [150]}
    lost, held = (train(config(n), blobs, SEEDS, **rates) for n in ("invariance", "L_Simple 1"))
    assert (lost.center > 0.95).all()
    assert (held.center < 0.05).all()


def test_a_model_that_diverges_is_named_and_stops_no_other(blobs):
    run = train(config("triplet"), blobs, SEEDS, rates=[1e-3, 1e300], record_at=[0, 6])
    np.testing.assert_array_equal(run.diverged, np.isnan(run.center[-1]))
    assert run.diverged[1].all()
    assert not run.diverged[0].any()
    assert run.reason.startswith("2 of 4 models diverged")


def test_the_table_reads_back(tmp_path):
    out = tmp_path / "table.json"
    words = "table --rows SimCLR --seeds 2 --steps 2 --pairs 20 --batch 8 --rates 0.1 0.2 --workers 1"
    ct.main([*words.split(), "--out", str(out)])
    record = read_record(out)
    command = "python -m ssltheory.center_training table --rows SimCLR --seeds 2 --steps 2 --batch 8 --pairs 20"
    assert record.provenance["command"] == f"{command} --rates 0.1 0.2"
    table = read_table(record.data)
    assert table.names == ["SimCLR"]
    assert table.data == ["blobs", "moons", "digits"]
    row = table.row("SimCLR", "moons", norm=False)
    run = train(
        Config(**ROWS["SimCLR"], encoder=(16, 64, 64, 16), norm=False, batch=8),
        toy_data("moons", table.seeds, 20),
        table.seeds,
        rates=table.rates,
        record_at=table.steps,
    )
    for name in QUANTITIES:
        np.testing.assert_allclose(row.end[name], getattr(run, name)[-1], atol=0.006)
        np.testing.assert_allclose(row.course[name], getattr(run, name)[:, row.best], atol=0.006)
    np.testing.assert_allclose(row.tuned("between") + row.tuned("center") + row.tuned("within"), 1.0)
    with pytest.raises(ValueError, match="no row"):
        table.row("SimCLR", "rings")
    with pytest.raises(ValueError, match="two rows"):
        read_table({**record.data, "runs": [*record.data["runs"], record.data["runs"][0]]})
    with pytest.raises(ValueError, match="keys"):
        read_table({})


def test_no_seed_takes_part_in_the_choice_of_its_rate(blobs):
    entry = run_entry("x", "blobs", train(config("SimCLR"), blobs, SEEDS, rates=[0.1, 0.2], record_at=[1]))
    entry["end"] |= {"linear": ["0.9 0.1", "0.2 0.8"], "knn": ["1 2", "3 4"]}
    data = {"rates": [0.1, 0.2], "seeds": SEEDS, "steps": [1], "raw": {}, "runs": [entry]}
    row = read_table(data).row("x", "blobs")
    np.testing.assert_array_equal(row.tuned("knn"), [3, 2])  # each at the rate that is best for the other


def test_diverged_models_count_as_collapse_and_as_knowing_nothing(blobs):
    run = train(config("triplet"), blobs, SEEDS, rates=[1e300], record_at=[6])
    entry = json.loads(json.dumps(run_entry("t", "blobs", run)))
    row = read_table({"rates": [1e300], "seeds": SEEDS, "steps": [6], "raw": {}, "runs": [entry]}).row("t", "blobs")
    assert row.diverged.all()
    assert (row.end["center"] == 1).all()
    assert (row.end["linear"] == 0).all()


def test_the_same_table_on_a_folder_of_images(tmp_path):
    folder, out = make_folder(tmp_path / "images", count=8, size=(32, 32)), tmp_path / "mine.json"
    words = f"table --images {folder} --rows SwAV --seeds 2 --steps 2 --pairs 16 --batch 8 --rates 0.1 --workers 1"
    ct.main([*words.split(), "--out", str(out)])
    record = read_record(out)
    assert "--images DIR" in record.provenance["command"]
    assert str(tmp_path) not in record.provenance["command"]
    table = read_table(record.data)
    assert table.data == ["images"]
    assert len(table.rows) == 8
    assert set(table.raw["images"]) == {"knn", "linear"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--seeds 1", "--seeds"),
        ("--rates 0.1 0.1", "--rates"),
        ("--rows nothing --out x.json", "--rows"),
        ("--images nowhere", "--out"),
        ("--images nowhere --out x.json", "no folder"),
        ("--device moon --out x.json", "--device"),
        ("--out nowhere/x.json", "--out"),
    ],
)
def test_bad_options_are_refused_before_any_work(words, reason, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        ct.main(["table", *words.split()])
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"method": "moco"},
        {"power": 3},
        {"batch": 1},
        {"momentum": 1.0},
        {"encoder": (4,)},
        {"channels": (3, 5)},
        {"weight": -1},
    ],
)
def test_bad_configurations_are_refused(change):
    with pytest.raises(ValueError, match=r"got|must|need"):
        Config(**change)


def test_bad_training_input_is_refused(blobs):
    for kwargs in ({"rates": []}, {"rates": [-1]}, {"record_at": []}):
        with pytest.raises(ValueError, match=r"rate|step"):
            train(config("SimCLR"), blobs, SEEDS, **kwargs)
    with pytest.raises(ValueError, match="seeds"):
        train(config("SimCLR"), blobs, [1, 2, 3])
