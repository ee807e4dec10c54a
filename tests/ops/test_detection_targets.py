"""Targets of anchors, regions and masks: rules by naive loops, padding, degenerate input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.ops import detection_targets as targets

STD = (0.1, 0.1, 0.2, 0.2)
BOXES = np.array([[2, 3, 12, 15], [20, 22, 30, 29], [0, 0, 0, 0]], np.float32)
VALID = np.array([True, True, False])


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    side = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(np.maximum(side, 0)))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def _anchors() -> np.ndarray:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 24, (60, 2))
    near = np.concatenate([BOXES[:1] + rng.uniform(-1.5, 1.5, (6, 4)), BOXES[1:2] + 0.8])
    return np.concatenate([np.concatenate([corner, corner + 9], 1), near]).astype(np.float32)


def _anchor_targets(key: int = 0, *, count: int = 64, valid: np.ndarray = VALID):
    choose = functools.partial(targets.anchor_targets, count=count, std=STD, closed=False)
    return jax.jit(choose)(jax.random.key(key), _anchors(), BOXES, jnp.asarray(valid))


def test_anchor_labels_follow_the_rules_of_the_naive_loop() -> None:
    anchors, found = _anchors(), _anchor_targets(count=200)
    iou = np.array([[_iou(a, b) for b in BOXES[:2]] for a in anchors])
    positive = (iou.max(1) >= 0.7) | ((iou == iou.max(0)) & (iou.max(0) > 0)).any(1)
    negative = (iou.max(1) < 0.3) & ~positive
    assert positive[-1]  # no other anchor overlaps the second object more, although IoU < 0.7
    assert iou[-1].max() < 0.7
    index, valid = np.asarray(found.index), np.asarray(found.valid)
    is_positive = np.asarray(found.positive)
    assert set(index[valid & is_positive]) == set(np.flatnonzero(positive))
    assert set(index[valid & ~is_positive]) == set(np.flatnonzero(negative))


def test_anchor_deltas_lead_to_the_object_that_overlaps_most() -> None:
    anchors, found = _anchors(), _anchor_targets()
    for row in np.flatnonzero(np.asarray(found.valid & found.positive)):
        anchor = anchors[found.index[row]]
        true = max(BOXES[:2], key=lambda box: _iou(anchor, box))
        side, true_side = anchor[2:] - anchor[:2], true[2:] - true[:2]
        move = ((true[:2] + true[2:]) - (anchor[:2] + anchor[2:])) / 2 / side
        expected = np.concatenate([move, np.log(true_side / side)]) / STD
        np.testing.assert_allclose(found.deltas[row], expected, rtol=2e-4, atol=1e-5)


def test_at_most_half_of_the_anchors_are_positive_and_none_comes_twice() -> None:
    for key in range(5):
        found = _anchor_targets(key, count=8)
        valid, positive = np.asarray(found.valid), np.asarray(found.positive)
        assert valid.sum() == 8
        assert (valid & positive).sum() == 4
        index = np.asarray(found.index)[valid]
        assert len(set(index)) == len(index)
    several = {tuple(np.asarray(_anchor_targets(key, count=8).index)) for key in range(5)}
    assert len(several) > 1


def test_without_objects_all_anchors_are_background() -> None:
    found = _anchor_targets(valid=np.zeros(3, bool))
    assert not np.any(found.positive)
    assert int(found.valid.sum()) == 64
    assert not np.any(found.deltas)


def _region_targets(regions: np.ndarray, valid: np.ndarray, key: int = 0, **changes):
    options = {
        "count": 12,
        "max_positive": 4,
        "fill_negatives": False,
        "positive_share": 1 / 3,
        "std": STD,
        "closed": False,
    }
    choose = functools.partial(targets.region_targets, **(options | changes))
    return jax.jit(choose)(
        jax.random.key(key),
        jnp.asarray(regions),
        jnp.asarray(valid),
        BOXES,
        jnp.asarray([1, 2, 0], jnp.int32),
        VALID,
    )


def _regions(n_near: int, n_far: int = 30) -> tuple[np.ndarray, np.ndarray]:
    near = np.tile(BOXES[1:2], (n_near, 1)) + np.linspace(0, 1, n_near)[:, None]
    far = np.tile(np.array([[13, 2, 19, 12]]), (n_far, 1)) + np.linspace(0, 1, n_far)[:, None]
    regions = np.concatenate([near, far]).astype(np.float32)
    return regions, np.arange(len(regions)) < len(regions) - 1


@pytest.mark.parametrize(("n_near", "n_positive"), [(0, 0), (2, 2), (9, 4)])
def test_background_regions_keep_the_share_or_fill_up(n_near: int, n_positive: int) -> None:
    regions, valid = _regions(n_near)
    kept = _region_targets(regions, valid)
    assert int(kept.valid[:4].sum()) == n_positive
    assert int(kept.valid[4:].sum()) == 2 * n_positive
    filled = _region_targets(regions, valid, fill_negatives=True)
    assert int(filled.valid[4:].sum()) == 8


def test_region_classes_objects_and_deltas() -> None:
    regions, valid = _regions(3)
    found = _region_targets(regions, valid)
    np.testing.assert_array_equal(found.classes, [2, 2, 2, 0] + [0] * 8)
    np.testing.assert_array_equal(found.objects[:3], 1)
    assert not np.any(found.boxes[3])
    side = regions[0, 2:] - regions[0, :2]
    for row in range(3):
        shift = (BOXES[1] - np.asarray(found.boxes[row]))[:2] / side / 0.1
        np.testing.assert_allclose(found.deltas[row, :2], shift, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.deltas[row, 2:], 0, atol=1e-4)


def test_no_gradient_runs_into_the_proposals() -> None:
    regions, valid = _regions(3)

    def total(regions: jax.Array) -> jax.Array:
        found = _region_targets_traced(regions, valid)
        return jnp.sum(found.deltas) + jnp.sum(found.boxes)

    assert not np.any(jax.grad(total)(jnp.asarray(regions)))


def _region_targets_traced(regions: jax.Array, valid: np.ndarray):
    return targets.region_targets(
        jax.random.key(0),
        regions,
        jnp.asarray(valid),
        jnp.asarray(BOXES),
        jnp.asarray([1, 2, 0], jnp.int32),
        jnp.asarray(VALID),
        count=12,
        max_positive=4,
        fill_negatives=False,
        positive_share=1 / 3,
        std=STD,
        closed=False,
    )


def test_choice_is_uniform_over_the_candidates() -> None:
    mask = jnp.asarray([True, False, True, True, False, True])
    counts = np.zeros(6)
    for key in range(400):
        rows, filled = targets.choose(jax.random.key(key), mask, 2)
        counts[np.asarray(rows)[np.asarray(filled)]] += 1
    assert counts[1] == counts[4] == 0
    np.testing.assert_allclose(counts[[0, 2, 3, 5]] / 400, 0.5, atol=0.1)
    rows, filled = targets.choose(jax.random.key(0), mask, 9)  # more slots than rows
    assert rows.shape == filled.shape == (9,)
    assert int(filled.sum()) == 4


def _mask_targets(mask: np.ndarray, box: np.ndarray, region: np.ndarray, **options) -> np.ndarray:
    arrays = [jnp.asarray(a, jnp.float32) for a in (mask, box, region)]
    return np.asarray(targets.mask_targets(*arrays, **options))


@pytest.mark.parametrize("pooling", ["crop_and_resize", "roi_align"])
def test_a_mask_seen_through_its_own_box_is_itself(pooling: str) -> None:
    mask = np.zeros((2, 14, 14), np.float32)
    mask[0, 3:9, 2:13] = 1
    mask[1, :, :6] = 1
    boxes = np.array([[4, 5, 18, 19], [1, 0, 15, 14]], np.float32)
    found = _mask_targets(mask, boxes, boxes, size=14, pooling=pooling)
    np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("pooling", ["crop_and_resize", "roi_align"])
def test_masks_of_whole_images_give_the_same_as_mini_masks(pooling: str) -> None:
    whole = np.zeros((1, 32, 32), np.float32)
    whole[0, 10:20, 8:22] = 1
    whole[0, 10:13, 8:12] = 0
    box = np.array([[10, 8, 20, 22]], np.float32)
    mini = whole[:, 10:20, 8:22]
    region = np.array([[9, 9, 19, 21]], np.float32)
    of_whole = _mask_targets(whole, box, region, size=12, pooling=pooling, whole=True)
    of_mini = _mask_targets(mini, box, region, size=12, pooling=pooling)
    # outside of the box a mini-mask is repeated by roi_align for a pixel, a whole one is not
    inner = np.s_[0, 2:, :]
    np.testing.assert_array_equal(of_whole[inner], of_mini[inner])
    assert 0.5 < float(of_mini.mean()) < 1.0


def test_a_region_beside_the_object_sees_nothing_of_it() -> None:
    mask = np.ones((1, 14, 14), np.float32)
    box = np.array([[0, 0, 10, 10]], np.float32)
    region = np.array([[0, 5, 10, 15]], np.float32)
    found = _mask_targets(mask, box, region, size=20, pooling="roi_align")[0]
    assert found[:, :10].all()
    assert not found[:, 12:].any()
