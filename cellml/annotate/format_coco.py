"""COCO: one `annotations.json` for all images.

- An object without holes is its polygons, to the last digit. One with holes, which COCO's polygons
  do not know, is compressed run lengths: exact to the pixel, and `iscrowd` is 0, for it is one
  object, and evaluations leave out what is a crowd.
- A painted area is run lengths with `iscrowd` 1; a box has an empty segmentation.
- `bbox` is x, y, width, height; `area` is that of the polygons, or counts the pixels of a mask.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellml.annotate.format_rle import (
    compress_counts,
    decode_counts,
    decompress_counts,
    encode_counts,
    mask_runs,
    outline_runs,
)
from cellml.annotate.format_tables import AddImage, choose_image
from cellml.annotate.import_records import Found
from cellml.annotate.objects import (
    AnnotatedObject,
    Polygons,
    area,
    bounds,
    polygons_from_json,
)
from cellml.annotate.outlines import object_window
from cellml.data.writers import atomic
from cellml.errors import UserError


@contextlib.contextmanager
def coco_writer(path: Path, classes: list[str]) -> Iterator[AddImage]:
    """Opens a file for many images; annotations go to the disk as they come.

    Args:
      path: A JSON file; it is there, whole, when the block ends well.
      classes: Names of classes; the category is the place from 1. May grow until the block ends.

    Yields:
      A function that adds one image.
    """
    images: list[dict[str, Any]] = []
    count = 0
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "cellml"}, "annotations": [')

        def add(name: str, objects: Sequence[AnnotatedObject], shape: tuple[int, int]) -> None:
            nonlocal count
            image = len(images) + 1
            images.append({"id": image, "file_name": name, "height": shape[0], "width": shape[1]})
            for item in objects:
                number = classes.index(item.class_name) + 1
                record = {"id": count + 1, "image_id": image, "category_id": number}
                file.write((",\n" if count else "\n") + json.dumps(record | _encode(item, shape)))
                count += 1

        yield add
        categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
        file.write(
            f'],\n"images": {json.dumps(images)},\n"categories": {json.dumps(categories)}}}\n'
        )


def read_coco(
    path: Path, record: Mapping[str, Any], shape: tuple[int, int], image_name: str | None
) -> list[Found]:
    """Reads the objects of one image.

    Args:
      path: The file, for messages.
      record: Its content.
      shape: Height and width of the image.
      image_name: Its `file_name`, with or without ending; may be None if there is only one image.

    Returns:
      Records in the order of the file.

    Raises:
      UserError: The image is not in the file or has another size, or an annotation is wrong.
    """
    images = _records(record, "images", path)
    categories = {c.get("id"): c.get("name") for c in _records(record, "categories", path)}
    names = [str(image.get("file_name")) for image in images]
    wanted = choose_image(path, names, image_name)
    if wanted is None:
        return []
    image = images[names.index(wanted)]
    size = (image.get("height"), image.get("width"))
    if size != tuple(shape):
        raise UserError(
            f"{path}: image {wanted!r} is {size[0]} x {size[1]} px there, "
            f"{shape[0]} x {shape[1]} px expected"
        )
    found = []
    for annotation in _records(record, "annotations", path):
        if annotation.get("image_id") != image.get("id"):
            continue
        where = f"{path}, annotation {annotation.get('id')}"
        name = categories.get(annotation.get("category_id"))
        if not isinstance(name, str):
            raise UserError(
                f"{where}: category {annotation.get('category_id')!r} is not among the categories"
            )
        kind, polygons = _decode(annotation, shape, where)
        found.append(Found(kind, name, polygons))
    return found


def _encode(item: AnnotatedObject, shape: tuple[int, int]) -> dict[str, Any]:
    x0, y0, x1, y1 = bounds(item.polygons)
    record: dict[str, Any] = {
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": area(item.polygons),
        "iscrowd": int(item.kind == "semantic"),
        "segmentation": [],
    }
    if item.kind == "box":
        return record
    if item.kind == "instance" and all(len(polygon) == 1 for polygon in item.polygons):
        record["segmentation"] = [
            [value for point in polygon[0] for value in point] for polygon in item.polygons
        ]
        return record
    window = object_window(item, shape)
    counts, pixels = [shape[0] * shape[1]], 0
    if window is not None:
        box, mask = window
        counts = encode_counts(mask_runs(mask, (box[0].start, box[1].start), shape), shape)
        pixels = int(mask.sum())
    record["segmentation"] = {"size": list(shape), "counts": compress_counts(counts)}
    return record | {"area": float(pixels)}


def _decode(
    annotation: Mapping[str, Any], shape: tuple[int, int], where: str
) -> tuple[str, Polygons]:
    segmentation = annotation.get("segmentation") or []
    if isinstance(segmentation, Mapping):
        if segmentation.get("size") != list(shape):
            raise UserError(
                f"{where}: mask of size {segmentation.get('size')}, {list(shape)} expected"
            )
        counts = segmentation.get("counts")
        if isinstance(counts, str):
            counts = decompress_counts(counts, where)
        whole = isinstance(counts, list) and all(type(count) is int for count in counts)
        if not isinstance(counts, list) or not whole:
            raise UserError(f"{where}: counts are neither text nor a list of whole numbers")
        kind = "semantic" if annotation.get("iscrowd") else "instance"
        return kind, outline_runs(decode_counts(counts, shape, where), shape)
    if not isinstance(segmentation, list):
        raise UserError(f"{where}: segmentation is neither polygons nor run lengths")
    if segmentation:
        rings = [[_points(ring, where)] for ring in segmentation]
        return "instance", polygons_from_json(rings, where)
    sides = annotation.get("bbox")
    if not isinstance(sides, list) or len(sides) != 4:
        raise UserError(f"{where}: neither a segmentation nor a bbox of four numbers")
    (x, y), (width, height) = _points(sides, where)
    good = all(isinstance(value, int | float) for value in sides)
    if not good or not width > 0 or not height > 0:
        raise UserError(f"{where}: bbox {sides}, four numbers with sides above 0 expected")
    box = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return "box", polygons_from_json([[box]], where)


def _points(values: Any, where: str) -> list[tuple[Any, Any]]:
    if not isinstance(values, list) or len(values) % 2:
        raise UserError(f"{where}: a polygon is a list of x, y, x, y, ...")
    return list(zip(values[0::2], values[1::2], strict=True))


def _records(record: Mapping[str, Any], key: str, path: Path) -> list[Mapping[str, Any]]:
    values = record.get(key)
    if not isinstance(values, list) or not all(isinstance(v, Mapping) for v in values):
        raise UserError(f"{path}: {key!r} is no list of records, as COCO has it")
    return values
