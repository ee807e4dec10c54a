"""Writes results atomically: a file is either whole or not there.

Everything goes to a temporary file in the same folder first and is then renamed. Files hold no
dates, so that equal results are equal bytes.
"""

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from cellml.errors import UserError

TEMPORARY_PREFIX = ".cellml-tmp-"
ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to, which becomes `path` when the block ends well.

    Args:
      path: Where the result goes; the folder is made if needed.

    Yields:
      A path in the same folder with the same ending.

    Raises:
      UserError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
        raise


def remove_temporary(folder: Path) -> None:
    """Removes what a killed run left behind; no other run may be writing into `folder`."""
    for path in folder.rglob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON with sorted keys."""
    with atomic(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True) + "\n"
        temporary.write_text(text, encoding="utf-8")


def write_labels(
    path: Path, labels: Int[np.ndarray, "h w"], *, pixel_size_um: float | None = None
) -> None:
    """Writes a label image as a deflated TIFF.

    Args:
      path: File to write.
      labels: Labels from 0; stored as uint16, as uint32 where one exceeds 65,535.
      pixel_size_um: Stored as the resolution, if known.
    """
    dtype = np.uint16 if int(labels.max(initial=0)) <= np.iinfo(np.uint16).max else np.uint32
    _write_tiff(path, labels.astype(dtype), "labels", pixel_size_um)


def write_uncertainty(
    path: Path,
    uncertainty: Float[np.ndarray, "h w"],
    *,
    kind: str,
    pixel_size_um: float | None = None,
) -> None:
    """Writes an uncertainty map as a deflated float32 TIFF, atomically.

    Args:
      path: File to write.
      uncertainty: The map.
      kind: What it is; becomes the description of the image.
      pixel_size_um: Becomes the resolution, if known.
    """
    _write_tiff(path, uncertainty.astype(np.float32), kind, pixel_size_um)


def write_png(path: Path, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes an RGB picture."""
    from PIL import Image  # tables are written without

    with atomic(path) as temporary:
        Image.fromarray(picture).save(temporary, compress_level=4)


def write_rois(path: Path, labels: Int[np.ndarray, "h w"]) -> None:
    """Writes the outlines for ImageJ's ROI manager, one polygon a nucleus, named by its label.

    Args:
      path: A `.zip` file.
      labels: Labels, 0 is background. Of an object in several pieces the largest is outlined,
        and holes are filled: ImageJ's polygons know neither.
    """
    from roifile import ImagejRoi  # optional format: loaded where it is asked for
    from scipy import ndimage

    boxes = ndimage.find_objects(labels)
    digits = max(4, len(str(len(boxes))))
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        for label, box in enumerate(boxes, start=1):
            if box is None:
                continue
            name = f"{label:0{digits}d}"
            roi = ImagejRoi.frompoints(outline(labels[box] == label, box), name=name)
            entry = zipfile.ZipInfo(f"{name}.roi", ZIP_DATE)
            file.writestr(entry, roi.tobytes(), zipfile.ZIP_DEFLATED)


def outline(mask: np.ndarray, box: tuple[slice, ...]) -> Float[np.ndarray, "p 2"]:
    """Traces the outer outline of an object.

    Args:
      mask: The object within its bounding box.
      box: Rows and columns of the box in the image.

    Returns:
      Points (x, y) in ImageJ's coordinates, where pixel (0, 0) covers [0, 1) x [0, 1): the pixels
      whose centres lie inside are those of the object's largest piece, holes filled.
    """
    from skimage.measure import find_contours

    padded = np.pad(mask, 1).astype(np.float32)
    contours = find_contours(padded, 0.5, fully_connected="high")
    points = max(contours, key=_polygon_area)[:-1]
    y, x = points[:, 0] - 1 + box[0].start, points[:, 1] - 1 + box[1].start
    return np.stack([x, y], axis=1).astype(np.float32) + np.float32(0.5)


def _polygon_area(points: np.ndarray) -> float:
    y, x = points[:, 0], points[:, 1]
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def _write_tiff(
    path: Path, pixels: np.ndarray, description: str, pixel_size_um: float | None
) -> None:
    import tifffile  # tables are written without

    resolution: dict[str, Any] = {}
    if pixel_size_um:
        per_cm = 1e4 / pixel_size_um
        resolution = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
    with atomic(path) as temporary:
        tifffile.imwrite(
            temporary,
            pixels,
            photometric="minisblack",
            compression="zlib",
            predictor=pixels.dtype.kind == "u",
            rowsperstrip=max(1, min(len(pixels), 2**20 // max(1, pixels[0].nbytes))),
            metadata=None,
            description=description,
            software="cellml",
            **resolution,
        )
