"""How many pixels every true instance shares with every predicted one, and how large they are.

Two forms of one table, as scores need them; `cellml.ops.overlap` counts. `overlap_table` is dense,
of static size and jittable; `overlap_pairs` runs on the host, keeps only the pairs that do overlap,
and takes any ids and any number of instances.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer
from numpy.typing import ArrayLike

from cellml.ops.overlap import label_pairs_host, overlap_table_and_rest

Labels = Integer[Array | np.ndarray, "h w"]
PixelMask = Bool[Array | np.ndarray, "h w"]


class OverlapTable(NamedTuple):
    """Dense overlap of two label images; ids start at 1, so entry i belongs to id i + 1.

    Attributes:
      intersection: Pixels shared by true id i + 1 and predicted id j + 1, with n = ids - 1.
      area_true: Pixels of each true id; 0 for an id that does not occur.
      area_pred: Pixels of each predicted id.
      overflow: Pixels with an id that does not fit the table (too large or negative). They are
        missing in the table: unless this is 0, it is wrong.
    """

    intersection: Int[Array, "n n"]
    area_true: Int[Array, " n"]
    area_pred: Int[Array, " n"]
    overflow: Int[Array, ""]


class OverlapPairs(NamedTuple):
    """Sparse overlap of two label images, on the host.

    Attributes:
      area_true: Pixels of each true instance, ascending ids, int64, shape (n_true,).
      area_pred: Likewise, shape (n_pred,).
      row: Index into `area_true` of each overlapping pair, shape (n_pairs,).
      column: Index into `area_pred`.
      intersection: Shared pixels of each pair, > 0.
    """

    area_true: np.ndarray
    area_pred: np.ndarray
    row: np.ndarray
    column: np.ndarray
    intersection: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """Pixels of the union of each pair, int64, shape (n_pairs,)."""
        return self.area_true[self.row] + self.area_pred[self.column] - self.intersection


@partial(jax.jit, static_argnames="max_instances")
def overlap_table(
    true: Labels, pred: Labels, *, max_instances: int, mask: PixelMask | None = None
) -> OverlapTable:
    """Counts shared pixels of all pairs of instances at a static size.

    Args:
      true: Label image, 0 is background, ids below `max_instances`, not necessarily contiguous.
      pred: Likewise.
      max_instances: Static number of ids, background included.
      mask: Pixels to count; all, if None.

    Returns:
      The table of ids 1 to `max_instances - 1`, and the number of pixels that did not fit.

    Raises:
      ValueError: Shapes or dtypes do not fit, or `max_instances` is out of range (at trace time).
    """
    _check_images(true, pred, mask)
    if not 2 <= max_instances <= 2**15:
        raise ValueError(f"max_instances must lie within [2, 32768], found {max_instances}")
    table, overflow = overlap_table_and_rest(true, pred, max_instances=max_instances, mask=mask)
    return OverlapTable(table[1:, 1:], table.sum(1)[1:], table.sum(0)[1:], overflow)


def overlap_pairs(true: ArrayLike, pred: ArrayLike) -> OverlapPairs:
    """Finds all overlapping pairs of instances, on the host, at any size.

    Args:
      true: Label image of any shape; 0 is background, ids are whole numbers >= 0 of any integer or
        float dtype and need not be contiguous.
      pred: Likewise.

    Returns:
      Areas and overlaps.

    Raises:
      ValueError: The shapes differ, or a label is negative, not whole or not finite; the message
        gives the value found.
    """
    true, pred = np.asarray(true), np.asarray(pred)
    if true.shape != pred.shape:
        raise ValueError(f"true has shape {true.shape} but pred has shape {pred.shape}")
    pairs = label_pairs_host(
        _whole_labels(true, "true"), _whole_labels(pred, "pred"), names=("true", "pred")
    )
    both = (pairs.first > 0) & (pairs.second > 0)
    row, area_true = _foreground(pairs.first, pairs.pixels)
    column, area_pred = _foreground(pairs.second, pairs.pixels)
    return OverlapPairs(area_true, area_pred, row[both], column[both], pairs.pixels[both])


def instance_areas(labels: ArrayLike, name: str = "labels") -> np.ndarray:
    """Returns the pixels of each instance of a label image, ascending ids, background left out.

    Args:
      labels: As in `overlap_pairs`.
      name: Name of the image in messages.

    Raises:
      ValueError: A label is negative, not whole or not finite.
    """
    flat = _whole_labels(np.asarray(labels), name)
    pairs = label_pairs_host(flat, np.zeros(flat.shape, np.uint8), names=(name, ""))
    return _foreground(pairs.first, pairs.pixels)[1]


def _check_images(true: Labels, pred: Labels, mask: PixelMask | None) -> None:
    for name, value in (("pred", pred), ("mask", mask)):
        if value is not None and value.shape != true.shape:
            raise ValueError(f"true has shape {true.shape} but {name} has shape {value.shape}")
    for name, value in (("true", true), ("pred", pred)):
        if not jnp.issubdtype(value.dtype, jnp.integer):
            raise ValueError(f"{name} must hold integer labels, found {value.dtype}")


def _whole_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """Returns flat integer labels, or says which value is none."""
    flat = labels.ravel()
    if flat.dtype == bool:
        return flat.view(np.uint8)
    if flat.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = flat.astype(np.int64)
        wrong = np.flatnonzero(whole != flat)
        if wrong.size:
            raise ValueError(f"{name} must hold whole labels, found {flat[wrong[0]]}")
        flat = whole
    if flat.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integer or float labels, found {flat.dtype}")
    if flat.dtype == np.uint64 and flat.max(initial=0) > np.iinfo(np.int64).max:
        # Only the order of ids counts: their ranks do, with 0 kept for the background.
        flat = np.unique(np.append(flat, flat.dtype.type(0)), return_inverse=True)[1][:-1]
    return flat


def _foreground(ids: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums pixels by id, and numbers the ids that occur from 0 in ascending order.

    Args:
      ids: Ids >= 0, 0 is background.
      pixels: Pixels of each, > 0.

    Returns:
      Number of each entry's instance (background becomes -1), and the pixels of each instance.
    """
    if ids.max(initial=0) > max(2**19, 4 * ids.size):  # too large to count
        ids = np.unique(np.append(ids, 0), return_inverse=True)[1][:-1]
    area = np.bincount(ids, pixels, 1).astype(np.int64)
    area[0] = 0
    return (np.cumsum(area > 0) - 1)[ids], area[area > 0]
