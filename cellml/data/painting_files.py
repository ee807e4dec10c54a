"""Single files of a project: images of one channel, outlines, locations."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from PIL import Image

from cellml.data.images import read_image
from cellml.data.text_tables import line_of, read_text_table
from cellml.data.writers import atomic
from cellml.errors import UserError

CENTRE_SUFFIXES = ("Location_Center_Y", "Location_Center_X")
PNG_LEVEL = 4
"""Files are a few per cent larger than at the default level, and written twice as fast."""


def read_locations(path: Path) -> Float[np.ndarray, "n 2"]:
    """Reads centres (y, x), float32, from a CSV with `Nuclei_Location_Center_X` and `..._Y`.

    Another object's name before `_Location_Center_` does as well.

    Raises:
      UserError: Such columns are missing, or a value is no finite number.
    """
    table = read_text_table(path)
    centres = np.empty((len(table), 2), np.float32)
    for i, suffix in enumerate(CENTRE_SUFFIXES):
        names = [name for name in table.column_names if name.endswith(suffix)]
        name = f"Nuclei_{suffix}" if f"Nuclei_{suffix}" in names else next(iter(names), None)
        if name is None:
            found = ", ".join(table.column_names)
            raise UserError(f"{path}: no column 'Nuclei_{suffix}' (found: {found})")
        for row, text in enumerate(table[name].to_pylist()):
            try:
                value = float(text)
            except ValueError:
                value = np.nan
            if not np.isfinite(value):
                raise UserError(f"{path}, line {line_of(row)}: {name} is {text!r}, pixels expected")
            centres[row, i] = value
    return centres


def read_grey(path: Path) -> Shaped[np.ndarray, "h w"]:
    """Reads an image of one channel; UserError where it is anything else."""
    file = read_image(path)
    pixels = file.page(0) if len(file.stems) == 1 else None
    if pixels is None or pixels.shape[2] != 1:
        found = f"{len(file.stems)} pages" if pixels is None else f"{pixels.shape[2]} channels"
        raise UserError(f"{path}: {found} found, one grey image expected")
    return pixels[..., 0]


def read_outlines(path: Path) -> Int[np.ndarray, "h w"]:
    """Reads objects from an image of outlines or of labels.

    Args:
      path: An 8-bit image with two values holds outlines (the higher value), as CellProfiler
        writes them; what they separate become the objects, the space around cells included
        (`label(outline, background=1)` in DeepProfiler). Any other image holds labels.

    Returns:
      int32 labels, 0 is an outline or the background.
    """
    pixels = read_grey(path)
    if pixels.dtype.kind == "f":
        raise UserError(f"{path}: pixels of type {pixels.dtype} found, whole numbers expected")
    if pixels.dtype.itemsize > 1 or len(np.unique(pixels)) > 2:
        return pixels.astype(np.int32)
    from skimage.measure import label  # only where outlines are read

    return label(pixels == pixels.min(), connectivity=2).astype(np.int32)


def file_states(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of change (ns) of files, to notice that one is another by now.

    Args:
      paths: Files; one that is not there has the size -1.
    Returns:
      One entry a file.
    """
    states = []
    for path in paths:
        try:
            stat = path.stat()
            states.append((path.name, stat.st_size, stat.st_mtime_ns))
        except OSError:
            states.append((path.name, -1, 0))
    return states


def write_grey(path: Path, pixels: UInt8[np.ndarray, "h w"]) -> None:
    """Writes an 8-bit grey PNG, whole or not at all."""
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=PNG_LEVEL)
