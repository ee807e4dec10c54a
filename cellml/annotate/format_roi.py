"""ImageJ's ROI.zip: one entry an object, for Fiji's ROI manager and AnnotatorJ.

An object of one part without holes is a traced line (whole coordinates, as masks have them) or a
freehand line (subpixel); several parts or holes are a composite ROI; a box is a rectangle. The
class is the ROI's group, its number among the classes, and the property `class`. Coordinates that
are no whole numbers are stored as float32, which is exact to 0.004 px at 60,000 px.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from cellml.annotate.import_records import Found, nest_rings, plural
from cellml.annotate.objects import (
    AnnotatedObject,
    Polygons,
    Ring,
    bounds,
    box_polygons,
    polygons_from_json,
)
from cellml.data.writers import ZIP_DATE, atomic
from cellml.errors import UserError

VERSION = 228
"""Of the format: read by every ImageJ since 2021; 229 changes groups above 255 only."""

GROUP_MAX = 255
BYTES_MAX = 2**30
INTEGER_MAX = 32_767
"""ImageJ stores whole coordinates in 16 bits; larger ones go into float32."""


def write_roi_zip(path: Path, objects: Sequence[AnnotatedObject], classes: Sequence[str]) -> None:
    """Writes objects, named 0001, 0002, ...

    Args:
      path: A `.zip` file.
      objects: In the order of the names.
      classes: Names of classes; the group of an object is its class's place from 1, none above 255.
    """
    digits = max(4, len(str(len(objects))))
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for number, item in enumerate(objects, start=1):
            name = f"{number:0{digits}d}"
            roi = encode_roi(item, name, list(classes).index(item.class_name) + 1)
            entry = zipfile.ZipInfo(f"{name}.roi", ZIP_DATE)
            file.writestr(entry, roi.tobytes(), zipfile.ZIP_DEFLATED)


def encode_roi(item: AnnotatedObject, name: str, group: int) -> ImagejRoi:
    """Returns one object as ImageJ's ROI.

    Args:
      item: The object.
      name: Its name.
      group: Number of its class.

    Returns:
      A rectangle, a traced or freehand line, or a composite.
    """
    parts = item.polygons
    if item.kind == "box":
        roi = _rectangle(*bounds(parts))
    elif len(parts) == 1 and len(parts[0]) == 1:
        roi = _line(np.array(parts[0][0]))
    else:
        roi = _composite(parts)
    roi.version, roi.name = VERSION, name
    roi.group = group if group <= GROUP_MAX else 0
    roi.properties = {"class": " ".join(item.class_name.split())}  # one line a property
    return roi


def read_roi_zip(path: Path, classes: Sequence[str]) -> tuple[list[Found], list[str]]:
    """Reads a ROI.zip, or a single .roi file.

    Args:
      path: The file.
      classes: Known classes, for ROIs that have a group but no property `class`.

    Returns:
      Records, and a note on ROIs that have no area (points, lines, text).

    Raises:
      UserError: A broken archive or entry, or no ROI in it.
    """
    found, skipped = [], 0
    for name, data in _entries(path):
        try:
            roi = ImagejRoi.frombytes(data)
            record = _decode(roi, classes, f"{path}, {name}")
        except UserError:
            raise
        except Exception as error:  # the decoder raises nearly anything on damaged data
            raise UserError(f"{path}, {name}: damaged ROI ({error})") from error
        if record is None:
            skipped += 1
        else:
            found.append(record)
    notes = [f"{plural(skipped, 'ROI')} without an area: left out"] if skipped else []
    return found, notes


def _entries(path: Path) -> list[tuple[str, bytes]]:
    try:
        if path.read_bytes()[:4] == b"Iout":
            return [(path.name, path.read_bytes())]
        with zipfile.ZipFile(path) as file:
            members = [m for m in file.infolist() if m.filename.lower().endswith(".roi")]
            if not members:
                raise UserError(f"{path}: no .roi in this archive, ImageJ's ROI.zip expected")
            if sum(member.file_size for member in members) > BYTES_MAX:
                raise UserError(f"{path}: more than 1 GiB of ROIs, refused")
            return [(member.filename, file.read(member)) for member in members]
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, RuntimeError) as error:
        raise UserError(f"{path}: broken archive ({error})") from error
    except (NotImplementedError, ValueError) as error:  # encrypted, or a damaged stream
        raise UserError(f"{path}: archive cannot be unpacked ({error})") from error
    except Exception as error:
        if type(error).__module__ == "zlib":
            raise UserError(f"{path}: broken archive ({error})") from error
        raise


def _decode(roi: ImagejRoi, classes: Sequence[str], where: str) -> Found | None:
    name = roi.properties.get("class")
    if name is None and 0 < roi.group <= len(classes):
        name = classes[roi.group - 1]
    name = None if name is None else str(name)
    if roi.roitype == ROI_TYPE.RECT and not roi.composite and int(roi.subtype) == 0:
        x0, y0, x1, y1 = roi.left, roi.top, roi.right, roi.bottom
        if roi.subpixelrect:
            x0, y0, x1, y1 = roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
        polygons = box_polygons(float(x0), float(y0), float(x1), float(y1))
        if x0 >= x1 or y0 >= y1:
            return None
        return Found("box", name, _checked(polygons[0][:1], where))
    if roi.roitype == ROI_TYPE.RECT and roi.composite:
        rings = _checked([_open(ring) for ring in roi.coordinates(multi=True)], where)
        return Found("instance", name, nest_rings([polygon[0] for polygon in rings]))
    if roi.roitype in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED, ROI_TYPE.OVAL):
        ring = _open(roi.coordinates())
        return Found("instance", name, _checked([ring], where)) if len(ring) > 2 else None
    return None


def _open(points: np.ndarray | list) -> Ring:
    ring = tuple((float(x), float(y)) for x, y in points)
    return ring[:-1] if len(ring) > 1 and ring[0] == ring[-1] else ring


def _checked(rings: Sequence[Ring], where: str) -> Polygons:
    """Every ring as a polygon of its own."""
    return polygons_from_json([[ring] for ring in rings], where)


def _line(points: np.ndarray) -> ImagejRoi:
    whole = np.round(points)
    if (whole == points).all() and points.min() >= 0 and points.max() <= INTEGER_MAX:
        roi = ImagejRoi.frompoints(whole.astype(np.int32), name="")
        roi.roitype = ROI_TYPE.TRACED
        return roi
    return ImagejRoi.frompoints(points.astype(np.float64), name="")


def _composite(parts: Polygons) -> ImagejRoi:
    path: list[float] = []
    for ring in (ring for part in parts for ring in part):
        for step, (x, y) in enumerate(ring):
            path += [float(step > 0), x, y]  # 0 moves, 1 draws, 4 closes
        path.append(4.0)
    roi = ImagejRoi()
    roi.roitype = ROI_TYPE.RECT
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    _frame(roi, *bounds(parts))
    return roi


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> ImagejRoi:
    roi = ImagejRoi()
    roi.roitype = ROI_TYPE.RECT
    _frame(roi, x0, y0, x1, y1)
    if any(value != round(value) for value in (x0, y0, x1, y1)):
        roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.xd, roi.yd, roi.widthd, roi.heightd = x0, y0, x1 - x0, y1 - y0
    return roi


def _frame(roi: ImagejRoi, x0: float, y0: float, x1: float, y1: float) -> None:
    """Sets the whole-pixel box around a ROI."""
    roi.left, roi.top = int(np.floor(x0)), int(np.floor(y0))
    roi.right, roi.bottom = int(np.ceil(x1)), int(np.ceil(y1))
