"""Pooling of boxes out of feature maps: `crop_and_resize`, true ROIAlign, and from a pyramid.

Both kinds of pooling are bilinear sampling at positions that are a product of rows and columns. So
along each axis an output cell is a weighted sum of a few pixels, its taps:
    out[i, j] = sum_a sum_b weight_y[i, a] weight_x[j, b] features[row[i, a], column[j, b]],
with two taps a cell for `crop_and_resize` (one sample between two pixels), and `2 sampling` for
ROIAlign. Features are read through one flat index, so that boxes of different levels of a pyramid
go through one gather, from the level of each alone.

Gradients flow to the features only (reverse mode), not to the boxes.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32

POOLINGS = ("crop_and_resize", "roi_align")
ROI_SAMPLING = 2
"""Samples a cell and axis of ROIAlign in `pool_pyramid`."""

CHUNK = 64
"""Boxes pooled at a time."""

WINDOW = 16
"""Pixels of the windows in which gradients of a single feature map are added, see `_pool`."""


class _Taps(NamedTuple):
    """Pixels that the cells of n boxes read along one axis.

    Attributes:
      index: int32 (n, size, taps), within the feature map.
      weight: float32, likewise; 0 for what lies outside.
    """

    index: Array
    weight: Array


class _Plan(NamedTuple):
    """What n boxes read from a table of pixels (r, c), which holds feature maps one after another.

    Attributes:
      y: Taps of the rows of cells.
      x: Taps of the columns.
      origin: First row of each box's feature map in the table, int32 (n,).
      width: Columns of that map, int32 (n,).
    """

    y: _Taps
    x: _Taps
    origin: Array
    width: Array


def crop_and_resize(
    features: Float[Array, "h w c"], boxes: Float[Array, "n 4"], size: int
) -> Float[Array, "n {size} {size} c"]:
    """One bilinear sample a cell, the corner cells on the corners of the box.

    Args:
      features: A feature map.
      boxes: Normalised: 0 is the centre of the first pixel and 1 that of the last, of each axis.
      size: Rows and columns of the result.
    Returns:
      The samples; 0 where they lie outside of [0, 1].
    Source: tf.image.crop_and_resize, bilinear, extrapolation value 0.
    """
    h, w, c = features.shape
    boxes = lax.stop_gradient(boxes)
    sides = _full(boxes, h), _full(boxes, w)
    y, x = (_crop_taps(boxes[:, i], boxes[:, i + 2], sides[i], size) for i in (0, 1))
    plan = _Plan(y, x, _full(boxes, 0), sides[1])
    return _pool(features.reshape(h * w, c), plan, CHUNK, WINDOW)


def roi_align(
    features: Float[Array, "h w c"], boxes: Float[Array, "n 4"], size: int, sampling: int = 2
) -> Float[Array, "n {size} {size} c"]:
    """Mean of `sampling` x `sampling` bilinear samples in each of `size` x `size` cells of a box.

    Args:
      features: A feature map.
      boxes: In pixels of the feature map, half-open: the first pixel's centre is at 0.5.
      size: Cells along each axis.
      sampling: Samples along each axis of a cell.
    Returns:
      The means. A sample up to 1 px outside of the outermost centres takes the nearest pixel, one
      further out counts as 0.
    Source: He et al. 2017, ICCV; torchvision.ops.roi_align with aligned=True.
    """
    h, w, c = features.shape
    boxes = lax.stop_gradient(boxes)
    sides = _full(boxes, h), _full(boxes, w)
    y, x = (_align_taps(boxes[:, i], boxes[:, i + 2], sides[i], size, sampling) for i in (0, 1))
    plan = _Plan(y, x, _full(boxes, 0), sides[1])
    return _pool(features.reshape(h * w, c), plan, CHUNK, WINDOW)


def pyramid_level(
    boxes: Float[Array, "n 4"], canonical_px: float, *, closed: bool, low: int = 2, high: int = 5
) -> Int32[Array, " n"]:
    """The level that a box is pooled from: 4 + log2(side / canonical_px), rounded half to even.

    Args:
      boxes: In px of the image.
      canonical_px: Side of a square box of level 4.
      closed: Sides are one pixel less, as in matterport's graph. Its normalised coordinates make a
        factor of sqrt(h w / ((h - 1) (w - 1))) on top, which `pool_pyramid` knows of.
      low: Smallest level, which boxes without extent get as well.
      high: Largest level.
    Returns:
      Levels within [low, high].
    Source: Lin et al. 2017, CVPR (which rounds down); matterport/Mask_RCNN, `PyramidROIAlign`.
    """
    sides = boxes[:, 2:] - boxes[:, :2] - float(closed)
    some = (sides > 0).all(axis=1)
    sides = jnp.where(some[:, None], sides, 1.0)
    level = 4.0 + jnp.log2(jnp.sqrt(sides[:, 0] * sides[:, 1]) / canonical_px)
    level = jnp.clip(jnp.round(level), low, high).astype(jnp.int32)
    return jnp.where(some, level, low)


def pool_pyramid(
    levels: Sequence[Float[Array, "_ _ c"]],
    boxes: Float[Array, "n 4"],
    *,
    image_shape: tuple[int, int],
    size: int,
    canonical_px: float,
    pooling: str,
    closed: bool,
    chunk: int = CHUNK,
) -> Float[Array, "n {size} {size} c"]:
    """Pools each box from the level of a feature pyramid that suits its size.

    Args:
      levels: P2, P3, ... of one image, finest first.
      boxes: In px of the image.
      image_shape: (h, w) of the image that the network sees.
      size: Rows and columns of the result.
      canonical_px: See `pyramid_level`.
      pooling: `"crop_and_resize"`, or `"roi_align"` with 2 x 2 samples a cell.
      closed: For the level, see `pyramid_level`. `crop_and_resize` takes the box as
        (y0, x0, y1 - 1, x1 - 1) / (h - 1, w - 1, ...), as matterport does, and without `closed` as
        fractions of the image's sides. ROIAlign samples the half-open box in any case.
      chunk: Boxes pooled at a time, which bounds the memory beside the result.
    Returns:
      Pooled features in the dtype of the levels. A row of zeros in `boxes` gives finite values.
    Raises:
      ValueError: Unknown `pooling`, or no levels (at trace time).
    """
    if pooling not in POOLINGS or not levels:
        raise ValueError(
            f"pool_pyramid: expected levels and a pooling of {', '.join(POOLINGS)}, found "
            f"{len(levels)} levels and {pooling!r}"
        )
    h, w = image_shape
    table = jnp.concatenate([level.reshape(-1, level.shape[-1]) for level in levels])
    shapes = np.array([level.shape[:2] for level in levels], np.int32)
    starts = np.cumsum([0, *shapes.prod(axis=1)[:-1]], dtype=np.int32)
    if closed:
        canonical_px *= float(np.sqrt((h - 1) * (w - 1) / (h * w)))

    boxes = lax.stop_gradient(boxes)
    level = pyramid_level(boxes, canonical_px, closed=closed, high=1 + len(levels)) - 2
    heights, widths = jnp.asarray(shapes)[level].T
    taps = []
    for i, (side, image_side) in enumerate(((heights, h), (widths, w))):
        low, high = boxes[:, i], boxes[:, i + 2]
        if pooling == "roi_align":
            scale = side.astype(boxes.dtype) / image_side
            taps.append(_align_taps(low * scale, high * scale, side, size, ROI_SAMPLING))
        else:
            whole = float(image_side - closed)
            high = (high - float(closed)) / whole
            taps.append(_crop_taps(low / whole, high, side, size))
    y, x = taps
    plan = _Plan(y, x, jnp.asarray(starts)[level], widths)
    return _pool(table, plan, chunk, _window(canonical_px))


def _window(canonical_px: float) -> int:
    """Pixels of a level that hold most boxes pooled from it, along one axis.

    The side of a square box is canonical_px / 16 level pixels, times or divided by 2^0.5.
    """
    return 2 + max(4, math.ceil(1.3 * 2**0.5 * canonical_px / 16))


def _full(boxes: Array, value: int) -> Array:
    return jnp.full(boxes.shape[0], value, jnp.int32)


def _crop_taps(low: Array, high: Array, side: Array, size: int) -> _Taps:
    """Taps of `crop_and_resize`; `low`, `high` normalised (n,), `side` the pixels of the map."""
    last = (side - 1).astype(low.dtype)[:, None]
    low, high = low[:, None], high[:, None]
    if size == 1:
        at = 0.5 * (low + high) * last
    else:
        at = low * last + jnp.arange(size, dtype=low.dtype)[None] * (
            (high - low) * last / (size - 1)
        )
    inside = (at >= 0) & (at <= last)
    return _linear_taps(jnp.where(inside, at, 0.0), side, inside)


def _align_taps(low: Array, high: Array, side: Array, size: int, sampling: int) -> _Taps:
    """Taps of ROIAlign; `low`, `high` in px of the map (n,), `side` the pixels of the map."""
    n = low.shape[0]
    sides = side.astype(low.dtype)[:, None]
    cells = (jnp.arange(size * sampling, dtype=low.dtype) + 0.5) / (size * sampling)
    at = low[:, None] - 0.5 + cells[None] * (high - low)[:, None]
    inside = (at >= -1) & (at <= sides)
    taps = _linear_taps(jnp.clip(at, 0.0, sides - 1), side, inside)
    index, weight = (a.reshape(n, size, 2 * sampling) for a in taps)
    return _Taps(index, weight / sampling)


def _linear_taps(at: Array, side: Array, inside: Array) -> _Taps:
    """The two pixels around each position `at` (n, p), which lies within [0, side - 1]."""
    low = jnp.floor(at)
    share = at - low
    index = low.astype(jnp.int32)
    index = jnp.stack([index, jnp.minimum(index + 1, side[:, None] - 1)], axis=-1)
    weight = jnp.stack([1 - share, share], axis=-1)
    return _Taps(index, jnp.where(inside[..., None], weight, 0.0))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _pool(table: Array, plan: _Plan, chunk: int, window: int) -> Array:
    return _pool_chunks(table, plan, chunk)


def _pool_chunks(table: Array, plan: _Plan, chunk: int) -> Array:
    """The weighted sums of rows of `table` (r, c): (n, size, size, c)."""
    n = plan.origin.shape[0]
    if n <= chunk:
        return _pool_at_once(table, plan)
    out = lax.map(partial(_pool_at_once, table), _split(plan, chunk))
    return out.reshape(-1, *out.shape[2:])[:n]


def _pool_at_once(table: Array, plan: _Plan) -> Array:
    out = jnp.zeros((), jnp.float32)
    # not as one gather of all taps: the loop is fused, and nothing but the sum is stored
    for a in range(plan.y.index.shape[-1]):
        for b in range(plan.x.index.shape[-1]):
            rows = plan.origin[:, None] + plan.y.index[..., a] * plan.width[:, None]
            rows = rows[:, :, None] + plan.x.index[:, None, :, b]
            weight = plan.y.weight[:, :, None, a] * plan.x.weight[:, None, :, b]
            taken = table.at[rows].get(mode="promise_in_bounds").astype(jnp.float32)
            out += weight[..., None] * taken
    return out.astype(table.dtype)


def _pool_forward(table: Array, plan: _Plan, chunk: int, window: int) -> tuple[Array, Any]:
    # an empty array remembers the shape and dtype of the table
    return _pool_chunks(table, plan, chunk), (plan, table[:, :0])


def _pool_backward(chunk: int, window: int, residuals: Any, grad: Array) -> tuple[Array, None]:
    """Gradient with respect to the table: windows of it, added up box by box.

    One row of the table at a time would be 16 size^2 additions a box, many of them to the same row
    (a cell is often smaller than a pixel), and XLA's scatter on CPU is a serial loop. Instead the
    gradient of a box is first brought to its `window` x `window` pixels, as two small matrix
    products, and then added in `window` contiguous pieces. A box that is larger takes more than
    one window: the loop goes on until the largest is done.
    """
    plan, empty = residuals
    n_rows, c = empty.shape[0], grad.shape[-1]
    chunk = max(1, min(chunk, grad.shape[0]))
    total = jnp.zeros((n_rows + window, c), jnp.float32)  # the last window may stand out

    def add(total: Array, part: tuple[_Plan, Array]) -> tuple[Array, None]:
        return _add_windows(total, *part, window), None

    total, _ = lax.scan(add, total, _split((plan, grad.astype(jnp.float32)), chunk))
    return total[:n_rows].astype(empty.dtype), None


_pool.defvjp(_pool_forward, _pool_backward)


def _add_windows(total: Array, plan: _Plan, grad: Array, window: int) -> Array:
    """Adds the gradient of some boxes to `total` (r + window, c)."""
    y_first, y_tiles = _extent(plan.y, window)
    x_first, x_tiles = _extent(plan.x, window)
    last = total.shape[0] - window

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        tile, total = state
        tile_y, tile_x = tile // x_tiles, tile % x_tiles
        # past the last tile of a box, tile_y points behind its rows, and all weights are 0
        y, x = y_first + window * tile_y, x_first + window * tile_x
        part = _spread(grad, _weights(plan.y, y, window), _weights(plan.x, x, window))
        rows = y[:, None] + jnp.arange(window, dtype=jnp.int32)[None]
        at = plan.origin[:, None] + rows * plan.width[:, None] + x[:, None]
        total = lax.scatter_add(
            total,
            jnp.clip(at, 0, last)[..., None],
            part,
            lax.ScatterDimensionNumbers((2, 3), (), (0,)),
            mode="promise_in_bounds",
        )
        return tile + 1, total

    tiles = (y_tiles * x_tiles).max()
    zero = jnp.zeros((), jnp.int32)
    return lax.while_loop(lambda state: state[0] < tiles, step, (zero, total))[1]


def _spread(grad: Array, y: Array, x: Array) -> Array:
    """Sum over cells i, j of y[n, i, row] x[n, j, column] grad[n, i, j, c].

    Measured on CPU: a second matrix product would need its operands transposed, which takes two
    to four times as long as this sum, which XLA fuses; the first one as a sum is slower.
    """
    part = jnp.einsum("niw,nijc->nwjc", y, grad)
    cells = (x[:, j, None, :, None] * part[:, :, j, None] for j in range(grad.shape[2]))
    return sum(cells, start=jnp.zeros((), grad.dtype))


def _extent(taps: _Taps, window: int) -> tuple[Array, Array]:
    """First pixel that each box reads along an axis, and the windows that hold all it reads."""
    used = taps.weight != 0
    first = jnp.where(used, taps.index, np.iinfo(np.int32).max).min(axis=(1, 2))
    last = jnp.where(used, taps.index, -1).max(axis=(1, 2))
    some = last >= 0
    tiles = (last - first) // window + 1
    return jnp.where(some, first, 0), jnp.where(some, tiles, 1)


def _weights(taps: _Taps, first: Array, window: int) -> Array:
    """Weight of each cell of an axis at the pixels `first` and up: (n, size, window)."""
    offset = taps.index - first[:, None, None]
    hit = offset[..., None] == jnp.arange(window, dtype=jnp.int32)[None, None, None]
    return jnp.where(hit, taps.weight[..., None], 0.0).sum(axis=2)


def _split(tree: Any, chunk: int) -> Any:
    """Leading axes (n, ...) as (chunks, chunk, ...), filled up with zeros."""

    def split(x: Array) -> Array:
        pad = [(0, -x.shape[0] % chunk)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, pad).reshape(-1, chunk, *x.shape[1:])

    return jax.tree.map(split, tree)
