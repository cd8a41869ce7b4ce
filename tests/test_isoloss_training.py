"""Laws of the training of DirectPred and IsoLoss: the stated gradients, seeds that never interact, invariances."""

from dataclasses import replace

import numpy as np
import pytest
from test_images import make_cifar10, make_folder

torch = pytest.importorskip("torch")

from ssltheory import isoloss_record  # noqa: E402
from ssltheory import isoloss_training as it  # noqa: E402
from ssltheory.encoders import digit_data, encode, image_data, initialise  # noqa: E402
from ssltheory.isoloss_record import read_sweep  # noqa: E402
from ssltheory.isoloss_training import Config, code_gradient, code_loss, predictor, train  # noqa: E402
from ssltheory.records import read_record  # noqa: E402

SMALL = Config(encoder=(64, 32, 6), batch=16, step=0.1, lam=0.01)
SHORT = {"record_at": (0, 6), "labels": (1, 2), "draws": 1}


@pytest.fixture(scope="module")
def digits():
    return digit_data([3, 7], 60, dtype=torch.float64)


def codes(seed=0, seeds=3, n=5, count=20):
    g = torch.Generator().manual_seed(seed)
    z, v = (torch.randn(seeds, n, count, generator=g, dtype=torch.float64) for _ in range(2))
    mix = torch.randn(seeds, n, n, generator=g, dtype=torch.float64)
    return mix @ z, mix @ (z + 0.5 * v)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("loss", ["direct", "iso"])
def test_what_is_sent_back_is_the_gradient_of_the_stated_loss_by_autograd(loss, similarity):
    z, v = codes()
    B = predictor(z @ z.mT / z.shape[-1], 0.5)
    free = z.clone().requires_grad_()
    value = code_loss(B, free, v, similarity, iso=loss == "iso")
    (slope,) = torch.autograd.grad(value.sum(), free)
    np.testing.assert_allclose(code_gradient(loss, B, z, v, similarity), slope, rtol=1e-10, atol=1e-14)


def test_the_euclidean_isoloss_is_the_one_of_the_paper():
    z, v = codes()
    B = predictor(z @ z.mT / z.shape[-1], 1.0)
    target = (v + z - torch.bmm(B, z)).detach()
    free = z.clone().requires_grad_()
    value = (free - target).square().sum(dim=1).mean(dim=1) / 2
    (slope,) = torch.autograd.grad(value.sum(), free)
    np.testing.assert_allclose(code_gradient("iso", B, z, v, "euclidean"), slope, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(code_loss(B, z, v, "euclidean", iso=True), value.detach(), rtol=1e-12)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_in_the_eigenspace_isoloss_is_the_direct_update_without_its_leading_factor(similarity):
    z, v = codes()
    sigma = z @ z.mT / z.shape[-1]
    mu, U = torch.linalg.eigh(sigma)
    d = (mu / mu[:, -1:]) ** 0.5
    B = predictor(sigma, 0.5)
    direct, iso = (U.mT @ code_gradient(name, B, z, v, similarity) for name in ("direct", "iso"))
    np.testing.assert_allclose(direct, d[:, :, None] * iso, rtol=1e-9, atol=1e-14)


def test_the_matched_update_has_the_direction_of_isoloss_and_the_length_of_the_direct_one():
    z, v = codes()
    B = predictor(z @ z.mT / z.shape[-1], 0.5)
    direct, iso, matched = (code_gradient(name, B, z, v).flatten(1) for name in ("direct", "iso", "matched"))
    np.testing.assert_allclose(matched.norm(dim=1), direct.norm(dim=1), rtol=1e-12)
    np.testing.assert_allclose((matched * iso).sum(dim=1), matched.norm(dim=1) * iso.norm(dim=1), rtol=1e-12)


def test_the_size_of_the_predictor_is_invisible_to_direct_and_divides_isoloss():
    z, v = codes()
    B = predictor(z @ z.mT / z.shape[-1], 0.5)
    for name, factor in (("direct", 1), ("matched", 1), ("iso", 1 / 3)):
        np.testing.assert_allclose(
            code_gradient(name, 3 * B, z, v), factor * code_gradient(name, B, z, v), rtol=1e-10, atol=1e-14
        )


def test_without_a_predictor_the_three_losses_are_one():
    z, v = codes()
    B = predictor(z @ z.mT, 0.0)
    for name in ("iso", "matched"):
        np.testing.assert_allclose(code_gradient(name, B, z, v), code_gradient("direct", B, z, v), rtol=1e-12)


def test_the_predictor_commutes_with_sigma_and_has_the_powers_of_its_eigenvalues():
    z, _ = codes()
    sigma = z @ z.mT
    B = predictor(sigma, 0.5)
    largest = torch.linalg.eigvalsh(sigma)[:, -1, None, None]
    np.testing.assert_allclose(B @ B, sigma / largest, atol=1e-12)
    np.testing.assert_allclose(predictor(5 * sigma, 0.5), B, atol=1e-12)


def test_codes_of_length_zero_receive_nothing():
    z, v = codes()
    z[:, :, 0] = 0
    assert (code_gradient("iso", predictor(z @ z.mT, 0.5), z, v)[:, :, 0] == 0).all()


@pytest.mark.parametrize("change", [{}, {"teacher": "ema", "alpha": 0.9}, {"loss": "iso"}, {"norm": False}])
def test_a_batch_of_seeds_is_a_loop_over_seeds(digits, change):
    config = replace(SMALL, **change)
    together = train(config, digits, [3, 7], **SHORT)
    for s, seed in enumerate((3, 7)):
        alone = train(config, digit_data([seed], 60, dtype=torch.float64), [seed], **SHORT)
        np.testing.assert_allclose(together.spectrum[:, s], alone.spectrum[:, 0], rtol=1e-8, atol=1e-12)
        np.testing.assert_array_equal(together.accuracy[:, :, s], alone.accuracy[:, :, 0])


@pytest.mark.parametrize("norm", [True, False])
def test_training_takes_the_step_of_a_plain_optimiser_on_the_stated_loss(digits, norm):
    config = replace(SMALL, norm=norm, loss="iso", memory=0.0)
    run = train(config, digits, [3, 7], record_at=(2,), labels=(1,), draws=1)
    generators = [torch.Generator().manual_seed(s) for s in (3, 7)]
    layers = initialise(config, generators, dtype=torch.float64)
    free = [p.requires_grad_() for layer in layers for p in layer]
    optimiser = torch.optim.SGD(free[:-1], lr=config.step, momentum=config.momentum, weight_decay=config.lam)
    for _ in range(2):
        rows = torch.stack([torch.randint(60, (16,), generator=g) for g in generators])
        x, y = (torch.stack([v[s, rows[s]] for s in range(2)]) for v in (digits.x, digits.y))
        z, v = encode(layers, x, norm=norm), encode(layers, y, norm=norm).detach()
        B = predictor((z @ z.mT / 16).detach(), config.power)
        optimiser.zero_grad()
        code_loss(B, z, v, iso=True).sum().backward()
        optimiser.step()
    for (w, b), (w2, b2) in zip(run.layers, layers, strict=True):
        np.testing.assert_allclose(w, w2.detach(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(b, b2.detach(), rtol=1e-9, atol=1e-12)


def test_ema_without_momentum_is_stop_gradient_and_with_full_momentum_keeps_its_first_teacher(digits):
    sg, ema = (train(replace(SMALL, teacher=t, alpha=0.0), digits, [3, 7], **SHORT) for t in ("sg", "ema"))
    np.testing.assert_allclose(sg.spectrum, ema.spectrum, rtol=1e-9)
    frozen = train(replace(SMALL, teacher="ema", alpha=1.0), digits, [3, 7], **SHORT)
    assert abs(frozen.spectrum[-1] - ema.spectrum[-1]).max() > 1e-6


def test_batch_norm_makes_codes_blind_to_the_scale_of_hidden_weights(digits):
    layers = initialise(SMALL, [torch.Generator().manual_seed(0)], dtype=torch.float64)
    scaled = [(100 * layers[0][0], layers[0][1]), layers[1]]
    np.testing.assert_allclose(encode(layers, digits.x[:1]), encode(scaled, digits.x[:1]), rtol=1e-3)


def test_stored_statistics_give_the_codes_of_the_batch_they_came_from(digits):
    layers = initialise(SMALL, [torch.Generator().manual_seed(s) for s in (0, 1)], dtype=torch.float64)
    statistics = []
    codes = encode(layers, digits.x, collect=statistics)
    np.testing.assert_allclose(encode(layers, digits.x, statistics=statistics), codes, rtol=1e-10, atol=1e-12)
    alone = encode(layers, digits.x[:, :1], statistics=statistics)
    np.testing.assert_allclose(alone, codes[:, :, :1], rtol=1e-9, atol=1e-12)


def test_a_convolution_over_seeds_is_a_loop_over_seeds():
    config = Config(channels=(3, 4, 5), encoder=(5, 6, 4))
    layers = initialise(config, [torch.Generator().manual_seed(s) for s in (0, 1)], dtype=torch.float64)
    x = torch.randn(1, 7, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    together = encode(layers, x)
    for s in (0, 1):
        code = x[0]
        for w, _ in layers[:2]:
            code = torch.nn.functional.conv2d(code, w[s], stride=2, padding=1)
            code = torch.relu(torch.nn.functional.batch_norm(code, None, None, training=True))
        code = code.mean(dim=(2, 3)) @ layers[2][0][s].T
        code = torch.relu(torch.nn.functional.batch_norm(code, None, None, training=True)) @ layers[3][0][s].T
        np.testing.assert_allclose(together[s], code.T, rtol=1e-9, atol=1e-12)


def test_a_seed_that_diverges_is_reported_and_leaves_the_others_alone(digits):
    config = replace(SMALL, similarity="euclidean", norm=False)
    calm = train(config, digits, [3, 7], **SHORT)
    x = digits.x.clone()
    x[0] = 1e200
    wild = train(config, replace(digits, x=x), [3, 7], **SHORT)
    assert wild.diverged.tolist() == [True, False]
    assert "1 of 2 seeds diverged" in wild.reason
    assert np.isnan(wild.ratio[-1, 0])
    np.testing.assert_allclose(wild.spectrum[:, 1], calm.spectrum[:, 1], rtol=1e-9)
    entry = it.run_entry("x", wild)
    assert entry["diverged"] == 1
    assert entry["accuracy"][-1].split()[0] == "nan"


def test_a_run_reads_back_from_its_entry(digits):
    run = train(replace(SMALL, loss="matched"), digits, [3, 7], **SHORT)
    sweep = read_sweep({"runs": [it.run_entry("here", run)], "pixels": ["0.5 0.5"]})
    course = sweep.course("here", "matched", "sg", 0.1)
    np.testing.assert_array_equal(course.steps, run.steps)
    np.testing.assert_allclose(course.accuracy, run.accuracy[-1], rtol=1e-3)
    np.testing.assert_allclose(course.ratio, run.ratio, rtol=1e-3)
    np.testing.assert_allclose(course.spectrum.sum(), 1, rtol=1e-2)
    assert replace(Config(), **course.config) == run.config


def test_what_the_record_leaves_out_is_the_default():
    usual = Config()
    assert all(getattr(usual, key) == value for key, value in isoloss_record._USUAL.items())


def test_images_are_split_standardised_and_trained_on(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.random((60, 8, 8, 3)), np.arange(60) % 3
    data = image_data(images, labels, np.random.default_rng(1), count=40, probe=5)
    assert data.clean.shape == (1, 15, 3, 8, 8)
    assert data.test.shape == (1, 12, 3, 8, 8)
    np.testing.assert_allclose(data.x.mean(dim=(0, 1, 3, 4)), 0, atol=1e-5)
    np.testing.assert_allclose(data.x.std(dim=(0, 1, 3, 4)), 1, atol=1e-2)
    config = Config(channels=(3, 4, 6), encoder=(6, 5), batch=8)
    run = train(config, data, [0, 1, 2], **SHORT)
    assert run.spectrum.shape == (2, 3, 5)
    assert np.isfinite(run.accuracy).all()
    with pytest.raises(ValueError, match="one for each image"):
        image_data(images, labels[:5], rng)
    with pytest.raises(ValueError, match="fewer than two"):
        image_data(images[:4], np.arange(4), rng)


@pytest.mark.parametrize("source", ["--images", "--cifar10"])
def test_the_command_runs_the_same_experiment_on_a_folder(tmp_path, source, monkeypatch):
    if source == "--images":
        make_folder(tmp_path / "in", count=10)
    else:
        make_cifar10(tmp_path / "in", count=60)
    out = tmp_path / "out.json"
    monkeypatch.setattr(it, "LEAST_STEPS", 2)
    small = ["--seeds", "2", "--steps", "2", "--pairs", "30", "--rates", "0.1", "--batch", "4"]
    it.main(["sweep", source, str(tmp_path / "in"), *small, "--workers", "1", "--out", str(out)])
    record = read_record(out)
    assert record.provenance["command"].startswith(f"python -m ssltheory.isoloss_training sweep {source} DIR")
    assert len(record.data["runs"]) == 16
    assert record.data["runs"][0]["config"]["channels"] == [3, 32, 64, 128]
    assert len(read_sweep(record.data).runs) == 16
    assert record.data["classes"] == (2 if source == "--images" else 10)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--images", "none"],
        ["--images", "."],
        ["--seeds", "1"],
        ["--steps", "99"],
        ["--workers", "0"],
        ["--rates", "-1"],
        ["--rates", "0.1", "0.1"],
        ["--decay", "0"],
        ["--decay", "nan"],
        ["--batch", "1"],
        ["--device", "nope"],
        ["--device", "meta"],
        pytest.param(["--device", "cuda"], marks=pytest.mark.skipif(torch.cuda.is_available(), reason="it can be")),
        ["--out", "missing/x.json"],
        ["--out", "."],
    ],
)
def test_bad_commands_are_refused_in_a_line_before_any_run(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(it, "train", pytest.fail)
    with pytest.raises(SystemExit) as stopped:
        it.main(["sweep", "--out", "x.json", *arguments])
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_images_need_a_place_to_write_to(tmp_path, capsys):
    with pytest.raises(SystemExit):
        it.main(["sweep", "--images", str(tmp_path)])
    assert "--out is needed" in capsys.readouterr().err


def test_a_class_with_too_few_images_for_the_probe_is_refused_before_any_run(tmp_path, monkeypatch, capsys):
    make_folder(tmp_path / "in", count=4)
    monkeypatch.setattr(it, "train", pytest.fail)
    with pytest.raises(SystemExit):
        it.main(["sweep", "--images", str(tmp_path / "in"), "--pairs", "9", "--out", str(tmp_path / "x.json")])
    assert "the probe needs at least 5" in capsys.readouterr().err


def test_a_record_goes_on_after_the_usual_steps():
    assert it._record_at(300) == it.RECORD_AT
    assert it._record_at(100) == (0, 5, 10, 20, 40, 60, 100)
    assert it._record_at(2000) == (*it.RECORD_AT, 600, 1200, 2000)
    options = it._parser().parse_args(["sweep", "--steps", "200"])
    ends = {job.record_at[-1] for job in it._jobs(options) if job.section != "long"}
    assert ends == {200}


@pytest.mark.parametrize(
    "bad",
    [
        {"loss": "other"},
        {"teacher": "none"},
        {"similarity": "dot"},
        {"step": 0.0},
        {"power": -1.0},
        {"memory": 1.0},
        {"momentum": 1.0},
        {"alpha": 2.0},
        {"lam": -1.0},
        {"batch": 1},
        {"encoder": (5,)},
        {"channels": (3,)},
        {"channels": (3, 8)},
        {"scale": 0.0},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=r".+"):
        Config(**bad)


def test_bad_calls_are_refused(digits):
    for seeds, options in (([], {}), ([1, 2, 3], {}), ([3, 7], {"labels": (1000,)}), ([3, 7], {"record_at": (-1,)})):
        with pytest.raises(ValueError, match=r".+"):
            train(SMALL, digits, seeds, **{**SHORT, **options})


@pytest.mark.parametrize("loss", ["direct", "iso", "matched"])
@pytest.mark.parametrize("teacher", ["sg", "ema"])
def test_rate_and_decay_enter_by_their_product_where_only_the_direction_of_the_weights_counts(digits, loss, teacher):
    config = replace(SMALL, encoder=(64, 6), loss=loss, teacher=teacher, alpha=0.9)
    one = train(config, digits, [3, 7], **SHORT)
    other = train(replace(config, step=9 * config.step, lam=config.lam / 9, scale=3.0), digits, [3, 7], **SHORT)
    np.testing.assert_allclose(other.layers[0][0], 3 * one.layers[0][0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.ratio, one.ratio, rtol=1e-9)
