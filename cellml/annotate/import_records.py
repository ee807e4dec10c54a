"""What readers of annotation files find, and how it becomes objects of an image."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import shapely
from shapely.geometry.base import BaseGeometry

from cellml.annotate.objects import AnnotatedObject, Polygons, Ring, bounds, box_polygons
from cellml.annotate.outlines import covered, trace_mask

ROUNDING_PX, ROUNDING = 0.01, 2e-6
"""How far a file's rounding may push a point over the image's border: in px, and of its side."""


class Found(NamedTuple):
    """One record of a file: its kind, its class (None: the file does not say) and its outline."""

    kind: str
    class_name: str | None
    polygons: Polygons


class Imported(NamedTuple):
    """What a file holds: the name of its format, objects, and sentences about what was changed."""

    format: str
    objects: list[AnnotatedObject]
    notes: tuple[str, ...]


def plural(count: int, noun: str) -> str:
    """Returns the count with its noun: `1 object`, `2 objects`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def place_records(
    found: Iterable[Found], shape: tuple[int, int], default_class: str
) -> tuple[list[AnnotatedObject], list[str]]:
    """Turns records into objects within the image.

    Args:
      found: Records in the order of the file.
      shape: Height and width of the image; outlines are clipped to it.
      default_class: Class of records without one.

    Returns:
      Objects with ids from 1, and notes on what was clipped or left out. The painted areas of one
      class become one.
    """
    placed: list[AnnotatedObject] = []
    clipped = outside = 0
    for kind, name, polygons in found:
        inside, lost = clip(kind, polygons, shape)
        if not inside:
            outside += 1
            continue
        clipped += lost
        label = (name or "").strip() or default_class
        placed.append(AnnotatedObject(len(placed) + 1, kind, label, inside, "imported"))
    notes = []
    if clipped:
        notes.append(f"{plural(clipped, 'object')} reached beyond the image: clipped")
    if outside:
        notes.append(f"{plural(outside, 'object')} outside the image: left out")
    return _one_area_a_class(placed, shape), notes


def clip(kind: str, polygons: Polygons, shape: tuple[int, int]) -> tuple[Polygons, bool]:
    """Cuts an outline at the image's border.

    Args:
      kind: Of the object; a box stays a box.
      polygons: The outline.
      shape: Height and width of the image.

    Returns:
      What lies inside, empty if nothing does; and whether anything was lost, but for the rounding
      of files that hold fractions or float32.
    """
    height, width = float(shape[0]), float(shape[1])
    if not polygons:
        return (), False
    x0, y0, x1, y1 = bounds(polygons)
    beyond = max(-x0, -y0, x1 - width, y1 - height)
    if beyond <= 0:
        return polygons, False
    if beyond <= max(ROUNDING_PX, ROUNDING * max(shape)):
        return tuple(
            tuple(
                tuple((min(max(x, 0.0), width), min(max(y, 0.0), height)) for x, y in ring)
                for ring in polygon
            )
            for polygon in polygons
        ), False
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)
    if x0 >= x1 or y0 >= y1:
        return (), True
    if kind == "box":
        return box_polygons(x0, y0, x1, y1), True
    frame = shapely.box(0, 0, width, height)
    parts = [shapely.make_valid(shapely.Polygon(part[0], part[1:])) for part in polygons]
    return from_shapely(shapely.union_all(parts).intersection(frame)), True


def from_shapely(geometry: BaseGeometry) -> Polygons:
    """Returns the polygons of a geometry; points and lines have none."""
    if isinstance(geometry, shapely.Polygon):
        rings = () if geometry.is_empty else (geometry.exterior, *geometry.interiors)
        return (tuple(_ring(ring.coords) for ring in rings),) if rings else ()
    parts = getattr(geometry, "geoms", ())
    return tuple(polygon for part in parts for polygon in from_shapely(part))


def nest_rings(rings: Sequence[Ring]) -> Polygons:
    """Sorts rings that do not cross into exteriors and their holes, by the even-odd rule.

    Args:
      rings: Closed lines in any order.

    Returns:
      Polygons: a ring inside an odd number of others is a hole of the smallest around it.
    """
    shapes = [shapely.make_valid(shapely.Polygon(ring)) for ring in rings]
    order = sorted(range(len(rings)), key=lambda i: -shapes[i].area)
    depth: dict[int, int] = {}
    holes: dict[int, list[Ring]] = {}
    for place, i in enumerate(order):
        point = shapes[i].representative_point()
        around = [j for j in order[:place] if shapely.contains_properly(shapes[j], point)]
        depth[i] = len(around)
        if depth[i] % 2:
            holes[max(around, key=lambda j: depth[j])].append(rings[i])
        else:
            holes[i] = []
    return tuple((rings[i], *holes[i]) for i in sorted(holes))


def _ring(points: Iterable[Sequence[float]]) -> Ring:
    return tuple((float(point[0]), float(point[1])) for point in points)[:-1]


def _one_area_a_class(
    objects: list[AnnotatedObject], shape: tuple[int, int]
) -> list[AnnotatedObject]:
    areas: dict[str, list[AnnotatedObject]] = {}
    for item in objects:
        if item.kind == "semantic":
            areas.setdefault(item.class_name, []).append(item)
    merged = {
        name: trace_mask(covered(items, shape)) for name, items in areas.items() if len(items) > 1
    }
    kept: list[AnnotatedObject] = []
    for item in objects:
        polygons = item.polygons
        if item.kind == "semantic" and item.class_name in merged:
            if item is not areas[item.class_name][0]:
                continue
            polygons = merged[item.class_name]
        kept.append(
            AnnotatedObject(len(kept) + 1, item.kind, item.class_name, polygons, item.source)
        )
    return kept
