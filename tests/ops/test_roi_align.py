"""Pooling against loops over samples that follow TensorFlow's and torchvision's kernels.

The loops give the pixels that a cell reads and their weights: their sum is the pooled value, and
the same list, read the other way round, is the gradient.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cellml.ops.roi_align import crop_and_resize, pool_pyramid, pyramid_level, roi_align

IMAGE = (128, 192)
SETTINGS = [("crop_and_resize", True), ("crop_and_resize", False), ("roi_align", False)]


def between(at, side):
    """The two pixels around a position and their weights."""
    low = math.floor(at)
    return [(low, 1 - (at - low)), (min(low + 1, side - 1), at - low)]


def crop_axis(low, high, side, size):
    """Cells of one axis in tf.image.crop_and_resize: a list of (pixel, weight) each."""
    cells = []
    for i in range(size):
        if size > 1:
            at = low * (side - 1) + i * (high - low) * (side - 1) / (size - 1)
        else:
            at = 0.5 * (low + high) * (side - 1)
        cells.append([] if at < 0 or at > side - 1 else between(at, side))
    return cells


def align_axis(low, high, side, size, sampling):
    """Likewise in torchvision.ops.roi_align(aligned=True)."""
    start, cell = low - 0.5, (high - low) / size
    cells = []
    for i in range(size):
        taps = []
        for k in range(sampling):
            at = start + i * cell + (k + 0.5) * cell / sampling
            if -1 <= at <= side:
                at = min(max(at, 0), side - 1)
                taps += [(p, weight / sampling) for p, weight in between(at, side)]
        cells.append(taps)
    return cells


def pooled_and_gradient(features, ys, xs, grad):
    """Pooled values (size, size, c) of one box, and the gradient of their product with `grad`."""
    out, back = np.zeros((len(ys), len(xs), features.shape[-1])), np.zeros(features.shape)
    for i, rows in enumerate(ys):
        for j, columns in enumerate(xs):
            for y, weight_y in rows:
                for x, weight_x in columns:
                    out[i, j] += weight_y * weight_x * features[y, x]
                    back[y, x] += weight_y * weight_x * grad[i, j]
    return out, back


def value_and_gradient(pool, features, seed):
    """Of a jitted function of features, with its cotangent drawn from a seed."""
    shape = jax.eval_shape(pool, features).shape
    grad = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    @jax.jit
    def evaluate(features, grad):
        out, pullback = jax.vjp(pool, features)
        return out, *pullback(grad)

    return (*evaluate(features, grad), grad)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def some_boxes(shape, n, seed=0):
    """Boxes of all sizes and shapes, also across the borders; one far outside, one of zeros."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-0.1, 1.1, (n, 2)) * shape
    sides = np.exp(rng.uniform(np.log(2), np.log(1.2 * max(shape)), (n, 2)))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1).astype(np.float32)
    boxes[0] = 0
    boxes[1] = [2 * shape[0], 0, 3 * shape[0], shape[1]]
    return boxes


@pytest.mark.parametrize("size", [1, 4])
def test_crop_and_resize_equals_loops(size):
    features = normal(0, 20, 37, 3)
    boxes = some_boxes((20, 37), 12) / np.array([19, 36, 19, 36], np.float32)
    out, gradient, grad = value_and_gradient(
        lambda f: crop_and_resize(f, jnp.asarray(boxes), size), features, 1
    )
    total = np.zeros(features.shape)
    for box, found, one in zip(boxes, out, grad, strict=True):
        ys, xs = (crop_axis(box[i], box[i + 2], features.shape[i], size) for i in (0, 1))
        expected, back = pooled_and_gradient(features, ys, xs, one)
        np.testing.assert_allclose(found, expected, atol=2e-5)
        total += back
    np.testing.assert_allclose(gradient, total, atol=5e-5)


@pytest.mark.parametrize("sampling", [1, 2])
def test_roi_align_equals_loops(sampling):
    features, boxes = normal(0, 20, 37, 3), some_boxes((20, 37), 12)
    out, gradient, grad = value_and_gradient(
        lambda f: roi_align(f, jnp.asarray(boxes), 3, sampling), features, 1
    )
    total = np.zeros(features.shape)
    for box, found, one in zip(boxes, out, grad, strict=True):
        ys, xs = (align_axis(box[i], box[i + 2], features.shape[i], 3, sampling) for i in (0, 1))
        expected, back = pooled_and_gradient(features, ys, xs, one)
        np.testing.assert_allclose(found, expected, atol=2e-5)
        total += back
    np.testing.assert_allclose(gradient, total, atol=5e-5)


def test_by_hand():
    # a ramp along x, whose value at a position is the position itself
    ramp = jnp.broadcast_to(jnp.arange(8.0)[None, :, None], (6, 8, 1))
    corners = crop_and_resize(ramp, jnp.array([[0.0, 0, 1, 1]]), 2)[0, :, :, 0]
    np.testing.assert_allclose(corners, [[0, 7], [0, 7]])
    # columns 2 to 6, half-open: the two cells' middles are 3 and 5, at centres .5 off the index
    middles = roi_align(ramp, jnp.array([[1.0, 2, 3, 6]]), 2)[0, :, :, 0]
    np.testing.assert_allclose(middles, [[2.5, 4.5], [2.5, 4.5]])
    # beyond the border: crop_and_resize gives 0, ROIAlign the last pixel up to one px out
    outside = crop_and_resize(ramp, jnp.array([[0.0, 1, 1, 2]]), 2)[0, 0, :, 0]
    np.testing.assert_allclose(outside, [7, 0])
    edge = roi_align(ramp, jnp.array([[0.0, 8, 1, 10]]), 1, 2)[0, 0, 0, 0]
    np.testing.assert_allclose(edge, 7 / 2)  # samples at 8.0 (counts as 7) and 9.0 (as 0)


@pytest.mark.parametrize("closed", [False, True])
def test_pyramid_level_equals_the_formula(closed):
    boxes = some_boxes((1024, 1024), 200)
    levels = pyramid_level(jnp.asarray(boxes), 224.0, closed=closed)
    sides = boxes[:, 2:].astype(np.float64) - boxes[:, :2] - closed
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 4 + np.log2(np.sqrt(sides.prod(axis=1)) / 224)
        clear = np.abs(value % 1 - 0.5) > 1e-4
    good = (sides > 0).all(axis=1)
    clear &= good
    np.testing.assert_array_equal(levels[clear], np.clip(np.round(value[clear]), 2, 5))
    np.testing.assert_array_equal(levels[~good], 2)
    assert len(np.unique(levels)) == 4


def test_pyramid_level_rounds_half_to_even():
    # 16 x 8 px with a canonical side of 2^k: log2 of the root of 128 is 3.5
    box = jnp.array([[0.0, 0, 16, 8]])
    found = [int(pyramid_level(box, 2.0**k, closed=False)[0]) for k in (3, 4, 5)]
    assert found == [4, 4, 2]  # of 4.5, 3.5, 2.5


def pyramid(seed, c=3, batch=()):
    h, w = IMAGE
    shapes = [(-(-h // s), -(-w // s)) for s in (4, 8, 16, 32)]
    return [normal(seed + i, *batch, *shape, c) for i, shape in enumerate(shapes)]


def expected_pyramid(levels, boxes, grad, *, size, pooling, closed, canonical_px):
    """The loops, from the level of each box, with matterport's normalised boxes."""
    h, w = IMAGE
    out, total = [], [np.zeros(level.shape) for level in levels]
    for box, one in zip(boxes.astype(np.float64), grad, strict=True):
        shift = float(closed)
        whole = np.array([h - shift, w - shift])
        low, high = box[:2] / whole, (box[2:] - shift) / whole
        area = np.prod(np.maximum(high - low, 0)) * h * w
        level = 2 if area == 0 else round(4 + math.log2(math.sqrt(area) / canonical_px))
        level = min(max(level, 2), 5) - 2
        sides = levels[level].shape
        if pooling == "crop_and_resize":
            ys, xs = (crop_axis(low[i], high[i], sides[i], size) for i in (0, 1))
        else:
            scale = np.array(sides[:2]) / IMAGE
            low, high = box[:2] * scale, box[2:] * scale
            ys, xs = (align_axis(low[i], high[i], sides[i], size, 2) for i in (0, 1))
        value, back = pooled_and_gradient(levels[level], ys, xs, one)
        out.append(value)
        total[level] += back
    return np.stack(out), total


@pytest.mark.parametrize(("pooling", "closed"), SETTINGS)
def test_pool_pyramid_equals_loops(pooling, closed):
    """Boxes much larger than a window of the gradient are among them, and an incomplete chunk."""
    levels, boxes = pyramid(0), some_boxes(IMAGE, 23)
    options = {"size": 3, "pooling": pooling, "closed": closed, "canonical_px": 56.0}
    *found, grad = value_and_gradient(
        lambda levels: pool_pyramid(
            levels, jnp.asarray(boxes), image_shape=IMAGE, chunk=8, **options
        ),
        levels,
        9,
    )
    out, total = expected_pyramid(levels, boxes, grad, **options)
    np.testing.assert_allclose(found[0], out, atol=1e-4)
    for gradient, expected in zip(found[1], total, strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(gradient, expected, atol=2e-4)


def test_chunks_and_vmap_change_nothing():
    levels, boxes = pyramid(0, batch=(2,)), np.stack([some_boxes(IMAGE, 11, s) for s in (0, 1)])

    def pool(levels, boxes, chunk):
        return pool_pyramid(
            levels, boxes, image_shape=IMAGE, size=2, canonical_px=56.0, pooling="roi_align",
            closed=False, chunk=chunk,
        )  # fmt: skip

    grad = normal(5, 2, 11, 2, 2, 3)

    @jax.jit
    def batched(levels, boxes):
        out, pullback = jax.vjp(lambda x: jax.vmap(lambda x, b: pool(x, b, 4))(x, boxes), levels)
        return out, *pullback(grad)

    @jax.jit
    def single(levels, boxes, grad):
        out, pullback = jax.vjp(lambda x: pool(x, boxes, 64), levels)
        return out, *pullback(grad)

    out, gradients = batched(levels, boxes)
    for i in range(2):
        expected, back = single([level[i] for level in levels], boxes[i], grad[i])
        np.testing.assert_allclose(out[i], expected, atol=1e-5)
        for a, b in zip(gradients, back, strict=True):
            np.testing.assert_allclose(a[i], b, atol=1e-5)


def test_gradients_equal_finite_differences():
    boxes = jnp.array([[0.3, 1.2, 4.4, 5.1], [2, 2, 3, 9.5]])
    features = jnp.asarray(normal(0, 5, 6, 2))
    pool = jax.jit(lambda features: roi_align(features, boxes, 2) ** 2)
    check_grads(pool, (features,), 1, ["rev"], atol=2e-2, rtol=2e-2)


def test_no_gradient_to_the_boxes():
    levels = [jnp.asarray(level) for level in pyramid(0, c=1)]
    boxes = jnp.asarray(some_boxes(IMAGE, 5))

    @jax.jit
    def total(boxes):
        return pool_pyramid(
            levels, boxes, image_shape=IMAGE, size=2, canonical_px=56.0,
            pooling="crop_and_resize", closed=True,
        ).sum()  # fmt: skip

    np.testing.assert_array_equal(jax.grad(total)(boxes), 0)


def test_bfloat16_is_kept_and_summed_in_float32():
    levels, boxes = pyramid(0, c=2), jnp.asarray(some_boxes(IMAGE, 40))
    half = [jnp.asarray(level, jnp.bfloat16) for level in levels]

    def pool(levels):
        return pool_pyramid(
            levels, boxes, image_shape=IMAGE, size=2, canonical_px=56.0, pooling="roi_align",
            closed=False,
        )  # fmt: skip

    def total(levels):
        return pool(levels).astype(jnp.float32).sum()

    (value, back), (_, exact) = (
        jax.jit(jax.value_and_grad(total))(x) for x in (half, [x.astype(jnp.float32) for x in half])
    )
    assert np.isfinite(value)
    for a, b in zip(back, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=1e-2, atol=1e-3)


def test_memory_stays_bounded():
    """200 boxes of 64 channels: 2.5 MB come out; a gather of all taps is 40 MB."""
    levels = [jax.ShapeDtypeStruct((64 >> i, 64 >> i, 64), jnp.float32) for i in range(4)]

    def pool(levels, boxes):
        return pool_pyramid(
            levels, boxes, image_shape=(256, 256), size=7, canonical_px=56.0,
            pooling="roi_align", closed=False, chunk=16,
        )  # fmt: skip

    def gradient(levels, boxes):
        return jax.grad(lambda x: (pool(x, boxes) ** 2).sum())(levels)

    boxes = jax.ShapeDtypeStruct((200, 4), jnp.float32)
    for function in (pool, gradient):
        memory = jax.jit(function).lower(levels, boxes).compile().memory_analysis()
        if memory is None:
            pytest.skip("this backend does not tell")
        assert memory.temp_size_in_bytes < 20e6


def test_no_boxes():
    out = roi_align(jnp.ones((4, 4, 2)), jnp.zeros((0, 4)), 3)
    assert out.shape == (0, 3, 3, 2)
    gradient = jax.grad(lambda f: roi_align(f, jnp.zeros((0, 4)), 3).sum())(jnp.ones((4, 4, 2)))
    np.testing.assert_array_equal(gradient, 0)


def test_wrong_options_raise():
    boxes = jnp.zeros((1, 4))
    for levels, pooling in (([], "roi_align"), ([jnp.ones((4, 4, 1))], "max")):
        with pytest.raises(ValueError, match="crop_and_resize, roi_align"):
            pool_pyramid(
                levels, boxes, image_shape=(16, 16), size=2, canonical_px=56.0, pooling=pooling,
                closed=False,
            )  # fmt: skip
