"""Writes a store of single cells, see `cellml.data.cell_store`: plate by plate, field by field."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Shaped

from cellml.data.cell_store import (
    HEADER_BYTES,
    VERSION,
    CellStore,
    cells_schema,
    index_path,
    read_facts,
    shard_path,
)
from cellml.data.writers import atomic, write_json
from cellml.errors import UsageError, UserError

SHARD_BYTES = 2**30
DTYPES = ("uint8", "uint16")


def begin_store(
    folder: Path,
    *,
    channels: Sequence[str],
    side_px: int,
    dtype: str,
    made_by: Mapping[str, Any],
    shard_bytes: int = SHARD_BYTES,
    remake: bool = False,
) -> str:
    """Starts a store, or goes on with one that was started with the same settings.

    Args:
      folder: Where; made if needed.
      channels: Names of the channels.
      side_px: Height and width of a cell.
      dtype: One of `DTYPES`.
      made_by: Further settings, JSON-able, that decide the pixels.
      shard_bytes: A shard holds as many cells as fit, at least one.
      remake: Whether to remove the cells of a store that was made with other settings.

    Returns:
      What differed from a store that was removed, for people; empty if none was.

    Raises:
      UsageError: The store there was made with other settings, and is not to be removed.
      ValueError: Unknown dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    cell_bytes = side_px * side_px * len(channels) * np.dtype(dtype).itemsize
    settings = {
        **json.loads(json.dumps(dict(made_by))),
        "version": VERSION,
        "channels": list(channels),
        "side_px": side_px,
        "dtype": dtype,
        "cells_per_shard": max(1, shard_bytes // max(1, cell_bytes)),
    }
    differing = _differing(folder, settings)
    if differing and not remake:
        raise UsageError(
            f"{folder}: the store was made with other settings ({differing}); use them again or "
            "another folder"
        )
    if differing:
        _remove_cells(folder)  # store.json last: until then they count as made otherwise
    write_json(folder / "store.json", {"settings": settings, "state": "writing", "plates": []})
    return differing


def _differing(folder: Path, settings: Mapping[str, Any]) -> str:
    if not (folder / "store.json").is_file():
        return ""
    before = read_facts(folder)["settings"]
    return "; ".join(
        f"{key}: {before.get(key)} then, {settings.get(key)} now"
        for key in sorted(before.keys() | settings.keys())
        if before.get(key) != settings.get(key)
    )


def _remove_cells(folder: Path, *, but: Sequence[str] = ()) -> None:
    """Removes rows and pixels of all plates but the given ones; rows first, they are believed."""
    kept = {quote(plate, safe="") for plate in but}
    for pattern in ("index/*.parquet", "parts/*/*.parquet", "shards/*.npy"):
        for path in folder.glob(pattern):
            plate = path.parent.name if path.parent.parent.name == "parts" else path.stem
            plate = plate.rpartition("-")[0] if path.suffix == ".npy" else plate
            if plate not in kept:
                path.unlink()
    for path in (folder / "parts").glob("*"):
        if path.name not in kept:
            path.rmdir()


def finish_store(folder: Path, plates: Sequence[str]) -> CellStore:
    """Declares a store finished; plates that it does not have any more are removed.

    Args:
      folder: The store.
      plates: Its plates, all complete, in the order of the rows.

    Returns:
      The store.
    """
    _remove_cells(folder, but=plates)
    cells = [pq.read_metadata(index_path(folder, plate)).num_rows for plate in plates]
    facts = {
        "settings": read_facts(folder)["settings"],
        "state": "complete",
        "plates": [{"plate": p, "cells": n} for p, n in zip(plates, cells, strict=True)],
    }
    write_json(folder / "store.json", facts)
    return CellStore(folder)


class PlateWriter:
    """Appends the fields of one plate, in a fixed order; goes on where a killed run stopped.

    Plates are independent of each other: one process each may write to the same store.

    Attributes:
      done: Number of fields that are in the store already.
      complete: Whether the whole plate is.
    """

    def __init__(self, folder: Path, plate: str, fields: Sequence[str]) -> None:
        """Finds out what is there; writes nothing.

        Args:
          folder: A store made by `begin_store`.
          plate: Name of the plate.
          fields: What decides each field's cells, as text. Where the texts of a former run
            differ, its cells are replaced from the first difference on.
        """
        self._settings = read_facts(folder)["settings"]
        self._folder, self._plate = folder, plate
        self._fields = [_fingerprint(field) for field in fields]
        self._parts = folder / "parts" / quote(plate, safe="")
        self._cells, self._kept = 0, 0
        self._begun = False
        whole = index_path(folder, plate)
        stored = _stored_fields(whole) if whole.is_file() else None
        self.complete = stored == self._fields
        self.done = len(fields) if self.complete else 0
        if stored is not None and not self.complete:
            self._find_kept(whole, stored)
        while self.done < len(fields) and stored is None:
            part = self._part(self.done)
            if not part.is_file() or _stored_fields(part) != [self._fields[self.done]]:
                break
            cells = self._cells + pq.read_metadata(part).num_rows
            if not self._holds(cells):
                break
            self._cells = cells
            self.done += 1

    def _find_kept(self, whole: Path, stored: Sequence[str]) -> None:
        """Counts the fields at the beginning of a finished plate that are still the same."""
        counts = _stored_counts(whole)
        for field, before, cells in zip(self._fields, stored, counts, strict=False):
            if field != before or not self._holds(self._cells + cells):
                break
            self._cells += cells
            self.done += 1
        self._kept = self.done

    def add(self, pixels: Shaped[np.ndarray, "n s s c"], rows: pa.Table) -> None:
        """Appends the next field.

        Args:
          pixels: Cells in the store's dtype; may be none.
          rows: As many rows with the columns of `cells_schema`.

        Raises:
          ValueError: Shape, dtype or number of rows do not fit, or all fields are there.
        """
        expected, dtype = (len(rows), *self._cell_shape), self._settings["dtype"]
        if pixels.shape != expected or pixels.dtype != np.dtype(dtype):
            raise ValueError(f"{pixels.dtype} {pixels.shape} given, {dtype} {expected} expected")
        if self.done >= len(self._fields):
            raise ValueError(f"plate {self._plate}: all {len(self._fields)} fields are there")
        if not self._begun:
            self._forget_former_rows()
        self._append(np.ascontiguousarray(pixels))
        self._cells += len(pixels)
        with atomic(self._part(self.done)) as temporary:
            pq.write_table(_with_fields(rows, self._fields[self.done : self.done + 1]), temporary)
        self.done += 1

    def finish(self) -> None:
        """Joins the rows of all fields; from now on the plate is complete."""
        if self.complete:
            self._remove_parts()
            return
        if self.done != len(self._fields):
            raise ValueError(f"plate {self._plate}: {self.done} of {len(self._fields)} fields done")
        if not self._begun:
            self._forget_former_rows()  # fewer fields than before, and none to add
        parts = [self._part(i) for i in range(self.done)]
        tables = [pq.read_table(part).replace_schema_metadata(None) for part in parts]
        table = pa.concat_tables(tables) if tables else cells_schema(()).empty_table()
        self._close_shards()
        counts = [len(rows) for rows in tables]
        with atomic(index_path(self._folder, self._plate)) as temporary:
            whole = _with_fields(_recoded(table), self._fields, counts)
            pq.write_table(whole, temporary)
        self._remove_parts()
        self.complete = True

    def _remove_parts(self) -> None:
        for part in self._parts.glob("*"):
            part.unlink()
        if self._parts.is_dir():
            self._parts.rmdir()

    @property
    def _cell_shape(self) -> tuple[int, int, int]:
        side = self._settings["side_px"]
        return side, side, len(self._settings["channels"])

    @property
    def _cell_bytes(self) -> int:
        return int(np.prod(self._cell_shape)) * np.dtype(self._settings["dtype"]).itemsize

    def _part(self, field: int) -> Path:
        return self._parts / f"{field:06d}.parquet"

    def _shards(self, cells: int) -> list[tuple[Path, int]]:
        """The shards of so many cells, at least one, each with its number of cells."""
        room: int = self._settings["cells_per_shard"]
        counts = [min(room, cells - first) for first in range(0, max(cells, 1), room)]
        return [(shard_path(self._folder, self._plate, i), n) for i, n in enumerate(counts)]

    def _holds(self, cells: int) -> bool:
        return all(
            path.is_file() and path.stat().st_size >= HEADER_BYTES + n * self._cell_bytes
            for path, n in self._shards(cells)
            if n
        )

    def _forget_former_rows(self) -> None:
        """Removes rows whose pixels are about to be overwritten: they must not be trusted again."""
        whole = index_path(self._folder, self._plate)
        if self._kept:
            self._part_again(whole)
        whole.unlink(missing_ok=True)
        for part in self._parts.glob("*"):
            if part.name >= self._part(self.done).name:
                part.unlink()
        self._begun = True

    def _part_again(self, whole: Path) -> None:
        """Writes the parts of the fields that are kept of a finished plate."""
        rows = pq.read_table(whole).replace_schema_metadata(None)
        first = 0
        for field, cells in enumerate(_stored_counts(whole)[: self._kept]):
            with atomic(self._part(field)) as temporary:
                part = _with_fields(rows.slice(first, cells), self._fields[field : field + 1])
                pq.write_table(part, temporary)
            first += cells

    def _append(self, pixels: np.ndarray) -> None:
        room: int = self._settings["cells_per_shard"]
        first = self._cells
        while len(pixels):
            shard, cell = divmod(first, room)
            piece = pixels[: room - cell]
            with _opened(shard_path(self._folder, self._plate, shard)) as file:
                file.seek(HEADER_BYTES + cell * self._cell_bytes)
                file.write(piece.reshape(-1).view(np.uint8).data)
            pixels, first = pixels[len(piece) :], first + len(piece)

    def _close_shards(self) -> None:
        """Gives the shards their headers, and removes what a former run left behind the cells."""
        shards = self._shards(self._cells)
        for path, cells in shards:
            with _opened(path) as file:
                file.write(_header((cells, *self._cell_shape), self._settings["dtype"]))
                file.truncate(HEADER_BYTES + cells * self._cell_bytes)
                file.flush()
                os.fsync(file.fileno())
        extra = len(shards)
        while (path := shard_path(self._folder, self._plate, extra)).is_file():
            path.unlink()
            extra += 1


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.is_file() else "w+b") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    """An .npy header of a fixed length, so that the pixels can be written before it."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode("latin1")
    start = np.lib.format.magic(1, 0) + (HEADER_BYTES - 10).to_bytes(2, "little")
    return start + text.ljust(HEADER_BYTES - 11) + b"\n"


def _fingerprint(field: str) -> str:
    return hashlib.sha256(field.encode()).hexdigest()[:16]


def _with_fields(
    rows: pa.Table, fields: Sequence[str], counts: Sequence[int] | None = None
) -> pa.Table:
    facts = {"fields": " ".join(fields)}
    if counts is not None:
        facts["cells"] = " ".join(map(str, counts))
    return rows.replace_schema_metadata(facts)


def _recoded(table: pa.Table) -> pa.Table:
    """The same table with dictionaries in order of appearance, whatever parts it was made of."""
    table = table.combine_chunks()
    columns = {
        name: table[name].cast(table[name].type.value_type).cast(table[name].type)
        if pa.types.is_dictionary(table[name].type)
        else table[name]
        for name in table.column_names
    }
    return pa.table(columns, schema=table.schema)


def _stored_counts(path: Path) -> list[int]:
    """Cells of each field of a finished plate; none, if an older version wrote it."""
    try:
        return [int(n) for n in pq.read_schema(path).metadata[b"cells"].split()]
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return []


def _stored_fields(path: Path) -> list[str] | None:
    try:
        return pq.read_schema(path).metadata[b"fields"].decode().split()
    except (OSError, pa.ArrowInvalid, KeyError, TypeError):
        return None
