"""Laws of the Siamese training: which gradient each teacher gives, and that batching the seeds changes nothing."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssltheory import siamese  # noqa: E402
from ssltheory.linear import LinearProblem  # noqa: E402
from ssltheory.moments import second_moments  # noqa: E402
from ssltheory.siamese import Config, gradients, initialise, loss, network, train  # noqa: E402

SMALL = Config(encoder=(6, 8, 5), predictor=(5, 5), step=0.05, batch=16, lam=0.01)
SIMILARITIES = ["squared", "cosine"]


def pairs(seed=0, count=80, m=6):
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((count, m))
    return (signal + 0.5 * rng.standard_normal((count, m)) for _ in range(2))


def draw(config, seeds=2):
    generators = [torch.Generator().manual_seed(s) for s in range(seeds)]
    layers = [initialise(config.encoder, generators, bias=config.bias)]
    layers.append(initialise(config.predictor, generators, bias=config.bias) if config.predictor else [])
    x, y = (torch.from_numpy(v)[None] for v in pairs())
    return (*layers, x, y)


def last(run):
    return [p for pair in [*run.encoders[-1], *run.predictors[-1]] for p in pair if p is not None]


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("teacher", ["none", "sg"])
def test_gradient_is_the_finite_difference_of_e_or_of_e_with_its_target_held(similarity, teacher):
    config = replace(SMALL, similarity=similarity, teacher=teacher, activation="tanh")
    encoder, predictor, x, y = draw(config)
    _, slopes = gradients(config, encoder, predictor, encoder, x, y)
    rng = np.random.default_rng(1)
    directions = [torch.from_numpy(rng.standard_normal(tuple(s.shape))) for s in slopes]
    h = 1e-6

    def moved(sign):
        d = iter(directions)
        nets = [[tuple(p + sign * h * next(d) for p in pair) for pair in layers] for layers in (encoder, predictor)]
        return loss(config, nets[0], nets[1], nets[0] if teacher == "none" else encoder, x, y)

    predicted = sum((s * v).sum(dim=(1, 2)) for s, v in zip(slopes, directions, strict=True))
    np.testing.assert_allclose((moved(1) - moved(-1)) / (2 * h), predicted, rtol=1e-6)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_stop_gradient_has_the_value_of_e_but_not_its_gradient(similarity):
    config = replace(SMALL, similarity=similarity)
    encoder, predictor, x, y = draw(config)
    value_sg, sg = gradients(config, encoder, predictor, encoder, x, y)
    value_e, e = gradients(replace(config, teacher="none"), encoder, predictor, encoder, x, y)
    np.testing.assert_array_equal(value_sg, value_e)
    assert abs(sg[0] - e[0]).max() > 1e-3
    for a, b in zip(sg[4:], e[4:], strict=True):  # the predictor never sits behind the teacher
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("dynamics", ["gradient", "sg", "ema"])
def test_the_linear_network_moves_along_the_fields_of_the_linear_problem(dynamics):
    teacher = {"gradient": "none"}.get(dynamics, dynamics)
    config = Config(encoder=(3, 5), predictor=(5, 5), activation="linear", bias=False, teacher=teacher, lam=0.1)
    generators = [torch.Generator().manual_seed(s) for s in range(4)]
    (A, _), (B, _), (C, _) = (initialise(w, generators, bias=False)[0] for w in [(3, 5), (5, 5), (3, 5)])
    x, y = pairs(m=3)
    if dynamics != "ema":
        C = A
    views = (torch.from_numpy(v)[None] for v in (x, y))
    _, (slope_A, slope_B) = gradients(config, [(A, None)], [(B, None)], [(C, None)], *views)
    problem = LinearProblem(second_moments(x, y), lam=0.1, n=5)
    extra = {"C": C.numpy(), "kappa": 0.5} if dynamics == "ema" else {}
    field = problem.field(dynamics, A.numpy(), B.numpy(), **extra)
    np.testing.assert_allclose(-slope_A, field[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(-slope_B, field[1], rtol=1e-10, atol=1e-12)


def test_the_linear_loss_is_that_of_the_linear_problem():
    config = Config(encoder=(3, 5), predictor=(5, 5), activation="linear", bias=False, lam=0.1)
    encoder, predictor, _, _ = draw(config)
    x, y = pairs(m=3)
    value = loss(config, encoder, predictor, encoder, *(torch.from_numpy(v)[None] for v in (x, y)))
    problem = LinearProblem(second_moments(x, y), lam=0.1, n=5)
    np.testing.assert_allclose(value, problem.loss(encoder[0][0].numpy(), predictor[0][0].numpy()), rtol=1e-12)


def test_ema_without_momentum_is_stop_gradient():
    x, y = pairs()
    sg, ema = (train(replace(SMALL, teacher=t, alpha=0.0), x, y, steps=30, seeds=2, frozen=80) for t in ("sg", "ema"))
    for a, b in zip(last(sg), last(ema), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(ema.loss, ema.training_loss, rtol=1e-12)


def test_ema_with_full_momentum_keeps_its_first_teacher():
    x, y = pairs()
    config = replace(SMALL, teacher="ema", alpha=1.0)
    run = train(config, x, y, steps=20, seeds=2, frozen=80)
    views = (torch.from_numpy(v)[None] for v in pairs())
    frozen = loss(config, run.encoders[-1], run.predictors[-1], run.encoders[0], *views)
    np.testing.assert_allclose(run.training_loss[-1], frozen, rtol=1e-12)


@pytest.mark.parametrize("teacher", ["none", "sg", "ema"])
def test_a_batch_of_seeds_is_a_loop_over_seeds(teacher):
    x, y = pairs()
    config = replace(SMALL, teacher=teacher, alpha=0.9)
    together = train(config, x, y, steps=25, seeds=[3, 7], frozen=80)
    for k, seed in enumerate([3, 7]):
        alone = train(config, x, y, steps=25, seeds=[seed], frozen=80)
        np.testing.assert_allclose(together.loss[:, k], alone.loss[:, 0], rtol=1e-10)
        np.testing.assert_allclose(together.spectrum[:, k], alone.spectrum[:, 0], rtol=1e-8, atol=1e-12)


def test_the_same_seed_gives_the_same_run_whatever_the_global_seed():
    x, y = pairs()
    runs = []
    for junk in (0, 1):
        torch.manual_seed(junk)
        runs.append(train(SMALL, x, y, steps=10, seeds=2, frozen=80).loss)
    np.testing.assert_array_equal(*runs)


def test_teachers_share_their_start_and_their_first_minibatch():
    x, y = pairs()
    starts = [train(replace(SMALL, teacher=t), x, y, steps=1, frozen=80).loss[0] for t in ("none", "sg", "ema")]
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts[0], starts[2])
    first = [train(replace(SMALL, teacher=t), x, y, steps=1, frozen=80).loss[1] for t in ("sg", "ema")]
    np.testing.assert_allclose(*first, rtol=1e-12)  # after one step the EMA teacher has not been used yet


def test_full_batch_descent_on_e_lowers_e_at_every_step():
    x, y = pairs()
    run = train(
        replace(SMALL, teacher="none", batch=None, step=0.01), x, y, steps=60, frozen=80, record_at=np.arange(61)
    )
    assert (np.diff(run.loss, axis=0) < 0).all()


def test_the_constant_map_has_the_least_loss_there_is():
    """E >= 0, and all parameters at zero reach it: total collapse is the global minimum."""
    config = replace(SMALL, lam=0.1)
    encoder, predictor, x, y = draw(config)
    zero = [[tuple(torch.zeros_like(p) for p in pair) for pair in layers] for layers in (encoder, predictor)]
    assert (loss(config, zero[0], zero[1], zero[0], x, y) == 0).all()
    assert (loss(config, encoder, predictor, encoder, x, y) > 0).all()


def test_a_step_that_is_too_long_is_reported_as_diverged():
    x, y = pairs()
    run = train(replace(SMALL, step=50.0), x, y, steps=50, seeds=3, frozen=80)
    assert run.diverged.all()
    assert "3 of 3 seeds diverged" in run.reason
    assert np.isnan(run.loss[-1]).all()
    assert np.isfinite(run.loss[0]).all()


def test_a_finished_run_says_so_and_its_records_are_those_of_its_networks():
    x, y = pairs()
    run = train(SMALL, x, y, steps=10, seeds=2, frozen=80, record_at=[0, 4, 10])
    assert run.reason == "all 10 steps were taken"
    assert run.steps.tolist() == [0, 4, 10]
    views = [torch.from_numpy(v)[None] for v in (x, y)]
    np.testing.assert_allclose(run.loss[1], loss(SMALL, run.encoders[1], run.predictors[1], run.encoders[1], *views))
    z = run.embed(next(pairs()), at=1)
    assert z.shape == (2, 80, 5)
    np.testing.assert_allclose(z.var(axis=1).sum(axis=1), run.spectrum[1].sum(axis=1))


def test_the_unexplained_share_is_one_minus_r_squared_and_ignores_scale():
    x, y = (np.array(v) for v in pairs())
    config = replace(SMALL, activation="linear", bias=False, encoder=(6, 5))
    run = train(config, x, y, steps=3, seeds=2, frozen=80)
    target = run.embed(y)
    prediction = run.embed(x) @ run.predictors[-1][0][0].mT.numpy()
    left = np.sum((prediction - target) ** 2, axis=(1, 2)) / np.sum(
        (target - target.mean(1)[:, None]) ** 2, axis=(1, 2)
    )
    np.testing.assert_allclose(run.unexplained[-1], left, rtol=1e-10)
    scaled = train(config, 1e-3 * x, 1e-3 * y, steps=1, seeds=2, frozen=80)
    np.testing.assert_allclose(scaled.unexplained[0], run.unexplained[0], rtol=1e-9)


def test_probes_are_computed_for_every_record_and_seed():
    x, y = (np.array(v) for v in pairs())
    labels = (x[:, 0] > 0).astype(int)
    run = train(SMALL, x, y, steps=10, seeds=2, frozen=80, record_at=[0, 10])
    accuracy = run.probe_accuracy(x, labels, y, labels)
    z, z_test = run.embed(x)[1], run.embed(y)[1]
    assert accuracy.shape == (2, 2)
    assert accuracy[1, 1] == siamese.linear_probe_accuracy(z, labels, z_test, labels)


def test_digit_pairs_are_standardised_and_hold_the_test_digits_out():
    digits = siamese.digit_pairs(np.random.default_rng(0), 500, held_out=100)
    np.testing.assert_allclose((digits.x + digits.y).mean(axis=0), 0, atol=1e-12)
    assert np.mean([digits.x**2, digits.y**2]) == pytest.approx(1)
    assert (len(digits.test), len(digits.train)) == (100, 1697)
    assert not {row.tobytes() for row in digits.test} & {row.tobytes() for row in digits.train}


def test_without_distortion_both_views_are_a_training_digit():
    still = {"shift": 0.0, "angle": 0.0, "scale": 0.0, "brightness": 0.0, "noise": 0.0}
    digits = siamese.digit_pairs(np.random.default_rng(0), 50, **still)
    np.testing.assert_array_equal(digits.x, digits.y)
    distance = np.abs(digits.x[:, None] - digits.train).max(axis=-1).min(axis=1)
    np.testing.assert_allclose(distance, 0, atol=1e-12)


def test_network_without_hidden_layers_is_affine():
    encoder, _, x, _ = draw(replace(SMALL, encoder=(6, 5)))
    weight, _ = encoder[0]
    np.testing.assert_allclose(network(encoder, x), torch.einsum("sij,tkj->ski", weight, x), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder": (6,)}, "two or more"),
        ({"encoder": (6, 0)}, "a width must be an integer, at least 1; got 0"),
        ({"encoder": (6, 5.0)}, "a width must be an integer"),
        ({"predictor": (5, 4)}, "from 5 to 5"),
        ({"activation": "gelu"}, "activation"),
        ({"similarity": "l1"}, "similarity"),
        ({"teacher": "mean"}, "'none', 'sg', 'ema'"),
        ({"alpha": 1.1}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"lam": -0.1}, "lam"),
        ({"step": 0.0}, "step"),
        ({"batch": 0}, "batch"),
        ({"batch": 2.5}, "batch"),
        ({"lam": "0.1"}, "lam"),
    ],
)
def test_bad_settings_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": True}, "steps"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": []}, "seeds"),
        ({"frozen": 81}, "frozen"),
        ({"record_at": [11]}, "record_at"),
        ({"x": np.ones((80, 5))}, "x has shape"),
        ({"y": np.ones((79, 6))}, "need the same"),
        ({"y": np.full((80, 6), np.nan)}, "y must be finite"),
    ],
)
def test_bad_calls_of_train_are_named(change, words):
    x, y = pairs()
    arguments = {"x": x, "y": y, "steps": 10, "frozen": 80} | change
    with pytest.raises(ValueError, match=words):
        train(SMALL, **arguments)


@pytest.mark.parametrize("change", [{"count": 0}, {"held_out": 0}, {"held_out": 1797}])
def test_bad_splits_are_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        siamese.digit_pairs(np.random.default_rng(0), **{"count": 10, **change})
