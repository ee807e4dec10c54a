"""An annotated object: its class and its outline, and how both are written as JSON.

Coordinates: x to the right, y down, in pixels of the image at full resolution. The pixel at row r
and column c covers [c, c + 1] x [r, r + 1], its centre is at + 0.5. A pixel belongs to a polygon if
its centre lies inside.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellml.errors import UserError

KINDS = ("instance", "semantic", "box")
"""Of objects. A class has at most one semantic object in an image: its painted area."""

SOURCES = ("manual", "unet", "classic", "snake", "proposed", "imported")
"""Who drew an object."""

LIMIT_PX = 1e7
"""A coordinate further out than this is a mistake, not a place in an image."""

Ring = tuple[tuple[float, float], ...]
"""Points (x, y) of a closed line; the last is not the first again."""

Polygon = tuple[Ring, ...]
"""The exterior, then holes."""

Polygons = tuple[Polygon, ...]
"""The parts of one object."""


@dataclass(frozen=True)
class AnnotatedObject:
    """One object of an image.

    Attributes:
      id: Above 0, never used again within an image.
      kind: One of `KINDS`; a box is one rectangle of four points, clockwise from the top left.
      class_name: Its class, not empty.
      polygons: Its parts, at least one.
      source: One of `SOURCES`.
    """

    id: int
    kind: str
    class_name: str
    polygons: Polygons
    source: str = "manual"

    def to_json(self) -> dict[str, Any]:
        """The object as JSON has it; `from_json` is the inverse."""
        return {
            "id": self.id,
            "kind": self.kind,
            "class": self.class_name,
            "polygons": polygons_to_json(self.polygons),
            "source": self.source,
        }

    @classmethod
    def from_json(cls, record: Any) -> "AnnotatedObject":
        """Reads and checks what `to_json` gives.

        Args:
          record: A JSON object.

        Returns:
          The object.

        Raises:
          UserError: A field is missing or wrong; the message names it.
        """
        if not isinstance(record, Mapping):
            raise UserError(f"object: {type(record).__name__} found, a JSON object expected")
        number = record.get("id")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise UserError(f"object: id {number!r} found, a whole number above 0 expected")
        where = f"object {number}"
        kind, source = record.get("kind"), record.get("source", "manual")
        if kind not in KINDS:
            raise UserError(f"{where}: kind {kind!r} found, one of {', '.join(KINDS)} expected")
        if source not in SOURCES:
            raise UserError(
                f"{where}: source {source!r} found, one of {', '.join(SOURCES)} expected"
            )
        name = record.get("class")
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{where}: class {name!r} found, a name expected")
        polygons = polygons_from_json(record.get("polygons"), where)
        if kind == "box":
            check_box(polygons, where)
        return cls(number, kind, name.strip(), polygons, source)


def polygons_to_json(polygons: Polygons) -> list[list[list[list[float]]]]:
    """Nested lists: part, ring, point, coordinate."""
    return [[[[x, y] for x, y in ring] for ring in polygon] for polygon in polygons]


def polygons_from_json(record: Any, where: str = "polygons") -> Polygons:
    """Reads and checks what `polygons_to_json` gives.

    Args:
      record: Nested lists: part, ring, point, coordinate.
      where: What the message begins with.

    Returns:
      At least one polygon; a last point that repeats the first is dropped.

    Raises:
      UserError: No polygon, no ring, fewer than three points, or a point that is none.
    """
    if not _is_list(record) or not record:
        raise UserError(f"{where}: no polygons, a list with at least one expected")
    return tuple(_polygon(polygon, where) for polygon in record)


def bounds(polygons: Polygons) -> tuple[float, float, float, float]:
    """Returns the box (x0, y0, x1, y1) around all parts."""
    xs = [x for polygon in polygons for x, _ in polygon[0]]
    ys = [y for polygon in polygons for _, y in polygon[0]]
    return min(xs), min(ys), max(xs), max(ys)


def area(polygons: Polygons) -> float:
    """Returns the area in square pixels, holes taken out, of parts that do not overlap."""
    total = 0.0
    for exterior, *holes in polygons:
        total += _ring_area(exterior) - sum(_ring_area(hole) for hole in holes)
    return total


def box_polygons(x0: float, y0: float, x1: float, y1: float) -> Polygons:
    """Makes a rectangle, clockwise from the top left.

    Args:
      x0: Left side.
      y0: Top.
      x1: Right side.
      y1: Bottom.

    Returns:
      One part without holes.
    """
    return ((((x0, y0), (x1, y0), (x1, y1), (x0, y1)),),)


def check_box(polygons: Polygons, where: str) -> None:
    """Raises UserError unless this is one upright rectangle, clockwise from the top left."""
    if box_polygons(*bounds(polygons)) != polygons:
        raise UserError(
            f"{where}: a box is one upright rectangle of four points, clockwise from the top left"
        )


def next_id(objects: Iterable[AnnotatedObject]) -> int:
    """Returns an id above all of these."""
    return 1 + max((item.id for item in objects), default=0)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _polygon(record: Any, where: str) -> Polygon:
    if not _is_list(record) or not record:
        raise UserError(f"{where}: a polygon without a ring, the exterior and then holes expected")
    return tuple(_ring(ring, where) for ring in record)


def _ring(record: Any, where: str) -> Ring:
    if not _is_list(record):
        raise UserError(f"{where}: {type(record).__name__} found, a list of points expected")
    ring = tuple(_point(point, where) for point in record)
    if len(ring) > 1 and ring[0] == ring[-1]:
        ring = ring[:-1]
    if len(ring) < 3:
        raise UserError(f"{where}: a ring of {len(ring)} points, at least 3 expected")
    return ring


def _point(record: Any, where: str) -> tuple[float, float]:
    if type(record) is list and len(record) == 2:  # nearly always: journals hold millions of them
        x, y = record
        if type(x) is type(y) is float and abs(x) <= LIMIT_PX and abs(y) <= LIMIT_PX:
            return x, y
    if not _is_list(record) or len(record) != 2:
        raise UserError(f"{where}: point {record!r}, [x, y] expected")
    for value in record:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or abs(value) > LIMIT_PX:
            raise UserError(f"{where}: coordinate {value!r}, a finite number of pixels expected")
    return float(record[0]), float(record[1])


def _ring_area(ring: Ring) -> float:
    doubled = 0.0
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
        doubled += x0 * y1 - x1 * y0
    return abs(doubled) / 2
