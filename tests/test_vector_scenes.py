"""The constructed clouds: healthy at strength 0, and each diagnostic blind where the chapter says."""

import numpy as np
import pytest

from ssltheory.vector_scenes import KINDS, cloud, cloud_scene, diagnose


def test_every_kind_starts_healthy_and_codes_have_length_one():
    for kind in KINDS:
        codes = cloud(kind, 0.0)
        for z in (codes.first, codes.second, codes.test):
            np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-12)
        seen = diagnose(codes)
        assert abs(seen.center) < 0.05
        assert min(seen.between, seen.separation, seen.knn, seen.linear) > 0.9
        np.testing.assert_allclose(seen.center + seen.between + seen.within, 1, rtol=1e-12)


def test_a_point_is_seen_by_the_center_and_not_by_what_ignores_scale():
    seen = diagnose(cloud("point", 1.0))
    assert seen.center > 1 - 1e-6
    assert min(seen.knn, seen.separation) > 0.9
    assert seen.rank > 4
    assert seen.linear < 0.3


def test_single_precision_loses_what_double_keeps():
    codes = cloud("point", 1.0, depth=12.0)
    assert diagnose(codes).knn > 0.9
    assert diagnose(codes, single=True).knn < 0.5


def test_shuffled_classes_are_seen_by_labels_only():
    healthy, seen = diagnose(cloud("shuffled", 0.0)), diagnose(cloud("shuffled", 1.0))
    for name in ("center", "between", "within", "separation"):
        assert abs(getattr(seen, name) - getattr(healthy, name)) < 0.02
    assert max(seen.knn, seen.linear) < 0.3


def test_bad_input_is_refused():
    for call, words in (
        (lambda: cloud("sphere", 0.5), "kind"),
        (lambda: cloud("point", 1.5), "strength"),
        (lambda: cloud("point", 0.5, depth=-1.0), "depth"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_the_scene_says_its_numbers():
    scene = cloud_scene("opposite", 1.0)
    assert "effective rank 1." in scene.readout
    assert len(scene.panels) == 2
