"""Images from folders and binary files, made here; and the laws of the random views."""

import gzip
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from ssltheory.images import load_cifar10, load_folder, load_mnist, random_views


def make_folder(root, count=3, size=(10, 8), classes=("cat", "dog")):
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k}.png")
    return root


def make_cifar10(root, count=5):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, count, 3, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, 10, (3, count, 1), dtype=np.uint8)
    root.mkdir()
    for k, name in enumerate(["data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"]):
        np.concatenate([labels[k], pixels[k].reshape(count, -1)], axis=1).tofile(root / name)
    return pixels, labels[..., 0]


def test_a_folder_of_squares_of_the_right_size_is_read_pixel_for_pixel(tmp_path):
    make_folder(tmp_path, size=(8, 8), classes=("b", "a", ".hidden"))
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "a" / ".thumb.png").write_bytes(b"junk")
    images, labels, names = load_folder(tmp_path, size=8)
    assert names == ["a", "b"]
    assert images.shape == (6, 8, 8, 3)
    np.testing.assert_array_equal(labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(np.round(images[3] * 255), np.asarray(Image.open(tmp_path / "b" / "0.png")))


def test_other_shapes_and_modes_are_cut_to_the_centre_and_resized(tmp_path):
    make_folder(tmp_path)
    wide = np.zeros((8, 24), dtype=np.uint8)
    wide[:, 8:16] = 255  # the central square alone is white
    Image.fromarray(wide).save(tmp_path / "cat" / "wide.PNG")
    Image.fromarray(wide).convert("P").save(tmp_path / "cat" / "zz.gif")
    images, labels, _ = load_folder(tmp_path, size=16)
    assert images.shape == (8, 16, 16, 3)
    assert (labels == 0).sum() == 5
    np.testing.assert_allclose(images[3], 1.0)
    np.testing.assert_allclose(images[4], 1.0)


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        load_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="holds 0 folder"):
        load_folder(tmp_path)
    make_folder(tmp_path)
    with pytest.raises(ValueError, match="size"):
        load_folder(tmp_path, size=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        load_folder(tmp_path)
    (tmp_path / "empty" / "broken.jpg").write_bytes(b"this is no picture")
    with pytest.raises(ValueError, match=r"broken\.jpg is not a readable image"):
        load_folder(tmp_path)
    cut = (tmp_path / "cat" / "0.png").read_bytes()[:60]
    (tmp_path / "empty" / "broken.jpg").unlink()
    (tmp_path / "empty" / "cut.png").write_bytes(cut)
    with pytest.raises(ValueError, match=r"cut\.png is not a readable image"):
        load_folder(tmp_path)


def test_the_binary_version_of_cifar10_is_read_back(tmp_path):
    pixels, labels = make_cifar10(tmp_path / "bin")
    images, classes, test, test_classes = load_cifar10(tmp_path / "bin")
    assert images.shape == (10, 32, 32, 3)
    np.testing.assert_array_equal(np.round(images[7] * 255), pixels[1, 2].transpose(1, 2, 0))
    np.testing.assert_array_equal(classes, labels[:2].ravel())
    np.testing.assert_array_equal(np.round(test[0] * 255), pixels[2, 0].transpose(1, 2, 0))
    np.testing.assert_array_equal(test_classes, labels[2])


def test_bad_cifar10_is_refused_and_no_pickle_is_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    for name in ("data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"binary version.*pickles"):
        load_cifar10(tmp_path)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(ValueError, match="does not hold"):
        load_cifar10(tmp_path / "none")
    make_cifar10(tmp_path / "bin")
    file = tmp_path / "bin" / "data_batch_2.bin"
    whole = file.read_bytes()
    for content in (whole[:-1], b""):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="need a positive multiple of 3073"):
            load_cifar10(tmp_path / "bin")
    file.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(ValueError, match="has a label 10"):
        load_cifar10(tmp_path / "bin")


def test_views_without_amplitudes_are_the_images():
    images = np.random.default_rng(0).random((4, 7, 7, 3))
    views = random_views(images, np.random.default_rng(1), crop=1.0, flip=False, colour=0.0, noise=0.0)
    np.testing.assert_allclose(views, images, atol=1e-12)


def test_a_crop_of_a_ramp_is_a_ramp_inside_it_and_half_of_the_views_are_mirrored():
    ramp = np.broadcast_to(np.arange(9.0)[None, None, :, None], (400, 9, 9, 1))
    views = random_views(ramp, np.random.default_rng(0), crop=0.5, colour=0.0, noise=0.0)
    slope = np.diff(views, axis=2)
    assert np.abs(slope - slope[:, :1, :1]).max() < 1e-12
    assert views.min() >= 0
    assert views.max() <= 8
    assert abs(slope).min() >= 0.5
    assert 150 < (slope[:, 0, 0, 0] < 0).sum() < 250


def test_colour_factors_act_on_a_grey_image_as_brightness_and_tint():
    grey = np.full((500, 4, 4, 3), 0.5)
    views = random_views(grey, np.random.default_rng(0), colour=0.2, noise=0.0)
    assert np.abs(views - views[:, :1, :1]).max() < 1e-12  # contrast about the mean leaves it
    assert views.min() >= 0.5 * 0.8**2
    assert views.max() <= 0.5 * 1.2**2


@pytest.mark.parametrize(
    "bad", [{"crop": 0.0}, {"crop": 1.5}, {"colour": -0.1}, {"colour": 2.0}, {"noise": -1.0}, {"noise": np.nan}]
)
def test_bad_amplitudes_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        random_views(np.zeros((1, 4, 4, 3)), np.random.default_rng(0), **bad)


@pytest.mark.parametrize("shape", [(4, 4, 3), (2, 4, 5, 3)])
def test_bad_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"images (has|have) shape"):
        random_views(np.zeros(shape), np.random.default_rng(0))


def make_mnist(root, counts=(7, 4), compressed=(False, False, True, True), mark="-"):
    rng = np.random.default_rng(0)
    root.mkdir(exist_ok=True)
    made = []
    for stem, count, packed in zip(("train", "t10k"), counts, (compressed[:2], compressed[2:]), strict=True):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        for kind, head, body, gz in (
            ("images", struct.pack(">4I", 2051, count, 28, 28), images, packed[0]),
            ("labels", struct.pack(">2I", 2049, count), labels, packed[1]),
        ):
            raw = head + body.tobytes()
            name = f"{stem}-{kind}{mark}idx{3 if kind == 'images' else 1}-ubyte" + (".gz" if gz else "")
            (root / name).write_bytes(gzip.compress(raw) if gz else raw)
        made += [images, labels]
    return made


@pytest.mark.parametrize("mark", ["-", "."])
def test_mnist_is_read_byte_for_byte_compressed_or_not(tmp_path, mark):
    images, labels, test, test_labels = make_mnist(tmp_path, mark=mark)
    found = load_mnist(tmp_path)
    assert [a.dtype for a in found] == [np.float32, np.int64] * 2
    np.testing.assert_array_equal(np.round(found[0] * 255), images)
    np.testing.assert_array_equal(found[1], labels)
    np.testing.assert_array_equal(np.round(found[2] * 255), test)
    np.testing.assert_array_equal(found[3], test_labels)


def test_bad_files_of_mnist_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        load_mnist(tmp_path / "none")
    with pytest.raises(ValueError, match="lacks train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images"):
        load_mnist(tmp_path)
    make_mnist(tmp_path)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    test = tmp_path / "t10k-images-idx3-ubyte.gz"
    good = {file: file.read_bytes() for file in (images, labels, test)}

    def refused(file, raw, words):
        file.write_bytes(raw)
        with pytest.raises(ValueError, match=words):
            load_mnist(tmp_path)
        file.write_bytes(good[file])

    refused(images, good[labels] + bytes(9), "begins with 2049; need the magic number 2051")
    refused(images, good[images][:-1], "5487 bytes after its head; need 7 x 28 x 28")
    refused(images, good[images] + b"x", "5489 bytes after its head")
    refused(images, b"", "has 0 bytes; need a head of 16")
    refused(images, struct.pack(">4I", 2051, 7, 14, 56) + good[images][16:], "need N >= 1 and 28 x 28")
    refused(images, struct.pack(">4I", 2051, 0, 28, 28), "need N >= 1")
    refused(labels, struct.pack(">2I", 2049, 6) + good[labels][8:14], "has 6 labels for 7 images")
    refused(labels, good[labels][:-1] + b"\x0a", "has a label 10")
    refused(test, good[test][:-20], "not a whole gzip file")
    refused(test, b"plain", "not a whole gzip file")
    load_mnist(tmp_path)
    labels.unlink()
    with pytest.raises(ValueError, match="lacks train-labels-idx1-ubyte"):
        load_mnist(tmp_path)
