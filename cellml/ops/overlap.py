"""Overlap of two label images: the counts from which IoU, matching, merging and scores are made.

Two counts of one thing. On the device a dense table of static size, by one scatter-add. On the host
the pairs that do overlap, at any size and with any ids, by counting runs of equal pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

MAX_TABLE_SIZE = 46_340  # the largest n with n * n inside int32


def overlap_table(
    a: Integer[Array | np.ndarray, "..."],
    b: Integer[Array | np.ndarray, "..."],
    *,
    max_instances: int,
) -> Int[Array, "n n"]:
    """Counts the pixels which every pair of labels has in common.

    Jittable; one scatter-add over the pixels, nothing of size n * h * w.

    Args:
      a: Label image (or volume), 0 is background, ids below `max_instances`; any integer type.
      b: Likewise, same shape.
      max_instances: Static size n of the table, with row and column 0 for the background. A pixel
        with an id outside [0, n) in either image is not counted.

    Returns:
      int32 table; entry (i, j) is the number of pixels with label i in `a` and j in `b`. Row sums
      are the areas in `a`, column sums the areas in `b`, background included.

    Raises:
      ValueError: The shapes differ, or n is not within 1..46,340 (at trace time).
    """
    return overlap_table_and_rest(a, b, max_instances=max_instances)[0]


def overlap_table_and_rest(
    a: Integer[Array | np.ndarray, "..."],
    b: Integer[Array | np.ndarray, "..."],
    *,
    max_instances: int,
    mask: Bool[Array | np.ndarray, "..."] | None = None,
) -> tuple[Int[Array, "n n"], Int[Array, ""]]:
    """`overlap_table`, and the pixels that it leaves out because an id does not fit.

    Args:
      a: As in `overlap_table`.
      b: Likewise.
      max_instances: Likewise.
      mask: Pixels to count; those outside count as background in both images. All, if None.

    Returns:
      The table, and the number (int32) of pixels of the mask with an id outside [0, n).

    Raises:
      ValueError: As in `overlap_table`, or the mask has another shape.
    """
    if a.shape != b.shape:
        raise ValueError(f"label images must have one shape, found {a.shape} and {b.shape}")
    if mask is not None and mask.shape != a.shape:
        raise ValueError(f"label images have shape {a.shape} but mask has shape {mask.shape}")
    n = max_instances
    if not 1 <= n <= MAX_TABLE_SIZE:
        raise ValueError(f"max_instances must lie within 1..{MAX_TABLE_SIZE}, found {n}")
    rows, row_fits = _bounded_ids(a, n)
    columns, column_fits = _bounded_ids(b, n)
    cell = jnp.where(row_fits & column_fits, rows * n + columns, n * n)
    if mask is not None:
        cell = jnp.where(jnp.asarray(mask).ravel(), cell, 0)
    table = _histogram(n * n)(cell)
    return table.reshape(n, n), jnp.int32(cell.size) - table.sum()


def iou_from_overlap(table: Int[Array, "n m"]) -> Float[Array, "n m"]:
    """Intersection over union of every pair of objects of an overlap table.

    Args:
      table: From `overlap_table`.

    Returns:
      float32 IoU; row and column 0 (background) and ids that occur in neither image are 0. One
      correctly rounded division, so a ratio which equals a decimal threshold compares as equal.
    """
    intersection = table.at[0].set(0).at[:, 0].set(0)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - intersection
    return intersection.astype(jnp.float32) / jnp.maximum(union, 1).astype(jnp.float32)


class LabelPairs(NamedTuple):
    """Which labels of two images share pixels, on the host; sorted by `first`, then by `second`.

    Attributes:
      first: Label in the first image, int64.
      second: Label in the second image, int64.
      pixels: Pixels that they share, > 0, int64.
    """

    first: Int[np.ndarray, " p"]
    second: Int[np.ndarray, " p"]
    pixels: Int[np.ndarray, " p"]


def label_pairs_host(
    a: Integer[np.ndarray, "..."],
    b: Integer[np.ndarray, "..."],
    *,
    names: tuple[str, str] = ("the first image", "the second image"),
) -> LabelPairs:
    """Finds all pairs of labels that share pixels, background included, for any ids.

    Works on runs of equal pixels instead of pixels: label images have some 15 times fewer runs.

    Args:
      a: Label image or volume, ids within [0, 2**63); any integer type.
      b: Likewise, same shape.
      names: What messages call the two.

    Returns:
      The pairs; those with a 0 on one side say how much of the other is background there.

    Raises:
      ValueError: The shapes differ, or an id is negative or too large.
    """
    if a.shape != b.shape:
        raise ValueError(f"label images must have one shape, found {a.shape} and {b.shape}")
    flat_a, flat_b = a.ravel(), b.ravel()
    last, length = _run_ends(flat_a, flat_b)
    row = _run_ids(flat_a[last], names[0])
    column = _run_ids(flat_b[last], names[1])
    # A dense count is several times faster than sorting the runs, while it is small.
    limit = max(2**19, 4 * last.size)
    row_ids = column_ids = None
    if _n_cells(row, column) > limit:  # large ids, but maybe few of them
        row_ids, row = np.unique(row, return_inverse=True)
        column_ids, column = np.unique(column, return_inverse=True)
    n_columns = int(column.max(initial=0)) + 1
    code = row * n_columns + column
    if _n_cells(row, column) <= limit:
        counts = np.bincount(code, length)
        cells = np.flatnonzero(counts != 0)
        counts = counts[cells]
    else:
        cells, inverse = np.unique(code, return_inverse=True)
        counts = np.bincount(inverse, length, cells.size)
    row, column = np.divmod(cells, n_columns)
    if row_ids is not None and column_ids is not None:
        row, column = row_ids[row], column_ids[column]
    return LabelPairs(row, column, counts.astype(np.int64))


def overlap_pairs_host(
    a: Integer[np.ndarray, "..."], b: Integer[np.ndarray, "..."]
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """The non-zero entries of the overlap table of objects, without the table.

    For images with so many objects that n * n does not fit.

    Args:
      a: Label image, 0 is background, ids not negative.
      b: Likewise, same shape.

    Returns:
      Ids in `a`, ids in `b` and common pixels (int64) of each pair of objects which touch,
      sorted by the first id and then the second.

    Raises:
      ValueError: The shapes differ, or an id is negative.
    """
    pairs = label_pairs_host(a, b)
    both = (pairs.first > 0) & (pairs.second > 0)
    return pairs.first[both], pairs.second[both], pairs.pixels[both]


def overlap_table_host(
    a: Integer[np.ndarray, "..."],
    b: Integer[np.ndarray, "..."],
    *,
    max_instances: int | None = None,
) -> Int[np.ndarray, "n m"]:
    """NumPy twin of `overlap_table`, which checks the ids.

    Args:
      a: Label image, 0 is background; any integer type.
      b: Likewise.
      max_instances: Size n of the square table; None fits each side to its largest id.

    Returns:
      int64 table as in `overlap_table`.

    Raises:
      ValueError: The shapes differ, or an id is negative or not below `max_instances`.
    """
    if a.shape != b.shape:
        raise ValueError(f"label images must have one shape, found {a.shape} and {b.shape}")
    sizes = []
    for name, labels in (("first", a), ("second", b)):
        low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
        if low < 0 or (max_instances is not None and high >= max_instances):
            raise ValueError(
                f"ids of the {name} label image must lie within [0, {max_instances or 'inf'}), "
                f"found {low} to {high}"
            )
        sizes.append(high + 1 if max_instances is None else max_instances)
    table = np.zeros(sizes, np.int64)
    pairs = label_pairs_host(a, b)
    table[pairs.first, pairs.second] = pairs.pixels
    return table


def _bounded_ids(labels: Integer[Array | np.ndarray, "..."], n_ids: int) -> tuple[Array, Array]:
    """Returns ids as flat int32, 0 where they lie outside [0, n_ids), and where they lie inside."""
    labels = jnp.asarray(labels).ravel()
    if labels.dtype.itemsize < 4:  # n_ids itself may not fit a narrow dtype
        labels = labels.astype(jnp.int32)
    fits = (labels >= 0) & (labels < n_ids)
    return jnp.where(fits, labels, 0).astype(jnp.int32), fits


def count_codes_in_turn(codes: Int[Array, "b p"], n_bins: int) -> Int[Array, "b n"]:
    """Counts codes in [0, n_bins) of each row, one row after the other; leaves larger ones out."""
    return jax.lax.map(_histogram(n_bins), codes)


def count_codes_at_once(codes: Int[Array, "b p"], n_bins: int) -> Int[Array, "b n"]:
    """The same by one scatter, into bins of their own."""
    offset = jnp.arange(codes.shape[0], dtype=jnp.int32)[:, None] * n_bins
    n_all = codes.shape[0] * n_bins
    flat = _histogram(n_all)(jnp.where(codes < n_bins, codes + offset, n_all).ravel())
    return flat.reshape(codes.shape[0], n_bins)


@lru_cache(maxsize=32)
def _histogram(n_bins: int) -> Callable[[Int[Array, " p"]], Int[Array, " n"]]:
    """Returns a function that counts codes in [0, n_bins), and leaves larger ones out.

    On a CPU, XLA's scatter takes 2.4 ns a pixel if its indices are one flat row, and two to four
    times as long under vmap (sorting: 50 ns, one-hot products: 3000 ns). Hence the rule for vmap:
    one image after the other on a CPU, and one flat scatter elsewhere.
    """

    @jax.custom_batching.custom_vmap
    def histogram(codes):
        return jnp.zeros(n_bins, jnp.int32).at[codes].add(1, mode="drop")

    @histogram.def_vmap
    def _(axis_size, in_batched, codes):
        del in_batched  # the only argument is batched
        in_turn = partial(count_codes_in_turn, n_bins=n_bins)
        if axis_size * n_bins >= 2**31:  # the flat bins would pass int32
            return in_turn(codes), True
        at_once = partial(count_codes_at_once, n_bins=n_bins)
        return jax.lax.platform_dependent(codes, cpu=in_turn, default=at_once), True

    return histogram


def _run_ends(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the last index and the length of each run in which neither row changes."""
    change = first[1:] != first[:-1]
    change |= second[1:] != second[:-1]
    last = np.append(np.flatnonzero(change), first.size - 1)[: first.size]
    return last, np.diff(last, prepend=-1)


def _run_ids(ids: np.ndarray, name: str) -> np.ndarray:
    """Returns the ids of runs as int64, or says which one does not fit."""
    if ids.size and ids.min() < 0:
        raise ValueError(f"{name} must hold labels >= 0, found {ids.min()}")
    if ids.size and ids.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must hold labels < 2**63, found {ids.max()}")
    return ids.astype(np.int64)


def _n_cells(row: np.ndarray, column: np.ndarray) -> int:
    """Size of the dense table of two rows of ids, as a Python int, which cannot overflow."""
    return (int(row.max(initial=0)) + 1) * (int(column.max(initial=0)) + 1)
