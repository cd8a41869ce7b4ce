"""Laws of V-JEPA in small: masks of constant count, exact resume, whole checkpoints, processes that agree with one."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssltheory.vjepa import __main__ as cli  # noqa: E402
from ssltheory.vjepa.checkpoints import CheckpointError, read_checkpoint, write_checkpoint  # noqa: E402
from ssltheory.vjepa.curves import draw_runs, read_log  # noqa: E402
from ssltheory.vjepa.masks import LONG_RANGE, SHORT_RANGE, MaskConfig, draw_masks, hidden_cells, union_masks  # noqa: E402
from ssltheory.vjepa.model import Encoder, ModelConfig, Predictor, normalised, patches, positions, take  # noqa: E402
from ssltheory.vjepa.probes import attentive_probe, bootstrap_interval, pixel_probe  # noqa: E402
from ssltheory.vjepa.training import Student, TrainConfig, Trainer, schedule  # noqa: E402
from ssltheory.vjepa.videos import MOTIONS, DigitVideos, split_digits  # noqa: E402

TINY = ModelConfig(
    frames=4, side=12, tubelet=2, patch=4, width=12, depth=2, heads=2, predictor_width=8, predictor_depth=1
)
SHORT = TrainConfig(model=TINY, steps=8, batch=4, log_every=1, watch_every=2, save_every=4, frozen=4)


@pytest.fixture(scope="module")
def digits():
    return DigitVideos(split_digits()[0], frames=4, side=12)


# --- what is seen


def test_a_clip_does_not_depend_on_what_else_is_made(digits):
    together = digits.batch(3, 7, 6)
    apart = [digits.batch(3, 7, 2, first=k) for k in (0, 2, 4)]
    assert torch.equal(together.video, torch.cat([c.video for c in apart]))
    assert torch.equal(together.motion, torch.cat([c.motion for c in apart]))
    assert not torch.equal(together.video, digits.batch(3, 8, 6).video)
    assert not torch.equal(together.video, digits.batch(4, 7, 6).video)


def test_no_image_is_in_training_and_in_test():
    train, test = split_digits()
    assert not set(train) & set(test)
    assert len(train) + len(test) == 1797
    clips = DigitVideos(test[:5], frames=2, side=8).batch(0, 0, 20)
    assert set(clips.image.tolist()) <= set(test[:5].tolist())


def test_labels_are_those_of_the_images_and_all_motions_occur(digits):
    clips = digits.batch(0, 0, 300)
    assert torch.equal(clips.digit, digits.labels[clips.image])
    assert set(clips.motion.tolist()) == set(range(len(MOTIONS)))


def test_a_travelling_digit_moves_the_way_its_label_says():
    """The shift between two frames on the torus, found by correlation, points in the labelled direction."""
    source = DigitVideos(split_digits()[0], frames=2, side=32, distractor=0.0, background=0.0)
    clips = source.batch(1, 0, 200)
    errors = []
    for video, motion in zip(clips.video[:, 0], clips.motion, strict=True):
        if motion >= 8:
            continue
        a, b = (torch.fft.fft2(frame) for frame in video)
        match = torch.fft.ifft2(b * a.conj()).real
        down, across = divmod(int(match.argmax()), 32)
        down, across = ((v + 16) % 32 - 16 for v in (down, across))
        want = float(motion) * np.pi / 4
        # A distance of half the torus or more wraps: compare on the torus.
        length = np.hypot(across, down)
        options = [np.hypot(across + 32 * i, down + 32 * j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        angles = [np.arctan2(down + 32 * j, across + 32 * i) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        gaps = [
            abs((a - want + np.pi) % (2 * np.pi) - np.pi) for a, o in zip(angles, options, strict=True) if 4 < o < 33
        ]
        errors.append(min(gaps) if gaps else length)
    assert len(errors) > 80
    assert np.mean(np.array(errors) < 0.15) > 0.95


def test_neither_mean_size_nor_mean_brightness_tells_motions_apart():
    clips = DigitVideos(split_digits()[0], frames=8, side=16, background=0.0, distractor=0.0).batch(0, 0, 1200)
    light = clips.video.mean(dim=(1, 2, 3, 4)).numpy()
    groups = [light[clips.motion.numpy() == k] for k in range(len(MOTIONS))]
    means, errors = (np.array([f(g) for g in groups]) for f in (np.mean, lambda g: g.std() / np.sqrt(len(g))))
    growing = means[10] - means[11]
    assert abs(growing) < 4 * np.hypot(errors[10], errors[11])


# --- what is hidden


@pytest.mark.parametrize("config", [SHORT_RANGE, LONG_RANGE, MaskConfig(3, 0.3)])
def test_context_and_target_share_out_all_tokens_alike_in_every_clip(config):
    masks = draw_masks(config, np.random.default_rng(0), 50, (3, 6, 5))
    hidden = hidden_cells(config, 6, 5)
    assert masks.target.shape == (50, 3 * hidden)
    both = np.sort(np.concatenate([masks.context, masks.target], axis=1), axis=1)
    np.testing.assert_array_equal(both, np.broadcast_to(np.arange(90), (50, 90)))
    cells = [{int(t) % 30 for t in row} for row in masks.target]
    assert all(len(c) == hidden for c in cells)  # all frames deep
    assert len({frozenset(c) for c in cells}) > 10


def test_no_side_is_seen_more_often_than_the_one_across():
    masks = draw_masks(SHORT_RANGE, np.random.default_rng(1), 40_000, (1, 6, 6))
    seen = np.bincount(masks.context.ravel(), minlength=36).reshape(6, 6) / 40_000
    np.testing.assert_allclose(seen, seen[::-1], atol=0.02)
    np.testing.assert_allclose(seen, seen[:, ::-1], atol=0.02)


def test_as_much_is_hidden_as_the_reference_hides_on_average():
    rng = np.random.default_rng(5)
    found = np.mean([union_masks(SHORT_RANGE, rng, 50, 8, 8).sum(axis=(1, 2)).mean() for _ in range(60)])
    assert abs(found - hidden_cells(SHORT_RANGE, 8, 8)) < 1.5


# --- the networks


def test_patches_are_the_tubelets_in_order():
    video = torch.arange(2 * 3 * 4 * 4 * 8, dtype=torch.float64).reshape(2, 3, 4, 4, 8)
    cut = patches(video, 2, 4)
    assert cut.shape == (2, 2 * 1 * 2, 3 * 2 * 16)
    assert torch.equal(cut[1, 3], video[1, :, 2:4, 0:4, 4:8].reshape(-1))
    conv = torch.nn.Conv3d(3, 5, (2, 4, 4), stride=(2, 4, 4), bias=False, dtype=torch.float64)
    by_convolution = conv(video).flatten(2).mT
    torch.testing.assert_close(cut @ conv.weight.flatten(1).T, by_convolution)


def test_positions_are_sines_and_cosines_of_each_axis():
    table = positions(14, (2, 3, 4)).double()
    d = 6
    for n, (t, row, column) in enumerate((t, r, c) for t in range(2) for r in range(3) for c in range(4)):
        want = np.concatenate(
            [f(p / 10000 ** (np.arange(3) / (d / 2))) for p in (t, row, column) for f in (np.sin, np.cos)]
        )[:14]
        np.testing.assert_allclose(table[n], want, atol=1e-6)


def test_the_encoder_sees_only_what_is_shown():
    encoder = Encoder(TINY)
    tokens = torch.randn(3, 18, 32)
    shown = torch.from_numpy(draw_masks(SHORT_RANGE, np.random.default_rng(0), 3, TINY.grid).context)
    features = encoder(tokens, shown)
    changed = torch.randn_like(tokens).scatter(1, shown[..., None].expand(-1, -1, 32), take(tokens, shown))
    torch.testing.assert_close(encoder(changed, shown), features)
    everything = torch.arange(18).expand(3, -1)
    torch.testing.assert_close(encoder(tokens, everything), encoder(tokens))


def test_the_order_of_tokens_does_not_matter():
    encoder, predictor = Encoder(TINY), Predictor(TINY)
    tokens, order = torch.randn(1, 18, 32), torch.randperm(18)[None]
    torch.testing.assert_close(encoder(tokens, order), take(encoder(tokens), order), rtol=1e-4, atol=1e-5)
    context, target = torch.arange(10)[None], torch.arange(10, 18)[None]
    features, turn = encoder(tokens, context), torch.randperm(10)
    torch.testing.assert_close(
        predictor(features[:, turn], context[:, turn], target),
        predictor(features, context, target),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_loss_is_the_mean_error_of_each_kind_of_mask():
    student, tokens = Student(TINY), torch.randn(2, 18, 32)
    masks = [
        tuple(map(torch.from_numpy, vars(draw_masks(kind, np.random.default_rng(0), 2, TINY.grid)).values()))
        for kind in (SHORT_RANGE, LONG_RANGE)
    ]
    goal = normalised(Encoder(TINY)(tokens))
    torch.testing.assert_close(goal.mean(-1), torch.zeros(2, 18), atol=1e-5, rtol=0)
    want = 0
    for k, (context, target) in enumerate(masks):
        guess = student.predictor(student.encoder(tokens, context), context, target, k)
        errors = [(guess[b] - goal[b, target[b]]).abs().mean() for b in range(2)]
        want = want + sum(errors) / 4
    torch.testing.assert_close(student(tokens, goal, masks), want)


@pytest.mark.parametrize("change", [{"patch": 5}, {"heads": 5}, {"tubelet": 3}, {"width": 0}, {"embedding_std": -1.0}])
def test_sizes_that_do_not_fit_are_refused(change):
    with pytest.raises(ValueError, match=r"divide|integer|greater"):
        replace(TINY, **change)


# --- training


def weights(trainer):
    return [p.clone() for p in (*trainer.student.parameters(), *trainer.teacher.parameters())]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("teacher", ["ema", "sg", "joint"])
def test_stopping_and_going_on_is_not_stopping(teacher, digits, tmp_path):
    config = replace(SHORT, teacher=teacher)
    whole = Trainer(config, digits, tmp_path / "whole")
    assert whole.run(quiet=True) == "all 8 steps were taken"
    part = Trainer(config, digits, tmp_path / "part")
    assert part.run(4, quiet=True) == "stopped after step 4"
    rest = Trainer(config, digits, tmp_path / "part")
    rest.load()
    rest.run(quiet=True)
    assert same(weights(whole), weights(rest))
    assert read_log(tmp_path / "whole").lines == read_log(tmp_path / "part").lines


def test_the_teachers_do_what_their_names_say(digits, tmp_path):
    for teacher in ("sg", "joint"):
        t = Trainer(replace(SHORT, teacher=teacher), digits, tmp_path / teacher)
        t.advance()
        assert same(t.teacher.parameters(), t.student.encoder.parameters())
    t = Trainer(replace(SHORT, alpha=0.9, last_alpha=0.9), digits, tmp_path / "ema")
    before = [p.clone() for p in t.teacher.parameters()]
    t.advance()
    for old, new, student in zip(before, t.teacher.parameters(), t.student.encoder.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * student.detach())


def test_only_joint_sends_a_gradient_through_the_target(digits, tmp_path):
    """The first step: sg is the gradient with the target held, joint that of E, by finite differences."""
    t = Trainer(replace(SHORT, teacher="joint"), digits, tmp_path)
    tokens, masks = t._tokens(0, 0, 4).double(), t._masks(0, 0, 4)
    student = t.student.double()
    held = normalised(student.encoder(tokens)).detach()
    weight = student.encoder.blocks[0].up.weight
    slopes = [torch.autograd.grad(student(tokens, goal, masks), weight)[0][1, 2].item() for goal in (None, held)]
    values = {None: [], "held": []}
    for h in (1e-6, -2e-6):
        with torch.no_grad():
            weight[1, 2] += h
            values[None].append(student(tokens, None, masks).item())
            values["held"].append(student(tokens, held, masks).item())
    for slope, key in zip(slopes, values, strict=True):
        np.testing.assert_allclose(slope, (values[key][0] - values[key][1]) / 2e-6, rtol=1e-4, atol=1e-9)
    assert abs(slopes[0] - slopes[1]) > 1e-6


def test_schedules_begin_and_end_where_they_say():
    c = TrainConfig(steps=101, warmup=0.1)
    rates, decays, alphas = zip(*(schedule(c, t) for t in range(101)), strict=True)
    assert np.argmax(rates) in (10, 11)
    np.testing.assert_allclose([max(rates), rates[-1]], [c.rate, c.last_rate], rtol=1e-2)
    np.testing.assert_allclose([decays[0], decays[-1]], [0.04, 0.4])
    np.testing.assert_allclose([alphas[0], alphas[50], alphas[-1]], [0.998, 0.999, 1.0])
    assert (np.diff(decays) > 0).all()


def test_biases_norms_and_learned_tokens_do_not_decay(digits, tmp_path):
    t = Trainer(SHORT, digits, tmp_path)
    free = {id(p) for g in t.optimizer.param_groups if not g["decayed"] for p in g["params"]}
    for name, p in t.student.named_parameters():
        assert (id(p) in free) == (name.endswith(("bias", "ask")) or "norm" in name), name


def test_what_is_watched_is_what_the_words_say(digits, tmp_path):
    t = Trainer(replace(SHORT, alpha=0.5, last_alpha=0.5), digits, tmp_path)
    t.advance()
    seen = t.watch()
    tokens, masks = t._frozen
    with torch.no_grad():
        E = t.student(tokens, normalised(t.student.encoder(tokens)), masks)
        F = t.student(tokens, normalised(t.teacher(tokens)), masks)
        z = t.student.encoder(tokens).flatten(0, 1)
    np.testing.assert_allclose([seen["E"], seen["F"]], [E, F], rtol=1e-6)
    np.testing.assert_allclose(seen["deviation_student"], z.std(dim=0, correction=0).mean(), rtol=1e-5)
    again = t.watch()
    assert seen == again


# --- what can go wrong


def test_a_checkpoint_is_refused_with_a_reason(digits, tmp_path):
    t = Trainer(SHORT, digits, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        t.load()
    t.save()
    good = t.checkpoint.read_bytes()
    for raw, words in (
        (good[:-40], "damaged"),
        (good[:200] + bytes([good[200] ^ 1]) + good[201:], "damaged"),
        (b"PK\x03\x04 something else", "not a checkpoint"),
        (b"", "not a checkpoint"),
    ):
        t.checkpoint.write_bytes(raw)
        with pytest.raises(CheckpointError, match=words):
            t.load()
    t.checkpoint.write_bytes(good)
    other = Trainer(replace(SHORT, batch=2), digits, tmp_path)
    with pytest.raises(CheckpointError, match="batch is 4 there and 2 here"):
        other.load()


def test_no_pickle_is_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "boom"),))

    with pytest.raises(CheckpointError, match="more than tensors"):
        read_checkpoint(write_checkpoint(tmp_path / "x.ckpt", {"a": Bomb()}))
    assert not (tmp_path / "boom").exists()


def test_a_full_disk_is_said_and_keeps_the_last_checkpoint(digits, tmp_path, monkeypatch):
    t = Trainer(SHORT, digits, tmp_path)
    t.save()
    good = t.checkpoint.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        t.save()
    assert t.checkpoint.read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_loss_that_is_no_number_stops_the_run_with_the_last_good_state(digits, tmp_path):
    t = Trainer(SHORT, digits, tmp_path)
    t.run(4, quiet=True)
    good = t.checkpoint.read_bytes()
    with torch.no_grad():
        t.student.encoder.embed.bias += torch.nan
    with pytest.raises(FloatingPointError, match="last good state"):
        t.run(quiet=True)
    assert t.checkpoint.read_bytes() == good


COMMAND = [sys.executable, "-m", "ssltheory.vjepa"]
SIZES = (
    "--preset smoke --width 12 --depth 1 --heads 2 --predictor-width 8 --predictor-depth 1 --side 12 --frames 4"
    " --batch 4 --frozen 4 --seed 5"
)
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def call(words, **options):
    return subprocess.run([*COMMAND, *words.split()], capture_output=True, text=True, env=ALONE, check=False, **options)


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    """SIGKILL while checkpoints are written all the time: what is on the disk is whole, and the end is the same."""
    words = f"train {SIZES} --device cpu --quiet --steps 400 --save-every 1 --watch-every 100"
    process = subprocess.Popen([*COMMAND, *words.split(), "--out", str(tmp_path / "run")], env=ALONE)
    end = time.time() + 60
    while not (tmp_path / "run" / "last.ckpt").exists() and time.time() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    at = read_checkpoint(tmp_path / "run" / "last.ckpt")["step"]
    assert 0 < at < 400
    config = cli._read_config(tmp_path / "run" / "last.ckpt")
    source = cli._source(config, torch.device("cpu"))
    rest = Trainer(config, source, tmp_path / "run")
    rest.load()
    rest.run(at + 3, quiet=True)
    whole = Trainer(config, source, tmp_path / "whole")
    whole.run(at + 3, quiet=True)
    assert same(weights(whole), weights(rest))
    steps = list(read_log(tmp_path / "run").lines)
    assert steps == sorted(set(steps))


def test_two_processes_are_one(tmp_path):
    words = f"{SIZES} --device cpu --quiet --steps 6 --save-every 6"
    one = call(f"train {words} --out {tmp_path / 'one'}")
    assert one.returncode == 0, one.stderr
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "ssltheory.vjepa",
    ]
    two = subprocess.run(
        [*launch, "train", *words.split(), "--out", str(tmp_path / "two")],
        capture_output=True, text=True, env=ALONE, check=False,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr
    states = [read_checkpoint(tmp_path / name / "last.ckpt") for name in ("one", "two")]
    for part in ("student", "teacher"):
        for name, value in states[0][part].items():
            torch.testing.assert_close(states[1][part][name], value, rtol=1e-3, atol=2e-5)


def test_the_command_trains_probes_and_draws(tmp_path, capsys):
    run = tmp_path / "run"
    cli.main(f"train {SIZES} --device cpu --quiet --steps 6 --stop-at 3 --out {run}".split())
    cli.main(f"resume {run} --device cpu --quiet".split())
    assert "all 6 steps" in capsys.readouterr().out
    cli.main(f"probe {run} --clips 60 --test-clips 30 --steps 3 --device cpu".split())
    found = json.loads(capsys.readouterr().out)
    assert set(found["labels"]["digit"]) == {
        "chance",
        "linear on pixels",
        "trained",
        "random encoder",
        "attentive on patches",
    }
    cli.main(["plot", str(run), "--out", str(tmp_path / "x.png")])
    assert (tmp_path / "x.png").stat().st_size > 10_000
    assert len(draw_runs([run]).axes) == 4


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("train --out {t} --patch 5", "divide"),
        ("train --out {t} --teacher byol", "invalid choice"),
        ("resume {t}", "cannot be read"),
        ("probe {t}", "cannot be read"),
        ("plot {t}", "no run"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(words, reason, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words.format(t=tmp_path / "none").split())
    assert reason in capsys.readouterr().err + str(stopped.value)


def test_a_folder_that_holds_a_run_is_not_written_over(digits, tmp_path, capsys):
    Trainer(SHORT, digits, tmp_path).save()
    with pytest.raises(SystemExit):
        cli.main(["train", "--out", str(tmp_path)])
    assert "holds a run" in capsys.readouterr().err


# --- reading features


def test_an_attentive_probe_finds_a_token_that_tells_the_class_at_any_place():
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (400,), generator=g)
    tokens = 0.3 * torch.randn(400, 5, 8, generator=g)
    place = torch.randint(5, (400,), generator=g)
    tokens[torch.arange(400), place, labels] += 3.0
    tokens *= 1e-6  # size does not matter
    reading = attentive_probe(
        tokens[:300], labels[:300], tokens[300:], labels[300:], np.arange(100), classes=3, seeds=[0], steps=150
    )
    assert reading.accuracy > 0.95
    low, high = reading.interval()
    assert low <= reading.accuracy <= high


def test_clips_of_one_image_count_as_one():
    correct = np.repeat([1.0, 0.0], 50)
    wide = bootstrap_interval(correct, np.repeat([0, 1], 50))
    narrow = bootstrap_interval(correct, np.arange(100))
    assert wide == (0.0, 1.0)
    assert 0.35 < narrow[0] < narrow[1] < 0.65


def test_pixels_tell_digits_better_than_chance_and_directions_hardly():
    # Another step, or the test clips would repeat the places and the motions of the others.
    train, test = (DigitVideos(i, frames=4, side=12).batch(0, k, 400) for k, i in enumerate(split_digits()))
    assert pixel_probe(train, test, "motion") < 0.3
    with pytest.raises(ValueError, match="label"):
        pixel_probe(train, test, "colour")
