"""Joins the labels of overlapping tiles into one label image.

Every tile paints its core with labels of its own. Where two tiles overlap, both have seen the
same pixels: an object of one and an object of the other that agree there (IoU of at least one
half) are one object, whatever its size. An object cut by a seam that the neighbour does not see
is kept by the tile that holds at least half of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from cellml.ops.tiles import Box, Tile

IOU_MIN = 0.5
"""Above one half a match would be unique; at exactly one half a tie links both, harmlessly."""


class _Painted(NamedTuple):
    """What later tiles need to know of an earlier one."""

    read: Box
    trusted: Box
    labels: Int[np.ndarray, "h w"]
    offset: int
    in_core: np.ndarray


class Stitcher:
    """Collects tiles in raster order and hands out one label image.

    Memory: the int32 canvas, and the labels of about one row of tiles.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        """Starts with an empty canvas of `shape` (h, w)."""
        self._canvas = np.zeros(shape, np.int32)
        self._recent: list[_Painted] = []
        self._links: list[np.ndarray] = []
        self._kept: list[np.ndarray] = [np.zeros(1, bool)]
        self._count = 0

    def add(self, tile: Tile, labels: Int[np.ndarray, "h w"]) -> int:
        """Paints one tile.

        Args:
          tile: Its place; tiles come in raster order.
          labels: Labels 0..n of the read box.

        Returns:
          The number n of labels; provisional label i of this tile is number i after those of the
          tiles before, which is the order that `cellml.data.tables.merge_sums` expects.

        Raises:
          ValueError: The labels do not have the shape of the read box.
        """
        if labels.shape != tile.read.shape:
            raise ValueError(f"labels of shape {labels.shape} for a tile of {tile.read.shape}")
        count = int(labels.max(initial=0))
        core = labels[tile.core.slices((tile.read.y0, tile.read.x0))]
        canvas = self._canvas[tile.core.slices()]
        np.copyto(canvas, core + np.int32(self._count), where=core > 0)

        area = np.bincount(labels.ravel(), minlength=count + 1)
        in_core = np.bincount(core.ravel(), minlength=count + 1)
        self._kept.append(((2 * in_core >= area) & (in_core > 0))[1:])
        painted = _Painted(tile.read, self._trusted(tile), labels, self._count, in_core > 0)
        self._recent = [old for old in self._recent if old.read.y1 > tile.read.y0]
        for old in self._recent:
            self._link(old, painted)
        self._recent.append(painted)
        self._count += count
        return count

    def finish(self) -> tuple[Int[np.ndarray, "h w"], Int[np.ndarray, " m"]]:
        """Joins what belongs together.

        Returns:
          The canvas with contiguous labels 1..n, and the final label of every provisional one
          (entry 0 is the background; dropped objects are sent to 0).
        """
        links = np.concatenate([np.zeros((0, 2), np.int64), *self._links])
        roots = _roots(self._count + 1, links)
        kept = np.concatenate(self._kept)
        kept[links.ravel()] = True  # two tiles agree: both parts stay
        group_kept = np.zeros(self._count + 1, bool)
        group_kept[roots[kept]] = True
        # roots are the smallest member, so final labels follow the order of the tiles
        final = np.cumsum(group_kept & (roots == np.arange(self._count + 1))).astype(np.int32)
        lookup = np.where(group_kept[roots], final[roots], 0).astype(np.int32)
        if not np.array_equal(lookup, np.arange(self._count + 1)):
            for row in range(0, len(self._canvas), 256):
                self._canvas[row : row + 256] = lookup[self._canvas[row : row + 256]]
        return self._canvas, lookup

    def _trusted(self, tile: Tile) -> Box:
        """Leaves out what lies close to the tile's inner edges, where a model sees too little."""
        read, core = tile.read, tile.core
        return Box(
            (read.y0 + core.y0) // 2,
            (read.x0 + core.x0) // 2,
            (read.y1 + core.y1 + 1) // 2,
            (read.x1 + core.x1 + 1) // 2,
        )

    def _link(self, old: _Painted, new: _Painted) -> None:
        band = old.trusted.intersect(new.trusted)
        if band.empty:
            return
        a = old.labels[band.slices((old.read.y0, old.read.x0))]
        b = new.labels[band.slices((new.read.y0, new.read.x0))]
        pairs = matching_pairs(a, b)
        # only objects that left pixels on the canvas have something to join
        pairs = pairs[old.in_core[pairs[:, 0]] & new.in_core[pairs[:, 1]]]
        self._links.append(pairs + np.array([old.offset, new.offset]))


def matching_pairs(
    a: Int[np.ndarray, "h w"], b: Int[np.ndarray, "h w"]
) -> Int[np.ndarray, "pairs 2"]:
    """Finds the objects of two label images of one region that are the same.

    Args:
      a: Labels, 0 is background.
      b: Likewise.

    Returns:
      Pairs (label in a, label in b) whose IoU within the region is at least one half.
    """
    both = (a > 0) & (b > 0)
    area_a, area_b = np.bincount(a.ravel()), np.bincount(b.ravel())
    width = len(area_b)
    codes, overlap = np.unique(a[both].astype(np.int64) * width + b[both], return_counts=True)
    pairs = np.stack([codes // width, codes % width], axis=1)
    union = area_a[pairs[:, 0]] + area_b[pairs[:, 1]] - overlap
    return pairs[overlap >= IOU_MIN * union]


def _roots(count: int, links: Int[np.ndarray, "l 2"]) -> Int[np.ndarray, " count"]:
    """Returns the smallest member of every number's group (union-find with path halving)."""
    parent = list(range(count))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    pairs: Sequence[list[int]] = links.tolist()
    for i, j in pairs:
        a, b = find(i), find(j)
        parent[max(a, b)] = min(a, b)
    return np.array([find(i) for i in range(count)], np.int64)
