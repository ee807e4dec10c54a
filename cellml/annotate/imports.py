"""Imports annotations; the format is recognised by the content, where need be by the name too.

- Starts like a zip or `Iout`: ImageJ's ROIs.
- TIFF or PNG: labels, layers, OME-TIFF labels or a binary mask (see `format_masks`).
- JSON: COCO has `annotations`, GeoJSON has features.
- Text: the header says DSB 2018 (`EncodedPixels`) or boxes (`x`, `y`); lines of numbers are YOLO.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellml.annotate import format_coco, format_geojson, format_masks, format_roi, format_tables
from cellml.annotate.import_records import Found, Imported, place_records
from cellml.annotate.objects import AnnotatedObject
from cellml.data.image_formats import JPEG_MAGIC, PNG_MAGIC, TIFF_MAGIC
from cellml.errors import UserError

DEFAULT_CLASS = "object"
KNOWN = (
    "ImageJ ROI.zip, label or binary images (TIFF, PNG), COCO or GeoJSON, "
    "box or run-length CSV, YOLO"
)


def import_file(
    path: Path,
    shape: tuple[int, int],
    *,
    classes: Sequence[str],
    image_name: str | None = None,
) -> list[AnnotatedObject]:
    """Reads the objects of one image; `read_annotations` also says what was changed.

    Args:
      path: A file of any format that `exports` writes, but for outlined pictures.
      shape: Height and width of the image.
      classes: Known classes, in the order of their numbers.
      image_name: File name of the image, for files that hold many.

    Returns:
      Objects with ids from 1 and the source `imported`.

    Raises:
      UserError: Unknown format, damaged, not for this image, or wrong inside.
    """
    return read_annotations(path, shape, classes=classes, image_name=image_name).objects


def read_annotations(
    path: Path,
    shape: tuple[int, int],
    *,
    classes: Sequence[str],
    image_name: str | None = None,
) -> Imported:
    """Reads the objects of one image.

    Args:
      path: A file, as for `import_file`.
      shape: Height and width of the image; what lies beyond is clipped or left out, and counted.
      classes: Known classes, in the order of their numbers. Objects whose class the file does not
        say get that of the file's folder, if it is named like a class, as AnnotatorJ's are; else
        the first.
      image_name: File name of the image, for files that hold many.

    Returns:
      The format, objects with ids from 1, and notes for the user.

    Raises:
      UserError: As `import_file`.
    """
    form, found, notes = _read(path, shape, classes, image_name)
    default = classes[0] if classes else DEFAULT_CLASS
    if path.parent.name in classes:
        default = path.parent.name
    objects, changes = place_records(found, shape, default)
    return Imported(form, objects, (*notes, *changes))


def _read(
    path: Path, shape: tuple[int, int], classes: Sequence[str], image_name: str | None
) -> tuple[str, list[Found], list[str]]:
    head = _head(path)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"Iout")):
        return "roi_zip", *format_roi.read_roi_zip(path, classes)
    if head.startswith((*TIFF_MAGIC, PNG_MAGIC)):
        form, found = format_masks.read_mask_file(path, shape)
        return form, found, []
    if head.startswith(JPEG_MAGIC):
        raise UserError(f"{path}: a JPEG holds no exact labels; PNG or TIFF expected")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith((b"{", b"[")):
        return _read_json(path, shape, image_name)
    first = start.split(b"\n")[0].decode("utf-8", "replace").strip()
    names = [name.strip() for name in first.replace("\t", ",").split(",")]
    if "EncodedPixels" in names:
        return "dsb_csv", format_tables.read_kaggle(path, shape, image_name), []
    if {"x", "y"} <= set(names):
        return "boxes_csv", format_tables.read_boxes(path), []
    if path.suffix.lower() == ".txt" and (not first or _is_number(first.split()[0])):
        return "yolo", format_tables.read_yolo(path, shape, classes), []
    raise UserError(f"{path}: begins with {head[:20]!r}, no known annotation; known: {KNOWN}")


def _read_json(
    path: Path, shape: tuple[int, int], image_name: str | None
) -> tuple[str, list[Found], list[str]]:
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged JSON ({error})") from error
    if isinstance(record, Mapping) and "annotations" in record:
        return "coco", format_coco.read_coco(path, record, shape, image_name), []
    kind = record.get("type") if isinstance(record, Mapping) else None
    if isinstance(record, list) or kind in ("FeatureCollection", "Feature"):
        return "geojson", *format_geojson.read_geojson(path, record)
    raise UserError(f"{path}: JSON, but neither COCO (annotations) nor GeoJSON (features)")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not head and path.suffix.lower() != ".txt":  # YOLO's file of an image without objects
        raise UserError(f"{path}: the file is empty")
    return head


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
