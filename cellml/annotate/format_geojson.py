"""GeoJSON as QuPath reads and writes it: a FeatureCollection of annotations with classifications.

Holes and parts are kept, coordinates to the last digit. Ids are UUIDs that follow from the image's
name and the object's id, so that an export repeats to the byte. `metadata` keeps the kind.

Source: QuPath 0.5, `qupath.lib.io.QuPathTypeAdapters`.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellml.annotate.import_records import Found, plural
from cellml.annotate.objects import KINDS, AnnotatedObject, Polygons, check_box, polygons_from_json
from cellml.data.writers import atomic
from cellml.errors import UserError


def write_geojson(
    path: Path, objects: Sequence[AnnotatedObject], name: str, colours: Mapping[str, str]
) -> None:
    """Writes objects for QuPath.

    Args:
      path: A `.geojson` file.
      objects: Of any kind.
      name: Of the image.
      colours: Class to `#rrggbb`.
    """
    features = [_feature(item, name, colours[item.class_name]) for item in objects]
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        lines = ",\n".join(json.dumps(feature) for feature in features)
        file.write('{"type": "FeatureCollection", "features": [\n' + lines + "\n]}\n")


def read_geojson(path: Path, record: Any) -> tuple[list[Found], list[str]]:
    """Reads polygons with their classifications.

    Args:
      path: The file, for messages.
      record: Its content: a FeatureCollection, a list of features, or one.

    Returns:
      Records, and a note on features that have no area (points, lines).

    Raises:
      UserError: A feature is wrong; the message gives its number.
    """
    features = record
    if isinstance(record, Mapping):
        features = record.get("features") if record.get("type") == "FeatureCollection" else [record]
    if not isinstance(features, list):
        raise UserError(f"{path}: no list of features in this GeoJSON")
    found, skipped = [], 0
    for number, feature in enumerate(features, start=1):
        where = f"{path}, feature {number}"
        if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
            raise UserError(f"{where}: no GeoJSON feature")
        parts = _parts(feature.get("geometry"), where)
        if not parts:
            skipped += 1
            continue
        properties = feature.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        polygons = polygons_from_json(parts, where)
        found.append(Found(_kind(properties, polygons, where), _class(properties), polygons))
    notes = [f"{plural(skipped, 'feature')} without an area: left out"] if skipped else []
    return found, notes


def _feature(item: AnnotatedObject, name: str, colour: str) -> dict[str, Any]:
    rings = [[[*map(list, ring), list(ring[0])] for ring in part] for part in item.polygons]
    geometry = {"type": "Polygon", "coordinates": rings[0]}
    if len(rings) > 1:
        geometry = {"type": "MultiPolygon", "coordinates": rings}
    rgb = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"cellml:{name}:{item.id}")),
        "geometry": geometry,
        "properties": {
            "objectType": "annotation",
            "classification": {"name": item.class_name, "color": rgb},
            "metadata": {"kind": item.kind},
        },
    }


def _parts(geometry: Any, where: str) -> list[Any]:
    """Polygons of a geometry as nested lists; points and lines have none."""
    if not isinstance(geometry, Mapping):
        raise UserError(f"{where}: no geometry")
    kind, inner = geometry.get("type"), geometry.get("coordinates")
    if kind == "GeometryCollection":
        parts = geometry.get("geometries")
        if not isinstance(parts, list):
            raise UserError(f"{where}: a GeometryCollection without geometries")
        return [polygon for part in parts for polygon in _parts(part, where)]
    if kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        return []
    if kind not in ("Polygon", "MultiPolygon") or not isinstance(inner, list):
        raise UserError(f"{where}: geometry {kind!r}, Polygon or MultiPolygon expected")
    return [inner] if kind == "Polygon" else inner


def _class(properties: Mapping[str, Any]) -> str | None:
    classification = properties.get("classification")
    if not isinstance(classification, Mapping):
        return None
    name, names = classification.get("name"), classification.get("names")
    if isinstance(names, list) and names:  # derived classes of QuPath 0.5
        name = ": ".join(str(part) for part in names)
    return name if isinstance(name, str) else None


def _kind(properties: Mapping[str, Any], polygons: Polygons, where: str) -> str:
    metadata = properties.get("metadata")
    kind = metadata.get("kind") if isinstance(metadata, Mapping) else None
    if kind == "box":
        try:
            check_box(polygons, where)
        except UserError:  # reshaped in QuPath: an outline now
            return "instance"
    return kind if kind in KINDS else "instance"
