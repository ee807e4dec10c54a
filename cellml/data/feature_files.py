"""Features of single cells as Parquet, one file a plate.

    <folder>/<plate>.parquet                 finished
    <folder>/parts/<plate>/000000.parquet    while the plate is being written

Columns are those of a store's index (`cellml.data.cell_store.CELL_COLUMNS`, then metadata as
strings) and last `features`, a fixed-size list of float32. The schema's metadata hold under
"cellml" a JSON object: version, names of the features, and what they were made by. Rows lie in
row groups of `PART_CELLS`, so that a reader holds one of them at a time; a part is renamed into
place when it is full, so that a killed run loses the cells of one part, and the finished file is
the same to the byte, killed or not, whatever the batches were.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from cellml.data.cell_store import CELL_COLUMNS
from cellml.data.writers import atomic, write_json
from cellml.errors import UsageError, UserError

VERSION = 1
PART_CELLS = 2048
"""Cells of a part and of a row group: a multiple of any usual batch, so that a run that goes on
cuts the same batches."""

KEYS = ("plate", "well", "site")
SiteKey = tuple[str, str, str]


class FeatureFacts(NamedTuple):
    """What a finished file says of itself.

    Attributes:
      names: Of the features.
      made_by: Whatever decided them.
      n_cells: Rows.
    """

    names: tuple[str, ...]
    made_by: dict[str, Any]
    n_cells: int


class FeatureWriter:
    """Appends the cells of one plate in a fixed order; goes on where a killed run stopped.

    Plates are independent of each other: one process each may write to the same folder.

    Attributes:
      done: Number of cells that need not be added again: go on with the next.
      complete: Whether the whole plate is there.
      remade: What differed from features that were removed, for people; empty if none were.
    """

    def __init__(
        self,
        folder: Path,
        plate: str,
        names: Sequence[str],
        made_by: Mapping[str, Any],
        *,
        part_cells: int = PART_CELLS,
        remake: bool = False,
    ) -> None:
        """Finds out what is there; writes nothing, but removes what is of no use any more.

        Args:
          folder: Where the files of all plates go.
          plate: Name of the plate.
          names: Names of the features, at least one, none twice.
          made_by: JSON-able; all that decides the cells and their features.
          part_cells: Cells of a part.
          remake: Whether to remove what was made with other names or by something else.

        Raises:
          UsageError: There is such a thing, and it is not to be removed.
          ValueError: No name, or one twice.
        """
        if not names or len(set(names)) < len(names):
            raise ValueError("names of features: at least one expected, none twice")
        facts = {"version": VERSION, "names": list(names), "made_by": dict(made_by)}
        self._facts: dict[str, Any] = json.loads(json.dumps(facts))
        self._path, self._plate = features_path(folder, plate), plate
        self._parts = folder / "parts" / quote(plate, safe="")
        self._part_cells = part_cells
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        self._n_parts = 0
        self.complete = self._path.is_file()
        self.remade = ""
        if self.complete:
            self.remade = self._differing(_read_facts(self._path))
            self._refuse(self._path, remake)
        elif (self._parts / "facts.json").is_file():
            self.remade = self._differing(_read_json(self._parts / "facts.json"))
            self._refuse(self._parts, remake)
        if self.remade:
            self._path.unlink(missing_ok=True)
            self.complete = False
        if self.complete or self.remade or not (self._parts / "facts.json").is_file():
            self._forget_parts()
        if self.complete:
            self.done = pq.read_metadata(self._path).num_rows
            return
        while self._part(self._n_parts).is_file():
            self._n_parts += 1
        self.done = self._n_parts * part_cells

    def add(self, index_rows: pa.Table, features: Float[np.ndarray, "n d"]) -> None:
        """Appends cells.

        Args:
          index_rows: Rows of a store's index (a column `row` is left out), of this plate.
          features: As many rows, a column a name. NaN is allowed: a missing number.

        Raises:
          ValueError: Shapes, columns or plate do not fit, or the plate is complete.
        """
        if self.complete:
            raise ValueError(f"plate {self._plate} is complete, no cell expected")
        width = len(self._facts["names"])
        if features.shape != (len(index_rows), width):
            raise ValueError(
                f"features {features.shape} given, {(len(index_rows), width)} expected"
            )
        if not len(index_rows):
            return
        table = _feature_rows(index_rows, features)
        plates = table["plate"].unique().to_pylist()
        if plates != [self._plate]:
            raise ValueError(f"cells of plates {plates} given, of {self._plate!r} expected")
        self._waiting.append(table)
        self._n_waiting += len(table)
        self.done += len(table)
        while self._n_waiting >= self._part_cells:
            self._write_part()

    def finish(self, empty_rows: pa.Table | None = None) -> None:
        """Joins the parts; from now on the plate is complete.

        Args:
          empty_rows: A table with the columns of the index; matters for a plate without cells.
        """
        if self.complete:
            return
        rest = [_encoded(pa.concat_tables(self._waiting))] if self._waiting else []
        if not self._n_parts and not rest:
            rows = _columns(CELL_COLUMNS) if empty_rows is None else empty_rows.slice(0, 0)
            features = np.zeros((0, len(self._facts["names"])), np.float32)
            rest = [_encoded(_feature_rows(rows, features))]
        first = rest[0].schema if not self._n_parts else pq.read_schema(self._part(0))
        schema = first.with_metadata({"cellml": json.dumps(self._facts, sort_keys=True)})
        with (
            atomic(self._path) as temporary,
            pq.ParquetWriter(temporary, schema, **_storage(schema)) as file,
        ):
            for number in range(self._n_parts):
                part = pq.read_table(self._part(number))
                file.write_table(part.cast(schema), row_group_size=self._part_cells)
            for table in rest:
                file.write_table(table.cast(schema), row_group_size=self._part_cells)
        self._waiting, self._n_waiting, self.complete = [], 0, True
        self._forget_parts()

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06d}.parquet"

    def _write_part(self) -> None:
        if not self._n_parts:
            write_json(self._parts / "facts.json", self._facts)
        waiting = pa.concat_tables(self._waiting)
        table = _encoded(waiting.slice(0, self._part_cells))
        with atomic(self._part(self._n_parts)) as temporary:
            pq.write_table(table, temporary, **_storage(table.schema))
        self._n_parts += 1
        self._waiting = [waiting.slice(self._part_cells)]
        self._n_waiting -= self._part_cells

    def _forget_parts(self) -> None:
        """Removes the parts; what they were made by goes last, so that none is ever taken over."""
        for path in sorted(self._parts.glob("*"), reverse=True):
            if path.name != "facts.json":
                path.unlink()
        (self._parts / "facts.json").unlink(missing_ok=True)
        if self._parts.is_dir():
            self._parts.rmdir()

    def _differing(self, before: Mapping[str, Any]) -> str:
        """What else made the features there, for people."""
        then, now = (
            {**facts.get("made_by", {}), "names": facts.get("names")}
            for facts in (before, self._facts)
        )
        plain = {"names": "other names of features", "cells": "other cells"}
        return "; ".join(
            plain[key] if key in plain else f"{key}: {then.get(key)} then, {now.get(key)} now"
            for key in sorted(then.keys() | now.keys())
            if then.get(key) != now.get(key)
        )

    def _refuse(self, path: Path, remake: bool) -> None:
        if self.remade and not remake:
            raise UsageError(
                f"{path}: made by something else ({self.remade}); use another experiment's name, "
                "or remove it"
            )


def features_path(folder: Path, plate: str) -> Path:
    """Where the finished file of a plate is, whether or not it is there."""
    return folder / f"{quote(plate, safe='')}.parquet"


def feature_plates(folder: Path) -> tuple[str, ...]:
    """Names of the plates that are finished, sorted."""
    return tuple(sorted(unquote(path.stem) for path in folder.glob("[!.]*.parquet")))


def unfinished_plates(folder: Path) -> tuple[str, ...]:
    """Names of the plates that a killed run left behind, sorted."""
    begun = {unquote(path.name) for path in (folder / "parts").glob("*") if path.is_dir()}
    return tuple(sorted(begun - set(feature_plates(folder))))


def read_feature_facts(folder: Path, plate: str) -> FeatureFacts:
    """Reads what the file of a plate says of itself; UserError where it is no file of features."""
    path = features_path(folder, plate)
    facts = _read_facts(path)
    return FeatureFacts(
        tuple(facts["names"]), facts.get("made_by", {}), pq.read_metadata(path).num_rows
    )


def read_feature_names(folder: Path) -> tuple[str, ...]:
    """Reads the names of the features, which all plates share.

    Raises:
      UserError: There is no plate, or one has other features than the first.
    """
    plates = feature_plates(folder)
    if not plates:
        raise UserError(f"{folder}: no features; `cellml profile embed` makes them")
    names = read_feature_facts(folder, plates[0]).names
    for plate in plates[1:]:
        others = read_feature_facts(folder, plate).names
        if others != names:
            raise UserError(
                f"{features_path(folder, plate)}: {len(others)} features found, not the "
                f"{len(names)} of plate {plates[0]}"
            )
    return names


def iterate_sites(
    folder: Path, plate: str
) -> Iterator[tuple[SiteKey, pa.Table, Float[np.ndarray, "n d"]]]:
    """Reads a plate site by site; memory is that of a row group and a site.

    Args:
      folder: Features of all plates.
      plate: One that is finished.

    Yields:
      Plate, well and site; the rows without `features`; features. In the order of the file.

    Raises:
      UserError: No such file, damaged, or the cells of a site do not lie together.
    """
    path = features_path(folder, plate)
    width = len(_read_facts(path)["names"])
    seen: set[SiteKey] = set()
    held: tuple[SiteKey, list[pa.Table]] | None = None
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            for key, rows in _runs(file.read_row_group(number)):
                if held is not None and held[0] == key:
                    held[1].append(rows)
                    continue
                if held is not None:
                    yield _site(*held, width)
                if key in seen:
                    raise UserError(f"{path}: the cells of {'/'.join(key)} do not lie together")
                seen.add(key)
                held = key, [rows]
    if held is not None:
        yield _site(*held, width)


def _site(
    key: SiteKey, pieces: Sequence[pa.Table], width: int
) -> tuple[SiteKey, pa.Table, Float[np.ndarray, "n d"]]:
    table = pa.concat_tables(pieces).unify_dictionaries().combine_chunks()
    column = table["features"].combine_chunks()
    features = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), width)
    return key, table.drop_columns(["features"]), features


def _runs(table: pa.Table) -> Iterator[tuple[SiteKey, pa.Table]]:
    """Cuts a table where plate, well or site change."""
    if not len(table):
        return
    columns = [np.asarray(table[name].to_pylist(), dtype=object) for name in KEYS]
    changes = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    starts = [0, *(np.flatnonzero(changes) + 1).tolist()]
    for start, end in zip(starts, [*starts[1:], len(table)], strict=True):
        plate, well, site = (str(column[start]) for column in columns)
        yield (plate, well, site), table.slice(start, end - start)


def _feature_rows(index_rows: pa.Table, features: Float[np.ndarray, "n d"]) -> pa.Table:
    """One table: the index with plain strings, and the features."""
    missing = [name for name in CELL_COLUMNS if name not in index_rows.column_names]
    if missing:
        raise ValueError(f"index rows have no column {missing[0]!r}")
    names = [n for n in index_rows.column_names if n not in (*CELL_COLUMNS, "row", "features")]
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name in (*CELL_COLUMNS, *names):
        kind = CELL_COLUMNS.get(name, pa.string())
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        columns[name] = index_rows[name].cast(kind)
    flat = pa.array(np.ascontiguousarray(features, np.float32).reshape(-1))
    columns["features"] = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
    return pa.table(columns)


def _encoded(table: pa.Table) -> pa.Table:
    """Strings as dictionaries in order of appearance, whatever the batches' dictionaries were."""
    table = table.combine_chunks()
    columns = {
        name: table[name].cast(pa.dictionary(pa.int32(), pa.string()))
        if pa.types.is_string(table[name].type)
        else table[name]
        for name in table.column_names
    }
    return pa.table(columns)


def _columns(kinds: Mapping[str, pa.DataType]) -> pa.Table:
    return pa.schema(list(kinds.items())).empty_table()


def _storage(schema: pa.Schema) -> dict[str, Any]:
    """How columns are stored; dictionaries of random floats would only be built and dropped."""
    texts = [field.name for field in schema if field.name != "features"]
    return {"compression": "zstd", "use_dictionary": texts}


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads((pq.read_schema(path).metadata or {})[b"cellml"])
        version = facts["version"]
        names = facts["names"]
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: no readable features ({error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: Parquet, but no features of cellml") from error
    if version != VERSION or not names:
        raise UserError(f"{path}: version {version} found, {VERSION} expected; embed again")
    return facts


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged; remove its folder") from error
