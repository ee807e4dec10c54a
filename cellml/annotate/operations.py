"""What the page can ask for: operations on the objects of one image, as pure functions.

An operation changes a dictionary of objects in place; `cellml.annotate.document` sees to it that
all operations of a request happen, or none.
"""

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cellml.annotate import geometry
from cellml.annotate.objects import (
    AnnotatedObject,
    Polygons,
    bounds,
    box_polygons,
    polygons_from_json,
)
from cellml.errors import UserError

RADIUS_MAX_PX = 2000.0


@dataclass
class Draft:
    """Objects while a request changes them.

    Attributes:
      objects: By id.
      next_id: Never used so far.
      size: Height and width of the image.
      done: Whether the image is done.
    """

    objects: dict[int, AnnotatedObject]
    next_id: int
    size: tuple[int, int]
    done: bool

    def get(self, number: Any) -> AnnotatedObject:
        """Returns the object with this id; UserError if there is none."""
        found = self.objects.get(number) if isinstance(number, int) else None
        if found is None:
            raise UserError(f"there is no object {number!r} in this image")
        return found

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds a new object from JSON; a second painted area of a class joins the first."""
        self.put(AnnotatedObject.from_json({**record, "id": self.next_id}))

    def put(self, item: AnnotatedObject) -> None:
        """Adds or changes an object, cleaned; `item.id` is known or `next_id`."""
        tidy = geometry.clean_box if item.kind == "box" else geometry.clean
        item = replace(item, polygons=tidy(item.polygons, self.size))
        other = self.semantic(item.class_name) if item.kind == "semantic" else None
        if other is not None and other.id != item.id:
            self.objects.pop(item.id, None)
            joint = geometry.union([other.polygons, item.polygons])
            item = replace(other, polygons=joint)
        self.objects[item.id] = item
        self.next_id = max(self.next_id, item.id + 1)

    def semantic(self, class_name: str) -> AnnotatedObject | None:
        """Returns the painted area of a class, if there is one."""
        for item in self.objects.values():
            if item.kind == "semantic" and item.class_name == class_name:
                return item
        return None


def apply(draft: Draft, operation: Any) -> None:
    """Carries out one operation.

    Args:
      draft: Is changed, also where an error is raised later on.
      operation: As the page sent it.

    Raises:
      UserError: It cannot be done; one sentence for the page.
    """
    name = operation.get("op") if isinstance(operation, Mapping) else None
    if not isinstance(name, str) or name not in OPERATIONS:
        raise UserError(f"operation {name!r} found, one of {', '.join(OPERATIONS)} expected")
    OPERATIONS[name](draft, operation)


def read_points(value: Any, *, least: int) -> list[tuple[float, float]]:
    """Reads points from JSON.

    Args:
      value: A list of [x, y].
      least: That many at least.

    Returns:
      The points.

    Raises:
      UserError: Something else was found.
    """
    good = isinstance(value, list) and len(value) >= least
    if not good or not all(isinstance(p, list) and len(p) == 2 for p in value):
        raise UserError(f"points: a list of at least {least} [x, y] expected")
    return [(read_number(x, "x"), read_number(y, "y")) for x, y in value]


def read_number(value: Any, name: str, *, low: float = -1e7, high: float = 1e7) -> float:
    """Reads a number from JSON.

    Args:
      value: What was sent.
      name: For the message.
      low: Smallest.
      high: Largest.

    Returns:
      The number.

    Raises:
      UserError: It is none, or out of range.
    """
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not low <= value <= high:  # NaN lies nowhere
        found = reprlib.repr(value)
        raise UserError(f"{name}: {found} found, a number from {low:g} to {high:g} expected")
    return float(value)


def brush_polygons(
    polygons: Polygons, request: Mapping[str, Any], size: tuple[int, int]
) -> Polygons:
    """Applies the stroke of a request.

    Args:
      polygons: What there is; may have no part.
      request: With `points`, `radius_px` and `erase`.
      size: Height and width of the image.

    Returns:
      The outline after it; no part if all is erased.

    Raises:
      UserError: The request is not right.
    """
    return geometry.brush(
        polygons,
        read_points(request.get("points"), least=1),
        read_number(request.get("radius_px"), "radius_px", low=0.1, high=RADIUS_MAX_PX),
        erase=bool(request.get("erase")),
        size=size,
    )


def brushed(request: Mapping[str, Any], size: tuple[int, int]) -> Polygons:
    """Applies a stroke to the outline in the request, which is not an object yet.

    Args:
      request: As for `brush_polygons`, with `polygons`, which may be empty.
      size: Height and width of the image.

    Returns:
      The outline after it; no part if all is erased.

    Raises:
      UserError: The request is not right.
    """
    given = request.get("polygons")
    return brush_polygons(() if given in ([], None) else polygons_from_json(given), request, size)


def _ids(draft: Draft, operation: Mapping[str, Any], least: int = 1) -> list[AnnotatedObject]:
    ids = operation.get("ids")
    if not isinstance(ids, list) or len(ids) < least:
        raise UserError(f"ids: a list of at least {least} expected")
    return [draft.get(number) for number in dict.fromkeys(i for i in ids if isinstance(i, int))]


def _class(operation: Mapping[str, Any]) -> str:
    name = operation.get("class")
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"class {name!r} found, a name expected")
    return name.strip()


def _object(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    record = operation.get("object")
    if not isinstance(record, Mapping):
        raise UserError("object: a JSON object expected")
    return record


def _add(draft: Draft, operation: Mapping[str, Any]) -> None:
    draft.add(_object(operation))


def _replace(draft: Draft, operation: Mapping[str, Any]) -> None:
    before = draft.get(operation.get("id"))
    record = {**before.to_json(), **_object(operation), "id": before.id}
    draft.put(AnnotatedObject.from_json(record))


def _remove(draft: Draft, operation: Mapping[str, Any]) -> None:
    for item in _ids(draft, operation):
        del draft.objects[item.id]


def _reclass(draft: Draft, operation: Mapping[str, Any]) -> None:
    name = _class(operation)
    for item in _ids(draft, operation):
        draft.put(replace(item, class_name=name))


def _merge(draft: Draft, operation: Mapping[str, Any]) -> None:
    first, *others = _ids(draft, operation, 2)
    if not others:
        raise UserError("two different objects are needed to merge")
    kinds = {item.kind for item in (first, *others)}
    if len(kinds) > 1:
        raise UserError(
            f"only objects of one kind can be merged, not {' and '.join(sorted(kinds))}"
        )
    joint = geometry.union([item.polygons for item in (first, *others)])
    if first.kind == "box":
        joint = box_polygons(*bounds(joint))
    for item in others:
        del draft.objects[item.id]
    draft.put(replace(first, polygons=joint, source="manual"))


def _split(draft: Draft, operation: Mapping[str, Any]) -> None:
    item = draft.get(operation.get("id"))
    if item.kind != "instance":
        what = "a box" if item.kind == "box" else "the painted area of a class"
        raise UserError(f"{what} cannot be split, only an instance")
    pieces = geometry.split(item.polygons, read_points(operation.get("line"), least=2))
    draft.put(replace(item, polygons=pieces[0], source="manual"))
    for piece in pieces[1:]:
        draft.put(replace(item, id=draft.next_id, polygons=piece, source="manual"))


def _brush(draft: Draft, operation: Mapping[str, Any]) -> None:
    item, number = None, operation.get("id")
    kind = operation.get("kind") or "semantic"
    if number is not None:
        item = draft.get(number)
    elif kind == "semantic":
        item = draft.semantic(_class(operation))
    elif kind != "instance":
        raise UserError(f"kind {kind!r} found, the brush paints instances and semantic areas")
    if item is not None and item.kind == "box":
        raise UserError("a box is changed at its corners, not by the brush")
    polygons = brush_polygons(item.polygons if item else (), operation, draft.size)
    if item is None and polygons:
        draft.put(AnnotatedObject(draft.next_id, kind, _class(operation), polygons))
    elif item is not None and not polygons:
        del draft.objects[item.id]
    elif item is not None and polygons is not item.polygons:
        draft.put(replace(item, polygons=polygons))


def _done(draft: Draft, operation: Mapping[str, Any]) -> None:
    if not isinstance(operation.get("value"), bool):
        raise UserError("value: true or false expected")
    draft.done = operation["value"]


OPERATIONS: dict[str, Callable[[Draft, Mapping[str, Any]], None]] = {
    "add": _add,
    "replace": _replace,
    "remove": _remove,
    "class": _reclass,
    "merge": _merge,
    "split": _split,
    "brush": _brush,
    "done": _done,
}
