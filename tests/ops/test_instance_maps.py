"""Training maps against naive loops, and the way back from maps to instances."""

import numpy as np
import pytest
from skimage.draw import ellipse

from cellml.metrics.scores import evaluate_labels
from cellml.ops.instance_maps import (
    HEADS,
    contact_mask,
    drop_small,
    drop_unsure,
    labels_from_maps,
    normalised_distance,
    training_maps,
)


def _touching() -> np.ndarray:
    """Two ellipses that touch, one alone, one cut by the border."""
    labels = np.zeros((48, 60), np.int32)
    for i, (y, x, ry, rx) in enumerate(
        [(15, 14, 10, 8), (15, 31, 11, 10), (36, 40, 7, 12), (44, 8, 9, 6)], start=1
    ):
        rows, columns = ellipse(y, x, ry, rx, shape=labels.shape)
        free = labels[rows, columns] == 0
        labels[rows[free], columns[free]] = i
    return labels


def test_contact_equals_naive_loops() -> None:
    labels = _touching()
    expected = np.zeros(labels.shape, bool)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            around = labels[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            expected[y, x] = len(set(around[around > 0].tolist())) > 1
    assert expected.any()
    np.testing.assert_array_equal(contact_mask(labels), expected)


def test_distance_equals_naive_loops_and_peaks_at_one() -> None:
    labels = _touching()
    found = normalised_distance(labels)
    ys, xs = np.nonzero(np.ones(labels.shape))
    for label in range(1, labels.max() + 1):
        inside = labels == label
        edge = np.stack([ys, xs], 1)[~inside.ravel()]
        own = np.argwhere(inside)
        distance = np.sqrt(((own[:, None] - edge[None]) ** 2).sum(-1)).min(1)
        np.testing.assert_allclose(found[inside], distance / distance.max(), atol=1e-6)
    assert np.all(found[labels == 0] == 0)


def test_nucleus_that_fills_the_image_is_all_core() -> None:
    assert np.all(normalised_distance(np.ones((4, 5), np.int32)) == 1)


@pytest.mark.parametrize("heads", [HEADS, ("foreground", "distance"), ("foreground", "boundary")])
def test_true_maps_give_the_instances_back(heads: tuple[str, ...]) -> None:
    labels = _touching()
    maps, weight = training_maps(labels, heads)
    assert weight.min() == 1.0
    scores = evaluate_labels(labels, labels_from_maps(maps, heads))
    assert scores.ap[0] == 1.0
    assert scores.mean_matched_iou[0] > 0.95


def test_foreground_alone_merges_what_touches() -> None:
    labels = _touching()
    maps, _ = training_maps(labels, ("foreground",))
    assert labels_from_maps(maps, ("foreground",)).max() == 3


def test_foreground_without_a_seed_is_kept() -> None:
    maps = np.zeros((20, 20, 3), np.float32)
    maps[5:10, 5:10, 0] = 0.9  # no distance anywhere
    found = labels_from_maps(maps)
    assert found.max() == 1
    assert np.count_nonzero(found) == 25


def _striped(amplitude: float = 0.45) -> tuple[np.ndarray, np.ndarray]:
    """True labels, and their maps with stripes of 2 px in distance and boundary."""
    labels = _touching()
    maps, _ = training_maps(labels)
    stripes = amplitude * (np.arange(labels.shape[1]) % 2).astype(np.float32)
    maps[..., 1] = np.clip(maps[..., 1] + stripes, 0, 1)
    maps[..., 2] = np.clip(maps[..., 2] - stripes, 0, 1)
    return labels, maps


def test_smoothing_joins_seeds_that_stripes_have_split() -> None:
    labels, maps = _striped()
    split = labels_from_maps(maps, seed_distance_min=0.2)
    assert split.max() > 2 * labels.max()
    joined = labels_from_maps(maps, seed_distance_min=0.2, smooth_px=1.0)
    assert joined.max() == labels.max()
    assert evaluate_labels(labels, joined).ap[0] == 1.0
    np.testing.assert_array_equal(joined > 0, split > 0)  # outlines stay


def test_smoothing_equals_a_naive_convolution_of_two_maps() -> None:
    _, maps = _striped(0.3)
    sigma_px, reach = 0.7, 3  # SciPy cuts the kernel at 4 sigma, rounded
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel /= kernel.sum()
    smooth = maps.copy()
    height, width = maps.shape[:2]
    for k in (1, 2):
        padded = np.pad(maps[..., k], reach, mode="symmetric")
        rows = np.sum([w * padded[i : i + height] for i, w in enumerate(kernel)], axis=0)
        smooth[..., k] = np.sum([w * rows[:, i : i + width] for i, w in enumerate(kernel)], axis=0)
    expected = labels_from_maps(smooth, seed_distance_min=0.3)
    assert expected.max() != labels_from_maps(maps, seed_distance_min=0.3).max()
    found = labels_from_maps(maps, seed_distance_min=0.3, smooth_px=sigma_px)
    np.testing.assert_array_equal(found, expected)


def test_no_smoothing_and_no_score_is_the_default() -> None:
    _, maps = _striped()
    before = maps.copy()
    expected = labels_from_maps(maps)
    np.testing.assert_array_equal(labels_from_maps(maps, smooth_px=0.0, score_min=0.0), expected)
    labels_from_maps(maps, smooth_px=2.0, score_min=0.9)
    np.testing.assert_array_equal(maps, before)  # nothing is written into the input
    with pytest.raises(ValueError, match="smooth_px must not be negative, found -1"):
        labels_from_maps(maps, smooth_px=-1.0)


def test_unsure_nuclei_are_dropped_by_their_mean_foreground() -> None:
    labels = _touching()
    foreground = (labels > 0) * np.linspace(0.5, 1.0, labels.shape[1], dtype=np.float32)
    means = [np.mean([v for v, k in zip(foreground.flat, labels.flat, strict=True) if k == i])
             for i in range(1, 5)]  # fmt: skip
    limit = float(np.sort(means)[1] + np.sort(means)[2]) / 2
    keep = 1 + np.flatnonzero(np.array(means) >= limit)
    assert keep.size == 2
    expected = np.where(np.isin(labels, keep), labels, 0)
    np.testing.assert_array_equal(drop_unsure(labels, foreground, limit), expected)
    assert not drop_unsure(np.zeros((3, 4), np.int32), foreground[:3, :4], 0.5).any()

    maps, _ = training_maps(labels)
    maps[..., 0] = foreground
    found = labels_from_maps(maps, score_min=limit)
    assert sorted(np.unique(labels[found > 0])) == keep.tolist()
    assert found.max() == 2  # numbered without gaps


def test_empty_maps_and_small_objects() -> None:
    assert labels_from_maps(np.zeros((7, 9, 3), np.float32)).shape == (7, 9)
    labels = np.array([[0, 5, 5, 0], [9, 0, 0, 7], [9, 9, 0, 7]], np.int32)
    expected = np.array([[0, 1, 1, 0], [3, 0, 0, 2], [3, 3, 0, 2]], np.int32)
    np.testing.assert_array_equal(drop_small(labels, 2), expected)
    np.testing.assert_array_equal(drop_small(labels, 3) > 0, labels == 9)


def test_small_nuclei_and_contacts_weigh_more() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[5:45, 5:45] = 1
    labels[50:54, 50:54] = 2
    _, weight = training_maps(labels)
    assert weight[20, 20] == 1.0
    assert weight[51, 51] == 3.0  # sqrt(400 / 16) is above the cap
    _, touching = training_maps(_touching(), touch_weight=4.0)
    assert touching[15, 22] >= 5.0


def test_unknown_head_and_wrong_channels_are_named() -> None:
    with pytest.raises(ValueError, match="unknown \\['flow'\\]"):
        training_maps(_touching(), ("flow",))
    with pytest.raises(ValueError, match="found 2 channels"):
        labels_from_maps(np.zeros((4, 4, 2), np.float32))
