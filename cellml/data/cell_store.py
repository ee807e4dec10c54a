"""A store of single cells on disk, read in any order at the speed of the disk.

    store.json                   what the cells are, and the plates with their numbers of cells
    shards/<plate>-0000.npy      pixels [n side side c], `cells_per_shard` in each but the last
    index/<plate>.parquet        one row a cell, in the order of the pixels
    parts/<plate>/000000.parquet rows of one finished field, while the plate is being written

A shard is a plain .npy file (`numpy.load(path, mmap_mode="r")` opens it), its pixels start at byte
4096. A field of view is in the store or it is not: its pixels are written first, its rows are
renamed into place after, and whatever lies behind the last row is overwritten when a killed run
goes on. So the result is the same to the byte, killed or not.

Measured beside the alternatives in benchmarks/bench_cell_store.py: reading into place and memory
maps are equally fast in the page cache, but mapped pages count as the process's own memory, and
a cold cell is one read instead of twenty page faults.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Integer, Shaped

from cellml.errors import UsageError, UserError

VERSION = 1
HEADER_BYTES = 4096
OPEN_FILES_MAX = 64
CELL_COLUMNS = {
    "plate": pa.dictionary(pa.int32(), pa.string()),
    "well": pa.dictionary(pa.int32(), pa.string()),
    "site": pa.dictionary(pa.int32(), pa.string()),
    "cell_id": pa.int32(),
    "y_px": pa.float32(),
    "x_px": pa.float32(),
    "status": pa.uint8(),
    "treatment": pa.dictionary(pa.int32(), pa.string()),
}
"""Columns of every index; metadata follow as strings. `cell_id` counts a field's locations from 1,
`status` is a `cellml.data.crops.Status`."""


class CellStore:
    """A finished store. Picklable; safe in forked and spawned readers.

    Attributes:
      folder: Where it lies.
      channels: Names of the channels; a mask, if kept, is the last one and called "mask".
      side_px: Height and width of a cell.
      dtype: uint8 or uint16.
      settings: How the cells were made.
      plates: Number of cells of every plate, in the order of the rows.
    """

    def __init__(self, folder: Path) -> None:
        """Reads store.json only; `open_store` says what may go wrong."""
        facts = read_facts(folder)
        if facts.get("state") != "complete":
            raise UsageError(f"{folder}: the store is unfinished; run its export again to go on")
        self.folder = folder
        self.settings: dict[str, Any] = facts["settings"]
        self.channels: tuple[str, ...] = tuple(self.settings["channels"])
        self.side_px: int = self.settings["side_px"]
        self.dtype = np.dtype(self.settings["dtype"])
        self.plates: dict[str, int] = {p["plate"]: p["cells"] for p in facts["plates"]}
        self._starts = np.cumsum([0, *self.plates.values()])
        self._files: dict[tuple[str, int], io.FileIO] = {}
        self._index: pa.Table | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}, "_index": None}

    def version(self, plate: str) -> str:
        """A text that changes when the cells of a plate do: of what decided each of its fields."""
        fields = (pq.read_schema(index_path(self.folder, plate)).metadata or {}).get(b"fields", b"")
        return hashlib.sha256(fields).hexdigest()[:16]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the index, without `row`."""
        for plate in self.plates:
            return tuple(pq.read_schema(index_path(self.folder, plate)).names)
        return tuple(cells_schema(()).names)

    @property
    def index(self) -> pa.Table:
        """Row (from 0), plate, well, site, cell_id, y_px, x_px, status, treatment and metadata.

        Read once and kept: about 50 bytes a cell. `read_index` gives chosen columns.
        """
        if self._index is None:
            self._index = self.read_index()
        return self._index

    def read_index(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Reads the index, or the given columns of it, from the files.

        Raises:
          UserError: A file is missing or damaged, or has not these columns.
        """
        wanted = None if columns is None else [name for name in columns if name != "row"]
        tables = [_read_rows(index_path(self.folder, plate), wanted) for plate in self.plates]
        if not tables:
            empty = cells_schema(()).empty_table()
            tables = [empty if wanted is None else empty.select(wanted)]
        table = pa.concat_tables(tables).unify_dictionaries()
        if columns is None or "row" in columns:
            rows = pa.array(np.arange(len(self)))
            table = table.add_column(0, "row", rows)
        return table if columns is None else table.select(list(columns))

    def read_plate(self, plate: str) -> pa.Table:
        """Reads the index of one plate, `row` first, as of the whole store.

        Raises:
          KeyError: No such plate.
        """
        start = int(self._starts[list(self.plates).index(plate)]) if plate in self.plates else -1
        if start < 0:
            raise KeyError(f"{self.folder}: no plate {plate!r}; there are {', '.join(self.plates)}")
        table = _read_rows(index_path(self.folder, plate), None)
        return table.add_column(0, "row", pa.array(np.arange(start, start + len(table))))

    def read(
        self,
        rows: Integer[np.ndarray, " n"],
        *,
        out: Shaped[np.ndarray, "n s s c"] | None = None,
    ) -> Shaped[np.ndarray, "n s s c"]:
        """Reads cells in any order, with repeats if asked.

        Args:
          rows: Rows of the index.
          out: Where to put them; saves making an array for every batch.

        Returns:
          Pixels as stored.

        Raises:
          IndexError: A row is not in the store.
          ValueError: `out` is not contiguous, or of another shape or dtype.
          UserError: A shard is missing or cut off.
        """
        rows = np.asarray(rows, np.int64)
        shape = (len(rows), self.side_px, self.side_px, len(self.channels))
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} asked, 0 to {len(self) - 1} are")
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out: {out.dtype} {out.shape} given, {self.dtype} {shape} expected")
        plates = list(self.plates)
        which = np.searchsorted(self._starts, rows, side="right") - 1
        cells_per_shard: int = self.settings["cells_per_shard"]
        bytes_per_cell = self.dtype.itemsize * int(np.prod(shape[1:]))
        for k in np.argsort(rows, kind="stable"):
            shard, cell = divmod(int(rows[k] - self._starts[which[k]]), cells_per_shard)
            file = self._file(plates[which[k]], shard)
            file.seek(HEADER_BYTES + cell * bytes_per_cell)
            if file.readinto(out[k].reshape(-1).view(np.uint8).data) != bytes_per_cell:
                raise UserError(f"{file.name}: cut off, cell {cell} is not in it")
        return out

    def close(self) -> None:
        """Closes the shards; they are opened again when needed."""
        while self._files:
            self._files.popitem()[1].close()

    def __enter__(self) -> "CellStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()

    def _file(self, plate: str, shard: int) -> io.FileIO:
        file = self._files.pop((plate, shard), None)
        if file is None:
            if len(self._files) >= OPEN_FILES_MAX:
                self._files.pop(next(iter(self._files))).close()  # the longest unused
            path = shard_path(self.folder, plate, shard)
            try:
                file = io.FileIO(path)
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        self._files[plate, shard] = file  # last in order: the latest used
        return file


def open_store(folder: str | Path) -> CellStore:
    """Opens a finished store.

    Raises:
      UserError: There is none, it is damaged, or of another version.
      UsageError: It is unfinished.
    """
    return CellStore(Path(folder))


def _read_rows(path: Path, columns: Sequence[str] | None) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            found = file.schema_arrow.names
            if missing := [name for name in columns or () if name not in found]:
                raise UserError(f"{path}: no column {missing[0]!r}; found: {', '.join(found)}")
            return file.read(columns).replace_schema_metadata(None)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: no readable index of cells ({error})") from error


def cells_schema(metadata_columns: Sequence[str]) -> pa.Schema:
    """Columns of `PlateWriter.add`: `CELL_COLUMNS`, then metadata as strings."""
    strings = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([*CELL_COLUMNS.items(), *((name, strings) for name in metadata_columns)])


def read_facts(folder: Path) -> dict[str, Any]:
    """Reads store.json: settings, state and plates; UserError where it is no such file."""
    path = folder / "store.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        version = facts["settings"]["version"]
    except OSError as error:
        raise UserError(f"{path}: no store of single cells ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged, settings of a store expected") from error
    if version != VERSION:
        raise UserError(f"{path}: version {version} found, {VERSION} expected; export again")
    return facts


def shard_path(folder: Path, plate: str, shard: int) -> Path:
    """Where the pixels of a part of a plate are.

    Args:
      folder: The store.
      plate: Name of the plate.
      shard: Part of the plate, from 0.

    Returns:
      A file, whether or not it is there.
    """
    return folder / "shards" / f"{quote(plate, safe='')}-{shard:04d}.npy"


def index_path(folder: Path, plate: str) -> Path:
    """Where the rows of a plate are."""
    return folder / "index" / f"{quote(plate, safe='')}.parquet"
