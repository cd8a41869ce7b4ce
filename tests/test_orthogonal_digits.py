"""Two classes of digits: what the views say about the contrast matrix, and what the record holds."""

import gzip
import json
import struct

import numpy as np
import pytest

from ssltheory import orthogonal_digits as od
from ssltheory.contrast import contrast_matrix, sorted_eigen
from ssltheory.orthogonal_flow import random_network
from ssltheory.orthogonal_steps import network_steps


def write_mnist(root, per_class=12, compressed=False, classes=(0, 1)):
    """Files like those of MNIST: each class has its own bright rows."""
    rng = np.random.default_rng(0)
    root.mkdir()
    for stem, count in (("train", per_class), ("t10k", 5)):
        labels = np.repeat(np.array(classes, np.uint8), count)
        images = rng.integers(0, 60, (len(labels), 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[5 + 9 * label : 12 + 9 * label, 6:22] += rng.integers(100, 190, dtype=np.uint8)
        for kind, head, body in (
            ("images-idx3", struct.pack(">4I", 2051, len(labels), 28, 28), images),
            ("labels-idx1", struct.pack(">2I", 2049, len(labels)), labels),
        ):
            raw = head + body.tobytes()
            name = f"{stem}-{kind}-ubyte"
            (root / (name + ".gz" * compressed)).write_bytes(gzip.compress(raw) if compressed else raw)
    return root


def test_a_split_uses_each_image_once_and_as_many_of_each_class_to_learn_from():
    split = od.digit_split((3, 8), np.random.default_rng(0))
    assert (len(split.x), split.labels.sum()) == (200, 100)
    rows = np.concatenate([split.x, split.test])
    assert len(np.unique(rows, axis=0)) == len(rows) == 357
    with pytest.raises(ValueError, match=r"174 images of 8; need more than 200"):
        od.digit_split((8, 0), np.random.default_rng(0), per_class=200)
    with pytest.raises(ValueError, match="two different"):
        od.digit_split((3, 3), np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["noise", "augmented", "both augmented"])
def test_the_contrast_matrix_has_the_expectation_of_the_formula(kind):
    split = od.digit_split((2, 7), np.random.default_rng(0))
    mean = od.mean_views(np.random.default_rng(1), 2000)
    rng = np.random.default_rng(2)
    draws = np.stack([contrast_matrix(split.x, *od.training_views(split.x, rng, kind)) for _ in range(300)])
    want = od.expected_views(split.x, mean, kind)
    # A cyclic order gives every anchor another image: the mean of x_i x_j over i != j is that of all pairs but for 1/N.
    spread = draws.std(axis=0).max() / np.sqrt(300) * 6 + 4 / len(split.x) * np.abs(want).max()
    np.testing.assert_allclose(draws.mean(axis=0), want, atol=max(spread, 0.02))
    if kind == "noise":
        np.testing.assert_allclose(want, -np.cov(split.x.T, bias=True), atol=1e-12)
        top, code = od.principal_code(split.x, 3), od.leading_code(want, 3)
        np.testing.assert_allclose(top @ top.T, code @ code.T, atol=1e-10)


def test_the_mean_view_is_linear_and_keeps_what_augmentation_keeps():
    mean = od.mean_views(np.random.default_rng(0), 500)
    assert (mean >= 0).all()
    assert (mean.sum(axis=0) < 1.02 * 1.2).all()


def test_training_from_q_is_training_of_the_weights():
    split, rng = od.setting((4, 9), 0)
    views = od.training_views(split.x, rng, "noise")
    weights = random_network(rng, 80, 64, 2)
    gamma = contrast_matrix(split.x, *views)
    W1, W2 = network_steps(*weights, gamma, 0.1 / abs(sorted_eigen(gamma)[0][0]), 30)
    path = od.train([split], "network", [weights], [views], record_at=(0, 30))[0]
    np.testing.assert_allclose(path[0], weights[0].T @ weights[1], atol=1e-13)
    np.testing.assert_allclose(path[1], W1.T @ W2, atol=1e-10)


def test_all_methods_end_at_the_leading_code():
    split, rng = od.setting((0, 1), 0)
    views = od.training_views(split.x, rng, "noise")
    weights = random_network(rng, 80, 64, 2)
    code = od.leading_code(contrast_matrix(split.x, *views), 2)
    for method in ("network", "tangent", "euler"):
        end = od.train([split], method, [weights], [views], record_at=(3000,))[0, -1]
        np.testing.assert_allclose(end @ end.T, code @ code.T, atol=1e-6)


def test_the_classifier_ignores_the_size_of_the_code_and_turns():
    split, rng = od.setting((3, 5), 0)
    q = rng.standard_normal((64, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert od.code_errors(split, q) == od.code_errors(split, 1e-3 * q) == od.code_errors(split, q @ turn)
    with pytest.raises(ValueError, match="zero at every image"):
        od.code_errors(split, 0 * q)


def test_the_record_is_what_the_command_makes_now():
    sweep = od.read_sweep()
    again = od.sweep_of((0, 6), seeds=1)
    for name, runs in again.items():
        if (0, 6) in sweep.pairs[name]:
            count = len(od.setting((0, 6), 0)[0].test)
            recorded = (1 - sweep.accuracy(name, [(0, 6)])[0, 0]) * count
            np.testing.assert_allclose(recorded, runs[0], atol=1.01)
    with pytest.raises(ValueError, match="the record has"):
        sweep.accuracy("magic")
    with pytest.raises(ValueError, match="not recorded for all"):
        sweep.accuracy("tanh 2", [(2, 9)])


def test_the_experiment_on_mnist_reads_its_files_and_separates_what_is_separate(tmp_path, monkeypatch, capsys):
    folder = write_mnist(tmp_path / "files", compressed=True)
    arguments = ["--classes", "0", "1", "--per-class", "10", "--width", "784", "--seeds", "2"]
    monkeypatch.setattr("sys.argv", ["orthogonal_digits", "--mnist", str(folder), *arguments])
    od.main()
    report = json.loads(capsys.readouterr().out)
    assert report["classes"] == [0, 1]
    for method in ("network", "euler"):
        assert np.array(report[method])[:, -1].min() == 1
    monkeypatch.setattr("sys.argv", ["orthogonal_digits", "--mnist", str(folder)])
    with pytest.raises(SystemExit):
        od.main()
    assert "12 images of 0; need more than 200" in capsys.readouterr().err
    for classes, words in (((2, 3), "no image of 2 or 3"), ((0, 2), "0 images of 2"), ((1, 1), "two different")):
        with pytest.raises(ValueError, match=words):
            od.mnist_report(str(folder), classes, 2, per_class=10, width=784, seeds=1)


def test_bad_input_is_refused():
    split, rng = od.setting((3, 5), 0)
    weights, views = random_network(rng, 70, 64, 2), od.training_views(split.x, rng, "noise")
    for call, words in (
        (lambda: od.training_views(split.x, rng, "flip"), "kind must be one of"),
        (lambda: od.training_views(split.x[:1], rng, "noise"), "at least two images"),
        (lambda: od.training_views(split.x[:, :60], rng, "augmented"), "need a square"),
        (lambda: od.expected_views(split.x, np.eye(3), "augmented"), "mean has shape"),
        (lambda: od.leading_code(np.eye(3), 4), "at most m = 3"),
        (lambda: od.train([split], "magic", [weights], [views]), "method must be one of"),
        (lambda: od.train([split], "euler", [weights], [views], record_at=(5, 2)), "record_at must be increasing"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
