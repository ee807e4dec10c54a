"""Reads tables of profiles piece by piece, so that one with a row a cell fits into little memory.

CSV, TSV (also gzipped) and Parquet. Metadata become texts (a plate `0012` stays `0012`), features
float64, where whatever is no number (empty, NA, infinite) is NaN.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from cellml.data.profile_columns import Columns, sort_columns
from cellml.errors import UserError

PIECE_BYTES = 64 << 20
"""Features of a piece take about so much."""
HEAD_ROWS = 1000
"""Rows by which it is decided which columns of a text table hold numbers."""
EMPTY = ["", "nan", "NaN"]
NO_NUMBER = [*EMPTY, "NA", "N/A", "n/a", "<NA>", "NULL", "null", "None", "#N/A", "-nan", "-NaN"]
"""In metadata only the former are missing: a gene or a well may be called NA."""


class TableFile(NamedTuple):
    """A table that was opened.

    Attributes:
      path: Where it is.
      columns: Of the file.
      parquet: Or else a text table.
      separator: Of a text table.
    """

    path: Path
    columns: Columns
    parquet: bool
    separator: str

    @property
    def n_bytes(self) -> int:
        """About what all its features take as float64; of a zipped text a guess."""
        if self.parquet:
            return pq.read_metadata(self.path).num_rows * len(self.columns.features) * 8
        return self.path.stat().st_size * (4 if self.path.suffix == ".gz" else 1)


class Piece(NamedTuple):
    """Consecutive rows of a table.

    Attributes:
      metadata: Texts, under their names `Metadata_...`; a missing value is the empty text.
      features: NaN is a missing number.
      first: Row of the table that the piece begins with, from 0.
      n_infinite: Infinite values, which became NaN.
    """

    metadata: pd.DataFrame
    features: Float[np.ndarray, "n f"]
    first: int
    n_infinite: int


def open_table(path: str | Path, *, features_regex: str | None = None) -> TableFile:
    """Finds out what the columns of a table are.

    Args:
      path: CSV or TSV (also gzipped) or Parquet.
      features_regex: See `cellml.data.profile_columns`.

    Returns:
      What is needed to read it.

    Raises:
      UserError: No such file, unreadable, empty, of single cells as `cellml profile embed` writes
        them, or without metadata or features.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix == ".npz":
        raise UserError(
            f"{path}: NPZ holds features of single cells; cellml profile aggregate --table FOLDER "
            "--out DIR makes profiles of a folder of <plate>/<well>/<site>.npz"
        )
    parquet = path.suffix == ".parquet"
    separator = "\t" if ".tsv" in path.suffixes or ".txt" in path.suffixes else ","
    try:
        if parquet:
            schema = pq.read_schema(path)
            kinds = dict(zip(schema.names, schema.types, strict=True))
            _refuse_cells(path, kinds)
            n_rows = pq.read_metadata(path).num_rows
        else:
            head = pd.read_csv(path, sep=separator, nrows=HEAD_ROWS, na_values=NO_NUMBER)
            kinds = {
                str(name): pa.float64() if column.dtype.kind in "iuf" else pa.string()
                for name, column in head.items()
            }
            n_rows = len(head)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not a readable table (no text in UTF-8, CSV, TSV or Parquet expected)"
        ) from error
    except (ValueError, OSError, pd.errors.ParserError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path}: not a readable table ({reason})") from error
    if not n_rows:
        raise UserError(f"{path}: the table has no row")
    kinds = {n: k for n, k in kinds.items() if not n.startswith("__index_level_")}
    numeric = [_holds_numbers(kind) for kind in kinds.values()]
    columns = sort_columns(path, list(kinds), numeric, regex=features_regex)
    return TableFile(path, columns, parquet, separator)


def read_pieces(
    table: TableFile,
    features: Sequence[str],
    *,
    first: int = 0,
    n_rows: int | None = None,
    piece_rows: int | None = None,
) -> Iterator[Piece]:
    """Reads consecutive rows of a table.

    Args:
      table: From `open_table`.
      features: Those wanted, of `table.columns.features`; may be none.
      first: Row to begin with.
      n_rows: How many; all others, if None.
      piece_rows: Rows of a piece; as many as fit into `PIECE_BYTES`, if None.

    Yields:
      The rows in their order.

    Raises:
      UserError: The table is damaged, or a feature holds a text.
    """
    rows = piece_rows or max(64, min(100_000, PIECE_BYTES // (8 * max(1, len(features)))))
    read = _parquet_pieces if table.parquet else _text_pieces
    try:
        yield from read(table, features, first, n_rows, rows)
    except (ValueError, OSError, pd.errors.ParserError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{table.path}: not a readable table ({reason})") from error


def _text_pieces(
    table: TableFile, features: Sequence[str], first: int, n_rows: int | None, rows: int
) -> Iterator[Piece]:
    known = table.columns.metadata
    frames = pd.read_csv(
        table.path,
        sep=table.separator,
        usecols=[*known, *features],
        dtype=dict.fromkeys(known, str) | dict.fromkeys(features, np.float64),
        na_values=dict.fromkeys(known, EMPTY) | dict.fromkeys(features, NO_NUMBER),
        keep_default_na=False,
        skiprows=_before(first),
        nrows=n_rows,
        chunksize=rows,
    )
    at = first
    with frames:
        while True:
            try:
                frame = next(frames)
            except StopIteration:
                return
            except ValueError as error:
                raise _culprit(table, features, at, error) from error
            metadata = frame[list(known)].rename(columns=known).fillna("").astype(str)
            yield _piece(metadata, frame[list(features)].to_numpy(np.float64), at)
            at += len(frame)


def _parquet_pieces(
    table: TableFile, features: Sequence[str], first: int, n_rows: int | None, rows: int
) -> Iterator[Piece]:
    end = np.inf if n_rows is None else first + n_rows
    known, at = table.columns.metadata, 0
    with pq.ParquetFile(table.path, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            n_group = file.metadata.row_group(group).num_rows
            if at + n_group <= first or at >= end:
                at += n_group
                continue
            for batch in file.iter_batches(
                rows, row_groups=[group], columns=[*known, *features], use_threads=False
            ):
                low, high = max(first - at, 0), int(min(end - at, len(batch)))
                if low < high:
                    yield _from_batch(batch.slice(low, high - low), known, features, at + low)
                at += len(batch)


def _from_batch(
    batch: pa.RecordBatch, known: dict[str, str], features: Sequence[str], first: int
) -> Piece:
    texts = {
        name: ["" if value is None or value != value else str(value)
               for value in batch.column(column).to_pylist()]
        for column, name in known.items()
    }  # fmt: skip
    values = np.empty((len(batch), len(features)))
    for i, name in enumerate(features):
        values[:, i] = batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return _piece(pd.DataFrame(texts, index=range(len(batch)), dtype=str), values, first)


def _piece(metadata: pd.DataFrame, values: np.ndarray, first: int) -> Piece:
    infinite = np.isinf(values)
    if infinite.any():
        values = np.where(infinite, np.nan, values)
    return Piece(metadata.reset_index(drop=True), values, first, int(infinite.sum()))


def _before(first: int) -> Callable[[int], bool] | None:
    """Tells pandas which lines to skip; it would make a set of a range."""
    return (lambda line: 0 < line <= first) if first else None


def _culprit(table: TableFile, features: Sequence[str], first: int, error: ValueError) -> Exception:
    """The error that names the text which stands in the place of a number."""
    frames = pd.read_csv(
        table.path, sep=table.separator, usecols=list(features), dtype=str, na_values=NO_NUMBER,
        keep_default_na=False, skiprows=_before(first), chunksize=1000,
    )  # fmt: skip
    at = first
    with frames:
        for frame in frames:
            for name in frame.columns:
                bad = pd.to_numeric(frame[name], errors="coerce").isna() & frame[name].notna()
                if bad.any():
                    row = int(np.argmax(bad))
                    return UserError(
                        f"{table.path}: feature {name!r} is not numeric, found "
                        f"{frame[name].iloc[row]!r} in line {at + row + 2}"
                    )
            at += len(frame)
    return error


def _refuse_cells(path: Path, kinds: dict[str, pa.DataType]) -> None:
    """Raises UserError for a file of `cellml.data.feature_files`, whose features are one list."""
    kind = kinds.get("features")
    if kind is not None and (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)):
        raise UserError(
            f"{path}: features of single cells, profiles expected; cellml profile aggregate "
            f"--table {path.parent} --out DIR makes them"
        )


def _holds_numbers(kind: pa.DataType) -> bool:
    """True and False are not measured."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
