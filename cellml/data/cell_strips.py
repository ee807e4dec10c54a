"""DeepProfiler's exported single cells: a PNG a cell, its channels side by side.

    <plate>/<well>/<site>/<Target>@<x>x<y>.png     8 bits, H x (W * C), a mask as the last tile
    sc-metadata.csv                                one line a cell

Target is the treatment's place among all treatments, sorted. The cells' sizes vary between
exports; height and width are equal, so the number of tiles follows from the file.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped, UInt8

from cellml.data.cell_export import cell_rows
from cellml.data.cell_store import CellStore
from cellml.data.cell_store_writer import PlateWriter, begin_store, finish_store
from cellml.data.crops import Status
from cellml.data.painting_files import read_grey, write_grey
from cellml.data.plates import Progress
from cellml.data.text_tables import line_of, read_text_table, write_csv
from cellml.data.wells import normalise_well
from cellml.errors import UserError

TABLE = "sc-metadata.csv"
X, Y = "Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"
READ_CELLS = 256


def pack_strip(cell: Shaped[np.ndarray, "s s c"]) -> UInt8[np.ndarray, "s t"]:
    """Lays the channels of a cell side by side.

    Args:
      cell: uint8 is laid out as it is; anything else is stretched from its own lowest and highest
        value, over all channels, to 0..255 and rounded down, as DeepProfiler does.

    Returns:
      s rows, s * c columns.
    """
    side, _, channels = cell.shape
    strip = cell.transpose(0, 2, 1).reshape(side, channels * side)
    if strip.dtype == np.uint8:
        return strip
    low, high = float(strip.min()), float(strip.max())
    scale = 255 / (high - low) if high > low else 0.0
    return np.floor((strip.astype(np.float64) - low) * scale).astype(np.uint8)


def unpack_strip(strip: Shaped[np.ndarray, "s t"]) -> Shaped[np.ndarray, "s s c"]:
    """Undoes `pack_strip`.

    Raises:
      ValueError: The width is no multiple of the height.
    """
    side, width = strip.shape
    if width % side:
        raise ValueError(
            f"{side} x {width} px found, a width that is a multiple of {side} expected"
        )
    return strip.reshape(side, width // side, side).transpose(0, 2, 1)


def export_strips(
    store: CellStore, folder: Path, *, label_field: str, progress: Progress | None = None
) -> pa.Table:
    """Writes a store as PNG strips; files that are there already are left alone.

    Cells outside the image are left out, as DeepProfiler leaves out cells without content.

    Args:
      store: The cells.
      folder: Where.
      label_field: Name of the treatments' column in sc-metadata.csv.
      progress: Called with the number of cells done and of all.

    Returns:
      The table that was written as sc-metadata.csv: Key (plate/well/site), Target, the label
      field, Image_Name, the centre in pixels, and the store's metadata.
    """
    index = store.index
    index = index.filter(pa.array(np.asarray(index["status"]) != Status.OUTSIDE))
    columns = index.to_pydict()
    labels = ["" if label is None else label for label in columns["treatment"]]
    targets = {label: i for i, label in enumerate(sorted(set(labels)))}
    keys = [
        "/".join(key) for key in zip(*(columns[k] for k in ("plate", "well", "site")), strict=True)
    ]
    number = [targets[label] for label in labels]
    # a float32 prints in its own digits, not in those of the double next to it
    x, y = ([str(np.float32(v)) for v in columns[name]] for name in ("x_px", "y_px"))
    names = [f"{k}/{t}@{a}x{b}.png" for k, t, a, b in zip(keys, number, x, y, strict=True)]
    for first in range(0, len(names), READ_CELLS):
        some = slice(first, first + READ_CELLS)
        paths = [folder / name for name in names[some]]
        if not all(path.is_file() for path in paths):
            cells = store.read(np.asarray(columns["row"][some]))
            for path, cell in zip(paths, cells, strict=True):
                write_grey(path, pack_strip(cell))
        if progress is not None:
            progress(min(first + READ_CELLS, len(names)), len(names))
    table = {"Key": keys, "Target": [str(t) for t in number], label_field: labels}
    table |= {"Image_Name": names, X: x, Y: y, "Status": [str(s) for s in columns["status"]]}
    known = {"row", "plate", "well", "site", "cell_id", "y_px", "x_px", "status", "treatment"}
    extra = {k: v for k, v in columns.items() if k not in known and k not in table}
    written = pa.table(table | extra)
    write_csv(folder / TABLE, written)
    return written


def import_strips(
    folder: Path,
    store_folder: Path,
    *,
    channels: Sequence[str],
    label_field: str,
    progress: Progress | None = None,
) -> CellStore:
    """Reads PNG strips into a store, field by field; goes on where a killed run stopped.

    Args:
      folder: Holds sc-metadata.csv.
      store_folder: The store.
      channels: Names of the tiles; one tile more is a mask and becomes the channel "mask".
      label_field: Column of the treatments.
      progress: Called with the number of fields done and of all.

    Returns:
      The store. All cells have status OK unless the table has a column Status.

    Raises:
      UserError: A table or strip is missing or damaged, sizes differ, or a key is no field.
    """
    path = folder / TABLE
    table = read_text_table(path, required=["Key", "Image_Name", X, Y, label_field])
    lines = table.to_pylist()
    plates = _fields(path, lines)
    first = None
    if lines:
        strip = folder / lines[0]["Image_Name"]
        first = _check_tiles(strip, read_grey(strip).shape, None, len(channels))
    names = [*channels, "mask"] if first and first[1] > len(channels) else list(channels)
    begin_store(
        store_folder,
        channels=names,
        side_px=first[0] if first else 1,
        dtype="uint8",
        made_by={"imported": "strips"},
    )
    metadata = _metadata(lines, plates, label_field)
    total, done = sum(map(len, plates.values())), 0
    for plate, fields in plates.items():
        described = [json.dumps([lines[row] for row in rows]) for rows in fields.values()]
        writer = PlateWriter(store_folder, plate, described)
        for i, (key, rows) in enumerate(fields.items()):
            if i >= writer.done:
                writer.add(
                    *_read_field(
                        folder, key, [lines[row] for row in rows], first, label_field, metadata
                    )
                )
            done += 1
            if progress is not None:
                progress(done, total)
        writer.finish()
    return finish_store(store_folder, list(plates))


Key = tuple[str, str, str]


def _fields(path: Path, lines: list[dict[str, str]]) -> dict[str, dict[Key, list[int]]]:
    plates: dict[str, dict[Key, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, line in enumerate(lines):
        parts = line["Image_Name"].split("/")  # Key has lost a plate's dashes in DeepProfiler
        try:
            plate, well, site, _ = parts
            key = plate, normalise_well(well), site
        except ValueError as error:
            raise UserError(
                f"{path}, line {line_of(row)}: Image_Name is {line['Image_Name']!r}, "
                "<plate>/<well>/<site>/<name>.png expected"
            ) from error
        plates[plate][key].append(row)
    return {plate: dict(plates[plate]) for plate in sorted(plates)}


def _metadata(
    lines: list[dict[str, str]], plates: dict[str, dict[Key, list[int]]], label_field: str
) -> list[str]:
    """Columns that say something of a field: those that are the same for all of its cells."""
    known = ("Key", "Image_Name", "Target", "Status", X, Y, label_field)
    fields = [rows for fields in plates.values() for rows in fields.values()]
    return [
        name
        for name in (lines[0] if lines else ())
        if name not in known and all(len({lines[row][name] for row in f}) == 1 for f in fields)
    ]


def _read_field(
    folder: Path,
    key: Key,
    lines: list[dict[str, str]],
    expected: tuple[int, int] | None,
    label_field: str,
    metadata: Sequence[str],
) -> tuple[UInt8[np.ndarray, "n s s c"], pa.Table]:
    cells = []
    for line in lines:
        strip = read_grey(folder / line["Image_Name"])
        _check_tiles(folder / line["Image_Name"], strip.shape, expected, 0)
        cells.append(unpack_strip(strip))
    where = folder / TABLE
    centres = np.stack([_numbers(where, lines, Y), _numbers(where, lines, X)], axis=1)
    status = np.asarray([int(line.get("Status", Status.OK)) for line in lines], np.uint8)
    same = {name: lines[0][name] for name in metadata}
    rows = cell_rows(key, centres, status, treatment=lines[0][label_field], metadata=same)
    return np.stack(cells), rows


def _numbers(path: Path, lines: list[dict[str, str]], column: str) -> Shaped[np.ndarray, " n"]:
    try:
        return np.asarray([float(line[column]) for line in lines], np.float32)
    except ValueError as error:
        raise UserError(f"{path}: {column}: {error}") from error


def _check_tiles(
    path: Path, shape: tuple[int, ...], expected: tuple[int, int] | None, channels: int
) -> tuple[int, int]:
    """Side and number of tiles of a strip; those of the first one are expected of the others."""
    side, tiles = shape[0], shape[1] // shape[0]
    allowed = [expected] if expected else [(side, channels), (side, channels + 1)]
    if shape[1] != side * tiles or (side, tiles) not in allowed:
        wanted = f"{expected[1]} tiles of {expected[0]} px" if expected else f"{channels} tiles"
        raise UserError(f"{path}: {side} x {shape[1]} px found, {wanted} expected")
    return side, tiles
