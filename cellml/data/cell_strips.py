"""DeepProfiler's exported single cells: a PNG a cell, its channels side by side.

    <plate>/<well>/<site>/<Target>@<x>x<y>.png     8 bits, H x (W * C), a mask as the last tile
    sc-metadata.csv                                one line a cell

Target is the treatment's place among all treatments, sorted. The cells' sizes vary between
exports; height and width are equal, so the number of tiles follows from the file.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped, UInt8

from cellml.data.cell_export import cell_rows
from cellml.data.cell_store import CellStore
from cellml.data.cell_store_writer import PlateWriter, begin_store, finish_store
from cellml.data.cell_strip_table import STATUS, TABLE, FieldKey, StripTable, X, Y, read_strip_table
from cellml.data.coded_columns import code_column
from cellml.data.crops import Status
from cellml.data.painting_files import read_grey, write_grey
from cellml.data.plates import Progress
from cellml.data.writers import atomic, write_json
from cellml.errors import UserError

MADE_OF = ".cellml-strips.json"
"""In a folder of strips: which version of each plate's cells they are."""

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
) -> int:
    """Writes a store as PNG strips, in the memory of a plate's index and a few cells.

    Strips of a plate that are there already are left alone if they were made of the same cells;
    otherwise those of that plate are written again. Cells outside the image are left out, as
    DeepProfiler leaves out cells without content.

    sc-metadata.csv gets Key (plate/well/site), Target, the label field, Image_Name, the centre in
    pixels, the status, and the store's metadata.

    Args:
      store: The cells.
      folder: Where.
      label_field: Name of the treatments' column in sc-metadata.csv.
      progress: Called with the number of cells done and of all.

    Returns:
      Number of strips.

    Raises:
      UserError: A file cannot be written.
    """
    index = store.read_index(["status", "treatment"])
    inside = index["status"].to_numpy() != Status.OUTSIDE
    names = code_column(index["treatment"])
    labels = set(names.take(np.flatnonzero(inside)).occurring())
    if (names.codes[inside] < 0).any():
        labels.add("")
    targets = {label: i for i, label in enumerate(sorted(labels))}
    total, done = int(inside.sum()), 0
    header: list[str] | None = None
    with (
        atomic(folder / TABLE) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        for plate in store.plates:
            kept = _begin_plate(folder, store, plate, targets)
            for cells in _read_rows(store, plate):
                table = _strip_lines(cells, targets, label_field)
                if header is None:
                    header = list(table)
                    lines.writerow(header)
                lines.writerows(zip(*table.values(), strict=True))
                _write_strips(store, cells, [folder / n for n in table["Image_Name"]], kept=kept)
                done += len(cells)
                if progress is not None:
                    progress(done, total)
        if header is None:
            lines.writerow(_strip_lines(store.index.slice(0, 0), targets, label_field))
    return done


def _begin_plate(folder: Path, store: CellStore, plate: str, targets: dict[str, int]) -> bool:
    """Whether strips of a plate that are there are of these cells; removes ours that are not."""
    path = folder / MADE_OF
    try:
        made_of: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        made_of = {}
    version = [store.version(plate), json.loads(json.dumps(store.settings)), targets]
    if made_of.get(plate) == version:
        return True
    if plate in made_of:
        for strip in (folder / plate).rglob("*.png"):
            strip.unlink()
    write_json(path, made_of | {plate: version})
    return False


def _read_rows(store: CellStore, plate: str) -> Iterator[pa.Table]:
    """Some rows of a plate's index at a time, without cells outside the image."""
    index = store.read_plate(plate)
    index = index.filter(pa.array(index["status"].to_numpy() != Status.OUTSIDE))
    for first in range(0, len(index), READ_CELLS):
        yield index.slice(first, READ_CELLS)


def _strip_lines(cells: pa.Table, targets: dict[str, int], label_field: str) -> dict[str, list]:
    """Lines of sc-metadata.csv, as columns of texts."""
    columns = cells.to_pydict()
    labels = ["" if label is None else label for label in columns["treatment"]]
    keys = ["/".join(k) for k in zip(*(columns[k] for k in ("plate", "well", "site")), strict=True)]
    number = [targets[label] for label in labels]
    # a float32 prints in its own digits, not in those of the double next to it
    x, y = ([str(np.float32(v)) for v in columns[name]] for name in ("x_px", "y_px"))
    names = [f"{k}/{t}@{a}x{b}.png" for k, t, a, b in zip(keys, number, x, y, strict=True)]
    table = {"Key": keys, "Target": [str(t) for t in number], label_field: labels}
    table |= {"Image_Name": names, X: x, Y: y, STATUS: [str(s) for s in columns["status"]]}
    known = {"row", "plate", "well", "site", "cell_id", "y_px", "x_px", "status", "treatment"}
    return table | {k: v for k, v in columns.items() if k not in known and k not in table}


def _write_strips(store: CellStore, cells: pa.Table, paths: list[Path], *, kept: bool) -> None:
    missing = [i for i, path in enumerate(paths) if not (kept and path.is_file())]
    if missing:
        pixels = store.read(cells["row"].to_numpy()[missing])
        for i, cell in zip(missing, pixels, strict=True):
            write_grey(paths[i], pack_strip(cell))


def import_strips(
    folder: Path,
    store_folder: Path,
    *,
    channels: Sequence[str],
    label_field: str,
    progress: Progress | None = None,
) -> CellStore:
    """Reads PNG strips into a store, field by field; goes on where a killed run stopped.

    Fields whose lines and files are the same as in a former run are kept. Memory is that of
    `StripTable` and of the cells of one field.

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
    table = read_strip_table(folder, label_field=label_field)
    plates = table.by_plate()
    first = None
    if len(table):
        strip = table.paths(np.zeros(1, np.int64))[0]
        first = _check_tiles(strip, read_grey(strip).shape, None, len(channels))
    names = [*channels, "mask"] if first and first[1] > len(channels) else list(channels)
    begin_store(
        store_folder,
        channels=names,
        side_px=first[0] if first else 1,
        dtype="uint8",
        made_by={"imported": "strips"},
    )
    total, done = sum(map(len, plates.values())), 0
    for plate, fields in plates.items():
        described = [table.fingerprint(rows) for _, rows in fields]
        writer = PlateWriter(store_folder, plate, described)
        for i, (key, rows) in enumerate(fields):
            if i >= writer.done:
                writer.add(*_read_field(table, key, rows, first))
            done += 1
            if progress is not None:
                progress(done, total)
        writer.finish()
    return finish_store(store_folder, list(plates))


def _read_field(
    table: StripTable, key: FieldKey, rows: np.ndarray, expected: tuple[int, int] | None
) -> tuple[UInt8[np.ndarray, "n s s c"], pa.Table]:
    cells = []
    for path in table.paths(rows):
        strip = read_grey(path)
        _check_tiles(path, strip.shape, expected, 0)
        cells.append(unpack_strip(strip))
    first = int(rows[0])
    described = cell_rows(
        key,
        table.centre_yx[rows],
        table.status[rows],
        treatment=table.treatment(first),
        metadata=table.texts(first),
    )
    return np.stack(cells), described


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
