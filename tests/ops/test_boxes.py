"""Boxes against hand values, exact fractions, and matterport's arithmetic in NumPy."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellml.ops import boxes as box_ops

STD = (0.1, 0.1, 0.2, 0.2)


def random_boxes(seed, n, side=64.0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, side, (n, 2))
    return np.concatenate([low, low + rng.uniform(2, side, (n, 2))], axis=1).astype(np.float32)


def exact_iou(a, b):
    """IoU of two integer boxes as a fraction; 0 where one has no extent."""
    (y0, x0, y1, x1), (v0, u0, v1, u1) = a, b
    if min(y1 - y0, x1 - x0, v1 - v0, u1 - u0) <= 0:
        return Fraction(0)
    shared = max(0, min(y1, v1) - max(y0, v0)) * max(0, min(x1, u1) - max(x0, u0))
    return Fraction(shared, (y1 - y0) * (x1 - x0) + (v1 - v0) * (u1 - u0) - shared)


def matterport_refinement(box, gt):
    """`utils.box_refinement` of matterport/Mask_RCNN."""
    height, width = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    center_y, center_x = box[:, 0] + 0.5 * height, box[:, 1] + 0.5 * width
    gt_height, gt_width = gt[:, 2] - gt[:, 0], gt[:, 3] - gt[:, 1]
    gt_y, gt_x = gt[:, 0] + 0.5 * gt_height, gt[:, 1] + 0.5 * gt_width
    dy, dx = (gt_y - center_y) / height, (gt_x - center_x) / width
    return np.stack([dy, dx, np.log(gt_height / height), np.log(gt_width / width)], axis=1)


def matterport_norm_boxes(boxes, shape):
    """`utils.norm_boxes` of matterport/Mask_RCNN."""
    h, w = shape
    return (boxes - [0, 0, 1, 1]) / [h - 1, w - 1, h - 1, w - 1]


integer_boxes = st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=6)


@given(a=integer_boxes, b=integer_boxes)
@settings(max_examples=60, deadline=None)
def test_iou_equals_exact_fractions(a, b):
    rows = np.zeros((6, 4), np.float32)  # one shape, one compilation; rows of zeros overlap nothing
    columns = rows.copy()
    rows[: len(a)], columns[: len(b)] = a, b
    found = np.asarray(box_ops.iou_matrix(rows, columns))
    expected = np.zeros((6, 6), np.float32)
    expected[: len(a), : len(b)] = [[float(exact_iou(p, q)) for q in b] for p in a]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_area_by_hand_with_leading_axes():
    boxes = jnp.array([[[0.0, 0, 2, 3], [1, 1, 1, 5]], [[4, 4, 2, 2], [0, 0, 0, 0]]])
    np.testing.assert_array_equal(box_ops.area(boxes), [[6, 0], [0, 0]])


def test_clip_by_hand():
    boxes = jnp.array([[-3.0, -1, 5, 20], [11, 2, 14, 4]])
    found = box_ops.clip(boxes, (10, 12))
    np.testing.assert_array_equal(found, [[0, 0, 5, 12], [10, 2, 10, 4]])
    assert box_ops.area(found)[1] == 0


def test_encode_by_hand():
    # a square of 10 to a box of 20 x 10, centre 5 px lower
    deltas = box_ops.encode(jnp.array([[0.0, 0, 20, 10]]), jnp.array([[0.0, 0, 10, 10]]), std=STD)
    np.testing.assert_allclose(deltas, [[5.0, 0, np.log(2) / 0.2, 0]], rtol=1e-6)


def test_encode_equals_matterport():
    a, b = random_boxes(0, 50), random_boxes(1, 50)
    found = box_ops.encode(b, a)
    np.testing.assert_allclose(found, matterport_refinement(a, b), rtol=2e-4, atol=1e-5)
    # its graph works on normalised boxes
    shape = (96, 160)
    expected = matterport_refinement(
        matterport_norm_boxes(a.astype(np.float64), shape),
        matterport_norm_boxes(b.astype(np.float64), shape),
    )
    closed = box_ops.encode(b, a, closed=True)
    np.testing.assert_allclose(closed, expected, rtol=2e-4, atol=1e-5)
    assert np.abs(expected - np.asarray(found)).max() > 0.01  # the switch matters


@pytest.mark.parametrize("closed", [False, True])
def test_decode_inverts_encode(closed):
    a, b = random_boxes(0, 50), random_boxes(1, 50)
    deltas = box_ops.encode(b, a, std=STD, closed=closed)
    found = jax.jit(lambda d, a: box_ops.decode(d, a, std=STD, closed=closed))(deltas, a)
    np.testing.assert_allclose(found, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("closed", [False, True])
def test_zero_deltas_decode_to_the_reference(closed):
    a = random_boxes(0, 5).reshape(5, 1, 4)
    found = box_ops.decode(jnp.zeros((5, 1, 4)), a, closed=closed)
    np.testing.assert_allclose(found, a, rtol=1e-6, atol=1e-5)


def test_decode_clamps_on_request():
    deltas, reference = jnp.array([[0.0, 0, 9, 0]]), jnp.array([[0.0, 0, 16, 16]])
    sides = [box_ops.decode(deltas, reference, clamp=clamp) for clamp in (False, True)]
    np.testing.assert_allclose(
        [s[0, 2] - s[0, 0] for s in sides], [16 * np.exp(9), 1000], rtol=1e-5
    )


@pytest.mark.parametrize("closed", [False, True])
def test_boxes_without_extent_have_finite_gradients(closed):
    box = np.array([2.0, 3, 9, 20], np.float32)
    line = np.array([4.0, 3, 4, 20], np.float32)
    zero = np.zeros(4, np.float32)
    boxes = jnp.array(np.stack([zero, line, box, zero, box]))
    reference = jnp.array(np.stack([box, box, line, zero, box]))

    def total(boxes, reference):
        return (box_ops.encode(boxes, reference, closed=closed) ** 2).sum()

    deltas = np.asarray(box_ops.encode(boxes, reference, closed=closed))
    np.testing.assert_array_equal(deltas[[0, 3]], 0)  # no extent along both axes
    np.testing.assert_array_equal(deltas[[1, 2]][:, [0, 2]], 0)  # along y
    for gradient in jax.grad(total, argnums=(0, 1))(boxes, reference):
        assert np.isfinite(gradient).all()
    decoded = jax.grad(lambda d: box_ops.decode(d, reference, closed=closed).sum())(boxes * 0.01)
    assert np.isfinite(decoded).all()


def test_no_boxes():
    empty = jnp.zeros((0, 4))
    assert box_ops.iou_matrix(empty, jnp.ones((3, 4))).shape == (0, 3)
    assert box_ops.encode(empty, empty).shape == (0, 4)
