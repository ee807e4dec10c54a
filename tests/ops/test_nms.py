"""Suppression against the greedy loop, with exact fractions, ties, classes and padding."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellml.ops.nms import nms

THRESHOLDS = (0.2, 0.3, 0.35, 0.5, 0.7, 0.9)
N = 40


def greedy(boxes, scores, valid, iou_max, max_keep, classes=None):
    """Rows that the loop over all boxes keeps; IoU is compared as a fraction of whole numbers."""
    limit = Fraction(str(iou_max))
    kept = []
    for i in sorted(np.flatnonzero(valid), key=lambda i: (-scores[i], i)):
        rivals = [j for j in kept if classes is None or classes[i] == classes[j]]
        if all(iou(boxes[i], boxes[j]) <= limit for j in rivals):
            kept.append(i)
    return kept[:max_keep]


def iou(a, b):
    (y0, x0, y1, x1), (v0, u0, v1, u1) = (map(int, box) for box in (a, b))
    if min(y1 - y0, x1 - x0, v1 - v0, u1 - u0) <= 0:
        return Fraction(0)
    shared = max(0, min(y1, v1) - max(y0, v0)) * max(0, min(x1, u1) - max(x0, u0))
    return Fraction(shared, (y1 - y0) * (x1 - x0) + (v1 - v0) * (u1 - u0) - shared)


def crowd(seed, n=N, *, side=40, levels=8):
    """Whole-number boxes that overlap a lot, some of them twice, with few different scores."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, side, (n, 2))
    boxes = np.concatenate([low, low + rng.integers(4, 24, (n, 2))], axis=1).astype(np.float32)
    boxes[rng.integers(0, n, n // 5)] = boxes[rng.integers(0, n, n // 5)]
    scores = rng.integers(0, levels, n).astype(np.float32) - levels // 2
    return boxes, scores, rng.random(n) < 0.9, rng.integers(0, 3, n).astype(np.int32)


def found_rows(boxes, scores, valid, *, classes=None, **options):
    classes = None if classes is None else jnp.asarray(classes)
    indices, kept = nms(
        jnp.asarray(boxes), jnp.asarray(scores), jnp.asarray(valid), classes=classes, **options
    )
    count = int(kept.sum())
    assert kept[:count].all()  # those that are kept come first
    assert not indices[count:].any()
    return list(np.asarray(indices)[:count])


@pytest.mark.parametrize("iou_max", THRESHOLDS)
@pytest.mark.parametrize("by_class", [False, True])
def test_equals_the_greedy_loop(iou_max, by_class):
    sizes = set()
    for seed in range(25):
        boxes, scores, valid, classes = crowd(seed)
        classes = classes if by_class else None
        expected = greedy(boxes, scores, valid, iou_max, N, classes)
        options = {"iou_max": iou_max, "classes": classes}
        assert found_rows(boxes, scores, valid, max_keep=N, block=16, **options) == expected
        assert found_rows(boxes, scores, valid, max_keep=7, block=16, **options) == expected[:7]
        sizes.add(len(expected))
    assert len(sizes) > 3
    assert max(sizes) > 7  # the second comparison did truncate


coordinates = st.integers(0, 12)
rows = st.tuples(
    coordinates, coordinates, coordinates, coordinates, st.integers(-1, 1), st.booleans()
)


@given(
    rows=st.lists(rows, max_size=12),
    iou_max=st.sampled_from(THRESHOLDS),
    max_keep=st.sampled_from([3, 12]),  # few, each is compiled
)
@settings(max_examples=100, deadline=None)
def test_any_few_boxes(rows, iou_max, max_keep):
    """Also boxes without extent, identical ones, ties everywhere, none at all."""
    # one shape for all; rows that are filled up are not valid
    table = np.zeros((12, 6), np.float32)
    table[: len(rows)] = np.array(rows, np.float32).reshape(-1, 6)
    boxes, scores, valid = table[:, :4], table[:, 4], table[:, 5] > 0
    expected = greedy(boxes, scores, valid, iou_max, max_keep)
    found = found_rows(boxes, scores, valid, iou_max=iou_max, max_keep=max_keep, block=4)
    assert found == expected


@pytest.mark.parametrize("iou_max", THRESHOLDS)
def test_chain_over_many_blocks(iou_max):
    """Each box suppresses the next one, which therefore spares the one after: every other is kept.

    Tiled variants that drop everything a tile's own boxes hit keep too few here.
    """
    # boxes of 20 x 1, neighbours share just more than iou_max, and boxes two apart less
    shared = int(20 * 2 * iou_max / (1 + iou_max)) + 1
    n = 32
    start = np.arange(n) * (20 - shared)
    boxes = np.stack([start, 0 * start, start + 20, 0 * start + 1], axis=1).astype(np.float32)
    scores, valid = -np.arange(n, dtype=np.float32), np.ones(n, bool)
    expected = greedy(boxes, scores, valid, iou_max, n)
    assert expected[:3] == [0, 2, 4]
    for block in (1, 5, n):
        found = found_rows(boxes, scores, valid, iou_max=iou_max, max_keep=n, block=block)
        assert found == expected


def test_iou_equal_to_the_threshold_is_kept():
    # 1/5, 3/10 and 1/2 exactly
    pairs = {0.2: (2, 1), 0.3: (13, 6), 0.5: (3, 2)}
    for iou_max, (length, shared) in pairs.items():
        boxes = np.array([[0, 0, 1, length], [0, length - shared, 1, 2 * length - shared]])
        boxes = boxes.astype(np.float32)
        if iou_max == 0.2:
            boxes = np.array([[0, 0, 1, 3], [0, 2, 1, 5]], np.float32)
        assert iou(*boxes) == Fraction(str(iou_max))
        both = found_rows(
            boxes, np.ones(2, np.float32), np.ones(2, bool), iou_max=iou_max, max_keep=2
        )
        assert both == [0, 1]


def test_identical_boxes_leave_the_first_of_the_best():
    boxes = np.tile(np.array([[1, 2, 5, 9]], np.float32), (6, 1))
    scores, valid = np.array([0, 3, 3, 1, 3, 9], np.float32), np.array([1, 1, 1, 1, 1, 0], bool)
    assert found_rows(boxes, scores, valid, iou_max=0.9, max_keep=4) == [1]
    assert found_rows(boxes, scores, valid, iou_max=1.0, max_keep=6) == [1, 2, 4, 3, 0]


def test_empty_sets():
    boxes, scores, valid, _ = crowd(0)
    assert found_rows(boxes[:0], scores[:0], valid[:0], iou_max=0.5, max_keep=3) == []
    assert found_rows(boxes, scores, np.zeros(N, bool), iou_max=0.5, max_keep=3) == []
    assert found_rows(boxes[:1], scores[:1], np.ones(1, bool), iou_max=0.5, max_keep=3) == [0]


def test_invalid_rows_change_nothing():
    boxes, scores, valid, classes = crowd(3)
    kept = np.flatnonzero(valid)
    options = {"iou_max": 0.35, "max_keep": N, "block": 16}
    alone = found_rows(boxes[kept], scores[kept], valid[kept], classes=classes[kept], **options)
    boxes[~valid], scores[~valid] = np.nan, np.inf
    found = found_rows(boxes, scores, valid, classes=classes, **options)
    assert found == list(kept[alone])


def test_worst_scores_and_nan():
    boxes = np.array([[i, 0, i + 1, 1] for i in range(0, 8, 2)], np.float32)
    scores, valid = np.array([np.nan, -np.inf, 0, 5], np.float32), np.array([1, 1, 0, 1], bool)
    assert found_rows(boxes, scores, valid, iou_max=0.5, max_keep=4) == [3, 1, 0]


def test_vmap_and_jit_equal_a_loop():
    crowds = [crowd(seed) for seed in range(5)]
    # very different numbers of blocks: the loop of one must not disturb the other
    crowds[1][2][:] = False
    crowds[2][2][3:] = False
    batch = [jnp.asarray(np.stack(arrays)) for arrays in zip(*crowds, strict=True)]

    def keep(boxes, scores, valid, classes):
        return nms(boxes, scores, valid, iou_max=0.3, max_keep=9, classes=classes, block=8)

    indices, kept = jax.jit(jax.vmap(keep))(*batch)
    for i, one in enumerate(crowds):
        expected = greedy(*one[:3], 0.3, 9, one[3])
        assert list(np.asarray(indices[i])[np.asarray(kept[i])]) == expected


def test_does_not_stand_in_the_way_of_gradients():
    boxes, scores, valid, _ = (jnp.asarray(a) for a in crowd(0))

    def best(boxes):
        indices, kept = nms(boxes, scores, valid, iou_max=0.5, max_keep=8)
        return jnp.where(kept[:, None], boxes[indices], 0.0).sum()

    gradient = jax.grad(best)(boxes)
    rows = greedy(*crowd(0)[:3], 0.5, 8)
    np.testing.assert_array_equal(np.flatnonzero(gradient.any(axis=1)), sorted(rows))


@pytest.mark.parametrize(
    "changes", [{"max_keep": 0}, {"block": 0}, {"iou_max": 1.5}, {"iou_max": -0.1}]
)
def test_wrong_options_raise(changes):
    boxes, scores, valid, _ = (jnp.asarray(a) for a in crowd(0))
    with pytest.raises(ValueError, match="iou_max within"):
        nms(boxes, scores, valid, **({"iou_max": 0.5, "max_keep": 3} | changes))
