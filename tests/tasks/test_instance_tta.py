"""TTA of models that find objects one by one, on callables whose answer is known."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cellml.tasks.detections_host import Instances
from cellml.tasks.instance_tta import (
    InstanceVersions,
    merge_versions,
    one_by_one,
    predict_versions,
)
from cellml.tasks.nucleus_models import copies_of_labels, instance_copies, predict_image
from cellml.tta import PRESETS, TRANSFORMS, merge_instances_host
from tests.cli.fake_model import bright_objects, fake_instance_model


@pytest.fixture
def image():
    """Three blobs of different shapes on a field that is not square."""
    pixels = np.zeros((32, 48, 3), np.float32)
    pixels[3:9, 4:16], pixels[14:26, 30:37], pixels[20:23, 5:9] = 0.9, 0.8, 0.7
    pixels[3, 4] = 0
    return pixels


def without_bottom_half(image):
    """Sees only what lies in the upper half of what it is shown: every copy misses something."""
    found = bright_objects(image)
    labels = found.labels.copy()
    labels[labels.shape[0] // 2 :] = 0
    return found._replace(labels=labels)


@pytest.mark.parametrize("preset", ["none", "dissertation6", "d4"])
def test_versions_of_an_equivariant_model_are_equal_up_to_ids(image, preset):
    versions = predict_versions(one_by_one(bright_objects), image, preset)
    assert versions.labels.shape == (len(PRESETS[preset]), 32, 48)
    truth = ndimage.label(image[..., 0] > 0.5)[0]
    for labels, probability in zip(versions.labels, versions.probability, strict=True):
        np.testing.assert_array_equal(labels > 0, truth > 0)
        np.testing.assert_array_equal(probability, image[..., 0])
    merged = merge_versions(versions)
    np.testing.assert_array_equal(merged.labels, truth)
    np.testing.assert_array_equal(merged.vote_share, np.ones(3))
    np.testing.assert_array_equal(merged.mean_iou, np.ones(3))


def test_each_version_is_the_inverse_of_what_its_own_copy_gave(image):
    """Against np.rot90 and np.flip: the model says where it was shown a mark."""

    def corner(view):
        labels = np.zeros(view.shape[:2], np.int32)
        labels[:5, :7] = 1  # the top left corner of whatever is shown
        return Instances(labels, np.ones(1, np.float32), labels.astype(np.float32) / 2)

    versions = predict_versions(one_by_one(corner), image, "d4")
    expected = {
        "identity": (slice(0, 5), slice(0, 7)),
        "hflip": (slice(0, 5), slice(41, 48)),
        "vflip": (slice(27, 32), slice(0, 7)),
        "rot180": (slice(27, 32), slice(41, 48)),
        "rot90": (slice(0, 7), slice(43, 48)),  # what is on top was the right edge
        "rot270": (slice(25, 32), slice(0, 5)),
        "transpose": (slice(0, 7), slice(0, 5)),
        "antitranspose": (slice(25, 32), slice(43, 48)),
    }
    for name, labels, probability in zip(TRANSFORMS, *versions, strict=True):
        place = np.zeros((32, 48), bool)
        place[expected[name]] = True
        np.testing.assert_array_equal(labels == 1, place, err_msg=name)
        np.testing.assert_array_equal(probability == 0.5, place, err_msg=name)


def test_vote_shares_of_a_model_that_sees_the_upper_half_only():
    """An object in the upper third is shown in the upper half by 2 of 4 rotations and so on."""
    pixels = np.zeros((48, 48, 3), np.float32)
    pixels[2:9, 20:28] = 1.0  # top, horizontally central
    versions = predict_versions(one_by_one(without_bottom_half), pixels, "d4")
    present = [bool(labels.any()) for labels in versions.labels]
    # turned to the left or right edge, its centre lies on the border between the halves: cut
    area = [int((labels > 0).sum()) for labels in versions.labels]
    assert dict(zip(TRANSFORMS, area, strict=True)) == {
        "identity": 56, "hflip": 56, "vflip": 0, "rot180": 0,
        "rot90": 28, "rot270": 28, "transpose": 28, "antitranspose": 28,
    }  # fmt: skip
    assert sum(present) == 6
    merged = merge_versions(versions)
    # halves have an IoU of 0.5 with the whole, and of 0 or 1 with each other
    assert merged.labels.max() == 1
    assert merged.vote_share[0] == 6 / 8


def test_merge_is_that_of_the_host_and_options_reach_it(image):
    rng = np.random.default_rng(0)
    labels = np.stack([ndimage.label(rng.random((32, 48)) > 0.45)[0] for _ in range(4)])
    versions = InstanceVersions(labels.astype(np.int32), rng.random(labels.shape, np.float32))
    choices: list[dict[str, Any]] = [{}, {"reference": "medoid", "tie": "keep"}]
    for options in choices:
        merged = merge_versions(versions, **options)
        expected = merge_instances_host(labels, **options)
        np.testing.assert_array_equal(merged.labels, expected.labels)
        np.testing.assert_array_equal(merged.vote_share, expected.vote_share[1:])
        np.testing.assert_array_equal(merged.mean_iou, expected.mean_iou[1:])
        assert len(merged.vote_share) == merged.labels.max()
    np.testing.assert_allclose(merged.probability, versions.probability.mean(0))
    with pytest.raises(ValueError, match="unknown reference 'best'"):
        merge_versions(versions, reference="best")


def test_nothing_found_gives_nothing(image):
    def blind(view):
        labels = np.zeros(view.shape[:2], np.int32)
        return Instances(labels, np.zeros(0, np.float32), labels.astype(np.float32))

    merged = merge_versions(predict_versions(one_by_one(blind), image, "d4"))
    assert merged.labels.max() == 0
    assert merged.vote_share.shape == merged.mean_iou.shape == (0,)


@pytest.mark.parametrize("which", ["labels", "probability"])
def test_a_model_that_changes_the_shape_is_named(image, which):
    def cropping(view):
        found = bright_objects(view)
        return found._replace(**{which: getattr(found, which)[:-1]})

    with pytest.raises(ValueError, match=rf"{which} of the identity copy: shape \(31, 48\)"):
        predict_versions(one_by_one(cropping), image, "d4")
    with pytest.raises(ValueError, match="unknown TTA preset 'all'"):
        predict_versions(one_by_one(bright_objects), image, "all")


def test_padding_does_not_vote(image):
    """Objects that touch the border are mirrored into the padding, which is cut before merging."""
    found = instance_copies(one_by_one(bright_objects))(image, (20, 33), "d4", None)
    assert found.probability.shape == (8, 20, 33)
    merged = found.merge(range(8))
    np.testing.assert_array_equal(merged.labels > 0, image[:20, :33, 0] > 0.5)
    np.testing.assert_array_equal(merged.vote_share, np.ones(2))


def test_subsets_are_merged_as_if_they_were_alone(image):
    model = fake_instance_model(without_bottom_half)
    raw = (image * 200).astype(np.uint8)
    d4, six = (predict_image(model, raw, transforms=name) for name in ("d4", "dissertation6"))
    a, b = d4.merge(range(6)), six.merge(range(6))
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(a.vote_share, b.vote_share)
    single = d4.merge([0])
    np.testing.assert_array_equal(single.labels > 0, single.foreground)
    assert single.vote_share is None  # nothing was merged


def test_labels_alone_give_probabilities_of_0_and_1():
    labels = np.zeros((2, 4, 5), np.int32)
    labels[:, 1:3, 1:4], labels[1, 3, 4] = 7, 2
    copies = copies_of_labels(labels)
    np.testing.assert_array_equal(copies.probability, (labels > 0).astype(np.float32))
    found = copies.merge([0, 1])
    assert found.labels.max() == 1
    assert (found.labels > 0).sum() == 6


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_copies_come_in_batches_of_one_shape_and_at_most_the_chunk(image, chunk):
    seen = []

    def watched(images):
        seen.append(images.shape[:3])
        return [bright_objects(view) for view in images]

    found = predict_versions(watched, image, "d4", chunk=chunk)
    expected = predict_versions(one_by_one(bright_objects), image, "d4")
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.probability, expected.probability)
    assert sum(n for n, *_ in seen) == 8
    assert {tuple(shape) for _, *shape in seen} == {(32, 48), (48, 32)}
    assert max(n for n, *_ in seen) == (chunk or 4)
