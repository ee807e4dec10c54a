"""Outlines to pixels and back, without loss: masks are outlined along the borders of pixels.

Polygons are as in `cellml.annotate.objects`: points (x, y) in pixels, a pixel belongs to a polygon
if its centre lies inside. Windows of an image are given by their offset (row, column).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int32, Integer
from scipy import ndimage

from cellml.annotate.objects import AnnotatedObject, Polygons, Ring, area, bounds

SPARSE = 4_000_000
"""Label images with a larger value are renumbered first: a table by value would not fit."""

# Directions of an edge between two pixels: east, south, west, north. The object lies to the right.
_STEP = ((0, 1), (1, 0), (0, -1), (-1, 0))
# The pixel to the right of an edge that leaves the vertex (0, 0), and the one to its left.
_RIGHT = ((0, 0), (0, -1), (-1, -1), (-1, 0))
_LEFT = ((-1, 0), (0, 0), (0, -1), (-1, -1))


def fill_polygons(
    polygons: Polygons, shape: tuple[int, int], *, offset: tuple[int, int] = (0, 0)
) -> Bool[np.ndarray, "h w"]:
    """Marks the pixels whose centres lie inside.

    A line that crosses itself is filled by the even-odd rule, as ImageJ does. Neighbours that share
    an edge share no pixel and leave none out.

    Args:
      polygons: Parts, each an exterior and its holes; the union of the parts is filled. What lies
        outside the window is left out.
      shape: Height and width of the window.
      offset: Row and column of the window's first pixel in the image.

    Returns:
      The window.
    """
    filled = np.zeros(shape, bool)
    for exterior, *holes in polygons:
        box = _pixel_box(((exterior,),), shape, offset)
        if box is None:
            continue
        rows, columns = box
        size = (rows.stop - rows.start, columns.stop - columns.start)
        corner = (rows.start + offset[0], columns.start + offset[1])
        inside = _fill_ring(exterior, size, corner)
        for hole in holes:
            inside &= ~_fill_ring(hole, size, corner)
        filled[rows, columns] |= inside
    return filled


def trace_mask(mask: Bool[np.ndarray, "h w"], *, offset: tuple[int, int] = (0, 0)) -> Polygons:
    """Outlines a mask along the borders of its pixels; `fill_polygons` gives the mask back.

    Args:
      mask: Any number of parts and holes.
      offset: Row and column of the mask's first pixel in the image.

    Returns:
      One polygon for each part (pixels that share a side), in the order of their topmost pixels;
      exteriors run clockwise, holes anticlockwise. The polygons are valid in the sense of OGC: a
      ring never touches itself. An empty mask gives none.
    """
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return ()
    top, left = int(rows[0]), int(columns[0])
    mask = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    y0, x0 = offset[0] + top, offset[1] + left
    walks = _walk_borders(mask)
    part_of = ndimage.label(mask)[0] if len(walks) > 1 else None
    parts: dict[int, list[Ring]] = {}
    for pixel, corners in walks:
        part = 1 if part_of is None else int(part_of[pixel])
        for ring in _simple_loops(corners):
            placed = tuple((float(x + x0), float(y + y0)) for y, x in ring)
            rings = parts.setdefault(part, [])
            if _clockwise(ring):
                rings.insert(0, placed)
            else:
                rings.append(placed)
    return tuple(tuple(rings) for rings in parts.values())


def labels_to_objects(
    labels: Integer[np.ndarray, "h w"], class_name: str, source: str, first_id: int
) -> list[AnnotatedObject]:
    """Outlines every object of a label image.

    Args:
      labels: Labels, 0 (and below) is background; any gaps.
      class_name: Class of all objects.
      source: Who drew them, see `AnnotatedObject`.
      first_id: Id of the object with the smallest label; the others follow without gaps.

    Returns:
      Instances in the order of their labels; an object in several pieces has several parts.
    """
    if labels.size and labels.max() > SPARSE:
        values, places = np.unique(labels, return_inverse=True)
        numbers = np.cumsum(values > 0, dtype=np.int32) * (values > 0)
        labels = numbers[places].reshape(labels.shape)
    if labels.dtype.kind != "i":
        labels = labels.astype(np.int32)  # scipy knows no unsigned 64-bit numbers
    objects: list[AnnotatedObject] = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        corner = (box[0].start, box[1].start)
        polygons = trace_mask(labels[box] == label, offset=corner)
        number = first_id + len(objects)
        objects.append(AnnotatedObject(number, "instance", class_name, polygons, source))
    return objects


def objects_to_labels(
    objects: Sequence[AnnotatedObject], shape: tuple[int, int]
) -> Int32[np.ndarray, "h w"]:
    """Paints objects into a label image.

    Args:
      objects: Of any kind; none is left out.
      shape: Height and width of the image.

    Returns:
      The object at place i of `objects` has the label i + 1. Of overlapping objects the smaller
      lies on top, so that a nucleus drawn before its cell is not painted over.
    """
    labels = np.zeros(shape, np.int32)
    largest_first = sorted(range(len(objects)), key=lambda i: -area(objects[i].polygons))
    for place in largest_first:
        window = object_window(objects[place], shape)
        if window is not None:
            box, mask = window
            labels[box][mask] = place + 1
    return labels


def object_window(
    item: AnnotatedObject, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], Bool[np.ndarray, "a b"]] | None:
    """Returns the window of the image around an object and its mask there; None outside of it."""
    box = _pixel_box(item.polygons, shape, (0, 0))
    if box is None:
        return None
    size = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    return box, fill_polygons(item.polygons, size, offset=(box[0].start, box[1].start))


def covered(objects: Iterable[AnnotatedObject], shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Marks the pixels that belong to any of the objects."""
    mask = np.zeros(shape, bool)
    for item in objects:
        window = object_window(item, shape)
        if window is not None:
            mask[window[0]] |= window[1]
    return mask


def _pixel_box(
    polygons: Polygons, shape: tuple[int, int], offset: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Rows and columns of the window that hold all pixel centres inside; None where there are none.

    A centre c + 0.5 lies within [low, high) for c from ceil(low - 0.5) to ceil(high - 0.5) - 1.
    """
    x0, y0, x1, y1 = bounds(polygons)
    rows, columns = (
        slice(*np.clip(np.ceil(np.array(pair) - 0.5 - start).astype(np.int64), 0, size).tolist())
        for pair, start, size in (((y0, y1), offset[0], shape[0]), ((x0, x1), offset[1], shape[1]))
    )
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    return rows, columns


def _fill_ring(ring: Ring, shape: tuple[int, int], offset: tuple[int, int]) -> np.ndarray:
    """Fills by scan lines through the pixels' centres: inside after an odd number of crossings."""
    height, width = shape
    start = np.array(ring) - np.array([offset[1], offset[0]]) - 0.5  # centres are whole numbers now
    end = np.roll(start, -1, axis=0)
    # both neighbours of a shared edge compute its crossings from the same end
    down = (start[:, 1] <= end[:, 1])[:, None]
    upper, lower = np.where(down, start, end), np.where(down, end, start)
    first = np.clip(np.ceil(upper[:, 1]), 0, height).astype(np.int64)
    last = np.clip(np.ceil(lower[:, 1]), 0, height).astype(np.int64)
    counts = last - first
    edge = np.repeat(np.arange(len(ring)), counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    run, rise = (lower - upper)[edge].T
    crossing = upper[edge, 0] + (row - upper[edge, 1]) * run / rise
    column = np.clip(np.ceil(crossing), 0, width).astype(np.int64)
    flips = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    flips = (flips & 1).astype(bool).reshape(height, width + 1)
    return np.logical_xor.accumulate(flips, axis=1)[:, :width]


def _walk_borders(
    mask: np.ndarray,
) -> list[tuple[tuple[int, int], list[tuple[int, int]]]]:
    """Follows every border once around, the object to the right.

    Returns:
      For each border a pixel of the object beside it, and its corners (row, column).
    """
    height, width = mask.shape
    padded = np.pad(mask, 2)

    def pixels(shift: tuple[int, int]) -> np.ndarray:
        """The pixel at `shift` from every vertex; vertices are (h + 1) x (w + 1)."""
        row, column = shift[0] + 2, shift[1] + 2
        return padded[row : row + height + 1, column : column + width + 1]

    keys, following, turns = [], [], []
    for direction in range(4):
        step, right, left = _STEP[direction], _RIGHT[direction], _LEFT[direction]
        vertex = np.flatnonzero(pixels(right) & ~pixels(left))
        ahead_right = pixels((right[0] + step[0], right[1] + step[1])).ravel()[vertex]
        ahead_left = pixels((left[0] + step[0], left[1] + step[1])).ravel()[vertex]
        # where two pixels touch at a corner only, the walk stays with its own
        turn = np.where(~ahead_right, 1, np.where(ahead_left, -1, 0))
        target = vertex + step[0] * (width + 1) + step[1]
        keys.append(vertex * 4 + direction)
        following.append(target * 4 + (direction + turn) % 4)
        turns.append(turn)
    key, follow = np.concatenate(keys), np.concatenate(following)
    order = np.argsort(key)
    key = key[order]
    after = np.searchsorted(key, follow[order]).tolist()
    turned = (np.concatenate(turns)[order] != 0).tolist()
    row, column = np.divmod(key // 4, width + 1)
    rows, columns = row.tolist(), column.tolist()

    walks, seen = [], bytearray(len(after))
    for start in range(len(after)):
        if seen[start]:
            continue
        # edges are sorted by row and column, so a border is met first at one of its corners
        corners, edge, corner = [], start, True
        while not seen[edge]:
            seen[edge] = 1
            if corner:
                corners.append((rows[edge], columns[edge]))
            corner = turned[edge]
            edge = after[edge]
        side = _RIGHT[int(key[start]) % 4]
        walks.append(((rows[start] + side[0], columns[start] + side[1]), corners))
    return walks


def _simple_loops(corners: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Cuts a walk that passes a vertex twice into loops that do not."""
    if len(set(corners)) == len(corners):
        return [corners]
    loops: list[list[tuple[int, int]]] = []
    path: list[tuple[int, int]] = []
    place: dict[tuple[int, int], int] = {}
    for corner in corners:
        if corner in place:
            loop = path[place[corner] :]
            del path[place[corner] :]
            for left in loop:
                del place[left]
            loops.append(loop)
        place[corner] = len(path)
        path.append(corner)
    return [path, *loops]


def _clockwise(ring: Sequence[tuple[int, int]]) -> bool:
    """Whether corners (row, column) run clockwise on the screen."""
    doubled = 0
    for (y0, x0), (y1, x1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        doubled += x0 * y1 - x1 * y0
    return doubled > 0
