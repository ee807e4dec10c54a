"""Outlines as areas: cleaning, brush, union, splitting and overlap, by shapely."""

from collections.abc import Sequence

import numpy as np
import shapely
from jaxtyping import Bool
from shapely import ops
from shapely.geometry.base import BaseGeometry

from cellml.annotate.objects import Polygons, bounds, box_polygons
from cellml.errors import UserError

SIMPLIFY_PX = 0.25
"""A brushed outline may move this far, so that its points do not grow without bound."""

AREA_MIN_PX = 0.25
"""Smaller parts (square pixels) are remains of arithmetic, not something that anybody drew."""

DECIMALS = 3
"""Of stored coordinates: far below a pixel, and short lines in the journal."""

Points = Sequence[tuple[float, float]]


def clean(polygons: Polygons, size: tuple[int, int]) -> Polygons:
    """Makes an outline one that encloses an area within the image.

    Args:
      polygons: As they were drawn: may cross themselves or reach over the border.
      size: Height and width of the image.

    Returns:
      The same outline, rounded, if it was good; else its area within the image.

    Raises:
      UserError: It encloses nothing there.
    """
    shape = _as_drawn(polygons)
    if shape.is_valid and _inside(polygons, size):
        if shape.area < AREA_MIN_PX:
            raise UserError("the outline encloses no area")
        return _rounded(polygons)
    shape = shape if shape.is_valid else shapely.make_valid(shape)
    found = from_shape(shapely.intersection(shape, _frame(size)))
    if not found:
        outside = shapely.area(shape) >= AREA_MIN_PX
        raise UserError(
            f"the outline lies outside the image ({size[0]} x {size[1]} px)"
            if outside
            else "the outline encloses no area"
        )
    return found


def clean_box(polygons: Polygons, size: tuple[int, int]) -> Polygons:
    """Cuts a box at the border of the image; arguments, result and errors as in `clean`."""
    x0, y0, x1, y1 = bounds(polygons)
    x0, x1 = max(x0, 0.0), min(x1, float(size[1]))
    y0, y1 = max(y0, 0.0), min(y1, float(size[0]))
    if x1 <= x0 or y1 <= y0:
        raise UserError("the box is empty or lies outside the image")
    return _rounded(box_polygons(x0, y0, x1, y1))


def brush(
    polygons: Polygons, points: Points, radius_px: float, *, erase: bool, size: tuple[int, int]
) -> Polygons:
    """Paints a stroke of a round brush, or erases one.

    Args:
      polygons: What there is; may have no part.
      points: Centres (x, y) of the brush on its way, at least one.
      radius_px: Above 0.
      erase: Takes the stroke away instead.
      size: Height and width of the image; nothing is painted beyond.

    Returns:
      The outline, simplified by `SIMPLIFY_PX`; no part if all is erased. Where the stroke changes
      nothing the same outline.
    """
    line = shapely.LineString(points) if len(points) > 1 else shapely.Point(points[0])
    stroke = shapely.buffer(line, radius_px, quad_segs=8)
    before = to_shape(polygons)
    if erase:
        after = shapely.difference(before, stroke)
    else:
        after = shapely.union(before, shapely.intersection(stroke, _frame(size)))
    if shapely.area(shapely.symmetric_difference(before, after)) < 1e-9:
        return polygons
    return from_shape(shapely.simplify(after, SIMPLIFY_PX, preserve_topology=True))


def union(outlines: Sequence[Polygons]) -> Polygons:
    """Returns the union of outlines; parts that do not touch stay parts."""
    return from_shape(shapely.union_all([to_shape(polygons) for polygons in outlines]))


def split(polygons: Polygons, line: Points) -> list[Polygons]:
    """Cuts an outline along a line.

    Args:
      polygons: The outline.
      line: Points (x, y), at least two, from outside to outside.

    Returns:
      Two or more outlines, the largest first; together they cover what there was. Parts that the
      line does not reach stay with the largest. A line between parts that reaches none sets them
      apart.

    Raises:
      UserError: The line cuts nothing.
    """
    knife = shapely.LineString(line)
    parts = list(shapely.get_parts(to_shape(polygons)))
    pieces: list[BaseGeometry] = []
    whole: list[BaseGeometry] = []
    for part in parts:
        cut = [p for p in ops.split(part, knife).geoms if p.area >= AREA_MIN_PX]
        (pieces if len(cut) > 1 else whole).extend(cut if len(cut) > 1 else [part])
    if not pieces and len(parts) > 1 and _between(whole, knife):
        pieces, whole = whole, []
    if not pieces:
        raise UserError("the line does not cut the object in two: draw it right across")
    pieces.sort(key=lambda piece: -piece.area)
    pieces[0] = shapely.union_all([pieces[0], *whole])
    return [from_shape(piece) for piece in pieces]


def overlapping(
    new: Sequence[Polygons], existing: Sequence[Polygons], *, iou_max: float
) -> Bool[np.ndarray, " n"]:
    """Tells which outlines cover an existing one.

    Args:
      new: n outlines.
      existing: Outlines to stay clear of.
      iou_max: An intersection over union above this is an overlap.

    Returns:
      True for those that overlap any existing one.
    """
    found = np.zeros(len(new), bool)
    if not new or not existing:
        return found
    mine = np.array([to_shape(polygons) for polygons in new])
    others = np.array([to_shape(polygons) for polygons in existing])
    i, j = shapely.STRtree(others).query(mine, predicate="intersects")
    shared = shapely.area(shapely.intersection(mine[i], others[j]))
    joint = shapely.area(mine[i]) + shapely.area(others[j]) - shared
    found[i[shared > iou_max * joint]] = True
    return found


def to_shape(polygons: Polygons) -> BaseGeometry:
    """Returns a valid shapely geometry of these parts; parts that overlap are joined."""
    shape = _as_drawn(polygons)
    return shape if shape.is_valid else shapely.make_valid(shape)


def from_shape(shape: BaseGeometry) -> Polygons:
    """Returns the areas of a geometry as parts, without lines, points and crumbs."""
    parts = []
    for part in shapely.get_parts(shape):
        if part.geom_type == "GeometryCollection" or part.geom_type == "MultiPolygon":
            parts.extend(from_shape(part))
        elif part.geom_type == "Polygon" and part.area >= AREA_MIN_PX:
            rings = (part.exterior, *(hole for hole in part.interiors if _ring_area(hole) > 1e-3))
            parts.append(tuple(_ring(ring) for ring in rings))
    return tuple(parts)


def _between(parts: list[BaseGeometry], line: BaseGeometry) -> bool:
    hull = shapely.convex_hull(shapely.union_all(parts))
    return bool(shapely.intersects(hull, line))


def _as_drawn(polygons: Polygons) -> BaseGeometry:
    parts = [shapely.Polygon(polygon[0], polygon[1:]) for polygon in polygons]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _inside(polygons: Polygons, size: tuple[int, int]) -> bool:
    x0, y0, x1, y1 = bounds(polygons)
    return x0 >= 0 and y0 >= 0 and x1 <= size[1] and y1 <= size[0]


def _frame(size: tuple[int, int]) -> BaseGeometry:
    return shapely.box(0, 0, size[1], size[0])


def _ring_area(ring: shapely.LinearRing) -> float:
    return float(shapely.area(shapely.Polygon(ring)))


def _ring(ring: shapely.LinearRing) -> tuple[tuple[float, float], ...]:
    points = np.round(shapely.get_coordinates(ring)[:-1], DECIMALS).tolist()
    return tuple((x, y) for x, y in points)


def _rounded(polygons: Polygons) -> Polygons:
    return tuple(
        tuple(tuple((round(x, DECIMALS), round(y, DECIMALS)) for x, y in ring) for ring in polygon)
        for polygon in polygons
    )
