"""Overlap of two label images: the counts from which IoU, matching and merging are made."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

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
    if a.shape != b.shape:
        raise ValueError(f"label images must have one shape, found {a.shape} and {b.shape}")
    n = max_instances
    if not 1 <= n <= MAX_TABLE_SIZE:
        raise ValueError(f"max_instances must lie within 1..{MAX_TABLE_SIZE}, found {n}")
    rows = jnp.asarray(a).astype(jnp.int32).ravel()
    columns = jnp.asarray(b).astype(jnp.int32).ravel()
    inside = (rows >= 0) & (rows < n) & (columns >= 0) & (columns < n)
    cell = jnp.where(inside, rows * n + columns, n * n)
    return jnp.zeros(n * n, jnp.int32).at[cell].add(1, mode="drop").reshape(n, n)


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
    n, m = sizes
    cell = a.astype(np.int64).ravel() * m + b.ravel().astype(np.int64)
    return np.bincount(cell, minlength=n * m).reshape(n, m)


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
    if a.shape != b.shape:
        raise ValueError(f"label images must have one shape, found {a.shape} and {b.shape}")
    if a.size and min(int(a.min()), int(b.min())) < 0:
        raise ValueError(f"ids must not be negative, found {min(int(a.min()), int(b.min()))}")
    both = (a > 0) & (b > 0)
    rows, columns = a[both].astype(np.int64), b[both].astype(np.int64)
    m = int(columns.max()) + 1 if columns.size else 1
    n = int(rows.max()) + 1 if rows.size else 1
    cell = rows * m + columns
    if n * m <= 4 * a.size:  # a dense count is several times faster than a sort, while it is small
        counts = np.bincount(cell, minlength=0)
        cell = np.flatnonzero(counts)
        counts = counts[cell]
    else:
        cell, counts = np.unique(cell, return_counts=True)
    return cell // m, cell % m, counts
